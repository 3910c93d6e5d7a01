"""Packets that are sealed for tests, and the keys that seal them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sonar_access_pipeline.evidence.seal import Sealing
from sonar_access_pipeline.evidence.signers import Signer, signer_of
from sonar_access_pipeline.evidence.stores import FolderStore, Store
from sonar_access_pipeline.evidence.timestamps import Stamp
from sonar_access_pipeline_tests.builders import EPOCH


def signer(folder: Path) -> Signer:
    """The key that a folder has, made when it has none."""
    return signer_of(None, folder)


def sealing(
    root: Path,
    *,
    store: Store | None = None,
    signed_by: Signer | None = None,
    stamp: Stamp | None = None,
    clock: Callable[[], datetime] = lambda: EPOCH,
) -> Sealing:
    """What seals into a folder, with a key beside it."""
    return Sealing(store or FolderStore(root), signed_by or signer(root.parent / f"{root.name}-key"), clock, stamp)
