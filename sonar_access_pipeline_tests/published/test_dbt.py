"""The dbt package builds on PostgreSQL and on DuckDB, says there what the command line says, and
finds what is not true.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import make_url, text

from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.published.parquet import publish
from sonar_access_pipeline.warehouse.ask import queries, streams
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support import dbt_package
from sonar_access_pipeline_tests.support.company import Company, company
from sonar_access_pipeline_tests.support.programs import new_database

DAYS = (0, 1, 3)
"""The third day is a gap."""


@pytest.fixture(scope="module")
def here(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    url = new_database(request.getfixturevalue("postgresql"))
    with (
        pytest.MonkeyPatch.context() as patch,
        company(
            tmp_path_factory.mktemp("dbt"),
            patch.setenv,
            warehouse_url=url,
            accounts=20,
            groups=4,
            projects=3,
            scopes=(Scope.PROJECT_PERMISSIONS,),
            brake_share=1.0,
        ) as one,
    ):
        for day in DAYS:
            assert one.live(day).success
        yield one


def connecting(url: str | None) -> dict[str, str]:
    """What a client of PostgreSQL takes from its environment."""
    parts = make_url(str(url))
    return {
        "PGHOST": str(parts.host or parts.query.get("host")),
        "PGPORT": str(parts.port or 5432),
        "PGUSER": str(parts.username),
        "PGPASSWORD": str(parts.password or "none"),
        "PGDATABASE": str(parts.database),
    }


def access_by_day(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """What the command line says of each observed day, of accounts."""
    names = ("login", "access_type", "resource", "entitlement", "granted_via")
    with warehouse.read() as transaction:
        return sorted(
            (observed.started_at.date(), *(row[name] for name in names))
            for observed in queries.observations(transaction, "acme")
            for row in queries.access_at(transaction, observed)
            if row["principal_type"] == "user"
        )


MODELLED = (
    "SELECT partition_date, login, access_type, resource, entitlement, granted_via"
    " FROM sonar_access_models.access_daily"
)
PRIVILEGED = (
    "SELECT DISTINCT login, scope, project_key FROM sonar_access_models.privileged_access"
    " WHERE valid_to IS NULL"
)


def privileged(here: Company) -> set[tuple[str, str, str]]:
    last = here.truth(DAYS[-1])
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        rows = transaction.execute(
            text(
                "SELECT login, project_key FROM user_project_access"
                " WHERE permission = 'admin' AND valid_to IS NULL"
            )
        ).all()
    return {(login, "organization", "") for login in last.admins()} | {
        (login, "project", key) for login, key in rows
    }


def test_the_yaml_of_the_package_is_what_the_descriptions_say() -> None:
    assert dbt_package.SOURCES.read_text() == dbt_package.sources(), "make dictionary"
    assert dbt_package.MODELS.read_text() == dbt_package.models(), "make dictionary"


def test_it_builds_on_postgresql_says_what_was_true_and_finds_what_is_not(
    here: Company, tmp_path: Path
) -> None:
    environment = connecting(here.settings.warehouse)
    done = dbt_package.dbt("build", tmp_path, "postgresql", {}, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deprecat" not in done.stdout
    with here.warehouse() as warehouse:
        expected = access_by_day(warehouse)
        with warehouse.write("test") as transaction:
            found = sorted(map(tuple, transaction.execute(text(MODELLED))))
            assert found == expected
            assert {row[0] for row in found} == {here.day(number) for number in DAYS}
            rows = set(map(tuple, transaction.execute(text(PRIVILEGED))))
            assert rows == privileged(here)
    manifest = json.loads((tmp_path / "target" / "manifest.json").read_text())
    documented = {source["name"] for source in manifest["sources"].values()}
    assert documented == {table.name for table in streams.published()}
    if THOROUGH:
        _finds_what_is_late_and_what_is_not_true(here, tmp_path, environment, expected[0][1])


def _finds_what_is_late_and_what_is_not_true(
    here: Company, folder: Path, environment: dict[str, str], login: str
) -> None:
    late = dbt_package.dbt("source freshness", folder, "postgresql", {}, **environment)
    assert late.returncode == 1, "the last observation is of a year that is over"
    assert "ERROR STALE" in late.stdout
    # A member that is not in the list that the warehouse counts by is found by the package's test.
    with here.warehouse() as warehouse, warehouse.write("test") as transaction:
        transaction.execute(
            text("ALTER VIEW sonar_access_models.access_daily RENAME TO access_daily_before")
        )
        transaction.execute(
            text(
                "CREATE VIEW sonar_access_models.access_daily AS SELECT * FROM"
                f" sonar_access_models.access_daily_before WHERE login <> '{login}'"
            )
        )
    broken = dbt_package.dbt("test", folder, "postgresql", {}, **environment)
    assert broken.returncode == 1
    assert "every_observed_day_is_whole" in broken.stdout


def test_it_builds_on_duckdb_over_what_was_exported_and_says_the_same(
    here: Company, tmp_path: Path
) -> None:
    with here.warehouse() as warehouse:
        publish(warehouse, str(tmp_path / "tables"))
        expected = access_by_day(warehouse)
    file = tmp_path / "models.duckdb"
    done = dbt_package.dbt(
        "build",
        tmp_path,
        "duckdb",
        {"sonar_access_tables": str(tmp_path / "tables")},
        DUCKDB_FILE=str(file),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(file)) as engine:
        engine.execute("SET TimeZone = 'UTC'")
        assert sorted(engine.sql(MODELLED).fetchall()) == expected
        assert set(engine.sql(PRIVILEGED).fetchall()) == privileged(here)


IN_DAGSTER = """
from analytics.with_dbt import defs
graph = defs.resolve_asset_graph()
for key in graph.get_all_asset_keys():
    if key.path[-1] == "access_daily":
        print(sorted(parent.to_user_string() for parent in graph.get(key).parent_keys))
    if key.to_user_string() == "acme/fct_user_access":
        print("made here:", graph.get(key).is_executable)
"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "existing_dagster"


@pytest.mark.proofs("dagster-dbt")
@pytest.mark.parametrize("tool", ["dagster-dbt"])
def test_in_dagster_its_sources_are_the_assets_of_the_connection(
    here: Company, tmp_path: Path, tool: str
) -> None:
    environment = connecting(here.settings.warehouse)
    variables = {"sonar_access_connection": "acme"}
    project = tmp_path / "dbt"
    shutil.copytree(dbt_package.PACKAGE, project, ignore=shutil.ignore_patterns("target", "logs"))
    done = dbt_package.dbt("parse", project, "postgresql", variables, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = subprocess.run(
        [sys.executable, "-c", IN_DAGSTER],
        env={
            "PYTHONPATH": f"{dbt_package.DBT}:{EXAMPLE}",
            "HOME": str(tmp_path),
            # dagster-dbt looks for the program dbt.
            "PATH": f"{dbt_package.DBT / 'bin'}:/usr/bin:/bin",
            "ACCESS_DBT_PROJECT": str(project),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "'acme/fct_user_access'" in found.stdout
    assert "made here: True" in found.stdout
