"""A small organization that is observed, sealed and reviewed, day by day, on either database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sonar_access_pipeline.access.policy import Policy, PolicyInForce, ReviewPolicy
from sonar_access_pipeline.access.review.deciding import (
    Proposed,
    Review,
    acknowledging_refusal,
    signing_refusal,
)
from sonar_access_pipeline.access.review.facts import Choice, Part
from sonar_access_pipeline.access.review.items import ReviewScope
from sonar_access_pipeline.access.review.people import Person
from sonar_access_pipeline.access.review.statements import TEXT_VERSION
from sonar_access_pipeline.access.snapshot import Scope, Snapshot, SourceKind, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.reviews.opening import Known, Wanted, opening_of
from sonar_access_pipeline.evidence.seal import seal
from sonar_access_pipeline.evidence.signers import REVIEWS, signer_of
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.reviews.facts import (
    Signature,
    Way,
    decide,
    follow_ups,
    load,
    open_review,
    reviews,
    sign,
)
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.sealed import sealing

OWNER, FALLBACK = "owner@example.com", "fallback@example.com"
SCOPES = (Scope.CORE, Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS)
ADA, BOB, CLEO = "ada", "bob", "cleo"
USUAL = World(
    members={ADA: "Ada", BOB: "Bob", CLEO: "Cleo"},
    groups={"1": "Members", "2": "Owners"},
    group_members={"1": [ADA, BOB, CLEO], "2": [ADA]},
    user_permissions={BOB: ["gateadmin"]},
    group_permissions={"2": ["admin"]},
    emails={ADA: "ada@example.com", BOB: "bob@example.com", CLEO: "cleo@example.com"},
    projects={"web": "Web"},
)

WITHOUT_GATE = replace(USUAL, user_permissions={})
"""Nobody has a privilege but through a group."""


class Reviewed:
    """A warehouse whose days are lived one by one, and whose packets are reviewed."""

    def __init__(
        self,
        warehouse: Warehouse,
        folder: Path,
        key: str = "acme",
        source_kind: SourceKind = SourceKind.SIMULATED,
    ) -> None:
        self.warehouse = warehouse
        self.source_kind = source_kind
        self.key = key
        self.now = EPOCH
        self.sealing = sealing(folder / "evidence", clock=lambda: self.now)
        self.policy = Policy(review=ReviewPolicy(owner=OWNER, fallback=FALLBACK))

    def clock(self) -> datetime:
        return self.now

    def live(
        self,
        day: float,
        world: World = USUAL,
        *,
        scopes: tuple[Scope, ...] = SCOPES,
        verdict: Verdict = Verdict.COMPLETE,
    ) -> Snapshot:
        """Observe a day; some hours later it is `now`."""
        at = EPOCH + timedelta(days=day)
        snapshot = snapshot_of(
            world,
            at,
            key=self.key,
            scopes=scopes,
            verdict=verdict,
            source_kind=self.source_kind,
        )
        record(self.warehouse, snapshot, lambda: at)
        derive(self.warehouse, self.key)
        self.now = at + timedelta(hours=3)
        return snapshot

    def packet(self, day: int, *, for_people: bool = False) -> Mapping[str, bytes]:
        """Seal the packet of a day, and give its files."""
        date = (EPOCH + timedelta(days=day)).date()
        place = seal(
            build(self.warehouse, self.key, Window(date, date), for_people=for_people),
            self.sealing,
            self.warehouse,
            run_id="run",
        ).place
        return {file.name: file.read_bytes() for file in Path(place).iterdir()}

    def open(
        self,
        files: Mapping[str, bytes],
        *,
        series: str = "quarterly",
        scope: ReviewScope = ReviewScope.EVERYBODY,
        people: Sequence[Person] = (),
        linked: Mapping[str, Sequence[str]] | None = None,
        real: Collection[str] = (),
        **policy: Any,
    ) -> int:
        """Open a review of a packet, due in two weeks."""
        wanted = Wanted(series, scope, (self.now + timedelta(days=14)).date(), OWNER)
        in_force = PolicyInForce(0, replace(self.policy, **policy))
        known = Known(in_force, people, linked or {}, frozenset(real))
        with self.warehouse.read() as transaction:
            opening = opening_of(transaction, files, "place", wanted, known, self.now)
        return open_review(self.warehouse, opening, self.clock)

    def review(self, review_id: int = 1) -> Review:
        """Read a review with all its facts."""
        with self.warehouse.read() as transaction:
            return load(transaction, review_id)

    def number(self, kind: str, subject: str, right: str = "", review_id: int = 1) -> int:
        """Give the number of an item."""
        return next(
            number
            for number, one in self.review(review_id).asked.items()
            if (one.item.kind.value, one.item.subject, one.item.right) == (kind, subject, right)
        )

    def decide(
        self,
        number: int,
        choice: str,
        reason: str = "because",
        *,
        by: str | None = None,
        remove: Sequence[str] = (),
        review_id: int = 1,
        seen: Mapping[int, int] | None = None,
    ) -> None:
        """Decide an item as whoever is to decide it."""
        now = self.review(review_id)
        known = {one: found.decision_id for one, found in now.decided.items()}
        proposed = Proposed(
            number, Choice(choice), by or now.reviewers[number].reviewer, tuple(remove), reason
        )
        decide(
            self.warehouse,
            review_id,
            [proposed],
            known if seen is None else seen,
            self.policy.review,
            self.clock,
            Way(),
        )

    def keep_the_rest(self, review_id: int = 1) -> None:
        """Keep whatever nobody has decided."""
        for one in self.review(review_id).undecided:
            self.decide(one.item_no, "keep", review_id=review_id)

    def sign(self, person: str, review_id: int = 1, *, key: Path | None = None) -> None:
        """Sign as a reviewer, with a key or without."""
        statement = self.review(review_id).statement_of(person)
        signer = signer_of(str(key), key.parent) if key else None
        sign(
            self.warehouse,
            review_id,
            Part.REVIEWER,
            person,
            TEXT_VERSION,
            statement,
            Signature(signer.sign(statement, REVIEWS), signer.key.fingerprint) if signer else None,
            lambda now: signing_refusal(now, person),
            self.clock,
        )

    def acknowledge(self, person: str = OWNER, review_id: int = 1) -> None:
        """Acknowledge as the owner."""
        sign(
            self.warehouse,
            review_id,
            Part.OWNER,
            person,
            TEXT_VERSION,
            self.review(review_id).acknowledgement,
            None,
            lambda now: acknowledging_refusal(now, person),
            self.clock,
        )

    def sign_all(self, review_id: int = 1) -> None:
        """Have every reviewer sign."""
        for person in self.review(review_id).unsigned:
            self.sign(person, review_id)

    def follow_up(self, number: int, review_id: int = 1) -> str:
        """Give the state of what a decision demands."""
        with self.warehouse.read() as transaction:
            found = follow_ups(transaction, review_id=review_id)
        return str(next(row["state"] for row in found if row["item_no"] == number))

    def states(self, review_id: int = 1) -> str:
        """Give the state of a review as the view has it."""
        with self.warehouse.read() as transaction:
            found = reviews(transaction)
        return str(next(row["state"] for row in found if row["review_id"] == review_id))


def without(world: World, **changes: Any) -> World:
    """Give a world in which something is otherwise."""
    return replace(world, **changes)


def done(here: Reviewed, key: Path | None = None) -> None:
    """Have a review of the first day decided, signed and acknowledged; by one with a key."""
    here.live(0)
    here.open(here.packet(0))
    here.decide(here.number("privilege", BOB, "gateadmin"), "revoke", "not needed")
    here.decide(here.number("account", CLEO), "revoke", "left")
    here.decide(here.number("account", CLEO), "keep", "is back")
    here.keep_the_rest()
    for person in here.review().unsigned:
        here.sign(person, key=key if person == FALLBACK else None)
    here.acknowledge()
