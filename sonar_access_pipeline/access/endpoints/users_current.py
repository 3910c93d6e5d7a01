"""`users/current` (internal): whose token it is. Source: reference 4.11."""

from __future__ import annotations

from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    ShapeError,
    object_of,
    text,
)
from sonar_access_pipeline.access.records import Caller


def _parse(document: Any, _: Params) -> Page:
    # Without credentials the answer is 200 as well.
    if object_of(document).get("isLoggedIn") is not True:
        raise ShapeError("the caller is not logged in")
    return Page((Caller(text(document, "login")),))


ENDPOINT = Endpoint("users/current", _parse)
