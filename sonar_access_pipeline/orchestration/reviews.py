"""The assets of a connection's reviews: `reviews` opens what is due and shows how far all of them
are, `review_packet` seals what is acknowledged; in numbers that name nobody.

They have no partitions: a review is of one packet, and its state is of now. Their checks warn and
never stop anything: a late review must not stop a snapshot.

Annotations are not postponed in this file: Dagster reads that of `context` itself.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from sonar_access_pipeline.access.review.deciding import OVER, RUNNING, ReviewState
from sonar_access_pipeline.access.review.facts import is_same
from sonar_access_pipeline.access.review.follow_up import FollowUpState
from sonar_access_pipeline.orchestration.failures import working
from sonar_access_pipeline.orchestration.metadata import column_schema, table_of
from sonar_access_pipeline.orchestration.opening import Done, keep_going
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection
from sonar_access_pipeline.warehouse.database import Transaction
from sonar_access_pipeline.warehouse.reviews import facts
from sonar_access_pipeline.warehouse.schema_reviews import review_event
from sonar_access_pipeline.warehouse.views import review_status

CHECKS = {
    "in_time": "No review is overdue, and every series that is due was opened.",
    "complete": "No review was closed incomplete.",
    "independent": "No review that is signed has its owner as its only reviewer.",
    "followed_up": "Nothing that was to be removed is late, came back, or cannot be seen any more.",
}
SHOWN = (
    "review_id",
    "series",
    "scope",
    "due",
    "items",
    "undecided",
    "reviewers",
    "signed",
    "state",
)
BAD = frozenset(FollowUpState) - {FollowUpState.OPEN, FollowUpState.DONE}
"""States of a follow-up that somebody must look at."""
Rows = Sequence[dict[str, Any]]


def reviews_asset(connection: Connection, resources: Resources) -> dg.AssetsDefinition:
    """Build the assets of a connection, keys `[connection, reviews]` and `[connection,
    review_packet]`.
    """
    key = dg.AssetKey([connection.name, "reviews"])
    packet_key = dg.AssetKey([connection.name, "review_packet"])

    @dg.multi_asset(
        name=f"{connection.name}_review",
        specs=[
            dg.AssetSpec(
                key,
                description=(
                    "Reviews of access: those that are due are opened of the newest packet."
                    " `sonar-access review list` and `review show` have the rest."
                ),
                group_name="reviews",
                owners=list(resources.settings.owners),
                kinds={"sql"},
                deps=[dg.AssetKey([connection.name, "evidence_packet"])],
                metadata={
                    "dagster/table_name": review_status.name,
                    "dagster/column_schema": column_schema(review_status),
                },
            ),
            dg.AssetSpec(
                packet_key,
                description=(
                    "Packets of reviews: each that its owner acknowledged is sealed, beside the"
                    " packets of access. `sonar-access evidence verify` checks it."
                ),
                group_name="reviews",
                owners=list(resources.settings.owners),
                kinds={"csv"},
                deps=[key],
                metadata={
                    "dagster/table_name": review_event.name,
                    "dagster/column_schema": column_schema(review_event),
                },
            ),
        ],
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=meaning)
            for name, meaning in CHECKS.items()
        ],
    )
    def reviews(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        organization_key = connection.organization_key()
        with working(context), resources.warehouse() as warehouse:
            done = keep_going(
                resources.settings,
                warehouse,
                organization_key,
                resources.sealing(),
                resources.clock,
            )
            with warehouse.read() as transaction:
                rows = facts.reviews(transaction, organization_key)
                demands = facts.follow_ups(transaction, organization_key)
                lonely = [row["review_id"] for row in rows if _is_lonely(transaction, row)]
        today = resources.clock().date()
        faults = _faults(rows, demands, lonely, done, today)
        for name, found in faults.items():
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=name,
                passed=not found,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"faults": table_of([{"fault": fault} for fault in found], ("fault",))},
            )
        running = [row for row in rows if row["state"] not in OVER]
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "opened": len(done.opened),
                "running": len(running),
                "undecided": sum(row["undecided"] for row in running),
                "follow_ups": dict(sorted(Counter(row["state"] for row in demands).items())),
                "reviews": table_of([{n: str(row[n]) for n in SHOWN} for row in rows], SHOWN),
            },
        )
        yield dg.MaterializeResult(
            asset_key=packet_key,
            metadata={
                "sealed_now": len(done.sealed),
                "sealed": sum(row["state"] == ReviewState.SEALED for row in rows),
            },
        )

    return reviews


def _is_lonely(transaction: Transaction, row: Mapping[str, Any]) -> bool:
    """Tell whether a review waits for its owner, who is its only reviewer."""
    if row["state"] != ReviewState.SIGNED or row["reviewers"] != 1:
        return False
    found = facts.load(transaction, row["review_id"])
    return all(is_same(one, found.about.owner or "") for one in found.items_of)


def _faults(
    rows: Rows, demands: Rows, lonely: Sequence[int], done: Done, today: date
) -> dict[str, list[str]]:
    """Say what each check finds, by numbers of reviews and items: no person is named."""
    late = [row for row in rows if row["state"] in RUNNING and row["due"] < today]
    return {
        "in_time": [
            *(f"review {row['review_id']} was due on {row['due']}" for row in late),
            *(
                f"series {name} is due and cannot be opened; `sonar-access review open` says why"
                for name in sorted(done.not_opened)
            ),
        ],
        "complete": [
            f"review {row['review_id']} was closed incomplete; undecided: {row['undecided']}"
            for row in rows
            if row["state"] == ReviewState.CLOSED_INCOMPLETE
        ],
        "independent": [
            f"the only reviewer of review {number} is its owner, who cannot acknowledge it"
            for number in lonely
        ],
        "followed_up": [
            f"item {row['item_no']} of review {row['review_id']} is {row['state']}"
            for row in demands
            if row["state"] in BAD
        ],
    }
