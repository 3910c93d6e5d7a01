"""What a released version wrote stays readable, derivable and verifiable: by this version, and by
one that was changed in the ways in which versions change.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sonar_access_pipeline
from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.rules import RULES
from sonar_access_pipeline.evidence.facts import POPULATION
from sonar_access_pipeline.evidence.tables import FORMATS
from sonar_access_pipeline.warehouse.database import sqlite_url
from sonar_access_pipeline_tests.support import released

RELEASES = sorted(file.name.removesuffix(".tar.xz") for file in released.FOLDER.glob("*.tar.xz"))
PACKAGE = Path(sonar_access_pipeline.__file__).parent

A_RULE = (
    "access/rules.py",
    "STATE_RULES = (\n",
    (
        'STATE_RULES = (\n    StateRule("finds-nothing", 1, Severity.LOW, "finds nothing",'
        " ask=lambda *_: ()),\n"
    ),
)
NO_ADMIN = '    StateRule(\n        "no-admin", 1,'
A_NEWER_RULE = (
    "access/rules.py",
    NO_ADMIN,
    '    StateRule("no-admin", 2, Severity.LOW, "x", ask=lambda *_: [_fail("x", "y")]),\n'
    f"{NO_ADMIN}",
)
A_POLICY_FIELD = (
    "access/policy.py",
    "    max_token_days: int = 365\n",
    "    max_token_days: int = 365\n    max_groups: int = later(9)\n",
)
A_COLUMN = (
    (
        "evidence/facts.py",
        '    "login",\n    "name",\n    "email",',
        '    "login",\n    "nickname",\n    "name",\n    "email",',
    ),
    (
        "evidence/facts.py",
        '        "login": login,\n',
        '        "login": login,\n        "nickname": "N",\n',
    ),
    ("evidence/tables.py", "FORMATS = range(FIRST_FORMAT, 5)", "FORMATS = range(FIRST_FORMAT, 6)"),
    (
        "evidence/columns.py",
        "    # Who.\n",
        '    "nickname": PacketColumn("what friends call it", since=5),\n',
    ),
)
ALL = "all of them"
CHANGES = {
    "a rule that finds nothing": (A_RULE,),
    "a newer version of a rule, which answers otherwise": (A_NEWER_RULE,),
    "a field of the policy": (A_POLICY_FIELD,),
    "a column of the population": A_COLUMN,
    ALL: (A_RULE, A_NEWER_RULE, A_POLICY_FIELD, *A_COLUMN),
}


def test_this_version_has_a_fixture() -> None:
    assert __version__ in RELEASES


@pytest.fixture
def warehouse_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Any:
    """Give the address of a release's warehouse in a database, with its evidence and archive in the
    working folder.
    """

    def bring(release: str, database: str) -> str:
        released.unpacked(release, tmp_path)
        monkeypatch.chdir(tmp_path)
        if database == "sqlite":
            return sqlite_url(released.WAREHOUSE)
        url: str = request.getfixturevalue("postgresql_url")
        released.restored(url)
        return url

    return bring


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("release", RELEASES)
def test_what_a_release_wrote_is_read_verified_derived_and_built_again(
    release: str, database: str, warehouse_of: Any
) -> None:
    url = warehouse_of(release, database)
    assert list(released.faults(url)) == []
    assert released.onward(url)["format"] == FORMATS[-1]


@pytest.mark.parametrize(
    "changed",
    [pytest.param(one, marks=() if one == ALL else pytest.mark.proofs(one)) for one in CHANGES],
)
@pytest.mark.parametrize("release", RELEASES)
def test_what_was_sealed_before_an_ordinary_change_stays_as_it_was(
    release: str, changed: str, warehouse_of: Any
) -> None:
    url = warehouse_of(release, "sqlite")
    copy = Path("copy") / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in CHANGES[changed]:
        text = (copy / name).read_text()
        assert text.count(old) == 1, (name, old)
        (copy / name).write_text(text.replace(old, new))
    environ = {**os.environ, "PYTHONPATH": f"{copy.parent.absolute()}:{PACKAGE.parent}"}
    words = [sys.executable, "-m", "sonar_access_pipeline_tests.support.released", "look", url]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("faults") == []
    is_column = changed in ("a column of the population", ALL)
    rules = {rule.rule_id: rule.version for rule in RULES.values()}
    if changed in ("a rule that finds nothing", ALL):
        rules["finds-nothing"] = 1
    if changed in ("a newer version of a rule, which answers otherwise", ALL):
        rules["no-admin"] = 2
    columns = ["source", *POPULATION]
    assert said == {
        "format": FORMATS[-1] + is_column,
        "columns": [*columns[:3], "nickname", *columns[3:]] if is_column else columns,
        "rules": sorted(f"{rule_id} {version}" for rule_id, version in rules.items()),
    }
