"""The tables, guards and views of version 0.1.0.

Its number says that nine came before it, which nobody was given: a warehouse of theirs is not
brought here.
"""

from sonar_access_pipeline.warehouse.migrations.sql_files import run

revision = "0010"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__)
