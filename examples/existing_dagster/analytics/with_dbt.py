"""With dbt: the models of the package in integrations/dbt, whose sources are the assets of the
connection by themselves, since the package names their keys.

It needs dagster-dbt, and the manifest that `dbt parse` writes in the project ACCESS_DBT_PROJECT.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from sonar_access_pipeline.components import sonar_access

PROJECT = Path(os.environ["ACCESS_DBT_PROJECT"])


@dbt_assets(manifest=PROJECT / "target" / "manifest.json")
def access_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Build the models, and test them and their sources."""
    yield from dbt.cli(["build"], context=context).stream()


defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[access_models], resources={"dbt": DbtCliResource(project_dir=str(PROJECT))}
    ),
    sonar_access(
        [{"name": "acme", "organization": "acme", "token_env": "ACME_SONAR_TOKEN"}],
        hour=4,
        first_day="2026-01-01",
    ),
)
