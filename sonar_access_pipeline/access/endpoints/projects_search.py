"""`projects/search`: the projects that the caller can see. Source: reference 4.9, recorded.

Not all there are: a private project that the caller may not browse is left out, without an error.
"""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_texts,
    paged,
    rows,
    texts,
)
from sonar_access_pipeline.access.records import Project


def _parse(document: Any, _: Params) -> Page:
    entries = rows(document, "components")
    records = map(
        Project,
        texts(entries, "key"),
        optional_texts(entries, "name"),
        optional_texts(entries, "visibility"),
    )
    return paged(object_of(document), records)


# Nobody says whether it stops at 10,000 rows as its siblings do: it is asked for all, and its own
# refusal would be passed on.
ENDPOINT = Endpoint("projects/search", _parse, ("organization", "p", "ps"), page_size=500)
