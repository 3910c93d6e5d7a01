"""Runs whose process is gone are ended, and no other: on a real instance of Dagster, with real
processes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import GRPC_INFO_TAG

from sonar_access_pipeline.orchestration import processes
from sonar_access_pipeline_tests.support.deployment import until

LAUNCHED = {GRPC_INFO_TAG: '{"host": "code", "port": 4000}'}


@dg.job
def nothing() -> None:
    pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    """A run that began, with tags."""
    run = instance.create_run_for_job(nothing, tags=tags, status=dg.DagsterRunStatus.STARTING)
    instance.report_engine_event("started", run)
    instance.handle_run_event(
        run.run_id,
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="nothing"),
    )
    return run.run_id


def noted(
    instance: dg.DagsterInstance,
    run: str,
    *born: str,
    host: str = socket.gethostname(),
    of: str = "",
) -> str:
    """Have a run say that it works in processes, each with its birth."""
    instance.add_run_tags(
        run, {processes.TAG: f"{of or run} {host} {processes._numbering()} {' '.join(born)}"}
    )
    return run


def at(process: int) -> str:
    """A process with its birth."""
    return f"{process}:{processes._born(process)}"


def record_of(instance: dg.DagsterInstance, run: str) -> RunRecord:
    found = instance.get_run_record_by_id(run)
    assert found is not None
    return found


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def test_a_run_whose_process_is_gone_fails_and_its_slot_is_free(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = noted(instance, started(instance, LAUNCHED), at(child.pid))
    assert processes.end_lost(instance, lambda _: True) == []
    end(child)
    assert processes.end_lost(instance, lambda _: False) == [], (
        "somebody else's runs are left alone"
    )
    assert processes.end_lost(instance, lambda _: True) == [run]
    assert record_of(instance, run).dagster_run.status is dg.DagsterRunStatus.FAILURE
    assert processes.end_lost(instance, lambda _: True) == []


def test_a_run_that_was_to_be_cancelled_and_has_no_process_ends_too(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = noted(instance, started(instance, LAUNCHED), at(child.pid))
    instance.report_run_canceling(record_of(instance, run).dagster_run)
    end(child)
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_a_run_that_ended_well_between_two_looks_stays_so(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = noted(instance, started(instance, LAUNCHED), at(child.pid))
    born = processes._born

    def ends_now(process: int) -> str:
        if child.poll() is None:
            instance.handle_run_event(
                run, dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name="nothing")
            )
            end(child)
        return born(process)

    monkeypatch.setattr(processes, "_born", ends_now)
    assert processes.end_lost(instance, lambda _: True) == []
    assert record_of(instance, run).dagster_run.status is dg.DagsterRunStatus.SUCCESS


def test_a_run_that_executes_another_again_has_not_its_process(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    end(child)
    noted(instance, started(instance, LAUNCHED), f"{child.pid}:1", of="the-run-before")
    assert processes.end_lost(instance, lambda _: True) == []


def test_a_step_in_a_process_of_its_own_belongs_to_the_process_that_waits_for_it(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = started(instance, LAUNCHED)
    processes.note(instance, run)
    of, host, numbering, own, parent = (
        record_of(instance, run).dagster_run.tags[processes.TAG].split(" ")
    )
    assert (of, host, numbering) == (run, socket.gethostname(), processes._numbering())
    assert (own.split(":")[0], parent.split(":")[0]) == (str(os.getpid()), str(os.getppid()))
    gone = at(child.pid)
    end(child)
    noted(instance, run, gone, parent)
    assert processes.end_lost(instance, lambda _: True) == []
    noted(instance, run, gone, gone)
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_a_process_that_ended_and_that_nobody_waited_for_is_gone(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = noted(instance, started(instance, LAUNCHED), at(child.pid))
    child.kill()
    until(
        "end",
        lambda: "Z" in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[:1],
    )
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_a_number_that_another_process_has_now_is_not_the_process_that_was_noted(
    instance: dg.DagsterInstance,
) -> None:
    """As in a container that was made anew, whose processes have the same numbers."""
    run = noted(instance, started(instance, LAUNCHED), f"{os.getpid()}:1")
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_what_cannot_be_known_is_left_alone(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(instance, started(instance, LAUNCHED), "1:1", host="another-host")
    of_a_command = noted(instance, started(instance, {}), "999999:1")
    unnoted = started(instance, LAUNCHED)
    assert processes.end_lost(instance, lambda _: True) == []
    monkeypatch.setattr(processes, "UNNOTED", timedelta(0))
    assert processes.end_lost(instance, lambda _: True) == [unnoted]
    assert record_of(instance, of_a_command).dagster_run.status is dg.DagsterRunStatus.STARTED


def test_launchers_that_look_for_themselves_are_left_alone(tmp_path: Path) -> None:
    launcher = (
        "run_launcher:\n  module: dagster._core.launcher.sync_in_memory_run_launcher\n  class:"
        " SyncInMemoryRunLauncher\n"
    )
    (tmp_path / "dagster.yaml").write_text(launcher)
    with dg.DagsterInstance.from_config(str(tmp_path)) as opened:
        noted(opened, started(opened, LAUNCHED), "999999:1")
        assert processes.end_lost(opened, lambda _: True) == []


HOUR = timedelta(hours=1)


def test_before_an_upgrade_a_run_goes_on_unless_it_is_known_not_to(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    def goes_on(run: str, longest: timedelta = HOUR) -> bool:
        return processes.goes_on(record_of(instance, run), longest)

    def launched_by(**server: object) -> str:
        return started(instance, {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", **server})})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert goes_on(launched_by(port=port))
        assert not goes_on(launched_by(port=port), timedelta(0)), "nothing runs for so long"
    assert not goes_on(launched_by(port=port)), "nobody listens there any more"
    assert not goes_on(launched_by(host="no-such-host.invalid", port=port))
    (tmp_path / "socket").touch()
    assert goes_on(launched_by(socket=str(tmp_path / "socket")))
    assert not goes_on(launched_by(socket=str(tmp_path / "none")))
    of_a_command = started(instance, {})
    assert goes_on(of_a_command)
    assert goes_on(noted(instance, of_a_command, "1:1", host="another-host"))
    lives = noted(instance, launched_by(port=port), at(child.pid))
    assert goes_on(lives), "its server has stopped listening, and waits for it"
    noted(instance, of_a_command, at(child.pid))
    assert goes_on(of_a_command)
    end(child)
    assert not goes_on(of_a_command), "it was killed, and nobody will end it"
    assert not goes_on(lives)
