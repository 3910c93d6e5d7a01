"""The files under `deploy/` and the Dockerfile: what a machine without Docker and without a cluster
can check of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import create_engine, make_url, text

from sonar_access_pipeline import __version__
from sonar_access_pipeline.alerts.causes import Cause, runbook_section
from sonar_access_pipeline.alerts.problems import Limits
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.evidence.tables import FORMATS
from sonar_access_pipeline.orchestration.unpublished import GRPC_INFO_TAG
from sonar_access_pipeline.settings import OF_FILE, Settings
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.migrations import REVISIONS
from sonar_access_pipeline.warehouse.roles import Role
from sonar_access_pipeline_tests.support.deployment import COMPOSE, LOCATION, ROOT, environment
from sonar_access_pipeline_tests.support.programs import free_port, needs, of_postgresql

RUNBOOK = Path(__file__).parents[2] / "sonar_access_pipeline" / "alerts" / "runbook.md"
DEPLOY = ROOT / "deploy"
VALUES = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
DOCUMENTED = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "settings.md").read_text(), re.M)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = sorted(set(COMPOSE["services"]) - {"postgres", "roles"})
LOADED, BROKEN = (
    {"locationOrLoadError": {"__typename": kind}} for kind in ("RepositoryLocation", "PythonError")
)
ROLES = ("dagster", "sonar_access", "pipeline", "operator", "analyst", "reviewer", "review")
ONCE = {"roles", "upgrade", "operator"}
"""Services that do one thing and end."""
SECRET = re.compile(r"TOKEN|PASSWORD|ALERT_URLS|HEARTBEAT|WAREHOUSE_URL")


@pytest.mark.parametrize("name", OURS)
def test_every_service_is_confined_limited_and_watched(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["image"] == f"sonar-access-pipeline:{__version__}"
    assert service["tmpfs"] == ["/tmp:size=256m,mode=1777"]
    assert name in ONCE or service["healthcheck"]["test"][:3] == [
        "CMD",
        "python",
        "/opt/dagster/health.py",
    ]


def test_only_the_code_server_holds_the_token_and_each_service_the_passwords_of_its_roles() -> None:
    """That nobody else can change the warehouse is tried from inside each of them:
    test_containers.py.
    """
    pgpass = {one: one for one in ("code", "operator", "upgrade", "reviews")}
    for name in OURS:
        service = COMPOSE["services"][name]
        assert ("SONAR_ACCESS_WAREHOUSE_URL" in service["environment"]) is (name in pgpass)
        sources = {one["source"] if isinstance(one, dict) else one for one in service["secrets"]}
        assert sources == {
            f"{pgpass.get(name, 'dagster')}_pgpass",
            *(["sonar_token"] if name == "code" else []),
        }
    for name in ("postgres", "roles"):
        assert "sonar_token" not in COMPOSE["services"][name]["secrets"]


def test_no_port_is_open_to_the_network_and_the_reviewers_server_is_read_only() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "--read-only" in COMPOSE["services"]["read_only"]["command"]


def test_the_image_runs_as_nobody_special_from_a_lock_with_digests() -> None:
    assert DOCKERFILE.count("\nFROM ") == 3, (
        "libraries, the project, and what runs: a release ships the project again, no more"
    )
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.M)
    assert "--require-hashes -r /src/requirements.lock" in DOCKERFILE
    assert "org.opencontainers.image.version" in DOCKERFILE
    assert f"ARG VERSION={__version__}\n" in DOCKERFILE
    assert COMPOSE["services"]["code"]["command"] == yaml.safe_load(
        re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)[-1]
    )
    ignored = (ROOT / ".dockerignore").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}\n" in ignored, f"{name} is not sent to the builder"


def test_the_lock_of_the_image_is_the_lock_that_is_tested_and_what_a_pod_needs_besides() -> None:
    def pins(file: Path) -> dict[str, str]:
        return dict(
            re.findall(r"^([a-z0-9._-]+(?:\[[a-z,0-9-]+\])?)==([^ ;]+)", file.read_text(), re.M)
        )

    tested, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    assert tested.items() <= image.items()
    assert "dagster-k8s" in image.keys() - tested.keys()


def secrets(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value whose name says that it is a secret."""
    if isinstance(values, dict):
        if SECRET.search(str(values.get("name", ""))) and "value" in values:
            yield path, values["value"]
        for key, value in values.items():
            if SECRET.search(str(key).upper()) and isinstance(value, str):
                yield f"{path}.{key}", value
            yield from secrets(value, f"{path}.{key}")
    elif isinstance(values, list):
        for number, value in enumerate(values):
            yield from secrets(value, f"{path}[{number}]")


def test_no_value_holds_a_secret() -> None:
    # A reference is none.
    assert [
        (path, value)
        for path, value in secrets(VALUES)
        if value and not re.fullmatch(r"\$\(\w+\)", value)
    ] == []
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert value.startswith("/run/secrets/") or re.search("//[a-z_]+@", value), name


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "web", VALUES["dagsterWebserver"]
    yield "daemon", VALUES["dagsterDaemon"]
    yield "code", VALUES["dagster-user-deployments"]["deployments"][0]


@pytest.mark.parametrize(
    ("name", "pod"), list(pods()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_pod_is_confined_and_limited(name: str, pod: dict[str, Any]) -> None:
    assert pod["podSecurityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(pod["resources"]["limits"]) == {"cpu", "memory"}
    writable = {mount["mountPath"] for mount in pod["volumeMounts"]}
    assert writable >= {"/tmp", VALUES["global"]["dagsterHome"]}


def test_a_run_is_a_pod_of_its_own_confined_like_the_others() -> None:
    launcher = VALUES["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    config = launcher["config"]["k8sRunLauncher"]
    assert config["securityContext"] == VALUES["dagsterDaemon"]["securityContext"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert code["includeConfigInLaunchedRuns"]["enabled"] is True
    assert code["dagsterApiGrpcArgs"] == ["-m", f"{LOCATION}.definitions"]
    assert code["image"]["tag"] == __version__
    assert VALUES["dagsterWebserver"]["enableReadOnly"] is True


def test_what_can_be_set_reaches_whoever_reads_and_seals_and_nobody_else() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        sees = "./secrets/files:/run/files:ro" in service["volumes"]
        assert (service.get("env_file"), sees) == (
            (["settings.env"], True) if name in ("code", "operator", "reviews") else (None, False)
        )
    assert "data:/data:ro" in COMPOSE["services"]["reviews"]["volumes"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    (mounted,) = [one for one in code["volumes"] if one["name"] == "files"]
    assert mounted["secret"] == {"secretName": "sonar-access-files", "defaultMode": 0o440}
    assert {"name": "files", "mountPath": "/run/files", "readOnly": True} in code["volumeMounts"]
    copied = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied[0] == "*", "nothing comes into the image but what is named"
    assert not [line for line in copied if "settings" in line or "secrets" in line]


def test_the_chart_is_of_the_version_of_dagster_that_is_tested_and_every_pod_of_one_image() -> None:
    pinned = re.search(r"^dagster==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert pinned
    assert f"version {pinned[1]}" in (DEPLOY / "helm-values.yaml").read_text().splitlines()[0]
    assert f"dagster/dagster --version {pinned[1]}" in (ROOT / "docs" / "deploy.md").read_text()
    assert [pod["image"] for _, pod in pods()] == [VALUES["dagsterWebserver"]["image"]] * 3


def test_every_image_of_ours_is_named_by_the_version() -> None:
    files = [*DEPLOY.rglob("*.yaml"), ROOT / "examples" / "existing_dagster" / "README.md"]
    named = {
        file.name: set(re.findall(r"sonar[-_]access[-_]pipeline[:-](\d[\w.]*\d)", file.read_text()))
        for file in files
    }
    assert set().union(*named.values()) == {__version__}, named


def test_the_daemon_of_the_chart_is_judged_with_its_own_password_over_tls() -> None:
    known = {one["name"]: one["value"] for one in VALUES["dagsterDaemon"]["env"]}
    assert known["PGPASSWORD"] == "$(DAGSTER_PG_PASSWORD)"
    own = make_url(known["DAGSTER_POSTGRES_URL"])
    about = VALUES["postgresql"]
    assert (own.host, own.username, own.database) == tuple(
        about[f"postgresql{name}"] for name in ("Host", "Username", "Database")
    )
    assert own.query["sslmode"] == about["postgresqlParams"]["sslmode"] == "require"
    assert VALUES["dagsterWebserver"]["readinessProbe"]["httpGet"] is None, (
        "the chart's own would stand beside it"
    )
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert code["envSecrets"] == [{"name": "sonar-access"}]


def test_the_health_checks_of_the_chart_are_those_of_compose() -> None:
    for (name, pod), kind in zip(
        pods(), ("readinessProbe", "livenessProbe", "readinessProbe"), strict=True
    ):
        assert ["CMD", *pod[kind]["exec"]["command"]] == COMPOSE["services"][name]["healthcheck"][
            "test"
        ]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert (VALUES["dagsterWebserver"]["service"]["port"], code["port"]) == (
        3000,
        4000,
    ), "those that health.py looks at"


def test_every_setting_of_the_documentation_can_be_set_for_the_services_in_one_file() -> None:
    documented = set(re.findall(r"`(SONAR_[A-Z_]+)`", "".join(DOCUMENTED)))
    in_file = set(re.findall(r"\bSONAR_[A-Z_]+", (DEPLOY / "settings.env.example").read_text()))
    assert documented == in_file
    assert documented >= {
        f"SONAR_ACCESS_{name.upper()}" for name in Settings.model_fields.keys() - OF_FILE
    }
    for name in ("deploy/settings.env", "deploy/secrets/", "deploy/.env"):
        assert name in (ROOT / ".gitignore").read_text().splitlines()


def test_what_is_prepared_for_the_services_is_private_and_written_once(tmp_path: Path) -> None:
    shutil.copytree(
        DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", "settings.env")
    )
    run = [tmp_path / "deploy" / "prepare.sh"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr == "") == ((0, True) if os.geteuid() == 0 else (1, False))
    secrets = {
        file.name: file for file in (tmp_path / "deploy" / "secrets").iterdir() if file.is_file()
    }
    named = {Path(one["file"]).name for one in COMPOSE["secrets"].values()}
    assert secrets.keys() == named
    for file in (*secrets.values(), tmp_path / "deploy" / "settings.env"):
        assert file.stat().st_mode & 0o077 == 0, file.name
    account = (
        int(re.findall(r"^USER (\d+):", DOCKERFILE, re.M)[0]) if os.geteuid() == 0 else os.geteuid()
    )
    for file in (*secrets.values(), tmp_path / "deploy" / "secrets" / "files"):
        assert file.stat().st_uid == account, file.name
    before = {name: file.read_bytes() for name, file in secrets.items()}
    assert subprocess.run(run, capture_output=True, check=False).returncode == done.returncode
    for wrong, given in (
        (["kubernetes"], b"t"),
        (["kubernetess", "h"], b"t"),
        (["kubernetes", "h"], b""),
        (["token"], b"two lines\nt"),
    ):
        assert (
            subprocess.run(
                [run[0], *wrong], input=given, capture_output=True, check=False
            ).returncode
            == 2
        ), wrong
        assert secrets["sonar_token"].read_bytes() == b"", "nothing is lost by it"
    told = [str(run[0]), "kubernetes", "db.example.com"]
    assert subprocess.run(told, input=b"a=token", capture_output=True, check=False).returncode == 0
    assert subprocess.run(told, input=b"", capture_output=True, check=False).returncode == 0, (
        "the token of before is kept"
    )
    assert secrets["sonar_token"].read_bytes() == b"a=token"
    before["sonar_token"] = b"a=token"
    assert {name: file.read_bytes() for name, file in secrets.items()} == before
    lines = before["passwords"].decode().splitlines()
    passwords = dict(line.split("=") for line in lines)
    assert len(set(passwords.values())) == len(passwords) == 7
    assert before["code.pgpass"].decode().splitlines() == [
        f"postgres:5432:*:{role}:{passwords[role]}" for role in ("dagster", "pipeline")
    ]
    made = tmp_path / "deploy" / "secrets"
    url = "postgresql{}://{}:{}@{}/{}?sslmode=require"
    for host in ("db.example.com", "other.example.com"):
        subprocess.run([str(run[0]), "kubernetes", host], input=b"", check=True)
        of = {
            role: url.format("", role, passwords[role], host, "sonar_access")
            for role in ("pipeline", "sonar_access", "review")
        }
        dagster = url.format("+psycopg2", "dagster", passwords["dagster"], host, "dagster")
        said = {file.name: file.read_text() for file in made.glob("*.env")}
        assert said == {
            "dagster.env": f"postgresql-password={passwords['dagster']}\n",
            "upgrade.env": (
                f"DAGSTER_POSTGRES_URL={dagster}\nSONAR_ACCESS_WAREHOUSE_URL={of['sonar_access']}\n"
            ),
            "reviews.env": f"SONAR_ACCESS_WAREHOUSE_URL={of['review']}\n",
            "pipeline.env": f"SONAR_ACCESS_WAREHOUSE_URL={of['pipeline']}\nSONAR_TOKEN=a=token\n",
        }
        assert [
            file.name for file in made.rglob("*") if file.is_file() and file.stat().st_mode & 0o077
        ] == []


def test_a_run_ends_everywhere_when_the_watch_calls_it_stuck() -> None:
    stuck = Limits().running.total_seconds()
    for file in (ROOT / "dagster.yaml", DEPLOY / "dagster.postgres.yaml"):
        settings = yaml.safe_load(file.read_text())
        assert settings["run_monitoring"]["max_runtime_seconds"] == stuck
        assert settings["retention"]["sensor"]["purge_after_days"]["skipped"] <= 7, (
            "two sensors tick every half minute"
        )
    assert VALUES["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"] == stuck


def test_the_project_says_everywhere_which_pythons_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    said = {line.rsplit(" ", 1)[-1] for line in project["classifiers"] if ":: 3." in line}
    assert set(pythons) == said


def test_the_newest_change_is_that_of_this_version() -> None:
    newest, *_ = re.findall(
        r"^## (\S+), (?:not released yet|\d{4}-\d{2}-\d{2})$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.M,
    )
    assert newest == __version__
    assert (
        f"revision {REVISIONS[-1]}, its packets are format {FORMATS[-1]}"
        in (ROOT / "CHANGELOG.md").read_text()
    )


def anchors(file: Path) -> set[str]:
    """The sections of a document, as links name them."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("cause", list(Cause))
def test_the_runbook_has_a_section_for_every_alert(cause: Cause) -> None:
    assert runbook_section(cause) in anchors(RUNBOOK)
    explained = CliRunner().invoke(main, ["alerts", "explain", runbook_section(cause)])
    assert explained.exit_code == 0
    assert len(explained.output) > 100
    assert "](" not in explained.output


def test_every_link_in_the_documentation_leads_somewhere() -> None:
    for file in (
        ROOT / "README.md",
        RUNBOOK,
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ):
        for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            found = (file.parent / name) if name else file
            assert found.exists(), f"{file.name}: {target}"
            assert not anchor or anchor in anchors(found), f"{file.name}: {target}"


KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_what_the_chart_does_not_make_is_what_kubernetes_takes(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(document, "1.33", strict=True)
        if document["kind"] in ("Job", "Deployment"):
            pod = document["spec"]["template"]["spec"]
            assert document["metadata"]["namespace"] == "sonar-access"
            assert pod["securityContext"] == VALUES["dagsterDaemon"]["podSecurityContext"]
            (container,) = pod["containers"]
            assert (
                container["securityContext"].items()
                <= VALUES["dagsterDaemon"]["securityContext"].items()
            )


def test_the_upgrade_of_a_cluster_is_the_one_of_compose() -> None:
    (job,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "upgrade.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == COMPOSE["services"]["upgrade"]["command"]
    assert container["image"].endswith(f"/sonar-access-pipeline:{__version__}")
    granted = {
        word.removeprefix("--grant=").split("=")[1]
        for word in container["command"]
        if word.startswith("--grant=")
    }
    assert granted == {role.value for role in Role}


def test_the_code_location_has_one_name_everywhere() -> None:
    (server,) = VALUES["dagsterWebserver"]["workspace"]["servers"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert (server["host"], server["port"]) == (code["name"], code["port"])
    names = [server["name"]]
    for file in (
        DEPLOY / "workspace.yaml",
        DEPLOY / "systemd" / "workspace.yaml",
        ROOT / "workspace.yaml",
    ):
        (loaded,) = yaml.safe_load(file.read_text())["load_from"]
        names += [about["location_name"] for about in loaded.values()]
    assert set(names) == {LOCATION}


def test_the_database_of_the_chart_is_opened_with_what_is_in_the_image(
    postgresql_url: str, tmp_path: Path
) -> None:
    """The chart writes its own dagster.yaml: user, host and database of the values, and the scheme
    that they name.
    """
    url, values = make_url(postgresql_url), VALUES["postgresql"]
    storage = {
        "username": url.username,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "hostname": "127.0.0.1",
        "db_name": url.database,
        "port": values["service"]["port"],
        "params": {"host": url.query["host"]},
        "scheme": values["postgresqlScheme"],
    }
    (tmp_path / "dagster.yaml").write_text(
        yaml.safe_dump({"storage": {"postgres": {"postgres_db": storage}}})
    )
    with (
        environment({"DAGSTER_PG_PASSWORD": "x"}),
        dg.DagsterInstance.from_config(str(tmp_path)) as instance,
    ):
        assert instance.get_runs() == []
        assert instance.run_storage.alembic_version()


@pytest.fixture
def roles_made(postgresql: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Databases and roles as `roles.sh` makes them, on a server of several tests; the address as a
    role, in a database.
    """
    server = make_url(postgresql)
    (tmp_path / "passwords").write_text(
        "".join(f"{name}=it's \\ {number}\n" for number, name in enumerate(ROLES))
    )
    (tmp_path / "none").write_text("")
    tools = Path(of_postgresql("psql")).parent
    known = {
        "PGHOST": str(server.query["host"]),
        "PGUSER": str(server.username),
        "PASSWORDS": str(tmp_path / "passwords"),
    }
    environ = {"PATH": f"{tools}:/usr/bin:/bin", "PASSWORD": str(tmp_path / "none"), **known}
    for _ in range(2):
        done = subprocess.run(
            ["sh", DEPLOY / "roles.sh"], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    yield lambda role, database="sonar_access": server.set(
        username=role, database=database
    ).render_as_string(hide_password=False)
    owner = create_engine(
        server.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with owner.connect() as connection:
        for database in ("dagster", "sonar_access"):
            connection.execute(text(f"DROP DATABASE {database} WITH (FORCE)"))
        for name in ROLES:
            connection.execute(text(f"DROP ROLE {name}"))
    owner.dispose()


def test_the_roles_of_a_deployment_reach_what_is_theirs_and_nothing_else(
    postgresql: str, roles_made: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reaches(role: str, database: str) -> bool:
        try:
            with (
                closing(Warehouse(roles_made(role, database))) as opened,
                opened.read() as transaction,
            ):
                return bool(transaction.execute(text("SELECT true")).scalar())
        except WarehouseError as error:
            assert "permission denied for database" in str(error)
            return False

    owner = make_url(postgresql).set(drivername="postgresql+psycopg2")
    with create_engine(owner).connect() as connection:
        kept = {
            name: str(hashed)
            for name, hashed in connection.execute(
                text("SELECT rolname, rolpassword FROM pg_authid")
            )
        }
    assert {kept[role].split("$")[0] for role in ROLES} == {"SCRAM-SHA-256"}, "a password each"
    assert {kept[role].split("$")[1].split(":")[0] for role in ROLES} == {"1"}, (
        "which are random, and hashed once"
    )
    with create_engine(owner).connect() as connection:
        might = text(
            "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreatedb OR rolcreaterole OR"
            " rolreplication OR rolbypassrls"
        )
        assert not {*connection.execute(might).scalars()} & {*ROLES}
    reached = {
        role: {name for name in ("dagster", "sonar_access", "postgres") if reaches(role, name)}
        for role in ROLES
    }
    assert reached == {
        role: {"dagster"} if role == "dagster" else {"sonar_access"} for role in ROLES
    }
    (tmp_path / "home").mkdir()
    url = roles_made("dagster", "dagster").replace("postgresql://", "postgresql+psycopg2://")
    (tmp_path / "home" / "dagster.yaml").write_text((DEPLOY / "dagster.postgres.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", roles_made("sonar_access"))
    command = [
        word.replace("sonar-access", "upgrade")
        for word in COMPOSE["services"]["upgrade"]["command"]
        if word != "upgrade"
    ]
    for said in ("is now at revision", "was already at revision"):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert said in done.output
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(dg.job(name="somebodys")(lambda: None))
        instance.report_run_canceling(run)
        # There is one revision yet: what has to be made stands for what has to be changed.
        with (
            closing(Warehouse(roles_made("sonar_access"))) as held,
            held.write("test") as transaction,
        ):
            transaction.execute(text("DROP SCHEMA sonar_access CASCADE"))
        refused = CliRunner().invoke(main, [*command, "--wait", "0"])
        assert refused.exit_code == 1
        assert "A run goes on" in refused.output
        # The code server that started it is not there any more, as after a kill: nobody else would
        # end it before this step.
        instance.add_run_tags(
            run.run_id, {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": free_port()})}
        )
        assert "is now at revision" in CliRunner().invoke(main, [*command, "--wait", "0"]).output
    assert CliRunner().invoke(main, ["upgrade", "--grant", "x=king"]).exit_code == 2


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`health.py`, which looks at another port than the services have."""
    found = importlib.util.spec_from_file_location("health", DEPLOY / "health.py")
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"runsOrError": {"results": []}, "workspaceOrError": {"locationEntries": [LOADED]}}, None),
        (
            {"runsOrError": {"results": []}, "workspaceOrError": {"locationEntries": [BROKEN]}},
            "definitions of the code server do",
        ),
        (None, "does not reach its database"),
    ],
)
def test_the_health_of_a_web_server_is_that_of_its_database_and_of_the_definitions(
    health: Any, answer: object, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["query"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                json.dumps({"data": answer} if "runsOrError" in asked else {}).encode()
            )

        def log_message(self, *_: object) -> None:
            pass

    connect = socket.create_connection
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(
            socket,
            "create_connection",
            lambda _, timeout: connect(("127.0.0.1", server.server_port), timeout),
        )
        assert (health.web() is None) if said is None else (said in health.web())
        assert health.code() is None
        server.shutdown()
    with pytest.raises(OSError, match="refused"):
        health.code()


def test_the_health_of_a_daemon_is_its_newest_word(
    health: Any, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "DAGSTER_POSTGRES_URL", postgresql_url.replace("postgresql://", "postgresql+psycopg2://")
    )
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.postgres.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        _ = instance.run_storage
        assert health.daemon() == "it is silent"
        for kind, age in (("MONITORING", 10_000.0), ("SENSOR", 10.0)):
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, kind, "id"))
        assert health.daemon() is None, "one that is switched off says nothing any more"
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 400, "SENSOR", "id"))
        assert health.daemon() == "it is silent"


UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def test_systemd_accepts_every_unit(tmp_path: Path) -> None:
    needs("systemd-analyze")
    root = tmp_path / "root"
    shutil.copytree(DEPLOY / "systemd", root / "etc" / "systemd" / "system")
    shutil.copytree(
        "/usr/lib/systemd/system", root / "usr" / "lib" / "systemd" / "system", symlinks=True
    )
    for unit in UNITS:
        for program in re.findall(r"^Exec\w+=(/\S+)", unit.read_text(), re.M):
            (root / program[1:]).parent.mkdir(parents=True, exist_ok=True)
            (root / program[1:]).touch(mode=0o755)
    names = [*(unit.name for unit in UNITS), "sonar-access.target"]
    words = [
        "systemd-analyze",
        "verify",
        f"--root={root}",
        "--man=no",
        "--recursive-errors=no",
        *names,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if "sonar-access" in line]
    assert (done.returncode, said) == (0, [])


def test_every_service_of_one_machine_is_that_of_compose_and_is_confined() -> None:
    shared = (DEPLOY / "systemd" / "sonar-access-.service.d" / "all.conf").read_text()
    for line in (
        "User=sonar-access",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "UMask=0077",
    ):
        assert f"\n{line}\n" in f"\n{shared}"
    wanted = {
        "-h 0.0.0.0": "-h 127.0.0.1",
        "--host 0.0.0.0": "--host 127.0.0.1",
        "workspace.yaml": "/opt/sonar-access/deploy/systemd/workspace.yaml",
    }
    ports = {"code": None, "web": "3000", "read_only": "3001", "daemon": None, "reviews": None}
    for name, port in ports.items():
        command = " ".join(COMPOSE["services"][name]["command"])
        for before, after in wanted.items():
            command = command.replace(before, after)
        command = command.replace("-p 3000", f"-p {port}")
        unit = (DEPLOY / "systemd" / f"sonar-access-{name.replace('_', '-')}.service").read_text()
        assert f"\nExecStart=/opt/sonar-access/.venv/bin/{command}\n" in unit
        assert "\nRestart=always\n" in unit
    for file in UNITS:
        assert ("sonar_token" in file.read_text()) is (file.stem == "sonar-access-code"), file.name
