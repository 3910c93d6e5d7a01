"""The packet of a review: every item, assignment, decision (those that were superseded, too),
sign-off, and what observations said by then, as files that a stranger can check.

`review.json` names the data by digest; its own digest names the packet. What is signed by people is
in `statement-<n>.json`, with an SSH signature beside it where they have a key. Built from the
warehouse alone, so that the same facts give the same bytes on both databases.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files as resources
from typing import Any

from sonar_access_pipeline.access.review.deciding import (
    Asked,
    Quality,
    Review,
    ReviewState,
    quality,
)
from sonar_access_pipeline.access.review.facts import Choice, EventKind
from sonar_access_pipeline.access.review.statements import ACKNOWLEDGED, TEXTS
from sonar_access_pipeline.access.review.stored import asked_of, review_of
from sonar_access_pipeline.access.snapshot import SourceKind, canonical_json
from sonar_access_pipeline.evidence.reviews import paper
from sonar_access_pipeline.evidence.tables import CsvTable, records
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.reviews import facts
from sonar_access_pipeline.warehouse.schema_reviews import (
    review_assignment,
    review_decision,
    review_event,
    review_item,
    review_signoff,
)
from sonar_access_pipeline.warehouse.views import follow_up

REVIEW = "review.json"
README = "README.txt"
FORMAT = 1
"""Of review packets: a later version is read beside it."""
ENDED = frozenset({ReviewState.ACKNOWLEDGED, ReviewState.SEALED})
TABLES = {
    "items.csv": review_item,
    "assignments.csv": review_assignment,
    "decisions.csv": review_decision,
    "signoffs.csv": review_signoff,
    "events.csv": review_event,
}
FOLLOW_UP, QUALITY, NOT_SHOWN = "follow_up.csv", "quality.csv", "limits.csv"
NOT_THERE = frozenset({"statement", "signature"})
"""What stands in files of its own."""
HEADING = (
    "review_id",
    "organization_key",
    "series",
    "scope",
    "packet_digest",
    "source_kind",
    "as_of",
    "due",
    "items",
    "left_out",
    "owner",
    "fallback",
    "policy_version",
    "previous_review_id",
    "opened_by",
    "opened_at",
)


@dataclass(frozen=True)
class ReviewPacket:
    """The content of a review's packet: its data, and how to check it."""

    organization_key: str
    source_kind: SourceKind
    review_id: int
    digest: str
    data: Mapping[str, bytes]
    told: paper.Told = field(repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """Everything that is sealed: the data, how to check it, and what is made for people."""
        folder = resources("sonar_access_pipeline.evidence") / "templates"
        how_to = {README: (folder / "README-review.txt").read_bytes()}
        return {**self.data, **how_to, **paper.renderings(self.told, self.digest)}


def build(transaction: Transaction, review_id: int) -> ReviewPacket:
    """Build the packet of a review that is acknowledged. Raises `ReviewError` for any other."""
    stored = facts.stored(transaction, review_id)
    found, heading = stored.review, stored.heading
    if found.state not in ENDED:
        raise facts.ReviewError(
            f"Review {review_id} is {found.state.value}; what is acknowledged by its owner is"
            " sealed."
        )
    source = heading["source_kind"]
    rows = {name: stored.rows[table.name] for name, table in TABLES.items()}
    # As it stood when the review was acknowledged: what is noted or observed later is in later
    # packets, and a packet that is built again is the same.
    acknowledged_at = max(one.signed_at for one in found.signoffs)
    rows["events.csv"] = [
        row
        for row in rows["events.csv"]
        if row["noted_at"] <= acknowledged_at and row["event"] != EventKind.SEALED.value
    ]
    data = {name: _table(name, _columns(name), rows[name], source) for name in TABLES}
    demands = facts.demanded(transaction, review_id, acknowledged_at)
    data[FOLLOW_UP] = _table(FOLLOW_UP, follow_up.c.keys(), demands, source)
    numbers = [asdict(one) for one in quality(found)]
    data[QUALITY] = _table(QUALITY, list(Quality.__dataclass_fields__), numbers, source)
    limits = [{"subject": subject, "why": why} for subject, why in paper.LIMITS]
    data[NOT_SHOWN] = _table(NOT_SHOWN, ("subject", "why"), limits, source)
    for number, row in enumerate(rows["signoffs.csv"], start=1):
        data[f"statement-{number}.json"] = row["statement"].encode()
        if row["signature"]:
            data[f"statement-{number}.json.sig"] = row["signature"].encode()
    document = canonical_json(_document(found, heading, data))
    digest = hashlib.sha256(document).hexdigest()
    left_out = [
        (asked_of(row), str(row["left_out_why"]))
        for row in rows["items.csv"]
        if row["left_out_why"]
    ]
    return ReviewPacket(
        organization_key=heading["organization_key"],
        source_kind=SourceKind(source),
        review_id=review_id,
        digest=digest,
        data={REVIEW: document, **data},
        told=paper.told(found, left_out, demands, heading),
    )


def _columns(name: str) -> list[str]:
    return [column.name for column in TABLES[name].columns if column.name not in NOT_THERE]


def _table(name: str, columns: Sequence[str], rows: Sequence[dict[str, Any]], source: str) -> bytes:
    return CsvTable(name, "", tuple(columns), list(rows)).encode(source)


def _document(
    found: Review, heading: Mapping[str, Any], data: Mapping[str, bytes]
) -> dict[str, Any]:
    return {
        "format_version": FORMAT,
        **{name: heading[name] for name in HEADING},
        "state": ReviewState.ACKNOWLEDGED.value,
        "weakest_strength": found.weakest.value if found.weakest else None,
        "is_restated": found.is_restated,
        "texts": {
            "reviewer": {str(version): text for version, text in TEXTS.items()},
            "owner": {str(version): text for version, text in ACKNOWLEDGED.items()},
        },
        "counts": {
            "kept": sum(one.choice is Choice.KEEP for one in found.decided.values()),
            "changed": sum(one.choice is Choice.CHANGE for one in found.decided.values()),
            "revoked": sum(one.choice is Choice.REVOKE for one in found.decided.values()),
            "decisions": len(found.decisions),
            "reviewers": len(found.items_of),
        },
        "files": {
            name: {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
            for name, body in sorted(data.items())
        },
    }


def parsed(files: Mapping[str, bytes]) -> tuple[Review, list[Asked]]:
    """Read a review, and what it left out, from the files of its packet.

    Raises `ValueError` or `LookupError` for files of another shape.
    """
    rows = {name: list(records(files[name])) for name in TABLES}
    found = review_of(json.loads(files[REVIEW]), *rows.values())
    return found, [asked_of(row) for row in rows["items.csv"] if row["left_out_why"]]
