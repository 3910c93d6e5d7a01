"""One look at everything that can be wrong: facts from the warehouse and from Dagster, problems,
and what is told of them.

The deciding is done by `alerts/`, which is pure; the writing by `warehouse/ledger/alerts.py`. What
is written is on its way: a channel that is down gets it later. A warehouse that cannot be reached
is the one problem that is told from memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from pydantic import TypeAdapter

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.alerts import channels as sending
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.ledger import (
    REPEATED_AFTER,
    Entry,
    Event,
    Open,
    entries_of,
    messages_of,
)
from sonar_access_pipeline.alerts.problems import (
    EndedRun,
    Limits,
    Problem,
    SyncFacts,
    Watched,
    carried_problems,
    deployment_problem,
    flight_problem,
    gap_problem,
    reminding_problems,
    review_problem,
    silent_sensors,
    sync_problem,
    token_problem,
    unpublished_problems,
)
from sonar_access_pipeline.alerts.retries import FIRST_PAUSE, is_due
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.seal import publish
from sonar_access_pipeline.orchestration import processes, runs
from sonar_access_pipeline.orchestration.reminding import Sheets, read_inbox, remind
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Transaction, Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.ledger import alerts, packets
from sonar_access_pipeline.warehouse.reviews import facts as reviews
from sonar_access_pipeline.warehouse.timeouts import ASKING

LOOK_BACK = timedelta(days=1)
"""How far back the first look goes."""
SENDING_SECONDS = 30
"""How long one look may send: the rest is sent by the next."""


@dataclass(frozen=True)
class Outage:
    """A warehouse that cannot be reached, of the deployment whose first connection is `home`."""

    home: str
    sentence: str
    since: datetime

    @property
    def problem(self) -> Problem:
        """The problem that is told of it."""
        return deployment_problem(
            self.home, "warehouse", Cause.WAREHOUSE, self.sentence, self.since
        )


@dataclass(frozen=True)
class Memory:
    """What one look leaves to the next: where it stopped, since when things are watched, and a
    warehouse that was not there.
    """

    ended_until: datetime | None = None
    known_runs: tuple[str, ...] = ()
    """Runs that were looked at, among those that a next look may see again."""
    looked_at: datetime | None = None
    watching_since: datetime | None = None
    """Since when looks follow each other: after a pause of the daemon, sensors have to run anew
    first.
    """
    expected_since: Mapping[str, date] = field(default_factory=dict)
    looked_until: Mapping[str, date] = field(default_factory=dict)
    """By connection, the last due day up to which it is known what became of it."""
    outage: Outage | None = None
    outage_said_at: datetime | None = None
    outage_told: tuple[str, ...] = ()
    """The channels that took the message about it."""
    reminded_on: date | None = None
    """The day on which everybody who is to hear of a review was written to last."""
    sheets: Sheets = field(default_factory=Sheets)

    @classmethod
    def read(cls, cursor: str | None) -> Memory:
        """Make it of a sensor's cursor."""
        return TypeAdapter(cls).validate_json(cursor) if cursor else cls()

    def written(self) -> str:
        """Return it as a sensor's cursor."""
        return TypeAdapter(Memory).dump_json(self).decode()


@dataclass(frozen=True)
class Look:
    """What one look found: problems that are open, what was told of them, what could not be sent,
    and what to remember.
    """

    problems: Sequence[Problem]
    entries: Sequence[Entry]
    unsent: Sequence[str]
    memory: Memory

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong and everything was told."""
        return not self.problems and not self.unsent


@dataclass(frozen=True)
class Monitoring:
    """The watch over one code location: its resources, Dagster's instance, and the sensors that
    must run.
    """

    resources: Resources
    instance: dg.DagsterInstance
    sensors: Sequence[str] = ()
    location: str | None = None
    """The code location that the sensors are of; None for any."""
    limits: Limits = field(default_factory=Limits)

    @property
    def home(self) -> str:
        """The connection that problems of the whole deployment stand under: several deployments may
        share a warehouse.
        """
        return self.resources.settings.connections[0].name

    def look(self, memory: Memory) -> Look:
        """Look at everything once, write down what is new, and send what is due."""
        now = self.resources.clock()
        settings = self.resources.settings
        channels = sending.channels_of([url.get_secret_value() for url in settings.alert_urls])
        memory = replace(
            memory,
            ended_until=memory.ended_until or datetime.now(UTC) - LOOK_BACK,
            looked_at=datetime.now(UTC),
            watching_since=watching_since(memory.watching_since, memory.looked_at, self.limits),
            expected_since={
                c.name: memory.expected_since.get(c.name, now.date()) for c in settings.connections
            },
        )
        try:
            with self.resources.warehouse(ASKING) as warehouse:
                return self._look(warehouse, memory, channels, now)
        except WarehouseError as error:
            return self._without_warehouse(memory, channels, str(error), now)

    def _look(
        self,
        warehouse: Warehouse,
        memory: Memory,
        channels: Mapping[str, sending.Channel],
        now: datetime,
    ) -> Look:
        settings = self.resources.settings
        watched = {connection.name: watched_of(connection) for connection in settings.connections}
        processes.end_lost(self.instance, lambda run: runs.is_of(run, list(watched)))
        ended = runs.ended_since(
            self.instance, memory.ended_until or now, watched, memory.known_runs
        )
        flights = runs.in_flight(self.instance, watched)
        self._note_what_could_not(warehouse, ended.runs, now)
        unpublished = self._unpublished(warehouse, now)
        unsent_reminder = (
            remind(self.resources, warehouse, now.date())
            if memory.reminded_on != now.date()
            else None
        )
        sheets = read_inbox(self.resources, warehouse, memory.sheets)
        with warehouse.read() as transaction:
            of_sync = alerts.outcomes_of(transaction, [one.run.run_id for one in ended.runs])
            facts = {
                name: self._facts(transaction, about, memory, now)
                for name, about in watched.items()
            }
        looked_at = [_with_sync(one, of_sync) for one in ended.runs]
        with warehouse.write(alerts.ALERTING) as transaction:
            # By the machine's time, whatever the clock of the source.
            alerts.note_look(transaction, self.home, datetime.now(UTC))
            known = alerts.open_problems(transaction)
            if memory.outage is not None:
                known = [*known, *self._catch_up(transaction, memory, channels, now)]
            problems = [
                *(
                    problem
                    for name, connection_facts in facts.items()
                    if (problem := sync_problem(watched[name], connection_facts))
                ),
                *(
                    problem
                    for name, connection_facts in facts.items()
                    if (problem := gap_problem(watched[name], connection_facts))
                ),
                *(
                    problem
                    for name, connection_facts in facts.items()
                    if (problem := token_problem(watched[name], connection_facts, now))
                ),
                *(
                    problem
                    for run in flights
                    if (problem := flight_problem(watched[run.connection], run, self.limits))
                ),
                *carried_problems(
                    _unmended(transaction, known), looked_at, watched, now, self.limits
                ),
                *self._silent(memory),
                *unpublished,
                *_late_reviews(transaction, watched, now.date()),
                *reminding_problems(self.home, unsent_reminder, sheets.faults),
            ]
            entries = entries_of(problems, known, now, connections=watched)
            entries = [
                _over(entry, transaction, now.date()) if entry.event is Event.RECOVERED else entry
                for entry in entries
            ]
            over = [
                entry.problem.group
                for entry in entries
                if entry.event is Event.RECOVERED and entry.is_told
            ]
            messages = messages_of(entries, self._link, alerts.recovered_before(transaction, over))
            written = alerts.note(transaction, entries, messages, channels, now)
        unsent = self._send(warehouse, channels)
        # A day that is missing is not settled: until it is over, days before it may still have to
        # be told.
        settled = {
            name: settings.calendar_of(watched[name].organization_key).last_due(now)
            for name, connection_facts in facts.items()
            if connection_facts.missing_day is None
        }
        return Look(
            problems,
            written,
            unsent,
            replace(
                memory,
                ended_until=ended.until,
                known_runs=tuple(ended.known),
                looked_until={**memory.looked_until, **settled},
                outage=None,
                outage_said_at=None,
                outage_told=(),
                reminded_on=memory.reminded_on if unsent_reminder else now.date(),
                sheets=sheets,
            ),
        )

    def tell_of_silence(self, since: datetime) -> Sequence[Entry]:
        """Tell of sensors that do not run, and of nothing else: what the other sensor does when the
        watch itself is silent.
        """
        now = self.resources.clock()
        problems = self._silent(Memory(watching_since=since))
        if not problems:
            return ()
        channels = sending.channels_of(
            [url.get_secret_value() for url in self.resources.settings.alert_urls]
        )
        keys = {problem.key for problem in problems}
        with self.resources.warehouse(ASKING) as warehouse:
            with warehouse.write(alerts.ALERTING) as transaction:
                known = [
                    one for one in alerts.open_problems(transaction) if one.problem.key in keys
                ]
                entries = entries_of(problems, known, now, connections=())
                written = alerts.note(
                    transaction, entries, messages_of(entries, self._link), channels, now
                )
            self._send(warehouse, channels)
        return written

    def _facts(
        self, transaction: Transaction, about: Watched, memory: Memory, now: datetime
    ) -> SyncFacts:
        if about.organization_key is None:
            return SyncFacts()
        calendar = self.resources.settings.calendar_of(about.organization_key)
        due = calendar.last_due(now)
        since = memory.expected_since[about.connection]
        until = memory.looked_until.get(about.connection, due)
        expected = alerts.Expected(about.connection, calendar, due, since, until)
        return alerts.sync_facts(transaction, about.organization_key, expected)

    def _note_what_could_not(
        self, warehouse: Warehouse, ended: Iterable[runs.Ended], now: datetime
    ) -> None:
        """Note the tries of runs that were cancelled, never started, or killed: they could not do
        so themselves.
        """
        with warehouse.read() as transaction:
            unended = alerts.unended_runs(
                transaction, [connection.name for connection in self.resources.settings.connections]
            )
            noted = alerts.outcomes_of(transaction, [one.run.run_id for one in ended])
        for run_id, started_at in unended:
            if how := runs.how_it_ended(self.instance, run_id):
                cause, sentence, ended_at = how
                alerts.end_killed_attempt(warehouse, run_id, min(ended_at, now), cause, sentence)
            elif now - started_at > self.limits.running:
                # Of another instance of Dagster, or forgotten by this one: nothing runs for so
                # long.
                alerts.end_killed_attempt(
                    warehouse, run_id, now, Cause.LOST, "Nothing is known of its process any more."
                )
        organizations = {
            connection.name: connection.organization
            for connection in self.resources.settings.connections
        }
        for one in ended:
            run = one.run
            organization_key = organizations[one.run.connection]
            if run.succeeded or not one.is_daily:
                continue
            if run.run_id in noted:
                if one.cause is Cause.CANCELLED:
                    alerts.call_cancelled(warehouse, run.run_id, run.sentence)
            elif organization_key and one.day and one.cause is not Cause.RUN_FAILED:
                alerts.note_attempt(
                    warehouse,
                    connection=run.connection,
                    organization_key=organization_key,
                    partition_date=one.day,
                    run_id=run.run_id,
                    at=min(one.ended_at, now),
                    cause=one.cause,
                    error=run.sentence,
                )

    def _unpublished(self, warehouse: Warehouse, now: datetime) -> list[Problem]:
        """Bring what was sealed and waits into the evidence store; what has waited there for too
        long.
        """
        with warehouse.read() as transaction:
            if not packets.waiting(transaction):
                return []
        try:
            waiting = publish(warehouse, self.resources.sealing()).waiting
            why = next(iter(waiting.values()), "")
        except (EvidenceError, SettingsError) as error:
            why = str(error)
        with warehouse.read() as transaction:
            left = packets.waiting(transaction)
        since = left[0].entered_at if left else None
        return unpublished_problems(self.home, len(left), since, why, now, self.limits)

    def _silent(self, memory: Memory) -> list[Problem]:
        """Sensors that do not run.

        Dagster's ticks have the machine's time, whatever the clock of the source.
        """
        now = datetime.now(UTC)
        ticks = runs.last_ticks(self.instance, self.sensors, self.location)
        return silent_sensors(self.home, ticks, memory.watching_since or now, now, self.limits)

    def _link(self, run_id: str) -> str:
        url = self.resources.settings.ui_url
        return f"{url.rstrip('/')}/runs/{run_id}" if url else run_id

    def _send(self, warehouse: Warehouse, channels: Mapping[str, sending.Channel]) -> list[str]:
        """Send what is due; the channels that have not taken everything."""
        began = datetime.now(UTC)
        clock = self.resources.clock
        with warehouse.read() as transaction:
            waiting = alerts.undelivered(transaction, channels)
        for name, deliveries in waiting.items():
            # In the order it was said: what a channel has not taken holds up what came after, and
            # what it takes lets it through.
            if deliveries[0].next_try_at > clock():
                continue
            for delivery in deliveries:
                late = (datetime.now(UTC) - began).total_seconds() > SENDING_SECONDS
                if late or not alerts.claimed(warehouse, delivery, clock()):
                    break
                error = channels[name].send(delivery.title, delivery.text)
                alerts.delivered(warehouse, delivery, error, clock())
                if error:
                    break
        with warehouse.read() as transaction:
            return sorted(alerts.undelivered(transaction, channels))

    def _without_warehouse(
        self, memory: Memory, channels: Mapping[str, sending.Channel], sentence: str, now: datetime
    ) -> Look:
        """Tell of a warehouse that cannot be reached, and again every day, from memory: nothing can
        be written down.
        """
        outage = memory.outage or Outage(self.home, sentence, now)
        event = Event.RAISED
        told = list(memory.outage_told)
        said_at = memory.outage_said_at or now
        if now - said_at >= REPEATED_AFTER:
            event = Event.REPEATED
            told = []
            said_at = now
        message = messages_of([Entry(event, outage.problem)], self._link)[0]
        for name, channel in channels.items():
            if name not in told and channel.send(message.title, message.text) is None:
                told.append(name)
        is_new = memory.outage is None
        entries = [Entry(Event.RAISED, outage.problem)] if is_new else []
        unsent = sorted(set(channels) - set(told))
        memory = replace(memory, outage=outage, outage_said_at=said_at, outage_told=tuple(told))
        return Look([outage.problem], entries, unsent, memory)

    def _catch_up(
        self,
        transaction: Transaction,
        memory: Memory,
        channels: Mapping[str, sending.Channel],
        now: datetime,
    ) -> list[Open]:
        """Write down an outage of the warehouse that was told from memory; as it is not found any
        more, it is over.
        """
        assert memory.outage is not None
        problem = memory.outage.problem
        entries = [Entry(Event.RAISED, problem)]
        unaware = [name for name in channels if name not in memory.outage_told]
        alerts.note(
            transaction, entries, messages_of(entries, self._link), unaware, memory.outage.since
        )
        return [one for one in alerts.open_problems(transaction) if one.problem.key == problem.key]


def watched_of(connection: Connection) -> Watched:
    """Reduce a connection to what the watch sees of it."""
    token = str(connection.token_file or connection.token_env)
    return Watched(connection.name, connection.organization, connection.host_url, token)


def _late_reviews(
    transaction: Transaction, watched: Mapping[str, Watched], today: date
) -> list[Problem]:
    """Find the reviews that were due and wait, each under the connection of its organization."""
    about = {one.organization_key: one for one in watched.values() if one.organization_key}
    return [
        review_problem(about[row["organization_key"]], row["review_id"], row["series"], row["due"])
        for row in reviews.running(transaction, list(about))
        if row["due"] < today
    ]


def _with_sync(one: runs.Ended, outcomes: Mapping[str, str | None]) -> EndedRun:
    """Mark on a run whether it failed as a try to sync."""
    outcome = outcomes.get(one.run.run_id)
    return replace(one.run, of_sync=one.is_daily and outcome is not None and outcome != "complete")


def _over(entry: Entry, transaction: Transaction, today: date) -> Entry:
    """Say what is over, with the days that stay gaps."""
    problem = entry.problem
    if problem.organization_key is None or problem.day is None:
        return entry
    gaps = alerts.gaps_since(transaction, problem.organization_key, problem.day, today)
    if not gaps and alerts.gaps_since(
        transaction, problem.organization_key, today, today + timedelta(days=1)
    ):
        return replace(
            entry,
            problem=replace(problem, sentence=f"It is over, but {today} is not observed yet."),
        )
    days = "these days stay gaps: " if len(gaps) > 1 else "this day stays a gap: "
    summary = (
        f"It is over; {days}{', '.join(map(str, gaps))}."
        if gaps
        else "It is over; no day was lost."
    )
    return replace(entry, problem=replace(problem, sentence=summary))


def _unmended(transaction: Transaction, known: Sequence[Open]) -> list[Problem]:
    """Return the problems that are open, without runs for windows that have since got their packet
    in another way.
    """
    return [one.problem for one in known if not _is_sealed(transaction, one.problem)]


def _is_sealed(transaction: Transaction, problem: Problem) -> bool:
    window = re.search(r":run:.*_evidence:(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)$", problem.key)
    if window is None or problem.organization_key is None or problem.since is None:
        return False
    first, last = (date.fromisoformat(day) for day in window.groups())
    return alerts.sealed_since(transaction, problem.organization_key, first, last, problem.since)


def watching_since(since: datetime | None, looked_at: datetime | None, limits: Limits) -> datetime:
    """Since when looks follow each other without a pause.

    Ticks have the machine's time, whatever the clock of the source.
    """
    now = datetime.now(UTC)
    return since if since and looked_at and now - looked_at < limits.silent / 2 else now


def _flying(resources: Resources, instance: dg.DagsterInstance) -> set[str]:
    """Return the names of the connections of which a run has not ended."""
    names = [connection.name for connection in resources.settings.connections]
    return {run.connection for run in runs.in_flight(instance, names)}


def due_retries(
    resources: Resources, instance: dg.DagsterInstance, first_pause: timedelta = FIRST_PAUSE
) -> list[tuple[Connection, date, int]]:
    """Find the connections whose sync of today failed and is to be tried again now, with the day
    and the number of the try.
    """
    now = resources.clock()
    flying = _flying(resources, instance)
    retries = []
    with resources.warehouse(ASKING) as warehouse, warehouse.read() as transaction:
        for connection in resources.settings.connections:
            if connection.organization is None or connection.name in flying:
                continue
            tried = [
                # It observed, and failed afterwards: what is left can only be done by another try.
                (
                    replace(one, done=False, cause=Cause.UNEXPECTED)
                    if one.done and runs.has_failed(instance, run_id)
                    else one
                )
                for run_id, one in alerts.attempts_of(
                    transaction, connection.organization, now.date()
                )
            ]
            if is_due(tried, now, first_pause):
                retries.append((connection, now.date(), len(tried) + 1))
    return retries


LOST = {"failed", "incomplete"}
"""What a day is that was tried and not observed; a held one waits for a person."""


def lost_days(resources: Resources, instance: dg.DagsterInstance) -> list[tuple[Connection, date]]:
    """Find the connections whose sync of yesterday was tried, and did not observe it: the day is
    over, nothing reads any more, and what the tables show for it can be made.
    """
    yesterday = resources.clock().date() - timedelta(days=1)
    flying = _flying(resources, instance)
    lost = []
    with resources.warehouse(ASKING) as warehouse, warehouse.read() as transaction:
        for connection in resources.settings.connections:
            key = connection.organization
            if key is None or connection.name in flying:
                continue
            if yesterday < resources.settings.first_day:
                continue
            (covered,) = queries.coverage(transaction, key, yesterday, yesterday)
            end = Window(yesterday, yesterday).end
            if covered["status"] in LOST and queries.observations(transaction, key, until=end):
                lost.append((connection, yesterday))
    return lost
