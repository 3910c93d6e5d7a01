"""Opening a review: from the files of a sealed packet to items, classes of change, and who decides.

Nothing is written here; the reasons why a review is not opened stand here.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import product
from typing import Any

from sonar_access_pipeline.access.policy import PolicyInForce
from sonar_access_pipeline.access.review.classes import ORDER, Before, change_class, key_of
from sonar_access_pipeline.access.review.deciding import Asked
from sonar_access_pipeline.access.review.items import (
    PRIVILEGED,
    Item,
    Kind,
    Plan,
    Record,
    ReviewScope,
    held_of,
    plan,
)
from sonar_access_pipeline.access.review.people import (
    SELF,
    Accounts,
    Assigned,
    Deciders,
    Person,
    Roster,
    assigned,
)
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.evidence.tables import records
from sonar_access_pipeline.warehouse.ask import reviewed
from sonar_access_pipeline.warehouse.ask.accounts import same_id
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.reviews.facts import Opening, ReviewError, still_counts

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to review: which series and scope, until when, and who says so."""

    series: str
    scope: ReviewScope
    due: date
    by: str


@dataclass(frozen=True)
class Known:
    """What the settings and the roster say when a review is opened. `real` are the organizations
    that are read from SonarCloud, and not from a simulator on this machine.
    """

    in_force: PolicyInForce
    people: Sequence[Person] = ()
    linked: Mapping[str, Collection[str]] = field(default_factory=dict)
    real: frozenset[str] = frozenset()


def opening_of(
    transaction: Transaction,
    files: Files,
    location: str,
    wanted: Wanted,
    known: Known,
    now: datetime,
) -> Opening:
    """Work out a review of a sealed packet, whose files were verified.

    Raises `ReviewError` where it is not to be opened: a packet that no register knows, an
    observation that does not count any more or is too old, nobody to decide.
    """
    manifest = json.loads(files["manifest.json"])
    digest = _digest(files)
    policy = known.in_force.policy
    as_of = datetime.fromisoformat(manifest["as_of"]["observed_at"])
    organization_key = str(manifest["organization"]["key"])
    fallback = policy.review.fallback
    _require_real(manifest, known.real)
    _require_registered(transaction, organization_key, digest)
    _require_in_force(transaction, organization_key, as_of)
    _require_young(as_of, now, policy.review.oldest_days)
    if fallback is None:
        raise ReviewError(
            "Nobody is named who decides what nobody else can; set review.fallback in the settings"
            " to an address or a login."
        )
    population = list(records(files["population.csv"]))
    planned = planned_of(files, wanted.scope, policy.review.privileged)
    _require_whole(planned, population, manifest)
    if not planned.items:
        raise ReviewError(
            f"Of scope '{wanted.scope.value}' the packet has nothing to decide: everything would be"
            " left out. Choose another scope."
        )
    signed = reviewed.last_signed(transaction, organization_key, as_of)
    carried = reviewed.carried_over(transaction, organization_key, wanted.series)
    asked = [
        replace(one, previous_decision_id=carried.get((key_of(one.item), one.digest)))
        if (key_of(one.item), one.digest) in carried
        else one
        for one in asked_of(planned.items, files, signed[1] if signed else None)
    ]
    found = assigned(
        [one.item for one in asked],
        population,
        Accounts(population, known.linked, same_id(transaction, organization_key, as_of)),
        Deciders(fallback, policy.review.owner),
        Roster(known.people),
        policy,
        now.date(),
    )
    _require_deciders(found)
    return Opening(
        organization_key=organization_key,
        series=wanted.series,
        scope=wanted.scope.value,
        packet_digest=digest,
        packet_location=location,
        source_kind=manifest["source"]["kind"],
        as_of=as_of,
        due=wanted.due,
        asked=asked,
        left_out=planned.left_out,
        assigned=found,
        policy=policy.review,
        policy_version=known.in_force.version,
        previous_review_id=signed[0] if signed else None,
        by=wanted.by,
    )


def planned_of(files: Files, scope: ReviewScope, privileged: Collection[str]) -> Plan:
    """Plan the review of a packet: its items, and what is left out. `privileged` are rights that
    are decided one by one beside those that always are.
    """
    population, access = records(files["population.csv"]), records(files["access.csv"])
    return plan(population, access, scope, privileged_of(privileged))


def privileged_of(more: Collection[str]) -> frozenset[tuple[str, str]]:
    """Give the rights that are decided one by one, those of a policy beside those that always
    are.
    """
    return PRIVILEGED | set(product(("organization_permission", "project_permission"), more))


def _digest(files: Files) -> str:
    return hashlib.sha256(files["manifest.json"]).hexdigest()


def _require_real(manifest: Mapping[str, Any], real: Collection[str]) -> None:
    kind, key = manifest["source"]["kind"], manifest["organization"]["key"]
    if kind != SourceKind.SONARCLOUD.value and key in real:
        raise ReviewError(
            f"The packet is of a {kind} source, and {key} is read from SonarCloud: a review of it"
            " would prove nothing. Name a packet of SonarCloud."
        )


def _require_registered(transaction: Transaction, organization_key: str, digest: str) -> None:
    if digest not in {one.digest for one in packets.entries(transaction, organization_key)}:
        raise ReviewError(
            f"Packet {digest[:12]} does not stand in the register of this warehouse; a review is of"
            " a packet that was sealed here."
        )


def _require_in_force(transaction: Transaction, organization_key: str, as_of: datetime) -> None:
    if not still_counts(transaction, organization_key, as_of):
        raise ReviewError(
            f"The observation of {as_of:%Y-%m-%d %H:%M} UTC, which the packet is about, does not"
            " count: it is held or was retracted. Seal a packet of another day."
        )


def _require_young(as_of: datetime, now: datetime, oldest_days: int) -> None:
    if now - as_of > timedelta(days=oldest_days):
        raise ReviewError(
            f"The packet shows access as it was on {as_of:%Y-%m-%d}, {(now - as_of).days} days ago;"
            f" the policy lets {oldest_days}. Seal a packet of a later day, or set"
            " review.oldest_days."
        )


def _require_whole(
    planned: Plan, population: Sequence[Record], manifest: Mapping[str, Any]
) -> None:
    """Refuse a review whose items would not be everybody of the packet."""
    every = [*planned.items, *(one.item for one in planned.left_out)]
    accounts = [item.subject for item in every if item.kind is Kind.ACCOUNT]
    if sorted(accounts) != sorted(row["login"] for row in population) or (
        len(population) != manifest["counts"]["accounts"]
    ):
        raise ReviewError(
            f"The packet counts {manifest['counts']['accounts']} accounts, and {len(accounts)}"
            " would be reviewed; that is a fault of this program. Nothing was opened."
        )


def _require_deciders(found: Sequence[Assigned]) -> None:
    lonely = sorted({one.item.subject for one in found if one.reviewer is None})
    if lonely:
        raise ReviewError(
            f"Nobody but {lonely[0]} could decide what {lonely[0]} may do; name another owner or"
            f" fallback reviewer, or write an exception of '{SELF}' for {lonely[0]} with its end"
            " into the policy."
        )


def asked_of(items: Sequence[Item], files: Files, before: Before | None) -> list[Asked]:
    """Number the items of a packet, with what is shown of each: what is news first, then what has a
    finding, then privileges.
    """
    findings = _findings(files)
    population = list(records(files["population.csv"]))
    access = list(records(files["access.csv"]))
    words = {held_of(row): _in_words(row) for row in access}
    names = {row["granted_via"]: row["granted_via_name"] for row in access}
    names |= {row["login"]: row["name"] for row in population}
    since = {row["login"]: row["access_unchanged_since"] for row in population}
    classed = sorted(
        ((change_class(item, before), item) for item in items),
        key=lambda one: (
            ORDER.index(one[0]),
            one[1].subject not in findings,
            one[1].kind is not Kind.PRIVILEGE,
            one[1],
        ),
    )
    decisions = before.decisions if before else {}
    return [
        Asked(
            item_no=number,
            item=item,
            digest=item.digest,
            name=names.get(item.subject, ""),
            shown="; ".join(words[held] for held in item.held),
            change_class=news,
            findings=tuple(findings.get(item.subject, ())),
            since=since.get(item.subject, ""),
            previous_decision_id=decisions.get(key_of(item)),
        )
        for number, (news, item) in enumerate(classed, start=1)
    ]


def _in_words(row: Record) -> str:
    """Say a right with its way, by names."""
    if row["access_type"] == "membership":
        return "member of the organization"
    if row["access_type"] == "group":
        return f"in group {row['resource_name'] or row['resource']}"
    on = f" on {row['resource']}" if row["access_type"] == "project_permission" else ""
    if row["granted_via"] == "direct":
        return f"{row['entitlement']}{on}"
    return f"{row['entitlement']}{on} through {row['granted_via_name'] or row['granted_via']}"


def _findings(files: Files) -> Mapping[str, Sequence[str]]:
    """Give the sentences of the findings that fail, by the subject of an item."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in records(files["findings.csv"]):
        if row["result"] == "fail" and (not row["exception_by"] or row["exception_ended"]):
            is_group = row["subject_type"] == "group"
            subject = f"group:{row['subject']}" if is_group else row["subject"]
            found[subject].append(row["title"])
    return {subject: sorted(set(titles)) for subject, titles in found.items()}
