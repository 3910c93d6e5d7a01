"""Python's garbage collector, kept away from work that makes no garbage it could find."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector, where hundreds of thousands of small values are made and none of them
    in a cycle.

    It would look at all of them, and at all that was imported, again and again: up to a third of
    the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
