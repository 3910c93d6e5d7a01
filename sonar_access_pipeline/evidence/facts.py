"""Everything that a packet states, gathered in one transaction. No file, no format, no clock: one warehouse, one set of facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.queries import ObservationFacts, Rows


@dataclass(frozen=True)
class Facts:
    """What is true of one organization and one window, each table in its stated order."""

    organization_key: str
    window: Window
    as_of: ObservationFacts
    before: ObservationFacts | None
    """The last observation before the window, which its first changes are measured against."""
    observations: Sequence[ObservationFacts]
    """The observations within the window, oldest first."""
    population: Rows
    access: Rows
    changes: Rows
    coverage: Rows
    controls: Rows
    waiting: Rows
    """Snapshots of the window that count for nothing, such as incomplete ones."""
    decisions: Rows
    """What people decided about snapshots up to the end of the window."""
    name: str | None

    @property
    def source_kind(self) -> SourceKind:
        """Where every fact comes from."""
        return self.as_of.source_kind

    @property
    def anyone(self) -> list[str]:
        """The permissions that `Anyone`, signed in or not, has on the organization."""
        return [row["entitlement"] for row in self._of_anyone if row["access_type"] == "organization_permission"]

    @property
    def projects_of_anyone(self) -> int:
        """On how many projects `Anyone` has a permission."""
        return len({row["resource"] for row in self._of_anyone if row["access_type"] == "project_permission"})

    @property
    def _of_anyone(self) -> Rows:
        return [row for row in self.access if row["principal_type"] == "anyone"]

    @property
    def held(self) -> Rows:
        """Snapshots of the window that wait for a person's decision."""
        return [row for row in self.waiting if row["verdict"] == "held" and row["decided"] is None]

    @property
    def imported(self) -> list[ObservationFacts]:
        """The observations used that came in an archive from another warehouse."""
        return [facts for facts in self.used if facts.imported_from]

    @property
    def used(self) -> list[ObservationFacts]:
        """Every observation that the facts rest on, oldest first."""
        return [*([self.before] if self.before else []), *self.observations]

    @property
    def gaps(self) -> Rows:
        """The days of the window without an observation."""
        return [row for row in self.coverage if row["status"] != "observed"]

    @property
    def admins(self) -> Rows:
        """The accounts of the population that administer the organization."""
        return [row for row in self.population if row["is_admin"]]

    @property
    def age_seconds(self) -> int:
        """How long before the end of the window the last observation ended."""
        return round((self.window.end - self.as_of.observed_at).total_seconds())


def gather(warehouse: Warehouse, organization_key: str, window: Window) -> Facts:
    """The facts of a window. Raises `NothingObservedError` when there is no observation in it or before it."""
    with warehouse.read() as transaction:
        rests_on = queries.window_observations(transaction, organization_key, window)
        as_of = rests_on.as_of
        access = queries.access_at(transaction, as_of)
        members = queries.members_at(transaction, as_of)
        snapshots = queries.snapshots(transaction, organization_key)
        within = {row["snapshot_id"]: row for row in snapshots if row["partition_date"] <= window.last}
        return Facts(
            organization_key=organization_key,
            window=window,
            as_of=as_of,
            before=rests_on.before,
            observations=rests_on.within,
            population=_population(organization_key, members, access),
            access=access,
            changes=queries.changes_between(transaction, organization_key, rests_on.after, as_of.observed_at),
            coverage=queries.coverage(transaction, organization_key, window.first, window.last),
            controls=queries.controls_of_snapshot(transaction, as_of.snapshot_id),
            waiting=[
                row
                for row in snapshots
                if window.first <= row["partition_date"] <= window.last and not row["counts_as_observation"]
            ],
            decisions=[
                {**row, "content_sha256": within[row["snapshot_id"]]["content_sha256"]}
                for row in queries.decisions(transaction, organization_key)
                if row["snapshot_id"] in within and within[row["snapshot_id"]]["partition_date"] >= window.first
            ],
            name=queries.organization_name(transaction, as_of),
        )


def _population(organization_key: str, members: Rows, access: Rows) -> Rows:
    """One row per login that any list names, in order of login; unknown stays None."""
    stated = {row["login"]: row for row in members}
    rows_of: dict[str, Rows] = defaultdict(list)
    for row in access:
        if row["principal_type"] == "user":
            rows_of[row["login"]].append(row)
    return [_account(organization_key, login, stated.get(login), rows_of[login]) for login in sorted(set(stated) | set(rows_of))]


def _account(organization_key: str, login: str, member: dict[str, Any] | None, access: Rows) -> dict[str, Any]:
    permissions = [row for row in access if row["access_type"] == "organization_permission"]
    admin_paths = sorted({_path(row) for row in permissions if row["entitlement"] == "admin"})
    return {
        "organization_key": organization_key,
        "login": login,
        "name": member["name"] if member else None,
        "is_member": member is not None,
        "is_admin": bool(admin_paths),
        "admin_through": "; ".join(admin_paths),
        "is_admin_by_sonarcloud": member["is_organization_admin"] if member else None,
        "groups": "; ".join(sorted(row["resource_name"] or row["resource"] for row in access if row["access_type"] == "group")),
        "organization_permissions": "; ".join(sorted({row["entitlement"] for row in permissions})),
    }


def _path(row: dict[str, Any]) -> str:
    if row["granted_via"] == "direct":
        return "direct"
    return f"group {row['granted_via_name'] or row['granted_via'].removeprefix('group:')}"
