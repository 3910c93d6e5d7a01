"""What the documentation names is there: jobs, sensors, commands, settings, files, tables and
columns.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from sonar_access_pipeline.cli import main
from sonar_access_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sonar_access_pipeline"
DBT = ROOT / "integrations" / "dbt"
PAGES = [
    ROOT / "README.md",
    PACKAGE / "alerts" / "runbook.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
    DBT / "README.md",
]
SOURCE = "\n".join(
    file.read_text()
    for place in (PACKAGE, *(ROOT / name for name in ("deploy", "examples", "benchmarks")), DBT)
    for file in sorted(place.rglob("*"))
    if file.suffix in {".py", ".sql", ".yml", ".yaml", ".toml", ".txt", ".html", ".j2", ".lock"}
    and "__pycache__" not in file.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_is_one(page: Path) -> None:
    known = {f"SONAR_ACCESS_{name.upper()}" for name in Settings.model_fields} | {
        "SONAR_ACCESS_CONFIG",
        "SONAR_ACCESS_DEMO_TOKEN",
    }
    named = set(re.findall(r"SONAR_ACCESS_[A-Z_]+", page.read_text()))
    assert {name for name in named if not name.endswith("_")} - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_is_one_with_its_options(page: Path) -> None:
    text = page.read_text()
    inline = re.findall(r"`(?:\.venv/bin/)?sonar-access ([^`]+)`", text)
    blocks = re.findall(r"```(?:console|bash|sh)?\n(.*?)```", text, re.S)
    called = re.compile(r"(?:^\$ |bin/)\s*\S*sonar-access (.*)")
    shown = [
        found[1]
        for block in blocks
        for line in block.splitlines()
        if (found := called.search(line))
    ]
    for said in (*inline, *shown):
        command: click.Command = main
        words = re.sub(r"\s#.*|[|;&<>].*", "", said).split()
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            assert words[0] in command.commands, f"{page.name}: sonar-access {said}"
            command = command.commands[words.pop(0)]
        options = {option for one in command.params for option in one.opts} | {
            "--help",
            "--version",
        }
        named = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert named <= options, f"{page.name}: sonar-access {said}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_that_looks_like_ours_is_in_the_code(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    named = set(re.findall(r"`(?:<connection>_)?([a-z]+(?:_[a-z0-9]+)+)`", text))
    assert {name for name in named if name not in SOURCE} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_is_named_is_there(page: Path) -> None:
    named = set(re.findall(r"`([a-z_./-]+\.(?:py|toml|yaml|lock|md))`", page.read_text()))
    places = (
        ROOT,
        PACKAGE,
        ROOT / "docs",
        ROOT / "deploy",
        ROOT / "sonar_access_pipeline_tests",
        page.parent,
    )
    lacking = {name for name in named if not any((place / name).exists() for place in places)}
    below = {
        file.name
        for top in (PACKAGE, ROOT / "examples", ROOT / "sonar_access_pipeline_tests")
        for file in top.rglob("*")
    }
    assert {name for name in lacking if "/" in name or name not in below} == set()
