"""Taking a person out of an answer: the same JSON, with a pseudonym where the person was. Pure.

An object that has the person's login is about the person. What it says of the person's rights stays, so that history is what
it was; every other text in it goes. A group or a project that happens to be called like somebody is nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

NAMES = ("login", "name", "id")
"""What a pseudonym takes the place of; of another text in an object about the person nothing stays."""
KEPT = ("externalProvider",)
"""Texts that say nothing about who it is."""
PSEUDONYM = re.compile("redacted-[0-9a-f]{16}")


def pseudonym(salt: str, login: str) -> str:
    """What stands for a login: the same for the same salt, and of no use to whoever does not know the login already."""
    digest = hmac.new(salt.encode(), login.encode(), hashlib.sha256).hexdigest()
    return f"redacted-{digest[:16]}"


def is_pseudonym(login: str) -> bool:
    """Whether a login is one that a pseudonym took the place of."""
    return PSEUDONYM.fullmatch(login) is not None


def redacted(body: bytes, login: str, stands: str) -> bytes | None:
    """The body without the person of `login`, whom `stands` stands for; None where the person is not in it.

    A body that is no JSON is None too: nothing was ever derived from it. Logins compare exactly, as history does.
    """
    if not _may_hold(body, login):
        return None
    try:
        document = json.loads(body)
    except ValueError:
        return None
    found = _without(document, login, stands)
    return None if found == document else json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def _may_hold(body: bytes, login: str) -> bool:
    """Whether it is worth parsing: JSON may spell any character as an escape."""
    return login.encode() in body or b"\\" in body


def _without(value: Any, login: str, stands: str) -> Any:
    if isinstance(value, list):
        return [_without(item, login, stands) for item in value]
    if isinstance(value, dict):
        is_about = value.get("login") == login
        return {
            name: _said_of(name, said, stands) if is_about and isinstance(said, str) else _without(said, login, stands)
            for name, said in value.items()
        }
    return value


def _said_of(name: str, said: str, stands: str) -> str | None:
    if name in KEPT:
        return said
    return stands if name in NAMES else None
