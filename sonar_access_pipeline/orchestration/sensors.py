"""What watches: a failed run, and a day without an observation. Each problem is logged once. Thin: `watch.py` decides."""

from __future__ import annotations

import json
from contextlib import closing

import dagster as dg

from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.orchestration.watch import missing_day
from sonar_access_pipeline.settings import SettingsError
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.migrations import require_current


def sensors_of(parts: Parts) -> list[dg.SensorDefinition]:
    """The sensors of a code location; running unless every source is on this machine."""
    real = any(not connection.is_loopback for connection in parts.settings.connections)
    status = dg.DefaultSensorStatus.RUNNING if real else dg.DefaultSensorStatus.STOPPED

    @dg.run_failure_sensor(name="failed_runs", default_status=status, description="Logs every failed run with its sentence.")
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        sentence = context.failure_event.message or "no step failed"
        for event in context.get_step_failure_events():
            error = event.step_failure_data.user_failure_data
            if error is not None and error.description:
                sentence = error.description
        context.log.error(f"Run {context.dagster_run.run_id} of {context.dagster_run.job_name} failed: {sentence}")

    @dg.sensor(
        name="missing_days",
        minimum_interval_seconds=600,
        default_status=status,
        description="Logs a day that was not observed when its grace is over.",
    )
    def missing_days(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        said: set[str] = set(json.loads(context.cursor)) if context.cursor else set()
        found: dict[str, str] = {}
        for connection in parts.settings.connections:
            try:
                with closing(Warehouse(parts.settings.warehouse)) as warehouse:
                    require_current(warehouse)
                    if problem := missing_day(connection, parts.settings, warehouse, parts.clock()):
                        found[problem.key] = problem.sentence
            except (SettingsError, WarehouseError) as error:
                found[f"{connection.name}:{error}"] = f"{connection.name}: {error}"
        for key in sorted(set(found) - said):
            context.log.error(found[key])
        reason = " ".join(found.values()) or "Every due day was observed."
        return dg.SensorResult(skip_reason=reason, cursor=json.dumps(sorted(found)))

    return [failed_runs, missing_days]
