"""Taking into the register again, after a restore, the packets that the evidence store has and the
register lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.identity import why_unknown
from sonar_access_pipeline.evidence.keys import Trust
from sonar_access_pipeline.evidence.line import Line
from sonar_access_pipeline.evidence.offline import Report, alone
from sonar_access_pipeline.evidence.seal import SUMS, Sealing, entry_of
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import packets


@dataclass(frozen=True)
class Recovered:
    """The places of packets that were taken into the register, in the order of sealing, and why
    others were not.
    """

    entered: list[str]
    refused: Mapping[str, str]


def recover(warehouse: Warehouse, sealing: Sealing, organization_key: str) -> Recovered:
    """Take packets of the store that the register does not know into it: each that is as it was
    sealed, by a key of ours.

    Ours are the keys of the register and the one that seals now, and those that they endorse.
    Raises `EvidenceError`.
    """
    store = sealing.store
    if why := why_unknown(warehouse, store):
        raise EvidenceError(why)
    with warehouse.read() as transaction:
        before = packets.entries(transaction, organization_key)
        ours = {sealing.signer.key.fingerprint, *packets.keys(transaction)}
    line = Line(organization_key, Trust(store, registered=ours))
    known = {entry.digest[:12] for entry in before}
    entries: list[packets.RegisterEntry] = []
    refused: dict[str, str] = {}
    for name, paths in line.places.items():
        for path in paths if name not in known else ():
            files = store.get(path)
            report = Report()
            alone(files, line.trust, None, report)
            wrong = [*report.own, *(fault.sentence for fault in line.of(path, files).faults)]
            if wrong:
                refused[store.place(path)] = wrong[0]
            else:
                entries.append(entry_of(files, store.place(path)))
    entries.sort(key=lambda entry: entry.sealed_at)
    for entry in entries:
        packets.take_in(warehouse, organization_key, entry)
        path = entry.location.removeprefix(store.place(""))
        packets.note_there(warehouse, packets.Header(path, entry.location, SUMS, entry.sealed_at))
    return Recovered([entry.location for entry in entries], refused)
