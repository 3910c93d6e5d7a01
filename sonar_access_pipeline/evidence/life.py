"""The life of one account: who it is, what it may do now, what rules find of it, and every change
that was seen; each with what nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from operator import itemgetter
from typing import Any

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.selection import of_account
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.facts import findings_in, population_at
from sonar_access_pipeline.evidence.listings import resource_of
from sonar_access_pipeline.warehouse.ask import proof, queries
from sonar_access_pipeline.warehouse.ask.queries import ObservationFacts, Rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger.policies import policy_at


@dataclass(frozen=True)
class Life:
    """What is known of one account. `account` is its row of the population, None where the last
    observation names it in no list; `logins` are all that were ever seen.
    """

    login: str
    as_of: ObservationFacts
    account: Mapping[str, Any] | None
    access: Rows
    findings: Rows
    changes: Rows
    logins: Sequence[str]
    unanswered: int
    """How many rules answer for nobody, or not for all."""

    @property
    def is_unseen(self) -> bool:
        """Whether no observation ever showed it."""
        return self.account is None and not self.changes

    @property
    def unknown(self) -> Iterator[str]:
        """Yield what the answer does not know."""
        if Scope.PROJECT_PERMISSIONS not in self.as_of.scopes:
            yield "permissions on projects were not read."
        if self.unanswered:
            rules = "1 rule" if self.unanswered == 1 else f"{self.unanswered} rules"
            yield f"{rules} could not be answered, or not for all: `sonar-access findings --all`."

    @property
    def sentence(self) -> str:
        """Say who it is."""
        as_of = f"as of {self.as_of.observed_at:%Y-%m-%d %H:%M} UTC"
        row = self.account
        if row is None:
            last = self.changes[-1]
            gone = f"is in no list that was read, {as_of}"
            is_renamed = any(one["kind"] == "renamed" and one["closes"] for one in self.changes)
            renamed = "; it was renamed: see what changed" if is_renamed else ""
            return f"{_called(last['name'], self.login)} {gone}{renamed}."
        clauses = [
            "member" if row["is_member"] else "not in the member list",
            f"administers through {row['admin_through']}" if row["is_organization_admin"] else "",
            f"e-mail {row['email']}" if row["email"] else "",
            f"{row['account_type']} account" if row["account_type"] != "unknown" else "",
            f"owner {row['owner']}" if row["owner"] else "",
            f"first seen {row['first_seen']:%Y-%m-%d %H:%M} UTC" if row["first_seen"] else "",
        ]
        return f"{_called(row['name'], self.login)}: {', '.join(filter(None, clauses))}; {as_of}."


def _called(name: str | None, login: str) -> str:
    return f"{name} ({login})" if name else login


def life_of(warehouse: Warehouse, organization_key: str, login: str) -> Life:
    """Gather what is known of one account, from the first observation to the last.

    Raises `NothingObservedError`.
    """
    with warehouse.read() as transaction:
        observed = queries.observations(transaction, organization_key)
        days = [one.started_at.date() for one in observed] or [date.min]
        rests_on, last_day = (
            queries.window_observations(transaction, organization_key, Window(first, days[-1]))
            for first in (days[0], days[-1])
        )
        as_of = rests_on.as_of
        access = queries.access_at(transaction, as_of)
        in_force = policy_at(transaction, as_of.observed_at)
        population = population_at(transaction, as_of, access, in_force)
        changes = proof.changes(transaction, rests_on)
        findings = findings_in(transaction, last_day, access)
    silent = {row["rule_id"] for row in findings if row["result"] == Result.NOT_EVALUABLE.value}
    return Life(
        login=login,
        as_of=as_of,
        account=next((row for row in population if row["login"] == login), None),
        access=_held_since(of_account(access, login)),
        findings=[
            row
            for row in findings
            if (row["subject_type"], row["subject"]) == ("account", login)
            and row["result"] != Result.PASS.value
        ],
        changes=[row for row in changes if row["login"] == login],
        logins=sorted({row["login"] for row in (*changes, *population) if row["login"]}),
        unanswered=len(silent),
    )


def _held_since(access: Iterable[Mapping[str, Any]]) -> Rows:
    """Say of the rights of one account what they are on, through what it has them, and since when:
    what a group has longer than the account is in it, since that.
    """
    rows = list(access)
    joined = {f"group:{row['resource']}": row for row in rows if row["access_type"] == "group"}
    held = []
    for row in rows:
        later = max(row, joined.get(row["granted_via"], row), key=itemgetter("valid_from"))
        times = {name: later[name] for name in ("changed_after", "valid_from")}
        held.append({**row, **times, "on": resource_of(row), "through": _through(row)})
    return held


def _through(row: Mapping[str, Any]) -> str:
    if row["principal_type"] == "anyone":
        return "Anyone"
    if row["granted_via"] == "direct":
        return "direct"
    return f"group {row['granted_via_name'] or row['granted_via'].removeprefix('group:')}"
