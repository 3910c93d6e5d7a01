"""SonarCloud's own words behind a packet, as files: what an auditor needs to count for
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.keys import Trust
from sonar_access_pipeline.evidence.offline import Report, alone
from sonar_access_pipeline.evidence.packet import REQUESTS_CSV
from sonar_access_pipeline.evidence.seal import SUMS, sums_of
from sonar_access_pipeline.evidence.stores import FolderStore, Store
from sonar_access_pipeline.evidence.tables import parsed
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger.packets import keys
from sonar_access_pipeline.warehouse.raw.snapshots import bodies_of


@dataclass(frozen=True)
class Exported:
    """A folder of answers; `missing` are the digests of those that the warehouse does not have any
    more.
    """

    folder: Path
    bodies: int
    missing: tuple[str, ...]


def export_raw(
    files: Mapping[str, bytes], store: Store, warehouse: Warehouse, folder: Path
) -> Exported:
    """Write the answers behind a packet of a store into a new folder: `<SHA-256>.json`,
    requests.csv, and SHA256SUMS.

    Raises `EvidenceError`.
    """
    report = Report()
    with warehouse.read() as transaction:
        trust = Trust(store, registered=keys(transaction))
    alone(files, trust, None, report)
    if report.own:
        raise EvidenceError(
            f"The packet is not what was sealed: {report.stranger or report.own[0]}; verify it,"
            " nothing was exported."
        )
    try:
        header, *records = parsed(files[REQUESTS_CSV])
        digests = sorted({record[header.index("body_sha256")] for record in records})
    except (KeyError, ValueError, IndexError):
        raise EvidenceError(
            f"The packet has no {REQUESTS_CSV} to go by; verify it first."
        ) from None
    if folder.exists():
        raise EvidenceError(f"{folder} is there already; name a new folder.")
    with warehouse.read() as transaction:
        bodies = bodies_of(transaction, digests)
    content = {
        **{f"{digest}.json": body for digest, body in bodies.items()},
        REQUESTS_CSV: files[REQUESTS_CSV],
    }
    FolderStore(folder.parent).put(folder.name, {**content, SUMS: sums_of(content)}, SUMS)
    return Exported(
        folder, len(bodies), tuple(digest for digest in digests if digest not in bodies)
    )
