"""`deliver`: evidence, put where somebody else keeps theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.cli.base import (
    console,
    end,
    errors,
    format_option,
    load,
    opened_warehouse,
    say,
)
from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.errors import EXPECTED, FAILED
from sonar_access_pipeline.warehouse.timeouts import WORKING

if TYPE_CHECKING:
    from sonar_access_pipeline.deliveries.sealed import SealedPacket
    from sonar_access_pipeline.deliveries.sending import Ready
    from sonar_access_pipeline.settings_delivery import DeliverySettings
    from sonar_access_pipeline.warehouse.database import Warehouse

name_argument = click.argument("name", required=False)
packet_option = click.option(
    "--packet",
    help="A packet's folder or URL, or the first digits of its digest; else the newest of its kind"
    " of window.",
)


@click.group()
def deliver() -> None:
    """Put sealed evidence where somebody else keeps theirs: Drata, Vanta, files, OSCAL
    (docs/deliveries.md).
    """


@deliver.command("plan")
@name_argument
@packet_option
def deliver_plan(name: str | None, packet: str | None) -> None:
    """Show what would be sent, and how it differs from the last time; nothing is sent.

    \b
    Example:  sonar-access deliver plan auditor-files
    """
    refused = 0
    with opened_warehouse(WORKING) as warehouse:
        for settings in _chosen(name):
            try:
                _show(_ready(warehouse, settings, packet))
            except EXPECTED as error:
                refused += 1
                say(f"{settings.name}: {error}", to=errors, label="Not sent:", style="bold red")
    if refused:
        end(f"{refused} of the deliveries would not be sent.", FAILED)


@deliver.command("send")
@name_argument
@packet_option
@click.option(
    "--plan", "wanted", help="Send only if this is the plan: the digits that plan showed."
)
def deliver_send(name: str | None, packet: str | None, wanted: str | None) -> None:
    """Send, read back what the target has, and register the receipt. Sent again, what is there is
    found and not doubled.

    \b
    Example:  sonar-access deliver send auditor-files --plan 3f9a12bc
    """
    from sonar_access_pipeline import __version__
    from sonar_access_pipeline.deliveries.sending import send
    from sonar_access_pipeline.orchestration.resources import Resources

    failed = 0
    clock = Resources(load()).clock
    with opened_warehouse(WORKING) as warehouse:
        for settings in _chosen(name):
            try:
                found = _ready(warehouse, settings, packet)
                _show(found)
                if wanted is not None and not found.plan.key.startswith(wanted):
                    raise DeliveryError(
                        f"The plan is {found.plan.key[:12]} now, and not {wanted}: something"
                        " changed since. Look at it again."
                    )
                outcome = send(warehouse, found, clock, __version__)
            except EXPECTED as error:
                failed += 1
                say(f"{settings.name}: {error}", to=errors, label="Not sent:", style="bold red")
                continue
            done = "it was there already" if outcome.found else "sent"
            say(
                f"{settings.name}: {done}; what is listed there is what was sent.",
                label="Delivered:",
                style="bold green",
            )
    if failed:
        end(f"{failed} of the deliveries were not made.", FAILED)


@deliver.command("list")
@format_option
def deliver_list(form: str) -> None:
    """List the receipts of deliveries.

    \b
    Example:  sonar-access deliver list --format csv
    """
    from sonar_access_pipeline.terminal import print_answer
    from sonar_access_pipeline.warehouse.ledger.deliveries import RECEIPT, receipts

    with opened_warehouse() as warehouse, warehouse.read() as transaction:
        rows = receipts(transaction)
    in_table = ("name", "kind", "organization_key", "packet_digest", "accounts", "found")
    print_answer(console, rows, form, RECEIPT, (*in_table, "delivered_at"))


def _chosen(name: str | None) -> Iterator[DeliverySettings]:
    known = load().delivery
    chosen = [one for one in known if name in (None, one.name)]
    if not chosen:
        names = ", ".join(one.name for one in known) or "none"
        wanted = f" '{name}'" if name else ""
        raise click.UsageError(
            f"There is no delivery{wanted} in the settings; there is: {names}. docs/deliveries.md"
            " says how to write one."
        )
    yield from chosen


def _ready(warehouse: Warehouse, settings: DeliverySettings, packet: str | None) -> Ready:
    from sonar_access_pipeline.deliveries.sending import ready
    from sonar_access_pipeline.orchestration.resources import Resources

    resources = Resources(load())
    return ready(
        warehouse,
        _packet(warehouse, settings, packet),
        settings,
        resources.settings.brake,
        os.environ,
        resources.clock(),
    )


def _packet(warehouse: Warehouse, settings: DeliverySettings, packet: str | None) -> SealedPacket:
    from sonar_access_pipeline.cli.packets import trusted_files
    from sonar_access_pipeline.deliveries.sealed import SealedPacket
    from sonar_access_pipeline.deliveries.sending import packet_of
    from sonar_access_pipeline.evidence.stores import store_of
    from sonar_access_pipeline.warehouse.ask.queries import packets_named

    known = load()
    connection = next(one for one in known.connections if settings.connection in (None, one.name))
    if packet is None:
        store = store_of(known.evidence)
        return packet_of(warehouse, store, connection.organization_key(), settings)
    if re.fullmatch(r"[0-9a-f]{6,64}", packet):
        with warehouse.read() as transaction:
            places = packets_named(transaction, packet)
        if len(places) != 1:
            raise DeliveryError(
                f"{len(places)} packets of the register begin with {packet}; write more of it."
            )
        packet = places[0]
    found = SealedPacket(packet, trusted_files(packet, ()))
    if found.organization_key != connection.organization_key():
        raise DeliveryError(
            f"The packet is of {found.organization_key}, and the delivery '{settings.name}' of"
            f" {connection.organization_key()}."
        )
    return found


def _show(found: Ready) -> None:
    from sonar_access_pipeline.terminal import print_rows

    plan = found.plan
    say(
        f"{plan.key[:12]}: {plan.name} ({plan.kind}), packet {plan.packet_digest[:12]}, as of"
        f" {plan.as_of:%Y-%m-%d %H:%M} UTC, {plan.accounts:,} accounts, to {plan.where}",
        label="Plan:",
    )
    rows = [part.facts() for part in plan.prepared.parts]
    print_rows(console, rows, ("name", "rows", "bytes", "sha256"))
    for sentence in (*plan.prepared.notes, *found.differences):
        say(sentence)
