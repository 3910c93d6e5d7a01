"""The review that ends the demo: of the month's packet, by two people who are not there, from
opening to the sealed packet. Add here: what else of a review a newcomer should see.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256

from rich.console import Console

from sonar_access_pipeline.access.review.deciding import (
    Review,
    acknowledging_refusal,
    reassignment_refusal,
    signing_refusal,
)
from sonar_access_pipeline.access.review.facts import Channel, Choice, Part
from sonar_access_pipeline.access.review.items import Item, Kind, ReviewScope
from sonar_access_pipeline.access.review.people import items_about
from sonar_access_pipeline.access.review.statements import TEXT_VERSION
from sonar_access_pipeline.evidence.reviews import sheet
from sonar_access_pipeline.evidence.reviews.opening import Wanted, opening_of
from sonar_access_pipeline.evidence.reviews.packet import build
from sonar_access_pipeline.evidence.reviews.read_back import Understood, read_back
from sonar_access_pipeline.evidence.seal import seal_review
from sonar_access_pipeline.orchestration.opening import known_now
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.private import new_private_file
from sonar_access_pipeline.simulator.organization import Organization
from sonar_access_pipeline.terminal import print_rows, say
from sonar_access_pipeline.warehouse.ask.accounts import accounts_at
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.reviews.facts import (
    ReviewError,
    Way,
    decide,
    follow_ups,
    load,
    open_review,
    reassign,
    sign,
)

OWNER, FALLBACK = "owner@example.com", "security@example.com"
READER = "sonar-access-reader"
"""Whose token reads for us."""
FOLLOWED = ("item_no", "subject", "right", "decision", "state", "due_at")


@dataclass(frozen=True)
class Reviewed:
    """What the review demands first, and where the review's packet lies."""

    item: Item
    place: str


def review(console: Console, resources: Resources, warehouse: Warehouse, location: str) -> Reviewed:
    """Review the packet at a place: two privileges are to go, everything else stays; signed,
    acknowledged, sealed.
    """
    review_id = _opened(console, resources, warehouse, location, "demo", ReviewScope.ADMINS)
    found = _loaded(warehouse, review_id)
    to_go = sorted(found.asked, key=lambda number: _rank(found.asked[number].item))[:2]
    _refuse_self(console, resources, warehouse, found, to_go[0])
    for person in found.items_of:
        _by_sheet(console, resources, warehouse, review_id, person, to_go)
    _sign_all(resources, warehouse, review_id)
    with warehouse.read() as transaction:
        packet = build(transaction, review_id)
    place = seal_review(packet, resources.sealing(), warehouse, by=OWNER)
    return Reviewed(found.asked[to_go[0]].item, place)


def open_another(
    console: Console, resources: Resources, warehouse: Warehouse, location: str
) -> None:
    """Open a review of everybody, which waits for whoever comes to the page."""
    _opened(console, resources, warehouse, location, "waiting", ReviewScope.EVERYBODY)


def _opened(
    console: Console,
    resources: Resources,
    warehouse: Warehouse,
    location: str,
    series: str,
    scope: ReviewScope,
) -> int:
    clock = resources.clock
    store = resources.store()
    wanted = Wanted(series, scope, (clock() + timedelta(days=14)).date(), OWNER)
    files = store.get(location.removeprefix(store.place("")))
    known = known_now(resources.settings, warehouse, clock)
    with warehouse.read() as transaction:
        opening = opening_of(transaction, files, location, wanted, known, clock())
    review_id = open_review(warehouse, opening, clock)
    counts = f"{len(opening.asked)} items, {len(opening.left_out)} left out."
    say(counts, to=console, label=f"Review {review_id}:")
    return review_id


def _by_sheet(
    console: Console,
    resources: Resources,
    warehouse: Warehouse,
    review_id: int,
    person: str,
    to_go: Collection[int],
) -> None:
    """Have a stand-in fill a reviewer's sheet, read it back, and record it."""
    found = _loaded(warehouse, review_id)
    answers = {
        number: Understood(Choice.REVOKE, (), "not needed any more")
        if number in to_go
        else Understood(Choice.KEEP, (), "needed for the work")
        for number in found.items_of[person]
    }
    filled = sheet.write(found, person, answers)
    file = resources.settings.data_dir / f"sheet-{person}.xlsx"
    with new_private_file(file) as opened:
        opened.write(filled)
    say(str(file), to=console, label="Sheet:")
    read = sheet.read(found, person, filled)
    for line in read_back(found, person, read.understood, read.undecided):
        if not line.startswith("Keep: "):
            say(line, to=console, label="Read back:")
    way = Way(channel=Channel.SHEET, file_sha256=sha256(filled).hexdigest())
    policy = resources.settings.review.policy()
    decide(warehouse, review_id, read.proposals, read.seen, policy, resources.clock, way)


def take_away(organization: Organization, item: Item) -> None:
    """Do in the simulated SonarCloud what was decided: every way to a privilege goes."""
    for held in item.held:
        if held.granted_via != "direct":
            group = organization.groups[int(held.granted_via.removeprefix("group:"))]
            group.members.discard(item.subject)
        elif held.access_type == "project_permission":
            organization.projects[item.resource].users[item.subject].discard(item.right)
        else:
            organization.direct[item.subject].discard(item.right)


def show_follow_ups(console: Console, warehouse: Warehouse) -> None:
    """Print what the review demands, and what the last observation says of it."""
    with warehouse.read() as transaction:
        rows = follow_ups(transaction)
    print_rows(
        console, rows, FOLLOWED, title="What the review decided to remove, as observed since"
    )


def _loaded(warehouse: Warehouse, review_id: int) -> Review:
    with warehouse.read() as transaction:
        return load(transaction, review_id)


def _rank(item: Item) -> tuple[bool, ...]:
    """Order what can go so that as little as possible goes with it: a privilege that one grant
    alone gives comes first, on the organization before a project; the reading account's own last.
    """
    return (
        item.kind is not Kind.PRIVILEGE or item.subject == READER,
        any(held.granted_via != "direct" for held in item.held),
        item.right == "admin",
        any(held.access_type == "project_permission" for held in item.held),
    )


def _refuse_self(
    console: Console, resources: Resources, warehouse: Warehouse, found: Review, number: int
) -> None:
    """Show that nobody is given what is about them."""
    person = found.asked[number].item.subject
    about = found.about
    with warehouse.read() as transaction:
        accounts = accounts_at(transaction, about.organization_key, about.as_of, {})
    items = {one.item_no: one.item for one in found.asked.values()}
    own = items_about(items, accounts, person)
    try:
        reassign(
            warehouse,
            about.review_id,
            [number],
            person,
            by=OWNER,
            reason="as a try",
            why_not=lambda now: reassignment_refusal(now, [number], own),
            clock=resources.clock,
        )
    except ReviewError as error:
        say(str(error), to=console, label="Refused, as it must be:")


def _sign_all(resources: Resources, warehouse: Warehouse, review_id: int) -> None:
    found = _loaded(warehouse, review_id)
    parts = [(Part.REVIEWER, person) for person in found.items_of] + [(Part.OWNER, OWNER)]
    for part, person in parts:
        is_owner = part is Part.OWNER
        refusal = partial(acknowledging_refusal if is_owner else signing_refusal, person=person)
        statement = found.acknowledgement if is_owner else found.statement_of(person)
        clock = resources.clock
        sign(warehouse, review_id, part, person, TEXT_VERSION, statement, None, refusal, clock)
