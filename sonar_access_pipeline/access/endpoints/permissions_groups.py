"""`permissions/groups` (internal): every group, and `Anyone`, with the permissions granted to it,
on the organization or, with `projectKey`, on a project. Those with grants come first. Not capped.
Source: reference 4.7.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_identifiers,
    paged,
    rows,
    text_lists,
    texts,
)
from sonar_access_pipeline.access.records import GroupPermissions


def _parse(document: Any, params: Params) -> Page:
    entries = rows(document, "groups")
    project = repeat(params.get("projectKey"))
    names = texts(entries, "name")
    permissions = text_lists(entries, "permissions")
    return paged(
        object_of(document),
        map(GroupPermissions, optional_identifiers(entries, "id"), names, permissions, project),
    )


ENDPOINT = Endpoint(
    "permissions/groups", _parse, ("organization", "projectKey", "p", "ps"), page_size=100
)
