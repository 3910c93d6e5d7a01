"""A platform's interface over HTTP: its key, patience, and what each refusal means in a sentence.

Nothing that a platform answers is repeated: it may repeat what was sent, and that names people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep
from typing import Any

import requests
from requests.auth import AuthBase

from sonar_access_pipeline.deliveries.errors import BusyError, DeliveryError

TIMEOUT = (10, 120)
"""Seconds until there is a connection, and between bytes."""
TRIES = 3
LONGEST_PAUSE = 60.0
SAFE = frozenset({"GET"})
"""Methods that change nothing: asked again after any failure. Others are asked again only where the
platform says that it did nothing.
"""


class _Key(AuthBase):
    """Signs a request: with it, no .netrc puts another key in the place of ours."""

    def __init__(self, header: str) -> None:
        self.header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.header
        return request


def _no_key(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@dataclass
class Service:
    """One platform. `rights` and `thing` say in its sentences which rights the key needs, and what
    was looked for. `secret_of` names the variables of the key.
    """

    name: str
    root: str
    secret_of: str
    rights: str
    thing: str
    authorization: Callable[[], str] = field(repr=False)
    pause: Callable[[float], None] = field(default_factory=lambda: sleep)
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    def ask(
        self,
        method: str,
        path: str,
        *,
        expected: tuple[int, ...] = (200, 201),
        params: Mapping[str, Any] | None = None,
        document: Any = None,
        files: Any = None,
        form: Mapping[str, str] | None = None,
        is_signed: bool = True,
    ) -> Any:
        """Ask, and give the JSON of the answer; None where it has no body.

        Raises `DeliveryError`, and `BusyError` where trying again can help.
        """
        for left in reversed(range(TRIES)):
            try:
                answer = self.session.request(
                    method,
                    f"{self.root}{path}",
                    params=params,
                    json=document,
                    files=files,
                    data=form,
                    auth=_Key(self.authorization()) if is_signed else _no_key,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                if left and method in SAFE:
                    self.pause(1.0)
                    continue
                raise BusyError(
                    f"{self.name} does not answer ({type(error).__name__}). Whether it took the"
                    " last request is not known; send again: what arrived is found, not doubled."
                ) from None
            if answer.status_code == 429 and left:
                self.pause(_wait(answer))
                continue
            if answer.status_code >= 500 and left and method in SAFE:
                self.pause(1.0)
                continue
            return self._judged(answer, expected)
        raise AssertionError("the last try ends in one way or another")

    def _judged(self, answer: requests.Response, expected: tuple[int, ...]) -> Any:
        if answer.status_code not in expected:
            raise self._refusal(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except requests.JSONDecodeError:
            raise DeliveryError(
                f"{self.name} answers with something else than JSON, such as a page of a proxy or"
                " a sign-in; look at host_url and what lies between."
            ) from None

    def _refusal(self, answer: requests.Response) -> DeliveryError:
        status = answer.status_code
        if status == 429:
            return BusyError(f"{self.name} asks for fewer requests, and goes on doing so (429).")
        if status >= 500:
            return BusyError(
                f"{self.name} has a fault of its own ({status}). Whether it took the last request"
                " is not known; send again: what arrived is found, not doubled."
            )
        sentences = {
            400: "does not take the form of what was sent (400); its interface may have changed."
            " Look for a newer sonar-access-pipeline",
            401: f"refuses the key (401): {self.secret_of} holds one that is wrong or has ended",
            402: "says that the plan there does not include this (402)",
            403: f"refuses the rights of the key (403): it needs {self.rights}",
            404: f"knows no {self.thing} as the settings name it (404)",
            409: "is changing the same thing (409): send again when that is done",
            412: "has terms that nobody accepted yet (412): somebody must sign in there and accept",
            413: "finds what was sent too large (413)",
            422: "does not take the values that were sent (422)",
        }
        said = sentences.get(status, f"answers with status {status}, which nobody expects here")
        kind = BusyError if status == 409 else DeliveryError
        return kind(f"{self.name} {said}. Nothing more was sent.")


def _wait(answer: requests.Response) -> float:
    """Read how long a platform asks to wait, in seconds: at most a minute."""
    after = answer.headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,6}", after):
        return min(float(after), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(after) - datetime.now(UTC)
        return min(max(until.total_seconds(), 0), LONGEST_PAUSE)
    except (TypeError, ValueError):
        return 5.0
