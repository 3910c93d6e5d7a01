"""What is told of problems, and when: pure, so tried with many lives of many problems."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.alerts.causes import MAY_PASS, MEANINGS, Cause
from sonar_access_pipeline.alerts.ledger import (
    REPEATED_AFTER,
    Entry,
    Event,
    Open,
    entries_of,
    messages_of,
    numbered,
)
from sonar_access_pipeline.alerts.problems import (
    Attempt,
    CheckResult,
    EndedRun,
    Limits,
    Problem,
    RunInFlight,
    SyncFacts,
    Waiting,
    Watched,
    carried_problems,
    flight_problem,
    gap_problem,
    silent_sensors,
    sync_problem,
    token_problem,
)
from sonar_access_pipeline.alerts.retries import LAST_CHANCE, Tried, is_due, next_try

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
DAY = date(2026, 3, 5)
ACME = Watched("acme", "acme-key", "https://sonarcloud.io", "SONAR_TOKEN")
CONNECTIONS = [f"c{number}" for number in range(30)]


def about(name: str) -> Watched:
    return Watched(name, name, "https://sonarcloud.io", f"TOKEN_{name}")


def failed(cause: Cause, name: str = "acme") -> Problem:
    found = sync_problem(
        about(name),
        SyncFacts(last_attempt=Attempt(DAY, f"run-{name}", "failed", cause, f"{name} fails.")),
    )
    assert found is not None
    return found


class Ledger:
    """A ledger in memory: what the warehouse does, in a few lines. It counts the messages."""

    def __init__(self) -> None:
        self.open: dict[str, Open] = {}
        self.messages: list[tuple[datetime, str, str]] = []
        self.entries: list[Entry] = []

    def look(
        self, now: datetime, *problems: Problem, connections: list[str] | None = None
    ) -> list[Entry]:
        found = entries_of(
            problems, self.open.values(), now, connections=connections or [*CONNECTIONS, "acme"]
        )
        messages = messages_of(found, lambda run_id: f"http://ui/runs/{run_id}")
        written = numbered(found, messages, len(self.messages) + 1)
        self.messages += [(now, message.title, message.text) for message in messages]
        for entry in written:
            key = entry.problem.key
            if entry.event in (Event.RECOVERED, Event.CLOSED):
                del self.open[key]
                continue
            before = self.open.get(key)
            causes = (before.causes if before else frozenset()) | {entry.problem.cause}
            since = before.problem.since if before else now
            self.open[key] = Open(
                replace(entry.problem, since=since), now, entry.message_id, causes
            )
        self.entries += written
        return written


def test_a_problem_is_told_once_daily_while_it_lasts_and_once_when_it_is_over() -> None:
    ledger = Ledger()
    for hour in range(50):
        ledger.look(NOON + timedelta(hours=hour), failed(Cause.UNAVAILABLE))
    ledger.look(NOON + timedelta(hours=50))
    ledger.look(NOON + timedelta(hours=51))
    assert [
        (told - NOON, title.split(", ")[1].split(":")[0]) for told, title, _ in ledger.messages
    ] == [
        (timedelta(), "acme"),
        (timedelta(hours=24), "still"),
        (timedelta(hours=48), "still"),
        (timedelta(hours=50), "recovered"),
    ]


def test_a_message_names_the_sentence_the_connection_the_day_the_run_and_the_next_step() -> None:
    ledger = Ledger()
    ledger.look(NOON, failed(Cause.TOKEN_REFUSED))
    _, title, text = ledger.messages[0]
    assert title == "SonarCloud access, acme: SonarCloud refuses the token"
    assert "acme (organization acme), 2026-03-05: acme fails." in text
    assert "http://ui/runs/run-acme" in text
    assert MEANINGS[Cause.TOKEN_REFUSED].next_step in text
    assert "sonar-access alerts explain token-refused" in text


def test_thirty_connections_that_fail_for_one_reason_three_times_each_are_one_message() -> None:
    ledger = Ledger()
    now = NOON
    for number in range(3 * 30):
        now += timedelta(seconds=30)
        ledger.look(now, *(failed(Cause.UNAVAILABLE, name) for name in CONNECTIONS[: number + 1]))
    assert len(ledger.messages) == 1
    assert {entry.message_id for entry in ledger.entries} == {1}
    now += timedelta(days=1)
    ledger.look(now, *(failed(Cause.UNAVAILABLE, name) for name in CONNECTIONS))
    assert len(ledger.messages) == 2
    assert all(name in ledger.messages[1][2] for name in CONNECTIONS)
    for left in range(29, -1, -1):
        now += timedelta(seconds=30)
        ledger.look(now, *(failed(Cause.UNAVAILABLE, name) for name in CONNECTIONS[:left]))
    assert len(ledger.messages) == 3
    assert "recovered" in ledger.messages[2][1]


def test_what_fails_at_once_is_one_message_and_what_fails_later_is_another() -> None:
    ledger = Ledger()
    ledger.look(NOON, failed(Cause.INCOMPLETE, "c1"), failed(Cause.INCOMPLETE, "c2"))
    assert len(ledger.messages) == 1
    ledger.look(
        NOON + timedelta(hours=1), *(failed(Cause.INCOMPLETE, name) for name in ("c1", "c2", "c3"))
    )
    assert len(ledger.messages) == 2
    assert "c3" in ledger.messages[1][2]
    assert "c1" not in ledger.messages[1][2]


def test_a_new_cause_is_told_and_one_that_was_told_already_is_not() -> None:
    ledger = Ledger()
    for hour, cause in enumerate(
        (Cause.UNAVAILABLE, Cause.INCOMPLETE, Cause.UNAVAILABLE, Cause.TOKEN_REFUSED)
    ):
        ledger.look(NOON + timedelta(hours=hour), failed(cause))
    assert [title.split(": ")[1] for _, title, _ in ledger.messages] == [
        MEANINGS[cause].title
        for cause in (Cause.UNAVAILABLE, Cause.INCOMPLETE, Cause.TOKEN_REFUSED)
    ]
    assert len(ledger.open) == 1


def test_a_connection_of_another_deployment_is_left_alone_and_never_said_to_have_recovered() -> (
    None
):
    ledger = Ledger()
    ledger.look(NOON, failed(Cause.UNAVAILABLE))
    assert ledger.look(NOON + timedelta(hours=1), connections=["other"]) == []
    assert (
        ledger.look(NOON + timedelta(days=2), failed(Cause.LOST, "other"), connections=["other"])
        != []
    )
    assert set(ledger.open) == {"acme:sync", "other:sync"}


lives = st.lists(
    st.dictionaries(
        st.sampled_from(CONNECTIONS[:4]),
        st.sampled_from([Cause.UNAVAILABLE, Cause.TOKEN_REFUSED, Cause.INCOMPLETE, Cause.MISSING]),
        max_size=4,
    ),
    max_size=40,
)


@given(lives, st.integers(1, 600))
def test_every_problem_is_told_of_in_its_look_or_with_its_group_and_every_end_is_written(
    life: list[dict[str, Cause]], minutes: int
) -> None:
    ledger, now = Ledger(), NOON
    for wrong in life:
        now += timedelta(minutes=minutes)
        problems = {name: failed(cause, name) for name, cause in wrong.items()}
        before = len(ledger.messages)
        ledger.look(now, *problems.values())
        # What is open is what is wrong, and each was told of by a message that tells of its cause.
        assert {one.problem.key: one.problem.cause for one in ledger.open.values()} == {
            problem.key: problem.cause for problem in problems.values()
        }
        for one in ledger.open.values():
            assert one.message_id is not None
            assert now - one.said_at < REPEATED_AFTER + timedelta(minutes=minutes)
        # One message at most for each thing that happens with each cause.
        told = [title for _, title, _ in ledger.messages[before:]]
        assert len(told) == len(set(told))
        assert ledger.look(now, *problems.values()) == [], "looking again tells nothing"


@given(lives)
def test_messages_are_never_more_than_what_changed(life: list[dict[str, Cause]]) -> None:
    ledger, now, changes = Ledger(), NOON, 0
    before: dict[str, Cause] = {}
    for wrong in life:
        now += timedelta(minutes=1)
        ledger.look(now, *(failed(cause, name) for name, cause in wrong.items()))
        changes += sum(before.get(name) is not wrong.get(name) for name in {*before, *wrong})
        before = wrong
    assert len(ledger.messages) <= changes


HEALTHY = SyncFacts(last_heard_at=NOON - timedelta(hours=7))


def test_the_problem_of_a_sync_is_the_one_that_explains_the_others() -> None:
    held = Waiting(DAY, "r", "held")
    tried = Attempt(DAY, "r", "failed", Cause.UNAVAILABLE, "no network")
    everything = SyncFacts(last_attempt=tried, held=held, missing_day=DAY)
    assert sync_problem(ACME, HEALTHY) is None
    causes = []
    for facts in (
        everything,
        replace(everything, held=None),
        replace(everything, held=None, last_attempt=None),
    ):
        problem = sync_problem(ACME, facts)
        assert problem is not None
        assert problem.key == "acme:sync"
        causes.append(problem.cause)
    assert causes == [Cause.HELD, Cause.UNAVAILABLE, Cause.MISSING]


@pytest.mark.parametrize(
    ("idle", "cause"), [(49, None), (50, Cause.TOKEN_IDLE), (70, Cause.TOKEN_IDLE)]
)
def test_a_token_that_is_not_used_is_told_of_ten_days_before_its_end(
    idle: int, cause: Cause | None
) -> None:
    found = token_problem(ACME, SyncFacts(last_heard_at=NOON - timedelta(days=idle)), NOON)
    assert (found.cause if found else None) == cause


@pytest.mark.parametrize(
    ("left", "cause"), [(15, None), (14, Cause.TOKEN_EXPIRING), (-1, Cause.TOKEN_EXPIRING)]
)
def test_a_token_that_expires_is_told_of_two_weeks_before(left: int, cause: Cause | None) -> None:
    found = token_problem(ACME, replace(HEALTHY, token_expires_on=DAY + timedelta(days=left)), NOON)
    assert (found.cause if found else None) == cause


@pytest.mark.parametrize(
    ("waiting", "minutes", "cause"),
    [(True, 60, None), (True, 61, Cause.WAITING), (False, 180, None), (False, 181, Cause.STUCK)],
)
def test_a_run_that_waits_or_goes_on_for_too_long_is_told_of(
    waiting: bool, minutes: int, cause: Cause | None
) -> None:
    found = flight_problem(
        ACME, RunInFlight("r", "acme", "acme_daily", waiting, timedelta(minutes=minutes)), Limits()
    )
    assert (found.cause if found else None) == cause


def test_a_sensor_that_has_not_run_is_told_of_once_it_had_the_time_to() -> None:
    ticks = {
        "fresh": NOON - timedelta(minutes=1),
        "silent": NOON - timedelta(minutes=11),
        "never": None,
    }
    found = silent_sensors("acme", ticks, NOON - timedelta(hours=1), NOON, Limits())
    assert [problem.key for problem in found] == ["acme:sensor:never", "acme:sensor:silent"]
    assert silent_sensors("acme", ticks, NOON - timedelta(minutes=9), NOON, Limits()) == []


def run(
    job: str, *, succeeded: bool, subject: str = "", told_once: bool = False, **more: object
) -> EndedRun:
    return replace(
        EndedRun("r", "acme", f"acme_{job}", subject, succeeded, "It failed.", told_once),
        **more,  # type: ignore[arg-type]
    )


def carried(known: list[Problem], *ended: EndedRun, now: datetime = NOON) -> list[str]:
    return [
        problem.key for problem in carried_problems(known, ended, {"acme": ACME}, now, Limits())
    ]


def test_a_failed_run_stays_wrong_until_one_of_its_kind_succeeds() -> None:
    march = "2026-03-01_2026-03-31"
    bad = run("evidence", succeeded=False, subject=march)
    assert carried([], bad) == [f"acme:run:acme_evidence:{march}"]
    known = carried_problems([], [bad], {"acme": ACME}, NOON, Limits())
    assert carried(known) == [f"acme:run:acme_evidence:{march}"]
    assert carried(known, run("evidence", succeeded=True, subject="2026-04-01_2026-04-30")) == [
        f"acme:run:acme_evidence:{march}"
    ]
    assert carried(known, run("evidence", succeeded=True, subject=march)) == []


def test_a_failed_run_of_a_schedule_that_fails_again_by_hand_goes_on_being_wrong() -> None:
    known = carried_problems([], [run("verify", succeeded=False)], {"acme": ACME}, NOON, Limits())
    known = [replace(problem, since=NOON - timedelta(days=2)) for problem in known]
    assert carried(known, run("verify", succeeded=False, told_once=True)) == [
        "acme:run:acme_verify"
    ]


def test_what_is_told_once_silences_nobody_and_is_silenced_by_nobody() -> None:
    ledger = Ledger()
    gap = gap_problem(about("c1"), SyncFacts(gaps=(DAY,)))
    missing = sync_problem(about("c2"), SyncFacts(missing_day=DAY))
    assert gap is not None
    assert missing is not None
    ledger.look(NOON, missing)
    ledger.look(NOON + timedelta(minutes=1), missing, gap)
    ledger.look(
        NOON + timedelta(minutes=2), missing, gap, replace(missing, key="c3:sync", connection="c3")
    )
    assert len(ledger.messages) == 2
    assert "c1" in ledger.messages[1][2]
    assert ledger.open["c3:sync"].message_id == 1


def test_two_checks_of_one_connection_are_two_problems() -> None:
    ledger = Ledger()
    problems = carried_problems(
        [],
        [
            run(
                "daily",
                succeeded=True,
                checks=(
                    CheckResult("sound", False, "Not sound."),
                    CheckResult("reconciled", False, "No."),
                ),
            )
        ],
        {"acme": ACME},
        NOON,
        Limits(),
    )
    ledger.look(NOON, problems[0])
    ledger.look(NOON + timedelta(minutes=1), *problems)
    assert len(ledger.messages) == 2


def test_a_connection_that_joins_an_outage_hours_later_is_told() -> None:
    ledger = Ledger()
    ledger.look(NOON, failed(Cause.UNAVAILABLE, "c1"))
    ledger.look(
        NOON + timedelta(hours=5), failed(Cause.UNAVAILABLE, "c1"), failed(Cause.UNAVAILABLE, "c2")
    )
    assert len(ledger.messages) == 2
    assert "c2" in ledger.messages[1][2]


def test_a_run_that_failed_as_a_try_to_sync_is_no_problem_beside_it() -> None:
    assert carried([], run("daily", succeeded=False, of_sync=True)) == []
    assert carried([], run("daily", succeeded=False)) == ["acme:run:acme_daily"]


def test_what_failed_by_hand_leaves_the_list_after_a_day_and_what_a_schedule_ran_does_not() -> None:
    for told_once in (True, False):
        known = carried_problems(
            [],
            [run("verify", succeeded=False, told_once=told_once)],
            {"acme": ACME},
            NOON,
            Limits(),
        )
        known = [replace(problem, since=NOON) for problem in known]
        assert bool(carried(known, now=NOON + timedelta(hours=25))) is not told_once


def test_a_check_that_failed_stays_wrong_until_it_passes() -> None:
    bad = CheckResult("sound", False, "It is not sound.")
    known = carried_problems(
        [], [run("daily", succeeded=True, checks=(bad,))], {"acme": ACME}, NOON, Limits()
    )
    assert [problem.key for problem in known] == ["acme:check:sound"]
    assert carried(known, run("daily", succeeded=True)) == ["acme:check:sound"]
    assert carried(known, run("daily", succeeded=True, checks=(replace(bad, passed=True),))) == []


def test_a_failed_sync_is_tried_again_with_growing_pauses_within_its_day() -> None:
    began = datetime(2026, 3, 5, 5, tzinfo=UTC)
    tried = [Tried(began, Cause.UNAVAILABLE)]
    now, pauses = began, []
    while now.date() == began.date():
        now += timedelta(minutes=1)
        if is_due(tried, now):
            pauses.append(now - (tried[-1].ended_at or now))
            tried.append(Tried(now, Cause.UNAVAILABLE))
    assert [pause.total_seconds() / 60 for pause in pauses] == [15, 30, 60, 120, 240, 480]


@pytest.mark.parametrize("cause", list(Cause))
def test_nothing_is_tried_again_that_cannot_succeed(cause: Cause) -> None:
    assert (next_try([Tried(NOON, cause)]) is not None) is (cause in MAY_PASS)
    assert {
        Cause.TOKEN_REFUSED,
        Cause.REFUSED,
        Cause.HELD,
        Cause.SETTINGS,
        Cause.CANCELLED,
    }.isdisjoint(MAY_PASS)


def test_nothing_is_tried_again_that_runs_is_done_or_was_never_tried_nor_before_midnight() -> None:
    assert next_try([]) is None
    assert next_try([Tried(NOON, Cause.UNAVAILABLE), Tried(None, None)]) is None
    assert next_try([Tried(NOON, Cause.UNAVAILABLE), Tried(NOON, None, done=True)]) is None
    assert next_try([Tried(NOON, None, done=True), Tried(NOON, Cause.UNAVAILABLE)]) is None
    late = datetime(2026, 3, 5, 23, 20, tzinfo=UTC)
    assert is_due([Tried(late - timedelta(hours=1), Cause.LOST)], late)
    assert not is_due([Tried(late - timedelta(hours=1), Cause.LOST)], late + LAST_CHANCE)
