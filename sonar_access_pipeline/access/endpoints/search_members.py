"""`organizations/search_members` (internal): the member list, of which only the first 10,000 rows
are shown.

Sorted by display name alone, so two of one name may swap between pages. Source: reference 1.5 and
4.2, recorded.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_bools,
    optional_numbers,
    optional_texts,
    paged,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import Member


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "users")
    counts = optional_numbers(entries, "groupCount")
    marks = optional_bools(entries, "isOrgAdmin")
    return paged(
        object_of(document),
        map(Member, texts(entries, "login"), optional_texts(entries, "name"), counts, marks),
    )


ENDPOINT = Endpoint(
    "organizations/search_members",
    _parse,
    ("organization", "p", "ps"),
    page_size=500,
    window=10_000,
)
