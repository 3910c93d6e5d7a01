"""A deployment as in production: real web server, daemon and code server, on PostgreSQL and on
SQLite, and what happens to them.

One long test per database, since starting everything takes a while: each step is a promise of its
own, in its function.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
)
from sqlalchemy import select

from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.problems import Problem
from sonar_access_pipeline.orchestration.runs import ended_since
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import alerts
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import evidence_packet, raw_snapshot, sync_attempt
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.builders import World, snapshot_of
from sonar_access_pipeline_tests.support.deployment import (
    BACKFILL,
    LAUNCH,
    START_SCHEDULE,
    START_SENSOR,
    TERMINATE,
    Deployment,
    backfill_params,
    deployment,
    launch_params,
    selector,
    until,
)
from sonar_access_pipeline_tests.support.mailbox import Mailbox, mailbox

QUARTER = 90
TOKEN = "sqp-5ecret-t0ken-of-the-deployment"
HISTORY = (
    "dim_organization",
    "dim_user",
    "dim_group",
    "bridge_group_member",
    "fct_permission_grant",
    "fct_user_access",
    "fct_finding",
)


class Site:
    """A deployment with its simulator, its warehouse with a quarter of snapshots, and its
    mailbox.
    """

    def __init__(
        self,
        made: Deployment,
        simulator: Simulator,
        warehouse: Warehouse,
        box: Mailbox,
        due: datetime,
    ) -> None:
        self.made, self.simulator, self.warehouse, self.box, self.due = (
            made,
            simulator,
            warehouse,
            box,
            due,
        )

    @property
    def today(self) -> date:
        """The day on which it is tested."""
        return self.due.date()

    @property
    def days(self) -> list[str]:
        """The quarter before today."""
        return [str(self.today - timedelta(days=number)) for number in range(QUARTER, 0, -1)]

    def told(self, words: str, *, seconds: float = 90) -> float:
        """Wait until a message with some words came; how long it took, in seconds."""
        began = time.monotonic()
        until(
            f"message '{words}' in {self.box.titles}",
            lambda: any(words in title for title in self.box.titles),
            seconds=seconds,
        )
        return time.monotonic() - began

    def lost(self) -> int:
        """How many messages told of a process that was lost."""
        return sum(
            title.endswith("acme: the process of a sync was lost") for title in self.box.titles
        )

    def problems(self) -> list[Problem]:
        """What is wrong now."""
        with self.warehouse.read() as transaction:
            return [one.problem for one in alerts.open_problems(transaction)]

    def has_tried(self, run_id: str) -> bool:
        """Whether a run has noted its try."""
        with self.warehouse.read() as transaction:
            return run_id in alerts.outcomes_of(transaction, [run_id])

    def outcome(self, run_id: str) -> tuple[str | None, str | None]:
        """How the try of a run ended, and why."""
        with self.warehouse.read() as transaction:
            row = transaction.execute(
                select(sync_attempt).where(sync_attempt.c.run_id == run_id)
            ).one()
        return row.outcome, row.cause


def seed(
    warehouse: Warehouse,
    url: str,
    connection: str,
    days: list[date],
    *,
    gap: int | None = None,
    key: str = "acme",
) -> None:
    """Snapshots of past days, as if they had been read then; one day was not."""
    upgrade(warehouse)
    for number, day in enumerate(days):
        if number == gap:
            continue
        people = {f"person-{n}": f"Person {n}" for n in range(number, number + 40)}
        world = World(
            members=people,
            groups={"1": "Members", "2": "Owners"},
            group_members={"1": sorted(people), "2": sorted(people)[:3]},
            group_permissions={"1": ["scan"], "2": ["admin"]},
        )
        began = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=5)
        snapshot = replace(
            snapshot_of(world, began, key=key), connection=connection, source_url=url
        )
        record(warehouse, snapshot, lambda began=began: began + timedelta(minutes=1))  # type: ignore[misc]


@pytest.fixture
def site(warehouse_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    now = datetime.now(UTC)
    evolution = Evolution(7, now.date() - timedelta(days=3), accounts=40, groups=4)
    postgres = None
    if not warehouse_url.startswith("sqlite"):
        postgres = warehouse_url.replace("postgresql://", "postgresql+psycopg2://")
    with (
        mailbox() as box,
        Simulator(
            lambda: evolution.on(datetime.now(UTC).date()), tokens={TOKEN: "sonar-access-reader"}
        ) as simulator,
    ):
        config = tmp_path / "sonar.toml"
        first = now.date() - timedelta(days=QUARTER)
        config.write_text(
            f'data_dir = "data"\nfirst_day = {first}\nhour = {now.hour}\nrequests_per_minute ='
            ' 1000000\nbrake_share = 1.0\n[connections.acme]\norganization = "acme"\nhost_url ='
            f' "{simulator.url}"\ntoken_env = "ACME_TOKEN"\n'
        )
        environment = {
            "SONAR_ACCESS_CONFIG": str(config),
            "SONAR_ACCESS_WAREHOUSE_URL": warehouse_url,
            "SONAR_ACCESS_ALERT_URLS": box.alert_url,
            "SONAR_ACCESS_HEARTBEAT_URL": box.heartbeat_url,
            "ACME_TOKEN": TOKEN,
        }
        with closing(Warehouse(warehouse_url)) as warehouse:
            days = [first + timedelta(days=number) for number in range(QUARTER)]
            seed(warehouse, simulator.url, "acme", days, gap=20)
            module = (
                "sonar_access_pipeline.definitions"
                if THOROUGH
                else "sonar_access_pipeline_tests.support.impatient"
            )
            with deployment(
                tmp_path / "home", environment, postgres_url=postgres, read_only=True, module=module
            ) as made:
                yield Site(
                    made, simulator, warehouse, box, now.replace(minute=0, second=0, microsecond=0)
                )


def a_range_on_assets_is_one_backfill_also_when_the_daemon_is_killed_in_the_middle(
    site: Site,
) -> None:
    assets = [["acme", name] for name in (*HISTORY, "evidence_packet")]
    backfill = site.made.backfill(assets, site.days)
    site.made.kill("daemon")
    site.made.start_daemon()
    done = until("end of the backfill", lambda: site.made.backfilled(backfill), seconds=120)
    assert done["status"] == "COMPLETED_SUCCESS", done
    with site.warehouse.read() as transaction:
        (packet,) = transaction.execute(select(evidence_packet)).all()
        gaps = queries.missing_days(transaction, "acme", packet.first_day, packet.last_day)
        assert not any(queries.history_faults(transaction, "acme").values())
    assert (str(packet.first_day), str(packet.last_day)) == (
        site.days[0],
        site.days[-1],
    ), "one window, one packet"
    assert [str(day) for day in gaps] == [site.days[20]], "and the gap is named"


def a_raw_day_of_the_past_is_refused_with_the_sentence(site: Site) -> None:
    run = site.made.launch("acme_daily", **{"dagster/partition": site.days[-1]})
    assert site.made.ended(run) == "FAILURE"
    problem = until("problem", site.problems)[0]
    assert "SonarCloud cannot show a past day" in problem.sentence
    assert problem.told_once


def a_tick_that_was_missed_while_the_daemon_was_down_observes_the_day(site: Site) -> None:
    site.made.kill("daemon")
    with site.made.instance() as instance:
        # As if it had been switched on two hours ago, and the daemon had been down since: today's
        # tick is due.
        states = [
            s
            for s in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
            if "daily" in s.name
        ]
        assert states, "it was switched on"
        (state,) = states
        assert isinstance(state.origin, RemoteInstigatorOrigin)
        before = site.due - timedelta(hours=2)
        data = ScheduleInstigatorData(
            f"0 {site.due.hour} * * *", start_timestamp=before.timestamp()
        )
        instance.update_instigator_state(
            InstigatorState(state.origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
        )

    site.made.start_daemon()

    def observed() -> bool:
        with site.warehouse.read() as transaction:
            query = select(raw_snapshot.c.snapshot_id).where(
                raw_snapshot.c.partition_date == site.today
            )
            return transaction.execute(query).first() is not None

    until("observation of today", observed)


def a_killed_worker_is_lost_told_and_finished_by_the_next(site: Site) -> None:
    site.simulator.latency = 3.0
    run = site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    worker = site.made.worker_of(run)
    until("try", lambda: site.has_tried(run))
    os.kill(worker, signal.SIGKILL)
    assert site.made.ended(run) == "FAILURE"
    assert site.told("acme: the process of a sync was lost") < 60
    assert site.outcome(run) == ("failed", "lost")
    site.simulator.latency = 0.0
    assert (
        site.made.ended(site.made.launch("acme_daily", **{"dagster/partition": str(site.today)}))
        == "SUCCESS"
    )
    site.told("recovered: acme: the process of a sync was lost")


def a_run_that_died_with_its_code_server_is_told_and_finished_by_the_next(site: Site) -> None:
    """As in an upgrade that does not wait for runs."""
    before = site.lost()
    site.simulator.latency = 3.0
    run = site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    until("try", lambda: site.has_tried(run))
    site.made.kill("code")
    began = time.monotonic()
    site.made.start_code()
    assert site.made.ended(run, seconds=300) == "FAILURE"
    until("end of the try", lambda: site.outcome(run) == ("failed", "lost"))
    until("another message", lambda: site.lost() > before)
    assert time.monotonic() - began < 300
    site.simulator.latency = 0.0
    assert (
        site.made.ended(site.made.launch("acme_daily", **{"dagster/partition": str(site.today)}))
        == "SUCCESS"
    )
    until("end of the problem", lambda: not site.problems())


def a_worker_that_is_told_to_end_is_lost_too(site: Site) -> None:
    """As when a node is drained, or a machine shuts down."""
    site.simulator.latency = 3.0
    run = site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    worker = site.made.worker_of(run)
    until("try", lambda: site.has_tried(run))
    since = datetime.now(UTC)
    os.kill(worker, signal.SIGTERM)
    assert site.made.ended(run) == "FAILURE"
    with site.made.instance() as instance:
        (ended,) = [
            one for one in ended_since(instance, since, ["acme"]).runs if one.run.run_id == run
        ]
    assert ended.cause is Cause.LOST
    assert (
        ended.run.sentence
        == "The run's process was told to end from outside, by the machine or the cluster it"
        " ran on."
    )
    assert site.outcome(run) == ("failed", "lost")
    site.simulator.latency = 0.0


def a_cancelled_run_is_on_record_and_not_tried_again(site: Site) -> None:
    site.simulator.latency = 3.0
    run = site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    until("try", lambda: site.has_tried(run))
    assert site.made.ask(TERMINATE, id=run)["__typename"] == "TerminateRunSuccess"
    assert site.made.ended(run) == "CANCELED"
    # Today is observed already, so nobody has to hear of it; it is on record, and what was
    # cancelled is not tried again.
    until("end of the try", lambda: site.outcome(run) == ("failed", "cancelled"))
    site.simulator.latency = 0.0


def a_failed_run_is_told_within_a_minute_and_all_is_well_once_it_works(site: Site) -> float:
    site.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    run = site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    assert site.made.ended(run) == "FAILURE"
    took = site.told("acme: SonarCloud refuses the token")
    assert took < 60
    site.simulator.faults.clear()
    site.made.launch("acme_daily", **{"dagster/partition": str(site.today)})
    site.told("recovered: acme: SonarCloud refuses the token")
    beats = site.box.heartbeats
    until("heartbeat", lambda: site.box.heartbeats > beats)
    return took


def a_reviewer_on_the_read_only_server_sees_everything_and_can_change_nothing(site: Site) -> None:
    made = site.made
    today = str(site.today)
    for query, variables in (
        (LAUNCH, {"params": launch_params("acme_daily", {"dagster/partition": today})}),
        (BACKFILL, {"params": backfill_params([["acme", "evidence_packet"]], site.days)}),
        (START_SENSOR, {"selector": selector(sensorName="sonar_access_watch")}),
        (TERMINATE, {"id": "nothing"}),
        (DELETE, {"id": "nothing"}),
        (WIPE, {"ranges": [{"assetKey": {"path": ["acme", "fct_user_access"]}}]}),
        (START_SCHEDULE, {"selector": selector(scheduleName="acme_daily_schedule")}),
        (RELOAD, {"name": "sonar_access_pipeline"}),
    ):
        assert made.ask(query, read_only=True, **variables)["__typename"] == "UnauthorizedError", (
            query
        )
    found = made.ask(ASSETS, read_only=True)
    assert {tuple(node["assetKey"]["path"]) for node in found} >= {
        ("acme", "fct_user_access"),
        ("acme", "evidence_packet"),
    }


DELETE = "mutation($id: String!) { deletePipelineRun(runId: $id) { __typename } }"
WIPE = (
    "mutation($ranges: [PartitionsByAssetSelector!]!) { wipeAssets(assetPartitionRanges: $ranges) {"
    " __typename } }"
)
RELOAD = (
    "mutation($name: String!) { reloadRepositoryLocation(repositoryLocationName: $name) {"
    " __typename } }"
)
ASSETS = "query { assetNodes { assetKey { path } } }"


@pytest.mark.waits
@pytest.mark.proofs("sqlite")
def test_a_deployment_lives_through_everything(site: Site) -> None:
    site.made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
    a_range_on_assets_is_one_backfill_also_when_the_daemon_is_killed_in_the_middle(site)
    a_raw_day_of_the_past_is_refused_with_the_sentence(site)
    site.made.switch_on(schedules=["acme_daily_schedule"])
    a_tick_that_was_missed_while_the_daemon_was_down_observes_the_day(site)
    a_killed_worker_is_lost_told_and_finished_by_the_next(site)
    a_run_that_died_with_its_code_server_is_told_and_finished_by_the_next(site)
    a_worker_that_is_told_to_end_is_lost_too(site)
    a_cancelled_run_is_on_record_and_not_tried_again(site)
    a_failed_run_is_told_within_a_minute_and_all_is_well_once_it_works(site)
    a_reviewer_on_the_read_only_server_sees_everything_and_can_change_nothing(site)
