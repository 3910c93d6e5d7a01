"""The whole pipeline against the truth: real server, real jobs, both databases, day after day."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from sqlalchemy import select, text

from sonar_access_pipeline.access.calendar import Calendar
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.history.rebuild import rebuild
from sonar_access_pipeline.warehouse.schema import (
    history_tables,
    raw_body,
    raw_response,
    raw_snapshot,
    sync_attempt,
)
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.company import (
    FIRST_DAY,
    TOKEN,
    Company,
    company,
    failure_sentence,
    metadata_of,
)

RANGE = (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    # Three of twelve people move in a few days: far too many for a removal brake.
    with company(
        tmp_path / "data", monkeypatch.setenv, accounts=12, groups=3, brake_rows=1000
    ) as opened:
        yield opened


@pytest.fixture
def on_each_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse_url: str
) -> Iterator[Company]:
    with company(tmp_path / "data", monkeypatch.setenv, warehouse_url=warehouse_url) as opened:
        yield opened


@pytest.mark.proofs("sqlite")
def test_on_every_observed_day_the_warehouse_says_what_was_true(on_each_database: Company) -> None:
    """Some days with a failed one among them: each past day answers as it was, and the gap answers
    with the day before.
    """
    here, days = on_each_database, 12 if THOROUGH else 7
    bad = days // 2
    for number in range(days):
        if number == bad:
            here.simulator.faults.add("organizations/search_members", faults.short(2), times=None)
        assert here.live(number).success == (number != bad)
        here.simulator.faults.clear()
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        for number in range(days):
            end_of_day = datetime.combine(here.day(number + 1), datetime.min.time(), UTC)
            answering = queries.observation_at(transaction, "acme", end_of_day)
            shown = {
                (
                    row["login"],
                    row["access_type"],
                    row["resource"],
                    row["entitlement"],
                    row["granted_via"],
                )
                for row in queries.access_at(transaction, answering)
            }
            assert shown == here.truth(number - (number == bad)).truth(), f"day {number}"
            assert queries.members_at(transaction, answering) == [
                {
                    "login": login,
                    "name": name,
                    "is_organization_admin": login in here.truth(number - (number == bad)).admins(),
                }
                for login, name in sorted(here.truth(number - (number == bad)).names.items())
            ]
        statuses = [
            row["status"]
            for row in queries.coverage(transaction, "acme", here.day(0), here.day(days - 1))
        ]
        assert statuses == ["observed"] * bad + ["incomplete"] + ["observed"] * (days - 1 - bad)
        assert not any(queries.history_faults(transaction, "acme").values())
        changes = queries.changes_between(transaction, "acme", queries.BEGINNING, end_of_day)
    joined = {row["login"] for row in changes if row["kind"] in ("joined", "returned")}
    gone = {row["login"] for row in changes if row["kind"] == "left"}
    names = [set(here.truth(number).names) for number in range(days) if number != bad]
    assert joined == set().union(*(later - earlier for earlier, later in pairwise(names)))
    assert gone == set().union(*(earlier - later for earlier, later in pairwise(names)))


def test_a_change_on_a_day_that_was_missed_says_that_it_lies_in_between(small: Company) -> None:
    small.live(0)
    small.truth(3).names  # noqa: B018 - evolves over the days that nobody observes
    small.live(3)
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        changes = queries.changes_between(
            transaction, "acme", queries.BEGINNING, datetime.max.replace(tzinfo=UTC)
        )
        late = [row for row in changes if row["kind"] != "first_observed"]
    assert late
    assert {(row["changed_after"].date(), row["changed_by"].date()) for row in late} == {
        (small.day(0), small.day(3))
    }


@pytest.mark.proofs("postgresql")
def test_a_rebuild_gives_every_row_of_the_daily_merges_again(on_each_database: Company) -> None:
    for number in range(5):
        assert on_each_database.live(number).success
    with on_each_database.warehouse() as warehouse:

        def everything() -> dict[str, list[tuple[object, ...]]]:
            with warehouse.read() as transaction:
                return {
                    name: sorted(
                        (tuple(row) for row in transaction.execute(select(table))), key=repr
                    )
                    for name, table in history_tables.items()
                }

        before = everything()
        rebuild(warehouse, "acme")
        assert everything() == before


def test_an_incomplete_snapshot_fails_the_run_and_derives_nothing(small: Company) -> None:
    assert small.live(0).success
    small.simulator.faults.add("permissions/users", faults.short(1), times=None)
    result = small.live(1)
    assert not result.success
    assert "incomplete" in failure_sentence(result)
    assert not [
        e for e in result.get_asset_materialization_events() if e.step_key != "company_observe"
    ]
    check = next(e for e in result.get_asset_check_evaluations() if e.check_name == "complete")
    assert not check.passed
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        assert len(queries.observations(transaction, "acme")) == 1
        attempts = transaction.execute(
            select(sync_attempt.c.outcome, sync_attempt.c.error).order_by("attempt_id")
        ).all()
    assert [attempt.outcome for attempt in attempts] == ["complete", "incomplete"]
    assert "user_permissions" in attempts[1].error


def test_a_raw_partition_of_the_past_is_refused_while_history_and_evidence_of_the_past_are_derived(
    small: Company,
) -> None:
    for number in range(3):
        assert small.live(number).success
    requests = len(small.simulator.requests)
    refused = small.run("daily", day=small.day(1))
    assert (
        failure_sentence(refused)
        == "SonarCloud cannot show a past day; derive history or evidence instead."
    )
    assert len(small.simulator.requests) == requests, "nothing was asked"
    assert small.run("history", day=small.day(1)).success
    assert small.run("evidence", day=small.day(1)).success


def test_a_range_of_days_is_one_window_one_run_and_one_packet(small: Company) -> None:
    for number in (0, 1, 3):
        assert small.live(number).success
    result = small.run(
        "evidence", tags=dict(zip(RANGE, (str(small.day(0)), str(small.day(3))), strict=True))
    )
    assert result.success
    numbers = metadata_of(result, "evidence_packet")
    assert (numbers["days"], numbers["days_observed"]) == (4, 3)
    assert json.loads(numbers["gaps"]) == [str(small.day(2))]
    folders = list(
        (Path(small.settings.evidence) / "acme" / f"{small.day(0)}_{small.day(3)}").iterdir()
    )
    assert [folder.name for folder in folders] == [f"{numbers['digest'][:12]}-simulated"]


def test_evidence_before_the_first_observation_is_refused(small: Company) -> None:
    small.live(2)
    assert "was not observed on or before" in failure_sentence(
        small.run("evidence", day=small.day(1))
    )


def test_a_step_that_is_tried_again_in_the_same_run_does_not_observe_twice(small: Company) -> None:
    from sonar_access_pipeline.orchestration.observe import observe

    connection = small.settings.connections[0]
    with small.resources.warehouse() as warehouse:
        first, read = observe(connection, small.resources, warehouse, "one-run", lambda *_: None)
        again, read_again = observe(
            connection, small.resources, warehouse, "one-run", lambda *_: None
        )
    assert read is not None
    assert (again, read_again) == (first, None)
    assert small.run("daily", day=small.day(0)).success
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        assert len(queries.snapshots(transaction, "acme")) == 2, "a new run observes anew"


def test_the_next_run_derives_what_a_killed_one_left(small: Company) -> None:
    from sonar_access_pipeline.orchestration.observe import observe

    with small.resources.warehouse() as warehouse:
        observe(
            small.settings.connections[0], small.resources, warehouse, "killed", lambda *_: None
        )
    assert small.live(1).success
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        assert [facts.started_at.date() for facts in queries.observations(transaction, "acme")] == [
            small.day(0),
            small.day(1),
        ]


def test_unchanged_bodies_are_stored_once(small: Company) -> None:
    # Nothing happens in the simulated company on a weekend: the fifth and sixth day are one.
    for number in (5, 6):
        assert small.live(number).success
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        bodies = len(transaction.execute(select(raw_body.c.body_sha256)).all())
        responses = len(transaction.execute(select(raw_response.c.sequence)).all())
    assert responses == 2 * bodies


def test_a_token_without_admin_right_fails_in_one_sentence_and_the_try_is_on_record(
    small: Company,
) -> None:
    plain = next(
        login for login in sorted(small.truth(0).names) if login not in small.truth(0).admins()
    )
    small.simulator.tokens[TOKEN] = plain
    assert "Administer organization" in failure_sentence(small.live(0))
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        attempt = transaction.execute(select(sync_attempt)).one()
        assert transaction.execute(select(raw_snapshot)).all() == []
    assert attempt.outcome == "failed"
    assert "Administer organization" in attempt.error


def test_another_host_for_the_same_organization_is_refused(
    small: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert small.live(0).success
    with company(small.settings.data_dir, monkeypatch.setenv, accounts=12, groups=3) as other:
        assert "two sources never mix" in failure_sentence(other.live(1))


def test_a_clock_that_goes_back_is_refused(small: Company) -> None:
    assert small.live(3).success
    assert "clock went back" in failure_sentence(small.live(2))


def test_another_clock_is_refused_for_a_real_source() -> None:
    settings = Settings(connections=(Connection(name="real", organization="acme"),))
    with pytest.raises(SettingsError, match="real clock"):
        Resources(settings, clock=lambda: datetime.now(UTC))


def test_checks_and_numbers_are_shown_and_no_person_and_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    with (
        dg.DagsterInstance.local_temp(str(home)) as instance,
        company(tmp_path / "data", monkeypatch.setenv, instance=instance) as here,
    ):
        result = here.live(0)
        here.simulator.faults.add("permissions/groups", faults.html, times=None)
        failed = here.live(1)
        assert failed.success is False
        people = here.truth(0).names
        asset_numbers = metadata_of(result, "fct_user_access")
        raw_numbers = metadata_of(result, "raw_snapshot")
        assert {
            check.check_name: check.passed for check in result.get_asset_check_evaluations()
        } == {
            "complete": True,
            "not_held": True,
            "reconciled": True,
            "sound": True,
            "as_sealed": True,
            "in_time": True,
            "independent": True,
            "followed_up": True,
        }
    assert asset_numbers["dagster/row_count"] == len(here.truth(0).truth())
    columns = {table.name: table.c for table in (raw_snapshot, raw_body)}
    lineage = asset_numbers["dagster/column_lineage"].deps_by_column
    assert set(lineage) == {column.name for column in history_tables["fct_user_access"].c}
    for source in (one for sources in lineage.values() for one in sources):
        assert source.asset_key in here.asset_keys
        assert source.column_name in columns[source.asset_key.path[-1]]
    assert (asset_numbers["days"], asset_numbers["days_observed"], asset_numbers["gaps"]) == (
        1,
        1,
        "[]",
    )
    assert raw_numbers["members"] == len(people)
    assert raw_numbers["requests"] > 5
    assert raw_numbers["seconds"] > 0
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file()).decode(
        errors="replace"
    )
    printed = "".join(capfd.readouterr())
    for where in (stored, printed):
        assert TOKEN not in where
        assert not [login for login in people if login != "sonar-access-reader" and login in where]


def test_the_token_is_in_no_file(small: Company) -> None:
    small.live(0)
    small.simulator.faults.add(faults.ANY, faults.status(401), times=None)
    small.live(1)
    files = [path for path in small.settings.data_dir.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_every_asset_has_its_table_its_columns_and_its_place(small: Company) -> None:
    """A changed key, group or dependency shows here, in review."""
    graph = small.definitions.resolve_asset_graph()
    shown = {
        key.to_user_string(): (
            graph.get(key).group_name,
            graph.get(key).metadata["dagster/table_name"],
            sorted(parent.path[-1] for parent in graph.get(key).parent_keys),
        )
        for key in graph.get_all_asset_keys()
    }
    history = sorted(set(history_tables) - {"dim_project", "dim_account_detail"})
    assert shown == {
        **{
            f"company/{t}": ("raw", t, [])
            for t in ("raw_snapshot", "raw_list", "raw_response", "raw_body")
        },
        **{f"company/{t}": ("access", t, ["raw_snapshot"]) for t in history},
        "company/evidence_packet": ("evidence", "evidence_packet", history),
        "company/reviews": ("reviews", "review_status", ["evidence_packet"]),
        "company/review_packet": ("reviews", "review_event", ["reviews"]),
    }
    for key in graph.get_all_asset_keys():
        assert graph.get(key).metadata["dagster/column_schema"].columns
        assert graph.get(key).description


def ticked(here: Company, name: str, when: datetime) -> dg.RunRequest | dg.SkipReason:
    """What a schedule answers at a time."""
    repository = here.definitions.get_repository_def()
    with dg.build_schedule_context(
        scheduled_execution_time=when, repository_def=repository
    ) as context:
        found = here.definitions.resolve_schedule_def(name).evaluate_tick(context)
    return found.run_requests[0] if found.run_requests else dg.SkipReason(found.skip_message)


def test_the_daily_schedule_asks_for_today_and_skips_a_tick_that_comes_a_day_late(
    small: Company,
) -> None:
    small.clock.go_to(small.day(4))

    def tick(number: int) -> dg.RunRequest | dg.SkipReason:
        when = datetime.combine(small.day(number), datetime.min.time(), UTC) + timedelta(hours=5)
        return ticked(small, "company_daily_schedule", when)

    today, late = tick(4), tick(3)
    assert isinstance(today, dg.RunRequest)
    assert today.partition_key == str(small.day(4))
    assert isinstance(late, dg.SkipReason)
    assert "cannot show a past day" in str(late.skip_message)


def test_the_monthly_schedule_asks_for_the_packet_of_the_month_before(small: Company) -> None:
    request = ticked(small, "company_monthly_schedule", datetime(2026, 4, 1, 5, 30, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest)
    assert [request.tags[tag] for tag in RANGE] == ["2026-03-01", "2026-03-31"]
    assert (
        small.definitions.resolve_schedule_def("company_monthly_schedule").job_name
        == "company_evidence"
    )


def test_the_quarterly_schedule_asks_for_the_packet_of_the_quarter_before(small: Company) -> None:
    request = ticked(small, "company_quarterly_schedule", datetime(2026, 7, 1, 5, 40, tzinfo=UTC))
    assert isinstance(request, dg.RunRequest)
    assert [request.tags[tag] for tag in RANGE] == ["2026-04-01", "2026-06-30"]
    assert (
        small.definitions.resolve_schedule_def("company_quarterly_schedule").job_name
        == "company_evidence"
    )


def test_schedules_run_by_default_for_a_real_source_and_not_for_a_simulator(small: Company) -> None:
    real = build_definitions(
        Resources(Settings(connections=(Connection(name="real", organization="acme"),)))
    )
    statuses = {
        real.resolve_schedule_def(f"real_{name}_schedule").default_status
        for name in ("daily", "monthly")
    }
    assert statuses == {dg.DefaultScheduleStatus.RUNNING}
    assert (
        real.resolve_sensor_def("sonar_access_watch").default_status
        is dg.DefaultSensorStatus.RUNNING
    )
    assert (
        small.definitions.resolve_schedule_def("company_daily_schedule").default_status
        is dg.DefaultScheduleStatus.STOPPED
    )


def test_a_day_is_due_when_its_hour_and_its_grace_are_over() -> None:
    assert Calendar(5, 6).last_due(datetime(2026, 3, 5, 10, 59, tzinfo=UTC)) == date(2026, 3, 4)
    assert Calendar(5, 6).last_due(datetime(2026, 3, 5, 11, 0, tzinfo=UTC)) == date(2026, 3, 5)


def test_definitions_load_without_settings_and_touch_nothing(tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SONAR", "DAGSTER"))
    }
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('import connects')\n"
        "socket.socket.connect = refuse\n"
        "from sonar_access_pipeline.definitions import defs\n"
        "print(sorted(key.path[0] for key in defs.resolve_asset_graph().get_all_asset_keys())[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("default", 0), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_settings_fails_with_a_sentence(tmp_path: Path) -> None:
    from sonar_access_pipeline.settings import load

    definitions = build_definitions(
        Resources(load().model_copy(update={"data_dir": tmp_path / "data"}))
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("default_daily").execute_in_process(
            instance=instance, partition_key=str(datetime.now(UTC).date()), raise_on_error=False
        )
    assert "set SONAR_ORGANIZATION" in failure_sentence(result)


def test_progress_and_waiting_are_in_the_log_of_the_run(small: Company) -> None:
    small.simulator.faults.add("permissions/users", faults.status(429, Retry_After="3"))
    result = small.live(0)
    assert result.success
    said = [record.user_message for record in small.instance.all_logs(result.run_id)]
    assert any("members: 12 of 12 rows" in line for line in said)
    assert any("SonarCloud asks for fewer requests: waiting for" in line for line in said)


def test_the_code_location_has_one_name_everywhere() -> None:
    root = Path(__file__).parents[2]
    names = set(
        re.findall(
            r"location_name\W+(\w+)",
            (root / "workspace.yaml").read_text() + (root / "pyproject.toml").read_text(),
        )
    )
    assert names == {"sonar_access_pipeline"}


def test_the_window_of_the_view_and_of_the_query_agree(small: Company) -> None:
    for number in (0, 2):
        assert small.live(number).success
    with small.warehouse() as warehouse, warehouse.read() as transaction:
        window = Window(FIRST_DAY, small.day(3))
        asked = queries.coverage(transaction, "acme", window.first, window.last)
        seen = transaction.execute(
            text("SELECT partition_date, status FROM sync_coverage ORDER BY partition_date LIMIT 4")
        ).all()
    assert (
        [row["status"] for row in asked]
        == [row.status for row in seen]
        == ["observed", "missing", "observed", "missing"]
    )


MARKUP = re.compile(r"<[\w/][^>]*>|\*\w|(?<![\w`])_\w+_(?!\w)")
"""What Dagster's UI, which shows descriptions as Markdown, would not show as it is written."""


def test_no_description_in_dagsters_ui_is_eaten_as_markup(small: Company) -> None:
    repository = small.definitions.get_repository_def()
    said: dict[str, str] = {}
    for key, definition in repository.assets_defs_by_key.items():
        said[str(key)] = definition.descriptions_by_key[key]
        schema = definition.metadata_by_key[key]["dagster/column_schema"]
        said |= {f"{key} {one.name}": one.description or "" for one in schema.columns}
        said |= {str(one.key): one.description or "" for one in definition.check_specs}
    for job in repository.get_all_jobs():
        said[job.name] = job.description or ""
    said |= {one.name: one.description or "" for one in repository.schedule_defs}
    said |= {one.name: one.description or "" for one in repository.sensor_defs}
    assert {name: text for name, text in said.items() if MARKUP.search(text)} == {}
    hidden = ("__ASSET_JOB", "__ASSET_JOB_0")
    silent = [name for name, text in said.items() if not text and name not in hidden]
    assert silent == []
    evidence = said[str(dg.AssetKey(["company", "evidence_packet"]))]
    assert "choose its days as a range" in evidence, "how to make a window stands where it is made"
