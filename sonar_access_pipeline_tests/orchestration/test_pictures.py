"""The picture says what the facts say: every day has the colour of its fate."""

from __future__ import annotations

import base64
import io
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from sonar_access_pipeline.orchestration.pictures import (
    BACKGROUND,
    CELL,
    COLOURS,
    GAP,
    MARGIN,
    SCALE,
    TEXT,
    calendar,
    markdown,
)

days_of = st.builds(
    lambda first, fates: [(first + timedelta(days=n), fate) for n, fate in enumerate(fates)],
    st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    st.lists(st.sampled_from(sorted(COLOURS)), min_size=1, max_size=182),
)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def close(found: object, colour: str) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) < 24 for a, b in zip(found, ImageColor.getrgb(colour), strict=False))


@given(days_of)
def test_every_day_of_the_calendar_has_the_colour_of_its_fate(days: list[tuple[date, str]]) -> None:
    picture = opened(calendar(days))
    first = days[0][0] - timedelta(days=days[0][0].weekday())
    for day, fate in days:
        x = MARGIN + (day - first).days // 7 * (CELL + GAP)
        y = MARGIN + TEXT + 6 + day.weekday() * (CELL + GAP)
        assert close(
            picture.getpixel(((x + CELL - 2) * SCALE, (y + CELL - 2) * SCALE)), COLOURS[fate]
        ), day


def test_a_picture_in_markdown_is_the_picture() -> None:
    png = calendar([(date(2026, 1, 1), "observed")])
    text = markdown("coverage", png)
    assert text.startswith("![coverage](data:image/png;base64,")
    assert base64.b64decode(text.split(",")[1].removesuffix(")")) == png
    assert close(opened(png).getpixel((1, 1)), BACKGROUND)
