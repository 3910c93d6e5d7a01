"""`check` and `sync`: the two commands that ask SonarCloud."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.cli.base import (
    connection_option,
    connections_of,
    console,
    errors,
    load,
    say,
)
from sonar_access_pipeline.errors import FAILED, STATUS_OF_KIND, UNREADABLE, WRONG_USE
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.sonarcloud.errors import SourceError
from sonar_access_pipeline.terminal import print_rows

if TYPE_CHECKING:
    from rich.status import Status

    from sonar_access_pipeline.access.records import CallerToken
    from sonar_access_pipeline.orchestration.observe import Checked
    from sonar_access_pipeline.settings import Connection, Settings
    from sonar_access_pipeline.sonarcloud.pagination import Progress
    from sonar_access_pipeline.warehouse.database import Warehouse

NO_PACKET = (
    "The day was observed, and no packet of it was sealed: the run in Dagster's UI says why; then"
    " `sonar-access evidence build`."
)


@click.command()
@connection_option
def check(connection_name: str | None) -> None:
    """Test each connection: token, whose, organization, admin right, lists reachable, and what may
    soon not work any more. Then what seals evidence: the key signs, the authority stamps, the store
    answers and locks as it should.

    \b
    Example:  sonar-access check --connection default
    """
    from sonar_access_pipeline.orchestration.observe import check as check_connection
    from sonar_access_pipeline.orchestration.resources import Resources
    from sonar_access_pipeline.settings import passed_over

    settings = load()
    worst = 0
    for sentence in passed_over(settings):
        say(sentence, label="Warning:", style="bold yellow", to=errors)
    for connection in connections_of(settings, connection_name):
        try:
            checked = check_connection(connection, Resources(settings, only_asks=True))
        except (SettingsError, SourceError) as error:
            _say_wrong(connection, str(error))
            worst = max(worst, WRONG_USE if isinstance(error, SettingsError) else UNREADABLE)
            continue
        _say_checked(connection, checked)
    worst = max(worst, _check_rest(settings))
    if not worst:
        say(
            "Only GET is ever sent, but the token can write: keep it as a secret, of an account for"
            " this purpose alone. SonarCloud ends a token that is not used for 60 days."
        )
    sys.exit(worst)


def _check_rest(settings: Settings) -> int:
    """Say what would hinder a sync and its alerts beside the connections.

    Nothing is written, in the store neither.
    """
    from sonar_access_pipeline.orchestration import ready
    from sonar_access_pipeline.orchestration.resources import Resources

    resources = Resources(settings, only_asks=True)
    hindrances = list(ready.faults(resources))
    for hindrance in hindrances:
        say(hindrance.sentence, label=f"{hindrance.part}:", style="bold red", to=errors)
    if not {"evidence", "warehouse"} & {hindrance.part for hindrance in hindrances}:
        key = "a key to be made"
        if ready.has_key(resources):
            signer = resources.sealing().signer
            key = f"{signer.key.fingerprint} ({signer.origin})"
        stamps = f", stamped by {settings.timestamp_url}" if settings.timestamp_url else ""
        locks = (
            f", locked for {settings.evidence_retention_days} days"
            if settings.evidence_retention_days
            else ""
        )
        say(
            f"goes to {settings.evidence}{locks}, signed by {key}{stamps}.",
            label="evidence:",
            style="bold green",
        )
    if not hindrances:
        return 0
    return WRONG_USE if any(hindrance.is_wrong for hindrance in hindrances) else FAILED


def _say_wrong(connection: Connection, sentence: str) -> None:
    say(sentence, label=f"{connection.name}:", style="bold red", to=errors)


def _say_checked(connection: Connection, checked: Checked) -> None:
    preflight_result = checked.preflight
    say(
        f"the token of {preflight_result.token_login} reads organization"
        f" {preflight_result.organization.key} at {connection.host_url} as its admin; all"
        f" {len(checked.endpoints)} endpoints answer.",
        label=f"{connection.name}:",
        style="bold green",
    )
    if checked.tokens:
        say(f"  {_about_tokens(checked.tokens, datetime.now(UTC))}")
    for warning in checked.warnings:
        say(warning, label="  Warning:", style="bold yellow")


def _about_tokens(tokens: Sequence[CallerToken], now: datetime) -> str:
    """Ages of the caller's own tokens, the one that reads among them: SonarCloud does not say which
    that is.
    """
    from sonar_access_pipeline.access.completeness import token_ages

    numbers = token_ages(tokens, now)
    clauses = [
        (
            f"This account has {len(tokens)} tokens"
            if len(tokens) > 1
            else "This account has one token"
        )
    ]
    if (age := numbers.get("oldest_own_token_days")) is not None:
        clauses.append(f"the oldest is {age} days old")
    if (left := numbers.get("own_token_expires_in_days")) is not None:
        clauses.append(f"the next one expires in {left} days" if left >= 0 else "one has expired")
    return "; ".join(clauses) + "."


@click.command()
@connection_option
def sync(connection_name: str | None) -> None:
    """Observe today: read SonarCloud, derive history, seal the day's packet. Safe to repeat.

    \b
    Example:  sonar-access sync
    """
    from sonar_access_pipeline.orchestration.launch import Launcher
    from sonar_access_pipeline.orchestration.resources import Resources
    from sonar_access_pipeline.warehouse.database import Warehouse

    settings = load()
    worst = 0
    ready = []
    for connection in connections_of(settings, connection_name):
        # What is missing is said before Dagster starts, and before anything is made; the other
        # connections go on.
        try:
            connection.organization_key()
            connection.token()
            ready.append(connection)
        except SettingsError as error:
            _say_wrong(connection, str(error))
            worst = max(worst, WRONG_USE)
    if not ready:
        sys.exit(worst)
    # An address that is none is refused before anything is made.
    Warehouse(settings.warehouse).close()
    with console.status("starting Dagster ...") as status:
        resources = Resources(settings, progress=lambda progress: _show(status, progress))
        with Launcher(resources) as launcher:
            for connection in ready:
                outcome = launcher.sync(connection, str(resources.clock().date()))
                status.update("")
                if not outcome.success:
                    _say_wrong(connection, outcome.sentence)
                    worst = max(worst, STATUS_OF_KIND.get(outcome.kind, FAILED))
                    continue
                with closing(Warehouse(settings.warehouse)) as warehouse:
                    _print_admins(warehouse, connection.organization_key())
                if outcome.packet is None:
                    _say_wrong(connection, NO_PACKET)
                    worst = max(worst, FAILED)
                    continue
                say(f"Evidence packet of this run: {outcome.packet}")
    sys.exit(worst)


def _show(status: Status, progress: Progress) -> None:
    rows = (
        f"{progress.rows} of {progress.total}" if progress.total is not None else str(progress.rows)
    )
    waiting = (
        f"; waiting {progress.waiting_seconds:.0f} s, SonarCloud asks for fewer"
        if progress.waiting_seconds
        else ""
    )
    status.update(
        f"reading {progress.list_name.replace('_', ' ')}: {rows} rows ({progress.requests}"
        f" requests{waiting})"
    )


def _print_admins(warehouse: Warehouse, organization_key: str) -> None:
    from sonar_access_pipeline.warehouse.ask import queries

    with warehouse.read() as transaction:
        answering = queries.observation_at(
            transaction, organization_key, datetime.max.replace(tzinfo=UTC)
        )
        rows = queries.admins_at(transaction, answering)
    for row in rows:
        row["through"] = (
            "direct" if row["granted_via"] == "direct" else f"group {row['granted_via_name']}"
        )
        row["since"] = (
            "first observed" if row["changed_after"] is None else f"{row['valid_from']:%Y-%m-%d}"
        )
    print_rows(
        console,
        rows,
        ("login", "name", "through", "since"),
        title=(
            f"Who administers {organization_key}, as of {answering.observed_at:%Y-%m-%d %H:%M} UTC"
            f" ({answering.source_kind})"
        ),
    )
