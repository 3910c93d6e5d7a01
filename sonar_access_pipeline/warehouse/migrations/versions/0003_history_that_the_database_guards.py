"""History that the database guards: rows tied to their snapshots, no overlap, append-only, redaction; faster hashes."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.access.rows import row_hash
from sonar_access_pipeline.warehouse import guards

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
INTERVAL = ("valid_from", "valid_to", "is_current", "changed_after", "last_seen_at", "row_hash")
KEYS = {
    "dim_organization": (),
    "dim_user": ("login",),
    "dim_account_detail": ("login",),
    "dim_group": ("group_id",),
    "dim_project": ("project_key",),
    "bridge_group_member": ("group_id", "login"),
    "fct_permission_grant": ("principal_type", "principal", "scope", "project_key", "permission"),
    "fct_user_access": ("login", "access_type", "resource", "entitlement", "granted_via"),
}
PARTED_BY = {"fct_permission_grant": ("scope",), "fct_user_access": ("access_type",)}
ASKED_BY = {
    "bridge_group_member": ("login",),
    "fct_permission_grant": ("permission", "project_key"),
    "fct_user_access": ("entitlement", "resource"),
}
APPEND_ONLY = ("raw_snapshot", "raw_list", "raw_control", "raw_response", "snapshot_decision", "evidence_packet")
SAME = "NEW.body_sha256 = OLD.body_sha256 AND NEW.size_bytes = OLD.size_bytes"
DROPPED = f"OLD.dropped_at IS NULL AND NEW.dropped_at IS NOT NULL AND length(NEW.zlib_body) = 0 AND {SAME}"
CAME_AGAIN = f"OLD.dropped_at IS NOT NULL AND NEW.dropped_at IS NULL AND length(NEW.zlib_body) > 0 AND {SAME}"


def upgrade() -> None:
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    views = _drop_views()
    _execute(guards.extension(is_postgresql=is_postgresql))
    _execute(guards.refusal(is_postgresql=is_postgresql))
    op.add_column("raw_body", sa.Column("dropped_at", TIME, nullable=True))
    op.create_index("ix_raw_response_body_sha256", "raw_response", ["body_sha256"])
    _redactions()
    for table, keys in KEYS.items():
        _rehash(table)
        _tie_to_snapshots(table)
        shown = ["organization_key", *PARTED_BY.get(table, ()), "row_hash", "valid_to"]
        where = sa.text("valid_to IS NULL")
        op.create_index(f"ix_{table}_shown", table, shown, sqlite_where=where, postgresql_where=where)
        ended = sa.text("valid_to IS NOT NULL")
        op.drop_index(f"ix_{table}_valid_to", table)
        op.create_index(
            f"ix_{table}_valid_to", table, ["organization_key", "valid_to"], sqlite_where=ended, postgresql_where=ended
        )
        if asked := ASKED_BY.get(table):
            op.create_index(f"ix_{table}_{'_'.join(asked)}", table, ["organization_key", *asked])
        _execute(guards.no_overlap(table, ("organization_key", *keys), is_postgresql=is_postgresql))
    for table in (*APPEND_ONLY, "redaction", "redacted_body"):
        _execute(guards.append_only(table, is_postgresql=is_postgresql))
    _execute(guards.append_only("raw_body", is_postgresql=is_postgresql, unless=f"{DROPPED} OR {CAME_AGAIN}"))
    _execute(views)


def _execute(statements: Iterable[str]) -> None:
    for statement in statements:
        op.execute(sa.text(statement.replace(":", r"\:")))


def _drop_views() -> list[str]:
    """Take the views away, which would hinder SQLite from making their tables anew; the statements that make them again."""
    if op.get_bind().dialect.name == "postgresql":
        return []
    made: list[Any] = list(
        op.get_bind().execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY rowid"))
    )
    for name, _ in reversed(made):
        op.execute(f"DROP VIEW {name}")
    return [sql for _, sql in made]


def _tie_to_snapshots(table: str) -> None:
    times = ("valid_from", "valid_to")
    if op.get_bind().dialect.name == "sqlite":
        _make_anew(
            table,
            "".join(
                f", CONSTRAINT fk_{table}_{time} FOREIGN KEY(organization_key, {time}) "
                "REFERENCES raw_snapshot (organization_key, observed_at)"
                for time in times
            ),
        )
        return
    for time in times:
        op.create_foreign_key(
            f"fk_{table}_{time}", table, "raw_snapshot", ["organization_key", time], ["organization_key", "observed_at"]
        )


def _make_anew(table: str, constraints: str) -> None:
    """Add constraints to a table of SQLite, which cannot alter one: from its own words, so that nothing else of it changes.

    Alembic's own way would fill the generated column, and forget the check.
    """
    bind = op.get_bind()
    query = sa.text("SELECT sql FROM sqlite_master WHERE type = :type AND tbl_name = :name AND sql IS NOT NULL")
    made = str(bind.execute(query, {"type": "table", "name": table}).scalar_one())
    indexes = bind.execute(query, {"type": "index", "name": table}).scalars().all()
    body = made.strip().removesuffix(")").split("(", 1)[1]
    columns = ", ".join(c["name"] for c in sa.inspect(bind).get_columns(table) if c["name"] != "is_current")
    _execute(
        [
            f"CREATE TABLE new_{table} ({body}{constraints})",
            f"INSERT INTO new_{table} ({columns}) SELECT {columns} FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE new_{table} RENAME TO {table}",
            *indexes,
        ]
    )


def _rehash(name: str) -> None:
    """The hash of a row is made in another way, which takes a third of the time."""
    bind = op.get_bind()
    table = sa.Table(name, sa.MetaData(), autoload_with=bind)
    names = [column.name for column in table.c if column.name not in INTERVAL and column.name != "organization_key"]
    hash_of = row_hash(names)
    place = [table.c[column.name] == sa.bindparam(f"_{column.name}") for column in table.primary_key]
    rows = bind.execute(sa.select(table)).mappings().all()
    changes = [
        {"hash": hash_of(tuple(row[name] for name in names)), **{f"_{key.name}": row[key.name] for key in table.primary_key}}
        for row in rows
    ]
    if changes:
        bind.execute(sa.update(table).where(*place).values(row_hash=sa.bindparam("hash")), changes)


def _redactions() -> None:
    op.create_table(
        "redaction",
        sa.Column("redaction_id", sa.Integer(), nullable=False),
        sa.Column("organization_key", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("redacted_at", TIME, nullable=False),
        sa.Column("last_snapshot_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("redaction_id", name="pk_redaction"),
    )
    op.create_table(
        "redacted_body",
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("new_sha256", sa.Text(), nullable=False),
        sa.Column("redaction_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["body_sha256"], ["raw_body.body_sha256"], name="fk_redacted_body_body_sha256"),
        sa.ForeignKeyConstraint(["new_sha256"], ["raw_body.body_sha256"], name="fk_redacted_body_new_sha256"),
        sa.ForeignKeyConstraint(["redaction_id"], ["redaction.redaction_id"], name="fk_redacted_body_redaction_id"),
        sa.PrimaryKeyConstraint("body_sha256", "redaction_id", name="pk_redacted_body"),
    )
