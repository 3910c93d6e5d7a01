"""The assets of one connection: raw (one observation), history (one transaction), evidence (one packet per window).

`assets_of` is the only factory. What an asset does is done by `observe`, `warehouse.history` and `evidence`; here it gets its
name, its partition, its checks and the numbers it shows. No name of a person and no token is among them.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from sqlalchemy import Table

from sonar_access_pipeline.access.rows import HISTORY_TABLES
from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import seal
from sonar_access_pipeline.orchestration.failures import KIND, as_failures
from sonar_access_pipeline.orchestration.observe import observe
from sonar_access_pipeline.orchestration.partitions import window_of
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.warehouse import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history import derive
from sonar_access_pipeline.warehouse.schema import (
    evidence_packet,
    history_tables,
    raw_body,
    raw_list,
    raw_response,
    raw_snapshot,
)

RAW_TABLES = (raw_snapshot, raw_list, raw_response, raw_body)
PAST_DAY = "SonarCloud cannot show a past day; derive history or evidence instead."
Results = Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]


def assets_of(connection: Connection, parts: Parts, partitions: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """Raw, history and evidence assets of a connection, keys `[connection, table]`."""
    return [
        _raw_assets(connection, parts, partitions),
        _history_assets(connection, parts, partitions),
        _evidence_asset(connection, parts, partitions),
    ]


def _raw_assets(connection: Connection, parts: Parts, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    key = _key(connection, "raw_snapshot")
    checks = [
        dg.AssetCheckSpec(
            "complete", asset=key, description="Every list was read to its total, and no two disagree about who exists."
        ),
        dg.AssetCheckSpec("reconciled", asset=key, description="Counts that SonarCloud states in two places agree."),
    ]

    @dg.multi_asset(
        name=f"{connection.name}_observe",
        specs=[_spec(connection, table, "raw", kinds={"sonarcloud", "sql"}) for table in RAW_TABLES],
        check_specs=checks,
        partitions_def=partitions,
        # A range always holds a past day, so it is refused once as a whole, not once per day.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def raw(context: dg.AssetExecutionContext) -> Results:
        with as_failures(), parts.warehouse() as warehouse:
            if window_of(context) != _only(parts.clock().date()):
                raise dg.Failure(PAST_DAY, allow_retries=False)
            began = time.monotonic()
            recorded, snapshot = observe(connection, parts, warehouse, context.run.run_id, parts.progress or _logged(context))
            seconds = round(time.monotonic() - began, 3)
            with warehouse.read() as transaction:
                lists = queries.lists_of_snapshot(transaction, recorded.snapshot_id)
                controls = queries.controls_of_snapshot(transaction, recorded.snapshot_id)
        complete = recorded.verdict is Verdict.COMPLETE
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="complete",
            passed=complete,
            metadata={"verdict": recorded.verdict.value, "reason": recorded.reason or "", "lists": _list_table(lists)},
        )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="reconciled",
            # What could not be evaluated is not a pass: it warns, and the table says which.
            passed=complete and all(control["passed"] is True for control in controls),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"comparisons": _control_table(controls)},
        )
        if not complete:
            raise dg.Failure(
                f"The snapshot is {recorded.verdict.value}: {recorded.reason}. Nothing is derived from it; sync again.",
                metadata={KIND: "source"},
                allow_retries=False,
            )
        requests = len(snapshot.responses) if snapshot else 0
        numbers = {"requests": requests, "seconds": seconds, **recorded.counts}
        for table in RAW_TABLES:
            metadata: dict[str, Any] = {"snapshot_id": recorded.snapshot_id}
            if table is raw_snapshot:
                metadata |= numbers | {"lists": _list_table(lists), "content_sha256": recorded.content_sha256}
            elif table is raw_list:
                metadata["dagster/partition_row_count"] = len(lists)
            yield dg.MaterializeResult(asset_key=_key(connection, table.name), metadata=metadata)

    return raw


def _history_assets(connection: Connection, parts: Parts, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    key = _key(connection, "fct_user_access")

    @dg.multi_asset(
        name=f"{connection.name}_derive",
        specs=[
            _spec(connection, history_tables[description.name], "access", kinds={"sql"}, deps=[_key(connection, "raw_snapshot")])
            for description in HISTORY_TABLES
        ],
        check_specs=[
            dg.AssetCheckSpec("sound", asset=key, description="In no table do intervals of one key overlap, or equal ones touch.")
        ],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def history(context: dg.AssetExecutionContext) -> Results:
        window = window_of(context)
        with as_failures(), parts.warehouse() as warehouse:
            organization_key = connection.organization_key()
            began = time.monotonic()
            merged = derive(warehouse, organization_key)
            seconds = round(time.monotonic() - began, 3)
            with warehouse.read() as transaction:
                rests_on = queries.window_observations(transaction, organization_key, window)
                moved = queries.movement(transaction, organization_key, rests_on.after, rests_on.as_of.observed_at)
                faults = queries.history_faults(transaction, organization_key)
            gaps = _gaps(warehouse, organization_key, window)
        yield dg.AssetCheckResult(
            asset_key=key, check_name="sound", passed=not any(faults.values()), metadata={"faults": sum(faults.values())}
        )
        observed = {"observations_merged": len({change.snapshot_id for change in merged}), "seconds": seconds, **gaps}
        for name, change in moved.items():
            numbers = {"dagster/row_count": change.rows, "opened": change.opened, "closed": change.closed}
            shared = observed if name == "fct_user_access" else {}
            yield dg.MaterializeResult(asset_key=_key(connection, name), metadata={**numbers, **shared})

    return history


def _evidence_asset(connection: Connection, parts: Parts, partitions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    spec = _spec(
        connection, evidence_packet, "evidence", kinds={"html", "csv"}, deps=[_key(connection, d.name) for d in HISTORY_TABLES]
    )

    @dg.multi_asset(
        name=f"{connection.name}_prove",
        specs=[spec],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def evidence(context: dg.AssetExecutionContext) -> Results:
        window = window_of(context)
        with as_failures(), parts.warehouse() as warehouse:
            packet = build(warehouse, connection.organization_key(), window)
            sealed = seal(packet, parts.settings.evidence_root, warehouse, clock=parts.clock, run_id=context.run.run_id)
            gaps = _gaps(warehouse, connection.organization_key(), window)
        facts = packet.facts
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata={
                "digest": sealed.digest,
                "folder": dg.MetadataValue.path(str(sealed.folder)),
                "source": facts.source_kind.value,
                "is_new": sealed.is_new,
                "accounts": len(facts.population),
                "admins": len(facts.admins),
                "changes": len(facts.changes),
                "files": _table(
                    [{"file": name, "bytes": len(body)} for name, body in sorted(packet.files.items())], ("file", "bytes")
                ),
                **gaps,
            },
        )

    return evidence


def _key(connection: Connection, table: str) -> dg.AssetKey:
    return dg.AssetKey([connection.name, table])


def _only(day: Any) -> Window:
    return Window(day, day)


def _spec(
    connection: Connection, table: Table, group: str, *, kinds: set[str], deps: list[dg.AssetKey] | None = None
) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(
            column.name,
            str(column.type).lower(),
            column.comment,
            dg.TableColumnConstraints(nullable=bool(column.nullable)),
        )
        for column in table.columns
    ]
    return dg.AssetSpec(
        _key(connection, table.name),
        description=f"{table.comment}.",
        group_name=group,
        kinds=kinds,
        deps=deps,
        metadata={"dagster/table_name": table.name, "dagster/column_schema": dg.TableSchema(columns=columns)},
    )


def _gaps(warehouse: Warehouse, organization_key: str, window: Window) -> dict[str, Any]:
    """How much of a window was observed, and the days that were not."""
    with warehouse.read() as transaction:
        missing = queries.missing_days(transaction, organization_key, window.first, window.last)
    days = len(list(window.days()))
    return {"days_observed": days - len(missing), "days": days, "gaps": json.dumps([str(day) for day in missing])}


def _list_table(lists: queries.Rows) -> dg.TableMetadataValue:
    """The lists of a snapshot, the members of all groups as one line: numbers and names of lists, nobody's."""
    by_name: dict[str, dict[str, Any]] = {}
    for read in lists:
        line = by_name.setdefault(
            read["list_name"], {"list": read["list_name"], "lists": 0, "reported": 0, "rows": 0, "rereads": 0, "incomplete": 0}
        )
        line["lists"] += 1
        line["reported"] += read["reported_total"] or 0
        line["rows"] += read["distinct_keys"]
        line["rereads"] += read["rereads"]
        line["incomplete"] += read["verdict"] != Verdict.COMPLETE.value
    return _table(list(by_name.values()), ("list", "lists", "reported", "rows", "rereads", "incomplete"))


def _control_table(controls: queries.Rows) -> dg.TableMetadataValue:
    verdicts = {True: "agree", False: "disagree", None: "not evaluable"}
    return _table(
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


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> dg.TableMetadataValue:
    schema = dg.TableSchema(
        columns=[dg.TableColumn(name, "int" if rows and isinstance(rows[0][name], int) else "string") for name in columns]
    )
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema=schema)


def _logged(context: dg.AssetExecutionContext) -> Any:
    """Progress into the run's log: a line when a list is done, and for the many lists of group members one in fifty."""
    done: set[str] = set()

    def progress(name: str, rows: int, total: int | None, requests: int) -> None:
        finished = name not in done and total is not None and rows >= total and total > 0
        if finished or requests % 50 == 0:
            done.add(name)
            context.log.info(f"{name}: {rows} of {total if total is not None else 'unknown'} rows, {requests} requests so far")

    return progress
