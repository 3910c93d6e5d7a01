"""The definitions as they are, but that the sensors look every five seconds: for a deployment that
lives its life in minutes.
"""

from __future__ import annotations

from sonar_access_pipeline.orchestration import sensors

sensors.SECONDS = 5

from sonar_access_pipeline.definitions import defs  # noqa: E402

__all__ = ["defs"]
