"""What every description of a table is made with: UTC times, one metadata, columns that say what
they mean. No table here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, MetaData, Text, text
from sqlalchemy.types import TypeDecorator

SCHEMA = "sonar_access"
"""The warehouse's own schema on PostgreSQL. SQLite has none: there the file is the schema."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. A naive one is refused: it would mean something else on every
    machine.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read it from the database: aware, UTC."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def column(name: str, meaning: str, kind: Any = Text, **options: Any) -> Column[Any]:
    """Describe a column."""
    return Column(name, kind, comment=meaning, **options)


def required(name: str, meaning: str, kind: Any = Text, **options: Any) -> Column[Any]:
    """Describe a column that is never NULL."""
    return column(name, meaning, kind, nullable=False, **options)


def where(condition: str) -> dict[str, Any]:
    """Give the options of an index that holds only some rows."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
