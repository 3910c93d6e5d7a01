"""What every adapter is made of: the description of an endpoint, a page of records, and reading
values of a checked type.

Unknown fields are ignored, absent and null ones are None, wrong types are a `ShapeError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any

from sonar_access_pipeline.access.records import Record

Params = Mapping[str, str]
Object = dict[str, Any]
Rows = Sequence[Object]

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Code points that JSON can carry and a database text cannot: NUL, and halves of surrogate pairs.
"""


LARGEST_NUMBER = 2**63 - 1


class ShapeError(ValueError):
    """A body that is not what the endpoint answers: not JSON, a list missing, a value of the wrong
    type.

    Says what is wrong, never the value that is wrong: bodies hold personal data.
    """


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its records in the order given, and what the page says of the list (None
    where it says nothing).

    `number` and `size` are the page's number from 1 and the rows per page that were really used.
    """

    records: tuple[Record, ...]
    total: int | None = None
    number: int | None = None
    size: int | None = None


def require_named(page: Page) -> None:
    """Refuse a page with a permission that has no key.

    Raises `ShapeError`: an empty text is no key of anything.

    Of what is read now. What an older version kept stays readable; an empty key of it is no right.
    """
    if any("" in getattr(record, "permissions", ()) for record in page.records):
        raise ShapeError("'permissions' holds an empty text")


class Api(Enum):
    """The two interfaces: where they are, and the names of their paging parameters (number,
    size).
    """

    V1 = ("p", "ps")
    V2 = ("pageIndex", "pageSize")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint: where it is, how large its pages may be, which parameters we rely on, and what
    its answers mean.

    `path` is below `api/` for V1, below the v2 address for V2. `page_size` is the largest that
    SonarCloud accepts, None where an answer has no pages; `window` is the last row that it shows at
    all, None where there is no such limit.
    """

    path: str
    parse: Callable[[Any, Params], Page]
    params: tuple[str, ...] = ()
    page_size: int | None = None
    window: int | None = None
    api: Api = Api.V1

    def asked(self, params: Params, number: int, size: int) -> dict[str, str]:
        """Build the parameters that ask for one page of so many rows."""
        if self.page_size is None:
            return dict(params)
        page_name, size_name = self.api.value
        return {**params, page_name: str(number), size_name: str(size)}

    def page(self, params: Params, body: bytes) -> Page:
        """Parse one answer that was asked with `params`. Raises `ShapeError`."""
        try:
            document = json.loads(body)
        except ValueError:
            raise ShapeError("the body is not JSON") from None
        except RecursionError:
            raise ShapeError("the body is nested too deep to be read") from None
        page = self.parse(document, params)
        asked = params.get(self.api.value[0])
        if asked is not None and page.number is not None and page.number != int(asked):
            raise ShapeError(f"page {page.number} came where page {asked} was asked for")
        return page


def paged(document: Object, records: Iterable[Record], paging: str = "paging") -> Page:
    """Build a page from a document of the usual shape: beside its rows it has an object `paging`
    with pageIndex, pageSize and total.
    """
    about = mapping(document, paging)
    return Page(
        tuple(records),
        total(about),
        optional_number(about, "pageIndex"),
        optional_number(about, "pageSize"),
    )


def object_of(document: Any) -> Object:
    """Return the document, which must be a JSON object."""
    if not isinstance(document, dict):
        raise ShapeError("the body is not a JSON object")
    return document


def rows(document: Any, name: str) -> Rows:
    """Read the list of objects `name`. An absent list is refused: it is not an empty one."""
    entries = object_of(document).get(name)
    if not isinstance(entries, list) or not set(map(type, entries)) <= {dict}:
        raise ShapeError(f"the body has no list of objects '{name}'")
    return entries


def mapping(row: Object, name: str) -> Object:
    """Read the object `name`, empty when absent."""
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ShapeError(f"'{name}' is not an object")
    return value


def total(paging: Object) -> int:
    """Read the reported total: a number that is not negative."""
    count = paging.get("total")
    if type(count) is not int or not 0 <= count <= LARGEST_NUMBER:
        raise ShapeError("the total is not a number")
    return count


# Values are read by the column, a whole page at once: that is several times as fast as row by row.


def texts(rows: Rows, name: str) -> list[str]:
    """Texts that are there and not empty."""
    values = optional_texts(rows, name)
    if not all(values):
        raise ShapeError(f"'{name}' is missing or empty")
    return values  # type: ignore[return-value]  # none is None


def optional_texts(rows: Rows, name: str) -> list[str | None]:
    """Texts, or None.

    What no database text can hold is written as `\\u0000`; all else is kept as the source wrote it.
    """
    values = _column(rows, name, str, "a text")
    if UNSTORABLE.search("".join(filter(None, values))) is None:
        return values
    return [value if value is None else storable(value) for value in values]


def text_lists(rows: Rows, name: str) -> list[tuple[str, ...]]:
    """Lists of texts, whatever they are: unknown permission keys pass through."""
    lists: list[Any] = [row.get(name) for row in rows]
    are_lists = set(map(type, lists)) <= {list}
    if not are_lists or not set(map(type, chain.from_iterable(lists))) <= {str}:
        raise ShapeError(f"'{name}' is not a list of texts")
    return [tuple(map(storable, values)) for values in lists]


def identifiers(rows: Rows, name: str) -> list[str]:
    """Ids as texts: group ids are integers in one endpoint and strings in another."""
    values = optional_identifiers(rows, name)
    if None in values:
        raise ShapeError(f"'{name}' is not an identifier")
    return values  # type: ignore[return-value]  # none is None


def optional_identifiers(rows: Rows, name: str) -> list[str | None]:
    """Ids as texts, or None."""
    values = [row.get(name) for row in rows]
    if not set(map(type, values)) <= {str, int, NoneType} or "" in values:
        raise ShapeError(f"'{name}' is not an identifier")
    return [value if value is None else storable(str(value)) for value in values]


def optional_numbers(rows: Rows, name: str) -> list[int | None]:
    """Whole numbers, or None. Raises `ShapeError` for one that no database can hold."""
    values = _column(rows, name, int, "a number")
    if any(value is not None and abs(value) > LARGEST_NUMBER for value in values):
        raise ShapeError(f"'{name}' is a number beyond 64 bits")
    return values


def optional_bools(rows: Rows, name: str) -> list[bool | None]:
    """True, false, or None."""
    return _column(rows, name, bool, "true or false")


def optional_times(rows: Rows, name: str) -> list[datetime | None]:
    """v1 times such as 2022-08-04T11:04:55+0200 in UTC, or None."""
    try:
        return [
            (
                None
                if value is None
                else datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
            )
            for value in optional_texts(rows, name)
        ]
    except (ValueError, OverflowError):
        raise ShapeError(f"'{name}' is not a time") from None


def _column(rows: Rows, name: str, kind: type, called: str) -> list[Any]:
    """Read the values of `name`, None where absent. The exact type counts: true is not a number."""
    values = [row.get(name) for row in rows]
    if not set(map(type, values)) <= {kind, NoneType}:
        raise ShapeError(f"'{name}' is not {called}")
    return values


def text(row: Object, name: str) -> str:
    """Read one text, which must be there and not empty."""
    return texts([row], name)[0]


def optional_number(row: Object, name: str) -> int | None:
    """Read one whole number, or None."""
    return optional_numbers([row], name)[0]


def storable(value: str) -> str:
    r"""`value` with the code points no database text can hold written as `\u0000`; all else is kept
    as the source wrote it.
    """
    return UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
