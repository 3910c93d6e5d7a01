"""By function: the same connection, merged with definitions of one's own, which have an executor of
theirs.
"""

import dagster as dg

from analytics.defs.contractors import contractors_with_admin
from sonar_access_pipeline.components import sonar_access

defs = dg.Definitions.merge(
    dg.Definitions(assets=[contractors_with_admin], executor=dg.multiprocess_executor),
    sonar_access(
        [{"name": "acme", "organization": "acme", "token_env": "ACME_SONAR_TOKEN"}],
        hour=4,
        first_day="2026-01-01",
    ),
)
