"""Policies as they were from a time on: recorded when they change, found again for any moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, insert, select

from sonar_access_pipeline.access.policy import Policy, PolicyInForce
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.schema import policy_version


def record_policy(warehouse: Warehouse, policy: Policy, clock: Callable[[], datetime]) -> bool:
    """Have a policy be in force from now on; whether that is news. What was observed before is judged as it was."""
    with warehouse.read() as transaction:
        if _newest(transaction).policy.sha256 == policy.sha256:
            return False
    with warehouse.write("policy") as transaction:
        if _newest(transaction).policy.sha256 == policy.sha256:
            return False
        transaction.execute(
            insert(policy_version).values(policy_sha256=policy.sha256, document=policy.document.decode(), in_force_from=clock())
        )
    return True


def policy_at(transaction: Connection, moment: datetime) -> PolicyInForce:
    """The policy that was in force at a moment; version 0, the defaults, before any was recorded."""
    return _newest(transaction, moment)


@lru_cache(maxsize=8)
def _policy(document: str) -> Policy:
    """A rebuild asks for the same one again and again, and a roster may name ten thousand."""
    return Policy.of(document.encode())


def _newest(transaction: Connection, until: datetime | None = None) -> PolicyInForce:
    query = select(policy_version.c.version, policy_version.c.document).order_by(policy_version.c.version.desc()).limit(1)
    if until is not None:
        query = query.where(policy_version.c.in_force_from <= until)
    found = transaction.execute(query).one_or_none()
    return PolicyInForce(found.version, _policy(found.document)) if found else PolicyInForce()
