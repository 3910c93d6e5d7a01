"""Snapshots made by hand, in the shapes in which SonarCloud answers, for tests that need no
server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from sonar_access_pipeline.access.snapshot import (
    Response,
    Scope,
    Snapshot,
    SourceKind,
    Verdict,
    packed,
)

EPOCH = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """What is true of an organization: member names by login, groups by id, direct and group
    permissions.

    Of projects: names by key, and who has "user" or "admin" on each, by login and by group id.
    `emails` are by login, and so are `ids`, of those whose durable id is not made of it.
    """

    members: Mapping[str, str | None] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    group_members: Mapping[str, Sequence[str]] = field(default_factory=dict)
    user_permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group_permissions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    anyone: Sequence[str] = ()
    projects: Mapping[str, str] = field(default_factory=dict)
    project_users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    project_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    emails: Mapping[str, str] = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    default_group: str | None = None


def snapshot_of(
    world: World,
    started_at: datetime,
    *,
    key: str = "acme",
    verdict: Verdict = Verdict.COMPLETE,
    run_id: str = "run",
    duration: timedelta = timedelta(seconds=10),
    source_kind: SourceKind = SourceKind.SIMULATED,
    scopes: tuple[Scope, ...] = (Scope.CORE,),
) -> Snapshot:
    """A snapshot of `world`, with the bodies that a server would have sent."""
    bodies: list[tuple[str, str, str, dict[str, str], dict[str, Any]]] = [
        (
            "organization",
            "",
            "organizations/search",
            {},
            _list("organizations", [{"key": key, "name": key.title()}]),
        ),
        (
            "members",
            "",
            "organizations/search_members",
            {},
            _list(
                "users",
                [
                    _without_nulls({"login": login, "name": name})
                    for login, name in world.members.items()
                ],
            ),
        ),
        (
            "groups",
            "",
            "user_groups/search",
            {},
            _list(
                "groups",
                [
                    {"id": int(number), "name": name, "default": number == world.default_group}
                    for number, name in world.groups.items()
                ],
            ),
        ),
        (
            "user_permissions",
            "",
            "permissions/users",
            {},
            _list(
                "users",
                [
                    {"login": login, "permissions": list(keys)}
                    for login, keys in _permissions(world).items()
                ],
            ),
        ),
        (
            "group_permissions",
            "",
            "permissions/groups",
            {},
            _list(
                "groups",
                [
                    {"id": number, "name": world.groups[number], "permissions": list(keys)}
                    for number, keys in world.group_permissions.items()
                ]
                + ([{"name": "Anyone", "permissions": list(world.anyone)}] if world.anyone else []),
            ),
        ),
    ]
    for number, logins in (dict.fromkeys(world.groups, ()) | dict(world.group_members)).items():
        document = {
            "users": [{"login": login, "selected": True} for login in logins],
            "total": len(logins),
        }
        bodies.append(("group_members", number, "user_groups/users", {"id": number}, document))
    if Scope.PROJECT_PERMISSIONS in scopes:
        bodies += _project_bodies(world)
    if Scope.ACCOUNT_DETAILS in scopes:
        users = [
            {"login": login, "id": world.ids.get(login, f"id-{login}"), "email": email}
            for login, email in world.emails.items()
        ]
        document = {"users": users, "page": {"pageIndex": 1, "pageSize": 500, "total": len(users)}}
        bodies.append(("account_details", "", "users-management/users", {}, document))
    return Snapshot(
        connection="acme",
        organization_key=key,
        source_url="http://127.0.0.1:1",
        source_kind=source_kind,
        started_at=started_at,
        observed_at=started_at + duration,
        server_started_at=None,
        server_observed_at=None,
        scopes=scopes,
        verdict=verdict,
        reason=None if verdict is Verdict.COMPLETE else "made so",
        token_login="reader",
        tls_bundle_sha256=None,
        run_id=run_id,
        pipeline_version="test",
        counts={},
        lists=(),
        controls=(),
        responses=tuple(
            Response(
                sequence=sequence,
                list_name=name,
                subject=subject,
                reading=1,
                endpoint=endpoint,
                params=params,
                page=1,
                status=200,
                started_at=started_at,
                duration_ms=1,
                server_time=None,
                attempts=1,
                rows=0,
                reported_total=None,
                **packed(json.dumps(document).encode()),
            )
            for sequence, (name, subject, endpoint, params, document) in enumerate(bodies, start=1)
        ),
    )


def _permissions(world: World) -> Mapping[str, Sequence[str]]:
    """What each account was granted itself, those with grants first: every member is listed, as
    SonarCloud does.
    """
    listed = dict.fromkeys((*world.emails, *world.members), ()) | dict(world.user_permissions)
    return dict(sorted(listed.items(), key=lambda entry: not entry[1]))


def _project_bodies(world: World) -> Iterator[tuple[str, str, str, dict[str, str], dict[str, Any]]]:
    projects = [
        {"key": key, "name": name, "visibility": "private"} for key, name in world.projects.items()
    ]
    yield "projects", "", "projects/search", {}, _list("components", projects)
    for key in world.projects:
        users = [
            {"login": login, "permissions": ["user"]} for login in world.project_users.get(key, ())
        ]
        groups = [
            {"id": number, "name": world.groups[number], "permissions": ["admin"]}
            for number in world.project_groups.get(key, ())
        ]
        asked = {"projectKey": key}
        yield "project_user_permissions", key, "permissions/users", asked, _list("users", users)
        yield "project_group_permissions", key, "permissions/groups", asked, _list("groups", groups)


def _list(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"paging": {"pageIndex": 1, "pageSize": 500, "total": len(rows)}, name: rows}


def _without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def unguard(transaction: Connection, table: str) -> None:
    """Take away what keeps a table from being changed, as whoever owns a database can: for tests of
    what is then noticed.
    """
    on = f" ON {table}" if transaction.dialect.name == "postgresql" else ""
    for name in ("no_update", "no_delete"):
        transaction.execute(text(f"DROP TRIGGER {table}_{name}{on}"))
