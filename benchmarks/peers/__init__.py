"""Peers that are measured, each in an environment of its own below `.benchmarks/`, made when first
needed.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / ".benchmarks"


def command(name: str) -> list[str]:
    """How to start a peer: its environment's Python, and its file."""
    environment = ENVIRONMENTS / name
    if not (environment / "ready").exists():
        print(f"installing {name} into an environment of its own (once) ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        pip = [
            str(environment / "bin" / "pip"),
            "install",
            "--quiet",
            "-r",
            str(HERE / f"{name}.txt"),
        ]
        subprocess.run(pip, check=True)
        (environment / "ready").touch()
    return [str(environment / "bin" / "python"), str(HERE / f"{name}.py")]
