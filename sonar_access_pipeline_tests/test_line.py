"""The line of packets after a loss or a restore: a loss is on record, a person may state why, and nothing fails for ever."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import folder_of, seal, sign_head
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify_all
from sonar_access_pipeline.warehouse.history import derive
from sonar_access_pipeline.warehouse.snapshots import record
from sonar_access_pipeline_tests.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.sealed import Sealings, edit

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, with the settings of the sealed organization."""
    for name, value in {
        "SONAR_ORGANIZATION": "acme",
        "SONAR_ACCESS_WAREHOUSE_URL": here.warehouse.url.render_as_string(hide_password=False),
        "SONAR_ACCESS_EVIDENCE_URL": str(here.root),
        "SONAR_ACCESS_SIGNING_KEY": str(here.folder / "evidence-key" / "signing_key"),
    }.items():
        monkeypatch.setenv(name, value)

    def asked(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["evidence", *words])
        return done.exit_code, " ".join(done.output.split())

    return asked


def faults(here: Sealings) -> list[str]:
    return verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).faults


def day(here: Sealings, number: int, login: str) -> str:
    """Observe and seal a day, in which somebody is there."""
    at = EPOCH + timedelta(days=number)
    record(here.warehouse, snapshot_of(World(members={login: None}, user_permissions={login: ["admin"]}), at), lambda: at)
    derive(here.warehouse, "acme")
    sign_head(here.warehouse, here.sealing)
    packet = build(here.warehouse, "acme", Window(at.date(), at.date()))
    return seal(packet, here.sealing, here.warehouse, run_id="run").place


def test_a_packet_that_is_lost_for_good_is_stated_once_and_fails_nobody_else_from_then_on(here: Sealings, run: Run) -> None:
    assert run("acknowledge") == (0, "Nothing in the line of packets needs a statement.")
    lost = here.packets[1]
    shutil.rmtree(lost.place)
    key = f"packet:{lost.digest[:12]}"
    status, said = run("acknowledge")
    assert status == 0
    assert key in said
    assert run("verify", str(here.last))[0] == 4
    assert run("acknowledge", "packet:0123456789ab", "--why", "x")[0] == 2, "only what is found can be stated"
    assert run("acknowledge", key)[0] == 2, "a statement says why"
    status, said = run("acknowledge", key, "--why", "The bucket was emptied, SEC-40", "--by", "eve")
    assert status == 0, said
    statement = Path(said.partition("signed: ")[2])
    status, said = run("verify", str(here.last))
    assert status == 0, said
    assert "is not in the evidence folder; eve stated on" in said
    assert "The bucket was emptied, SEC-40" in said
    assert run("verify", "--all")[0] == 0
    day(here, 5, "dan")
    assert run("verify", "--all")[0] == 0
    with here.warehouse.read() as transaction:
        rows = transaction.execute(text("SELECT about, stated_by, reason FROM evidence_statement")).all()
    assert [tuple(row) for row in rows] == [(key, "eve", "The bucket was emptied, SEC-40")]
    # A statement that nobody signed is none.
    edit(statement, "statement.json", lambda document: document.update(about=[*document["about"], "packet:0123456789ab"]))
    assert run("verify", "--all")[0] == 4


def test_after_a_restore_the_register_takes_in_what_the_store_has_and_the_rest_can_be_stated(here: Sealings, run: Run) -> None:
    here.warehouse.close()
    backup = here.folder / "backup.sqlite"
    shutil.copy(here.folder / "warehouse.sqlite", backup)
    lost = day(here, 5, "dan")
    here.warehouse.close()
    shutil.copy(backup, here.folder / "warehouse.sqlite")
    kept = day(here, 6, "dora")
    name = Path(lost).name[:12]
    assert [fault for fault in faults(here) if f"has lost packet {name}" in fault]
    assert run("recover") == (0, f"Entered: {lost}")
    assert run("recover") == (0, "The register knows every packet of the store.")
    left = faults(here)
    assert left
    assert not [fault for fault in left if name in fault and "lost packet" in fault]
    _, said = run("acknowledge")
    keys = [
        word
        for word in said.split()
        if word.partition(":")[1] and word.split(":")[0] in {"fork", "head", "sealed-with", "unregistered", "register"}
    ]
    assert f"fork:{here.packets[-1].digest[:12]}" in keys, "both were sealed behind the same packet, and that stays true"
    status, said = run("acknowledge", *dict.fromkeys(keys), "--why", "Restored from the backup of the fifth")
    assert status == 0, said
    assert faults(here) == []
    for place in (lost, kept):
        assert run("verify", place)[0] in (0, 1)
    day(here, 7, "eve")
    assert faults(here) == [], "and what is sealed from then on stands behind it"


def test_what_a_stranger_put_into_the_store_is_not_taken_into_the_register(here: Sealings, run: Run) -> None:
    path = Path(here.packets[0].place)
    copy = path.parent / f"0123456789ab{path.name[12:]}"
    shutil.copytree(path, copy)
    status, said = run("recover")
    assert status == 1
    assert "Not entered" in said
    shutil.rmtree(copy)
    assert faults(here) == []


def test_a_store_that_is_lost_for_good_is_followed_by_another_when_somebody_says_so(here: Sealings, run: Run) -> None:
    day(here, 4, "carl")
    shutil.rmtree(here.root)
    with pytest.raises(EvidenceError, match="a share that is not mounted, or another bucket"):
        day(here, 5, "dan")
    assert not here.root.exists()
    status, said = run("new-store", "--yes")
    assert status == 0, said
    day(here, 6, "dora")
    _, listed = run("acknowledge")
    keys = [word for word in listed.split() if word.startswith(("packet:", "head:"))]
    assert {f"packet:{one.digest[:12]}" for one in here.packets} <= set(keys)
    assert run("acknowledge", *dict.fromkeys(keys), "--why", "The bucket was deleted")[0] == 0
    assert faults(here) == []


@pytest.mark.parametrize("key", ["heads", "keys", "statements", "store"])
def test_an_organization_with_the_name_of_a_folder_of_ours_has_one_of_its_own(key: str) -> None:
    assert folder_of(key) != key
    assert folder_of(key).startswith("%")
    assert len({folder_of(one) for one in (key, key.upper(), f"{key}s", f"%{key}")}) == 4
