"""SonarCloud's endpoints, one adapter per file: what is asked, and from the bytes of an answer to a
page of records.

An endpoint that SonarCloud removes is one file's change. Its adapter stays for the snapshots that
hold its answers: the raw archive is parsed again years later. Where the facts come from:
docs/sonarcloud.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from sonar_access_pipeline.access.endpoints import (
    organizations_search,
    permission_templates,
    permissions_groups,
    permissions_users,
    projects_search,
    search_members,
    user_groups_search,
    user_groups_users,
    user_tokens,
    users_current,
    v2_organizations,
    v2_users,
    webservices_list,
)
from sonar_access_pipeline.access.endpoints.shape import Endpoint, Page, Params, ShapeError

__all__ = ["ENDPOINTS", "Endpoint", "Page", "ShapeError", "page_of"]

ENDPOINTS: Mapping[str, Endpoint] = {
    adapter.ENDPOINT.path: adapter.ENDPOINT
    for adapter in (
        users_current,
        user_tokens,
        organizations_search,
        search_members,
        user_groups_search,
        user_groups_users,
        permissions_users,
        permissions_groups,
        projects_search,
        permission_templates,
        v2_organizations,
        v2_users,
        webservices_list,
    )
}
"""Every endpoint that is or was read, by its path."""


def page_of(path: str, params: Params, body: bytes) -> Page:
    """Parse one response body of an endpoint asked with `params`. Raises `ShapeError`."""
    try:
        document = json.loads(body)
    except ValueError:
        raise ShapeError("the body is not JSON") from None
    except RecursionError:
        raise ShapeError("the body is nested too deep to be read") from None
    page = ENDPOINTS[path].parse(document, params)
    asked = params.get(ENDPOINTS[path].api.value[0])
    if asked is not None and page.number is not None and page.number != int(asked):
        raise ShapeError(f"page {page.number} came where page {asked} was asked for")
    return page
