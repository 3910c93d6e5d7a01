"""The pages of one review: its items, one item, decisions, the read-back, signing, and how far it
is. A change goes through the same functions as sheet and command line.

Add here: what is done in a review. Its address stands in `routes.py`, its words in `templates/`.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sonar_access_pipeline.access.review.classes import ORDER
from sonar_access_pipeline.access.review.deciding import (
    Asked,
    Proposed,
    Review,
    acknowledging_refusal,
    bulk_refusal,
    quality,
    reassignment_refusal,
    removable,
    signing_refusal,
)
from sonar_access_pipeline.access.review.facts import (
    Basis,
    Channel,
    Choice,
    EventKind,
    Part,
)
from sonar_access_pipeline.access.review.people import items_about
from sonar_access_pipeline.access.review.statements import (
    ACKNOWLEDGED,
    TEXT_VERSION,
    statement_sha256,
)
from sonar_access_pipeline.access.roles import May
from sonar_access_pipeline.evidence.reviews.read_back import (
    Understood,
    read_back,
    sentence_to_sign,
)
from sonar_access_pipeline.page.asking import Answer, Ask, Moved, RefusedError, Shown, pseudonym
from sonar_access_pipeline.warehouse.ask.accounts import accounts_at
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.reviews import facts, listing
from sonar_access_pipeline.warehouse.reviews.facts import ReviewError, Way
from sonar_access_pipeline.warehouse.reviews.listing import Wanted

Row = Mapping[str, Any]
LONGEST_LOOK = 3600
"""Seconds after which nobody believes that an item was looked at all the time."""


@dataclass(frozen=True)
class Seen:
    """A review as whoever asks may see it: its line, whether they see every item, how it ended (if
    it did), and whether its observation was corrected since.
    """

    heading: Row
    sees_all: bool
    ended: str | None
    is_restated: bool

    @property
    def is_running(self) -> bool:
        """Whether anything can still be decided in it."""
        return self.ended is None and not self.is_restated

    @property
    def review_id(self) -> int:
        """Its number."""
        return int(self.heading["review_id"])


def _seen(ask: Ask, transaction: Transaction) -> Seen:
    try:
        heading = facts.heading_of(transaction, ask.number("review"))
    except ReviewError as error:
        raise RefusedError(404, str(error)) from None
    key = heading["organization_key"]
    return Seen(
        heading,
        sees_all=ask.may(May.SEE_ITEMS, key),
        ended=listing.ended(transaction, heading["review_id"]),
        is_restated=not facts.still_counts(transaction, key, heading["as_of"]),
    )


def items(ask: Ask) -> Answer:
    """Show the items of a review: one's own, or all where one may see them."""
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        mine = listing.counts(transaction, seen.review_id, ask.person)
        shows_all = seen.sees_all and (not mine or ask.query.get("all") == "1")
        if not shows_all and not mine:
            ask.require(May.SEE_ITEMS, seen.heading["organization_key"])
        wanted = _wanted(ask, None if shows_all else ask.person)
        rows, count = listing.items(transaction, seen.review_id, wanted)
        progress = listing.counts(transaction, seen.review_id, None) if shows_all else mine
        next_open = listing.next_open(transaction, seen.review_id, ask.person, 0)
    return Shown(
        "items.html.j2",
        {
            "heading": seen.heading,
            "is_owner": ask.is_mine(seen.heading["owner"]),
            "items": [_row(ask, one) for one in rows],
            "count": count,
            "pages": -(-count // listing.ROWS),
            "wanted": wanted,
            "progress": progress,
            "classes": [one.value for one in ORDER],
            "shows_all": shows_all,
            "has_own": bool(mine),
            "sees_all": seen.sees_all,
            "next_open": next_open,
            "at_most": ask.office.policy().bulk_at_most,
            "link": lambda page: _link(ask, page),
            "seen": seen,
            "may_decide": ask.may(May.DECIDE, is_own=True) and seen.is_running,
            "keep": _keep(ask),
        },
    )


def _wanted(ask: Ask, reviewer: str | None) -> Wanted:
    page = ask.query.get("page", "1")
    state = ask.query.get("state", "")
    return Wanted(
        reviewer=reviewer,
        state=state if state in ("open", "decided") else "",
        change_class=ask.query.get("class", ""),
        # Under pseudonyms a name is not searched for either: that would tell who is who.
        search="" if _is_pseudonymous(ask) else ask.query.get("q", "")[:200],
        page=int(page) if page.isdecimal() and len(page) < 7 else 1,
    )


def _link(ask: Ask, page: int) -> str:
    return "?" + urlencode({**ask.query, "page": page})


def _is_pseudonymous(ask: Ask) -> bool:
    return ask.query.get("pseudonyms") == "1"


def _keep(ask: Ask) -> str:
    """Give what a link to an item carries on, so that names stay hidden there too."""
    return "?pseudonyms=1" if _is_pseudonymous(ask) else ""


def _row(ask: Ask, row: Row) -> dict[str, Any]:
    """Give a row as it is shown: under a pseudonym where somebody asks for that."""
    shown = {
        **row,
        "findings": json.loads(row["findings"]),
        "remove": json.loads(row["remove"]) if row["remove"] else [],
    }
    if _is_pseudonymous(ask):
        stands = pseudonym(row["subject"])
        shown |= {"subject": stands, "name": None}
    return shown


def item(ask: Ask) -> Answer:
    """Show one item, with everything that is known of it."""
    return _item_page(ask)


def _item_page(
    ask: Ask, *, said: Mapping[str, Any] | None = None, error: str = "", status: int = 200
) -> Shown:
    number = ask.number("item")
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        row = listing.item(transaction, seen.review_id, number)
        if row is None:
            raise RefusedError(404, f"Review {seen.review_id} has no item {number}.")
        is_mine = ask.is_mine(row["reviewer"])
        ask.require(May.SEE_ITEMS, seen.heading["organization_key"], is_own=is_mine)
        asked = listing.asked(transaction, seen.review_id, number)
        before = (
            listing.decision(transaction, row["previous_decision_id"])
            if row["previous_decision_id"]
            else None
        )
        key, as_of = seen.heading["organization_key"], seen.heading["as_of"]
        since = listing.changed_since(transaction, key, row, as_of)
        notes = facts.notes(transaction, seen.review_id, number)
        done = _done(ask, transaction, seen.review_id)
    if error:
        # What is in force now stands beside it: who decides again has seen it.
        said = {**(said or {}), "seen": row["decision_id"] or ""}
    may_decide = is_mine and ask.may(May.DECIDE, is_own=True) and seen.is_running
    return Shown(
        "item.html.j2",
        {
            "heading": seen.heading,
            "item": _row(ask, row),
            "ways": row["shown"].split("; ") if row["shown"] else [],
            "removable": removable(asked.item),
            "needs_reason": asked.needs_reason,
            "before": before and {**before, "remove": json.loads(before["remove"])},
            "since": since,
            "seen": seen,
            "is_mine": is_mine,
            "may_decide": may_decide,
            "may_assign": ask.may(May.ASSIGN, key, is_own=is_mine) and seen.is_running,
            "may_note": ask.may(May.NOTE, key, is_own=is_mine),
            "notes": notes,
            "reads_projects": ask.office.reads_projects(key, as_of),
            "said": said or _said(row),
            "error": error,
            "shown": _stamp(ask, number),
            "done": done,
            "keep": _keep(ask),
        },
        status,
    )


def _done(ask: Ask, transaction: Transaction, review_id: int) -> Row | None:
    """Give the item that whoever asks has just decided, as it is now; None where there is none."""
    text = ask.query.get("done", "")
    if not text.isdecimal() or len(text) > 9:
        return None
    row = listing.item(transaction, review_id, int(text))
    return row if row and row["decision"] and ask.is_mine(row["decided_by"]) else None


def _said(row: Row) -> dict[str, Any]:
    """Give what the form shows first: what is in force, and nothing where nothing is."""
    return {
        "choice": row["decision"] or "",
        "remove": json.loads(row["remove"]) if row["remove"] else [],
        "reason": row["reason"] or "",
        "seen": row["decision_id"] or "",
    }


def _stamp(ask: Ask, number: int) -> str:
    """Write when an item was shown, so that this process alone can have written it."""
    at = f"{ask.office.clock().timestamp():.3f}"
    return f"{at}:{_mac(ask, number, at)}"


def _mac(ask: Ask, number: int, at: str) -> str:
    text = f"{ask.path['review']}:{number}:{ask.person}:{at}"
    return hmac.new(ask.office.secret, text.encode(), "sha256").hexdigest()[:24]


def _looked(ask: Ask, number: int) -> float | None:
    """Measure for how many seconds an item was looked at; None where nobody knows."""
    at, _, mac = ask.word("shown").partition(":")
    known = _mac(ask, number, at)
    if not at or not hmac.compare_digest(mac.encode(), known.encode()):
        return None
    seconds = ask.office.clock().timestamp() - float(at)
    return round(seconds, 1) if 0 <= seconds <= LONGEST_LOOK else None


def earlier(ask: Ask) -> Answer:
    """Lead to the item of one's own before one."""
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        number = listing.previous(transaction, seen.review_id, ask.person, ask.number("item"))
    return Moved(f"/r/{seen.review_id}/{number}" if number else f"/r/{seen.review_id}")


def following(ask: Ask) -> Answer:
    """Lead to the next item of one's own that has no decision."""
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        number = listing.next_open(transaction, seen.review_id, ask.person, ask.number("item"))
    return Moved(f"/r/{seen.review_id}/{number}" if number else f"/r/{seen.review_id}")


def decide(ask: Ask) -> Answer:
    """Take a decision of one item, and lead to the next that has none."""
    ask.require(May.DECIDE, is_own=True)
    number = ask.number("item")
    review_id = ask.number("review")
    remove, before = tuple(ask.form.get("remove", ())), ask.word("seen")
    said = {
        "choice": ask.word("choice"),
        "remove": remove,
        "reason": ask.word("reason"),
        "seen": before,
    }
    if said["choice"] not in {one.value for one in Choice}:
        error = "Choose keep, change or revoke."
        return _item_page(ask, said=said, error=error, status=422)
    choice = Choice(ask.word("choice"))
    proposed = Proposed(
        item_no=number,
        choice=choice,
        by=ask.person,
        remove=remove if choice is Choice.CHANGE else (),
        reason=ask.word("reason"),
    )
    seen = {number: int(before)} if before.isdecimal() and len(before) < 16 else {}
    way = Way(Channel.PAGE, ask.visitor.entry.strength, seconds=_looked(ask, number))
    office = ask.office
    try:
        facts.decide(
            office.warehouse, review_id, [proposed], seen, office.policy(), office.clock, way
        )
    except ReviewError as error:
        return _item_page(ask, said=said, error=str(error), status=409)
    with office.warehouse.read() as transaction:
        after = listing.next_open(transaction, review_id, ask.person, number)
    if after is None:
        return Moved(f"/r/{review_id}")
    return Moved(f"/r/{review_id}/{after}?done={number}")


def keep_several(ask: Ask) -> Answer:
    """Keep several items at once: few, unchanged, not privileged, without a finding."""
    ask.require(May.DECIDE, is_own=True)
    review_id = ask.number("review")
    said = (one for one in ask.form.get("item", ()) if one.isdecimal() and len(one) < 9)
    numbers = list(dict.fromkeys(map(int, said)))
    if not numbers:
        raise RefusedError(422, "Mark the items that you keep.")
    office = ask.office
    policy = office.policy()
    with office.warehouse.read() as transaction:
        _seen(ask, transaction)
        found = facts.load_for(transaction, review_id, numbers)
    theirs = [found.reviewers[number].reviewer for number in numbers if number in found.reviewers]
    if len(theirs) < len(numbers) or not all(map(ask.is_mine, theirs)):
        raise RefusedError(403, "Mark items of yours: of others you decide nothing.")
    if why_not := bulk_refusal(found, numbers, policy.bulk_at_most):
        raise RefusedError(409, why_not)
    listed = [found.asked[number] for number in numbers if number in found.asked]
    if ask.word("sure") != "yes":
        values = {"heading": found.about, "items": listed, "reason": ask.word("reason")}
        return Shown("several.html.j2", values)
    proposals = [
        Proposed(number, Choice.KEEP, ask.person, (), ask.word("reason")) for number in numbers
    ]
    way = Way(Channel.PAGE, ask.visitor.entry.strength, batch=uuid.uuid4().hex)
    _change(
        lambda: facts.decide(office.warehouse, review_id, proposals, {}, policy, office.clock, way)
    )
    return Moved(f"/r/{review_id}")


def _change(take: Callable[[], None]) -> None:
    """Write facts. Raises `RefusedError` with the sentence, where they are not accepted."""
    try:
        take()
    except ReviewError as error:
        raise RefusedError(409, str(error)) from None


def assign(ask: Ask) -> Answer:
    """Give an item to somebody else: to delegate, or to escalate to the owner."""
    number, review_id = ask.number("item"), ask.number("review")
    office = ask.office
    to, reason = ask.word("to").strip(), ask.word("reason").strip()
    with office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        row = listing.item(transaction, review_id, number)
        if row is None:
            raise RefusedError(404, f"Review {review_id} has no item {number}.")
        key = seen.heading["organization_key"]
        ask.require(May.ASSIGN, key, is_own=ask.is_mine(row["reviewer"]))
        if ask.word("escalate"):
            to = seen.heading["owner"] or ""
        accounts = accounts_at(transaction, key, seen.heading["as_of"], office.linked)
        found = facts.load_for(transaction, review_id, [number])
    if not to or not reason:
        raise RefusedError(422, "Say to whom, and why: it stands in the record.")
    about = items_about({number: found.asked[number].item}, accounts, to)
    _change(
        lambda: facts.reassign(
            office.warehouse,
            review_id,
            [number],
            to,
            by=ask.person,
            reason=reason,
            why_not=lambda now: reassignment_refusal(now, [number], about),
            clock=office.clock,
        )
    )
    return Moved(f"/r/{review_id}")


def sign_page(ask: Ask) -> Answer:
    """Read back what somebody decided, and let them sign it."""
    return _sign_page(ask)


def _sign_page(ask: Ask, error: str = "", status: int = 200) -> Shown:
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        found = facts.load(transaction, seen.review_id)
    numbers = found.reviewed_by(ask.person)
    if not numbers:
        raise RefusedError(403, "You have no item in this review, so there is nothing to sign.")
    understood = {
        number: Understood(one.choice, one.remove, one.reason, one.decided_by)
        for number, one in found.decided.items()
        if number in numbers
    }
    undecided = [number for number in numbers if number not in found.decided]
    return Shown(
        "sign.html.j2",
        {
            "heading": seen.heading,
            "lines": list(read_back(found, ask.person, understood, undecided)),
            "sentence": sentence_to_sign(found, ask.person),
            "statement": statement_sha256(found.statement_of(ask.person)),
            "why_not": signing_refusal(found, ask.person),
            "error": error,
        },
        status,
    )


def sign(ask: Ask) -> Answer:
    """Sign what was read back: these very decisions, or nothing."""
    return _signed(ask, Part.REVIEWER)


def acknowledge(ask: Ask) -> Answer:
    """Acknowledge the whole, as its owner."""
    return _signed(ask, Part.OWNER)


def _signed(ask: Ask, part: Part) -> Answer:
    review_id = ask.number("review")
    office = ask.office
    is_owner = part is Part.OWNER
    with office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        found = facts.load(transaction, review_id)
    if is_owner:
        _require_owner(ask, seen.heading)
    else:
        ask.require(May.DECIDE, is_own=bool(found.reviewed_by(ask.person)))
    statement = found.acknowledgement if is_owner else found.statement_of(ask.person)
    if ask.word("statement") != statement_sha256(statement):
        why = "It has changed since it was shown to you; read it again, then sign."
        raise RefusedError(409, why)
    refusal = acknowledging_refusal if is_owner else signing_refusal
    _change(
        lambda: facts.sign(
            office.warehouse,
            review_id,
            part,
            ask.person,
            TEXT_VERSION,
            statement,
            None,
            lambda now: refusal(now, ask.person),
            office.clock,
            ask.visitor.entry.strength,
        )
    )
    return Moved(f"/r/{review_id}/owner" if is_owner else f"/r/{review_id}/sign")


def _require_owner(ask: Ask, heading: Row) -> None:
    if not ask.is_mine(heading["owner"]):
        ask.require(May.ACKNOWLEDGE, heading["organization_key"])


def owner(ask: Ask) -> Answer:
    """Show the owner who is late, what conflicts, how it was reviewed, and what they sign."""
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        is_owner = ask.is_mine(seen.heading["owner"])
        if not is_owner:
            ask.require(May.SEE_ITEMS, seen.heading["organization_key"])
        found = facts.load(transaction, seen.review_id)
    return Shown(
        "owner.html.j2",
        {
            "heading": seen.heading,
            "state": found.state.value,
            "is_overdue": found.is_overdue(ask.office.clock().date()),
            "is_restated": found.is_restated,
            "people": _progress(found),
            "quality": quality(found),
            "conflicts": _conflicts(found),
            "is_owner": is_owner,
            "may_close": is_owner or ask.may(May.ACKNOWLEDGE, seen.heading["organization_key"]),
            "sentence": ACKNOWLEDGED[TEXT_VERSION],
            "statement": statement_sha256(found.acknowledgement),
            "why_not": acknowledging_refusal(found, ask.person),
            "undecided": len(found.undecided),
        },
    )


def _progress(found: Review) -> list[dict[str, Any]]:
    return [
        {
            "person": person,
            "items": len(numbers),
            "decided": sum(number in found.decided for number in numbers),
            "signed": person not in found.unsigned,
        }
        for person, numbers in found.items_of.items()
    ]


def _conflicts(found: Review) -> list[Asked]:
    """List the items that somebody decides by an exception, since nobody else could."""
    return [
        found.asked[number]
        for number, one in found.reviewers.items()
        if one.basis is Basis.EXCEPTION and number in found.asked
    ]


def close(ask: Ask) -> Answer:
    """End a review that is not complete."""
    with ask.office.warehouse.read() as transaction:
        _require_owner(ask, _seen(ask, transaction).heading)
    reason = ask.word("reason").strip()
    if not reason:
        raise RefusedError(422, "Say why: it stands in the record.")
    _noted(ask, EventKind.CLOSED_INCOMPLETE, reason)
    return Moved(f"/r/{ask.number('review')}/owner")


def note(ask: Ask) -> Answer:
    """Note a ticket, or anything else, about an item: it closes nothing."""
    number = ask.number("item")
    text = ask.word("text").strip()
    with ask.office.warehouse.read() as transaction:
        seen = _seen(ask, transaction)
        row = listing.item(transaction, seen.review_id, number)
    own = row is not None and ask.is_mine(row["reviewer"])
    ask.require(May.NOTE, seen.heading["organization_key"], is_own=own)
    if not text or len(text) > 1000:
        raise RefusedError(422, "Write a note of at most 1,000 characters.")
    _noted(ask, EventKind.NOTED, text, number)
    return Moved("/follow-up")


def _noted(ask: Ask, kind: EventKind, reason: str, item_no: int | None = None) -> None:
    office, review_id = ask.office, ask.number("review")
    _change(
        lambda: facts.note(
            office.warehouse,
            review_id,
            kind,
            by=ask.person,
            reason=reason,
            clock=office.clock,
            item_no=item_no,
        )
    )
