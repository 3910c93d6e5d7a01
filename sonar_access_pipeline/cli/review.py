"""`review ...`: who had access is looked at and decided on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.cli.base import console, errors, format_option, say
from sonar_access_pipeline.cli.packets import fingerprint_option, trusted_files
from sonar_access_pipeline.terminal import print_answer

if TYPE_CHECKING:
    from sonar_access_pipeline.access.review import Item, Plan

SCOPES = ("everybody", "admins", "services")


@click.group()
def review() -> None:
    """Review access: see what a packet asks somebody to decide."""


@review.command("plan")
@click.argument("path")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=SCOPES[0],
    show_default=True,
    help="What the review is about; everything else is left out, with its reason.",
)
@click.option("--left-out", "left_out", is_flag=True, help="What is left out, instead, and why.")
@fingerprint_option
@format_option
def review_plan(
    path: str, scope: str, left_out: bool, fingerprints: tuple[str, ...], form: str
) -> None:
    """Show what a review of a sealed packet asks somebody to decide: each account with what is not
    privileged, each privileged right of an account, and what each group and Anyone may do. Nothing
    is stored.

    \b
    Example:  sonar-access review plan PACKET --scope admins
    """
    from sonar_access_pipeline.access.review import ReviewScope, plan
    from sonar_access_pipeline.evidence.tables import records

    files = trusted_files(path, fingerprints)
    scopes = json.loads(files["manifest.json"])["as_of"]["scopes"]
    population = list(records(files["population.csv"]))
    access = list(records(files["access.csv"]))
    planned = plan(population, access, ReviewScope(scope))
    names = _names(population, access)
    rows = [
        {
            "item_no": number,
            "kind": item.kind.value,
            "subject": item.subject,
            "name": names.get(item.subject),
            "right": item.right or None,
            "resource": item.resource or None,
            "held": "; ".join(
                f"{held.entitlement} on {held.resource} ({held.granted_via})" for held in item.held
            ),
            "why": why,
        }
        for number, (item, why) in enumerate(_chosen(planned, left_out=left_out), start=1)
    ]
    say(
        f"{len(planned.items)} items, {len(planned.left_out)} left out; the packet has"
        f" {len(population)} accounts.",
        to=errors,
    )
    if "project_permissions" not in scopes:
        said = "permissions on projects were not read, so none is among the items."
        say(said, label="Not known:", style="bold yellow", to=errors)
    in_table = ("item_no", "kind", "subject", "name", "right", "resource", "held")
    shown = (*in_table[:-1], "why") if left_out else in_table
    print_answer(console, rows, form, (*in_table, "why"), shown)


def _chosen(planned: Plan, *, left_out: bool) -> Iterator[tuple[Item, str | None]]:
    if left_out:
        return ((one.item, one.why) for one in planned.left_out)
    return ((item, None) for item in planned.items)


def _names(
    population: Sequence[Mapping[str, str]], access: Sequence[Mapping[str, str]]
) -> dict[str, str | None]:
    """Return the names of accounts by login, and of groups by `group:` and their id."""
    of_groups = {row["granted_via"]: row["granted_via_name"] or None for row in access}
    return {**of_groups, **{row["login"]: row["name"] or None for row in population}}
