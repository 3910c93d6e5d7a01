"""One snapshot as a person must see it before deciding: who and what would disappear or appear with
it, by name, admins first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Connection, select

from sonar_access_pipeline.access.history import ObservationTime
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import FCT_USER_ACCESS, Row
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.ask.as_of import Names
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.brake import LastShown
from sonar_access_pipeline.warehouse.history.observations import Contents, Observation
from sonar_access_pipeline.warehouse.raw.snapshots import scopes_of
from sonar_access_pipeline.warehouse.schema import raw_snapshot

CHANGED = ("what", "login", "name", "is_admin", "access_type", "right", "on", "through")
DISAPPEARS, APPEARS = "disappears", "appears"
LOGIN, TYPE, RESOURCE, RIGHT, VIA = range(5)
"""Where each value stands in an access row."""


@dataclass(frozen=True)
class Shown:
    """A snapshot: its facts, the decisions about it, the comparisons that failed, what it was
    compared with, and what changes.

    `changes` has the columns `CHANGED`: what disappears first, of admins first, then by login and
    right.
    """

    about: Mapping[str, Any]
    decisions: queries.Rows
    failed: queries.Rows
    compared: str
    changes: queries.Rows


def shown(transaction: Connection, snapshot_id: int) -> Shown:
    """Show what a person must know of a snapshot.

    Raises `WarehouseError` where there is none, or its answers were dropped.
    """
    query = select(raw_snapshot).where(raw_snapshot.c.snapshot_id == snapshot_id)
    row = transaction.execute(query).mappings().one_or_none()
    if row is None:
        raise WarehouseError(
            f"There is no snapshot {snapshot_id}; `sonar-access snapshot list` shows those there"
            " are."
        )
    about: dict[str, Any] = dict(row)
    key = about["organization_key"]
    decided = [
        row for row in queries.decisions(transaction, key) if row["snapshot_id"] == snapshot_id
    ]
    failed = [
        row
        for row in queries.controls_of_snapshot(transaction, snapshot_id)
        if row["passed"] is False
    ]
    compared, changes = _changes(transaction, about)
    return Shown(about, decided, failed, compared, changes)


def _changes(transaction: Connection, about: Mapping[str, Any]) -> tuple[str, queries.Rows]:
    if about["verdict"] == Verdict.INCOMPLETE.value:
        return (
            "It is incomplete: nothing follows from it, and nobody can tell who would be gone.",
            [],
        )
    key = about["organization_key"]
    scopes = set(scopes_of(about["scopes"]))
    time = ObservationTime(about["started_at"], about["observed_at"])
    last = LastShown(transaction, key, time.observed_at)
    before = last.last(Scope.CORE)
    if before is None:
        return "There is no observation before it to compare it with.", []
    observed = Observation(about["snapshot_id"], time, scopes_of(about["scopes"]))
    content = Contents(transaction, key).of(observed)
    new = set(FCT_USER_ACCESS.rows(content))
    read = [part for part in FCT_USER_ACCESS.parts if part.scope in scopes]
    old = set(chain.from_iterable(last.rows(FCT_USER_ACCESS, part) or () for part in read))
    unmerged = last.unmerged()
    seen_at = before.time.observed_at
    was = Names(transaction, key, seen_at) if unmerged is None else _Said(unmerged)
    now = _Said(content)
    changes = [
        *_named(DISAPPEARS, old - new, _admins(old), was.users, was.groups, was.projects),
        *_named(APPEARS, new - old, _admins(new), now.users, now.groups, now.projects),
    ]
    people = len(
        {
            row["login"]
            for row in changes
            if (row["what"], row["access_type"]) == (DISAPPEARS, "membership")
        }
    )
    sentence_start = (
        f"Against the observation of {seen_at:%Y-%m-%d %H:%M} UTC: {people} members would disappear"
    )
    return (
        (
            f"{sentence_start}, {len(old - new)} access rows would disappear and {len(new - old)}"
            " would appear."
        ),
        changes,
    )


class _Said:
    """The names that a snapshot gives: as `Names`, of what is not in history yet."""

    def __init__(self, content: SnapshotContent) -> None:
        self.users = {member.login: member.name for member in content.members if member.name}
        self.groups = {group.group_id: group.name for group in content.groups}
        self.projects = {project.key: project.name for project in content.projects if project.name}


def _admins(rows: Iterable[Row]) -> set[Any]:
    return {
        row[LOGIN]
        for row in rows
        if (row[TYPE], row[RIGHT]) == ("organization_permission", "admin")
    }


def _named(
    what: str,
    rows: Iterable[Row],
    admins: set[Any],
    users: Mapping[str, str],
    groups: Mapping[str, str],
    projects: Mapping[str, str],
) -> queries.Rows:
    order = {"membership": 0, "organization_permission": 1, "group": 2, "project_permission": 3}
    in_order = sorted(
        rows,
        key=lambda row: (
            row[LOGIN] not in admins,
            str(row[LOGIN]),
            order[str(row[TYPE])],
            *map(str, row),
        ),
    )
    changes = []
    for row in in_order:
        login, access_type, resource, right, via = map(str, row)
        on = groups.get(resource) if access_type == "group" else projects.get(resource)
        changes.append(
            {
                "what": what,
                "login": login,
                "name": users.get(login),
                "is_admin": login in admins,
                "access_type": access_type,
                "right": right,
                "on": on or resource,
                "through": (
                    "direct"
                    if via == "direct"
                    else f"group {groups.get(via.removeprefix('group:'), via)}"
                ),
            }
        )
    return changes
