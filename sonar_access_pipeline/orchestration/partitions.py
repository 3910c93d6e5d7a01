"""The one partitioning: UTC days from the first day, today included.

What a partition may do is decided by each asset.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import dagster as dg

from sonar_access_pipeline.access.window import Window


def daily(first_day: date) -> dg.DailyPartitionsDefinition:
    """Build a partition for every UTC day from `first_day` to today: without the end offset, today
    would only exist tomorrow.
    """
    return dg.DailyPartitionsDefinition(
        start_date=datetime.combine(first_day, datetime.min.time(), UTC), end_offset=1
    )


def window_of(context: dg.AssetExecutionContext) -> Window:
    """Return the window that a run's partition, or its contiguous range of partitions, stands
    for.
    """
    days = sorted(date.fromisoformat(key) for key in context.partition_keys)
    return Window(days[0], days[-1])
