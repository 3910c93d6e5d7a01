"""The files under `deploy/` and the Dockerfile: what a machine without Docker and without a cluster can check of them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from sonar_access_pipeline import __version__
from sonar_access_pipeline.alerts.causes import Cause, runbook_section
from sonar_access_pipeline.alerts.problems import Limits
from sonar_access_pipeline.cli import main
from sonar_access_pipeline_tests.deployment import COMPOSE, LOCATION, ROOT

RUNBOOK = Path(__file__).parent.parent / "sonar_access_pipeline" / "alerts" / "runbook.md"
DEPLOY = ROOT / "deploy"
VALUES = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = sorted(set(COMPOSE["services"]) - {"postgres"})
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
    assert name == "code" or service["healthcheck"], "that of the code server stands in the Dockerfile"


def test_only_the_code_server_holds_the_token_and_the_warehouse() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        names = set(service["environment"])
        assert ("SONAR_ACCESS_WAREHOUSE_URL" in names) is (name == "code")
        assert ("sonar_token" in service.get("secrets", [])) is (name == "code")


def test_no_port_is_open_to_the_network_and_the_reviewers_server_is_read_only() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "--read-only" in COMPOSE["services"]["read_only"]["command"]


def test_the_image_runs_as_nobody_special_from_a_lock_with_digests() -> None:
    assert DOCKERFILE.count("\nFROM ") == 2 - DOCKERFILE.startswith("FROM ")
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.M)
    assert "--require-hashes -r deploy/requirements.lock" in DOCKERFILE
    assert "\nHEALTHCHECK " in DOCKERFILE
    assert COMPOSE["services"]["code"]["command"] == yaml.safe_load(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M)[-1])
    ignored = (ROOT / ".dockerignore").read_text()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}\n" in ignored, f"{name} is not sent to the builder"


def test_the_lock_of_the_image_is_the_lock_that_is_tested_and_what_a_pod_needs_besides() -> None:
    def pins(file: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9._-]+(?:\[[a-z,0-9-]+\])?)==([^ ;]+)", file.read_text(), re.M))

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
    assert [(path, value) for path, value in secrets(VALUES) if value] == []
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items():
            if SECRET.search(name):
                assert "${" in value or value.startswith("/run/secrets/"), name


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "web", VALUES["dagsterWebserver"]
    yield "daemon", VALUES["dagsterDaemon"]
    yield "code", VALUES["dagster-user-deployments"]["deployments"][0]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=lambda value: value if isinstance(value, str) else "")
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


def test_what_evidence_needs_reaches_whoever_seals_and_its_key_nobody_else() -> None:
    for name in OURS:
        service = COMPOSE["services"][name]
        sees = [volume for volume in service.get("volumes", []) if volume == "./secrets/evidence:/run/evidence:ro"]
        assert (service.get("env_file"), len(sees)) == (
            ([{"path": "evidence.env", "required": False}], 1) if name == "code" else (None, 0)
        )
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    (mounted,) = [one for one in code["volumes"] if one["name"] == "evidence"]
    assert mounted["secret"] == {"secretName": "sonar-access-evidence", "optional": True, "defaultMode": 0o440}
    assert {"name": "evidence", "mountPath": "/run/evidence", "readOnly": True} in code["volumeMounts"]
    copied = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied[0] == "*", "nothing comes into the image but what is named"
    assert not [line for line in copied if "evidence" in line or "secrets" in line]


def test_the_chart_and_its_images_are_of_the_version_of_dagster_that_is_tested() -> None:
    pinned = re.search(r"^dagster==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert pinned
    for part in ("dagsterWebserver", "dagsterDaemon"):
        assert VALUES[part]["image"]["tag"] == pinned[1]
    assert f"version {pinned[1]}" in (DEPLOY / "helm-values.yaml").read_text().splitlines()[0]


def test_a_run_ends_everywhere_when_the_watch_calls_it_stuck() -> None:
    stuck = Limits().running.total_seconds()
    for file in (ROOT / "dagster.yaml", DEPLOY / "dagster.postgres.yaml"):
        settings = yaml.safe_load(file.read_text())
        assert settings["run_monitoring"]["max_runtime_seconds"] == stuck
        assert settings["retention"]["sensor"]["purge_after_days"]["skipped"] <= 7, "two sensors tick every half minute"
    assert VALUES["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"] == stuck


def test_the_project_says_everywhere_which_pythons_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    pythons = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    said = {line.rsplit(" ", 1)[-1] for line in project["classifiers"] if ":: 3." in line}
    assert set(pythons) == said


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
    for file in (ROOT / "README.md", RUNBOOK, *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")):
        for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            found = (file.parent / name) if name else file
            assert found.exists(), f"{file.name}: {target}"
            assert not anchor or anchor in anchors(found), f"{file.name}: {target}"
