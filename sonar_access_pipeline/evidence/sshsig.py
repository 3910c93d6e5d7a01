"""SSH signatures of files, as `ssh-keygen -Y sign` makes and `ssh-keygen -Y verify` checks them:
Ed25519 and SHA-512.

The format is OpenSSH's PROTOCOL.sshsig. No key is kept here, and none is trusted: `verified` says
which key signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"SSHSIG"
VERSION = 1
HASH = b"sha512"
KIND = b"ssh-ed25519"
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
LINE = 70


class SignatureError(ValueError):
    """A signature that is not one, or not of this file; the sentence says which."""


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key as SSH writes it."""

    blob: bytes

    @classmethod
    def of(cls, raw: bytes) -> PublicKey:
        """Make it of its 32 bytes."""
        return cls(string(KIND) + string(raw))

    @classmethod
    def parsed(cls, text: str) -> PublicKey:
        """Read a line of an authorized_keys, .pub or allowed_signers file. Raises
        `SignatureError`.
        """
        fields = text.split()
        if KIND.decode() not in fields[:-1]:
            raise SignatureError("it is no Ed25519 public key")
        try:
            key = cls(base64.b64decode(fields[fields.index(KIND.decode()) + 1], validate=True))
            Ed25519PublicKey.from_public_bytes(key.raw)
        except (binascii.Error, ValueError):
            raise SignatureError("it is no Ed25519 public key") from None
        return key

    @property
    def raw(self) -> bytes:
        """The 32 bytes. Raises `SignatureError` for another kind of key."""
        reader = WireReader(self.blob)
        kind = reader.string()
        raw = reader.string()
        if kind != KIND or len(raw) != 32 or reader.left:
            raise SignatureError("the key is not an Ed25519 key")
        return raw

    @property
    def line(self) -> str:
        """As it stands in a file: kind and key."""
        return f"{KIND.decode()} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: `SHA256:` and 43 characters."""
        return f"SHA256:{base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip('=')}"


def to_sign(message: bytes, namespace: str) -> bytes:
    """Build the bytes that the key signs for a message."""
    return (
        MAGIC
        + string(namespace.encode())
        + string(b"")
        + string(HASH)
        + string(hashlib.sha512(message).digest())
    )


def armored(signature: bytes, key: PublicKey, namespace: str) -> bytes:
    """Build the signature file from the 64 bytes that a key gave as its signature of `to_sign`."""
    blob = (
        MAGIC
        + struct.pack(">I", VERSION)
        + string(key.blob)
        + string(namespace.encode())
        + string(b"")
        + string(HASH)
    )
    return _lines(blob + string(string(KIND) + string(signature)))


def verified(message: bytes, signature_file: bytes, namespace: str) -> PublicKey:
    """Verify a message's signature, and return the key that signed it. Raises `SignatureError`."""
    reader = WireReader(_unarmored(signature_file))
    if reader.take(len(MAGIC)) != MAGIC or reader.number() != VERSION:
        raise SignatureError("it is no SSH signature of version 1")
    key = PublicKey(reader.string())
    signed_namespace = reader.string()
    reserved = reader.string()
    algorithm = reader.string()
    signature = WireReader(reader.string())
    kind = signature.string()
    signed = signature.string()
    if reader.left or signature.left or reserved or kind != KIND:
        raise SignatureError("it is not what an Ed25519 key makes")
    if _lines(reader.whole) != signature_file:
        raise SignatureError("it is not written as OpenSSH writes it")
    if signed_namespace != namespace.encode():
        raise SignatureError(
            f"it is a signature for '{signed_namespace.decode(errors='replace')}', not for"
            f" '{namespace}'"
        )
    if algorithm != HASH:
        raise SignatureError("it does not use SHA-512")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signed, to_sign(message, namespace))
    except InvalidSignature:
        raise SignatureError("it is a signature of something else") from None
    return key


def _lines(blob: bytes) -> bytes:
    text = base64.b64encode(blob).decode()
    return "\n".join(
        [BEGIN, *(text[place : place + LINE] for place in range(0, len(text), LINE)), END, ""]
    ).encode()


def _unarmored(file: bytes) -> bytes:
    try:
        lines = file.decode("ascii").strip().splitlines()
        if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
            raise SignatureError("it is no SSH signature")
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        raise SignatureError("it is no SSH signature") from None


def string(value: bytes) -> bytes:
    """Encode a string as SSH writes it: its length, then the string itself."""
    return struct.pack(">I", len(value)) + value


class WireReader:
    """Reads SSH's wire format, and nothing beyond its end."""

    def __init__(self, data: bytes) -> None:
        self.whole = data
        self._place = 0

    @property
    def left(self) -> bool:
        """Whether anything is left to read."""
        return self._place < len(self.whole)

    def take(self, count: int) -> bytes:
        """Read the next bytes. Raises `SignatureError` where there are fewer."""
        chunk = self.whole[self._place : self._place + count]
        if len(chunk) < count:
            raise SignatureError("it is cut off")
        self._place += count
        return chunk

    def number(self) -> int:
        """Read the next four bytes as a number."""
        return int(struct.unpack(">I", self.take(4))[0])

    def string(self) -> bytes:
        """Read the next string, which begins with its length."""
        return self.take(self.number())
