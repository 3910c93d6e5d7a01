"""One GET, as often as it takes: authorization, rate_limit, time budgets, and the judgement of an
answer.

Knows nothing of lists or organizations. `faults.py` says what is permanent and what may pass,
`rate_limit.py` how fast and how long.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import InvalidHeader, LocationParseError
from urllib3.util.retry import Retry

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.endpoints.shape import (
    Api,
    Endpoint,
    Page,
    ShapeError,
    require_named,
)
from sonar_access_pipeline.access.lists import ENDPOINTS
from sonar_access_pipeline.access.snapshot import SourceKind, packed
from sonar_access_pipeline.addresses import is_loopback
from sonar_access_pipeline.sonarcloud.deadline import DeadlineWatch, Limit, WatchedAdapter
from sonar_access_pipeline.sonarcloud.errors import (
    BlockedError,
    NotFoundError,
    RefusedError,
    SourceError,
    StartingError,
    TokenRefusedError,
    UnavailableError,
)
from sonar_access_pipeline.sonarcloud.faults import (
    LARGEST_BODY,
    Answered,
    Kind,
    broken_of,
    fault_of,
)
from sonar_access_pipeline.sonarcloud.rate_limit import Patience, RateLimit

KNOWN_HOSTS = {
    "sonarcloud.io": "https://api.sonarcloud.io",
    "sonarqube.us": "https://api.sonarqube.us",
}
"""SonarCloud's hosts, and where their v2 interface is."""
SIMULATOR = "sonar-access-simulator"
PARALLEL = 8
"""Requests in the air at once."""
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 30.0
"""To connect, and between two pieces of an answer."""
LONGEST_ASKED = 10**9
"""Seconds: a server can ask for a wait beyond every calendar."""
WITNESSES = ("users/current", "user_tokens/search")
"""Endpoints that need no right and no parameter: one of them must refuse a token that another
endpoint refuses.
"""


@dataclass(frozen=True)
class Reply:
    """A judged answer: status 200, JSON, parsed, and its body packed as a `Response` keeps it.

    `duration_ms` and `attempts` cover all tries and pauses.
    """

    status: int
    packed: Mapping[str, Any] = field(repr=False)
    page: Page = field(repr=False)
    started_at: datetime
    duration_ms: int
    server_time: datetime | None
    attempts: int


class _Bearer(AuthBase):
    """Sets the token; its repr is not the token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Client:
    """A connection to one host with one token, for many threads.

    Close it after use, or use it as a context manager.

    `api_url` is where the v2 interface is, if not where it usually is. `rate_limit` is stopped and
    closed with the client.
    """

    def __init__(
        self,
        host_url: str,
        token: str,
        *,
        api_url: str | None = None,
        patience: Patience | None = None,
        rate_limit: RateLimit | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.host_url = host_url.rstrip("/")
        self.patience = patience or Patience()
        self.clock = clock
        self.server_name: str | None = None
        self.rate_limit = rate_limit or RateLimit()
        beside = f"{self.host_url}/api/v2"
        known = KNOWN_HOSTS.get(urlsplit(self.host_url).hostname or "")
        newer = (api_url.rstrip("/"),) if api_url else tuple(filter(None, (known, beside)))
        self._bases: dict[Api, tuple[str, ...]] = {Api.V1: (f"{self.host_url}/api",), Api.V2: newer}
        self._found: dict[str, str] = {}
        self._watch = DeadlineWatch()
        self._newest: float | None = None
        self._doubting = Lock()
        self._refused_by: set[str] = set()
        # Every request is a copy of one, sent by the adapter itself: no session, so no redirect is
        # followed, no cookie kept, and no .netrc asked for another token.
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Cache-Control": "no-cache",
            "User-Agent": f"sonar-access-pipeline/{__version__}",
        }
        self._request = requests.Request(
            "GET", self.host_url, headers=headers, auth=_Bearer(token)
        ).prepare()
        self._adapter = WatchedAdapter(pool_connections=2, pool_maxsize=PARALLEL, pool_block=True)
        _require_bundle()
        # Proxies and certificate bundles are looked up in the environment once, not once per
        # request.
        self._options = {
            base: (
                requests.Session().merge_environment_settings(
                    base, dict(_proxies(base)), True, None, None
                )
            )
            for base in chain.from_iterable(self._bases.values())
        }

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._adapter.close()
        self.rate_limit.close()

    def stop(self) -> None:
        """End whatever waits or reads in any thread: nobody needs its answer any more."""
        self.rate_limit.stop()
        self._watch.stop()

    @property
    def source_kind(self) -> SourceKind:
        """What kind of source answered: a known host over verified TLS, the simulator by its own
        word, or something else.
        """
        if all(map(_is_known, chain.from_iterable(self._bases.values()))):
            return SourceKind.SONARCLOUD
        return SourceKind.SIMULATED if self.server_name == SIMULATOR else SourceKind.OTHER

    @property
    def tls_bundle(self) -> str | None:
        """The bundle of certificate authorities that the environment names instead of the usual
        ones; None when it does not.
        """
        verify = self._options[self._bases[Api.V1][0]]["verify"]
        return verify if isinstance(verify, str) and self.host_url.startswith("https://") else None

    @property
    def tls_bundle_sha256(self) -> str | None:
        """The digest of that bundle, a file or the files of a folder."""
        if self.tls_bundle is None:
            return None
        bundle = Path(self.tls_bundle)
        files = (
            sorted(file for file in bundle.iterdir() if file.is_file())
            if bundle.is_dir()
            else [bundle]
        )
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    def get(
        self,
        endpoint: Endpoint,
        params: Mapping[str, str],
        until: float | None = None,
        *,
        optional: bool = False,
    ) -> Reply:
        """GET an endpoint and parse its body, trying again while that may help, and until `until`
        (of the rate_limit's clock).

        One that is `optional` and at no address any more is not waited for.

        Raises `RefusedError` at once for what cannot pass, `UnavailableError` when patience or time
        ends. Which address serves which part of the v2 interface is settled nowhere: there, what
        one does not know is asked of the other.
        """
        bases = (
            self._bases[endpoint.api]
            if endpoint.path not in self._found
            else (self._found[endpoint.path],)
        )
        refused: RefusedError | None = None
        for base in bases:
            try:
                answer = self._get(base, endpoint, params, until, optional)
            except RefusedError as error:
                # One that knows the address and refuses says more than one that does not know it.
                if refused is None or isinstance(refused, NotFoundError):
                    refused = error
                if not isinstance(error, NotFoundError) and endpoint.api is not Api.V2:
                    raise
                continue
            self._found[endpoint.path] = base
            return answer
        assert refused is not None, "there is at least one address"
        raise refused

    def _get(
        self,
        base: str,
        endpoint: Endpoint,
        params: Mapping[str, str],
        until: float | None,
        optional: bool,
    ) -> Reply:
        began = self.rate_limit.now()
        ends = min(began + self.patience.list_seconds, until if until is not None else float("inf"))
        started_at = self.clock()
        attempt = 1
        while True:
            self.rate_limit.wait()
            if self.rate_limit.stopped:
                raise UnavailableError(f"reading {endpoint.path} was stopped")
            try:
                body, page, server_time = self._try(
                    base, endpoint, params, max(0.0, ends - self.rate_limit.now())
                )
                break
            except TokenRefusedError as refused:
                self._wait_or_give_up(self._doubted(refused, endpoint, ends), attempt, ends)
            except UnavailableError as fault:
                if optional and isinstance(fault, StartingError):
                    raise
                self._wait_or_give_up(fault, attempt, ends)
            attempt += 1
        duration_ms = round((self.rate_limit.now() - began) * 1000)
        return Reply(200, packed(body), page, started_at, duration_ms, server_time, attempt)

    def _doubted(
        self, refused: TokenRefusedError, endpoint: Endpoint, ends: float
    ) -> UnavailableError:
        """Check a refused token with another endpoint, and return the error that it means when that
        one does not confirm it. Raises `TokenRefusedError` when it does.

        One endpoint alone may refuse for reasons of its own, and so may the v2 interface: nobody is
        sent for a new token then.
        """
        if endpoint.api is Api.V2:
            raise RefusedError(f"{refused} The v2 interface alone says so.") from None
        self._refused_by.add(endpoint.path)
        other = "another endpoint not"
        with self._doubting:
            if self.rate_limit.stopped:
                other = "no other endpoint could be asked"
            elif len(self._refused_by) < 2:
                witness = next(path for path in WITNESSES if path != endpoint.path)
                self.rate_limit.wait()
                try:
                    self._try(
                        self._bases[Api.V1][0],
                        ENDPOINTS[witness],
                        {},
                        max(0.0, ends - self.rate_limit.now()),
                    )
                    self._refused_by.discard(endpoint.path)
                except TokenRefusedError:
                    self._refused_by.add(witness)
                except SourceError:
                    self._refused_by.discard(endpoint.path)
                    other = "no other endpoint could be asked"
        if len(self._refused_by) > 1:
            raise refused
        return UnavailableError(
            f"{self.host_url} answers {endpoint.path} as if the token were refused, and {other}"
        )

    def _wait_or_give_up(self, fault: UnavailableError, attempt: int, ends: float) -> None:
        """Wait as long as the fault asks for.

        A limit makes every thread wait, other faults only this one.
        """
        if isinstance(fault, BlockedError):
            raise fault
        tries = f"tried {attempt} times" if attempt > 1 else "tried once"
        if attempt >= self.patience.attempts:
            raise UnavailableError(f"{fault} ({tries})", fault.retry_after) from None
        pause = self.patience.pause(attempt) if fault.retry_after is None else fault.retry_after
        if self.rate_limit.now() + pause > ends:
            raise UnavailableError(
                f"{fault} ({tries}, and the time for it is over)", fault.retry_after
            ) from None
        if fault.retry_after is None:
            self.rate_limit.sleep(pause)
        else:
            self.rate_limit.close_for(pause)

    def _try(
        self, base: str, endpoint: Endpoint, params: Mapping[str, str], seconds: float
    ) -> tuple[bytes, Page, datetime | None]:
        host = base.removesuffix("/api")
        path = endpoint.path
        newest = self._newest
        with self._watch.limit(min(seconds, self.patience.request_seconds)) as limit:
            try:
                response, body = self._send(base, endpoint.path, params)
            except requests.RequestException as error:
                raise self._network_error(error, limit, host, path) from None
            except LocationParseError:
                raise RefusedError(
                    f"{host} cannot be asked; check SONAR_HOST_URL and HTTPS_PROXY."
                ) from None
            except (OSError, ValueError, AttributeError):
                # A socket that is shut under its reader can fail anywhere in the library.
                if not limit.late:
                    raise
                raise self._network_error(None, limit, host, path) from None
            if limit.late:
                # A socket that is shut looks like the end of a body that has no length.
                raise self._network_error(None, limit, host, path)
        self.server_name = response.headers.get("Server", self.server_name)
        server_time = _server_time(response)
        answered = Answered(
            status=response.status_code,
            is_json="json" in response.headers.get("Content-Type", "").lower(),
            size=len(body),
            age=_age(response, server_time, newest),
            message=_message(body) if response.status_code >= 400 else "",
            is_v2=endpoint.api is Api.V2,
        )
        self._judge(
            answered, f"{host} answers {path} with {response.status_code}", _retry_after(response)
        )
        try:
            page = endpoint.page(params, body)
            require_named(page)
        except ShapeError as fault:
            words = f" ({message})" if (message := _message(body)) else ""
            raise UnavailableError(
                f"the answer of {host} to {path} has a wrong shape: {fault}{words}"
            ) from None
        if server_time is not None:
            self._newest = max(self._newest or 0.0, server_time.timestamp())
        return body, page, server_time

    def _send(
        self, base: str, path: str, params: Mapping[str, str]
    ) -> tuple[requests.Response, bytes]:
        request = self._request.copy()
        request.prepare_url(f"{base}/{path}", dict(params))
        options: dict[str, Any] = {
            **self._options[base],
            "timeout": (CONNECT_SECONDS, SILENT_SECONDS),
        }
        response = self._adapter.send(request, **options)
        with response:
            pieces = []
            size = 0
            for piece in response.iter_content(1 << 18):
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST_BODY:
                    break
        return response, b"".join(pieces)

    def _network_error(
        self, error: requests.RequestException | None, limit: Limit, host: str, path: str
    ) -> SourceError:
        if limit.late or error is None:
            return UnavailableError(f"{host} took too long to answer {path}")
        broken = broken_of(error)
        sentence = broken.why.format(host=host, path=path, proxy=_proxy_variable(host))
        return (
            RefusedError(sentence) if broken.kind is Kind.PERMANENT else UnavailableError(sentence)
        )

    def _judge(self, answered: Answered, said: str, asked: float | None) -> None:
        """Return nothing for an answer to parse, else the error that says whether trying again can
        help, and when it `asked` for it.
        """
        fault = fault_of(answered)
        if fault is None:
            return
        sentence = f"{said}: {fault.why or answered.message or 'no message'}"
        if fault.kind in TRANSIENT:
            limited = self.patience.limited_pause if answered.status == 429 else None
            raise TRANSIENT[fault.kind](sentence, limited if asked is None else asked)
        raise PERMANENT[fault.kind](sentence)


TRANSIENT = {
    Kind.TRANSIENT: UnavailableError,
    Kind.STARTING: StartingError,
    Kind.BLOCKED: BlockedError,
}


def _is_known(base: str) -> bool:
    """Tell whether an address is SonarCloud's own, over TLS.

    A single other address among those that are asked makes the whole another source.
    """
    url = urlsplit(base)
    v2 = [urlsplit(address).hostname for address in KNOWN_HOSTS.values()]
    return url.scheme == "https" and url.hostname in (*KNOWN_HOSTS, *v2)


def _require_bundle() -> None:
    """Raise `RefusedError` where the environment names a bundle of authorities that is none."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        place = os.environ.get(name)
        if not place:
            continue
        if not Path(place).exists():
            raise RefusedError(f"{name} names {place}, which is not there; mend it, or unset it.")
        try:
            is_folder = Path(place).is_dir()
            ssl.create_default_context(
                cafile=None if is_folder else place, capath=place if is_folder else None
            )
        except (ssl.SSLError, OSError):
            raise RefusedError(
                f"{name} names {place}, which holds no certificates (PEM); mend it, or unset it."
            ) from None
        return


def _proxies(base: str) -> Mapping[str, str]:
    """Give no proxies for this machine itself, whose token is nobody else's business; else leave
    them to the environment.
    """
    host = urlsplit(base).hostname or ""
    return {"http": "", "https": ""} if is_loopback(host) else {}


def _proxy_variable(base: str) -> str:
    """Name the variable that names the proxy before an address, in the order of `urllib`; the one
    to set where none is.
    """
    scheme = urlsplit(base).scheme
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    return next((name for name in names if os.environ.get(name)), f"{scheme}_proxy".upper())


PERMANENT = {
    Kind.PERMANENT: RefusedError,
    Kind.NOT_FOUND: NotFoundError,
    Kind.TOKEN: TokenRefusedError,
}


def _server_time(response: requests.Response) -> datetime | None:
    """SonarCloud's own clock; else that of whoever answered for it, in whole seconds."""
    stamp = response.headers.get("X-Sonar-Server-Time", "")
    if stamp.isascii() and stamp.isdigit() and len(stamp) < 15:
        return datetime.fromtimestamp(int(stamp) / 1000, UTC)
    try:
        moment = parsedate_to_datetime(response.headers.get("Date", ""))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None


def _age(
    response: requests.Response, server_time: datetime | None, newest: float | None
) -> float | None:
    """Seconds by which an answer is older than the question: by its header, or by server times that
    were seen before it.
    """
    header = response.headers.get("Age", "")
    by_header = float(header) if header.isascii() and header.isdigit() else None
    by_clock = (
        newest - server_time.timestamp() if server_time is not None and newest is not None else None
    )
    known = [age for age in (by_header, by_clock) if age is not None]
    return max(known, default=None)


def _retry_after(response: requests.Response) -> float | None:
    header = response.headers.get("Retry-After")
    if header is None:
        return None
    try:
        return float(min(Retry().parse_retry_after(header), LONGEST_ASKED))
    except (InvalidHeader, ValueError, OverflowError, TypeError):
        return None


def _message(body: bytes) -> str:
    """SonarCloud's own words for an error: they name parameters, keys and rights, not people.

    Empty where there are none.
    """
    try:
        document = json.loads(body)
        error_text = (
            "; ".join(str(error["msg"]) for error in document["errors"])
            if "errors" in document
            else str(document["message"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in error_text[:300]
    )
