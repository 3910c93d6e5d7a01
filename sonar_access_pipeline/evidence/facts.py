"""Everything that a packet states, gathered in one transaction.

No file, no format, no clock: one warehouse, one set of facts.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sonar_access_pipeline.access.policy import PolicyInForce
from sonar_access_pipeline.access.review.deciding import ReviewState
from sonar_access_pipeline.access.review.standing import DemandStanding, ReviewStanding
from sonar_access_pipeline.access.rules import Result, WindowFacts
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse.ask import proof, queries, reviewed
from sonar_access_pipeline.warehouse.ask.queries import ObservationFacts, Rows, WindowObservations
from sonar_access_pipeline.warehouse.ask.tied import ties
from sonar_access_pipeline.warehouse.database import Transaction, Warehouse
from sonar_access_pipeline.warehouse.ledger.policies import policy_at
from sonar_access_pipeline.warehouse.statements import Statements


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
    no_comparison: str | None
    """Why nobody knows what changed in the window; None where two observations tell."""
    unknown_parts: Sequence[str]
    """Sentences on the parts of the window of which nobody knows what changed in them."""
    reaches_back: str | None
    """A sentence where the first changes may be older than the window."""
    population: Rows
    access: Rows
    changes: Rows
    findings: Rows
    reviews: Rows
    """The reviews of access that ran in the window, as the last observation met them."""
    follow_ups: Rows
    """What reviews decided to remove, as the last observation shows it."""
    coverage: Rows
    requests: Rows
    reconciliation: Rows
    controls: Rows
    waiting: Rows
    """Snapshots of the window that count for nothing, such as incomplete ones."""
    decisions: Rows
    """What people decided about snapshots up to the end of the window."""
    redactions: Rows
    """Persons who were replaced by pseudonyms, who are not told from others any more."""
    in_force: PolicyInForce
    """The policy that was in force at the last observation."""
    name: str | None
    admin_since: Mapping[str, tuple[datetime | None, datetime]]
    """By login of those who administer now, between which observations each was first seen to do so
    without a break: after the begin of one (None: nobody looked before), by the end of the other.
    """
    began: Mapping[datetime, date]
    """By the end of each observation, the day on which it began."""
    statements: Mapping[str, Sequence[str]]
    """The statements behind each file, by its name."""

    def day_of(self, observed_at: datetime | None) -> str:
        """Return the day of an observation, which is the day on which it began; empty for None."""
        return "" if observed_at is None else str(self.began.get(observed_at, observed_at.date()))

    @property
    def source_kind(self) -> SourceKind:
        """Where every fact comes from."""
        return self.as_of.source_kind

    @property
    def is_evidence(self) -> bool:
        """Whether it says something about SonarCloud; else every page says that it does not."""
        return self.source_kind is SourceKind.SONARCLOUD

    @property
    def anyone(self) -> list[str]:
        """The permissions that `Anyone`, signed in or not, has on the organization."""
        return [
            row["entitlement"]
            for row in self._of_anyone
            if row["access_type"] == "organization_permission"
        ]

    @property
    def projects_of_anyone(self) -> int:
        """On how many projects `Anyone` has a permission."""
        return len(
            {
                row["resource"]
                for row in self._of_anyone
                if row["access_type"] == "project_permission"
            }
        )

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
    def compares(self) -> bool:
        """Whether two observations tell what changed in the window."""
        return self.no_comparison is None

    @property
    def gaps(self) -> Rows:
        """The days of the window on which an observation was expected, and is not there."""
        return queries.gaps(self.coverage)

    @property
    def not_expected(self) -> int:
        """How many days of the window lie before the first try to observe, or after the
        organization's end.
        """
        return sum(row["status"] == queries.NOT_EXPECTED for row in self.coverage)

    @property
    def days_observed(self) -> int:
        """How many days of the window were observed."""
        return sum(row["status"] == "observed" for row in self.coverage)

    @property
    def admins(self) -> Rows:
        """The accounts of the population that administer the organization."""
        return [row for row in self.population if row["is_organization_admin"]]

    @property
    def members(self) -> int:
        """How many of the population are members."""
        return sum(row["is_member"] for row in self.population)

    @property
    def real_changes(self) -> Rows:
        """The changes that are none of a baseline."""
        return [row for row in self.changes if row["kind"] != "first_observed"]

    @property
    def failed(self) -> Rows:
        """The findings that nobody answers for now."""
        return [row for row in self.findings if is_open(row)]

    @property
    def excepted(self) -> Rows:
        """The findings that somebody answers for."""
        return [row for row in self.findings if _is_excepted(row)]

    @property
    def ended_exceptions(self) -> Rows:
        """The findings that somebody answered for, until the exception ended."""
        return [row for row in self.findings if row["exception_ended"] is not None]

    @property
    def not_evaluable(self) -> Rows:
        """What rules could not answer."""
        return [row for row in self.findings if row["result"] == Result.NOT_EVALUABLE.value]

    @property
    def untied(self) -> Rows:
        """The reconciliations that failed."""
        return [row for row in self.reconciliation if row["passed"] is False]

    @property
    def untold(self) -> Rows:
        """The reconciliations for which a number is missing."""
        return [row for row in self.reconciliation if row["passed"] is None]

    @property
    def age_seconds(self) -> int:
        """How long before the end of the window the last observation ended; negative where it ended
        after midnight.
        """
        return round((self.window.end - self.as_of.observed_at).total_seconds())


def is_open(finding: Mapping[str, Any]) -> bool:
    """Tell whether a rule fails and nobody answers for it."""
    return finding["result"] == Result.FAIL.value and not _is_excepted(finding)


def _is_excepted(finding: Mapping[str, Any]) -> bool:
    return finding["exception_by"] is not None and finding["exception_ended"] is None


def gather(warehouse: Warehouse, organization_key: str, window: Window) -> Facts:
    """Gather the facts of a window, and compare them with what SonarCloud answered.

    Raises `NothingObservedError` when there is no observation in the window or before it,
    `UntiedError` when the tables do not say what the answers say.
    """
    with warehouse.read() as transaction:
        statement_log = Statements(transaction)
        rests_on = queries.window_observations(transaction, organization_key, window)
        as_of = rests_on.as_of
        in_force = policy_at(transaction, as_of.observed_at)
        with statement_log.behind("access.csv"):
            access = queries.access_at(transaction, as_of)
        with statement_log.behind("population.csv"):
            population = population_at(transaction, as_of, access, in_force)
        with statement_log.behind("changes.csv"):
            changes = proof.changes(transaction, rests_on)
        with statement_log.behind("reviews.csv"):
            reviews = _reviews(transaction, rests_on)
        with statement_log.behind("follow_up.csv"):
            follow_ups = _follow_ups(transaction, rests_on)
        with statement_log.behind("findings.csv"):
            asked = _window_facts(
                transaction, rests_on, changes, population, access, reviews, follow_ups
            )
            findings = proof.findings(transaction, as_of, in_force, asked)
        with statement_log.behind("coverage.csv"):
            coverage = queries.coverage(transaction, organization_key, window.first, window.last)
        with statement_log.behind("requests.csv"):
            requests = proof.requests(transaction, as_of)
        controls = queries.controls_of_snapshot(transaction, as_of.snapshot_id)
        tied = ties(transaction, rests_on, whole=window.first != window.last)
        with statement_log.behind("reconciliation.csv"):
            reconciliation = proof.reconciliation(
                transaction,
                rests_on,
                population=population,
                access=access,
                changes=changes,
                controls=controls,
                tied=tied,
            )
        snapshots = queries.snapshots(transaction, organization_key)
        within = {
            row["snapshot_id"]: row for row in snapshots if row["partition_date"] <= window.last
        }
        return Facts(
            organization_key=organization_key,
            window=window,
            as_of=as_of,
            before=rests_on.before,
            observations=rests_on.within,
            no_comparison=rests_on.no_comparison,
            unknown_parts=rests_on.unknown_parts,
            reaches_back=rests_on.reaches_back,
            population=population,
            access=access,
            changes=changes,
            findings=findings,
            reviews=reviews,
            follow_ups=follow_ups,
            coverage=coverage,
            requests=requests,
            reconciliation=reconciliation,
            controls=controls,
            waiting=[
                row
                for row in snapshots
                if window.first <= row["partition_date"] <= window.last
                and not row["counts_as_observation"]
            ],
            decisions=[
                {**row, "content_sha256": within[row["snapshot_id"]]["content_sha256"]}
                for row in queries.decisions(transaction, organization_key)
                if row["snapshot_id"] in within
                and within[row["snapshot_id"]]["partition_date"] >= window.first
            ],
            redactions=proof.redactions(transaction, as_of),
            in_force=in_force,
            name=queries.organization_name(transaction, as_of),
            admin_since=proof.admin_since(transaction, as_of),
            began={
                one.observed_at: one.started_at.date()
                for one in queries.observations(
                    transaction, organization_key, until=as_of.observed_at
                )
            },
            statements=statement_log.of,
        )


def findings_of(
    warehouse: Warehouse, organization_key: str, window: Window
) -> tuple[ObservationFacts, Rows]:
    """Ask every rule of a window: the observation that answers, and the rows of `findings.csv`.

    Raises `NothingObservedError`.
    """
    with warehouse.read() as transaction:
        rests_on = queries.window_observations(transaction, organization_key, window)
        access = queries.access_at(transaction, rests_on.as_of)
        return rests_on.as_of, findings_in(transaction, rests_on, access)


def findings_in(transaction: Transaction, rests_on: WindowObservations, access: Rows) -> Rows:
    """Ask every rule of a window whose last observation shows some access rows."""
    in_force = policy_at(transaction, rests_on.as_of.observed_at)
    population = population_at(transaction, rests_on.as_of, access, in_force)
    changes = proof.changes(transaction, rests_on)
    asked = _window_facts(
        transaction,
        rests_on,
        changes,
        population,
        access,
        _reviews(transaction, rests_on),
        _follow_ups(transaction, rests_on),
    )
    return proof.findings(transaction, rests_on.as_of, in_force, asked)


POPULATION = (
    "organization_key",
    "login",
    "name",
    "email",
    "provider",
    "account_type",
    "owner",
    "is_member",
    "is_organization_admin",
    "admin_through",
    "is_admin_by_sonarcloud",
    "groups",
    "organization_permissions",
    "project_admin_count",
    "first_seen",
    "access_unchanged_since",
    "last_change",
    "unknown",
)
UNKNOWN = ("name", "email", "provider", "is_admin_by_sonarcloud", "project_admin_count")
"""Columns that are empty because nobody told."""


def population_at(
    transaction: Transaction, as_of: ObservationFacts, access: Rows, in_force: PolicyInForce
) -> Rows:
    """Build one row per login that any list names, in order of login; unknown stays None.

    Columns: `POPULATION`.
    """
    stated = {row["login"]: row for row in queries.members_at(transaction, as_of)}
    details = proof.details(transaction, as_of)
    lives = proof.lives(transaction, as_of)
    project_admins = proof.project_admins(transaction, as_of)
    rows_of: dict[str, Rows] = defaultdict(list)
    for row in access:
        if row["principal_type"] == "user":
            rows_of[row["login"]].append(row)
    accounts = []
    for login in sorted(set(stated) | set(rows_of)):
        account = _account(as_of.organization_key, login, stated.get(login), rows_of[login])
        account["email"], account["provider"] = details.get(login, (None, None))
        account["project_admin_count"] = None if project_admins is None else project_admins[login]
        account |= _life(lives.get(login)) | _kind(account, in_force)
        account["unknown"] = "; ".join([name for name in UNKNOWN if account[name] is None])
        accounts.append(account)
    return accounts


def _account(
    organization_key: str, login: str, member: dict[str, Any] | None, access: Rows
) -> dict[str, Any]:
    permissions = [row for row in access if row["access_type"] == "organization_permission"]
    admin_paths = sorted({_path(row) for row in permissions if row["entitlement"] == "admin"})
    return {
        "organization_key": organization_key,
        "login": login,
        "name": member["name"] if member else None,
        "is_member": member is not None,
        "is_organization_admin": bool(admin_paths),
        "admin_through": "; ".join(admin_paths),
        "is_admin_by_sonarcloud": member["is_organization_admin"] if member else None,
        "groups": "; ".join(
            sorted(
                quoted(row["resource_name"] or row["resource"])
                for row in access
                if row["access_type"] == "group"
            )
        ),
        "organization_permissions": "; ".join(
            sorted({f"{row['entitlement']} ({_path(row)})" for row in permissions})
        ),
    }


def _path(row: dict[str, Any]) -> str:
    if row["granted_via"] == "direct":
        return "direct"
    return f"group {quoted(row['granted_via_name'] or row['granted_via'].removeprefix('group:'))}"


def quoted(name: str) -> str:
    """Return a name as it stands among others in one field.

    A name that contains what separates names is written as a JSON text, so that none forges
    another.
    """
    return (
        json.dumps(name, ensure_ascii=False)
        if PARTING.search(name) or name != name.strip()
        else name
    )


PARTING = re.compile(r'[;()"\\\x00-\x1f]')


def _life(life: tuple[datetime, datetime, datetime | None] | None) -> dict[str, datetime | None]:
    return dict(
        zip(
            ("first_seen", "access_unchanged_since", "last_change"),
            life or (None, None, None),
            strict=True,
        )
    )


def _kind(account: dict[str, Any], in_force: PolicyInForce) -> dict[str, str | None]:
    """Service where the settings name an owner, human where the roster knows the account, else
    unknown.
    """
    owner = in_force.policy.owner_of(account["login"])
    if owner is not None:
        return {"account_type": "service", "owner": owner}
    is_known = bool(in_force.policy.statuses_of((account["login"], account["email"])))
    return {"account_type": "human" if is_known else "unknown", "owner": None}


def _window_facts(
    transaction: Transaction,
    rests_on: WindowObservations,
    changes: Rows,
    population: Rows,
    access: Rows,
    reviews: Rows,
    follow_ups: Rows,
) -> WindowFacts:
    """Gather the facts that the rules of a window are evaluated with."""
    as_of = rests_on.as_of
    gained = dict[str, set[str]]()
    gained_besides = dict[str, set[str]]()
    members = {row["login"] for row in population if row["is_member"]}
    if rests_on.before is not None and rests_on.within:
        held = _held(queries.access_at(transaction, rests_on.before))
        gained = _beyond(held, _held(access))
        default = {f"group:{group_id}" for group_id in proof.default_groups(transaction, as_of)}
        besides = [row for row in access if row["granted_via"] not in default]
        gained_besides = _beyond(held, _held(besides))
    return WindowFacts(
        organization_key=as_of.organization_key,
        as_of=as_of.observed_at,
        compared=(
            (rests_on.before.observed_at, as_of.observed_at)
            if rests_on.before is not None and rests_on.within
            else None
        ),
        unknown=(
            [rests_on.no_comparison]
            if rests_on.no_comparison
            else [_clause(part) for part in rests_on.unknown_parts]
        ),
        returned=members & {row["login"] for row in changes if row["kind"] == "returned"},
        gained=gained,
        gained_besides=gained_besides,
        tokens=proof.own_tokens(transaction, as_of),
        reviews=[
            ReviewStanding(
                row["review_id"],
                row["series"],
                row["opened_at"].date(),
                row["due"],
                ReviewState(row["state"]),
            )
            for row in reviews
        ],
        demands=[
            DemandStanding(*(row[name] for name in DemandStanding._fields)) for row in follow_ups
        ],
    )


def _reviews(transaction: Transaction, rests_on: WindowObservations) -> Rows:
    as_of = rests_on.as_of
    return reviewed.reviews_at(
        transaction, as_of.organization_key, _since(rests_on), as_of.observed_at
    )


def _follow_ups(transaction: Transaction, rests_on: WindowObservations) -> Rows:
    as_of = rests_on.as_of
    return reviewed.follow_ups_at(
        transaction, as_of.organization_key, _since(rests_on), as_of.observed_at
    )


def _since(rests_on: WindowObservations) -> datetime:
    """Give the first observation of the window; where it has none, the one before."""
    return (rests_on.within[0] if rests_on.within else rests_on.as_of).observed_at


def _beyond(before: Mapping[str, set[str]], now: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Collect what each account holds now and did not hold before."""
    more = {login: rights - before.get(login, set()) for login, rights in now.items()}
    return {login: rights for login, rights in more.items() if rights}


def _clause(sentence: str) -> str:
    """Turn a sentence into a part of another one."""
    return sentence[0].lower() + sentence.removesuffix(".")[1:]


def _held(access: Rows) -> dict[str, set[str]]:
    """Collect for each login its permissions on the organization, whatever way it has them."""
    entitlements: dict[str, set[str]] = defaultdict(set)
    for row in access:
        if row["principal_type"] == "user" and row["access_type"] == "organization_permission":
            entitlements[row["login"]].add(row["entitlement"])
    return dict(entitlements)
