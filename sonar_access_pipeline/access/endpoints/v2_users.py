"""v2 `users-management/users`: durable id, e-mail and provider of each account. Source: reference 5, third-party only.

Nobody has confirmed it in public: it is read as a scope of its own, and its absence hurts nothing else.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Api,
    Endpoint,
    Object,
    Page,
    Params,
    object_of,
    optional_text,
    paged,
    text,
)
from sonar_access_pipeline.access.records import AccountDetail


def _record(row: Object) -> AccountDetail:
    return AccountDetail(
        text(row, "login"), optional_text(row, "id"), optional_text(row, "email"), optional_text(row, "externalProvider")
    )


def _parse(document: Any, _: Params) -> Page:
    return paged(object_of(document), "users", _record, paging="page")


ENDPOINT = Endpoint("users-management/users", _parse, ("organizationIds", "pageIndex", "pageSize"), page_size=500, api=Api.V2)
