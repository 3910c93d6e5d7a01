"""What can go wrong with one request, as one table: what is seen, whether trying again can help,
and why.

Permanent means that a person must change something; everything else may pass by itself. The rows
are tried from the top, and the first that matches counts. Faults of a whole list (a short page, a
total that moves) are `access/completeness.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import requests
from requests import exceptions as network

LARGEST_BODY = 64 * 2**20
"""Bytes. The largest real page is below one MiB; a body without an end is a fault."""
OLDEST_ANSWER = 60.0
"""Seconds that an answer may be older than the question: clocks of several servers differ a little,
caches a lot.
"""


class Kind(Enum):
    """What a fault means for the request."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    NOT_FOUND = "not found"
    TOKEN = "permanent: the token"
    STARTING = "transient, or gone"
    BLOCKED = "transient, but not now"


@dataclass(frozen=True)
class Answered:
    """What is looked at of an answer."""

    status: int
    is_json: bool
    size: int
    age: float | None = None
    """Seconds by which it is older than the question; None where nothing tells."""
    message: str = ""
    """SonarCloud's own words for an error, where it has any."""
    is_v2: bool = False
    """Whether the v2 interface was asked, which may be at another address, or nowhere."""


@dataclass(frozen=True)
class Fault:
    """One row. `why` ends the sentence that begins with who answered what."""

    name: str
    matches: Callable[[Answered], bool]
    kind: Kind
    why: str


TOKEN = (
    "it refuses the token, which is wrong, expired or revoked (60 days without use end one); make a"
    " new one and set it."
)
ASKING_PROXY = "a proxy asks who we are; write user and password into HTTP_PROXY, each encoded."
REDIRECT = "a redirect, which is not followed so that the token stays here; check SONAR_HOST_URL."
NO_REFUSAL = "no refusal of the token, which has no body: a server that is starting, or a gateway"
STARTING = "it does not know the address, as a server that is starting"
BLOCKED = (
    "the edge before SonarCloud blocks this address, whoever asks from it: leave it alone for some"
    " minutes, then ask for fewer requests a minute from all that share the address."
)
NO_JSON = "no JSON comes, but what a proxy, firewall or login page sends"
OLD = "an old answer comes again, as from a caching proxy; it must pass requests through"


def _knows_no_address(answered: Answered) -> bool:
    """Tell whether a 404 is about the address itself, not about what was asked for there (reference
    1.3, seen on real servers).
    """
    return answered.is_json and answered.message.startswith("Unknown url")


FAULTS = (
    Fault("a proxy that asks who we are", lambda a: a.status == 407, Kind.PERMANENT, ASKING_PROXY),
    Fault("redirect", lambda a: 300 <= a.status < 400, Kind.PERMANENT, REDIRECT),
    Fault("token refused", lambda a: a.status == 401 and a.size == 0, Kind.TOKEN, TOKEN),
    Fault("401 with a body", lambda a: a.status == 401, Kind.TRANSIENT, NO_REFUSAL),
    Fault(
        "blocked at the edge",
        lambda a: a.status == 429 and not a.is_json and a.size > 0,
        Kind.BLOCKED,
        BLOCKED,
    ),
    Fault("too many requests", lambda a: a.status == 429, Kind.TRANSIENT, "too many requests"),
    Fault(
        "server error",
        lambda a: a.status >= 500 or a.status == 408,
        Kind.TRANSIENT,
        "an error of the server",
    ),
    Fault(
        "not at this address",
        lambda a: a.status == 404 and a.is_v2,
        Kind.NOT_FOUND,
        "not at this address",
    ),
    Fault(
        "a server that is starting",
        lambda a: a.status == 404 and _knows_no_address(a),
        Kind.STARTING,
        STARTING,
    ),
    Fault(
        "a proxy's or firewall's page",
        lambda a: a.status >= 400 and not a.is_json,
        Kind.TRANSIENT,
        NO_JSON,
    ),
    Fault("not found", lambda a: a.status == 404, Kind.NOT_FOUND, ""),
    Fault("refused", lambda a: a.status >= 400, Kind.PERMANENT, ""),
    Fault(
        "empty", lambda a: a.size == 0, Kind.TRANSIENT, "an empty body, which is not an empty list"
    ),
    Fault("too large", lambda a: a.size > LARGEST_BODY, Kind.TRANSIENT, "a body without end"),
    Fault("no JSON", lambda a: a.status != 200 or not a.is_json, Kind.TRANSIENT, NO_JSON),
    Fault("old answer", lambda a: a.age is not None and a.age > OLDEST_ANSWER, Kind.TRANSIENT, OLD),
)
"""Every answer that is not a page of JSON, and what it means."""


def fault_of(answered: Answered) -> Fault | None:
    """Find the first row that matches; return None for an answer to parse."""
    return next((fault for fault in FAULTS if fault.matches(answered)), None)


@dataclass(frozen=True)
class Broken:
    """One row of the faults that come before or inside an answer: the library's exception, and what
    it means.
    """

    error: type[Exception]
    kind: Kind
    why: str


CERTIFICATE = (
    "{host} shows a certificate that cannot be verified; name the bundle of your proxy's authority"
    " in REQUESTS_CA_BUNDLE, or check the host."
)
SOCKS = (
    "the proxy before {host} speaks SOCKS; run `pip install 'requests[socks]'`, or name another in"
    " {proxy}."
)
REFUSING_PROXY = {
    "407": (
        "the proxy before {host} asks who we are (407); write user and password into {proxy}, each"
        " encoded."
    ),
    "403": (
        "the proxy before {host} lets nobody through to it (403); have it allowed, or name another"
        " in {proxy}."
    ),
}
"""What a proxy says to a request for a tunnel, which no second try changes."""
NETWORK = (
    Broken(network.Timeout, Kind.TRANSIENT, "{host} did not answer {path} in time"),
    Broken(network.ChunkedEncodingError, Kind.TRANSIENT, "{host} cut its answer to {path} short"),
    Broken(
        network.ContentDecodingError,
        Kind.TRANSIENT,
        "{host} sent an answer to {path} that cannot be unpacked",
    ),
    Broken(network.SSLError, Kind.TRANSIENT, "the encrypted connection to {host} broke at {path}"),
    Broken(network.InvalidSchema, Kind.PERMANENT, SOCKS),
    Broken(
        network.InvalidURL,
        Kind.PERMANENT,
        "the proxy before {host} is no address; write {proxy} as http://host:port.",
    ),
    Broken(
        network.ProxyError, Kind.TRANSIENT, "the proxy before {host} does not work; check {proxy}"
    ),
    Broken(
        network.ConnectionError,
        Kind.TRANSIENT,
        "{host} cannot be reached for {path}; check the host, the network and the proxy settings",
    ),
    Broken(
        requests.RequestException,
        Kind.PERMANENT,
        "{host} cannot be asked; check SONAR_HOST_URL and the proxy settings.",
    ),
)
"""The library's own messages quote addresses with their parameters; these name the host, the
endpoint and the variable only.

An address that is none is the proxy's: the host's own was read with the settings.
"""


def broken_of(error: requests.RequestException) -> Broken:
    """Find what an exception of the library means.

    A certificate that cannot be verified is a lasting fault; a broken stream is not.
    """
    if isinstance(error, network.SSLError) and "certificate verify failed" in str(error).lower():
        return Broken(network.SSLError, Kind.PERMANENT, CERTIFICATE)
    if isinstance(error, network.ProxyError):
        for status, why in REFUSING_PROXY.items():
            if f"Tunnel connection failed: {status}" in str(error):
                return Broken(network.ProxyError, Kind.PERMANENT, why)
    return next(row for row in NETWORK if isinstance(error, row.error))
