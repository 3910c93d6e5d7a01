"""`permissions/groups` (internal): every group, and `Anyone`, with the permissions granted to it, on the organization or, with
`projectKey`, on a project. Those with grants come first. Not capped. Source: reference 4.7.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Object, Page, Params, identifier, object_of, paged, text, texts
from sonar_access_pipeline.access.records import GroupPermissions


def _parse(document: Any, params: Params) -> Page:
    project = params.get("projectKey")

    def record(row: Object) -> GroupPermissions:
        group_id = None if row.get("id") is None else identifier(row, "id")
        return GroupPermissions(group_id, text(row, "name"), texts(row, "permissions"), project)

    return paged(object_of(document), "groups", record)


ENDPOINT = Endpoint("permissions/groups", _parse, ("organization", "projectKey", "p", "ps"), page_size=100)
