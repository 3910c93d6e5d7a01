"""An asset of one's own on top of the access tables."""

import os

import dagster as dg
from sqlalchemy import create_engine, make_url, text

QUERY = """
SELECT COUNT(DISTINCT login)
FROM sonar_access.current_access
WHERE organization_key = 'acme' AND entitlement = 'admin' AND user_name LIKE '%(contractor)%'
"""


@dg.asset(
    deps=[dg.AssetKey(["acme", "fct_user_access"])],
    automation_condition=dg.AutomationCondition.any_deps_updated(),
    description=(
        "How many contractors administer the organization. Asks the warehouse, not SonarCloud."
    ),
)
def contractors_with_admin() -> dg.MaterializeResult[int]:
    """Ask the warehouse on PostgreSQL."""
    # The driver that Dagster brings: SQLAlchemy by itself would take another one, which is not
    # installed.
    url = make_url(os.environ["SONAR_ACCESS_WAREHOUSE_URL"]).set(drivername="postgresql+psycopg2")
    engine = create_engine(url)
    with engine.connect() as connection:
        return dg.MaterializeResult(
            metadata={"contractors": connection.execute(text(QUERY)).scalar_one()}
        )
