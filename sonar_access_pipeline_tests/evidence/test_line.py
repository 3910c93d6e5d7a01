"""The line of packets after a loss or a restore: a loss is on record, a person may state why, and
nothing fails for ever.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from sonar_access_pipeline.access.snapshot import canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.keys import Trust, endorsed, endorsement_path
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.raw import export_raw
from sonar_access_pipeline.evidence.rehearsal import hindrances
from sonar_access_pipeline.evidence.seal import endorse, folder_of, seal, sign_head
from sonar_access_pipeline.evidence.signers import HEADS, STATEMENTS
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.ledger.packets import unsigned_head
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of, unguard
from sonar_access_pipeline_tests.support.sealed import (
    DAYS,
    Sealings,
    edit,
    live_a_day,
    resigned,
    sealing,
    signer,
)

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
    return live_a_day(here.warehouse, here.sealing, number, login)


def test_a_packet_that_is_lost_for_good_is_stated_once_and_fails_nobody_else_from_then_on(
    here: Sealings, run: Run
) -> None:
    assert run("acknowledge") == (0, "Nothing in the line of packets needs a statement.")
    lost = here.packets[1]
    shutil.rmtree(lost.place)
    key = f"packet:{lost.digest[:12]}"
    status, said = run("acknowledge")
    assert status == 0
    assert key in said
    assert run("verify", str(here.last))[0] == 4
    assert run("acknowledge", "packet:0123456789ab", "--why", "x")[0] == 2, (
        "only what is found can be stated"
    )
    assert run("acknowledge", key)[0] == 2, "a statement says why"
    status, said = run("acknowledge", key, "--why", "The bucket was emptied, SEC-40", "--by", "eve")
    assert status == 0, said
    statement = Path(said.partition("signed: ")[2])
    status, said = run("verify", str(here.last))
    assert status == 0, said
    assert "is not in the evidence folder; eve stated on" in said
    assert "The bucket was emptied, SEC-40" in said
    assert said.endswith("is as it was sealed; what differs around it was stated, as said above.")
    status, said = run("verify", "--all")
    assert status == 0
    assert said.endswith(
        "Each of 2 packets is as it was sealed; what differs around them was stated, as said above."
    )
    day(here, 5, "dan")
    assert run("verify", "--all")[0] == 0
    with here.warehouse.read() as transaction:
        rows = transaction.execute(
            text("SELECT about, stated_by, reason FROM evidence_statement")
        ).all()
    assert [tuple(row) for row in rows] == [(key, "eve", "The bucket was emptied, SEC-40")]
    # A statement that nobody signed is none.
    edit(
        statement,
        "statement.json",
        lambda document: document.update(about=[*document["about"], "packet:0123456789ab"]),
    )
    assert run("verify", "--all")[0] == 4


def test_after_a_restore_the_register_takes_in_what_the_store_has_and_the_rest_can_be_stated(
    here: Sealings, run: Run
) -> None:
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
        if word.partition(":")[1]
        and word.split(":")[0] in {"fork", "head", "sealed-with", "unregistered", "register"}
    ]
    assert f"fork:{here.packets[-1].digest[:12]}" in keys, (
        "both were sealed behind the same packet, and that stays true"
    )
    status, said = run(
        "acknowledge", *dict.fromkeys(keys), "--why", "Restored from the backup of the fifth"
    )
    assert status == 0, said
    assert faults(here) == []
    for place in (lost, kept):
        assert run("verify", place)[0] in (0, 4)
    day(here, 7, "eve")
    assert faults(here) == [], "and what is sealed from then on stands behind it"


def test_what_a_stranger_put_into_the_store_is_not_taken_into_the_register(
    here: Sealings, run: Run
) -> None:
    path = Path(here.packets[0].place)
    copy = path.parent / f"0123456789ab{path.name[12:]}"
    shutil.copytree(path, copy)
    status, said = run("recover")
    assert status == 1
    assert "Not entered" in said
    shutil.rmtree(copy)
    assert faults(here) == []


def test_a_store_that_is_lost_for_good_is_followed_by_another_when_somebody_says_so(
    here: Sealings, run: Run
) -> None:
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


def test_a_statement_of_a_stranger_hides_nothing(here: Sealings, run: Run) -> None:
    last = here.packets[-1]
    shutil.rmtree(last.place)
    said = {
        "organization": "acme",
        "about": [f"packet:{last.digest[:12]}"],
        "by": "ada",
        "why": "moved",
        "stated_at": "2026-01-01T00:00:00.000000Z",
    }
    body, stranger = canonical_json(said), signer(here.folder / "stranger")
    files = {"statement.json.sig": stranger.sign(body, STATEMENTS), "statement.json": body}
    FolderStore(here.root).put("statements/" + "0" * 32, files, "statement.json")
    assert [fault for fault in faults(here) if "is not in the evidence store" in fault]
    assert run("verify", "--all")[0] == 4
    assert verify_all(FolderStore(here.root), "acme").stated == []


def test_a_signature_that_does_not_hold_enters_nothing(here: Sealings) -> None:
    broken = replace(
        here.sealing, signer=replace(here.sealing.signer, sign_bytes=lambda _: b"\0" * 64)
    )
    with pytest.raises(EvidenceError, match="gave a signature that does not hold"):
        seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
            broken,
            here.warehouse,
            run_id="run",
        )
    assert [said for said in hindrances(broken, here.warehouse) if "does not hold" in said]
    assert faults(here) == []


def test_a_new_key_is_endorsed_also_where_it_signed_before(here: Sealings) -> None:
    new, store = signer(here.folder / "new"), FolderStore(here.root)
    with_new = sealing(here.root, signed_by=new)
    endorse(with_new)
    assert endorsed(store, new.key, {here.fingerprint}) is None
    endorse(with_new, endorsed_by=here.sealing.signer)
    assert endorsed(store, new.key, {here.fingerprint})
    planted = signer(here.folder / "planted")
    (here.root / endorsement_path(planted.key, here.sealing.signer.key)).mkdir(parents=True)
    (here.root / endorsement_path(planted.key, here.sealing.signer.key) / "key.pub").write_bytes(
        b"x"
    )
    with pytest.raises(EvidenceError, match="something else than the endorsement"):
        endorse(sealing(here.root, signed_by=planted), endorsed_by=here.sealing.signer)


def test_what_the_register_lost_is_a_fault_around_a_packet_and_not_of_it(
    here: Sealings, run: Run
) -> None:
    with here.warehouse.write("test") as transaction:
        unguard(transaction, "evidence_packet")
        transaction.execute(text("DELETE FROM evidence_packet WHERE packet_id = 3"))
    path = str(here.last.relative_to(here.root))
    report = verify(
        FolderStore(here.root), path, fingerprints=[here.fingerprint], warehouse=here.warehouse
    )
    assert report.own == []
    assert "the warehouse's register does not know this packet" in report.around
    assert run("verify", str(here.last))[0] == 4


def test_a_packet_that_nobody_of_ours_signed_is_no_link_of_the_line(here: Sealings) -> None:
    manifest = json.loads((here.last / "manifest.json").read_bytes())
    manifest["counts"]["accounts"] += 1
    body = canonical_json(manifest)
    digest = hashlib.sha256(body).hexdigest()
    planted = here.last.parent / f"{digest[:12]}-simulated"
    planted.mkdir()
    about = json.loads((here.last / "seal.json").read_bytes()) | {
        "digest": digest,
        "sealed_at": "2027-01-01T00:00:00.000000Z",
    }
    (planted / "manifest.json").write_bytes(body)
    (planted / "seal.json").write_bytes(canonical_json(about))
    (planted / "SHA256SUMS").write_bytes(b"")
    report = here.verify()
    assert report.faults == []
    assert not [note for note in report.notes if "superseded" in note]
    assert [note for note in report.notes if "is not signed as a packet of this line" in note]
    told = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse)
    assert told.changed == [str(planted.relative_to(here.root))]
    assert told.around == []


def test_a_store_that_is_not_there_is_no_loss_of_packets(
    here: Sealings, run: Run, tmp_path: Path
) -> None:
    copy = tmp_path / "sent" / "acme" / here.last.parent.name / here.last.name
    shutil.copytree(here.last, copy)
    status, said = run("verify", str(copy))
    assert status == 4, said
    assert "The warehouse knows no store at this place" in said
    assert "the packet before it" in said
    assert "evidence store" not in said
    here.root.rename(tmp_path / "share")
    here.root.mkdir()
    for command in (("verify", "--all"), ("acknowledge",)):
        status, said = run(*command)
        assert status == 3, said
        assert "a share that is not mounted" in said
    assert run("recover")[0] == 1


def test_a_head_of_a_stranger_is_not_taken_for_ours(here: Sealings) -> None:
    record(
        here.warehouse,
        snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=3)),
        lambda: EPOCH,
    )
    head = unsigned_head(here.warehouse)
    assert head is not None
    stranger, body = signer(here.folder / "stranger"), canonical_json({"anything": 1})
    files = {"head.json.sig": stranger.sign(body, HEADS), "head.json": body}
    FolderStore(here.root).put(
        f"heads/{head.snapshot_id:08d}-{head.head_sha256[:12]}", files, "head.json"
    )
    with pytest.raises(EvidenceError, match="something else than a signed head of ours"):
        sign_head(here.warehouse, here.sealing)


def test_a_packet_that_a_stranger_made_anew_is_not_called_as_it_was_sealed(
    here: Sealings, run: Run
) -> None:
    """Nobody names a key: then those of the register are believed, and no other."""
    stranger = signer(here.folder / "stranger")
    edit(here.last, "seal.json", lambda about: about.update(signed_by=stranger.key.fingerprint))
    (here.last / "allowed_signers").write_bytes(stranger.allowed_signers)
    resigned(here.last, here.folder / "stranger")
    status, said = run("verify", str(here.last))
    assert status == 1, said
    assert said.endswith(
        f"it is signed by {stranger.key.fingerprint}, which is none of the keys of the warehouse's"
        " register."
    )
    assert run("verify", str(here.last), "--offline")[0] == 0, (
        "its files alone cannot tell, and say whose key to compare"
    )
    assert run("verify", "--all")[0] == 1


def test_a_wrong_fingerprint_is_one_line_that_does_not_call_the_packet_changed(
    here: Sealings, run: Run
) -> None:
    status, said = run("verify", str(here.last), "--fingerprint", f"SHA256:{'x' * 43}")
    assert status == 1
    assert said.endswith(
        f"it is signed by {here.fingerprint}, which is none of the keys that you named."
    )
    assert "not what was sealed" not in said


def test_a_strangers_key_is_named_beside_whatever_else_is_wrong(here: Sealings, run: Run) -> None:
    (here.last / "extra.csv").write_bytes(b"x")
    status, said = run("verify", str(here.last), "--fingerprint", f"SHA256:{'x' * 43}")
    assert status == 1
    assert "extra.csv is not listed" in said
    assert "which is none of the keys that you named" in said


def test_a_sheet_is_made_of_what_a_key_of_the_register_signed_and_says_whose_it_asked(
    here: Sealings, run: Run
) -> None:
    resigned(here.last, here.folder / "stranger")
    status, said = run("worksheet", str(here.last), "--to", str(here.folder / "sheet.xlsx"))
    assert status == 1
    assert "none of the keys of the warehouse's register" in said
    stranger = FolderStore(here.root)
    with pytest.raises(EvidenceError, match="none of the keys of the warehouse's register"):
        path = here.last.relative_to(here.root).as_posix()
        export_raw(stranger.get(path), stranger, here.warehouse, here.folder / "answers")


def test_keys_that_endorse_each_other_are_each_read_once(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    signers = [signer(here.folder / f"key-{number}") for number in range(6)]
    for one in signers:
        for other in signers:
            if one is not other:
                endorse(sealing(here.root, signed_by=one), endorsed_by=other)
    store, asked = FolderStore(here.root), list[str]()
    get = FolderStore.get

    def counting(self: FolderStore, path: str) -> dict[str, bytes]:
        asked.append(path)
        return get(self, path)

    monkeypatch.setattr(FolderStore, "get", counting)
    assert endorsed(store, signers[0].key, {here.fingerprint}) is None
    assert len(asked) == len(set(asked))
    assert (
        endorsed(store, signers[0].key, {signers[3].key.fingerprint}) == signers[3].key.fingerprint
    )
    asked.clear()
    assert Trust(store).believes(signers[0].key)
    assert "compare it" in Trust(store).note(signers[0].key)
    assert asked == [], "where nobody is named there is nothing to look for"


def test_a_head_that_a_stranger_put_there_invents_no_lost_snapshot(here: Sealings) -> None:
    head = {"snapshot_id": 99, "head_sha256": "a" * 64, "organization": "acme"}
    body, stranger = canonical_json(head), signer(here.folder / "stranger")
    files = {"head.json.sig": stranger.sign(body, HEADS), "head.json": body}
    FolderStore(here.root).put(f"heads/00000099-{'a' * 12}", files, "head.json")
    (told,) = faults(here)
    assert "is none of the keys of the warehouse's register" in told
    assert "lost snapshot" not in told
