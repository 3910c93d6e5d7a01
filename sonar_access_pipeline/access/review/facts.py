"""What people say in a review, as it is kept: assignments, decisions, sign-offs, events. Nothing is
ever changed: a later fact supersedes an earlier one and names it.

Add here: a kind of fact or a word that one can hold. What follows from facts is `deciding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sonar_access_pipeline.access.policy import identity


class Choice(StrEnum):
    """What can be decided of an item."""

    KEEP = "keep"
    CHANGE = "change"
    REVOKE = "revoke"


class Strength(StrEnum):
    """How it is known who said something, the strongest first."""

    SIGNED = "signed"
    VERIFIED = "verified"
    MAILED = "mailed"
    DECLARED = "declared"


class Channel(StrEnum):
    """The way that a decision came."""

    COMMAND = "command"
    SHEET = "sheet"
    PAGE = "page"


class Basis(StrEnum):
    """Why somebody is to decide an item."""

    SERVICE_OWNER = "owner of the service account"
    ORGANIZATION_OWNER = "owner of the organization"
    MANAGER = "manager by the roster"
    FALLBACK = "fallback reviewer"
    REASSIGNED = "reassigned"
    EXCEPTION = "exception: nobody else could"


class Part(StrEnum):
    """Whose sign-off it is."""

    REVIEWER = "reviewer"
    OWNER = "owner"


class EventKind(StrEnum):
    """What happens to a review as a whole."""

    OPENED = "opened"
    CLOSED_INCOMPLETE = "closed incomplete"
    CANCELLED = "cancelled"
    SEALED = "sealed"


def is_same(one: str, other: str) -> bool:
    """Tell whether two addresses or logins are one, whatever their case."""
    return identity(one) == identity(other)


@dataclass(frozen=True)
class Assignment:
    """Who is to decide an item, why, since when, and which assignment that replaces."""

    assignment_id: int
    item_no: int
    reviewer: str
    basis: Basis
    assigned_by: str
    reason: str
    assigned_at: datetime
    supersedes: int | None = None


@dataclass(frozen=True)
class Decision:
    """One decision of an item. `remove` names what goes, where not all does. `seconds` is how long
    the item was looked at; None where nobody measured.
    """

    decision_id: int
    item_no: int
    choice: Choice
    remove: tuple[str, ...]
    reason: str
    decided_by: str
    strength: Strength
    channel: Channel
    decided_at: datetime
    supersedes: int | None = None
    batch: str | None = None
    file_sha256: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class SignOff:
    """A statement that somebody stands by, by its digest; with an SSH signature where they have a
    key.
    """

    signoff_id: int
    part: Part
    signer: str
    text_version: int
    statement_sha256: str
    items: int
    strength: Strength
    signed_at: datetime
    signature: str | None = field(default=None, repr=False)
    key_fingerprint: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a review, by whom and why."""

    event_id: int
    kind: EventKind
    by: str
    reason: str
    at: datetime
