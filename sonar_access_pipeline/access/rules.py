"""The rules: what each asks of what an observation shows, or of what changed in a window, and how
it answers.

A rule answers `fail` for each account, group or organization that does not keep it, `pass` when all
do, and `not_evaluable`, with the reason, where what it needs is not known. An unknown is never a
pass. Pure.

Rules of an observation are a function of it and of the policy in force at its time: their answers
have a history (`fct_finding`). What they say holds no number that changes by itself from day to
day. Rules of a window are asked for it.

A rule judges from when a warehouse met it, so that nothing that was said of an earlier day changes.
Add here: a rule; or a new version of one, beside the older one, which stays for the days before.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import NamedTuple, TypeVar

from sonar_access_pipeline.access.look_alikes import alike, first_skeletons, skeletons
from sonar_access_pipeline.access.policy import Policy
from sonar_access_pipeline.access.records import CallerToken, SnapshotContent
from sonar_access_pipeline.access.review.follow_up import FollowUpState
from sonar_access_pipeline.access.review.standing import (
    DemandStanding,
    ReviewStanding,
    overdue,
    unreviewed,
)
from sonar_access_pipeline.access.snapshot import Scope

R = TypeVar("R", bound="Rule")

READING = frozenset({"user", "codeviewer"})
"""Permissions on a project that let one see it and its code, and no more."""


class Result(StrEnum):
    """A rule's answer."""

    FAIL = "fail"
    PASS = "pass"
    NOT_EVALUABLE = "not_evaluable"


class Severity(StrEnum):
    """How much a finding of a rule matters, before anybody looked at it."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Answer(NamedTuple):
    """What a rule says of one subject: `subject_type` account, group, anyone or organization;
    `subject` login, id or key.
    """

    subject_type: str
    subject: str
    result: Result
    detail: str


def no_threshold(_: Policy) -> str | None:
    """Return None: the rule has no threshold."""
    return None


@dataclass(frozen=True)
class Rule:
    """One rule. `version` counts what it means: it rises when the same facts get another answer."""

    rule_id: str
    version: int
    severity: Severity
    title: str
    """What a finding says, as a sentence without its subject."""
    needs: frozenset[Scope] = frozenset()
    threshold: Callable[[Policy], str | None] = no_threshold


@dataclass(frozen=True)
class StateRule(Rule):
    """A rule of an observation."""

    ask: Callable[[SnapshotContent, Policy], Iterable[Answer]] = field(kw_only=True)

    def answers(self, content: SnapshotContent, policy: Policy) -> list[Answer]:
        """Return every failure and everything unknown; one pass where there is neither."""
        unread = sorted(scope.value for scope in self.needs - content.scopes)
        return _at_least_one(
            content.organization.key, self.ask(content, policy) if not unread else None, unread
        )


def _at_least_one(
    organization_key: str, found: Iterable[Answer] | None, unread: list[str]
) -> list[Answer]:
    if found is None:
        return [_unknown(organization_key, f"scope {', '.join(unread)} was not read")]
    return list(found) or [Answer("organization", organization_key, Result.PASS, "")]


def _unknown(organization_key: str, why: str) -> Answer:
    return Answer("organization", organization_key, Result.NOT_EVALUABLE, why)


def _fail(login: str, detail: str) -> Answer:
    return Answer("account", login, Result.FAIL, detail)


def logins_of(content: SnapshotContent) -> list[str]:
    """List every login that any list names, sorted."""
    direct = {grant.principal for grant in content.grants if grant.principal_type == "user"}
    in_groups = {membership.login for membership in content.group_members}
    return sorted({member.login for member in content.members} | direct | in_groups)


def _admins(content: SnapshotContent) -> set[str]:
    logins = set[str]()
    groups = set[str]()
    for grant in content.grants:
        if grant.scope == "organization" and grant.permission == "admin":
            if grant.principal_type == "user":
                logins.add(grant.principal)
            elif grant.principal_type == "group":
                groups.add(grant.principal)
    return logins | {
        membership.login for membership in content.group_members if membership.group_id in groups
    }


def _too_many_admins(content: SnapshotContent, policy: Policy) -> Iterator[Answer]:
    count = len(_admins(content))
    if count > policy.max_admins:
        yield Answer(
            "organization",
            content.organization.key,
            Result.FAIL,
            f"{count} accounts administer the organization",
        )


def _no_admin(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
    if not _admins(content):
        yield Answer(
            "organization",
            content.organization.key,
            Result.FAIL,
            "no account administers the organization",
        )


def _one_admin(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
    admins = _admins(content)
    if len(admins) == 1:
        yield Answer(
            "organization",
            content.organization.key,
            Result.FAIL,
            "one account alone administers the organization",
        )


def _said(permissions: Mapping[str, int], scope: str) -> str:
    """Permissions in words: those on projects with on how many."""
    if scope == "organization":
        return ", ".join(sorted(permissions))
    return ", ".join(
        f"{key} on {count} project{'s' if count > 1 else ''}"
        for key, count in sorted(permissions.items())
    )


def _direct(
    scope: str, wanted: Callable[[str], bool]
) -> Callable[[SnapshotContent, Policy], Iterator[Answer]]:
    def ask(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
        held: Mapping[str, Counter[str]] = defaultdict(Counter)
        for grant in content.grants:
            if (grant.principal_type, grant.scope) == ("user", scope) and wanted(grant.permission):
                held[grant.principal][grant.permission] += 1
        for login, permissions in sorted(held.items()):
            yield _fail(login, f"granted to the account itself: {_said(permissions, scope)}")

    return ask


def _anyone(scope: str) -> Callable[[SnapshotContent, Policy], Iterator[Answer]]:
    def ask(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
        held = Counter(
            grant.permission
            for grant in content.grants
            if (grant.principal_type, grant.scope) == ("anyone", scope)
        )
        if held:
            yield Answer(
                "anyone",
                "Anyone",
                Result.FAIL,
                f"everybody, signed in or not, holds: {_said(held, scope)}",
            )

    return ask


def _default_group(
    scope: str, harmless: Collection[str]
) -> Callable[[SnapshotContent, Policy], Iterator[Answer]]:
    def ask(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
        defaults = {group.group_id for group in content.groups if group.is_default}
        if not defaults:
            yield _unknown(content.organization.key, "no group says that it is the default one")
        for group_id in sorted(defaults):
            held = Counter(
                grant.permission
                for grant in content.grants
                if (grant.principal_type, grant.principal, grant.scope)
                == ("group", group_id, scope)
                and grant.permission not in harmless
            )
            if held:
                yield Answer(
                    "group", group_id, Result.FAIL, f"every member holds: {_said(held, scope)}"
                )

    return ask


def _only_default_group(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
    defaults = {group.group_id for group in content.groups if group.is_default}
    if not defaults:
        yield _unknown(content.organization.key, "no group says that it is the default one")
        return
    others = {
        membership.login
        for membership in content.group_members
        if membership.group_id not in defaults
    }
    for login in logins_of(content):
        if login not in others:
            yield _fail(login, "member of no group but the default one")


def _names(content: SnapshotContent) -> dict[str, str | None]:
    """Return the names of accounts, by login: of members, and of those that are listed with
    permissions only.
    """
    return {**content.non_members, **{member.login: member.name for member in content.members}}


def _unnamed(content: SnapshotContent) -> Iterator[Answer]:
    """Yield an unknown answer where names that a rule goes by are not known."""
    names = _names(content)
    if count := sum(names.get(login) is None for login in logins_of(content)):
        yield _unknown(content.organization.key, f"the names of {count} accounts are not known")


def _confusable(
    reduced: Callable[[str], frozenset[str]],
) -> Callable[[SnapshotContent, Policy], Iterator[Answer]]:
    def ask(content: SnapshotContent, _: Policy) -> Iterator[Answer]:
        yield from _unnamed(content)
        named = (
            (login, name)
            for login, name in _names(content).items()
            if name and login not in content.pseudonyms
        )
        for logins in alike(named, reduced):
            sign = sha256("\0".join(logins).encode()).hexdigest()[:8]
            for login in logins:
                # Nobody else is named here: a person who is forgotten must not stay in what is
                # said of another.
                yield _fail(
                    login,
                    f"one of {len(logins)} accounts whose names look alike (those with the sign"
                    f" {sign})",
                )

    return ask


def _not_on_roster(content: SnapshotContent, policy: Policy) -> Iterator[Answer]:
    if policy.roster is None:
        yield _unknown(content.organization.key, "no roster is named in the settings")
        return
    emails = {detail.login: detail.email for detail in content.account_details}
    for login in logins_of(content):
        if policy.owner_of(login) is not None:
            continue
        if login in content.pseudonyms:
            yield Answer(
                "account", login, Result.NOT_EVALUABLE, "the account was replaced by a pseudonym"
            )
            continue
        statuses = policy.statuses_of((login, emails.get(login)))
        if not statuses:
            by = "login or e-mail" if emails.get(login) else "login; its e-mail is not known"
            yield _fail(login, f"not on the roster, by {by}")
        elif not statuses & set(policy.active_statuses):
            yield _fail(login, f"on the roster with status: {', '.join(sorted(statuses))}")


def looks_like_a_service(login: str, name: str | None, words: Collection[str]) -> bool:
    """Tell whether a word of a login or a name is one of the words of service accounts."""
    return not _words(f"{login} {name or ''}").isdisjoint(words)


@lru_cache(maxsize=1 << 17)
def _words(text: str) -> frozenset[str]:
    """Return the words of a text. Kept, since every day asks for the same."""
    return frozenset(re.findall(r"[a-z]+", text.casefold()))


def _service_without_owner(content: SnapshotContent, policy: Policy) -> Iterator[Answer]:
    yield from _unnamed(content)
    names = _names(content)
    for login in logins_of(content):
        if (
            looks_like_a_service(login, names.get(login), policy.service_words)
            and policy.owner_of(login) is None
        ):
            yield _fail(login, "looks like a service account, and the settings name no owner")


def _outside_domain(content: SnapshotContent, policy: Policy) -> Iterator[Answer]:
    if not policy.email_domains:
        yield _unknown(content.organization.key, "no e-mail domain is named in the settings")
        return
    emails = {detail.login: detail.email for detail in content.account_details}
    ours = {domain.casefold() for domain in policy.email_domains}
    for login in logins_of(content):
        if policy.owner_of(login) is not None:
            continue
        email = emails.get(login)
        if email is None:
            yield Answer("account", login, Result.NOT_EVALUABLE, "its e-mail is not known")
        elif (domain := email.rpartition("@")[2].casefold()) not in ours:
            yield _fail(login, f"e-mail outside the organization's domains: {domain}")


PROJECTS = frozenset({Scope.PROJECT_PERMISSIONS})
DETAILS = frozenset({Scope.ACCOUNT_DETAILS})

STATE_RULES = (
    StateRule(
        "too-many-admins",
        1,
        Severity.HIGH,
        "more accounts administer the organization than the policy allows",
        threshold=lambda policy: f"at most {policy.max_admins}",
        ask=_too_many_admins,
    ),
    StateRule(
        "no-admin", 1, Severity.HIGH, "no account administers the organization", ask=_no_admin
    ),
    StateRule(
        "one-admin",
        1,
        Severity.MEDIUM,
        "one account alone administers the organization",
        ask=_one_admin,
    ),
    StateRule(
        "admin-direct",
        1,
        Severity.HIGH,
        "administers the organization by a grant to itself, not through a group",
        ask=_direct("organization", lambda permission: permission == "admin"),
    ),
    StateRule(
        "direct-grant",
        1,
        Severity.MEDIUM,
        "holds a permission on the organization by a grant to itself",
        ask=_direct("organization", lambda permission: permission != "admin"),
    ),
    StateRule(
        "direct-project-grant",
        1,
        Severity.LOW,
        "holds permissions on projects by grants to itself",
        PROJECTS,
        ask=_direct("project", lambda _: True),
    ),
    StateRule(
        "anyone-organization",
        1,
        Severity.HIGH,
        "Anyone holds a permission on the organization",
        ask=_anyone("organization"),
    ),
    StateRule(
        "anyone-project",
        1,
        Severity.HIGH,
        "Anyone holds permissions on projects",
        PROJECTS,
        ask=_anyone("project"),
    ),
    StateRule(
        "default-group-organization",
        1,
        Severity.HIGH,
        "the default group holds a permission on the organization",
        ask=_default_group("organization", ()),
    ),
    StateRule(
        "default-group-project",
        1,
        Severity.MEDIUM,
        "the default group holds more than reading on projects",
        PROJECTS,
        ask=_default_group("project", READING),
    ),
    StateRule(
        "only-default-group",
        1,
        Severity.LOW,
        "is a member of no group but the default one",
        ask=_only_default_group,
    ),
    StateRule(
        "confusable-name",
        2,
        Severity.MEDIUM,
        "has a name that can be confused with another's",
        ask=_confusable(first_skeletons),
    ),
    StateRule(
        "confusable-name",
        3,
        Severity.MEDIUM,
        "has a name that can be confused with another's",
        ask=_confusable(skeletons),
    ),
    StateRule(
        "not-on-roster",
        2,
        Severity.HIGH,
        "has access and is not an active person of the roster",
        threshold=lambda policy: f"status {' or '.join(policy.active_statuses)}",
        ask=_not_on_roster,
    ),
    StateRule(
        "service-without-owner",
        2,
        Severity.MEDIUM,
        "looks like a service account without a named owner",
        threshold=lambda policy: f"words {', '.join(policy.service_words)}",
        ask=_service_without_owner,
    ),
    StateRule(
        "outside-email-domain",
        1,
        Severity.HIGH,
        "has an e-mail address outside the organization's domains",
        DETAILS,
        threshold=lambda policy: (
            f"domains {', '.join(policy.email_domains)}" if policy.email_domains else None
        ),
        ask=_outside_domain,
    ),
)
"""The rules of an observation, in the order in which findings are shown."""


@dataclass(frozen=True)
class WindowFacts:
    """What the rules of a window are asked with.

    `compared`: the two observations between which changes are known, by when they ended; None where
    there are no two. `unknown`: why a rule that compares cannot answer for all of the window, a
    sentence per part of it. `returned`: accounts that came back in the window after leaving, and
    are members at its end. `gained`: by login, what it may do on the organization at the end and
    might not before the window; `gained_besides`: without what it has through the default group
    alone, as everybody who joins has. `tokens`: those of the account that reads; None where they
    were not read. `reviews`: those that were opened by then, however they ended. `demands`: what
    they decided to remove, as the last observation shows it.
    """

    organization_key: str
    as_of: datetime
    compared: tuple[datetime, datetime] | None
    unknown: Sequence[str]
    returned: Collection[str]
    gained: Mapping[str, Collection[str]]
    gained_besides: Mapping[str, Collection[str]]
    tokens: Collection[CallerToken] | None
    reviews: Sequence[ReviewStanding] = ()
    demands: Sequence[DemandStanding] = ()


@dataclass(frozen=True)
class WindowRule(Rule):
    """A rule of a window of days."""

    ask: Callable[[WindowFacts, Policy], Iterable[Answer]] = field(kw_only=True)

    def answers(self, facts: WindowFacts, policy: Policy) -> list[Answer]:
        """Return every failure and everything unknown; one pass where there is neither."""
        return _at_least_one(facts.organization_key, self.ask(facts, policy), [])


def _returned(facts: WindowFacts, _: Policy) -> Iterator[Answer]:
    yield from _incomparable(facts)
    for login in sorted(facts.returned):
        yield _fail(login, "a member again, after an observation that did not show it")


def _incomparable(facts: WindowFacts) -> Iterator[Answer]:
    """Yield why a rule that compares cannot answer for all of the window, where it cannot."""
    if facts.unknown:
        yield _unknown(facts.organization_key, "; ".join(facts.unknown))


def _gained(facts: WindowFacts, _: Policy) -> Iterator[Answer]:
    return _of_gained(facts, facts.gained)


def _gained_besides(facts: WindowFacts, _: Policy) -> Iterator[Answer]:
    return _of_gained(facts, facts.gained_besides)


def _of_gained(facts: WindowFacts, gained: Mapping[str, Collection[str]]) -> Iterator[Answer]:
    yield from _incomparable(facts)
    if facts.compared is None:
        return
    since, until = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in facts.compared)
    for login, permissions in sorted(gained.items()):
        yield _fail(login, f"gained between {since} and {until}: {', '.join(sorted(permissions))}")


def _named(token: CallerToken) -> tuple[str, str]:
    return token.login, token.name


def _old_token(facts: WindowFacts, policy: Policy) -> Iterator[Answer]:
    if facts.tokens is None:
        yield _unknown(facts.organization_key, "the tokens of the account that reads were not read")
        return
    oldest = facts.as_of - timedelta(days=policy.max_token_days)
    for token in sorted(facts.tokens, key=_named):
        if token.created_at is None:
            yield Answer(
                "account",
                token.login,
                Result.NOT_EVALUABLE,
                f"token '{token.name}': SonarCloud does not say when it was made",
            )
        elif token.created_at < oldest:
            yield _fail(token.login, f"token '{token.name}' was made on {token.created_at.date()}")


def _dormant(facts: WindowFacts, policy: Policy) -> Iterator[Answer]:
    latest = facts.as_of - timedelta(days=policy.dormant_days)
    for token in sorted(facts.tokens or (), key=_named):
        if token.last_used_at is not None and token.last_used_at < latest:
            yield _fail(
                token.login, f"token '{token.name}' was last used on {token.last_used_at.date()}"
            )
    yield _unknown(
        facts.organization_key,
        "SonarCloud shows the last use of the reading account's own tokens only",
    )


def _review_overdue(facts: WindowFacts, policy: Policy) -> Iterator[Answer]:
    series = policy.review.series
    for sentence in overdue(series, facts.reviews, facts.as_of.date()):
        yield Answer("organization", facts.organization_key, Result.FAIL, sentence)
    if not series and not facts.reviews:
        yield _unknown(facts.organization_key, "the settings name no series of reviews")
    for name in unreviewed(series, facts.reviews):
        yield _unknown(
            facts.organization_key, f"of series '{name}' no review was opened yet, so none is due"
        )


STILL_THERE = frozenset({FollowUpState.LATE.value, FollowUpState.RETURNED.value})
UNCLEAR = {
    FollowUpState.LOOK_ALIKE.value: "is gone, and another account of the same person has it",
    FollowUpState.NOT_OBSERVABLE.value: "is not among what was read",
}


def _follow_up_late(facts: WindowFacts, _: Policy) -> Iterator[Answer]:
    if not facts.reviews:
        yield _unknown(facts.organization_key, "no review was opened yet")
    for one in facts.demands:
        about = f"item {one.item_no} of review {one.review_id}"
        if one.state in STILL_THERE:
            detail = f"{about} was to be gone by {one.due_at:%Y-%m-%d}, and is {one.state}"
            yield Answer(*_of_item(one.subject), Result.FAIL, detail)
        elif one.state in UNCLEAR:
            detail = f"{about} {UNCLEAR[one.state]}"
            yield Answer(*_of_item(one.subject), Result.NOT_EVALUABLE, detail)


def _of_item(subject: str) -> tuple[str, str]:
    """Give the type and the key of whom an item of a review is about."""
    if subject == "Anyone":
        return "anyone", subject
    if subject.startswith("group:"):
        return "group", subject.removeprefix("group:")
    return "account", subject


WINDOW_RULES = (
    WindowRule("returned", 2, Severity.MEDIUM, "is a member again after leaving", ask=_returned),
    WindowRule(
        "privilege-gained",
        2,
        Severity.MEDIUM,
        "holds a permission on the organization that it did not hold before the window",
        ask=_gained,
    ),
    WindowRule(
        "privilege-gained",
        3,
        Severity.MEDIUM,
        "holds a permission on the organization that it did not hold before the window, and not"
        " through the default group",
        ask=_gained_besides,
    ),
    WindowRule(
        "dormant",
        1,
        Severity.LOW,
        "has a token that was not used for long",
        threshold=lambda policy: f"{policy.dormant_days} days",
        ask=_dormant,
    ),
    WindowRule(
        "old-token",
        1,
        Severity.MEDIUM,
        "reads for us, and has a token that is older than the policy allows",
        threshold=lambda policy: f"{policy.max_token_days} days",
        ask=_old_token,
    ),
    WindowRule(
        "review-overdue",
        1,
        Severity.MEDIUM,
        "has a review of access that is not in time",
        ask=_review_overdue,
    ),
    WindowRule(
        "follow-up-late",
        1,
        Severity.HIGH,
        "has what a review decided to remove, after the day by which it was to be gone",
        ask=_follow_up_late,
    ),
)
"""The rules of a window, in the order in which findings are shown."""

RULE_VERSIONS: Mapping[tuple[str, int], Rule] = {
    (rule.rule_id, rule.version): rule for rule in (*STATE_RULES, *WINDOW_RULES)
}
"""Every version of every rule."""

RULES: Mapping[str, Rule] = {
    rule_id: max(
        (rule for rule in RULE_VERSIONS.values() if rule.rule_id == rule_id),
        key=attrgetter("version"),
    )
    for rule_id, _ in RULE_VERSIONS
}
"""The newest version of every rule, by name; in the order in which findings are shown."""


def judging(rules: Iterable[R], kept: Collection[tuple[str, int]]) -> list[R]:
    """Give those of some rules that judge, by name and version; in their order."""
    return [rule for rule in rules if (rule.rule_id, rule.version) in kept]
