"""What people say in a review, as it is kept: assignments, decisions, sign-offs, events. Nothing is
ever changed: a later fact supersedes an earlier one and names it.

Add here: a kind of fact or a word that one can hold. What follows from facts is `deciding.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator

from sonar_access_pipeline.access.policy import identity


def _or_none(value: Any) -> Any:
    return None if value == "" else value


def _listed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


Unset = BeforeValidator(_or_none)
"""Marks what may be unknown: NULL in a table, an empty field in a CSV file."""
Listed = BeforeValidator(_listed)
"""Marks texts that are one JSON text in a row."""


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
    REMINDED = "reminded"
    ESCALATED = "escalated"
    SHEET_READ = "sheet read"
    NOTED = "noted"
    IMPORTED = "imported"


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
    supersedes: Annotated[int | None, Unset] = None


@dataclass(frozen=True)
class Decision:
    """One decision of an item. `remove` names what goes, where not all does. `seconds` is how long
    the item was looked at; None where nobody measured.
    """

    decision_id: int
    item_no: int
    choice: Choice
    remove: Annotated[tuple[str, ...], Listed]
    reason: str
    decided_by: str
    strength: Strength
    channel: Channel
    decided_at: datetime
    supersedes: Annotated[int | None, Unset] = None
    batch: Annotated[str | None, Unset] = None
    seconds: Annotated[float | None, Unset] = None


@dataclass(frozen=True)
class SignOff:
    """A statement that somebody stands by, by its digest, and the key that signed it, if any."""

    signoff_id: int
    part: Part
    signer: str
    text_version: int
    statement_sha256: str
    items: int
    strength: Strength
    signed_at: datetime
    key_fingerprint: Annotated[str | None, Unset] = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a review, or a note about one of its items; by whom and why."""

    event_id: int
    kind: EventKind
    by: str
    reason: str
    at: datetime
    item_no: Annotated[int | None, Unset] = None
