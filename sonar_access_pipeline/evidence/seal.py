"""Sealing: a packet becomes a bundle of files, signed, all at once, and a line in the register that names the one before.

Layout: `<root>/<organization>/<first>_<last>/<digest, first 12>`, with the source kind behind it unless it is SonarCloud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.snapshot import SourceKind, canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import FORMAT_VERSION, Packet, build
from sonar_access_pipeline.evidence.signers import HEADS, KEYS, PACKETS, Signer
from sonar_access_pipeline.evidence.sshsig import PublicKey, SignatureError, verified
from sonar_access_pipeline.evidence.stores import Store
from sonar_access_pipeline.evidence.timestamps import Stamp
from sonar_access_pipeline.warehouse import packets
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError

SEAL, SIGNERS, SUMS, SIGNATURE, STAMP = "seal.json", "allowed_signers", "SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.sig.tsr"
OUTSIDE = frozenset({SUMS, SIGNATURE, STAMP})
"""The files that the sums cannot hold: they, their signature, and the time stamp of that."""
OF_ONE_SEAL = OUTSIDE | {SEAL, SIGNERS}
"""The files that belong to one building: all others are the same bytes whenever the same content is sealed."""
HEAD, KEY = "head.json", "key.pub"


@dataclass(frozen=True)
class Sealing:
    """What seals: where it goes, who signs, by what clock, and an authority that says when, if there is one."""

    store: Store
    signer: Signer
    clock: Callable[[], datetime]
    stamp: Stamp | None = None


@dataclass(frozen=True)
class Sealed:
    """A packet that lies somewhere. `is_new` is False when the same content had been sealed before: it was verified instead."""

    place: str
    digest: str
    is_new: bool


def seal(packet: Packet, sealing: Sealing, warehouse: Warehouse, *, run_id: str) -> Sealed:
    """Enter a packet in the register and put it into the store. One that lies there already is verified and kept.

    Packets of an organization are entered one after the other, so that each has one predecessor. No reader ever sees half of one.
    What an earlier run entered and did not come to write is made up for. Raises `EvidenceError` with what to do.
    """
    path = path_of(packet.organization_key, packet.window, packet.digest, packet.source_kind)
    publish(sealing)
    entry = packets.enter(
        warehouse,
        packet.organization_key,
        packet.digest,
        first_day=packet.window.first,
        last_day=packet.window.last,
        source_kind=packet.source_kind.value,
        location=sealing.store.place(path),
        sealed_at=sealing.clock(),
        run_id=run_id,
        pipeline_version=__version__,
        format_version=FORMAT_VERSION,
        key_fingerprint=sealing.signer.key.fingerprint,
    )
    is_new = not sealing.store.has(path, SUMS)
    if is_new:
        _make_up_for(warehouse, sealing, packet.organization_key, entry)
        sealing.store.put(path, _files(packet, sealing, entry, warehouse), SUMS)
    else:
        found, place = sealing.store.get(path), sealing.store.place(path)
        _require_unchanged(packet, found, place)
        _require_signed(found, entry, place)
    return Sealed(sealing.store.place(path), packet.digest, is_new)


def _make_up_for(warehouse: Warehouse, sealing: Sealing, organization_key: str, entry: packets.Entry) -> None:
    """Write the packets that were entered before and are not where they should be, back to the first that is.

    A run was killed, or the store was down. One that the warehouse does not give any more stays away, and `verify` says so.
    """
    with warehouse.read() as transaction:
        register = packets.entries(transaction, organization_key)
    for earlier in reversed(register[: [one.digest for one in register].index(entry.digest)]):
        window = Window(earlier.first_day, earlier.last_day)
        path = path_of(organization_key, window, earlier.digest, SourceKind(earlier.source_kind))
        if earlier.location != sealing.store.place(path) or sealing.store.has(path, SUMS):
            return
        try:
            again = build(warehouse, organization_key, window)
        except WarehouseError:
            continue
        if again.digest == earlier.digest:
            sealing.store.put(path, _files(again, sealing, earlier, warehouse), SUMS)


def path_of(organization_key: str, window: Window, digest: str, source_kind: SourceKind) -> str:
    """Where a packet lies under the root. No key of an organization leads out of it."""
    suffix = "" if source_kind is SourceKind.SONARCLOUD else f"-{source_kind.value}"
    return f"{folder_of(organization_key)}/{window}/{digest[:12]}{suffix}"


def folder_of(organization_key: str) -> str:
    """The folder of an organization's packets."""
    return quote(organization_key, safe="").replace(".", "%2E")


def _files(packet: Packet, sealing: Sealing, entry: packets.Entry, warehouse: Warehouse) -> dict[str, bytes]:
    signer = sealing.signer
    with warehouse.read() as transaction:
        head = packets.last_head(transaction)
    about = {
        "digest": packet.digest,
        "previous_digest": entry.previous_digest,
        "snapshot_chain_head": head.head_sha256 if head else None,
        "sealed_at": entry.sealed_at,
        "run_id": entry.run_id,
        "version": entry.pipeline_version,
        "signed_by": signer.key.fingerprint,
        "key": signer.origin,
        "time_stamp": sealing.stamp is not None,
    }
    content = {**packet.files, SEAL: canonical_json(about), SIGNERS: signer.allowed_signers}
    sums = sums_of(content)
    signature = signer.sign(sums, PACKETS)
    return {**content, SUMS: sums, SIGNATURE: signature, **({STAMP: sealing.stamp(signature)} if sealing.stamp else {})}


def sums_of(content: Mapping[str, bytes]) -> bytes:
    """The digests of files, as `sha256sum` writes and checks them."""
    return sums_from(digests_of(content))


def digests_of(content: Mapping[str, bytes]) -> dict[str, str]:
    """The hex SHA-256 of each file."""
    return {name: hashlib.sha256(body).hexdigest() for name, body in content.items()}


def sums_from(digests: Mapping[str, str]) -> bytes:
    """Digests as `sha256sum` writes them, in order of name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def _require_unchanged(packet: Packet, found: Mapping[str, bytes], place: str) -> None:
    """What lies there holds the data that is built now, to the byte, as one building left it: rebuilding a packet verifies it.

    Renderings are held by the sums: another version of a typesetting library gives other bytes, and changes nothing.
    """
    content = {name: body for name, body in found.items() if name not in OUTSIDE}
    changed = sorted(name for name, body in packet.data.items() if found.get(name) != body)
    added = sorted(found.keys() - packet.files.keys() - OF_ONE_SEAL)
    if not changed and not added and found.get(SUMS) == sums_of(content):
        return
    what = changed[0] if changed else added[0] if added else SUMS
    raise EvidenceError(
        f"A packet with this digest lies at {place} and has been changed: {what} is not what it was; `sonar-access evidence "
        "verify` says more. Move it away, then build again."
    )


def _require_signed(found: Mapping[str, bytes], entry: packets.Entry, place: str) -> None:
    """What lies there is signed by the key that the register has for it: else it is not said to be verified."""
    try:
        key = verified(found[SUMS], found[SIGNATURE], PACKETS)
    except (KeyError, SignatureError):
        key = None
    if key is None or entry.key_fingerprint not in (None, key.fingerprint):
        raise EvidenceError(
            f"A packet with this digest lies at {place}, and its signature is not the one by "
            f"{entry.key_fingerprint or 'whatever key'} that the register has; `sonar-access evidence verify` says more. Move it "
            "away, then build again."
        )


def publish(sealing: Sealing, endorsed_by: Signer | None = None) -> str:
    """Put the public key beside the packets, once; endorsed by the key before it, where there is one. Where it lies."""
    path = key_path(sealing.signer.key)
    if not sealing.store.has(path, KEY):
        public = f"{sealing.signer.key.line} {sealing.signer.origin}\n".encode()
        endorsement = {}
        if endorsed_by is not None:
            endorsement = {f"{KEY}.sig": endorsed_by.sign(public, KEYS), SIGNERS: endorsed_by.allowed_signers}
        sealing.store.put(path, {KEY: public, **endorsement}, KEY)
    return sealing.store.place(path)


def key_path(key: PublicKey) -> str:
    """Where a public key lies under the root."""
    return f"keys/{hashlib.sha256(key.blob).hexdigest()[:32]}"


def sign_head(warehouse: Warehouse, sealing: Sealing) -> str | None:
    """Sign the head of the chain of snapshots and put it into the store, if that was not done yet; where it lies.

    The head commits to every snapshot recorded so far: what is rewritten later does not lead to it any more.
    """
    head = packets.unsigned_head(warehouse)
    if head is None:
        return None
    said = {
        "snapshot_id": head.snapshot_id,
        "head_sha256": head.head_sha256,
        "organization": head.organization_key,
        "observed_at": head.observed_at,
        "content_sha256": head.content_sha256,
        "signed_at": sealing.clock(),
    }
    body, path = canonical_json(said), f"heads/{head.snapshot_id:08d}-{head.head_sha256[:12]}"
    publish(sealing)
    if not sealing.store.has(path, HEAD):
        signed = {f"{HEAD}.sig": sealing.signer.sign(body, HEADS), SIGNERS: sealing.signer.allowed_signers, HEAD: body}
        sealing.store.put(path, signed, HEAD)
    place = sealing.store.place(path)
    packets.note_signed(warehouse, head, place, sealing.signer.key.fingerprint, sealing.clock())
    return place
