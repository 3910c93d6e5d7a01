"""Sealing: a packet becomes a folder, all at once, and a line in the register. Verifying: does it still hold what was sealed?

Layout: `<root>/<organization>/<first>_<last>/<digest, first 12>`, with the source kind behind it unless it is SonarCloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.snapshot import SourceKind, canonical_json
from sonar_access_pipeline.evidence.packet import MANIFEST, Packet
from sonar_access_pipeline.private import new_private_file, private_folder
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.packets import predecessor, register

SEAL, SUMS = "seal.json", "SHA256SUMS"


class EvidenceError(Exception):
    """A packet cannot be written, or is not what it says; the sentence names the file."""


@dataclass(frozen=True)
class Sealed:
    """A packet on disk. `is_new` is False when the same content had been sealed before: then it was verified instead."""

    folder: Path
    digest: str
    is_new: bool


def seal(packet: Packet, root: Path, warehouse: Warehouse, *, clock: Callable[[], datetime], run_id: str) -> Sealed:
    """Write a packet and enter it in the register. A packet that lies there already is verified and kept.

    No reader ever sees half a packet. Raises `EvidenceError` with what to do.
    """
    folder = root / _path_of(packet)
    is_new = not folder.exists()
    previous = predecessor(warehouse, packet.organization_key, packet.digest)
    if is_new:
        sealed_at = clock()
        about = {
            "digest": packet.digest,
            "previous_digest": previous,
            "sealed_at": sealed_at,
            "run_id": run_id,
            "version": __version__,
        }
        _write(folder, {**packet.files, SEAL: canonical_json(about)})
    elif faults := verify(folder):
        raise EvidenceError(
            f"A packet with this digest lies at {folder} and has been changed: {faults[0]}; move it away, then build again."
        )
    register(
        warehouse,
        organization_key=packet.organization_key,
        first_day=packet.window.first,
        last_day=packet.window.last,
        digest=packet.digest,
        previous_digest=previous,
        source_kind=packet.source_kind,
        location=str(folder),
        sealed_at=datetime.fromisoformat(json.loads((folder / SEAL).read_bytes())["sealed_at"]),
        run_id=run_id,
        pipeline_version=__version__,
    )
    return Sealed(folder, packet.digest, is_new)


def _path_of(packet: Packet) -> Path:
    suffix = "" if packet.source_kind is SourceKind.SONARCLOUD else f"-{packet.source_kind.value}"
    # An organization's key is a name from outside: whatever it is, it stays one folder below the root.
    organization = quote(packet.organization_key, safe="").replace(".", "%2E")
    return Path(organization, str(packet.window), packet.digest[:12] + suffix)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in sorted(files.items()))
    partial = folder.parent / f".{folder.name}.partial"
    try:
        private_folder(folder.parent)
        shutil.rmtree(partial, ignore_errors=True)
        private_folder(partial)
        for name, body in {**files, SUMS: sums.encode()}.items():
            with new_private_file(partial / name) as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise EvidenceError(
            f"The packet cannot be written to {folder}: {error.strerror}; free some space or set SONAR_ACCESS_EVIDENCE_URL."
        ) from None


def verify(folder: Path) -> list[str]:
    """What is wrong with a packet, one sentence each; empty when every file is as it was sealed. Raises `EvidenceError`.

    Checks the sums, that no file is missing or added, and that the manifest has the digest of the seal and names every file.
    """
    try:
        names = sorted(path.name for path in folder.iterdir())
        bodies = {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise EvidenceError(f"{folder} cannot be read as a packet: {error.strerror}.") from None
    if SUMS not in bodies or MANIFEST not in bodies or SEAL not in bodies:
        raise EvidenceError(f"{folder} is no packet: it must hold {MANIFEST}, {SEAL} and {SUMS}.")
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items() if name != SUMS}
    listed = dict(_sum_line(line) for line in bodies[SUMS].decode(errors="replace").splitlines())
    faults = [f"{name} is listed but missing" for name in sorted(set(listed) - set(digests))]
    faults += [f"{name} is not listed" for name in sorted(set(digests) - set(listed))]
    faults += [f"{name} was changed" for name in sorted(set(listed) & set(digests)) if listed[name] != digests[name]]
    return faults + _manifest_faults(bodies, digests)


def _manifest_faults(bodies: dict[str, bytes], digests: dict[str, str]) -> list[str]:
    try:
        manifest, about = json.loads(bodies[MANIFEST]), json.loads(bodies[SEAL])
        stated = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
        sealed = str(about["digest"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} or {SEAL} is not what it should be"]
    faults = [] if sealed == digests[MANIFEST] else [f"{SEAL} names another manifest"]
    return faults + [f"{MANIFEST} and {name} disagree" for name in sorted(stated) if digests.get(name) != stated[name]]


def _sum_line(line: str) -> tuple[str, str]:
    digest, _, name = line.partition("  ")
    return name, digest
