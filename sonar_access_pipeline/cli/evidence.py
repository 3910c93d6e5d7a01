"""`evidence`: build, verify and list packets."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import click

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli.base import (
    FAILED,
    console,
    end,
    errors,
    format_option,
    opened,
    organization_option,
    plain,
    say,
    window_of,
)
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.terminal import Day, print_frame


@click.group()
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
    with opened(organization) as (warehouse, organization_key):
        packet = build(warehouse, organization_key, window)
        sealed = seal(packet, load().evidence_root, warehouse, clock=lambda: datetime.now(UTC), run_id="command line")
    word = "Sealed" if sealed.is_new else "Verified, since it had been sealed before"
    say(f"{word}: {sealed.folder}")
    say(f"Digest: {sealed.digest}")


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
            say(plain(fault), to=errors)
        end(f"{path} is not what was sealed.", FAILED)
    say(f"{path} is as it was sealed.")


@evidence.command("list")
@organization_option
@format_option
def evidence_list(organization: str | None, form: str) -> None:
    """List every packet ever sealed.

    \b
    Example:  sonar-access evidence list
    """
    from sonar_access_pipeline.warehouse import frames

    with opened(organization) as (warehouse, organization_key):
        columns = ("first_day", "last_day", "source_kind", "sealed_at", "location")
        print_frame(console, frames.packets(warehouse, organization_key), form, columns)


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
    return window_of(first, last)
