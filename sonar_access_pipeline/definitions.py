"""The code location: what `dagster dev`, `dg dev` and a Dagster deployment load.

Reads settings, and nothing else.
"""

from __future__ import annotations

from sonar_access_pipeline.orchestration.build import build_location
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import load

defs = build_location(Parts(load()))
