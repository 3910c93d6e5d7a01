"""The YAML of integrations/dbt, made from the descriptions of the tables; and dbt itself, which is
in a folder beside the other tools.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Column

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.warehouse import views
from sonar_access_pipeline.warehouse.ask import streams
from sonar_access_pipeline.warehouse.schema import history_tables

PACKAGE = Path(__file__).parents[2] / "integrations" / "dbt"
SOURCES, MODELS = PACKAGE / "models" / "sources.yml", PACKAGE / "models" / "models.yml"
MADE = "# Made by `make dictionary` from the descriptions of the tables.\n"
DBT = Path(sys.prefix) / "dbt"
"""Where the Makefile puts dbt."""
LATE = {
    "warn_after": {"count": 36, "period": "hour"},
    "error_after": {"count": 60, "period": "hour"},
}
"""When a source is not fresh: after a day that is missing, and after two."""


def sources() -> str:
    """Describe every table and view that is published as a source."""
    tables = [_source(table) for table in streams.published()]
    source = {
        "name": "sonar_access",
        "description": "Who has access to SonarCloud: history, and views of it. Times are UTC.",
        "schema": "{{ var('sonar_access_schema') }}",
        "config": {
            "meta": {"external_location": "{{ var('sonar_access_tables') }}/{name}.parquet"}
        },
        "tables": tables,
    }
    return _yaml({"version": 2, "sources": [source]})


def _source(table: Any) -> dict[str, Any]:
    columns = streams.columns_of(table)
    described: dict[str, Any] = {
        "name": str(table.name),
        "description": f"{table.comment}.",
        "data_tests": [_one_row_per(views.key_of(table))],
        "columns": [
            _column(column.name, str(column.comment), not column.nullable) for column in columns
        ],
    }
    config: dict[str, Any] = {}
    if table.name in {description.name for description in HISTORY_TABLES}:
        key = ["{{ var('sonar_access_connection') }}", str(table.name)]
        config["meta"] = {"dagster": {"asset_key": key}}
    if table.name == "observation":
        config |= {"loaded_at_field": "observed_at", "freshness": LATE}
    return described | ({"config": config} if config else {})


def _one_row_per(columns: tuple[str, ...]) -> dict[str, Any]:
    return {"one_row_per": {"arguments": {"columns": list(map(str, columns))}}}


def _column(name: str, meaning: str, is_required: bool) -> dict[str, Any]:
    tests = {"data_tests": ["not_null"]} if is_required else {}
    return {"name": str(name), "description": f"{meaning}.", **tests}


_ACCESS = history_tables["fct_user_access"].c
_RIGHTS = views.user_project_access.c
_NOW = views.current_access.c
_DAY = views.sync_coverage.c


def _named(*columns: Column[Any], **others: str) -> Iterator[tuple[str, str]]:
    yield from ((column.name, str(column.comment)) for column in columns)
    yield from others.items()


MODELS_MADE: Mapping[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "access_daily": (
        "What each account could do on each day that was observed, as the day's last observation"
        " shows it. A day that was not observed has no row: sync_coverage says why. Rights on"
        " projects through groups are not here, they are in user_project_access",
        (*views.KEYS["current_access"], "partition_date"),
        dict(
            _named(
                _ACCESS.organization_key,
                _DAY.partition_date,
                _ACCESS.login,
                _ACCESS.access_type,
                _ACCESS.resource,
                _ACCESS.entitlement,
                _ACCESS.granted_via,
                _ACCESS.valid_from,
                _ACCESS.changed_after,
                _DAY.observed_at,
            )
        ),
    ),
    "privileged_access": (
        "Who held a privileged permission from when to when, on the organization and on projects,"
        " themselves or through a group",
        (
            "organization_key",
            "login",
            "scope",
            "project_key",
            "permission",
            "granted_via",
            "valid_from",
        ),
        dict(
            _named(
                _RIGHTS.organization_key,
                _RIGHTS.login,
                name="display name of the account, while the member list shows it",
                scope="organization or project",
                project_key="key of the project; empty for a permission on the organization",
            )
        )
        | dict(
            _named(
                _RIGHTS.permission,
                _RIGHTS.granted_via,
                _NOW.granted_via_name,
                _RIGHTS.valid_from,
                _RIGHTS.valid_to,
                _RIGHTS.changed_after,
                _RIGHTS.last_seen_at,
                _NOW.last_observed_at,
            )
        ),
    ),
}


def models() -> str:
    """Describe the models."""
    return _yaml(
        {
            "version": 2,
            "models": [
                {
                    "name": name,
                    "description": f"{about}.",
                    "data_tests": [_one_row_per(key)],
                    "columns": [
                        _column(column, meaning, column in key)
                        for column, meaning in columns.items()
                    ],
                }
                for name, (about, key, columns) in MODELS_MADE.items()
            ],
        }
    )


def _yaml(document: dict[str, Any]) -> str:
    return MADE + yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)


def dbt(
    command: str, folder: Path, target: str, variables: Mapping[str, Any], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of dbt on the package, with what it writes in a folder."""
    arguments = [
        *command.split(),
        "--project-dir",
        str(PACKAGE),
        "--profiles-dir",
        str(PACKAGE),
        "--target-path",
        str(folder / "target"),
        "--log-path",
        str(folder / "logs"),
        "--target",
        target,
        "--vars",
        yaml.safe_dump(dict(variables)),
    ]
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(DBT),
        "DO_NOT_TRACK": "1",
        "DBT_VERSION_CHECK": "0",
        **environment,
    }
    code = "from dbt.cli.main import cli; cli()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=known,
        capture_output=True,
        text=True,
        check=False,
    )
