"""`permissions/search_templates`: what a new project will be granted, as counts per permission. Source: reference 4.8."""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Object, Page, Params, object_of, optional_text, rows, text
from sonar_access_pipeline.access.records import PermissionTemplate


def _record(row: Object) -> PermissionTemplate:
    return PermissionTemplate(text(row, "id"), text(row, "name"), optional_text(row, "projectKeyPattern"))


def _parse(document: Any, _: Params) -> Page:
    return Page(tuple(_record(row) for row in rows(object_of(document), "permissionTemplates")))


ENDPOINT = Endpoint("permissions/search_templates", _parse, ("organization",))
