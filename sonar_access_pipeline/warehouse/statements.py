"""Which statements answered: recorded while they run, in one spelling for both databases.

An auditor can read what was asked, and ask it again. Parameters are not part of it: the packet's
manifest says which organization, window and observation they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ClauseElement, Connection, event
from sqlalchemy.engine.default import DefaultDialect

DIALECT = DefaultDialect(paramstyle="named")


class Statements:
    """The statements behind each file of a packet, by the file's name, in the order in which they
    ran first.
    """

    def __init__(self, transaction: Connection) -> None:
        self.of: dict[str, list[str]] = {}
        self._transaction = transaction

    @contextmanager
    def behind(self, name: str) -> Iterator[None]:
        """Mark everything that runs in here as behind a file."""
        sql_texts = self.of.setdefault(name, [])

        def note(_: Connection, statement: Any, *__: Any, **___: Any) -> None:
            assert isinstance(statement, ClauseElement), (
                "packets are made of SQLAlchemy's statements"
            )
            spelled = str(statement.compile(dialect=DIALECT))
            if spelled not in sql_texts:
                sql_texts.append(spelled)

        event.listen(self._transaction, "before_execute", note)
        try:
            yield
        finally:
            event.remove(self._transaction, "before_execute", note)
