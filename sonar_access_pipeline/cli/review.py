"""`review ...`: who had access is looked at, decided on, signed, and followed up."""

from __future__ import annotations

import json
import sys
import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.cli.base import (
    by_option,
    console,
    end,
    errors,
    format_option,
    load,
    opened_warehouse,
    say,
)
from sonar_access_pipeline.cli.packets import fingerprint_option, trusted_files
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.terminal import Day, print_answer
from sonar_access_pipeline.warehouse.timeouts import WORKING

if TYPE_CHECKING:
    from sonar_access_pipeline.access.policy import ReviewPolicy
    from sonar_access_pipeline.access.review.deciding import Review
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.reviews.facts import Signature

SCOPES = ("everybody", "admins", "services")


@click.group()
def review() -> None:
    """Review access: what a sealed packet shows is decided on by people, signed, and followed up
    until an observation shows that it was done.
    """


scope_option = click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=None,
    help="What the review is about; everything else is left out, with its reason. Where it is not"
    " named: that of the series, else everybody.",
)


@review.command("plan")
@click.argument("path")
@scope_option
@click.option("--left-out", "left_out", is_flag=True, help="What is left out, instead, and why.")
@fingerprint_option
@format_option
def review_plan(
    path: str, scope: str | None, left_out: bool, fingerprints: tuple[str, ...], form: str
) -> None:
    """Show what a review of a sealed packet asks somebody to decide: each account with what is not
    privileged, each privileged right of an account, and what each group and Anyone may do. Nothing
    is stored.

    \b
    Example:  sonar-access review plan PACKET --scope admins
    """
    from sonar_access_pipeline.access.review.items import ReviewScope
    from sonar_access_pipeline.evidence.reviews.opening import asked_of, planned_of

    files = trusted_files(path, fingerprints)
    manifest = json.loads(files["manifest.json"])
    privileged = load().review.privileged
    planned = planned_of(files, ReviewScope(scope or SCOPES[0]), privileged)
    why = {one.item: one.why for one in planned.left_out}
    chosen = list(why) if left_out else planned.items
    rows = [
        {
            "item_no": one.item_no,
            "kind": one.item.kind.value,
            "subject": one.item.subject,
            "name": one.name or None,
            "right": one.item.right or None,
            "resource": one.item.resource or None,
            "has": one.shown,
            "why": why.get(one.item),
        }
        for one in asked_of(chosen, files, None)
    ]
    say(
        f"{len(planned.items)} items, {len(planned.left_out)} left out; the packet has"
        f" {manifest['counts']['accounts']} accounts.",
        to=errors,
    )
    if "project_permissions" not in manifest["as_of"]["scopes"]:
        said = "permissions on projects were not read, so none is among the items."
        say(said, label="Not known:", style="bold yellow", to=errors)
    in_table = ("item_no", "kind", "subject", "name", "right", "resource", "has")
    shown = (*in_table[:-1], "why") if left_out else in_table
    print_answer(console, rows, form, (*in_table, "why"), shown)


review_argument = click.argument("review_id", type=click.IntRange(1, 2**31 - 1))


@review.command("open")
@click.option(
    "--packet", required=True, help="The sealed packet: its folder, its address, or its digest."
)
@click.option(
    "--series", default="on-demand", show_default=True, help="The series that it belongs to."
)
@scope_option
@click.option(
    "--due", type=Day(), help="The last day on which it is in time; else as the series says."
)
@by_option
@fingerprint_option
def review_open(
    packet: str,
    series: str,
    scope: str | None,
    due: date | None,
    by: str,
    fingerprints: tuple[str, ...],
) -> None:
    """Open a review of a sealed packet: number its items, what is news first, and say who decides
    each.

    \b
    Example:  sonar-access review open --packet 3f9c1d2ab44e --due 2026-12-14 --by anna@example.com
    """
    from sonar_access_pipeline.access.review.items import ReviewScope
    from sonar_access_pipeline.evidence.reviews.opening import Wanted, opening_of
    from sonar_access_pipeline.orchestration.opening import known_now
    from sonar_access_pipeline.warehouse.reviews.facts import open_review

    settings = load()
    configured = next((one for one in settings.review.series if one.name == series), None)
    if due is None and configured is None:
        raise click.UsageError(
            f"The settings have no series '{series}', so nobody says when it is due; name --due."
        )
    in_days = timedelta(days=configured.due_days if configured else 0)
    wanted = Wanted(
        series=series,
        scope=ReviewScope(scope or (configured.scope.value if configured else SCOPES[0])),
        due=due or (_now() + in_days).date(),
        by=by,
    )
    with opened_warehouse(WORKING) as warehouse:
        path = _located(warehouse, packet)
        files = trusted_files(path, fingerprints)
        known = known_now(settings, warehouse, _now)
        with warehouse.read() as transaction:
            opening = opening_of(transaction, files, path, wanted, known, _now())
        review_id = open_review(warehouse, opening, _now)
    say(
        f"{len(opening.asked)} items, {len(opening.left_out)} left out, of the packet of"
        f" {opening.as_of:%Y-%m-%d %H:%M} UTC; due {opening.due}.",
        label=f"Review {review_id} is open:",
        style="bold green",
    )
    unclear = [one.item.subject for one in opening.assigned if one.is_unclear]
    for login in unclear:
        said = (
            f"the roster has several people who could have account {login}; link it in"
            " review.people. Until then nobody is taken for its person: the fallback reviewer"
            " decides."
        )
        say(said, label="Unclear:", style="bold yellow")
    say(f"sonar-access review show {review_id}", label="Next:")


def _now() -> datetime:
    return datetime.now(UTC)


def _located(warehouse: Warehouse, packet: str) -> str:
    """Return where a packet lies that is named by its place or by the begin of its digest."""
    from sonar_access_pipeline.warehouse.ask import queries

    if "/" in packet or Path(packet).exists():
        return packet
    with warehouse.read() as transaction:
        places = queries.packets_named(transaction, packet.lower())
    if len(places) != 1:
        what = "several packets have" if places else "no packet has"
        end(f"In the register {what} the digest {packet}; `evidence list` shows them.", FAILED)
    return places[0]


@review.command("list")
@format_option
def review_list(form: str) -> None:
    """List the reviews there are, and how far each is.

    \b
    Example:  sonar-access review list --format csv
    """
    from sonar_access_pipeline.warehouse.reviews.facts import reviews
    from sonar_access_pipeline.warehouse.views import review_status

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        rows = reviews(transaction)
    in_table = ("review_id", "organization_key", "series", "as_of", "due", "items", "undecided")
    print_answer(console, rows, form, review_status.c.keys(), (*in_table, "state"))


@review.command("show")
@review_argument
@click.option("--reviewer", help="Only the items that this person is to decide.")
@click.option("--left-out", "left_out", is_flag=True, help="What is left out, instead, and why.")
@format_option
def review_show(review_id: int, reviewer: str | None, left_out: bool, form: str) -> None:
    """Show a review: how far each reviewer is, what is news, and every item with what was decided.

    \b
    Example:  sonar-access review show 3 --reviewer anna@example.com
    """
    from sonar_access_pipeline.access.review.facts import is_same
    from sonar_access_pipeline.warehouse.reviews.facts import items
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded
    from sonar_access_pipeline.warehouse.views import review_item_status

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        found = loaded(transaction, review_id)
        rows = items(transaction, review_id)
    shown = [
        row
        for row in rows
        if (row["left_out_why"] is not None) is left_out
        and (reviewer is None or is_same(row["reviewer"] or "", reviewer))
    ]
    if form == "table":
        _say_progress(found)
    told = ("left_out_why",) if left_out else ("change_class", "reviewer", "decision", "state")
    in_table = ("item_no", "kind", "subject", "name", "right", "resource", *told)
    print_answer(console, shown, form, review_item_status.c.keys(), in_table)


def _say_progress(found: Review) -> None:
    about = found.about
    overdue = ", overdue" if found.is_overdue(_now().date()) else ""
    say(
        f"{found.state.value}{overdue}; access as of {about.as_of:%Y-%m-%d %H:%M} UTC, packet"
        f" {about.packet_digest[:12]}; due {about.due}.",
        label=f"Review {about.review_id} of {about.organization_key}:",
    )
    if found.is_restated:
        said = "the observation that it is about was retracted since."
        say(said, label="Restated:", style="bold yellow")
    for person, numbers in found.items_of.items():
        decided = sum(number in found.decided for number in numbers)
        signed = "" if person in found.unsigned else ", signed"
        say(f"{decided} of {len(numbers)} decided{signed}.", label=f"{person}:")
    news = Counter(asked.change_class.value for asked in found.asked.values())
    say("; ".join(f"{count} {what}" for what, count in news.items()), label="What is news:")
    if found.weakest is not None:
        say(found.weakest.value, label="Weakest way in which it is known who decided:")


@review.command("assign")
@review_argument
@click.option("--items", "numbers", required=True, help="Numbers of items, as 3,4,10-20.")
@click.option("--to", required=True, help="Who is to decide them: an address or a login.")
@by_option
@click.option("--reason", required=True, help="Why; it stands in the record.")
def review_assign(review_id: int, numbers: str, to: str, by: str, reason: str) -> None:
    """Give items to another reviewer: to delegate, or to escalate. Never to whom they are about.

    \b
    Example:  sonar-access review assign 3 --items 4,7 --to carl@example.com --reason "on leave"
    """
    from sonar_access_pipeline.access.review.deciding import reassignment_refusal
    from sonar_access_pipeline.warehouse.reviews.facts import reassign

    chosen = _numbers(numbers)
    with opened_warehouse(WORKING) as warehouse:
        about = _about(warehouse, review_id, to)
        reassign(
            warehouse,
            review_id,
            chosen,
            to,
            by=by,
            reason=reason,
            why_not=lambda now: reassignment_refusal(now, chosen, about),
            clock=_now,
        )
    say(f"{len(chosen)} to {to}.", label="Assigned:", style="bold green")


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    try:
        for part in text.replace(" ", "").split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        raise click.UsageError(f"'{text}' are no numbers of items; write 3,4,10-20.") from None
    return list(dict.fromkeys(found))


def _about(warehouse: Warehouse, review_id: int, person: str) -> set[int]:
    """Find the items of a review that are about a person, by everything that is known of their
    accounts.
    """
    from sonar_access_pipeline.access.review.people import items_about
    from sonar_access_pipeline.warehouse.ask.accounts import accounts_at
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    linked = load().review.people
    with warehouse.read() as transaction:
        found = loaded(transaction, review_id)
        about = found.about
        accounts = accounts_at(transaction, about.organization_key, about.as_of, linked)
    return items_about({number: one.item for number, one in found.asked.items()}, accounts, person)


@review.command("decide")
@review_argument
@click.argument("numbers", metavar="ITEM")
@click.argument("choice", type=click.Choice(["keep", "change", "revoke"]))
@by_option
@click.option("--remove", multiple=True, help="Of a change: a right that is to go; repeatable.")
@click.option("--reason", default="", help="Why: needed for all but a plain keep.")
def review_decide(
    review_id: int, numbers: str, choice: str, by: str, remove: tuple[str, ...], reason: str
) -> None:
    """Decide one item; or keep several at once, as 3,4,10-20, where they are unchanged, are no
    privileges and have no finding.

    \b
    Example:  sonar-access review decide 3 17 revoke --by anna@example.com --reason "left the team"
    """
    from sonar_access_pipeline.access.review.deciding import Proposed, bulk_refusal
    from sonar_access_pipeline.access.review.facts import Choice
    from sonar_access_pipeline.warehouse.reviews.facts import Way, decide
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    chosen = _numbers(numbers)
    if len(chosen) > 1 and choice != "keep":
        raise click.UsageError("Only `keep` is decided of several items at once; name one item.")
    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            found = loaded(transaction, review_id)
        policy = _policy_now(warehouse)
        why_not = bulk_refusal(found, chosen, policy.bulk_at_most) if len(chosen) > 1 else None
        if why_not:
            end(why_not, FAILED)
        decide(
            warehouse,
            review_id,
            [Proposed(number, Choice(choice), by, remove, reason) for number in chosen],
            {number: one.decision_id for number, one in found.decided.items()},
            policy,
            _now,
            Way(batch=uuid.uuid4().hex if len(chosen) > 1 else None),
        )
    what = f"Item {chosen[0]}" if len(chosen) == 1 else f"{len(chosen)} items"
    say(f"{choice}, by {by} (declared).", label=f"{what}:", style="bold green")


def _policy_now(warehouse: Warehouse) -> ReviewPolicy:
    from sonar_access_pipeline.warehouse.ledger.policies import policy_at

    with warehouse.read() as transaction:
        return policy_at(transaction, _now()).policy.review


key_option = click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An OpenSSH Ed25519 private key of who signs; without one it is declared only.",
)


@review.command("sign")
@review_argument
@by_option
@key_option
def review_sign(review_id: int, by: str, key: Path | None) -> None:
    """Sign what you decided: it is read back first, every removal by name.

    With a key it is an SSH signature (namespace sonar-access-review) that `ssh-keygen -Y verify`
    checks; without one it is declared, and said so wherever it stands.

    \b
    Example:  sonar-access review sign 3 --by anna@example.com --key ~/.ssh/id_ed25519
    """
    from sonar_access_pipeline.access.review.deciding import signing_refusal
    from sonar_access_pipeline.evidence.reviews.read_back import (
        Understood,
        read_back,
        sentence_to_sign,
    )
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            found = loaded(transaction, review_id)
        if why_not := signing_refusal(found, by):
            end(why_not, FAILED)
        numbers = found.reviewed_by(by)
        decided = {number: found.decided[number] for number in numbers}
        understood = {
            number: Understood(one.choice, one.remove, one.reason, one.decided_by)
            for number, one in decided.items()
        }
        for line in read_back(found, by, understood, ()):
            say(line)
        _confirm(sentence_to_sign(found, by))
        _signed(warehouse, found, "reviewer", by, key)


def _confirm(sentence: str) -> None:
    """Show what is signed; ask at a terminal whether that is so."""
    if not sys.stdin.isatty():
        say(sentence, label="Signed:")
        return
    say(sentence, label="To sign:")
    click.confirm("Is that so?", abort=True)


@review.command("acknowledge")
@review_argument
@by_option
@key_option
def review_acknowledge(review_id: int, by: str, key: Path | None) -> None:
    """Acknowledge the whole, as its owner: who reviewed what, and what is to be removed by when.

    Refused to the only reviewer: nobody acknowledges their own work.

    \b
    Example:  sonar-access review acknowledge 3 --by owner@example.com --key ~/.ssh/id_ed25519
    """
    from sonar_access_pipeline.access.review.deciding import acknowledging_refusal
    from sonar_access_pipeline.access.review.statements import ACKNOWLEDGED, TEXT_VERSION
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            found = loaded(transaction, review_id)
        if why_not := acknowledging_refusal(found, by):
            end(why_not, FAILED)
        _say_progress(found)
        _confirm(ACKNOWLEDGED[TEXT_VERSION])
        _signed(warehouse, found, "owner", by, key)


def _signed(warehouse: Warehouse, found: Review, part: str, by: str, key: Path | None) -> None:
    """Enter the sign-off of a statement, with a signature where there is a key."""
    from sonar_access_pipeline.access.review.deciding import acknowledging_refusal, signing_refusal
    from sonar_access_pipeline.access.review.facts import Part
    from sonar_access_pipeline.access.review.statements import TEXT_VERSION, statement_sha256
    from sonar_access_pipeline.warehouse.reviews.facts import sign

    is_owner = part == Part.OWNER.value
    refusal = acknowledging_refusal if is_owner else signing_refusal
    statement = found.acknowledgement if is_owner else found.statement_of(by)
    signature = _signature(statement, key) if key else None
    sign(
        warehouse,
        found.about.review_id,
        Part(part),
        by,
        TEXT_VERSION,
        statement,
        signature,
        lambda now: refusal(now, by),
        _now,
    )
    how = f"signed with {signature.key_fingerprint}" if signature else "declared, without a key"
    digest = statement_sha256(statement)
    say(f"statement {digest[:12]}, {how}.", label="Recorded:", style="bold green")


def _signature(statement: bytes, key: Path) -> Signature:
    from sonar_access_pipeline.evidence.signers import REVIEWS, signer_of
    from sonar_access_pipeline.warehouse.reviews.facts import Signature

    signer = signer_of(str(key), load().data_dir)
    return Signature(signer.sign(statement, REVIEWS), signer.key.fingerprint)


@review.command("follow-up")
@click.argument("review_id", type=click.IntRange(1, 2**31 - 1), required=False)
@format_option
def review_follow_up(review_id: int | None, form: str) -> None:
    """Show what reviews decided to remove, and what observations since say of it: of one review, or
    of all.

    \b
    Example:  sonar-access review follow-up --format csv
    """
    from sonar_access_pipeline.warehouse.reviews.facts import follow_ups
    from sonar_access_pipeline.warehouse.views import follow_up

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        rows = follow_ups(transaction, review_id=review_id)
    in_table = ("review_id", "item_no", "subject", "right", "resource", "decision", "state")
    print_answer(console, rows, form, follow_up.c.keys(), (*in_table, "due_at", "first_not_shown"))


@review.command("note")
@review_argument
@click.argument("item_no", metavar="ITEM", type=click.IntRange(1, 2**31 - 1))
@click.argument("text")
@by_option
def review_note(review_id: int, item_no: int, text: str, by: str) -> None:
    """Note something about an item, such as the ticket by which a right is taken away. A note
    closes nothing: only an observation does.

    \b
    Example:  sonar-access review note 3 17 "SEC-204, in the identity provider's group"
    """
    from sonar_access_pipeline.access.review.facts import EventKind
    from sonar_access_pipeline.warehouse.reviews.facts import note

    with opened_warehouse(WORKING) as warehouse:
        note(
            warehouse,
            review_id,
            EventKind.NOTED,
            by=by,
            reason=text,
            clock=_now,
            item_no=item_no,
        )
    say(f"about item {item_no} of review {review_id}.", label="Noted:", style="bold green")


@review.command("close")
@review_argument
@by_option
@click.option("--reason", required=True, help="Why; it stands in the record.")
@click.option("--cancel", is_flag=True, help="It is no review at all: nothing is demanded by it.")
def review_close(review_id: int, by: str, reason: str, cancel: bool) -> None:
    """End a review that is not complete, and print what nobody decided. It is no review in time.

    \b
    Example:  sonar-access review close 3 --reason "the team was dissolved, see SEC-31"
    """
    from sonar_access_pipeline.access.review.facts import EventKind
    from sonar_access_pipeline.evidence.reviews.read_back import said_of
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded
    from sonar_access_pipeline.warehouse.reviews.facts import note

    kind = EventKind.CANCELLED if cancel else EventKind.CLOSED_INCOMPLETE
    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            found = loaded(transaction, review_id)
        for asked in found.undecided:
            say(said_of(asked), label=f"Undecided {asked.item_no}:")
        note(warehouse, review_id, kind, by=by, reason=reason, clock=_now)
    say(f"{kind.value}; {len(found.undecided)} items undecided.", label=f"Review {review_id}:")


@review.command("sheet")
@review_argument
@click.option("--reviewer", required=True, help="Whose items: an address or a login.")
@click.option(
    "--to",
    "file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The workbook to write; it must not be there.",
)
def review_sheet(review_id: int, reviewer: str, file: Path) -> None:
    """Write one reviewer's sheet: what is news first, protected but for the answers.

    \b
    Example:  sonar-access review sheet 3 --reviewer anna@example.com --to anna.xlsx
    """
    from sonar_access_pipeline.evidence.reviews import sheet
    from sonar_access_pipeline.private import new_private_file
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        found = loaded(transaction, review_id)
    body = sheet.write(found, reviewer)
    try:
        with new_private_file(file) as opened:
            opened.write(body)
    except OSError as error:
        end(f"{file} cannot be written: {error.strerror}.", FAILED)
    count = len(found.reviewed_by(reviewer))
    say(f"{count} items, in {file}.", label="Sheet:", style="bold green")
    say(f"sonar-access review read {review_id} {file} --from {reviewer}", label="When filled in:")


@review.command("read")
@review_argument
@click.argument("file")
@click.option("--from", "person", required=True, help="Whose sheet it is: an address or a login.")
@click.option("--record", is_flag=True, help="Record what was read; without it nothing is written.")
def review_read(review_id: int, file: str, person: str, record: bool) -> None:
    """Read a sheet that was filled in, and read back what was understood: every removal by name.
    Look at it before you record it: a column that was sorted alone is seen there, and nowhere else.
    FILE is a workbook here, or inbox/NAME of the evidence store.

    \b
    Example:  sonar-access review read 3 anna.xlsx --from anna@example.com --record
    """
    import hashlib

    from sonar_access_pipeline.access.review.facts import Channel
    from sonar_access_pipeline.evidence.reviews import sheet
    from sonar_access_pipeline.evidence.reviews.read_back import read_back
    from sonar_access_pipeline.warehouse.reviews.facts import Way, decide
    from sonar_access_pipeline.warehouse.reviews.facts import load as loaded

    body = _sheet(file)
    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            found = loaded(transaction, review_id)
        filled = sheet.read(found, person, body)
        for line in read_back(found, person, filled.understood, filled.undecided):
            say(line)
        if not record:
            say("add --record if this is what was meant.", label="Nothing is recorded:")
            return
        way = Way(channel=Channel.SHEET, file_sha256=hashlib.sha256(body).hexdigest())
        policy = _policy_now(warehouse)
        decide(warehouse, review_id, filled.proposals, filled.seen, policy, _now, way)
    count = len(filled.proposals)
    say(f"{count} decisions, as declared by {person}.", label="Recorded:", style="bold green")
    say(f"sonar-access review sign {review_id} --by {person}", label="Next:")


def _sheet(file: str) -> bytes:
    """Read a workbook: one of this machine, else of the evidence store's inbox."""
    from sonar_access_pipeline.evidence.reviews.sheet import INBOX
    from sonar_access_pipeline.evidence.stores import store_of

    path = Path(file)
    if not path.is_file() and path.parent == Path(INBOX):
        return store_of(load().evidence).read(INBOX, path.name)
    try:
        return path.read_bytes()
    except OSError as error:
        end(f"{file} cannot be read: {error.strerror}.", FAILED)


@review.command("seal")
@review_argument
@by_option
def review_seal(review_id: int, by: str) -> None:
    """Seal what is acknowledged as a packet of its own, beside the packets of access: items,
    assignments, every decision, statements with their signatures. `evidence verify` checks it.

    \b
    Example:  sonar-access review seal 3
    """
    from sonar_access_pipeline.evidence.reviews.packet import build
    from sonar_access_pipeline.evidence.seal import seal_review
    from sonar_access_pipeline.orchestration.resources import Resources

    resources = Resources(load())
    with opened_warehouse(WORKING) as warehouse:
        with warehouse.read() as transaction:
            packet = build(transaction, review_id)
        place = seal_review(packet, resources.sealing(), warehouse, by=by)
    say(place, label="Sealed:", style="bold green")
    say(f"sonar-access evidence verify {place}", label="Check it:")
