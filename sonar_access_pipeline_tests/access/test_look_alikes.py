"""Names that look alike are found by Unicode's data, in sets that do not overlap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.look_alikes import alike, skeletons
from sonar_access_pipeline_tests.support import confusables


def test_the_data_is_what_unicode_publishes_as_a_library_brings_it() -> None:
    assert confusables.FILE.read_text(encoding="utf-8") == confusables.text()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ivan", "lvan"),
        ("Ivan", "IVAN"),
        ("Paul", "\u0420aul"),
        ("Paul", "Pau1\u200b"),
        ("Jose Perez", "José  Pérez"),
        ("Bob", "B0b"),
        ("Emma", "Ernma"),
        ("Anna O'Neil", "Anna ONeil"),
        ("Ada", "\U0001d49cda"),
        ("Sofia", "Sоfiа"),
    ],
)
def test_what_a_hasty_eye_takes_for_the_same_is_alike(one: str, other: str) -> None:
    assert skeletons(one) & skeletons(other)
    assert alike([("a", one), ("b", other), ("c", "Somebody Else")]) == [["a", "b"]]


@pytest.mark.parametrize(("one", "other"), [("Mary", "Marr"), ("Anna", "Hanna"), ("", " ")])
def test_other_names_are_not(one: str, other: str) -> None:
    assert alike([("a", one), ("b", other)]) == []


NAMES = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.text(st.sampled_from("Il1i|aАαO0о .\u200b"), max_size=4),
    max_size=9,
)


@given(NAMES)
def test_sets_are_those_of_chains_of_names_that_look_alike(names: dict[str, str]) -> None:
    sets = alike(names.items())
    assert sets == sorted(sets)
    members = [login for of_it in sets for login in of_it]
    assert len(members) == len(set(members))
    for login in names:
        reached, grown = {login}, set[str]()
        while reached != grown:
            grown = set(reached)
            reached |= {
                other
                for other in names
                if any(skeletons(names[one]) & skeletons(names[other]) for one in grown)
            }
        assert (sorted(reached) in sets) == (len(reached) > 1)
    assert alike(reversed(names.items())) == sets, "whatever came first"


@given(st.text(max_size=30), st.sampled_from(["\u200b", "\u202e", " ", "-"]), st.data())
def test_what_a_hasty_eye_does_not_see_changes_nothing(
    name: str, unseen: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(name)))
    assert skeletons(name[:place] + unseen + name[place:]) == skeletons(name)
