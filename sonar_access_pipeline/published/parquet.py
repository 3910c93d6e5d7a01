"""Tables as Parquet: typed, times in UTC, sorted, in row groups that an as-of query skips.

`manifest.json` says what is there, with digests. It is taken away first and comes last: where there
is none, the files beside it are not whole. The same warehouse gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sonar_access_pipeline.addresses import holds_more

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

    from sonar_access_pipeline.warehouse.database import Warehouse

FORMAT = 1
MANIFEST = "manifest.json"
ROW_GROUP = 100_000
COMPRESSION = "zstd"


class PublishError(Exception):
    """Tables that could not be published; the sentence says why."""


class NoParquetError(PublishError):
    """pyarrow is not there: trying again does not help."""


class Column(Protocol):
    """What is known of a column."""

    name: str
    comment: str | None
    type: Any


@dataclass(frozen=True)
class Published:
    """One file: its name, rows, bytes and digest, and what its columns mean."""

    name: str
    rows: int
    bytes: int
    sha256: str
    columns: Mapping[str, str]


def publish(warehouse: Warehouse, to: str, organization_key: str | None = None) -> list[Published]:
    """Write every table of a warehouse, of one organization or of all, to a folder or the URL of an
    object store; what was written.

    Raises `PublishError` where it cannot be written or pyarrow is not there, and `WarehouseError`.
    """
    from sonar_access_pipeline.warehouse.ask import streams
    from sonar_access_pipeline.warehouse.ledger.packets import last_head

    _require_pyarrow()
    place = _Place.of(to)
    with tempfile.TemporaryDirectory() as scratch, warehouse.read() as transaction:
        files = []
        for table in streams.published():
            file = Path(scratch) / f"{table.name}.parquet"
            batches = streams.stream(transaction, table, organization_key)
            rows = write(file, streams.columns_of(table), batches)
            files.append(_published(file, rows, streams.columns_of(table)))
        head = last_head(transaction)
        manifest = _manifest(files, organization_key, head.head_sha256 if head else None)
        (Path(scratch) / MANIFEST).write_bytes(manifest)
        place.replace(Path(scratch), [f"{one.name}.parquet" for one in files])
    return files


def write(file: Path, columns: Sequence[Column], batches: Iterator[Sequence[Sequence[Any]]]) -> int:
    """Write rows as a Parquet file; how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = schema_of(columns)
    count = 0
    with pq.ParquetWriter(
        file,
        schema,
        compression=COMPRESSION,
        version="2.6",
        store_schema=True,
        write_page_index=True,
    ) as writer:
        for rows in batches:
            if rows:
                values = zip(*rows, strict=True)
                arrays = [
                    pa.array(one, type=field.type)
                    for one, field in zip(values, schema, strict=True)
                ]
                writer.write_table(pa.table(arrays, schema=schema), row_group_size=ROW_GROUP)
                count += len(rows)
    return count


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Give the types of a file's columns, each with what it means."""
    import pyarrow as pa

    kinds = {
        "Text": pa.string(),
        "Boolean": pa.bool_(),
        "Integer": pa.int64(),
        "Float": pa.float64(),
        "Date": pa.date32(),
        "UtcDateTime": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema(
        pa.field(
            column.name,
            kinds[type(column.type).__name__],
            metadata={"comment": column.comment or ""},
        )
        for column in columns
    )


def _published(file: Path, rows: int, columns: Sequence[Column]) -> Published:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    meanings = {column.name: column.comment or "" for column in columns}
    return Published(file.stem, rows, file.stat().st_size, digest, meanings)


def _manifest(files: Sequence[Published], organization_key: str | None, head: str | None) -> bytes:
    document = {
        "format_version": FORMAT,
        "organization_key": organization_key,
        "snapshot_chain_head": head,
        "files": {f"{one.name}.parquet": {**asdict(one), "name": one.name} for one in files},
    }
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class _Place:
    """Where files go: a file system, and a path in it."""

    system: Any
    path: str
    said: str

    @classmethod
    def of(cls, to: str) -> _Place:
        import fsspec

        if "://" in to and holds_more(to):
            raise PublishError(
                "An address of tables holds no user, password or options; set the variables of the"
                " store's SDK."
            )
        place = to if "://" in to else str(Path(to).expanduser())
        try:
            system, path = fsspec.core.url_to_fs(place)
        except (ImportError, ValueError) as error:
            raise PublishError(f"{to} is no place to write to: {error}.") from None
        return cls(system, path.rstrip("/"), to)

    def replace(self, scratch: Path, names: Sequence[str]) -> None:
        """Put files in the place of those that are there, the manifest last."""
        try:
            self.system.makedirs(self.path, exist_ok=True)
            manifest = f"{self.path}/{MANIFEST}"
            if self.system.exists(manifest):
                self.system.rm_file(manifest)
            for name in (*names, MANIFEST):
                self._put(scratch / name, f"{self.path}/{name}")
        except Exception as error:  # noqa: BLE001  # each store has errors of its own, and their words may hold credentials
            reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
            raise PublishError(
                f"The tables cannot be written to {self.said}: {reason}. Without {MANIFEST} what is"
                " there is not whole."
            ) from None

    def _put(self, file: Path, path: str) -> None:
        if "file" in self.system.protocol:
            # A reader sees the file before, or this one.
            part = Path(f"{path}.part")
            shutil.copyfile(file, part)
            part.replace(path)
        else:
            self.system.put_file(str(file), path)


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise NoParquetError(
            "Parquet needs pyarrow: pip install 'sonar-access-pipeline[parquet]'."
        ) from None
