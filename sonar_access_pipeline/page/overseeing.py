"""The pages over all reviews: which there are, what they decided to remove, connections, packets.

Add here: a page that is of no single review. Its address stands in `routes.py`, its words in
`templates/`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from sonar_access_pipeline.access.review.facts import is_same
from sonar_access_pipeline.access.roles import May, organizations_of
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.offline import listed
from sonar_access_pipeline.evidence.seal import SUMS, path_of, sums_of
from sonar_access_pipeline.page.asking import Answer, Ask, File, RefusedError, Shown, pseudonym
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.ledger import alerts
from sonar_access_pipeline.warehouse.reviews import facts, listing

Row = Mapping[str, Any]


def home(ask: Ask) -> Answer:
    """Show the reviews in which somebody has something to do, and those that they may see."""
    seen = organizations_of(ask.visitor.roles, May.SEE_COUNTS)
    with ask.office.warehouse.read() as transaction:
        headings = listing.headings(transaction, None)
        people = listing.of_people(transaction, [one["review_id"] for one in headings])
        states = {row["review_id"]: row["state"] for row in facts.reviews(transaction)}
    mine = {row["review_id"]: row for row in people if is_same(row["reviewer"], ask.person)}
    rows = [
        {
            **one,
            "state": states[one["review_id"]],
            "mine": mine.get(one["review_id"]),
            "is_owner": ask.is_mine(one["owner"]),
            "may_count": _may_count(seen, ask, one),
            "decided": sum(
                row["decided"] for row in people if row["review_id"] == one["review_id"]
            ),
        }
        for one in headings
        if seen is None
        or one["organization_key"] in seen
        or one["review_id"] in mine
        or ask.is_mine(one["owner"])
    ]
    today = ask.office.clock().date()
    return Shown("home.html.j2", {"reviews": rows, "today": today})


def _may_count(seen: Collection[str] | None, ask: Ask, heading: Row) -> bool:
    """Tell whether somebody sees how far others are, too."""
    is_seen = seen is None or heading["organization_key"] in seen
    return is_seen or ask.is_mine(heading["owner"])


def follow_up(ask: Ask) -> Answer:
    """Show what reviews decided to remove, and what observations say of it."""
    with ask.office.warehouse.read() as transaction:
        rows = facts.follow_ups(transaction)
        mine = listing.given_to(transaction, ask.person)
        noted = chain.from_iterable(
            facts.notes(transaction, number)
            for number in sorted({row["review_id"] for row in rows})
        )
        notes = {_place(one): one for one in noted}
    shown = [
        {
            **row,
            "note": notes.get(_place(row)),
            "remove": json.loads(row["remove"]) if row["remove"] else [],
            "may_see": ask.may(May.SEE_ITEMS, row["organization_key"], is_own=_place(row) in mine),
            "may_note": ask.may(May.NOTE, row["organization_key"], is_own=_place(row) in mine),
        }
        for row in rows
        if any(
            ask.may(what, row["organization_key"], is_own=_place(row) in mine)
            for what in (May.SEE_ITEMS, May.NOTE)
        )
    ]
    if ask.query.get("pseudonyms") == "1":
        shown = [{**row, "subject": pseudonym(row["subject"])} for row in shown]
    return Shown("follow_up.html.j2", {"rows": shown})


def connections(ask: Ask) -> Answer:
    """Show the state of each connection; nothing can be changed here."""
    seen = organizations_of(ask.visitor.roles, May.SEE_CONNECTIONS)
    keys = [one for one in ask.office.organizations if seen is None or one in seen]
    with ask.office.warehouse.read() as transaction:
        problems = alerts.open_problems(transaction)
        rows = []
        for key in keys:
            observed = queries.observations(transaction, key)
            last = observed[-1] if observed else None
            rows.append(
                {
                    "key": key,
                    "last": last,
                    "idle": (ask.office.clock() - last.observed_at).days if last else None,
                    "problems": [
                        one.problem.sentence
                        for one in problems
                        if one.problem.organization_key == key
                    ],
                }
            )
    return Shown("connections.html.j2", {"rows": rows})


def packets(ask: Ask) -> Answer:
    """List the packets that may be kept, the newest first."""
    seen = organizations_of(ask.visitor.roles, May.GET_PACKETS)
    if seen is not None and not seen:
        ask.require(May.GET_PACKETS)
    keys = [one for one in ask.office.organizations if seen is None or one in seen]
    with ask.office.warehouse.read() as transaction:
        rows = list(_packets(transaction, keys))
    rows.sort(key=lambda row: row["sealed_at"], reverse=True)
    return Shown("packets.html.j2", {"rows": rows[:200], "has_store": ask.office.store is not None})


def packet(ask: Ask) -> Answer:
    """List the files of a packet, or give one."""
    digest, name = ask.path["digest"], ask.path.get("name")
    store = ask.office.store
    with ask.office.warehouse.read() as transaction:
        found = [
            row
            for row in _packets(transaction, ask.office.organizations)
            if row["digest"] == digest
        ]
    if not found or store is None:
        raise RefusedError(404, "There is no such packet.")
    row = found[0]
    ask.require(May.GET_PACKETS, row["organization_key"])
    window = Window(row["first_day"], row["last_day"])
    kind = SourceKind(row["source_kind"])
    path = path_of(row["organization_key"], window, digest, kind)
    try:
        if name is None:
            names = sorted(store.listing(path).bundles.get(path, ()))
            return Shown("packet.html.j2", {"digest": digest, "files": names, "row": row})
        body = store.read(path, name)
        sums = body if name == SUMS else store.read(path, SUMS)
    except UnreadableError as error:
        raise RefusedError(503, str(error)) from None
    except EvidenceError:
        raise RefusedError(404, "The packet has no such file.") from None
    if name != SUMS and name in listed(sums) and sums_of({name: body}).strip() not in sums:
        raise RefusedError(409, f"{name} is not what was sealed, and is not given.")
    return File(f"{digest[:12]}-{name}", body)


def _place(row: Row) -> tuple[int, int]:
    return row["review_id"], row["item_no"]


def _packets(transaction: Transaction, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the packets of some organizations."""
    for key in keys:
        for row in queries.packets(transaction, key):
            yield {**row, "organization_key": key}
