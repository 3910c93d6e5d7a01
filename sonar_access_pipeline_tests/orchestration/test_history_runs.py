"""History as Dagster runs it: any partition, any range, in any order; verified weekly; and who
waits for whom.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from sqlalchemy import text

from sonar_access_pipeline.access.snapshot import Snapshot
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive, lock_of
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.builders import World, snapshot_of
from sonar_access_pipeline_tests.support.company import FIRST_DAY, Company, company, metadata_of
from sonar_access_pipeline_tests.warehouse.test_history import expected, stored

pytestmark = pytest.mark.proofs("sqlite")

DAYS = 365 if THOROUGH else 64
GAPS = {3, 4, 50, 60, 61, 62, 100, 200, 201, 202, DAYS - 1} & {*range(DAYS)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse_url: str) -> Iterator[Company]:
    with company(
        tmp_path / "data",
        monkeypatch.setenv,
        warehouse_url=warehouse_url,
        accounts=12,
        groups=3,
        brake_rows=1000,
    ) as opened:
        yield opened


def many_days(here: Company) -> list[Snapshot]:
    """A year of snapshots, or a quarter in the short form, with some days left out, kept and not
    derived.
    """
    found = []
    with here.resources.warehouse() as warehouse:
        for day in range(DAYS):
            members = {f"user-{number}": "N" for number in range(day % 7, 12)}
            began = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(
                days=day, hours=5
            )
            snapshot = snapshot_of(
                World(members=members, groups={"1": "g"}, group_members={"1": list(members)}), began
            )
            if day not in GAPS:
                found.append(snapshot)
                record(warehouse, snapshot, lambda: began)  # noqa: B023  # called at once
    return found


def over(here: Company, first: int, last: int) -> dict[str, str]:
    return {
        ASSET_PARTITION_RANGE_START_TAG: str(here.day(first)),
        ASSET_PARTITION_RANGE_END_TAG: str(here.day(last)),
    }


@pytest.mark.waits
def test_many_days_are_derived_from_stored_snapshots_in_one_run_and_gaps_stay_gaps(
    here: Company,
) -> None:
    snapshots = many_days(here)
    here.clock.go_to(here.day(DAYS))
    result = here.run("history", tags=over(here, 0, DAYS - 1))
    assert result.success
    numbers = metadata_of(result, "fct_user_access")
    assert (numbers["days"], numbers["days_observed"]) == (DAYS, DAYS - len(GAPS))
    assert numbers["observations_merged"] == DAYS - len(GAPS)
    first = min(day for day in range(DAYS) if day not in GAPS)
    # Nobody expects an observation on a day that has not come: the calendar is the database's, the
    # days are the test's.
    past = [
        day for day in sorted(GAPS) if day > first and here.day(day) <= datetime.now(UTC).date()
    ]
    assert json.loads(numbers["gaps"]) == [str(here.day(day)) for day in past]
    with here.warehouse() as warehouse:
        assert stored(warehouse, "acme") == expected(snapshots)


@pytest.mark.proofs("postgresql")
def test_days_derived_from_the_newest_to_the_oldest_and_in_pieces_give_the_same(
    here: Company,
) -> None:
    snapshots = many_days(here)
    here.clock.go_to(here.day(DAYS))
    for first, last in ((DAYS - 2, DAYS - 2), (DAYS - 15, DAYS - 3), (0, 10)):
        assert here.run("history", tags=over(here, first, last)).success
    assert here.run("history", day=here.day(5)).success
    with here.warehouse() as warehouse:
        assert stored(warehouse, "acme") == expected(snapshots)


def test_the_weekly_job_verifies_and_names_no_person(here: Company) -> None:
    for day in range(2):
        daily = here.live(day)
        assert daily.success
        assert "as_recorded" not in {
            check.check_name for check in daily.get_asset_check_evaluations()
        }
    (check,) = here.run("verify").get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.metadata["state"].value) == (
        "as_recorded",
        True,
        "fine",
    )
    packet, *_ = sorted(Path(here.settings.evidence, "acme").glob("*/*"))
    manifest = (packet / "manifest.json").read_bytes()
    (packet / "manifest.json").write_bytes(b"{}")
    (check,) = here.run("verify").get_asset_check_evaluations()
    assert (check.passed, check.metadata["state"].value) == (False, "fine")
    (packet / "manifest.json").write_bytes(manifest)
    with here.warehouse() as warehouse, warehouse.write("tampering") as transaction:
        login = transaction.execute(text("SELECT MIN(login) FROM fct_user_access")).scalar_one()
        transaction.execute(
            text("DELETE FROM fct_user_access WHERE login = :login"), {"login": login}
        )
    result = here.run("verify")
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.metadata["state"].value) == (False, "different")
    assert login not in str(check)
    (row,) = check.metadata["findings"].value.records  # type: ignore[union-attr]
    assert row.data["table"] == "fct_user_access"
    assert int(row.data["differences"]) >= 1


def test_the_weekly_schedule_starts_the_verification_on_sundays(here: Company) -> None:
    schedule = next(
        s
        for s in here.definitions.get_repository_def().schedule_defs
        if s.name == "company_weekly_schedule"
    )
    assert schedule.cron_schedule == "45 5 * * 0"
    assert schedule.job.name == "company_verify"


def test_bodies_older_than_the_settings_say_are_dropped_by_the_run_that_derives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with company(
        tmp_path / "data",
        monkeypatch.setenv,
        accounts=12,
        groups=3,
        brake_rows=1000,
        keep_bodies_days=2,
    ) as here:
        dropped = []
        for day in range(5):
            result = here.live(day)
            assert result.success
            dropped.append(metadata_of(result, "fct_user_access")["bodies_dropped"])
        assert dropped[:2] == [0, 0]
        assert sum(dropped) > 0
        (check,) = here.run("verify").get_asset_check_evaluations()
        assert check.passed
        assert int(check.metadata["bodies_dropped"].value) == sum(dropped)  # type: ignore[arg-type]


def test_runs_of_one_organization_wait_for_each_other_and_for_no_other(postgresql_url: str) -> None:
    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    began = datetime(2026, 3, 1, 5, tzinfo=UTC)
    for key in ("acme", "beta"):
        record(warehouse, snapshot_of(World(members={"ada": "Ada"}), began, key=key), lambda: began)
    done: list[str] = []

    def work(key: str) -> None:
        derive(warehouse, key)
        done.append(key)

    with warehouse.write(lock_of("acme")):
        waiting, free = (threading.Thread(target=work, args=(key,)) for key in ("acme", "beta"))
        waiting.start()
        free.start()
        free.join(timeout=30)
        assert done == ["beta"], "another organization does not wait"
        waiting.join(timeout=0.5)
        assert waiting.is_alive(), "the same one does"
    waiting.join(timeout=30)
    assert done == ["beta", "acme"]
    warehouse.close()


def test_two_runs_at_once_derive_everything_once(warehouse: Warehouse) -> None:
    snapshots = [
        snapshot_of(
            World(members={f"user-{n}": "N" for n in range(day + 1)}),
            datetime(2026, 3, 1 + day, 5, tzinfo=UTC),
        )
        for day in range(8)
    ]
    for snapshot in snapshots:
        record(warehouse, snapshot, lambda: snapshots[0].started_at)
    with ThreadPoolExecutor(3) as pool:
        merged = [
            number
            for numbers in pool.map(lambda _: derive(warehouse, "acme"), range(3))
            for number in numbers
        ]
    assert sorted(merged) == list(range(1, 9))
    assert stored(warehouse, "acme") == expected(snapshots)


def test_history_assets_take_a_range_as_one_run(here: Company) -> None:
    asset = here.definitions.resolve_asset_graph().get(dg.AssetKey(["company", "dim_user"]))
    assert asset.backfill_policy == dg.BackfillPolicy.single_run()
