"""Around the work of every step: its process is noted, and our errors become Dagster's, with
whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sonar_access_pipeline.errors import EXPECTED, fact_of
from sonar_access_pipeline.orchestration import processes

KIND = "kind"
"""What a failure was about, in its metadata: the command line's exit status follows from it."""


@contextmanager
def working(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Iterator[None]:
    """Note in which process a step works, and turn an expected error into a `dagster.Failure` with
    its sentence alone.
    """
    processes.note(context.instance, context.run.run_id)
    try:
        yield
    except EXPECTED as error:
        fact = fact_of(error)
        raise dg.Failure(
            str(error), metadata={KIND: fact.kind}, allow_retries=fact.may_pass
        ) from None
