"""`user_groups/search`: the groups, of which only the first 10,000 are shown. Source: reference 4.3, recorded."""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Object,
    Page,
    Params,
    identifier,
    object_of,
    optional_bool,
    optional_number,
    optional_text,
    paged,
    text,
)
from sonar_access_pipeline.access.records import Group


def _record(row: Object) -> Group:
    return Group(
        group_id=identifier(row, "id"),
        name=text(row, "name"),
        description=optional_text(row, "description"),
        is_default=optional_bool(row, "default"),
        members_count=optional_number(row, "membersCount"),
    )


def _parse(document: Any, _: Params) -> Page:
    return paged(object_of(document), "groups", _record)


ENDPOINT = Endpoint("user_groups/search", _parse, ("organization", "p", "ps"), page_size=500, window=10_000)
