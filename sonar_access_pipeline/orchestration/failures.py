"""From our errors to Dagster's: one sentence, and whether trying again can help. A traceback is for our mistakes only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.settings import SettingsError
from sonar_access_pipeline.sonarcloud.errors import SourceError, UnavailableError
from sonar_access_pipeline.warehouse.errors import NothingObservedError, OutOfOrderError, SourceMismatchError, WarehouseError

KIND = "kind"
KINDS = {"settings": SettingsError, "source": SourceError, "warehouse": WarehouseError, "evidence": EvidenceError}
"""What a failure was about, in its metadata: the command line's exit status follows from it."""
PERMANENT = (SettingsError, NothingObservedError, SourceMismatchError, OutOfOrderError)


@contextmanager
def as_failures() -> Iterator[None]:
    """Turn an expected error into a `dagster.Failure` that carries its sentence and nothing else."""
    try:
        yield
    except (SettingsError, SourceError, WarehouseError, EvidenceError) as error:
        kind = next(kind for kind, classes in KINDS.items() if isinstance(error, classes))
        permanent = isinstance(error, PERMANENT) or (isinstance(error, SourceError) and not isinstance(error, UnavailableError))
        raise dg.Failure(str(error), metadata={KIND: kind}, allow_retries=not permanent) from None
