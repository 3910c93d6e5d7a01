"""What the reviewers' page keeps."""

from sonar_access_pipeline.warehouse.migrations.sql_files import run

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__)
