"""`user_tokens/search`: the caller's own tokens, whatever `login` is asked for.

Source: reference 4.13.

Nobody else's tokens can be listed: an answer for another login than the caller's is refused.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_times,
    rows,
    text,
    texts,
)
from sonar_access_pipeline.access.records import CallerToken


def _parse(document: Any, _: Params) -> Page:
    login = text(object_of(document), "login")
    entries = rows(document, "userTokens")
    records = map(
        CallerToken,
        repeat(login),
        texts(entries, "name"),
        optional_times(entries, "createdAt"),
        optional_times(entries, "lastConnectionDate"),
        optional_times(entries, "expirationDate"),
    )
    return Page(tuple(records))


ENDPOINT = Endpoint("user_tokens/search", _parse)
