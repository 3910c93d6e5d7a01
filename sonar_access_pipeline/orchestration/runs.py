"""From Dagster's instance to facts: runs that ended, runs in flight, and when sensors ran last.

Nothing is decided here.

Runs are looked for by what they are about, not by a tag: a run that somebody starts on assets in
the UI carries none of ours.

Dagster's own `run_status_sensor` would follow ended runs for us, and is not taken: it hands over
one run at a time and five in a tick, so that thirty failures for one reason could not be one
message; it begins with the last event when it is switched on, so that what ended before is not
told; and each status needs a sensor of its own, each of which costs the daemon a look every half
minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.problems import CheckResult, EndedRun, RunInFlight
from sonar_access_pipeline.errors import CAUSE_OF_KIND
from sonar_access_pipeline.orchestration.failures import KIND
from sonar_access_pipeline.orchestration.jobs import CONNECTION_TAG
from sonar_access_pipeline.orchestration.unpublished import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    FINISHED_STATUSES,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
    InstigatorType,
    TickStatus,
)

OVERLAP = timedelta(minutes=1)
"""Runs are looked at again for this long: several clocks write when they ended."""
FORGOTTEN_AT_ONCE = 20
"""Runs deleted by one look: it is to take a moment only."""
RETAGGED = timedelta(minutes=30)
"""A run that ended so long before what is new, and was updated since, was only tagged."""
OF_SYNC = frozenset({"complete", "not_held"})
"""Checks that fail with the run of a sync, which is a problem of its own."""
EVENTS = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
WAITING = frozenset(
    {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING}
)


@dataclass(frozen=True)
class Ended:
    """A run that ended, as Dagster knows it: `run`, and what is needed to note a try that could not
    note itself.
    """

    run: EndedRun
    is_daily: bool
    day: date | None
    cause: Cause
    ended_at: datetime


@dataclass(frozen=True)
class EndedRuns:
    """Runs that ended, in the order they did; and from when to look the next time, knowing which
    were looked at.
    """

    runs: Sequence[Ended]
    until: datetime
    known: Sequence[str]


def ended_since(
    instance: dg.DagsterInstance,
    since: datetime,
    connections: Iterable[str],
    known: Iterable[str] = (),
) -> EndedRuns:
    """Find the runs of connections that ended after `since`, without those `known` already."""
    names = list(connections)
    seen = set(known)
    filters = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_after=since - OVERLAP)
    records = sorted(instance.get_run_records(filters=filters), key=_ended_at)
    ended_runs: list[Ended] = []
    for record in records:
        # One that ended long ago was only tagged since.
        if record.dagster_run.run_id not in seen and _ended_at(record) >= since - RETAGGED:
            abouts = _about(record.dagster_run, names)
            ended_runs += [_ended(instance, record, about) for about in abouts]
    until = max([since, *(_utc(record.update_timestamp) for record in records)])
    return EndedRuns(
        ended_runs,
        min(until, max(since, datetime.now(UTC))),
        [record.dagster_run.run_id for record in records],
    )


def in_flight(instance: dg.DagsterInstance, connections: Iterable[str]) -> list[RunInFlight]:
    """Find the runs of connections that have not ended."""
    names = list(connections)
    now = datetime.now(UTC)
    flights = []
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=IN_FLIGHT)):
        for about in _about(record.dagster_run, names):
            waiting = record.dagster_run.status in WAITING
            since = (
                record.create_timestamp
                if waiting or not record.start_time
                else datetime.fromtimestamp(record.start_time, UTC)
            )
            flights.append(
                RunInFlight(
                    record.dagster_run.run_id,
                    about.connection,
                    about.job,
                    waiting,
                    now - _utc(since),
                )
            )
    return flights


def how_it_ended(instance: dg.DagsterInstance, run_id: str) -> tuple[Cause, str, datetime] | None:
    """Find out why the try of a run has no end noted, once the run has ended; return None while it
    goes on, or where this instance does not know it.
    """
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return None
    if record.dagster_run.status not in FINISHED_STATUSES:
        return None
    cause = _cause(record, [])
    return cause, SENTENCES.get(cause, SENTENCES[Cause.LOST]), _ended_at(record)


def forget(instance: dg.DagsterInstance, before: datetime, connections: Iterable[str]) -> int:
    """Delete Dagster's record of a few runs of the jobs of connections that were made before a
    time; how many.

    Dagster keeps runs and their events for ever unless somebody does. Other people's runs are left
    alone.
    """
    filters = dg.RunsFilter(
        statuses=list(FINISHED_STATUSES),
        created_before=before,
        tags={CONNECTION_TAG: list(connections)},
    )
    runs = instance.get_runs(filters=filters, limit=FORGOTTEN_AT_ONCE, ascending=True)
    for run in runs:
        instance.delete_run(run.run_id)
    return len(runs)


def has_failed(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Tell whether a run failed, whatever it had done before."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def last_ticks(
    instance: dg.DagsterInstance, sensors: Sequence[str], location: str | None = None
) -> Mapping[str, datetime | None]:
    """Find when each sensor of a code location was last evaluated without an error; None for one
    that never was.
    """
    latest_ticks: dict[str, datetime | None] = dict.fromkeys(sensors)
    if not sensors:
        return latest_ticks
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        name = state.instigator_name
        if name not in latest_ticks or (
            location
            and state.origin.repository_origin.code_location_origin.location_name != location
        ):
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            limit=1,
            statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED],
        )
        times = [datetime.fromtimestamp(tick.timestamp, UTC) for tick in ticks]
        latest_ticks[name] = max(
            [*times, *([known] if (known := latest_ticks[name]) else [])], default=None
        )
    return latest_ticks


@dataclass(frozen=True)
class _About:
    connection: str
    job: str
    is_daily: bool
    has_range: bool


def is_of(run: dg.DagsterRun, connections: Sequence[str]) -> bool:
    """Tell whether a run is of one of these connections."""
    return bool(_about(run, connections))


def _about(run: dg.DagsterRun, connections: Sequence[str]) -> list[_About]:
    """Tell which connections and jobs a run is of; none when it is not ours."""
    for name in connections:
        for kind in ("daily", "verify", "history", "evidence"):
            if run.job_name == f"{name}_{kind}":
                return [
                    _About(
                        name,
                        run.job_name,
                        kind == "daily" and _observes(run),
                        kind in ("history", "evidence"),
                    )
                ]
    selected: dict[str, set[str]] = {}
    for key in run.asset_selection or ():
        if key.path[0] in connections:
            selected.setdefault(key.path[0], set()).add(key.path[-1])
    return [_about_selection(name, tables) for name, tables in selected.items()]


def _observes(run: dg.DagsterRun) -> bool:
    """Tell whether observing is part of a run of the daily job: a run that was executed again from
    its failure may leave it out.
    """
    steps = run.step_keys_to_execute
    assets = run.asset_selection
    return (steps is None or any(step.endswith("_observe") for step in steps)) and (
        not assets or any(key.path[-1] == "raw_snapshot" for key in assets)
    )


def _about_selection(name: str, tables: set[str]) -> _About:
    """Describe a run of chosen assets of a connection, started by hand in the UI or by somebody's
    own job.
    """
    if "raw_snapshot" in tables:
        kind = "daily" if "evidence_packet" in tables else "raw"
        return _About(name, f"{name}_{kind}", is_daily=True, has_range=False)
    kind = "evidence" if tables == {"evidence_packet"} else "history"
    return _About(name, f"{name}_{kind}", is_daily=False, has_range=True)


SENTENCES = {
    Cause.CANCELLED: "The run was cancelled.",
    Cause.LOST: "The run's process was lost: no step failed, it just ended.",
    Cause.NOT_STARTED: "The run never started.",
}


def _ended(instance: dg.DagsterInstance, record: dg.RunRecord, about: _About) -> Ended:
    run = record.dagster_run
    records = instance.get_records_for_run(run.run_id, of_type=EVENTS).records
    events = [event_record.event_log_entry.dagster_event for event_record in records]
    failures = [event for event in events if event and event.is_step_failure]
    checks = [
        event.asset_check_evaluation_data
        for event in events
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    cause = _cause(record, failures)
    succeeded = run.status is dg.DagsterRunStatus.SUCCESS
    sentence = ""
    if not succeeded:
        sentence = _step_sentence(failures[0]) if failures else SENTENCES[cause]
    first = run.tags.get(ASSET_PARTITION_RANGE_START_TAG) or run.tags.get(PARTITION_NAME_TAG) or ""
    last = run.tags.get(ASSET_PARTITION_RANGE_END_TAG) or first
    return Ended(
        run=EndedRun(
            run_id=run.run_id,
            connection=about.connection,
            job=about.job,
            subject=f"{first}_{last}" if first and about.has_range else "",
            succeeded=succeeded,
            sentence=sentence,
            told_once=_is_by_hand(run),
            cause=Cause.CANCELLED if cause is Cause.CANCELLED else Cause.RUN_FAILED,
            checks=tuple(
                _check(check)
                for check in checks
                if check.check_name not in OF_SYNC and check.asset_key.path[0] == about.connection
            ),
        ),
        is_daily=about.is_daily,
        day=_date(first) if first == last else None,
        cause=cause,
        ended_at=_ended_at(record),
    )


def _is_by_hand(run: dg.DagsterRun) -> bool:
    """Tell whether a person started a run.

    A re-execution counts as such, though it keeps the tags of the schedule that started the first
    run.
    """
    return PARENT_RUN_ID_TAG in run.tags or not run.tags.keys() & {
        SCHEDULE_NAME_TAG,
        SENSOR_NAME_TAG,
    }


def _cause(record: dg.RunRecord, failures: Sequence[dg.DagsterEvent]) -> Cause:
    """Find why a run did not succeed.

    `RUN_FAILED` means that a step refused, and there was nothing to try.
    """
    if record.dagster_run.status is dg.DagsterRunStatus.CANCELED:
        return Cause.CANCELLED
    if not failures:
        return Cause.LOST if record.start_time else Cause.NOT_STARTED
    data = failures[0].step_failure_data.user_failure_data
    if data is None:
        return Cause.LOST if _kind_of_error(failures[0]) in STOPPED else Cause.UNEXPECTED
    kind = data.metadata.get(KIND)
    return CAUSE_OF_KIND.get(str(kind.value), Cause.RUN_FAILED) if kind else Cause.RUN_FAILED


STOPPED = frozenset({"DagsterExecutionInterruptedError", "KeyboardInterrupt"})
"""What a step fails with when its process is told to end: by whoever drains a node or shuts a
machine down.
"""


def _step_sentence(event: dg.DagsterEvent) -> str:
    """Our own sentence, or the kind of an unexpected error: its words may hold a person's data."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    kind = _kind_of_error(event)
    if kind in STOPPED:
        return (
            "The run's process was told to end from outside, by the machine or the cluster it"
            " ran on."
        )
    return (
        f"Step {event.step_key} failed with an unexpected error ({kind}); its run has the"
        " traceback."
    )


def _kind_of_error(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.cls_name or "unknown" if error is not None else "unknown"


def _check(check: dg.AssetCheckEvaluation) -> CheckResult:
    about = "/".join(check.asset_key.path)
    detail = f": {check.description}" if check.description else ""
    return CheckResult(
        check.check_name, check.passed, f"The check {check.check_name} of {about} failed{detail}."
    )


def _ended_at(record: dg.RunRecord) -> datetime:
    """Return when a run ended. The time of its last update is later if somebody tags the run."""
    return (
        datetime.fromtimestamp(record.end_time, UTC)
        if record.end_time
        else _utc(record.update_timestamp)
    )


def _date(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
