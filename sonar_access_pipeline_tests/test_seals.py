"""Seals: who signed what after what, checkable without our code; and every way of tampering that we thought of is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from sonar_access_pipeline.access.snapshot import Verdict, canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.raw import export_raw
from sonar_access_pipeline.evidence.seal import Sealed, endorse, publish, seal, sign_head, sums_of
from sonar_access_pipeline.evidence.signers import HEADS, PACKETS, signer_of
from sonar_access_pipeline.evidence.sshsig import SignatureError, verified
from sonar_access_pipeline.evidence.stores import FolderStore, ObjectStore
from sonar_access_pipeline.evidence.timestamps import certificate_fault, stamped_by
from sonar_access_pipeline.evidence.verify import Report, verify, verify_all
from sonar_access_pipeline.warehouse import packets, queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.snapshots import record
from sonar_access_pipeline_tests.builders import EPOCH, World, snapshot_of, unguard
from sonar_access_pipeline_tests.sealed import sealing, signer

DAYS = [EPOCH.date() + timedelta(days=number) for number in range(3)]
WINDOWS = [Window(DAYS[0], DAYS[number]) for number in range(3)]
ALL = {
    "README.txt",
    "SHA256SUMS",
    "SHA256SUMS.sig",
    "access-review.xlsx",
    "access.csv",
    "allowed_signers",
    "changes.csv",
    "coverage.csv",
    "findings.csv",
    "limits.csv",
    "manifest.json",
    "population.csv",
    "reconciliation.csv",
    "report.html",
    "report.pdf",
    "requests.csv",
    "seal.json",
}


class Sealings:
    """Three days of a small organization, each signed at once, and three packets in a chain; the last is looked at."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.root = folder / "evidence"
        self.warehouse = Warehouse(url)
        upgrade(self.warehouse)
        self.sealing = sealing(self.root)
        people = ["ada", "bob", "cleo"]
        for number in range(3):
            logins = people[: number + 1]
            world = World(
                members=dict.fromkeys(logins, "Somebody"),
                groups={"1": "Members"},
                group_members={"1": logins},
                user_permissions={login: ["admin"] if login == "ada" else [] for login in logins},
            )
            record(self.warehouse, snapshot_of(world, EPOCH + timedelta(days=number)), lambda: EPOCH)
            derive(self.warehouse, "acme")
            sign_head(self.warehouse, self.sealing)
        self.packets = [self.seal(window) for window in WINDOWS]

    def seal(self, window: Window) -> Sealed:
        return seal(build(self.warehouse, "acme", window), self.sealing, self.warehouse, run_id="run")

    @property
    def fingerprint(self) -> str:
        return self.sealing.signer.key.fingerprint

    @property
    def last(self) -> Path:
        return Path(self.packets[-1].place)

    def verify(self, folder: Path | None = None, *, offline: bool = False, trusting: str | None = None) -> Report:
        folder = folder or self.last
        store, path = FolderStore(folder.parents[2]), str(folder.relative_to(folder.parents[2]))
        warehouse = None if offline else self.warehouse
        return verify(store, path, fingerprints=[trusting or self.fingerprint], warehouse=warehouse)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealings]:
    folder = tmp_path_factory.mktemp("sealed")
    here = Sealings(folder, sqlite_url(folder / "warehouse.sqlite"))
    yield here
    here.warehouse.close()


@pytest.fixture
def here(original: Sealings, tmp_path: Path) -> Iterator[Sealings]:
    """A copy of it all, to tamper with."""
    copy = tmp_path / "copy"
    original.warehouse.close()
    shutil.copytree(original.folder, copy)
    found = object.__new__(Sealings)
    found.folder, found.root = copy, copy / "evidence"
    found.warehouse = Warehouse(sqlite_url(copy / "warehouse.sqlite"))
    found.sealing = sealing(found.root)
    found.packets = [
        Sealed(one.place.replace(str(original.folder), str(copy)), one.digest, one.is_new) for one in original.packets
    ]
    yield found
    found.warehouse.close()


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"this machine has no {program}")


def resigned(folder: Path, key: Path | None = None) -> None:
    """Make sums and signature anew, as somebody with a key of their own can; without one, only the sums."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    content = {name: body for name, body in files.items() if not name.startswith("SHA256SUMS")}
    (folder / "SHA256SUMS").write_bytes(sums_of(content))
    if key is not None:
        (folder / "SHA256SUMS.sig").write_bytes(signer(key).sign(sums_of(content), PACKETS))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / name).read_bytes())
    change(document)
    (folder / name).write_bytes(canonical_json(document))


def test_a_packet_has_every_file_of_the_design_and_is_fine(original: Sealings) -> None:
    assert {file.name for file in original.last.iterdir()} == ALL
    assert original.verify().faults == []
    assert original.verify(offline=True).faults == []
    for packet in original.packets:
        assert original.verify(Path(packet.place)).faults == []


def test_sha256sum_and_ssh_keygen_alone_verify_a_packet(original: Sealings) -> None:
    needs("sha256sum")
    needs("ssh-keygen")
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=original.last, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len(ALL) - 2
    ask = ["ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", "sonar-access", "-n", PACKETS, "-s", "SHA256SUMS.sig"]
    sums = (original.last / "SHA256SUMS").read_bytes()
    done_too = subprocess.run(ask, cwd=original.last, input=sums, capture_output=True, check=False)
    assert done_too.returncode == 0, done_too.stderr
    assert original.fingerprint in done_too.stdout.decode()
    for wrong in (sums + b"x", b""):
        assert subprocess.run(ask, cwd=original.last, input=wrong, capture_output=True, check=False).returncode != 0
    other = [PACKETS if word == PACKETS else word for word in ask]
    other[other.index(PACKETS)] = "file"
    assert subprocess.run(other, cwd=original.last, input=sums, capture_output=True, check=False).returncode != 0


def test_the_commands_of_the_readme_are_the_ones_that_work(original: Sealings) -> None:
    needs("ssh-keygen")
    readme = (original.last / "README.txt").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith("     ")]
    assert len(commands) == 3
    for command in commands[:2]:
        done = subprocess.run(["bash", "-c", command], cwd=original.last, capture_output=True, check=False)
        assert done.returncode == 0, command


def test_what_ssh_keygen_signs_we_verify_and_both_say_the_same_of_a_key(tmp_path: Path) -> None:
    needs("ssh-keygen")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", tmp_path / "key"], check=True)
    (tmp_path / "file").write_bytes(b"message")
    sign = ["ssh-keygen", "-Y", "sign", "-f", str(tmp_path / "key"), "-n", PACKETS, str(tmp_path / "file")]
    subprocess.run(sign, check=True, capture_output=True)
    theirs = (tmp_path / "file.sig").read_bytes()
    ours = signer_of(str(tmp_path / "key"), tmp_path)
    assert ours.sign(b"message", PACKETS) == theirs, "Ed25519 signs the same way twice"
    key = verified(b"message", theirs, PACKETS)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], check=True, capture_output=True, text=True).stdout
    assert key.fingerprint in shown
    for message, namespace in ((b"massage", PACKETS), (b"message", "file")):
        with pytest.raises(SignatureError):
            verified(message, theirs, namespace)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (["-t", "ed25519", "-N", "secret"], "has a passphrase"),
        (["-t", "rsa", "-b", "2048", "-N", ""], "not an Ed25519 key"),
        (None, "no OpenSSH private key"),
    ],
)
def test_a_key_that_cannot_sign_is_a_sentence(tmp_path: Path, make: list[str] | None, said: str) -> None:
    key = tmp_path / "key"
    if make is None:
        key.write_text("nothing")
    else:
        needs("ssh-keygen")
        subprocess.run(["ssh-keygen", "-q", "-f", key, *make], check=True)
    with pytest.raises(EvidenceError, match=said):
        signer_of(str(key), tmp_path)
    with pytest.raises(EvidenceError, match="cannot be read"):
        signer_of(str(tmp_path / "none"), tmp_path)


def test_a_key_in_an_agent_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("ssh-agent")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key"], check=True)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "secret", "-N", "", "-f", tmp_path / "key"], check=True)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        held = signer_of(f"agent:{tmp_path / 'key.pub'}", tmp_path)
        for _ in range(100):
            if (tmp_path / "agent").exists():
                break
            subprocess.run(["sleep", "0.05"], check=True)
        with pytest.raises(EvidenceError, match="does not hold"):
            held.sign(b"message", PACKETS)
        subprocess.run(["ssh-add", "-q", tmp_path / "key"], check=True, env=os.environ)
        assert verified(b"message", held.sign(b"message", PACKETS), PACKETS) == held.key
    finally:
        agent.kill()
        agent.wait()


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
def test_a_file_that_was_changed_is_named(original: Sealings, tmp_path: Path, name: str, change: str) -> None:
    folder = tmp_path / "evidence" / "acme" / original.last.parent.name / original.last.name
    shutil.copytree(original.last, folder)
    body = (folder / name).read_bytes()
    (folder / name).write_bytes(CHANGES[change](body))
    assert [fault for fault in original.verify(folder, offline=True).faults if name in fault], f"{name}, {change}"


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
    edit(here.last, "manifest.json", lambda manifest: manifest["files"]["population.csv"].update(said))
    digest = hashlib.sha256((here.last / "manifest.json").read_bytes()).hexdigest()
    edit(here.last, "seal.json", lambda about: about.update(digest=digest))
    resigned(here.last)


def _the_same_with_a_key_of_their_own(here: Sealings) -> None:
    _csv_with_everything_made_anew_but_the_signature(here)
    stranger = here.folder / "stranger"
    (here.last / "allowed_signers").write_bytes(signer(stranger).allowed_signers)
    edit(here.last, "seal.json", lambda about: about.update(signed_by=signer(stranger).key.fingerprint))
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
    edit(sorted((here.root / "heads").iterdir())[0], "head.json", lambda head: head.update(snapshot_id=7))


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
    """The last packet and the last day never were: gone from the warehouse and from the evidence folder, but for a head."""
    _sql("DELETE FROM evidence_packet WHERE packet_id = 3", unguarded=("evidence_packet",))(here)
    shutil.rmtree(here.last)
    here.packets.pop()
    tables = ("raw_response", "raw_list", "raw_control", "raw_snapshot", "signed_head")
    with here.warehouse.write("test") as transaction:
        for table in tables:
            unguard(transaction, table)
        transaction.execute(text("PRAGMA defer_foreign_keys = ON"))
        transaction.execute(text("DELETE FROM history_observation WHERE snapshot_id = 3"))
        for name in ("fct_user_access", "dim_user", "bridge_group_member", "fct_finding", "fct_permission_grant"):
            last = "(SELECT observed_at FROM raw_snapshot WHERE snapshot_id = 3)"
            transaction.execute(text(f"DELETE FROM {name} WHERE valid_from = {last}"))
            reopened = "SET valid_to = NULL, last_seen_at = NULL"
            transaction.execute(text(f"UPDATE {name} {reopened} WHERE valid_to = {last}"))
        for table in tables:
            transaction.execute(text(f"DELETE FROM {table} WHERE snapshot_id = 3"))


TAMPERINGS: Mapping[str, tuple[Callable[[Sealings], None], str]] = {
    "a file more": (_add, "more.csv is not listed"),
    "a file more, with sums to fit": (_add_with_sums, "does not fit SHA256SUMS"),
    "rows reordered, and all digests with them": (_csv_with_everything_made_anew_but_the_signature, "does not fit SHA256SUMS"),
    "the same, signed by a stranger": (_the_same_with_a_key_of_their_own, "none of the keys that you named"),
    "signed again by a stranger": (_another_key, "none of the keys that you named"),
    "the signature of another packet": (_another_signature, "does not fit SHA256SUMS"),
    "the signers of a stranger": (_another_allowed_signers, "allowed_signers"),
    "another packet in its place": (_another_packet, "its folder is not called"),
    "the seal of another packet": (_another_seal, "seal.json names another manifest"),
    "the packet before it gone": (_predecessor_gone, "is not in the evidence folder"),
    "the first packet gone": (_first_gone, "is not in the evidence folder"),
    "the packet before it swapped": (_predecessor_swapped, "is not the one that was sealed there"),
    "a link of the chain changed": (_link_changed, "name none as the one before them"),
    "a signed head changed": (_head_changed, "is not what was signed"),
    "a signed head gone": (_head_gone, "is not in the evidence store"),
    "a signed head swapped": (_head_swapped, "is of another snapshot"),
    "an access row changed in the warehouse": (
        _sql("UPDATE fct_user_access SET granted_via = 'group:9' WHERE login = 'ada' AND entitlement = 'admin'"),
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
        _sql("UPDATE raw_snapshot SET content_sha256 = 'x' WHERE snapshot_id = 2", unguarded=("raw_snapshot",)),
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
        _sql("UPDATE evidence_packet SET previous_digest = 'x' WHERE packet_id = 2", unguarded=("evidence_packet",)),
        "does not name the one before it",
    ),
    "this packet taken out of the register": (
        _sql("DELETE FROM evidence_packet WHERE packet_id = 3", unguarded=("evidence_packet",)),
        "does not know this packet",
    ),
    "the time of sealing changed in the register": (
        _sql("UPDATE evidence_packet SET sealed_at = '2020-01-01 00:00:00.000000'", unguarded=("evidence_packet",)),
        "disagree about sealed_at",
    ),
    "the last day and its packet never were": (_rolled_back, "has lost snapshot 3"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(here: Sealings, name: str) -> None:
    tamper, said = TAMPERINGS[name]
    tamper(here)
    faults = here.verify().faults
    assert [fault for fault in faults if said in fault], faults


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_random_bytes_are_never_fine_and_never_a_traceback(original: Sealings, tmp_path: Path, data: st.DataObject) -> None:
    root = tmp_path / "evidence"
    if not root.exists():
        shutil.copytree(original.root, root)
    folder = root / original.last.relative_to(original.root)
    assert original.verify(folder, offline=True).is_fine
    names = data.draw(st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=3, unique=True))
    nested = st.integers(1, 3000).map(lambda depth: b"[" * depth)
    documents = st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda x: st.dictionaries(st.text(max_size=5), x))
    anything = st.binary(max_size=400) | nested | documents.map(lambda one: json.dumps(one).encode())
    before = {name: (folder / name).read_bytes() for name in names}
    after = {}
    for name, body in before.items():
        new, share = data.draw(anything, label=name), data.draw(st.none() | st.floats(0, 1), label="where, if not instead")
        place = 0 if share is None else int(share * len(body))
        after[name] = new if share is None else body[:place] + new + body[place + len(new) :]
    try:
        for name, body in after.items():
            (folder / name).write_bytes(body)
        assert original.verify(folder, offline=True).is_fine is (before == after)
    finally:
        for name, body in before.items():
            (folder / name).write_bytes(body)


def test_a_new_key_is_trusted_through_the_old_one_that_endorses_it(here: Sealings) -> None:
    old, new = here.sealing.signer, signer(here.folder / "new-key")
    rotated = sealing(here.root, signed_by=new)
    endorse(rotated, endorsed_by=old)
    window = Window(DAYS[1], DAYS[2])
    sealed = seal(build(here.warehouse, "acme", window), rotated, here.warehouse, run_id="run")
    assert here.verify(Path(sealed.place)).faults == []
    assert here.verify(Path(sealed.place), trusting=new.key.fingerprint, offline=True).faults != [], (
        "old heads are of the old key"
    )
    assert "endorses" in " ".join(here.verify(Path(sealed.place)).notes)
    endorsement = next(path for path in (here.root / "keys").rglob("key.pub.sig"))
    endorsement.unlink()
    assert [fault for fault in here.verify(Path(sealed.place)).faults if "none of the keys" in fault]


def test_rebuilding_a_packet_with_another_key_and_at_another_time_verifies_it(here: Sealings) -> None:
    later = sealing(here.root, signed_by=signer(here.folder / "new-key"), clock=lambda: EPOCH + timedelta(days=900))
    again = seal(build(here.warehouse, "acme", WINDOWS[2]), later, here.warehouse, run_id="later")
    assert (again.is_new, again.place) == (False, here.packets[2].place)
    assert here.verify().faults == []


def test_other_content_is_a_new_version_and_the_old_one_stays_and_says_so(here: Sealings) -> None:
    late = World(members={"ada": None}, user_permissions={"ada": ["admin"]})
    record(here.warehouse, snapshot_of(late, EPOCH + timedelta(days=2, hours=9)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    newer = seal(build(here.warehouse, "acme", WINDOWS[2]), here.sealing, here.warehouse, run_id="run")
    assert newer.is_new
    assert Path(newer.place).parent == here.last.parent
    assert here.verify(Path(newer.place)).faults == []
    old = here.verify()
    assert old.faults == []
    assert "superseded" in " ".join(old.notes)


def test_packets_that_are_sealed_at_once_follow_each_other(here: Sealings) -> None:
    windows = [Window(first, last) for first in DAYS for last in DAYS if first <= last and first != DAYS[0]]
    built = [build(here.warehouse, "acme", window) for window in windows]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda packet: seal(packet, here.sealing, here.warehouse, run_id="run"), built))
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
    assert len([fault for fault in around if "is sealed and waits to be published" in fault]) == 2, "until then it is said"
    # Other content, another key: what waits is brought there as it was signed.
    record(here.warehouse, snapshot_of(World(members={"zoe": None}), EPOCH + timedelta(days=2, hours=9)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    rotated = sealing(here.root, signed_by=signer(here.folder / "new-key"))
    endorse(rotated, endorsed_by=here.sealing.signer)
    last = seal(build(here.warehouse, "acme", Window(DAYS[2], DAYS[2])), rotated, here.warehouse, run_id="run")
    assert here.verify(Path(last.place)).faults == []
    with here.warehouse.read() as transaction:
        rows = queries.packets(transaction, "acme")
        assert packets.waiting(transaction) == []
    assert len(rows) == 6
    assert [row["previous_digest"] for row in rows] == [None, *(row["digest"] for row in rows[:-1])]
    assert all(here.verify(Path(row["location"]), offline=True).own == [] for row in rows[3:])


def test_a_packet_that_an_older_version_entered_and_never_wrote_is_made_from_its_line(here: Sealings) -> None:
    with here.warehouse.write("test") as transaction:
        unguard(transaction, "publication")
        transaction.execute(text("DELETE FROM publication"))
    shutil.rmtree(here.last)
    again = here.seal(WINDOWS[2])
    assert again.is_new
    assert here.verify(offline=True).faults == []


def test_a_packet_of_an_older_version_that_was_found_there_is_on_record_from_then_on(here: Sealings) -> None:
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
    with pytest.raises(EvidenceError, match=r"is not at .* any more; it is not made again in silence"):
        here.seal(WINDOWS[2])
    moved.rename(here.last)
    assert not here.seal(WINDOWS[2]).is_new


def test_a_seal_that_a_restored_warehouse_lost_is_taken_into_the_register(here: Sealings) -> None:
    last = here.packets[2]
    with here.warehouse.write("test") as transaction:
        for table in ("evidence_packet", "publication"):
            unguard(transaction, table)
        transaction.execute(text("DELETE FROM evidence_packet WHERE digest = :digest"), {"digest": last.digest})
        transaction.execute(text("DELETE FROM publication WHERE path LIKE :path"), {"path": f"%{last.digest[:12]}%"})
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
    with pytest.raises(EvidenceError, match="lies something else than was sealed there; nothing is written over it"):
        seal(first, here.sealing, here.warehouse, run_id="run")
    shutil.rmtree(place)
    assert len(publish(here.warehouse, here.sealing).places) == 1
    assert here.verify(place).faults == []


def test_a_time_stamp_that_cannot_be_had_enters_nothing(here: Sealings) -> None:
    def away(_: bytes) -> bytes:
        raise EvidenceError("It does not answer.")

    stamped = sealing(here.root, signed_by=here.sealing.signer, stamp=away)
    with pytest.raises(EvidenceError, match="does not answer"):
        seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), stamped, here.warehouse, run_id="run")
    with here.warehouse.read() as transaction:
        assert len(queries.packets(transaction, "acme")) == 3
        assert packets.waiting(transaction) == []


def test_one_packet_that_two_seal_at_once_is_one(here: Sealings) -> None:
    packet = build(here.warehouse, "acme", Window(DAYS[1], DAYS[1]))
    with ThreadPoolExecutor(4) as threads:
        sealed = list(threads.map(lambda _: seal(packet, here.sealing, here.warehouse, run_id="run"), range(8)))
    assert {one.place for one in sealed} == {sealed[0].place}
    assert here.verify(Path(sealed[0].place)).faults == []
    assert not list(here.root.rglob(".*.partial"))


def test_a_head_is_signed_once_and_what_was_missed_is_made_up_for(here: Sealings) -> None:
    assert sign_head(here.warehouse, here.sealing) is None
    for hour in (7, 8):
        record(here.warehouse, snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=2, hours=hour)), lambda: EPOCH)
    place = sign_head(here.warehouse, here.sealing)
    assert place is not None
    assert Path(place).name.startswith("00000005-")
    assert sign_head(here.warehouse, here.sealing) is None
    assert sorted(path.name for path in Path(place).iterdir()) == ["allowed_signers", "head.json", "head.json.sig"]


def test_the_answers_behind_a_packet_are_delivered_with_their_digests(here: Sealings, tmp_path: Path) -> None:
    needs("sha256sum")
    files = FolderStore(here.root).get(str(here.last.relative_to(here.root)))
    exported = export_raw(files, here.warehouse, tmp_path / "answers")
    assert exported.missing == ()
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "answers", capture_output=True, check=False)
    assert done.returncode == 0
    for file in (tmp_path / "answers").glob("*.json"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.stem
    documents = [json.loads(file.read_bytes()) for file in (tmp_path / "answers").glob("*.json")]
    logins = {row["login"] for document in documents for row in document.get("users", ()) if "selected" not in row}
    population = [line.split(",")[2] for line in (here.last / "population.csv").read_text().splitlines()[1:]]
    assert logins == set(population), "an auditor counts the population from SonarCloud's own words"
    with here.warehouse.write("test") as transaction:
        transaction.execute(text("UPDATE raw_body SET zlib_body = x'', dropped_at = '2026-03-09 00:00:00.000000'"))
    assert len(export_raw(files, here.warehouse, tmp_path / "fewer").missing) == exported.bodies
    with pytest.raises(EvidenceError, match="is there already"):
        export_raw(files, here.warehouse, tmp_path / "fewer")


def test_an_object_store_takes_packets_and_a_half_written_one_is_none(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(f"memory://{here.folder.name}-{here.packets[0].digest[:8]}/evidence")
    there = sealing(here.root, store=store)
    packet = build(here.warehouse, "acme", Window(DAYS[1], DAYS[1]))
    whole, left = store._files.pipe_file, 5

    def fails(path: str, body: bytes, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("the network is gone")
        whole(path, body, **options)

    endorse(there)
    monkeypatch.setattr(type(store._files), "pipe_file", staticmethod(fails))
    with pytest.raises(EvidenceError, match="refuses"):
        seal(packet, there, here.warehouse, run_id="run")
    monkeypatch.undo()
    path = f"acme/{DAYS[1]}_{DAYS[1]}/{packet.digest[:12]}-simulated"
    assert store.names(path), "something is there"
    assert not store.has(path, "SHA256SUMS"), "and nobody takes it for a packet"
    sealed = seal(packet, there, here.warehouse, run_id="run")
    assert sealed.is_new
    faults = verify(store, path, fingerprints=[here.fingerprint]).faults
    assert [fault for fault in faults if "packet before it" not in fault] == [], "that one lies elsewhere"


def test_s3_keeps_packets_locked_for_as_long_as_the_settings_say(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from botocore.exceptions import ClientError
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            monkeypatch.setenv(name, value)
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="evidence", ObjectLockEnabledForBucket=True)
        store = ObjectStore("s3://evidence/sonar", retention_days=365)
        there = sealing(here.root, store=store)
        head = sign_head_anew(here, there)
        sealed = seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])), there, here.warehouse, run_id="run")
        path = sealed.place.removeprefix("s3://evidence/sonar/")
        report = verify(store, path, fingerprints=[here.fingerprint])
        assert [fault for fault in report.faults if "packet before it" not in fault] == []
        assert seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])), there, here.warehouse, run_id="run").is_new is False
        objects = s3.list_object_versions(Bucket="evidence")["Versions"]
        assert {Path(one["Key"]).name for one in objects if path in one["Key"]} == ALL
        assert any(head.removeprefix("s3://evidence/") in one["Key"] for one in objects)
        for one in objects:
            about = {"Bucket": "evidence", "Key": one["Key"], "VersionId": one["VersionId"]}
            kept = s3.head_object(**about)
            assert kept["ObjectLockMode"] == "COMPLIANCE"
            assert kept["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=364)
            with pytest.raises(ClientError, match=r"AccessDenied|WORM|denied"):
                s3.delete_object(**about)
        s3.create_bucket(Bucket="unlocked")
        refused = sealing(here.root, store=ObjectStore("s3://unlocked/sonar", retention_days=365))
        with pytest.raises(EvidenceError, match="refuses"):
            endorse(refused)
        # A store that ignores the header takes everything and locks nothing.
        monkeypatch.setattr(ObjectStore, "_lock", lambda _: {})
        ignored = sealing(here.root, store=ObjectStore("s3://unlocked/ignoring", retention_days=365))
        for _ in range(2):
            with pytest.raises(EvidenceError, match="did not lock it"):
                seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), ignored, here.warehouse, run_id="run")
        with here.warehouse.read() as transaction:
            assert len(packets.waiting(transaction)) == 1, "nor when it lies there already"
    finally:
        server.stop()


def sign_head_anew(here: Sealings, there: Any) -> str:
    record(here.warehouse, snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=3)), lambda: EPOCH)
    place = sign_head(here.warehouse, there)
    assert place is not None
    return place


class Authority:
    """A time stamp authority of our own: `openssl ts` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "ca.pem"
        folder.mkdir()
        (folder / "conf").write_text(
            "[tsa]\ndefault_tsa = us\n[us]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key = tsa.key\n"
            "default_policy = 1.2.3.4\ndigests = sha256, sha512\nsigner_digest = sha256\naccuracy = secs:1\n"
            "[stamping]\nextendedKeyUsage = critical,timeStamping\nkeyUsage = critical,digitalSignature\n"
            "[ca]\nbasicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign,cRLSign\n"
            "[req]\ndistinguished_name = dn\n[dn]\n"
        )
        (folder / "serial").write_text("01")
        new = ["-newkey", "rsa:2048", "-nodes", "-config", "conf"]
        self.run(
            "req", "-x509", *new, "-subj", "/CN=Root", "-keyout", "ca.key", "-out", "ca.pem", "-days", "9", "-extensions", "ca"
        )
        self.run("req", *new, "-subj", "/CN=Stamps", "-keyout", "tsa.key", "-out", "tsa.csr")
        sign = [
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "9",
            "-extfile",
            "conf",
            "-extensions",
            "stamping",
        ]
        self.run("x509", "-req", "-in", "tsa.csr", "-out", "tsa.pem", *sign)

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def answer(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        self.run("ts", "-reply", "-config", "conf", "-section", "us", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()

    def certified(self, name: str, begins: int, ends: int, *, usage: bool = True) -> None:
        """Have another certificate of our own root, valid in so many days from now, by the name of the section of `conf`."""
        key = load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        root = x509.load_pem_x509_certificate(self.certificates.read_bytes())
        ours = load_pem_private_key((self.folder / "tsa.key").read_bytes(), None)
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stamps")]))
            .issuer_name(root.subject)
            .public_key(ours.public_key())  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=begins))
            .not_valid_after(now + timedelta(days=ends))
        )
        if usage:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        signed = made.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        (self.folder / "tsa.pem").write_bytes(signed.public_bytes(Encoding.PEM))


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Authority, str]]:
    needs("openssl")
    ours = Authority(tmp_path / "authority")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = ours.answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield ours, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_time_stamp_says_when_and_openssl_verifies_it(here: Sealings, authority: tuple[Authority, str]) -> None:
    ours, url = authority
    there = sealing(here.root, stamp=stamped_by(url))
    sealed = seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run")
    folder = Path(sealed.place)
    ask = ["openssl", "ts", "-verify", "-data", "SHA256SUMS.sig", "-in", "SHA256SUMS.sig.tsr", "-CAfile", str(ours.certificates)]
    done = subprocess.run(ask, cwd=folder, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr
    store, path, mine = FolderStore(here.root), str(folder.relative_to(here.root)), [here.fingerprint]
    report = verify(store, path, fingerprints=mine, authorities=ours.certificates.read_bytes())
    assert report.faults == []
    assert "by an authority whose certificates you named" in " ".join(report.notes)
    assert "was not checked" in " ".join(verify(store, path, fingerprints=mine).notes)
    stranger = Authority(here.folder / "stranger-authority").certificates.read_bytes()
    assert "not signed by an authority" in " ".join(verify(store, path, fingerprints=mine, authorities=stranger).faults)
    stamp = (folder / "SHA256SUMS.sig.tsr").read_bytes()
    for wrong in (b"", stamp[:-9], ours.answer(_query_for(ours, b"something else")), b"x" * 99):
        (folder / "SHA256SUMS.sig.tsr").write_bytes(wrong)
        assert [fault for fault in verify(store, path, fingerprints=mine).faults if "SHA256SUMS.sig.tsr" in fault]


def _query_for(ours: Authority, data: bytes) -> bytes:
    (ours.folder / "data").write_bytes(data)
    ours.run("ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "asked")
    return (ours.folder / "asked").read_bytes()


def test_a_stamp_that_does_not_hold_is_never_sealed(
    here: Sealings, authority: tuple[Authority, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, url = authority
    answer, certificates = ours.answer, ours.certificates.read_bytes()
    other = answer(_query_for(ours, b"something else"))
    stranger = Authority(here.folder / "another-authority").certificates.read_bytes()

    def broken(query: bytes) -> bytes:
        whole = answer(query)
        return whole[:-20] + bytes(byte ^ 1 for byte in whole[-20:])

    def without_certificate(query: bytes) -> bytes:
        # The request's last field, which asks for the certificate, is left out.
        assert query[-3:] == b"\x01\x01\xff"
        return answer(bytes([query[0], query[1] - 3]) + query[2:-3])

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)

    asked = stamped_by(url)
    given = asked(b"the same")
    monkeypatch.setattr(ours, "answer", lambda _: given)
    with pytest.raises(EvidenceError, match="answers another question"):
        asked(b"the same")
    monkeypatch.setattr(ours, "answer", answer)

    def sealed(*, authorities: bytes | None = certificates, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
        there = sealing(here.root, stamp=stamped_by(url, authorities, clock))
        with pytest.raises(EvidenceError) as refused:
            seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run")
        return str(refused.value)

    assert "differ by" in sealed(clock=later)
    assert "not signed by an authority whose certificates you named" in sealed(authorities=stranger)
    assert "certificates that you named are none" in sealed(authorities=b"none")
    for wrong, said in (
        (lambda _: other, "of something else"),
        (broken, "not signed by an authority"),
        (without_certificate, "does not bring the certificate"),
        (lambda _: b"no stamp", "something else than a time stamp"),
        (lambda _: bytes.fromhex("30053003020100"), "it is no time stamp"),
    ):
        monkeypatch.setattr(ours, "answer", wrong)
        assert said in sealed()
    monkeypatch.setattr(ours, "answer", answer)
    for begins, ends, usage, said in (
        (-9, -1, True, "was not valid when it was made"),
        (1, 9, True, "was not valid when it was made"),
    ):
        ours.certified("tsa", begins, ends, usage=usage)
        assert said in sealed()
        assert said in sealed(authorities=None)
    with here.warehouse.read() as transaction:
        assert len(queries.packets(transaction, "acme")) == 3, "nothing was entered"
        assert packets.waiting(transaction) == []


def test_an_authority_that_does_not_answer_is_a_sentence(here: Sealings) -> None:
    there = sealing(here.root, stamp=stamped_by("http://127.0.0.1:9"))
    with pytest.raises(EvidenceError, match="does not answer"):
        seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run")
    assert not (here.root / "acme" / f"{DAYS[1]}_{DAYS[1]}").exists(), "nothing half-written is left"


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
    record(here.warehouse, snapshot_of(World(members={"dora": "D"}), EPOCH + timedelta(days=2, hours=3)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    later = here.seal(WINDOWS[2])
    assert later.digest != here.packets[2].digest
    report = here.verify(Path(here.packets[2].place), offline=True)
    assert report.is_fine
    assert [note for note in report.notes if f"superseded: packet {later.digest[:12]}" in note]
    assert not [note for note in here.verify(Path(later.place), offline=True).notes if "superseded" in note]


def test_a_packet_without_a_time_stamp_says_so_and_fails_whoever_asked_for_one(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    report = here.verify(offline=True)
    assert report.is_fine
    assert "It has no time stamp: nobody but its sealer says when it was sealed." in report.notes
    store, path = FolderStore(here.root), str(here.last.relative_to(here.root))
    asked = verify(store, path, fingerprints=[here.fingerprint], authorities=b"-----BEGIN")
    assert asked.faults == ["SHA256SUMS.sig.tsr is missing: no authority says when it was sealed"]
    stamped = sealing(here.root, signed_by=here.sealing.signer, stamp=stamped_by(authority[1]))
    record(here.warehouse, snapshot_of(World(members={"dora": "D"}), EPOCH + timedelta(days=5)), lambda: EPOCH)
    derive(here.warehouse, "acme")
    sealed = seal(
        build(here.warehouse, "acme", Window(DAYS[0], DAYS[0] + timedelta(days=5))), stamped, here.warehouse, run_id="r"
    )
    (Path(sealed.place) / "SHA256SUMS.sig.tsr").unlink()
    assert here.verify(Path(sealed.place), offline=True).faults == [
        "SHA256SUMS.sig.tsr is missing, and seal.json says that it was stamped"
    ]


def test_a_sheet_is_made_of_a_packet_whose_key_somebody_vouches_for(
    here: Sealings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger may have changed a packet and signed it anew: then it verifies, by the stranger's own key."""
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(tmp_path / "none"))
    sheet = tmp_path / "sheet.xlsx"

    def made(*more: str) -> Result:
        return CliRunner().invoke(main, ["evidence", "worksheet", str(here.last), "--to", str(sheet), *more])

    unnamed = made()
    assert (unnamed.exit_code, sheet.exists()) == (2, False)
    assert "with --fingerprint, as you got it from elsewhere" in unnamed.output
    assert made("--fingerprint", "SHA256:another").exit_code == 1
    assert made("--fingerprint", here.fingerprint).exit_code == 0
    sheet.unlink()
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", here.warehouse.url.render_as_string(hide_password=False))
    assert made().exit_code == 0, "the register knows its key"
    sheet.unlink()
    # After a rotation heads are signed by the key before, which the new one does not endorse.
    old, new = here.sealing.signer, signer(here.folder / "new-key")
    rotated = sealing(here.root, signed_by=new)
    endorse(rotated, endorsed_by=old)
    later = seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])), rotated, here.warehouse, run_id="run")
    done = CliRunner().invoke(main, ["evidence", "worksheet", later.place, "--to", str(sheet)])
    assert done.exit_code == 0, done.output
    sheet.unlink()
    shutil.rmtree(here.packets[0].place)
    done = CliRunner().invoke(main, ["evidence", "worksheet", later.place, "--to", str(sheet)])
    assert done.exit_code == 0, "a neighbour that is gone does not make this packet another one"


def test_a_warehouse_that_is_set_and_does_not_answer_is_not_passed_over(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", "postgresql://u:secret@127.0.0.1:9/db")
    done = CliRunner().invoke(main, ["evidence", "verify", str(here.last)])
    assert done.exit_code == 1
    assert "verify the files alone, with --offline" in done.output
    assert "secret" not in done.output
    assert CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"]).exit_code == 0


def test_a_packet_of_a_former_format_is_verified_and_not_built_again(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonar_access_pipeline.evidence.verify.FORMAT_VERSION", 99)
    report = here.verify()
    assert report.faults == []
    assert [note for note in report.notes if "It is of format" in note and "was not built again" in note]


def test_a_packet_and_the_line_it_stands_in_have_verdicts_of_their_own(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(here.folder / "none"))
    shutil.rmtree(here.packets[1].place)
    report = here.verify(offline=True)
    assert report.own == []
    assert report.around == [f"the packet before it, {here.packets[1].digest[:12]}, is not in the evidence folder"]
    done = CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"])
    assert done.exit_code == 4, done.output
    assert "itself is as it was sealed" in done.output
    (here.last / "population.csv").write_bytes(b"")
    assert CliRunner().invoke(main, ["evidence", "verify", str(here.last), "--offline"]).exit_code == 1


def test_a_store_that_does_not_answer_is_no_tampering(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
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
    report = here.verify()
    assert report.faults == []
    for name in ("acme/New folder", "acme/notes.txt", "copy of it"):
        assert [note for note in report.notes if name in note and "none of ours" in note], name


def test_a_bundle_without_its_last_file_is_none_for_the_others_too(here: Sealings) -> None:
    store = ObjectStore(f"memory://half-{here.folder.parent.name}/evidence")
    there = sealing(here.root, store=store, signed_by=here.sealing.signer)
    endorse(there)
    whole = seal(build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run")
    path = whole.place.removeprefix(store.place(""))
    store._files.pipe_file(f"{store._root}/acme/{DAYS[1]}_{DAYS[2]}/0123456789ab-simulated/manifest.json", b"{}")
    report = verify(store, path, fingerprints=[here.fingerprint])
    assert report.own == []
    assert [note for note in report.notes if "0123456789ab-simulated is not finished" in note]


ATTACKS: dict[str, tuple[Callable[[Sealings], object], str]] = {
    "a population overwritten": (
        lambda here: (Path(here.packets[0].place) / "population.csv").write_bytes(b"x"),
        "population.csv was changed",
    ),
    "sums deleted": (lambda here: (Path(here.packets[0].place) / "SHA256SUMS").unlink(), "is not in the evidence store"),
    "the newest packet deleted": (lambda here: shutil.rmtree(here.last), "is not in the evidence store"),
    "one in the middle deleted": (lambda here: shutil.rmtree(here.packets[1].place), "is not in the evidence folder"),
    "signed anew by a stranger": (
        lambda here: resigned(here.last, here.folder / "stranger"),
        "seal.json names another key than the one that signed",
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
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", here.warehouse.url.render_as_string(hide_password=False))
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", str(here.root))
    done = CliRunner().invoke(main, ["evidence", "verify", "--all"])
    assert done.exit_code in (1, 4), done.output
    assert said in " ".join(done.output.split())


def test_a_packet_alone_is_read_once_whatever_stands_beside_it(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
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
    packets.note_published(here.warehouse, first, EPOCH)
    second = waits("second")
    # The other one comes late: on SQLite the second has the number that the first had.
    packets.note_published(here.warehouse, first, EPOCH)
    with here.warehouse.read() as transaction:
        assert packets.waiting(transaction) == [second]
        assert packets.bundle_of(transaction, first) is None
        assert transaction.execute(text("SELECT count(*) FROM publication WHERE path = 'keys/first'")).scalar() == 1


def test_a_folder_inside_a_packet_is_a_fault_of_it_and_blinds_nobody_to_the_others(here: Sealings) -> None:
    (Path(here.packets[0].place) / "inside").mkdir()
    (Path(here.packets[1].place) / "population.csv").write_bytes(b"x")
    reports = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).reports
    own = {path.rpartition("/")[2][:12]: report.own for path, report in reports.items()}
    assert own[here.packets[0].digest[:12]] == ["inside is not listed", "manifest.json does not name inside"]
    assert "population.csv was changed" in own[here.packets[1].digest[:12]]
    assert own[here.packets[2].digest[:12]] == []


@pytest.mark.parametrize("previous", [[], 5, {"a": 1}, "x", True])
def test_a_forged_seal_is_a_fault_and_never_a_traceback(here: Sealings, previous: object) -> None:
    edit(Path(here.packets[0].place), "seal.json", lambda seal: seal.update(previous_digest=previous))
    assert verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).changed
    assert here.verify().around
    assert here.verify(Path(here.packets[0].place)).own


def test_of_two_signed_heads_of_one_snapshot_none_hides_the_other(here: Sealings) -> None:
    heads = sorted((here.root / "heads").iterdir())
    said = json.loads((heads[0] / "head.json").read_bytes()) | {"head_sha256": "f" * 64}
    forged = heads[0].with_name(f"{heads[0].name[:9]}{'f' * 12}")
    stranger = signer(here.folder / "stranger")
    body = canonical_json(said)
    FolderStore(here.root).put(
        f"heads/{forged.name}",
        {"head.json": body, "head.json.sig": stranger.sign(body, HEADS), "allowed_signers": stranger.allowed_signers},
        "head.json",
    )
    around = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).around
    assert around == ["the warehouse's snapshots up to 1 are not those whose head was signed"]


def test_a_certificate_that_is_not_for_time_stamps_signs_none(authority: tuple[Authority, str]) -> None:
    """`openssl ts` signs with none such: the answer is put together here."""
    ours, _ = authority
    for usage, said in ((True, None), (False, "its certificate is not one for time stamps")):
        ours.certified("tsa", -1, 1, usage=usage)
        made = x509.load_pem_x509_certificate((ours.folder / "tsa.pem").read_bytes())
        signed = SimpleNamespace(
            certificates={made.public_bytes(Encoding.DER)}, signer_infos=[SimpleNamespace(serial_number=made.serial_number)]
        )
        answer = SimpleNamespace(signed_data=signed, tst_info=SimpleNamespace(gen_time=datetime.now(UTC)))
        assert certificate_fault(answer) == said  # type: ignore[arg-type]


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


def test_a_store_that_refuses_is_not_asked_for_all_that_waits(here: Sealings, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_head_that_was_signed_anew_with_another_key_is_not_the_one_of_the_register(here: Sealings) -> None:
    head = sorted((here.root / "heads").iterdir())[0]
    stranger = signer(here.folder / "stranger")
    (head / "head.json.sig").write_bytes(stranger.sign((head / "head.json").read_bytes(), HEADS))
    around = verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).around
    assert around == ["the signed head of snapshot 1 is signed by another key than the register has"]
