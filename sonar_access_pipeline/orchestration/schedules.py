"""When things run by themselves: the day at its hour, last month's and last quarter's packet on the
first day after, and on Sundays a look at whether the warehouse is what was recorded. UTC.

A schedule runs from the start, unless its source is on this machine: nobody schedules a simulator.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import dagster as dg

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.orchestration.jobs import Jobs
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.orchestration.unpublished import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from sonar_access_pipeline.settings import Connection


def default_status(connection: Connection) -> dg.DefaultScheduleStatus:
    """Running for a real source."""
    return (
        dg.DefaultScheduleStatus.STOPPED
        if connection.is_loopback
        else dg.DefaultScheduleStatus.RUNNING
    )


def schedules_of(
    connection: Connection, jobs: Jobs, resources: Resources
) -> list[dg.ScheduleDefinition]:
    """Build the daily, the monthly, the quarterly and the weekly schedule of a connection."""
    calendar = resources.settings.calendar_of(connection.organization)

    @dg.schedule(
        name=f"{connection.name}_daily_schedule",
        job=jobs.daily,
        cron_schedule=calendar.cron(),
        execution_timezone="UTC",
        default_status=default_status(connection),
        description=(
            "Observes today. A tick that comes a day late is skipped: SonarCloud cannot show a past"
            " day."
        ),
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        day = context.scheduled_execution_time.date()
        today = resources.clock().date()
        if day != today:
            return dg.SkipReason(
                f"{day} is over, and SonarCloud cannot show a past day; {today} has a tick of its"
                " own."
            )
        return dg.RunRequest(run_key=f"{connection.name}:{day}", partition_key=str(day))

    def sealing(
        name: str, cron: str, window_before: Callable[[date], Window], what: str
    ) -> dg.ScheduleDefinition:
        @dg.schedule(
            name=f"{connection.name}_{name}_schedule",
            job=jobs.evidence,
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=default_status(connection),
            description=f"Seals {what}'s packet.",
        )
        def sealed(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
            window = window_before(context.scheduled_execution_time.date())
            first = max(window.first, resources.settings.first_day)
            if first > window.last:
                return dg.SkipReason(
                    f"{window} lies before the first day, {resources.settings.first_day}."
                )
            tags = {
                ASSET_PARTITION_RANGE_START_TAG: str(first),
                ASSET_PARTITION_RANGE_END_TAG: str(window.last),
            }
            return dg.RunRequest(run_key=f"{connection.name}:{window}", tags=tags)

        return sealed

    monthly = sealing("monthly", calendar.cron(30, "1 * *"), Window.month_before, "last month")
    quarterly = sealing(
        "quarterly", calendar.cron(40, "1 1,4,7,10 *"), Window.quarter_before, "last quarter"
    )
    weekly = dg.ScheduleDefinition(
        name=f"{connection.name}_weekly_schedule",
        job=jobs.verify,
        cron_schedule=calendar.cron(45, "* * 0"),
        execution_timezone="UTC",
        default_status=default_status(connection),
        description="Verifies the warehouse.",
    )
    return [daily, monthly, quarterly, weekly]
