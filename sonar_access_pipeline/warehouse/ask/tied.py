"""Do the tables say what SonarCloud answered? What a packet rests on, compared row by row with the
stored answers.

Here: the comparison at single observations, and of all history. Digests of what is stored are
`verify.py`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import chain

from sqlalchemy import Connection, select

from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable, Row
from sonar_access_pipeline.warehouse.ask.queries import ObservationFacts, WindowObservations
from sonar_access_pipeline.warehouse.errors import BodyDroppedError, UntiedError
from sonar_access_pipeline.warehouse.history.merge import rows_at
from sonar_access_pipeline.warehouse.history.observations import Contents, Observation
from sonar_access_pipeline.warehouse.history.rebuild import rebuilt
from sonar_access_pipeline.warehouse.history.verify import UNREADABLE, differing_rows
from sonar_access_pipeline.warehouse.raw.snapshots import StandIns, load
from sonar_access_pipeline.warehouse.schema import raw_snapshot

MENDED = (
    "nothing is sealed of it. `sonar-access warehouse verify` names each row; find out who changed"
    " the tables, then `sonar-access warehouse rebuild` derives them again"
)


@dataclass(frozen=True)
class Tie:
    """One history table at one observation: the rows that the answers give, and those that it
    shows. None: nobody can tell.
    """

    table: HistoryTable
    answered: int | None
    shown: int
    detail: str | None = None


def ties(transaction: Connection, rests_on: WindowObservations, *, whole: bool) -> list[Tie]:
    """Compare every history table with the answers: at the last observation of a window, and before
    the window.

    With `whole`, all of history is derived again besides, so that every time at which something
    began is compared, too. Raises `UntiedError` where a table says anything else than the answers.
    Answers that were dropped by age cannot be compared.
    """
    observed = [*([rests_on.before] if rests_on.before else []), *rests_on.within]
    as_of = rests_on.as_of
    earlier = observed[:1] if len(observed) > 1 else []
    dropped = None
    try:
        if earlier:
            try:
                require_recorded(transaction, earlier[0].snapshot_id)
            except BodyDroppedError as error:
                # What was dropped of an earlier observation hides nothing of the last one.
                earlier = []
                dropped = str(error)
        try:
            require_recorded(transaction, as_of.snapshot_id)
        except BodyDroppedError as error:
            return [_untold(transaction, one, as_of, str(error)) for one in _read(as_of)]
        table_ties = _ties_at(transaction, [*earlier, as_of])
        if whole:
            _require_history(transaction, as_of)
    except UNREADABLE:
        raise UntiedError(
            "The stored answers behind the observation of"
            f" {rests_on.as_of.observed_at:%Y-%m-%d %H:%M} UTC cannot be read any more: {MENDED}."
        ) from None
    return (
        [
            replace(tie, detail=tie.detail or f"at the last observation only: {dropped}")
            for tie in table_ties
        ]
        if dropped
        else table_ties
    )


def require_recorded(transaction: Connection, snapshot_id: int) -> None:
    """Refuse a snapshot whose facts or answers have other digests than were recorded.

    Raises `UntiedError`; `BodyDroppedError` where answers were dropped by age.
    """
    snapshot = load(transaction, snapshot_id)
    recorded = select(raw_snapshot.c.content_sha256).where(
        raw_snapshot.c.snapshot_id == snapshot_id
    )
    stand_ins = StandIns(transaction)
    is_whole = all(
        hashlib.sha256(answer.body).hexdigest() == stand_ins.of(snapshot_id, answer.body_sha256)
        for answer in snapshot.responses
    )
    if not is_whole or snapshot.content_sha256 != transaction.execute(recorded).scalar_one():
        raise UntiedError(
            f"Snapshot {snapshot_id} is not what was recorded: somebody changed its facts or"
            f" answers; {MENDED}."
        )


def _ties_at(transaction: Connection, at: Sequence[ObservationFacts]) -> list[Tie]:
    """Compare the tables with the answers at each of some observations, and return the ties of the
    last one.
    """
    last_ties: list[Tie] = []
    content: SnapshotContent | None = None
    asked = [
        Observation(one.snapshot_id, ObservationTime(one.started_at, one.observed_at), one.scopes)
        for one in at
    ]
    for facts, (_, new_content) in zip(
        at, Contents(transaction, at[-1].organization_key).each(asked), strict=True
    ):
        # None: answer by answer what the one before it said.
        content = new_content or content
        assert content is not None, "the first observation is always derived"
        last_ties = [_tie(transaction, description, content, facts) for description in _read(facts)]
    return last_ties


def _read(facts: ObservationFacts) -> list[HistoryTable]:
    return [description for description in HISTORY_TABLES if description.scopes & set(facts.scopes)]


def _tie(
    transaction: Connection,
    description: HistoryTable,
    content: SnapshotContent,
    facts: ObservationFacts,
) -> Tie:
    answered = set(description.rows(content))
    shown = _shown(transaction, description, facts)
    if description.is_never_empty and not shown:
        return Tie(
            description,
            None,
            0,
            "it was not asked of this observation, which was read before there was the table",
        )
    if answered == shown:
        return Tie(description, len(answered), len(shown))
    missing, added = len(answered - shown), len(shown - answered)
    differences = [f"lacks {missing} rows"] * bool(missing) + [
        f"has {added} rows that they do not give"
    ] * bool(added)
    raise UntiedError(
        f"Table {description.name} does not say what SonarCloud answered on"
        f" {facts.observed_at:%Y-%m-%d %H:%M} UTC: it {' and '.join(differences)} ({len(answered)}"
        f" by the answers, {len(shown)} in the table); {MENDED}."
    )


def _shown(transaction: Connection, description: HistoryTable, facts: ObservationFacts) -> Set[Row]:
    """Read the rows that a table shows at an observation, of the parts that it read.

    They are read by value: a hash may have been left behind.
    """
    read = (part for part in description.parts if part.scope in facts.scopes)
    of_parts = (
        rows_at(transaction, description, part, facts.organization_key, facts.observed_at)
        for part in read
    )
    return set(chain.from_iterable(of_parts))


def _untold(
    transaction: Connection, description: HistoryTable, facts: ObservationFacts, why: str
) -> Tie:
    return Tie(description, None, len(_shown(transaction, description, facts)), why)


def _require_history(transaction: Connection, facts: ObservationFacts) -> None:
    with rebuilt(transaction, facts.organization_key, only_merged=True) as again:
        differences = list(differing_rows(transaction, facts.organization_key, again))
    if differences:
        raise UntiedError(
            f"History is not what the stored answers give: {differences[0].sentence}; {MENDED}."
        )
