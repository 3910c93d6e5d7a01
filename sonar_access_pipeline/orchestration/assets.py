"""The assets of one connection: raw (one observation), history (one transaction), evidence (one
packet per window).

`assets_of` is the only factory. What an asset does is done by `observe`, `warehouse.history` and
`evidence`; here it gets its name, its partition, its checks and the numbers it shows. No name of a
person and no token is among them.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Table

from sonar_access_pipeline.access.rows import HISTORY_TABLES, HistoryTable
from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import seal, sign_head
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.orchestration.delivering import deliveries_asset
from sonar_access_pipeline.orchestration.failures import KIND, working
from sonar_access_pipeline.orchestration.metadata import (
    column_lineage,
    column_schema,
    control_table,
    gaps_of,
    list_table,
    logged,
    picture_of,
    table_of,
    uncounted,
)
from sonar_access_pipeline.orchestration.observe import observe
from sonar_access_pipeline.orchestration.partitions import window_of
from sonar_access_pipeline.orchestration.publishing import published_asset
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.orchestration.reviews import reviews_asset
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.raw.retention import drop_bodies
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


def assets_of(
    connection: Connection, resources: Resources, partitions: dg.DailyPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Raw, history, evidence and review assets of a connection, keys `[connection, table]`."""
    return [
        _raw_assets(connection, resources, partitions),
        _history_assets(connection, resources, partitions),
        _evidence_asset(connection, resources, partitions),
        reviews_asset(connection, resources),
        *_published(connection, resources),
        *_delivered(connection, resources),
    ]


def _delivered(connection: Connection, resources: Resources) -> list[dg.AssetsDefinition]:
    has_any = resources.settings.deliveries_of(connection)
    return [deliveries_asset(connection, resources)] if has_any else []


def _published(connection: Connection, resources: Resources) -> list[dg.AssetsDefinition]:
    to = resources.settings.publish_url
    return [published_asset(connection, resources, to)] if to else []


def _raw_assets(
    connection: Connection, resources: Resources, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    key = _key(connection, "raw_snapshot")
    checks = [
        dg.AssetCheckSpec(
            "complete",
            asset=key,
            description="Every list was read to its total, and no two disagree about who exists.",
        ),
        dg.AssetCheckSpec(
            "not_held",
            asset=key,
            description=(
                "No more disappears at once than the removal brake lets pass without a person."
            ),
        ),
        dg.AssetCheckSpec(
            "reconciled",
            asset=key,
            description="Counts that SonarCloud states in two places agree.",
        ),
    ]

    @dg.multi_asset(
        name=f"{connection.name}_observe",
        specs=[
            _spec(resources, connection, table, "raw", kinds={"sonarcloud", "sql"})
            for table in RAW_TABLES
        ],
        check_specs=checks,
        partitions_def=partitions,
        # A range always holds a past day, so it is refused once as a whole, not once per day.
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def raw(context: dg.AssetExecutionContext) -> Results:
        with working(context), resources.warehouse() as warehouse:
            if window_of(context) != _only(resources.clock().date()):
                raise dg.Failure(PAST_DAY, allow_retries=False)
            began = time.monotonic()
            recorded, snapshot = observe(
                connection,
                resources,
                warehouse,
                context.run.run_id,
                resources.progress or logged(context.log),
            )
            seconds = round(time.monotonic() - began, 3)
            # At once: what was read today must not be rewritten before the next packet is sealed.
            head = _signed_head(context, resources, warehouse)
            with warehouse.read() as transaction:
                lists = queries.lists_of_snapshot(transaction, recorded.snapshot_id)
                controls = queries.controls_of_snapshot(transaction, recorded.snapshot_id)
            if recorded.verdict is not Verdict.COMPLETE:
                # History will not run: what a killed run left is not to wait for a better day.
                derive(warehouse, connection.organization_key())
        verdict = recorded.verdict
        # What could not be evaluated is not a pass: a brake that was never asked fails, a
        # comparison without numbers warns.
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="complete",
            passed=verdict is not Verdict.INCOMPLETE,
            metadata={
                "verdict": verdict.value,
                "reason": recorded.reason or "",
                "lists": list_table(lists),
            },
        )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="not_held",
            passed=verdict is Verdict.COMPLETE,
            metadata={"verdict": verdict.value, "reason": recorded.reason or ""},
        )
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="reconciled",
            passed=verdict is not Verdict.INCOMPLETE
            and all(control["passed"] is True for control in controls),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"comparisons": control_table(controls)},
        )
        if verdict is not Verdict.COMPLETE:
            raise dg.Failure(uncounted(recorded), metadata={KIND: "source"}, allow_retries=False)
        requests = len(snapshot.responses) if snapshot else 0
        numbers = {"requests": requests, "seconds": seconds, **recorded.counts}
        for table in RAW_TABLES:
            metadata: dict[str, Any] = {"snapshot_id": recorded.snapshot_id}
            if table is raw_snapshot:
                integrity = {"content_sha256": recorded.content_sha256, "signed_head": head}
                metadata |= numbers | {"lists": list_table(lists)} | integrity
            elif table is raw_list:
                metadata["dagster/partition_row_count"] = len(lists)
            yield dg.MaterializeResult(asset_key=_key(connection, table.name), metadata=metadata)

    return raw


def _history_assets(
    connection: Connection, resources: Resources, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    key = _key(connection, "fct_user_access")
    tables = history_tables_of(connection)

    @dg.multi_asset(
        name=f"{connection.name}_derive",
        specs=[
            _spec(
                resources,
                connection,
                history_tables[description.name],
                "access",
                kinds={"sql"},
                deps=[_key(connection, "raw_snapshot")],
                skippable=Scope.CORE not in description.scopes,
            )
            for description in tables
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "sound",
                asset=key,
                description="In no table do intervals of one key overlap, or equal ones touch.",
            )
        ],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def history(context: dg.AssetExecutionContext) -> Results:
        window = window_of(context)
        with working(context), resources.warehouse() as warehouse:
            organization_key = connection.organization_key()
            began = time.monotonic()
            merged = derive(warehouse, organization_key)
            dropped = _drop_old_bodies(resources, warehouse, organization_key)
            seconds = round(time.monotonic() - began, 3)
            with warehouse.read() as transaction:
                rests_on = queries.window_observations(transaction, organization_key, window)
                moved = queries.movement(
                    transaction, organization_key, rests_on.after, rests_on.as_of.observed_at
                )
                faults = queries.history_faults(transaction, organization_key)
            gaps = gaps_of(warehouse, organization_key, window)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="sound",
            passed=not any(faults.values()),
            metadata={"faults": sum(faults.values())},
        )
        # Of a window without an observation nobody knows what opened or closed in it, though
        # nothing did in the tables.
        within = {"observations_in_window": len(rests_on.within)}
        observed = {
            **within,
            "days_since_last_observation": _days_between(rests_on.as_of, window),
            "observations_merged": len(merged),
            "seconds": seconds,
            "bodies_dropped": dropped,
            **gaps,
        }
        for description in tables:
            if not description.scopes & set(rests_on.as_of.scopes):
                # A table of a scope that was not read is not materialized: nobody knows what it
                # should show.
                continue
            name = description.name
            change = moved[description.name]
            numbers: dict[str, Any] = {
                "dagster/row_count": change.rows,
                "dagster/column_lineage": column_lineage(history_tables[name], connection.name),
                "opened": change.opened,
                "closed": change.closed,
            }
            shared = observed if name == "fct_user_access" else {}
            yield dg.MaterializeResult(
                asset_key=_key(connection, name), metadata={**numbers, **shared}
            )

    return history


def _drop_old_bodies(resources: Resources, warehouse: Warehouse, organization_key: str) -> int:
    """Drop the bodies that are older than the settings say, if they say so; how many."""
    days = resources.settings.keep_bodies_days
    if days is None:
        return 0
    return drop_bodies(
        warehouse,
        organization_key,
        resources.clock() - timedelta(days=days),
        resources.clock,
        keep_days=days,
    )


def _signed_head(
    context: dg.AssetExecutionContext, resources: Resources, warehouse: Warehouse
) -> str:
    """Sign the head of the chain; where it lies.

    What hinders it ends the sealing of this run, and not the history of the day.
    """
    try:
        return sign_head(warehouse, resources.sealing()) or "signed before"
    except (EvidenceError, SettingsError) as error:
        context.log.error(f"The head of the chain of snapshots was not signed: {error}")
        return "not signed"


def _evidence_asset(
    connection: Connection, resources: Resources, partitions: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    spec = _spec(
        resources,
        connection,
        evidence_packet,
        "evidence",
        kinds={"html", "csv", "excel"},
        more=(
            "Materialize one day for its packet. For a window (a month, a quarter): Materialize,"
            " choose its days as a range, and launch them as a single run; one packet answers for"
            " all of them, with a report, a PDF and a workbook to decide on."
        ),
        # Of what every run derives alone: a table whose scope was not read is left out, and would
        # take the packet with it.
        deps=[
            _key(connection, table.name)
            for table in history_tables_of(connection)
            if Scope.CORE in table.scopes
        ],
    )

    @dg.multi_asset(
        name=f"{connection.name}_prove",
        specs=[spec],
        check_specs=[
            dg.AssetCheckSpec(
                "as_sealed",
                asset=spec.key,
                description=(
                    "The packet is as it was sealed; those before it and the newest signed head are"
                    " there."
                ),
            )
        ],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def evidence(context: dg.AssetExecutionContext) -> Results:
        window = window_of(context)
        with working(context), resources.warehouse() as warehouse:
            packet = build(warehouse, connection.organization_key(), window)
            sealing = resources.sealing()
            sealed = seal(packet, sealing, warehouse, run_id=context.run.run_id)
            with warehouse.read() as transaction:
                ours = packets.keys(transaction)
            report = verify(
                sealing.store, sealed.place.removeprefix(sealing.store.place("")), registered=ours
            )
            gaps = gaps_of(warehouse, connection.organization_key(), window)
            picture = picture_of(warehouse, connection.organization_key(), window.last)
        facts = packet.facts
        yield dg.AssetCheckResult(
            asset_key=spec.key,
            check_name="as_sealed",
            passed=report.is_fine,
            metadata={
                "faults": table_of([{"fault": fault} for fault in report.faults], ("fault",))
            },
        )
        made = packet.files if sealed.is_new else packet.data
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata={
                **picture,
                "digest": sealed.digest,
                "folder": dg.MetadataValue.path(sealed.place),
                "source": facts.source_kind.value,
                "is_new": sealed.is_new,
                "accounts": len(facts.population),
                "admins": len(facts.admins),
                **({"changes": len(facts.real_changes)} if facts.compares else {}),
                "open_findings": len(facts.failed),
                "days_since_last_observation": _days_between(facts.as_of, window),
                "failed_reconciliations": len(facts.untied),
                "files": table_of(
                    [{"file": name, "bytes": len(body)} for name, body in sorted(made.items())],
                    ("file", "bytes"),
                ),
                **gaps,
            },
        )

    return evidence


def history_tables_of(connection: Connection) -> list[HistoryTable]:
    """List the history tables that the scopes of a connection feed."""
    read = {Scope.CORE, *(connection.scopes or ())}
    return [description for description in HISTORY_TABLES if description.scopes & read]


def _key(connection: Connection, table: str) -> dg.AssetKey:
    return dg.AssetKey([connection.name, table])


def _days_between(as_of: queries.ObservationFacts, window: Window) -> int:
    """Count the days from the last observation to the end of a window."""
    return (window.last - as_of.started_at.date()).days


def _only(day: Any) -> Window:
    return Window(day, day)


def _spec(
    resources: Resources,
    connection: Connection,
    table: Table,
    group: str,
    *,
    kinds: set[str],
    deps: list[dg.AssetKey] | None = None,
    skippable: bool = False,
    more: str = "",
) -> dg.AssetSpec:
    about = f"{str(table.comment)[:1].upper()}{str(table.comment)[1:]}."
    return dg.AssetSpec(
        _key(connection, table.name),
        description=f"{about} {more}".strip(),
        group_name=group,
        owners=list(resources.settings.owners),
        kinds=kinds,
        deps=deps,
        skippable=skippable,
        metadata={"dagster/table_name": table.name, "dagster/column_schema": column_schema(table)},
    )
