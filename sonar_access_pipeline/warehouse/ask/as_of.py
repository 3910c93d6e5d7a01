"""A moment in history: which rows of a table show then, and what things were called."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sonar_access_pipeline.warehouse.schema import history_tables


class _Scanned(FunctionElement[Any]):
    """A column that SQLite looks for in no index.

    Of what shows at a moment it would look each row up by the time it began, which takes twice as
    long as going through all. PostgreSQL knows by itself how much of the table it is going to read.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.type = column.type
        super().__init__(column)


@compiles(_Scanned)
def _indexed(element: _Scanned, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(_Scanned, "sqlite")
def _unindexed(element: _Scanned, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


def shown_at(table: Table, organization_key: str, moment: datetime) -> ColumnElement[bool]:
    """Return the condition for the rows of a history table as they were at `moment`."""
    return and_(
        _Scanned(table.c.organization_key) == organization_key,
        _Scanned(table.c.valid_from) <= moment,
        or_(table.c.valid_to.is_(None), table.c.valid_to > moment),
    )


class Names:
    """The display names of an organization's things at a moment, read when first asked for.

    With `of_all_times`, things that are gone by then have the last name they had.
    """

    def __init__(
        self,
        transaction: Connection,
        organization_key: str,
        moment: datetime,
        *,
        of_all_times: bool = False,
    ) -> None:
        self._transaction = transaction
        self._organization_key = organization_key
        self._moment = moment
        self._of_all_times = of_all_times

    @cached_property
    def users(self) -> dict[str, str]:
        """Display names of accounts, by login."""
        return self._read("dim_user", "login")

    @cached_property
    def groups(self) -> dict[str, str]:
        """Names of groups, by id."""
        return self._read("dim_group", "group_id")

    @cached_property
    def projects(self) -> dict[str, str]:
        """Names of projects, by key."""
        return self._read("dim_project", "project_key")

    @cached_property
    def organization(self) -> str | None:
        """The display name of the organization."""
        return self._read("dim_organization", "organization_key").get(self._organization_key)

    def of(self, access_type: str, resource: str) -> str | None:
        """Return the name of the thing that an access row is a right on."""
        if access_type == "group":
            return self.groups.get(resource)
        return (
            self.projects.get(resource)
            if access_type == "project_permission"
            else self.organization
        )

    def _read(self, name: str, key: str) -> dict[str, str]:
        table = history_tables[name]
        is_meant = shown_at(table, self._organization_key, self._moment)
        if self._of_all_times:
            is_meant = and_(
                table.c.organization_key == self._organization_key,
                table.c.valid_from <= self._moment,
            )
        rows = self._transaction.execute(
            select(table.c[key], table.c.name).where(is_meant).order_by(table.c.valid_from)
        )
        return {row[0]: row[1] for row in rows}
