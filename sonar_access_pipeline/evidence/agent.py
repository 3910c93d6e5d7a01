"""Signing with a key that an SSH agent holds: two questions of its protocol
(draft-ietf-sshm-ssh-agent, sections 3 and 6).

An agent may wait for a person, be locked, or be gone: each is a sentence, and none is waited for
longer than `SECONDS`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import closing

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.sshsig import (
    KIND,
    PublicKey,
    SignatureError,
    WireReader,
    string,
)

SECONDS = 30.0
REQUEST_IDENTITIES = 11
IDENTITIES = 12
SIGN = 13
SIGNATURE = 14
SUCCESS = 6
REMOVE_SSH1_KEYS = 9
"""No agent holds keys of SSH 1 any more, so this does nothing; OpenSSH's agent refuses it only
while it is locked.
"""


def sign(
    key: PublicKey,
    message: bytes,
    environment: Mapping[str, str] = os.environ,
    seconds: float = SECONDS,
) -> bytes:
    """Have the agent sign the message with its key, and return the 64 bytes.

    Raises `EvidenceError`.
    """
    place = environment.get("SSH_AUTH_SOCK")
    if not place:
        raise EvidenceError(
            "No SSH agent is named; set SSH_AUTH_SOCK to the socket of the one that holds the"
            " signing key."
        )
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as agent:
            agent.settimeout(seconds)
            agent.connect(place)
            return _signed(agent, key, message)
    except TimeoutError:
        raise EvidenceError(
            f"The SSH agent does not answer within {seconds:g} s: it waits for somebody to confirm,"
            " or hangs. Add the key without `ssh-add -c`, or start the agent anew."
        ) from None
    except OSError as error:
        raise EvidenceError(
            f"There is no SSH agent at {place} any more ({error.strerror}); start one, add the key,"
            " and set SSH_AUTH_SOCK."
        ) from None
    except SignatureError:
        raise EvidenceError(
            f"What listens at {place} is no SSH agent; set SSH_AUTH_SOCK to one."
        ) from None


def _signed(agent: socket.socket, key: PublicKey, message: bytes) -> bytes:
    held = _held(agent)
    if key.blob not in held:
        if not held and _ask(agent, bytes([REMOVE_SSH1_KEYS]))[0] != SUCCESS:
            raise EvidenceError("The SSH agent is locked; unlock it with `ssh-add -X`.")
        raise EvidenceError(
            f"The SSH agent does not hold {key.fingerprint}: its time has ended, or it was not"
            " added. Add it with `ssh-add`."
        )
    kind, answer = _ask(
        agent, bytes([SIGN]) + string(key.blob) + string(message) + struct.pack(">I", 0)
    )
    if kind != SIGNATURE:
        raise EvidenceError(
            "The SSH agent refuses to sign: somebody declined, or the key may not be used for this."
        )
    signature = WireReader(answer.string())
    if signature.string() != KIND:
        raise SignatureError("it is not what an Ed25519 key makes")
    return signature.string()


def _held(agent: socket.socket) -> set[bytes]:
    kind, answer = _ask(agent, bytes([REQUEST_IDENTITIES]))
    if kind != IDENTITIES:
        raise SignatureError("it does not list its keys")
    key_blobs = set()
    for _ in range(answer.number()):
        key_blobs.add(answer.string())
        answer.string()
    return key_blobs


def _ask(agent: socket.socket, request: bytes) -> tuple[int, WireReader]:
    agent.sendall(string(request))
    (length,) = struct.unpack(">I", _received(agent, 4))
    if not 0 < length < 1 << 20:
        raise SignatureError("it is no answer")
    answer = _received(agent, length)
    return answer[0], WireReader(answer[1:])


def _received(agent: socket.socket, count: int) -> bytes:
    whole = b""
    while len(whole) < count:
        part = agent.recv(count - len(whole))
        if not part:
            raise SignatureError("it is cut off")
        whole += part
    return whole
