"""Raw snapshots in a file, to carry them from one warehouse to another: every fact, every body,
every decision, what judges them (policies, tries, ends of organizations), and the reviews of them.

A ZIP file with `snapshots.jsonl` (one snapshot a line, canonical JSON, oldest first),
`bodies/<SHA-256>` and, since format 2, `ledger.json`. Importing trusts nothing: each body must have
the digest in its name, each snapshot the digest that its facts and bodies give, each verdict is
judged again from the answers, and no time may lie in the future. An imported snapshot says so for
ever: `imported_from` is the digest of its archive.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, insert, select

from sonar_access_pipeline.access.brake import left_behind_reason
from sonar_access_pipeline.access.endpoints.shape import LARGEST_NUMBER, UNSTORABLE
from sonar_access_pipeline.access.judgement import judged
from sonar_access_pipeline.access.lists import LISTS
from sonar_access_pipeline.access.policy import Policy
from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.snapshot import (
    CLOCKS_DIFFER,
    Scope,
    Snapshot,
    Verdict,
    canonical_json,
    packed,
)
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.private import new_private_file
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.brake import LastShown
from sonar_access_pipeline.warehouse.ledger.policies import require_known
from sonar_access_pipeline.warehouse.raw.snapshots import (
    RECORDING,
    SNAPSHOT,
    append,
    load,
    require_same_source,
)
from sonar_access_pipeline.warehouse.reviews import carried
from sonar_access_pipeline.warehouse.schema import (
    organization_end,
    policy_version,
    raw_snapshot,
    rule_version,
    snapshot_decision,
    sync_attempt,
)

FORMAT = "sonar-access-snapshots-2"
FORMER = "sonar-access-snapshots-1"
SNAPSHOTS = "snapshots.jsonl"
LEDGER = "ledger.json"
LARGEST_BODY = 64 * 2**20
LARGEST_LIST = 512 * 2**20
"""Bytes that a file of an archive may unpack to: a body as large as any that is read, and the list
of years of snapshots.
"""


@dataclass(frozen=True)
class Carried:
    """The contents of an archive: its digest, the organizations, snapshots written or taken in, and
    those that were there before.

    `policies` and `reviews` are those that came with it; `lacking` says, in sentences, what did
    not, and what follows.
    """

    sha256: str
    organizations: tuple[str, ...]
    snapshots: int
    known: int = 0
    policies: int = 0
    lacking: tuple[str, ...] = ()
    reviews: int = 0


def export(
    warehouse: Warehouse, organization_key: str, file: Path, window: Window | None = None
) -> Carried:
    """Write the snapshots of an organization, those of a window of days if one is given, to a new
    file, private to its owner.

    The same snapshots give the same bytes. Raises `WarehouseError` when there are none, the file is
    there already, or a stored snapshot is not what was recorded.
    """
    with warehouse.read() as transaction:
        query = select(raw_snapshot).where(raw_snapshot.c.organization_key == organization_key)
        if window is not None:
            query = query.where(raw_snapshot.c.partition_date.between(window.first, window.last))
        rows = transaction.execute(query.order_by(raw_snapshot.c.observed_at)).mappings().all()
        if not rows:
            raise WarehouseError(
                f"There is no snapshot of organization '{organization_key}' to export; choose other"
                " days."
            )
        try:
            with new_private_file(file) as opened:
                try:
                    with zipfile.ZipFile(opened, "w") as archive:
                        _write(transaction, archive, rows)
                except BaseException:
                    file.unlink()
                    raise
        except OSError as error:
            raise WarehouseError(
                f"The file {file} cannot be written: {error.strerror}; choose another."
            ) from None
    return Carried(_digest(file), (organization_key,), len(rows))


def _write(transaction: Connection, archive: zipfile.ZipFile, rows: Sequence[RowMapping]) -> None:
    there: set[str] = set()
    lines = []
    for row in rows:
        snapshot = load(transaction, row["snapshot_id"])
        if snapshot.content_sha256 != row["content_sha256"]:
            raise WarehouseError(
                f"Snapshot {row['snapshot_id']} is not what was recorded: its content has another"
                " digest. Somebody changed the warehouse; restore it from a backup."
            )
        for response in snapshot.responses:
            if response.body_sha256 not in there:
                if hashlib.sha256(response.body).hexdigest() != response.body_sha256:
                    raise WarehouseError(
                        f"Snapshot {row['snapshot_id']} cannot be carried: an answer of it was"
                        " redacted or changed; choose other days, or copy the database as it is."
                    )
                there.add(response.body_sha256)
                _put(archive, f"bodies/{response.body_sha256}", response.body)
        lines.append(_line(transaction, snapshot, row))
    _put(archive, SNAPSHOTS, b"\n".join(lines) + b"\n")
    _put(archive, LEDGER, canonical_json(_ledger(transaction, rows)))


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # Without the time of writing, so that equal contents are equal files.
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _line(transaction: Connection, snapshot: Snapshot, row: RowMapping) -> bytes:
    decided = transaction.execute(
        select(snapshot_decision)
        .where(snapshot_decision.c.snapshot_id == row["snapshot_id"])
        .order_by("decision_id")
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
POLICY = ("policy_sha256", "document", "in_force_from")
RULE = ("rule_id", "rule_version", "in_force_from")
ATTEMPT = (
    "connection",
    "partition_date",
    "run_id",
    "started_at",
    "ended_at",
    "outcome",
    "cause",
    "error",
    "due_at",
)
END = ("last_day", "reason", "decided_by", "decided_at")


def _ledger(transaction: Connection, rows: Sequence[RowMapping]) -> dict[str, Any]:
    """Gather what judges some snapshots: policies and rules until the last of them, tries of their
    days, recorded ends.
    """
    first, last = rows[0]["partition_date"], rows[-1]["partition_date"]
    key = rows[0]["organization_key"]
    until = max(row["observed_at"] for row in rows)
    policy = policy_version.c
    rule = rule_version.c
    attempt = sync_attempt.c
    end = organization_end.c

    def found(
        table: Table, names: Sequence[str], condition: ColumnElement[bool], order: Any
    ) -> list[dict[str, Any]]:
        query = select(*(table.c[name] for name in names)).where(condition).order_by(order)
        return [dict(row) for row in transaction.execute(query).mappings()]

    ours = and_(attempt.organization_key == key, attempt.partition_date.between(first, last))
    snapshots = {row["snapshot_id"]: row["content_sha256"] for row in rows}
    tries = found(sync_attempt, (*ATTEMPT, "snapshot_id"), ours, attempt.attempt_id)
    reviews = carried.carried(transaction, key, until)
    return {
        # An archive without reviews is as it was before there were any.
        **({"reviews": reviews} if reviews else {}),
        "organization_key": key,
        "policies": found(policy_version, POLICY, policy.in_force_from <= until, policy.version),
        "rules": found(rule_version, RULE, rule.in_force_from <= until, rule.introduction),
        "attempts": [{**one, "snapshot_id": snapshots.get(one["snapshot_id"])} for one in tries],
        "ends": found(organization_end, END, end.organization_key == key, end.ending_id),
    }


def import_(warehouse: Warehouse, file: Path, clock: Callable[[], datetime]) -> Carried:
    """Take in every snapshot of an archive that the warehouse does not have, all or none, with the
    decisions about them.

    Raises `WarehouseError` for a file that is no archive, was changed, or contradicts what the
    warehouse has, and `SourceMismatchError` when its organization's history comes from elsewhere.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            # Nobody is waited for who might write into a pipe, and a device has no end.
            raise WarehouseError(f"The file {file} cannot be read: it is no plain file.")
        sha256 = _digest(file)
        with zipfile.ZipFile(file) as archive, warehouse.write(RECORDING) as transaction:
            lines = [
                _loaded(line) for line in _entry(archive, SNAPSHOTS, LARGEST_LIST).splitlines()
            ]
            entries = [_read(archive, line, clock()) for line in lines]
            _require_believable(transaction, entries)
            ledger = (
                _loaded(_entry(archive, LEDGER, LARGEST_LIST))
                if any(line["format"] == FORMAT for line in lines)
                else None
            )
            if ledger is not None:
                _require_of_these(
                    ledger, {snapshot.organization_key for snapshot, _, _ in entries}, clock()
                )
            policies, lacking = _take_policies(transaction, ledger)
            taken = [
                _take(transaction, snapshot, decisions, sha256, clock())
                for snapshot, decisions, _ in entries
            ]
            reviews = 0
            if ledger is not None:
                _take_tries_and_ends(transaction, ledger)
                reviews, why_not = _take_reviews(transaction, ledger, sha256, clock())
                lacking += (why_not,) if why_not else ()
    except OSError as error:
        raise WarehouseError(f"The file {file} cannot be read: {error.strerror}.") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        NotImplementedError,
        EOFError,
        RuntimeError,
    ):
        raise WarehouseError(
            f"{file} is no archive of snapshots, or it is damaged; export it again."
        ) from None
    organizations = tuple(sorted({snapshot.organization_key for snapshot, _, _ in entries}))
    known = len(taken) - sum(taken)
    return Carried(sha256, organizations, sum(taken), known, policies, lacking, reviews)


def _entry(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Read a file of an archive.

    Raises `ValueError` for one that unpacks to more than any real one.
    """
    if archive.getinfo(name).file_size > largest:
        raise ValueError(name)
    return archive.read(name)


def _loaded(line: bytes) -> Any:
    """Read the JSON of an archive.

    Raises `ValueError` for what no database can hold: an archive that has it was not made here.
    """
    return json.loads(line, parse_int=_number, object_pairs_hook=_object)


def _number(digits: str) -> int:
    number = int(digits)
    if abs(number) > LARGEST_NUMBER:
        raise ValueError("a number beyond 64 bits")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        for text in (name, *(value if isinstance(value, list) else (value,))):
            if isinstance(text, str) and UNSTORABLE.search(text):
                raise ValueError("a text that no database can hold")
    return dict(pairs)


Read = tuple[Snapshot, list[dict[str, Any]], SnapshotContent | None]


def _read(archive: zipfile.ZipFile, line: Mapping[str, Any], now: datetime) -> Read:
    if line["format"] not in (FORMAT, FORMER):
        raise WarehouseError("The archive was written by another version; import it with that one.")
    # A body's own digest takes the place of the one it claims: the snapshot's digest tells when
    # they differ.
    responses = [
        {**response, **packed(_entry(archive, f"bodies/{response['body_sha256']}", LARGEST_BODY))}
        for response in line["snapshot"]["responses"]
    ]
    snapshot = SNAPSHOT.of({**line["snapshot"], "responses": responses})
    # Word by word: what only reads as the same thing was changed by somebody.
    if canonical_json(snapshot.facts()) != canonical_json(line["snapshot"]):
        raise ValueError("facts in other words than ours")
    _require_known(snapshot)
    if snapshot.content_sha256 != line["content_sha256"]:
        raise WarehouseError(
            f"The archive was changed: the snapshot of {snapshot.organization_key} at"
            f" {snapshot.observed_at:%Y-%m-%d %H:%M} has another digest than it says. Nothing was"
            " imported."
        )
    decisions = [
        {**_only(DECISION, decision), "decided_at": _time(decision["decided_at"])}
        for decision in line["decisions"]
    ]
    if any(
        decision["decided_at"].tzinfo is None or decision["decided_at"] > now + CLOCKS_DIFFER
        for decision in decisions
    ):
        raise WarehouseError(
            "The archive has decisions of a time that has not come. Nothing was imported; export it"
            " again."
        )
    return snapshot, decisions, _judged(snapshot, now)


def _require_known(snapshot: Snapshot) -> None:
    """Refuse scopes and lists that no version of ours reads. Raises `ValueError`."""
    scopes = set(snapshot.scopes)
    named = {read.name for read in snapshot.lists} | {one.list_name for one in snapshot.responses}
    if Scope.CORE not in scopes or len(scopes) < len(snapshot.scopes) or named - LISTS.keys():
        raise ValueError("scopes or lists that nobody reads")


def _judged(snapshot: Snapshot, now: datetime) -> SnapshotContent | None:
    """Return what a snapshot says that claims to be complete, and is; None for an incomplete one.

    Raises `WarehouseError` where the claim is false, or the snapshot lies in the future.
    """
    what = (
        f"the snapshot of {snapshot.organization_key} at {snapshot.observed_at:%Y-%m-%d %H:%M} UTC"
    )
    if max(snapshot.started_at, snapshot.observed_at) > now + CLOCKS_DIFFER:
        raise WarehouseError(
            f"The archive holds a future that nobody can have seen: {what}, and it is"
            f" {now:%Y-%m-%d %H:%M} here. Nothing was imported; look at the clock of the machine"
            " that read it, and at this one's."
        )
    if snapshot.verdict is Verdict.INCOMPLETE:
        return None
    verdict, reason, content = judged(snapshot.scopes, snapshot.responses)
    if verdict is not Verdict.COMPLETE:
        raise WarehouseError(
            f"The archive claims that {what} is {snapshot.verdict.value}, and by its own answers it"
            f" is incomplete: {reason}. Nothing was imported."
        )
    return content


def _require_believable(transaction: Connection, found: Iterable[Read]) -> None:
    """Refuse members that vanish from one list alone without that anybody decided so: a held
    snapshot takes a person's word.

    They are compared with the observation that counted when the snapshot was read: of the archive,
    or else of this warehouse. Where neither has one before it, nobody can compare.
    """
    earlier: dict[str, list[Read]] = defaultdict(list)
    for read in found:
        snapshot, _, content = read
        if content is None:
            continue
        key = snapshot.organization_key
        before = next(
            (one for one in reversed(earlier[key]) if _counted(one, snapshot.observed_at)), None
        )
        members: set[str] | None
        if before is not None and before[2] is not None:
            members = {member.login for member in before[2].members}
        else:
            members = LastShown(transaction, key, snapshot.started_at).members()
        doubt = (
            left_behind_reason(content.non_members.keys(), members) if members is not None else None
        )
        if doubt is not None and snapshot.verdict is Verdict.COMPLETE:
            raise WarehouseError(
                f"The archive claims that the snapshot of {key} at"
                f" {snapshot.observed_at:%Y-%m-%d %H:%M} UTC needed nobody's decision, and it did:"
                f" {doubt}. Nothing was imported."
            )
        earlier[key].append(read)


def _counted(read: Read, moment: datetime) -> bool:
    """Tell whether a snapshot counted as an observation at a moment, by what had been decided until
    then.
    """
    snapshot, decisions, _ = read
    past_decisions = [
        decision["decision"] for decision in decisions if decision["decided_at"] <= moment
    ]
    return "retracted" not in past_decisions and (
        snapshot.verdict is Verdict.COMPLETE or "confirmed" in past_decisions
    )


def _require_of_these(
    ledger: Mapping[str, Any], organization_keys: Set[str], now: datetime
) -> None:
    """Refuse a ledger that is not of the snapshots it came with, or of a time that has not come.

    Raises `WarehouseError`: what is taken in here can end an organization's days, and judge all of
    them.
    """
    times: list[str] = []
    for part, names in LEDGER_TIMES.items():
        for one in ledger.get(part, ()):
            times += [one[name] for name in names if one[name] is not None]
    moments = [datetime.fromisoformat(text) for text in times]
    is_ours = {ledger["organization_key"]} == organization_keys
    documents = [(one["document"].encode(), one["policy_sha256"]) for one in ledger["policies"]]
    require_known((one["rule_id"], one["rule_version"]) for one in ledger.get("rules", ()))
    is_true = all(
        Policy.of(document) and hashlib.sha256(document).hexdigest() == sha256
        for document, sha256 in documents
    )
    if (
        not is_ours
        or not is_true
        or any(moment.tzinfo is None or moment > now + CLOCKS_DIFFER for moment in moments)
    ):
        raise WarehouseError(
            "The archive's policies, tries or ends are not those of its snapshots: another"
            " organization's, of another digest, or of a time that has not come. Nothing was"
            " imported; export it again."
        )


LEDGER_TIMES = {
    "policies": ("in_force_from",),
    "rules": ("in_force_from",),
    "attempts": ("started_at", "ended_at"),
    "ends": ("decided_at",),
}
"""The times of a ledger that cannot lie in the future, by its part."""


def _take_policies(
    transaction: Connection, ledger: Mapping[str, Any] | None
) -> tuple[int, tuple[str, ...]]:
    """Take in the policies and rules of an archive, where they can hold; how many policies, what is
    lacking and what follows.

    They can hold only where nothing was judged yet: they are of the whole warehouse, and what was
    judged stays so.
    """
    follows = (
        "the days that came are judged by the policy and the rules that this warehouse had on them,"
        " by the defaults before its first one"
    )
    if ledger is None:
        return 0, (f"The archive is of an older version, which carried no policies: {follows}.",)
    policies = [
        {**_only(POLICY, one), "in_force_from": _time(one["in_force_from"])}
        for one in ledger["policies"]
    ]
    rules = [
        {**_only(RULE, one), "in_force_from": _time(one["in_force_from"])}
        for one in ledger.get("rules", ())
    ]
    own, new = _new(transaction, policy_version, POLICY, policies)
    own_rules, new_rules = _new(transaction, rule_version, RULE, rules)
    if not new and not new_rules:
        return 0, ()
    if (
        own
        or own_rules
        or transaction.execute(select(raw_snapshot.c.snapshot_id).limit(1)).first() is not None
    ):
        counted = [
            f"{len(additions)} {what}"
            for additions, what in ((new, "policies"), (new_rules, "rules"))
            if additions
        ]
        return 0, (
            (
                f"{' and '.join(counted)} of the archive were not taken, because this warehouse has"
                f" judged days already: {follows}."
            ),
        )
    for table, additions in ((policy_version, new), (rule_version, new_rules)):
        if additions:
            transaction.execute(insert(table), additions)
    return len(new), ()


def _new(
    transaction: Connection, table: Table, names: Sequence[str], said: Sequence[dict[str, Any]]
) -> tuple[bool, list[dict[str, Any]]]:
    """Tell whether a table has rows, and which of some rows it does not have."""
    rows = {tuple(row) for row in transaction.execute(select(*(table.c[name] for name in names)))}
    return bool(rows), [one for one in said if tuple(one[name] for name in names) not in rows]


def _take_tries_and_ends(transaction: Connection, ledger: Mapping[str, Any]) -> None:
    """Take in the tries and the recorded ends that are not there yet."""
    key = ledger["organization_key"]
    ours = select(raw_snapshot.c.content_sha256, raw_snapshot.c.snapshot_id).where(
        raw_snapshot.c.organization_key == key
    )
    snapshots = {row.content_sha256: row.snapshot_id for row in transaction.execute(ours)}
    attempt = sync_attempt.c
    end = organization_end.c
    tries = select(attempt.run_id, attempt.started_at).where(attempt.organization_key == key)
    known = {tuple(row) for row in transaction.execute(tries)}
    for one in ledger["attempts"]:
        times = {name: _time(one[name]) for name in ("started_at", "ended_at", "due_at")}
        values = {
            **_only(ATTEMPT, one),
            **times,
            "partition_date": date.fromisoformat(one["partition_date"]),
        }
        if (one["run_id"], values["started_at"]) not in known:
            values["snapshot_id"] = snapshots.get(one["snapshot_id"])
            transaction.execute(insert(sync_attempt).values(organization_key=key, **values))
    ended = set(
        transaction.execute(select(end.decided_at).where(end.organization_key == key)).scalars()
    )
    for one in ledger["ends"]:
        values = {
            **_only(END, one),
            "decided_at": _time(one["decided_at"]),
            "last_day": date.fromisoformat(one["last_day"]),
        }
        if values["decided_at"] not in ended:
            transaction.execute(insert(organization_end).values(organization_key=key, **values))


def _take_reviews(
    transaction: Connection, ledger: Mapping[str, Any], archive_sha256: str, now: datetime
) -> tuple[int, str | None]:
    """Take in the reviews that came along: how many, and why not."""
    said = ledger.get("reviews")
    if not said:
        return 0, None
    key = ledger["organization_key"]
    return carried.take_in(transaction, key, said, archive_sha256, now, CLOCKS_DIFFER)


def _only(names: Sequence[str], document: Mapping[str, Any]) -> dict[str, Any]:
    """Take from a document the fields that we wrote, and no others."""
    return {name: document[name] for name in names}


def _take(
    transaction: Connection,
    snapshot: Snapshot,
    decisions: list[dict[str, Any]],
    archive_sha256: str,
    now: datetime,
) -> bool:
    """Take a snapshot in, and tell whether that was done; False when it was there before."""
    source = (snapshot.source_url, snapshot.source_kind.value)
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
            f"The warehouse has another snapshot of '{snapshot.organization_key}' of the same time,"
            f" {snapshot.observed_at:%Y-%m-%d %H:%M}; nothing was imported, because only one of the"
            " two can be true."
        )
    recorded = append(transaction, snapshot, now, archive_sha256)
    if decisions:
        transaction.execute(
            insert(snapshot_decision),
            [{"snapshot_id": recorded.snapshot_id, **d} for d in decisions],
        )
    return True


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
