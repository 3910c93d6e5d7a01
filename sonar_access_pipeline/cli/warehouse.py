"""`warehouse`: look after the warehouse itself."""

from __future__ import annotations

from contextlib import closing

import click

from sonar_access_pipeline.cli.base import opened, organization_option, say
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.warehouse.database import Warehouse


@click.group()
def warehouse() -> None:
    """Look after the warehouse."""


@warehouse.command("upgrade")
def warehouse_upgrade() -> None:
    """Bring the warehouse's tables to this version, making them if need be.

    \b
    Example:  sonar-access warehouse upgrade
    """
    from sonar_access_pipeline.warehouse.migrations import REVISIONS, upgrade

    with closing(Warehouse(load().warehouse)) as opened_here:
        changed = upgrade(opened_here)
        say(f"{opened_here.name} {'is now' if changed else 'was already'} at revision {REVISIONS[-1]}.")


@warehouse.command("rebuild")
@organization_option
def warehouse_rebuild(organization: str | None) -> None:
    """Derive all history again from the snapshots, in one transaction.

    \b
    Example:  sonar-access warehouse rebuild
    """
    from sonar_access_pipeline.warehouse.rebuild import rebuild

    with opened(organization) as (opened_here, organization_key):
        observations = rebuild(opened_here, organization_key)
    say(f"Derived the history of {organization_key} again from {observations} observations.")
