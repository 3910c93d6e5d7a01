"""`ui`, `demo` and `upgrade`: to look at what there is, to see it all without an account, and to
begin with a new version.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sonar_access_pipeline.cli.base import console, load, say
from sonar_access_pipeline.cli.serve import PORT, serve


@click.command(context_settings={"ignore_unknown_options": True})
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


@click.command()
@click.option(
    "--wait",
    "minutes",
    type=click.IntRange(0, 720),
    default=15,
    show_default=True,
    help="Minutes, for runs that go on.",
)
@click.option(
    "--grant",
    "roles",
    multiple=True,
    metavar="ROLE=KIND",
    help="A role of the database, and its kind; may be repeated.",
)
def upgrade(minutes: int, roles: tuple[str, ...]) -> None:
    """Bring the warehouse's tables and Dagster's own to this version, before its services start.

    Safe to repeat.

    Runs that go on are waited for; where they do not end in time nothing is changed, and the exit
    status is 1. Run it as the owner of the tables.

    \b
    Example:  sonar-access upgrade --grant pipeline=pipeline --grant data_team=analyst
    """
    from sonar_access_pipeline.orchestration.upgrade import BusyError
    from sonar_access_pipeline.orchestration.upgrade import upgrade as upgrade_all
    from sonar_access_pipeline.warehouse.roles import Role

    kinds = {role.value: role for role in Role}
    kind_by_name = dict(one.partition("=")[::2] for one in roles)
    if len(kind_by_name) < len(roles):
        raise click.UsageError("A role is named twice with --grant; it has one kind.")
    if wrong := [
        f"{name}={kind}" for name, kind in kind_by_name.items() if not name or kind not in kinds
    ]:
        raise click.UsageError(
            f"{wrong[0]} is no role with its kind: write name=kind, with one of {', '.join(kinds)}."
        )
    try:
        upgrade_all(
            load(), {name: kinds[kind] for name, kind in kind_by_name.items()}, minutes * 60, say
        )
    except BusyError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.option(
    "--days",
    type=click.IntRange(11, 120),
    default=30,
    show_default=True,
    help="Simulated days, ending today.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".sonar-access-demo"),
    show_default=True,
    help="Where to.",
)
@click.option(
    "--page",
    "is_served",
    is_flag=True,
    help="Then serve the reviewers' page on this machine, with a review that waits.",
)
def demo(days: int, folder: Path, is_served: bool) -> None:
    """Run a simulated organization over a month through the real pipeline, ending with a packet to
    look at, and a review of it.

    \b
    Example:  sonar-access demo --page
    """
    from sonar_access_pipeline.demo import run

    status = run(console, folder, days, is_waiting=is_served)
    if is_served and status == 0:
        serve(load(), "127.0.0.1", PORT)
    sys.exit(status)
