"""`access`, `changes` and `coverage`: the questions that the warehouse answers by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from sonar_access_pipeline.cli.base import (
    console,
    end,
    errors,
    format_option,
    opened,
    organization_option,
    say,
    window_of,
)
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.terminal import Day, Moment, print_frame
from sonar_access_pipeline.warehouse.database import Warehouse

if TYPE_CHECKING:
    from pandas import DataFrame


@click.command()
@organization_option
@click.option(
    "--as-of", type=Moment(), default=None, help="UTC time; a date means its end. Default: now."
)
@click.option("--admins", is_flag=True, help="Only rows that give organization admin.")
@format_option
def access(
    organization: str | None, as_of: datetime | date | None, admins: bool, form: str
) -> None:
    """Show who had access at a time: every way in which every account has a right.

    \b
    Example:  sonar-access access --as-of 2026-10-31 --admins
    """
    from sonar_access_pipeline.warehouse.ask import frames, queries

    asked = as_of or datetime.now(UTC)
    _require_past(asked)
    with opened(organization) as (warehouse, organization_key):
        frame = frames.access(warehouse, organization_key, asked)
        with warehouse.read() as transaction:
            answering = queries.observation_at(transaction, organization_key, asked)
        until = (
            asked
            if isinstance(asked, datetime)
            else min(window_of(asked, asked).end, datetime.now(UTC))
        )
        for row in _held(warehouse, organization_key):
            # A date means the reads that began by its end, however late they ended.
            is_asked_for = (
                row["observed_at"] <= asked
                if isinstance(asked, datetime)
                else row["partition_date"] <= asked
            )
            if answering.observed_at < row["observed_at"] and is_asked_for:
                _say_held(row)
    if admins:
        frame = frame[
            (frame["access_type"] == "organization_permission") & (frame["entitlement"] == "admin")
        ]
    source = answering.source_kind.value
    if answering.imported_from:
        source += f", imported from archive {answering.imported_from[:12]}"
    age = abs(until - answering.observed_at)
    lies = "before" if answering.observed_at <= until else "after"
    say(
        f"Answered by the observation of {answering.observed_at:%Y-%m-%d %H:%M:%S} UTC ({source}), "
        f"{age.days} d {age.seconds // 3600} h {lies} {until:%Y-%m-%d %H:%M} UTC.",
        to=errors,
    )
    columns = (
        "login",
        "name",
        "entitlement",
        "resource_name",
        "granted_via_name",
        "changed_after",
        "valid_from",
    )
    print_frame(console, frame, form, columns)


def _require_past(asked: datetime | date) -> None:
    """Refuse a time or a day that has not come: nobody can have observed it."""
    now = datetime.now(UTC)
    if (asked > now) if isinstance(asked, datetime) else (asked > now.date()):
        moment = f"{asked:%Y-%m-%d %H:%M} UTC" if isinstance(asked, datetime) else str(asked)
        raise click.UsageError(
            f"{moment} has not come yet, so nobody can have observed it; ask for today at the"
            " latest."
        )


def _held(warehouse: Warehouse, organization_key: str) -> list[dict[str, Any]]:
    from sonar_access_pipeline.warehouse.ask import queries

    with warehouse.read() as transaction:
        return queries.held(transaction, organization_key)


def _say_held(row: dict[str, Any]) -> None:
    """Say that a snapshot waits for a decision, so that its time is answered by what was before
    it.
    """
    say(
        f"snapshot {row['snapshot_id']} of {row['observed_at']:%Y-%m-%d %H:%M} UTC waits for a "
        f"decision and is not part of the answer: {row['reason']}.",
        label="Held:",
        style="bold yellow",
        to=errors,
    )


@click.command()
@organization_option
@click.option("--from", "first", type=Day(), required=True, help="First UTC day.")
@click.option("--to", "last", type=Day(), required=True, help="Last UTC day, included.")
@format_option
def changes(organization: str | None, first: date, last: date, form: str) -> None:
    """Show what changed in a window of days, each change between two observations.

    Exit status 1: what changed is not known.

    \b
    Example:  sonar-access changes --from 2026-10-01 --to 2026-10-31
    """
    from sonar_access_pipeline.warehouse.ask import frames

    window = window_of(first, last)
    _require_past(last)
    with opened(organization) as (warehouse, organization_key):
        frame = frames.changes(warehouse, organization_key, window)
        for row in _held(warehouse, organization_key):
            if window.first <= row["partition_date"] <= window.last:
                _say_held(row)
    print_frame(
        console,
        frame,
        form,
        (
            "changed_after",
            "changed_by",
            "kind",
            "login",
            "entitlement",
            "resource_name",
            "granted_via_name",
            "detail",
        ),
    )
    if frame.attrs["no_comparison"]:
        end(f"What changed is not known: {frame.attrs['no_comparison']}.", FAILED)
    for sentence in frame.attrs["unknown_parts"]:
        say(sentence, label="Not known:", style="bold yellow", to=errors)
    if frame.attrs["reaches_back"]:
        say(f"{frame.attrs['reaches_back']}", label="Note:", style="bold yellow", to=errors)


@click.command()
@organization_option
@click.option(
    "--from",
    "first",
    type=Day(),
    default=None,
    help="First UTC day. Default: 30 days before the last; with --check the last.",
)
@click.option(
    "--to",
    "last",
    type=Day(),
    default=None,
    help="Last UTC day, included. Default: the last day that is due.",
)
@click.option(
    "--check",
    "checks",
    is_flag=True,
    help="Exit with 1 when a day was not observed, of any connection: for an outside monitor.",
)
@format_option
def coverage(
    organization: str | None, first: date | None, last: date | None, checks: bool, form: str
) -> None:
    """Show which days were observed, and which are gaps.

    \b
    Example:  sonar-access coverage --from 2026-10-01 --to 2026-10-31
    """
    import pandas as pd

    from sonar_access_pipeline.warehouse.ask import frames, queries

    settings = load()
    if last is not None:
        _require_past(last)
    last = last or settings.calendar_of(organization).last_due(datetime.now(UTC))
    window = window_of(
        first
        or (last if checks else max(date.min + timedelta(days=29), last) - timedelta(days=29)),
        last,
    )
    every = checks and organization is None and len(settings.connections) > 1
    covered = []
    for key in (
        [connection.organization for connection in settings.connections]
        if every
        else [organization]
    ):
        with opened(key) as (warehouse, organization_key):
            frame = frames.coverage(warehouse, organization_key, window.first, window.last)
        covered.append(frame.assign(organization=organization_key))
    whole = pd.concat(covered, ignore_index=True)
    frame = whole[whole["status"] != queries.NOT_EXPECTED].reset_index(drop=True)
    left_out = len(whole) - len(frame)
    _print_coverage(frame.copy() if every else frame.drop(columns="organization"), form)
    if left_out:
        days = "1 day is" if left_out == 1 else f"{left_out} days are"
        say(
            f"{days} left out, on which nobody expected an observation: before the first try, or"
            " after an organization's end.",
            to=errors,
        )
    missing = int((frame["status"] != "observed").sum())
    if checks and (unchecked := sorted(set(whole["organization"]) - set(frame["organization"]))):
        end(
            f"Nobody expected an observation of {', '.join(unchecked)} on these days, so there is"
            " nothing to check.",
            FAILED,
        )
    if checks and missing:
        end(f"{missing} of {len(frame)} days were not observed.", FAILED)


def _print_coverage(frame: DataFrame, form: str) -> None:
    frame["origin"] = frame["imported_from"].map(
        lambda digest: f"archive {digest[:12]}", na_action="ignore"
    )
    shown = [
        name
        for name in (
            "organization",
            "day",
            "status",
            "snapshots",
            "attempts",
            "observed_at",
            "error",
        )
        if name in frame
    ]
    if frame["imported_from"].notna().any():
        shown.append("origin")
    print_frame(
        console, frame if form == "table" else frame.drop(columns="origin"), form, tuple(shown)
    )
