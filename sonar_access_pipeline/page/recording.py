"""Who saw and did what, on record: what was done is written before it is answered; what was only
seen is written a moment later, so that no reader waits for whoever writes.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence

from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.reviews import visitors
from sonar_access_pipeline.warehouse.reviews.visitors import Visit

LOG = logging.getLogger("sonar_access_pipeline.page")
MOST = 10_000
"""Visits that wait to be written: more than a minute of everybody's reading."""
AT_ONCE = 500


class Record:
    """Writes visits, by a thread of its own where nobody waits for it."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._waiting: queue.Queue[Visit | None] = queue.Queue(MOST)
        self._thread = threading.Thread(target=self._write_on, name="page-record", daemon=True)
        self._thread.start()

    def keep(self, visit: Visit, *, at_once: bool) -> None:
        """Keep a visit; `at_once` before this returns."""
        if at_once:
            self._written([visit])
            return
        try:
            self._waiting.put_nowait(visit)
        except queue.Full:
            self._written([visit])

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join(30)

    def _write_on(self) -> None:
        while (visit := self._waiting.get()) is not None:
            visits = [visit]
            is_over = False
            while len(visits) < AT_ONCE and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    is_over = True
                    break
                visits.append(more)
            self._written(visits)
            if is_over:
                return

    def _written(self, visits: Sequence[Visit]) -> None:
        """Write visits. A warehouse that refuses is told of: what was done stands all the same."""
        try:
            with self._warehouse.write("page-events") as transaction:
                visitors.note(transaction, visits)
        except WarehouseError:
            LOG.exception("%d visits of the page are not on record", len(visits))
