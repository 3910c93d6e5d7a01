"""The questions of docs/queries.md, asked on both databases, against the truth of a simulated
company; and the dictionary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sonar_access_pipeline.access.rules import RULES
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.columns import COLUMNS
from sonar_access_pipeline.evidence.dictionary import markdown, plain
from sonar_access_pipeline.evidence.facts import gather
from sonar_access_pipeline.evidence.tables import GRAINS
from sonar_access_pipeline.settings import Settings
from sonar_access_pipeline.simulator.organization import READER, Organization
from sonar_access_pipeline.warehouse.ask import frames
from sonar_access_pipeline_tests.sonarcloud.test_scopes import project_rights
from sonar_access_pipeline_tests.support import dictionary
from sonar_access_pipeline_tests.support.company import Company, company
from sonar_access_pipeline_tests.support.programs import new_database

pytestmark = pytest.mark.proofs("sqlite")

DOCS = Path(__file__).parents[2] / "docs"
DAYS = (0, 1, 2, 3, 5, 6, 7)
"""The fifth day is a gap."""

Rows = list[tuple[Any, ...]]


def questions() -> dict[str, str]:
    """The SQL of every question, by its title."""
    parts = (DOCS / "queries.md").read_text().split("\n## ")[1:]
    return {part.splitlines()[0]: part.split("```sql\n")[1].split("```")[0] for part in parts}


def way(row: Any) -> tuple[Any, ...]:
    return tuple(row)


def opened(here: Company) -> list[tuple[int, Any]]:
    """What was given, by the number of the day that shows it first."""
    return [
        (day, row)
        for before, day in pairwise(DAYS)
        for row in everything(here, day) - everything(here, before)
    ]


def left(here: Company) -> list[tuple[int, str]]:
    """Who left, by the number of the first day without them."""
    return [
        (day, login)
        for before, day in pairwise(DAYS)
        for login in set(here.truth(before).names) - set(here.truth(day).names)
    ]


def returned(here: Company) -> list[tuple[str, str, str]]:
    """Each return, with the day of the end of the stay before it."""
    found = []
    for login in {login for day in DAYS for login in here.truth(day).names}:
        gone: int | None = None
        for before, day in pairwise(DAYS):
            was, is_there = login in here.truth(before).names, login in here.truth(day).names
            if was and not is_there:
                gone = day
            if is_there and not was and gone is not None:
                found.append((login, str(here.day(gone)), str(here.day(day))))
    return found


def group_permissions(here: Company) -> Rows:
    last = here.truth(DAYS[-1])
    return [
        (group.name, permission, len(group.members))
        for group in last.groups.values()
        for permission in group.permissions
    ]


def unchanged(here: Company) -> list[str]:
    """Who has access on the last day, and had exactly that from the second on."""

    def of(login: str, day: int) -> set[Any]:
        return {row for row in everything(here, day) if row[0] == login}

    now = {row[0] for row in everything(here, 7)}
    return sorted(login for login in now if all(of(login, day) == of(login, 7) for day in DAYS[1:]))


def changes(here: Company, days: tuple[int, ...]) -> list[tuple[str, str]]:
    """What changed between observations, by the day that shows it and the login, once for each
    access row.
    """
    pairs = [(before, day) for before, day in pairwise(DAYS) if day in days]
    return sorted(
        (str(here.day(day)), row[0])
        for before, day in pairs
        for row in everything(here, before) ^ everything(here, day)
    )


def everything(here: Company, day: int) -> set[Any]:
    truth = here.truth(day)
    return truth.truth() | truth.project_truth()


EXPECTED: dict[str, Callable[[Company], Any]] = {
    "Who had access on a date?": lambda here: sorted(everything(here, 3)),
    "Which observation answers for that date, and how old is it?": lambda here: [
        (str(here.day(3)),)
    ],
    "What did one person have, and when?": lambda here: sorted(
        row[1:] for row in everything(here, 7) if row[0] == READER
    ),
    "Who administers the organization, and through what?": lambda here: here.truth(7).admins(),
    "Who was given what in a window, and between which two observations?": lambda here: sorted(
        (str(here.day(day)), *row) for day, row in opened(here) if day in (1, 2, 3, 5)
    ),
    "What changed in a window, of what kind?": lambda here: changes(here, (1, 2, 3, 5)),
    "Which rules fail now, and since when?": lambda here: {
        "one-admin": False,
        "too-many-admins": len(here.truth(7).admins()) > 5,
    },
    "Who left?": lambda here: sorted((str(here.day(day)), login) for day, login in left(here)),
    "Who left and came back?": lambda here: sorted(returned(here)),
    "Who may do something on a project now, directly or through a group?": lambda here: sorted(
        (project, login, permission, via)
        for login, project, permission, via in project_rights(here.truth(7))
        if permission == "admin"
    ),
    "Which groups grant which permissions, and how many people are in them?": lambda here: sorted(
        group_permissions(here)
    ),
    "What may everybody do, signed in or not?": lambda here: sorted(
        [("organization", "", permission) for permission in here.truth(7).anyone]
        + [
            ("project", project.key, permission)
            for project in here.truth(7).projects.values()
            for permission in project.anyone
        ]
    ),
    "How many members and admins were there, observation by observation?": lambda here: [
        (str(here.day(day)), len(here.truth(day).names), len(here.truth(day).admins()))
        for day in DAYS
    ],
    "Whose access has not changed for long?": unchanged,
    "Who has access now, one line an account?": lambda here: sorted(
        (
            login,
            login in here.truth(7).names,
            {group.name for group in here.truth(7).groups.values() if login in group.members},
        )
        for login in {row[0] for row in everything(here, 7)}
    ),
    "What do rules find now, in words?": lambda here: {
        RULES["one-admin"].title: False,
        RULES["too-many-admins"].title: len(here.truth(7).admins()) > 5,
    },
    "How many members, admins and findings were there, day by day?": lambda here: [
        (
            str(here.day(day)),
            "observed" if day in DAYS else "missing",
            len(here.truth(day).names) if day in DAYS else None,
            len(here.truth(day).admins()) if day in DAYS else None,
        )
        for day in range(8)
    ],
    "Which days were not observed, and why?": lambda here: [(str(here.day(4)), "missing")],
}
ANSWERED: dict[str, Callable[[Rows], Any]] = {
    "Who had access on a date?": lambda rows: sorted(map(way, rows)),
    "Which observation answers for that date, and how old is it?": lambda rows: [
        (str(rows[0][0])[:10],)
    ],
    "What did one person have, and when?": lambda rows: sorted(
        way(row[:4]) for row in rows if row[-1] is None
    ),
    "Who administers the organization, and through what?": lambda rows: {row[0] for row in rows},
    "Who was given what in a window, and between which two observations?": lambda rows: sorted(
        (str(row[6])[:10], *row[:5]) for row in rows
    ),
    "What changed in a window, of what kind?": lambda rows: sorted(
        (str(row[8])[:10], row[1]) for row in rows
    ),
    "Which rules fail now, and since when?": lambda rows: {
        rule: any(row[0] == rule for row in rows) for rule in ("one-admin", "too-many-admins")
    },
    "Who left?": lambda rows: sorted((str(row[2])[:10], row[0]) for row in rows),
    "Who left and came back?": lambda rows: sorted(
        (row[0], str(row[1])[:10], str(row[2])[:10]) for row in rows
    ),
    "Who may do something on a project now, directly or through a group?": lambda rows: sorted(
        map(way, rows)
    ),
    "Which groups grant which permissions, and how many people are in them?": lambda rows: sorted(
        map(way, rows)
    ),
    "What may everybody do, signed in or not?": lambda rows: sorted(way(row[:3]) for row in rows),
    "How many members and admins were there, observation by observation?": lambda rows: [
        (str(row[0])[:10], row[1], row[2]) for row in rows
    ],
    "Whose access has not changed for long?": lambda rows: sorted(row[0] for row in rows),
    "Who has access now, one line an account?": lambda rows: sorted(
        (row[0], bool(row[2]), set(row[4].split("; ")) - {""}) for row in rows
    ),
    "What do rules find now, in words?": lambda rows: {
        title: any(row[1] == title for row in rows)
        for title in (RULES["one-admin"].title, RULES["too-many-admins"].title)
    },
    "How many members, admins and findings were there, day by day?": lambda rows: [
        (str(row[0]), *row[1:4]) for row in rows
    ],
    "Which days were not observed, and why?": lambda rows: [(str(row[0]), row[1]) for row in rows],
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def lived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    """Eight days of a company, one of them not observed."""
    with pytest.MonkeyPatch.context() as patch:
        url = (
            new_database(request.getfixturevalue("postgresql"))
            if request.param == "postgresql"
            else None
        )
        options = {
            "accounts": 40,
            "groups": 5,
            "projects": 6,
            "scopes": (Scope.PROJECT_PERMISSIONS,),
            "brake_rows": 1000,
        }
        folder = tmp_path_factory.mktemp("questions")
        with company(folder, patch.setenv, warehouse_url=url, **options) as here:  # type: ignore[arg-type]  # options
            real = here.simulator.organization

            def moving() -> Organization:
                found = real().copied()
                if here.clock().date() in (here.day(2), here.day(3)):
                    # Somebody who is away for two days.
                    found.leave(sorted(set(found.names) - {READER})[0])
                return found

            here.simulator.organization = moving
            here.truth = lambda number: seen[number]  # type: ignore[method-assign]
            seen: dict[int, Organization] = {}
            for day in DAYS:
                here.clock.go_to(here.day(day))
                seen[day] = moving()
                assert here.run("daily", day=here.day(day)).success
            yield here


def test_every_question_is_compared() -> None:
    assert set(questions()) == set(EXPECTED) == set(ANSWERED)


def test_every_answer_is_what_was_true(lived: Company) -> None:
    with lived.warehouse() as warehouse, warehouse.read() as transaction:
        rows = {
            question: transaction.execute(text(sql)).all() for question, sql in questions().items()
        }
    for question, found in rows.items():
        assert ANSWERED[question](found) == EXPECTED[question](lived), question  # type: ignore[arg-type]  # rows are tuples
    empty = [question for question, truth in EXPECTED.items() if not truth(lived)]
    assert empty in ([], ["What may everybody do, signed in or not?"])


def test_the_data_dictionary_is_what_the_database_says(postgresql_url: str) -> None:
    assert dictionary.FILE.read_text() == dictionary.made(postgresql_url), "make dictionary"


def test_the_page_of_settings_says_what_the_model_says() -> None:
    page = dictionary.OF_SETTINGS.read_text()
    assert page == dictionary.with_settings(page), "make dictionary"
    assert [name for name, about in Settings.model_fields.items() if not about.description] == []


def test_the_page_of_commands_says_what_their_help_says() -> None:
    if (
        f"click=={version('click')} "
        not in (dictionary.DOCS.parent / "requirements.lock").read_text()
    ):
        pytest.skip("another version of click breaks lines elsewhere")
    assert dictionary.OF_COMMANDS.read_text() == dictionary.commands(), "make dictionary"


def test_every_column_of_a_packet_is_described_once_and_the_page_says_so() -> None:
    named = {name for grain in GRAINS.values() for name in grain.columns}
    assert COLUMNS.keys() == {"source", *named}
    assert dictionary.OF_PACKETS.read_text() == markdown(), "make dictionary"
    assert set(re.findall(r"^  (\w+) ", plain(), re.M)) == COLUMNS.keys()


ABROAD = "America/Los_Angeles"
"""A time zone of a session, in which a day ends eight hours later."""


def asked_abroad(here: Company, question: str) -> Rows:
    """The rows of a documented question, asked as somebody abroad asks PostgreSQL."""
    with here.warehouse() as warehouse, warehouse.read() as transaction:
        if warehouse.is_postgresql:
            transaction.execute(text(f"SET LOCAL TIME ZONE '{ABROAD}'"))
        return [tuple(row) for row in transaction.execute(text(questions()[question]))]


def test_the_sql_of_a_date_and_the_command_of_it_give_the_same_rows_in_every_time_zone(
    lived: Company,
) -> None:
    with lived.warehouse() as warehouse:
        frame = frames.access(warehouse, "acme", lived.day(3))
    users = frame[frame["principal_type"] == "user"]
    columns = ["login", "access_type", "resource", "entitlement", "granted_via"]
    assert asked_abroad(lived, "Who had access on a date?") == [
        tuple(row) for row in users[columns].to_numpy()
    ]


def test_the_sql_of_changes_the_command_and_a_packet_count_each_kind_alike_in_every_time_zone(
    lived: Company,
) -> None:
    window = Window(lived.day(1), lived.day(5))
    counted = Counter(
        row[0] for row in asked_abroad(lived, "What changed in a window, of what kind?")
    )
    with lived.warehouse() as warehouse:
        frame = frames.changes(warehouse, "acme", window)
        facts = gather(warehouse, "acme", window)
    by_command = Counter(frame[frame["login"].notna()]["kind"])
    assert (
        counted
        == by_command
        == Counter(row["kind"] for row in facts.changes if row["login"] is not None)
    )
    assert {"joined", "left", "returned"} <= set(counted)


def test_readme_asks_as_the_documented_questions_do() -> None:
    """The README's SQL of a date is the one that is compared, but for its date and order."""
    readme = (DOCS.parent / "README.md").read_text()
    ours = (
        questions()["Who had access on a date?"]
        .replace("2026-02-05", "2026-10-01")
        .replace(", a.granted_via;", ";")
    )
    assert ours.strip() in readme


def test_times_are_told_in_utc_whatever_the_session_says(lived: Company) -> None:
    with lived.warehouse() as warehouse, warehouse.read() as transaction:
        (moment,) = transaction.execute(
            text("SELECT MIN(observed_at) FROM history_observation")
        ).one()
    told = datetime.fromisoformat(moment) if isinstance(moment, str) else moment.astimezone(UTC)
    assert told.date() == lived.day(0)
