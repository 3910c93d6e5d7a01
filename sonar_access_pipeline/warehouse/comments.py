"""What every table, view and column means, put into PostgreSQL as comments, and read from there as
the data dictionary.

The words stand once, in `schema.py`, `views.py` and `access/rows.py`. SQLite keeps no comments.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Inspector, inspect, text
from sqlalchemy.schema import SetColumnComment, SetTableComment

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.warehouse import views
from sonar_access_pipeline.warehouse.schema import metadata


def comment(transaction: Connection) -> None:
    """Say in the database what everything means."""
    for table in metadata.sorted_tables:
        transaction.execute(SetTableComment(table))
    for view in views.metadata.tables.values():
        meaning = str(view.comment).replace("'", "''")
        transaction.execute(text(f"COMMENT ON VIEW {view.name} IS '{meaning}'"))
    for described in (*metadata.sorted_tables, *views.metadata.tables.values()):
        for column in described.columns:
            transaction.execute(SetColumnComment(column))


def dictionary(transaction: Connection) -> str:
    """Write the data dictionary of a PostgreSQL warehouse, in Markdown, from its own comments:
    views, history, then the rest.
    """
    inspector = inspect(transaction)
    history = [description.name for description in HISTORY_TABLES]
    others = [table.name for table in metadata.sorted_tables if table.name not in history]
    sections = (
        ("Views", views.VIEWS),
        ("History tables", history),
        ("Snapshots, decisions and records", sorted(others)),
    )
    lines = [INTRODUCTION]
    for title, names in sections:
        lines.append(f"## {title}\n")
        for name in names:
            lines += _described(inspector, name)
    return "\n".join(lines)


INTRODUCTION = """# Data dictionary

Made from the comments that a warehouse on PostgreSQL carries itself (`make dictionary`; a test
compares). On SQLite names and meanings are the same. All times are UTC; unknown is NULL.
"""


def _described(found: Inspector, name: str) -> Iterator[str]:
    keys = (
        set(views.KEYS[name])
        if name in views.VIEWS
        else set(found.get_pk_constraint(name)["constrained_columns"])
    )
    yield (
        f"### `{name}`\n\n{found.get_table_comment(name)['text']}.\n\n| column | type | meaning"
        " |\n|---|---|---|"
    )
    for column in found.get_columns(name):
        kind = "timestamptz" if "TIMESTAMP" in str(column["type"]) else str(column["type"]).lower()
        nullable = ", may be NULL" if column["nullable"] and name not in views.VIEWS else ""
        yield (
            f"| `{column['name']}`{' (key)' if column['name'] in keys else ''} | {kind}{nullable} |"
            f" {column['comment']} |"
        )
    yield ""
