"""The tables as Parquet: every documented question has the same answer in another engine, of one
warehouse come the same bytes, and half a set is none.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pandas as pd
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.errors import fact_of
from sonar_access_pipeline.published.parquet import MANIFEST, PublishError, publish
from sonar_access_pipeline.warehouse.ask import streams
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline_tests.support.company import Company, company, metadata_of
from sonar_access_pipeline_tests.support.programs import new_database
from sonar_access_pipeline_tests.warehouse.test_queries import questions

DAYS = (0, 3)
pytestmark = pytest.mark.proofs("sqlite")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def here(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Company]:
    is_sqlite = request.param == "sqlite"
    url = None if is_sqlite else new_database(request.getfixturevalue("postgresql"))
    folder = tmp_path_factory.mktemp("company")
    with (
        pytest.MonkeyPatch.context() as patch,
        company(
            folder,
            patch.setenv,
            warehouse_url=url,
            accounts=20,
            groups=4,
            projects=2,
            scopes=(Scope.PROJECT_PERMISSIONS,),
            brake_share=1.0,
        ) as one,
    ):
        for day in DAYS:
            assert one.live(day).success
        yield one


def comparable(value: Any) -> Any:
    """Write a value of any engine in one way: times as UTC, to the microsecond."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", value):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        return date.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return int(value) if isinstance(value, bool) else value


def rows(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(map(comparable, row)) for row in found]


@pytest.mark.proofs("neither")
def test_every_documented_question_has_the_same_answer_in_duckdb(
    here: Company, tmp_path: Path
) -> None:
    with here.warehouse() as warehouse:
        publish(warehouse, str(tmp_path / "tables"))
        engine = duckdb.connect()
        engine.execute("SET TimeZone = 'UTC'")
        for file in (tmp_path / "tables").glob("*.parquet"):
            engine.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM '{file}'")
        answered = 0
        for title, sql in questions().items():
            said = rows(engine.sql(sql).fetchall())
            with warehouse.read() as transaction:
                expected = rows(transaction.execute(text(sql.replace(":", r"\:"))))
            assert sorted(said, key=repr) == sorted(expected, key=repr), title
            answered += bool(expected)
    assert answered > 8, "most of them have an answer to compare"


def test_every_row_and_type_arrives_as_pandas_reads_it(here: Company, tmp_path: Path) -> None:
    with here.warehouse() as warehouse:
        files = publish(warehouse, str(tmp_path))
        assert {one.name for one in files} == {one.name for one in streams.published()}
        for table in streams.published():
            frame = pd.read_parquet(tmp_path / f"{table.name}.parquet")
            names = [column.name for column in streams.columns_of(table)]
            assert list(frame.columns) == names
            with warehouse.read() as transaction:
                batches = streams.stream(transaction, table, None)
                expected = [tuple(row) for batch in batches for row in batch]
            assert len(frame) == len(expected), table.name
            for name in names:
                if name in ("valid_from", "valid_to", "changed_after", "observed_at"):
                    assert str(frame[name].dtype) == "datetime64[us, UTC]", (table.name, name)
    assert "dim_account_detail" not in {one.name for one in files}


def test_of_one_warehouse_come_the_same_bytes_and_the_manifest_says_which(
    here: Company, tmp_path: Path
) -> None:
    with here.warehouse() as warehouse:
        for name in ("one", "two"):
            publish(warehouse, str(tmp_path / name), "acme")
    digests = [
        {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert digests[0] == digests[1]
    manifest = json.loads((tmp_path / "one" / MANIFEST).read_text())
    said = {name: one["sha256"] for name, one in manifest["files"].items()}
    assert said == {name: one for name, one in digests[0].items() if name != MANIFEST}
    schema = pq.read_schema(tmp_path / "one" / "fct_user_access.parquet")
    assert b"observation" in schema.field("valid_from").metadata[b"comment"]
    assert manifest["files"]["fct_user_access.parquet"]["columns"]["login"]


def test_where_it_ends_midway_no_manifest_says_that_it_is_whole(
    here: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tables"
    with here.warehouse() as warehouse:
        publish(warehouse, str(place))
        (place / "fct_user_access.parquet").unlink()
        (place / "fct_user_access.parquet").mkdir()
        with pytest.raises(PublishError, match=r"Without manifest\.json"):
            publish(warehouse, str(place))
    assert not (place / MANIFEST).exists()


def test_what_is_written_is_of_whom_it_is_asked_sorted_and_nothing_is_changed_by_it(
    here: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = next(one for one in streams.published() if one.name == "fct_user_access")
    with here.warehouse() as warehouse:
        before = _counts(warehouse)
        files = publish(warehouse, str(tmp_path / "other"), "somebody-else")
        assert {one.rows for one in files if one.name != "dim_rule"} == {0}
        publish(warehouse, str(tmp_path / "acme"), "acme")
        begins = pq.read_table(tmp_path / "acme" / "fct_user_access.parquet")["valid_from"]
        assert begins.to_pylist() == sorted(begins.to_pylist())
        with pytest.raises(PublishError, match="no place to write to"):
            publish(warehouse, "nowhere://x")
        with pytest.raises(PublishError) as refused:
            publish(warehouse, "s3://key:s3cr3t@bucket/tables")
        assert "s3cr3t" not in str(refused.value)
        files = publish(warehouse, "memory://lake/tables")
        assert _counts(warehouse) == before
        monkeypatch.setattr(streams, "BATCH", 10)
        with warehouse.read() as transaction:
            sizes = [len(part) for part in streams.stream(transaction, table, "acme")]
    assert (max(sizes), len(sizes) > 5) == (10, True), "some at a time"
    system = fsspec.filesystem("memory")
    assert {Path(one).name for one in system.ls("/lake/tables", detail=False)} == {
        MANIFEST,
        *(f"{one.name}.parquet" for one in files),
    }
    system.rm("/lake", recursive=True)


def _counts(warehouse: Warehouse) -> dict[str, int]:
    with warehouse.read() as transaction:
        return {
            table.name: sum(len(part) for part in streams.stream(transaction, table, None))
            for table in streams.published()
        }


def test_after_each_sync_the_tables_lie_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "lake"
    with company(tmp_path, monkeypatch.setenv, publish_url=str(place)) as one:
        result = one.live(0)
        assert result.success
        assert metadata_of(result, "published")["rows"] > 100
    frame = pd.read_parquet(place / "company" / "current_access.parquet")
    assert set(frame["organization_key"]) == {"acme"}
    assert (place / "company" / MANIFEST).exists()


def test_without_pyarrow_it_says_what_to_install_and_is_not_tried_again(
    here: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with here.warehouse() as warehouse, pytest.raises(PublishError, match="pip install") as caught:
        publish(warehouse, str(tmp_path))
    assert not fact_of(caught.value).may_pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_store_refuses_is_a_sentence_without_its_words(
    here: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentialsError(Exception):
        """As the SDK of a store raises it: nothing of ours, and no OSError."""

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("key AKIA5ECRET")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "makedirs", refuse)
    with here.warehouse() as warehouse, pytest.raises(PublishError) as caught:
        publish(warehouse, "memory://lake/tables")
    assert "NoCredentialsError" in str(caught.value)
    assert "AKIA5ECRET" not in str(caught.value)
