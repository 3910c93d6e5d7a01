"""A whole deployment on this machine, from the files under `deploy/`: code server, web server,
daemon, each a real process.

Talks to it as the UI does, through GraphQL. Used by tests and benchmarks.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import requests
import yaml

from sonar_access_pipeline_tests.support.programs import free_port

ROOT = Path(__file__).parents[2]
LOCATION = "sonar_access_pipeline"
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
PATIENCE = 90.0
T = TypeVar("T")


def until(
    what: str, found: Callable[[], T | None], *, seconds: float = PATIENCE, every: float = 0.2
) -> T:
    """Wait until `found` gives something true, and give it. Fails with `what` that did not
    happen.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if answer := found():
            return answer
        time.sleep(every)
    raise AssertionError(f"after {seconds:.0f} s there is still no {what}")


@contextmanager
def environment(known: Mapping[str, str]) -> Iterator[None]:
    """Have this process know variables for a while."""
    before = dict(os.environ)
    os.environ.update(known)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass
class Deployment:
    """Processes by name, and where the web server listens."""

    home: Path
    environment: Mapping[str, str]
    web_port: int
    read_only_port: int
    code_port: int
    module: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        """Start a process; what it says goes to a file beside the instance."""
        log = (self.home / f"{name}.log").open("ab")
        script = Path(sys.executable).parent
        self.processes[name] = subprocess.Popen(
            [str(script / command[0]), *command[1:]],
            cwd=self.home,
            env=dict(self.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def start_service(self, name: str, port: int) -> None:
        """Start a service of `deploy/compose.yaml` with the command that stands there, on another
        port and on loopback only.
        """
        changed = {
            "0.0.0.0": "127.0.0.1",
            "4000": str(port),
            "3000": str(port),
            f"{LOCATION}.definitions": self.module,
        }
        self.start(
            name, *(changed.get(word, word) for word in COMPOSE["services"][name]["command"])
        )

    def start_code(self) -> None:
        """Start the code server."""
        self.start_service("code", self.code_port)
        until("code server", lambda: listens(self.code_port))

    def start_daemon(self) -> None:
        """Start the daemon."""
        self.start_service("daemon", 0)

    def kill(self, name: str) -> None:
        """Kill a process and all it started, without a word."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, query: str, *, read_only: bool = False, **variables: Any) -> Any:
        """The answer to a GraphQL question or command: the one field that it asks for."""
        port = self.read_only_port if read_only else self.web_port
        answer = requests.post(
            f"http://127.0.0.1:{port}/graphql",
            json={"query": query, "variables": variables},
            timeout=60,
        ).json()
        assert not answer.get("errors"), answer
        (found,) = answer["data"].values()
        return found

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's instance, as the processes see it."""
        with (
            environment(self.environment),
            dg.DagsterInstance.from_config(str(self.home)) as opened,
        ):
            yield opened

    def switch_on(self, *, schedules: Sequence[str] = (), sensors: Sequence[str] = ()) -> None:
        """Switch schedules and sensors on, as one does in the UI."""
        for name in schedules:
            assert (
                self.ask(START_SCHEDULE, selector=selector(scheduleName=name))["__typename"]
                == "ScheduleStateResult"
            )
        for name in sensors:
            assert (
                self.ask(START_SENSOR, selector=selector(sensorName=name))["__typename"] == "Sensor"
            )

    def launch(self, job: str, *, location: str = LOCATION, **tags: str) -> str:
        """Queue a run of a job; its id."""
        answer = self.ask(LAUNCH, params=launch_params(job, tags, location))
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def backfill(self, assets: Sequence[Sequence[str]], days: Sequence[str]) -> str:
        """Ask for a backfill of days of assets, as the UI does; its id."""
        answer = self.ask(BACKFILL, params=backfill_params(assets, days))
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def backfilled(self, backfill_id: str) -> Any:
        """A backfill that has come to its end; None while it goes on."""
        found = self.ask(BACKFILLED, id=backfill_id)
        return (
            found
            if found["status"].startswith("COMPLETED") or found["status"] == "FAILED"
            else None
        )

    def status(self, run_id: str) -> str:
        """The status of a run."""
        return str(self.ask(STATUS, id=run_id)["status"])

    def ended(self, run_id: str, *, seconds: float = PATIENCE, every: float = 0.2) -> str:
        """Wait for the end of a run; its status."""
        return until(
            f"end of run {run_id}",
            lambda: s if (s := self.status(run_id)) in ("SUCCESS", "FAILURE", "CANCELED") else None,
            seconds=seconds,
            every=every,
        )

    def worker_of(self, run_id: str) -> int:
        """The process of a run, once it has one."""

        def said() -> int | None:
            with self.instance() as instance:
                texts = [entry.message for entry in instance.all_logs(run_id)]
            found = [match for text in texts if (match := re.search(r"\(pid: (\d+)\)", text))]
            return int(found[0].group(1)) if found else None

        return until(f"process of run {run_id}", said)


def selector(**more: str) -> dict[str, str]:
    """What names something of our code location."""
    return {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", **more}


def launch_params(job: str, tags: Mapping[str, str], location: str = LOCATION) -> dict[str, Any]:
    """What the UI sends to launch a run."""
    return {
        "selector": {**selector(jobName=job), "repositoryLocationName": location},
        "executionMetadata": {
            "tags": [{"key": key, "value": value} for key, value in tags.items()]
        },
    }


def backfill_params(assets: Sequence[Sequence[str]], days: Sequence[str]) -> dict[str, Any]:
    """What the UI sends to materialize a range of partitions."""
    return {
        "assetSelection": [{"path": list(path)} for path in assets],
        "partitionNames": list(days),
        "fromFailure": False,
        "title": "from the UI",
    }


START_SCHEDULE = (
    "mutation($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) {"
    " __typename } }"
)
START_SENSOR = (
    "mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"
)
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on UnauthorizedError { message } } }"""  # noqa: E501
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } ... on UnauthorizedError { message } } }"""  # noqa: E501
BACKFILLED = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on PartitionBackfill { status runs { id status } error { message } } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) { __typename
  ... on UnauthorizedError { message } } }"""
LOADED = """query { workspaceOrError { __typename ... on Workspace { locationEntries { name locationOrLoadError { __typename
  ... on PythonError { message } } } } } }"""  # noqa: E501


@contextmanager
def deployment(
    home: Path,
    environment: Mapping[str, str],
    *,
    postgres_url: str | None = None,
    read_only: bool = False,
    module: str = f"{LOCATION}.definitions",
) -> Iterator[Deployment]:
    """A deployment whose instance lies in `home`, or in PostgreSQL; `environment` says our
    settings.
    """
    home.mkdir(parents=True)
    source = ROOT / "deploy" / "dagster.postgres.yaml" if postgres_url else ROOT / "dagster.yaml"
    settings = source.read_text()
    # Only to be done in minutes: how often Dagster looks whether a process is still there.
    settings = re.sub(r"poll_interval_seconds: \d+", "poll_interval_seconds: 3", settings)
    (home / "dagster.yaml").write_text(settings)
    port = free_port()
    workspace = (ROOT / "deploy" / "workspace.yaml").read_text()
    (home / "workspace.yaml").write_text(
        workspace.replace("host: code", "host: 127.0.0.1").replace("4000", str(port))
    )
    full = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(home),
        **({"DAGSTER_POSTGRES_URL": postgres_url} if postgres_url else {}),
        **environment,
    }
    made = Deployment(home, full, free_port(), free_port(), port, module)
    try:
        made.start_code()
        made.start_service("web", made.web_port)
        made.start_daemon()
        if read_only:
            made.start_service("read_only", made.read_only_port)
            until("read-only web server", lambda: listens(made.read_only_port))
        until("web server", lambda: listens(made.web_port))
        until("code location", lambda: _is_loaded(made))
        yield made
    finally:
        for name in list(made.processes):
            made.kill(name)


def _is_loaded(made: Deployment) -> bool:
    (entry,) = made.ask(LOADED)["locationEntries"]
    found = entry["locationOrLoadError"]
    return bool(found and found["__typename"] == "RepositoryLocation")


def listens(port: int) -> bool:
    """Tell whether something listens there."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
