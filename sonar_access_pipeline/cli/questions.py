"""`access`, `changes`, `coverage`, `findings`, `who`: what the warehouse answers by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from sonar_access_pipeline.access.selection import of_account, of_group, of_project
from sonar_access_pipeline.cli.base import (
    console,
    end,
    errors,
    format_option,
    load,
    opened,
    organization_option,
    say,
    window_of,
)
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.terminal import Day, Moment, print_answer, print_rows

if TYPE_CHECKING:
    from sonar_access_pipeline.warehouse.ask.queries import ObservationFacts
    from sonar_access_pipeline.warehouse.database import Warehouse


@click.command()
@organization_option
@click.option(
    "--as-of", type=Moment(), default=None, help="UTC time; a date means its end. Default: now."
)
@click.option("--admins", is_flag=True, help="Only rows that give organization admin.")
@click.option(
    "--account",
    "login",
    help="Only rights of this login: its own, on projects its groups', and what Anyone may do.",
)
@click.option("--group", help="Only rights through this group, by name or id, and who is in it.")
@click.option("--project", help="Only rights on this project, by key or name.")
@format_option
def access(
    organization: str | None,
    as_of: datetime | date | None,
    admins: bool,
    login: str | None,
    group: str | None,
    project: str | None,
    form: str,
) -> None:
    """Show who had access at a time: every way in which every account has a right. Filters are
    joined by and.

    Exit status 1: nothing is known of the account, group or project that was asked for.

    \b
    Example:  sonar-access access --as-of 2026-10-31 --admins
              sonar-access access --account ada@github --project acme_web
    """
    from sonar_access_pipeline.access.snapshot import Scope
    from sonar_access_pipeline.warehouse.ask import queries

    asked = as_of or datetime.now(UTC)
    _require_past(asked)
    with opened(organization) as (warehouse, organization_key):
        with warehouse.read() as transaction:
            answering = queries.observation_at(transaction, organization_key, asked)
            rows: Sequence[Mapping[str, Any]] = queries.access_at(transaction, answering)
        _say_answered(warehouse, organization_key, answering, asked)
    knows_projects = Scope.PROJECT_PERMISSIONS in answering.scopes
    if project is not None and not knows_projects:
        end("That observation did not read permissions on projects, so nobody knows.", FAILED)
    named = (
        ("account", login, of_account),
        ("group", group, of_group),
        ("project", project, of_project),
    )
    chosen = rows
    for what, name, select in named:
        if name is None:
            continue
        about_it = select(rows, name)
        if not about_it:
            end(f"That observation shows no right of the {what} '{name}'.", FAILED)
        kept = set(map(id, about_it))
        chosen = [row for row in chosen if id(row) in kept]
    if admins:
        chosen = [
            row
            for row in chosen
            if (row["access_type"], row["entitlement"]) == ("organization_permission", "admin")
        ]
    if (login or group) and not knows_projects:
        _say_unknown(PROJECTS_UNREAD)
    answered = {"as_of": answering.observed_at, "source_kind": answering.source_kind.value}
    print_answer(
        console,
        [{**row, **answered} for row in chosen],
        form,
        (*queries.ACCESS, *answered),
        IN_TABLE,
    )


PROJECTS_UNREAD = "permissions on projects were not read."


def _say_unknown(sentence: str) -> None:
    say(sentence, label="Not known:", style="bold yellow", to=errors)


def _say_answered(
    warehouse: Warehouse,
    organization_key: str,
    answering: ObservationFacts,
    asked: datetime | date,
) -> None:
    """Say which observation answers, how old it is, from where, and which snapshots wait and are no
    part of the answer.
    """
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


IN_TABLE = (
    "login",
    "name",
    "entitlement",
    "resource_name",
    "granted_via_name",
    "changed_after",
    "valid_from",
)
"""What people see first of a right."""


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
    from sonar_access_pipeline.warehouse.ask import proof, queries

    window = window_of(first, last)
    _require_past(last)
    with opened(organization) as (warehouse, organization_key):
        with warehouse.read() as transaction:
            rests_on = queries.window_observations(transaction, organization_key, window)
            rows = proof.changes(transaction, rests_on)
        for row in _held(warehouse, organization_key):
            if window.first <= row["partition_date"] <= window.last:
                _say_held(row)
    print_answer(console, rows, form, queries.CHANGES, CHANGED)
    if rests_on.no_comparison:
        end(f"What changed is not known: {rests_on.no_comparison}.", FAILED)
    for sentence in rests_on.unknown_parts:
        say(sentence, label="Not known:", style="bold yellow", to=errors)
    if rests_on.reaches_back:
        say(rests_on.reaches_back, label="Note:", style="bold yellow", to=errors)


CHANGED = (
    "changed_after",
    "changed_by",
    "kind",
    "login",
    "entitlement",
    "resource_name",
    "granted_via_name",
    "detail",
)
"""What people see first of a change."""


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
    from sonar_access_pipeline.warehouse.ask import queries

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
    asked = [one.organization for one in settings.connections] if every else [organization]
    days: list[dict[str, Any]] = []
    for wanted in asked:
        with opened(wanted) as (warehouse, key), warehouse.read() as transaction:
            covered = queries.coverage(transaction, key, window.first, window.last)
        days += ({**row, "organization": key} for row in covered)
    rows = [row for row in days if row["status"] != queries.NOT_EXPECTED]
    _print_coverage(rows, form, every=every)
    if left_out := len(days) - len(rows):
        are = "1 day is" if left_out == 1 else f"{left_out} days are"
        say(
            f"{are} left out, on which nobody expected an observation: before the first try, or"
            " after an organization's end.",
            to=errors,
        )
    if not checks:
        return
    if unchecked := {row["organization"] for row in days} - {row["organization"] for row in rows}:
        end(
            f"Nobody expected an observation of {', '.join(sorted(unchecked))} on these days, so"
            " there is nothing to check.",
            FAILED,
        )
    if missing := sum(row["status"] != "observed" for row in rows):
        end(f"{missing} of {len(rows)} days were not observed.", FAILED)


def _print_coverage(rows: list[dict[str, Any]], form: str, *, every: bool) -> None:
    from sonar_access_pipeline.warehouse.ask import queries

    which = ("organization",) if every else ()
    in_table = (*which, "day", "status", "snapshots", "attempts", "observed_at", "error")
    if any(row["imported_from"] for row in rows):
        in_table = (*in_table, "origin")
    listed = [
        {**row, "origin": row["imported_from"] and f"archive {row['imported_from'][:12]}"}
        for row in rows
    ]
    print_answer(console, listed, form, (*queries.COVERAGE, *which), in_table)


@click.command()
@organization_option
@click.option(
    "--from", "first", type=Day(), default=None, help="First UTC day. Default: the last observed."
)
@click.option("--to", "last", type=Day(), default=None, help="Last UTC day. Default: today.")
@click.option(
    "--all", "everything", is_flag=True, help="Also what somebody answers for, and what passes."
)
@click.option("--check", "checks", is_flag=True, help="Exit with 1 when a finding is open.")
@format_option
def findings(
    organization: str | None,
    first: date | None,
    last: date | None,
    everything: bool,
    checks: bool,
    form: str,
) -> None:
    """Show what the rules find, the severe first: of whom, since when, and what nobody can tell.

    As a packet of these days says it.

    \b
    Example:  sonar-access findings --check
    """
    from sonar_access_pipeline.evidence.facts import findings_of, is_open
    from sonar_access_pipeline.evidence.listings import by_need
    from sonar_access_pipeline.warehouse.ask import proof, queries

    today = last = last or datetime.now(UTC).date()
    _require_past(last)
    with opened(organization) as (warehouse, key):
        if first is None:
            with warehouse.read() as transaction:
                first = queries.observation_at(transaction, key, last).started_at.date()
                last = min(last, first)
        as_of, rows = findings_of(warehouse, key, window_of(first, last))
        _say_answered(warehouse, key, as_of, today)
    failing = sum(map(is_open, rows))
    unknown = sum(row["result"] == "not_evaluable" for row in rows)
    rows = by_need(rows)
    shown = rows if everything else rows[:failing]
    print_answer(console, shown, form, proof.FINDINGS, FOUND if not everything else ALL_FOUND)
    if unknown and not everything:
        answers = "1 answer is" if unknown == 1 else f"{unknown} answers are"
        _say_unknown(f"{answers} not known: --all says why.")
    if checks and failing:
        end(f"{failing} open.", FAILED)


FOUND = ("severity", "title", "subject", "name", "detail", "failing_since")
ALL_FOUND = ("result", *FOUND, "exception_by", "exception_until", "exception_ended")
"""What people see first of a finding."""


@click.command()
@organization_option
@click.argument("login")
@format_option
def who(organization: str | None, login: str, form: str) -> None:
    """Show the life of one account: who it is, what it may do now, what rules find of it, and every
    change that was ever seen. As csv or json: the changes.

    \b
    Example:  sonar-access who ada@github
    """
    from sonar_access_pipeline.evidence.life import life_of
    from sonar_access_pipeline.warehouse.ask import queries

    with opened(organization) as (warehouse, key):
        life = life_of(warehouse, key, login)
        _say_answered(warehouse, key, life.as_of, datetime.now(UTC))
    if life.is_unseen:
        near = get_close_matches(login, life.logins, n=3, cutoff=0.6)
        perhaps = f" Perhaps: {', '.join(near)}." if near else ""
        end(f"No observation shows an account '{login}'.{perhaps}", FAILED)
    if form != "table":
        print_answer(console, life.changes, form, queries.CHANGES, CHANGED)
        return
    say(life.sentence)
    for sentence in life.unknown:
        _say_unknown(sentence)
    print_rows(console, life.access, MAY, title="What it may do now")
    found = ("result", "severity", *ALL_FOUND[2:3], *ALL_FOUND[5:])
    print_rows(console, life.findings, found, title="What rules find of it now, or cannot tell")
    in_table = tuple(name for name in CHANGED if name != "login")
    print_rows(console, life.changes, in_table, title="What changed, as far as it was observed")


MAY = ("entitlement", "on", "through", "changed_after", "valid_from")
"""What people see first of what an account may do."""
