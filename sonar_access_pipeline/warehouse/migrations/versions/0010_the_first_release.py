"""The tables, guards and views of version 0.1.0, from one file of SQL per database: they stay as
they were released.

Its number says that nine came before it, which nobody was given: a warehouse of theirs is not
brought here.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    file = Path(__file__).with_suffix(f".{op.get_bind().dialect.name}.sql")
    # An empty line stands between statements, and in none.
    for statement in file.read_text().split("\n\n"):
        op.execute(sa.text(statement.replace(":", r"\:")))
