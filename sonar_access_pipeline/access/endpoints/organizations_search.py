"""`organizations/search` (internal): the organization, and what the caller may do there. Source: reference 4.1.

An unknown key is an empty list with status 200.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Object,
    Page,
    Params,
    mapping,
    object_of,
    optional_bool,
    optional_text,
    paged,
    text,
)
from sonar_access_pipeline.access.records import Organization


def _record(row: Object) -> Organization:
    return Organization(
        key=text(row, "key"),
        name=optional_text(row, "name"),
        subscription=optional_text(row, "subscription"),
        alm_key=optional_text(mapping(row, "alm"), "key"),
        caller_is_admin=optional_bool(mapping(row, "actions"), "admin"),
    )


def _parse(document: Any, _: Params) -> Page:
    return paged(object_of(document), "organizations", _record)


ENDPOINT = Endpoint("organizations/search", _parse, ("organizations", "member"))
