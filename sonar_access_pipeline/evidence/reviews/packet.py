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
from dataclasses import asdict, dataclass
from datetime import date, datetime
from importlib.resources import files as resources
from typing import Any

from sonar_access_pipeline.access.review.classes import ChangeClass
from sonar_access_pipeline.access.review.deciding import (
    Asked,
    Quality,
    Review,
    ReviewState,
    quality,
)
from sonar_access_pipeline.access.review.facts import (
    Assignment,
    Basis,
    Channel,
    Choice,
    Decision,
    Event,
    EventKind,
    Part,
    SignOff,
    Strength,
)
from sonar_access_pipeline.access.review.items import Held, Item, Kind
from sonar_access_pipeline.access.review.statements import ACKNOWLEDGED, TEXTS, About
from sonar_access_pipeline.access.snapshot import canonical_json
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
FOLLOW_UP, QUALITY = "follow_up.csv", "quality.csv"
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
    review_id: int
    digest: str
    data: Mapping[str, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """Everything that is sealed."""
        folder = resources("sonar_access_pipeline.evidence") / "templates"
        return {**self.data, README: (folder / "README-review.txt").read_bytes()}


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
    # That it was sealed is said by the seal: a packet that is built again is the same.
    sealed = EventKind.SEALED.value
    rows["events.csv"] = [row for row in rows["events.csv"] if row["event"] != sealed]
    data = {name: _table(name, _columns(name), rows[name], source) for name in TABLES}
    demands = facts.follow_ups(transaction, review_id=review_id)
    data[FOLLOW_UP] = _table(
        FOLLOW_UP, follow_up.c.keys(), [_as_acknowledged(row, found) for row in demands], source
    )
    numbers = [asdict(one) for one in quality(found)]
    data[QUALITY] = _table(QUALITY, list(Quality.__dataclass_fields__), numbers, source)
    for number, row in enumerate(rows["signoffs.csv"], start=1):
        data[f"statement-{number}.json"] = row["statement"].encode()
        if row["signature"]:
            data[f"statement-{number}.json.sig"] = row["signature"].encode()
    document = canonical_json(_document(found, heading, data))
    digest = hashlib.sha256(document).hexdigest()
    return ReviewPacket(heading["organization_key"], review_id, digest, {REVIEW: document, **data})


def _columns(name: str) -> list[str]:
    return [column.name for column in TABLES[name].columns if column.name not in NOT_THERE]


def _as_acknowledged(row: Mapping[str, Any], found: Review) -> dict[str, Any]:
    """Show a demand as it stood when the review was acknowledged: what observations say later is
    in later packets.
    """
    until = max(one.signed_at for one in found.signoffs)
    is_later = row["observed_from"] is not None and row["observed_from"] > until
    unknown = {"state": "open", "last_shown": None, "first_not_shown": None, "observed_from": None}
    return {**row, **(unknown if is_later else {})}


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
    about = json.loads(files[REVIEW])
    shown = list(records(files["items.csv"]))
    found = Review(
        About(
            about["review_id"],
            about["organization_key"],
            about["packet_digest"],
            datetime.fromisoformat(about["as_of"]),
            date.fromisoformat(about["due"]),
            about["owner"],
        ),
        asked=[_asked(row) for row in shown if not row["left_out_why"]],
        assignments=map(_assignment, records(files["assignments.csv"])),
        decisions=map(_decision, records(files["decisions.csv"])),
        signoffs=map(_signoff, records(files["signoffs.csv"])),
        events=map(_event, records(files["events.csv"])),
    )
    return found, [_asked(row) for row in shown if row["left_out_why"]]


Record = Mapping[str, str]


def _number(text: str) -> int | None:
    return int(text) if text else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _asked(row: Record) -> Asked:
    held = tuple(Held(*one) for one in json.loads(row["held"]))
    item = Item(Kind(row["kind"]), row["subject"], row["right"], row["resource"], held)
    return Asked(
        item_no=int(row["item_no"]),
        item=item,
        digest=row["item_digest"],
        name=row["name"],
        shown=row["shown"],
        change_class=ChangeClass(row["change_class"] or ChangeClass.FIRST.value),
        findings=tuple(json.loads(row["findings"])),
    )


def _assignment(row: Record) -> Assignment:
    return Assignment(
        int(row["assignment_id"]),
        int(row["item_no"]),
        row["reviewer"],
        Basis(row["basis"]),
        row["assigned_by"],
        row["reason"],
        _moment(row["assigned_at"]),
        _number(row["supersedes"]),
    )


def _decision(row: Record) -> Decision:
    return Decision(
        decision_id=int(row["decision_id"]),
        item_no=int(row["item_no"]),
        choice=Choice(row["decision"]),
        remove=tuple(json.loads(row["remove"])),
        reason=row["reason"],
        decided_by=row["decided_by"],
        strength=Strength(row["strength"]),
        channel=Channel(row["channel"]),
        decided_at=_moment(row["decided_at"]),
        supersedes=_number(row["supersedes"]),
        batch=row["batch"] or None,
    )


def _signoff(row: Record) -> SignOff:
    return SignOff(
        int(row["signoff_id"]),
        Part(row["part"]),
        row["signer"],
        int(row["text_version"]),
        row["statement_sha256"],
        int(row["items"]),
        Strength(row["strength"]),
        _moment(row["signed_at"]),
        None,
        row["key_fingerprint"] or None,
    )


def _event(row: Record) -> Event:
    return Event(
        int(row["event_id"]),
        EventKind(row["event"]),
        row["noted_by"],
        row["reason"],
        _moment(row["noted_at"]),
    )
