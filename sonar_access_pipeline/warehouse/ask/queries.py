"""The questions people ask, one function each: who had access, what changed, which days were
observed, who administers.

Every answer is ordered, in UTC, and belongs to an observation: `observation_at` says which one, and
how old it is. Rows come back as mappings; `frames.py` makes DataFrames of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Annotated, Any

from sqlalchemy import Connection, and_, func, or_, select

from sonar_access_pipeline.access.codec import Codec, Numbers, Words
from sonar_access_pipeline.access.records import ANYONE
from sonar_access_pipeline.access.rows import FCT_USER_ACCESS
from sonar_access_pipeline.access.snapshot import Scope, SourceKind, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse.ask.as_of import Names, shown_at
from sonar_access_pipeline.warehouse.bulk import rows
from sonar_access_pipeline.warehouse.errors import NothingObservedError, WarehouseError
from sonar_access_pipeline.warehouse.schema import (
    evidence_packet,
    history_observation,
    history_tables,
    raw_control,
    raw_list,
    raw_snapshot,
    snapshot_decision,
)
from sonar_access_pipeline.warehouse.views import fct_access_change, observation, sync_coverage

Rows = list[dict[str, Any]]
BEGINNING = datetime.min.replace(tzinfo=UTC)
"""Before every observation."""

RIGHT = (
    "login",
    "name",
    "access_type",
    "resource",
    "resource_name",
    "entitlement",
    "granted_via",
    "granted_via_name",
)
ACCESS = ("principal_type", *RIGHT, "changed_after", "valid_from")
CHANGES = ("kind", *RIGHT, "changed_after", "changed_by", "detail")
NOT_EXPECTED = "not_expected"
"""The status of a day before the first try to observe an organization, or after its recorded end.
"""
COVERAGE = (
    "day",
    "status",
    "snapshots",
    "attempts",
    "observed_at",
    "run_id",
    "error",
    "imported_from",
)


@dataclass(frozen=True)
class ObservationFacts:
    """One observation: what an answer rests on."""

    snapshot_id: int
    organization_key: str
    source_url: str
    source_kind: SourceKind
    started_at: datetime
    observed_at: datetime
    scopes: Annotated[tuple[Scope, ...], Words]
    token_login: str
    tls_bundle_sha256: str | None
    run_id: str
    content_sha256: str
    counts: Numbers
    imported_from: str | None
    """The digest of the archive that it came in; None where this warehouse read it itself."""


FACTS = Codec(ObservationFacts)


def organizations(transaction: Connection) -> list[str]:
    """Return the key of every organization with a snapshot, sorted."""
    return sorted(transaction.execute(select(raw_snapshot.c.organization_key).distinct()).scalars())


def the_organization(transaction: Connection, wanted: str | None) -> str:
    """`wanted`, or the only organization there is.

    Raises `WarehouseError` when there is none, or a choice.
    """
    known = organizations(transaction)
    if wanted is not None and wanted not in known:
        raise WarehouseError(
            f"The warehouse has no snapshot of organization '{wanted}'; it has:"
            f" {', '.join(known) or 'none'}."
        )
    if not known:
        raise WarehouseError("The warehouse has no snapshot yet; run `sonar-access sync` first.")
    if wanted is None and len(known) > 1:
        raise WarehouseError(f"Say which organization with --organization: {', '.join(known)}.")
    return wanted or known[0]


def observation_at(
    transaction: Connection, organization_key: str, moment: datetime | date
) -> ObservationFacts:
    """Find the last observation that history shows at or before a moment; for a day, the last one
    that began by its end.

    Raises `NothingObservedError`.
    """
    if isinstance(moment, datetime):
        candidates = observations(transaction, organization_key, until=moment)
        bound = f"at or before {moment:%Y-%m-%d %H:%M} UTC"
    else:
        candidates = [
            facts
            for facts in observations(transaction, organization_key)
            if facts.started_at.date() <= moment
        ]
        bound = f"on or before {moment}"
    if not candidates:
        raise NothingObservedError(
            f"Organization '{organization_key}' was not observed {bound}, and the past cannot be"
            " fetched: SonarCloud only ever shows the present."
        )
    return candidates[-1]


def observations(
    transaction: Connection,
    organization_key: str,
    *,
    after: datetime | None = None,
    until: datetime | None = None,
) -> list[ObservationFacts]:
    """Return the observations that history shows with after < observed_at <= until, oldest
    first.
    """
    query = (
        select(observation)
        .join(
            history_observation,
            and_(
                history_observation.c.organization_key == observation.c.organization_key,
                history_observation.c.observed_at == observation.c.observed_at,
                history_observation.c.scope == Scope.CORE.value,
            ),
        )
        .where(observation.c.organization_key == organization_key)
        .order_by(observation.c.observed_at)
    )
    if after is not None:
        query = query.where(observation.c.observed_at > after)
    if until is not None:
        query = query.where(observation.c.observed_at <= until)
    return list(map(FACTS.of_row, transaction.execute(query).mappings()))


def access_at(transaction: Connection, answering: ObservationFacts) -> Rows:
    """Return every access row that an observation shows, with the names of that moment; what groups
    may do on projects, and groups without members on the organization, once per group; and what
    `Anyone` may do. A scope that the observation did
    not read shows nothing: it is unknown then.

    Columns: `ACCESS`. Ordered by principal_type (user, group, anyone), then login, access_type,
    resource, entitlement and granted_via.
    """
    names = Names(transaction, answering.organization_key, answering.observed_at)
    order = {"group": 0, "anyone": 1}
    principals = sorted(
        _principals_at(transaction, answering, names),
        key=lambda row: (
            order[row["principal_type"]],
            *(row[name] for name in ("access_type", *WAY)),
        ),
    )
    return _user_access_at(transaction, answering, names) + principals


WAY = ("resource", "entitlement", "granted_via")


def _user_access_at(transaction: Connection, answering: ObservationFacts, names: Names) -> Rows:
    access = history_tables["fct_user_access"]
    column = access.c
    unread = set().union(
        *(
            part.values or set()
            for part in FCT_USER_ACCESS.parts
            if part.scope not in answering.scopes
        )
    )
    query = select(
        column.login,
        column.access_type,
        column.resource,
        column.entitlement,
        column.granted_via,
        column.changed_after,
        column.valid_from,
    ).where(
        shown_at(access, answering.organization_key, answering.observed_at),
        column.access_type.not_in(sorted(unread)),
    )
    # There may be a hundred thousand: sorted as the tuples they are, by their key, which is unique.
    return [
        {
            "principal_type": "user",
            **_right(names, login, access_type, resource, entitlement, granted_via),
            "changed_after": changed_after,
            "valid_from": valid_from,
        }
        for login, access_type, resource, entitlement, granted_via, changed_after, valid_from in (
            sorted(rows(transaction, query))
        )
    ]


def _right(
    names: Names, login: str, access_type: str, resource: str, entitlement: str, granted_via: str
) -> dict[str, Any]:
    """Build the row of a right of an account, with names. Columns: `RIGHT`."""
    return {
        "login": login,
        "name": names.users.get(login),
        "access_type": access_type,
        "resource": resource,
        "resource_name": names.of(access_type, resource),
        "entitlement": entitlement,
        "granted_via": granted_via,
        "granted_via_name": names.groups.get(granted_via.removeprefix("group:")),
    }


def _principals_at(transaction: Connection, answering: ObservationFacts, names: Names) -> Rows:
    """Return what `Anyone` may do, what groups may do on projects, and what groups that nobody is
    in may do on the organization.

    Per login, the project rights through groups would be millions; on the organization they stand
    with each member.
    """
    grants = history_tables["fct_permission_grant"]
    bridge = history_tables["bridge_group_member"]
    at = (answering.organization_key, answering.observed_at)
    has_members = select(bridge.c.group_id).where(shown_at(bridge, *at))
    scopes = ["organization"] + (
        ["project"] if Scope.PROJECT_PERMISSIONS in answering.scopes else []
    )
    grant_rows = transaction.execute(
        select(grants).where(
            shown_at(grants, *at),
            grants.c.scope.in_(scopes),
            or_(
                grants.c.principal_type == "anyone",
                and_(
                    grants.c.principal_type == "group",
                    or_(grants.c.scope == "project", grants.c.principal.not_in(has_members)),
                ),
            ),
        )
    )
    answer: Rows = []
    for row in grant_rows:
        is_group = row.principal_type == "group"
        access_type = f"{row.scope}_permission"
        resource = row.project_key or answering.organization_key
        group_name = names.groups.get(row.principal) if is_group else None
        answer.append(
            {
                "principal_type": row.principal_type,
                "login": None,
                "name": group_name if is_group else ANYONE,
                "access_type": access_type,
                "resource": resource,
                "resource_name": names.of(access_type, resource),
                "entitlement": row.permission,
                "granted_via": f"group:{row.principal}" if is_group else "direct",
                "granted_via_name": group_name,
                "changed_after": row.changed_after,
                "valid_from": row.valid_from,
            }
        )
    return answer


def members_at(transaction: Connection, answering: ObservationFacts) -> Rows:
    """Return the member list that an observation shows.

    Columns: login, name, is_organization_admin; ordered by login.
    """
    users = history_tables["dim_user"]
    shown = shown_at(users, answering.organization_key, answering.observed_at)
    rows = transaction.execute(
        select(users.c.login, users.c.name, users.c.is_organization_admin).where(shown)
    ).mappings()
    return _sorted([dict(row) for row in rows], "login")


def organization_name(transaction: Connection, answering: ObservationFacts) -> str | None:
    """Return the display name of the organization that an observation shows."""
    return Names(transaction, answering.organization_key, answering.observed_at).organization


def admins_at(transaction: Connection, answering: ObservationFacts) -> Rows:
    """List who administers the organization according to an observation, one row per way.

    Columns and order of `access_at`.
    """
    return [
        row
        for row in access_at(transaction, answering)
        if (row["access_type"], row["entitlement"]) == ("organization_permission", "admin")
    ]


def changes_between(
    transaction: Connection, organization_key: str, after: datetime, until: datetime
) -> Rows:
    """Return every access row that opened or closed with after < changed_by <= until, with the last
    names known by `until`.

    Columns: `CHANGES`, and whether it `closes`; the change lies between changed_after and
    changed_by. Ordered by changed_by, kind, login and the rest of the access row.
    """
    view = fct_access_change.c
    right = ("login", "access_type", "resource", "entitlement", "granted_via")
    ordered = ("changed_by", "kind", *right)
    query = select(
        *(view[name] for name in ordered), view.changed_after, view.detail, view.closes
    ).where(
        view.organization_key == organization_key, view.changed_by > after, view.changed_by <= until
    )
    names = Names(transaction, organization_key, until, of_all_times=True)
    # There may be a hundred thousand: sorted as the tuples they are.
    change_rows = sorted(rows(transaction, query), key=itemgetter(*range(len(ordered))))
    return [
        {
            "kind": kind,
            **_right(names, *row[: len(right)]),
            "changed_after": row[-3],
            "changed_by": changed_by,
            "detail": row[-2],
            "closes": bool(row[-1]),
        }
        for changed_by, kind, *row in change_rows
    ]


def coverage(transaction: Connection, organization_key: str, first: date, last: date) -> Rows:
    """Return one row per day from `first` to `last`, both included.

    Columns: `COVERAGE`; status is observed, held, retracted, incomplete, failed, missing, or
    `NOT_EXPECTED`.
    """
    view = sync_coverage.c
    rows_by_day = {
        row["partition_date"]: row
        for row in transaction.execute(
            select(sync_coverage).where(
                view.organization_key == organization_key, view.partition_date.between(first, last)
            )
        ).mappings()
    }
    answer: Rows = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        row = rows_by_day.get(day)
        answer.append(
            {
                "day": day,
                "status": row["status"] if row else NOT_EXPECTED,
                "snapshots": row["snapshots"] if row else 0,
                "attempts": row["attempts"] if row else 0,
                "observed_at": row["observed_at"] if row else None,
                "run_id": row["run_id"] if row else None,
                "error": row["error"] if row else None,
                "imported_from": row["imported_from"] if row else None,
            }
        )
    return answer


def missing_days(
    transaction: Connection, organization_key: str, first: date, last: date
) -> list[date]:
    """Find the gaps from `first` to `last`: the days that were expected to be observed, and were
    not.
    """
    return [row["day"] for row in gaps(coverage(transaction, organization_key, first, last))]


def gaps(covered: Rows) -> Rows:
    """Select the rows of `coverage` whose days were expected to be observed, and were not."""
    return [row for row in covered if row["status"] not in ("observed", NOT_EXPECTED)]


@dataclass(frozen=True)
class WindowObservations:
    """The observations that a window of days rests on."""

    window: Window
    as_of: ObservationFacts
    """The last one in or before the window."""
    before: ObservationFacts | None
    """The last one before the window; None when there is none."""
    within: list[ObservationFacts]
    """Those of the window, oldest first."""

    @property
    def no_comparison(self) -> str | None:
        """Why nobody knows what changed in the window; None where two observations tell: one of it,
        and one before that.
        """
        if not self.within:
            return (
                "nothing was observed in the window; the last observation before it ended"
                f" {_said(self.as_of)}"
            )
        if self.before is None and len(self.within) == 1:
            return (
                "its only observation is the first there ever was, and there is none before it to"
                " compare it with"
            )
        return None

    @property
    def unknown_parts(self) -> list[str]:
        """The parts of the window, before its first observation and after its last, of which nobody
        knows what changed.

        No part, where nothing of it is known anyway (`no_comparison`).
        """
        if self.no_comparison:
            return []
        sentences = []
        if self.before is None:
            sentences.append(f"What changed before {_said(self.within[0])} is not known.")
        if self.as_of.started_at.date() < self.window.last:
            sentences.append(f"What changed after {_said(self.as_of)} is not known.")
        return sentences

    @property
    def reaches_back(self) -> str | None:
        """A sentence where the first changes of the window may be older than it, because days
        before it were not observed.
        """
        if (
            self.before is None
            or not self.within
            or self.before.started_at.date() >= self.window.first - timedelta(days=1)
        ):
            return None
        return (
            f"What {_said(self.within[0])} shows first changed after {_said(self.before)}, the last"
            " observation before the window: it may have changed before the window began."
        )

    @property
    def after(self) -> datetime:
        """Changes of the window come after this moment."""
        return self.before.observed_at if self.before else BEGINNING


def _said(observed: ObservationFacts) -> str:
    return f"{observed.observed_at:%Y-%m-%d %H:%M:%S} UTC"


def window_observations(
    transaction: Connection, organization_key: str, window: Window
) -> WindowObservations:
    """Find what a window rests on, by the day each observation began.

    Raises `NothingObservedError` when there is nothing.
    """
    as_of = observation_at(transaction, organization_key, window.last)
    known = observations(transaction, organization_key, until=as_of.observed_at)
    earlier = [facts for facts in known if facts.started_at.date() < window.first]
    return WindowObservations(
        window, known[-1], earlier[-1] if earlier else None, known[len(earlier) :]
    )


SNAPSHOTS = (
    "snapshot_id",
    "partition_date",
    "started_at",
    "observed_at",
    "scopes",
    "verdict",
    "counts_as_observation",
    "reason",
    "run_id",
    "content_sha256",
    "imported_from",
    "decided",
)


def snapshots(transaction: Connection, organization_key: str) -> Rows:
    """Return every snapshot of an organization, oldest first.

    Columns: `SNAPSHOTS`. `decided` is the last decision about it, by whom and why, if any.
    """
    table = raw_snapshot.c
    counting = select(observation.c.snapshot_id)
    rows = transaction.execute(
        select(
            table.snapshot_id,
            table.partition_date,
            table.started_at,
            table.observed_at,
            table.scopes,
            table.verdict,
            table.snapshot_id.in_(counting).label("counts_as_observation"),
            table.reason,
            table.run_id,
            table.content_sha256,
            table.imported_from,
        )
        .where(table.organization_key == organization_key)
        .order_by(table.snapshot_id)
    ).mappings()
    decided = {
        row["snapshot_id"]: f"{row['decision']} by {row['decided_by']}: {row['reason']}"
        for row in decisions(transaction, organization_key)
    }
    return [{**row, "decided": decided.get(row["snapshot_id"])} for row in rows]


def held(transaction: Connection, organization_key: str) -> Rows:
    """Return the snapshots that wait for a person's decision. Columns and order of `snapshots`."""
    return [
        row
        for row in snapshots(transaction, organization_key)
        if row["verdict"] == Verdict.HELD.value and row["decided"] is None
    ]


def decisions(transaction: Connection, organization_key: str) -> Rows:
    """Return every decision about a snapshot of an organization, oldest first.

    Columns of `snapshot_decision`.
    """
    rows = transaction.execute(
        select(snapshot_decision)
        .join(raw_snapshot, raw_snapshot.c.snapshot_id == snapshot_decision.c.snapshot_id)
        .where(raw_snapshot.c.organization_key == organization_key)
        .order_by(snapshot_decision.c.decision_id)
    ).mappings()
    return [dict(row) for row in rows]


def lists_of_snapshot(transaction: Connection, snapshot_id: int) -> Rows:
    """Return how each list of a snapshot was read.

    Columns of `raw_list`; ordered by list and subject.
    """
    rows = transaction.execute(
        select(raw_list).where(raw_list.c.snapshot_id == snapshot_id)
    ).mappings()
    return _sorted([dict(row) for row in rows], "list_name", "subject")


def controls_of_snapshot(transaction: Connection, snapshot_id: int) -> Rows:
    """Return the comparisons of a snapshot. Columns of `raw_control`; ordered by control."""
    rows = transaction.execute(
        select(raw_control).where(raw_control.c.snapshot_id == snapshot_id)
    ).mappings()
    return _sorted([dict(row) for row in rows], "control")


PACKETS = (
    "packet_id",
    "first_day",
    "last_day",
    "digest",
    "previous_digest",
    "source_kind",
    "location",
    "sealed_at",
)
"""What an answer about packets shows of the table."""


def packets(transaction: Connection, organization_key: str) -> Rows:
    """Return every packet sealed for an organization, in the order of sealing.

    Columns of `evidence_packet`.
    """
    table = evidence_packet.c
    rows = transaction.execute(
        select(evidence_packet)
        .where(table.organization_key == organization_key)
        .order_by(table.packet_id)
    ).mappings()
    return [dict(row) for row in rows]


def packets_named(transaction: Connection, begins: str) -> list[str]:
    """List where the packets lie whose digest begins so, with six characters or more."""
    if len(begins) < 6:
        return []
    digest = evidence_packet.c.digest
    query = select(evidence_packet.c.location).where(digest.startswith(begins, autoescape=True))
    return list(transaction.execute(query.order_by(evidence_packet.c.packet_id)).scalars())


def history_faults(transaction: Connection, organization_key: str) -> dict[str, int]:
    """Per history table, how many pairs of intervals of one row overlap or touch: none, in a
    history that keeps its promise.
    """
    faults: dict[str, int] = {}
    for name, table in history_tables.items():
        keys = [column for column in table.primary_key.columns if column.name != "valid_from"]
        next_from = func.lead(table.c.valid_from).over(
            partition_by=keys, order_by=table.c.valid_from
        )
        next_hash = func.lead(table.c.row_hash).over(partition_by=keys, order_by=table.c.valid_from)
        pairs = (
            select(
                table.c.valid_to,
                table.c.row_hash,
                next_from.label("next_from"),
                next_hash.label("next_hash"),
            )
            .where(table.c.organization_key == organization_key)
            .subquery()
        )
        overlapping = or_(pairs.c.valid_to.is_(None), pairs.c.valid_to > pairs.c.next_from)
        touching = and_(
            pairs.c.valid_to == pairs.c.next_from, pairs.c.row_hash == pairs.c.next_hash
        )
        query = select(func.count()).where(
            pairs.c.next_from.is_not(None), or_(overlapping, touching)
        )
        faults[name] = transaction.execute(query).scalar_one()
    return faults


def _sorted(rows: Rows, *columns: str) -> Rows:
    # In Python, by code point: databases sort text by locales of their own, and an answer must not
    # depend on one.
    return sorted(rows, key=lambda row: [row[column] for column in columns])


@dataclass(frozen=True)
class Movement:
    """What happened in one history table: rows shown at the end, and intervals opened and closed on
    the way there.
    """

    rows: int
    opened: int
    closed: int


def movement(
    transaction: Connection, organization_key: str, after: datetime, until: datetime
) -> dict[str, Movement]:
    """Per history table, the rows at `until`, and those opened and closed with after < time <=
    until.
    """
    answer = {}
    for name, table in history_tables.items():
        ours = (
            select(func.count())
            .select_from(table)
            .where(table.c.organization_key == organization_key)
        )
        answer[name] = Movement(
            rows=transaction.execute(
                ours.where(shown_at(table, organization_key, until))
            ).scalar_one(),
            opened=transaction.execute(
                ours.where(table.c.valid_from > after, table.c.valid_from <= until)
            ).scalar_one(),
            closed=transaction.execute(
                ours.where(table.c.valid_to > after, table.c.valid_to <= until)
            ).scalar_one(),
        )
    return answer
