"""Which names a hasty eye takes for one another.

By Unicode's published data of characters that look alike (Technical Standard 39, version 15.1, of
2023-08), in `confusables.txt` beside this: a line has what is looked like and, after a tab, every
character that looks like it. The data is part of what a version of the rule means, so it does not
come from a library that another day brings in another version.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files


@cache
def _prototypes() -> dict[int, str]:
    """Map each character to what it looks like."""
    data = files("sonar_access_pipeline.access") / "confusables.txt"
    prototypes: dict[int, str] = {}
    for line in data.read_text(encoding="utf-8").split("\n"):
        prototype, _, sources = line.partition("\t")
        prototypes.update(dict.fromkeys(map(ord, sources), prototype))
    return prototypes


def skeletons(name: str) -> set[str]:
    """Reduce a name to what is seen of it, without accents, spaces, punctuation and what cannot be
    seen: as it stands, where I and l are one; and in lower case, where I and i are.

    Empty where nothing is seen of it.
    """
    plain = unicodedata.normalize("NFKD", name)
    seen = (_bare(letters.translate(_prototypes())) for letters in (plain, plain.casefold()))
    return set(filter(None, seen))


def _bare(letters: str) -> str:
    return "".join(
        letter for letter in letters.casefold() if unicodedata.category(letter)[0] not in "MCZP"
    )


def alike(names: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the sets of logins whose names look alike, of logins with their names: two that look
    like a third are of its set. Each in order, and all by their first.
    """
    by_skeleton: Mapping[str, list[str]] = defaultdict(list)
    for login, name in names:
        for skeleton in skeletons(name):
            by_skeleton[skeleton].append(login)
    set_of: dict[str, set[str]] = {}
    for logins in by_skeleton.values():
        joined = set(logins).union(*(set_of.get(login, ()) for login in logins))
        set_of.update(dict.fromkeys(joined, joined))
    sets = {id(of_it): sorted(of_it) for of_it in set_of.values() if len(of_it) > 1}
    return sorted(sets.values())
