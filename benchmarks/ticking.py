"""A code location whose sensors look every three seconds: what `benchmarks.operations memory`
watches for half an hour.
"""

from __future__ import annotations

import dagster as dg

from sonar_access_pipeline.orchestration import sensors
from sonar_access_pipeline.orchestration.build import build_location
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import load

sensors.SECONDS = 3
parts = Parts(load())
daily = f"{parts.settings.connections[0].name}_daily"


@dg.schedule(
    cron_schedule="* * * * *", job_name=daily, default_status=dg.DefaultScheduleStatus.RUNNING
)
def every_minute() -> dg.SkipReason:
    """A tick a minute, as often as a schedule can."""
    return dg.SkipReason("only to tick")


defs = dg.Definitions.merge(build_location(parts), dg.Definitions(schedules=[every_minute]))
