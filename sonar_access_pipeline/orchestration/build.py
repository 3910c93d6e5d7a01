"""From resources to Dagster definitions: the one function that every code location, the command
line,
the demo and the tests call.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TypeVar

import dagster as dg

from sonar_access_pipeline.orchestration.assets import assets_of
from sonar_access_pipeline.orchestration.checks import recorded_check
from sonar_access_pipeline.orchestration.jobs import jobs_of
from sonar_access_pipeline.orchestration.partitions import daily
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.orchestration.schedules import schedules_of
from sonar_access_pipeline.orchestration.sensors import sensors_of

T = TypeVar("T")


def build_definitions(resources: Resources) -> dg.Definitions:
    """Build everything that Dagster shows, for every connection of the settings.

    Connects to nothing and writes nothing.
    """
    partitions = daily(resources.settings.first_day)
    connections = {connection: jobs_of(connection) for connection in resources.settings.connections}
    return dg.Definitions(
        assets=_together(
            assets_of(connection, resources, partitions) for connection in connections
        ),
        asset_checks=[recorded_check(connection, resources) for connection in connections],
        jobs=_together(jobs.all() for jobs in connections.values()),
        schedules=_together(
            schedules_of(connection, jobs, resources) for connection, jobs in connections.items()
        ),
        sensors=sensors_of(resources, list(connections.values())),
    )


def build_location(resources: Resources) -> dg.Definitions:
    """Build a code location with nothing else in it: a run that somebody starts on assets by hand
    uses one process, too.
    """
    return dg.Definitions.merge(
        build_definitions(resources), dg.Definitions(executor=dg.in_process_executor)
    )


def _together(several: Iterable[Iterable[T]]) -> list[T]:
    return list(chain.from_iterable(several))
