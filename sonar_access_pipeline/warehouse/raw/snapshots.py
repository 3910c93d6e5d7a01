"""The snapshot store: raw reads written once and read back exactly, and the chain of all reads.

Nothing is derived here. Everything is append-only.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import chain
from typing import Any

from sqlalchemy import Connection, LargeBinary, func, insert, literal, select, update

from sonar_access_pipeline.access.codec import Codec, Numbers
from sonar_access_pipeline.access.snapshot import (
    CHAIN_START,
    Control,
    ListRead,
    Response,
    Scope,
    Snapshot,
    SourceKind,
    Verdict,
    chain_head,
)
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import (
    BodyDroppedError,
    OutOfOrderError,
    SourceMismatchError,
)
from sonar_access_pipeline.warehouse.schema import (
    raw_body,
    raw_control,
    raw_list,
    raw_response,
    raw_snapshot,
    redacted_body,
    redaction,
    snapshot_decision,
)

RECORDING = "recording"
"""The lock under which snapshots and tries are written: one at a time in the whole warehouse, since
they form one chain.
"""
IN_LIST = 500
"""Values in one IN list: below every database's limit on parameters."""


@dataclass(frozen=True)
class Recorded:
    """A snapshot in the store, by the facts that later steps need."""

    snapshot_id: int
    organization_key: str
    partition_date: date
    started_at: datetime
    observed_at: datetime
    verdict: Verdict
    reason: str | None
    content_sha256: str
    counts: Numbers


SNAPSHOT = Codec(Snapshot, left_out=("lists", "controls", "responses"))
LIST = Codec(ListRead, called={"name": "list_name", "distinct": "distinct_keys"})
CONTROL = Codec(Control, called={"name": "control", "left": "left_count", "right": "right_count"})
RESPONSE = Codec(Response, left_out=("size_bytes", "zlib_body"))
RECORDED = Codec(Recorded)


def claim(
    warehouse: Warehouse, organization_key: str, source_url: str, source_kind: SourceKind
) -> None:
    """Refuse a read of an organization whose history comes from elsewhere.

    Raises `SourceMismatchError`: another host or kind of source would mix two truths in one
    history.
    """
    with warehouse.read() as transaction:
        require_same_source(transaction, organization_key, (source_url, source_kind.value))


def require_same_source(
    transaction: Connection, organization_key: str, source: tuple[str, str]
) -> None:
    """Refuse another address or kind than the organization's history has; what a connection is
    called is nobody's business.

    Raises `SourceMismatchError`.
    """
    first = transaction.execute(
        select(raw_snapshot.c.source_url, raw_snapshot.c.source_kind)
        .where(raw_snapshot.c.organization_key == organization_key)
        .order_by(raw_snapshot.c.snapshot_id)
        .limit(1)
    ).one_or_none()
    if first is not None and tuple(first) != source:
        raise SourceMismatchError(
            f"The history of organization '{organization_key}' was read from {first.source_url}"
            f" ({first.source_kind}); {source[0]} ({source[1]}) is refused: two sources never mix."
            " Use another warehouse for it."
        )


def record(warehouse: Warehouse, snapshot: Snapshot, clock: Callable[[], datetime]) -> Recorded:
    """Keep a snapshot that was just read, whatever its verdict.

    All of it in one transaction. Raises `SourceMismatchError` and `OutOfOrderError`.
    """
    with warehouse.write(RECORDING) as transaction:
        source = (snapshot.source_url, snapshot.source_kind.value)
        require_same_source(transaction, snapshot.organization_key, source)
        _require_order(transaction, snapshot)
        return append(transaction, snapshot, clock())


def append(
    transaction: Connection,
    snapshot: Snapshot,
    recorded_at: datetime,
    imported_from: str | None = None,
) -> Recorded:
    """Put a snapshot at the end of the chain: facts, lists, controls, responses, and the bodies not
    yet stored.

    The caller holds the lock `RECORDING` and commits. `imported_from` is the digest of the archive
    it came in, if it did.
    """
    last = transaction.execute(
        select(
            raw_snapshot.c.snapshot_id,
            raw_snapshot.c.previous_sha256,
            raw_snapshot.c.content_sha256,
        )
        .order_by(raw_snapshot.c.snapshot_id.desc())
        .limit(1)
    ).one_or_none()
    snapshot_id = last.snapshot_id + 1 if last else 1
    _store_bodies(transaction, snapshot.responses)
    transaction.execute(
        insert(raw_snapshot).values(
            snapshot_id=snapshot_id,
            **SNAPSHOT.row(snapshot),
            partition_date=snapshot.partition_date,
            recorded_at=recorded_at,
            content_sha256=snapshot.content_sha256,
            previous_sha256=(
                chain_head(last.previous_sha256, last.content_sha256) if last else CHAIN_START
            ),
            imported_from=imported_from,
        )
    )
    _insert(transaction, raw_list, snapshot_id, map(LIST.row, snapshot.lists))
    _insert(transaction, raw_control, snapshot_id, map(CONTROL.row, snapshot.controls))
    _insert(transaction, raw_response, snapshot_id, map(RESPONSE.row, snapshot.responses))
    row = (
        transaction.execute(select(raw_snapshot).where(raw_snapshot.c.snapshot_id == snapshot_id))
        .mappings()
        .one()
    )
    return RECORDED.of_row(row)


def _require_order(transaction: Connection, snapshot: Snapshot) -> None:
    # What was retracted, as a read by a clock that was ahead, and what never counted hold up
    # nothing.
    retracted = select(snapshot_decision.c.snapshot_id).where(
        snapshot_decision.c.decision == "retracted"
    )
    last = transaction.execute(
        select(func.max(raw_snapshot.c.observed_at)).where(
            raw_snapshot.c.organization_key == snapshot.organization_key,
            raw_snapshot.c.verdict != Verdict.INCOMPLETE.value,
            raw_snapshot.c.snapshot_id.not_in(retracted),
        )
    ).scalar()
    if last is not None and snapshot.started_at <= last:
        raise OutOfOrderError(
            f"This read of '{snapshot.organization_key}' began before the last one had ended:"
            " another sync ran at the same time, or this machine's clock went back. It was not"
            " kept; check the clock, then sync again."
        )


def _store_bodies(transaction: Connection, responses: Sequence[Response]) -> None:
    bodies = {response.body_sha256: response for response in responses}
    digests = sorted(bodies)
    stored: dict[str, datetime | None] = {}
    for start in range(0, len(digests), IN_LIST):
        part = raw_body.c.body_sha256.in_(digests[start : start + IN_LIST])
        known = transaction.execute(
            select(raw_body.c.body_sha256, raw_body.c.dropped_at).where(part)
        )
        stored.update({row.body_sha256: row.dropped_at for row in known})
    for digest in [digest for digest, dropped_at in stored.items() if dropped_at is not None]:
        # It was dropped, and now SonarCloud says the same again. Stored, not deflated: so
        # PostgreSQL itself compares the digest.
        again = update(raw_body).where(raw_body.c.body_sha256 == digest)
        transaction.execute(
            again.values(zlib_body=zlib.compress(bodies[digest].body, level=0), dropped_at=None)
        )
    new = [
        {
            "body_sha256": digest,
            "size_bytes": bodies[digest].size_bytes,
            "zlib_body": bodies[digest].zlib_body,
        }
        for digest in digests
        if digest not in stored
    ]
    if new:
        transaction.execute(insert(raw_body), new)


def _insert(
    transaction: Connection, table: Any, snapshot_id: int, rows: Iterable[dict[str, Any]]
) -> None:
    if numbered := [{"snapshot_id": snapshot_id, **row} for row in rows]:
        transaction.execute(insert(table), numbered)


def responses_of(
    transaction: Connection, snapshot_id: int, list_name: str | None = None
) -> list[Response]:
    """Return every response of a snapshot, or of one list of it, with its exact body, in the order
    received.

    Raises `BodyDroppedError`.
    """
    return responses_of_many(transaction, [snapshot_id], list_name=list_name)[snapshot_id]


def responses_of_many(
    transaction: Connection,
    snapshot_ids: Sequence[int],
    *,
    bodies: bool = True,
    list_name: str | None = None,
) -> dict[int, list[Response]]:
    """`responses_of` for several snapshots at once; without `bodies` they are empty, and none can
    be missing.

    Where a body was redacted, the one that stands in its place is given, under the digest of the
    one that came. Raises `BodyDroppedError`.
    """
    body = raw_body.c.zlib_body if bodies else literal(b"", LargeBinary)
    query = (
        select(raw_response, raw_body.c.size_bytes, body.label("zlib_body"))
        .join(raw_body, raw_response.c.body_sha256 == raw_body.c.body_sha256)
        .where(raw_response.c.snapshot_id.in_(snapshot_ids))
        .order_by(raw_response.c.snapshot_id, raw_response.c.sequence)
    )
    if list_name is not None:
        query = query.where(raw_response.c.list_name == list_name)
    rows = transaction.execute(query).mappings().all()
    stand_ins = StandIns(transaction) if bodies else None
    responses: dict[int, list[Response]] = {snapshot_id: [] for snapshot_id in snapshot_ids}
    for row in rows:
        zlib_body = row["zlib_body"]
        if stand_ins is not None:
            zlib_body = stand_ins.body(row["snapshot_id"], row["body_sha256"], zlib_body)
            if not zlib_body:
                raise BodyDroppedError(
                    f"The answers of snapshot {row['snapshot_id']} were dropped when they were old"
                    " enough; nothing can be derived from it again. What was derived stays."
                )
        response = RESPONSE.of_row(row, size_bytes=row["size_bytes"], zlib_body=zlib_body)
        responses[row["snapshot_id"]].append(response)
    return responses


def pseudonyms_of(transaction: Connection, organization_key: str) -> frozenset[str]:
    """Return the logins that stand for persons who were taken out of an organization."""
    query = select(redaction.c.pseudonym).where(redaction.c.organization_key == organization_key)
    return frozenset(transaction.execute(query).scalars())


class StandIns:
    """Which body stands in the place of which: a redaction counts for those snapshots of its
    organization that were there.

    Organizations may share a body, and each keeps what it may keep. A body may be redacted more
    than once, for several people, and it may come again, once a person has returned.
    """

    def __init__(self, transaction: Connection) -> None:
        self._transaction = transaction
        self._steps: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
        columns = (redaction.c.organization_key, redaction.c.last_snapshot_id)
        query = select(redacted_body, *columns).join(
            redaction, redaction.c.redaction_id == redacted_body.c.redaction_id
        )
        for row in transaction.execute(query.order_by(redaction.c.redaction_id)):
            self._steps[row.organization_key, row.body_sha256].append(
                (row.redaction_id, row.last_snapshot_id, row.new_sha256)
            )

    @cached_property
    def _organizations(self) -> dict[int, str]:
        columns = select(raw_snapshot.c.snapshot_id, raw_snapshot.c.organization_key)
        return {row.snapshot_id: row.organization_key for row in self._transaction.execute(columns)}

    @cached_property
    def replaced(self) -> frozenset[str]:
        """The digests that something stands in the place of, for some snapshots."""
        return frozenset(digest for _, digest in self._steps)

    def number_for(self, snapshot_id: int) -> int:
        """Count the replacements that apply to a snapshot: the same answers say the same only where
        this number is the same.
        """
        if not self._steps:
            return 0
        ours = self._organizations[snapshot_id]
        of_ours = (steps for (key, _), steps in self._steps.items() if key == ours)
        return sum(snapshot_id <= last for _, last, _ in chain.from_iterable(of_ours))

    def of(self, snapshot_id: int, digest: str) -> str:
        """Return the digest of the body that counts for a snapshot: most often the one that
        came.
        """
        if digest not in self.replaced:
            return digest
        done = 0
        ours = self._organizations[snapshot_id]
        while step := next(
            (s for s in self._steps.get((ours, digest), ()) if s[0] > done and snapshot_id <= s[1]),
            None,
        ):
            done, _, digest = step
        return digest

    def body(self, snapshot_id: int, digest: str, came: bytes) -> bytes:
        """Return the body that counts, compressed; empty where it was dropped.

        `came` is the body of `digest`.
        """
        now = self.of(snapshot_id, digest)
        if now == digest:
            return came
        stored = select(raw_body.c.zlib_body).where(raw_body.c.body_sha256 == now)
        return bytes(self._transaction.execute(stored).scalar_one())


def load(transaction: Connection, snapshot_id: int, *, bodies: bool = True) -> Snapshot:
    """Load a stored snapshot as it was recorded: its `content_sha256` is the one that was stored,
    or somebody changed it.

    That digest needs no `bodies`, only their digests. Raises `BodyDroppedError`.
    """
    row = (
        transaction.execute(select(raw_snapshot).where(raw_snapshot.c.snapshot_id == snapshot_id))
        .mappings()
        .one()
    )
    lists = transaction.execute(
        select(raw_list).where(raw_list.c.snapshot_id == snapshot_id)
    ).mappings()
    controls = transaction.execute(
        select(raw_control).where(raw_control.c.snapshot_id == snapshot_id)
    ).mappings()
    return SNAPSHOT.of_row(
        row,
        lists=list(map(LIST.of_row, lists)),
        controls=list(map(CONTROL.of_row, controls)),
        responses=responses_of_many(transaction, [snapshot_id], bodies=bodies)[snapshot_id],
    )


def scopes_of(stored: str) -> tuple[Scope, ...]:
    """Read the scopes of a snapshot from the text in which they are stored."""
    return tuple(Scope(name) for name in stored.split(","))


def of_run(warehouse: Warehouse, organization_key: str, run_id: str) -> Recorded | None:
    """Find the complete or held snapshot that this run has already made, so that a retried step
    does not observe twice.
    """
    with warehouse.read() as transaction:
        row = (
            transaction.execute(
                select(raw_snapshot).where(
                    raw_snapshot.c.organization_key == organization_key,
                    raw_snapshot.c.run_id == run_id,
                    raw_snapshot.c.verdict != Verdict.INCOMPLETE.value,
                )
            )
            .mappings()
            .one_or_none()
        )
    return RECORDED.of_row(row) if row else None


def bodies_of(transaction: Connection, digests: Sequence[str]) -> dict[str, bytes]:
    """Return the bodies with these digests, as they came; those that were dropped or replaced are
    left out.
    """
    bodies_by_digest: dict[str, bytes] = {}
    for start in range(0, len(digests), IN_LIST):
        chosen = raw_body.c.body_sha256.in_(digests[start : start + IN_LIST])
        query = select(raw_body.c.body_sha256, raw_body.c.zlib_body).where(
            chosen, raw_body.c.dropped_at.is_(None)
        )
        bodies_by_digest |= {
            digest: zlib.decompress(packed) for digest, packed in transaction.execute(query)
        }
    return bodies_by_digest
