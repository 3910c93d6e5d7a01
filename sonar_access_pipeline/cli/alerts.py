"""`alerts`: what is wrong and was said of it, and whether the channels work."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from importlib.resources import files as resources
from typing import Any

import click

from sonar_access_pipeline.alerts.causes import Cause, runbook_section
from sonar_access_pipeline.alerts.problems import Limits
from sonar_access_pipeline.cli.base import (
    console,
    end,
    errors,
    format_option,
    load,
    opened_warehouse,
    say,
)
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.terminal import print_answer

TITLE = "SonarCloud access: a test"
TEXT = "This channel works. Nothing is wrong: somebody ran `sonar-access alerts test`."


@click.group()
def alerts() -> None:
    """See what is wrong and who was told, and try the channels."""


@alerts.command("list")
@click.option(
    "--all", "everything", is_flag=True, help="Not only what is open: the last 500 alerts."
)
@format_option
def alerts_list(everything: bool, form: str) -> None:
    """List the problems that are open, or the last alerts, and whether every channel took them.

    Exit 1: something is wrong.

    What the warehouse itself shows is said, too: held snapshots, days that are missing, a watch
    that does not look.

    \b
    Example:  sonar-access alerts list
    """
    from sonar_access_pipeline.warehouse.ask import queries
    from sonar_access_pipeline.warehouse.ledger import alerts as stored

    settings = load()
    now = datetime.now(UTC)
    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        configured = {
            connection.organization
            for connection in settings.connections
            if connection.organization
        }
        keys = sorted(configured | set(queries.organizations(transaction)))
        wrong = (
            []
            if keys
            else [
                "No organization was ever observed, and none is set: there is nothing that could be"
                " right."
            ]
        )
        for key in keys:
            wrong += stored.standing(transaction, key, settings.calendar_of(key).last_due(now))
        wrong += _unwatched(stored.last_look(transaction), now)
        rows: list[dict[str, Any]] = stored.history(transaction, limit=500 if everything else None)
        open_keys = {(one.problem.key, one.said_at) for one in stored.open_problems(transaction)}
    if not everything:
        rows = [row for row in rows if (row["problem"], row["noted_at"]) in open_keys]
    if form == "table" and not rows:
        nothing = "No alert is open." if wrong else "Nothing is wrong."
        say("There was no alert yet." if everything else nothing)
    else:
        print_answer(
            console,
            rows,
            form,
            stored.ALERTS,
            ("noted_at", "event", "connection", "partition_date", "cause", "sentence", "told"),
        )
    if everything:
        return
    for sentence in wrong:
        say(sentence, label="Wrong:", style="bold yellow", to=errors)
    if open_keys or wrong:
        sys.exit(FAILED)


def _unwatched(looked_at: datetime | None, now: datetime) -> list[str]:
    """Say why nobody would have raised an alert, where no watch looks."""
    remedy = "start Dagster's daemon, and switch the sensor sonar_access_watch on"
    if looked_at is None:
        return [f"No watch has ever looked at this warehouse, so nobody raises alerts: {remedy}."]
    if now - looked_at > Limits().silent:
        return [
            f"The watch looked last on {looked_at:%Y-%m-%d %H:%M} UTC, so nobody raises alerts:"
            f" {remedy}."
        ]
    return []


@alerts.command("explain")
@click.argument("section", required=False)
def alerts_explain(section: str | None) -> None:
    """Print what an alert means and what to do: its section of the runbook.

    Without SECTION: which there are.

    \b
    Example:  sonar-access alerts explain token-refused
    """
    text = (resources("sonar_access_pipeline.alerts") / "runbook.md").read_text(encoding="utf-8")
    sections = {
        heading: body
        for heading, _, body in (
            part.partition("\n") for part in re.split(r"^##? ", text, flags=re.M)[1:]
        )
    }
    known = {runbook_section(cause): sections[runbook_section(cause)] for cause in Cause}
    if section is None:
        for name in known:
            say(name)
        return
    if section not in known:
        raise click.UsageError(f"There is no section '{section}'; without one they are listed.")
    # Links lead nowhere from here: their words stay.
    for line in re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", known[section]).strip().splitlines():
        say(line)


@alerts.command("test")
def alerts_test() -> None:
    """Send a message through every channel of SONAR_ACCESS_ALERT_URLS, and ping the heartbeat.

    \b
    Example:  sonar-access alerts test
    """
    from sonar_access_pipeline.alerts.channels import channels_of, ping

    settings = load()
    if not settings.alert_urls:
        raise SettingsError(
            "No channel is set; set SONAR_ACCESS_ALERT_URLS to notification URLs with spaces"
            " between: https://appriseit.com/services lists them."
        )
    faults = {
        channel.name: channel.send(TITLE, TEXT)
        for channel in channels_of([url.get_secret_value() for url in settings.alert_urls]).values()
    }
    if settings.heartbeat_url is not None:
        faults["heartbeat"] = ping(settings.heartbeat_url.get_secret_value())
    for name, fault in faults.items():
        if fault:
            say(fault, label=f"{name}:", style="bold red", to=errors)
        else:
            say("taken", label=f"{name}:", style="bold green")
    if any(faults.values()):
        end("Not every channel works; alerts to the others are kept and tried again.", FAILED)
