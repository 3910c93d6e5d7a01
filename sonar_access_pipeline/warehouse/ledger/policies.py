"""Policies, and the rules that judge by them, as they were from a time on: recorded when they
change, found for any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache

from sqlalchemy import Connection, case, delete, insert, select

from sonar_access_pipeline.access.policy import FIRST_RULES, Policy, PolicyInForce
from sonar_access_pipeline.access.rules import RULE_VERSIONS, RULES, Rule
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.schema import dim_rule, policy_version, rule_version


def record_policy(warehouse: Warehouse, policy: Policy, clock: Callable[[], datetime]) -> bool:
    """Have a policy be in force from now on; whether that is news.

    What was observed before is judged as it was.

    Raises `WarehouseError` for a roster of which half is missing: half an export would make leavers
    of everybody else.
    """
    with warehouse.read() as transaction:
        before = _newest(transaction).policy
    if before.sha256 == policy.sha256:
        return False
    _require_whole_roster(before, policy)
    with warehouse.write("policy") as transaction:
        if _newest(transaction).policy.sha256 == policy.sha256:
            return False
        transaction.execute(
            insert(policy_version).values(
                policy_sha256=policy.sha256,
                document=policy.document.decode(),
                in_force_from=clock(),
            )
        )
    return True


def _require_whole_roster(before: Policy, policy: Policy) -> None:
    known, named = len(before.roster or ()), len(policy.roster or ())
    if policy.roster is not None and 2 * named < known:
        raise WarehouseError(
            f"The roster has {named} logins and addresses, and had {known}: half an export would"
            " make leavers of everybody else. Export it whole; or, if so many did leave, leave"
            " policy.roster out for one sync and name it again."
        )


def record_rules(warehouse: Warehouse, clock: Callable[[], datetime]) -> bool:
    """Have the rules of this version judge from now on; whether any is new.

    What was observed before is judged as it was. What each version of a rule finds, in words, is
    written down for the views.

    Raises `WarehouseError` where a newer version has judged here: an older one would leave its
    rules out.
    """
    titles = {(one, str(version), rule.title) for (one, version), rule in RULE_VERSIONS.items()}
    with warehouse.read() as transaction:
        if not _unmet(transaction) and _titles(transaction) == titles:
            return False
    with warehouse.write("policy") as transaction:
        unmet = _unmet(transaction)
        for rule in unmet:
            values = {
                "rule_id": rule.rule_id,
                "rule_version": rule.version,
                "in_force_from": clock(),
            }
            transaction.execute(insert(rule_version).values(**values))
        transaction.execute(delete(dim_rule))
        names = [column.name for column in dim_rule.columns]
        transaction.execute(
            insert(dim_rule), [dict(zip(names, one, strict=True)) for one in sorted(titles)]
        )
    return bool(unmet)


def _titles(transaction: Connection) -> set[tuple[str, str, str]]:
    columns = dim_rule.c
    query = select(columns.rule_id, columns.rule_version, columns.title)
    return {(one, version, title) for one, version, title in transaction.execute(query)}


def _unmet(transaction: Connection) -> list[Rule]:
    met = _rules(transaction)
    return [rule for rule in RULES.values() if (rule.rule_id, rule.version) not in met]


def policy_at(transaction: Connection, moment: datetime) -> PolicyInForce:
    """Return the policy that was in force at a moment (version 0, the defaults, before any was
    recorded), and the rules that judged then.
    """
    return replace(_newest(transaction, moment), rules=_rules(transaction, moment))


def policies_until(transaction: Connection, moment: datetime) -> list[tuple[date, Policy]]:
    """Return every policy that was ever in force by a moment, oldest first, with the UTC day from
    which on it was in force.

    They are read for their exceptions: a policy that has none is given as the default policy, which
    has none either.
    """
    table = policy_version.c
    has_none = table.document.contains('"exemptions":[]')
    document = case((has_none, None), else_=table.document)
    query = select(table.in_force_from, document).where(table.in_force_from <= moment)
    versions = transaction.execute(query.order_by(table.in_force_from, table.version)).all()
    return [
        (since.date(), Policy() if document_text is None else _policy(document_text))
        for since, document_text in versions
    ]


@lru_cache(maxsize=8)
def _policy(document: str) -> Policy:
    """Read a policy, and remember it: a rebuild asks for the same one again and again, and a roster
    may name ten thousand.
    """
    return Policy.of(document.encode())


def _rules(transaction: Connection, until: datetime | None = None) -> frozenset[tuple[str, int]]:
    table = rule_version.c
    query = select(table.rule_id, table.rule_version).order_by(
        table.in_force_from, table.introduction
    )
    if until is not None:
        query = query.where(table.in_force_from <= until)
    later = dict(tuple(row) for row in transaction.execute(query))
    require_known(later.items())
    return frozenset({**dict(FIRST_RULES), **later}.items()) if later else FIRST_RULES


def require_known(rules: Iterable[tuple[str, int]]) -> None:
    """Raise `WarehouseError` for a version of a rule that this version of the pipeline does not
    know.
    """
    for rule_id, version in rules:
        if (rule_id, version) not in RULE_VERSIONS:
            raise WarehouseError(
                f"Days were judged by version {version} of the rule '{rule_id}', which this version"
                " does not know: a newer version has been here; upgrade sonar-access-pipeline."
            )


def _newest(transaction: Connection, until: datetime | None = None) -> PolicyInForce:
    # By time, not by number: a policy that came in an archive is older than those recorded before
    # it came.
    newest = (policy_version.c.in_force_from.desc(), policy_version.c.version.desc())
    query = select(policy_version.c.version, policy_version.c.document).order_by(*newest).limit(1)
    if until is not None:
        query = query.where(policy_version.c.in_force_from <= until)
    row = transaction.execute(query).one_or_none()
    return PolicyInForce(row.version, _policy(row.document)) if row else PolicyInForce()
