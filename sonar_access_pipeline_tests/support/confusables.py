"""`access/confusables.txt`, from Unicode's data (Technical Standard 39) as a library brings it.

$ python -m sonar_access_pipeline_tests.support.confusables

The file is part of what a version of a rule means: whoever makes it anew from other data makes a
new version of `confusable-name`.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from pathlib import Path

from confusable_homoglyphs.confusables import confusables_data

import sonar_access_pipeline.access

FILE = Path(sonar_access_pipeline.access.__file__).parent / "confusables.txt"
MARK = "\u200e"
"""Stands beside text from right to left in Unicode's file."""


def prototypes() -> dict[str, str]:
    """Map each character to what it looks like, by the library's lists: what many look like, or
    what has more letters than one, is looked like; else what comes first.
    """
    found = {}
    for source, targets in confusables_data.items():
        looks = [target["c"].replace(MARK, "") for target in targets]
        if len(source) > 1 or len(looks) != 1 or not _counts(source):
            continue
        target = looks[0]
        is_first = len(confusables_data.get(target, ())) == 1 and len(target) == 1
        if not (is_first and source < target):
            found[source] = target
    return found


def _counts(letter: str) -> bool:
    """Tell whether a character can stand in what is compared: only decomposed ones do."""
    return unicodedata.normalize("NFKD", letter) == letter


def text() -> str:
    """Write a line for each prototype: it, and after a tab everything that looks like it."""
    by_prototype: dict[str, list[str]] = defaultdict(list)
    for source, target in prototypes().items():
        by_prototype[target].append(source)
    lines = (f"{target}\t{''.join(sorted(of_it))}\n" for target, of_it in by_prototype.items())
    return "".join(sorted(lines))


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
