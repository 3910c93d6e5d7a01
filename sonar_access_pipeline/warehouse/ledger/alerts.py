"""What the warehouse knows of syncs that went wrong, the alerts that were raised about them, and
their way to the channels.

It survives Dagster's own retention: what is open, what was told and what was not taken yet is read
from here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import product, takewhile
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, update

from sonar_access_pipeline.access.brake import what_to_decide
from sonar_access_pipeline.access.calendar import Calendar
from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.ledger import Entry, Event, Message, Open, numbered
from sonar_access_pipeline.alerts.problems import Attempt, Problem, SyncFacts, Waiting
from sonar_access_pipeline.alerts.retries import Tried
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Transaction, Warehouse
from sonar_access_pipeline.warehouse.raw.snapshots import RECORDING
from sonar_access_pipeline.warehouse.schema import (
    alert,
    alert_delivery,
    evidence_packet,
    organization_end,
    raw_snapshot,
    snapshot_decision,
    sync_attempt,
    watch_look,
)
from sonar_access_pipeline.warehouse.views import observation, sync_coverage

ALERTING = "alerting"
"""The lock under which alerts are written."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
"""Between tries to deliver: each pause is twice the one before."""
CLAIM = timedelta(minutes=2)
"""How long a message is left to whoever sends it: if they are killed, another one does."""
STILL = ("raised", "repeated")
"""The last event of a problem that is open."""


def sync_facts(transaction: Transaction, organization_key: str, expected: Expected) -> SyncFacts:
    """Find how the syncs of an organization stand."""
    shown = observation.c
    last = transaction.execute(
        select(shown.observed_at, shown.partition_date)
        .where(shown.organization_key == organization_key)
        .order_by(shown.observed_at.desc())
        .limit(1)
    ).one_or_none()
    heard = _last_heard(transaction, organization_key)
    observed_at = last.observed_at if last else None
    due = _due_days(transaction, organization_key, expected)
    is_missing = bool(due) and (last is None or last.partition_date < due[-1])
    attempt = _last_attempt(transaction, organization_key, observed_at)
    if (
        attempt
        and last
        and attempt.cause is Cause.CANCELLED
        and attempt.partition_date == last.partition_date
    ):
        # Somebody cancelled what the day did not need.
        attempt = None
    return SyncFacts(
        last_attempt=attempt,
        held=_waiting(transaction, organization_key, observed_at),
        missing_day=due[-1] if is_missing else None,
        missing_reason=_reason(transaction, organization_key, due[-1]) if is_missing else None,
        gaps=tuple(_untold(transaction, organization_key, expected.connection, due)),
        last_heard_at=heard["observed_at"] if heard else None,
        token_expires_on=_token_expires_on(heard) if heard else None,
    )


def standing(transaction: Transaction, organization_key: str, due_day: date) -> list[str]:
    """List what is wrong with an organization by the warehouse alone, alert or not: one sentence
    each.
    """
    view = sync_coverage.c
    days = transaction.execute(
        select(view.partition_date, view.status)
        .where(view.organization_key == organization_key)
        .order_by(view.partition_date.desc())
    ).all()
    due = [day for day in days if day.partition_date <= due_day]
    lost = list(takewhile(lambda day: day.status != "observed", due))
    sentences = []
    if not days:
        sentences.append(f"{organization_key} was never read, and nothing tried to.")
    elif lost:
        were = "1 day was" if len(lost) == 1 else f"{len(lost)} days were"
        sentences.append(
            f"{were} not observed of {organization_key}, from {lost[-1].partition_date} to"
            f" {lost[0].partition_date}."
        )
    for row in queries.held(transaction, organization_key):
        sentences.append(
            f"Snapshot {row['snapshot_id']} of {organization_key}, {row['partition_date']}, is held"
            f" and waits for a person: {row['reason']}."
        )
    return sentences


def note_look(transaction: Transaction, home: str, now: datetime) -> None:
    """Note that the watch of a deployment looked."""
    seen = update(watch_look).where(watch_look.c.home == home).values(looked_at=now)
    if not transaction.execute(seen).rowcount:
        transaction.execute(insert(watch_look).values(home=home, looked_at=now))


def last_look(transaction: Transaction) -> datetime | None:
    """Return the time of the last look of any watch, or None where none ever looked."""
    return transaction.execute(select(func.max(watch_look.c.looked_at))).scalar()


@dataclass(frozen=True)
class Expected:
    """The days on which a connection was expected to be observed: due by now, and not yet looked at
    after `looked_until`.

    `since` is when it began to be watched, should it never have been read.
    """

    connection: str
    calendar: Calendar
    due_day: date
    since: date
    looked_until: date


def _due_days(transaction: Transaction, organization_key: str, expected: Expected) -> list[date]:
    """List the days that became due since the last look, with the last due day among them in any
    case, but no days before there is history.
    """
    snapshots = raw_snapshot.c
    ends = organization_end.c
    first, last = transaction.execute(
        select(func.min(snapshots.partition_date), func.max(snapshots.partition_date)).where(
            snapshots.organization_key == organization_key
        )
    ).one()
    ended = transaction.execute(
        select(func.max(ends.last_day)).where(ends.organization_key == organization_key)
    ).scalar()
    if ended is not None and (last is None or last <= ended < expected.due_day):
        return []
    begin = max(
        min(expected.looked_until + timedelta(days=1), expected.due_day),
        first or expected.since + timedelta(days=1),
    )
    return expected.calendar.expected(begin, expected.due_day)


def _untold(
    transaction: Transaction, organization_key: str, connection: str, days: Sequence[date]
) -> list[date]:
    """Those of some days that were not observed, and that no alert told of, or will when it says
    that a problem is over.
    """
    shown = observation.c
    seen = select(shown.partition_date).where(
        shown.organization_key == organization_key, shown.partition_date.in_(days)
    )
    known = set(transaction.execute(seen).scalars())
    left = [day for day in days if day not in known]
    if not left:
        return []
    told: list[tuple[date, date]] = []
    since: date | None = None
    rows = transaction.execute(
        select(alert.c.problem, alert.c.event, alert.c.partition_date, alert.c.noted_at)
        .where(
            alert.c.problem.in_([f"{connection}:sync", f"{connection}:gap"]),
            alert.c.partition_date.is_not(None),
        )
        .order_by(alert.c.alert_id)
    )
    for row in rows:
        if row.problem.endswith(":gap"):
            told.append((row.partition_date, row.partition_date))
        elif row.event not in STILL:
            told.append((since or row.partition_date, row.noted_at.date()))
            since = None
        else:
            since = since or row.partition_date
    if since is not None:
        told.append((since, date.max))
    return [day for day in left if not any(first <= day <= last for first, last in told)]


def _last_heard(transaction: Transaction, organization_key: str) -> RowMapping | None:
    table = raw_snapshot.c
    return (
        transaction.execute(
            select(table.observed_at, table.started_at, table.counts)
            .where(table.organization_key == organization_key, table.imported_from.is_(None))
            .order_by(table.observed_at.desc())
            .limit(1)
        )
        .mappings()
        .one_or_none()
    )


def _token_expires_on(heard: RowMapping) -> date | None:
    left = json.loads(heard["counts"]).get("own_token_expires_in_days")
    day: date = heard["started_at"].date()
    return day + timedelta(days=left) if left is not None else None


def _last_attempt(
    transaction: Transaction, organization_key: str, observed_at: datetime | None
) -> Attempt | None:
    """Return the last try that ended, unless an observation came after it."""
    table = sync_attempt.c
    row = transaction.execute(
        select(sync_attempt)
        .where(table.organization_key == organization_key, table.ended_at.is_not(None))
        .order_by(table.attempt_id.desc())
        .limit(1)
    ).one_or_none()
    if row is None or (observed_at is not None and row.ended_at < observed_at):
        return None
    return Attempt(
        row.partition_date,
        row.run_id,
        row.outcome,
        Cause(row.cause) if row.cause else None,
        row.error,
    )


def _waiting(
    transaction: Transaction, organization_key: str, observed_at: datetime | None
) -> Waiting | None:
    table = raw_snapshot.c
    query = (
        select(raw_snapshot)
        .where(
            table.organization_key == organization_key,
            table.verdict == Verdict.HELD.value,
            table.snapshot_id.not_in(select(snapshot_decision.c.snapshot_id)),
        )
        .order_by(table.observed_at.desc())
        .limit(1)
    )
    if observed_at is not None:
        query = query.where(table.observed_at > observed_at)
    row = transaction.execute(query).one_or_none()
    if row is None:
        return None
    sentence = (
        f"Snapshot {row.snapshot_id} is held: {row.reason}. {what_to_decide(row.snapshot_id)}"
    )
    return Waiting(row.partition_date, row.run_id, sentence)


def _reason(transaction: Transaction, organization_key: str, day: date) -> str | None:
    """Say why a day was not observed, according to its last try."""
    table = sync_attempt.c
    last = transaction.execute(
        select(table.error)
        .where(table.organization_key == organization_key, table.partition_date == day)
        .order_by(table.attempt_id.desc())
        .limit(1)
    ).one_or_none()
    return "nothing tried to" if last is None else last.error


def gaps_since(
    transaction: Transaction, organization_key: str, day: date, until: date
) -> list[date]:
    """List the days from `day` to before `until` that stay gaps."""
    return (
        queries.missing_days(transaction, organization_key, day, until - timedelta(days=1))
        if day < until
        else []
    )


def attempts_of(
    transaction: Transaction, organization_key: str, day: date
) -> list[tuple[str, Tried]]:
    """Return the tries of a day with their runs, oldest first.

    Whether a run did all the rest of its work is not known here.
    """
    table = sync_attempt.c
    rows = transaction.execute(
        select(sync_attempt)
        .where(table.organization_key == organization_key, table.partition_date == day)
        .order_by(table.attempt_id)
    )
    return [
        (
            row.run_id,
            Tried(
                row.ended_at,
                Cause(row.cause) if row.cause else None,
                done=row.outcome == Verdict.COMPLETE.value,
            ),
        )
        for row in rows
    ]


def outcomes_of(transaction: Transaction, run_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the outcomes of the tries of runs; a run that noted no try is left out."""
    table = sync_attempt.c
    rows = transaction.execute(
        select(table.run_id, table.outcome)
        .where(table.run_id.in_(run_ids))
        .order_by(table.attempt_id)
    )
    return {row.run_id: row.outcome for row in rows}


def unended_runs(
    transaction: Transaction, connections: Iterable[str]
) -> list[tuple[str, datetime]]:
    """Return the runs of these connections' tries that have no end, with the time each began: they
    go on, or were killed.
    """
    table = sync_attempt.c
    mine = (table.ended_at.is_(None), table.connection.in_(list(connections)))
    return [
        (row.run_id, row.started_at)
        for row in transaction.execute(select(table.run_id, table.started_at).where(*mine))
    ]


def sealed_since(
    transaction: Transaction,
    organization_key: str,
    first_day: date,
    last_day: date,
    since: datetime,
) -> bool:
    """Tell whether a window got a packet after a time, whoever made it."""
    table = evidence_packet.c
    query = select(table.packet_id).where(
        table.organization_key == organization_key,
        table.first_day == first_day,
        table.last_day == last_day,
        table.sealed_at > since,
    )
    return transaction.execute(query.limit(1)).one_or_none() is not None


def recovered_before(transaction: Transaction, groups: Iterable[str]) -> dict[str, list[Problem]]:
    """Find, by group, the problems that were over before the rest of their group, and of whose end
    nobody was told yet.
    """
    recoveries: dict[str, list[Problem]] = {}
    for group in set(groups):
        of_it = (alert.c.shared_with == group, alert.c.event == Event.RECOVERED.value)
        last = (
            transaction.execute(
                select(func.max(alert.c.alert_id)).where(*of_it, alert.c.message_id.is_not(None))
            ).scalar()
            or 0
        )
        rows = transaction.execute(
            select(alert).where(*of_it, alert.c.alert_id > last).order_by(alert.c.alert_id)
        ).mappings()
        recoveries[group] = [_problem(row) for row in rows]
    return recoveries


def end_killed_attempt(
    warehouse: Warehouse, run_id: str, ended_at: datetime, cause: Cause, error: str
) -> None:
    """Note the end of a try whose process could not do so itself."""
    table = sync_attempt.c
    with warehouse.write(RECORDING) as transaction:
        transaction.execute(
            update(sync_attempt)
            .where(table.run_id == run_id, table.ended_at.is_(None))
            .values(ended_at=ended_at, outcome="failed", cause=cause.value, error=error)
        )


def call_cancelled(warehouse: Warehouse, run_id: str, error: str) -> None:
    """Say of a try that was stopped from outside that a person did it: Dagster knows, its process
    did not.
    """
    table = sync_attempt.c
    with warehouse.write(RECORDING) as transaction:
        transaction.execute(
            update(sync_attempt)
            .where(
                table.run_id == run_id, table.cause.in_([Cause.LOST.value, Cause.UNEXPECTED.value])
            )
            .values(cause=Cause.CANCELLED.value, error=error)
        )


def note_attempt(
    warehouse: Warehouse,
    *,
    connection: str,
    organization_key: str,
    partition_date: date,
    run_id: str,
    at: datetime,
    cause: Cause,
    error: str,
) -> None:
    """Note a try that never came to note itself, once."""
    with warehouse.write(RECORDING) as transaction:
        if run_id in outcomes_of(transaction, [run_id]):
            return
        transaction.execute(
            insert(sync_attempt).values(
                connection=connection,
                organization_key=organization_key,
                partition_date=partition_date,
                run_id=run_id,
                started_at=at,
                ended_at=at,
                outcome="failed",
                cause=cause.value,
                error=error,
            )
        )


def open_problems(transaction: Transaction) -> list[Open]:
    """Return every problem that was raised and is not over, sorted by its key."""
    last = select(func.max(alert.c.alert_id)).group_by(alert.c.problem)
    rows = transaction.execute(
        select(alert.c.problem).where(alert.c.alert_id.in_(last), alert.c.event.in_(STILL))
    )
    keys = list(rows.scalars())
    query = select(alert).where(alert.c.problem.in_(keys)).order_by(alert.c.alert_id)
    by_key: dict[str, list[RowMapping]] = defaultdict(list)
    for row in transaction.execute(query).mappings() if keys else ():
        if row["event"] not in STILL:
            by_key[row["problem"]] = []
        else:
            by_key[row["problem"]].append(row)
    return [_open(by_key[key]) for key in sorted(by_key)]


def _open(said: Sequence[RowMapping]) -> Open:
    """Make it of its rows since it was raised: it is about the first day, and as it was told
    last.
    """
    last = said[-1]
    problem = replace(_problem(last), day=said[0]["partition_date"], since=said[0]["noted_at"])
    # What was written without being told does not put off the next repetition.
    said_at = next(row["noted_at"] for row in said if row["message_id"] == last["message_id"])
    return Open(
        problem, said_at, last["message_id"], frozenset(Cause(row["cause"]) for row in said)
    )


def _problem(row: RowMapping) -> Problem:
    return Problem(
        key=row["problem"],
        cause=Cause(row["cause"]),
        group=row["shared_with"],
        sentence=row["sentence"],
        connection=row["connection"],
        organization_key=row["organization_key"],
        day=row["partition_date"],
        run_id=row["run_id"],
        told_once=row["told_once"],
    )


def note(
    transaction: Transaction,
    entries: Sequence[Entry],
    messages: Sequence[Message],
    channels: Iterable[str],
    now: datetime,
) -> list[Entry]:
    """Write down what happened to problems, and put every message on its way to every channel; the
    entries with their messages.

    The caller holds the lock `ALERTING` and commits: what is written is told, sooner or later.
    """
    if not entries:
        return []
    last = transaction.execute(select(func.max(alert.c.message_id))).scalar() or 0
    written = numbered(entries, messages, last + 1)
    transaction.execute(insert(alert), [_row(entry, now) for entry in written])
    deliveries = [
        {
            "message_id": number,
            "channel": channel,
            "title": message.title,
            "body": message.text,
            "made_at": now,
            "tries": 0,
            "next_try_at": now,
        }
        for (number, message), channel in product(enumerate(messages, last + 1), channels)
    ]
    if deliveries:
        transaction.execute(insert(alert_delivery), deliveries)
    return written


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    problem = entry.problem
    return {
        "problem": problem.key,
        "event": entry.event.value,
        "cause": problem.cause.value,
        "shared_with": problem.group,
        "connection": problem.connection,
        "organization_key": problem.organization_key,
        "partition_date": problem.day,
        "run_id": problem.run_id,
        "told_once": problem.told_once,
        "sentence": problem.sentence,
        "noted_at": now,
        "message_id": entry.message_id,
    }


@dataclass(frozen=True)
class Delivery:
    """One message on its way to one channel."""

    message_id: int
    channel: str
    title: str
    text: str
    tries: int
    next_try_at: datetime


def undelivered(transaction: Transaction, channels: Iterable[str]) -> dict[str, list[Delivery]]:
    """List what each channel has not taken yet, in the order it was said."""
    table = alert_delivery.c
    query = select(alert_delivery).where(
        table.delivered_at.is_(None), table.channel.in_(list(channels))
    )
    deliveries: dict[str, list[Delivery]] = defaultdict(list)
    for row in transaction.execute(query.order_by(table.message_id)):
        deliveries[row.channel].append(
            Delivery(row.message_id, row.channel, row.title, row.body, row.tries, row.next_try_at)
        )
    return deliveries


def claimed(warehouse: Warehouse, delivery: Delivery, now: datetime) -> bool:
    """Claim a message, and tell whether it is ours to send now.

    Others who look at the same time leave it alone for a while.
    """
    table = alert_delivery.c
    with warehouse.write(ALERTING) as transaction:
        ours = transaction.execute(
            update(alert_delivery)
            .where(
                table.message_id == delivery.message_id,
                table.channel == delivery.channel,
                table.tries == delivery.tries,
                table.next_try_at == delivery.next_try_at,
                table.delivered_at.is_(None),
            )
            .values(next_try_at=now + CLAIM)
        )
    return ours.rowcount == 1


def delivered(warehouse: Warehouse, delivery: Delivery, error: str | None, now: datetime) -> None:
    """Note that a channel took a message, or why it did not; then it is due again after a pause
    that grows.
    """
    table = alert_delivery.c
    pause = min(FIRST_PAUSE * 2 ** min(delivery.tries, 10), LONGEST_PAUSE)
    with warehouse.write(ALERTING) as transaction:
        transaction.execute(
            update(alert_delivery)
            .where(table.message_id == delivery.message_id, table.channel == delivery.channel)
            .values(
                tries=delivery.tries + 1,
                delivered_at=None if error else now,
                next_try_at=now + pause if error else now,
                error=error,
            )
        )


ALERTS = (
    "noted_at",
    "event",
    "problem",
    "cause",
    "connection",
    "organization_key",
    "partition_date",
    "sentence",
    "run_id",
    "message_id",
    "told",
)


def history(transaction: Transaction, *, limit: int | None) -> queries.Rows:
    """Return the last alerts, or all, oldest first.

    Columns: `ALERTS`; `told` says what became of its message at the channels.
    """
    rows = transaction.execute(
        select(alert).order_by(alert.c.alert_id.desc()).limit(limit)
    ).mappings()
    fared = _fared(transaction)
    answer = [{**row, "told": fared.get(row["message_id"], "")} for row in rows]
    return [{name: row[name] for name in ALERTS} for row in reversed(answer)]


def _fared(transaction: Transaction) -> Mapping[int, str]:
    table = alert_delivery.c
    by_message: dict[int, list[str]] = defaultdict(list)
    for row in transaction.execute(
        select(alert_delivery).order_by(table.message_id, table.channel)
    ):
        how = (
            "taken"
            if row.delivered_at
            else f"not taken after {row.tries} tries" + (f": {row.error}" if row.error else "")
        )
        by_message[row.message_id].append(f"{row.channel} {how}")
    return {message_id: "; ".join(outcomes) for message_id, outcomes in by_message.items()}


def end_organization(
    transaction: Transaction,
    organization_key: str,
    *,
    last_day: date,
    reason: str,
    by: str,
    now: datetime,
) -> None:
    """Record that an organization is not observed after a day, so that later days are no gaps; its
    problems are closed.

    The caller holds the lock `ALERTING` and commits.
    """
    values = {
        "organization_key": organization_key,
        "last_day": last_day,
        "reason": reason,
        "decided_by": by,
        "decided_at": now,
    }
    transaction.execute(insert(organization_end).values(values))
    theirs = [
        one.problem
        for one in open_problems(transaction)
        if one.problem.organization_key == organization_key
    ]
    note(
        transaction,
        [Entry(Event.CLOSED, problem, is_told=False) for problem in theirs],
        (),
        (),
        now,
    )
