"""In somebody's existing Dagster: the function, the component, and the project under `examples/` that uses both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_key import AssetKey

from sonar_access_pipeline.components import SonarCloudAccess, sonar_access
from sonar_access_pipeline.settings import SettingsError

EXAMPLE = Path(__file__).parent.parent / "examples" / "existing_dagster"
ACME = {"name": "acme", "organization": "acme", "token_env": "ACME_SONAR_TOKEN"}


def keys(defs: dg.Definitions) -> set[AssetKey]:
    return set(defs.resolve_asset_graph().get_all_asset_keys())


def test_the_function_gives_definitions_that_merge_with_others_whatever_their_executor() -> None:
    ours = sonar_access([ACME], hour=4, first_day="2026-02-01", owners=["team:audit"])
    merged = dg.Definitions.merge(ours, dg.Definitions(executor=dg.multiprocess_executor))
    assert AssetKey(["acme", "fct_user_access"]) in keys(merged)
    assert merged.resolve_job_def("acme_daily").executor_def.name == "in_process"
    assert merged.resolve_schedule_def("acme_daily_schedule").cron_schedule == "0 4 * * *"
    spec = next(spec for spec in ours.resolve_all_asset_specs() if spec.key == AssetKey(["acme", "raw_snapshot"]))
    assert list(spec.owners) == ["team:audit"]
    assert {sensor.name for sensor in ours.sensors or ()} == {"sonar_access_watch", "sonar_access_retry"}


def test_what_is_wrong_in_code_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match=r"connections\.0\.name: String should match pattern"):
        sonar_access([{"name": "Acme!", "organization": "acme"}])
    with pytest.raises(SettingsError, match="No connection is given"):
        sonar_access([])
    with pytest.raises(SettingsError, match="appears in two connections"):
        sonar_access([ACME, {**ACME, "name": "again"}])


def test_the_component_gives_what_the_function_gives() -> None:
    component = SonarCloudAccess.resolve_from_yaml(
        "connections: [{name: acme, organization: acme, token_env: ACME_SONAR_TOKEN}]\nhour: 4\nfirst_day: '2026-02-01'"
    )
    defs = dg.build_defs_for_component(component=component)
    assert keys(defs) == keys(sonar_access([ACME], hour=4, first_day="2026-02-01"))


def test_a_component_that_says_something_unknown_is_refused() -> None:
    with pytest.raises(Exception, match="tokn"):
        SonarCloudAccess.resolve_from_yaml("connections: [{name: acme, organization: acme, tokn: x}]")


@pytest.mark.parametrize("module", ["analytics.definitions", "analytics.by_function"])
def test_the_example_project_loads_in_both_ways(module: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", module]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(EXAMPLE)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    code = f"from {module} import defs; d = defs() if callable(defs) else defs; "
    code += "print(sorted(k.to_user_string() for k in d.resolve_asset_graph().get_all_asset_keys()))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "'acme/fct_user_access'" in found.stdout
    assert "'contractors_with_admin'" in found.stdout
    assert ("acme_us/raw_snapshot" in found.stdout) is (module == "analytics.definitions")
    assert not list(tmp_path.rglob("warehouse.sqlite")), "loading makes nothing"
