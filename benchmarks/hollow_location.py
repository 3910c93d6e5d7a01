"""The code location of `benchmarks.hollow`, for the settings of the environment."""

from __future__ import annotations

from benchmarks.hollow import hollow
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import load

defs = hollow(Resources(load()))
