"""Everything that can be wrong, made wrong on purpose: each is told once to a real channel, and
recovers once it is mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)
from pydantic import SecretStr
from sqlalchemy import select, text

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.channels import channels_of
from sonar_access_pipeline.alerts.problems import Limits
from sonar_access_pipeline.orchestration import runs
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.monitoring import Look, Memory, Monitoring, due_retries
from sonar_access_pipeline.orchestration.sensors import RETRY, WATCH
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.ledger.alerts import history
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt
from sonar_access_pipeline.warehouse.raw.decisions import CONFIRMED, RETRACTED, decide
from sonar_access_pipeline.warehouse.schema import sync_attempt
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.company import TOKEN, Company, company, metadata_of
from sonar_access_pipeline_tests.support.mailbox import Mailbox, mailbox

ON_EACH = pytest.mark.parametrize("here", ["warehouse_url"], indirect=True)


class Watcher:
    """The watch over a company, look after look, with what it told so far."""

    def __init__(self, here: Company, box: Mailbox) -> None:
        self.here, self.box, self.memory = here, box, Memory()

    def look(self, limits: Limits | None = None) -> Look:
        found = Monitoring(self.here.resources, self.here.instance, limits=limits or Limits()).look(
            self.memory
        )
        self.memory = Memory.read(found.memory.written())
        return found

    def causes(self) -> list[Cause]:
        return [problem.cause for problem in self.look().problems]

    def told(self) -> list[str]:
        """The titles that came since the last time, without what they all begin with."""
        titles, self.box.messages[:] = self.box.titles, []
        return [title.removeprefix("SonarCloud access, ") for title in titles]


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mailbox() as opened:
        yield opened


@pytest.fixture
def here(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Mailbox
) -> Iterator[Company]:
    """On SQLite; on PostgreSQL where a test asks for it."""
    with company(
        tmp_path / "data",
        monkeypatch.setenv,
        warehouse_url=request.getfixturevalue(request.param) if hasattr(request, "param") else None,
        accounts=12,
        groups=3,
        brake_rows=1000,
        alert_urls=(SecretStr(box.alert_url),),
        heartbeat_url=SecretStr(box.heartbeat_url),
        ui_url="http://dagster.example",
    ) as opened:
        yield opened


@pytest.fixture
def watcher(here: Company, box: Mailbox) -> Watcher:
    return Watcher(here, box)


def a_run(here: Company, job: str = "company_daily", **tags: str) -> dg.DagsterRun:
    """A run that was asked for and whose process never comes."""
    return here.instance.create_run_for_job(
        here.definitions.resolve_job_def(job), tags=tags, status=dg.DagsterRunStatus.NOT_STARTED
    )


def started(here: Company, run: dg.DagsterRun) -> dg.DagsterRun:
    here.instance.report_engine_event("", run, run_id=run.run_id)
    event = dg.DagsterEvent("PIPELINE_START", run.job_name)
    here.instance.report_dagster_event(event, run_id=run.run_id)
    return run


def test_a_failed_sync_is_told_once_however_often_it_is_tried_and_once_more_when_it_works(
    watcher: Watcher,
) -> None:
    here = watcher.here
    assert here.live(0).success
    assert watcher.look().is_well
    here.simulator.faults.add("organizations/search_members", faults.short(2), times=None)
    for hours in range(4):
        assert not here.live(1, hours=hours).success
        assert watcher.causes() == [Cause.INCOMPLETE]
    title, body = watcher.box.messages[0]
    assert watcher.told() == ["company: what SonarCloud answers does not add up"]
    assert title.startswith("SonarCloud access, ")
    assert "company (organization acme), 2026-02-03: the list members is incomplete" in body
    assert "Run: http://dagster.example/runs/" in body
    here.simulator.faults.clear()
    assert here.live(2).success
    assert watcher.look().is_well
    assert (
        watcher.box.messages[0][1]
        == "company (organization acme), 2026-02-03: It is over; this day stays a gap: 2026-02-03."
    )
    assert watcher.told() == ["recovered: company: what SonarCloud answers does not add up"]


def test_a_sync_that_works_at_last_within_its_day_leaves_no_gap(watcher: Watcher) -> None:
    here = watcher.here
    here.simulator.faults.add("users/current", faults.status(503), times=None)
    here.live(0)
    assert watcher.causes() == [Cause.UNAVAILABLE]
    here.simulator.faults.clear()
    here.live(0, hours=1)
    assert watcher.look().is_well
    assert "no day was lost" in watcher.box.messages[-1][1]


def test_a_run_that_was_cancelled_before_it_began_is_on_record_and_told(watcher: Watcher) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(1))
    run = a_run(here, **{PARTITION_NAME_TAG: str(here.day(1))})
    assert watcher.look().is_well
    here.instance.report_run_canceled(run)
    assert watcher.causes() == [Cause.CANCELLED]
    assert watcher.told() == ["company: a run was cancelled"]
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        row = transaction.execute(
            select(sync_attempt).where(sync_attempt.c.run_id == run.run_id)
        ).one()
    assert (row.partition_date, row.outcome, row.cause) == (here.day(1), "failed", "cancelled")
    assert due_retries(here.resources, here.instance, timedelta()) == [], "somebody wanted it so"
    here.live(1)
    assert watcher.look().is_well


@pytest.mark.parametrize(("begins", "cause"), [(True, Cause.LOST), (False, Cause.NOT_STARTED)])
def test_a_run_without_a_failed_step_is_told_as_lost_or_as_never_started(
    watcher: Watcher, begins: bool, cause: Cause
) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(1))
    run = a_run(here, **{PARTITION_NAME_TAG: str(here.day(1))})
    if begins:
        started(here, run)
    here.instance.report_run_failed(run)
    assert watcher.causes() == [cause]
    assert [
        (c.name, day, number)
        for c, day, number in due_retries(here.resources, here.instance, timedelta())
    ] == [("company", here.day(1), 2)]


def test_a_try_whose_process_was_killed_gets_an_end_once_its_run_has_one(watcher: Watcher) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(1))
    run = started(here, a_run(here, **{PARTITION_NAME_TAG: str(here.day(1))}))
    with here.warehouse() as warehouse:
        begin_attempt(
            warehouse,
            connection="company",
            organization_key="acme",
            partition_date=here.day(1),
            run_id=run.run_id,
            started_at=here.clock(),
        )
    assert watcher.look().is_well, "it goes on"
    assert due_retries(here.resources, here.instance, timedelta()) == []
    here.instance.report_run_failed(run)
    assert watcher.causes() == [Cause.LOST]
    assert [number for _, _, number in due_retries(here.resources, here.instance, timedelta())] == [
        2
    ]


def test_a_try_of_a_run_that_dagster_forgot_was_lost(watcher: Watcher) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(1))
    with here.warehouse() as warehouse:
        begin_attempt(
            warehouse,
            connection="company",
            organization_key="acme",
            partition_date=here.day(1),
            run_id="11111111-2222-3333-4444-555555555555",
            started_at=here.clock(),
        )
    assert watcher.look().is_well, "it may be a run of another instance"
    here.clock.go_to(here.day(1), hours=4)
    assert watcher.causes() == [Cause.LOST]


def test_a_run_that_waits_and_one_that_goes_on_for_too_long_are_told_and_recover_when_they_end(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    run = a_run(here)
    never = Limits(waiting=timedelta(), running=timedelta())
    assert [problem.cause for problem in watcher.look(never).problems] == [Cause.WAITING]
    started(here, run)
    assert [problem.cause for problem in watcher.look(never).problems] == [Cause.STUCK]
    here.instance.report_run_canceled(run)
    assert [problem.cause for problem in watcher.look(never).problems] == [Cause.CANCELLED]
    assert watcher.told() == [
        "company: a run waits too long to start",
        "company: a run goes on for too long",
        "company: a run was cancelled",
        "recovered: company: a run goes on for too long",
    ]


def test_a_day_that_nothing_tried_to_observe_is_told_when_its_grace_is_over(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(1))
    assert watcher.look().is_well, "the day is young"
    here.clock.go_to(here.day(2))
    found = watcher.look().problems
    assert [problem.cause for problem in found] == [Cause.MISSING]
    assert (
        found[0].sentence
        == "2026-02-03 was not observed, and its grace is over: nothing tried to. Once a day is"
        " over it stays a gap."
    )
    here.clock.go_to(here.day(3), hours=1)
    assert [problem.day for problem in watcher.look().problems] == [here.day(2)]
    assert len(watcher.told()) == 2, "raised, and repeated after a day"
    here.live(3, hours=2)
    assert watcher.look().is_well
    assert watcher.box.messages[0][1].endswith(
        "It is over; these days stay gaps: 2026-02-03, 2026-02-04."
    )
    assert watcher.told() == ["recovered: company: a day was not observed"]


def test_days_that_were_lost_while_nobody_looked_are_told_once_though_all_is_well_again(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    watcher.look()
    here.live(3)
    watcher.look()
    assert watcher.told() == ["company: a day was not observed"]
    assert watcher.look().is_well
    here.live(4)
    assert watcher.look().is_well
    here.live(5)
    assert watcher.look().is_well
    assert watcher.told() == []


def test_after_days_without_a_daemon_every_lost_day_is_told_also_before_the_next_sync(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    watcher.look()
    here.clock.go_to(here.day(5), hours=1)
    assert watcher.causes() == [Cause.MISSING]
    here.live(5, hours=2)
    watcher.look()
    watcher.look()
    said = " ".join(text for _, text in watcher.box.messages)
    assert all(str(here.day(number)) in said for number in range(1, 5))


def test_a_connection_that_was_never_read_is_missed_too(watcher: Watcher) -> None:
    here = watcher.here
    assert watcher.look().is_well
    here.clock.go_to(here.day(2))
    assert watcher.causes() == [Cause.MISSING]


@pytest.mark.parametrize("said", [CONFIRMED, RETRACTED])
def test_a_held_snapshot_is_told_until_a_person_decides(watcher: Watcher, said: str) -> None:
    here = watcher.here
    here.live(0)
    here.resources = replace(
        here.resources,
        settings=here.resources.settings.model_copy(update={"brake_rows": 1, "brake_share": 0.0}),
    )
    here.definitions = build_definitions(here.resources)
    number = next(n for n in range(1, 60) if not here.live(n).success)
    found = watcher.look().problems
    assert [problem.cause for problem in found] == [Cause.HELD]
    assert "`sonar-access snapshot confirm" in found[0].sentence
    assert due_retries(here.resources, here.instance, timedelta()) == []
    with here.warehouse() as warehouse:
        decide(
            warehouse,
            number + 1,
            said,
            by="eve",
            reason="true",
            brake=Brake(1, 1000),
            clock=here.clock,
        )
    assert watcher.look().is_well
    assert (f"{here.day(number)} is not observed yet" in watcher.box.messages[-1][1]) is (
        said == RETRACTED
    )


def test_a_check_that_fails_is_told_until_it_passes(watcher: Watcher) -> None:
    here = watcher.here
    here.live(0)
    change = "UPDATE dim_user SET name = {} WHERE login = (SELECT MIN(login) FROM dim_user)"
    with here.warehouse() as warehouse, warehouse.write("test") as transaction:
        transaction.execute(text(change.format("name || '!'")))
    assert here.run("verify").success
    assert watcher.causes() == [Cause.CHECK_FAILED]
    assert watcher.told() == ["company: a check failed"]
    with here.warehouse() as warehouse, warehouse.write("test") as transaction:
        transaction.execute(text(change.format("substr(name, 1, length(name) - 1)")))
    here.run("verify")
    assert watcher.look().is_well


def test_a_failed_packet_of_a_window_is_told_until_that_window_has_one(
    watcher: Watcher, tmp_path: Path
) -> None:
    here = watcher.here
    here.clock.go_to(here.day(0))
    window = {
        ASSET_PARTITION_RANGE_START_TAG: str(here.day(0)),
        ASSET_PARTITION_RANGE_END_TAG: str(here.day(0)),
    }
    assert not here.run("evidence", tags=window).success
    found = watcher.look().problems
    assert [problem.cause for problem in found] == [Cause.RUN_FAILED]
    assert "was not observed on or before" in found[0].sentence
    here.live(0, hours=1)
    assert watcher.look().is_well, "the day's run made the same packet"
    longer = {**window, ASSET_PARTITION_RANGE_END_TAG: str(here.day(2))}
    for _ in range(2):
        (tmp_path / "data" / "evidence").rename(tmp_path / "elsewhere")
        (tmp_path / "data" / "evidence").write_text("a file where the folder was")
        assert not here.run("evidence", tags=longer).success
        assert [problem.cause for problem in watcher.look().problems] == [Cause.RUN_FAILED]
        (tmp_path / "data" / "evidence").unlink()
        (tmp_path / "elsewhere").rename(tmp_path / "data" / "evidence")
    assert here.run("evidence", tags=longer).success
    assert watcher.look().is_well


def test_a_daily_run_that_observed_and_failed_afterwards_is_told_and_tried_again(
    watcher: Watcher, tmp_path: Path
) -> None:
    here = watcher.here
    here.live(0)
    evidence = Path(here.settings.evidence)
    evidence.rename(tmp_path / "elsewhere")
    evidence.write_text("a file where the folder was")
    assert not here.live(1).success
    assert watcher.causes() == [Cause.RUN_FAILED]
    assert len(due_retries(here.resources, here.instance, timedelta())) == 1
    assert not here.live(1, hours=1).success
    assert watcher.causes() == [Cause.RUN_FAILED]
    assert len(due_retries(here.resources, here.instance, timedelta())) == 1, "as often as it takes"
    evidence.unlink()
    (tmp_path / "elsewhere").rename(evidence)
    assert here.live(1, hours=2).success
    assert watcher.look().is_well


def test_a_past_day_that_is_asked_for_by_hand_is_told_once_and_is_no_failed_sync(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    here.live(1)
    assert not here.run("daily", day=here.day(0)).success
    found = watcher.look().problems
    assert [(problem.cause, problem.told_once) for problem in found] == [(Cause.RUN_FAILED, True)]
    assert "cannot show a past day" in found[0].sentence
    assert due_retries(here.resources, here.instance, timedelta()) == []


def test_a_token_that_is_about_to_die_is_told(watcher: Watcher) -> None:
    here = watcher.here
    here.live(0)
    here.clock.go_to(here.day(51))
    assert set(watcher.causes()) == {Cause.MISSING, Cause.TOKEN_IDLE}
    here.live(52)
    watcher.look()
    assert watcher.look().is_well


def test_what_a_channel_does_not_take_is_seen_and_sent_again_until_it_does(
    watcher: Watcher,
) -> None:
    here, box = watcher.here, watcher.box
    here.live(0)
    box.status = 500
    here.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    here.live(1)
    first = watcher.look()
    assert len(first.unsent) == 1
    assert not first.is_well
    assert first.unsent[0].startswith("json:")
    here.simulator.faults.clear()
    here.live(2)
    assert watcher.look().unsent, "not yet: it is tried again after a pause"
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        told = [row["told"] for row in history(transaction, limit=10)]
    assert "not taken after 2 tries: it cannot be reached" in told[0]
    box.status = 200
    here.clock.go_to(here.day(3))
    here.live(3)
    assert watcher.look().is_well
    assert watcher.told() == [
        "company: SonarCloud refuses the token",
        "recovered: company: SonarCloud refuses the token",
    ], "both, and in this order"


def test_a_token_that_is_revoked_while_its_lists_are_read_is_told_as_what_it_is(
    watcher: Watcher,
) -> None:
    here = watcher.here
    here.live(0)
    tokens = dict(here.simulator.tokens)

    def revoke(number: int) -> None:
        if here.simulator.requests[number - 1][1] == "user_groups/users":
            here.simulator.tokens.clear()

    here.simulator.on_request = revoke
    assert not here.live(1).success
    assert watcher.causes() == [Cause.TOKEN_REFUSED]
    here.simulator.on_request = None
    here.simulator.tokens.update(tokens)
    assert here.live(1, hours=1).success
    assert watcher.look().is_well


def test_two_recipients_of_one_service_are_two_channels(watcher: Watcher) -> None:
    here, box = watcher.here, watcher.box
    urls = tuple(
        SecretStr(f"mailtos://somebody:pa55word@mail.example?to={name}@mail.example")
        for name in ("ada", "bob")
    )
    assert len(channels_of([url.get_secret_value() for url in urls])) == 2
    again = (SecretStr(box.alert_url), SecretStr(f"{box.alert_url}?to=b"))
    here.resources = replace(
        here.resources, settings=here.settings.model_copy(update={"alert_urls": again})
    )
    here.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    here.live(0)
    watcher.look()
    assert len(watcher.told()) == 2


def test_while_a_channel_is_down_nothing_overtakes_what_was_said_before(watcher: Watcher) -> None:
    here, box = watcher.here, watcher.box
    here.live(0)
    here.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    box.status = 500
    here.live(1)
    watcher.look()
    here.simulator.faults.clear()
    box.status = 200
    here.live(1, hours=1)
    watcher.look()
    assert [title.split(":")[0] for title in watcher.told()] == ["company", "recovered"]


def test_a_url_that_is_none_does_not_keep_the_others_from_being_told(watcher: Watcher) -> None:
    here = watcher.here
    urls = (SecretStr("no-such-service://x"), *here.settings.alert_urls)
    here.resources = replace(
        here.resources, settings=here.settings.model_copy(update={"alert_urls": urls})
    )
    here.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    here.live(0)
    assert watcher.look().unsent == ["number 1"]
    assert watcher.told() == ["company: SonarCloud refuses the token"]


def test_a_warehouse_that_cannot_be_reached_is_told_from_memory_and_written_down_afterwards(
    watcher: Watcher, tmp_path: Path
) -> None:
    here, real = watcher.here, watcher.here.resources
    here.live(0)
    broken = here.settings.model_copy(
        update={"warehouse_url": SecretStr("postgresql://nobody:pa55word@127.0.0.1:1/none")}
    )
    here.resources = replace(real, settings=broken)
    for _ in range(3):
        assert watcher.causes() == [Cause.WAREHOUSE]
    assert watcher.told() == ["this deployment: the warehouse refuses"]
    here.clock.go_to(here.day(1), hours=1)
    for _ in range(2):
        watcher.look()
    assert watcher.told() == ["still: this deployment: the warehouse refuses"]
    here.resources = real
    assert watcher.look().is_well
    assert watcher.told() == ["recovered: this deployment: the warehouse refuses"]
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        events = [(row["event"], row["problem"]) for row in history(transaction, limit=10)]
    assert events == [("raised", "company:warehouse"), ("recovered", "company:warehouse")]


@pytest.fixture
def on_disk(watcher: Watcher, tmp_path: Path) -> Company:
    """The company with an instance of Dagster that has sensors."""
    watcher.here.instance = dg.DagsterInstance.local_temp(str(tmp_path))
    return watcher.here


def evaluated(here: Company, name: str, cursor: str | None = None) -> dg.SensorResult:
    sensor = build_definitions(here.resources).resolve_sensor_def(name)
    with dg.build_sensor_context(
        instance=here.instance, definitions=here.definitions, cursor=cursor
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_the_heartbeat_beats_while_all_is_well_and_stops_when_it_is_not(
    on_disk: Company, box: Mailbox
) -> None:
    here = on_disk
    here.live(0)
    cursor = evaluated(here, WATCH).cursor
    assert box.heartbeats == 1
    here.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    here.live(1)
    result = evaluated(here, WATCH, cursor)
    assert box.heartbeats == 1
    assert result.skip_reason is not None
    assert result.skip_reason.skip_message == "company: token_refused"


def test_dagster_forgets_our_old_runs_and_nobody_elses(on_disk: Company) -> None:
    here = on_disk
    here.live(0)
    other = (
        dg.GraphDefinition(name="other", node_defs=[])
        .to_job()
        .execute_in_process(instance=here.instance)
    )
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert runs.forget(here.instance, later - timedelta(days=1), ["company"]) == 0
    assert runs.forget(here.instance, later, ["company"]) == 1
    assert [run.run_id for run in here.instance.get_runs()] == [other.run_id]


def test_the_retry_sensor_asks_for_a_run_of_today_once_its_pause_is_over(on_disk: Company) -> None:
    here = on_disk
    here.simulator.faults.add("users/current", faults.status(503), times=None)
    here.live(0)
    assert evaluated(here, RETRY).run_requests == []
    here.clock.go_to(here.day(0), hours=1)
    (request,) = evaluated(here, RETRY).run_requests or []
    assert (request.job_name, request.partition_key) == ("company_daily", str(here.day(0)))


def failed_partitions(here: Company) -> dict[str, set[str]]:
    """The days that Dagster colours red, by table."""
    found = {}
    for key in here.asset_keys:
        definition = here.definitions.get_repository_def().assets_defs_by_key[key]
        status = get_and_update_asset_status_cache_value(
            here.instance, key, definition.partitions_def
        )
        if status and definition.partitions_def:
            failed = status.deserialize_failed_partition_subsets(definition.partitions_def)
            found[key.path[-1]] = set(failed.get_partition_keys())
    return {table: days for table, days in found.items() if days}


def test_a_lost_day_gets_what_can_be_made_of_it_and_is_red_where_nothing_can(
    on_disk: Company,
) -> None:
    here = on_disk
    here.live(0)
    here.simulator.faults.add("organizations/search_members", faults.short(2), times=None)
    here.live(1)
    here.simulator.faults.clear()
    partitioned = {key.path[-1] for key in here.asset_keys} - {"reviews", "review_packet"}
    assert set(failed_partitions(here)) == partitioned
    assert not evaluated(here, RETRY).run_requests
    here.clock.go_to(here.day(2))
    lost = str(here.day(1))
    for job in ("history", "evidence"):
        (request,) = evaluated(here, RETRY).run_requests or []
        assert (request.job_name, request.partition_key) == (f"company_{job}", lost)
        assert request.run_key == f"company:{lost}:company_{job}", "once, however often it is asked"
        made = here.run(job, day=here.day(1))
        assert made.success
    numbers = metadata_of(made, "evidence_packet")
    assert numbers["days_observed"] == 0
    assert numbers["days_since_last_observation"] == 1
    assert "changes" not in numbers, "nobody knows"
    assert set(failed_partitions(here)) == {"raw_snapshot", "raw_list", "raw_response", "raw_body"}
    here.live(2)
    here.clock.go_to(here.day(3))
    assert not evaluated(here, RETRY).run_requests


def test_a_day_that_is_still_read_after_midnight_is_not_lost(on_disk: Company) -> None:
    here = on_disk
    here.live(0)
    here.clock.go_to(here.day(1), hours=15)
    run_id = str(uuid4())
    with here.warehouse() as warehouse:
        begin_attempt(
            warehouse,
            connection="company",
            organization_key="acme",
            partition_date=here.day(1),
            run_id=run_id,
            started_at=here.clock(),
        )
    run = here.instance.create_run_for_job(
        here.definitions.resolve_job_def("company_daily"),
        run_id=run_id,
        status=dg.DagsterRunStatus.STARTED,
        tags={"sonar_access/connection": "company", PARTITION_NAME_TAG: str(here.day(1))},
    )
    here.clock.go_to(here.day(2))
    assert not evaluated(here, RETRY).run_requests
    here.instance.report_run_failed(run)
    assert evaluated(here, RETRY).run_requests


def test_no_token_no_secret_and_no_persons_name_is_in_an_alert_or_a_log(
    on_disk: Company,
    box: Mailbox,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here = on_disk
    here.live(0)
    box.status = 500
    here.simulator.faults.add("organizations/search_members", faults.short(2), times=None)
    here.live(1)
    evaluated(here, WATCH)
    box.status = 200
    here.clock.go_to(here.day(1), hours=5)
    evaluated(here, WATCH)
    said = (
        "".join(capfd.readouterr())
        + caplog.text
        + "".join(title + text for title, text in box.messages)
    )
    assert "members" in said
    for secret in (
        TOKEN,
        "pa55word",
        "secret-of-the-heartbeat",
        *here.truth(0).names,
        *here.truth(0).names.values(),
    ):
        assert secret not in said


def test_in_ninety_healthy_days_nobody_is_told_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, box: Mailbox
) -> None:
    with company(
        tmp_path / "data",
        monkeypatch.setenv,
        accounts=12,
        groups=3,
        brake_rows=1000,
        alert_urls=(SecretStr(box.alert_url),),
    ) as here:
        watcher = Watcher(here, box)
        for number in range(90 if THOROUGH else 8):
            here.clock.go_to(here.day(number))
            assert watcher.look().is_well
            assert here.live(number).success
            assert watcher.look().is_well
            if number % 7 == 6:
                assert here.run("verify").success
        assert box.messages == []
        with here.warehouse() as warehouse, warehouse.read() as transaction:
            assert history(transaction, limit=None) == []


def test_what_was_sealed_and_waits_is_published_by_the_watch_and_told_after_an_hour(
    watcher: Watcher, tmp_path: Path
) -> None:
    here = watcher.here
    here.live(0)
    evidence = tmp_path / "data" / "evidence"
    header = packets.Header("keys/x", str(evidence / "keys/x"), "key.pub", here.clock())
    with here.warehouse() as warehouse:
        packets.wait(warehouse, packets.Bundle(header, {"key.pub": b"a key"}))
    evidence.rename(tmp_path / "elsewhere")
    evidence.write_text("a file where the folder was")
    assert watcher.look().is_well, "not at once"
    here.clock.go_to(here.day(0), hours=2)
    assert Cause.UNPUBLISHED in watcher.causes()
    parts = here.resources
    lost = here.settings.model_copy(
        update={"timestamp_url": "http://none", "timestamp_certificates": tmp_path / "none.pem"}
    )
    here.resources = replace(here.resources, settings=lost)
    (told,) = [
        problem.sentence
        for problem in watcher.look().problems
        if problem.cause is Cause.UNPUBLISHED
    ]
    assert "none.pem cannot be read" in told, "a setting that is wrong does not end the watch"
    here.resources = parts
    evidence.unlink()
    (tmp_path / "elsewhere").rename(evidence)
    assert Cause.UNPUBLISHED not in watcher.causes()
    assert (evidence / "keys" / "x" / "key.pub").read_bytes() == b"a key"
