"""`permissions/users` (internal): every member with the permissions granted to the account itself,
on the organization or, with `projectKey`, on a project. Those with grants come first. Not capped.
Source: reference 4.6.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_texts,
    paged,
    rows,
    text_lists,
    texts,
)
from sonar_access_pipeline.access.records import UserPermissions


def _parse(document: Any, params: Params) -> Page:
    entries = rows(document, "users")
    project = repeat(params.get("projectKey"))
    logins = texts(entries, "login")
    permissions = text_lists(entries, "permissions")
    return paged(
        object_of(document),
        map(UserPermissions, logins, permissions, optional_texts(entries, "name"), project),
    )


ENDPOINT = Endpoint(
    "permissions/users", _parse, ("organization", "projectKey", "p", "ps"), page_size=100
)
