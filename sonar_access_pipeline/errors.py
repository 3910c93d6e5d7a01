"""List what each of our errors means: how a command ends, why a try to sync failed, whether trying
again can help.

One table, which the command line, the steps of a run, the record of a try and the watch read. Add
here: an error, above the one that it is a kind of. The errors themselves stand in the rooms that
raise them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.deliveries.errors import BusyError, DeliveryError
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.published.parquet import NoParquetError, PublishError
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.sonarcloud.errors import SourceError, TokenRefusedError, UnavailableError
from sonar_access_pipeline.warehouse.errors import (
    NothingObservedError,
    OutOfOrderError,
    SourceMismatchError,
    WarehouseError,
    WarehouseUrlError,
)

FAILED = 1
WRONG_USE = 2
UNREADABLE = 3
AROUND = 4
"""Exit statuses: a finding or a failed check; wrong use; what was asked cannot be read now; a
packet is fine, its line is not.
"""


@dataclass(frozen=True)
class Fact:
    """The meaning of an error.

    `kind` stands in the metadata of a step that failed; `may_pass`: trying again can help.
    """

    error: type[Exception]
    kind: str
    status: int
    cause: Cause
    may_pass: bool


FACTS = (
    Fact(TokenRefusedError, "source", UNREADABLE, Cause.TOKEN_REFUSED, may_pass=False),
    Fact(UnavailableError, "source", UNREADABLE, Cause.UNAVAILABLE, may_pass=True),
    Fact(SourceError, "source", UNREADABLE, Cause.REFUSED, may_pass=False),
    # Another source, or a clock that went back: a person must see to it.
    Fact(SourceMismatchError, "warehouse", FAILED, Cause.REFUSED, may_pass=False),
    Fact(OutOfOrderError, "warehouse", FAILED, Cause.REFUSED, may_pass=False),
    Fact(NothingObservedError, "warehouse", FAILED, Cause.WAREHOUSE, may_pass=False),
    Fact(WarehouseUrlError, "warehouse", WRONG_USE, Cause.WAREHOUSE, may_pass=True),
    Fact(WarehouseError, "warehouse", FAILED, Cause.WAREHOUSE, may_pass=True),
    Fact(UnreadableError, "evidence", UNREADABLE, Cause.UNEXPECTED, may_pass=True),
    Fact(EvidenceError, "evidence", FAILED, Cause.UNEXPECTED, may_pass=True),
    Fact(NoParquetError, "published", FAILED, Cause.UNEXPECTED, may_pass=False),
    Fact(PublishError, "published", FAILED, Cause.UNEXPECTED, may_pass=True),
    Fact(BusyError, "delivery", UNREADABLE, Cause.UNEXPECTED, may_pass=True),
    Fact(DeliveryError, "delivery", FAILED, Cause.UNEXPECTED, may_pass=False),
    Fact(SettingsError, "settings", WRONG_USE, Cause.SETTINGS, may_pass=False),
)
EXPECTED = (SourceError, WarehouseError, EvidenceError, PublishError, DeliveryError, SettingsError)
"""Errors that end with their sentence alone; every other one is ours to mend."""
STATUS_OF_KIND: Mapping[str, int] = {fact.kind: fact.status for fact in FACTS}
"""Exit status by the kind of failure of the run that it started: that of the last of its kind
above.
"""
CAUSE_OF_KIND: Mapping[str, Cause] = {
    fact.kind: fact.cause for fact in FACTS if fact.error in (SettingsError, WarehouseError)
}
"""Why a step failed before its try was noted, by the kind of its failure."""


def fact_of(error: Exception) -> Fact:
    """Find what an error of the `EXPECTED` means."""
    return next(fact for fact in FACTS if isinstance(error, fact.error))
