"""The read-back: what was understood of a reviewer's decisions, in words, before anybody signs.

Every removal by name, every keep that needed a reason, and how many plain keeps: what a person must
see to notice that a column was sorted alone, which no digest can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sonar_access_pipeline.access.review.deciding import Asked, Review
from sonar_access_pipeline.access.review.facts import Choice, is_same
from sonar_access_pipeline.access.review.items import Kind
from sonar_access_pipeline.access.review.statements import TEXT_VERSION, TEXTS


@dataclass(frozen=True)
class Understood:
    """A decision as it was understood: of an item, with what goes, why, and by whom it was taken,
    where that is another than whose decisions are read back.
    """

    choice: Choice
    remove: tuple[str, ...]
    reason: str
    by: str = ""


def read_back(
    review: Review, person: str, decisions: Mapping[int, Understood], undecided: Collection[int]
) -> Iterator[str]:
    """Say what was understood of a reviewer's decisions, a line each: removals first."""
    yield (
        f"Review {review.about.review_id} of {review.about.organization_key}, packet"
        f" {review.about.packet_digest[:12]}, access as of {review.about.as_of:%Y-%m-%d %H:%M} UTC."
    )
    of = [(review.asked[number], decisions[number]) for number in sorted(decisions)]
    for asked, one in of:
        if one.choice is not Choice.KEEP:
            said = f"{one.choice.value.capitalize()}: {said_of(asked)}{_gone(one)}"
            yield f"{said}. Why: {one.reason}"
    for asked, one in of:
        if one.choice is Choice.KEEP and one.reason:
            yield f"Keep: {said_of(asked)}. Why: {one.reason}"
    plain = sum(one.choice is Choice.KEEP and not one.reason for _, one in of)
    counts = ", ".join(
        f"{sum(one.choice is choice for _, one in of)} {choice.value}" for choice in Choice
    )
    yield f"{len(of)} decided by {person}: {counts}; {plain} of the keeps without a reason."
    others = Counter(one.by for _, one in of if one.by and not is_same(one.by, person))
    for other, count in sorted(others.items()):
        yield f"{count} of these were decided by {other}, before {person} was to decide them."
    if undecided:
        yield f"{len(undecided)} without a decision."


def _gone(one: Understood) -> str:
    return f": {', '.join(one.remove)} goes" if one.choice is Choice.CHANGE else ""


def said_of(asked: Asked) -> str:
    """Say what an item is about, in words with names."""
    item = asked.item
    name = f"{asked.name} ({item.subject})" if asked.name else item.subject
    if item.kind is Kind.PRIVILEGE:
        return f"{name}, {item.right} on {item.resource}"
    if item.kind is Kind.GRANT:
        rights = ", ".join(sorted({held.entitlement for held in item.held}))
        return f"what {name} may do on {item.resource} ({rights})"
    return f"{name}, the account"


def sentence_to_sign(review: Review, person: str) -> str:
    """Write the sentence that a reviewer signs."""
    count = len(review.reviewed_by(person))
    items = "1 item" if count == 1 else f"{count} items"
    as_of = f"{review.about.as_of:%Y-%m-%d %H:%M} UTC"
    return TEXTS[TEXT_VERSION].format(items=items, as_of=as_of)
