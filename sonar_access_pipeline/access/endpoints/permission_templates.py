"""`permissions/search_templates`: what a new project will be granted, as counts per permission.

Source: reference 4.8.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    optional_texts,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import PermissionTemplate


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "permissionTemplates")
    return Page(
        tuple(
            map(
                PermissionTemplate,
                texts(entries, "id"),
                texts(entries, "name"),
                optional_texts(entries, "projectKeyPattern"),
            )
        )
    )


ENDPOINT = Endpoint("permissions/search_templates", _parse, ("organization",))
