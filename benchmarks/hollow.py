"""Definitions with the same assets, checks and jobs as ours, which do nothing: the floor under
`benchmarks.daily_run` and `benchmarks.operations connections`.

Making it loads the same definitions, so the floor includes importing this package.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.resources import Resources


def hollow(resources: Resources) -> dg.Definitions:
    """Build the definitions of some settings, with every asset emptied."""
    ours = build_definitions(resources)
    assets = [
        _emptied(asset) for asset in ours.assets or [] if isinstance(asset, dg.AssetsDefinition)
    ]
    return dg.Definitions(
        assets=assets,
        asset_checks=ours.asset_checks,
        jobs=ours.jobs,
        executor=dg.in_process_executor,
    )


def _emptied(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=asset.op.name,
        specs=[*asset.specs],
        check_specs=[*asset.check_specs],
        partitions_def=asset.partitions_def,
        backfill_policy=asset.backfill_policy,
    )
    def nothing() -> Any:
        for check in asset.check_specs:
            yield dg.AssetCheckResult(asset_key=check.asset_key, check_name=check.name, passed=True)
        for spec in asset.specs:
            yield dg.MaterializeResult(asset_key=spec.key)

    return nothing
