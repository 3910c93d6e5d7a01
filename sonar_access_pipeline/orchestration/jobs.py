"""The jobs of one connection: the day, and what can be made again for past days.

Jobs for past days leave raw out.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from sonar_access_pipeline.orchestration.checks import recorded_key
from sonar_access_pipeline.orchestration.unpublished import AssetJob
from sonar_access_pipeline.settings import Connection

CONNECTION_TAG = "sonar_access/connection"
"""The tag of every run of these jobs: the name of the connection."""


@dataclass(frozen=True)
class Jobs:
    """`daily`: raw, history and the day's packet.

    `history`, `evidence`: for any past day or range. `verify`: weekly.
    """

    daily: AssetJob
    history: AssetJob
    evidence: AssetJob
    verify: AssetJob

    def all(self) -> list[AssetJob]:
        """List every job."""
        return [self.daily, self.history, self.evidence, self.verify]


def daily_job_name(connection: Connection) -> str:
    """Return the name of the job that observes today."""
    return f"{connection.name}_daily"


def history_job_name(connection: Connection) -> str:
    """Return the name of the job that derives history of past days."""
    return f"{connection.name}_history"


def evidence_job_name(connection: Connection) -> str:
    """Return the name of the job that seals the packet of a window."""
    return f"{connection.name}_evidence"


def jobs_of(connection: Connection) -> Jobs:
    """Build the jobs of a connection.

    Steps run in one process: for a graph of this size that is five times faster.
    """
    verify = dg.AssetSelection.checks(recorded_key(connection))
    everything = dg.AssetSelection.key_prefixes(connection.name) - verify

    def job(name: str, selection: dg.AssetSelection, description: str) -> AssetJob:
        return dg.define_asset_job(
            name,
            selection,
            description=description,
            executor_def=dg.in_process_executor,
            tags={CONNECTION_TAG: connection.name},
        )

    return Jobs(
        daily=job(
            daily_job_name(connection),
            everything,
            "Observe today, derive history, seal the day's packet.",
        ),
        history=job(
            history_job_name(connection),
            everything & dg.AssetSelection.groups("access"),
            "Derive history from stored snapshots, for any past day or range; days without one stay"
            " gaps.",
        ),
        evidence=job(
            evidence_job_name(connection),
            everything & dg.AssetSelection.groups("evidence"),
            "Seal the packet of any past day; a range of days is one window and one packet.",
        ),
        verify=job(
            f"{connection.name}_verify",
            verify,
            "Compare what is stored with its digests, and history with what the snapshots give.",
        ),
    )
