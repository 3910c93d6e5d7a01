"""The page as a web application: who asks, whether they may, what is written down, and what every
answer carries so that nothing of it runs, is framed, or is kept.

Add here: a rule for all requests. What a page shows is `reviewing.py` and `overseeing.py`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from sonar_access_pipeline.page.asking import Answer, Ask, File, Moved, Office, RefusedError, Shown
from sonar_access_pipeline.page.entering import Entering
from sonar_access_pipeline.page.forms import LARGEST_BODY, NUL, form_of
from sonar_access_pipeline.page.looks import POLICY, rendered
from sonar_access_pipeline.page.recording import Record
from sonar_access_pipeline.page.routes import ROUTES
from sonar_access_pipeline.page.routes import Route as PageRoute
from sonar_access_pipeline.page.who import UnknownPersonError
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.reviews import visitors

LOG = logging.getLogger("sonar_access_pipeline.page")
PER_MINUTE = 600
"""Requests of one person in a minute: more than anybody decides, less than a program asks."""
SAFE = frozenset({"GET", "HEAD"})
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""What every answer carries."""


@dataclass
class Rates:
    """How often each person asked in the last minute."""

    most: int = PER_MINUTE
    _asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_too_much(self, person: str) -> bool:
        """Count a request; tell whether it is one too many."""
        minute = int(time.monotonic() // 60)
        with self._lock:
            if len(self._asked) > 10_000:
                self._asked = {
                    one: known for one, known in self._asked.items() if known[0] == minute
                }
            began, count = self._asked.get(person, (minute, 0))
            count = count + 1 if began == minute else 1
            self._asked[person] = (minute, count)
            return count > self.most


class Guard:
    """Refuses what no browser of ours would send, before anything is read, and gives every answer
    its headers.
    """

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app = app
        self._origin = origin
        self._hosts = _hosts(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [
                    (name, value)
                    for name, value in message["headers"]
                    if name.decode().lower() not in HEADERS
                ]
                ours = [(name.encode(), value.encode()) for name, value in self._headers()]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        if why := self._refusal(scope, headers):
            await _sentence(*why)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _headers(self) -> list[tuple[str, str]]:
        secure = {"strict-transport-security": "max-age=31536000"}
        return list({**HEADERS, **(secure if self._origin.startswith("https:") else {})}.items())

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        if scope["path"] in ("/alive", "/ready") and scope["method"] in SAFE:
            return None
        if headers.get("host", "").lower() not in self._hosts:
            return 421, f"This page is served at {self._origin}, and under no other name."
        if scope["method"] in SAFE:
            return None
        if scope["method"] != "POST":
            return 405, "Nothing is asked for in that way."
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_ours = origin == self._origin if site is None else site == "same-origin"
        if not is_ours or (origin is not None and origin != self._origin):
            return 403, "This came from another page, so nothing was changed."
        length = headers.get("content-length", "0")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded" and (kind or length != "0"):
            return 415, "Only the forms of this page are taken."
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, "That is more than any form of this page has."
        return None


def _hosts(origin: str) -> frozenset[str]:
    parts = urlsplit(origin)
    assert parts.hostname is not None, "an origin was checked when it was set"
    return frozenset({parts.netloc.lower(), parts.hostname.lower()})


def _sentence(status: int, text: str) -> Response:
    """Say in one sentence why a request is not fulfilled."""
    return HTMLResponse(rendered("refused.html.j2", {"sentence": text}), status)


async def _missing(_: Request, error: Exception) -> Response:
    return _sentence(404, "There is no such page.")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return _sentence(error.status, error.sentence)


async def _unanswered(_: Request, error: Exception) -> Response:
    LOG.error("the warehouse refused what the page asked", exc_info=error)
    return _sentence(
        503, "The warehouse cannot be asked now; look whether it was done, then try on."
    )


async def _broken(_: Request, error: Exception) -> Response:
    return _sentence(500, "That failed, and it is our fault. Look whether it was done.")


@dataclass
class Site:
    """Answers the requests of people who are known."""

    office: Office
    entering: Entering
    record: Record
    rates: Rates = field(default_factory=Rates)

    def endpoint(self, route: PageRoute) -> Callable[[Request], Awaitable[Response]]:
        """Build what answers one address."""

        async def answer(request: Request) -> Response:
            form = await form_of(request) if request.method == "POST" else {}
            return await run_in_threadpool(self._answered, route, request, form)

        return answer

    def _answered(
        self, route: PageRoute, request: Request, form: Mapping[str, Sequence[str]]
    ) -> Response:
        try:
            visitor = self.entering.visitor(request.headers, cookies_of(request))
        except UnknownPersonError as error:
            return self._unknown(request, str(error))
        if self.rates.is_too_much(visitor.person.casefold()):
            response = _sentence(429, "That is more than anybody reads; wait a minute.")
            response.headers["retry-after"] = "60"
            return response
        query = dict(parse_qsl(request.url.query, keep_blank_values=True))
        if NUL in "".join((*query.values(), *map(str, request.path_params.values()))):
            return _sentence(400, "The address cannot be read.")
        ask = Ask(self.office, visitor, request.path_params, query, form)
        try:
            response = self._response(ask, route.handler(ask))
        except RefusedError as error:
            response = self._page(
                ask, Shown("refused.html.j2", {"sentence": error.sentence}, error.status)
            )
        self._note(ask, route, response.status_code)
        return response

    def _unknown(self, request: Request, why: str) -> Response:
        to = self.entering.way_in(request.url.path if request.method in SAFE else "/")
        if to is None:
            return _sentence(401, why)
        return RedirectResponse(to, 303)

    def _response(self, ask: Ask, answer: Answer) -> Response:
        if isinstance(answer, Moved):
            return RedirectResponse(answer.to, 303)
        if isinstance(answer, File):
            name = "".join(
                one if one.isascii() and (one.isalnum() or one in "-_.") else "_"
                for one in answer.name
            )
            headers = {"content-disposition": f'attachment; filename="{name}"'}
            return Response(answer.body, 200, headers, "application/octet-stream")
        return self._page(ask, answer)

    def _page(self, ask: Ask, shown: Shown) -> Response:
        values = {**shown.values, "visitor": ask.visitor, "can_leave": self.entering.can_leave}
        return HTMLResponse(rendered(shown.template, values), shown.status)

    def _note(self, ask: Ask, route: PageRoute, status: int) -> None:
        """Write down who saw and did what."""
        numbers = {
            name: int(text) if text.isdecimal() and len(text) < 10 else None
            for name, text in ((one, ask.path.get(one, "")) for one in ("review", "item"))
        }
        visit = visitors.Visit(
            ask.visitor.entry,
            route.what,
            self.office.clock(),
            status,
            numbers["review"],
            numbers["item"],
        )
        self.record.keep(visit, at_once=route.method not in SAFE)


def cookies_of(request: Request) -> Mapping[str, str]:
    """Read the cookies of a request; none where they cannot be read."""
    try:
        found = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in found.items()}


def application(office: Office, entering: Entering, per_minute: int = PER_MINUTE) -> ASGIApp:
    """Build the application; each person may ask so often in a minute."""
    record = Record(office.warehouse)
    site = Site(office, entering, record, Rates(per_minute))

    async def alive(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(_: Request) -> Response:
        def asked() -> None:
            with office.warehouse.read() as transaction:
                visitors.found(transaction, "session", "nobody", office.clock())

        try:
            await run_in_threadpool(asked)
        except WarehouseError:
            return PlainTextResponse("the warehouse cannot be asked\n", 503)
        return PlainTextResponse("ready\n")

    @asynccontextmanager
    async def living(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(record.close)

    routes = [
        Path("/alive", alive, methods=["GET"]),
        Path("/ready", ready, methods=["GET"]),
        *entering.routes(office),
        *(Path(one.path, site.endpoint(one), methods=[one.method]) for one in ROUTES),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            404: _missing,
            405: _missing,
            RefusedError: _refused,
            WarehouseError: _unanswered,
            Exception: _broken,
        },
        lifespan=living,
    )
    return Guard(app, office.origin)


def new_secret() -> bytes:
    """Make the secret of this process."""
    return secrets.token_bytes(32)
