"""The same answers as DataFrames, for notebooks.

Times are timezone-aware UTC; unknown is missing.

Apart from `queries.py`, because loading pandas costs more than a daily sync's own work.
"""

from __future__ import annotations

from datetime import date, datetime

import pandas as pd

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.warehouse.ask import proof, queries
from sonar_access_pipeline.warehouse.database import Warehouse


def access(warehouse: Warehouse, organization_key: str, as_of: datetime | date) -> pd.DataFrame:
    """Tell who had access at `as_of`, a moment or a day's end: columns of `queries.access_at`, and
    which observation answers.
    """
    with warehouse.read() as transaction:
        answering = queries.observation_at(transaction, organization_key, as_of)
        rows = queries.access_at(transaction, answering)
    frame = pd.DataFrame(rows, columns=list(queries.ACCESS))
    return frame.assign(as_of=answering.observed_at, source_kind=answering.source_kind.value)


def changes(warehouse: Warehouse, organization_key: str, window: Window) -> pd.DataFrame:
    """List what changed in a window of days, as a packet of it says.

    Columns: `queries.CHANGES`; order of `proof.changes`.

    `attrs` say why nobody knows (`no_comparison`), of which parts (`unknown_parts`), and what may
    be older (`reaches_back`). Raises `NothingObservedError`.
    """
    with warehouse.read() as transaction:
        rests_on = queries.window_observations(transaction, organization_key, window)
        rows = proof.changes(transaction, rests_on)
    frame = pd.DataFrame(rows, columns=list(queries.CHANGES))
    frame.attrs = {
        "no_comparison": rests_on.no_comparison,
        "unknown_parts": rests_on.unknown_parts,
        "reaches_back": rests_on.reaches_back,
    }
    return frame
