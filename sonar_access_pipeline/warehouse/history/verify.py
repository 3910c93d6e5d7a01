"""Is the warehouse what was recorded? Bodies, snapshots and their chain against their digests,
verdicts against the answers, tables against a rebuild, and the database's own guards against the
schema.

Whoever can write the database can also write this answer's other half; what a signature adds is
`evidence`'s business. Four outcomes: fine, redacted (a person was taken out, on record; everything
else is as recorded), behind (so far as it was derived, and something still waits for that), or
different, with the findings.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, except_, func, select

from sonar_access_pipeline.access.content import answers
from sonar_access_pipeline.access.judgement import judged
from sonar_access_pipeline.access.snapshot import CHAIN_START, Verdict, chain_head
from sonar_access_pipeline.warehouse import guards
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import BodyDroppedError
from sonar_access_pipeline.warehouse.history.merge import pending
from sonar_access_pipeline.warehouse.history.rebuild import Rebuilt, rebuilt
from sonar_access_pipeline.warehouse.raw.snapshots import StandIns, load, responses_of, scopes_of
from sonar_access_pipeline.warehouse.reviews.follow_ups import differing_follow_ups
from sonar_access_pipeline.warehouse.schema import (
    body_drop,
    dropped_body,
    history_observation,
    history_tables,
    raw_body,
    raw_response,
    raw_snapshot,
    redacted_body,
    redaction,
)
from sonar_access_pipeline.warehouse.schema_reviews import fct_follow_up
from sonar_access_pipeline.warehouse.views import VIEWS, observation

UNREADABLE = (zlib.error, ValueError, LookupError, TypeError)
"""What reading stored facts and answers raises when somebody changed them: such a change is a
finding like any other.
"""
MARKS = history_observation.name
NAMED = 20
"""Rows of one table that are named; of more, only the number is told."""


class State(StrEnum):
    """What a verification found."""

    FINE = "fine"
    REDACTED = "redacted"
    BEHIND = "behind"
    DIFFERENT = "different"


class Finding(NamedTuple):
    """One thing that is not as recorded: the table it is in, and a sentence, in which there may be
    a login.
    """

    table: str
    sentence: str


@dataclass(frozen=True)
class Redaction:
    """One person taken out: who decided, when, on what basis, and the bodies that were replaced,
    old digest and new.
    """

    pseudonym: str
    decided_by: str
    redacted_at: datetime
    basis: str
    bodies: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Verified:
    """What was compared, and what differs.

    `horizon`: history up to it cannot be derived again, its answers were dropped.
    """

    observations: int
    snapshots: int
    bodies: int
    dropped: int
    horizon: datetime | None
    redactions: tuple[Redaction, ...]
    findings: tuple[Finding, ...]
    waiting: int = 0
    """Observations that history does not show yet: no difference, the next sync or rebuild derives
    them.
    """

    @property
    def state(self) -> State:
        """Different, behind, redacted or fine, the first that holds: never fine where a person was
        taken out.
        """
        if self.findings:
            return State.DIFFERENT
        if self.waiting:
            return State.BEHIND
        return State.REDACTED if self.redactions else State.FINE


def verify(warehouse: Warehouse, organization_key: str) -> Verified:
    """Compare everything that the warehouse has of an organization with its digests, and its tables
    with a rebuild.

    Changes nothing; others read and write meanwhile. Raises `WarehouseError`.
    """
    with warehouse.read() as transaction:
        bodies, dropped, body_findings = _bodies(transaction, organization_key)
        snapshots, snapshot_findings = _snapshots(transaction, organization_key)
        absent = guards.missing(transaction, VIEWS)
        findings = [
            Finding("schema", f"the database has no {what}, or has switched it off")
            for what in absent
        ]
        findings += [*body_findings, *snapshot_findings]
        waiting = len(pending(transaction, organization_key))
        try:
            findings += _verdicts(transaction, organization_key)
            findings += _marks(transaction, organization_key)
            with rebuilt(transaction, organization_key, only_merged=True) as again:
                findings += differing_rows(transaction, organization_key, again)
                findings += _follow_ups(transaction, organization_key)
                observations = len(again.observations)
                horizon = again.horizon
        except (BodyDroppedError, *UNREADABLE) as error:
            # A body that was tampered with need not be readable any more; which one is among the
            # findings already.
            reason = (
                str(error) if isinstance(error, BodyDroppedError) else "an answer cannot be read"
            )
            findings.append(Finding("raw_body", f"history cannot be derived again: {reason}"))
            observations = 0
            horizon = None
        redactions = _redactions(transaction, organization_key)
    return Verified(
        observations, snapshots, bodies, dropped, horizon, redactions, tuple(findings), waiting
    )


def _bodies(transaction: Connection, organization_key: str) -> tuple[int, int, list[Finding]]:
    """Count the bodies that are there and those that were dropped by age, and find those that are
    not what their digest says.
    """
    used = (
        select(raw_response.c.body_sha256)
        .join(raw_snapshot, raw_snapshot.c.snapshot_id == raw_response.c.snapshot_id)
        .where(raw_snapshot.c.organization_key == organization_key)
    )
    in_place = select(redacted_body.c.new_sha256)
    query = select(raw_body).where(
        raw_body.c.body_sha256.in_(used) | raw_body.c.body_sha256.in_(in_place)
    )
    redacted = StandIns(transaction).replaced
    on_record = _drops(transaction)
    there = 0
    dropped = 0
    findings = []
    for row in transaction.execute(
        query.order_by(raw_body.c.body_sha256).execution_options(yield_per=200)
    ):
        if row.dropped_at is not None:
            dropped += row.body_sha256 not in redacted
            if row.body_sha256 not in redacted and not on_record.get(row.body_sha256, set()) & {
                row.dropped_at,
                None,
            }:
                sentence = (
                    f"body {row.body_sha256} was emptied, and no record says that it was dropped by"
                    " age, or by which setting"
                )
                findings.append(Finding("raw_body", sentence))
            continue
        there += 1
        if not _is_what_it_says(row.zlib_body, row.body_sha256):
            sentence = (
                f"body {row.body_sha256} is not what was received: its bytes have another digest"
            )
            findings.append(Finding("raw_body", sentence))
    return there, dropped, findings


def _drops(transaction: Connection) -> dict[str, set[datetime | None]]:
    """Return when each body was dropped by age, as is on record; None for a drop from before there
    were records.
    """
    query = select(dropped_body.c.body_sha256, body_drop.c.dropped_at, body_drop.c.older_than).join(
        body_drop, body_drop.c.drop_id == dropped_body.c.drop_id
    )
    drop_times: dict[str, set[datetime | None]] = defaultdict(set)
    for digest, dropped_at, older_than in transaction.execute(query):
        drop_times[digest].add(None if older_than is None else dropped_at)
    return drop_times


def _verdicts(transaction: Connection, organization_key: str) -> Iterator[Finding]:
    """Snapshots that claim to be complete, and are not by their own answers, as far as these are
    there.
    """
    columns = (raw_snapshot.c.snapshot_id, raw_snapshot.c.scopes)
    claimed = select(*columns).where(
        raw_snapshot.c.organization_key == organization_key,
        raw_snapshot.c.verdict != Verdict.INCOMPLETE.value,
    )
    last: object = None
    for row in transaction.execute(claimed.order_by(raw_snapshot.c.snapshot_id)).all():
        try:
            responses = responses_of(transaction, row.snapshot_id)
        except BodyDroppedError:
            continue
        basis = (row.scopes, answers(responses))
        if basis == last:
            continue
        last = basis
        verdict, reason, _ = judged(scopes_of(row.scopes), responses)
        if verdict is not Verdict.COMPLETE:
            yield Finding(
                "raw_snapshot",
                f"snapshot {row.snapshot_id} is not complete by its own answers: {reason}",
            )


def _is_what_it_says(zlib_body: bytes, sha256: str) -> bool:
    try:
        return hashlib.sha256(zlib.decompress(zlib_body)).hexdigest() == sha256
    except zlib.error:
        return False


def _snapshots(transaction: Connection, organization_key: str) -> tuple[int, list[Finding]]:
    """Count the snapshots, and find those that are not what was recorded or do not follow in the
    chain of all.
    """
    findings = []
    head = CHAIN_START
    columns = (
        raw_snapshot.c.snapshot_id,
        raw_snapshot.c.organization_key,
        raw_snapshot.c.content_sha256,
    )
    rows = transaction.execute(
        select(*columns, raw_snapshot.c.previous_sha256).order_by(raw_snapshot.c.snapshot_id)
    ).all()
    ours = [row for row in rows if row.organization_key == organization_key]
    for row in rows:
        if row.previous_sha256 != head:
            sentence = (
                f"the chain is broken before snapshot {row.snapshot_id}: one was changed, removed"
                " or put in between"
            )
            findings.append(Finding("raw_snapshot", sentence))
        head = chain_head(row.previous_sha256, row.content_sha256)
    for row in ours:
        if _content_of(transaction, row.snapshot_id) != row.content_sha256:
            sentence = (
                f"snapshot {row.snapshot_id} is not what was recorded: its facts have another"
                " digest"
            )
            findings.append(Finding("raw_snapshot", sentence))
    return len(ours), findings


def _content_of(transaction: Connection, snapshot_id: int) -> str | None:
    """Compute the digest that the facts of a snapshot give now; None where they cannot even be
    read.
    """
    try:
        return load(transaction, snapshot_id, bodies=False).content_sha256
    except UNREADABLE:
        return None


def _marks(transaction: Connection, organization_key: str) -> Iterator[Finding]:
    """Observations that the tables show and should not, or show by half."""
    for one in pending(transaction, organization_key):
        if one.scopes != frozenset(one.observation.scopes):
            sentence = (
                f"history shows snapshot {one.observation.snapshot_id} only in part: not its"
                f" {', '.join(sorted(one.scopes))}"
            )
            yield Finding(MARKS, sentence)
    marks = history_observation.c
    counting = select(observation.c.snapshot_id).where(
        observation.c.organization_key == organization_key
    )
    shown = select(marks.snapshot_id).where(
        marks.organization_key == organization_key, marks.snapshot_id.not_in(counting)
    )
    for snapshot_id in sorted(set(transaction.execute(shown).scalars())):
        sentence = (
            f"history shows snapshot {snapshot_id}, which does not count: it is held, incomplete or"
            " retracted"
        )
        yield Finding(MARKS, sentence)


def _follow_ups(transaction: Connection, organization_key: str) -> Iterator[Finding]:
    """Yield the demands of reviews that do not stand as the history of access says."""
    for row in differing_follow_ups(transaction, organization_key)[:NAMED]:
        _, review_id, item_no, *_ = row
        sentence = f"item {item_no} of review {review_id} does not stand as history says"
        yield Finding(fct_follow_up.name, sentence)


def differing_rows(
    transaction: Connection, organization_key: str, again: Rebuilt
) -> Iterator[Finding]:
    """Yield the rows in which a live table and its rebuild differ."""
    for name, table in history_tables.items():
        new = again.tables[name]
        live = select(*(table.c[column.name] for column in new.columns)).where(
            again.beyond(table, organization_key)
        )
        derived = select(*new.columns)
        for query, words in (
            (except_(live, derived), "is in the table and not in the snapshots"),
            (except_(derived, live), "is in the snapshots and not in the table"),
        ):
            differing = query.subquery()
            number = transaction.execute(select(func.count()).select_from(differing)).scalar_one()
            if not number:
                continue
            keys = [column.name for column in table.primary_key]
            order = [differing.c[key] for key in keys]
            rows = transaction.execute(
                select(*order, differing.c.valid_to).order_by(*order).limit(NAMED)
            ).all()
            for row in rows:
                yield Finding(
                    name, f"{name}: {_described(row[1:-2], row.valid_from, row.valid_to)} {words}"
                )
            if number > len(rows):
                yield Finding(
                    name, f"{name}: and {number - len(rows)} rows more, each of which {words}"
                )


def _described(key: Sequence[str], begins: datetime, ends: datetime | None) -> str:
    until = f"until {ends:%Y-%m-%d %H:%M:%S}" if ends else "still open"
    return f"({', '.join(map(repr, key))}) from {begins:%Y-%m-%d %H:%M:%S} {until}"


def _redactions(transaction: Connection, organization_key: str) -> tuple[Redaction, ...]:
    rows = transaction.execute(
        select(redaction)
        .where(redaction.c.organization_key == organization_key)
        .order_by(redaction.c.redaction_id)
    ).all()
    return tuple(
        Redaction(
            row.pseudonym,
            row.decided_by,
            row.redacted_at,
            row.basis,
            _replaced(transaction, row.redaction_id),
        )
        for row in rows
    )


def _replaced(transaction: Connection, redaction_id: int) -> tuple[tuple[str, str], ...]:
    bodies = redacted_body.c
    query = select(bodies.body_sha256, bodies.new_sha256).where(bodies.redaction_id == redaction_id)
    return tuple(
        (row.body_sha256, row.new_sha256)
        for row in transaction.execute(query.order_by(bodies.body_sha256))
    )
