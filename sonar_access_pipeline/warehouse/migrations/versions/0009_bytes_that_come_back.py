"""Bytes of a dropped body come back only with its digest: on PostgreSQL, where roles have part of the rights."""

import sqlalchemy as sa
from alembic import op

from sonar_access_pipeline.warehouse import guards

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in guards.its_own_bytes(is_postgresql=op.get_bind().dialect.name == "postgresql"):
        op.execute(sa.text(statement.replace(":", r"\:")))
