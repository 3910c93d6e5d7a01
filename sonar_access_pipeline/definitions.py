"""The code location: what `dagster dev`, `dg dev` and a Dagster deployment load.

Reads settings, and nothing else.
"""

from __future__ import annotations

from sonar_access_pipeline.orchestration.build import build_location
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import load

defs = build_location(Resources(load()))
