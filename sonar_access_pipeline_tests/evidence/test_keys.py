"""Keys: in files, in agents, on devices; who vouches for whom; and what is said where one cannot
sign.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence import agent
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import endorse, seal
from sonar_access_pipeline.evidence.signers import PACKETS, signer_of
from sonar_access_pipeline.evidence.sshsig import SignatureError, string, verified
from sonar_access_pipeline_tests.support.programs import needs
from sonar_access_pipeline_tests.support.sealed import DAYS, Sealings, sealing, signer


def test_what_ssh_keygen_signs_we_verify_and_both_say_the_same_of_a_key(tmp_path: Path) -> None:
    needs("ssh-keygen")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "x", "-f", tmp_path / "key"],
        check=True,
    )
    (tmp_path / "file").write_bytes(b"message")
    sign = [
        "ssh-keygen",
        "-Y",
        "sign",
        "-f",
        str(tmp_path / "key"),
        "-n",
        PACKETS,
        str(tmp_path / "file"),
    ]
    subprocess.run(sign, check=True, capture_output=True)
    theirs = (tmp_path / "file.sig").read_bytes()
    ours = signer_of(str(tmp_path / "key"), tmp_path)
    assert ours.sign(b"message", PACKETS) == theirs, "Ed25519 signs the same way twice"
    key = verified(b"message", theirs, PACKETS)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], check=True, capture_output=True, text=True
    ).stdout
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
def test_a_key_that_cannot_sign_is_a_sentence(
    tmp_path: Path, make: list[str] | None, said: str
) -> None:
    key = tmp_path / "key"
    if make is None:
        key.write_text("nothing")
        key.chmod(0o600)
    else:
        needs("ssh-keygen")
        subprocess.run(["ssh-keygen", "-q", "-f", key, *make], check=True)
    with pytest.raises(EvidenceError, match=said):
        signer_of(str(key), tmp_path)
    with pytest.raises(EvidenceError, match="cannot be read"):
        signer_of(str(tmp_path / "none"), tmp_path)


def test_a_key_that_others_can_read_and_one_on_a_device_are_refused_in_one_sentence_each(
    tmp_path: Path,
) -> None:
    needs("ssh-keygen")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for mode in (0o644, 0o604, 0o660, 0o602):
        key.chmod(mode)
        with pytest.raises(
            EvidenceError, match=f"can be read or changed by others; run `chmod 600 {key}`"
        ):
            signer_of(str(key), tmp_path)
    key.chmod(0o440)
    assert signer_of(str(key), tmp_path).key
    device = tmp_path / "device"
    # What `ssh-keygen -t ed25519-sk` writes: its kind of key is read before anything else of it.
    held = (
        b"openssh-key-v1\0" + string(b"none") + string(b"none") + string(b"") + struct.pack(">I", 1)
    )
    kind = string(b"sk-ssh-ed25519@openssh.com")
    public = kind + string(b"k" * 32) + string(b"ssh:")
    private = (
        struct.pack(">II", 7, 7)
        + public
        + b"\1"
        + string(b"handle")
        + string(b"")
        + string(b"comment")
    )
    private += bytes(range(1, 8 - len(private) % 8 + 1)) if len(private) % 8 else b""
    body = base64.encodebytes(held + string(public) + string(private))
    device.write_bytes(
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + b"-----END OPENSSH PRIVATE KEY-----\n"
    )
    device.chmod(0o600)
    with pytest.raises(EvidenceError, match="of a device that somebody must touch"):
        signer_of(str(device), tmp_path)


def test_the_path_of_a_key_may_begin_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = signer(tmp_path)
    assert signer_of("~/signing_key", tmp_path / "data").key == made.key


@contextmanager
def an_agent(folder: Path) -> Iterator[Path]:
    """An SSH agent, and where it listens; gone afterwards."""
    needs("ssh-agent")
    place = folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if place.exists():
                break
            time.sleep(0.05)
        yield place
    finally:
        agent.kill()
        agent.wait()


def add(key: Path, place: Path, *options: str) -> None:
    """Add a key to an agent."""
    words = ["ssh-add", "-q", *options, str(key)]
    subprocess.run(
        words, check=True, capture_output=True, env={**os.environ, "SSH_AUTH_SOCK": str(place)}
    )


def test_a_key_in_an_agent_signs_and_each_way_in_which_it_does_not_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("ssh-keygen")
    key, other = tmp_path / "key", tmp_path / "other"
    for one in (key, other):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", one], check=True)
    held = signer_of(f"agent:{tmp_path / 'key.pub'}", tmp_path)

    def said() -> str:
        with pytest.raises(EvidenceError) as refused:
            held.sign(b"message", PACKETS)
        return str(refused.value)

    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert "set SSH_AUTH_SOCK" in said()
    with an_agent(tmp_path) as place:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        assert "does not hold" in said()
        add(other, place)
        assert "does not hold" in said()
        add(key, place)
        signature = held.sign(b"message", PACKETS)
        assert verified(b"message", signature, PACKETS) == held.key
        assert signature == signer_of(str(key), tmp_path).sign(b"message", PACKETS)
        with closing(socket.socket(socket.AF_UNIX)) as asked:
            asked.connect(str(place))
            # SSH_AGENTC_LOCK, as `ssh-add -x` asks for it with a passphrase.
            asked.sendall(string(bytes([22]) + string(b"secret")))
            assert asked.recv(5)[4] == 6
        assert "is locked; unlock it with `ssh-add -X`" in said()
    with an_agent(_folder(tmp_path, "second")) as place:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
        add(key, place, "-t", "1")
        time.sleep(2)
        assert "its time has ended" in said()
        # Nobody is there to confirm: the agent refuses, since it has nothing to ask with.
        add(key, place, "-c")
        assert "refuses to sign" in said()
    assert "There is no SSH agent at" in said()


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "says", [b"", b"\0\0\0\x01", b"\0\0\0\x05\x0c\0\0\0\x09", b"\xff\xff\xff\xff"]
)
def test_an_agent_that_is_silent_or_is_none_ends_in_a_sentence(tmp_path: Path, says: bytes) -> None:
    place = tmp_path / "agent"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(place))
        server.listen()
        asked = signer(tmp_path).key

        def answer() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(says)
                if says:
                    connection.shutdown(socket.SHUT_WR)
                time.sleep(1)

        Thread(target=answer, daemon=True).start()
        with pytest.raises(
            EvidenceError, match="does not answer within" if not says else "is no SSH agent"
        ):
            agent.sign(asked, b"message", {"SSH_AUTH_SOCK": str(place)}, seconds=0.3)


def test_a_new_key_is_trusted_through_the_old_one_that_endorses_it(here: Sealings) -> None:
    old, new = here.sealing.signer, signer(here.folder / "new-key")
    rotated = sealing(here.root, signed_by=new)
    endorse(rotated, endorsed_by=old)
    window = Window(DAYS[1], DAYS[2])
    sealed = seal(build(here.warehouse, "acme", window), rotated, here.warehouse, run_id="run")
    assert here.verify(Path(sealed.place)).faults == []
    assert (
        here.verify(Path(sealed.place), trusting=new.key.fingerprint, offline=True).faults != []
    ), "old heads are of the old key"
    assert "endorses" in " ".join(here.verify(Path(sealed.place)).notes)
    endorsement = next(path for path in (here.root / "keys").rglob("key.pub.sig"))
    endorsement.unlink()
    assert [
        fault for fault in here.verify(Path(sealed.place)).faults if "none of the keys" in fault
    ]


def test_ssh_keygen_alone_verifies_packets_of_before_and_after_a_rotation(here: Sealings) -> None:
    """As docs/evidence.md says it: one file of the signers, each with the days on which it
    signed.
    """
    needs("ssh-keygen")
    before, after = here.sealing.signer, signer(here.folder / "new")
    endorse(sealing(here.root, signed_by=after), endorsed_by=before)
    new = sealing(here.root, signed_by=after)
    latest = seal(
        build(here.warehouse, "acme", Window(DAYS[2], DAYS[2])), new, here.warehouse, run_id="run"
    )
    signers = here.folder / "signers"
    signers.write_text(
        f'sonar-access namespaces="{PACKETS}",valid-before="20260401" {before.key.line}\n'
        f'sonar-access namespaces="{PACKETS}",valid-after="20260401" {after.key.line}\n'
    )

    def holds(folder: Path, when: str) -> bool:
        words = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            str(signers),
            "-I",
            "sonar-access",
            "-n",
            PACKETS,
            "-s",
            "SHA256SUMS.sig",
        ]
        sums = (folder / "SHA256SUMS").read_bytes()
        asked = [*words, "-O", f"verify-time={when}"]
        return (
            subprocess.run(
                asked, cwd=folder, input=sums, capture_output=True, check=False
            ).returncode
            == 0
        )

    assert holds(here.last, "20260301")
    assert holds(Path(latest.place), "20260501")
    assert not holds(here.last, "20260501"), "a key that was given up signs no more"
    assert not holds(Path(latest.place), "20260301")
    # Whoever was told the old fingerprint only believes the new key through it, and not the other
    # way round.
    assert here.verify(Path(latest.place), trusting=before.key.fingerprint).own == []
    assert here.verify(trusting=after.key.fingerprint).own
