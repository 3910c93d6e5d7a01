"""What an observation says: the one way from stored answers to content, and from there to the rows
of history tables.

Which of its rows change a table is decided by `merge.py` and `rebuild.py`. Two observations say the
same where their scopes, their answers, what was replaced of them, and what judges them are the
same: then nothing need be parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import starmap

from sqlalchemy import Connection, Select, and_, select

from sonar_access_pipeline.access.content import answers, content_of, lists_of
from sonar_access_pipeline.access.endpoints import Page
from sonar_access_pipeline.access.endpoints.shape import Params
from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.lists import page_of
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.snapshot import Response, Scope
from sonar_access_pipeline.warehouse.ledger.policies import policy_at
from sonar_access_pipeline.warehouse.raw.snapshots import (
    StandIns,
    pseudonyms_of,
    responses_of,
    responses_of_many,
    scopes_of,
)
from sonar_access_pipeline.warehouse.views import observation

SNAPSHOTS_AT_ONCE = 16
"""Snapshots whose answers are in memory: few enough for large ones, many enough that asking for
them costs nothing.
"""


@dataclass(frozen=True)
class Observation:
    """One snapshot that counts, or would count: which, when, and what it read."""

    snapshot_id: int
    time: ObservationTime
    scopes: tuple[Scope, ...]


def observations(
    transaction: Connection, organization_key: str, *, after: datetime | None = None
) -> list[Observation]:
    """List the observations of an organization, those that ended after a moment where one is given,
    oldest first.
    """
    query = _ours(organization_key).order_by(observation.c.observed_at)
    if after is not None:
        query = query.where(observation.c.observed_at > after)
    return list(starmap(_observation, transaction.execute(query)))


def last_observation(
    transaction: Connection, organization_key: str, scope: Scope, before: datetime
) -> Observation | None:
    """Return the last observation that read a scope and ended before a moment; None where there is
    none.
    """
    is_meant = and_(observation.c.scopes.contains(scope.value), observation.c.observed_at < before)
    query = (
        _ours(organization_key).where(is_meant).order_by(observation.c.observed_at.desc()).limit(1)
    )
    return next(starmap(_observation, transaction.execute(query)), None)


def _ours(organization_key: str) -> Select[tuple[int, datetime, datetime, str]]:
    ours = observation.c
    return select(ours.snapshot_id, ours.started_at, ours.observed_at, ours.scopes).where(
        ours.organization_key == organization_key
    )


def _observation(
    snapshot_id: int, started_at: datetime, observed_at: datetime, scopes: str
) -> Observation:
    return Observation(snapshot_id, ObservationTime(started_at, observed_at), scopes_of(scopes))


class _Pages:
    """The pages of the observation before, parsed: most come again byte for byte on the next day,
    and their texts, being the same objects, are compared at once.
    """

    def __init__(self) -> None:
        self._before: dict[object, Page] = {}
        self._now: dict[object, Page] = {}

    def of(self, endpoint: str, params: Params, body: bytes) -> Page:
        """Parse an answer. Raises `ShapeError`."""
        asked = (endpoint, str(params), body)
        page = self._before.get(asked) or page_of(endpoint, params, body)
        self._now[asked] = page
        return page

    def turn(self) -> None:
        """Begin with the next observation, and forget what the last one did not say."""
        self._before = self._now
        self._now = {}


class Contents:
    """What observations of one organization say, by the policies that were in force and without who
    was taken out.
    """

    def __init__(self, transaction: Connection, organization_key: str) -> None:
        self._transaction = transaction
        self._stand_ins = StandIns(transaction)
        self._pseudonyms = pseudonyms_of(transaction, organization_key)
        self._pages = _Pages()

    def of(self, one: Observation) -> SnapshotContent:
        """Parse what one observation says. Raises `BodyDroppedError`."""
        return self._parsed(one, responses_of(self._transaction, one.snapshot_id))

    def each(
        self, several: Sequence[Observation]
    ) -> Iterator[tuple[Observation, SnapshotContent | None]]:
        """Yield what each observation says; None where that is what the one before it said.

        Raises `BodyDroppedError`.
        """
        last: object = None
        for start in range(0, len(several), SNAPSHOTS_AT_ONCE):
            some = several[start : start + SNAPSHOTS_AT_ONCE]
            responses = responses_of_many(self._transaction, [one.snapshot_id for one in some])
            for one in some:
                fingerprint = self._fingerprint(one, responses[one.snapshot_id])
                yield (
                    one,
                    (
                        None
                        if fingerprint == last
                        else self._parsed(one, responses.pop(one.snapshot_id))
                    ),
                )
                last = fingerprint

    def are_alike(self, one: Observation, other: Observation) -> bool:
        """Tell whether two observations say the same, answer by answer; no answer need be there any
        more.
        """
        responses = responses_of_many(
            self._transaction, [one.snapshot_id, other.snapshot_id], bodies=False
        )
        return self._fingerprint(one, responses[one.snapshot_id]) == self._fingerprint(
            other, responses[other.snapshot_id]
        )

    def _parsed(self, one: Observation, responses: Sequence[Response]) -> SnapshotContent:
        in_force = policy_at(self._transaction, one.time.observed_at)
        lists = lists_of(responses, self._pages.of)
        self._pages.turn()
        return content_of(lists, one.scopes, in_force, self._pseudonyms)

    def _fingerprint(self, one: Observation, responses: Sequence[Response]) -> object:
        """Equal for two observations that say the same."""
        replaced = self._stand_ins.number_for(one.snapshot_id)
        return (
            one.scopes,
            answers(responses),
            replaced,
            policy_at(self._transaction, one.time.observed_at).judges,
        )
