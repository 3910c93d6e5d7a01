"""One demo for all tests that look at one, whichever process they run in: from an installed wheel,
by who comes first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
DAYS = 12


@dataclass(frozen=True)
class Shown:
    """A demo that ended, and its folder."""

    folder: Path
    ended: subprocess.CompletedProcess[str]

    @property
    def environment(self) -> dict[str, str]:
        """Give what everything that looks at it must know."""
        home, config = str(self.folder / "dagster_home"), str(self.folder / "demo.toml")
        return {**os.environ, "DAGSTER_HOME": home, "SONAR_ACCESS_CONFIG": config}


def shown(factory: pytest.TempPathFactory) -> Shown:
    """Run the demo from a wheel, or give the one that another process ran."""
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shown"
    place.mkdir(exist_ok=True)
    ended = place / "ended.json"
    with FileLock(place / "lock"):
        if not ended.exists():
            ended.write_text(json.dumps(_run(place)))
    said = json.loads(ended.read_text())
    return Shown(
        place / "demo",
        subprocess.CompletedProcess([], said["returncode"], said["stdout"], said["stderr"]),
    )


def _run(place: Path) -> dict[str, str | int]:
    source, target = place / "source", place / "installed"
    shutil.copytree(
        ROOT / "sonar_access_pipeline", source / "sonar_access_pipeline", dirs_exist_ok=True
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "flit_core.wheel"], cwd=source, check=True, capture_output=True
    )
    (wheel,) = (source / "dist").glob("*.whl")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    command = [
        sys.executable,
        str(target / "bin" / "sonar-access"),
        "demo",
        "--days",
        str(DAYS),
        "--folder",
        "demo",
    ]
    environment = {
        n: v for n, v in os.environ.items() if not n.startswith(("SONAR", "DAGSTER"))
    } | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
