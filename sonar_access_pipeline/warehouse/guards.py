"""What the database itself refuses, whoever writes: overlapping intervals, and changes of what is append-only.

Statements for migrations, and for a history table made elsewhere. The two databases say it in their own ways; both mean it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sonar_access_pipeline.warehouse.schema import SCHEMA

UNIT_SEPARATOR = "chr(31)"
EVER = "9999-12-31"
"""Later than every time as SQLite keeps it. An OR in its place would send SQLite through every row that has ended."""


def no_overlap(table: str, keys: Sequence[str], *, is_postgresql: bool) -> Iterator[str]:
    """No two intervals of one key may overlap. `keys` are the key columns without `valid_from`.

    On PostgreSQL an exclusion constraint. It compares a 64-bit hash of the key, because an index of whole keys would cost more
    than the merge. Two keys of one hash would be refused, loudly, if both showed at once: among a million keys, one chance in
    thirty million.
    """
    if is_postgresql:
        key = f" || {UNIT_SEPARATOR} || ".join(keys)
        yield (
            f"ALTER TABLE {table} ADD CONSTRAINT ex_{table}_overlap "
            f"EXCLUDE USING gist (hashtextextended({key}, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)"
        )
        return
    same = " AND ".join(f"other.{key} = NEW.{key}" for key in keys)
    overlap = (
        f"EXISTS (SELECT 1 FROM {table} other WHERE {same} AND other.rowid <> NEW.rowid "
        f"AND other.valid_from < COALESCE(NEW.valid_to, '{EVER}') AND COALESCE(other.valid_to, '{EVER}') > NEW.valid_from)"
    )
    for event, name in (("INSERT ON", "insert"), ("UPDATE OF valid_from, valid_to ON", "update")):
        yield (
            f"CREATE TRIGGER {table}_no_overlap_{name} AFTER {event} {table} WHEN {overlap} "
            f"BEGIN SELECT RAISE(ABORT, 'intervals of one key of {table} overlap'); END"
        )


def extension(*, is_postgresql: bool) -> Iterator[str]:
    """What `no_overlap` needs of the database. It comes with PostgreSQL, and the owner of a database may switch it on."""
    if is_postgresql:
        yield "CREATE EXTENSION IF NOT EXISTS btree_gist"


def refusal(*, is_postgresql: bool) -> Iterator[str]:
    """What triggers of `append_only` call, on PostgreSQL: made once."""
    if is_postgresql:
        yield (
            f"CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
        )


def append_only(table: str, *, is_postgresql: bool, unless: str | None = None) -> Iterator[str]:
    """No row of a table may be changed or deleted, `unless` an update fulfils a condition over OLD and NEW."""
    allowed = f" WHEN (NOT ({unless}))" if unless else ""
    if is_postgresql:
        calls = f"EXECUTE FUNCTION {SCHEMA}.refuse_change()"
        yield f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW{allowed} {calls}"
        yield f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW {calls}"
        yield f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {calls}"
        return
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    yield f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}{allowed} {refuse}"
    yield f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}"
