"""Who may do what in a warehouse on PostgreSQL: five kinds of roles, each with as little as its
work needs.

A role is made by whoever administers the database; here it is granted what it needs, and nothing
that an earlier grant left. Only the owner changes tables: `warehouse upgrade` and `warehouse grant`
are the owner's, and after the first the second is due.
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
    body_drop,
    delivery,
    dim_rule,
    dropped_body,
    evidence_outbox,
    evidence_packet,
    evidence_statement,
    evidence_store,
    history_observation,
    history_tables,
    metadata,
    organization_end,
    policy_version,
    publication,
    raw_body,
    raw_control,
    raw_list,
    raw_snapshot,
    redacted_body,
    redaction,
    rule_version,
    signed_head,
    snapshot_decision,
    sync_attempt,
    watch_look,
)
from sonar_access_pipeline.warehouse.schema_page import page_end, page_entry, page_event
from sonar_access_pipeline.warehouse.schema_reviews import (
    PEOPLE,
    REVIEW_TABLES,
    fct_follow_up,
    review_assignment,
    review_decision,
    review_event,
    review_signoff,
)


class Role(StrEnum):
    """What a role is for."""

    ANALYST = "analyst"
    REVIEWER = "reviewer"
    REVIEW = "review"
    PIPELINE = "pipeline"
    OPERATOR = "operator"


DERIVING = frozenset({Role.PIPELINE, Role.OPERATOR})
"""The kinds that derive, and so write what is derived."""
REWRITTEN = frozenset(
    {*history_tables, history_observation.name, fct_follow_up.name, dim_rule.name}
)
"""The tables that are derived."""
DERIVED = REWRITTEN | {*views.VIEWS}
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
        rule_version,
        signed_head,
        body_drop,
        dropped_body,
        watch_look,
        publication,
        evidence_outbox,
        evidence_store,
        evidence_statement,
        delivery,
        *REVIEW_TABLES,
        page_event,
    )
)

STATED = (review_assignment, review_decision, review_signoff, review_event)
"""What people state in a review that is open."""
PAGED = (page_entry, page_end, page_event)
"""What the reviewers' page keeps of whom it lets in."""
DECIDED = (
    snapshot_decision,
    organization_end,
    redaction,
    redacted_body,
    evidence_statement,
    review_decision,
    review_signoff,
    *PAGED,
)
"""What only people enter: no step of a run writes there."""


def privileges(role: Role) -> Mapping[str, str]:
    """Return the privileges of a kind of role, by table or view.

    An analyst reads what is derived, but no e-mail addresses. A reviewer reads these too, and how
    everything came to be, but no raw answers. The pipeline adds to what is append-only, and changes
    only what is derived, what it tried, and a body's bytes; it enters no decision, of a snapshot or
    in a review. An operator may do what the pipeline may, and may also decide: it is the role of a
    person at the command line. Review is the role of what takes the decisions of a review, and
    nothing else: it reads what reviews are about, and no raw answers; and it keeps whom the page
    lets in.
    """
    if role is Role.ANALYST:
        return dict.fromkeys(DERIVED - {DIM_ACCOUNT_DETAIL.name} | {VERSION_TABLE}, "SELECT")
    if role is Role.REVIEWER:
        return dict.fromkeys(DERIVED | FACTS | {VERSION_TABLE}, "SELECT")
    if role is Role.REVIEW:
        read = dict.fromkeys(DERIVED | FACTS | {VERSION_TABLE}, "SELECT")
        return {
            **read,
            **dict.fromkeys((table.name for table in (*STATED, *PAGED)), "SELECT, INSERT"),
        }
    everything = dict.fromkeys(
        (*(table.name for table in metadata.sorted_tables), *views.VIEWS, VERSION_TABLE), "SELECT"
    )
    noted = (
        APPEND_ONLY
        if role is Role.OPERATOR
        else [table for table in APPEND_ONLY if table not in DECIDED]
    )
    added = dict.fromkeys((table.name for table in noted), "SELECT, INSERT")
    changed = dict.fromkeys(REWRITTEN, "SELECT, INSERT, UPDATE, DELETE")
    people = {table.name: "SELECT, INSERT, UPDATE" for table in (*PEOPLE, *PAGED)}
    return {
        **everything,
        **added,
        **(people if role is Role.OPERATOR else {}),
        **changed,
        evidence_outbox.name: "SELECT, INSERT, DELETE",
        **dict.fromkeys(
            (sync_attempt.name, raw_body.name, alert_delivery.name, watch_look.name),
            "SELECT, INSERT, UPDATE",
        ),
    }


def grant(warehouse: Warehouse, name: str, role: Role) -> int:
    """Give a role of the database what its kind needs, and take away whatever else it had here; on
    how many tables.

    The database is asked afterwards what the role may do, by itself or through others. Raises
    `WarehouseError` where that is more (then nothing is granted), on SQLite, whose file has one
    kind of reader, and for a role that is not there.
    """
    if not warehouse.is_postgresql:
        raise WarehouseError(
            "SQLite has no roles: whoever opens the file reads everything in it. Guard the file, or"
            " use PostgreSQL."
        )
    with warehouse.write("migration") as transaction:
        if (
            transaction.execute(
                text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}
            ).first()
            is None
        ):
            raise WarehouseError(
                f"The database has no role '{name}'; make it with CREATE ROLE first."
            )
        granted = privileges(role)
        for statement in _statements(transaction, name, granted, role):
            transaction.execute(text(statement.replace(":", r"\:")))
        _require_no_more(transaction, name, granted, role)
        _require_enough(transaction, name, role)
    return len(granted)


def _require_enough(transaction: Connection, name: str, role: Role) -> None:
    """Refuse a role that could not verify: only the owner of a database can give the right to
    temporary tables there.
    """
    query = text(
        "SELECT current_database(), has_database_privilege(:name, current_database(), 'TEMPORARY')"
    )
    database, may_derive = transaction.execute(query, {"name": name}).one()
    if role in DERIVING and not may_derive:
        raise WarehouseError(
            f"Role '{name}' may make no temporary tables, and to verify needs them; the owner of"
            f" the database must run GRANT TEMPORARY ON DATABASE {_quoted(database)} TO"
            f" {_quoted(name)}, then grant again. Nothing was granted."
        )


def _require_no_more(
    transaction: Connection, name: str, granted: Mapping[str, str], role: Role
) -> None:
    """Refuse a role that may do more than its kind: as a superuser, as an owner, through another
    role, or as everybody may.
    """
    if transaction.execute(
        text("SELECT rolsuper FROM pg_roles WHERE rolname = :name"), {"name": name}
    ).scalar():
        raise WarehouseError(
            f"Role '{name}' is a superuser, who may do everything in every database whatever is"
            " granted; use another role. Nothing was granted."
        )
    query = text(
        "SELECT c.relname, p.privilege FROM pg_class c JOIN pg_namespace n ON n.oid ="
        " c.relnamespace CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'),"
        " ('TRUNCATE')) AS p(privilege) WHERE n.nspname = :schema AND c.relkind IN ('r', 'v', 'p')"
        " AND has_table_privilege(:name, c.oid, p.privilege) ORDER BY c.relname, p.privilege"
    )
    may = transaction.execute(query, {"schema": SCHEMA, "name": name}).all()
    more = [
        f"{privilege} {table}"
        for table, privilege in may
        if privilege not in granted.get(table, "").split(", ")
    ]
    creates = transaction.execute(
        text("SELECT has_schema_privilege(:name, :schema, 'CREATE')"),
        {"schema": SCHEMA, "name": name},
    ).scalar()
    more += ["CREATE in the schema"] if creates else []
    if more:
        others = f" and {len(more) - 3} more" if len(more) > 3 else ""
        raise WarehouseError(
            f"Role '{name}' would be able to do more than kind {role.value} is for:"
            f" {', '.join(more[:3])}{others}. It owns the tables, or has that through another role"
            " or through PUBLIC; take it away there, then grant again. Nothing was granted."
        )


def _quoted(name: str) -> str:
    """Quote a name for SQLAlchemy's `text`, which doubles a percent sign itself, as the dialect's
    own way would once more.
    """
    return '"' + name.replace('"', '""') + '"'


def _statements(
    transaction: Connection, name: str, granted: Mapping[str, str], role: Role
) -> Iterator[str]:
    quoted = _quoted(name)
    database = _quoted(str(transaction.execute(text("SELECT current_database()")).scalar()))
    yield f"REVOKE TEMPORARY ON DATABASE {database} FROM {quoted}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {quoted}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {SCHEMA} FROM {quoted}"
    yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quoted}"
    for table, allowed in sorted(granted.items()):
        yield f"GRANT {allowed} ON {SCHEMA}.{table} TO {quoted}"
    if role in DERIVING or role is Role.REVIEW:
        yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO {quoted}"
    if role in DERIVING:
        # To verify is to derive again, beside what is there. Everybody may, unless somebody took it
        # from PUBLIC, as one should.
        yield f"GRANT TEMPORARY ON DATABASE {database} TO {quoted}"
