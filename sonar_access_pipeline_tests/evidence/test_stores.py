"""Stores as they really behave: what is put there, what they refuse, what somebody with our rights
does there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.objects import ObjectStore
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.rehearsal import hindrances
from sonar_access_pipeline.evidence.seal import SUMS, Sealing, endorse, publish, seal, sign_head
from sonar_access_pipeline.evidence.stores import FolderStore, store_of
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.sealed import ALL, DAYS, Sealings, live_a_day, sealing
from sonar_access_pipeline_tests.support.servers import (
    Server,
    forget_sessions,
    s3_at,
    s3_client,
    server,
)

SERVERS = ("moto", "minio", "versitygw", "azurite", "fake-gcs-server")


class Place:
    """A small organization, whose evidence goes into an object store."""

    def __init__(self, folder: Path, ours: Server) -> None:
        self.folder, self.server, self.days = folder, ours, 0
        self.warehouse = Warehouse(sqlite_url(folder / "warehouse.sqlite"))
        upgrade(self.warehouse)
        ours.make_bucket("evidence", ours.is_s3)
        self.store = ObjectStore(
            f"{ours.scheme}://evidence/sonar", 30 if ours.is_s3 else None, patient_seconds=5
        )
        self.sealing: Sealing = sealing(
            folder / "root", store=self.store, clock=lambda: datetime.now(UTC)
        )

    def day(self) -> str:
        """Observe a day and seal it: where its packet lies under the root."""
        people = [f"person-{number}" for number in range(self.days + 1)]
        place = live_a_day(self.warehouse, self.sealing, self.days, *people)
        self.days += 1
        return place.removeprefix(self.store.place(""))

    @property
    def fingerprints(self) -> list[str]:
        """The key that a reader got from elsewhere."""
        return [self.sealing.signer.key.fingerprint]

    def faults(self) -> list[str]:
        """What the weekly check says."""
        return verify_all(
            self.store, "acme", fingerprints=self.fingerprints, warehouse=self.warehouse
        ).faults


@pytest.fixture(params=SERVERS)
def there(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    (tmp_path / "server").mkdir()
    with server(request.param, tmp_path / "server", monkeypatch) as ours:
        place = Place(tmp_path, ours)
        yield place
        place.warehouse.close()


@pytest.fixture
def moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with server("moto", tmp_path, monkeypatch) as ours:
        place = Place(tmp_path, ours)
        yield place
        place.warehouse.close()


def test_a_store_takes_packets_gives_them_back_and_writes_over_nothing(there: Place) -> None:
    first, second = there.day(), there.day()
    for path in (first, second):
        assert (
            verify(
                there.store, path, fingerprints=there.fingerprints, warehouse=there.warehouse
            ).faults
            == []
        )
    assert there.faults() == []
    files = there.store.get(first)
    there.store.put(first, {**files, SUMS: b"something else"}, SUMS)
    assert there.store.get(first) == files
    assert there.store.has(first, SUMS)
    assert not there.store.has("acme/none", SUMS)
    assert there.store.listing("acme/none").bundles == {}
    assert not there.store.holds(first, {**files, SUMS: b"something else"})
    with pytest.raises(EvidenceError, match="Nothing lies at") as gone:
        there.store.read(first, "none")
    assert not isinstance(gone.value, UnreadableError)
    # An empty bucket in its place is not the store that packets were put into.
    there.server.make_bucket("another", False)
    with pytest.raises(UnreadableError, match="there is no such bucket"):
        ObjectStore(f"{there.server.scheme}://none-at-all/sonar", patient_seconds=0).read(
            first, SUMS
        )


def _stored(there: Place, path: str, name: str) -> dict[str, str]:
    return {"Bucket": "evidence", "Key": f"sonar/{path}/{name}"}


def _overwritten(there: Place, path: str) -> None:
    s3_client().put_object(**_stored(there, path, "population.csv"), Body=b"x")


def _marked(there: Place, path: str) -> None:
    s3_client().delete_object(**_stored(there, path, "population.csv"))


def _sums_marked(there: Place, path: str) -> None:
    s3_client().delete_object(**_stored(there, path, SUMS))


def _stray(there: Place, path: str) -> None:
    s3_client().put_object(**_stored(there, path, "report-2.html"), Body=b"x")


def _unlocked(there: Place, path: str) -> None:
    """An object that lies there once more with the same bytes, and without its lock."""
    body = there.store.read(path, "population.csv")
    s3_client().put_object(**_stored(there, path, "population.csv"), Body=body)


def _unstamped(there: Place, path: str) -> None:
    s3_client().delete_object(**_stored(there, path, "SHA256SUMS.sig.tsr"))


ATTACKS: dict[str, tuple[Callable[[Place, str], None], str]] = {
    "a file overwritten": (_overwritten, "population.csv was changed"),
    "a delete marker": (_marked, "population.csv is listed but missing"),
    "the newest packet deleted": (_sums_marked, "is not in the evidence store"),
    "a lock that is not there": (_unlocked, "and there is none"),
    "the time stamp deleted": (
        _unstamped,
        "SHA256SUMS.sig.tsr is missing, and seal.json says that it was stamped",
    ),
    "a stray object": (_stray, "report-2.html is not listed"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_whatever_somebody_with_our_rights_does_there_is_named_by_the_weekly_check(
    moto: Place, name: str
) -> None:
    if name == "the time stamp deleted":
        moto.sealing = sealing(
            moto.folder / "root",
            store=moto.store,
            stamp=lambda _: b"a stamp",
            clock=lambda: datetime.now(UTC),
        )
    moto.day()
    last = moto.day()
    if name != "the time stamp deleted":
        assert moto.faults() == []
    attack, said = ATTACKS[name]
    attack(moto, last)
    assert [fault for fault in moto.faults() if said in fault], moto.faults()


@pytest.mark.parametrize("name", ["a file overwritten", "a delete marker"])
def test_what_older_versions_hold_is_said_with_the_commands_that_bring_it_back(
    moto: Place, name: str
) -> None:
    moto.day()
    last = moto.day()
    sealed = moto.store.get(last)
    ATTACKS[name][0](moto, last)
    report = verify(moto.store, last, fingerprints=moto.fingerprints)
    assert report.own
    assert "Older versions hold what was sealed, of population.csv" in " ".join(report.notes)
    (command,) = [
        shlex.split(note) for note in report.notes if note.startswith("aws s3api copy-object")
    ]
    said = dict(zip(command[3::2], command[4::2], strict=True))
    s3_client().copy_object(
        Bucket=said["--bucket"], Key=said["--key"], CopySource=said["--copy-source"]
    )
    assert moto.store.get(last) == sealed
    assert verify(moto.store, last, fingerprints=moto.fingerprints).own == []


def test_a_bundle_that_is_brought_there_twice_has_one_version_of_each_object(moto: Place) -> None:
    moto.day()
    assert publish(moto.warehouse, moto.sealing).waiting == {}
    path = moto.day()
    moto.store.put(path, moto.store.get(path), SUMS)
    versions = s3_client().list_object_versions(Bucket="evidence")["Versions"]
    assert len({one["Key"] for one in versions}) == len(versions)


class Refusing:
    """An S3 that refuses everything with one code, so many times."""

    def __init__(self, status: int, code: str, times: int = 10**9) -> None:
        refusing, self.times = self, times

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                refusing.times -= 1
                body = (
                    f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of"
                    f" {KEPT}</Message></Error>".encode()
                )
                self.send_response(status if refusing.times >= 0 else 200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"


KEPT = "AKIA-a-secret-of-somebody"
"""Words of a store are never repeated: they may hold what nobody should read."""


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ObjectStore]]:
    made: list[Refusing] = []

    def refuse(status: int, code: str, times: int = 10**9, **options: object) -> ObjectStore:
        made.append(Refusing(status, code, times))
        s3_at("refusing", made[-1].server.server_port, monkeypatch)
        forget_sessions()
        return ObjectStore("s3://evidence/sonar", **options)  # type: ignore[arg-type]

    yield refuse
    for one in made:
        one.server.shutdown()
        one.server.server_close()
    forget_sessions()


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "RequestTimeTooSkewed", "clock differs"),
        (400, "ExpiredToken", "have expired; renew them"),
        (403, "AccessDenied", "lists the rights that it needs"),
        (403, "InvalidAccessKeyId", "does not know the credentials"),
        (403, "SignatureDoesNotMatch", "does not know the credentials"),
        (404, "NoSuchBucket", "there is no such bucket"),
        (301, "PermanentRedirect", "lies in another region"),
        (400, "InvalidRequest", "with Object Lock switched on"),
        (400, "SomethingNew", "check SONAR_ACCESS_EVIDENCE_URL"),
    ],
)
def test_what_a_store_refuses_is_said_with_its_own_code_and_the_remedy(
    refusing: Callable[..., ObjectStore], status: int, code: str, remedy: str
) -> None:
    store = refusing(status, code, retention_days=1)
    with pytest.raises(UnreadableError) as said:
        store.read("acme/packet", SUMS)
    assert f"({code})" in str(said.value)
    assert remedy in str(said.value)
    assert KEPT not in str(said.value)


def test_a_store_that_only_lets_read_is_found_before_there_is_anything_to_seal(moto: Place) -> None:
    moto.day()
    before = s3_client().list_object_versions(Bucket="evidence")["Versions"]
    assert list(hindrances(moto.sealing, moto.warehouse)) == []
    assert s3_client().list_object_versions(Bucket="evidence")["Versions"] == before, (
        "and nothing was written"
    )
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::evidence/*",
    }
    s3_client().put_bucket_policy(
        Bucket="evidence", Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    )
    (said,) = hindrances(moto.sealing, moto.warehouse)
    assert "store/store.json (403): its credentials may not do that" in said


def test_a_folder_that_only_lets_read_is_found_before_there_is_anything_to_seal(
    tmp_path: Path,
) -> None:
    ours = sealing(tmp_path / "evidence", store=FolderStore(Path("/proc/sys/evidence")))
    (said,) = hindrances(ours, None)
    assert said.startswith("Evidence cannot be written to /proc/sys/evidence: ")


def test_a_store_that_asks_for_patience_for_a_minute_gets_it(
    refusing: Callable[..., ObjectStore],
) -> None:
    slept: list[float] = []
    # s3fs asks five times for each time that we do.
    store = refusing(503, "SlowDown", 5 * 7, sleep=slept.append, patient_seconds=90)
    store.read("acme/packet", SUMS)
    assert sum(slept) > 45
    impatient = refusing(503, "SlowDown", sleep=slept.append, patient_seconds=0)
    with pytest.raises(UnreadableError, match=r"\(SlowDown\): it is busy"):
        impatient.read("acme/packet", SUMS)


def test_nobody_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    s3_at("nobody", free_port(), monkeypatch)
    forget_sessions()
    with pytest.raises(UnreadableError, match="nothing answers at its address"):
        ObjectStore("s3://evidence/sonar", patient_seconds=0).read("acme/packet", SUMS)
    forget_sessions()


@pytest.mark.parametrize("url", ["sftp://host/x", "webdav://host/x", "ftp://host/x"])
def test_a_store_that_is_not_in_the_table_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(EvidenceError, match="can be used as a folder"):
        store_of(url).listing("acme")


def test_a_share_that_is_not_mounted_is_not_written_below(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    upgrade(warehouse)
    share, mount = tmp_path / "share", tmp_path / "mount"
    ours = sealing(mount, store=FolderStore(mount))

    live_a_day(warehouse, ours, 0, "ada")
    mount.rename(share)
    mount.mkdir()
    with pytest.raises(EvidenceError, match="a share that is not mounted"):
        live_a_day(warehouse, ours, 1, "ada")
    assert list(mount.iterdir()) == []
    mount.rmdir()
    share.rename(mount)
    live_a_day(warehouse, ours, 2, "ada")
    assert verify_all(ours.store, "acme", warehouse=warehouse).faults == []
    warehouse.close()


def test_an_object_store_takes_packets_and_a_half_written_one_is_none(
    here: Sealings, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert store.listing(path).bundles, "something is there"
    assert not store.has(path, "SHA256SUMS"), "and nobody takes it for a packet"
    sealed = seal(packet, there, here.warehouse, run_id="run")
    assert sealed.is_new
    faults = verify(store, path, fingerprints=[here.fingerprint]).faults
    assert [fault for fault in faults if "packet before it" not in fault] == [], (
        "that one lies elsewhere"
    )


def test_s3_keeps_packets_locked_for_as_long_as_the_settings_say(
    here: Sealings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    with server("moto", tmp_path, monkeypatch) as ours:
        ours.make_bucket("evidence", True)
        s3 = s3_client()
        store = ObjectStore("s3://evidence/sonar", retention_days=365)
        there = sealing(here.root, store=store)
        head = sign_head_anew(here, there)
        sealed = seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])),
            there,
            here.warehouse,
            run_id="run",
        )
        path = sealed.place.removeprefix("s3://evidence/sonar/")
        report = verify(store, path, fingerprints=[here.fingerprint])
        assert [fault for fault in report.faults if "packet before it" not in fault] == []
        assert (
            seal(
                build(here.warehouse, "acme", Window(DAYS[1], DAYS[2])),
                there,
                here.warehouse,
                run_id="run",
            ).is_new
            is False
        )
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
        ignored = sealing(
            here.root, store=ObjectStore("s3://unlocked/ignoring", retention_days=365)
        )
        for _ in range(2):
            with pytest.raises(EvidenceError, match="did not lock it"):
                seal(
                    build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
                    ignored,
                    here.warehouse,
                    run_id="run",
                )
        with here.warehouse.read() as transaction:
            assert len(packets.waiting(transaction)) == 1, "nor when it lies there already"


def sign_head_anew(here: Sealings, there: Any) -> str:
    record(
        here.warehouse,
        snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=3)),
        lambda: EPOCH,
    )
    place = sign_head(here.warehouse, there)
    assert place is not None
    return place


def test_a_bundle_without_its_last_file_is_none_for_the_others_too(here: Sealings) -> None:
    store = ObjectStore(f"memory://half-{here.folder.parent.name}/evidence")
    there = sealing(here.root, store=store, signed_by=here.sealing.signer)
    endorse(there)
    whole = seal(
        build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run"
    )
    path = whole.place.removeprefix(store.place(""))
    store._files.pipe_file(
        f"{store._root}/acme/{DAYS[1]}_{DAYS[2]}/0123456789ab-simulated/manifest.json", b"{}"
    )
    report = verify(store, path, fingerprints=[here.fingerprint])
    assert report.own == []
    assert [note for note in report.notes if "0123456789ab-simulated is not finished" in note]


def test_a_marker_of_a_folder_is_named_and_judged_by_nobody(moto: Place) -> None:
    moto.day()
    last = moto.day()
    for key in (f"sonar/{last}/", "sonar/acme/", "sonar/heads/"):
        s3_client().put_object(Bucket="evidence", Key=key, Body=b"")
    assert (
        verify(moto.store, last, fingerprints=moto.fingerprints, warehouse=moto.warehouse).faults
        == []
    )
    assert moto.faults() == []
    moto.day()


def test_a_publisher_whose_clock_is_a_little_behind_publishes(moto: Place) -> None:
    moto.sealing = sealing(
        moto.folder / "root",
        store=moto.store,
        clock=lambda: datetime.now(UTC) + timedelta(seconds=4),
    )
    path = moto.day()
    assert moto.store.has(path, SUMS)
    assert publish(moto.warehouse, moto.sealing).waiting == {}


def test_the_commands_that_bring_back_lock_again(moto: Place) -> None:
    last = moto.day()
    _overwritten(moto, last)
    (command,) = moto.store.restoring(last, ["population.csv"])
    assert "--object-lock-mode COMPLIANCE --object-lock-retain-until-date 2" in command
    assert "%2F" not in command
