"""What an organization holds to be right: thresholds, exceptions, roster and service accounts, as they are from a time on.

A policy is kept as canonical JSON. Whoever it is about stands in it as a digest: to find an account in it takes knowing the
account, and forgetting a person leaves nothing to forget here. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cached_property
from operator import attrgetter

from sonar_access_pipeline.access.snapshot import canonical_digest, canonical_json

SERVICE_WORDS = ("automation", "bot", "build", "ci", "cicd", "deploy", "jenkins", "pipeline", "robot", "service", "svc", "system")
"""Words of which one, as a word of its own in a login or a name, makes an account look like a service account."""


def identity(text: str) -> str:
    """What a login or an e-mail address is kept as: the SHA-256 of it in lower case, without space around it."""
    return hashlib.sha256(text.strip().casefold().encode()).hexdigest()


@dataclass(frozen=True)
class Exemption:
    """A finding that somebody answers for: which, who said so, why, and the last day on which that holds.

    `subject` is what `identity` makes of a login or group id; empty for the organization itself.
    """

    rule_id: str
    subject: str
    by: str
    why: str
    until: date


@dataclass(frozen=True)
class Policy:
    """One policy. The defaults are in force where nobody said anything else: version 0."""

    max_admins: int = 5
    max_token_days: int = 365
    dormant_days: int = 90
    email_domains: tuple[str, ...] = ()
    active_statuses: tuple[str, ...] = ("active",)
    service_words: tuple[str, ...] = SERVICE_WORDS
    service_accounts: Mapping[str, str] = field(default_factory=dict)
    """Owners, by the identity of the account."""
    roster: Mapping[str, str] | None = None
    """Status, by the identity of a login or an e-mail address; None where there is no roster."""
    exemptions: tuple[Exemption, ...] = ()

    @cached_property
    def document(self) -> bytes:
        """The policy as canonical JSON."""
        return canonical_json(asdict(self))

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the document."""
        return canonical_digest(asdict(self))

    @classmethod
    def of(cls, document: bytes) -> Policy:
        """The policy of a document. Raises `ValueError` for one of another shape."""
        said = json.loads(document)
        if not isinstance(said, dict) or set(said) != {one.name for one in fields(cls)}:
            raise ValueError("it does not have the fields of a policy")
        lists = {name: tuple(said[name]) for name in ("email_domains", "active_statuses", "service_words")}
        exemptions = tuple(Exemption(**{**one, "until": date.fromisoformat(one["until"])}) for one in said["exemptions"])
        return cls(**{**said, **lists, "exemptions": exemptions})

    def owner_of(self, login: str) -> str | None:
        """Who owns a service account; None where nobody was named."""
        return self.service_accounts.get(identity(login))

    def statuses_of(self, known: Iterable[str | None]) -> set[str]:
        """What the roster says of an account that is known by some login and e-mail address."""
        roster = self.roster or {}
        return {roster[identity(text)] for text in known if text and identity(text) in roster}

    def exemption(self, rule_id: str, subject: str) -> Exemption | None:
        """The exemption of a finding that holds longest, whether it has ended or not."""
        wanted = identity(subject) if subject else ""
        found = (one for one in self.exemptions if (one.rule_id, one.subject) == (rule_id, wanted))
        return max(found, key=attrgetter("until"), default=None)


@dataclass(frozen=True)
class Excepted:
    """The exception of a finding: the last one there was, and the day on which it ended, if it did."""

    exemption: Exemption
    ended: date | None


def excepted(policies: Sequence[tuple[date, Policy]], rule_id: str, subject: str, day: date) -> Excepted | None:
    """The exception of a finding, as it is on `day`; None where there never was one.

    `policies` are those that were ever in force by then, oldest first, each with the day from which on it was. One that a later
    policy does not name any more has ended on the day that this one came into force.
    """
    withdrawn: date | None = None
    for since, policy in reversed(policies):
        found = policy.exemption(rule_id, subject)
        if found is not None:
            ends = [one for one in (withdrawn, found.until if found.until < day else None) if one is not None]
            return Excepted(found, min(ends, default=None))
        withdrawn = since
    return None


@dataclass(frozen=True)
class PolicyInForce:
    """A policy and the number of its version; 0 is what holds before anybody said anything."""

    version: int = 0
    policy: Policy = field(default_factory=Policy)
