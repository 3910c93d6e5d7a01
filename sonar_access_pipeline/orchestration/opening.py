"""Opening reviews with what the settings say now, and sealing those that are acknowledged: for the
daily job and for the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sonar_access_pipeline.access.policy import Series
from sonar_access_pipeline.access.review.deciding import RUNNING, ReviewState
from sonar_access_pipeline.access.review.items import ReviewScope
from sonar_access_pipeline.access.review.rhythm import is_due
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.reviews.opening import Known, Wanted, opening_of
from sonar_access_pipeline.evidence.reviews.packet import build
from sonar_access_pipeline.evidence.seal import Sealing, seal_review
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.roster import people_of
from sonar_access_pipeline.settings import Settings, roster_rows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import packets
from sonar_access_pipeline.warehouse.ledger.policies import policy_at, record_policy
from sonar_access_pipeline.warehouse.reviews.facts import (
    BY_RULE,
    ReviewError,
    open_review,
    reviews,
)


@dataclass
class Done:
    """What was done for the reviews of an organization: those opened and sealed, by number, and the
    series that could not be opened.

    A sentence may name a person, so it is kept out of what Dagster shows.
    """

    opened: list[int] = field(default_factory=list)
    sealed: list[int] = field(default_factory=list)
    not_opened: dict[str, str] = field(default_factory=dict, repr=False)


def known_now(settings: Settings, warehouse: Warehouse, clock: Callable[[], datetime]) -> Known:
    """Read what settings and roster say of reviews now, and put the policy on record.

    Raises `SettingsError`.
    """
    record_policy(warehouse, settings.whole_policy(), clock)
    with warehouse.read() as transaction:
        in_force = policy_at(transaction, clock())
    roster = settings.policy.roster
    rows = roster_rows(roster) if roster else []
    people = people_of(rows, in_force.policy.active_statuses)
    real = (one.organization for one in settings.connections if not one.is_loopback)
    return Known(in_force, people, settings.review.people, frozenset(filter(None, real)))


def keep_going(
    settings: Settings,
    warehouse: Warehouse,
    organization_key: str,
    sealing: Sealing,
    clock: Callable[[], datetime],
) -> Done:
    """Open the series that are due, each of the newest packet, and seal what is acknowledged.

    Raises `EvidenceError` and `WarehouseError` for what is no matter of one review.
    """
    done = Done()
    with warehouse.read() as transaction:
        known = reviews(transaction, organization_key)
    for row in known:
        if row["state"] == ReviewState.ACKNOWLEDGED:
            with warehouse.read() as transaction:
                packet = build(transaction, row["review_id"])
            seal_review(packet, sealing, warehouse, by=BY_RULE)
            done.sealed.append(row["review_id"])
    for series in settings.review.policy().series:
        # A cancelled one is no review.
        ours = [
            row
            for row in known
            if row["series"] == series.name and row["state"] != ReviewState.CANCELLED
        ]
        last_opened = max((row["opened_at"].date() for row in ours), default=None)
        is_running = any(row["state"] in RUNNING for row in ours)
        if is_running or not is_due(series, last_opened, clock().date()):
            continue
        try:
            done.opened.append(
                _opened(settings, warehouse, organization_key, series, sealing, clock)
            )
        except ReviewError as error:
            done.not_opened[series.name] = str(error)
    return done


def _opened(
    settings: Settings,
    warehouse: Warehouse,
    organization_key: str,
    series: Series,
    sealing: Sealing,
    clock: Callable[[], datetime],
) -> int:
    with warehouse.read() as transaction:
        entries = packets.entries(transaction, organization_key)
        keys = packets.keys(transaction)
    if not entries:
        raise ReviewError("No packet was sealed yet, so there is nothing to review.")
    place = entries[-1].location
    path = place.removeprefix(sealing.store.place(""))
    report = verify(sealing.store, path, registered=keys)
    if report.own:
        raise EvidenceError(f"{place} is not what was sealed: {report.own[0]}.")
    due = (clock() + timedelta(days=series.due_days)).date()
    wanted = Wanted(series.name, ReviewScope(series.scope), due, BY_RULE)
    known = known_now(settings, warehouse, clock)
    files = sealing.store.get(path)
    with warehouse.read() as transaction:
        opening = opening_of(transaction, files, place, wanted, known, clock())
    return open_review(warehouse, opening, clock)
