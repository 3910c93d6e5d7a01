"""Verifying packets of reviews: one by its own files and by the warehouse it was built from, and
all that lie in a store against the reviews that were sealed.

What a packet must hold is `checking.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.evidence.keys import Trust
from sonar_access_pipeline.evidence.line import LineFault
from sonar_access_pipeline.evidence.offline import Report, signing_key, sum_faults
from sonar_access_pipeline.evidence.reviews.checking import faults_of
from sonar_access_pipeline.evidence.reviews.packet import REVIEW, build
from sonar_access_pipeline.evidence.seal import (
    OUTSIDE,
    SEAL,
    SIGNATURE,
    SIGNERS,
    SUMS,
    digests_of,
    review_path,
    reviews_folder,
)
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.reviews import facts

FOLDER = re.compile(r"\d{6,}-([0-9a-f]{12})(-\w+)?")
"""The name of the folder of a review's packet: whatever else lies there is somebody else's."""


def look_at(
    files: Mapping[str, bytes], trust: Trust, report: Report, warehouse: Warehouse | None
) -> None:
    """Look at the packet of a review: by its own files, and by the warehouse it was built from."""
    missing = sorted({SEAL, SIGNERS, SUMS, SIGNATURE} - files.keys())
    report.own += [f"{name} is missing" for name in missing]
    if missing:
        return
    sealed = {name: body for name, body in files.items() if name not in OUTSIDE}
    report.own += sum_faults(files[SUMS], digests_of(sealed))
    key = signing_key(files, report)
    if key is None:
        return
    if not trust.believes(key):
        report.stranger = trust.refusal(key)
        report.own.append(report.stranger)
        return
    report.notes.append(trust.note(key))
    report.own += faults_of(files)
    if warehouse is not None and not report.own:
        report.around += _built_again(files, warehouse)


def _built_again(files: Mapping[str, bytes], warehouse: Warehouse) -> Iterator[str]:
    """Yield what the warehouse that a packet was built from gives otherwise."""
    number = json.loads(files[REVIEW])["review_id"]
    try:
        with warehouse.read() as transaction:
            again = build(transaction, number)
    except facts.ReviewError as error:
        yield f"the warehouse does not give it again: {error}"
        return
    differing = [name for name, body in again.data.items() if files.get(name) != body]
    if differing:
        yield (
            f"the warehouse gives other bytes of {', '.join(differing)}: something was retracted or"
            " redacted since, or changed (`sonar-access warehouse verify`)"
        )


@dataclass(frozen=True)
class SealedReviews:
    """The packets of reviews that a warehouse says were sealed, by path: when. `waiting` are paths
    of those that were not brought into the store yet.
    """

    at: Mapping[str, datetime]
    waiting: frozenset[str]

    @classmethod
    def read(cls, warehouse: Warehouse, organization_key: str) -> SealedReviews:
        """Read them from a warehouse."""
        with warehouse.read() as transaction:
            sealed = facts.sealed(transaction, organization_key)
            waiting = {header.path for header in packets.waiting(transaction)}
        return cls(
            {
                review_path(organization_key, number, digest, SourceKind(kind)): at
                for number, digest, at, kind in sealed
            },
            frozenset(waiting),
        )


def look_at_all(
    trust: Trust, organization_key: str, warehouse: Warehouse | None
) -> tuple[dict[str, Report], list[LineFault]]:
    """Look at every packet of a review that lies in the store of an organization, each by its own
    files, and compare them with the reviews that were sealed.

    The report of each by its path, and what is wrong around them. Raises `UnreadableError`.
    """
    folder = reviews_folder(organization_key)
    # Before the store is listed, and after: what is sealed meanwhile is neither lost nor unknown.
    before = SealedReviews.read(warehouse, organization_key) if warehouse is not None else None
    listed = trust.store.listing(folder).bundles
    paths = [path for path in listed if FOLDER.fullmatch(path.removeprefix(f"{folder}/"))]
    reports: dict[str, Report] = {}
    for path in paths:
        reports[path] = Report()
        look_at(trust.store.get(path), trust, reports[path], None)
    if warehouse is None or before is None:
        return reports, []
    now = SealedReviews.read(warehouse, organization_key)
    return reports, list(_around(paths, before, now))


def _around(paths: list[str], before: SealedReviews, now: SealedReviews) -> Iterator[LineFault]:
    for path in sorted(before.at.keys() - set(paths) - before.waiting):
        yield LineFault(
            f"the packet of a review, {path}, was sealed on {before.at[path]:%Y-%m-%d} and is not"
            " in the evidence folder",
            _key(path),
        )
    for path in sorted(set(paths) - now.at.keys()):
        yield LineFault(
            f"the warehouse does not know of the review whose packet lies at {path}: bring back a"
            " backup that has it",
            _key(path),
        )


def _key(path: str) -> str:
    found = FOLDER.fullmatch(path.rpartition("/")[2])
    return f"review:{found[1] if found else path}"
