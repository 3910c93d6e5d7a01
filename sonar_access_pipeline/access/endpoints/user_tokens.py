"""`user_tokens/search`: the caller's own tokens, whatever `login` is asked for. Source: reference 4.13.

Nobody else's tokens can be listed: an answer for another login than the caller's is refused.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Object, Page, Params, object_of, optional_time, rows, text
from sonar_access_pipeline.access.records import CallerToken


def _record(row: Object, login: str) -> CallerToken:
    return CallerToken(
        login=login,
        name=text(row, "name"),
        created_at=optional_time(row, "createdAt"),
        last_used_at=optional_time(row, "lastConnectionDate"),
        expires_at=optional_time(row, "expirationDate"),
    )


def _parse(document: Any, _: Params) -> Page:
    login = text(object_of(document), "login")
    return Page(tuple(_record(row, login) for row in rows(document, "userTokens")))


ENDPOINT = Endpoint("user_tokens/search", _parse)
