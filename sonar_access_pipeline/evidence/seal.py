"""Sealing: a packet becomes a bundle of files, signed, all at once, and a line in the register that
names the one before.

Layout: `<root>/<organization>/<first>_<last>/<digest, first 12>`, with the source kind behind it
unless it is SonarCloud.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import chain
from urllib.parse import quote

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.snapshot import CLOCKS_DIFFER, SourceKind, canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.identity import require_known
from sonar_access_pipeline.evidence.keys import (
    KEY,
    UNREADABLE,
    endorsed,
    endorsement_path,
    key_path,
)
from sonar_access_pipeline.evidence.packet import MANIFEST, RENDERINGS, Packet
from sonar_access_pipeline.evidence.reviews.packet import ReviewPacket
from sonar_access_pipeline.evidence.signers import HEADS, KEYS, PACKETS, STATEMENTS, Signer
from sonar_access_pipeline.evidence.sshsig import SignatureError, verified
from sonar_access_pipeline.evidence.stores import Store
from sonar_access_pipeline.evidence.timestamps import Stamp
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.reviews import facts as reviews

SEAL = "seal.json"
SIGNERS = "allowed_signers"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
STAMP = "SHA256SUMS.sig.tsr"
OUTSIDE = frozenset({SUMS, SIGNATURE, STAMP})
"""The files that the sums cannot hold: they, their signature, and the time stamp of that."""
HEAD = "head.json"
HEAD_STAMP = "head.json.sig.tsr"
STATEMENT = "statement.json"
AUTHORITIES = "timestamp_certificates.pem"
"""The certificates of the time stamp authority, as the sealer knew them."""
OF_ONE_SEAL = OUTSIDE | {SEAL, SIGNERS, AUTHORITIES}
"""The files that belong to one building: all others are the same bytes whenever the same content is
sealed.
"""
RESERVED = frozenset({"heads", "keys", "reviews", "statements", "store"})
"""Folders beside those of organizations: the folder of an organization with such a key is written
otherwise.
"""


@dataclass(frozen=True)
class Sealing:
    """What seals: where it goes, who signs, by what clock, and an authority that says when, if
    there is one.

    `authorities` are the certificates of that authority, PEM: they come to lie beside the stamps.
    """

    store: Store
    signer: Signer
    clock: Callable[[], datetime]
    stamp: Stamp | None = None
    authorities: bytes | None = None

    def stamped(self, signature: bytes, name: str) -> dict[str, bytes]:
        """Have a signature stamped, as a file of this name; nothing where no authority is set.

        Raises `EvidenceError`.
        """
        return {name: self.stamp(signature)} if self.stamp else {}

    @property
    def known_authorities(self) -> dict[str, bytes]:
        """The authority's certificates, as a file to lie beside its stamps; nothing where there is
        no authority.
        """
        return {AUTHORITIES: self.authorities} if self.stamp and self.authorities else {}


@dataclass(frozen=True)
class Sealed:
    """A packet that lies somewhere.

    `is_new` is False when the same packet lay there before: it was verified instead.
    """

    place: str
    digest: str
    is_new: bool


@dataclass(frozen=True)
class Published:
    """The places where bundles came to lie, in order; and the paths of those that go on waiting,
    each with the reason.
    """

    places: Sequence[str]
    waiting: Mapping[str, str]


def seal(packet: Packet, sealing: Sealing, warehouse: Warehouse, *, run_id: str) -> Sealed:
    """Enter a packet in the register with its finished files, and publish it.

    One that was entered before is verified and kept.

    Packets of an organization are entered one after the other, so that each has one predecessor.
    Signature and time stamp are made first: where one fails, nothing is entered. What is entered
    waits with its bytes until it lies in the store, whatever happens to this process, this key or
    this authority. Raises `EvidenceError` with what to do.
    """
    path = path_of(packet.organization_key, packet.window, packet.digest, packet.source_kind)
    place = sealing.store.place(path)
    require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    endorse(sealing)
    entry, is_new = _entered(packet, sealing, warehouse, path, run_id)
    published = _published(warehouse, sealing)
    _require_published(published, path)
    is_new = is_new or place in published.places
    if place not in published.places:
        if not sealing.store.has(path, SUMS):
            raise EvidenceError(
                f"The packet was sealed on {entry.sealed_at:%Y-%m-%d} at {entry.location}, and is"
                f" not at {place} any more; it is not made again in silence. Bring it back: from a"
                " copy, or from an older version of the objects."
            )
        stored_files = sealing.store.get(path)
        _require_unchanged(packet, stored_files, place)
        _require_signed(sealing.store, stored_files, {entry.key_fingerprint or ""} - {""}, place)
        packets.note_there(warehouse, packets.Header(path, place, SUMS, entry.sealed_at))
    return Sealed(place, packet.digest, is_new)


def _require_published(published: Published, path: str) -> None:
    if why := published.waiting.get(path):
        raise EvidenceError(
            f"{why} It is sealed and waits with its bytes: the next run, or `sonar-access evidence"
            " publish`."
        )


def _entered(
    packet: Packet, sealing: Sealing, warehouse: Warehouse, path: str, run_id: str
) -> tuple[packets.RegisterEntry, bool]:
    """Enter the packet in the register, and return its line and whether it is new.

    If another packet is entered meanwhile, sign again, behind that one.
    """
    while True:
        with warehouse.read() as transaction:
            before = packets.entries(transaction, packet.organization_key)
            head = packets.last_head(transaction)
            is_known_to_lie = packets.was_published(transaction, path)
            ours = {sealing.signer.key.fingerprint, *packets.keys(transaction)}
        entry = packets.RegisterEntry(
            first_day=packet.window.first,
            last_day=packet.window.last,
            digest=packet.digest,
            previous_digest=before[-1].digest if before else None,
            source_kind=packet.source_kind.value,
            location=sealing.store.place(path),
            sealed_at=sealing.clock(),
            run_id=run_id,
            pipeline_version=__version__,
            format_version=packet.format_version,
            key_fingerprint=sealing.signer.key.fingerprint,
            time_stamp=sealing.stamp is not None,
        )
        known = next((one for one in before if one.digest == packet.digest), None)
        there = sealing.store.has(path, SUMS)
        if known is not None:
            # Before the outbox a packet was entered before it was written: one that never was is
            # made from its line.
            if not there and not is_known_to_lie and known.key_fingerprint == entry.key_fingerprint:
                # Without a stamp: one of now is not of the time that the line says.
                packets.wait(
                    warehouse, _bundle(packet, replace(sealing, stamp=None), known, head, path)
                )
            return known, False
        if there:
            packets.take_in(
                warehouse, packet.organization_key, _sealed_before(packet, sealing, path, ours)
            )
            continue
        if packets.enter(
            warehouse, packet.organization_key, entry, _bundle(packet, sealing, entry, head, path)
        ):
            return entry, True


def _sealed_before(
    packet: Packet, sealing: Sealing, path: str, ours: Collection[str]
) -> packets.RegisterEntry:
    """Read the line of a packet from its own seal: the packet lies in the store, but the register
    lost it because a warehouse was restored.
    """
    store = sealing.store
    stored_files = store.get(path)
    place = store.place(path)
    _require_unchanged(packet, stored_files, place)
    _require_signed(store, stored_files, ours, place)
    return entry_of(stored_files, place)


def entry_of(files: Mapping[str, bytes], location: str) -> packets.RegisterEntry:
    """Make the line of the register from a packet's own files: `location` is where it lies."""
    about = json.loads(files[SEAL])
    manifest = json.loads(files[MANIFEST])
    first, last = (
        date.fromisoformat(manifest["window"][name]) for name in ("first_day", "last_day")
    )
    return packets.RegisterEntry(
        first_day=first,
        last_day=last,
        digest=about["digest"],
        source_kind=manifest["source"]["kind"],
        location=location,
        format_version=manifest["format_version"],
        previous_digest=about["previous_digest"],
        sealed_at=datetime.fromisoformat(about["sealed_at"]),
        run_id=about["run_id"],
        pipeline_version=about["version"],
        key_fingerprint=about["signed_by"],
        time_stamp=about["time_stamp"],
    )


def publish(warehouse: Warehouse, sealing: Sealing) -> Published:
    """Bring every bundle that waits into the store, in the order of entering, and read each back.

    Whoever does it, and however often, the bytes are those that were entered. What cannot be
    brought there goes on waiting; a store that refuses is not asked for the rest. Raises
    `EvidenceError` where the store is another than it was.
    """
    with warehouse.read() as transaction:
        is_waiting = bool(packets.waiting(transaction))
    if is_waiting:
        require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    return _published(warehouse, sealing)


def _published(warehouse: Warehouse, sealing: Sealing) -> Published:
    with warehouse.read() as transaction:
        headers = packets.waiting(transaction)
    places: list[str] = []
    waiting: dict[str, str] = {}
    refusal = None
    for header in headers:
        locked_until = None
        why = refusal or _elsewhere(sealing.store, header)
        if why is None:
            with warehouse.read() as transaction:
                bundle = packets.bundle_of(transaction, header)
            if bundle is None:
                # Somebody else brought it there meanwhile.
                continue
            try:
                why = _brought(sealing.store, bundle)
                locked_until = None if why else _locked_until(sealing.store, bundle)
            except UnreadableError as error:
                why = refusal = str(error)
            except EvidenceError as error:
                # It alone: the others are not kept waiting for it.
                why = str(error)
        if why is None:
            packets.note_published(warehouse, header, sealing.clock(), locked_until)
            places.append(header.location)
        else:
            waiting[header.path] = why
    return Published(places, waiting)


def _elsewhere(store: Store, header: packets.Header) -> str | None:
    if store.place(header.path) == header.location:
        return None
    return (
        f"{header.location} waits for another store than that of the settings ({store.place('')});"
        " set SONAR_ACCESS_EVIDENCE_URL to that one until it is published."
    )


def _brought(store: Store, bundle: packets.Bundle) -> str | None:
    """Put a bundle where it belongs.

    Return None when it lies there, byte for byte, else why it does not, for a reason that lasts.
    """
    store.put(bundle.path, bundle.files, bundle.completed_by)
    if store.holds(bundle.path, bundle.files):
        return None
    return (
        f"At {bundle.location} lies something else than was sealed there; nothing is written over"
        " it. Move it away."
    )


def _locked_until(store: Store, bundle: packets.Bundle) -> datetime | None:
    """Give the time when the lock of a published bundle ends, as the store says; None where nobody
    asked for one.

    Raises `EvidenceError` where it is not locked as long as was asked.
    """
    if store.retention_days is None:
        return None
    until = store.locked_until(bundle.path, bundle.files)
    # Stores keep whole seconds, and whoever brings it there may have another clock than whoever
    # entered it.
    asked = bundle.header.entered_at + timedelta(days=store.retention_days)
    if until is not None and until < asked - CLOCKS_DIFFER:
        raise EvidenceError(
            f"{bundle.location} is locked until {until:%Y-%m-%d}, and was to be until"
            f" {asked:%Y-%m-%d}: it was brought there when SONAR_ACCESS_EVIDENCE_RETENTION_DAYS was"
            " less. Set it as it was until this is published."
        )
    if until is None:
        raise EvidenceError(
            f"The evidence store took {bundle.location} and did not lock it; make a bucket with"
            " Object Lock switched on, or leave SONAR_ACCESS_EVIDENCE_RETENTION_DAYS out."
        )
    return until


def path_of(organization_key: str, window: Window, digest: str, source_kind: SourceKind) -> str:
    """Return the path of a packet under the root. No key of an organization leads out of the
    root.
    """
    return f"{folder_of(organization_key)}/{window}/{digest[:12]}{_suffix(source_kind)}"


def _suffix(source_kind: SourceKind) -> str:
    return "" if source_kind is SourceKind.SONARCLOUD else f"-{source_kind.value}"


def folder_of(organization_key: str) -> str:
    """Return the folder of an organization's packets."""
    if organization_key in RESERVED:
        return f"%{ord(organization_key[0]):02X}{organization_key[1:]}"
    return quote(organization_key, safe="").replace(".", "%2E")


def reviews_folder(organization_key: str) -> str:
    """Return the folder of the packets of an organization's reviews."""
    return f"reviews/{folder_of(organization_key)}"


def review_path(organization_key: str, review_id: int, digest: str, source_kind: SourceKind) -> str:
    """Return the path of the packet of a review under the root."""
    name = f"{review_id:06d}-{digest[:12]}{_suffix(source_kind)}"
    return f"{reviews_folder(organization_key)}/{name}"


def _bundle(
    packet: Packet,
    sealing: Sealing,
    entry: packets.RegisterEntry,
    head: packets.Head | None,
    path: str,
) -> packets.Bundle:
    """Build the finished packet: signed and stamped, ready to lie in the store."""
    header = packets.Header(path, sealing.store.place(path), SUMS, sealing.clock())
    return packets.Bundle(
        header, _files(packet, sealing, entry, head.head_sha256 if head else None)
    )


def _files(
    packet: Packet, sealing: Sealing, entry: packets.RegisterEntry, head_sha256: str | None
) -> dict[str, bytes]:
    signer = sealing.signer
    about = {
        "digest": packet.digest,
        "previous_digest": entry.previous_digest,
        "snapshot_chain_head": head_sha256,
        "sealed_at": entry.sealed_at,
        "run_id": entry.run_id,
        "version": entry.pipeline_version,
        "signed_by": signer.key.fingerprint,
        "key": signer.origin,
        "time_stamp": sealing.stamp is not None,
    }
    return _signed_files(packet.files, about, sealing)


def _signed_files(
    files: Mapping[str, bytes], about: Mapping[str, object], sealing: Sealing
) -> dict[str, bytes]:
    """Add to the files of a packet what seals them: who signed, the sums, their signature and its
    stamp.
    """
    content = {
        **files,
        SEAL: canonical_json(about),
        SIGNERS: sealing.signer.allowed_signers,
        **sealing.known_authorities,
    }
    sums = sums_of(content)
    signature = sealing.signer.sign(sums, PACKETS)
    return {**content, SUMS: sums, SIGNATURE: signature, **sealing.stamped(signature, STAMP)}


def sums_of(content: Mapping[str, bytes]) -> bytes:
    """Write the digests of files as `sha256sum` writes and checks them."""
    return sums_from(digests_of(content))


def digests_of(content: Mapping[str, bytes]) -> dict[str, str]:
    """Compute the hex SHA-256 of each file."""
    return {name: hashlib.sha256(body).hexdigest() for name, body in content.items()}


def sums_from(digests: Mapping[str, str]) -> bytes:
    """Digests as `sha256sum` writes them, in order of name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def _require_unchanged(packet: Packet, found: Mapping[str, bytes], place: str) -> None:
    """Refuse what lies there unless it holds the data that is built now, to the byte, as one build
    left it: rebuilding a packet verifies it.

    Renderings are checked by the sums: another version of a typesetting library gives other bytes,
    and changes nothing.
    """
    content = {name: body for name, body in found.items() if name not in OUTSIDE}
    changed = sorted(name for name, body in packet.data.items() if found.get(name) != body)
    added = sorted(found.keys() - packet.data.keys() - {*RENDERINGS} - OF_ONE_SEAL)
    if not changed and not added and found.get(SUMS) == sums_of(content):
        return
    what = next(chain(changed, added), SUMS)
    raise EvidenceError(
        f"A packet with this digest lies at {place} and has been changed: {what} is not what it"
        " was; `sonar-access evidence verify` says more. Bring back what was sealed: from a copy,"
        " or an older version of the objects."
    )


def _require_signed(
    store: Store, found: Mapping[str, bytes], fingerprints: Collection[str], place: str
) -> None:
    """Raise `EvidenceError` unless a key of the register, or one that such a key endorses, signed
    what lies there.
    """
    try:
        key = verified(found[SUMS], found[SIGNATURE], PACKETS)
    except (KeyError, SignatureError):
        key = None
    if key is None or (fingerprints and not endorsed(store, key, fingerprints)):
        raise EvidenceError(
            f"A packet with this digest lies at {place}, and its signature is not by"
            f" {' or '.join(sorted(fingerprints))}, as the register has it; `sonar-access evidence"
            " verify` says more. Bring back what was sealed: from a copy, or an older version of"
            " the objects."
        )


def endorse(sealing: Sealing, endorsed_by: Signer | None = None) -> str:
    """Put the public key beside the packets, once; endorsed by the key before it, where there is
    one. Where it lies.

    Raises `EvidenceError` where the endorsement cannot be read back.
    """
    store = sealing.store
    signer = sealing.signer
    public = f"{signer.key.line} {signer.origin}\n".encode()
    path = key_path(signer.key)
    if not store.has(path, KEY):
        store.put(path, {KEY: public}, KEY)
    if endorsed_by is None:
        return store.place(path)
    path = endorsement_path(signer.key, endorsed_by.key)
    store.put(
        path,
        {
            f"{KEY}.sig": endorsed_by.sign(public, KEYS),
            SIGNERS: endorsed_by.allowed_signers,
            KEY: public,
        },
        KEY,
    )
    if endorsed(store, signer.key, {endorsed_by.key.fingerprint}) is None:
        raise EvidenceError(
            f"At {store.place(path)} lies something else than the endorsement; nothing is written"
            " over it."
        )
    return store.place(path)


def sign_head(warehouse: Warehouse, sealing: Sealing) -> str | None:
    """Sign the head of the chain of snapshots and put it into the store, if that was not done yet;
    where it lies.

    The head commits to every snapshot recorded so far: what is rewritten later does not lead to it
    any more.
    """
    head = packets.unsigned_head(warehouse)
    if head is None:
        return None
    document = {
        "snapshot_id": head.snapshot_id,
        "head_sha256": head.head_sha256,
        "organization": head.organization_key,
        "observed_at": head.observed_at,
        "content_sha256": head.content_sha256,
        "signed_at": sealing.clock(),
        "time_stamp": sealing.stamp is not None,
        "time_stamp_certificates_sha256": digests_of(sealing.known_authorities).get(AUTHORITIES),
    }
    body = canonical_json(document)
    path = f"heads/{head.snapshot_id:08d}-{head.head_sha256[:12]}"
    require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    endorse(sealing)
    header = packets.Header(path, sealing.store.place(path), HEAD, sealing.clock())
    if sealing.store.has(path, HEAD):
        # Signed before, and lost by the register: a warehouse was restored.
        with warehouse.read() as transaction:
            ours = {sealing.signer.key.fingerprint, *packets.keys(transaction)}
        packets.enter_head(
            warehouse, head, header, _signer_of_head(sealing.store, path, head, ours), None
        )
        return header.location
    packets.enter_head(
        warehouse, head, header, sealing.signer.key.fingerprint, _signed(sealing, HEAD, body, HEADS)
    )
    _require_published(_published(warehouse, sealing), path)
    return header.location


def _signed(sealing: Sealing, name: str, body: bytes, namespace: str) -> dict[str, bytes]:
    """Make the files of a signed document: itself, its signature, who signed, and the time stamp of
    that.
    """
    signature = sealing.signer.sign(body, namespace)
    stamp = sealing.stamped(signature, f"{name}.sig.tsr")
    known = sealing.known_authorities
    return {
        f"{name}.sig": signature,
        SIGNERS: sealing.signer.allowed_signers,
        **stamp,
        **known,
        name: body,
    }


def state(
    warehouse: Warehouse,
    sealing: Sealing,
    organization_key: str,
    about: Collection[str],
    *,
    by: str,
    why: str,
) -> str:
    """Sign what a person states of faults in the line of packets, and put it into the store; where
    it lies.

    `about` are keys of faults, as `verify_all` gives them. Nothing is mended by it: verification
    names who stated what instead of a fault. Raises `EvidenceError`.
    """
    require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    with warehouse.read() as transaction:
        before = packets.entries(transaction, organization_key)
    statement = {
        "organization": organization_key,
        "about": sorted(about),
        "by": by,
        "why": why,
        "stated_at": sealing.clock(),
        "previous_digest": before[-1].digest if before else None,
        "time_stamp": sealing.stamp is not None,
    }
    body = canonical_json(statement)
    path = f"statements/{hashlib.sha256(body).hexdigest()[:32]}"
    header = packets.Header(path, sealing.store.place(path), STATEMENT, sealing.clock())
    endorse(sealing)
    bundle = packets.Bundle(header, _signed(sealing, STATEMENT, body, STATEMENTS))
    packets.enter_statement(
        warehouse,
        organization_key,
        sorted(about),
        by=by,
        why=why,
        key_fingerprint=sealing.signer.key.fingerprint,
        bundle=bundle,
    )
    _require_published(_published(warehouse, sealing), path)
    return header.location


def seal_review(packet: ReviewPacket, sealing: Sealing, warehouse: Warehouse, *, by: str) -> str:
    """Enter the packet of a review with its finished files, and publish it; where it lies. One that
    was entered before is kept.

    Raises `EvidenceError`, and `ReviewError` for a review that was ended meanwhile.
    """
    path = review_path(packet.organization_key, packet.review_id, packet.digest, packet.source_kind)
    require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    endorse(sealing)
    with warehouse.read() as transaction:
        before = packets.entries(transaction, packet.organization_key)
        head = packets.last_head(transaction)
        is_known = packets.was_published(transaction, path)
    if not is_known:
        at = sealing.clock()
        about = {
            "digest": packet.digest,
            "previous_digest": before[-1].digest if before else None,
            "snapshot_chain_head": head.head_sha256 if head else None,
            "sealed_at": at,
            "version": __version__,
            "signed_by": sealing.signer.key.fingerprint,
            "key": sealing.signer.origin,
            "time_stamp": sealing.stamp is not None,
        }
        header = packets.Header(path, sealing.store.place(path), SUMS, at)
        bundle = packets.Bundle(header, _signed_files(packet.files, about, sealing))
        reviews.seal(warehouse, packet.review_id, packet.digest, by=by, bundle=bundle, at=at)
    _require_published(_published(warehouse, sealing), path)
    return sealing.store.place(path)


def _signer_of_head(store: Store, path: str, head: packets.Head, ours: Collection[str]) -> str:
    """Give the key of a head that lies in the store already: one of ours, of this very head.

    Raises `EvidenceError`.
    """
    try:
        stored_files = store.get(path)
        key = verified(stored_files[HEAD], stored_files[f"{HEAD}.sig"], HEADS)
        document = json.loads(stored_files[HEAD])
        is_this = (document["snapshot_id"], document["head_sha256"]) == (
            head.snapshot_id,
            head.head_sha256,
        )
    except UnreadableError:
        raise
    except (EvidenceError, *UNREADABLE):
        is_this = False
    if not is_this or not endorsed(store, key, ours):
        raise EvidenceError(
            f"At {store.place(path)} lies something else than a signed head of ours; nothing is"
            " written over it. Bring back what was signed: from a copy, or an older version of the"
            " objects."
        )
    return key.fingerprint
