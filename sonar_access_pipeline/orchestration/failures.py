"""Around the work of every step: its process is noted, and our errors become Dagster's, with whether trying again can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.orchestration import processes
from sonar_access_pipeline.settings import SettingsError
from sonar_access_pipeline.sonarcloud.errors import SourceError, UnavailableError
from sonar_access_pipeline.warehouse.errors import NothingObservedError, OutOfOrderError, SourceMismatchError, WarehouseError

KIND = "kind"
KINDS = {"settings": SettingsError, "source": SourceError, "warehouse": WarehouseError, "evidence": EvidenceError}
"""What a failure was about, in its metadata: the command line's exit status follows from it."""
PERMANENT = (SettingsError, NothingObservedError, SourceMismatchError, OutOfOrderError)


@contextmanager
def working(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Iterator[None]:
    """Note in which process a step works, and turn an expected error into a `dagster.Failure` with its sentence alone."""
    processes.note(context.instance, context.run.run_id)
    try:
        yield
    except (SettingsError, SourceError, WarehouseError, EvidenceError) as error:
        kind = next(kind for kind, classes in KINDS.items() if isinstance(error, classes))
        permanent = isinstance(error, PERMANENT) or (isinstance(error, SourceError) and not isinstance(error, UnavailableError))
        raise dg.Failure(str(error), metadata={KIND: kind}, allow_retries=not permanent) from None
