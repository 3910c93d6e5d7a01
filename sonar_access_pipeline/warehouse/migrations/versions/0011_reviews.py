"""The facts of access reviews, what they demand, and views of both."""

from sonar_access_pipeline.warehouse.migrations.sql_files import run

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__)
