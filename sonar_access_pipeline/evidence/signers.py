"""Who signs: a key in a file, a key in an SSH agent, or one that is made where evidence is
collected, and says so.

A private key is read when something is signed, and kept nowhere else. Raises `EvidenceError` with
what to do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sonar_access_pipeline.evidence import agent
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.sshsig import (
    PublicKey,
    SignatureError,
    armored,
    to_sign,
    verified,
)
from sonar_access_pipeline.private import expanded, new_private_file, private_folder

PRINCIPAL = "sonar-access"
"""Whom `ssh-keygen -Y verify -I` is asked about."""
PACKETS, HEADS, KEYS, STATEMENTS, STORES, REVIEWS = (
    f"sonar-access-{what}" for what in ("packet", "head", "key", "statement", "store", "review")
)
"""Namespaces: what is signed as one thing is never taken for another."""
SELF_SIGNED = "self-signed on the collecting machine"
GIVEN = "signed with a key of the operator"
AGENT = "agent:"
OWN_KEY = "signing_key"
LARGEST_KEY = 2**16
OTHERS = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""A group may read a key: that is how Kubernetes hands a secret to a user who is not root."""


@dataclass(frozen=True)
class Signer:
    """A key that signs.

    `origin` says where it comes from, which is what a reader needs to judge it.
    """

    key: PublicKey
    origin: str
    sign_bytes: Callable[[bytes], bytes]

    def sign(self, message: bytes, namespace: str) -> bytes:
        """Return the signature file of a message, after checking that it holds.

        Raises `EvidenceError` where the signer gave a signature that does not hold.
        """
        signature = armored(self.sign_bytes(to_sign(message, namespace)), self.key, namespace)
        try:
            verified(message, signature, namespace)
        except SignatureError:
            raise EvidenceError(
                f"What signs with {self.key.fingerprint} gave a signature that does not hold;"
                " nothing is sealed with it. Look at the SSH agent, or name another key in"
                " SONAR_ACCESS_SIGNING_KEY."
            ) from None
        return signature

    @property
    def allowed_signers(self) -> bytes:
        """The file that `ssh-keygen -Y verify -f` takes."""
        namespaces = f'namespaces="{",".join((PACKETS, HEADS, KEYS, STATEMENTS, STORES))}"'
        about = f"# {self.key.fingerprint}: {self.origin}"
        return f"{about}\n{PRINCIPAL} {namespaces} {self.key.line}\n".encode()


def signer_of(setting: str | None, data_dir: Path) -> Signer:
    """Return the signer that the settings name: the path of a private key, `agent:` and the path of
    a public key, or nothing for the machine's own key.
    """
    if setting is None:
        return _own(data_dir / OWN_KEY)
    if setting.startswith(AGENT):
        return _in_agent(expanded(Path(setting.removeprefix(AGENT))))
    return _from_file(expanded(Path(setting)), GIVEN)


def _own(file: Path) -> Signer:
    """Return a signer with this machine's key; make the key when there is none yet."""
    if not file.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
        whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            private_folder(file.parent)
            with new_private_file(whole) as opened:
                opened.write(made)
            # At once or not at all: another process may make one just now, and the first one
            # counts.
            with contextlib.suppress(FileExistsError):
                file.hardlink_to(whole)
            whole.unlink()
        except OSError as error:
            raise EvidenceError(
                f"A signing key cannot be made at {file}: {error.strerror}; set"
                " SONAR_ACCESS_SIGNING_KEY."
            ) from None
    return _from_file(file, SELF_SIGNED)


def _from_file(file: Path, origin: str) -> Signer:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise EvidenceError(
                    f"The signing key {file} is no plain file; set SONAR_ACCESS_SIGNING_KEY to one."
                )
            held = opened.read(LARGEST_KEY)
    except OSError as error:
        raise EvidenceError(
            f"The signing key {file} cannot be read: {error.strerror}; set"
            " SONAR_ACCESS_SIGNING_KEY."
        ) from None
    if mode & OTHERS:
        raise EvidenceError(
            f"The signing key {file} can be read or changed by others; run `chmod 600 {file}`."
        )
    try:
        key = serialization.load_ssh_private_key(held, password=None)
    except UnsupportedAlgorithm:
        raise EvidenceError(
            f"{file} is a key of a device that somebody must touch; make one that signs alone, with"
            f" `ssh-keygen -t ed25519 -f {file.name}-new`."
        ) from None
    except TypeError:
        raise EvidenceError(
            f"The signing key {file} has a passphrase; load it into an SSH agent and set"
            f" SONAR_ACCESS_SIGNING_KEY to {AGENT}{file}.pub."
        ) from None
    except ValueError:
        raise EvidenceError(
            f"{file} is no OpenSSH private key; make one with `ssh-keygen -t ed25519 -f"
            f" {file.name}-new`."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise EvidenceError(
            f"{file} is not an Ed25519 key; make one with `ssh-keygen -t ed25519 -f"
            f" {file.name}-new`."
        )
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return Signer(PublicKey.of(raw), origin, key.sign)


def _in_agent(public: Path) -> Signer:
    try:
        key = PublicKey.parsed(public.read_text(encoding="ascii").splitlines()[0])
    except (OSError, UnicodeDecodeError, IndexError, SignatureError):
        raise EvidenceError(
            f"{public} is no Ed25519 public key; name the .pub file of a key that the agent holds."
        ) from None
    return Signer(key, GIVEN, partial(agent.sign, key))
