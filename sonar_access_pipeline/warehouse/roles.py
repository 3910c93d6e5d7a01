"""Who may do what in a warehouse on PostgreSQL: three kinds of roles, each with as little as its work needs.

A role is made by whoever administers the database; here it is granted what it needs, and nothing that an earlier grant left.
Only the owner changes tables: `warehouse upgrade` and `warehouse grant` are the owner's, and after the first the second is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from sqlalchemy import Connection, text

from sonar_access_pipeline.access.rows import DIM_ACCOUNT_DETAIL
from sonar_access_pipeline.warehouse import views
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.migrations import VERSION_TABLE
from sonar_access_pipeline.warehouse.schema import (
    APPEND_ONLY,
    SCHEMA,
    alert,
    alert_delivery,
    evidence_packet,
    history_observation,
    history_tables,
    metadata,
    organization_end,
    policy_version,
    raw_body,
    raw_control,
    raw_list,
    raw_snapshot,
    signed_head,
    snapshot_decision,
    sync_attempt,
)


class Role(StrEnum):
    """What a role is for."""

    ANALYST = "analyst"
    REVIEWER = "reviewer"
    PIPELINE = "pipeline"


DERIVED = frozenset({*history_tables, *views.VIEWS, history_observation.name})
FACTS = frozenset(
    table.name
    for table in (
        raw_snapshot,
        raw_list,
        raw_control,
        snapshot_decision,
        sync_attempt,
        evidence_packet,
        organization_end,
        alert,
        policy_version,
        signed_head,
    )
)


def privileges(role: Role) -> Mapping[str, str]:
    """The privileges of a kind of role, by table or view.

    An analyst reads what is derived, but no e-mail addresses. A reviewer reads these too, and how everything came to be, but no
    raw answers. The pipeline adds to what is append-only, and changes only what is derived, what it tried, and a body's bytes.
    """
    if role is Role.ANALYST:
        return dict.fromkeys(DERIVED - {DIM_ACCOUNT_DETAIL.name} | {VERSION_TABLE}, "SELECT")
    if role is Role.REVIEWER:
        return dict.fromkeys(DERIVED | FACTS | {VERSION_TABLE}, "SELECT")
    everything = dict.fromkeys((*(table.name for table in metadata.sorted_tables), *views.VIEWS, VERSION_TABLE), "SELECT")
    added = dict.fromkeys((table.name for table in APPEND_ONLY), "SELECT, INSERT")
    changed = dict.fromkeys((*history_tables, history_observation.name), "SELECT, INSERT, UPDATE, DELETE")
    return {
        **everything,
        **added,
        **changed,
        **dict.fromkeys((sync_attempt.name, raw_body.name, alert_delivery.name), "SELECT, INSERT, UPDATE"),
    }


def grant(warehouse: Warehouse, name: str, role: Role) -> int:
    """Give a role of the database what its kind needs, and take away whatever else it had here; on how many tables.

    Raises `WarehouseError` on SQLite, whose file has one kind of reader, and for a role that is not there.
    """
    if not warehouse.is_postgresql:
        raise WarehouseError(
            "SQLite has no roles: whoever opens the file reads everything in it. Guard the file, or use PostgreSQL."
        )
    with warehouse.write("migration") as transaction:
        if transaction.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).first() is None:
            raise WarehouseError(f"The database has no role '{name}'; make it with CREATE ROLE first.")
        granted = privileges(role)
        for statement in _statements(transaction, name, granted, role):
            transaction.execute(text(statement))
    return len(granted)


def _statements(transaction: Connection, name: str, granted: Mapping[str, str], role: Role) -> Iterator[str]:
    quoted = transaction.dialect.identifier_preparer.quote_identifier(name)
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {quoted}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA} FROM {quoted}"
    yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quoted}"
    for table, allowed in sorted(granted.items()):
        yield f"GRANT {allowed} ON {SCHEMA}.{table} TO {quoted}"
    if role is Role.PIPELINE:
        yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {quoted}"
