"""`evidence/fonts/covered.txt`: which characters the font of the PDF has, read from the font.

$ python -m sonar_access_pipeline_tests.support.font
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from fontTools.ttLib import TTFont

import sonar_access_pipeline.evidence

FONTS = Path(sonar_access_pipeline.evidence.__file__).parent / "fonts"
FILE = FONTS / "covered.txt"


def text() -> str:
    """Write a line for each run of characters that both faces have: first and last, as numbers."""
    faces = [set(TTFont(face, lazy=True).getBestCmap()) for face in sorted(FONTS.glob("*.ttf"))]
    numbered = enumerate(sorted(set.intersection(*faces)))
    lines = []
    for _, run in groupby(numbered, lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        lines.append(f"{codes[0]:04X} {codes[-1]:04X}\n")
    return "".join(lines)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
