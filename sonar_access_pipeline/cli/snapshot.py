"""`snapshot`: raw snapshots, what people decide about them, and carrying them between
warehouses.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli.base import (
    by_option,
    console,
    errors,
    format_option,
    load,
    opened,
    opened_warehouse,
    organization_option,
    say,
    window_of,
)
from sonar_access_pipeline.terminal import Day, print_answer
from sonar_access_pipeline.warehouse.timeouts import WORKING

if TYPE_CHECKING:
    from sonar_access_pipeline.warehouse.ask.preview import Shown


@click.group()
def snapshot() -> None:
    """Look at raw snapshots, decide about them, carry them elsewhere."""


@snapshot.command("list")
@organization_option
@format_option
def snapshot_list(organization: str | None, form: str) -> None:
    """List every snapshot, whether it counts as an observation, and what was decided about it.

    \b
    Example:  sonar-access snapshot list --format csv
    """
    from sonar_access_pipeline.warehouse.ask import queries

    with opened(organization) as (warehouse, organization_key), warehouse.read() as transaction:
        rows = queries.snapshots(transaction, organization_key)
    in_table = (
        "snapshot_id",
        "partition_date",
        "observed_at",
        "verdict",
        "counts_as_observation",
        "decided",
        "reason",
    )
    print_answer(console, rows, form, queries.SNAPSHOTS, in_table)


snapshot_argument = click.argument("snapshot_id", type=click.IntRange(1, 2**63 - 1))


@snapshot.command("show")
@snapshot_argument
@format_option
def snapshot_show(snapshot_id: int, form: str) -> None:
    """Show one snapshot: what it was compared with, what was decided, and who and what would appear
    or disappear with it.

    Names stand there, admins first: read them before you confirm.

    \b
    Example:  sonar-access snapshot show 41
    """
    from sonar_access_pipeline.warehouse.ask.preview import CHANGED, shown

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        details = shown(transaction, snapshot_id)
    if form == "table":
        _say_shown(details)
    in_table = ("what", "login", "name", "is_admin", "right", "on", "through")
    print_answer(console, details.changes, form, CHANGED, in_table)


def _say_shown(found: Shown) -> None:
    about = found.about
    reason = f": {about['reason']}" if about["reason"] else ""
    say(
        f"Snapshot {about['snapshot_id']} of {about['organization_key']}, read on"
        f" {about['observed_at']:%Y-%m-%d %H:%M} UTC with the token of {about['token_login']}:"
        f" {about['verdict']}{reason}."
    )
    for decision in found.decisions:
        heading = (
            f"{decision['decision']} by {decision['decided_by']} on"
            f" {decision['decided_at']:%Y-%m-%d %H:%M} UTC"
        )
        say(f"{heading}: {decision['reason']}")
    for control in found.failed:
        numbers = f"{control['left_count']} against {control['right_count']}"
        say(
            f"{control['compares']}: {numbers}. {control['detail'] or ''}",
            label="Disagrees:",
            style="bold yellow",
        )
    say(found.compared)


reason_option = click.option(
    "--reason", required=True, help="Why: it stands in the record and in packets for ever."
)


@snapshot.command("confirm")
@snapshot_argument
@reason_option
@by_option
def snapshot_confirm(snapshot_id: int, reason: str, by: str) -> None:
    """Say that a held snapshot is true: so much did disappear.

    It counts from now on, at its own time.

    \b
    Example:  sonar-access snapshot confirm 41 --reason "Team payments left, ticket SEC-17"
    """
    from sonar_access_pipeline.warehouse.raw.decisions import CONFIRMED

    _decide(snapshot_id, CONFIRMED, reason, by)


@snapshot.command("retract")
@snapshot_argument
@reason_option
@by_option
def snapshot_retract(snapshot_id: int, reason: str, by: str) -> None:
    """Say that a snapshot is not true, whatever its verdict: history becomes what it would be
    without it.

    \b
    Example:  sonar-access snapshot retract 41 --reason "Read during their incident 8812"
    """
    from sonar_access_pipeline.warehouse.raw.decisions import RETRACTED

    _decide(snapshot_id, RETRACTED, reason, by)


def _decide(snapshot_id: int, decision: str, reason: str, by: str) -> None:
    from sonar_access_pipeline.warehouse.raw.decisions import decide

    if not reason.strip() or not by.strip():
        raise click.UsageError("A decision needs a reason and a person; neither can be empty.")
    brake = load().brake
    with opened_warehouse(WORKING) as warehouse:
        decided = decide(
            warehouse,
            snapshot_id,
            decision,
            by=by.strip(),
            reason=reason.strip(),
            brake=brake,
            clock=lambda: datetime.now(UTC),
        )
    say(
        f"Snapshot {snapshot_id} of {decided.organization_key} is {decision}; its history was"
        " derived accordingly."
    )
    if decided.released:
        say(
            "Not held any more because of that, so confirmed by rule:"
            f" {', '.join(map(str, decided.released))}."
        )
    if decided.still_held:
        say(f"Still held: {', '.join(map(str, decided.still_held))}.")


@snapshot.command("export")
@organization_option
@click.option(
    "--from", "first", type=Day(), default=None, help="First UTC day. Default: the first there is."
)
@click.option(
    "--to",
    "last",
    type=Day(),
    default=None,
    help="Last UTC day, included. Default: the last there is.",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def snapshot_export(
    organization: str | None, first: date | None, last: date | None, file: Path
) -> None:
    """Write raw snapshots, with every answer and decision, into a new file that another warehouse
    can import.

    \b
    Example:  sonar-access snapshot export --from 2026-01-01 --to 2026-03-31 acme-2026Q1.zip
    """
    from sonar_access_pipeline.warehouse.raw.archive import export

    window: Window | None = None
    if first or last:
        window = window_of(first or date.min, last or date.max)
    with opened(organization, WORKING) as (warehouse, organization_key):
        carried = export(warehouse, organization_key, file, window)
    say(f"{carried.snapshots} snapshots of {organization_key} are in {file}.")
    say(f"SHA-256: {carried.sha256}")


@snapshot.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def snapshot_import(file: Path) -> None:
    """Take in the snapshots of a file that `export` wrote, all or none, and derive history from
    them.

    \b
    Example:  sonar-access snapshot import acme-2026Q1.zip
    """
    from sonar_access_pipeline.orchestration.resources import Resources
    from sonar_access_pipeline.warehouse.history.merge import derive
    from sonar_access_pipeline.warehouse.raw.archive import import_

    with Resources(load()).warehouse() as warehouse:
        carried = import_(warehouse, file, lambda: datetime.now(UTC))
        for organization_key in carried.organizations:
            derive(warehouse, organization_key)
    known = f"; {carried.known} were there already" if carried.known else ""
    say(
        f"{carried.snapshots} snapshots of {', '.join(carried.organizations)} were imported from"
        f" {file}{known}."
    )
    if carried.policies:
        say(f"{carried.policies} policies came with them: their days are judged as they were.")
    if carried.reviews:
        say(f"{carried.reviews} reviews came with them, with what people decided and signed.")
    for sentence in carried.lacking:
        say(sentence, label="Lacking:", style="bold yellow", to=errors)
    say(f"SHA-256: {carried.sha256}")
