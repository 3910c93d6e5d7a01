"""What a sensor has to say, as pure functions and one query: no Dagster here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.warehouse import queries
from sonar_access_pipeline.warehouse.database import Warehouse


@dataclass(frozen=True)
class Problem:
    """One thing that a person should know; `key` names it, so that it is said once."""

    key: str
    sentence: str


def due_day(now: datetime, hour: int, grace_hours: int) -> date:
    """The last day that must have been observed by `now`: its hour and its grace are over."""
    return (now - timedelta(hours=hour + grace_hours)).date()


def missing_day(connection: Connection, settings: Settings, warehouse: Warehouse, now: datetime) -> Problem | None:
    """The problem that the last due day was not observed, if so. A connection that has never been read has no due day."""
    organization_key = connection.organization_key()
    day = due_day(now, settings.hour, settings.grace_hours)
    with warehouse.read() as transaction:
        if organization_key not in queries.organizations(transaction):
            return None
        status = queries.coverage(transaction, organization_key, day, day)[0]
    if status["status"] == "observed":
        return None
    why = f": {status['error']}" if status["error"] else ""
    return Problem(
        f"{connection.name}:{day}:{status['status']}",
        f"{connection.name}: {day} is {status['status']}{why}. Run `sonar-access sync --connection {connection.name}` while the "
        "day lasts; once it is over it stays a gap.",
    )
