"""What the UI and the log show of a run: columns, numbers, tables, progress, sentences.

No name of a person and no token.

Pure, but for the warehouse that says which days are gaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Table

from sonar_access_pipeline.access.brake import what_to_decide
from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.orchestration.pictures import calendar, markdown
from sonar_access_pipeline.sonarcloud.pagination import Progress
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.raw.snapshots import Recorded
from sonar_access_pipeline.warehouse.schema import raw_body


def column_schema(table: Table) -> dg.TableSchema:
    """Describe the columns of a table, with what they mean."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type).lower(),
                column.comment,
                dg.TableColumnConstraints(nullable=bool(column.nullable)),
            )
            for column in table.columns
        ]
    )


OF_TIMES = {
    "organization_key": "organization_key",
    "valid_from": "observed_at",
    "valid_to": "observed_at",
    "is_current": "observed_at",
    "changed_after": "started_at",
    "last_seen_at": "started_at",
}
"""Which column of a snapshot each of these columns of a history table comes from."""


def column_lineage(table: Table, connection: str) -> dg.TableColumnLineage:
    """Say where each column of a history table comes from: times from the snapshots, everything
    else from what SonarCloud answered.
    """
    snapshot, answers = (dg.AssetKey([connection, name]) for name in ("raw_snapshot", "raw_body"))
    return dg.TableColumnLineage(
        {
            column.name: [
                dg.TableColumnDep(snapshot, OF_TIMES[column.name])
                if column.name in OF_TIMES
                else dg.TableColumnDep(answers, raw_body.c.zlib_body.name)
            ]
            for column in table.columns
        }
    )


def uncounted(recorded: Recorded) -> str:
    """Say why nothing is derived from a snapshot, and what to do about it."""
    sentence = f"The snapshot is {recorded.verdict.value}: {(recorded.reason or '').rstrip('.')}"
    if recorded.verdict is not Verdict.HELD:
        return f"{sentence}. Nothing is derived from it; sync again."
    return f"{sentence}. {what_to_decide(recorded.snapshot_id)}"


def gaps_of(warehouse: Warehouse, organization_key: str, window: Window) -> dict[str, Any]:
    """Count the days of a window that were observed, and list the days that were not."""
    with warehouse.read() as transaction:
        covered = queries.coverage(transaction, organization_key, window.first, window.last)
    observed = sum(row["status"] == "observed" for row in covered)
    gaps = json.dumps([str(row["day"]) for row in queries.gaps(covered)])
    return {"days_observed": observed, "days": len(covered), "gaps": gaps}


PICTURED = timedelta(days=181)
"""How far back the picture looks: half a year."""


def picture_of(
    warehouse: Warehouse, organization_key: str, last: date
) -> dict[str, dg.MarkdownMetadataValue]:
    """Show what became of each day of the half year up to one."""
    with warehouse.read() as transaction:
        observations = queries.observations(
            transaction, organization_key, until=Window(last, last).end
        )
        first = max(observations[0].started_at.date(), last - PICTURED)
        covered = queries.coverage(transaction, organization_key, first, last)
    days = [(row["day"], row["status"]) for row in covered]
    return {"coverage": dg.MetadataValue.md(markdown("coverage", calendar(days)))}


def list_table(lists: queries.Rows) -> dg.TableMetadataValue:
    """Build a table of the lists of a snapshot, with the members of all groups as one line: numbers
    and names of lists, no names of people.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for read in lists:
        line = by_name.setdefault(
            read["list_name"],
            {
                "list": read["list_name"],
                "lists": 0,
                "reported": 0,
                "rows": 0,
                "rereads": 0,
                "incomplete": 0,
            },
        )
        line["lists"] += 1
        line["reported"] += read["reported_total"] or 0
        line["rows"] += read["distinct_keys"]
        line["rereads"] += read["rereads"]
        line["incomplete"] += read["verdict"] != Verdict.COMPLETE.value
    return table_of(
        list(by_name.values()), ("list", "lists", "reported", "rows", "rereads", "incomplete")
    )


def control_table(controls: queries.Rows) -> dg.TableMetadataValue:
    """Build a table of the comparisons of a snapshot; one that could not be made is marked "not
    evaluable".
    """
    verdicts = {True: "agree", False: "disagree", None: "not evaluable"}
    return table_of(
        [
            {
                "compares": control["compares"],
                "left": _number(control["left_count"]),
                "right": _number(control["right_count"]),
                "verdict": verdicts[control["passed"]],
            }
            for control in controls
        ],
        ("compares", "left", "right", "verdict"),
    )


def _number(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def table_of(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> dg.TableMetadataValue:
    """Build a table for the UI."""
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(name, "int" if rows and isinstance(rows[0][name], int) else "string")
            for name in columns
        ]
    )
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=schema)


def logged(log: dg.DagsterLogManager) -> Callable[[Progress], None]:
    """Progress into the run's log: when a list of the organization is done, every fiftieth request,
    and when a limit begins.
    """
    done: set[str] = set()
    is_waiting = False

    def say(progress: Progress) -> None:
        nonlocal is_waiting
        name = progress.list_name
        rows = progress.rows
        total = progress.total
        finished = name not in done and total is not None and rows >= total > 0
        if finished or progress.requests % 50 == 0:
            done.add(name)
            log.info(
                f"{name}: {rows} of {total if total is not None else 'unknown'} rows,"
                f" {progress.requests} requests so far"
            )
        if progress.waiting_seconds and not is_waiting:
            log.info(
                f"SonarCloud asks for fewer requests: waiting for {progress.waiting_seconds:.0f} s"
            )
        is_waiting = bool(progress.waiting_seconds)

    return say
