"""A snapshot in memory: what was asked, what came back, and what is to be thought of it.

No parsing, no storage.

The source makes one, the warehouse keeps it, evidence quotes it. Times are aware UTC datetimes,
durations milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Annotated, Any

from sonar_access_pipeline.access.codec import Numbers, Texts, Words


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
    PROJECT_PERMISSIONS = "project_permissions"
    ACCOUNT_DETAILS = "account_details"


@dataclass(frozen=True)
class Response:
    """One HTTP response of a snapshot: the exact body (compressed, as it is kept), and the facts
    around it.

    `body_sha256` is that of the body as it came, in hex; `size_bytes` its length. `reading` counts
    how often its list was read, from 1; only the last reading of a list is parsed. `attempts`
    counts the tries it took, from 1. `server_time` is SonarCloud's own clock, where it gave one.
    """

    sequence: int
    list_name: str
    subject: str
    reading: int
    endpoint: str
    params: Texts
    page: int | None
    status: int
    started_at: datetime
    duration_ms: int
    server_time: datetime | None
    attempts: int
    rows: int
    reported_total: int | None
    body_sha256: str
    size_bytes: int
    zlib_body: bytes = field(repr=False)

    @property
    def body(self) -> bytes:
        """The body as it came."""
        return zlib.decompress(self.zlib_body)


def packed(body: bytes) -> dict[str, Any]:
    """Build the three fields of a `Response` that a body fills.

    The compression is a fast one: bodies are many, and mostly repetition.
    """
    return {
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "size_bytes": len(body),
        "zlib_body": zlib.compress(body, 1),
    }


@dataclass(frozen=True)
class ListRead:
    """How one list was read.

    `subject` is the group id or project key of a list that there are many of, else empty.

    `reason` says why it is incomplete, or, of a complete one that was not read to its total, how it
    is complete nevertheless.
    """

    name: str
    subject: str
    reported_total: int | None
    rows: int
    distinct: int
    rereads: int
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class Control:
    """A comparison of two independent statements about one thing.

    `passed` None: it could not be evaluated, detail says why.
    """

    name: str
    compares: str
    left: int | None
    right: int | None
    passed: bool | None
    detail: str | None


@dataclass(frozen=True)
class Snapshot:
    """One read of one organization.

    `tls_bundle_sha256` is that of the bundle of certificate authorities which the environment named
    to verify SonarCloud's TLS; None where it named none, or there was no TLS.
    """

    connection: str
    organization_key: str
    source_url: str
    source_kind: SourceKind
    started_at: datetime
    observed_at: datetime
    server_started_at: datetime | None
    server_observed_at: datetime | None
    scopes: Annotated[tuple[Scope, ...], Words]
    verdict: Verdict
    reason: str | None
    token_login: str
    tls_bundle_sha256: str | None
    run_id: str
    pipeline_version: str
    counts: Numbers
    lists: Sequence[ListRead]
    controls: Sequence[Control]
    responses: Sequence[Response] = field(repr=False)

    @property
    def partition_date(self) -> date:
        """The UTC date of `started_at`: the partition this snapshot belongs to."""
        return self.started_at.astimezone(UTC).date()

    @cached_property
    def content_sha256(self) -> str:
        """Hex SHA-256 of everything this snapshot says, bodies by their digest, as canonical
        JSON.
        """
        return canonical_digest(self.facts())

    def facts(self) -> dict[str, Any]:
        """Return everything this snapshot says, bodies by their digest, ready for canonical
        JSON.
        """
        return {
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
            "tls_bundle_sha256": self.tls_bundle_sha256,
            "run_id": self.run_id,
            "pipeline_version": self.pipeline_version,
            "counts": dict(self.counts),
            # In an order of their own, so that the digest can be computed again from tables, which
            # have none.
            "lists": [
                _facts(LIST_FACTS, read)
                for read in sorted(self.lists, key=attrgetter("name", "subject"))
            ],
            "controls": [
                _facts(CONTROL_FACTS, control)
                for control in sorted(self.controls, key=attrgetter("name"))
            ],
            "responses": [_facts(RESPONSE_FACTS, response) for response in self.responses],
        }


def _facts(names: Sequence[str], of: object) -> dict[str, Any]:
    return {name: getattr(of, name) for name in names}


LIST_FACTS = (
    "name",
    "subject",
    "reported_total",
    "rows",
    "distinct",
    "rereads",
    "verdict",
    "reason",
)
CONTROL_FACTS = ("name", "compares", "left", "right", "passed", "detail")
RESPONSE_FACTS = (
    "sequence",
    "list_name",
    "subject",
    "reading",
    "endpoint",
    "params",
    "page",
    "status",
    "started_at",
    "duration_ms",
    "server_time",
    "attempts",
    "rows",
    "reported_total",
    "body_sha256",
)
"""What the digest of a snapshot is made of. Of a body, its own digest."""


def chain_head(previous_sha256: str, content_sha256: str) -> str:
    """Compute the link after a snapshot: it commits to that snapshot and to every one recorded
    before it.
    """
    return hashlib.sha256(f"{previous_sha256}{content_sha256}".encode()).hexdigest()


CLOCKS_DIFFER = timedelta(minutes=5)
"""By how much two clocks may differ: this machine's, SonarCloud's, another collector's, a time
stamp authority's.
"""
CHAIN_START = "0" * 64
"""The link before the first snapshot of a warehouse."""


def canonical_json(value: Any) -> bytes:
    """`value` as UTF-8 JSON with sorted keys and no spaces; times as ISO 8601 UTC with microseconds
    and a Z.
    """
    return json.dumps(
        value,
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
        default=_canonical_default,
        allow_nan=False,
    ).encode()


def canonical_digest(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@lru_cache(maxsize=4096)
def iso(moment: datetime) -> str:
    """`moment` as `2026-11-02T05:00:03.000000Z`, whatever its zone: one spelling, sortable as
    text.
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _canonical_default(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
