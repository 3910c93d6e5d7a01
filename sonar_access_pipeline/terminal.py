"""Times in, answers out: parameter types of the command line, and printing as a table for people,
as CSV or JSON for programs.

Values from outside never become markup or control codes.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import zip_longest
from operator import le
from textwrap import wrap
from typing import Any

import click
from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text


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
    return (
        text
        if text.isprintable()
        else "".join(
            character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
            for character in text
        )
    )


def say(text: str, *, to: Console, label: str = "", style: str = "bold") -> None:
    """Print one line, however long it is, with a label in a style before it.

    Nothing in it is ever markup.
    """
    message = Text.assemble((shown(label), style), " " if label and text else "", shown(text))
    to.print(message, soft_wrap=True, highlight=False)


Row = Mapping[str, Any]


def print_answer(
    console: Console,
    rows: Sequence[Row],
    form: str,
    columns: Sequence[str],
    in_table: Sequence[str],
) -> None:
    """Print an answer: all its `columns` as `csv` or `json` (UTC, unknown as empty field or null),
    or those that people read first as a `table`.
    """
    if form == "csv":
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(columns)
        lines.writerows([_in_file(row[column]) for column in columns] for row in rows)
    elif form == "json":
        answer = [{column: _in_file(row[column]) for column in columns} for row in rows]
        json.dump(answer, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        print_rows(console, rows, in_table)


def _in_file(value: Any) -> Any:
    """Write a value for programs: times as ISO 8601 UTC."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
    return str(value) if isinstance(value, date) else value


def print_rows(
    console: Console, rows: Sequence[Row], columns: Sequence[str], *, title: str | None = None
) -> None:
    """Print rows as a table with the given columns, then how many there are.

    As fast as a hundred thousand rows need: nothing but text, folded where it has no room.
    """
    if title is not None:
        console.print(Text(shown(title), style="italic"))
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    heads = [column.replace("_", " ") for column in columns]
    longest = [max(map(_width, set(texts))) for texts in zip(heads, *cells, strict=True)]
    widths = _fitting(longest, console.width - GAP * (len(columns) - 1))
    for line in _folded(heads, widths):
        console.print(Text(line, style="bold"), soft_wrap=True)
    for row_cells in cells:
        console.file.writelines(f"{line}\n" for line in _folded(row_cells, widths))
    console.print(Text("1 row" if len(rows) == 1 else f"{len(rows)} rows", style="dim"))


GAP = 2
NARROWEST = 8
"""Cells between columns, and of a column that is folded."""


def _fitting(widths: Sequence[int], room: int) -> list[int]:
    """Make the widest columns as narrow as the room needs."""
    widest = max(widths, default=0)
    while sum(min(width, widest) for width in widths) > room and widest > NARROWEST:
        widest -= 1
    return [min(width, widest) for width in widths]


def _folded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines that some cells take beside each other."""
    if _is_simple(cells) and all(map(le, map(len, cells), widths)):
        # As nearly all are, of a hundred thousand.
        yield (" " * GAP).join(map(str.ljust, cells, widths)).rstrip()
        return
    columns = list(map(_lines_of, cells, widths))
    for parts in zip_longest(*columns, fillvalue=""):
        yield (" " * GAP).join(map(_padded, parts, widths)).rstrip()


NOTHING = "–"


def _is_simple(cells: Sequence[str]) -> bool:
    """Tell whether every letter of some cells is as wide as any other."""
    return "".join(cells).replace(NOTHING, "").isascii()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    return len(text) if _is_simple((text,)) else cell_len(text)


def _lines_of(cell: str, width: int) -> list[str]:
    """Break a cell between words, or within a word that has no room."""
    if _width(cell) <= width:
        return [cell]
    return wrap(cell, width) if cell.isascii() else chop_cells(cell, width)


def _cell(value: object) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return shown(str(value))
