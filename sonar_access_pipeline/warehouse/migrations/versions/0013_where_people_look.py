"""Views that answer in one line: accounts and findings as they are, and counts day by day; on
PostgreSQL, access at a moment. And receipts of deliveries.
"""

from sonar_access_pipeline.warehouse.migrations.sql_files import run

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run(__file__)
