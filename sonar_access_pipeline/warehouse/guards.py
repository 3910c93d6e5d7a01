"""What the database itself refuses, whoever writes: overlapping intervals, and changes of what is
append-only.

Statements for migrations, and for a history table made elsewhere. The two databases say it in their
own ways; both mean it. And the other way round: which of all that the schema promises is not there,
as after a restore that brought back half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product, starmap

from sqlalchemy import Connection, Table, text

from sonar_access_pipeline.warehouse.schema import (
    APPEND_ONLY,
    SCHEMA,
    history_tables,
    metadata,
    raw_body,
)

UNIT_SEPARATOR = "chr(31)"
EVER = "9999-12-31"
"""Later than every time as SQLite keeps it.

An OR in its place would send SQLite through every row that has ended.
"""


def no_overlap(table: str, keys: Sequence[str], *, is_postgresql: bool) -> Iterator[str]:
    """No two intervals of one key may overlap. `keys` are the key columns without `valid_from`.

    On PostgreSQL an exclusion constraint. It compares a 64-bit hash of the key, because an index of
    whole keys would cost more than the merge. Two keys of one hash would be refused, loudly, if
    both showed at once: among a million keys, one chance in thirty million.
    """
    if is_postgresql:
        key = f" || {UNIT_SEPARATOR} || ".join(keys)
        yield (
            f"ALTER TABLE {table} ADD CONSTRAINT ex_{table}_overlap EXCLUDE USING gist"
            f" (hashtextextended({key}, 0) WITH =, tstzrange(valid_from, valid_to) WITH &&)"
        )
        return
    same = " AND ".join(f"other.{key} = NEW.{key}" for key in keys)
    overlap = (
        f"EXISTS (SELECT 1 FROM {table} other WHERE {same} AND other.rowid <> NEW.rowid AND"
        f" other.valid_from < COALESCE(NEW.valid_to, '{EVER}') AND COALESCE(other.valid_to,"
        f" '{EVER}') > NEW.valid_from)"
    )
    for event, name in (("INSERT ON", "insert"), ("UPDATE OF valid_from, valid_to ON", "update")):
        yield (
            f"CREATE TRIGGER {table}_no_overlap_{name} AFTER {event} {table} WHEN {overlap} "
            f"BEGIN SELECT RAISE(ABORT, 'intervals of one key of {table} overlap'); END"
        )


def extension(*, is_postgresql: bool) -> Iterator[str]:
    """Yield the statement for the extension that `no_overlap` needs of the database.

    It comes with PostgreSQL, and the owner of a database may switch it on.
    """
    if is_postgresql:
        yield "CREATE EXTENSION IF NOT EXISTS btree_gist"


def refusal(*, is_postgresql: bool) -> Iterator[str]:
    """Yield the statement for the function that triggers of `append_only` call, on PostgreSQL: made
    once.
    """
    if is_postgresql:
        yield (
            f"CREATE FUNCTION {SCHEMA}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE ="
            " 'restrict_violation'; END $$"
        )


def its_own_bytes(*, is_postgresql: bool) -> Iterator[str]:
    """On PostgreSQL, the bytes of a body that was dropped come back only where they have its
    digest, and can be unpacked.

    The database can neither unpack nor needs to: they come back as zlib writes them at level 0, in
    stored blocks (RFC 1951, section 3.2.4) between a header and the sum of RFC 1950, section 9.
    Whoever asks could have functions of the same names: only the database's own are called. On
    SQLite, which has no roles, whoever opens the file may do everything.
    """
    if is_postgresql:
        yield f"""
            CREATE FUNCTION {SCHEMA}.refuse_other_bytes() RETURNS trigger LANGUAGE plpgsql
            SET search_path = pg_catalog, pg_temp AS $$
            DECLARE
                stored bytea := NEW.zlib_body; whole bytea := '';
                place int := 2; size int; is_last int; is_whole boolean := substring(NEW.zlib_body FOR 2) = decode('7801', 'hex');
                sum_a bigint; sum_b bigint;
            BEGIN
                LOOP
                    is_last := get_byte(stored, place);
                    size := get_byte(stored, place + 1) + 256 * get_byte(stored, place + 2);
                    is_whole := is_whole AND is_last IN (0, 1)
                        AND get_byte(stored, place + 3) + 256 * get_byte(stored, place + 4) = 65535 - size;
                    whole := whole || substring(stored FROM place + 6 FOR size);
                    place := place + 5 + size;
                    EXIT WHEN is_last <> 0;
                END LOOP;
                SELECT 1 + coalesce(sum(get_byte(whole, number)), 0),
                    length(whole) + coalesce(sum((length(whole) - number)::bigint * get_byte(whole, number)), 0)
                    INTO sum_a, sum_b FROM generate_series(0, length(whole) - 1) AS number;
                IF NOT is_whole OR encode(sha256(whole), 'hex') <> OLD.body_sha256 OR substring(stored FROM place + 1)
                    <> decode(lpad(to_hex(sum_b % 65521 * 65536 + sum_a % 65521), 8, '0'), 'hex') THEN
                    RAISE EXCEPTION 'these are not the bytes of this body' USING ERRCODE = 'restrict_violation';
                END IF;
                RETURN NEW;
            END $$"""  # noqa: E501
        yield (
            f"CREATE TRIGGER {raw_body.name}_its_own_bytes BEFORE UPDATE ON {raw_body.name} FOR"
            " EACH ROW WHEN (OLD.dropped_at IS NOT NULL AND NEW.dropped_at IS NULL) EXECUTE"
            f" FUNCTION {SCHEMA}.refuse_other_bytes()"
        )


def append_only(table: str, *, is_postgresql: bool, unless: str | None = None) -> Iterator[str]:
    """No row of a table may be changed or deleted, `unless` an update fulfils a condition over OLD
    and NEW.
    """
    allowed = f" WHEN (NOT ({unless}))" if unless else ""
    if is_postgresql:
        calls = f"EXECUTE FUNCTION {SCHEMA}.refuse_change()"
        yield (
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW{allowed}"
            f" {calls}"
        )
        yield f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW {calls}"
        yield (
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
            f" {calls}"
        )
        return
    refuse = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    yield f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}{allowed} {refuse}"
    yield f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}"


def only_redacted(table: Table, people: Sequence[str], *, is_postgresql: bool) -> str:
    """Give the condition for an update that puts a pseudonym in the place of a person, in the
    columns named, and changes nothing else.
    """
    same = "NEW.{0} IS NOT DISTINCT FROM OLD.{0}" if is_postgresql else "NEW.{0} IS OLD.{0}"
    quoted = {column.name: f'"{column.name}"' for column in table.columns}
    conditions = [same.format(quoted[name]) for name in quoted if name not in people]
    conditions += [
        f"({same.format(quoted[name])} OR NEW.{quoted[name]} LIKE 'redacted-%')" for name in people
    ]
    return " AND ".join(conditions)


FUNCTIONS = ("refuse_change", "refuse_other_bytes")
"""What the triggers call, on PostgreSQL."""
GUARDED = (*(table.name for table in APPEND_ONLY), raw_body.name)
"""The tables in which triggers refuse changes."""


def missing(transaction: Connection, views: Sequence[str]) -> list[str]:
    """List what the schema promises and the database does not have, or has switched off: each as
    kind and name, in a fixed order.

    Tables, `views`, constraints, indexes, triggers, and on PostgreSQL the functions that these
    call.
    """
    is_postgresql = transaction.dialect.name == "postgresql"
    there = _on_postgresql(transaction) if is_postgresql else _on_sqlite(transaction)
    indexes = (table.indexes for table in metadata.sorted_tables)
    promised = {
        "table": [table.name for table in metadata.sorted_tables],
        "view": list(views),
        "constraint": [
            *_constraints(),
            *(f"ex_{name}_overlap" for name in history_tables if is_postgresql),
        ],
        "index": [str(index.name) for index in chain.from_iterable(indexes)],
        "trigger": list(_triggers(is_postgresql=is_postgresql)),
        "function": list(FUNCTIONS) if is_postgresql else [],
    }
    absent: list[str] = []
    for kind, names in promised.items():
        absent += [f"{kind} {name}" for name in sorted(names) if not _is_in(name, there[kind])]
    return absent


def _is_in(name: str, there: set[str]) -> bool:
    """Tell whether something is there by its name; migrations have put a second `ck_<table>_`
    before the names of checks.
    """
    return name in there or (
        name.startswith("ck_") and any(one.endswith(f"_{name}") for one in there)
    )


def _constraints() -> Iterator[str]:
    for table in metadata.sorted_tables:
        for constraint in table.constraints:
            if constraint.name is not None:
                yield str(constraint.name)


def _triggers(*, is_postgresql: bool) -> Iterator[str]:
    refused = (
        ("no_update", "no_delete", "no_truncate") if is_postgresql else ("no_update", "no_delete")
    )
    yield from starmap("{}_{}".format, product(GUARDED, refused))
    if is_postgresql:
        yield f"{raw_body.name}_its_own_bytes"
    else:
        pairs = product(history_tables, ("insert", "update"))
        yield from starmap("{}_no_overlap_{}".format, pairs)


def _on_postgresql(transaction: Connection) -> Mapping[str, set[str]]:
    ours = "JOIN pg_namespace n ON n.oid = {}.{} WHERE n.nspname = :schema"

    def names(query: str) -> set[str]:
        return set(transaction.execute(text(query), {"schema": SCHEMA}).scalars())

    of_table = "JOIN pg_class c ON c.oid = {} " + ours.format("c", "relnamespace")
    return {
        "table": names(
            f"SELECT c.relname FROM pg_class c {ours.format('c', 'relnamespace')} AND c.relkind IN"
            " ('r', 'p')"
        ),
        "view": names(
            f"SELECT c.relname FROM pg_class c {ours.format('c', 'relnamespace')} AND c.relkind"
            " = 'v'"
        ),
        "constraint": names(
            f"SELECT k.conname FROM pg_constraint k {of_table.format('k.conrelid')} AND"
            " k.convalidated"
        ),
        "index": names(
            "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            f" {of_table.format('x.indrelid')} AND x.indisvalid"
        ),
        "trigger": names(
            "SELECT t.tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
            f" {of_table.format('t.tgrelid')} AND t.tgenabled IN ('O', 'A') AND p.proname LIKE"
            " 'refuse!_%' ESCAPE '!'"
        ),
        "function": names(
            f"SELECT p.proname FROM pg_proc p {ours.format('p', 'pronamespace')} AND p.prosrc LIKE"
            " '%RAISE EXCEPTION%'"
        ),
    }


def _on_sqlite(transaction: Connection) -> Mapping[str, set[str]]:
    rows = transaction.execute(text("SELECT type, name, sql FROM sqlite_master")).all()
    names_by_kind = {
        kind: {row.name for row in rows if row.type == kind} for kind in ("table", "view", "index")
    }
    made = " ".join(row.sql for row in rows if row.type == "table" and row.sql)
    names_by_kind["constraint"] = {name for name in _constraints() if f"{name} " in made}
    names_by_kind["trigger"] = {
        row.name for row in rows if row.type == "trigger" and "RAISE(ABORT" in row.sql
    }
    return {**names_by_kind, "function": set()}
