"""What a delivery would send, before anything is sent: its parts, what is to be known of them, and
what differs from the last time. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.deliveries.errors import DeliveryError


@dataclass(frozen=True)
class Part:
    """A file, or a body of a request. `rows` is None where it has none to count."""

    name: str
    body: bytes = field(repr=False)
    rows: int | None = None

    @property
    def sha256(self) -> str:
        """The digest of its bytes."""
        return hashlib.sha256(self.body).hexdigest()

    def facts(self) -> dict[str, Any]:
        """Say what is registered of it."""
        return {
            "name": self.name,
            "rows": self.rows,
            "bytes": len(self.body),
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Prepared:
    """The parts that a target made of a packet, and sentences on what is not in them."""

    parts: Sequence[Part]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """The end of a delivery. `found`: it was there already. `remote` are ids of the target.
    `read_back`: whether what it says it has is what was sent.
    """

    found: bool
    remote: Mapping[str, str]
    read_back: bool


@dataclass(frozen=True)
class Plan:
    """One delivery of one packet to one target."""

    name: str
    kind: str
    where: str
    organization_key: str
    packet_digest: str
    as_of: datetime
    accounts: int
    prepared: Prepared

    @property
    def key(self) -> str:
        """Name the delivery: by its target, its packet and the digests of its parts, in hex."""
        facts = [self.name, self.kind, self.where, self.packet_digest]
        facts += [part.sha256 for part in self.prepared.parts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def rows(self) -> int:
        """Count the rows of the first part that has any to count."""
        return first_rows([part.facts() for part in self.prepared.parts])

    @property
    def bytes(self) -> int:
        """Count the bytes of all parts."""
        return sum(len(part.body) for part in self.prepared.parts)


def first_rows(parts: Sequence[Mapping[str, Any]]) -> int:
    """Return the rows of the first part that counts any; 0 where none does."""
    return next((int(part["rows"]) for part in parts if part["rows"] is not None), 0)


def differences(plan: Plan, before: Mapping[str, Any] | None) -> list[str]:
    """Say in sentences how a plan differs from the last delivery of its name."""
    if before is None:
        return ["Nothing was delivered there before."]
    if before["delivery_key"] == plan.key:
        return [f"The same was delivered on {before['delivered_at']:%Y-%m-%d %H:%M} UTC."]
    was = {part["name"]: part for part in json.loads(before["parts"])}
    now = {part.name: part.facts() for part in plan.prepared.parts}
    said = [f"Accounts: {before['accounts']:,} then, {plan.accounts:,} now."]
    said += [f"Not sent any more: {name}." for name in sorted(was.keys() - now.keys())]
    said += [f"Not sent before: {name}." for name in sorted(now.keys() - was.keys())]
    return said


def require_no_collapse(plan: Plan, before: Mapping[str, Any] | None, brake: Brake) -> None:
    """Refuse a population that lost so many since the last delivery that the removal brake would
    hold a snapshot: who is missing there is taken for a leaver.

    Raises `DeliveryError`.
    """
    if before is None:
        return
    then_now = (
        ("accounts", int(before["accounts"]), plan.accounts),
        ("rows that would be sent", first_rows(json.loads(before["parts"])), plan.rows),
    )
    for what, then, now in then_now:
        if then - now >= brake.rows and then - now > brake.share * then:
            raise DeliveryError(
                f"There are {now:,} {what}, and there were {then:,} at the last delivery: more are"
                " gone than the removal brake lets pass. Look into the packet; if so many did"
                " leave, set SONAR_ACCESS_BRAKE_SHARE for this command."
            )
