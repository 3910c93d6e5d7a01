"""A picture for the metadata of assets: which days were observed. Pure: facts in, PNG out.

Dagster's UI shows no SVG there, so it is PNG; numbers over time it plots by itself.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date, timedelta

from PIL import Image, ImageDraw, ImageFont

SCALE = 2
CELL = 13
GAP = 3
MARGIN = 10
TEXT = 11
BACKGROUND = "#ffffff"
INK = "#24292f"
FAINT = "#8c959f"
COLOURS = {
    "observed": "#1f6fb2",
    "held": "#e3b341",
    "retracted": "#8957a5",
    "incomplete": "#d9822b",
    "failed": "#c0392b",
    "missing": "#d0d7de",
}
"""Of each fate of a day; each but the first also has its first letter, for those who do not tell
the colours apart.
"""
NARROWEST = 520


def markdown(name: str, png: bytes) -> str:
    """Return a picture as text that Dagster's UI shows as a picture in metadata."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"


def calendar(days: Sequence[tuple[date, str]]) -> bytes:
    """Draw one square per day, one column per week (Monday on top), coloured by what became of the
    day; months on top, a key below.

    `days` are days with the statuses of `sync_coverage`, in their order, at least one.
    """
    first = days[0][0] - timedelta(days=days[0][0].weekday())
    weeks = (days[-1][0] - first).days // 7 + 1
    step = CELL + GAP
    top = MARGIN + TEXT + 6
    bottom = top + 7 * step
    width = max(2 * MARGIN + weeks * step, NARROWEST + 2 * MARGIN)
    picture, draw, font = _canvas(width, bottom + 24 + MARGIN)
    for day, status in days:
        column, row = (day - first).days // 7, day.weekday()
        _cell(draw, font, MARGIN + column * step, top + row * step, status)
        if day.day == 1:
            _text(
                draw,
                font,
                MARGIN + column * step,
                MARGIN,
                f"{day:%b}" if day.month > 1 else f"{day:%Y}",
                FAINT,
            )
    x = MARGIN
    for status in COLOURS:
        count = sum(day_status == status for _, day_status in days)
        _cell(draw, font, x, bottom + 8, status)
        words = f"{status} {count}"
        _text(draw, font, x + CELL + 4, bottom + 8, words, INK)
        x += CELL + 14 + round(draw.textlength(words, font=font) / SCALE)
    return _png(picture)


def _cell(
    draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont, x: int, y: int, status: str
) -> None:
    draw.rounded_rectangle(
        _scaled(x, y, x + CELL, y + CELL), radius=2 * SCALE, fill=COLOURS[status]
    )
    if status != "observed":
        _text(draw, font, x + 3, y, status[0].upper(), INK)


def _canvas(
    width: int, height: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, ImageFont.ImageFont]:
    picture = Image.new("RGB", (width * SCALE, height * SCALE), BACKGROUND)
    font = ImageFont.load_default(TEXT * SCALE)
    return picture, ImageDraw.Draw(picture), font  # type: ignore[return-value]


def _text(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont,
    x: float,
    y: float,
    words: str,
    colour: str,
) -> None:
    draw.text((x * SCALE, y * SCALE), words, font=font, fill=colour)


def _scaled(*numbers: float) -> list[float]:
    return [number * SCALE for number in numbers]


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.quantize(32).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
