"""`sonar-access`: a thin face on the functions that the assets call. Exit status: 0 success, 1 a finding or a failed check,
2 wrong use, 3 the source cannot be read.

Dagster and pandas are loaded by the commands that need them, so that the others answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.seal import EvidenceError
from sonar_access_pipeline.settings import Connection, Settings, SettingsError, load
from sonar_access_pipeline.sonarcloud.errors import SourceError
from sonar_access_pipeline.terminal import Day, Moment, print_frame, print_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError

FAILED, WRONG_USE, UNREADABLE = 1, 2, 3
STATUS_OF_KIND = {"settings": WRONG_USE, "source": UNREADABLE}

console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


class OneSentence(click.Group):
    """A group whose commands end with one sentence and an exit status where people, networks or disks are at fault."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; turn expected errors into their sentence."""
        try:
            return super().invoke(context)
        except SettingsError as error:
            _end(str(error), WRONG_USE)
        except SourceError as error:
            _end(str(error), UNREADABLE)
        except (WarehouseError, EvidenceError) as error:
            _end(str(error), FAILED)


def _end(sentence: str, status: int) -> None:
    errors.print(f"[bold red]Error:[/] {_plain(sentence)}", soft_wrap=True, highlight=False)
    sys.exit(status)


def _plain(text: str) -> str:
    """Text from elsewhere, without power over the terminal's markup."""
    return text.replace("[", r"\[")


connection_option = click.option("--connection", "connection_name", help="Name of the connection; needed when there are several.")
organization_option = click.option("--organization", help="Key of the organization; needed when the warehouse has several.")
format_option = click.option(
    "--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True, help="How to print."
)


@click.group(cls=OneSentence, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="sonar-access")
def main() -> None:
    """Who has access to SonarCloud, on any day, proven.

    \b
    First:  export SONAR_TOKEN=... SONAR_ORGANIZATION=...
            sonar-access check
            sonar-access sync
    Or see it without an account:
            sonar-access demo
    """


@main.command()
@connection_option
def check(connection_name: str | None) -> None:
    """Test each connection: token, whose, organization, admin right, lists reachable.

    \b
    Example:  sonar-access check --connection default
    """
    from sonar_access_pipeline.orchestration.observe import check as check_connection
    from sonar_access_pipeline.orchestration.parts import Parts

    settings = load()
    worst = 0
    for connection in _connections(settings, connection_name):
        try:
            checked = check_connection(connection, Parts(settings))
        except (SettingsError, SourceError) as error:
            errors.print(f"[bold red]{connection.name}:[/] {_plain(str(error))}", soft_wrap=True, highlight=False)
            worst = max(worst, WRONG_USE if isinstance(error, SettingsError) else UNREADABLE)
            continue
        found = checked.preflight
        console.print(
            f"[bold green]{connection.name}:[/] the token of [bold]{_plain(found.token_login)}[/] reads organization "
            f"[bold]{_plain(found.organization.key)}[/] at {connection.host_url} as its admin; all "
            f"{len(checked.endpoints)} endpoints answer.",
            soft_wrap=True,
            highlight=False,
        )
    if not worst:
        console.print(
            "Only GET is ever sent, but the token can write: keep it as a secret, of an account for this purpose alone. "
            "SonarCloud ends a token that is not used for 60 days.",
            soft_wrap=True,
        )
    sys.exit(worst)


@main.command()
@connection_option
def sync(connection_name: str | None) -> None:
    """Observe today: read SonarCloud, derive history, seal the day's packet. Safe to repeat.

    \b
    Example:  sonar-access sync
    """
    from sonar_access_pipeline.orchestration.launch import Launcher
    from sonar_access_pipeline.orchestration.parts import Parts

    settings = load()
    connections = _connections(settings, connection_name)
    for connection in connections:
        # What is missing is said before Dagster starts, and before anything is made.
        connection.organization_key()
        connection.token()
    worst = 0
    with console.status("starting Dagster ...") as status:

        def progress(name: str, rows: int, total: int | None, requests: int) -> None:
            status.update(
                f"reading {name.replace('_', ' ')}: {rows} of {total if total is not None else 1} ({requests} requests)"
            )

        parts = Parts(settings, progress=progress)
        with Launcher(parts) as launcher:
            for connection in connections:
                outcome = launcher.sync(connection, str(parts.clock().date()))
                if not outcome.success:
                    errors.print(f"[bold red]{connection.name}:[/] {_plain(outcome.sentence)}", soft_wrap=True, highlight=False)
                    worst = max(worst, STATUS_OF_KIND.get(outcome.kind, FAILED))
                else:
                    status.update("")
                    with closing(Warehouse(settings.warehouse)) as warehouse:
                        _print_admins(warehouse, connection.organization_key())
                        _print_packet(warehouse, connection.organization_key())
    sys.exit(worst)


def _print_admins(warehouse: Warehouse, organization_key: str) -> None:
    from sonar_access_pipeline.warehouse import queries

    with warehouse.read() as transaction:
        answering = queries.observation_at(transaction, organization_key, datetime.max.replace(tzinfo=UTC))
        rows = queries.admins_at(transaction, organization_key, answering.observed_at)
    for row in rows:
        row["through"] = "direct" if row["granted_via"] == "direct" else f"group {row['granted_via_name']}"
        row["since"] = "first observed" if row["changed_after"] is None else f"{row['valid_from']:%Y-%m-%d}"
    print_rows(
        console,
        rows,
        ("login", "name", "through", "since"),
        title=f"Who administers {organization_key}, as of {answering.observed_at:%Y-%m-%d %H:%M} UTC ({answering.source_kind})",
    )


def _print_packet(warehouse: Warehouse, organization_key: str) -> None:
    from sonar_access_pipeline.warehouse import queries

    with warehouse.read() as transaction:
        packet = queries.packets(transaction, organization_key)[-1]
    console.print(f"Evidence packet {packet['first_day']} to {packet['last_day']}: {packet['location']}", soft_wrap=True)
    console.print(f"Report: {packet['location']}/report.html", soft_wrap=True)


@main.command()
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

    with _warehouse(organization) as (warehouse, organization_key):
        moment = as_of or datetime.now(UTC)
        frame = frames.access(warehouse, organization_key, moment)
        with warehouse.read() as transaction:
            answering = queries.observation_at(transaction, organization_key, moment)
    if admins:
        frame = frame[(frame["access_type"] == "organization_permission") & (frame["entitlement"] == "admin")]
    age = moment - answering.observed_at
    errors.print(
        f"Answered by the observation of {answering.observed_at:%Y-%m-%d %H:%M:%S} UTC ({answering.source_kind.value}), "
        f"{age.days} d {age.seconds // 3600} h before {moment:%Y-%m-%d %H:%M} UTC.",
        highlight=False,
    )
    print_frame(
        console, frame, form, ("login", "name", "entitlement", "resource_name", "granted_via_name", "changed_after", "valid_from")
    )


@main.command()
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

    window = _window(first, last)
    with _warehouse(organization) as (warehouse, organization_key):
        frame = frames.changes(warehouse, organization_key, window)
    print_frame(
        console, frame, form, ("changed_after", "changed_by", "kind", "login", "entitlement", "resource_name", "granted_via_name")
    )


@main.command()
@organization_option
@click.option("--from", "first", type=Day(), default=None, help="First UTC day. Default: 30 days before the last.")
@click.option("--to", "last", type=Day(), default=None, help="Last UTC day, included. Default: the last day that is due.")
@click.option("--check", "checks", is_flag=True, help="Exit with 1 when a day was not observed: for an outside monitor.")
@format_option
def coverage(organization: str | None, first: date | None, last: date | None, checks: bool, form: str) -> None:
    """Which days were observed, and which are gaps.

    \b
    Example:  sonar-access coverage --from 2026-10-01 --to 2026-10-31
    """
    from sonar_access_pipeline.orchestration.watch import due_day
    from sonar_access_pipeline.warehouse import frames

    settings = load()
    last = last or due_day(datetime.now(UTC), settings.hour, settings.grace_hours)
    window = _window(first or last - timedelta(days=29), last)
    with _warehouse(organization) as (warehouse, organization_key):
        frame = frames.coverage(warehouse, organization_key, window.first, window.last)
    print_frame(console, frame, form, ("day", "status", "snapshots", "attempts", "observed_at", "error"))
    missing = int((frame["status"] != "observed").sum())
    if checks and missing:
        _end(f"{missing} of {len(frame)} days were not observed.", FAILED)


@main.group()
def evidence() -> None:
    """Build, verify and list evidence packets."""


@evidence.command("build")
@organization_option
@click.option("--from", "first", type=Day(), default=None, help="First UTC day.")
@click.option("--to", "last", type=Day(), default=None, help="Last UTC day, included.")
@click.option("--month", default=None, help="A month, as 2026-09.")
@click.option("--quarter", default=None, help="A quarter, as 2026Q3.")
def evidence_build(
    organization: str | None, first: date | None, last: date | None, month: str | None, quarter: str | None
) -> None:
    """Seal the packet of a window of days, from what the warehouse holds.

    \b
    Example:  sonar-access evidence build --quarter 2026Q3
    """
    from sonar_access_pipeline.evidence.packet import build
    from sonar_access_pipeline.evidence.seal import seal

    window = _asked_window(first, last, month, quarter)
    if window.last > datetime.now(UTC).date():
        raise click.UsageError(f"The window ends on {window.last}, which has not come yet; end it today at the latest.")
    with _warehouse(organization) as (warehouse, organization_key):
        packet = build(warehouse, organization_key, window)
        sealed = seal(packet, load().evidence_root, warehouse, clock=lambda: datetime.now(UTC), run_id="command line")
    word = "Sealed" if sealed.is_new else "Verified, since it had been sealed before"
    console.print(f"{word}: {sealed.folder}", soft_wrap=True, highlight=False)
    console.print(f"Digest: {sealed.digest}", soft_wrap=True, highlight=False)


@evidence.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
def evidence_verify(path: Path) -> None:
    """Check that a packet is as it was sealed. `sha256sum -c SHA256SUMS` in its folder checks the same sums.

    \b
    Example:  sonar-access evidence verify .sonar-access/evidence/acme/2026-09-01_2026-09-30/0123456789ab
    """
    from sonar_access_pipeline.evidence.seal import verify

    if faults := verify(path):
        for fault in faults:
            errors.print(_plain(fault), soft_wrap=True, highlight=False)
        _end(f"{path} is not what was sealed.", FAILED)
    console.print(f"{path} is as it was sealed.", soft_wrap=True, highlight=False)


@evidence.command("list")
@organization_option
@format_option
def evidence_list(organization: str | None, form: str) -> None:
    """List every packet ever sealed.

    \b
    Example:  sonar-access evidence list
    """
    from sonar_access_pipeline.warehouse import frames

    with _warehouse(organization) as (warehouse, organization_key):
        columns = ("first_day", "last_day", "source_kind", "sealed_at", "location")
        print_frame(console, frames.packets(warehouse, organization_key), form, columns)


@main.group("warehouse")
def warehouse_group() -> None:
    """Look after the warehouse."""


@warehouse_group.command("upgrade")
def warehouse_upgrade() -> None:
    """Bring the warehouse's tables to this version, making them if need be.

    \b
    Example:  sonar-access warehouse upgrade
    """
    from sonar_access_pipeline.warehouse.migrations import REVISIONS, upgrade

    with closing(Warehouse(load().warehouse)) as warehouse:
        changed = upgrade(warehouse)
        console.print(f"{warehouse.name} {'is now' if changed else 'was already'} at revision {REVISIONS[-1]}.", soft_wrap=True)


@warehouse_group.command("rebuild")
@organization_option
def warehouse_rebuild(organization: str | None) -> None:
    """Derive all history again from the snapshots, in one transaction.

    \b
    Example:  sonar-access warehouse rebuild
    """
    from sonar_access_pipeline.warehouse.history import rebuild

    with _warehouse(organization) as (warehouse, organization_key):
        merged = rebuild(warehouse, organization_key)
    observations = len({change.snapshot_id for change in merged})
    console.print(f"Derived the history of {organization_key} again from {observations} observations.")


@main.group()
def snapshot() -> None:
    """Look at raw snapshots."""


@snapshot.command("list")
@organization_option
@format_option
def snapshot_list(organization: str | None, form: str) -> None:
    """List every snapshot, and whether it counts as an observation.

    \b
    Example:  sonar-access snapshot list --format csv
    """
    from sonar_access_pipeline.warehouse import frames

    with _warehouse(organization) as (warehouse, organization_key):
        columns = ("snapshot_id", "partition_date", "observed_at", "verdict", "counts_as_observation", "reason")
        print_frame(console, frames.snapshots(warehouse, organization_key), form, columns)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1)
def ui(options: tuple[str, ...]) -> None:
    """Open Dagster's UI on the instance that `sync` uses; options are passed on to `dagster dev`.

    \b
    Example:  sonar-access ui --port 3000
    """
    from sonar_access_pipeline.orchestration.launch import WORKSPACE, dagster_home

    home = dagster_home(load()).absolute()
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(WORKSPACE), *options]
    os.execve(sys.executable, command, {**os.environ, "DAGSTER_HOME": str(home)})


@main.command()
@click.option("--days", type=click.IntRange(11, 120), default=30, show_default=True, help="Simulated days, ending today.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=Path(".sonar-access-demo"), show_default=True, help="Where to."
)
def demo(days: int, folder: Path) -> None:
    """Run a simulated organization over a month through the real pipeline, ending with a packet to look at.

    \b
    Example:  sonar-access demo
    """
    from sonar_access_pipeline.demo import run

    sys.exit(run(console, folder, days))


def _connections(settings: Settings, name: str | None) -> tuple[Connection, ...]:
    chosen = tuple(connection for connection in settings.connections if name in (None, connection.name))
    if not chosen:
        known = ", ".join(connection.name for connection in settings.connections)
        raise click.UsageError(f"There is no connection '{name}'; there is: {known}.")
    return chosen


@contextmanager
def _warehouse(organization: str | None) -> Iterator[tuple[Warehouse, str]]:
    """The warehouse to ask, and the organization: the one named, the one in the settings, or the only one there is."""
    from sonar_access_pipeline.warehouse import queries
    from sonar_access_pipeline.warehouse.migrations import require_current

    settings = load()
    if organization is None and len(settings.connections) == 1:
        organization = settings.connections[0].organization
    with closing(Warehouse(settings.warehouse)) as warehouse:
        require_current(warehouse)
        with warehouse.read() as transaction:
            organization_key = queries.the_organization(transaction, organization)
        yield warehouse, organization_key


def _window(first: date, last: date) -> Window:
    try:
        return Window(first, last)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _asked_window(first: date | None, last: date | None, month: str | None, quarter: str | None) -> Window:
    asked = [month, quarter, first or last]
    if sum(value is not None for value in asked) != 1 or (first is None) != (last is None):
        raise click.UsageError("Say the window once: --from and --to, or --month, or --quarter.")
    try:
        if month:
            return Window.month(month)
        if quarter:
            return Window.quarter(quarter)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    assert first is not None and last is not None
    return _window(first, last)
