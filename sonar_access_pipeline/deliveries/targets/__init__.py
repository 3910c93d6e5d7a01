"""One file per kind of target: what it sends, to where, and how the answer is judged.

Add here: a file with a class that has what `Target` asks for, and its line in `target_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.deliveries.plans import Outcome, Prepared
from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.settings_delivery import DeliverySettings, Kind


class Target(Protocol):
    """A place that takes deliveries. `where` says it without a secret."""

    where: str

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Make what would be sent. Raises `DeliveryError` where the packet has no such thing."""

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Send it, or find that it is there; then read back what the target says it has. `is_known`
        says that there is a receipt of the same.

        Raises `DeliveryError`.
        """


def target_of(settings: DeliverySettings, environment: Mapping[str, str]) -> Target:
    """Build the target of a delivery. Secrets are looked up when something is sent."""
    from sonar_access_pipeline.deliveries.targets import drata, files, oscal, vanta

    makers: Mapping[Kind, Callable[[DeliverySettings, Mapping[str, str]], Target]] = {
        Kind.FILE: files.FileTarget,
        Kind.OSCAL: oscal.OscalTarget,
        Kind.DRATA_EVIDENCE: drata.EvidenceTarget,
        Kind.DRATA_RECORDS: drata.RecordsTarget,
        Kind.VANTA_DOCUMENT: vanta.DocumentTarget,
        Kind.VANTA_ACCOUNTS: vanta.AccountsTarget,
    }
    return makers[settings.kind](settings, environment)


def secret(environment: Mapping[str, str], name: str | None) -> str:
    """Read a secret from the variable that the settings name. Raises `DeliveryError`."""
    value = environment.get(name or "", "").strip()
    if not value:
        raise DeliveryError(f"The variable {name}, which the delivery's settings name, is not set.")
    if not value.isprintable() or not value.isascii():
        raise DeliveryError(f"The variable {name} holds something that is no key.")
    return value
