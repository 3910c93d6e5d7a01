"""The forms that the page takes: read whole, of a bounded size.

Add here: a rule for every form. What a form means, its handler knows.
"""

from __future__ import annotations

from itertools import chain
from urllib.parse import parse_qs

from starlette.requests import Request

from sonar_access_pipeline.page.asking import RefusedError

LARGEST_BODY = 64 * 1024
"""Bytes of a request."""
NUL = "\0"
"""What no database keeps in a text."""


async def form_of(request: Request) -> dict[str, list[str]]:
    """Read the form of a request. Raises `RefusedError` for one that is too large, or is none."""
    body = await _body(request)
    try:
        form = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=2000)
    except (UnicodeDecodeError, ValueError):
        raise RefusedError(400, "The form cannot be read.") from None
    if any(NUL in word for word in chain.from_iterable(form.values())):
        raise RefusedError(400, "The form cannot be read.")
    return form


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise RefusedError(413, "That is more than any form of this page has.")
    return body
