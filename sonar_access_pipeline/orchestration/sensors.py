"""The two sensors of a code location: one says what is wrong, the other tries a failed sync again.

Thin: `monitoring.py` looks.

Each also looks whether the other runs. That the daemon itself is down only somebody outside can
notice: see `heartbeat_url`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import chain

import dagster as dg

from sonar_access_pipeline.alerts import channels
from sonar_access_pipeline.alerts.ledger import Event
from sonar_access_pipeline.orchestration import runs
from sonar_access_pipeline.orchestration.jobs import (
    Jobs,
    daily_job_name,
    evidence_job_name,
    history_job_name,
)
from sonar_access_pipeline.orchestration.monitoring import (
    Memory,
    Monitoring,
    due_retries,
    lost_days,
    watching_since,
)
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.warehouse.errors import WarehouseError

WATCH = "sonar_access_watch"
RETRY = "sonar_access_retry"
SECONDS = 30
"""Between looks."""


def sensors_of(resources: Resources, jobs: list[Jobs]) -> list[dg.SensorDefinition]:
    """Build the sensors of a code location; they are running unless every source is on this
    machine.
    """
    real = any(not connection.is_loopback for connection in resources.settings.connections)
    status = dg.DefaultSensorStatus.RUNNING if real else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=WATCH,
        minimum_interval_seconds=SECONDS,
        default_status=status,
        description=(
            "Finds what is wrong (failed and lost runs, days that were not observed, held"
            " snapshots, failed checks, dying tokens), and tells of it: once, daily while it lasts,"
            " and when it is over."
        ),
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        look = Monitoring(resources, context.instance, [RETRY], _location(context)).look(
            Memory.read(context.cursor)
        )
        for entry in look.entries:
            about = entry.problem.connection or "deployment"
            problem = entry.problem
            log = (
                context.log.error
                if entry.event in (Event.RAISED, Event.REPEATED)
                else context.log.info
            )
            log(f"{entry.event.value}: {about}: {problem.cause.value}: {problem.sentence}")
        if look.unsent:
            context.log.error(f"Not taken yet, and tried again: {', '.join(look.unsent)}.")
        heartbeat = resources.settings.heartbeat_url
        if look.is_well and heartbeat and (fault := channels.ping(heartbeat.get_secret_value())):
            context.log.error(f"All is well, but {fault}.")
        before = datetime.now(UTC) - timedelta(days=resources.settings.keep_runs_days)
        runs.forget(
            context.instance,
            before,
            [connection.name for connection in resources.settings.connections],
        )
        wrong = "; ".join(
            sorted(
                f"{problem.connection or 'deployment'}: {problem.cause.value}"
                for problem in look.problems
            )
        )
        return dg.SensorResult(skip_reason=wrong or "All is well.", cursor=look.memory.written())

    @dg.sensor(
        name=RETRY,
        jobs=list(chain.from_iterable((one.daily, one.history, one.evidence) for one in jobs)),
        minimum_interval_seconds=SECONDS,
        default_status=status,
        description=(
            "Tries a sync of today that failed again, with growing pauses, where trying again can"
            " help. Once the day is over without an observation, it has its history and its packet"
            " made, which say so: SonarCloud cannot show it any more."
        ),
    )
    def retry(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        first, last = (
            map(datetime.fromisoformat, context.cursor.split()) if context.cursor else (None, None)
        )
        watcher = Monitoring(resources, context.instance, [WATCH], _location(context))
        since = watching_since(first, last, watcher.limits)
        cursor = f"{since.isoformat()} {datetime.now(UTC).isoformat()}"
        try:
            silence_entries = watcher.tell_of_silence(since)
            due = due_retries(resources, context.instance)
            lost = lost_days(resources, context.instance)
        except WarehouseError as error:
            # The watch tells of it. This one runs, and can do nothing.
            return dg.SensorResult(skip_reason=str(error), cursor=cursor)
        for entry in silence_entries:
            context.log.error(f"{entry.event.value}: {entry.problem.sentence}")
        requests = [
            dg.RunRequest(
                run_key=f"{connection.name}:{day}:{number}",
                job_name=daily_job_name(connection),
                partition_key=str(day),
                tags={"sonar_access/try": str(number)},
            )
            for connection, day, number in due
        ]
        requests += [_settling(context.instance, connection, day) for connection, day in lost]
        nothing = None if requests else "Nothing is to be tried again now."
        return dg.SensorResult(run_requests=requests, skip_reason=nothing, cursor=cursor)

    return [watch, retry]


def _settling(instance: dg.DagsterInstance, connection: Connection, day: date) -> dg.RunRequest:
    """Ask for what can be made of a day that was not observed, once each: its history, and then its
    packet.
    """
    table = dg.AssetKey([connection.name, "fct_user_access"])
    derived = instance.get_materialized_partitions(table)
    make = evidence_job_name if str(day) in derived else history_job_name
    job_name = make(connection)
    return dg.RunRequest(
        run_key=f"{connection.name}:{day}:{job_name}", job_name=job_name, partition_key=str(day)
    )


def _location(context: dg.SensorEvaluationContext) -> str | None:
    """Return the code location that a sensor is evaluated in: another one may have sensors of the
    same names.
    """
    origin = context.code_location_origin
    return origin.location_name if origin else None
