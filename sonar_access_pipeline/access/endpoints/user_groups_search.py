"""`user_groups/search`: the groups, of which only the first 10,000 are shown.

Source: reference 4.3, recorded.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    identifiers,
    object_of,
    optional_bools,
    optional_numbers,
    optional_texts,
    paged,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import Group


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "groups")
    records = map(
        Group,
        identifiers(entries, "id"),
        texts(entries, "name"),
        optional_texts(entries, "description"),
        optional_bools(entries, "default"),
        optional_numbers(entries, "membersCount"),
    )
    return paged(object_of(document), records)


ENDPOINT = Endpoint(
    "user_groups/search", _parse, ("organization", "p", "ps"), page_size=500, window=10_000
)
