"""Public keys beside the packets, each endorsed by the one before it: why a key is believed by whoever knows an older one."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection

from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.signers import KEYS
from sonar_access_pipeline.evidence.sshsig import PublicKey, verified
from sonar_access_pipeline.evidence.stores import Store

KEY = "key.pub"
UNREADABLE = (
    csv.Error,
    StopIteration,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    OverflowError,
)
"""What reading a file of another shape raises."""


def key_path(key: PublicKey) -> str:
    """Where a public key lies under the root."""
    return f"keys/{hashlib.sha256(key.blob).hexdigest()[:32]}"


def endorsed(store: Store, key: PublicKey, fingerprints: Collection[str], most: int = 20) -> str | None:
    """Why a key is trusted: it was named, or one that is trusted endorses it, key by key. Raises `UnreadableError`."""
    if key.fingerprint in fingerprints:
        return "which you named"
    for path in _places(store, key) if most else ():
        try:
            files = store.get(path)
            before = verified(files[KEY], files[f"{KEY}.sig"], KEYS)
            is_its_own = PublicKey.parsed(files[KEY].decode()) == key
        except UnreadableError:
            raise
        except (EvidenceError, *UNREADABLE):
            continue
        if is_its_own and before != key and endorsed(store, before, fingerprints, most - 1):
            return f"which {before.fingerprint} endorses"
    return None


def _places(store: Store, key: PublicKey) -> list[str]:
    """Where a key lies, and where each endorsement of it does."""
    return [path for path in store.listing("keys").bundles if path.startswith(key_path(key))]


def endorsement_path(key: PublicKey, before: PublicKey) -> str:
    """Where the endorsement of a key by the one before it lies: beside the key itself, which may lie there already."""
    return f"{key_path(key)}-by-{hashlib.sha256(before.blob).hexdigest()[:12]}"
