"""A delivery from its plan to its receipt: what would be sent, why not, and that it arrived."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.deliveries import plans
from sonar_access_pipeline.deliveries.errors import BusyError, DeliveryError
from sonar_access_pipeline.deliveries.plans import Outcome, Plan
from sonar_access_pipeline.deliveries.pseudonyms import SHORTEST_SECRET, pseudonymised
from sonar_access_pipeline.deliveries.sealed import SealedPacket, newest, require_deliverable
from sonar_access_pipeline.deliveries.targets import Target, secret, target_of
from sonar_access_pipeline.evidence.stores import Store
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.settings_delivery import DeliverySettings
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import deliveries, packets


@dataclass(frozen=True)
class Ready:
    """A delivery that may be sent: its target, its packet, its plan, and what differs from the last
    one.
    """

    target: Target
    packet: SealedPacket
    plan: Plan
    differences: Sequence[str]


def packet_of(
    warehouse: Warehouse, store: Store, organization_key: str, settings: DeliverySettings
) -> SealedPacket:
    """Read the newest packet of the windows that a delivery is of, as it was sealed.

    Raises `DeliveryError` where there is none, or it is not what was sealed.
    """
    with warehouse.read() as transaction:
        entry = newest(transaction, organization_key, settings.windows)
        keys = packets.keys(transaction)
    if entry is None:
        raise DeliveryError(
            f"No packet of a {settings.windows} was sealed of {organization_key} yet, and the"
            f" delivery '{settings.name}' is of one; build it, or set `windows`."
        )
    path = entry.location.removeprefix(store.place(""))
    report = verify(store, path, registered=keys)
    if report.own:
        raise DeliveryError(f"{entry.location} is not what was sealed: {report.own[0]}.")
    return SealedPacket(entry.location, store.get(path))


def ready(
    warehouse: Warehouse,
    packet: SealedPacket,
    settings: DeliverySettings,
    brake: Brake,
    environment: Mapping[str, str],
    now: datetime,
) -> Ready:
    """Plan a delivery of a packet that was verified. Nothing is sent.

    Raises `DeliveryError` where it is not to be sent.
    """
    with warehouse.read() as transaction:
        before = deliveries.last(transaction, packet.organization_key, settings.name)
        require_deliverable(transaction, packet, before, now, settings.oldest_days)
    if not packet.population:
        raise DeliveryError("The packet names no account at all; it is sent nowhere.")
    if settings.pseudonym_env is not None:
        key = secret(environment, settings.pseudonym_env)
        if len(key) < SHORTEST_SECRET:
            raise DeliveryError(
                f"{settings.pseudonym_env} has fewer than {SHORTEST_SECRET} characters: who guesses"
                " it knows every login."
            )
        shown = pseudonymised(packet, key)
    else:
        shown = packet
    target = target_of(settings, environment)
    plan = Plan(
        name=settings.name,
        kind=settings.kind.value,
        where=target.where,
        organization_key=packet.organization_key,
        packet_digest=packet.digest,
        as_of=packet.as_of,
        accounts=len(packet.population),
        prepared=target.prepare(shown),
    )
    plans.require_no_collapse(plan, before, brake)
    return Ready(target, shown, plan, plans.differences(plan, before))


def was_delivered(warehouse: Warehouse, plan: Plan) -> bool:
    """Tell whether the last receipt is of the same."""
    with warehouse.read() as transaction:
        before = deliveries.last(transaction, plan.organization_key, plan.name)
    return before is not None and before["delivery_key"] == plan.key


def send(
    warehouse: Warehouse, found: Ready, clock: Callable[[], datetime], version: str
) -> Outcome:
    """Have the target hold what was planned, and register the receipt.

    The target is asked first: what it holds already is found and not sent again, whether or not
    there is a receipt. Raises `DeliveryError`; `BusyError` where another process sends it now.
    """
    plan = found.plan
    with warehouse.exclusive(f"delivery:{plan.organization_key}:{plan.name}") as is_ours:
        if not is_ours:
            raise BusyError(f"The delivery '{plan.name}' is being sent by somebody else; wait.")
        outcome = _sent(found, is_known=was_delivered(warehouse, plan))
        if not outcome.read_back:
            raise DeliveryError(
                f"What {plan.where} says it has is not what was sent. No receipt was registered;"
                " look there, and send again."
            )
        if not was_delivered(warehouse, plan):
            with warehouse.write("delivery") as transaction:
                deliveries.enter(transaction, _receipt(plan, outcome, clock(), version))
    return outcome


def _sent(found: Ready, *, is_known: bool) -> Outcome:
    try:
        return found.target.send(
            found.packet, found.plan.prepared, found.plan.key, is_known=is_known
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Its words may hold what was answered, and so a person.
        raise DeliveryError(
            f"{found.plan.where} answers in another form than it is published in"
            f" ({type(error).__name__}). No receipt was registered; look there, and look for a"
            " newer sonar-access-pipeline."
        ) from None


def _receipt(plan: Plan, outcome: Outcome, at: datetime, version: str) -> dict[str, Any]:
    return {
        "name": plan.name,
        "kind": plan.kind,
        "target": plan.where,
        "organization_key": plan.organization_key,
        "packet_digest": plan.packet_digest,
        "as_of": plan.as_of,
        "delivery_key": plan.key,
        "accounts": plan.accounts,
        "parts": json.dumps([part.facts() for part in plan.prepared.parts], sort_keys=True),
        "found": outcome.found,
        "remote": json.dumps(dict(outcome.remote), sort_keys=True),
        "delivered_at": at,
        "pipeline_version": version,
    }
