"""What stands around the packets of an organization in a store: the packets before and after one, and the signed heads.

Here: what lies there, as it says of itself, and where that does not fit together. Whether one packet holds what was sealed, and
what the warehouse says of all this, is `verify.py`. Nothing that lies there is believed; what is not ours is named, not judged.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.packet import MANIFEST
from sonar_access_pipeline.evidence.seal import HEAD, KEY, SEAL, SUMS, folder_of, key_path, path_of
from sonar_access_pipeline.evidence.signers import HEADS, KEYS
from sonar_access_pipeline.evidence.sshsig import PublicKey, verified
from sonar_access_pipeline.evidence.stores import Store

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
SUPERSEDED = "It was superseded"
DIGEST = re.compile(r"[0-9a-f]{64}")
WINDOW_FOLDER = re.compile(r"\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d")
PACKET_FOLDER = re.compile(r"[0-9a-f]{12}(-\w+)?")
HEAD_FOLDER = re.compile(r"\d{8,}-[0-9a-f]{12}")
"""What we call folders in the store: whatever else lies there is somebody else's."""


@dataclass(frozen=True)
class _Sealed:
    by_digest: Mapping[str, Mapping[str, Any]]
    paths: list[str]
    faults: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Line:
    """The packets and signed heads of an organization in a store; read when they are needed, and once."""

    store: Store
    organization_key: str
    fingerprints: Collection[str]

    @cached_property
    def sealed(self) -> _Sealed:
        """What every packet says of itself."""
        return _sealed(self.store, self.organization_key)

    @cached_property
    def _heads(self) -> list[str | dict[str, Any]]:
        return list(_heads(self.store, self.fingerprints))

    @property
    def head_faults(self) -> list[str]:
        """What is wrong with signed heads."""
        return [said for said in self._heads if isinstance(said, str)]

    @property
    def heads(self) -> list[dict[str, Any]]:
        """What signed heads say; there may be two of one snapshot, of which only one can be true."""
        return [said for said in self._heads if isinstance(said, dict)]


def _sealed(store: Store, organization_key: str) -> _Sealed:
    """What every packet of an organization says of itself; those that do not fit their folder are faults."""
    found: dict[str, Mapping[str, Any]] = {}
    paths: list[str] = []
    faults: list[str] = []
    notes: list[str] = []
    for path in _bundles(store, folder_of(organization_key), notes):
        if not store.has(path, SUMS):
            notes.append(f"What lies at {path} is not finished, or was not left whole: it counts as no packet.")
            continue
        paths.append(path)
        try:
            about, manifest = json.loads(store.read(path, SEAL)), store.read(path, MANIFEST)
            digest = hashlib.sha256(manifest).hexdigest()
            require_linked(about)
            if about["digest"] != digest or place_of(json.loads(manifest), digest) != path:
                faults.append(f"the packet at {path} is not the one that was sealed there")
            found[digest] = {
                "previous_digest": about["previous_digest"],
                "snapshot_chain_head": about["snapshot_chain_head"],
                "path": path,
            }
        except UnreadableError:
            raise
        except (EvidenceError, *UNREADABLE):
            faults.append(f"the packet at {path} is not whole")
    return _Sealed(found, paths, faults, notes)


def _bundles(store: Store, folder: str, notes: list[str]) -> Iterator[str]:
    """Where packets lie below an organization's folder. What else lies there is named, and judged by nobody."""
    for window in store.names(folder):
        if not WINDOW_FOLDER.fullmatch(window):
            notes.append(f"{folder}/{window} is none of ours.")
            continue
        for name in store.names(f"{folder}/{window}"):
            if PACKET_FOLDER.fullmatch(name):
                yield f"{folder}/{window}/{name}"
            else:
                notes.append(f"{folder}/{window}/{name} is none of ours.")


def _heads(store: Store, fingerprints: Collection[str]) -> Iterator[str | dict[str, Any]]:
    """Every signed head of the store, or what is wrong with it."""
    for name in store.names("heads"):
        path = f"heads/{name}"
        if not HEAD_FOLDER.fullmatch(name) or not store.has(path, HEAD):
            continue
        try:
            files = store.get(path)
            key, said = verified(files[HEAD], files[f"{HEAD}.sig"], HEADS), json.loads(files[HEAD])
            if name != f"{said['snapshot_id']:08d}-{said['head_sha256'][:12]}":
                yield f"the signed head at {path} is of another snapshot"
            elif fingerprints and not endorsed(store, key, fingerprints):
                yield f"the signed head at {path} is signed by {key.fingerprint}, which is none of the keys that you named"
            else:
                yield {**said, "path": path, "signed_by": key.fingerprint}
        except UnreadableError:
            raise
        except (EvidenceError, *UNREADABLE):
            yield f"the signed head at {path} is not what was signed"


def forks(line: Line) -> Iterator[str]:
    """Name each packet that more than one names as its predecessor: of two, one was put in or a warehouse was restored."""
    followers = Counter(seal["previous_digest"] for seal in line.sealed.by_digest.values())
    for digest, count in followers.items():
        if count > 1:
            named = f"the same packet {digest[:12]}" if digest else "none"
            yield f"{count} packets name {named} as the one before them"


def superseding(path: str, digest: str, others: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The packets of the same window that were sealed after one: whoever reads that one should know."""
    window = path.rpartition("/")[0]
    for later, about in others.items():
        if later != digest and str(about["path"]).rpartition("/")[0] == window and digest in _ancestors(later, others):
            yield f"{SUPERSEDED}: packet {later[:12]} of the same window was sealed after it, and lies beside it."


def _ancestors(digest: str, others: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The packets before one, as far as they are there."""
    found: set[str] = set()
    previous = others[digest]["previous_digest"]
    while previous in others and previous not in found:
        found.add(previous)
        previous = others[previous]["previous_digest"]
    return found


def place_of(manifest: Mapping[str, Any], digest: str) -> str:
    """Where a packet belongs under its root."""
    window = Window(*(date.fromisoformat(manifest["window"][name]) for name in ("first_day", "last_day")))
    return path_of(manifest["organization"]["key"], window, digest, SourceKind(manifest["source"]["kind"]))


def require_linked(about: Mapping[str, Any]) -> None:
    """Nothing where what a seal points to is a digest, or nothing. Raises `ValueError`."""
    for name in ("previous_digest", "snapshot_chain_head"):
        if about[name] is not None and not DIGEST.fullmatch(about[name]):
            raise ValueError(name)


def endorsed(store: Store, key: PublicKey, fingerprints: Collection[str], most: int = 20) -> str | None:
    """Why a key is trusted: it was named, or one that is trusted endorses it, key by key."""
    if key.fingerprint in fingerprints:
        return "which you named"
    try:
        files = store.get(key_path(key))
        before = verified(files[KEY], files[f"{KEY}.sig"], KEYS)
        is_its_own = PublicKey.parsed(files[KEY].decode()) == key
    except UnreadableError:
        raise
    except (EvidenceError, *UNREADABLE):
        return None
    if most and is_its_own and before != key and endorsed(store, before, fingerprints, most - 1):
        return f"which {before.fingerprint} endorses"
    return None
