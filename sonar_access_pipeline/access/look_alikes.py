"""Which names a hasty eye takes for one another.

By Unicode's published data of characters that look alike (Technical Standard 39, version 15.1, of
2023-08), in `confusables.txt` beside this: a line has what is looked like and, after a tab, every
character that looks like it. The data is part of what a version of the rule means, so it does not
come from a library that another day brings in another version.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
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


FIRST_LETTERS = str.maketrans(
    {
        **dict(zip("\u0430\u0435\u043e\u0440\u0441\u0443\u0445", "aeopcyx", strict=True)),
        **dict(zip("\u0458\u0455\u04bb\u0501\u051b\u051d", "jshdqw", strict=True)),
        **dict(zip("\u03b1\u03bf\u03bd\u03ba\u03c1\u03c4\u03c5", "aovkptu", strict=True)),
        **dict.fromkeys("i\u0456\u03b91|", "l"),
        "0": "o",
        "5": "s",
    }
)
"""Letters that look like others, in lower case, as the rule's version 2 has them."""


@lru_cache(maxsize=1 << 17)
def first_skeletons(name: str) -> frozenset[str]:
    """Reduce a name as the rule's version 2 does: by a few letters, in lower case."""
    plain = unicodedata.normalize("NFKD", name).casefold().translate(FIRST_LETTERS)
    return frozenset(filter(None, [_bare(plain)]))


@lru_cache(maxsize=1 << 17)
def skeletons(name: str) -> frozenset[str]:
    """Reduce a name to what is seen of it, without accents, spaces, punctuation and what cannot be
    seen: as it stands, where I and l are one; and in lower case, where I and i are.

    Empty where nothing is seen of it. Kept, since every day asks for the same names.
    """
    plain = unicodedata.normalize("NFKD", name)
    seen = (_bare(letters.translate(_prototypes())) for letters in (plain, plain.casefold()))
    return frozenset(filter(None, seen))


def _bare(letters: str) -> str:
    return "".join(
        letter for letter in letters.casefold() if unicodedata.category(letter)[0] not in "MCZP"
    )


def alike(
    names: Iterable[tuple[str, str]], reduced: Callable[[str], frozenset[str]] = skeletons
) -> list[list[str]]:
    """Return the sets of logins whose names look alike, of logins with their names: two that look
    like a third are of its set. Each in order, and all by their first.
    """
    by_skeleton: Mapping[str, list[str]] = defaultdict(list)
    for login, name in names:
        for skeleton in reduced(name):
            by_skeleton[skeleton].append(login)
    set_of: dict[str, set[str]] = {}
    for logins in by_skeleton.values():
        joined = set(logins).union(*(set_of.get(login, ()) for login in logins))
        set_of.update(dict.fromkeys(joined, joined))
    sets = {id(of_it): sorted(of_it) for of_it in set_of.values() if len(of_it) > 1}
    return sorted(sets.values())
