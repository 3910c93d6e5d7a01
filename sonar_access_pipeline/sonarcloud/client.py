"""One GET, as often as it takes: authorization, timeouts, the judgement of an answer, and patience.

Knows nothing of lists or organizations. `Client._judge` says what is permanent and what may pass.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.answers import ShapeError
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.sonarcloud.errors import NotFoundError, RefusedError, UnavailableError

T = TypeVar("T")

KNOWN_HOSTS = frozenset({"sonarcloud.io", "sonarqube.us"})
SIMULATOR = "sonar-access-simulator"
TIMEOUT_SECONDS = (10.0, 30.0)
"""To connect, and between two pieces of an answer."""


@dataclass(frozen=True)
class Patience:
    """How long to try one request: `attempts` in all, pauses in seconds doubling from `first_pause`, with jitter.

    429 without `Retry-After` waits `limited_pause`: SonarCloud asks for "a few minutes" and documents no header.
    """

    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 120.0
    limited_pause: float = 60.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after: float | None) -> None:
        """Sleep after the failed `attempt`, counted from 1."""
        pause = retry_after if retry_after is not None else self.first_pause * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        self.sleep(min(pause, self.longest_pause))


@dataclass(frozen=True)
class Answer:
    """A judged answer: status 200, a JSON content type, a body. `duration_ms` and `attempts` cover all tries and pauses."""

    status: int
    body: bytes = field(repr=False)
    started_at: datetime
    duration_ms: int
    server_time: datetime | None
    attempts: int


class _Bearer(AuthBase):
    """Sets the token itself, so that a stray .netrc cannot replace it; its repr is not the token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client:
    """A connection to one host with one token. Close it after use, or use it as a context manager."""

    def __init__(
        self,
        host_url: str,
        token: str,
        *,
        patience: Patience | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.host_url = host_url.rstrip("/")
        self.patience = patience or Patience()
        self.clock = clock
        self.server_name: str | None = None
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"sonar-access-pipeline/{__version__}"})
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=8, max_retries=0))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def source_kind(self) -> SourceKind:
        """What kind of source answered: a known host over verified TLS, the simulator by its own word, or something else."""
        url = urlsplit(self.host_url)
        if url.scheme == "https" and url.hostname in KNOWN_HOSTS:
            return SourceKind.SONARCLOUD
        return SourceKind.SIMULATED if self.server_name == SIMULATOR else SourceKind.OTHER

    def get(self, path: str, params: Mapping[str, str], parse: Callable[[bytes], T]) -> tuple[Answer, T]:
        """GET `api/<path>` and parse its body, trying again while that may help.

        Raises `RefusedError` at once for what cannot pass, `UnavailableError` when patience ends.
        """
        started_at, began = self.clock(), time.monotonic()
        attempt = 1
        while True:
            try:
                response = self._send(path, params)
                parsed = _parsed(parse, response.content, path)
                break
            except UnavailableError as fault:
                if attempt >= self.patience.attempts:
                    raise UnavailableError(f"{fault} (tried {attempt} times)", fault.retry_after) from None
                self.patience.wait(attempt, fault.retry_after)
                attempt += 1
        duration_ms = round((time.monotonic() - began) * 1000)
        answer = Answer(response.status_code, response.content, started_at, duration_ms, _server_time(response), attempt)
        return answer, parsed

    def _send(self, path: str, params: Mapping[str, str]) -> requests.Response:
        try:
            response = self._session.get(
                f"{self.host_url}/api/{path}", params=params, timeout=TIMEOUT_SECONDS, allow_redirects=False
            )
        # The library's own messages quote addresses with their parameters; ours name the host and the endpoint only.
        except requests.exceptions.SSLError:
            raise RefusedError(
                f"The certificate of {self.host_url} cannot be verified; name the bundle of your proxy's authority in "
                "REQUESTS_CA_BUNDLE, or check the host."
            ) from None
        except requests.exceptions.Timeout:
            raise UnavailableError(f"{self.host_url} did not answer {path} in time") from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise UnavailableError(f"{self.host_url} cut its answer to {path} short") from None
        except requests.exceptions.ConnectionError:
            raise UnavailableError(
                f"{self.host_url} cannot be reached for {path}; check the host, the network and the proxy settings"
            ) from None
        except requests.exceptions.RequestException as fault:
            raise RefusedError(f"{self.host_url} cannot be asked: {type(fault).__name__}; check SONAR_HOST_URL.") from None
        self.server_name = response.headers.get("Server", self.server_name)
        self._judge(response, path)
        return response

    def _judge(self, response: requests.Response, path: str) -> None:
        """Nothing for a JSON answer with status 200, else the error that says whether trying again can help."""
        status, is_json = response.status_code, "json" in response.headers.get("Content-Type", "").lower()
        said = f"{self.host_url} answers {path} with {status}"
        if status == 200 and is_json and response.content:
            return
        if status == 200:
            raise UnavailableError(f"{said} but no JSON, as a proxy, firewall or login page does")
        if status == 401:
            raise RefusedError(
                f"{self.host_url} refuses the token: it is wrong, expired or revoked (60 days without use end it); "
                "make a new one and set it in the environment."
            )
        if status == 429:
            asked = _retry_after(response)
            raise UnavailableError(f"{said}: too many requests", self.patience.limited_pause if asked is None else asked)
        if status >= 500 or status == 408 or (status == 403 and not is_json):
            raise UnavailableError(said, _retry_after(response))
        if status == 404 and is_json:
            raise NotFoundError(f"{said}: {_message(response)}")
        if 300 <= status < 400:
            raise RefusedError(f"{said}, a redirect, which is not followed so that the token stays here; check SONAR_HOST_URL.")
        raise RefusedError(f"{said}: {_message(response)}")


def _parsed(parse: Callable[[bytes], T], body: bytes, path: str) -> T:
    try:
        return parse(body)
    except ShapeError as fault:
        raise UnavailableError(f"the answer to {path} has a wrong shape: {fault}") from None


def _server_time(response: requests.Response) -> datetime | None:
    stamp = response.headers.get("X-Sonar-Server-Time", "")
    return datetime.fromtimestamp(int(stamp) / 1000, UTC) if stamp.isascii() and stamp.isdigit() and len(stamp) < 15 else None


def _retry_after(response: requests.Response) -> float | None:
    header = response.headers.get("Retry-After")
    if header is None:
        return None
    try:
        return Retry().parse_retry_after(header)
    except InvalidHeader:
        return None


def _message(response: requests.Response) -> str:
    """SonarCloud's own words for an error: they name parameters, keys and rights, not people."""
    try:
        return "; ".join(str(error["msg"]) for error in response.json()["errors"])[:300]
    except (ValueError, KeyError, TypeError):
        return "no message"
