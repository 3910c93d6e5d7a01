"""Taking a person out of an answer: the same JSON, with a pseudonym where the person was. Pure.

An object that has the person's login is about the person, with all that lies in it. What it says of
rights and of times stays, so that history is what it was; every other text in it goes, whatever it
is called: SonarCloud may add fields any day. What tells who it is (an address, an id) goes wherever
it stands as a text of its own, but where it is said of another account, and where it is the key or
the name of something else: a group or a project that happens to be called like somebody is nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator
from typing import Any

NAMES = ("login", "name", "id")
"""What a pseudonym takes the place of; of another text about the person nothing stays."""
KEPT = frozenset(
    {"externalProvider", "createdAt", "updatedAt", "lastConnectionDate", "expirationDate", "type"}
)
"""Texts that say nothing about who it is."""
KEPT_LISTS = frozenset({"permissions", "global", "groups"})
"""Lists of texts that are rights: keys of permissions, names of groups."""
OWN = frozenset(
    {
        "email",
        "avatar",
        "externalIdentity",
        "externalId",
        "externalLogin",
        "scmAccounts",
        "id",
        "uuid",
        "userId",
    }
)
"""Fields whose texts are one person's and nobody else's."""
IDS = frozenset({"id", "uuid", "userId"})
"""Those of `OWN` that are the account's only in the object with its login: inside it they are of
something else, as a group.
"""
OF_THINGS = KEPT_LISTS | {
    "key",
    "name",
    "project",
    "projectKey",
    "projectId",
    "organization",
    "groupName",
    "groupId",
}
"""Fields that name a group, a project or a right, in objects that are about no account."""
SHORTEST = 6
"""Characters of a text that is taken for somebody's own: a shorter one may be anything."""


def pseudonym(salt: str, login: str) -> str:
    """Make the pseudonym of a login: the same for the same salt, and of no use to anybody who does
    not know the login already.
    """
    digest = hmac.new(salt.encode(), login.encode(), hashlib.sha256).hexdigest()
    return f"redacted-{digest[:16]}"


def identifiers(body: bytes, login: str) -> frozenset[str]:
    """Find the texts of a body that are the person's own: addresses, ids, accounts at other places;
    none in a body without the login.
    """
    if not _may_hold(body, {login}):
        return frozenset()
    try:
        return frozenset(_own_texts(json.loads(body), login, is_theirs=False))
    except (ValueError, RecursionError):
        return frozenset()


def redacted(body: bytes, login: str, stands: str, own: Collection[str] = ()) -> bytes | None:
    """Return the body with `stands` in the place of the person of `login`; None where the person is
    not in it.

    `own` are the `identifiers` of the person in all bodies. For a body that is not JSON the answer
    is None, too: nothing was ever derived from it. Logins compare exactly, as history does.
    """
    if not _may_hold(body, {login, *own}):
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    replacement = _without(document, login, stands, frozenset(own))
    return (
        None
        if replacement == document
        else json.dumps(replacement, ensure_ascii=False, separators=(",", ":")).encode()
    )


def _may_hold(body: bytes, texts: Collection[str]) -> bool:
    """Tell whether a body may hold one of the texts and is worth parsing: JSON may spell any
    character as an escape.
    """
    return b"\\" in body or any(text.encode() in body for text in texts)


def _own_texts(value: Any, login: str, *, is_theirs: bool) -> Iterator[str]:
    """Yield the texts that are one person's from the object with the login, and from what lies in
    that object, but without the ids there.
    """
    if isinstance(value, list):
        for item in value:
            yield from _own_texts(item, login, is_theirs=is_theirs)
    if isinstance(value, dict):
        is_account = value.get("login") == login
        theirs = is_theirs or is_account
        own = OWN if is_account else OWN - IDS
        for name, field_value in value.items():
            if theirs and name in own:
                texts = field_value if isinstance(field_value, list) else [field_value]
                yield from (
                    text
                    for text in texts
                    if isinstance(text, str) and len(text) >= SHORTEST and text != login
                )
            else:
                yield from _own_texts(field_value, login, is_theirs=theirs)


def _without(value: Any, login: str, stands: str, own: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, login, stands, own) for item in value]
    if isinstance(value, dict):
        if value.get("login") == login:
            return {
                name: _said_of(name, field_value, stands) for name, field_value in value.items()
            }
        # What is said of another account stays, though it may be the same person's.
        left = own if value.get("login") is None else frozenset[str]()
        return {
            name: (
                field_value
                if name in OF_THINGS and _is_plain(field_value)
                else _without(field_value, login, stands, left)
            )
            for name, field_value in value.items()
        }
    return stands if isinstance(value, str) and value in own else value


def _is_plain(value: Any) -> bool:
    """Tell whether a value is a text, or a list of texts."""
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _said_of(name: str, said: Any, stands: str) -> Any:
    """Return what stays of a field of an object about the person, or of an object inside it."""
    if isinstance(said, str):
        if name in KEPT:
            return said
        return stands if name in NAMES else None
    if isinstance(said, list):
        if name in KEPT_LISTS:
            return said
        return [_said_of(name, item, stands) for item in said if not isinstance(item, str)]
    if isinstance(said, dict):
        return {inner: _said_of(inner, value, stands) for inner, value in said.items()}
    return said
