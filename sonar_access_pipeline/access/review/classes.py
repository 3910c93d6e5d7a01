"""Which items are news since the last signed review of the organization: from history, and only
where both reviews read it. Pure.

Row by row, two packets differ in much that nobody did (a count that was not read then); so what is
compared is what history says of rights between the two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sonar_access_pipeline.access.review.items import Held, Item, Kind

Key = tuple[str, str, str, str]
"""What makes an item the same in two reviews: kind, subject, right, resource."""


class ChangeClass(StrEnum):
    """What is new about an item, in the order in which reviewers see them."""

    RETURNED = "returned after revoke"
    NOT_DONE = "revoke not yet done"
    GAINED_PRIVILEGE = "gained privilege"
    NEW = "new"
    GAINED = "gained"
    OTHER_PERSON = "other person behind login"
    NOT_READ_THEN = "not read then"
    LOST = "lost"
    FIRST = "not reviewed before"
    UNCHANGED = "unchanged"


ORDER = tuple(ChangeClass)


def key_of(item: Item) -> Key:
    """Give what an item is known by."""
    return (item.kind.value, item.subject, item.right, item.resource)


@dataclass(frozen=True)
class Before:
    """The last signed review: when it looked, what it read, what it asked, what was decided; and
    what history says of the time since.
    """

    as_of: datetime
    scopes: frozenset[str]
    asked: frozenset[Key]
    """What it had as items."""
    left_out: frozenset[Key] = frozenset()
    """What it had, and did not ask about."""
    decisions: Mapping[Key, int] = field(default_factory=dict)
    """The decision in force of each item."""
    demands: Mapping[Key, str] = field(default_factory=dict)
    """The state of each follow-up that is not done for good."""
    opened: Mapping[str, Collection[Held]] = field(default_factory=dict)
    """Rights that somebody, a group or `Anyone` has since, by subject."""
    ended: Collection[str] = frozenset()
    """Subjects of which some right has ended since."""
    other_people: Collection[str] = frozenset()
    """Logins that belong to another durable id since."""


PROJECTS = "project_permissions"


def change_class(item: Item, before: Before | None) -> ChangeClass:
    """Say what is new about an item. Where no signed review asked about it, nobody can say."""
    key = key_of(item)
    if before is None or key in before.left_out:
        return ChangeClass.FIRST
    demand = before.demands.get(key)
    if demand == "returned":
        return ChangeClass.RETURNED
    if demand is not None:
        return ChangeClass.NOT_DONE
    if _was_not_read(item, before):
        return ChangeClass.NOT_READ_THEN
    opened = _opened(item, before)
    if item.kind is Kind.PRIVILEGE and (opened or key not in before.asked):
        return ChangeClass.GAINED_PRIVILEGE
    if key not in before.asked:
        return ChangeClass.NEW
    if opened:
        return ChangeClass.GAINED
    if item.subject in before.other_people:
        return ChangeClass.OTHER_PERSON
    if item.kind is not Kind.PRIVILEGE and item.subject in before.ended:
        return ChangeClass.LOST
    return ChangeClass.UNCHANGED


def _was_not_read(item: Item, before: Before) -> bool:
    """Tell whether an item is of a right that the review before did not read at all."""
    is_of_projects = bool(item.held) and all(
        held.access_type == "project_permission" for held in item.held
    )
    return is_of_projects and item.kind is not Kind.ACCOUNT and PROJECTS not in before.scopes


def _opened(item: Item, before: Before) -> bool:
    """Tell whether any right of an item was gained since, where both reviews read its kind."""
    return any(
        held in item.held
        for held in before.opened.get(item.subject, ())
        if PROJECTS in before.scopes or held.access_type != "project_permission"
    )
