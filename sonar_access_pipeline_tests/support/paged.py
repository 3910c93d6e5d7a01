"""The reviewers' page as it is served: a real server on loopback, over a warehouse that a test
fills; people come in by an assertion, by a mailed link, or by saying who they are.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import requests
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from sonar_access_pipeline.page.asking import Office
from sonar_access_pipeline.page.entering import ByAssertion, BySession, Entering
from sonar_access_pipeline.page.serving import PER_MINUTE, application, new_secret
from sonar_access_pipeline.page.who import Assertions, Keys, Roles
from sonar_access_pipeline.settings_page import AssertionSettings
from sonar_access_pipeline.warehouse.reviews import listing
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.reviewing import OWNER, Reviewed

ISSUER, AUDIENCE, HEADER = "https://idp.example.com", "sonar-access", "X-Assertion"


@dataclass
class Proxy:
    """An identity proxy that signs who somebody is."""

    folder: Path
    clock: Callable[[], datetime]
    key: Any = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "one"}))

    def __post_init__(self) -> None:
        document = KeySet([self.key]).as_dict(private=False)
        self.file.write_text(json.dumps(document))

    @property
    def file(self) -> Path:
        """Where its public keys are."""
        return self.folder / "jwks.json"

    def says(self, person: str, **claims: Any) -> str:
        """Sign who somebody is, for an hour."""
        now = int(self.clock().timestamp())
        said = {"iss": ISSUER, "aud": AUDIENCE, "email": person, "iat": now, "exp": now + 3600}
        head = {"alg": "ES256", "kid": "one"}
        return str(jwt.encode(head, {**said, **claims}, self.key))


class Paged:
    """A page that is served, and who asks it."""

    def __init__(self, address: str, proxy: Proxy) -> None:
        self.address = address
        self.proxy = proxy

    def as_(self, person: str, **claims: Any) -> Asking:
        """Be somebody behind the proxy."""
        return Asking(self.address, {HEADER: self.proxy.says(person, **claims)})


class Asking:
    """Somebody's browser, as far as requests go."""

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update(headers)

    def get(self, path: str, **more: Any) -> requests.Response:
        """Look at a page."""
        return self.session.get(f"{self.address}{path}", allow_redirects=False, **more)

    def post(self, path: str, form: Mapping[str, Any], **headers: str) -> requests.Response:
        """Send a form of the page itself."""
        of_page = {"Origin": self.address, "Sec-Fetch-Site": "same-origin"}
        return self.session.post(
            f"{self.address}{path}",
            data=form,
            headers={**of_page, **headers},
            allow_redirects=False,
        )


@contextmanager
def served(
    here: Reviewed,
    folder: Path,
    *,
    roles: Mapping[str, tuple[str, ...]] | None = None,
    groups: Mapping[str, tuple[str, ...]] | None = None,
    by: str = "assertion",
    mail: Callable[[str, str], str | None] | None = None,
    linked: Mapping[str, Sequence[str]] | None = None,
    organizations: Sequence[str] = ("acme",),
) -> Iterator[Paged]:
    """Serve the page of a warehouse, while the block runs."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    proxy = Proxy(folder, here.clock)
    known = Roles.of({OWNER: ("admin",), **(roles or {})}, groups or {})
    is_asserted = by == "assertion"
    entering = by_assertion(here, proxy.file, known) if is_asserted else None
    app = site_of(
        here,
        address,
        entering or by_session(here, known, mail),
        linked=linked,
        organizations=organizations,
    )
    with running(app, port):
        yield Paged(address, proxy)


def site_of(
    here: Reviewed,
    address: str,
    entering: Entering,
    *,
    linked: Mapping[str, Sequence[str]] | None = None,
    organizations: Sequence[str] = ("acme",),
    per_minute: int = PER_MINUTE,
) -> Any:
    """Build the page of a warehouse."""
    office = Office(
        warehouse=here.warehouse,
        store=here.sealing.store,
        organizations=organizations,
        linked=linked or {},
        policy=lambda: here.policy.review,
        clock=here.clock,
        origin=address,
        secret=new_secret(),
    )
    return application(office, entering, per_minute)


def by_assertion(here: Reviewed, file: Path, roles: Roles) -> ByAssertion:
    """Know people by a proxy whose public keys are in a file."""
    settings = AssertionSettings(
        header=HEADER, issuer=ISSUER, audience=AUDIENCE, keys=str(file), groups="groups"
    )
    return ByAssertion(Assertions(settings, Keys(str(file), here.clock), here.clock), roles)


def by_session(
    here: Reviewed, roles: Roles, mail: Callable[[str, str], str | None] | None
) -> BySession:
    """Know people by a cookie."""

    def asked(question: Callable[[Any], Any]) -> Any:
        with here.warehouse.read() as transaction:
            return question(transaction)

    return BySession(
        warehouse=here.warehouse,
        roles=roles,
        clock=here.clock,
        is_secure=False,
        mail=mail,
        known=lambda person: asked(lambda one: listing.is_reviewer(one, person)),
        people=lambda: asked(listing.waited_for),
    )


@contextmanager
def running(app: Any, port: int) -> Iterator[None]:
    """Run an application on a port of this machine."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
