"""Noting in which process a run works, and ending runs whose process is gone: Dagster's default
launcher never looks.

A run is a child of the code server. Where that goes, as in an upgrade, its runs go too, and nobody
says so: they stay STARTED for hours and hold their place in the queue. Each step notes its process
on its run; the watch ends runs whose process is gone.

Launchers that start a container or a pod per run look for themselves, and are left alone; so are a
run of another machine and one that a command runs in its own process.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from sonar_access_pipeline.orchestration.unpublished import GRPC_INFO_TAG

TAG = "sonar_access/process"
UNNOTED = timedelta(minutes=4)
"""After so long a run that began and noted no process has none: a step notes it at once."""
GONE = "The process of this run is gone: its code server was stopped or killed in the middle of it."
WORKING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class _Place:
    """Where a run works, as a step of it noted: the machine, its numbering of processes, and
    processes with their birth.
    """

    host: str
    numbering: str
    born: Mapping[int, str]

    @classmethod
    def here(cls) -> _Place:
        """This process, and the one whose child it is: a step may have one of its own."""
        return cls(
            socket.gethostname(),
            _numbering(),
            {process: _born(process) for process in (os.getpid(), os.getppid())},
        )

    @classmethod
    def noted(cls, run: dg.DagsterRun) -> _Place | None:
        """Read what a run noted of itself.

        A run that executes another one again begins with the tags of that one, which do not count.
        """
        of_run, *fields = run.tags.get(TAG, "").split(" ")
        if of_run != run.run_id:
            return None
        return cls(
            fields[0],
            fields[1],
            {int(number): born for number, born in (each.split(":") for each in fields[2:])},
        )

    @property
    def is_this_machine(self) -> bool:
        """Tell whether it is a machine of this name: this one, or a container that stood in this
        one's place.
        """
        return self.host == socket.gethostname()

    @property
    def lives(self) -> bool:
        """Tell whether one of its processes is there."""
        return self.numbering == _numbering() and any(
            _born(process) == born for process, born in self.born.items()
        )


def note(instance: dg.DagsterInstance, run_id: str) -> None:
    """Note on a run in which process of which machine it works."""
    here = _Place.here()
    processes = " ".join(f"{process}:{born}" for process, born in here.born.items())
    instance.add_run_tags(run_id, {TAG: f"{run_id} {here.host} {here.numbering} {processes}"})


def end_lost(instance: dg.DagsterInstance, is_ours: Callable[[dg.DagsterRun], bool]) -> list[str]:
    """Have runs of ours fail whose process on this machine is gone; their ids."""
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    records = instance.get_run_records(filters=dg.RunsFilter(statuses=WORKING))
    lost = [
        record.dagster_run.run_id
        for record in records
        if is_ours(record.dagster_run) and _is_lost(record)
    ]
    # One that ended well between the two looks has no process either.
    still = instance.get_runs(filters=dg.RunsFilter(run_ids=lost, statuses=WORKING)) if lost else []
    for run in still:
        instance.report_run_failed(run, GONE)
    return [run.run_id for run in still]


def goes_on(record: dg.RunRecord, longest: timedelta) -> bool:
    """Tell whether a run may still work, where no watch ends those that do not: none works for
    `longest`.

    Unlike the watch, whoever asks is not the code server, and may see other processes than it.
    """
    place = _Place.noted(record.dagster_run)
    is_seen = place is not None and place.is_this_machine and place.numbering == _numbering()
    if place is not None and is_seen:
        return place.lives
    if datetime.now(UTC) - _began(record) > longest:
        return False
    return not _has_no_server(record.dagster_run)


def _has_no_server(run: dg.DagsterRun) -> bool:
    """Tell whether nobody listens where the code server was that started a run.

    One that does not answer may be there.
    """
    launched = run.tags.get(GRPC_INFO_TAG)
    if launched is None:
        return False
    server = json.loads(launched)
    if "port" not in server:
        return not Path(server["socket"]).exists()
    try:
        with socket.create_connection((server["host"], server["port"]), timeout=5):
            return False
    except (ConnectionRefusedError, socket.gaierror):
        return True
    except OSError:
        return False


def _is_lost(record: dg.RunRecord) -> bool:
    if GRPC_INFO_TAG not in record.dagster_run.tags:
        # It runs in the process of a command, which may be in another container of the same name.
        return False
    place = _Place.noted(record.dagster_run)
    if place is None:
        return datetime.now(UTC) - _began(record) > UNNOTED
    return place.is_this_machine and not place.lives


def _began(record: dg.RunRecord) -> datetime:
    return (
        datetime.fromtimestamp(record.start_time, UTC)
        if record.start_time
        else record.create_timestamp
    )


def _numbering() -> str:
    """Name the numbering of processes that this one is in: each container has its own
    (pid_namespaces(7)); `-` where none is.
    """
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "-"


def _born(process: int) -> str:
    """Tell when a process of this machine began, in the kernel's ticks (proc(5), field 22 of stat);
    empty where there is none.

    A number of a process is given again, and a container that is made anew begins with the same
    numbers. Where there is no /proc, it is only told whether there is such a process.
    """
    if Path("/proc/self/stat").exists():
        try:
            state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        # One that ended and nobody waited for, as below a container's first process, is there by
        # its number alone.
        return "" if state in ("Z", "X") else fields[18]
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"
