"""Coming in: what each way to know people needs of requests, and the pages by which one comes in
where no identity proxy brings people.

A link is mailed, good for half an hour and for one use. Opening it shows a button: programs that
look into mail open links, and must not use them up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route as Path

from sonar_access_pipeline.access.review.facts import Strength
from sonar_access_pipeline.page.asking import Office, RefusedError
from sonar_access_pipeline.page.forms import form_of
from sonar_access_pipeline.page.looks import rendered
from sonar_access_pipeline.page.who import (
    LINK_HOURS,
    SESSION_HOURS,
    Assertions,
    Roles,
    UnknownPersonError,
    Visitor,
)
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.reviews import visitors
from sonar_access_pipeline.warehouse.reviews.visitors import Entry

LINKS_AN_HOUR = 5
"""Links that are mailed to one person in an hour."""
LOG = logging.getLogger("sonar_access_pipeline.page")


class Entering(Protocol):
    """A way to know people."""

    @property
    def can_leave(self) -> bool:
        """Whether somebody can end what lets them in, here."""

    def visitor(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor:
        """Find who a request is from. Raises `UnknownPersonError`."""

    def way_in(self, path: str) -> str | None:
        """Give the address at which somebody comes in who wanted to see a page; None where there
        is none.
        """

    def routes(self, office: Office) -> Sequence[Path]:
        """Build the pages by which one comes in and leaves."""


@dataclass(frozen=True)
class ByAssertion:
    """Behind an identity proxy: each request carries its own assertion, so there is no session."""

    assertions: Assertions
    roles: Roles
    can_leave: bool = False

    def visitor(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor:
        """Find who a request is from. Raises `UnknownPersonError`."""
        entry, groups = self.assertions.known(headers)
        return Visitor(entry, self.roles.of_visitor(entry.person, groups))

    def way_in(self, path: str) -> str | None:
        """Give None: the proxy brings people."""
        return None

    def routes(self, office: Office) -> Sequence[Path]:
        """Give no page: the proxy has them."""
        return ()


@dataclass(frozen=True)
class BySession:
    """By a cookie, which somebody got for a mailed link, or for saying who they are.

    `mail` sends a text to an address, and says why that failed; None where somebody only says who
    they are (`people` are then offered).
    """

    warehouse: Warehouse
    roles: Roles
    clock: Callable[[], datetime]
    is_secure: bool
    mail: Callable[[str, str], str | None] | None
    known: Callable[[str], bool]
    people: Callable[[], Sequence[str]]
    can_leave: bool = True

    @property
    def cookie(self) -> str:
        """Its name: with `__Host-` a browser takes it over TLS from this host alone."""
        return "__Host-review" if self.is_secure else "review"

    def visitor(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor:
        """Find who a request is from. Raises `UnknownPersonError`."""
        secret = cookies.get(self.cookie, "")
        with self.warehouse.read() as transaction:
            entry = visitors.found(transaction, "session", secret, self.clock())
        if entry is None:
            raise UnknownPersonError("You are not known here, or were for too long; come in again.")
        return Visitor(entry, self.roles.of_visitor(entry.person, []))

    def way_in(self, path: str) -> str | None:
        """Give the page on which one comes in."""
        return f"/login?next={quote(path, safe='/')}"

    def routes(self, office: Office) -> Sequence[Path]:
        """Build the pages by which one comes in and leaves."""

        async def login(request: Request) -> Response:
            onward = _onward(request.query_params.get("next", "/"))
            people = [] if self.mail else await run_in_threadpool(self.people)
            values = {"next": onward, "by_mail": self.mail is not None, "people": people}
            return HTMLResponse(rendered("login.html.j2", values))

        async def entered(request: Request) -> Response:
            form = await form_of(request)
            person, onward = (form.get(name, [""])[0] for name in ("person", "next"))
            person = person.strip()
            if not person or len(person) > 320 or not person.isprintable():
                raise RefusedError(422, "Say who you are.")
            if self.mail is None:
                return await run_in_threadpool(self._let_in, person, onward)
            # The same answer, and as fast, whoever it is: nobody learns here who reviews.
            mailing = BackgroundTask(self._mailed, office, person)
            return HTMLResponse(rendered("mailed.html.j2", {}), background=mailing)

        async def link(request: Request) -> Response:
            return HTMLResponse(rendered("link.html.j2", {"secret": request.path_params["secret"]}))

        async def used(request: Request) -> Response:
            secret = request.path_params["secret"]
            entry = await run_in_threadpool(
                visitors.used, self.warehouse, "link", secret, self.clock
            )
            if entry is None:
                raise RefusedError(
                    410, "The link was used already, or is too old; ask for another."
                )
            return await run_in_threadpool(self._session, entry, "/")

        async def left(request: Request) -> Response:
            secret = request.cookies.get(self.cookie, "")
            await run_in_threadpool(visitors.used, self.warehouse, "session", secret, self.clock)
            response = RedirectResponse("/login", 303)
            response.delete_cookie(self.cookie, path="/", secure=self.is_secure, httponly=True)
            return response

        found = [
            Path("/login", login, methods=["GET"]),
            Path("/login", entered, methods=["POST"]),
            Path("/logout", left, methods=["POST"]),
        ]
        if self.mail is not None:
            found += [
                Path("/link/{secret}", link, methods=["GET"]),
                Path("/link/{secret}", used, methods=["POST"]),
            ]
        return found

    def _let_in(self, person: str, onward: str) -> Response:
        ends_at = self.clock() + timedelta(hours=SESSION_HOURS)
        return self._session(Entry(person, Strength.DECLARED, ends_at), _onward(onward))

    def _mailed(self, office: Office, person: str) -> None:
        now = self.clock()
        if not self.known(person) or self.mail is None:
            return
        entry = Entry(person, Strength.MAILED, now + timedelta(hours=LINK_HOURS))
        secret = visitors.let_in(self.warehouse, "link", entry, self.clock, at_most=LINKS_AN_HOUR)
        if secret is None:
            return
        why = self.mail(
            person,
            "Somebody asked for a link to the access reviews in your name. It is good once, for"
            f" half an hour:\n{office.origin}/link/{secret}\nIf that was not you, do nothing.",
        )
        if why:
            LOG.error("a link could not be mailed: %s", why)

    def _session(self, entry: Entry, onward: str) -> Response:
        """Begin a session, and lead on."""
        ends_at = self.clock() + timedelta(hours=SESSION_HOURS)
        lasting = Entry(entry.person, entry.strength, ends_at)
        secret = visitors.let_in(self.warehouse, "session", lasting, self.clock) or ""
        response = RedirectResponse(onward, 303)
        response.set_cookie(
            self.cookie,
            secret,
            max_age=SESSION_HOURS * 3600,
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="strict",
        )
        return response


def _onward(path: str) -> str:
    """Give a page of ours to go on to; never another host's."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours and "\\" not in path else "/"
