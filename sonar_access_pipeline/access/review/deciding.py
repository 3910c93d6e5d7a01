"""When a decision is accepted, and what all facts of a review mean together. Pure.

Facts may come in any order: what is in force is what no other fact supersedes. Only a decision
decides; silence neither keeps nor revokes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from statistics import median

from sonar_access_pipeline.access.policy import identity
from sonar_access_pipeline.access.review.classes import ChangeClass
from sonar_access_pipeline.access.review.facts import (
    Assignment,
    Choice,
    Decision,
    Event,
    EventKind,
    Part,
    SignOff,
    Strength,
    is_same,
)
from sonar_access_pipeline.access.review.items import Item, Kind
from sonar_access_pipeline.access.review.statements import (
    About,
    acknowledged_statement,
    reviewed_statement,
    statement_sha256,
)


@dataclass(frozen=True)
class Asked:
    """An item as it was shown: its number, its rights in words, what is new about it, its findings,
    and what was decided of it the last time.
    """

    item_no: int
    item: Item
    digest: str = ""
    """As it was when it was shown: it outlives the redaction of a person."""
    name: str = ""
    shown: str = ""
    change_class: ChangeClass = ChangeClass.FIRST
    findings: tuple[str, ...] = ()
    since: str = ""
    previous_decision_id: int | None = None

    @property
    def needs_reason(self) -> bool:
        """Whether even a plain keep needs a reason: a privilege, news, or a finding."""
        return (
            self.item.kind is Kind.PRIVILEGE
            or bool(self.findings)
            or self.change_class not in (ChangeClass.UNCHANGED, ChangeClass.FIRST)
        )


class ReviewState(StrEnum):
    """How far a review is. Overdue is a property of it, and no state."""

    OPEN = "open"
    DECIDED = "decided"
    SIGNED = "signed"
    ACKNOWLEDGED = "acknowledged"
    SEALED = "sealed"
    CLOSED_INCOMPLETE = "closed incomplete"
    CANCELLED = "cancelled"


OVER = frozenset({ReviewState.SEALED, ReviewState.CLOSED_INCOMPLETE, ReviewState.CANCELLED})
"""States in which nothing is decided any more."""
RUNNING = frozenset({ReviewState.OPEN, ReviewState.DECIDED, ReviewState.SIGNED})
"""States in which a review keeps the next of its series from being opened."""


@dataclass(frozen=True)
class Proposed:
    """A decision that somebody wants to take."""

    item_no: int
    choice: Choice
    by: str
    remove: tuple[str, ...] = ()
    reason: str = ""


class Review:
    """One review with all its facts: who decides what, what is in force, how far it is."""

    def __init__(
        self,
        about: About,
        asked: Iterable[Asked],
        assignments: Iterable[Assignment] = (),
        decisions: Iterable[Decision] = (),
        signoffs: Iterable[SignOff] = (),
        events: Iterable[Event] = (),
        *,
        is_restated: bool = False,
    ) -> None:
        self.about = about
        self.asked = {one.item_no: one for one in sorted(asked, key=lambda one: one.item_no)}
        self.assignments = sorted(assignments, key=lambda one: one.assignment_id)
        self.decisions = sorted(decisions, key=lambda one: one.decision_id)
        self.signoffs = sorted(signoffs, key=lambda one: one.signoff_id)
        self.events = sorted(events, key=lambda one: one.event_id)
        self.is_restated = is_restated
        """Whether its observation does not count any more."""

    @cached_property
    def reviewers(self) -> Mapping[int, Assignment]:
        """The assignment in force of each item."""
        superseded = {one.supersedes for one in self.assignments}
        return {one.item_no: one for one in self.assignments if one.assignment_id not in superseded}

    @cached_property
    def decided(self) -> Mapping[int, Decision]:
        """The decision in force of each item that has one."""
        superseded = {one.supersedes for one in self.decisions}
        return {one.item_no: one for one in self.decisions if one.decision_id not in superseded}

    @cached_property
    def undecided(self) -> list[Asked]:
        """The items that nobody has decided."""
        return [one for number, one in self.asked.items() if number not in self.decided]

    @cached_property
    def items_of(self) -> Mapping[str, list[int]]:
        """The numbers of the items of each reviewer, by what they are called in the first
        assignment.
        """
        called: dict[str, str] = {}
        of: dict[str, list[int]] = defaultdict(list)
        for number, assignment in sorted(self.reviewers.items()):
            key = assignment.reviewer.strip().casefold()
            of[called.setdefault(key, assignment.reviewer)].append(number)
        return dict(of)

    def reviewed_by(self, person: str) -> list[int]:
        """Give the numbers of the items that a person is to decide."""
        return next((numbers for one, numbers in self.items_of.items() if is_same(one, person)), [])

    def statement_of(self, person: str) -> bytes:
        """Write what a reviewer signs: each of their items, by digest, with what they decided."""
        numbers = self.reviewed_by(person)
        return reviewed_statement(
            self.about,
            [(number, self.asked[number].digest, self.decided.get(number)) for number in numbers],
        )

    @cached_property
    def unsigned(self) -> list[str]:
        """The reviewers who have not signed what is in force of their items."""
        return [one for one in self.items_of if not self.has_signed(one)]

    def has_signed(self, person: str) -> bool:
        """Tell whether a reviewer has signed what is in force of their items."""
        return identity(person) in self._signed

    @cached_property
    def _signed(self) -> frozenset[str]:
        said = {
            (identity(one.signer), one.statement_sha256)
            for one in self.signoffs
            if one.part is Part.REVIEWER
        }
        digests = {identity(one): statement_sha256(self.statement_of(one)) for one in self.items_of}
        return frozenset(one for one, digest in digests.items() if (one, digest) in said)

    @cached_property
    def acknowledgement(self) -> bytes:
        """What the owner signs: the statements of all reviewers, and the items without a
        decision.
        """
        return acknowledged_statement(
            self.about,
            sorted(statement_sha256(self.statement_of(one)) for one in self.items_of),
            [one.item_no for one in self.undecided],
        )

    @cached_property
    def is_acknowledged(self) -> bool:
        """Whether the owner signed what is in force."""
        digest = statement_sha256(self.acknowledgement)
        return any(
            one.part is Part.OWNER and one.statement_sha256 == digest for one in self.signoffs
        )

    @cached_property
    def state(self) -> ReviewState:
        """How far the review is."""
        happened = {one.kind for one in self.events}
        if EventKind.CANCELLED in happened:
            return ReviewState.CANCELLED
        if EventKind.CLOSED_INCOMPLETE in happened:
            return ReviewState.CLOSED_INCOMPLETE
        if EventKind.SEALED in happened:
            return ReviewState.SEALED
        if self.undecided:
            return ReviewState.OPEN
        if self.unsigned:
            return ReviewState.DECIDED
        return ReviewState.ACKNOWLEDGED if self.is_acknowledged else ReviewState.SIGNED

    def is_overdue(self, day: date) -> bool:
        """Tell whether the review should have been acknowledged before a day began, in UTC."""
        done = {ReviewState.ACKNOWLEDGED, ReviewState.SEALED, ReviewState.CANCELLED}
        return self.state not in done and day > self.about.due

    @cached_property
    def weakest(self) -> Strength | None:
        """The weakest way in which it is known who decided or signed; None where nobody did."""
        order = list(Strength)
        said = [
            *(one.strength for one in self.decided.values()),
            *(s.strength for s in self.signoffs),
        ]
        return max(said, key=order.index, default=None)


def refusal(review: Review, proposed: Proposed) -> str | None:
    """Say why a decision is not accepted; None where it is. One sentence with what to do.

    Whether the reviewer is whom the item is about was settled when it was assigned to them.
    """
    asked = review.asked.get(proposed.item_no)
    if asked is None:
        return _no_item(review, proposed.item_no)
    closed = not_open(review)
    if closed:
        return closed
    reviewer = review.reviewers[proposed.item_no].reviewer
    if not is_same(reviewer, proposed.by):
        return (
            f"Item {proposed.item_no} is to be decided by {reviewer}, not by {proposed.by};"
            " `review assign` gives it to somebody else."
        )
    if review.has_signed(reviewer):
        return (
            f"{reviewer} has signed; a signed decision is not changed. A new review over the same"
            " packet can decide anew."
        )
    return _of_content(asked, proposed) or _of_before(review, asked, proposed)


def _no_item(review: Review, number: int) -> str:
    return f"Review {review.about.review_id} has no item {number}; `review show` lists them."


def not_open(review: Review) -> str | None:
    """Say why nothing is decided in a review any more; None where it is open."""
    if review.state in {*OVER, ReviewState.ACKNOWLEDGED}:
        return (
            f"Review {review.about.review_id} is {review.state.value}: nothing is decided in it any"
            " more."
        )
    if review.is_restated:
        return (
            f"The observation that review {review.about.review_id} is about was corrected since it"
            " was opened; close it with `review close --cancel`, and open one over a new packet."
        )
    return None


def _of_content(asked: Asked, proposed: Proposed) -> str | None:
    number = proposed.item_no
    if proposed.choice is Choice.CHANGE:
        if not proposed.remove:
            return f"Item {number}: `change` names what goes, with --remove; it names nothing."
        unknown = set(proposed.remove) - set(removable(asked.item))
        if unknown:
            return (
                f"Item {number} has no right '{min(unknown)}'; it has:"
                f" {', '.join(removable(asked.item)) or 'none that can go alone'}."
            )
    elif proposed.remove:
        return f"Item {number}: only `change` names what goes; `{proposed.choice.value}` does not."
    if not proposed.reason.strip() and (proposed.choice is not Choice.KEEP or asked.needs_reason):
        return f"Item {number} needs a reason: {_why_reason(asked, proposed.choice)}."
    return None


def _why_reason(asked: Asked, choice: Choice) -> str:
    if choice is not Choice.KEEP:
        return f"it is to {choice.value}"
    if asked.item.kind is Kind.PRIVILEGE:
        return "it is a privilege"
    if asked.findings:
        return "it has a finding"
    return f"it is {asked.change_class.value}"


def _of_before(review: Review, asked: Asked, proposed: Proposed) -> str | None:
    """Say why a decision may not take the place of the one in force."""
    before = review.decided.get(asked.item_no)
    if before is None or before.choice is Choice.KEEP or proposed.choice is not Choice.KEEP:
        return None
    if not is_same(before.decided_by, proposed.by) and not proposed.reason.strip():
        return (
            f"Item {asked.item_no}: {before.decided_by} decided {before.choice.value}; to keep it"
            " needs a reason."
        )
    return None


def removable(item: Item) -> list[str]:
    """List what can go of an item by itself, as `change` names it: `group` and the id of a group,
    a right on a project with `on` and its key, every other right by its key.
    """
    return sorted(
        {word_of(held.access_type, held.resource, held.entitlement) for held in item.held}
    )


def word_of(access_type: str, resource: str, entitlement: str) -> str:
    """Write a right as `change` names it."""
    if access_type == "group":
        return f"group {resource}"
    return f"{entitlement} on {resource}" if access_type == "project_permission" else entitlement


def bulk_refusal(review: Review, numbers: Collection[int], at_most: int) -> str | None:
    """Say why several items may not be kept at once; None where they may: few, unchanged, not
    privileged, without a finding.
    """
    if len(numbers) > at_most:
        return (
            f"{len(numbers)} items are more than the {at_most} that may be kept at once; decide"
            " them in parts."
        )
    for number in sorted(numbers):
        asked = review.asked.get(number)
        if asked is not None and asked.needs_reason:
            return f"Item {number} is decided by itself: {_why_reason(asked, Choice.KEEP)}."
    return None


def reassignment_refusal(
    review: Review, numbers: Sequence[int], is_subject: Collection[int]
) -> str | None:
    """Say why items are not given to somebody else. `is_subject` are those that are about them."""
    closed = not_open(review)
    if closed:
        return closed
    for number in numbers:
        if number not in review.asked:
            return (
                f"Review {review.about.review_id} has no item {number}; `review show` lists them."
            )
        if number in is_subject:
            return (
                f"Item {number} is about the account of whom it would be given to; nobody decides"
                " on themselves. Name somebody else."
            )
        reviewer = review.reviewers[number].reviewer
        if review.has_signed(reviewer):
            return (
                f"{reviewer} has signed what they decided of item {number}; a signed decision is"
                " not changed. A new review over the same packet can decide anew."
            )
    return None


def signing_refusal(review: Review, person: str) -> str | None:
    """Say why a reviewer cannot sign; None where they can."""
    closed = not_open(review)
    if closed:
        return closed
    numbers = review.reviewed_by(person)
    if not numbers:
        return f"{person} has no item in review {review.about.review_id}; there is nothing to sign."
    left = [number for number in numbers if number not in review.decided]
    if left:
        return f"{person} has not decided everything yet: {_of_numbers(left).lower()}."
    if review.has_signed(person):
        return f"{person} has signed these very decisions already."
    return None


def acknowledging_refusal(review: Review, person: str) -> str | None:
    """Say why somebody cannot acknowledge a review; None where they can."""
    closed = not_open(review)
    if closed:
        return closed
    owner = review.about.owner
    if owner is None or not is_same(owner, person):
        named = owner or "whom the settings do not name: set review.owner"
        return f"Review {review.about.review_id} is acknowledged by its owner, {named}."
    if review.undecided:
        return (
            f"{_of_numbers([one.item_no for one in review.undecided])} of review"
            f" {review.about.review_id} have no decision; `review close` ends it incomplete."
        )
    if review.unsigned:
        return f"{', '.join(review.unsigned)} has not signed yet."
    if all(is_same(one, person) for one in review.items_of):
        return (
            f"{person} is the only reviewer, and nobody acknowledges their own work; give an item"
            " to somebody else with `review assign`, or name another owner."
        )
    return None


def _of_numbers(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"Item{'' if len(numbers) == 1 else 's'} {shown}{more}"


@dataclass(frozen=True)
class Quality:
    """Numbers on how one reviewer reviewed, without a verdict; None where nobody measured."""

    reviewer: str
    items: int
    undecided: int
    kept: int
    kept_share: float | None
    in_bulk: int
    largest_batch: int
    repeated_reasons: int
    median_seconds: float | None
    weakest: str | None
    reassigned: int


def quality(review: Review) -> list[Quality]:
    """Count how each reviewer reviewed, in the order of their first item."""
    return [_quality(review, one, numbers) for one, numbers in review.items_of.items()]


def _quality(review: Review, person: str, numbers: Sequence[int]) -> Quality:
    decided = [review.decided[number] for number in numbers if number in review.decided]
    kept = sum(one.choice is Choice.KEEP for one in decided)
    batches = Counter(one.batch for one in decided if one.batch)
    reasons = Counter(one.reason for one in decided if one.reason)
    seconds = [one.seconds for one in decided if one.seconds is not None]
    order = list(Strength)
    weakest = max((one.strength for one in decided), key=order.index, default=None)
    return Quality(
        reviewer=person,
        items=len(numbers),
        undecided=len(numbers) - len(decided),
        kept=kept,
        kept_share=round(kept / len(decided), 4) if decided else None,
        in_bulk=sum(batches.values()),
        largest_batch=max(batches.values(), default=0),
        repeated_reasons=sum(count for count in reasons.values() if count > 1),
        median_seconds=median(seconds) if seconds else None,
        weakest=weakest.value if weakest else None,
        reassigned=sum(review.reviewers[number].supersedes is not None for number in numbers),
    )
