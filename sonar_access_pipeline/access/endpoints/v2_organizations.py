"""v2 `organizations/organizations`: the UUID under which v2 knows an organization.

A bare array. Source: reference 5.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Api,
    Endpoint,
    Page,
    Params,
    ShapeError,
    text,
)
from sonar_access_pipeline.access.records import OrganizationId


def _parse(document: Any, _: Params) -> Page:
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise ShapeError("the body is not a list of objects")
    return Page(
        tuple(
            OrganizationId(text(row, "key"), text(row, "uuidV4" if row.get("uuidV4") else "id"))
            for row in document
        )
    )


ENDPOINT = Endpoint("organizations/organizations", _parse, ("organizationKey",), api=Api.V2)
