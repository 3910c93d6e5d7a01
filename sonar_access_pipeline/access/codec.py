"""From a fact, which is a dataclass, to plain values as a row or a document has them, and back.

What a fact has is said by its dataclass alone. What goes into a digest is said beside it, so that a
field that is added later changes no digest.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from enum import Enum
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BeforeValidator, TypeAdapter

T = TypeVar("T")


class Row(Protocol):
    """Values by name."""

    def __getitem__(self, name: Any, /) -> Any:
        """Return one value. Raises `LookupError`."""


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _parted(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Texts = Annotated[Mapping[str, str], BeforeValidator(_read)]
"""Texts by name: one JSON text in a row."""
Numbers = Annotated[Mapping[str, int], BeforeValidator(_read)]
"""Whole numbers by name: one JSON text in a row."""
Words = BeforeValidator(_parted)
"""Marks a tuple of words: one text with commas in a row."""


class Codec(Generic[T]):
    """The plain values of one kind of fact.

    `called` are the names that fields have there, `left_out` those that stand elsewhere.

    A value that is not of its field's type is refused with a `ValueError`.
    """

    def __init__(
        self,
        kind: type[T],
        *,
        called: Mapping[str, str] | None = None,
        left_out: Collection[str] = (),
    ) -> None:
        self._adapter = TypeAdapter(kind)
        names = [field.name for field in fields(kind) if field.name not in left_out]  # type: ignore[arg-type]
        self._names = {name: (called or {}).get(name, name) for name in names}

    def row(self, fact: T) -> dict[str, Any]:
        """Return the values of a fact as a row of a table has them."""
        return {column: _plain(getattr(fact, name)) for name, column in self._names.items()}

    def of_row(self, row: Row, **elsewhere: Any) -> T:
        """Make a fact of a row, and of what stands elsewhere. Raises `ValueError` or
        `LookupError`.
        """
        return self.of({**{name: row[column] for name, column in self._names.items()}, **elsewhere})

    def of(self, document: Mapping[str, Any]) -> T:
        """Make a fact of a document that has all of it. Raises `ValueError`."""
        return self._adapter.validate_python(document)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return value
