"""`webservices/list`: the service's own catalogue of v1 endpoints and their parameters.

Source: reference 4.14.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    optional_texts,
    rows,
    text,
    texts,
)
from sonar_access_pipeline.access.records import CatalogueEntry


def _parse(document: Any, _: Params) -> Page:
    entries = []
    for service in rows(document, "webServices"):
        path = text(service, "path").removeprefix("api/")
        actions = rows(service, "actions")
        for action, key, deprecated in zip(
            actions, texts(actions, "key"), optional_texts(actions, "deprecatedSince"), strict=True
        ):
            params = rows(action, "params") if action.get("params") is not None else ()
            entries.append(
                CatalogueEntry(f"{path}/{key}", frozenset(texts(params, "key")), deprecated)
            )
    return Page(tuple(entries))


ENDPOINT = Endpoint("webservices/list", _parse, ("include_internals",))
