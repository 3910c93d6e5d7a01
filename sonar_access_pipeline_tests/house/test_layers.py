"""The house: imports point one way, and each outside library is known in one room only."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import dagster as dg
import pytest

from benchmarks.house import dense, without_a_verb
from sonar_access_pipeline.orchestration import unpublished

ROOT = Path(__file__).parents[2] / "sonar_access_pipeline"
MAY_IMPORT = {
    "access": set(),
    "sonarcloud": {"access", "addresses", "collector"},
    "private": set(),
    "addresses": set(),
    "texts": set(),
    "collector": set(),
    "alerts": set(),
    "warehouse": {"access", "addresses", "alerts", "private"},
    "evidence": {"access", "collector", "private", "warehouse"},
    "deliveries": {"access", "addresses", "evidence", "settings_delivery", "warehouse"},
    "settings_delivery": {"addresses"},
    "errors": {
        "alerts",
        "deliveries",
        "evidence",
        "published",
        "settings_errors",
        "sonarcloud",
        "warehouse",
    },
    "orchestration": {
        "access",
        "alerts",
        "deliveries",
        "errors",
        "sonarcloud",
        "warehouse",
        "evidence",
        "private",
        "published",
        "roster",
        "settings",
        "settings_delivery",
        "settings_errors",
        "texts",
    },
    "simulator": set(),
    "roster": {"access", "texts"},
    "settings_review": {"access", "settings_page"},
    "settings_page": set(),
    "published": {"addresses", "warehouse"},
    "page": {"access", "evidence", "settings_page", "warehouse"},
    "settings": {
        "access",
        "addresses",
        "private",
        "roster",
        "settings_delivery",
        "settings_review",
        "settings_errors",
        "settings_words",
        "texts",
        "warehouse",
    },
    "settings_errors": set(),
    "settings_words": set(),
    "terminal": set(),
    "definitions": {"orchestration", "settings"},
    "components": {"access", "orchestration", "settings"},
    "demo_review": {
        "access",
        "evidence",
        "orchestration",
        "private",
        "simulator",
        "terminal",
        "warehouse",
    },
    "demo": {
        "access",
        "demo_review",
        "orchestration",
        "private",
        "settings",
        "settings_errors",
        "simulator",
        "sonarcloud",
        "terminal",
        "warehouse",
    },
    "cli": {
        "access",
        "addresses",
        "alerts",
        "deliveries",
        "demo",
        "errors",
        "evidence",
        "orchestration",
        "page",
        "private",
        "published",
        "roster",
        "settings",
        "settings_delivery",
        "settings_errors",
        "sonarcloud",
        "terminal",
        "texts",
        "warehouse",
    },
}
ONLY_IN = {
    "requests": {"sonarcloud", "alerts", "deliveries", "evidence", "page"},
    "joserfc": {"page"},
    "pyarrow": {"published"},
    "starlette": {"page"},
    "uvicorn": {"cli"},
    "apprise": {"alerts"},
    "urllib3": {"sonarcloud"},
    "sqlalchemy": {"warehouse", "orchestration"},
    "alembic": {"warehouse"},
    "pandas": {"warehouse"},
    "dagster": {"orchestration", "components"},
    "jinja2": {"evidence", "page"},
    "xlsxwriter": {"evidence"},
    "python_calamine": {"evidence"},
    "typst": {"evidence"},
    "cryptography": {"evidence"},
    "deflate": {"evidence"},
    "fsspec": {"deliveries", "evidence", "published"},
    "rfc3161_client": {"evidence"},
    "PIL": {"orchestration"},
    "http.server": {"simulator"},
    "filelock": {"sonarcloud", "orchestration", "warehouse"},
    "yaml": {"orchestration"},
}
NO_IO = {
    "os",
    "pathlib",
    "io",
    "socket",
    "sqlite3",
    "time",
    "subprocess",
    "urllib",
    "logging",
    "random",
}

FILES = sorted(ROOT.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(file: Path) -> None:
    room = room_of(file)
    if room == "__init__":
        assert imported(file) == set()
        return
    for name in imported(file):
        parts = name.split(".")
        if parts[0] == "sonar_access_pipeline" and parts[1] not in ("__version__", room):
            assert parts[1] in MAY_IMPORT[room], f"{room} imports {name}"
        for library, rooms in ONLY_IN.items():
            if name == library or name.startswith(f"{library}."):
                assert room in rooms, f"{room} imports {name}"
        if room == "access" or (room == "alerts" and file.name != "channels.py"):
            assert parts[0] not in NO_IO, f"{room} imports {name}"
        if room == "simulator" and parts[0] != "sonar_access_pipeline":
            assert _is_standard(parts[0]), f"the simulator imports {name}"


WAREHOUSE = ROOT / "warehouse"
ROOMS = {
    "raw": {"history", "ledger", "reviews"},
    "history": {"raw", "ledger", "reviews"},
    "ledger": {"raw", "ask"},
    "reviews": {"ledger"},
    "ask": {"raw", "history", "ledger", "reviews"},
}
"""The five rooms of the warehouse, and of which others each may know something.

What all share knows none of them.
"""


@pytest.mark.parametrize(
    "file", sorted(WAREHOUSE.rglob("*.py")), ids=lambda file: str(file.relative_to(WAREHOUSE))
)
def test_a_file_of_the_warehouse_imports_only_what_its_room_may(file: Path) -> None:
    room = file.relative_to(WAREHOUSE).parts[0]
    known = {
        name.split(".")[2]
        for name in imported(file)
        if name.startswith("sonar_access_pipeline.warehouse.")
    }
    assert known & ROOMS.keys() <= ROOMS.get(room, set()) | {room}


def test_what_keeps_snapshots_derives_nothing() -> None:
    for name in ("snapshots", "attempts"):
        known = imported(WAREHOUSE / "raw" / f"{name}.py")
        assert not any(
            one.startswith(f"sonar_access_pipeline.warehouse.{room}")
            for one in known
            for room in ("history", "ask")
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_line_has_two_loops_or_two_conditions_in_one_expression(file: Path) -> None:
    assert dense(ast.parse(file.read_text())) == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_said_of_a_function_begins_with_a_verb(file: Path) -> None:
    assert list(without_a_verb(ast.parse(file.read_text()))) == []


def test_the_product_knows_nothing_of_its_tests() -> None:
    files = [*FILES, *(ROOT.parent / "examples").rglob("*.py")]
    assert not [
        file
        for file in files
        if any(name.startswith("sonar_access_pipeline_tests") for name in imported(file))
    ]


def _is_standard(name: str) -> bool:
    import sys

    return name in sys.stdlib_module_names and importlib.util.find_spec(name) is not None


def test_what_dagster_does_not_publish_is_asked_for_in_one_file_and_is_what_it_was() -> None:
    asking = {
        file.name for file in FILES if any(name.startswith("dagster._") for name in imported(file))
    }
    assert asking == {"unpublished.py"}
    by_name = {file.name for file in FILES if re.search(r"\bdg\._", file.read_text())}
    assert by_name == set()
    public = {name for name in unpublished.__all__ if hasattr(dg, name)}
    assert public == set(), "Dagster has published it meanwhile"
    tags = {
        name: getattr(unpublished, name) for name in unpublished.__all__ if name.endswith("_TAG")
    }
    assert tags == {
        "ASSET_PARTITION_RANGE_END_TAG": "dagster/asset_partition_range_end",
        "ASSET_PARTITION_RANGE_START_TAG": "dagster/asset_partition_range_start",
        "GRPC_INFO_TAG": ".dagster/grpc_info",
        "PARENT_RUN_ID_TAG": "dagster/parent_run_id",
        "PARTITION_NAME_TAG": "dagster/partition",
        "SCHEDULE_NAME_TAG": "dagster/schedule_name",
        "SENSOR_NAME_TAG": "dagster/sensor_name",
    }


def test_orchestration_knows_tables_but_writes_no_sql() -> None:
    for file in (ROOT / "orchestration").glob("*.py"):
        names = {name for name in imported(file) if name.startswith("sqlalchemy")}
        assert names <= {"sqlalchemy.Table"}, f"{file.name} imports {names}"


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml"])
def test_the_instance_settings_are_the_same_in_the_repository_and_in_the_wheel(name: str) -> None:
    assert (ROOT / "orchestration" / name).read_text() == (ROOT.parent / name).read_text()
