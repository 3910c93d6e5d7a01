"""What every adapter is made of: the description of an endpoint, a page of records, and reading values of a checked type.

Unknown fields are ignored, absent and null ones are None, wrong types are a `ShapeError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sonar_access_pipeline.access.records import Record

Params = Mapping[str, str]
Object = dict[str, Any]

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Code points that JSON can carry and a database text cannot: NUL, and halves of surrogate pairs."""


class ShapeError(ValueError):
    """A body that is not what the endpoint answers: not JSON, a list missing, a value of the wrong type.

    Says what is wrong, never the value that is wrong: bodies hold personal data.
    """


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its records in the order given, and what the page says of the list (None where it says nothing).

    `number` and `size` are the page's number from 1 and the rows per page that were really used.
    """

    records: tuple[Record, ...]
    total: int | None = None
    number: int | None = None
    size: int | None = None


class Api(Enum):
    """The two interfaces: where they are, and the names of their paging parameters (number, size)."""

    V1 = ("p", "ps")
    V2 = ("pageIndex", "pageSize")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: where it is, how large its pages may be, which parameters we rely on, and what its answers mean.

    `path` is below `api/` for V1, below the v2 address for V2. `page_size` is the largest that SonarCloud accepts, None where
    an answer has no pages; `window` is the last row that it shows at all, None where there is no such limit.
    """

    path: str
    parse: Callable[[Any, Params], Page]
    params: tuple[str, ...] = ()
    page_size: int | None = None
    window: int | None = None
    api: Api = Api.V1

    def asked(self, params: Params, number: int, size: int) -> dict[str, str]:
        """The parameters of one page of so many rows."""
        if self.page_size is None:
            return dict(params)
        page_name, size_name = self.api.value
        return {**params, page_name: str(number), size_name: str(size)}


def paged(document: Object, name: str, record: Callable[[Object], Record], paging: str = "paging") -> Page:
    """A page of the usual shape: rows below `name`, and an object `paging` with pageIndex, pageSize and total."""
    about = mapping(document, paging)
    return Page(
        tuple(record(row) for row in rows(document, name)),
        total(about),
        optional_number(about, "pageIndex"),
        optional_number(about, "pageSize"),
    )


def object_of(document: Any) -> Object:
    """The document, which must be a JSON object."""
    if not isinstance(document, dict):
        raise ShapeError("the body is not a JSON object")
    return document


def rows(document: Any, name: str) -> list[Object]:
    """The list of objects `name`. An absent list is not an empty one."""
    found = object_of(document).get(name)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ShapeError(f"the body has no list of objects '{name}'")
    return found


def mapping(row: Object, name: str) -> Object:
    """The object `name`, empty when absent."""
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ShapeError(f"'{name}' is not an object")
    return value


def total(paging: Object) -> int:
    """The reported total: a number that is not negative."""
    found = paging.get("total")
    if type(found) is not int or found < 0:
        raise ShapeError("the total is not a number")
    return found


def text(row: Object, name: str) -> str:
    """A text that is there and not empty."""
    value = optional_text(row, name)
    if not value:
        raise ShapeError(f"'{name}' is missing or empty")
    return value


def optional_text(row: Object, name: str) -> str | None:
    """A text, or None."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ShapeError(f"'{name}' is not a text")
    return storable(value)


def texts(row: Object, name: str) -> tuple[str, ...]:
    """A list of texts, whatever they are: unknown permission keys pass through."""
    values = row.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ShapeError(f"'{name}' is not a list of texts")
    return tuple(storable(value) for value in values)


def identifier(row: Object, name: str) -> str:
    """An id as text: group ids are integers in one endpoint and strings in another."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ShapeError(f"'{name}' is not an identifier")
    return str(value)


def optional_number(row: Object, name: str) -> int | None:
    """A whole number, or None."""
    value = row.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise ShapeError(f"'{name}' is not a number")
    return value


def optional_bool(row: Object, name: str) -> bool | None:
    """True, false, or None."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, bool):
        raise ShapeError(f"'{name}' is neither true nor false")
    return value


def optional_time(row: Object, name: str) -> datetime | None:
    """A v1 time such as 2022-08-04T11:04:55+0200 in UTC, or None."""
    value = optional_text(row, name)
    if value is None:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
    except ValueError:
        raise ShapeError(f"'{name}' is not a time") from None


def storable(value: str) -> str:
    r"""`value` with the code points no database text can hold written as `\u0000`; all else is kept as the source wrote it."""
    if value.isascii() and "\x00" not in value:
        return value
    return UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
