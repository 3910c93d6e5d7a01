"""`organizations/search` (internal): the organization, and what the caller may do there.

Source: reference 4.1.

An unknown key is an empty list with status 200.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    mapping,
    object_of,
    optional_bools,
    optional_texts,
    paged,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import Organization


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "organizations")
    records = map(
        Organization,
        texts(entries, "key"),
        optional_texts(entries, "name"),
        optional_texts(entries, "subscription"),
        optional_texts([mapping(row, "alm") for row in entries], "key"),
        optional_bools([mapping(row, "actions") for row in entries], "admin"),
    )
    return paged(object_of(document), records)


ENDPOINT = Endpoint("organizations/search", _parse, ("organizations", "member"))
