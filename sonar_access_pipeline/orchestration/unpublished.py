"""What we need of Dagster and Dagster does not publish, in one file: a change of it is seen here
(`test_layers.py`).

Names of tags that Dagster's UI, schedules and sensors put on runs; states of ticks; where an
instance keeps its runs, before it is opened. Add here: nothing for which `dagster` itself has a
name.
"""

from __future__ import annotations

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)
from dagster._core.instance.ref import InstanceRef
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    GRPC_INFO_TAG,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)
from dagster._serdes.config_class import ConfigurableClassData

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "FINISHED_STATUSES",
    "GRPC_INFO_TAG",
    "PARENT_RUN_ID_TAG",
    "PARTITION_NAME_TAG",
    "SCHEDULE_NAME_TAG",
    "SENSOR_NAME_TAG",
    "AssetJob",
    "ConfigurableClassData",
    "InstanceRef",
    "InstigatorType",
    "TickStatus",
]
