"""Migrations that are a file of SQL per database: they stay as they were released."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op


def run(revision: str) -> None:
    """Execute the statements beside a revision's file, those of the database at hand."""
    file = Path(revision).with_suffix(f".{op.get_bind().dialect.name}.sql")
    # An empty line stands between statements, and in none.
    for statement in file.read_text().split("\n\n"):
        op.execute(sa.text(statement.replace(":", r"\:")))
