"""In somebody's existing Dagster: the function, the component, and the project under `examples/`
that uses both.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_key import AssetKey

from sonar_access_pipeline.components import SonarCloudAccess, sonar_access
from sonar_access_pipeline.settings import Settings
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "existing_dagster"
ACME = {"name": "acme", "organization": "acme", "token_env": "ACME_SONAR_TOKEN"}


def keys(defs: dg.Definitions) -> set[AssetKey]:
    return set(defs.resolve_asset_graph().get_all_asset_keys())


def test_the_function_gives_definitions_that_merge_with_others_whatever_their_executor() -> None:
    ours = sonar_access([ACME], hour=4, first_day="2026-02-01", owners=["team:audit"])
    merged = dg.Definitions.merge(ours, dg.Definitions(executor=dg.multiprocess_executor))
    assert AssetKey(["acme", "fct_user_access"]) in keys(merged)
    assert merged.resolve_job_def("acme_daily").executor_def.name == "in_process"
    assert merged.resolve_schedule_def("acme_daily_schedule").cron_schedule == "0 4 * * *"
    spec = next(
        spec
        for spec in ours.resolve_all_asset_specs()
        if spec.key == AssetKey(["acme", "raw_snapshot"])
    )
    assert list(spec.owners) == ["team:audit"]
    assert {sensor.name for sensor in ours.sensors or ()} == {
        "sonar_access_watch",
        "sonar_access_retry",
    }


def test_what_is_wrong_in_code_is_one_sentence() -> None:
    with pytest.raises(
        SettingsError,
        match=r"name in \[connections\.number 1\] is 'Acme!': it has another form than it should",
    ):
        sonar_access([{"name": "Acme!", "organization": "acme"}])
    with pytest.raises(SettingsError, match="No connection is given"):
        sonar_access([])
    with pytest.raises(SettingsError, match="appears in two connections"):
        sonar_access([ACME, {**ACME, "name": "again"}])


def test_the_component_gives_what_the_function_gives() -> None:
    component = SonarCloudAccess.resolve_from_yaml(
        "connections: [{name: acme, organization: acme, token_env: ACME_SONAR_TOKEN}]\nhour:"
        " 4\nfirst_day: '2026-02-01'"
    )
    defs = dg.build_defs_for_component(component=component)
    assert keys(defs) == keys(sonar_access([ACME], hour=4, first_day="2026-02-01"))


def test_a_component_that_says_something_unknown_is_refused() -> None:
    with pytest.raises(Exception, match="tokn"):
        SonarCloudAccess.resolve_from_yaml(
            "connections: [{name: acme, organization: acme, tokn: x}]"
        )


@pytest.mark.proofs("analytics.by_function")
@pytest.mark.parametrize("module", ["analytics.definitions", "analytics.by_function"])
def test_the_example_project_loads_in_both_ways(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", module]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(EXAMPLE)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    code = f"from {module} import defs; d = defs() if callable(defs) else defs; "
    code += (
        "print(sorted(k.to_user_string() for k in d.resolve_asset_graph().get_all_asset_keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'acme/fct_user_access'" in found.stdout
    assert "'contractors_with_admin'" in found.stdout
    assert ("acme_us/raw_snapshot" in found.stdout) is (module == "analytics.definitions")
    assert not list(tmp_path.rglob("warehouse.sqlite")), "loading makes nothing"


def test_the_asset_of_the_example_asks_a_warehouse_on_postgresql(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    world = World(
        members={"ada": "Ada (contractor)", "bob": "Bob"},
        user_permissions={"ada": ["admin"], "bob": ["admin"]},
    )
    record(warehouse, snapshot_of(world, EPOCH), lambda: EPOCH)
    derive(warehouse, "acme")
    warehouse.close()
    monkeypatch.setenv("SONAR_ACCESS_WAREHOUSE_URL", postgresql_url)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    module = importlib.import_module("analytics.defs.contractors")
    assert module.contractors_with_admin().metadata["contractors"] == 1


def test_the_component_takes_what_a_settings_file_takes() -> None:
    """Whatever says how a warehouse, secrets and channels are reached comes from the environment:
    Dagster shows the rest.
    """
    elsewhere = {
        "warehouse_url",
        "alert_urls",
        "heartbeat_url",
        "mail_url",
        "timestamp_user",
        "timestamp_password",
        "timestamp_policy",
    }
    assert Settings.model_fields.keys() - elsewhere == SonarCloudAccess.model_fields.keys()
