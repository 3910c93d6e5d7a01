"""One step before the services of a new version start: the warehouse's tables, Dagster's own, and
the rights of roles.

Safe to repeat. Where there is something to change it waits for runs that go on, and refuses where
they do not end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing

import dagster as dg

from sonar_access_pipeline.alerts.problems import Limits
from sonar_access_pipeline.orchestration import processes
from sonar_access_pipeline.orchestration.launch import dagster_home, open_instance
from sonar_access_pipeline.settings import Settings
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import REVISIONS, is_current, require_suitable
from sonar_access_pipeline.warehouse.migrations import upgrade as upgrade_warehouse
from sonar_access_pipeline.warehouse.roles import Role, grant

WORKING = dg.RunsFilter(
    statuses=[
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
)
LONGEST = Limits().running
SECONDS = 5.0
"""Between looks whether runs still go on."""


class BusyError(Exception):
    """Runs go on, and did not end in the time that was given; nothing was changed."""


def upgrade(
    settings: Settings, roles: Mapping[str, Role], wait_seconds: float, say: Callable[[str], None]
) -> None:
    """Bring all tables to this version, and give roles of the database what their kinds need.

    Raises `BusyError` where runs do not end in time, `SettingsError`, and `WarehouseError`.
    """
    home = dagster_home(settings)
    with closing(Warehouse(settings.warehouse)) as warehouse:
        require_suitable(warehouse)
        with open_instance(home) as instance:
            is_whole = is_current(warehouse)
            if not (is_whole and _has_current_tables(instance)):
                _wait(instance, wait_seconds, say)
                upgrade_warehouse(warehouse)
                # It says on its own output what it does, which is nobody's business here.
                instance.upgrade()
        changed = "was already" if is_whole else "is now"
        say(
            f"{warehouse.name} {changed} at revision {REVISIONS[-1]}; Dagster's own tables are"
            " current."
        )
        for name, role in roles.items():
            tables = grant(warehouse, name, role)
            say(f"{name} has the rights of kind {role.value} on {tables} tables and views.")


def _has_current_tables(instance: dg.DagsterInstance) -> bool:
    storages = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
    versions = [storage.alembic_version() for storage in storages if storage]
    return all(version is None or version[0] == version[1] for version in versions)


def _goes_on(record: dg.RunRecord) -> bool:
    return processes.goes_on(record, LONGEST)


def _wait(instance: dg.DagsterInstance, seconds: float, say: Callable[[str], None]) -> None:
    """Return when no run goes on. Raises `BusyError`."""
    until = time.monotonic() + seconds
    has_said = False
    while working := [
        record.dagster_run.run_id[:8]
        for record in instance.get_run_records(WORKING)
        if _goes_on(record)
    ]:
        number = "a run goes on" if len(working) == 1 else f"{len(working)} runs go on"
        named = f"{number[0].upper()}{number[1:]} ({', '.join(working[:3])})"
        if time.monotonic() >= until:
            raise BusyError(
                f"{named}, and no table is changed meanwhile. Try again when that has ended; one"
                f" that was killed counts for {LONGEST.total_seconds() / 3600:.0f} hours."
            )
        if not has_said:
            say(f"{named}; waiting for their end, at most {seconds / 60:.0f} minutes.")
            has_said = True
        time.sleep(min(SECONDS, max(0.0, until - time.monotonic())))
