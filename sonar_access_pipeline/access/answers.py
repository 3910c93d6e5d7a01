"""Parsing: one function per SonarCloud endpoint, from the bytes of a response to a page of records.

The raw archive is parsed again years later, so an endpoint's parser stays here even when the source no longer calls it.
Shapes: docs/sonarcloud.md. Unknown fields are ignored, absent ones are None, wrong types are a `ShapeError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sonar_access_pipeline.access.records import (
    Caller,
    Group,
    GroupMember,
    GroupPermissions,
    Member,
    Organization,
    Record,
    UserPermissions,
)


class ShapeError(ValueError):
    """A body that is not what the endpoint answers: not JSON, a list missing, a value of the wrong type."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its records in the order given, and the total that the page reports (None where it has none)."""

    records: tuple[Record, ...]
    total: int | None


Params = Mapping[str, str]
Object = dict[str, Any]

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Code points that JSON can carry and a database text cannot: NUL, and halves of surrogate pairs."""


def page_of(endpoint: str, params: Params, body: bytes) -> Page:
    """Parse one response body of `endpoint` (the path below `api/`) asked with `params`.

    Raises `ShapeError` with what is wrong, never with the value that is wrong: bodies hold personal data.
    """
    try:
        document = json.loads(body)
    except ValueError:
        raise ShapeError("the body is not JSON") from None
    if not isinstance(document, dict):
        raise ShapeError("the body is not a JSON object")
    return PARSERS[endpoint](document, params)


def _caller(document: Object, _: Params) -> Page:
    if document.get("isLoggedIn") is not True:
        raise ShapeError("the caller is not logged in")
    return Page((Caller(_text(document, "login")),), None)


def _organizations(document: Object, _: Params) -> Page:
    def record(row: Object) -> Organization:
        actions, alm = _object(row, "actions"), _object(row, "alm")
        return Organization(
            key=_text(row, "key"),
            name=_optional_text(row, "name"),
            subscription=_optional_text(row, "subscription"),
            alm_key=_optional_text(alm, "key"),
            caller_is_admin=_optional_bool(actions, "admin"),
        )

    return Page(tuple(record(row) for row in _rows(document, "organizations")), _paging_total(document))


def _members(document: Object, _: Params) -> Page:
    def record(row: Object) -> Member:
        return Member(
            login=_text(row, "login"),
            name=_optional_text(row, "name"),
            group_count=_optional_int(row, "groupCount"),
            is_organization_admin=_optional_bool(row, "isOrgAdmin"),
        )

    return Page(tuple(record(row) for row in _rows(document, "users")), _paging_total(document))


def _groups(document: Object, _: Params) -> Page:
    def record(row: Object) -> Group:
        return Group(
            group_id=_identifier(row, "id"),
            name=_text(row, "name"),
            description=_optional_text(row, "description"),
            is_default=_optional_bool(row, "default"),
            members_count=_optional_int(row, "membersCount"),
        )

    return Page(tuple(record(row) for row in _rows(document, "groups")), _paging_total(document))


def _group_members(document: Object, params: Params) -> Page:
    # The one v1 list without a paging object: its total stands at the top. Rows that are not `selected` are not in the group.
    group_id = params["id"]
    rows = [row for row in _rows(document, "users") if row.get("selected") is not False]
    return Page(tuple(GroupMember(group_id, _text(row, "login")) for row in rows), _total(document))


def _user_permissions(document: Object, _: Params) -> Page:
    rows = _rows(document, "users")
    return Page(tuple(UserPermissions(_text(row, "login"), _texts(row, "permissions")) for row in rows), _paging_total(document))


def _group_permissions(document: Object, _: Params) -> Page:
    def record(row: Object) -> GroupPermissions:
        group_id = None if row.get("id") is None else _identifier(row, "id")
        return GroupPermissions(group_id, _text(row, "name"), _texts(row, "permissions"))

    return Page(tuple(record(row) for row in _rows(document, "groups")), _paging_total(document))


PARSERS: Mapping[str, Callable[[Object, Params], Page]] = {
    "users/current": _caller,
    "organizations/search": _organizations,
    "organizations/search_members": _members,
    "user_groups/search": _groups,
    "user_groups/users": _group_members,
    "permissions/users": _user_permissions,
    "permissions/groups": _group_permissions,
}


def _rows(document: Object, name: str) -> list[Object]:
    rows = document.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ShapeError(f"the body has no list of objects '{name}'")
    return rows


def _object(row: Object, name: str) -> Object:
    value = row.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ShapeError(f"'{name}' is not an object")
    return value


def _paging_total(document: Object) -> int:
    return _total(_object(document, "paging"))


def _total(paging: Object) -> int:
    total = paging.get("total")
    if not isinstance(total, int) or isinstance(total, bool) or total < 0:
        raise ShapeError("the total is not a number")
    return total


def _text(row: Object, name: str) -> str:
    value = _optional_text(row, name)
    if not value:
        raise ShapeError(f"'{name}' is missing or empty")
    return value


def _optional_text(row: Object, name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ShapeError(f"'{name}' is not a text")
    return storable(value)


def _texts(row: Object, name: str) -> tuple[str, ...]:
    values = row.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ShapeError(f"'{name}' is not a list of texts")
    return tuple(storable(value) for value in values)


def _identifier(row: Object, name: str) -> str:
    # Group ids are integers in one endpoint and strings in another: compared as strings.
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ShapeError(f"'{name}' is not an identifier")
    return str(value)


def _optional_int(row: Object, name: str) -> int | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ShapeError(f"'{name}' is not a number")
    return value


def _optional_bool(row: Object, name: str) -> bool | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, bool):
        raise ShapeError(f"'{name}' is neither true nor false")
    return value


def storable(text: str) -> str:
    r"""`text` with the code points no database text can hold written as `\u0000`; all else is kept as the source wrote it."""
    return UNSTORABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
