"""From rows, as tables of reviews and the CSV files of their packets have them, to a review. Pure.

A field of a fact is described by its dataclass alone; here stands what a column is called that has
another name. Add here: a kind of fact.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sonar_access_pipeline.access.codec import Codec
from sonar_access_pipeline.access.review.classes import ChangeClass
from sonar_access_pipeline.access.review.deciding import Asked, Review
from sonar_access_pipeline.access.review.facts import Assignment, Decision, Event, SignOff
from sonar_access_pipeline.access.review.items import Held, Item, Kind
from sonar_access_pipeline.access.review.statements import About

Row = Mapping[str, Any]
Rows = Iterable[Row]
ABOUT = Codec(About)
ASSIGNMENTS = Codec(Assignment)
DECISIONS = Codec(Decision, called={"choice": "decision"})
SIGNOFFS = Codec(SignOff)
EVENTS = Codec(Event, called={"kind": "event", "by": "noted_by", "at": "noted_at"})


def item_of(row: Row) -> Item:
    """Make an item of its row. Raises `ValueError` or `LookupError` for one of another shape."""
    held = tuple(Held(*one) for one in json.loads(row["held"]))
    return Item(Kind(row["kind"]), row["subject"], row["right"], row["resource"], held)


def asked_of(row: Row) -> Asked:
    """Make an item as it was shown of its row. Raises as `item_of`."""
    return Asked(
        item_no=int(row["item_no"]),
        item=item_of(row),
        digest=row["item_digest"],
        name=row["name"] or "",
        shown=row["shown"],
        # What is left out has none.
        change_class=ChangeClass(row["change_class"] or ChangeClass.FIRST),
        findings=tuple(json.loads(row["findings"])),
        since=row["unchanged_since"] or "",
    )


def review_of(
    heading: Row,
    items: Rows,
    assignments: Rows,
    decisions: Rows,
    signoffs: Rows,
    events: Rows,
    *,
    is_restated: bool = False,
) -> Review:
    """Make a review of its rows; rows of what it left out are passed over.

    Raises `ValueError` or `LookupError` for rows of another shape.
    """
    return Review(
        ABOUT.of_row(heading),
        asked=map(asked_of, (row for row in items if not row["left_out_why"])),
        assignments=map(ASSIGNMENTS.of_row, assignments),
        decisions=map(DECISIONS.of_row, decisions),
        signoffs=map(SIGNOFFS.of_row, signoffs),
        events=map(EVENTS.of_row, events),
        is_restated=is_restated,
    )
