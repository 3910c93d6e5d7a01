"""Running a job here and now, in this process, on the persistent Dagster instance: what `sync` and
the demo do.

The same job that the schedule runs; afterwards the run, its checks and its metadata are in
Dagster's UI.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import dagster as dg
import yaml
from dagster_postgres import PostgresRunStorage
from dagster_postgres.utils import DagsterPostgresException
from filelock import FileLock, Timeout

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.failures import KIND
from sonar_access_pipeline.orchestration.jobs import daily_job_name, evidence_job_name
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.orchestration.unpublished import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    ConfigurableClassData,
    InstanceRef,
)
from sonar_access_pipeline.private import private_folder
from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.schema import evidence_packet

WORKSPACE = Path(__file__).with_name("workspace.yaml")
"""The one code location, under the name that it has everywhere."""
MAKING_SECONDS = 120.0
"""How long another process may make Dagster's instance: some seconds, on a slow disk more."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the sentence and the kind of error of the step that failed, both empty after
    success.

    `packet` is where the packet lies that it sealed, or found sealed before; None where it came to
    none.
    """

    run_id: str
    success: bool
    sentence: str
    kind: str
    packet: str | None = None


def require_home(settings: Settings) -> Path:
    """Find the folder of Dagster's instance: DAGSTER_HOME, else one in the data folder.

    Raises `SettingsError` where it cannot be used.
    """
    if named := os.environ.get("DAGSTER_HOME"):
        if not Path(named).is_absolute() or not Path(named).is_dir():
            raise SettingsError(
                f"DAGSTER_HOME is {named}; set it to a folder that is there, as a path from the"
                " root."
            )
        return Path(named)
    folder = settings.data_dir
    above = next(one for one in (folder, *folder.parents) if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise SettingsError(
            f"The data folder {folder} cannot be written; set SONAR_ACCESS_DATA_DIR."
        )
    return folder / "dagster_home"


def dagster_home(settings: Settings) -> Path:
    """Return the folder of Dagster's instance; make it with our settings when it is first used and
    nobody named one.
    """
    home = require_home(settings)
    if os.environ.get("DAGSTER_HOME"):
        return home
    try:
        private_folder(home)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").write_text(Path(__file__).with_name("dagster.yaml").read_text())
    except OSError as error:
        raise SettingsError(
            f"The data folder {settings.data_dir} cannot be written: {error.strerror}; set"
            " SONAR_ACCESS_DATA_DIR."
        ) from None
    return home


def require_storage(home: Path) -> None:
    """Open what Dagster's instance in a folder is kept in, as far as it is there: nothing is made.

    Raises `SettingsError`.
    """
    with _in_words(home):
        if (data := _on_postgresql(home)) is not None:
            asking = {**data.config_dict, "should_autocreate_tables": False}
            with (
                data._replace(config_yaml=yaml.safe_dump(asking))
                .rehydrate(as_type=PostgresRunStorage)
                .connect()
            ):
                return
        # What a folder says of its rights is not what it allows: a file system may be read-only, or
        # none that keeps files.
        with TemporaryFile(dir=next(one for one in (home, *home.parents) if one.exists())):
            pass
        if (home / "history").is_dir():
            with dg.DagsterInstance.from_config(str(home)) as instance:
                _open_storages(instance)


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open Dagster's instance, made by one process while others wait: its own way of SQLite breaks
    where two do it at once.
    """
    with _in_words(home):
        if _on_postgresql(home) is not None:
            return _open_storages(dg.DagsterInstance.from_config(str(home)))
        # A lock waits where nothing can be made: that is said at once.
        with TemporaryFile(dir=home):
            pass
        with FileLock(home / ".being-made.lock", timeout=MAKING_SECONDS, mode=0o600):
            return _open_storages(dg.DagsterInstance.from_config(str(home)))


def _on_postgresql(home: Path) -> ConfigurableClassData | None:
    """Give what says where the storage in PostgreSQL is; None where it is none, and the folder
    holds it.
    """
    data = InstanceRef.from_dir(str(home)).run_storage_data if home.is_dir() else None
    return data if data is not None and data.class_name == PostgresRunStorage.__name__ else None


def _open_storages(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Have an instance open its storages, which it makes when they are first asked for."""
    _ = instance.run_storage, instance.event_log_storage, instance.schedule_storage
    return instance


@contextmanager
def _in_words(home: Path) -> Iterator[None]:
    """Raise `SettingsError` for whatever keeps Dagster's instance from being opened.

    The library's own warnings are not said.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except Timeout:
        raise SettingsError(
            f"Another process has been making Dagster's instance in {home} for {MAKING_SECONDS:.0f}"
            " s; look what it does. If there is none, remove .being-made.lock there."
        ) from None
    except (OSError, NotImplementedError) as error:
        why = error.strerror if isinstance(error, OSError) else "it knows no locks"
        raise SettingsError(
            f"Dagster's instance cannot be kept in {home}: {why}; set DAGSTER_HOME, or"
            " SONAR_ACCESS_DATA_DIR, to a folder of this machine that can be written."
        ) from None
    except dg.DagsterError as error:
        unset = re.search(r'environment variable "(\w+)"', str(error))
        why = (
            f"it names the variable {unset[1]}, which is not set"
            if unset
            else f"Dagster refuses it ({type(error).__name__})"
        )
        raise SettingsError(f"{home}/dagster.yaml cannot be used: {why}.") from None
    except DagsterPostgresException:
        raise SettingsError(
            f"The database that {home}/dagster.yaml names for Dagster's own storage does not answer"
            " or lets nobody in; look whether it runs, and check its address, user and password"
            " there."
        ) from None
    except Exception as error:  # noqa: BLE001  # of Dagster, its storage and Alembic, each of its own kind
        raise SettingsError(
            f"Dagster's instance in {home} cannot be opened ({type(error).__name__}). If its"
            " settings (dagster.yaml) are right, it was left half-made: move its folder away, and"
            " a new one is made. The runs in Dagster's UI go with it; what was observed lies in"
            " the warehouse."
        ) from None
    finally:
        logging.disable(before)


class Launcher:
    """Runs jobs of one set of resources on one instance. Use as a context manager."""

    def __init__(self, resources: Resources) -> None:
        self._definitions = build_definitions(resources)
        self._instance = open_instance(dagster_home(resources.settings))

    def __enter__(self) -> Launcher:
        self._instance.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._instance.dispose()

    def sync(self, connection: Connection, day: str) -> Outcome:
        """Today's partition, all layers."""
        return self._run(connection, daily_job_name(connection), partition_key=day)

    def evidence(self, connection: Connection, window: Window) -> Outcome:
        """Run the job that seals the packet of a window."""
        tags = {
            ASSET_PARTITION_RANGE_START_TAG: str(window.first),
            ASSET_PARTITION_RANGE_END_TAG: str(window.last),
        }
        return self._run(connection, evidence_job_name(connection), tags=tags)

    def _run(
        self,
        connection: Connection,
        job: str,
        *,
        partition_key: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> Outcome:
        packet_key = dg.AssetKey([connection.name, evidence_packet.name])
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            partition_key=partition_key,
            tags=tags,
            run_config=QUIET,
            raise_on_error=False,
        )
        for event in result.filter_events(lambda event: event.is_step_failure):
            failure = event.step_failure_data.user_failure_data
            if failure is not None:
                kind = failure.metadata.get(KIND)
                return Outcome(
                    result.run_id, False, failure.description or "", str(kind.value) if kind else ""
                )
            error = event.step_failure_data.error
            return Outcome(result.run_id, False, error.to_string() if error else "unknown", "")
        sealed = [
            event
            for event in result.get_asset_materialization_events()
            if event.asset_key == packet_key
        ]
        folders = [event.materialization.metadata["folder"].value for event in sealed]
        return Outcome(result.run_id, result.success, "", "", str(folders[-1]) if folders else None)
