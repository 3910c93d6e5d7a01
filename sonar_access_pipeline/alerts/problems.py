"""From facts to problems: what is wrong now, with which connection, and in one sentence. Pure.

A problem has a key. While the same key is wrong it is the same problem, however often a sync is
tried again; what is told of it, and when, is decided by `ledger.py`. Facts of syncs are read anew
from the warehouse each time, so they need no memory. A run or a check that failed stays wrong until
a newer one of its kind does not: those problems are carried on from the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from hashlib import sha256

from sonar_access_pipeline.alerts.causes import MEANINGS, Cause, Shared

TOKEN_DIES_AFTER = 60
TOKEN_IDLE_WARNING = 50
TOKEN_EXPIRY_WARNING = 14
"""Days. SonarCloud removes a token that was not used for 60 (docs/sonarcloud.md)."""
SUCCEEDED = frozenset({"complete", "held"})
"""Outcomes of a try that read everything; what is held waits for a person and is a problem of its
own.
"""


@dataclass(frozen=True)
class Limits:
    """How long a run may wait and go on, a sensor be silent, evidence wait; and how long what is
    told once stays on the list.
    """

    waiting: timedelta = timedelta(hours=1)
    running: timedelta = timedelta(hours=3)
    silent: timedelta = timedelta(minutes=10)
    told_once: timedelta = timedelta(days=1)
    unpublished: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Watched:
    """A connection that is watched, by what its problems may share with others."""

    connection: str
    organization_key: str | None
    host: str
    token: str
    """Where the token comes from; never the token."""


@dataclass(frozen=True)
class Attempt:
    """One try to sync that ended."""

    partition_date: date
    run_id: str
    outcome: str
    cause: Cause | None
    error: str | None


@dataclass(frozen=True)
class Waiting:
    """A held snapshot that nobody decided upon, newer than the last observation."""

    partition_date: date
    run_id: str
    sentence: str


@dataclass(frozen=True)
class SyncFacts:
    """What the warehouse says of a connection's syncs now."""

    last_attempt: Attempt | None = None
    held: Waiting | None = None
    missing_day: date | None = None
    """The last due day, when neither it nor a later one was observed."""
    missing_reason: str | None = None
    gaps: tuple[date, ...] = ()
    """Days that became due since the last look, were not observed, and of which nobody was told."""
    last_heard_at: datetime | None = None
    """End of the last read of any verdict: the token worked then."""
    token_expires_on: date | None = None


@dataclass(frozen=True)
class RunInFlight:
    """A run that has not ended. `waiting` until its process runs."""

    run_id: str
    connection: str
    job: str
    waiting: bool
    since: timedelta


@dataclass(frozen=True)
class CheckResult:
    """One evaluation of an asset check."""

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class EndedRun:
    """A run that ended, with the checks that it made.

    `subject` is its range of days, where it has one.
    """

    run_id: str
    connection: str
    job: str
    subject: str
    succeeded: bool
    sentence: str
    told_once: bool
    """Whether somebody ran it by hand, and sees it fail."""
    cause: Cause = Cause.RUN_FAILED
    checks: tuple[CheckResult, ...] = ()
    of_sync: bool = False
    """Whether it failed before everything was read: then `sync_attempt` has it, and it is no
    problem of its own.
    """


@dataclass(frozen=True)
class Problem:
    """One thing that a person must hear of. `group` is what others share with it.

    What is `told_once` is not repeated, and never said to be over: a gap, or what somebody ran by
    hand.
    """

    key: str
    cause: Cause
    group: str
    sentence: str
    connection: str | None = None
    organization_key: str | None = None
    day: date | None = None
    run_id: str | None = None
    told_once: bool = False
    since: datetime | None = None
    """When it was raised; None while it is new."""


def sync_problem(watched: Watched, facts: SyncFacts) -> Problem | None:
    """Find what is wrong with the syncs of a connection: one problem at most, the one that explains
    the others.
    """
    last = facts.last_attempt
    if facts.held is not None:
        held = facts.held
        return _problem(
            watched, "sync", Cause.HELD, held.sentence, day=held.partition_date, run_id=held.run_id
        )
    if last is not None and last.outcome not in SUCCEEDED:
        sentence = last.error or MEANINGS[last.cause or Cause.UNEXPECTED].title
        return _problem(
            watched,
            "sync",
            last.cause or Cause.UNEXPECTED,
            sentence,
            day=last.partition_date,
            run_id=last.run_id,
        )
    if facts.missing_day is not None:
        why = f": {facts.missing_reason}" if facts.missing_reason else ""
        sentence = (
            f"{facts.missing_day} was not observed, and its grace is over{why}. Once a day is over"
            " it stays a gap."
        )
        return _problem(watched, "sync", Cause.MISSING, sentence, day=facts.missing_day)
    return None


def gap_problem(watched: Watched, facts: SyncFacts) -> Problem | None:
    """Report the days that were lost while nobody looked: the problem is told once, since nothing
    brings them back.
    """
    if not facts.gaps or facts.missing_day is not None:
        return None
    days = ", ".join(map(str, facts.gaps))
    sentence = (
        f"{days} {'was' if len(facts.gaps) == 1 else 'were'} not observed; this stays a gap. Later"
        " days are observed again."
    )
    return replace(
        _problem(watched, "gap", Cause.MISSING, sentence, day=facts.gaps[-1]), told_once=True
    )


def token_problem(watched: Watched, facts: SyncFacts, now: datetime) -> Problem | None:
    """Report a token that is about to die: unused for too long, or near its end."""
    if (
        facts.last_heard_at is not None
        and (idle := (now - facts.last_heard_at).days) >= TOKEN_IDLE_WARNING
    ):
        ends = (facts.last_heard_at + timedelta(days=TOKEN_DIES_AFTER)).date()
        sentence = f"The token was last used {idle} days ago; SonarCloud may end it on {ends}."
        return _problem(watched, "token", Cause.TOKEN_IDLE, sentence)
    if facts.token_expires_on is not None:
        left = (facts.token_expires_on - now.date()).days
        if left <= TOKEN_EXPIRY_WARNING:
            when = (
                f"expires on {facts.token_expires_on}"
                if left >= 0
                else f"expired on {facts.token_expires_on}"
            )
            sentence = (
                f"A token of the account that reads {when}; it may be the one that is used here."
            )
            return _problem(watched, "token", Cause.TOKEN_EXPIRING, sentence)
    return None


def flight_problem(watched: Watched, run: RunInFlight, limits: Limits) -> Problem | None:
    """Report a run that waits or goes on for too long."""
    limit = limits.waiting if run.waiting else limits.running
    if run.since <= limit:
        return None
    cause, what = (
        (Cause.WAITING, "has waited to start") if run.waiting else (Cause.STUCK, "has been running")
    )
    sentence = f"A run of {run.job} {what} for more than {_hours(limit)}."
    return _problem(watched, f"flight:{run.job}", cause, sentence, run_id=run.run_id)


def deployment_problem(
    home: str, what: str, cause: Cause, sentence: str, since: datetime | None = None
) -> Problem:
    """Make a problem of the whole deployment, which stands under its first connection, `home`."""
    return Problem(f"{home}:{what}", cause, f"{cause}:{Shared.DEPLOYMENT}", sentence, since=since)


def unpublished_problems(
    home: str, waiting: int, since: datetime | None, why: str, now: datetime, limits: Limits
) -> list[Problem]:
    """Tell of sealed evidence that waits for its store for too long: so many bundles, the first
    `since`, and `why`.
    """
    if since is None or now - since <= limits.unpublished:
        return []
    bundles = "1 bundle of evidence" if waiting == 1 else f"{waiting} bundles of evidence"
    sentence = (
        f"{bundles}, sealed on {since:%Y-%m-%d %H:%M} UTC at the earliest, cannot be published:"
        f" {why}"
    )
    return [deployment_problem(home, "unpublished", Cause.UNPUBLISHED, sentence)]


def review_problem(watched: Watched, review_id: int, series: str, due: date) -> Problem:
    """Report a review that was due and waits; in numbers, without a name."""
    sentence = f"Review {review_id} of series '{series}' was due on {due}, and is not acknowledged."
    return _problem(watched, f"review:{review_id}", Cause.REVIEW_LATE, sentence)


def reminding_problems(home: str, unsent: str | None, unread: Mapping[str, str]) -> list[Problem]:
    """Report that reviewers could not be written to, and why; and the sheets that could not be
    read, by the digest of their names, which may name somebody.
    """
    problems = [
        deployment_problem(
            home,
            f"sheet:{sha256(name.encode()).hexdigest()[:8]}",
            Cause.SHEET_UNREAD,
            "A sheet in the inbox of the evidence store is not taken.",
        )
        for name, why in sorted(unread.items())
        if why
    ]
    if unsent:
        sentence = f"A reminder of a review could not be sent: {unsent}."
        problems.append(deployment_problem(home, "reminders", Cause.REVIEW_UNSENT, sentence))
    return problems


def silent_sensors(
    home: str,
    last_ticks: Mapping[str, datetime | None],
    since: datetime,
    now: datetime,
    limits: Limits,
) -> list[Problem]:
    """Report the sensors that have not run for too long, by their last successful ticks.

    `since` is when they began to be watched.

    `home` is the first connection of the deployment: the deployment's own problems stand under it.
    """
    return [
        deployment_problem(
            home,
            f"sensor:{name}",
            Cause.SENSOR_SILENT,
            f"The sensor {name} has not run successfully for more than {_minutes(limits.silent)}.",
        )
        for name, last in sorted(last_ticks.items())
        if now - max(last or since, since) > limits.silent
    ]


def carried_problems(
    open_problems: Iterable[Problem],
    ended: Sequence[EndedRun],
    watched: Mapping[str, Watched],
    now: datetime,
    limits: Limits,
) -> list[Problem]:
    """Runs and checks that failed and have not succeeded since.

    `ended` is ordered by when the runs ended.

    What somebody ran by hand leaves the list after `limits.told_once`: they saw it fail, and may
    never try it again.
    """
    problems_by_key = {
        problem.key: problem
        for problem in open_problems
        if is_carried(problem.key) and owner(problem.key) in watched
    }
    for run in ended:
        about = watched[run.connection]
        # The checks of a snapshot that does not count say the same as the sync that failed.
        for check in () if run.of_sync else run.checks:
            key = f"check:{check.name}"
            problem = _problem(about, key, Cause.CHECK_FAILED, check.sentence, run_id=run.run_id)
            _set(problems_by_key, problem, failed=not check.passed)
        key = f"run:{run.job}" + (f":{run.subject}" if run.subject else "")
        problem = replace(
            _problem(about, key, run.cause, run.sentence, run_id=run.run_id),
            told_once=run.told_once,
        )
        if run.succeeded or not run.of_sync:
            _set(problems_by_key, problem, failed=not run.succeeded)
    return [
        problem
        for problem in problems_by_key.values()
        if not (problem.told_once and _age(problem, now) > limits.told_once)
    ]


def owner(key: str) -> str:
    """Return the connection that a problem stands under."""
    return key.split(":")[0]


def is_carried(key: str) -> bool:
    """Tell whether a problem is known from the ledger only, once the run that showed it has been
    looked at.
    """
    return key.split(":")[1] in ("run", "check")


def _set(found: dict[str, Problem], problem: Problem, *, failed: bool) -> None:
    if not failed:
        found.pop(problem.key, None)
    elif problem.key in found:
        before = found[problem.key]
        found[problem.key] = replace(
            problem, since=before.since, told_once=problem.told_once and before.told_once
        )
    else:
        found[problem.key] = problem


def _age(problem: Problem, now: datetime) -> timedelta:
    return now - problem.since if problem.since else timedelta()


def _problem(
    watched: Watched,
    what: str,
    cause: Cause,
    sentence: str,
    *,
    day: date | None = None,
    run_id: str | None = None,
) -> Problem:
    shared = MEANINGS[cause].shared
    with_whom = {
        Shared.NOBODY: f"{watched.connection}:{what}",
        Shared.HOST: watched.host,
        Shared.TOKEN: watched.token,
        Shared.DEPLOYMENT: str(Shared.DEPLOYMENT),
    }
    return Problem(
        key=f"{watched.connection}:{what}",
        cause=cause,
        group=f"{cause}:{with_whom[shared]}",
        sentence=sentence,
        connection=watched.connection,
        organization_key=watched.organization_key,
        day=day,
        run_id=run_id,
    )


def _hours(limit: timedelta) -> str:
    hours = limit.total_seconds() / 3600
    return "an hour" if hours == 1 else f"{hours:g} hours"


def _minutes(limit: timedelta) -> str:
    return f"{limit.total_seconds() / 60:g} minutes"
