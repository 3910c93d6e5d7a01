"""`access`, `changes` and `coverage`: the questions that the warehouse answers by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.cli.base import (
    FAILED,
    console,
    end,
    errors,
    format_option,
    opened,
    organization_option,
    plain,
    say,
    window_of,
)
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.terminal import Day, Moment, print_frame
from sonar_access_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:
    from pandas import DataFrame


@click.command()
@organization_option
@click.option("--as-of", type=Moment(), default=None, help="UTC time; a date means its end. Default: now.")
@click.option("--admins", is_flag=True, help="Only rows that give organization admin.")
@format_option
def access(organization: str | None, as_of: datetime | None, admins: bool, form: str) -> None:
    """Who had access at a time: every way in which every account has a right.

    \b
    Example:  sonar-access access --as-of 2026-10-31 --admins
    """
    from sonar_access_pipeline.warehouse import frames, queries

    with opened(organization) as (warehouse, organization_key):
        moment = as_of or datetime.now(UTC)
        frame = frames.access(warehouse, organization_key, moment)
        with warehouse.read() as transaction:
            answering = queries.observation_at(transaction, organization_key, moment)
        _say_held(warehouse, organization_key, answering.observed_at, moment)
    if admins:
        frame = frame[(frame["access_type"] == "organization_permission") & (frame["entitlement"] == "admin")]
    age = moment - answering.observed_at
    source = answering.source_kind.value
    if answering.imported_from:
        source += f", imported from archive {answering.imported_from[:12]}"
    say(
        f"Answered by the observation of {answering.observed_at:%Y-%m-%d %H:%M:%S} UTC ({source}), "
        f"{age.days} d {age.seconds // 3600} h before {moment:%Y-%m-%d %H:%M} UTC.",
        to=errors,
    )
    columns = ("login", "name", "entitlement", "resource_name", "granted_via_name", "changed_after", "valid_from")
    print_frame(console, frame, form, columns)


def _say_held(warehouse: Warehouse, organization_key: str, after: datetime, until: datetime) -> None:
    """What waits for a decision between the observation that answers and the time that was asked for."""
    from sonar_access_pipeline.warehouse import queries

    with warehouse.read() as transaction:
        waiting = queries.held(transaction, organization_key)
    for row in waiting:
        if after < row["observed_at"] <= until:
            say(
                f"[bold yellow]Held:[/] snapshot {row['snapshot_id']} of {row['observed_at']:%Y-%m-%d %H:%M} UTC waits for a "
                f"decision and is not part of the answer: {plain(row['reason'])}.",
                to=errors,
            )


@click.command()
@organization_option
@click.option("--from", "first", type=Day(), required=True, help="First UTC day.")
@click.option("--to", "last", type=Day(), required=True, help="Last UTC day, included.")
@format_option
def changes(organization: str | None, first: date, last: date, form: str) -> None:
    """What changed in a window of days, each change between two observations.

    \b
    Example:  sonar-access changes --from 2026-10-01 --to 2026-10-31
    """
    from sonar_access_pipeline.warehouse import frames

    window = window_of(first, last)
    with opened(organization) as (warehouse, organization_key):
        frame = frames.changes(warehouse, organization_key, window)
        _say_held(warehouse, organization_key, window.begin, window.end)
    print_frame(
        console, frame, form, ("changed_after", "changed_by", "kind", "login", "entitlement", "resource_name", "granted_via_name")
    )


@click.command()
@organization_option
@click.option(
    "--from", "first", type=Day(), default=None, help="First UTC day. Default: 30 days before the last; with --check the last."
)
@click.option("--to", "last", type=Day(), default=None, help="Last UTC day, included. Default: the last day that is due.")
@click.option(
    "--check", "checks", is_flag=True, help="Exit with 1 when a day was not observed, of any connection: for an outside monitor."
)
@format_option
def coverage(organization: str | None, first: date | None, last: date | None, checks: bool, form: str) -> None:
    """Which days were observed, and which are gaps.

    \b
    Example:  sonar-access coverage --from 2026-10-01 --to 2026-10-31
    """
    import pandas as pd

    from sonar_access_pipeline.orchestration.watch import due_day
    from sonar_access_pipeline.warehouse import frames

    settings = load()
    last = last or due_day(datetime.now(UTC), settings.hour, settings.grace_hours)
    window = window_of(first or (last if checks else last - timedelta(days=29)), last)
    every = checks and organization is None and len(settings.connections) > 1
    covered = []
    for key in [connection.organization for connection in settings.connections] if every else [organization]:
        with opened(key) as (warehouse, organization_key):
            frame = frames.coverage(warehouse, organization_key, window.first, window.last)
        covered.append(frame.assign(organization=organization_key))
    frame = pd.concat(covered, ignore_index=True)
    _print_coverage(frame if every else frame.drop(columns="organization"), form)
    missing = int((frame["status"] != "observed").sum())
    if checks and missing:
        end(f"{missing} of {len(frame)} days were not observed.", FAILED)


def _print_coverage(frame: DataFrame, form: str) -> None:
    frame["origin"] = frame["imported_from"].map(lambda digest: f"archive {digest[:12]}", na_action="ignore")
    shown = [name for name in ("organization", "day", "status", "snapshots", "attempts", "observed_at", "error") if name in frame]
    if frame["imported_from"].notna().any():
        shown.append("origin")
    print_frame(console, frame if form == "table" else frame.drop(columns="origin"), form, tuple(shown))
