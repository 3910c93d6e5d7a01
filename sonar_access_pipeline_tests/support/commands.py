"""Commands in real processes of their own, without the seconds that each would take to load Dagster
and pandas.

One process loads everything once, and makes a copy of itself (`fork`) for every command. It has one
thread, so that a copy is whole; it opens nothing, so that a copy shares nothing. `python -m
sonar_access_pipeline_tests.support.commands` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sonar_access_pipeline.simulator.server import Simulator

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-of-the-command-line"
TODAY = datetime.now(UTC).date()


class Commands:
    """The process that makes copies of itself. Use as a context manager."""

    def __init__(self) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SONAR", "DAGSTER"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sonar_access_pipeline_tests.support.commands"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(
        self, folder: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """`sonar-access` with `arguments` in `folder`, seeing `environment` and nothing else of
        ours.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as place:
            files = [str(Path(place) / name) for name in ("stdout", "stderr")]
            asked = {
                "folder": str(folder),
                "arguments": arguments,
                "environment": dict(environment),
                "files": files,
            }
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(
                arguments, status, *(Path(file).read_text() for file in files)
            )


def settings(simulator: Simulator) -> dict[str, str]:
    return {"SONAR_TOKEN": TOKEN, "SONAR_ORGANIZATION": "acme", "SONAR_HOST_URL": simulator.url}


def ends(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One sentence, the exit status, no traceback, no token."""
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "Traceback" not in said
    assert TOKEN not in said
    for word in words:
        assert word in said


def _become(asked: Mapping[str, Any]) -> None:
    """In the copy: be the command, and end with its status."""
    status = 70
    try:
        for number, file in enumerate(asked["files"], start=1):
            opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, number)
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        sys.argv = ["sonar-access", *asked["arguments"]]
        from sonar_access_pipeline.cli import main

        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001  # as the interpreter does, which is not reached from a copy
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Load what commands load, then make one copy for each line of standard input, and say its
    status.
    """
    import dagster  # noqa: F401
    import pandas  # noqa: F401

    import sonar_access_pipeline.cli
    import sonar_access_pipeline.orchestration.launch  # noqa: F401

    for line in sys.stdin:
        asked, copy = json.loads(line), os.fork()
        if copy == 0:
            _become(asked)
        _, ended = os.waitpid(copy, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
