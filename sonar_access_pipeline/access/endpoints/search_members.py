"""`organizations/search_members` (internal): the member list, of which only the first 10,000 rows are shown.

Sorted by display name alone, so two of one name may swap between pages. Source: reference 1.5 and 4.2, recorded.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Object,
    Page,
    Params,
    object_of,
    optional_bool,
    optional_number,
    optional_text,
    paged,
    text,
)
from sonar_access_pipeline.access.records import Member


def _record(row: Object) -> Member:
    return Member(
        login=text(row, "login"),
        name=optional_text(row, "name"),
        group_count=optional_number(row, "groupCount"),
        is_organization_admin=optional_bool(row, "isOrgAdmin"),
    )


def _parse(document: Any, _: Params) -> Page:
    return paged(object_of(document), "users", _record)


ENDPOINT = Endpoint("organizations/search_members", _parse, ("organization", "p", "ps"), page_size=500, window=10_000)
