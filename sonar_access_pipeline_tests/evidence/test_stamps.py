"""Time stamps: what an authority says is checked whole before anything is sealed with it, and
afterwards by anybody.
"""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import Sealing, seal, sign_head
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.timestamps import certificate_fault, stamped_by
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.programs import needs
from sonar_access_pipeline_tests.support.sealed import DAYS, Sealings, sealing


class Authority:
    """A time stamp authority of our own: `openssl ts` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.status = folder, 200
        self.asked_by: list[str | None] = []
        self.certificates = folder / "ca.pem"
        folder.mkdir()
        (folder / "conf").write_text(
            "[tsa]\ndefault_tsa = us\n[us]\nserial = serial\nsigner_cert = tsa.pem\nsigner_key ="
            " tsa.key\ndefault_policy = 1.2.3.4\ndigests = sha256, sha512\nsigner_digest ="
            " sha256\naccuracy = secs:1\n[stamping]\nextendedKeyUsage ="
            " critical,timeStamping\nkeyUsage = critical,digitalSignature\n[ca]\nbasicConstraints ="
            " critical,CA:true\nkeyUsage = critical,keyCertSign,cRLSign\n[req]\ndistinguished_name"
            " = dn\n[dn]\n"
        )
        (folder / "serial").write_text("01")
        new = ["-newkey", "rsa:2048", "-nodes", "-config", "conf"]
        self.run(
            "req",
            "-x509",
            *new,
            "-subj",
            "/CN=Root",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "9",
            "-extensions",
            "ca",
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
        self.run(
            "ts",
            "-reply",
            "-config",
            "conf",
            "-section",
            "us",
            "-queryfile",
            "query",
            "-out",
            "reply",
        )
        return (self.folder / "reply").read_bytes()

    def certified(
        self,
        name: str,
        begins: timedelta,
        ends: timedelta,
        *,
        usage: bool = True,
        signed_by: str = "ca",
    ) -> None:
        """Have another certificate of our own root, valid between so long from now."""
        key = load_pem_private_key((self.folder / f"{signed_by}.key").read_bytes(), None)
        root = x509.load_pem_x509_certificate((self.folder / f"{signed_by}.pem").read_bytes())
        ours = load_pem_private_key((self.folder / f"{name}.key").read_bytes(), None)
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(root.subject)
            .public_key(ours.public_key())  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )
        if name != "tsa":
            made = made.add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        elif usage:
            made = made.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
            )
        signed = made.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        (self.folder / f"{name}.pem").write_bytes(signed.public_bytes(Encoding.PEM))

    def below_an_intermediate(self) -> bytes:
        """Have the root vouch for an intermediate, and that for the stamps; the certificates of
        both, PEM.
        """
        self.run("genrsa", "-out", "middle.key", "2048")
        self.certified("middle", timedelta(days=-1), timedelta(days=9))
        self.certified("tsa", timedelta(days=-1), timedelta(days=9), signed_by="middle")
        return self.certificates.read_bytes() + (self.folder / "middle.pem").read_bytes()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Authority, str]]:
    needs("openssl")
    ours = Authority(tmp_path / "authority")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = ours.answer(self.rfile.read(int(self.headers["Content-Length"])))
            ours.asked_by.append(self.headers["Authorization"])
            self.send_response(ours.status)
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


def test_a_time_stamp_says_when_and_openssl_verifies_it(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    ours, url = authority
    there = sealing(here.root, stamp=stamped_by(url), clock=now)
    sealed = seal(
        build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run"
    )
    folder = Path(sealed.place)
    ask = [
        "openssl",
        "ts",
        "-verify",
        "-data",
        "SHA256SUMS.sig",
        "-in",
        "SHA256SUMS.sig.tsr",
        "-CAfile",
        str(ours.certificates),
    ]
    done = subprocess.run(ask, cwd=folder, capture_output=True, text=True, check=False)
    assert "Verification: OK" in done.stdout + done.stderr
    store, path, mine = (
        FolderStore(here.root),
        str(folder.relative_to(here.root)),
        [here.fingerprint],
    )
    report = verify(store, path, fingerprints=mine, authorities=ours.certificates.read_bytes())
    assert report.faults == []
    assert "by an authority whose certificates are at hand" in " ".join(report.notes)
    assert "was not checked" in " ".join(verify(store, path, fingerprints=mine).notes)
    stranger = Authority(here.folder / "stranger-authority").certificates.read_bytes()
    assert "not signed by an authority" in " ".join(
        verify(store, path, fingerprints=mine, authorities=stranger).faults
    )
    stamp = (folder / "SHA256SUMS.sig.tsr").read_bytes()
    for wrong in (b"", stamp[:-9], ours.answer(_query_for(ours, b"something else")), b"x" * 99):
        (folder / "SHA256SUMS.sig.tsr").write_bytes(wrong)
        assert [
            fault
            for fault in verify(store, path, fingerprints=mine).faults
            if "SHA256SUMS.sig.tsr" in fault
        ]


def test_a_stamp_with_intermediates_holds_after_its_certificate_has_ended_for_openssl_alone_too(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    """As README.txt in the packet says it: with the certificates that lie in it, at the time of the
    stamp.
    """
    ours, url = authority
    certificates = ours.below_an_intermediate()
    ours.certified("tsa", timedelta(days=-1), timedelta(seconds=4), signed_by="middle")
    stamp = stamped_by(url, certificates, login=("us", "a password"), policy="1.2.3.4")
    there = replace(sealing(here.root, stamp=stamp, clock=now), authorities=certificates)
    folder = Path(
        seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
            there,
            here.warehouse,
            run_id="run",
        ).place
    )
    assert ours.asked_by == ["Basic " + base64.b64encode(b"us:a password").decode()]
    assert (folder / "timestamp_certificates.pem").read_bytes() == certificates
    time.sleep(5)
    readme = (folder / "README.txt").read_text()
    (command,) = [
        line.strip()
        for line in readme.splitlines()
        if line.strip().startswith("openssl ts -verify")
    ]

    def openssl(words: str) -> bool:
        done = subprocess.run(
            ["bash", "-c", words], cwd=folder, capture_output=True, text=True, check=False
        )
        return "Verification: OK" in done.stdout + done.stderr

    assert not openssl(command.partition(" -attime")[0]), "its certificate has ended"
    when = stamp_of((folder / "SHA256SUMS.sig.tsr").read_bytes()).timestamp()
    assert openssl(command.replace("<seconds since 1970>", f"{when:.0f}"))
    path, mine = str(folder.relative_to(here.root)), [here.fingerprint]
    report = verify(FolderStore(here.root), path, fingerprints=mine)
    assert report.own == []
    assert "by an authority whose certificates are at hand" in " ".join(report.notes)
    (folder / "timestamp_certificates.pem").write_bytes(ours.certificates.read_bytes())
    assert (
        "timestamp_certificates.pem was changed"
        in verify(FolderStore(here.root), path, fingerprints=mine).own
    )


def now() -> datetime:
    """The time, as the authority has it."""
    return datetime.now(UTC)


def test_a_stamp_of_another_time_than_the_seal_says_does_not_hold(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    """Whoever has the key could date a seal back: the stamp tells."""
    ours, url = authority
    there = sealing(here.root, stamp=stamped_by(url, ours.certificates.read_bytes()))
    folder = Path(
        seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
            there,
            here.warehouse,
            run_id="run",
        ).place
    )
    report = verify(
        FolderStore(here.root), str(folder.relative_to(here.root)), fingerprints=[here.fingerprint]
    )
    assert [fault for fault in report.own if "and the seal says 2026-03-01" in fault]


def stamped_head(here: Sealings, ours: Authority, url: str) -> tuple[Sealing, Path]:
    """A head that an authority stamped, and what signed it."""
    certificates = ours.certificates.read_bytes()
    there = replace(
        sealing(here.root, stamp=stamped_by(url, certificates), clock=now), authorities=certificates
    )
    record(
        here.warehouse,
        snapshot_of(World(members={"ada": None}), EPOCH + timedelta(days=3)),
        lambda: EPOCH,
    )
    return there, Path(str(sign_head(here.warehouse, there)))


def test_another_authority_makes_no_older_stamp_a_fault(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    ours, url = authority
    there, head = stamped_head(here, ours, url)
    seal(
        build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])), there, here.warehouse, run_id="run"
    )
    # The weekly check asks by the certificates that lie beside each stamp, whatever the settings
    # name since.
    assert verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).faults == []
    (head / "timestamp_certificates.pem").write_bytes(
        Authority(here.folder / "another").certificates.read_bytes()
    )
    assert [
        fault
        for fault in verify_all(FolderStore(here.root), "acme", warehouse=here.warehouse).faults
        if "signed head" in fault
    ]


def stamp_of(answer: bytes) -> datetime:
    """When an authority says that it stamped."""
    from rfc3161_client import decode_timestamp_response

    return decode_timestamp_response(answer).tst_info.gen_time


def test_a_head_is_stamped_and_its_stamp_cannot_be_taken_away_unnoticed(
    here: Sealings, authority: tuple[Authority, str]
) -> None:
    ours, url = authority
    _, head = stamped_head(here, ours, url)
    known = ours.certificates.read_bytes()

    def faults() -> list[str]:
        return verify_all(
            FolderStore(here.root), "acme", authorities=known, warehouse=here.warehouse
        ).faults

    assert faults() == []
    stamp = head / "head.json.sig.tsr"
    assert stamp.exists()
    body = stamp.read_bytes()
    stamp.write_bytes(ours.answer(_query_for(ours, b"something else")))
    assert [fault for fault in faults() if "the time stamp of the signed head" in fault]
    stamp.unlink()
    assert [fault for fault in faults() if "the signed head at" in fault]
    stamp.write_bytes(body)
    assert faults() == []


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

    def sealed(
        *,
        authorities: bytes | None = certificates,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        policy: str | None = None,
    ) -> str:
        there = sealing(here.root, stamp=stamped_by(url, authorities, clock, policy=policy))
        with pytest.raises(EvidenceError) as refused:
            seal(
                build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
                there,
                here.warehouse,
                run_id="run",
            )
        return str(refused.value)

    assert "differ by" in sealed(clock=later)
    assert "not signed by an authority whose certificates are at hand" in sealed(
        authorities=stranger
    )
    assert "certificates of the authority are none" in sealed(authorities=b"none")
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
    day = timedelta(days=1)
    for begins, ends in ((-9 * day, -day), (day, 9 * day)):
        ours.certified("tsa", begins, ends)
        assert "was not valid when it was made" in sealed()
        assert "was not valid when it was made" in sealed(authorities=None)
    ours.below_an_intermediate()
    assert "not signed by an authority" in sealed(), "the intermediate is missing"
    assert "under policy 1.2.3.4, not 1.2.3.5" in sealed(policy="1.2.3.5", authorities=None)
    for status, said in (
        (401, "does not let us in; set SONAR_ACCESS_TIMESTAMP_USER"),
        (503, "does not answer"),
    ):
        monkeypatch.setattr(ours, "status", status)
        assert said in sealed()
    monkeypatch.setattr(ours, "status", 200)
    for nothing in (
        b"",
        b"<html>We moved</html>",
        bytes.fromhex("30053003020102"),
        bytes.fromhex("30053003020101"),
    ):
        monkeypatch.setattr(ours, "answer", lambda _, said=nothing: said)
        assert sealed()
    with here.warehouse.read() as transaction:
        assert len(queries.packets(transaction, "acme")) == 3, "nothing was entered"
        assert packets.waiting(transaction) == []


def test_an_authority_that_does_not_answer_is_a_sentence(here: Sealings) -> None:
    there = sealing(here.root, stamp=stamped_by("http://127.0.0.1:9"))
    with pytest.raises(EvidenceError, match="does not answer"):
        seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
            there,
            here.warehouse,
            run_id="run",
        )
    assert not (here.root / "acme" / f"{DAYS[1]}_{DAYS[1]}").exists(), (
        "nothing half-written is left"
    )


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
    record(
        here.warehouse,
        snapshot_of(World(members={"dora": "D"}), EPOCH + timedelta(days=5)),
        lambda: EPOCH,
    )
    derive(here.warehouse, "acme")
    sealed = seal(
        build(here.warehouse, "acme", Window(DAYS[0], DAYS[0] + timedelta(days=5))),
        stamped,
        here.warehouse,
        run_id="r",
    )
    (Path(sealed.place) / "SHA256SUMS.sig.tsr").unlink()
    assert here.verify(Path(sealed.place), offline=True).faults == [
        "SHA256SUMS.sig.tsr is missing, and seal.json says that it was stamped"
    ]


def test_a_certificate_that_is_not_for_time_stamps_signs_none(
    authority: tuple[Authority, str],
) -> None:
    """`openssl ts` signs with none such: the answer is put together here."""
    ours, _ = authority
    for usage, said in ((True, None), (False, "its certificate is not one for time stamps")):
        ours.certified("tsa", timedelta(days=-1), timedelta(days=1), usage=usage)
        made = x509.load_pem_x509_certificate((ours.folder / "tsa.pem").read_bytes())
        signed = SimpleNamespace(
            certificates={made.public_bytes(Encoding.DER)},
            signer_infos=[SimpleNamespace(serial_number=made.serial_number)],
        )
        answer = SimpleNamespace(
            signed_data=signed, tst_info=SimpleNamespace(gen_time=datetime.now(UTC))
        )
        assert certificate_fault(answer) == said  # type: ignore[arg-type]


def test_a_time_stamp_that_cannot_be_had_enters_nothing(here: Sealings) -> None:
    def away(_: bytes) -> bytes:
        raise EvidenceError("It does not answer.")

    stamped = sealing(here.root, signed_by=here.sealing.signer, stamp=away)
    with pytest.raises(EvidenceError, match="does not answer"):
        seal(
            build(here.warehouse, "acme", Window(DAYS[1], DAYS[1])),
            stamped,
            here.warehouse,
            run_id="run",
        )
    with here.warehouse.read() as transaction:
        assert len(queries.packets(transaction, "acme")) == 3
        assert packets.waiting(transaction) == []
