"""The rows of a long sheet, as SpreadsheetML: byte for byte what XlsxWriter writes for the same
cells, in a twentieth of its time.

XlsxWriter makes the workbook and everything that has a look; it writes each cell by itself, which
for a hundred thousand rows takes longer than everything else in a packet. Whoever writes faster
takes a text that begins with = for a formula, or no text that XML cannot hold. Here is nothing but
rows (ECMA-376, part 1, 18.3.1.73).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from xlsxwriter.utility import xl_col_to_name

SPECIAL = re.compile("[&<>\x00-\x08\x0b-\x1f\ufffe\uffff]|^\\s|\\s$|_x[0-9a-fA-F]{4}_")
"""What is not written as it is."""
LEADING = 13
MOST_LINES = 30
"""Points of a line; lines of the highest row, which Excel limits to 409 points."""
LITERAL = re.compile("(_x[0-9a-fA-F]{4}_)")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]")


def rows_of(
    rows: Iterable[Sequence[Any]],
    looks: Sequence[int],
    to_fill: frozenset[int] = frozenset(),
    wraps_at: Sequence[tuple[int, int]] = (),
    first: int = 2,
) -> Iterator[str]:
    """Yield the rows of a sheet from the `first` on: an int is a number, anything else a text;
    None and an empty text are no cell, or an empty one to fill in.

    `looks` has the index of each column's format, `to_fill` the places of the columns to fill in,
    `wraps_at` place and width of the columns whose text is wrapped: a row is as high as the longest
    needs, since no reader fits it by itself.
    """
    heads = [f'<c r="{xl_col_to_name(place)}%d" s="{look}"' for place, look in enumerate(looks)]
    places = range(len(looks))
    for number, row in enumerate(rows, start=first):
        lines = max([1, *(-(-len(row[place] or "") // width) for place, width in wraps_at)])
        height = f' ht="{min(lines, MOST_LINES) * LEADING}"' if lines > 1 else ""
        cells = [f'<row r="{number}"{height}>']
        for place in places:
            value = row[place]
            if value is None or value == "":
                if place in to_fill:
                    cells.append(f"{heads[place] % number}/>")
            elif type(value) is int:
                cells.append(f"{heads[place] % number}><v>{value:.16G}</v></c>")
            else:
                cells.append(f'{heads[place] % number} t="inlineStr"><is>{_text(value)}</is></c>')
        cells.append("</row>")
        yield "".join(cells)


def _text(text: str) -> str:
    if not SPECIAL.search(text):
        return f"<t>{text}</t>"
    text = CONTROL.sub(lambda found: f"_x{ord(found[0]):04X}_", LITERAL.sub(r"_x005F\1", text))
    keeps = ' xml:space="preserve"' if text[:1].isspace() or text[-1:].isspace() else ""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<t{keeps}>{text}</t>"
