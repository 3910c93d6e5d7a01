"""deploy/compose.yaml and the image as they are, on a real Docker Engine: `make containers` builds
the image and runs this.

Only the source is simulated, inside the code server's container, and the health checks come more
often, which old engines need. Figures are printed: `pytest -s`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sonar_access_pipeline import __version__
from sonar_access_pipeline.settings import OF_FILE, Settings
from sonar_access_pipeline_tests.support.deployment import ROOT, Deployment, until

TOKEN, IMAGE = "simulated-token", f"sonar-access-pipeline:{__version__}"
SIMULATED = """
services:
  upgrade: {image: "${IMAGE}"}
  code:
    image: "${IMAGE}"
    environment: {LATENCY: "${LATENCY:-0}"}
    command:
      - sh
      - -c
      - python -m sonar_access_pipeline.simulator --port 9000 --accounts 60 --latency-ms $$LATENCY & exec dagster code-server
        start -h 0.0.0.0 -p 4000 -m sonar_access_pipeline.definitions
    healthcheck: {start_interval: !reset null, interval: 30s}
  postgres: {healthcheck: {start_interval: !reset null, interval: 30s}}
  web: {image: "${IMAGE}", healthcheck: {start_interval: !reset null, interval: 30s}}
  read_only: {image: "${IMAGE}", healthcheck: {start_interval: !reset null, interval: 30s}}
  daemon: {image: "${IMAGE}", healthcheck: {start_interval: !reset null, interval: 60s}}
"""  # noqa: E501
FIRST = re.sub(r"interval: \d+s", "interval: 3s", SIMULATED)
"""Until all is up: an engine of version 25 asks more often at the beginning by itself."""
OURS = ("code", "web", "read_only", "daemon")
TRIES = """
import psycopg2
for role in ("dagster", "sonar_access", "pipeline", "operator", "analyst", "reviewer", "postgres"):
    for database in ("dagster", "sonar_access", "postgres"):
        for statement in (
            "SELECT count(*) FROM sonar_access.raw_body",
            "SELECT count(*) FROM sonar_access.fct_user_access",
            "DELETE FROM sonar_access.fct_user_access WHERE false",
            "INSERT INTO sonar_access.snapshot_decision DEFAULT VALUES",
            "UPDATE sonar_access.raw_snapshot SET connection = '' WHERE false",
            "ALTER TABLE sonar_access.raw_body DISABLE TRIGGER ALL",
        ):
            try:
                with psycopg2.connect(f"postgresql://{role}@postgres/{database}", connect_timeout=5) as opened:
                    opened.cursor().execute(statement)
            except psycopg2.errors.NotNullViolation:
                pass
            except psycopg2.Error:
                continue
            print(statement.split()[0], statement.split("sonar_access.")[1].split()[0])
"""  # noqa: E501


def figure(said: str) -> None:
    """Show a figure that was measured."""
    sys.stdout.write(f"\n{said}\n")


class Site:
    """The services, as `docker compose` sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = IMAGE
        self.made = Deployment(folder, {}, 3000, 3001, 0, "")

    def compose(
        self, *words: str, latency: int = 0, text: str | None = None, check: bool = True
    ) -> str:
        """Run a command of compose; what it said."""
        done = subprocess.run(
            ["docker", "compose", *words],
            cwd=self.folder,
            env={**os.environ, "LATENCY": str(latency), "IMAGE": self.image},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def inside(self, service: str, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run a command inside a service's container; what it said."""
        return self.compose("exec", "-T", service, *words, text=text, check=check)

    def up(self, *words: str, latency: int = 0, often: bool = True) -> float:
        """Bring all up, until all are healthy; how many seconds it took."""
        (self.folder / "compose.override.yaml").write_text(FIRST if often else SIMULATED)
        began = time.monotonic()
        self.compose("up", "-d", "--no-build", "--wait", *words, latency=latency)
        return time.monotonic() - began

    def launch(self) -> str:
        """Start a sync of today through the UI's server."""
        today = str(datetime.now(UTC).date())
        return until(
            "code location",
            lambda: self.made.launch("default_daily", **{"dagster/partition": today}),
        )

    def begins(self) -> str:
        """Start a sync, and give its run once it reads."""
        run = self.launch()
        until("begin", lambda: self.made.status(run) == "STARTED")
        until("process", lambda: f"sonar_access/process:{run}" if self.notes(run) else None)
        return run

    def notes(self, run: str) -> bool:
        """Whether a run has noted its process."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key } } } }"
        return any(
            tag["key"] == "sonar_access/process" for tag in self.made.ask(query, id=run)["tags"]
        )

    def status_of(self, service: str) -> str:
        """What the health check of a service says."""
        found = subprocess.run(
            ["docker", "inspect", f"sonar-access-{service}-1"],
            capture_output=True,
            text=True,
            check=True,
        )
        return str(json.loads(found.stdout)[0]["State"]["Health"]["Status"])

    def cpu_seconds(self, service: str) -> float:
        """What a service has used of the processor, its health checks among it."""
        said = self.inside(service, "cat", "/sys/fs/cgroup/cpu.stat", check=False)
        if found := re.search(r"usage_usec (\d+)", said):
            return int(found[1]) / 1e6
        return int(self.inside(service, "cat", "/sys/fs/cgroup/cpuacct/cpuacct.usage")) / 1e9


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "ls"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine has no Docker Engine with compose: `make containers`")
    folder = tmp_path_factory.mktemp("site") / "deploy"
    shutil.copytree(
        ROOT / "deploy", folder, ignore=shutil.ignore_patterns("secrets", "settings.env", ".env")
    )
    subprocess.run([folder / "prepare.sh"], check=True)
    subprocess.run([folder / "prepare.sh", "token"], input=TOKEN, text=True, check=True)
    settings = (folder / "settings.env").read_text()
    settings = settings.replace("SONAR_ORGANIZATION=", "SONAR_ORGANIZATION=acme")
    (folder / "settings.env").write_text(
        settings.replace(
            "#SONAR_HOST_URL=https://sonarcloud.io", "SONAR_HOST_URL=http://127.0.0.1:9000"
        )
    )
    made = Site(folder)
    yield made
    made.compose("down", "--volumes", "--timeout", "5", "--remove-orphans")


def test_all_comes_up_and_the_first_packet_is_sealed(site: Site) -> None:
    up = site.up()
    began = time.monotonic()
    assert "all 9 endpoints answer" in site.inside("code", "sonar-access", "check")
    run = site.launch()
    assert site.made.ended(run) == "SUCCESS"
    first = time.monotonic() - began
    figure(f"up in {up:.0f} s, the first packet {first:.0f} s after that")
    assert "is as it was sealed" in site.inside(
        "code", "sonar-access", "evidence", "verify", "--all"
    )


def test_only_the_code_server_can_change_the_warehouse_and_nobody_what_is_append_only(
    site: Site,
) -> None:
    may = {
        service: sorted(set(site.inside(service, "python", "-", text=TRIES).splitlines()))
        for service in OURS
    }
    figure(f"from inside: {may}")
    assert may.pop("code") == [
        "DELETE fct_user_access",
        "SELECT fct_user_access",
        "SELECT raw_body",
    ]
    assert set(map(tuple, may.values())) == {()}
    for service in OURS[1:]:
        environment = site.inside(service, "cat", "/proc/1/environ")
        assert not re.search(
            r"SONAR_(?!ACCESS_DATA_DIR)|WAREHOUSE|password@|:[^/@\0]+@", environment
        ), service


def test_a_decision_takes_the_role_of_an_operator(site: Site) -> None:
    refused = site.inside(
        "code",
        "sonar-access",
        "snapshot",
        "retract",
        "1",
        "--reason",
        "r",
        "--by",
        "ceo",
        check=False,
    )
    assert "permission denied for table snapshot_decision" in refused
    done = site.compose(
        "run",
        "--rm",
        "-T",
        "operator",
        "snapshot",
        "retract",
        "1",
        "--reason",
        "a test",
        "--by",
        "ada",
    )
    assert "retracted" in done
    assert site.made.ended(site.launch()) == "SUCCESS"


def test_every_setting_of_the_file_reaches_the_code_server(site: Site) -> None:
    said = json.loads(site.compose("config", "--format", "json"))["services"]["code"]["environment"]
    named = set(re.findall(r"^([A-Z_]+)=", (site.folder / "settings.env").read_text(), re.M))
    assert named <= said.keys()
    example = (ROOT / "deploy" / "settings.env.example").read_text()
    assert {
        f"SONAR_ACCESS_{name.upper()}" for name in Settings.model_fields if name not in OF_FILE
    } <= set(re.findall(r"SONAR_ACCESS_\w+", example))


def test_a_code_server_that_is_told_to_stop_waits_for_its_runs(site: Site) -> None:
    site.up("--force-recreate", latency=2000)
    run = site.begins()
    site.compose("stop", "code")
    assert site.made.status(run) == "SUCCESS"


def test_a_run_that_dies_with_its_code_server_is_said_within_five_minutes(site: Site) -> None:
    site.up(latency=2000)
    site.made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
    run = site.begins()
    began = time.monotonic()
    site.compose("kill", "code")
    site.up("--force-recreate", "code")
    assert site.made.ended(run, seconds=300, every=2.0) == "FAILURE"
    figure(
        "a run whose code server was killed is said to have failed after"
        f" {time.monotonic() - began:.0f} s"
    )
    assert "The run's process was lost" in site.inside(
        "code", "sonar-access", "alerts", "list", check=False
    )


def test_a_new_password_takes_two_commands_and_a_web_server_whose_database_is_lost_is_not_healthy(
    site: Site,
) -> None:
    passwords = site.folder / "secrets" / "passwords"
    kept = [
        line
        for line in passwords.read_text().splitlines()
        if not line.startswith(("dagster=", "pipeline="))
    ]
    passwords.write_text("\n".join(kept) + "\n")
    subprocess.run([site.folder / "prepare.sh"], check=True)
    site.up("--force-recreate")
    assert site.made.ended(site.launch()) == "SUCCESS"
    site.compose("kill", "postgres")
    for service in ("web", "read_only"):
        until(
            f"unhealthy {service}",
            lambda service=service: site.status_of(service) == "unhealthy",  # type: ignore[misc]
            seconds=180,
            every=3.0,
        )
    site.up()
    # Connections that the web servers kept are dropped after so long (compose.yaml).
    time.sleep(30)
    assert site.made.ended(site.launch()) == "SUCCESS"


def test_an_upgrade_does_not_change_tables_under_a_run(site: Site) -> None:
    site.up("--force-recreate", latency=2000)
    run = site.begins()
    # There is one revision yet: a warehouse that does not say its own stands for one that has to be
    # changed.
    renamed = "ALTER TABLE sonar_access.{} RENAME TO {}"
    ask = ("psql", "-U", "postgres", "-d", "sonar_access", "-c")
    site.inside("postgres", *ask, renamed.format("sonar_access_version", "nobody_knows"))
    refused = site.compose(
        "run", "--rm", "-T", "upgrade", "sonar-access", "upgrade", "--wait", "0", check=False
    )
    assert "A run goes on" in refused
    site.inside("postgres", *ask, renamed.format("nobody_knows", "sonar_access_version"))
    assert "was already at revision" in site.compose("run", "--rm", "-T", "upgrade")
    assert site.made.ended(run, seconds=300) == "SUCCESS"


def commands_of(title: str) -> list[str]:
    """The commands of one point of the page."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    point = page.split(f"- **{title}.**")[1].split("\n- **")[0].split("\n\n")[0]
    return [" ".join(command.split()) for command in re.findall(r"`(docker [^`]+)`", point)]


def test_a_backup_brings_everything_back_where_nothing_is(site: Site) -> None:
    site.up()
    assert site.made.ended(site.launch()) == "SUCCESS"
    asked = ("code", "sonar-access", "evidence", "list", "--format", "csv")
    before = site.inside(*asked)
    known = {**os.environ, "IMAGE": IMAGE, "LATENCY": "0"}
    for command in commands_of("Backup"):
        subprocess.run(
            ["bash", "-c", f"umask 077; {command}"], cwd=site.folder, env=known, check=True
        )
    site.compose("down", "--volumes", "--timeout", "5")
    *restoring, up = commands_of("Restore")
    began = time.monotonic()
    for command in restoring:
        subprocess.run(["bash", "-c", command], cwd=site.folder, env=known, check=True)
    assert up == "docker compose up -d"
    site.up()
    figure(f"restored: {time.monotonic() - began:.0f} s")
    assert site.inside(*asked) == before
    assert "is what was recorded" in site.inside("code", "sonar-access", "warehouse", "verify")
    assert "is as it was sealed" in site.inside(
        "code", "sonar-access", "evidence", "verify", "--all"
    )


def test_a_version_hands_over_all_that_it_has_to_the_next(site: Site) -> None:
    """`OLDER_IMAGE` is that of an earlier commit: the workflow builds it from the one before."""
    older = os.environ.get("OLDER_IMAGE")
    if not older:
        pytest.skip("no image of an earlier commit is named: OLDER_IMAGE")
    site.compose("down", "--volumes", "--timeout", "5")
    site.image = older
    site.up()
    assert site.made.ended(site.launch()) == "SUCCESS"
    before = site.inside("code", "sonar-access", "evidence", "list", "--format", "csv").splitlines()
    site.image = IMAGE
    took = site.up()
    figure(f"from the image of an earlier commit to this one: {took:.0f} s")
    assert "is what was recorded" in site.inside("code", "sonar-access", "warehouse", "verify")
    assert site.made.ended(site.launch()) == "SUCCESS"
    after = site.inside("code", "sonar-access", "evidence", "list", "--format", "csv").splitlines()
    assert len(before) == 2
    assert {*before} < {*after}
    assert "is as it was sealed" in site.inside(
        "code", "sonar-access", "evidence", "verify", "--all"
    )


def test_what_five_idle_services_cost(site: Site) -> None:
    site.up("--force-recreate", often=False)
    time.sleep(60)
    services = (*OURS, "postgres")
    before, began = {name: site.cpu_seconds(name) for name in services}, time.monotonic()
    time.sleep(180)
    passed = time.monotonic() - began
    shares = {name: (site.cpu_seconds(name) - before[name]) / passed for name in services}
    figure(
        f"idle, share of one core: {sum(shares.values()):.1%}"
        f" ({', '.join(f'{n} {s:.1%}' for n, s in shares.items())})"
    )
    assert sum(shares.values()) < 0.5, "and nothing spins; the figure itself stands in the note"
