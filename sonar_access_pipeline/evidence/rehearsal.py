"""Finding what would hinder sealing, before there is anything to seal.

Nothing is entered, and nothing is written anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.identity import FOLDER, NAME, name_of, why_unknown
from sonar_access_pipeline.evidence.seal import Sealing
from sonar_access_pipeline.evidence.sshsig import verified
from sonar_access_pipeline.warehouse.database import Warehouse

NAMESPACE = "sonar-access-check"


def hindrances(sealing: Sealing, warehouse: Warehouse | None) -> Iterator[str]:
    """Sign something, have it stamped, ask the store for its name, and whether it locks and takes
    more: each fault a sentence.
    """

    def signs() -> None:
        signature = sealing.signer.sign(b"check", NAMESPACE)
        verified(b"check", signature, NAMESPACE)
        if sealing.stamp is not None:
            sealing.stamp(signature)

    def answers() -> None:
        sealing.store.require_lockable()
        name_of(sealing.store)
        sealing.store.require_writable(FOLDER, NAME)

    steps: tuple[Callable[[], None], ...] = (signs, answers)
    for step in steps:
        try:
            step()
        except EvidenceError as error:
            yield str(error)
            continue
        if (
            step is answers
            and warehouse is not None
            and (why := why_unknown(warehouse, sealing.store))
        ):
            yield why
