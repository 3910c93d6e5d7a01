"""A code location whose sensors look every three seconds: what `benchmarks.operations memory`
watches for half an hour.
"""

from __future__ import annotations

import dagster as dg

from sonar_access_pipeline.orchestration import sensors
from sonar_access_pipeline.orchestration.build import build_location
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import load

sensors.SECONDS = 3
resources = Resources(load())
daily = f"{resources.settings.connections[0].name}_daily"


@dg.schedule(
    cron_schedule="* * * * *", job_name=daily, default_status=dg.DefaultScheduleStatus.RUNNING
)
def every_minute() -> dg.SkipReason:
    """A tick a minute, as often as a schedule can."""
    return dg.SkipReason("only to tick")


defs = dg.Definitions.merge(build_location(resources), dg.Definitions(schedules=[every_minute]))
