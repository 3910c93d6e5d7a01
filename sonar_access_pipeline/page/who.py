"""Who is there: by a signed assertion of an identity proxy, by a mailed one-time link, or, on
loopback alone, by what somebody says.

A header that only names somebody is never believed: proxies that should have removed it have let it
through before. Add here: another way to know people.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from sonar_access_pipeline.access.review.facts import Strength
from sonar_access_pipeline.access.roles import Granted, Role, read
from sonar_access_pipeline.settings_page import AssertionSettings
from sonar_access_pipeline.warehouse.reviews.visitors import Entry

ALGORITHMS = ("ES256", "RS256", "EdDSA")
"""What is accepted, whatever the assertion itself names: never `none`, never a shared secret."""
LEEWAY = 60
"""Seconds by which clocks may differ."""
KEYS_FOR = timedelta(minutes=10)
"""How long fetched keys are used before they are fetched again."""
FETCHED_AT_MOST_EVERY = timedelta(seconds=30)
"""An assertion with an unknown key has them fetched anew, not more often than this."""
FETCHING_SECONDS = 5
STALE = timedelta(days=1)
"""After so long without being fetched again keys are not believed any more."""
LOG = logging.getLogger("sonar_access_pipeline.page")
SESSION_HOURS = 8
LINK_HOURS = 0.5


class UnknownPersonError(Exception):
    """Nobody is known by this request; the sentence says why, without what was shown."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who is there: who, how that is known, until when, and the roles they have."""

    entry: Entry
    roles: tuple[Granted, ...]

    @property
    def person(self) -> str:
        """What they are called: an address, or a login."""
        return self.entry.person


@dataclass
class Keys:
    """The public keys of an identity proxy, from a file or an address; fetched again now and then,
    and when a key is new. One request fetches, while others go on with the keys that are known.
    """

    source: str
    clock: Callable[[], datetime]
    _found: KeySet | None = field(default=None, repr=False)
    _fetched_at: datetime | None = None
    _tried_at: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def current(self, *, anew: bool = False) -> KeySet:
        """Give the keys. Raises `UnknownPersonError` where there are none, or only such that nobody
        could fetch again for a day.
        """
        now = self.clock()
        age = None if self._fetched_at is None else now - self._fetched_at
        is_old = age is None or age > KEYS_FOR or anew
        is_time = self._tried_at is None or now - self._tried_at > FETCHED_AT_MOST_EVERY
        if is_old and is_time and self._lock.acquire(blocking=self._found is None):
            try:
                self._tried_at = now
                self._fetch()
            finally:
                self._lock.release()
        if self._found is None or self._fetched_at is None or now - self._fetched_at > STALE:
            raise UnknownPersonError(
                "The keys of the identity proxy cannot be read, so nobody can be known now."
            )
        return self._found

    def _fetch(self) -> None:
        try:
            if self.source.startswith(("https://", "http://")):
                response = requests.get(self.source, timeout=FETCHING_SECONDS)
                response.raise_for_status()
                document = response.json()
            else:
                document = json.loads(Path(self.source).read_text(encoding="utf-8"))
            self._found = KeySet.import_key_set(document)
            self._fetched_at = self.clock()
        except (requests.RequestException, OSError, ValueError, KeyError, TypeError, JoseError):
            LOG.warning("the keys of the identity proxy could not be read")


@dataclass(frozen=True)
class Assertions:
    """Knows people by the assertion that an identity proxy signs into each request."""

    settings: AssertionSettings
    keys: Keys
    clock: Callable[[], datetime]

    def known(self, headers: Mapping[str, str]) -> tuple[Entry, list[str]]:
        """Find who a request is from, and their groups. Raises `UnknownPersonError`."""
        token = headers.get(self.settings.header.lower())
        if not token:
            raise UnknownPersonError(
                "The request has no assertion of the identity proxy; come in through the proxy."
            )
        claims = self._claims(token.removeprefix("Bearer ").strip())
        person = claims.get(self.settings.person)
        if not isinstance(person, str) or not person.strip():
            raise UnknownPersonError("The assertion names nobody.")
        if claims.get("email_verified") is False:
            raise UnknownPersonError("The identity provider has not verified the address.")
        ends_at = datetime.fromtimestamp(int(claims["exp"]), tz=self.clock().tzinfo)
        groups = claims.get(self.settings.groups or "", [])
        known = [one for one in groups if isinstance(one, str)] if isinstance(groups, list) else []
        return Entry(person.strip(), Strength.VERIFIED, ends_at), known

    def _claims(self, token: str) -> Mapping[str, Any]:
        for anew in (False, True):
            try:
                decoded = jwt.decode(token, self.keys.current(anew=anew), algorithms=[*ALGORITHMS])
                break
            except (JoseError, ValueError, TypeError):
                if anew:
                    raise UnknownPersonError(
                        "The assertion is not signed by the identity proxy."
                    ) from None
        rules = jwt.JWTClaimsRegistry(
            now=lambda: int(self.clock().timestamp()),
            leeway=LEEWAY,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.audience},
            exp={"essential": True},
        )
        try:
            rules.validate(decoded.claims)
        except (JoseError, ValueError, TypeError):
            raise UnknownPersonError(
                "The assertion is another issuer's or audience's, or is over."
            ) from None
        return decoded.claims


@dataclass(frozen=True)
class Roles:
    """Who has which roles, as settings say it: by person, and by a group of the assertion."""

    people: Mapping[str, tuple[Granted, ...]]
    groups: Mapping[str, tuple[Granted, ...]]

    @classmethod
    def of(
        cls, people: Mapping[str, tuple[str, ...]], groups: Mapping[str, tuple[str, ...]]
    ) -> Roles:
        """Read them from settings, which were checked when they were read."""
        return cls(
            {name.strip().casefold(): tuple(map(read, said)) for name, said in people.items()},
            {name: tuple(map(read, said)) for name, said in groups.items()},
        )

    def of_visitor(self, person: str, groups: list[str]) -> tuple[Granted, ...]:
        """Give the roles of somebody; who has none reviews what is theirs."""
        found = list(self.people.get(person.strip().casefold(), ()))
        for name in groups:
            found += self.groups.get(name, ())
        return tuple(dict.fromkeys(found)) or (Granted(Role.ACCESS_REVIEWER),)
