"""Rosters as directories export them, read through one reader: a plain CSV file, and the exports of
Okta, Entra, Google, BambooHR and SCIM, which differ in what they call things.

Add here: what another directory calls a column. What a roster means is `access/`: `policy.py` keeps
statuses by digest, `review/people.py` finds managers.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonar_access_pipeline.access.policy import identity
from sonar_access_pipeline.access.review.people import Person
from sonar_access_pipeline.texts import TextError, table_of, text_in, value_of

NAMES = (
    "login",
    "username",
    "profile.login",
    "email",
    "mail",
    "primaryemail",
    "secondaryemail",
    "profile.email",
    "emailaddress",
    "workemail",
    "userprincipalname",
    "emails.value",
    "emails.0.value",
)
"""Columns that name a person as SonarCloud may: logins and addresses."""
NUMBERS = ("id", "employeeid", "employeenumber", "employee", "userid", "objectid")
"""Columns that name a person within the roster alone: what a manager may be named by."""
STATUSES = ("status", "employmentstatus", "profile.status")
YES_OR_NO = ("accountenabled", "active")
"""Columns that only say whether the account is on."""
MANAGERS = (
    "manager",
    "manageremail",
    "manageridentity",
    "managerid",
    "profile.managerid",
    "profile.manager",
    "supervisor",
    "supervisoremail",
    "manageruserprincipalname",
    "manager.value",
    "enterprise.manager.value",
)
WORDS = {"true": "active", "yes": "active", "1": "active"}
"""What `YES_OR_NO` says of somebody who works here; all else means `inactive`."""
ENTERPRISE = re.compile(r"urn:ietf:params:scim:schemas:extension:enterprise:2\.0:user[:.]")


class RosterError(ValueError):
    """A roster that cannot be read; the words say why."""


@dataclass(frozen=True)
class RosterRow:
    """One person as a roster has them: what they are called, their status and their manager, each
    empty where it does not say.
    """

    names: tuple[str, ...]
    numbers: tuple[str, ...]
    status: str
    manager: str


def read_roster(file: Path) -> list[RosterRow]:
    """Read a roster. Raises `RosterError` for one that cannot be read, or names nobody.

    A directory export that says of nobody whether they still work there may leave leavers out, as
    BambooHR's does: of it, everybody counts as working there.
    """
    try:
        text = text_in(file)
        records = list(_of_scim(text)) if text.lstrip()[:1] in ("{", "[") else table_of(text)
    except (TextError, csv.Error) as error:
        raise RosterError(f"The roster {file} cannot be read: {error}.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise RosterError(f"The roster {file} is neither a table nor a SCIM list.") from None
    rows = [row for row in map(_row, records) if row.names]
    if not rows:
        raise RosterError(
            f"The roster {file} names nobody; give it a column login or email, and a row per"
            " person."
        )
    return rows


def _of_scim(text: str) -> Iterator[dict[str, str]]:
    document = json.loads(text)
    resources = document["Resources"] if isinstance(document, dict) else document
    for resource in resources:
        yield dict(_flat(resource, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{name}.{number}")
    elif value is not None:
        yield name, str(value).lower() if isinstance(value, bool) else str(value)


def _row(record: Mapping[str, str | None]) -> RosterRow:
    said = {
        _called(name): value_of(value)
        for name, value in record.items()
        if name is not None and isinstance(value, str) and value_of(value)
    }
    status = _first(said, STATUSES).casefold()
    if not status and (is_on := _first(said, YES_OR_NO).casefold()):
        status = WORDS.get(is_on, "inactive")
    return RosterRow(
        names=tuple(said[name] for name in NAMES if name in said),
        numbers=tuple(said[name] for name in NUMBERS if name in said),
        status=status,
        manager=_first(said, MANAGERS),
    )


def _called(column: str) -> str:
    """Make one name of what directories write in their ways: `E-mail`, `Email Address [Required]`,
    `User Name`.
    """
    bare = re.sub(r"\[.*?\]|\(.*?\)", "", value_of(column)).casefold()
    bare = ENTERPRISE.sub("enterprise.", bare)
    return re.sub(r"[^a-z0-9.]", "", bare)


def _first(said: Mapping[str, str], names: Collection[str]) -> str:
    return next((said[name] for name in names if name in said), "")


def people_of(rows: Collection[RosterRow], active: Collection[str]) -> list[Person]:
    """Make the people of a roster: their names as digests, and each manager as whatever SonarCloud
    or an e-mail would know them by.
    """
    called: dict[str, str] = {}
    for row in rows:
        called |= dict.fromkeys(map(identity, (*row.numbers, *row.names)), row.names[0])
    return [
        Person(
            names=frozenset(map(identity, row.names)),
            manager=called.get(identity(row.manager), row.manager) if row.manager else "",
            is_active=not row.status or row.status in active,
        )
        for row in rows
    ]
