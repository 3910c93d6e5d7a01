"""v2 `users-management/users`: durable id, e-mail and provider of each account.

Source: reference 5, third-party only.

Nobody has confirmed it in public: it is read as a scope of its own, and its absence hurts nothing
else.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Api,
    Endpoint,
    Page,
    Params,
    object_of,
    optional_texts,
    paged,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import AccountDetail


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "users")
    ids = optional_texts(entries, "id")
    emails = optional_texts(entries, "email")
    records = map(
        AccountDetail,
        texts(entries, "login"),
        ids,
        emails,
        optional_texts(entries, "externalProvider"),
    )
    return paged(object_of(document), records, paging="page")


ENDPOINT = Endpoint(
    "users-management/users",
    _parse,
    ("organizationIds", "pageIndex", "pageSize"),
    page_size=500,
    api=Api.V2,
)
