"""A snapshot in memory: what was asked, what came back, and what is to be thought of it. No parsing, no storage.

The source makes one, the warehouse keeps it, evidence quotes it. Times are aware UTC datetimes, durations milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any


class Verdict(StrEnum):
    """What a snapshot is worth. Nothing is derived from one that is not complete."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    HELD = "held"


class SourceKind(StrEnum):
    """Where answers come from; fixed per snapshot, never mixed in an organization."""

    SONARCLOUD = "sonarcloud"
    SIMULATED = "simulated"
    OTHER = "other"


class Scope(StrEnum):
    """A set of lists that is read or not read as a whole."""

    CORE = "core"


class ListName(StrEnum):
    """The lists of a snapshot, in the order they are read."""

    CALLER = "caller"
    ORGANIZATION = "organization"
    MEMBERS = "members"
    GROUPS = "groups"
    GROUP_MEMBERS = "group_members"
    USER_PERMISSIONS = "user_permissions"
    GROUP_PERMISSIONS = "group_permissions"


@dataclass(frozen=True)
class Response:
    """One HTTP response of a snapshot: the exact body, and the facts around it.

    `reading` counts how often its list was read, from 1; only the last reading of a list is parsed.
    `attempts` counts the tries it took, from 1. `server_time` is SonarCloud's own clock, where it gave one.
    """

    sequence: int
    list_name: ListName
    subject: str
    reading: int
    endpoint: str
    params: Mapping[str, str]
    page: int | None
    status: int
    started_at: datetime
    duration_ms: int
    server_time: datetime | None
    attempts: int
    rows: int
    reported_total: int | None
    body: bytes = field(repr=False)

    @cached_property
    def body_sha256(self) -> str:
        """Hex SHA-256 of the body."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True)
class ListRead:
    """How one list was read. `subject` is the group id for the members of a group, else empty."""

    name: ListName
    subject: str
    reported_total: int | None
    rows: int
    distinct: int
    rereads: int
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class Control:
    """A comparison of two independent statements about one thing. `passed` None: it could not be evaluated, detail says why."""

    name: str
    compares: str
    left: int | None
    right: int | None
    passed: bool | None
    detail: str | None


@dataclass(frozen=True)
class Snapshot:
    """One read of one organization."""

    connection: str
    organization_key: str
    source_url: str
    source_kind: SourceKind
    started_at: datetime
    observed_at: datetime
    server_started_at: datetime | None
    server_observed_at: datetime | None
    scopes: tuple[Scope, ...]
    verdict: Verdict
    reason: str | None
    token_login: str
    run_id: str
    pipeline_version: str
    counts: Mapping[str, int]
    lists: Sequence[ListRead]
    controls: Sequence[Control]
    responses: Sequence[Response] = field(repr=False)

    @property
    def partition_date(self) -> date:
        """The UTC date of `started_at`: the partition this snapshot belongs to."""
        return self.started_at.astimezone(UTC).date()

    @cached_property
    def content_sha256(self) -> str:
        """Hex SHA-256 of everything this snapshot says, bodies by their digest, as canonical JSON."""
        return canonical_digest(
            {
                "connection": self.connection,
                "organization_key": self.organization_key,
                "source_url": self.source_url,
                "source_kind": self.source_kind,
                "started_at": self.started_at,
                "observed_at": self.observed_at,
                "server_started_at": self.server_started_at,
                "server_observed_at": self.server_observed_at,
                "scopes": list(self.scopes),
                "verdict": self.verdict,
                "reason": self.reason,
                "token_login": self.token_login,
                "run_id": self.run_id,
                "pipeline_version": self.pipeline_version,
                "counts": dict(self.counts),
                "lists": [vars(read) for read in self.lists],
                "controls": [vars(control) for control in self.controls],
                "responses": [
                    {name: value for name, value in vars(response).items() if name != "body"}
                    | {"body_sha256": response.body_sha256}
                    for response in self.responses
                ],
            }
        )


def chain_head(previous_sha256: str, content_sha256: str) -> str:
    """The link after a snapshot: it commits to that snapshot and to every one recorded before it."""
    return hashlib.sha256(f"{previous_sha256}{content_sha256}".encode()).hexdigest()


CHAIN_START = "0" * 64
"""The link before the first snapshot of a warehouse."""


def canonical_json(value: Any) -> bytes:
    """`value` as UTF-8 JSON with sorted keys and no spaces; times as ISO 8601 UTC with microseconds and a Z."""
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_canonical_default, allow_nan=False
    ).encode()


def canonical_digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@lru_cache(maxsize=4096)
def iso(moment: datetime) -> str:
    """`moment` as `2026-11-02T05:00:03.000000Z`, whatever its zone: one spelling, sortable as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _canonical_default(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
