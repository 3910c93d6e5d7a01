"""What an organization holds to be right: thresholds, exceptions, roster and service accounts, as
they are from a time on.

A policy is kept as canonical JSON. Whoever it is about stands in it as a digest: to find an account
in it takes knowing the account, and forgetting a person leaves nothing to forget here. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from functools import cached_property
from operator import attrgetter
from typing import Any

from sonar_access_pipeline.access.snapshot import canonical_digest, canonical_json

SERVICE_WORDS = (
    "automation",
    "bot",
    "build",
    "ci",
    "cicd",
    "deploy",
    "jenkins",
    "pipeline",
    "robot",
    "service",
    "svc",
    "system",
)
"""Words of which one, as a word of its own in a login or a name, makes an account look like a
service account.
"""


LATER = {"later": True}
"""Marks a field of a policy that came after the first release."""


def later(default: Any) -> Any:
    """Give a field of a policy that came after the first release.

    Its default is a value, or a tuple of them.
    """
    return field(default=default, metadata=LATER)


def identity(text: str) -> str:
    """Hash a login or an e-mail address, as it is kept: the SHA-256 of it in lower case, without
    space around it.
    """
    return hashlib.sha256(text.strip().casefold().encode()).hexdigest()


@dataclass(frozen=True)
class Exemption:
    """A finding that somebody answers for: which, who said so, why, and the last day on which that
    holds.

    `subject` is what `identity` makes of a login or group id; empty for the organization itself.
    """

    rule_id: str
    subject: str
    by: str
    why: str
    until: date


@dataclass(frozen=True)
class Series:
    """A rhythm of reviews: what they are about, `every` how many months, within how many days.

    `reminders`: days before the due date on which is reminded, beside each day after it.
    `escalate_after`: days after it from which on the owner hears who is late.
    """

    name: str
    scope: str
    every: int
    due_days: int
    reminders: tuple[int, ...] = (7, 3, 1, 0)
    escalate_after: int = 3


@dataclass(frozen=True)
class ReviewPolicy:
    """How access is reviewed. Who answers and who decides stand here as they are called: they act.

    `oldest_days`: how old an observation may be when a review of it is opened. `bulk_at_most`:
    items that may be kept at once. `privilege_days` and `days`: until what is decided is to be
    done. `privileged`: rights that are decided one by one, beside those that always are.
    """

    owner: str | None = None
    fallback: str | None = None
    oldest_days: int = 7
    bulk_at_most: int = 25
    privilege_days: int = 1
    days: int = 7
    privileged: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ReviewPolicy:
        """Read it from a document."""
        series = tuple(
            Series(**{**one, "reminders": tuple(one["reminders"])}) for one in content["series"]
        )
        return cls(**{**content, "privileged": tuple(content["privileged"]), "series": series})


NO_REVIEWS = ReviewPolicy()
"""What holds where nobody said how access is reviewed."""


@dataclass(frozen=True)
class Policy:
    """One policy. The defaults are in force where nobody said anything else: version 0.

    What is kept stays readable: a field that comes later goes below the others, as `later(...)`. A
    document that does not name it was written before, and has its default; one that keeps the
    default does not name it, so that its digest stays as it was. A default, once released, is not
    changed: what was observed before anybody recorded a policy is judged by it.
    """

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
    review: ReviewPolicy = field(default=NO_REVIEWS, metadata=LATER)

    @cached_property
    def document(self) -> bytes:
        """The policy as canonical JSON."""
        return canonical_json(self._named)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the document."""
        return canonical_digest(self._named)

    @property
    def _named(self) -> dict[str, Any]:
        values = asdict(self)
        defaults = asdict(type(self)())
        return {
            name: value
            for name, value in values.items()
            if name not in self._later() or value != defaults[name]
        }

    @classmethod
    def _later(cls) -> set[str]:
        return {one.name for one in fields(cls) if one.metadata.get("later")}

    @classmethod
    def of(cls, document: bytes) -> Policy:
        """Parse the policy of a document. Raises `ValueError` for a document of another shape."""
        content = json.loads(document)
        names = {one.name for one in fields(cls)}
        if not isinstance(content, dict) or not names - cls._later() <= set(content) <= names:
            raise ValueError("it does not have the fields of a policy")
        lists = {
            one.name: tuple(content[one.name])
            for one in fields(cls)
            if isinstance(one.default, tuple) and one.name in content
        }
        exemptions = tuple(
            Exemption(**{**one, "until": date.fromisoformat(one["until"])})
            for one in content["exemptions"]
        )
        review = {"review": ReviewPolicy.of(content["review"])} if "review" in content else {}
        return cls(**{**content, **lists, **review, "exemptions": exemptions})

    def owner_of(self, login: str) -> str | None:
        """Return who owns a service account; None where nobody was named."""
        return self.service_accounts.get(identity(login))

    def statuses_of(self, known: Iterable[str | None]) -> set[str]:
        """Look up what the roster says of an account that is known by some login and e-mail
        address.
        """
        roster = self.roster or {}
        return {roster[identity(text)] for text in known if text and identity(text) in roster}

    def exemption(self, rule_id: str, subject: str) -> Exemption | None:
        """Find the exemption of a finding that holds longest, whether it has ended or not."""
        wanted = identity(subject) if subject else ""
        matches = (
            one for one in self.exemptions if (one.rule_id, one.subject) == (rule_id, wanted)
        )
        return max(matches, key=attrgetter("until"), default=None)


@dataclass(frozen=True)
class Excepted:
    """The exception of a finding: the last one there was, and the day on which it ended, if it
    did.
    """

    exemption: Exemption
    ended: date | None


def excepted(
    policies: Sequence[tuple[date, Policy]], rule_id: str, subject: str, day: date
) -> Excepted | None:
    """Find the exception of a finding, as it is on `day`; None where there never was one.

    `policies` are those that were ever in force by then, oldest first, each with the day from which
    on it was in force. An exception that a later policy does not name any more has ended on the day
    that this later policy came into force.
    """
    withdrawn: date | None = None
    for since, policy in reversed(policies):
        named_exemption = policy.exemption(rule_id, subject)
        if named_exemption is not None:
            ends = [
                one
                for one in (
                    withdrawn,
                    named_exemption.until if named_exemption.until < day else None,
                )
                if one is not None
            ]
            return Excepted(named_exemption, min(ends, default=None))
        withdrawn = since
    return None


FIRST_RULES = frozenset(
    {
        ("too-many-admins", 1),
        ("no-admin", 1),
        ("one-admin", 1),
        ("admin-direct", 1),
        ("direct-grant", 1),
        ("direct-project-grant", 1),
        ("anyone-organization", 1),
        ("anyone-project", 1),
        ("default-group-organization", 1),
        ("default-group-project", 1),
        ("only-default-group", 1),
        ("confusable-name", 2),
        ("not-on-roster", 2),
        ("service-without-owner", 2),
        ("outside-email-domain", 1),
        ("returned", 2),
        ("privilege-gained", 2),
        ("dormant", 1),
        ("old-token", 1),
    }
)
"""The rules of the first release, with their versions: they judge from ever.

All others judge from when a warehouse first met them, which it keeps; so this stays as it is.
"""


@dataclass(frozen=True)
class PolicyInForce:
    """A policy, the number of its version (0 is what holds before anybody said anything), and the
    rules that judge by it.
    """

    version: int = 0
    policy: Policy = field(default_factory=Policy)
    rules: frozenset[tuple[str, int]] = FIRST_RULES
    """By name and version."""

    @property
    def judges(self) -> tuple[int, frozenset[tuple[str, int]]]:
        """Give what answers depend on, beside what was observed: the same here, the same
        answers.
        """
        return self.version, self.rules
