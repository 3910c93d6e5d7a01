"""A simulated company and the real pipeline around it, day by day, for tests of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.demo import SimulatedClock
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.simulator.organization import Evolution, Organization
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.rate_limit import Patience
from sonar_access_pipeline.warehouse.database import Warehouse

TOKEN = "sqp-5ecret-t0ken-of-the-company"
TOKEN_ENV = "TOKEN_OF_THE_COMPANY"
FIRST_DAY = date(2026, 2, 2)
FAST = 1_000_000
"""Requests a minute, where nobody has to be spared."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Company:
    """The simulator, the clock both sides read, the definitions, and the Dagster instance that runs
    go to.
    """

    simulator: Simulator
    clock: SimulatedClock
    evolution: Evolution
    settings: Settings
    resources: Resources
    instance: dg.DagsterInstance
    definitions: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self.definitions = build_definitions(self.resources)

    def day(self, number: int) -> date:
        """The day with a number, from 0."""
        return FIRST_DAY + timedelta(days=number)

    def truth(self, number: int) -> Organization:
        """What is true on a day."""
        return self.evolution.on(self.day(number))

    def run(
        self, job: str, *, day: date | None = None, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job of the connection, on a day's partition or with tags."""
        return self.definitions.resolve_job_def(f"company_{job}").execute_in_process(
            instance=self.instance,
            partition_key=str(day) if day else None,
            tags=tags,
            run_config=QUIET,
            raise_on_error=False,
        )

    def live(self, number: int, *, hours: int = 0) -> dg.ExecuteInProcessResult:
        """Live through a day: go there, or so many hours later, and run the daily job."""
        self.clock.go_to(self.day(number), hours=hours)
        return self.run("daily", day=self.day(number))

    @property
    def asset_keys(self) -> list[dg.AssetKey]:
        """The keys of all assets."""
        return list(self.definitions.resolve_all_asset_keys())

    def read_scopes(self, *scopes: Scope) -> None:
        """From now on read these scopes beside core."""
        connection = self.settings.connections[0].model_copy(update={"scopes": scopes})
        self.settings = self.settings.model_copy(update={"connections": (connection,)})
        self.resources = replace(self.resources, settings=self.settings)
        self.definitions = build_definitions(self.resources)

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """The company's warehouse."""
        with closing(Warehouse(self.settings.warehouse)) as warehouse:
            yield warehouse


@contextmanager
def company(
    folder: Path,
    environment: Callable[[str, str], None],
    *,
    warehouse_url: str | None = None,
    instance: dg.DagsterInstance | None = None,
    accounts: int = 60,
    groups: int = 6,
    projects: int = 0,
    scopes: tuple[Scope, ...] = (),
    seed: int = 5,
    **more: Any,
) -> Iterator[Company]:
    """A company of `accounts` people on its first day, with `more` settings."""
    environment(TOKEN_ENV, TOKEN)
    clock = SimulatedClock()
    clock.go_to(FIRST_DAY)
    evolution = Evolution(seed, FIRST_DAY, accounts=accounts, groups=groups, projects=projects)
    tokens = {TOKEN: "sonar-access-reader"}
    with Simulator(lambda: evolution.on(clock().date()), clock=clock, tokens=tokens) as simulator:
        settings = Settings(
            connections=(
                Connection(
                    name="company",
                    organization="acme",
                    token_env=TOKEN_ENV,
                    host_url=simulator.url,
                    scopes=scopes,
                ),
            ),
            data_dir=folder,
            warehouse_url=warehouse_url,
            first_day=FIRST_DAY,
            requests_per_minute=FAST,
            **more,
        )
        resources = Resources(
            settings, clock=clock, patience=Patience(attempts=2, first_pause=0.001)
        )
        with instance or dg.DagsterInstance.ephemeral() as opened:
            yield Company(simulator, clock, evolution, settings, resources, opened)


def failure_sentence(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step of a run said."""
    event = next(event for event in result.all_events if event.is_step_failure)
    data = event.step_failure_data.user_failure_data
    assert data is not None, event.step_failure_data.error
    return data.description or ""


def metadata_of(result: dg.ExecuteInProcessResult, table: str) -> dict[str, Any]:
    """The metadata that a run gave to a table's asset."""
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if materialization.asset_key.path[-1] == table:
            return {
                name: value.value if hasattr(value, "value") else value
                for name, value in materialization.metadata.items()
            }
    raise AssertionError(f"{table} was not materialized")
