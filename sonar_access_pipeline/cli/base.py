"""What every command shares: how errors end, how a connection, an organization and a window are
named. No command here.
"""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console

from sonar_access_pipeline import terminal
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.errors import EXPECTED, fact_of
from sonar_access_pipeline.warehouse.timeouts import ASKING, TimeLimits

if TYPE_CHECKING:
    from sonar_access_pipeline.settings import Connection, Settings
    from sonar_access_pipeline.warehouse.database import Warehouse

console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


class OneSentence(click.Group):
    """A group whose commands end with one sentence and an exit status where people, networks or
    disks are at fault.
    """

    def invoke(self, context: click.Context) -> Any:
        """Run the command; turn expected errors into their sentence."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A letter that the terminal does not know must not end a command that has done its
                # work.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(context)
        except EXPECTED as error:
            end(str(error), fact_of(error).status)


def load() -> Settings:
    """Read the settings of this machine: loaded with what reads them, once a command needs them."""
    from sonar_access_pipeline.settings import load as read

    return read()


def end(sentence: str, status: int) -> NoReturn:
    """End the command with an error."""
    say(sentence, to=errors, label="Error:", style="bold red")
    sys.exit(status)


def say(text: str, *, to: Console = console, label: str = "", style: str = "bold") -> None:
    """Print one line with a label before it. Nothing in it is ever markup."""
    terminal.say(text, to=to, label=label, style=style)


connection_option = click.option(
    "--connection", "connection_name", help="Name of the connection; needed when there are several."
)
organization_option = click.option(
    "--organization", help="Key of the organization; needed when the warehouse has several."
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def connections_of(settings: Settings, name: str | None) -> tuple[Connection, ...]:
    """Return the connection with a name, or all connections where no name is given."""
    chosen = tuple(
        connection for connection in settings.connections if name in (None, connection.name)
    )
    if not chosen:
        known = ", ".join(connection.name for connection in settings.connections)
        raise click.UsageError(f"There is no connection '{name}'; there is: {known}.")
    return chosen


@contextmanager
def opened_warehouse(limits: TimeLimits = ASKING) -> Iterator[Warehouse]:
    """Hold the warehouse of the settings open; it must be there."""
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.migrations import require_current

    with closing(Warehouse(load().warehouse, limits)) as warehouse:
        require_current(warehouse)
        yield warehouse


@contextmanager
def opened(
    organization: str | None, limits: TimeLimits = ASKING
) -> Iterator[tuple[Warehouse, str]]:
    """Hold the warehouse to ask open, and choose the organization: the one named, the one in the
    settings, or the only one there is.
    """
    from sonar_access_pipeline.warehouse.ask import queries

    settings = load()
    if organization is None and len(settings.connections) == 1:
        organization = settings.connections[0].organization
    with opened_warehouse(limits) as warehouse:
        with warehouse.read() as transaction:
            organization_key = queries.the_organization(transaction, organization)
        yield warehouse, organization_key


def window_of(first: date, last: date) -> Window:
    """Build the window of the days from `first` to `last`."""
    try:
        return Window(first, last)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


by_option = click.option(
    "--by",
    default=lambda: _this_person(),
    show_default="the account that runs the command",
    help="Who decides.",
)


def _this_person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise click.UsageError(
            "Nobody knows who runs this command; say who decides with --by."
        ) from None
