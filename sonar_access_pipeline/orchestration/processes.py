"""In which process a run works, and whether that process is still there: Dagster's default launcher never looks.

A run is a child of the code server. Where that goes, as in an upgrade, its runs go too, and nobody says so: they stay STARTED for
hours and hold their place in the queue. Each step notes its process on its run; the watch ends runs whose process is gone.

Launchers that start a container or a pod per run look for themselves, and are left alone; so is a run of another machine.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.storage.dagster_run import RunRecord, RunsFilter
from dagster._core.storage.tags import GRPC_INFO_TAG

TAG = "sonar_access/process"
UNNOTED = timedelta(minutes=4)
"""After so long a run that began and noted no process has none: a step notes it at once."""
GONE = "The process of this run is gone: its code server was stopped or killed in the middle of it."


def note(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note on a run in which process of which machine it works, and whose child that is: a step may have one of its own."""
    processes = " ".join(f"{process}:{_born(process)}" for process in (os.getpid(), os.getppid()))
    instance.add_run_tags(run_id, {TAG: f"{socket.gethostname()} {processes}"})


def end_lost(instance: dg.DagsterInstance, is_ours: Callable[[dg.DagsterRun], bool]) -> list[str]:
    """Have runs of ours fail whose process on this machine is gone; their ids."""
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return []
    working = RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    found = instance.get_run_records(filters=working)
    lost = [record.dagster_run for record in found if is_ours(record.dagster_run) and _is_lost(record)]
    for run in lost:
        instance.report_run_failed(run, GONE)
    return [run.run_id for run in lost]


def _is_lost(record: RunRecord) -> bool:
    tags = record.dagster_run.tags
    if GRPC_INFO_TAG not in tags:
        # It runs in the process of a command, which may be in another container of the same name.
        return False
    if TAG not in tags:
        began = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None
        return began is not None and datetime.now(UTC) - began > UNNOTED
    host, *noted = tags[TAG].split(" ")
    processes = [each.split(":") for each in noted]
    return host == socket.gethostname() and not any(_born(int(process)) == born for process, born in processes)


def _born(process: int) -> str:
    """When a process of this machine began, in the kernel's ticks (proc(5), field 22 of stat); empty where there is none.

    A number of a process is given again, and a container that is made anew begins with the same numbers. Where there is no /proc,
    it is only told whether there is such a process.
    """
    if Path("/proc/self/stat").exists():
        try:
            state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        # One that ended and nobody waited for, as below a container's first process, is there by its number alone.
        return "" if state in ("Z", "X") else fields[18]
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
