"""Raw snapshots in a file, to carry them from one warehouse to another: every fact, every body, every decision.

A ZIP file with `snapshots.jsonl` (one snapshot a line, canonical JSON, oldest first) and `bodies/<SHA-256>`. Importing trusts
nothing: each body must have the digest in its name, each snapshot the digest that its facts and bodies give. An imported
snapshot says so for ever: `imported_from` is the digest of its archive.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select

from sonar_access_pipeline.access.snapshot import (
    Control,
    ListName,
    ListRead,
    Response,
    Snapshot,
    SourceKind,
    Verdict,
    canonical_json,
    packed,
)
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.private import new_private_file
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.schema import raw_snapshot, snapshot_decision
from sonar_access_pipeline.warehouse.snapshots import RECORDING, append, load, require_same_source, scopes_of

FORMAT = "sonar-access-snapshots-1"
SNAPSHOTS = "snapshots.jsonl"
FACTS = ("started_at", "observed_at", "server_started_at", "server_observed_at")
"""The facts of a snapshot that are times."""


@dataclass(frozen=True)
class Carried:
    """What an archive held: its digest, the organizations, snapshots written or taken in, and those that were there before."""

    sha256: str
    organizations: tuple[str, ...]
    snapshots: int
    known: int = 0


def export(warehouse: Warehouse, organization_key: str, file: Path, window: Window | None = None) -> Carried:
    """Write the snapshots of an organization, those of a window of days if one is given, to a new file, private to its owner.

    The same snapshots give the same bytes. Raises `WarehouseError` when there are none, the file is there already, or a stored
    snapshot is not what was recorded.
    """
    with warehouse.read() as transaction:
        query = select(raw_snapshot).where(raw_snapshot.c.organization_key == organization_key)
        if window is not None:
            query = query.where(raw_snapshot.c.partition_date.between(window.first, window.last))
        rows = transaction.execute(query.order_by(raw_snapshot.c.observed_at)).mappings().all()
        if not rows:
            raise WarehouseError(f"There is no snapshot of organization '{organization_key}' to export; choose other days.")
        try:
            with new_private_file(file) as opened:
                try:
                    with zipfile.ZipFile(opened, "w") as archive:
                        _write(transaction, archive, rows)
                except BaseException:
                    file.unlink()
                    raise
        except OSError as error:
            raise WarehouseError(f"The file {file} cannot be written: {error.strerror}; choose another.") from None
    return Carried(_digest(file), (organization_key,), len(rows))


def _write(transaction: Connection, archive: zipfile.ZipFile, rows: Sequence[RowMapping]) -> None:
    there: set[str] = set()
    lines = []
    for row in rows:
        snapshot = load(transaction, row["snapshot_id"])
        if snapshot.content_sha256 != row["content_sha256"]:
            raise WarehouseError(
                f"Snapshot {row['snapshot_id']} is not what was recorded: its content has another digest. Somebody changed the "
                "warehouse; restore it from a backup."
            )
        for response in snapshot.responses:
            if response.body_sha256 not in there:
                if hashlib.sha256(response.body).hexdigest() != response.body_sha256:
                    raise WarehouseError(
                        f"Snapshot {row['snapshot_id']} cannot be carried: an answer of it was redacted or changed; choose "
                        "other days, or copy the database as it is."
                    )
                there.add(response.body_sha256)
                _put(archive, f"bodies/{response.body_sha256}", response.body)
        lines.append(_line(transaction, snapshot, row))
    _put(archive, SNAPSHOTS, b"\n".join(lines) + b"\n")


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without the time of writing, so that equal contents are equal files.
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _line(transaction: Connection, snapshot: Snapshot, row: RowMapping) -> bytes:
    decided = transaction.execute(
        select(snapshot_decision).where(snapshot_decision.c.snapshot_id == row["snapshot_id"]).order_by("decision_id")
    ).mappings()
    return canonical_json(
        {
            "format": FORMAT,
            "snapshot": snapshot.facts(),
            "content_sha256": snapshot.content_sha256,
            "recorded_at": row["recorded_at"],
            "previous_sha256": row["previous_sha256"],
            "imported_from": row["imported_from"],
            "decisions": [{name: decision[name] for name in DECISION} for decision in decided],
        }
    )


DECISION = ("decision", "reason", "decided_by", "decided_at")


def import_(warehouse: Warehouse, file: Path, clock: Callable[[], datetime]) -> Carried:
    """Take in every snapshot of an archive that the warehouse does not have, all or none, with the decisions about them.

    Raises `WarehouseError` for a file that is no archive, was changed, or contradicts what the warehouse has, and
    `SourceMismatchError` when its organization's history comes from elsewhere.
    """
    try:
        sha256 = _digest(file)
        with zipfile.ZipFile(file) as archive, warehouse.write(RECORDING) as transaction:
            found = [_read(archive, json.loads(line)) for line in archive.read(SNAPSHOTS).splitlines()]
            taken = [_take(transaction, snapshot, decisions, sha256, clock()) for snapshot, decisions in found]
    except OSError as error:
        raise WarehouseError(f"The file {file} cannot be read: {error.strerror}.") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError):
        raise WarehouseError(f"{file} is no archive of snapshots, or it is damaged; export it again.") from None
    organizations = tuple(sorted({snapshot.organization_key for snapshot, _ in found}))
    return Carried(sha256, organizations, sum(taken), len(taken) - sum(taken))


def _read(archive: zipfile.ZipFile, line: Mapping[str, Any]) -> tuple[Snapshot, list[dict[str, Any]]]:
    if line["format"] != FORMAT:
        raise WarehouseError("The archive was written by another version; import it with that one.")
    facts = dict(line["snapshot"])
    for name in FACTS:
        facts[name] = _time(facts[name])
    facts |= {
        "source_kind": SourceKind(facts["source_kind"]),
        "scopes": scopes_of(",".join(facts["scopes"])),
        "verdict": Verdict(facts["verdict"]),
        "lists": [
            ListRead(**{**read, "name": ListName(read["name"]), "verdict": Verdict(read["verdict"])}) for read in facts["lists"]
        ],
        "controls": [Control(**control) for control in facts["controls"]],
        "responses": [_response(archive, response) for response in facts["responses"]],
    }
    snapshot = Snapshot(**facts)
    if snapshot.content_sha256 != line["content_sha256"]:
        raise WarehouseError(
            f"The archive was changed: the snapshot of {snapshot.organization_key} at {snapshot.observed_at:%Y-%m-%d %H:%M} has "
            "another digest than it says. Nothing was imported."
        )
    decisions = [{**decision, "decided_at": _time(decision["decided_at"])} for decision in line["decisions"]]
    return snapshot, decisions


def _response(archive: zipfile.ZipFile, facts: Mapping[str, Any]) -> Response:
    # The body's own digest takes the place of the one it claims: the snapshot's digest tells when they differ.
    body = packed(archive.read(f"bodies/{facts['body_sha256']}"))
    times = {name: _time(facts[name]) for name in ("started_at", "server_time")}
    return Response(**{**facts, **times, "list_name": ListName(facts["list_name"]), **body})


def _take(
    transaction: Connection, snapshot: Snapshot, decisions: list[dict[str, Any]], archive_sha256: str, now: datetime
) -> bool:
    """Whether the snapshot was taken in; False when it was there before."""
    source = (snapshot.connection, snapshot.source_url, snapshot.source_kind.value)
    require_same_source(transaction, snapshot.organization_key, source)
    overlapping = transaction.execute(
        select(raw_snapshot.c.content_sha256).where(
            raw_snapshot.c.organization_key == snapshot.organization_key,
            raw_snapshot.c.started_at <= snapshot.observed_at,
            raw_snapshot.c.observed_at >= snapshot.started_at,
        )
    ).scalars()
    there = set(overlapping)
    if snapshot.content_sha256 in there:
        return False
    if there:
        raise WarehouseError(
            f"The warehouse has another snapshot of '{snapshot.organization_key}' of the same time, "
            f"{snapshot.observed_at:%Y-%m-%d %H:%M}; nothing was imported, because only one of the two can be true."
        )
    recorded = append(transaction, snapshot, now, archive_sha256)
    if decisions:
        transaction.execute(insert(snapshot_decision), [{"snapshot_id": recorded.snapshot_id, **d} for d in decisions])
    return True


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
