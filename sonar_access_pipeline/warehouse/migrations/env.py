"""How Alembic runs here: always on the connection, and inside the transaction, that
`migrations.upgrade` hands over.
"""

from alembic import context

from sonar_access_pipeline.warehouse.migrations import VERSION_TABLE
from sonar_access_pipeline.warehouse.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
