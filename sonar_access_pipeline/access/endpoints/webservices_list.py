"""`webservices/list`: the service's own catalogue of v1 endpoints and their parameters. Source: reference 4.14."""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Page, Params, object_of, optional_text, rows, text
from sonar_access_pipeline.access.records import CatalogueEntry


def _parse(document: Any, _: Params) -> Page:
    entries = [
        CatalogueEntry(
            path=f"{text(service, 'path').removeprefix('api/')}/{text(action, 'key')}",
            params=frozenset(
                text(param, "key") for param in (rows(action, "params") if action.get("params") is not None else ())
            ),
            deprecated_since=optional_text(action, "deprecatedSince"),
        )
        for service in rows(object_of(document), "webServices")
        for action in rows(service, "actions")
    ]
    return Page(tuple(entries))


ENDPOINT = Endpoint("webservices/list", _parse, ("include_internals",))
