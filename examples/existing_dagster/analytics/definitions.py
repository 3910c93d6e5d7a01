"""By component: everything in `defs/`, the SonarCloud connections among it."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """What the defs folder holds."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
