"""What can go wrong between SonarCloud and a client, as small changes to one answer. Planned per endpoint, and counted.

A fault is met by the next `times` requests to its endpoint, or by every one when `times` is None.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server is about to send. `cut` sends the headers of the whole body and only a part of it."""

    status: int
    document: dict[str, Any] | None
    raw: bytes | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False


Fault = Callable[[Answer], Answer]


def status(code: int, **headers: str) -> Fault:
    """An error status with an empty body, such as 429 with `Retry-After` or 503."""
    return lambda answer: replace(answer, status=code, document=None, raw=b"", headers=headers)


def html(answer: Answer) -> Answer:
    """A proxy's page with status 200."""
    return replace(answer, raw=b"<html><body>Please sign in</body></html>", content_type="text/html", document=None)


def reset(answer: Answer) -> Answer:
    """The connection ends without an answer."""
    return replace(answer, reset=True)


def truncated(answer: Answer) -> Answer:
    """The connection ends in the middle of the body."""
    return replace(answer, cut=True)


def short(rows: int) -> Fault:
    """The last `rows` of a page are missing while the total says otherwise."""
    return lambda answer: _change_rows(answer, lambda items: items[:-rows])


def repeated(answer: Answer) -> Answer:
    """The first row of a page comes in place of the last: what an unstable order does between two pages."""
    return _change_rows(answer, lambda items: [*items[:-1], items[0]])


def total_off_by(difference: int) -> Fault:
    """The reported total moves."""

    def fault(answer: Answer) -> Answer:
        document = dict(answer.document or {})
        if "paging" in document:
            document["paging"] = {**document["paging"], "total": document["paging"]["total"] + difference}
        else:
            document["total"] += difference
        return replace(answer, document=document)

    return fault


def _change_rows(answer: Answer, change: Callable[[list[Any]], list[Any]]) -> Answer:
    document = dict(answer.document or {})
    for name in ("users", "groups", "organizations"):
        if document.get(name):
            document[name] = change(document[name])
    return replace(answer, document=document)


class FaultPlan:
    """The faults that a server still has to commit. Safe to change while it serves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[tuple[str, Fault, int | None, int]] = []

    def add(self, endpoint: str, fault: Fault, *, times: int | None = 1, after: int = 0) -> None:
        """Commit `fault` on the next `times` requests to `endpoint` (None: all), letting `after` requests pass first."""
        with self._lock:
            self._planned.append((endpoint, fault, times, after))

    def clear(self) -> None:
        """Commit no more faults."""
        with self._lock:
            self._planned.clear()

    def apply(self, endpoint: str, answer: Answer) -> Answer:
        """`answer`, as the planned faults leave it."""
        with self._lock:
            kept = []
            for planned, fault, times, after in self._planned:
                if planned != endpoint:
                    kept.append((planned, fault, times, after))
                elif after > 0:
                    kept.append((planned, fault, times, after - 1))
                else:
                    answer = fault(answer)
                    if times is None or times > 1:
                        kept.append((planned, fault, None if times is None else times - 1, 0))
            self._planned = kept
        return answer
