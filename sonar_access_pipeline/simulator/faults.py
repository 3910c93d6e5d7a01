"""What can go wrong between SonarCloud and a client, as small changes to one answer.

Planned per endpoint, and counted.

A fault is met by the next `times` requests to its endpoint, or by every one when `times` is None. A
fault changes what is answered (`Answer.document`, `raw`, `headers`), or how it gets to the client
(`Answer.delivery`), so that faults combine.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

Document = dict[str, Any] | list[Any]

ROWS = (
    "users",
    "groups",
    "organizations",
    "components",
    "userTokens",
    "permissionTemplates",
    "webServices",
)
"""The names under which answers carry their rows. A bare array is its rows."""

ANY = "*"
"""The endpoint of a planned fault that any request meets."""


class Wire:
    """The connection that an answer is sent over, for deliveries.

    `keep` False closes it afterwards.
    """

    def __init__(self, connection: socket.socket, closing: threading.Event) -> None:
        self._connection = connection
        self._closing = closing
        self.keep = True

    def send(self, part: bytes) -> None:
        """Send these bytes now."""
        self._connection.sendall(part)

    def wait(self, seconds: float) -> bool:
        """Let time pass; False when the server closes meanwhile, and the delivery should end."""
        self.keep = not self._closing.wait(seconds) and self.keep
        return not self._closing.is_set()

    def reset(self) -> None:
        """End the connection with a TCP RST."""
        self.keep = False
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server's own files of this socket would hold an ordinary close back, and a shutdown
        # would send a FIN first.
        os.close(self._connection.detach())


Delivery = Callable[[Wire, bytes, bytes], None]
"""How the head and the body of an answer are sent."""


@dataclass(frozen=True)
class Answer:
    """What the server is about to send.

    `cut` sends the headers of the whole body and only a part of it.

    `params` are those of the request, and `of_page` gives the true answer for another page. `age`
    is how many seconds ago the answer says it was made. `typed` sends the content type with an
    empty body as well.
    """

    status: int
    document: Document | None
    raw: bytes | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False
    params: dict[str, str] = field(default_factory=dict)
    of_page: Callable[[int], Answer] | None = field(default=None, compare=False)
    delivery: Delivery | None = None
    age: float = 0
    typed: bool = False

    @property
    def body(self) -> bytes:
        """The bytes of the body: `raw`, or the document as JSON."""
        return (
            self.raw
            if self.raw is not None
            else json.dumps(self.document, ensure_ascii=False).encode()
        )


Fault = Callable[[Answer], Answer]


def status(code: int, **headers: str) -> Fault:
    """Build a fault that sends an error status with an empty body, such as 429 with `Retry-After`
    or 503.
    """
    return lambda answer: replace(answer, status=code, document=None, raw=b"", headers=headers)


def html(answer: Answer) -> Answer:
    """Put a proxy's page with status 200 in place of the answer."""
    return replace(
        answer,
        raw=b"<html><body>Please sign in</body></html>",
        content_type="text/html",
        document=None,
    )


def login_page(answer: Answer) -> Answer:
    """Put the page of a single sign-on, with a form and status 200, in place of the answer."""
    page = (
        b'<!DOCTYPE html><html><body><form method="post" action="/login"><input'
        b' name="user"></form></body></html>'
    )
    return replace(
        answer, status=200, raw=page, content_type="text/html; charset=utf-8", document=None
    )


def forbidden_html(answer: Answer) -> Answer:
    """Put a firewall's refusal in place of the answer: 403 and a page, where SonarCloud itself
    would send JSON.
    """
    page = (
        b"<html><head><title>403 Forbidden</title></head><body><h1>Request"
        b" blocked</h1></body></html>"
    )
    return replace(answer, status=403, raw=page, content_type="text/html", document=None)


def page(code: int, **headers: str) -> Fault:
    """Build a fault that sends a page of HTML with an error status, as gateways and the edge before
    SonarCloud do; `_` in a header's name becomes `-`.
    """
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    html = b"<html><body><h1>Something stands between</h1></body></html>"
    return lambda answer: replace(
        answer, status=code, raw=html, content_type="text/html", document=None, headers=sent
    )


def error(code: int, message: str) -> Fault:
    """SonarCloud's envelope for an error."""
    return lambda answer: replace(
        answer, status=code, raw=None, document={"errors": [{"msg": message}]}
    )


def redirect(location: str) -> Fault:
    """302 to another address."""
    return status(302, Location=location)


def body(raw: bytes, content_type: str = "application/json") -> Fault:
    """Exactly this body, with status 200."""
    return lambda answer: replace(
        answer, status=200, raw=raw, content_type=content_type, document=None, typed=True
    )


def empty(answer: Answer) -> Answer:
    """Status 200 and JSON by its type, without a body."""
    return replace(answer, status=200, raw=b"", document=None, typed=True)


def invalid_utf8(answer: Answer) -> Answer:
    """JSON in which a name is not UTF-8."""
    return body(
        b'{"paging":{"pageIndex":1,"pageSize":500,"total":1},"users":[{"login":"\xff\xfe","name":"\xc3\x28"}]}'
    )(answer)


def reset(answer: Answer) -> Answer:
    """End the connection without an answer."""
    return replace(answer, reset=True)


def truncated(answer: Answer) -> Answer:
    """End the connection in the middle of the body."""
    return replace(answer, cut=True)


def reset_inside(answer: Answer) -> Answer:
    """Send the headers and half of the body, then a TCP RST."""

    def delivery(wire: Wire, head: bytes, body: bytes) -> None:
        wire.send(head + body[: len(body) // 2])
        # A reset lets the client's system throw away what the client has not read yet.
        wire.wait(0.05)
        wire.reset()

    return replace(answer, delivery=delivery)


def chunk_cut(answer: Answer) -> Answer:
    """Send a body in chunks that ends before the last one: nothing says how long it should have
    been.
    """

    def delivery(wire: Wire, head: bytes, body: bytes) -> None:
        wire.keep = False
        wire.send(head)
        half = body[: len(body) // 2]
        for chunk in (half[: len(half) // 2], half[len(half) // 2 :]):
            if chunk:
                wire.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    return replace(
        answer, delivery=delivery, headers={**answer.headers, "Transfer-Encoding": "chunked"}
    )


def stall(seconds: float) -> Fault:
    """Build a fault that accepts the request, answers nothing for so many seconds, and ends the
    connection.
    """

    def delivery(wire: Wire, head: bytes, body: bytes) -> None:
        wire.wait(seconds)
        wire.keep = False

    return lambda answer: replace(answer, delivery=delivery)


def drip(seconds_between: float, bytes_at_once: int = 1) -> Fault:
    """Build a fault that sends the right answer, with its body a few bytes at a time."""

    def delivery(wire: Wire, head: bytes, body: bytes) -> None:
        wire.send(head)
        _drip(wire, body, seconds_between, bytes_at_once)

    return lambda answer: replace(answer, delivery=delivery)


def drip_headers(seconds_between: float, bytes_at_once: int = 1) -> Fault:
    """Build a fault that sends the right answer a few bytes at a time, from its first line on."""
    return lambda answer: replace(
        answer,
        delivery=lambda wire, head, body: _drip(wire, head + body, seconds_between, bytes_at_once),
    )


def _drip(wire: Wire, content: bytes, seconds_between: float, bytes_at_once: int) -> None:
    for start in range(0, len(content), bytes_at_once):
        if start and not wire.wait(seconds_between):
            return
        wire.send(content[start : start + bytes_at_once])


def stale(age_seconds: float) -> Fault:
    """Build a fault that answers like a cache on the way: the server's time is so many seconds
    older, and `Age` says so.
    """
    return lambda answer: replace(answer, age=age_seconds)


def short(rows: int) -> Fault:
    """Build a fault that leaves out the last `rows` of a page while the total still counts them."""
    return lambda answer: _change_rows(answer, lambda items: items[:-rows])


def repeated(answer: Answer) -> Answer:
    """Put the first row of a page in place of the last, as an unstable order does between two
    pages.
    """
    return _change_rows(answer, lambda items: [*items[:-1], items[0]])


def repeating_page(answer: Answer) -> Answer:
    """Whatever page is asked, the rows of the first, of a total without end."""
    return _change_total(_first_page_as_asked(answer), lambda _: 10**9)


def endless(rows_per_page: int | None = None) -> Fault:
    """Whatever page is asked, a full page of made-up rows, all distinct, of a total that is always
    one page further.
    """

    def fault(answer: Answer) -> Answer:
        page = _first_page_as_asked(answer)
        index, size = _asked(page)
        rows = rows_per_page or size
        like = next(iter(_rows_of(page)), {"login": "", "name": ""})
        made_up = [_made_up(like, number) for number in range((index - 1) * rows, index * rows)]
        return _change_total(
            _change_rows(page, lambda _: made_up, also_empty=True), lambda _: (index + 1) * rows
        )

    return fault


def without_list(answer: Answer) -> Answer:
    """Leave the rows out of the answer altogether."""
    if not isinstance(answer.document, dict):
        return replace(answer, document={})
    return replace(
        answer,
        document={name: value for name, value in answer.document.items() if name not in ROWS},
    )


def null_list(answer: Answer) -> Answer:
    """Replace the rows by null."""
    if not isinstance(answer.document, dict):
        return replace(answer, document=None)
    return replace(
        answer,
        document={name: None if name in ROWS else value for name, value in answer.document.items()},
    )


def total_off_by(difference: int) -> Fault:
    """Build a fault that changes the reported total by `difference`."""
    return lambda answer: _change_total(answer, lambda total: total + difference)


def total_as_text(answer: Answer) -> Answer:
    """Turn the reported total into a string."""
    return _change_total(answer, str)


def _change_total(answer: Answer, change: Callable[[int], Any]) -> Answer:
    if not isinstance(answer.document, dict):
        return answer
    document = dict(answer.document)
    paging = next((name for name in ("paging", "page") if name in document), None)
    if paging is not None:
        document[paging] = {**document[paging], "total": change(document[paging]["total"])}
    elif "total" in document:
        document["total"] = change(document["total"])
    return replace(answer, document=document)


def _change_rows(
    answer: Answer, change: Callable[[list[Any]], list[Any]], *, also_empty: bool = False
) -> Answer:
    if isinstance(answer.document, list):
        return replace(
            answer, document=change(answer.document) if answer.document or also_empty else []
        )
    document = dict(answer.document or {})
    for name in ROWS:
        if document.get(name) or (also_empty and name in document):
            document[name] = change(document[name])
    return replace(answer, document=document)


def _rows_of(answer: Answer) -> list[Any]:
    if isinstance(answer.document, list):
        return answer.document
    return next((rows for name, rows in (answer.document or {}).items() if name in ROWS), [])


def _first_page_as_asked(answer: Answer) -> Answer:
    """Answer with the first page, which says that it is the one asked for, even where the page
    asked for would be refused.
    """
    first = answer if answer.of_page is None else answer.of_page(1)
    if not isinstance(first.document, dict):
        return replace(answer, status=first.status, document=first.document)
    index = _asked(answer)[0]
    document = dict(first.document)
    for name in ("paging", "page"):
        if name in document:
            document[name] = {**document[name], "pageIndex": index}
    if "p" in document:
        document["p"] = index
    return replace(answer, status=first.status, document=document)


def _asked(answer: Answer) -> tuple[int, int]:
    """Return the number of the page asked for and its size, which the answer knows best."""
    document = answer.document if isinstance(answer.document, dict) else {}
    said = document.get("paging") or document.get("page") or {}
    index = answer.params.get("p") or answer.params.get("pageIndex") or 1
    return int(index), int(said.get("pageSize") or document.get("ps") or 100)


def _made_up(like: dict[str, Any], number: int) -> dict[str, Any]:
    row = {**like, "name": f"Made up {number:09d}"}
    for name in ("login", "key"):
        if name in row:
            row[name] = f"made-up-{number:09d}"
    if "id" in row:
        row["id"] = 10**9 + number if isinstance(row["id"], int) else f"made-up-{number:09d}"
    return row


@dataclass(frozen=True)
class _Planned:
    endpoint: str
    fault: Fault
    times: int | None
    after: int
    when: Callable[[dict[str, str]], bool] | None

    def meets(self, endpoint: str, params: dict[str, str]) -> bool:
        return self.endpoint in (endpoint, ANY) and (self.when is None or self.when(params))


class FaultPlan:
    """The faults that a server still has to commit. Safe to change while it serves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []

    def add(
        self,
        endpoint: str,
        fault: Fault,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[dict[str, str]], bool] | None = None,
    ) -> None:
        """Commit `fault` on the next `times` requests to `endpoint` (None: all), letting `after`
        requests pass first.

        The endpoint "*" is any. With `when`, only requests whose parameters it holds for count and
        are met.
        """
        with self._lock:
            self._planned.append(_Planned(endpoint, fault, times, after, when))

    @property
    def planned(self) -> bool:
        """Whether any fault is still to be committed."""
        return bool(self._planned)

    def clear(self) -> None:
        """Commit no more faults."""
        with self._lock:
            self._planned.clear()

    def apply(self, endpoint: str, answer: Answer) -> Answer:
        """`answer`, as the planned faults leave it."""
        for fault in self._due(endpoint, answer.params):
            answer = fault(answer)
        return answer

    def _due(self, endpoint: str, params: dict[str, str]) -> list[Fault]:
        """Take the faults that this request meets from the plan.

        They are run later, without the lock, since some ask the server for another page.
        """
        due: list[Fault] = []
        with self._lock:
            kept = []
            for planned in self._planned:
                if not planned.meets(endpoint, params):
                    kept.append(planned)
                elif planned.after > 0:
                    kept.append(replace(planned, after=planned.after - 1))
                else:
                    due.append(planned.fault)
                    if planned.times is None or planned.times > 1:
                        kept.append(
                            replace(
                                planned, times=None if planned.times is None else planned.times - 1
                            )
                        )
            self._planned = kept
        return due
