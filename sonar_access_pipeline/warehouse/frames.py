"""The same answers as DataFrames, for notebooks and for the command line. Times are timezone-aware UTC; unknown is missing.

Kept apart from `queries.py` because loading pandas costs more than a daily sync's own work.
"""

from __future__ import annotations

from datetime import date, datetime

import pandas as pd

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse import queries
from sonar_access_pipeline.warehouse.database import Warehouse


def access(warehouse: Warehouse, organization_key: str, as_of: datetime) -> pd.DataFrame:
    """Who had access at `as_of`: the columns of `queries.access_at`, and the observation that answers."""
    with warehouse.read() as transaction:
        answering = queries.observation_at(transaction, organization_key, as_of)
        rows = queries.access_at(transaction, answering)
    frame = pd.DataFrame(rows, columns=list(queries.ACCESS))
    return frame.assign(as_of=answering.observed_at, source_kind=answering.source_kind.value)


def changes(warehouse: Warehouse, organization_key: str, window: Window) -> pd.DataFrame:
    """What changed in a window of days: the columns of `queries.changes_between`. Raises `NothingObservedError`."""
    with warehouse.read() as transaction:
        rests_on = queries.window_observations(transaction, organization_key, window)
        rows = queries.changes_between(transaction, organization_key, rests_on.after, rests_on.as_of.observed_at)
    return pd.DataFrame(rows, columns=list(queries.CHANGES))


def coverage(warehouse: Warehouse, organization_key: str, first: date, last: date) -> pd.DataFrame:
    """Which days were observed: the columns of `queries.coverage`."""
    with warehouse.read() as transaction:
        return pd.DataFrame(queries.coverage(transaction, organization_key, first, last), columns=list(queries.COVERAGE))


def snapshots(warehouse: Warehouse, organization_key: str) -> pd.DataFrame:
    """Every snapshot: the columns of `queries.snapshots`."""
    with warehouse.read() as transaction:
        return pd.DataFrame(queries.snapshots(transaction, organization_key))


def packets(warehouse: Warehouse, organization_key: str) -> pd.DataFrame:
    """Every packet sealed: the columns of `queries.packets`."""
    with warehouse.read() as transaction:
        return pd.DataFrame(queries.packets(transaction, organization_key), columns=PACKETS)


PACKETS = ["packet_id", "first_day", "last_day", "digest", "previous_digest", "source_kind", "location", "sealed_at"]
