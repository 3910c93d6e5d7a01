"""What a daily sync costs above Dagster's own floor: `python -m benchmarks.daily_run` (2,000
members, 60 groups).

Two jobs of the same shape run in turn in processes of their own, against one simulated SonarCloud
in a third: ours, and one whose assets and checks are the same but empty. CPU is that of the whole
process, imports and the first migration included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROUNDS = 5


def child(kind: str, folder: Path) -> None:
    """One process: run the daily job once, print what it took as JSON."""
    began = time.perf_counter()
    from sonar_access_pipeline.orchestration.resources import Resources
    from sonar_access_pipeline.settings import load

    settings = load().model_copy(update={"data_dir": folder})
    day = str(datetime.now(UTC).date())
    if kind == "ours":
        from sonar_access_pipeline.orchestration.launch import Launcher

        with Launcher(Resources(settings)) as launcher:
            outcome = launcher.sync(settings.connections[0], day)
        assert outcome.success, outcome.sentence
    else:
        run_empty(Resources(settings), day)
    times = os.times()
    print(json.dumps({"wall": time.perf_counter() - began, "cpu": times.user + times.system}))


def run_empty(resources: Any, day: str) -> None:
    """Run the same job with the same assets and checks, which do nothing."""
    import dagster as dg

    from benchmarks.hollow import hollow
    from sonar_access_pipeline.orchestration.jobs import daily_job_name
    from sonar_access_pipeline.orchestration.launch import QUIET, dagster_home

    job = hollow(resources).resolve_job_def(daily_job_name(resources.settings.connections[0]))
    with dg.DagsterInstance.from_config(str(dagster_home(resources.settings))) as instance:
        done = job.execute_in_process(instance=instance, partition_key=day, run_config=QUIET)
        assert done.success


def measure(kind: str, folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Run one child and read what it printed."""
    command = [sys.executable, "-m", "benchmarks.daily_run", kind, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def medians(measured: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure."""
    return {
        figure: statistics.median(row[figure] for row in measured) for figure in ("wall", "cpu")
    }


def main() -> None:
    """Interleave the rounds and print medians."""
    command = [
        sys.executable,
        "-m",
        "sonar_access_pipeline.simulator",
        "--accounts",
        "2000",
        "--groups",
        "60",
    ]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as scratch,
    ):
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        known = {
            "SONAR_HOST_URL": url,
            "SONAR_ORGANIZATION": "acme",
            "SONAR_TOKEN": "simulated-token",
        }
        known["SONAR_ACCESS_REQUESTS_PER_MINUTE"] = (
            "1000000"  # what is waited for would hide what is done
        )
        environment = {
            n: v for n, v in os.environ.items() if not n.startswith(("SONAR", "DAGSTER"))
        } | known
        rows: dict[tuple[str, str], list[dict[str, float]]] = {}
        for number in range(ROUNDS):
            for order in ("first", "second"):
                for kind in ("empty", "ours"):
                    folder = Path(scratch, f"{number}-{kind}")
                    rows.setdefault((order, kind), []).append(measure(kind, folder, environment))
        server.terminate()
    print(f"medians of {ROUNDS} rounds, interleaved, 2,000 members and 60 groups")
    print(
        "| sync | empty: wall s | CPU s | ours: wall s | CPU s | CPU above empty, s"
        " |\n|---|---|---|---|---|---|"
    )
    for order in ("first", "second"):
        empty, ours = (
            {f: statistics.median(m[f] for m in rows[order, kind]) for f in ("wall", "cpu")}
            for kind in ("empty", "ours")
        )
        above = ours["cpu"] - empty["cpu"]
        print(
            f"| {order} | {empty['wall']:.2f} | {empty['cpu']:.2f} | {ours['wall']:.2f} |"
            f" {ours['cpu']:.2f} | {above:.2f} |"
        )


if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else main()
