"""Running a job here and now, in this process, on the persistent Dagster instance: what `sync` and the demo do.

The same job that the schedule runs; afterwards the run, its checks and its metadata are in Dagster's UI.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.failures import KIND
from sonar_access_pipeline.orchestration.jobs import daily_job_name, evidence_job_name
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.private import private_folder
from sonar_access_pipeline.settings import Connection, Settings, SettingsError
from sonar_access_pipeline.warehouse.schema import evidence_packet

WORKSPACE = Path(__file__).with_name("workspace.yaml")
"""The one code location, under the name that it has everywhere."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the sentence and the kind of error of the step that failed, both empty after success.

    `packet` is where the packet lies that it sealed, or found sealed before; None where it came to none.
    """

    run_id: str
    success: bool
    sentence: str
    kind: str
    packet: str | None = None


def dagster_home(settings: Settings) -> Path:
    """The folder of Dagster's instance: DAGSTER_HOME, else one in the data folder, made with our settings when first used."""
    if named := os.environ.get("DAGSTER_HOME"):
        return Path(named)
    home = settings.data_dir / "dagster_home"
    try:
        private_folder(home)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(Path(__file__).with_name("dagster.yaml").read_text())
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.data_dir} cannot be written: {error.strerror}; set SONAR_ACCESS_DATA_DIR."
        ) from None
    return home


class Launcher:
    """Runs jobs of one set of parts on one instance. Use as a context manager."""

    def __init__(self, parts: Parts) -> None:
        self._definitions = build_definitions(parts)
        self._instance = dg.DagsterInstance.from_config(str(dagster_home(parts.settings)))

    def __enter__(self) -> Launcher:
        self._instance.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._instance.dispose()

    def sync(self, connection: Connection, day: str) -> Outcome:
        """Today's partition, all layers."""
        return self._run(connection, daily_job_name(connection), partition_key=day)

    def evidence(self, connection: Connection, window: Window) -> Outcome:
        """The packet of a window."""
        tags = {ASSET_PARTITION_RANGE_START_TAG: str(window.first), ASSET_PARTITION_RANGE_END_TAG: str(window.last)}
        return self._run(connection, evidence_job_name(connection), tags=tags)

    def _run(
        self, connection: Connection, job: str, *, partition_key: str | None = None, tags: dict[str, str] | None = None
    ) -> Outcome:
        packet_key = dg.AssetKey([connection.name, evidence_packet.name])
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance, partition_key=partition_key, tags=tags, run_config=QUIET, raise_on_error=False
        )
        for event in result.filter_events(lambda event: event.is_step_failure):
            failure = event.step_failure_data.user_failure_data
            if failure is not None:
                kind = failure.metadata.get(KIND)
                return Outcome(result.run_id, False, failure.description or "", str(kind.value) if kind else "")
            error = event.step_failure_data.error
            return Outcome(result.run_id, False, error.to_string() if error else "unknown", "")
        sealed = [event for event in result.get_asset_materialization_events() if event.asset_key == packet_key]
        folders = [event.materialization.metadata["folder"].value for event in sealed]
        return Outcome(result.run_id, result.success, "", "", str(folders[-1]) if folders else None)
