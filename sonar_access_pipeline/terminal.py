"""Times in, answers out: parameter types of the command line, and printing as a table for people,
as CSV or JSON for programs.

Values from outside never become markup or control codes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


class Moment(click.ParamType[datetime | date]):
    """A UTC time as ISO 8601; a date alone is a day, and means what was observed by its end."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | date:
        """`2026-10-31`, `2026-10-31T12:00` or with an offset."""
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                return date.fromisoformat(value)
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is no time; write 2026-10-31 or 2026-10-31T12:00 (UTC).", param, ctx
            )


class Day(click.ParamType[date]):
    """A UTC day as ISO 8601."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """`2026-10-31`."""
        try:
            return value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"'{value}' is no day; write it as 2026-10-31.", param, ctx)


def shown(text: str) -> str:
    """Text from elsewhere without power over the terminal: no control codes, no line of its own."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def say(text: str, *, to: Console, label: str = "", style: str = "bold") -> None:
    """Print one line, however long it is, with a label in a style before it.

    Nothing in it is ever markup.
    """
    message = Text.assemble((shown(label), style), " " if label and text else "", shown(text))
    to.print(message, soft_wrap=True, highlight=False)


def print_frame(console: Console, frame: pd.DataFrame, form: str, columns: tuple[str, ...]) -> None:
    """Print a DataFrame: whole as `csv` or `json` (UTC, unknown as empty field or null), `columns`
    of it as a `table`.
    """
    if form == "csv":
        frame.to_csv(sys.stdout, index=False, date_format="%Y-%m-%dT%H:%M:%S.%fZ")
    elif form == "json":
        frame.to_json(sys.stdout, orient="records", date_format="iso", indent=2, force_ascii=False)
        sys.stdout.write("\n")
    else:
        rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
        print_rows(console, rows, columns)


def print_rows(
    console: Console,
    rows: Sequence[Mapping[Any, Any]],
    columns: tuple[str, ...],
    *,
    title: str | None = None,
) -> None:
    """Print rows as a table with the given columns, then how many there are."""
    table = Table(
        title=None if title is None else Text(shown(title)),
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    console.print(table)
    console.print(f"{len(rows)} rows", style="dim", highlight=False)


def _cell(value: object) -> Text:
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}")
    return Text(shown(str(value)))
