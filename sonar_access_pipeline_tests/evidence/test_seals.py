"""Seals: who signed what after what, checkable without our code; and every way of tampering that we
thought of is named.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from sonar_access_pipeline.access.snapshot import Verdict, canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.packet import _manifest, build
from sonar_access_pipeline.evidence.raw import export_raw
from sonar_access_pipeline.evidence.seal import endorse, publish, seal, sign_head
from sonar_access_pipeline.evidence.signers import HEADS, PACKETS
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of, unguard
from sonar_access_pipeline_tests.support.programs import needs
from sonar_access_pipeline_tests.support.sealed import (
    ALL,
    DAYS,
    WINDOWS,
    Sealings,
    edit,
    resigned,
    sealing,
    signer,
)


def test_a_packet_has_every_file_of_the_design_and_is_fine(original: Sealings) -> None:
    assert {file.name for file in original.last.iterdir()} == ALL
    assert original.verify().faults == []
    assert original.verify(offline=True).faults == []
    for packet in original.packets:
        assert original.verify(Path(packet.place)).faults == []


def test_sha256sum_and_ssh_keygen_alone_verify_a_packet(original: Sealings) -> None:
    needs("sha256sum")
    needs("ssh-keygen")
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=original.last,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len(ALL) - 2
    ask = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "allowed_signers",
        "-I",
        "sonar-access",
        "-n",
        PACKETS,
        "-s",
        "SHA256SUMS.sig",
    ]
    sums = (original.last / "SHA256SUMS").read_bytes()
    done_too = subprocess.run(ask, cwd=original.last, input=sums, capture_output=True, check=False)
    assert done_too.returncode == 0, done_too.stderr
    assert original.fingerprint in done_too.stdout.decode()
    for wrong in (sums + b"x", b""):
        assert (
            subprocess.run(
                ask, cwd=original.last, input=wrong, capture_output=True, check=False
            ).returncode
            != 0
        )
    other = [PACKETS if word == PACKETS else word for word in ask]
    other[other.index(PACKETS)] = "file"
    assert (
        subprocess.run(
            other, cwd=original.last, input=sums, capture_output=True, check=False
        ).returncode
        != 0
    )


def test_the_commands_of_the_readme_are_the_ones_that_work(original: Sealings) -> None:
    needs("ssh-keygen")
    readme = (original.last / "README.txt").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith("     ")]
    assert len(commands) == 4
    for command in commands[:2]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=original.last, capture_output=True, check=False
        )
        assert done.returncode == 0, command


def _changed(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _reordered(body: bytes) -> bytes:
    lines = body.splitlines(keepends=True)
    return b"".join(reversed(lines)) if len(lines) > 2 else body[::-1]


CHANGES: Mapping[str, Callable[[bytes], bytes]] = {
    "one bit": _changed,
    "cut short": lambda body: body[: len(body) // 2],
    "emptied": lambda _: b"",
    "lengthened": lambda body: body + b"\n",
    "reordered": _reordered,
}


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_is_named(
    original: Sealings, tmp_path: Path, name: str, change: str
) -> None:
    folder = tmp_path / "evidence" / "acme" / original.last.parent.name / original.last.name
    shutil.copytree(original.last, folder)
    body = (folder / name).read_bytes()
    (folder / name).write_bytes(CHANGES[change](body))
    assert [fault for fault in original.verify(folder, offline=True).faults if name in fault], (
        f"{name}, {change}"
    )


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_file_that_is_missing_is_named(original: Sealings, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "evidence" / "acme" / original.last.parent.name / original.last.name
    shutil.copytree(original.last, folder)
    (folder / name).unlink()
    assert [fault for fault in original.verify(folder, offline=True).faults if name in fault]


def _add(here: Sealings) -> None:
    (here.last / "more.csv").write_text("more")


def _add_with_sums(here: Sealings) -> None:
    (here.last / "more.csv").write_text("more")
    resigned(here.last)


def _csv_with_everything_made_anew_but_the_signature(here: Sealings) -> None:
    """Rows in another order, with manifest, seal and sums to fit; only the key is missing."""
    rows = (here.last / "population.csv").read_bytes().splitlines(keepends=True)
    body = b"".join([rows[0], *reversed(rows[1:])])
    (here.last / "population.csv").write_bytes(body)
    said = {"sha256": hashlib.sha256(body).hexdigest()}
    edit(
        here.last,
        "manifest.json",
        lambda manifest: manifest["files"]["population.csv"].update(said),
    )
    digest = hashlib.sha256((here.last / "manifest.json").read_bytes()).hexdigest()
    edit(here.last, "seal.json", lambda about: about.update(digest=digest))
    resigned(here.last)


def _the_same_with_a_key_of_their_own(here: Sealings) -> None:
    _csv_with_everything_made_anew_but_the_signature(here)
    stranger = here.folder / "stranger"
    (here.last / "allowed_signers").write_bytes(signer(stranger).allowed_signers)
    edit(
        here.last,
        "seal.json",
        lambda about: about.update(signed_by=signer(stranger).key.fingerprint),
    )
    resigned(here.last, stranger)


def _another_key(here: Sealings) -> None:
    stranger = here.folder / "stranger"
    (here.last / "allowed_signers").write_bytes(signer(stranger).allowed_signers)
    resigned(here.last, stranger)


def _another_signature(here: Sealings) -> None:
    shutil.copy(Path(here.packets[0].place) / "SHA256SUMS.sig", here.last / "SHA256SUMS.sig")


def _another_allowed_signers(here: Sealings) -> None:
    (here.last / "allowed_signers").write_bytes(signer(here.folder / "stranger").allowed_signers)


def _another_packet(here: Sealings) -> None:
    shutil.rmtree(here.last)
    shutil.copytree(here.packets[0].place, here.last)


def _another_seal(here: Sealings) -> None:
    shutil.copy(Path(here.packets[0].place) / "seal.json", here.last / "seal.json")
    resigned(here.last)


def _predecessor_gone(here: Sealings) -> None:
    shutil.rmtree(here.packets[1].place)


def _first_gone(here: Sealings) -> None:
    shutil.rmtree(here.packets[0].place)


def _predecessor_swapped(here: Sealings) -> None:
    shutil.rmtree(here.packets[1].place)
    shutil.copytree(here.packets[0].place, here.packets[1].place)


def _link_changed(here: Sealings) -> None:
    edit(Path(here.packets[1].place), "seal.json", lambda about: about.update(previous_digest=None))


def _head_changed(here: Sealings) -> None:
    edit(
        sorted((here.root / "heads").iterdir())[0],
        "head.json",
        lambda head: head.update(snapshot_id=7),
    )


def _head_gone(here: Sealings) -> None:
    shutil.rmtree(sorted((here.root / "heads").iterdir())[1])


def _head_swapped(here: Sealings) -> None:
    first, second, *_ = sorted((here.root / "heads").iterdir())
    shutil.rmtree(second)
    shutil.copytree(first, second)


def _sql(*statements: str, unguarded: tuple[str, ...] = ()) -> Callable[[Sealings], None]:
    def change(here: Sealings) -> None:
        with here.warehouse.write("test") as transaction:
            for table in unguarded:
                unguard(transaction, table)
            for statement in statements:
                assert transaction.execute(text(statement)).rowcount, statement

    return change


def _rolled_back(here: Sealings) -> None:
    """The last packet and the last day never were: gone from the warehouse and from the evidence
    folder, but for a head.
    """
    _sql("DELETE FROM evidence_packet WHERE packet_id = 3", unguarded=("evidence_packet",))(here)
    shutil.rmtree(here.last)
    here.packets.pop()
    tables = ("raw_response", "raw_list", "raw_control", "raw_snapshot", "signed_head")
    with here.warehouse.write("test") as transaction:
        for table in tables:
            unguard(transaction, table)
        transaction.execute(text("PRAGMA defer_foreign_keys = ON"))
        transaction.execute(text("DELETE FROM history_observation WHERE snapshot_id = 3"))
        for name in (
            "fct_user_access",
            "dim_user",
            "bridge_group_member",
            "fct_finding",
            "fct_permission_grant",
        ):
            last = "(SELECT observed_at FROM raw_snapshot WHERE snapshot_id = 3)"
            transaction.execute(text(f"DELETE FROM {name} WHERE valid_from = {last}"))
            reopened = "SET valid_to = NULL, last_seen_at = NULL"
            transaction.execute(text(f"UPDATE {name} {reopened} WHERE valid_to = {last}"))
        for table in tables:
            transaction.execute(text(f"DELETE FROM {table} WHERE snapshot_id = 3"))


TAMPERINGS: Mapping[str, tuple[Callable[[Sealings], None], str]] = {
    "a file more": (_add, "more.csv is not listed"),
    "a file more, with sums to fit": (_add_with_sums, "does not fit SHA256SUMS"),
    "rows reordered, and all digests with them": (
        _csv_with_everything_made_anew_but_the_signature,
        "does not fit SHA256SUMS",
    ),
    "the same, signed by a stranger": (
        _the_same_with_a_key_of_their_own,
        "none of the keys that you named",
    ),
    "signed again by a stranger": (_another_key, "none of the keys that you named"),
    "the signature of another packet": (_another_signature, "does not fit SHA256SUMS"),
    "the signers of a stranger": (_another_allowed_signers, "allowed_signers"),
    "another packet in its place": (_another_packet, "its folder is not called"),
    "the seal of another packet": (_another_seal, "does not fit SHA256SUMS"),
    "the packet before it gone": (_predecessor_gone, "is not in the evidence folder"),
    "the first packet gone": (_first_gone, "is not in the evidence folder"),
    "the packet before it swapped": (_predecessor_swapped, "is not the one that was sealed there"),
    "a link of the chain changed": (_link_changed, "name none as the one before them"),
    "a signed head changed": (_head_changed, "is not what was signed"),
    "a signed head gone": (_head_gone, "is not in the evidence store"),
    "a signed head swapped": (_head_swapped, "is of another snapshot"),
    "an access row changed in the warehouse": (
        _sql(
            "UPDATE fct_user_access SET granted_via = 'group:9' WHERE login = 'ada' AND entitlement"
            " = 'admin'"
        ),
        "Table fct_user_access does not say what SonarCloud answered",
    ),
    "an access row taken out of the warehouse": (
        _sql("DELETE FROM fct_user_access WHERE login = 'bob' AND access_type = 'group'"),
        "Table fct_user_access does not say what SonarCloud answered",
    ),
    "a name changed in the warehouse": (
        _sql("UPDATE dim_user SET name = 'Nobody' WHERE login = 'ada'"),
        "Table dim_user does not say",
    ),
    "a finding taken out of the warehouse": (
        _sql("DELETE FROM fct_finding WHERE rule_id = 'admin-direct'"),
        "Table fct_finding does not say what SonarCloud answered",
    ),
    "a snapshot's digest changed in the warehouse": (
        _sql(
            "UPDATE raw_snapshot SET content_sha256 = 'x' WHERE snapshot_id = 2",
            unguarded=("raw_snapshot",),
        ),
        "whose head was signed",
    ),
    "an answer changed in the warehouse": (
        _sql("UPDATE raw_body SET zlib_body = x'789c030000000001'", unguarded=("raw_body",)),
        "in the warehouse",
    ),
    "a packet taken out of the register": (
        _sql("DELETE FROM evidence_packet WHERE packet_id = 1", unguarded=("evidence_packet",)),
        "has lost packet",
    ),
    "a link changed in the register": (
        _sql(
            "UPDATE evidence_packet SET previous_digest = 'x' WHERE packet_id = 2",
            unguarded=("evidence_packet",),
        ),
        "does not name one before it",
    ),
    "this packet taken out of the register": (
        _sql("DELETE FROM evidence_packet WHERE packet_id = 3", unguarded=("evidence_packet",)),
        "does not know this packet",
    ),
    "the time of sealing changed in the register": (
        _sql(
            "UPDATE evidence_packet SET sealed_at = '2020-01-01 00:00:00.000000'",
            unguarded=("evidence_packet",),
        ),
        "disagree about sealed_at",
    ),
    "the last day and its packet never were": (_rolled_back, "has lost snapshot 3"),
}


OF_THE_LINE = {
    "a packet taken out of the register",
    "a link of the chain changed",
    "a signed head changed",
    "a signed head swapped",
    "a snapshot's digest changed in the warehouse",
}
"""Nothing of this is near the last packet: it is found where all are looked at."""


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(here: Sealings, name: str) -> None:
    tamper, said = TAMPERINGS[name]
    tamper(here)
    is_of_the_line = name in OF_THE_LINE
    faults = (
        verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse)
        if is_of_the_line
        else here.verify()
    ).faults
    assert [fault for fault in faults if said in fault], faults


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(data=st.data())
def test_random_bytes_are_never_fine_and_never_a_traceback(
    original: Sealings, tmp_path: Path, data: st.DataObject
) -> None:
    root = tmp_path / "evidence"
    if not root.exists():
        shutil.copytree(original.root, root)
    folder = root / original.last.relative_to(original.root)
    assert original.verify(folder, offline=True).is_fine
    names = data.draw(st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=3, unique=True))
    nested = st.integers(1, 3000).map(lambda depth: b"[" * depth)
    documents = st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda x: st.dictionaries(st.text(max_size=5), x),
    )
    anything = (
        st.binary(max_size=400) | nested | documents.map(lambda one: json.dumps(one).encode())
    )
    before = {name: (folder / name).read_bytes() for name in names}
    after = {}
    for name, body in before.items():
        new, share = (
            data.draw(anything, label=name),
            data.draw(st.none() | st.floats(0, 1), label="where, if not instead"),
        )
        place = 0 if share is None else int(share * len(body))
        after[name] = new if share is None else body[:place] + new + body[place + len(new) :]
    try:
        for name, body in after.items():
            (folder / name).write_bytes(body)
        assert original.verify(folder, offline=True).is_fine is (before == after)
    finally:
        for name, body in before.items():
            (folder / name).write_bytes(body)


def test_rebuilding_a_packet_with_another_key_and_at_another_time_verifies_it(
    here: Sealings,
) -> None:
    later = sealing(
        here.root,
        signed_by=signer(here.folder / "new-key"),
        clock=lambda: EPOCH + timedelta(days=900),
    )
    again = seal(build(here.warehouse, "acme", WINDOWS[2]), later, here.warehouse, run_id="later")
    assert (again.is_new, again.place) == (False, here.packets[2].place)
    assert here.verify().faults == []


def test_other_content_is_a_new_version_and_the_old_one_stays_and_says_so(here: Sealings) -> None:
    late = World(members={"ada": None}, user_permissions={"ada": ["admin"]})
    record(here.warehouse, snapshot_of(late, EPOCH + timedelta(days=2, hours=9)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    newer = seal(
        build(here.warehouse, "acme", WINDOWS[2]), here.sealing, here.warehouse, run_id="run"
    )
    assert newer.is_new
    assert Path(newer.place).parent == here.last.parent
    assert here.verify(Path(newer.place)).faults == []
    old = here.verify()
    assert old.faults == []
    assert "superseded" in " ".join(old.notes)


def test_packets_that_are_sealed_at_once_follow_each_other(here: Sealings) -> None:
    windows = [
        Window(first, last) for first in DAYS for last in DAYS if first <= last and first != DAYS[0]
    ]
    built = [build(here.warehouse, "acme", window) for window in windows]
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda packet: seal(packet, here.sealing, here.warehouse, run_id="run"), built
            )
        )
    with here.warehouse.read() as transaction:
        rows = queries.packets(transaction, "acme")
    assert [row["previous_digest"] for row in rows] == [None, *(row["digest"] for row in rows[:-1])]
    assert here.verify().faults == []


class Killed(BaseException):
    """A process that ends here."""


def test_a_packet_whose_process_was_killed_before_it_was_written_is_brought_there_by_the_next(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    windows = [Window(DAYS[1], DAYS[1]), Window(DAYS[1], DAYS[2])]
    monkeypatch.setattr(FolderStore, "put", killed)
    for window in windows:
        with pytest.raises(Killed):
            here.seal(window)
    monkeypatch.undo()
    around = here.verify().around
    assert (
        len([fault for fault in around if "is sealed and waits to be published" in fault]) == 2
    ), "until then it is said"
    # Other content, another key: what waits is brought there as it was signed.
    record(
        here.warehouse,
        snapshot_of(World(members={"zoe": None}), EPOCH + timedelta(days=2, hours=9)),
        lambda: EPOCH,
    )
    derive(here.warehouse, "acme")
    rotated = sealing(here.root, signed_by=signer(here.folder / "new-key"))
    endorse(rotated, endorsed_by=here.sealing.signer)
    last = seal(
        build(here.warehouse, "acme", Window(DAYS[2], DAYS[2])),
        rotated,
        here.warehouse,
        run_id="run",
    )
    assert here.verify(Path(last.place)).faults == []
    with here.warehouse.read() as transaction:
        rows = queries.packets(transaction, "acme")
        assert packets.waiting(transaction) == []
    assert len(rows) == 6
    assert [row["previous_digest"] for row in rows] == [None, *(row["digest"] for row in rows[:-1])]
    assert all(here.verify(Path(row["location"]), offline=True).own == [] for row in rows[3:])


def test_a_packet_that_an_older_version_entered_and_never_wrote_is_made_from_its_line(
    here: Sealings,
) -> None:
    with here.warehouse.write("test") as transaction:
        unguard(transaction, "publication")
        transaction.execute(text("DELETE FROM publication"))
    shutil.rmtree(here.last)
    again = here.seal(WINDOWS[2])
    assert again.is_new
    assert here.verify(offline=True).faults == []


def test_a_packet_of_an_older_version_that_was_found_there_is_on_record_from_then_on(
    here: Sealings,
) -> None:
    with here.warehouse.write("test") as transaction:
        unguard(transaction, "publication")
        transaction.execute(text("DELETE FROM publication"))
    assert not here.seal(WINDOWS[2]).is_new
    shutil.rmtree(here.last)
    with pytest.raises(EvidenceError, match="it is not made again in silence"):
        here.seal(WINDOWS[2])


def test_a_packet_that_lay_there_and_is_gone_is_not_made_again_in_silence(here: Sealings) -> None:
    moved = here.folder / "moved"
    here.last.rename(moved)
    with pytest.raises(
        EvidenceError, match=r"is not at .* any more; it is not made again in silence"
    ):
        here.seal(WINDOWS[2])
    moved.rename(here.last)
    assert not here.seal(WINDOWS[2]).is_new


def test_a_seal_that_a_restored_warehouse_lost_is_taken_into_the_register(here: Sealings) -> None:
    last = here.packets[2]
    with here.warehouse.write("test") as transaction:
        for table in ("evidence_packet", "publication"):
            unguard(transaction, table)
        transaction.execute(
            text("DELETE FROM evidence_packet WHERE digest = :digest"), {"digest": last.digest}
        )
        transaction.execute(
            text("DELETE FROM publication WHERE path LIKE :path"), {"path": f"%{last.digest[:12]}%"}
        )
    again = seal(
        build(here.warehouse, "acme", WINDOWS[2]),
        sealing(here.root, clock=lambda: EPOCH + timedelta(days=9)),
        here.warehouse,
        run_id="x",
    )
    assert (again.is_new, again.place) == (False, last.place)
    assert [fault for fault in here.verify().faults if "no trigger" not in fault] == []


def test_what_lies_where_a_bundle_belongs_is_never_written_over_and_holds_up_no_other(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderStore, "put", lambda *_: None)
    first = build(here.warehouse, "acme", Window(DAYS[1], DAYS[1]))
    with pytest.raises(EvidenceError, match="cannot be read as a packet"):
        seal(first, here.sealing, here.warehouse, run_id="run")
    monkeypatch.undo()
    place = here.root / "acme" / f"{DAYS[1]}_{DAYS[1]}" / f"{first.digest[:12]}-simulated"
    place.mkdir(parents=True)
    (place / "SHA256SUMS").write_text("somebody else's")
    assert here.verify(Path(here.seal(Window(DAYS[1], DAYS[2])).place)).own == []
    with pytest.raises(
        EvidenceError, match="lies something else than was sealed there; nothing is written over it"
    ):
        seal(first, here.sealing, here.warehouse, run_id="run")
    shutil.rmtree(place)
    assert len(publish(here.warehouse, here.sealing).places) == 1
    assert here.verify(place).faults == []


def test_one_packet_that_two_seal_at_once_is_one(here: Sealings) -> None:
    packet = build(here.warehouse, "acme", Window(DAYS[1], DAYS[1]))
    with ThreadPoolExecutor(4) as threads:
        sealed = list(
            threads.map(
                lambda _: seal(packet, here.sealing, here.warehouse, run_id="run"), range(8)
            )
        )
    assert {one.place for one in sealed} == {sealed[0].place}
    assert here.verify(Path(sealed[0].place)).faults == []
    assert not list(here.root.rglob(".*.partial"))


def test_a_head_is_signed_once_and_what_was_missed_is_made_up_for(here: Sealings) -> None:
    assert sign_head(here.warehouse, here.sealing) is None
    for hour in (7, 8):
        record(
            here.warehouse,
            snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=2, hours=hour)),
            lambda: EPOCH,
        )
    place = sign_head(here.warehouse, here.sealing)
    assert place is not None
    assert Path(place).name.startswith("00000005-")
    assert sign_head(here.warehouse, here.sealing) is None
    assert sorted(path.name for path in Path(place).iterdir()) == [
        "allowed_signers",
        "head.json",
        "head.json.sig",
    ]


def test_the_answers_behind_a_packet_are_delivered_with_their_digests(
    here: Sealings, tmp_path: Path
) -> None:
    needs("sha256sum")
    files = FolderStore(here.root).get(str(here.last.relative_to(here.root)))
    exported = export_raw(files, FolderStore(here.root), here.warehouse, tmp_path / "answers")
    assert exported.missing == ()
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=tmp_path / "answers",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    for file in (tmp_path / "answers").glob("*.json"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
    documents = [json.loads(file.read_bytes()) for file in (tmp_path / "answers").glob("*.json")]
    logins = {
        row["login"]
        for document in documents
        for row in document.get("users", ())
        if "selected" not in row
    }
    population = [
        line.split(",")[2] for line in (here.last / "population.csv").read_text().splitlines()[1:]
    ]
    assert logins == set(population), "an auditor counts the population from SonarCloud's own words"
    with here.warehouse.write("test") as transaction:
        transaction.execute(
            text("UPDATE raw_body SET zlib_body = x'', dropped_at = '2026-03-09 00:00:00.000000'")
        )
    assert (
        len(export_raw(files, FolderStore(here.root), here.warehouse, tmp_path / "fewer").missing)
        == exported.bodies
    )
    with pytest.raises(EvidenceError, match="is there already"):
        export_raw(files, FolderStore(here.root), here.warehouse, tmp_path / "fewer")


def test_a_link_to_an_older_packet_under_a_newer_ones_name_is_not_what_was_sealed(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = Path(here.packets[1].place), here.last
    shutil.rmtree(newer)
    newer.symlink_to(older)
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(here.folder / "none"))
    done = CliRunner().invoke(main, ["evidence", "verify", str(newer), "--offline"])
    assert done.exit_code == 1
    assert "is a link to" in done.output
    assert "name the folder itself" in done.output
    inside = str(newer.relative_to(here.root))
    faults = verify(FolderStore(here.root), inside, fingerprints=[here.fingerprint]).faults
    assert faults == [f"its folder is not called {older.name}, as its digest says"]


def test_a_packet_that_was_superseded_says_so_by_its_files_alone(here: Sealings) -> None:
    record(
        here.warehouse,
        snapshot_of(World(members={"dora": "D"}), EPOCH + timedelta(days=2, hours=3)),
        lambda: EPOCH,
    )
    derive(here.warehouse, "acme")
    later = here.seal(WINDOWS[2])
    assert later.digest != here.packets[2].digest
    report = here.verify(Path(here.packets[2].place), offline=True)
    assert report.is_fine
    assert [note for note in report.notes if f"superseded: packet {later.digest[:12]}" in note]
    assert not [
        note for note in here.verify(Path(later.place), offline=True).notes if "superseded" in note
    ]


def test_a_sheet_is_made_of_a_packet_whose_key_somebody_vouches_for(
    here: Sealings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger may have changed a packet and signed it anew: then it verifies, by the stranger's
    own key.
    """
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(tmp_path / "none"))
    sheet = tmp_path / "sheet.xlsx"

    def made(*more: str) -> Result:
        return CliRunner().invoke(
            main, ["evidence", "worksheet", str(here.last), "--to", str(sheet), *more]
        )

    unnamed = made()
    assert (unnamed.exit_code, sheet.exists()) == (2, False)
    assert "with --fingerprint, as you got it from elsewhere" in unnamed.output
    assert made("--fingerprint", f"SHA256:{'x' * 43}").exit_code == 1
    assert made("--fingerprint", here.fingerprint).exit_code == 0
    sheet.unlink()
    monkeypatch.setenv(
        "SONAR_ACCESS_WAREHOUSE_URL", here.warehouse.url.render_as_string(hide_password=False)
    )
    assert made().exit_code == 0, "the register knows its key"
    sheet.unlink()
    # After a rotation heads are signed by the key before, which the new one does not endorse.
    old, new = here.sealing.signer, signer(here.folder / "new-key")
    rotated = sealing(here.root, signed_by=new)
    endorse(rotated, endorsed_by=old)
    later = seal(
        build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])),
        rotated,
        here.warehouse,
        run_id="run",
    )
    done = CliRunner().invoke(main, ["evidence", "worksheet", later.place, "--to", str(sheet)])
    assert done.exit_code == 0, done.output
    sheet.unlink()
    shutil.rmtree(here.packets[0].place)
    done = CliRunner().invoke(main, ["evidence", "worksheet", later.place, "--to", str(sheet)])
    assert done.exit_code == 0, "a neighbour that is gone does not make this packet another one"


def test_a_warehouse_that_is_set_and_does_not_answer_is_not_passed_over(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", "postgresql://u:secret@127.0.0.1:9/db")
    done = CliRunner().invoke(main, ["evidence", "verify", str(here.last)])
    assert done.exit_code == 1
    assert "verify the files alone, with --offline" in done.output
    assert "secret" not in done.output
    assert (
        CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"]).exit_code == 0
    )


def test_the_words_of_a_question_are_compared_by_the_version_that_asked_and_by_no_other(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "sonar_access_pipeline.evidence.packet._manifest"
    monkeypatch.setattr(place, lambda *about: _manifest(*about) | {"queries": {}})
    assert "manifest.json" in "".join(here.verify().around)
    monkeypatch.setattr("sonar_access_pipeline.evidence.verify.__version__", "9.9.9")
    report = here.verify()
    assert report.faults == []
    assert [
        note
        for note in report.notes
        if "in which words the warehouse was asked is not compared" in note
    ]
    late = World(members={"ada": None}, user_permissions={"ada": ["admin"]})
    record(here.warehouse, snapshot_of(late, EPOCH + timedelta(days=2, hours=9)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    assert "does not give this packet any more" in "".join(here.verify().around)
    monkeypatch.setattr(place, _manifest)
    here.seal(WINDOWS[-1])
    monkeypatch.setattr(place, lambda *about: _manifest(*about) | {"queries": {}})
    report = here.verify()
    assert report.faults == [], "superseded, in whatever words"
    assert [note for note in report.notes if "superseded" in note]


def test_a_packet_of_a_former_format_is_verified_and_not_built_again(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonar_access_pipeline.evidence.verify.FORMATS", (99,))
    report = here.verify()
    assert report.faults == []
    assert [
        note for note in report.notes if "It is of format" in note and "was not built again" in note
    ]


def test_a_packet_and_the_line_it_stands_in_have_verdicts_of_their_own(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(here.folder / "none"))
    shutil.rmtree(here.packets[1].place)
    report = here.verify(offline=True)
    assert report.own == []
    assert report.around == [
        f"the packet before it, {here.packets[1].digest[:12]}, is not in the evidence folder"
    ]
    done = CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"])
    assert done.exit_code == 4, done.output
    assert "itself is as it was sealed" in done.output
    (here.last / "population.csv").write_bytes(b"")
    assert (
        CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"]).exit_code == 1
    )


def test_a_store_that_does_not_answer_is_no_tampering(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: FolderStore, path: str, name: str) -> bytes:
        raise UnreadableError("The evidence store refuses (SlowDown).")

    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(here.folder / "none"))
    monkeypatch.setattr(FolderStore, "read", refused)
    done = CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"])
    assert done.exit_code == 3
    assert "SlowDown" in done.output
    assert "not what was sealed" not in done.output


def test_what_is_not_ours_in_the_store_is_named_and_judged_by_nobody(here: Sealings) -> None:
    (here.root / "acme" / "New folder").mkdir()
    (here.root / "acme" / "notes.txt").write_text("x")
    (here.last.parent / "copy of it").mkdir()
    (here.root / "heads" / "notes.txt").write_text("x")
    (here.last / ".DS_Store").write_bytes(b"x")
    (here.last / "Thumbs.db").write_bytes(b"x")
    report = here.verify()
    assert report.faults == []
    assert verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).faults == []
    assert not here.seal(WINDOWS[-1]).is_new, "and a packet is built again beside it"
    for name in ("acme/New folder", "acme/notes.txt", "copy of it", ".DS_Store", "Thumbs.db"):
        assert [note for note in report.notes if name in note and "none of ours" in note], name


ATTACKS: dict[str, tuple[Callable[[Sealings], object], str]] = {
    "a population overwritten": (
        lambda here: (Path(here.packets[0].place) / "population.csv").write_bytes(b"x"),
        "population.csv was changed",
    ),
    "sums deleted": (
        lambda here: (Path(here.packets[0].place) / "SHA256SUMS").unlink(),
        "is not in the evidence store",
    ),
    "the newest packet deleted": (
        lambda here: shutil.rmtree(here.last),
        "is not in the evidence store",
    ),
    "one in the middle deleted": (
        lambda here: shutil.rmtree(here.packets[1].place),
        "is not in the evidence folder",
    ),
    "signed anew by a stranger": (
        lambda here: resigned(here.last, here.folder / "stranger"),
        "which is none of the keys of the warehouse's register",
    ),
    "a signed head deleted": (
        lambda here: shutil.rmtree(sorted((here.root / "heads").iterdir())[0]),
        "the signed head of snapshot 1 is not in the evidence store",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_all_packets_are_verified_at_once_and_every_attack_on_the_store_is_named(
    here: Sealings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> list[str]:
        return verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).faults

    assert told() == []
    attack, said = ATTACKS[name]
    attack(here)
    assert [fault for fault in told() if said in fault], told()
    monkeypatch.setenv(
        "SONAR_ACCESS_WAREHOUSE_URL", here.warehouse.url.render_as_string(hide_password=False)
    )
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", str(here.root))
    done = CliRunner().invoke(main, ["evidence", "verify", "--all"])
    assert done.exit_code in (1, 4), done.output
    assert said in " ".join(done.output.split())


def test_a_packet_alone_is_read_once_whatever_stands_beside_it(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    read = FolderStore.read

    def counting(self: FolderStore, path: str, name: str) -> bytes:
        asked[f"{path}/{name}"] += 1
        return read(self, path, name)

    monkeypatch.setattr(FolderStore, "read", counting)
    assert here.verify().faults == []
    assert set(asked.values()) == {1}


def test_two_who_publish_at_once_drop_nobody_elses_bytes(here: Sealings) -> None:
    def waits(name: str) -> packets.Header:
        header = packets.Header(f"keys/{name}", str(here.root / "keys" / name), "key.pub", EPOCH)
        packets.wait(here.warehouse, packets.Bundle(header, {"key.pub": name.encode()}))
        with here.warehouse.read() as transaction:
            return next(one for one in packets.waiting(transaction) if one.path == header.path)

    first = waits("first")
    packets.note_published(here.warehouse, first, EPOCH, None)
    second = waits("second")
    # The other one comes late: on SQLite the second has the number that the first had.
    packets.note_published(here.warehouse, first, EPOCH, None)
    with here.warehouse.read() as transaction:
        assert packets.waiting(transaction) == [second]
        assert packets.bundle_of(transaction, first) is None
        assert (
            transaction.execute(
                text("SELECT count(*) FROM publication WHERE path = 'keys/first'")
            ).scalar()
            == 1
        )


def test_a_folder_inside_a_packet_is_a_fault_of_it_and_blinds_nobody_to_the_others(
    here: Sealings,
) -> None:
    (Path(here.packets[0].place) / "inside").mkdir()
    (Path(here.packets[1].place) / "population.csv").write_bytes(b"x")
    reports = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).reports
    own = {path.rpartition("/")[2][:12]: report.own for path, report in reports.items()}
    assert own[here.packets[0].digest[:12]] == [
        "inside is not listed",
        "manifest.json does not name inside",
    ]
    assert "population.csv was changed" in own[here.packets[1].digest[:12]]
    assert own[here.packets[2].digest[:12]] == []


@pytest.mark.parametrize("previous", [[], 5, {"a": 1}, "x", True])
def test_a_forged_seal_is_a_fault_and_never_a_traceback(here: Sealings, previous: object) -> None:
    edit(
        Path(here.packets[0].place), "seal.json", lambda seal: seal.update(previous_digest=previous)
    )
    assert verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).changed
    assert here.verify().around
    assert here.verify(Path(here.packets[0].place)).own


@pytest.mark.parametrize(
    ("is_a_stranger", "said"),
    [
        (True, "which is none of the keys of the warehouse's register"),
        (False, "the warehouse's snapshots up to 1 are not those whose head was signed"),
    ],
)
def test_of_two_signed_heads_of_one_snapshot_none_hides_the_other(
    here: Sealings, is_a_stranger: bool, said: str
) -> None:
    heads = sorted((here.root / "heads").iterdir())
    changed = json.loads((heads[0] / "head.json").read_bytes()) | {"head_sha256": "f" * 64}
    forged = heads[0].with_name(f"{heads[0].name[:9]}{'f' * 12}")
    theirs = signer(here.folder / "stranger") if is_a_stranger else here.sealing.signer
    body = canonical_json(changed)
    FolderStore(here.root).put(
        f"heads/{forged.name}",
        {
            "head.json": body,
            "head.json.sig": theirs.sign(body, HEADS),
            "allowed_signers": theirs.allowed_signers,
        },
        "head.json",
    )
    (told,) = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).around
    assert told.endswith(said)


def test_a_held_read_across_midnight_is_said_of_the_day_on_which_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    upgrade(warehouse)
    midnight = EPOCH.replace(hour=0, minute=0)
    record(warehouse, snapshot_of(World(members={"ada": None}), midnight), lambda: EPOCH)
    held = snapshot_of(
        World(members={"bob": None}),
        midnight + timedelta(days=2, minutes=-1),
        duration=timedelta(minutes=5),
        verdict=Verdict.HELD,
    )
    record(warehouse, replace(held, reason="half would disappear"), lambda: EPOCH)
    derive(warehouse, "acme")
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", sqlite_url(tmp_path / "warehouse.sqlite"))

    def said(*arguments: str) -> bool:
        return "Held:" in CliRunner().invoke(main, list(arguments)).output

    first, second = (str(midnight.date() + timedelta(days=number)) for number in range(2))
    assert [said("access", "--as-of", day) for day in (first, second)] == [False, True]
    assert said("access", "--as-of", f"{second}T23:59:30") is False, "it had not ended"
    assert [said("changes", "--from", day, "--to", day) for day in (first, second)] == [False, True]


def test_a_store_that_refuses_is_not_asked_for_all_that_waits(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        header = packets.Header(f"keys/{name}", str(here.root / "keys" / name), "key.pub", EPOCH)
        packets.wait(here.warehouse, packets.Bundle(header, {"key.pub": b""}))
    asked = []

    def refused(_: FolderStore, path: str, *__: object) -> None:
        asked.append(path)
        raise UnreadableError("The evidence store refuses (SlowDown).")

    monkeypatch.setattr(FolderStore, "put", refused)
    published = publish(here.warehouse, here.sealing)
    assert asked == ["keys/one"]
    assert set(published.waiting) == {"keys/one", "keys/two", "keys/three"}
    assert set(published.waiting.values()) == {"The evidence store refuses (SlowDown)."}


def test_a_head_that_was_signed_anew_with_another_key_is_not_the_one_of_the_register(
    here: Sealings,
) -> None:
    def told() -> list[str]:
        return verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).around

    head = sorted((here.root / "heads").iterdir())[0]
    other = signer(here.folder / "other")
    (head / "head.json.sig").write_bytes(other.sign((head / "head.json").read_bytes(), HEADS))
    assert told() == [
        f"of the signed head at heads/{head.name}: it is signed by {other.key.fingerprint}, "
        "which is none of the keys of the warehouse's register"
    ]
    endorse(sealing(here.root, signed_by=other), endorsed_by=here.sealing.signer)
    assert told() == [
        "the signed head of snapshot 1 is signed by another key than the register has"
    ]
