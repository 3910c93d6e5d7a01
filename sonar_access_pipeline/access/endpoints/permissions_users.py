"""`permissions/users` (internal): every member with the permissions granted to the account itself, on the organization or,
with `projectKey`, on a project. Those with grants come first. Not capped. Source: reference 4.6.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Page, Params, object_of, optional_text, paged, text, texts
from sonar_access_pipeline.access.records import UserPermissions


def _parse(document: Any, params: Params) -> Page:
    project = params.get("projectKey")
    return paged(
        object_of(document),
        "users",
        lambda row: UserPermissions(text(row, "login"), texts(row, "permissions"), optional_text(row, "name"), project),
    )


ENDPOINT = Endpoint("permissions/users", _parse, ("organization", "projectKey", "p", "ps"), page_size=100)
