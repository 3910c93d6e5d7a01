"""The first command on machines as they are: which Python is taken, what is said where none fits,
what tests leave out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sonar_access_pipeline_tests.support.deployment import ROOT
from sonar_access_pipeline_tests.support.programs import LACKING, PACKAGES, left_out, needs

LIKE_PYENV = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"
OLDER = '#!/bin/sh\ncase "$*" in *version_info*) exit 1;; esac\n'
TELLING = f"""#!/bin/sh
case "$*" in *"-m venv"*) echo "$0" > taken;; esac
exec "{Path(sys.executable).resolve()}" "$@"
"""
REAL = f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n'
WITHOUT_VENV = (
    f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec "{Path(sys.executable).resolve()}"'
    ' "$@"\n'
)
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with nothing but what makes the environment."""
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "tools", folder / "tools")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def make(project: Path, programs: dict[str, str], **known: str) -> subprocess.CompletedProcess[str]:
    """Make the environment where these are all programs that are called like a Python."""
    installed = project.parent / "installed"
    shutil.rmtree(installed, ignore_errors=True)
    installed.mkdir()
    for name, text in programs.items():
        (installed / name).write_text(text)
        (installed / name).chmod(0o755)
    for name in ("cat", "rm", "sed", "sh"):
        (installed / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(installed), **known}
    words = ["sh", "tools/environment.sh", ".venv"]
    return subprocess.run(
        words, cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_the_newest_python_that_fits_is_taken_once_and_what_is_half_made_or_was_moved_is_made_anew(
    project: Path,
) -> None:
    found = {
        "python3.14": LIKE_PYENV,
        "python3.13": WITHOUT_VENV,
        "python3.12": TELLING,
        "python3.11": TELLING,
        "python3": TELLING,
    }
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert make(project, found).returncode == 0
    assert (project / "taken").read_text().endswith("/python3.12\n")
    python = project / ".venv" / "bin" / "python"
    assert (
        subprocess.run(
            [python, "-m", "pip", "--version"], check=False, capture_output=True
        ).returncode
        == 0
    )
    made = python.lstat().st_mtime_ns
    assert make(project, found).returncode == 0
    assert python.lstat().st_mtime_ns == made
    project = project.rename(project.with_name("moved"))
    python = project / ".venv" / "bin" / "python"
    (project / "my pythons").mkdir()
    (project / "my pythons" / "python").symlink_to(Path(sys.executable).resolve())
    assert make(project, {}, PYTHON=str(project / "my pythons" / "python")).returncode == 0
    assert python.lstat().st_mtime_ns != made


@pytest.mark.parametrize(
    ("programs", "known", "said"),
    [
        (
            {},
            {},
            (
                "Python 3.11 to 3.14 is needed, and none is installed; install one, or name it:"
                " make demo PYTHON="
            ),
        ),
        (
            {"python3": OLDER, "python3.14": LIKE_PYENV},
            {},
            "Python 3.11 to 3.14 is needed, and none is installed",
        ),
        (
            {"python3": WITHOUT_VENV},
            {},
            f"python3 cannot make an environment: run `apt install python{HERE}-venv`, then",
        ),
        (
            {"python3": REAL},
            {"PYTHON": "python3.9"},
            "python3.9 is no Python 3.11 to 3.14; name another: make demo PYTHON=",
        ),
    ],
)
def test_what_is_missing_is_said_once_with_the_command_and_nothing_is_half_made(
    project: Path, programs: dict[str, str], known: dict[str, str], said: str
) -> None:
    done = make(project, programs, **known)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (project / ".venv").exists()


def test_the_settings_that_a_person_has_for_other_pythons_reach_no_command_of_ours() -> None:
    said = {
        "PIP_USER": "1",
        "PYTHONPATH": "/of/another",
        "PYTHONHOME": "/of/another",
        "PIP_INDEX_URL": "https://index.example",
    }
    rule = "seen:\n\t@env\ninclude Makefile\n"
    done = subprocess.run(
        ["make", "-s", "-f", "-", "seen"],
        input=rule,
        cwd=ROOT,
        env={**os.environ, **said},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert seen["PIP_USER"] == "0"
    assert seen["PIP_INDEX_URL"] == "https://index.example"
    assert not {"PYTHONPATH", "PYTHONHOME"} & seen.keys()


def test_what_is_left_out_is_said_with_the_package_that_brings_it_and_fails_where_all_must_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reasons = [
        f"{LACKING}chromium: apt install chromium",
        f"{LACKING}minio: `make stores`",
        "SQLite cannot",
    ]
    assert (
        left_out(reasons)
        == "left out: 1 tests that need chromium. They run after: apt install chromium"
    )
    assert left_out(reasons[1:]) == ""
    monkeypatch.setenv("PATH", "/none")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="this machine has no ssh-keygen: apt install openssh-client"
    ):
        needs("ssh-keygen")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(
        pytest.fail.Exception, match="this machine has no ssh-keygen: apt install openssh-client"
    ):
        needs("ssh-keygen")


def test_the_last_line_of_a_test_run_says_what_was_left_out(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "sonar_access_pipeline_tests/evidence/test_stamps.py",
    ]
    known = {name: value for name, value in os.environ.items() if name != "CI"} | {
        "PATH": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [*words, "-k", "openssl"], cwd=ROOT, env=known, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1].endswith(
        "tests that need openssl. They run after: apt install openssl"
    ), done.stdout


def test_the_command_of_the_integration_installs_every_program_that_a_test_uses() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    (packages,) = re.findall(r"^packages=\((.*)\)$", run, re.M)
    assert packages.split() == sorted(set(PACKAGES.values()))
    assert "CI=true exec make test" in run
