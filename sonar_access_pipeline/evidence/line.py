"""The line of packets of an organization in a store: the packets before and after one, the signed
heads, and statements.

Here: what lies there, as it says of itself, and where that does not fit together. Whether one
packet holds what was sealed, and what the warehouse says of all this, is `verify.py`. Nothing that
lies there is believed; what is not ours is named, not judged.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import product
from typing import Any

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.keys import UNREADABLE, Trust
from sonar_access_pipeline.evidence.packet import MANIFEST
from sonar_access_pipeline.evidence.seal import (
    AUTHORITIES,
    HEAD,
    HEAD_STAMP,
    SEAL,
    SIGNATURE,
    STATEMENT,
    SUMS,
    digests_of,
    folder_of,
    path_of,
)
from sonar_access_pipeline.evidence.signers import HEADS, PACKETS, STATEMENTS
from sonar_access_pipeline.evidence.sshsig import verified
from sonar_access_pipeline.evidence.stores import Listing, Store, read_all
from sonar_access_pipeline.evidence.timestamps import stamp_fault

SUPERSEDED = "It was superseded"
FOLLOWED = 4
"""Packets before one that are looked at with it; all of them are `verify_all`'s business."""
DIGEST = re.compile(r"[0-9a-f]{64}")
WINDOW_FOLDER = re.compile(r"\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d")
PACKET_FOLDER = re.compile(r"([0-9a-f]{12})(-\w+)?")
HEAD_FOLDER = re.compile(r"\d{8,}-[0-9a-f]{12}")
STATEMENT_FOLDER = re.compile(r"[0-9a-f]{32}")
"""The names of our folders in the store: whatever else lies there is somebody else's."""


@dataclass(frozen=True)
class LineFault:
    """Something around packets that does not fit together.

    `key` names it in a statement that a person signs; None where no statement makes it better.
    """

    sentence: str
    key: str | None = None


@dataclass(frozen=True)
class SealedPackets:
    """The links of the line, by digest, as their packets say them; `faults` of those that do not
    fit their folder.
    """

    by_digest: Mapping[str, Mapping[str, Any]]
    faults: Sequence[LineFault] = ()
    strangers: Sequence[str] = ()
    """Notes of folders where packets lie and that nobody of ours signed: judged by nobody."""


@dataclass(frozen=True)
class Line:
    """The packets and signed heads of an organization in the store of `trust`; read when they are
    needed, and once.

    `authorities` are certificates of time stamp authorities, PEM.
    """

    organization_key: str
    trust: Trust
    authorities: bytes | None = None

    @property
    def store(self) -> Store:
        """The store of the packets."""
        return self.trust.store

    @cached_property
    def listing(self) -> Listing:
        """The files in the folder of the organization. Raises `UnreadableError`."""
        return self.store.listing(folder_of(self.organization_key))

    @cached_property
    def _looked_at(self) -> tuple[list[str], list[str]]:
        return _packets_in(self.listing, folder_of(self.organization_key))

    @property
    def paths(self) -> list[str]:
        """The paths of whole packets, sorted."""
        return self._looked_at[0]

    def names(self, path: str) -> list[str]:
        """List the names in the folder of a packet: its files, and folders that do not belong
        there.
        """
        inside = {
            one.removeprefix(f"{path}/").partition("/")[0]
            for one in self.listing.bundles
            if one.startswith(f"{path}/")
        }
        return sorted({*self.listing.bundles[path], *inside})

    @property
    def notes(self) -> list[str]:
        """Notes of all else that lies there: judged by nobody."""
        return self._looked_at[1]

    @cached_property
    def places(self) -> Mapping[str, list[str]]:
        """The paths of packets, by the first twelve characters of their digest."""
        paths_by_digest: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            paths_by_digest[path.rpartition("/")[2][:12]].append(path)
        return paths_by_digest

    def read(self, paths: Collection[str]) -> SealedPackets:
        """Read what packets say of themselves, of those that are signed as they should be.

        Raises `UnreadableError`.
        """
        bodies = read_all(self.store, list(product(paths, (SEAL, MANIFEST, SUMS, SIGNATURE))))
        signed = [path for path in paths if self._is_signed(path, bodies)]
        others = [path for path in paths if path not in signed]
        strangers = [
            f"What lies at {path} is not signed as a packet of this line, and was not looked at."
            for path in others
        ]
        read = _sealed(signed, bodies)
        return SealedPackets(read.by_digest, read.faults, strangers)

    def _is_signed(self, path: str, found: Mapping[tuple[str, str], bytes | EvidenceError]) -> bool:
        """Tell whether a key that is believed signed seal and manifest."""
        try:
            sums = _there(found[path, SUMS])
            key = verified(sums, _there(found[path, SIGNATURE]), PACKETS)
            lines = sums.decode().splitlines()
            own = {name: _there(found[path, name]) for name in (SEAL, MANIFEST)}
        except (EvidenceError, *UNREADABLE):
            return False
        holds = all(f"{digest}  {name}" in lines for name, digest in digests_of(own).items())
        return holds and self.trust.believes(key)

    def of(self, path: str, files: Mapping[str, bytes]) -> SealedPackets:
        """Give what the packet at a path says of itself, from its files."""
        gone = EvidenceError(f"Nothing lies at {path}.")
        return _sealed([path], {(path, name): files.get(name, gone) for name in (SEAL, MANIFEST)})

    def near(
        self, path: str, files: Mapping[str, bytes], about: Mapping[str, Any]
    ) -> SealedPackets:
        """Read the packets of the same window as one, and those before it, as far as they are
        followed.
        """
        beside = [
            one
            for one in self.paths
            if one.rpartition("/")[0] == path.rpartition("/")[0] and one != path
        ]
        ours = self.of(path, files)
        others = self.read(beside)
        known = {**ours.by_digest, **others.by_digest}
        faults = [*ours.faults, *others.faults]
        strangers = list(others.strangers)
        previous = about["previous_digest"]
        for _ in range(FOLLOWED):
            if previous is None:
                break
            if previous not in known:
                before = self.read(self.places.get(previous[:12], []))
                known |= before.by_digest
                faults += before.faults
                strangers += before.strangers
            if previous not in known:
                break
            previous = known[previous]["previous_digest"]
        return SealedPackets(known, faults, strangers)

    @cached_property
    def head_paths(self) -> list[str]:
        """The paths of signed heads, in order of their snapshots."""
        names_by_path = self.store.listing("heads").bundles
        return [
            path
            for path, names in names_by_path.items()
            if HEAD_FOLDER.fullmatch(path.removeprefix("heads/")) and HEAD in names
        ]

    @cached_property
    def heads(self) -> tuple[list[dict[str, Any]], list[LineFault]]:
        """All signed heads as they say it, and the faults of heads; of two of one snapshot only one
        can be true.
        """
        return self.read_heads(self.head_paths)

    def heads_since(self, head_sha256: str | None) -> tuple[list[dict[str, Any]], list[LineFault]]:
        """Read the head that a packet was sealed with, and the newest one: the heads between them
        lead from one to the other.
        """
        ours = [
            path
            for path in self.head_paths
            if head_sha256 and path.endswith(f"-{head_sha256[:12]}")
        ]
        return self.read_heads(list(dict.fromkeys([*ours, *self.head_paths[-1:]])))

    def read_heads(self, paths: Collection[str]) -> tuple[list[dict[str, Any]], list[LineFault]]:
        """Read signed heads: what they say, and what is wrong with them. Raises
        `UnreadableError`.
        """
        bodies = read_all(self.store, list(product(paths, (HEAD, f"{HEAD}.sig"))))
        signed_heads: list[dict[str, Any]] = []
        faults: list[LineFault] = []
        for path in paths:
            one = self._head(path, bodies[path, HEAD], bodies[path, f"{HEAD}.sig"])
            signed_heads += [one] if isinstance(one, dict) else []
            faults += [LineFault(one)] if isinstance(one, str) else []
        return signed_heads, faults

    def _head(
        self, path: str, body: bytes | EvidenceError, signature: bytes | EvidenceError
    ) -> str | dict[str, Any]:
        """Give a signed head as it says it, or the sentence of its fault."""
        try:
            key = verified(_there(body), _there(signature), HEADS)
            document = json.loads(_there(body))
            if path != f"heads/{document['snapshot_id']:08d}-{document['head_sha256'][:12]}":
                return f"the signed head at {path} is of another snapshot"
            if not self.trust.believes(key):
                return f"of the signed head at {path}: {self.trust.refusal(key)}"
            if document.get("time_stamp"):
                fault, _ = stamp_fault(
                    _there(signature),
                    self.store.read(path, HEAD_STAMP),
                    self.authorities or self._known_authorities(path, document),
                    document["signed_at"],
                )
                if fault:
                    return f"the time stamp of the signed head at {path} does not hold: {fault}"
        except UnreadableError:
            raise
        except (EvidenceError, *UNREADABLE):
            return f"the signed head at {path} is not what was signed"
        return {**document, "path": path, "signed_by": key.fingerprint}

    def _known_authorities(self, path: str, said: Mapping[str, Any]) -> bytes | None:
        """Give the certificates beside a head.

        Raises `EvidenceError` where they are others than it was signed with.
        """
        digest = said.get("time_stamp_certificates_sha256")
        if digest is None:
            return None
        body = self.store.read(path, AUTHORITIES)
        if digests_of({AUTHORITIES: body})[AUTHORITIES] != digest:
            raise EvidenceError(f"{AUTHORITIES} beside {path} is another.")
        return body

    @cached_property
    def statements(self) -> list[dict[str, Any]]:
        """The statements of people about the line, by time: those that a believed key signed."""
        if self.trust.is_blind:
            # Anybody could state anything.
            return []
        listed = self.store.listing("statements").bundles
        paths = [
            one for one in listed if STATEMENT_FOLDER.fullmatch(one.removeprefix("statements/"))
        ]
        bodies = read_all(self.store, list(product(paths, (STATEMENT, f"{STATEMENT}.sig"))))
        signed_statements = []
        for path in paths:
            try:
                body = _there(bodies[path, STATEMENT])
                key = verified(body, _there(bodies[path, f"{STATEMENT}.sig"]), STATEMENTS)
                one = json.loads(body)
                is_ours = one["organization"] == self.organization_key and isinstance(
                    one["about"], list
                )
                if is_ours and self.trust.believes(key):
                    signed_statements.append({**one, "path": path, "signed_by": key.fingerprint})
            except UnreadableError:
                raise
            except (EvidenceError, *UNREADABLE):
                continue
        return sorted(signed_statements, key=lambda one: str(one["stated_at"]))

    def settled(self, faults: Iterable[LineFault]) -> tuple[list[str], list[str]]:
        """Part faults into those that stand, and those of which somebody stated what they are, with
        who, when and why.
        """
        stand: list[str] = []
        notes: list[str] = []
        for fault in dict.fromkeys(faults):
            explanations = (
                [one for one in self.statements if fault.key in one["about"]] if fault.key else []
            )
            if explanations:
                notes.append(
                    f"{fault.sentence}; {explanations[-1]['by']} stated on"
                    f" {str(explanations[-1]['stated_at'])[:10]}: {explanations[-1]['why']}"
                )
            else:
                stand.append(fault.sentence)
        return stand, notes


def _there(body: bytes | EvidenceError) -> bytes:
    if isinstance(body, EvidenceError):
        raise body
    return body


def _packets_in(listing: Listing, folder: str) -> tuple[list[str], list[str]]:
    """List the paths of whole packets below an organization's folder, and notes of all else
    there.
    """
    paths: list[str] = []
    strange: dict[str, None] = {}
    unfinished: list[str] = []
    for path, names in listing.bundles.items():
        inside = path.removeprefix(folder).strip("/")
        window, _, packet = inside.partition("/")
        name = packet.partition("/")[0]
        if not names and not WINDOW_FOLDER.fullmatch(inside) and not packet:
            strange |= {f"{folder}/{inside}": None} if inside else {}
        elif not inside:
            strange |= dict.fromkeys(f"{folder}/{one}" for one in names)
        elif not WINDOW_FOLDER.fullmatch(window):
            strange[f"{folder}/{window}"] = None
        elif not packet:
            strange |= dict.fromkeys(f"{path}/{one}" for one in names)
        elif not PACKET_FOLDER.fullmatch(name):
            strange[f"{folder}/{window}/{name}"] = None
        elif name == packet:
            (paths if SUMS in names else unfinished).append(path)
    return sorted(paths), [
        *(f"{one} is none of ours." for one in (*sorted(strange), *listing.beside)),
        *(
            f"What lies at {one} is not finished, or was not left whole: it counts as no packet."
            for one in sorted(unfinished)
        ),
    ]


def _sealed(
    paths: Collection[str], found: Mapping[tuple[str, str], bytes | EvidenceError]
) -> SealedPackets:
    """Take from packets what they say of themselves; those that do not fit their folder are
    faults.
    """
    known: dict[str, Mapping[str, Any]] = {}
    faults: list[LineFault] = []
    for path in paths:
        try:
            about = json.loads(_there(found[path, SEAL]))
            manifest = _there(found[path, MANIFEST])
            digest = hashlib.sha256(manifest).hexdigest()
            require_linked(about)
            if about["digest"] != digest or place_of(json.loads(manifest), digest) != path:
                faults.append(
                    LineFault(f"the packet at {path} is not the one that was sealed there")
                )
            known[digest] = {
                "previous_digest": about["previous_digest"],
                "snapshot_chain_head": about["snapshot_chain_head"],
                "sealed_at": str(about["sealed_at"]),
                "path": path,
            }
        except (EvidenceError, *UNREADABLE):
            faults.append(LineFault(f"the packet at {path} is not whole"))
    return SealedPackets(known, faults)


def forks(sealed: SealedPackets) -> Iterator[LineFault]:
    """Name each packet that more than one names as its predecessor: of two, one was put in or a
    warehouse was restored.
    """
    followers = Counter(seal["previous_digest"] for seal in sealed.by_digest.values())
    for digest, count in followers.items():
        if count > 1:
            named = f"the same packet {digest[:12]}" if digest else "none"
            yield LineFault(
                f"{count} packets name {named} as the one before them",
                f"fork:{digest[:12] if digest else 'none'}",
            )


def superseding(path: str, digest: str, others: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each packet of the same window that was sealed after this one: whoever
    reads this one should know.
    """
    window = path.rpartition("/")[0]
    ours = str(others.get(digest, {}).get("sealed_at", ""))
    for later, about in others.items():
        if later == digest or str(about["path"]).rpartition("/")[0] != window:
            continue
        is_later = about["sealed_at"] > ours
        if is_later or (about["sealed_at"] == ours and digest in _ancestors(later, others)):
            yield (
                f"{SUPERSEDED}: packet {later[:12]} of the same window was sealed after it, and"
                " lies beside it."
            )


def _ancestors(digest: str, others: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Find the packets that come before this one, as far as they were read."""
    ancestors: set[str] = set()
    previous = others[digest]["previous_digest"]
    while previous in others and previous not in ancestors:
        ancestors.add(previous)
        previous = others[previous]["previous_digest"]
    return ancestors


def place_of(manifest: Mapping[str, Any], digest: str) -> str:
    """Give the path where a packet belongs under its root. Raises the errors of `UNREADABLE`."""
    window = Window(
        *(date.fromisoformat(manifest["window"][name]) for name in ("first_day", "last_day"))
    )
    return path_of(
        manifest["organization"]["key"], window, digest, SourceKind(manifest["source"]["kind"])
    )


def require_linked(about: Mapping[str, Any]) -> None:
    """Refuse a seal that points to what is no digest. Raises `ValueError`."""
    for name in ("previous_digest", "snapshot_chain_head"):
        if about[name] is not None and not DIGEST.fullmatch(about[name]):
            raise ValueError(name)
