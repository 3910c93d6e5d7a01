"""Drata and Vanta on loopback, strict: every request and every answer is checked against the
published shape (`contracts/`), and faults are served where a test asks for them.

`python -m sonar_access_pipeline_tests.support.platforms drata.yml NEWER` shows what a newer
published file has otherwise.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
import yaml

from sonar_access_pipeline_tests.support.loopback import running

CONTRACTS = Path(__file__).parents[1] / "contracts"
KEY = "drata-5ecret-key"
CLIENT_ID, CLIENT_SECRET = "vci_client", "vcs_5ecret"
NOW = "2026-02-03T10:00:00.000Z"


class RefusedRequestError(Exception):
    """A request that the published shape does not have: the code under test is wrong."""


@dataclass
class Fault:
    """What happens to requests of a method and a path: a status, HTML, a connection that ends
    before or after the work is done, or a change of the answer.
    """

    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    html: bool = False
    cut: str = ""
    change: Callable[[Any], Any] | None = None
    times: int = 1

    def takes(self, method: str, path: str) -> bool:
        """Tell whether it happens to this request, and count it."""
        if not self.times or method != self.method or not re.search(self.path, path):
            return False
        self.times -= 1
        return True


Answer = tuple[int, Any]


class Platform:
    """A platform: what it holds, and what it was asked."""

    contract = ""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.url = ""

    @property
    def written(self) -> list[tuple[str, str]]:
        """Every request that is not just a look."""
        return [one for one in self.asked if one[0] != "GET"]

    def answer(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> Answer:
        """Do what is asked."""
        raise NotImplementedError

    def authorized(self, header: str) -> bool:
        """Tell whether a key is good."""
        raise NotImplementedError


@cache
def contract_of(name: str) -> dict[str, Any]:
    """Read a contract, as JSON Schema has it: what may be null has that as a type, and nothing that
    a shape does not name is taken.
    """
    found: dict[str, Any] = _strict(yaml.safe_load((CONTRACTS / name).read_text()))
    return found


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items() if key != "nullable"}
    if "properties" in made and isinstance(node.get("properties"), dict) and "$ref" not in made:
        made.setdefault("additionalProperties", False)
    if node.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]}
    return made


def operation(contract: Mapping[str, Any], method: str, path: str) -> tuple[Any, Mapping[str, str]]:
    """Find what the contract says of a request."""
    for template, methods in contract["paths"].items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
        match = re.fullmatch(pattern, path)
        if match and method.lower() in methods:
            return methods[method.lower()], {k: unquote(v) for k, v in match.groupdict().items()}
    raise RefusedRequestError(f"{method} {path} is not published")


def _checked(contract: Mapping[str, Any], schema: Any, value: Any, what: str) -> None:
    whole = {**schema, "components": contract.get("components", {})}
    try:
        jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(
            value
        )
    except jsonschema.ValidationError as error:
        raise RefusedRequestError(f"{what}: {error.message[:300]}") from None


def _typed(value: str, schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind in ("number", "integer"):
        return int(value)
    return value == "true" if kind == "boolean" else value


def _resolved(contract: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = contract
    if "$ref" not in schema:
        return schema
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def check_request(
    contract: Mapping[str, Any], method: str, path: str, query: Mapping[str, str], sent: Any
) -> Any:
    """Check a request against a contract; give what the contract says of its answers."""
    about, named = operation(contract, method, path)
    known = {one["name"]: one for one in about.get("parameters", ())}
    given = {**query, **named}
    for name, text in given.items():
        if name not in known:
            raise RefusedRequestError(f"{method} {path} takes no parameter {name}")
        schema = _resolved(contract, known[name]["schema"])
        _checked(contract, schema, _typed(text, schema), f"parameter {name}")
    missing = {name for name, one in known.items() if one.get("required")} - given.keys()
    if missing:
        raise RefusedRequestError(f"{method} {path} lacks {missing}")
    body = about.get("requestBody")
    if (body is None) is not (sent is None):
        raise RefusedRequestError(f"{method} {path} has a body, or lacks one")
    if body is not None:
        (kind, content), *others = body["content"].items()
        assert not others
        if isinstance(sent, Multipart) is not (kind == "multipart/form-data"):
            raise RefusedRequestError(f"{method} {path} takes {kind}")
        value: Any = sent.texts if isinstance(sent, Multipart) else sent
        _checked(contract, content["schema"], value, f"body of {method} {path}")
    return about["responses"]


@dataclass
class Multipart:
    """A form: files by name, as name and bytes; and every field as a text, to check."""

    files: dict[str, tuple[str, bytes]]
    texts: dict[str, str]


def _multipart(kind: str, body: bytes) -> Multipart:
    whole = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
    message = email.message_from_bytes(whole, policy=email.policy.HTTP)
    files: dict[str, tuple[str, bytes]] = {}
    texts: dict[str, str] = {}
    for part in message.iter_parts() if isinstance(message, EmailMessage) else ():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        filename = part.get_filename()
        if filename is not None:
            files[name] = (filename, data)
        texts[name] = filename or data.decode()
    return Multipart(files, texts)


class Drata(Platform):
    """The evidence library and the records of a custom connection."""

    contract = "drata.yml"
    extensions = frozenset("pdf docx xlsx csv json md txt html zip".split())

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.evidence: dict[int, dict[str, Any]] = {}
        self.artifacts: dict[int, dict[int, dict[str, Any]]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.active: list[dict[str, Any]] = []
        self.page = 2
        """So few on a page that paging matters."""

    def authorized(self, header: str) -> bool:
        """Tell whether the key is good."""
        return header == f"Bearer {KEY}"

    def answer(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> Answer:
        """Do what is asked."""
        steps = path.strip("/").split("/")
        if steps[0] == "workspaces" and steps[1] != "7":
            return 404, None
        if steps[0] == "custom-connections" and steps[1:4] != ["3", "resources", "4"]:
            return 404, None
        what = "/".join("*" if step.isdigit() else step for step in steps[2:])
        if what == "evidence-files":
            return self._upload(sent)
        if what == "evidence" and method == "GET":
            named = [
                self._shown(one)
                for one in self.evidence.values()
                if one["name"].startswith(query.get("name", ""))
            ]
            return 200, self._page(named, query)
        if what == "evidence":
            number = len(self.evidence) + 11
            self.evidence[number] = {"id": number, "name": sent["name"]}
            self.artifacts[number] = {}
            return 201, self._mutated(number, sent["artifacts"])
        if what == "evidence/*" and method == "PUT":
            artifacts = [*sent.get("newArtifacts", ()), *sent.get("replaceArtifacts", ())]
            return 200, self._mutated(int(steps[3]), artifacts)
        if what == "evidence/*/artifacts":
            found = [self._artifact(*one) for one in self.artifacts[int(steps[3])].items()]
            return 200, self._page(found, query)
        return self._records(method, steps[4:], query, sent)

    def _upload(self, sent: Multipart) -> Answer:
        name, data = sent.files["file"]
        if name.rpartition(".")[2] not in self.extensions:
            return 400, None
        key = f"key-{len(self.files)}"
        self.files[key] = data
        return 201, {
            "fileKey": key,
            "originalFilename": name,
            "mimeType": "application/octet-stream",
            "fileSize": len(data),
        }

    def _mutated(self, number: int, artifacts: list[dict[str, Any]]) -> dict[str, Any]:
        for one in artifacts:
            assert one["fileKey"] in self.files
            artifact = one.get("existingArtifactId") or 100 * number + len(self.artifacts[number])
            version = self.artifacts[number].get(artifact, {}).get("version", 0)
            self.artifacts[number][artifact] = {
                "name": one["artifactName"],
                "filedAt": one["filedAt"],
                "body": self.files[one["fileKey"]],
                "version": version + 1,
            }
        return {
            "id": number,
            "name": self.evidence[number]["name"],
            "description": None,
            "implementationGuidance": None,
            "evidenceTemplateCode": None,
            "renewalDate": None,
            "renewalScheduleType": "NONE",
            "createdAt": NOW,
            "updatedAt": NOW,
            "artifactsRequested": len(artifacts),
            "artifactsCreated": len(artifacts),
            "controls": [],
            "linkedWorkspaces": [],
            "artifacts": [],
        }

    def _shown(self, one: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **one,
            "description": None,
            "implementationGuidance": None,
            "createdAt": NOW,
            "updatedAt": NOW,
            "renewalDate": None,
            "renewalScheduleType": "NONE",
            "status": "READY",
        }

    def _artifact(self, number: int, one: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": number,
            "artifactName": one["name"],
            "extension": None,
            "artifactVersion": one["version"],
            "source": "API",
            "artifactType": "S3_FILE",
            "filedAt": f"{one['filedAt']}T00:00:00.000Z",
            "archivedAt": None,
            "createdAt": NOW,
        }

    def _page(self, found: list[Any], query: Mapping[str, str]) -> dict[str, Any]:
        first = int(query.get("cursor", "0"))
        last = first + self.page
        cursor = str(last) if last < len(found) else None
        return {"data": found[first:last], "pagination": {"cursor": cursor}}

    def _records(
        self, method: str, steps: list[str], query: Mapping[str, str], sent: Any
    ) -> Answer:
        if steps == ["records"]:
            found = [
                {
                    "id": str(number),
                    "attributes": one,
                    "sessionId": query.get("sessionId"),
                    "createdAt": NOW,
                    "updatedAt": NOW,
                }
                for number, one in enumerate(self.sessions[query["sessionId"]]["records"])
            ]
            return 200, self._page(found, query)
        if steps == ["sessions"]:
            of_status = [
                {
                    "id": number,
                    "sessionId": name,
                    "status": one["status"],
                    "createdAt": NOW,
                    "updatedAt": NOW,
                    "activatedAt": None,
                    "canceledAt": None,
                }
                for number, (name, one) in enumerate(self.sessions.items())
                if one["status"] == query["status"]
            ]
            return 200, self._page(of_status, query)
        name = steps[1]
        if len(steps) == 2:
            session = self.sessions.setdefault(name, {"status": "IN_PROGRESS", "records": []})
            if session["status"] != "IN_PROGRESS":
                return 422, None
            session["records"] += sent["data"]
            if len(sent["data"]) == 1:
                return 201, {
                    "id": "0",
                    "createdAt": NOW,
                    "updatedAt": NOW,
                    "statusCode": 201,
                    "data": sent["data"][0],
                }
            return 200, [
                {"id": f"{n}", "createdAt": NOW, "updatedAt": NOW, "statusCode": 201, "data": one}
                for n, one in enumerate(sent["data"])
            ]
        session = self.sessions[name]
        if sent["action"] == "complete":
            for other in self.sessions.values():
                if other["status"] == "ACTIVE":
                    other["status"] = "ARCHIVED"
            self.active = session["records"]
        session["status"] = {"complete": "ACTIVE", "cancel": "CANCELED"}[sent["action"]]
        return 200, {
            "sessionId": name,
            "status": session["status"],
            "action": sent["action"],
            "connectionId": 3,
            "resourceId": 4,
        }


class Vanta(Platform):
    """Documents, and user accounts of an application."""

    contract = "vanta.yml"

    def __init__(self) -> None:
        super().__init__()
        self.tokens = 0
        self.uploads: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.submitted = 0
        self.status = "Needs document"
        self.accounts: dict[str, dict[str, Any]] = {}
        self.page = 2

    def authorized(self, header: str) -> bool:
        """Tell whether the token is the last one that was given out."""
        return header == f"Bearer token-{self.tokens}"

    def token(self, sent: Mapping[str, str]) -> Answer:
        """Give a token out, which ends the one before."""
        assert sent["grant_type"] == "client_credentials"
        if (sent["client_id"], sent["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return 401, None
        self.tokens += 1
        token = {"access_token": f"token-{self.tokens}", "expires_in": 3599, "token_type": "Bearer"}
        return 200, token

    def answer(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> Answer:
        """Do what is asked."""
        if path == "/v1/resources/user_account":
            return self._accounts(method, query, sent)
        if not path.startswith("/v1/documents/access-reviews"):
            return 404, None
        if path.endswith("/submit"):
            self.submitted += 1
            self.status = "OK"
            return 204, None
        if path.endswith("/uploads"):
            return self._uploads(method, query, sent)
        return 200, {
            "id": "access-reviews",
            "ownerId": None,
            "category": "Accounts access",
            "description": "",
            "isSensitive": False,
            "title": "Access reviews",
            "uploadStatus": self.status,
            "uploadStatusDate": None,
            "url": None,
            "deactivatedStatus": {
                "creationDate": NOW,
                "expiration": None,
                "reason": None,
                "isDeactivated": False,
            },
            "note": None,
            "nextRenewalDate": None,
            "renewalCadence": "P3M",
            "reminderWindow": "P1M",
            "subscribers": [],
        }

    def _uploads(self, method: str, query: Mapping[str, str], sent: Any) -> Answer:
        if method == "POST":
            name, data = sent.files["file"]
            self.bodies.append(data)
            self.status = "Needs update"
            upload = {
                "id": str(len(self.uploads)),
                "fileName": name,
                "title": name,
                "description": sent.texts.get("description"),
                "mimeType": "application/pdf",
                "uploadedBy": {"type": "APPLICATION", "id": "app"},
                "creationDate": NOW,
                "updatedDate": NOW,
                "deletionDate": None,
                "effectiveDate": sent.texts.get("effectiveAtDate"),
                "url": "https://app.vanta.com/x",
            }
            self.uploads.append(upload)
            return 201, upload
        first = int(query.get("pageCursor", "0"))
        last = first + self.page
        page = {
            "endCursor": str(last),
            "hasNextPage": last < len(self.uploads),
            "hasPreviousPage": first > 0,
            "startCursor": None,
        }
        return 200, {"results": {"data": self.uploads[first:last], "pageInfo": page}}

    def _accounts(self, method: str, query: Mapping[str, str], sent: Any) -> Answer:
        if method == "GET":
            return 200, {"resources": list(self.accounts.values())}
        self.accounts = {one["uniqueId"]: one for one in sent["resources"]}
        return 200, {"success": True}


@contextmanager
def platform(kind: type[Platform]) -> Iterator[Any]:
    """Serve a platform on this machine."""
    here = kind()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"here": here}))
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    with running(server):
        yield here
    assert not here.wrong, f"not as published: {here.wrong}"


class _Handler(BaseHTTPRequestHandler):
    here: Platform

    def log_message(self, format: str, *args: Any) -> None:  # its name there
        """Say nothing."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        sent = self._sent()
        here = self.here
        here.asked.append((self.command, url.path))
        fault = next((one for one in here.faults if one.takes(self.command, url.path)), None)
        if fault is None:
            self._say(*self._done(url.path, query, sent))
        elif fault.html:
            self._write(fault.status or 200, b"<html>sign in</html>", "text/html")
        elif fault.status:
            self._write(fault.status, b'{"message": "of ada@example.com"}', headers=fault.headers)
        elif fault.cut == "before":
            self.connection.close()
        else:
            status, answer = self._done(url.path, query, sent)
            if fault.cut:
                self.connection.close()
            else:
                self._say(status, fault.change(answer) if fault.change else answer)

    def _sent(self) -> Any:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not body:
            return None
        kind = self.headers.get("Content-Type", "")
        return _multipart(kind, body) if kind.startswith("multipart/") else json.loads(body)

    def _done(self, path: str, query: Mapping[str, str], sent: Any) -> Answer:
        here = self.here
        if path == "/oauth/token" and isinstance(here, Vanta):
            return here.token(sent)
        if not here.authorized(self.headers.get("Authorization", "")):
            return 401, None
        contract = contract_of(here.contract)
        try:
            responses = check_request(contract, self.command, path, query, sent)
            status, answer = here.answer(self.command, path, query, sent)
            content = responses.get(str(status), {}).get("content") if status < 300 else None
            if content:
                shape = content["application/json"]["schema"]
                _checked(contract, shape, answer, f"OUR answer to {self.command} {path}")
        except RefusedRequestError as error:
            here.wrong.append(str(error))
            return 400, None
        return status, answer

    def _say(self, status: int, answer: Any) -> None:
        self._write(status, b"" if answer is None else json.dumps(answer).encode())

    def _write(
        self,
        status: int,
        data: bytes,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815  # as the library calls them


def main() -> None:
    """Show what a newer published file has otherwise, path by path."""
    pinned = yaml.safe_load((CONTRACTS / sys.argv[1]).read_text())
    newer = yaml.safe_load(Path(sys.argv[2]).read_text())
    for path, methods in pinned["paths"].items():
        found = newer["paths"].get(path) or newer["paths"].get(path.removeprefix("/v1"), {})
        for method in methods:
            same = {"there": method in found}
            print(f"{method.upper():5} {path}: {same}")  # noqa: T201
    for name, schema in pinned["components"]["schemas"].items():
        there = newer.get("components", {}).get("schemas", {}).get(name, {})
        ours = set(schema.get("properties", {}))
        theirs = set(there.get("properties", {}))
        for word, names in (("gone", ours - theirs), ("new", theirs - ours)):
            if names:
                print(f"{name}: {word} {sorted(names)}")  # noqa: T201
        if schema.get("required") != there.get("required"):
            print(f"{name}: required is {there.get('required')}")  # noqa: T201


if __name__ == "__main__":
    main()
