"""What is signed in a review: a statement as canonical JSON, which names items and reasons by
digest, so that a signature outlives the redaction of a person. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from sonar_access_pipeline.access.review.facts import Decision, Unset
from sonar_access_pipeline.access.snapshot import canonical_json

TEXT_VERSION = 1
TEXTS = {
    1: (
        "I reviewed the {items} assigned to me as they were at {as_of}. None is my own access,"
        " unless an exception of the policy says so. I had enough knowledge of each to decide. What"
        " is marked for removal is to be removed."
    )
}
"""What a reviewer says, by version: a version that was signed is never changed."""
ACKNOWLEDGED = {
    1: "I have seen who reviewed what, what was decided, and what is to be removed by when."
}
"""What the owner says, by version."""


@dataclass(frozen=True)
class About:
    """What a review is pinned to: one sealed packet, by digest; and until when it is due."""

    review_id: int
    organization_key: str
    packet_digest: str
    as_of: datetime
    due: date
    owner: Annotated[str | None, Unset] = None


Signed = tuple[int, str, Decision | None]
"""An item's number, its digest, and its decision in force."""


def reviewed_statement(about: About, items: Sequence[Signed]) -> bytes:
    """Write what a reviewer signs of their items."""
    return canonical_json(
        {
            **_head(about),
            "part": "reviewer",
            "text_version": TEXT_VERSION,
            "items": [_line(*item) for item in items],
        }
    )


def acknowledged_statement(
    about: About, statements: Iterable[str], undecided: Sequence[int]
) -> bytes:
    """Write what the owner signs: the reviewers' statements by digest, and what is undecided."""
    return canonical_json(
        {
            **_head(about),
            "part": "owner",
            "text_version": TEXT_VERSION,
            "statements": list(statements),
            "undecided": list(undecided),
        }
    )


def statement_sha256(statement: bytes) -> str:
    """Hex digest of a statement."""
    return hashlib.sha256(statement).hexdigest()


def _head(about: About) -> dict[str, object]:
    return {
        "review": about.review_id,
        "organization": about.organization_key,
        "packet_digest": about.packet_digest,
    }


def _line(item_no: int, digest: str, decision: Decision | None) -> list[object]:
    if decision is None:
        return [item_no, digest, None, [], None]
    reason = hashlib.sha256(decision.reason.encode()).hexdigest()
    return [item_no, digest, decision.choice.value, list(decision.remove), reason]
