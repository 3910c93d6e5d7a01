"""One request as a handler sees it, and what it answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sonar_access_pipeline.access.policy import ReviewPolicy
from sonar_access_pipeline.access.review.facts import is_same
from sonar_access_pipeline.access.roles import May, may
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.evidence.stores import Store
from sonar_access_pipeline.page.who import Visitor
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import NothingObservedError


class RefusedError(Exception):
    """A request that is not fulfilled: with which status, and in one sentence why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Office:
    """What every handler works with: the warehouse, the evidence store where there is one, what
    settings say of people, and the policy in force.

    `linked` are the accounts of one person; `policy` is read anew for each request that needs it.
    """

    warehouse: Warehouse
    store: Store | None
    organizations: Sequence[str]
    linked: Mapping[str, Sequence[str]]
    policy: Callable[[], ReviewPolicy]
    clock: Callable[[], datetime]
    origin: str
    secret: bytes = field(repr=False)
    """Of this process alone: what it wrote into a form is known by it."""
    _scopes: dict[tuple[str, datetime], bool] = field(default_factory=dict, repr=False)

    def reads_projects(self, organization_key: str, as_of: datetime) -> bool:
        """Tell whether an observation read the permissions on projects, asked once of each; False
        for one that does not count any more.
        """
        asked = (organization_key, as_of)
        if asked not in self._scopes:
            try:
                with self.warehouse.read() as transaction:
                    answering = queries.observation_at(transaction, organization_key, as_of)
            except NothingObservedError:
                return False
            if answering.observed_at != as_of:
                return False
            self._scopes[asked] = Scope.PROJECT_PERMISSIONS in answering.scopes
        return self._scopes[asked]


@dataclass(frozen=True)
class Ask:
    """One request: by whom, of what, with which words."""

    office: Office
    visitor: Visitor
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, Sequence[str]]

    @property
    def person(self) -> str:
        """Who asks."""
        return self.visitor.person

    def number(self, name: str) -> int:
        """Read a number of the path. Raises `RefusedError` for one that no database holds."""
        text = self.path[name]
        if not text.isdecimal() or len(text) > 9:
            raise RefusedError(404, "There is no such page.")
        return int(text)

    def word(self, name: str) -> str:
        """Read a word of the form; empty where it does not have it."""
        return next(iter(self.form.get(name, ())), "")

    def may(self, what: May, organization: str | None = None, *, is_own: bool = False) -> bool:
        """Tell whether whoever asks may do something."""
        return may(self.visitor.roles, what, organization=organization, is_own=is_own)

    def require(self, what: May, organization: str | None = None, *, is_own: bool = False) -> None:
        """Raise `RefusedError` unless whoever asks may do something."""
        if not self.may(what, organization, is_own=is_own):
            raise RefusedError(403, f"You may not {what.value.partition(':')[0]} here.")

    def is_mine(self, person: str | None) -> bool:
        """Tell whether somebody is whoever asks."""
        return person is not None and is_same(person, self.person)


@dataclass(frozen=True)
class Shown:
    """A page: its template, and what it needs."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True)
class Moved:
    """An answer that leads elsewhere, as every change does."""

    to: str


@dataclass(frozen=True)
class File:
    """A file to keep."""

    name: str
    body: bytes


Answer = Shown | Moved | File
Handler = Callable[[Ask], Answer]


def pseudonym(subject: str) -> str:
    """Give what stands for a login where nobody is to be named: the same each time."""
    return f"account-{sha256(subject.strip().casefold().encode()).hexdigest()[:8]}"
