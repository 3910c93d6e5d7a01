"""The HTTP face of a simulated organization: paging, limits, rights and errors as the reference
describes them.

`Simulator` is a context manager around a real server on a free port of the loopback interface.
"""

from __future__ import annotations

import base64
import contextlib
import math
import random
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from sonar_access_pipeline.simulator.faults import Answer, Document, FaultPlan, Wire
from sonar_access_pipeline.simulator.organization import (
    READER,
    Group,
    Organization,
    Project,
    Template,
)

SERVER_NAME = "sonar-access-simulator"
RESULT_WINDOW = 10_000
JOIN_SECONDS = 5.0
"""How long closing waits for the threads that still serve."""

CALLER_TOKENS: tuple[dict[str, Any], ...] = (
    {
        "name": "access-reader",
        "createdAt": "2025-11-03T09:15:00+0100",
        "lastConnectionDate": "2026-01-05T10:00:00+0100",
        "expirationDate": "2027-11-03T00:00:00+0100",
    },
    {"name": "never used", "createdAt": "2025-06-17T14:02:11+0200"},
)
"""The tokens that the caller has unless told otherwise.

What is absent is left out, as SonarCloud does.
"""

T = TypeVar("T")
Params = dict[str, str]


class RefusedError(Exception):
    """An error answer: a status and, where SonarCloud sends one, a message."""

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class View:
    """What answers are made of, computed from one state of an organization when first needed."""

    def __init__(self, organization: Organization, *, shuffles: bool = False) -> None:
        self.organization = organization
        self._shuffles = shuffles
        self._members_of: dict[int, list[str]] = {}

    @cached_property
    def members(self) -> list[str]:
        """Every login, by name."""
        return self._by_name(self.organization.names)

    @cached_property
    def groups(self) -> list[Group]:
        """Every group, by its name in lower case."""
        return sorted(self.organization.groups.values(), key=lambda group: group.name.lower())

    @cached_property
    def projects(self) -> list[Project]:
        """Every project, by name."""
        return sorted(
            self.organization.projects.values(),
            key=lambda project: (project.name.lower(), project.key),
        )

    @cached_property
    def group_counts(self) -> Counter[str]:
        """In how many groups each login is."""
        groups = self.organization.groups.values()
        return Counter(chain.from_iterable(group.members for group in groups))

    @cached_property
    def admins(self) -> set[str]:
        """Find every login that administers the organization."""
        return self.organization.admins()

    def members_of(self, group: Group) -> list[str]:
        """Return the logins in a group, sorted by name."""
        if group.group_id not in self._members_of:
            self._members_of[group.group_id] = self._by_name(sorted(group.members))
        return self._members_of[group.group_id]

    def _by_name(self, logins: Iterable[str]) -> list[str]:
        """In the order of display names alone: those of one name stay as they come, or as chance
        will have it.
        """
        found = list(logins)
        if self._shuffles:
            random.shuffle(found)
        return sorted(found, key=lambda login: self.name(login).lower())

    def name(self, login: str) -> str:
        """Return the display name, or the login for somebody who is no member."""
        return self.organization.names.get(login, login)


@dataclass(frozen=True)
class Caller:
    """Who asks: the login of the token, if any, how it was sent, and what tokens the caller has."""

    login: str | None
    bearer: bool
    tokens: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Route:
    """How an endpoint is answered, the parameters it takes ("!" ends a required one), and whether
    the catalogue hides it.
    """

    answer: Callable[[View, Params, Caller], Document]
    params: tuple[str, ...] = ()
    internal: bool = False


class Simulator:
    """A SonarCloud with one organization.

    `organization` is asked anew at every request, so it may evolve, and its object may be changed;
    `frozen` says that no object it gives changes, and keeps the answers made from it. `tokens` maps
    a token to the login it belongs to, and `caller_tokens` are those that `user_tokens/search`
    lists. `clock` is the server's. `v2` False has no newer API. An answer is sent `latency` seconds
    after its request arrived. Beyond `requests_per_minute`, the answer is 429. Pages have at most
    `rows_per_page` rows, and say so. With `shuffles`, people of one name stand in another order
    each time. With `tls`, it speaks HTTPS.

    `requests` counts what was asked, by endpoint and method, and `asked` has the parameters.
    `on_request` is called with the number of each request, from 1, before its answer is computed;
    nothing else is computed meanwhile. `on_headers` is called with the headers of each request.
    """

    def __init__(
        self,
        organization: Callable[[], Organization],
        *,
        tokens: dict[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        port: int = 0,
        v2: bool = True,
        latency: float = 0.0,
        frozen: bool = False,
        requests_per_minute: int | None = None,
        rows_per_page: int | None = None,
        shuffles: bool = False,
        caller_tokens: list[dict[str, Any]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.organization = organization
        self.tokens = tokens if tokens is not None else {"simulated-token": READER}
        self.caller_tokens = (
            caller_tokens if caller_tokens is not None else [dict(token) for token in CALLER_TOKENS]
        )
        self.clock = clock
        self.v2 = v2
        self.latency = latency
        self.frozen = frozen
        self.requests_per_minute = requests_per_minute
        self.rows_per_page = rows_per_page
        self.shuffles = shuffles
        self.faults = FaultPlan()
        self.requests: list[tuple[str, str]] = []
        self.asked: list[tuple[str, Params]] = []
        self.on_request: Callable[[int], None] | None = None
        self.on_headers: Callable[[Mapping[str, str]], None] | None = None
        self.closing = threading.Event()
        # Reentrant, since a fault may ask for another page, and a hook may look around.
        self._lock = threading.RLock()
        self._view: View | None = None
        self._kept: dict[tuple[object, ...], Answer] = {}
        self._minute: deque[float] = deque()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.simulator = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Simulator:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.end_connections()

    def answer(self, method: str, path: str, params: Params, authorization: str | None) -> Answer:
        """Answer one request, before faults are applied."""
        with self._lock:
            return self._made(self._current_view(), method, path, params, authorization)

    def respond(self, method: str, path: str, params: Params, authorization: str | None) -> Answer:
        """Record one request, and give its answer as the planned faults leave it."""
        endpoint = path.removeprefix("/api/")
        with self._lock:
            self.requests.append((method, endpoint))
            self.asked.append((endpoint, params))
            if self.on_request is not None:
                self.on_request(len(self.requests))
            answer = self._limited(params) or self._current(method, path, params, authorization)
        return self.faults.apply(endpoint, answer)

    def _limited(self, params: Params) -> Answer | None:
        """429 when the last minute had as many requests as it may."""
        if self.requests_per_minute is None:
            return None
        now = time.monotonic()
        while self._minute and self._minute[0] <= now - 60:
            self._minute.popleft()
        if len(self._minute) < self.requests_per_minute:
            self._minute.append(now)
            return None
        after = math.ceil(self._minute[0] + 60 - now) if self._minute else 60
        return Answer(429, None, raw=b"", headers={"Retry-After": str(after)}, params=params)

    def _current(self, method: str, path: str, params: Params, authorization: str | None) -> Answer:
        """Return the answer, from those kept where that is possible.

        With faults planned, it is made anew: they need the document, and only bodies are kept.
        """
        view = self._current_view()
        if not self.frozen or self.faults.planned:
            return self._made(view, method, path, params, authorization)
        key = (method, path, tuple(sorted(params.items())), authorization)
        if key not in self._kept:
            made = self._made(view, method, path, params, authorization)
            self._kept[key] = replace(made, document=None, raw=made.body)
        return self._kept[key]

    def _current_view(self) -> View:
        """Return what is known of the organization now; nothing is kept of an organization that may
        change.
        """
        organization = self.organization()
        if self._view is None or not self.frozen or self._view.organization is not organization:
            self._view = View(organization, shuffles=self.shuffles)
            self._kept.clear()
        return self._view

    def _made(
        self, view: View, method: str, path: str, params: Params, authorization: str | None
    ) -> Answer:
        def of_page(index: int) -> Answer:
            return self.answer(method, path, _with_page(params, index), authorization)

        for name in ("ps", "pageSize"):
            if self.rows_per_page is not None and name in params:
                params = {**params, name: str(min(int(params[name]), self.rows_per_page))}
        return replace(
            self._true_answer(view, method, path, params, authorization),
            params=params,
            of_page=of_page,
        )

    def _true_answer(
        self, view: View, method: str, path: str, params: Params, authorization: str | None
    ) -> Answer:
        newer = path.startswith("/api/v2/")
        try:
            return Answer(200, self._document(view, method, path, params, authorization))
        except RefusedError as refused:
            if refused.message is None:
                return Answer(refused.status, None, raw=b"")
            said = {"message": refused.message} if newer else {"errors": [{"msg": refused.message}]}
            return Answer(refused.status, said)

    def _login(self, authorization: str | None) -> str | None:
        """Whose token it is; None for nobody's. A wrong token is refused with an empty body."""
        if not authorization:
            return None
        scheme, _, credential = authorization.partition(" ")
        token = (
            base64.b64decode(credential).decode().rstrip(":") if scheme == "Basic" else credential
        )
        if token not in self.tokens:
            raise RefusedError(401)
        return self.tokens[token]

    def _document(
        self, view: View, method: str, path: str, params: Params, authorization: str | None
    ) -> Document:
        endpoint = path.removeprefix("/api/")
        newer = path.startswith("/api/v2/")
        if newer and not self.v2:
            raise RefusedError(404, "Not found")
        caller = Caller(
            self._login(authorization),
            (authorization or "").startswith("Bearer "),
            self.caller_tokens,
        )
        route = (V2_ROUTES if newer else ROUTES).get(endpoint)
        if route is None or not path.startswith("/api/"):
            raise RefusedError(404, "Not found" if newer else f"Unknown url : {path}")
        if method != "GET":
            raise RefusedError(405, "HTTP method GET is required")
        return route.answer(view, params, caller)


def _with_page(params: Params, index: int) -> Params:
    name = "pageIndex" if "pageIndex" in params else "p"
    return {**params, name: str(index)}


def _users_current(view: View, params: Params, caller: Caller) -> Document:
    if caller.login is None:
        return {"isLoggedIn": False}
    return {
        "isLoggedIn": True,
        "login": caller.login,
        "name": view.name(caller.login),
        "local": False,
        "groups": [],
    }


def _user_tokens_search(view: View, params: Params, caller: Caller) -> Document:
    if caller.login is None:
        raise RefusedError(401, "Authentication is required")
    # The caller's, whatever login is asked for: that parameter has been ignored for years.
    return {"login": caller.login, "userTokens": [dict(token) for token in caller.tokens]}


def _organizations_search(view: View, params: Params, caller: Caller) -> Document:
    if caller.login is None and params.get("member") == "true":
        raise RefusedError(401, "Authentication is required")
    organization = view.organization
    wanted = params.get("organizations", organization.key).split(",")
    visible = (
        [organization] if organization.key in wanted and caller.login in organization.names else []
    )
    items = [
        {
            "key": found.key,
            "name": found.name,
            "actions": dict.fromkeys(("admin", "delete", "provision"), _is_admin(view, caller)),
            "subscription": "PAID",
            "alm": {"key": "github", "url": f"https://github.com/{found.key}", "personal": False},
        }
        for found in visible
    ]
    return _paged(params, "organizations", items, default=100, most=500)


def _search_members(view: View, params: Params, caller: Caller) -> Document:
    organization = view.organization
    _known(organization, params)
    if caller.login not in organization.names:
        raise RefusedError(403, f"You're not member of organization '{organization.key}'")
    caller_is_admin = _is_admin(view, caller)

    def item(login: str) -> dict[str, Any]:
        counts = (
            {"groupCount": view.group_counts[login], "isOrgAdmin": login in view.admins}
            if caller_is_admin
            else {}
        )
        return {"login": login, "name": view.name(login), **counts}

    return _paged(
        params, "users", view.members, default=50, most=500, window=RESULT_WINDOW, row=item
    )


def _user_groups_search(view: View, params: Params, caller: Caller) -> Document:
    _admin_only(view, params, caller)

    def item(group: Group) -> dict[str, Any]:
        counted = {"membersCount": len(group.members), "default": group.default}
        return {"id": group.group_id, "name": group.name, **_described(group), **counted}

    groups = sorted(view.groups, key=lambda group: group.name)
    return _paged(params, "groups", groups, default=100, most=500, window=RESULT_WINDOW, row=item)


def _user_groups_users(view: View, params: Params, caller: Caller) -> Document:
    _admin_only(view, params | {"organization": view.organization.key}, caller)
    group = view.organization.groups.get(int(params.get("id", "0")))
    if group is None:
        raise RefusedError(404, f"No group with id '{params.get('id')}'")

    def item(login: str) -> dict[str, Any]:
        return {"login": login, "name": view.name(login), "selected": True}

    document = _paged(params, "users", view.members_of(group), default=25, most=None, row=item)
    paging = document.pop("paging")
    return document | {"p": paging["pageIndex"], "ps": paging["pageSize"], "total": paging["total"]}


def _permissions_users(view: View, params: Params, caller: Caller) -> Document:
    """List every member, those with grants first: on a project when one is named, else on the
    organization.
    """
    _admin_only(view, params, caller)
    project = _project(view, params)
    grants = view.organization.direct if project is None else project.users
    granted = {login for login, permissions in grants.items() if permissions}
    first = [login for login in view.members if login in granted] if granted else []

    def item(login: str) -> dict[str, Any]:
        return {
            "login": login,
            "name": view.name(login),
            "permissions": sorted(grants.get(login, ())),
        }

    logins = first + [login for login in view.members if login not in granted]
    return _paged(params, "users", logins, default=20, most=100, row=item)


def _permissions_groups(view: View, params: Params, caller: Caller) -> Document:
    """List every group, those with grants first, and the pseudo group of everybody where it has any
    grants.
    """
    _admin_only(view, params, caller)
    project = _project(view, params)
    anyone = view.organization.anyone if project is None else project.anyone

    def permissions_of(group: Group) -> Collection[str]:
        return group.permissions if project is None else project.groups.get(group.group_id, ())

    def item(group: Group | None) -> dict[str, Any]:
        if group is None:
            return {"name": "Anyone", "permissions": sorted(anyone)}
        return {
            "id": str(group.group_id),
            "name": group.name,
            **_described(group),
            "permissions": sorted(permissions_of(group)),
        }

    groups: list[Group | None] = [*view.groups, *([None] if anyone else [])]
    groups.sort(
        key=lambda group: (
            group is not None and not permissions_of(group),
            group.name.lower() if group else "anyone",
        )
    )
    return _paged(params, "groups", groups, default=20, most=100, row=item)


def _search_templates(view: View, params: Params, caller: Caller) -> Document:
    _admin_only(view, params, caller)
    templates = view.organization.templates
    return {
        "permissionTemplates": [_template(template) for template in templates],
        "defaultTemplates": [
            {"templateId": each.template_id, "qualifier": "TRK"}
            for each in templates
            if each.default
        ],
        "permissions": [
            {"key": key, "name": key.capitalize(), "description": f"Ability to {key}"}
            for key in sorted(set(chain.from_iterable(each.permissions for each in templates)))
        ],
    }


def _template(template: Template) -> dict[str, Any]:
    optional = {"description": template.description, "projectKeyPattern": template.key_pattern}
    return {
        "id": template.template_id,
        "name": template.name,
        **{name: value for name, value in optional.items() if value is not None},
        "createdAt": template.created_at,
        "updatedAt": template.updated_at,
        "permissions": [
            {"key": key, "usersCount": users, "groupsCount": groups, "withProjectCreator": creator}
            for key, (users, groups, creator) in template.permissions.items()
        ],
    }


def _projects_search(view: View, params: Params, caller: Caller) -> Document:
    _admin_only(view, params, caller)

    def item(project: Project) -> dict[str, Any]:
        described = {
            "organization": view.organization.key,
            "key": project.key,
            "name": project.name,
            "qualifier": "TRK",
        }
        analysed = (
            {} if project.last_analysis is None else {"lastAnalysisDate": project.last_analysis}
        )
        return {**described, "visibility": project.visibility, **analysed}

    return _paged(params, "components", view.projects, default=100, most=500, row=item)


def _webservices_list(view: View, params: Params, caller: Caller) -> Document:
    """Build the catalogue of web services from the routes."""
    with_internals = params.get("include_internals") == "true"
    services: dict[str, list[dict[str, Any]]] = {}
    for endpoint, route in sorted(ROUTES.items()):
        if with_internals or not route.internal:
            service, _, key = endpoint.rpartition("/")
            described = [
                {"key": name.removesuffix("!"), "required": name.endswith("!")}
                for name in route.params
            ]
            action = {"key": key, "internal": route.internal, "post": False, "params": described}
            services.setdefault(f"api/{service}", []).append(action)
    return {
        "webServices": [{"path": path, "actions": actions} for path, actions in services.items()]
    }


def _v2_organizations(view: View, params: Params, caller: Caller) -> Document:
    _v2_admin_only(view, caller)
    found = view.organization
    if params.get("organizationKey", found.key) != found.key:
        return []
    return [
        {
            "id": f"legacy-{found.uuid[:8]}",
            "key": found.key,
            "name": found.name,
            "uuidV4": found.uuid,
        }
    ]


def _v2_users(view: View, params: Params, caller: Caller) -> Document:
    _v2_admin_only(view, caller)
    if "organizationIds" not in params:
        raise RefusedError(400, "The 'organizationIds' parameter is missing")
    if params["organizationIds"] != view.organization.uuid:
        raise RefusedError(403, "Insufficient privileges")

    def item(login: str) -> dict[str, Any]:
        details = view.organization.details_of(login)
        described = {
            "id": details.account_id,
            "login": login,
            "name": view.name(login),
            "email": details.email,
        }
        return {**described, "externalProvider": details.provider, "avatar": None}

    index, size = int(params.get("pageIndex", "1")), int(params.get("pageSize", "50"))
    if not 1 <= size <= 500:
        raise RefusedError(400, "Page size must be between 1 and 500")
    rows = [item(login) for login in view.members[(index - 1) * size : index * size]]
    return {
        "users": rows,
        "page": {"pageIndex": index, "pageSize": size, "total": len(view.members)},
    }


PAGE = ("p", "ps")

ROUTES: dict[str, Route] = {
    "organizations/search": Route(
        _organizations_search, ("member", "organizations", *PAGE), internal=True
    ),
    "organizations/search_members": Route(_search_members, ("organization", *PAGE), internal=True),
    "permissions/groups": Route(
        _permissions_groups, ("organization", "projectKey", *PAGE), internal=True
    ),
    "permissions/search_templates": Route(_search_templates, ("organization!",)),
    "permissions/users": Route(
        _permissions_users, ("organization", "projectKey", *PAGE), internal=True
    ),
    "projects/search": Route(_projects_search, ("organization!", *PAGE)),
    "user_groups/search": Route(_user_groups_search, ("organization!", *PAGE)),
    "user_groups/users": Route(_user_groups_users, ("id", "organization", *PAGE)),
    "user_tokens/search": Route(_user_tokens_search, ("login",)),
    "users/current": Route(_users_current, internal=True),
    "webservices/list": Route(_webservices_list, ("include_internals",)),
}
V2_ROUTES: dict[str, Route] = {
    "v2/organizations/organizations": Route(_v2_organizations, ("organizationKey",)),
    "v2/users-management/users": Route(_v2_users, ("organizationIds", "pageIndex", "pageSize")),
}


def _known(organization: Organization, params: Params) -> None:
    if "organization" not in params:
        raise RefusedError(400, "The 'organization' parameter is missing")
    if params["organization"] != organization.key:
        raise RefusedError(404, f"No organization with key '{params['organization']}'")


def _is_admin(view: View, caller: Caller) -> bool:
    return caller.login is not None and "admin" in view.organization.permissions_of(caller.login)


def _admin_only(view: View, params: Params, caller: Caller) -> None:
    if caller.login is None:
        raise RefusedError(401, "Authentication is required")
    _known(view.organization, params)
    if not _is_admin(view, caller):
        raise RefusedError(403, "Insufficient privileges")


def _v2_admin_only(view: View, caller: Caller) -> None:
    if caller.login is None or not caller.bearer:
        raise RefusedError(401)
    if not _is_admin(view, caller):
        raise RefusedError(403, "Insufficient privileges")


def _project(view: View, params: Params) -> Project | None:
    """Find the project that the parameters name, or return None for the organization itself."""
    key = params.get("projectKey")
    if key is None:
        return None
    if key not in view.organization.projects:
        raise RefusedError(404, f"Project key '{key}' not found")
    return view.organization.projects[key]


def _described(group: Group) -> dict[str, Any]:
    return {} if group.description is None else {"description": group.description}


def _paged(
    params: Params,
    name: str,
    items: Sequence[T],
    *,
    default: int,
    most: int | None,
    window: int | None = None,
    row: Callable[[T], dict[str, Any]] = lambda item: item,  # type: ignore[assignment,return-value]
) -> dict[str, Any]:
    """Build one page of `items`; only the rows of this page are made."""
    page, size = int(params.get("p", "1")), int(params.get("ps", str(default)))
    if most is not None and size > most:
        raise RefusedError(400, f"'ps' value ({size}) must be less than {most}")
    if window is not None and page * size > window:
        raise RefusedError(
            400, f"Can return only the first {window} results. {page * size}th result asked."
        )
    rows = [row(item) for item in items[(page - 1) * size : page * size]]
    return {"paging": {"pageIndex": page, "pageSize": size, "total": len(items)}, name: rows}


class _Server(ThreadingHTTPServer):
    simulator: Simulator
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._serving: dict[threading.Thread, socket.socket] = {}
        self._serving_lock = threading.Lock()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._serving_lock:
            self._serving[threading.current_thread()] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._serving_lock:
                del self._serving[threading.current_thread()]

    def end_connections(self) -> None:
        """End every connection, so that no thread outlives the server waiting for a next
        request.
        """
        with self._serving_lock:
            serving = dict(self._serving)
        for connection in serving.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + JOIN_SECONDS
        for thread in serving:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet about clients that went away; they do, when an answer is late."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment per answer: headers and body are written together, and Nagle has nothing to wait
    # for.
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        # The request line is here: this is when the request arrived, and what `latency` counts
        # from.
        self._arrived = time.monotonic()
        return super().parse_request()

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        simulator: Simulator = self.server.simulator  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        if simulator.on_headers is not None:
            simulator.on_headers(dict(self.headers))
        answer = simulator.respond(method, url.path, params, self.headers.get("Authorization"))
        late = simulator.latency - (time.monotonic() - self._arrived) if simulator.latency else 0
        if answer.reset or (late > 0 and simulator.closing.wait(late)):
            self.close_connection = True
            return
        self._send(simulator, answer)

    def _send(self, simulator: Simulator, answer: Answer) -> None:
        body = answer.body
        head = self._head(answer, len(body), simulator.clock().timestamp())
        if answer.delivery is not None:
            wire = Wire(self.connection, simulator.closing)
            answer.delivery(wire, head, body)
            self.close_connection = self.close_connection or not wire.keep
        elif answer.cut:
            self.close_connection = True
            self.connection.sendall(head + body[: len(body) // 2])
        else:
            self.connection.sendall(head + body)

    def _head(self, answer: Answer, length: int, now: float) -> bytes:
        headers = {"Server": SERVER_NAME, "Date": formatdate(now, usegmt=True)}
        if "Transfer-Encoding" not in answer.headers:
            headers["Content-Length"] = str(length)
        # An empty body has no type, unless a fault says that it has.
        if length or answer.typed:
            headers["Content-Type"] = answer.content_type
        headers["Cache-Control"] = "no-cache, no-store, must-revalidate"
        headers["Sonar-Version"] = "9.8.0.203"
        headers["X-Sonar-Server-Time"] = str(int((now - answer.age) * 1000))
        if answer.age:
            headers["Age"] = str(int(answer.age))
        headers.update({name.replace("_", "-"): value for name, value in answer.headers.items()})
        reason = self.responses.get(answer.status, ("", ""))[0]
        lines = [
            f"HTTP/1.1 {answer.status} {reason}",
            *(f"{name}: {value}" for name, value in headers.items()),
            "",
            "",
        ]
        return "\r\n".join(lines).encode("latin-1", "strict")

    def version_string(self) -> str:
        return SERVER_NAME

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the client's own record is what counts."""
