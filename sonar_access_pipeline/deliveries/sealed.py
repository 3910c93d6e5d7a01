"""A sealed packet as deliveries read it, and why one is not delivered.

Nothing is read from history here: what is delivered is what was sealed.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.evidence.tables import records
from sonar_access_pipeline.settings_delivery import Windows
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.ledger.deliveries import redacted_at
from sonar_access_pipeline.warehouse.ledger.packets import RegisterEntry, entries
from sonar_access_pipeline.warehouse.reviews.facts import still_counts

Rows = Sequence[Mapping[str, str]]
DAY = timedelta(days=1)


@dataclass(frozen=True)
class SealedPacket:
    """The files of a packet that was verified, and where it lies.

    `stated` is its manifest where that is none of the files: it may name people.
    """

    location: str
    files: Mapping[str, bytes] = field(repr=False)
    stated: bytes = field(default=b"", repr=False)

    @property
    def manifest_body(self) -> bytes:
        """The bytes of its manifest."""
        return self.stated or self.files["manifest.json"]

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Read what the packet says of itself."""
        found: Mapping[str, Any] = json.loads(self.manifest_body)
        return found

    @property
    def digest(self) -> str:
        """The digest that stands in the register."""
        return hashlib.sha256(self.manifest_body).hexdigest()

    @property
    def organization_key(self) -> str:
        """The key of the organization."""
        return str(self.manifest["organization"]["key"])

    @property
    def source_kind(self) -> str:
        """The kind of source that was read: sonarcloud, or something else."""
        return str(self.manifest["source"]["kind"])

    @property
    def source_url(self) -> str:
        """The address that was read."""
        return str(self.manifest["source"]["url"])

    @property
    def as_of(self) -> datetime:
        """The end, in UTC, of the observation that the packet shows."""
        return datetime.fromisoformat(self.manifest["as_of"]["observed_at"])

    @property
    def observed_on(self) -> date:
        """The UTC day on which that observation began."""
        return datetime.fromisoformat(self.manifest["as_of"]["started_at"]).date()

    @property
    def first_day(self) -> date:
        """The first day of its window."""
        return date.fromisoformat(self.manifest["window"]["first_day"])

    @property
    def last_day(self) -> date:
        """The last day of its window."""
        return date.fromisoformat(self.manifest["window"]["last_day"])

    def records(self, name: str) -> Rows:
        """Return the rows of a CSV file by their headings; none where an older format lacks it."""
        return list(records(self.files[name])) if name in self.files else []

    @cached_property
    def population(self) -> Rows:
        """Return every account, in the packet's order."""
        return self.records("population.csv")

    @cached_property
    def permissions(self) -> Mapping[str, Sequence[str]]:
        """Return the permissions on the organization by login, each once, sorted."""
        held: dict[str, set[str]] = defaultdict(set)
        for row in self.records("access.csv"):
            is_account = row["principal_type"] == "user"
            if is_account and row["access_type"] == "organization_permission":
                held[row["login"]].add(row["entitlement"])
        return {login: sorted(permissions) for login, permissions in held.items()}


def kind_of_window(first: date, last: date) -> Windows | None:
    """Tell whether days are one day, a month or a quarter; None for any other."""
    after = last + DAY
    if first == last:
        return Windows.DAY
    if first.day != 1 or after.day != 1:
        return None
    months = (after.year - first.year) * 12 + after.month - first.month
    if months == 1:
        return Windows.MONTH
    return Windows.QUARTER if months == 3 and first.month % 3 == 1 else None


def newest(
    transaction: Transaction, organization_key: str, windows: Windows
) -> RegisterEntry | None:
    """Find the newest packet of a kind of window, the last sealed one of it; None where there is
    none.
    """
    of_kind = [
        one
        for one in entries(transaction, organization_key)
        if kind_of_window(one.first_day, one.last_day) is windows
    ]
    last = max((one.last_day for one in of_kind), default=None)
    return next((one for one in reversed(of_kind) if one.last_day == last), None)


def require_deliverable(
    transaction: Transaction,
    packet: SealedPacket,
    before: Mapping[str, Any] | None,
    now: datetime,
    oldest_days: int,
) -> None:
    """Refuse a packet that is to reach nobody: simulated, unknown, superseded, older than what the
    receipt `before` says was delivered, not of its last day, of an observation that does not count
    any more, sealed before somebody was taken out of what is kept, or old.

    Raises `DeliveryError`.
    """
    if packet.source_kind != SourceKind.SONARCLOUD.value:
        raise DeliveryError(
            f"Packet {packet.digest[:12]} is of a {packet.source_kind} source; what is delivered is"
            " taken for evidence about SonarCloud, so it is sent nowhere."
        )
    known = entries(transaction, packet.organization_key)
    if packet.digest not in {one.digest for one in known}:
        raise DeliveryError(
            f"Packet {packet.digest[:12]} does not stand in the register of this warehouse; deliver"
            " one that was sealed here."
        )
    same = [
        one for one in known if (one.first_day, one.last_day) == (packet.first_day, packet.last_day)
    ]
    if same[-1].digest != packet.digest:
        raise DeliveryError(
            f"Packet {packet.digest[:12]} is superseded: {same[-1].digest[:12]} was sealed later of"
            " the same days. Deliver that one."
        )
    if before is not None and before["as_of"] > packet.as_of:
        raise DeliveryError(
            f"The packet shows access as of {packet.as_of:%Y-%m-%d %H:%M} UTC, and"
            f" {before['as_of']:%Y-%m-%d %H:%M} UTC was delivered already: what is older would"
            " replace it there."
        )
    taken_out = max(redacted_at(transaction, packet.organization_key), default=None)
    if taken_out is not None and taken_out > same[-1].sealed_at:
        raise DeliveryError(
            "Somebody was taken out of what is kept since the packet was sealed, and stands in it"
            " still. Seal it again."
        )
    if not still_counts(transaction, packet.organization_key, packet.as_of):
        raise DeliveryError(
            f"The observation of {packet.as_of:%Y-%m-%d %H:%M} UTC, which the packet shows, does"
            " not count: it is held or was retracted. Seal the packet again."
        )
    if packet.observed_on != packet.last_day:
        raise DeliveryError(
            f"The packet ends on {packet.last_day}, and shows access as it was on"
            f" {packet.observed_on}: its last day was not observed. Deliver one whose last day was."
        )
    if now - packet.as_of > timedelta(days=oldest_days):
        raise DeliveryError(
            f"The packet shows access as it was {(now - packet.as_of).days} days ago; oldest_days"
            f" lets {oldest_days}."
        )
