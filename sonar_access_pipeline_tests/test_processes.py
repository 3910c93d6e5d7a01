"""Runs whose process is gone are ended, and no other: on a real instance of Dagster, with real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from sonar_access_pipeline.orchestration import processes
from sonar_access_pipeline_tests.deployment import until

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


def noted(process: int, host: str = socket.gethostname()) -> dict[str, str]:
    """What a step notes that works in a process."""
    return {**LAUNCHED, processes.TAG: f"{host} {process}:{processes._born(process)}"}


def test_a_run_whose_process_is_gone_fails_and_its_slot_is_free(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = started(instance, noted(child.pid))
    assert processes.end_lost(instance, lambda _: True) == []
    child.kill()
    child.wait()
    assert processes.end_lost(instance, lambda _: False) == [], "somebody else's runs are left alone"
    assert processes.end_lost(instance, lambda _: True) == [run]
    ended = instance.get_run_by_id(run)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert processes.end_lost(instance, lambda _: True) == []


def test_a_step_in_a_process_of_its_own_belongs_to_the_process_that_waits_for_it(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = started(instance, LAUNCHED)
    processes.note(instance, run)
    record = instance.get_run_by_id(run)
    assert record is not None
    host, own, parent = record.tags[processes.TAG].split(" ")
    assert (host, own.split(":")[0], parent.split(":")[0]) == (socket.gethostname(), str(os.getpid()), str(os.getppid()))
    gone = f"{child.pid}:{processes._born(child.pid)}"
    child.kill()
    child.wait()
    instance.add_run_tags(run, {processes.TAG: f"{host} {gone} {parent}"})
    assert processes.end_lost(instance, lambda _: True) == []
    instance.add_run_tags(run, {processes.TAG: f"{host} {gone} {gone}"})
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_a_process_that_ended_and_that_nobody_waited_for_is_gone(
    instance: dg.DagsterInstance, child: subprocess.Popen[bytes]
) -> None:
    run = started(instance, noted(child.pid))
    child.kill()
    until("end", lambda: "Z" in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[:1])
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_a_number_that_another_process_has_now_is_not_the_process_that_was_noted(instance: dg.DagsterInstance) -> None:
    """As in a container that was made anew, whose processes have the same numbers."""
    run = started(instance, {**LAUNCHED, processes.TAG: f"{socket.gethostname()} {os.getpid()}:1"})
    assert processes.end_lost(instance, lambda _: True) == [run]


def test_what_cannot_be_known_is_left_alone(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {**LAUNCHED, processes.TAG: "another-host 1:1"}
    of_a_command = {processes.TAG: f"{socket.gethostname()} 999999:1"}
    for tags in (elsewhere, of_a_command, LAUNCHED):
        started(instance, tags)
    assert processes.end_lost(instance, lambda _: True) == []
    monkeypatch.setattr(processes, "UNNOTED", timedelta(0))
    (run,) = processes.end_lost(instance, lambda _: True)
    assert processes.TAG not in (instance.get_run_by_id(run) or pytest.fail("it is gone")).tags
