"""The HTTP face of a simulated organization: paging, limits, rights and errors as the reference describes them.

`Simulator` is a context manager around a real server on a free port of the loopback interface.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sonar_access_pipeline.simulator.faults import Answer, FaultPlan
from sonar_access_pipeline.simulator.organization import READER, Group, Organization

SERVER_NAME = "sonar-access-simulator"
RESULT_WINDOW = 10_000


class RefusedError(Exception):
    """An error answer: a status and, where SonarCloud sends one, a message."""

    def __init__(self, status: int, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Simulator:
    """A SonarCloud with one organization.

    `organization` is asked anew at every request, so it may evolve. `tokens` maps a token to the login it belongs to.
    `clock` is the server's. `requests` counts what was asked, by endpoint and method.
    """

    def __init__(
        self,
        organization: Callable[[], Organization],
        *,
        tokens: dict[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        port: int = 0,
    ) -> None:
        self.organization = organization
        self.tokens = tokens if tokens is not None else {"simulated-token": READER}
        self.clock = clock
        self.faults = FaultPlan()
        self.requests: list[tuple[str, str]] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.simulator = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Simulator:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, params: dict[str, str], authorization: str | None) -> Answer:
        """The answer to one request, before faults."""
        endpoint = path.removeprefix("/api/")
        try:
            return Answer(200, self._document(method, path, endpoint, params, self._login(authorization)))
        except RefusedError as refused:
            if refused.message is None:
                return Answer(refused.status, None, raw=b"")
            return Answer(refused.status, {"errors": [{"msg": refused.message}]})

    def _login(self, authorization: str | None) -> str | None:
        """Whose token it is; None for nobody's. A wrong token is refused with an empty body."""
        if not authorization:
            return None
        scheme, _, credential = authorization.partition(" ")
        token = base64.b64decode(credential).decode().rstrip(":") if scheme == "Basic" else credential
        if token not in self.tokens:
            raise RefusedError(401)
        return self.tokens[token]

    def _document(self, method: str, path: str, endpoint: str, params: dict[str, str], login: str | None) -> dict[str, Any]:
        route = ROUTES.get(endpoint)
        if route is None or not path.startswith("/api/"):
            raise RefusedError(404, f"Unknown url : {path}")
        if method != "GET":
            raise RefusedError(405, "HTTP method GET is required")
        return route(self.organization(), params, login)


def _users_current(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    if login is None:
        return {"isLoggedIn": False}
    return {"isLoggedIn": True, "login": login, "name": organization.names.get(login, login), "local": False, "groups": []}


def _organizations_search(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    if login is None and params.get("member") == "true":
        raise RefusedError(401, "Authentication is required")
    wanted = params.get("organizations", organization.key).split(",")
    visible = [organization] if organization.key in wanted and login in organization.names else []
    items = [
        {
            "key": found.key,
            "name": found.name,
            "actions": {"admin": admin, "delete": admin, "provision": admin},
            "subscription": "PAID",
            "alm": {"key": "github", "url": f"https://github.com/{found.key}", "personal": False},
        }
        for found in visible
        for admin in ["admin" in found.permissions_of(str(login))]
    ]
    return _paged(params, "organizations", items, default=100, most=500)


def _search_members(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    _known(organization, params)
    if login not in organization.names:
        raise RefusedError(403, f"You're not member of organization '{organization.key}'")
    caller_is_admin = "admin" in organization.permissions_of(str(login))
    items = []
    for member, name in sorted(organization.names.items(), key=lambda item: item[1].lower()):
        item: dict[str, Any] = {"login": member, "name": name}
        if caller_is_admin:
            item["groupCount"] = sum(member in group.members for group in organization.groups.values())
            item["isOrgAdmin"] = "admin" in organization.permissions_of(member)
        items.append(item)
    return _paged(params, "users", items, default=50, most=500, window=RESULT_WINDOW)


def _user_groups_search(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    _admin_only(organization, params, login)
    items = []
    for group in sorted(organization.groups.values(), key=lambda group: group.name):
        item: dict[str, Any] = {"id": group.group_id, "name": group.name}
        if group.description is not None:
            item["description"] = group.description
        items.append(item | {"membersCount": len(group.members), "default": group.default})
    return _paged(params, "groups", items, default=100, most=500, window=RESULT_WINDOW)


def _user_groups_users(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    _admin_only(organization, params | {"organization": organization.key}, login)
    group = organization.groups.get(int(params.get("id", "0")))
    if group is None:
        raise RefusedError(404, f"No group with id '{params.get('id')}'")
    logins = sorted(group.members, key=lambda member: organization.names[member].lower())
    items = [{"login": member, "name": organization.names[member], "selected": True} for member in logins]
    document = _paged(params, "users", items, default=25, most=None)
    paging = document.pop("paging")
    return document | {"p": paging["pageIndex"], "ps": paging["pageSize"], "total": paging["total"]}


def _permissions_users(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    _admin_only(organization, params, login)
    items: list[dict[str, Any]] = [
        {"login": member, "name": name, "permissions": sorted(organization.direct.get(member, ()))}
        for member, name in organization.names.items()
    ]
    items.sort(key=lambda item: (not item["permissions"], item["name"].lower()))
    return _paged(params, "users", items, default=20, most=100)


def _permissions_groups(organization: Organization, params: dict[str, str], login: str | None) -> dict[str, Any]:
    _admin_only(organization, params, login)

    def item(group: Group) -> dict[str, Any]:
        described = {} if group.description is None else {"description": group.description}
        return {"id": str(group.group_id), "name": group.name, **described, "permissions": sorted(group.permissions)}

    items = [item(group) for group in organization.groups.values()]
    if organization.anyone:
        items.append({"name": "Anyone", "permissions": sorted(organization.anyone)})
    items.sort(key=lambda item: (not item["permissions"], item["name"].lower()))
    return _paged(params, "groups", items, default=20, most=100)


ROUTES: dict[str, Callable[[Organization, dict[str, str], str | None], dict[str, Any]]] = {
    "users/current": _users_current,
    "organizations/search": _organizations_search,
    "organizations/search_members": _search_members,
    "user_groups/search": _user_groups_search,
    "user_groups/users": _user_groups_users,
    "permissions/users": _permissions_users,
    "permissions/groups": _permissions_groups,
}


def _known(organization: Organization, params: dict[str, str]) -> None:
    if "organization" not in params:
        raise RefusedError(400, "The 'organization' parameter is missing")
    if params["organization"] != organization.key:
        raise RefusedError(404, f"No organization with key '{params['organization']}'")


def _admin_only(organization: Organization, params: dict[str, str], login: str | None) -> None:
    if login is None:
        raise RefusedError(401, "Authentication is required")
    _known(organization, params)
    if "admin" not in organization.permissions_of(login):
        raise RefusedError(403, "Insufficient privileges")


def _paged(
    params: dict[str, str], name: str, items: list[Any], *, default: int, most: int | None, window: int | None = None
) -> dict[str, Any]:
    page, size = int(params.get("p", "1")), int(params.get("ps", str(default)))
    if most is not None and size > most:
        raise RefusedError(400, f"'ps' value ({size}) must be less than {most}")
    if window is not None and page * size > window:
        raise RefusedError(400, f"Can return only the first {window} results. {page * size}th result asked.")
    start = (page - 1) * size
    return {"paging": {"pageIndex": page, "pageSize": size, "total": len(items)}, name: items[start : start + size]}


class _Server(ThreadingHTTPServer):
    simulator: Simulator
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One segment per answer: headers and body are written together, and Nagle has nothing to wait for.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        simulator = self.server.simulator  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        endpoint = url.path.removeprefix("/api/")
        simulator.requests.append((method, endpoint))
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        answer = simulator.faults.apply(endpoint, simulator.answer(method, url.path, params, self.headers.get("Authorization")))
        if answer.reset:
            self.close_connection = True
            return
        body = answer.raw if answer.raw is not None else json.dumps(answer.document, ensure_ascii=False).encode()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        if body:
            self.send_header("Content-Type", answer.content_type)
        self.send_header("Cache-Control", "no-cache, no-store, must-revalidate")
        self.send_header("Sonar-Version", "9.8.0.203")
        self.send_header("X-Sonar-Server-Time", str(int(simulator.clock().timestamp() * 1000)))
        for header, value in answer.headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if answer.cut else body)
        if answer.cut:
            self.close_connection = True

    def version_string(self) -> str:
        return SERVER_NAME

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the client's own record is what counts."""
