"""Verifying: does a packet still hold what was sealed, by whom, after which packet, and does the warehouse still say so?

Nothing that lies in a packet is believed: every byte of it may have been written by somebody else. What is wrong is named, one
sentence each; nothing is raised for it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from operator import itemgetter
from typing import Any

from sonar_access_pipeline.access.rules import Result
from sonar_access_pipeline.access.snapshot import canonical_digest, canonical_json, iso
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.collector import uncollected
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.identity import is_noted, why_unknown
from sonar_access_pipeline.evidence.keys import UNREADABLE, endorsed
from sonar_access_pipeline.evidence.line import (
    FOLLOWED,
    SUPERSEDED,
    Fault,
    Line,
    Sealed,
    forks,
    place_of,
    require_linked,
    superseding,
)
from sonar_access_pipeline.evidence.packet import (
    CHANGES_CSV,
    FINDINGS_CSV,
    FORMAT_VERSION,
    MANIFEST,
    POPULATION_CSV,
    RENDERINGS,
    build,
)
from sonar_access_pipeline.evidence.seal import (
    AUTHORITIES,
    OF_ONE_SEAL,
    OUTSIDE,
    SEAL,
    SIGNATURE,
    SIGNERS,
    STAMP,
    SUMS,
    digests_of,
    sums_from,
)
from sonar_access_pipeline.evidence.signers import PACKETS
from sonar_access_pipeline.evidence.sshsig import PublicKey, SignatureError, verified
from sonar_access_pipeline.evidence.stores import Store, read_all
from sonar_access_pipeline.evidence.tables import parsed, reading
from sonar_access_pipeline.evidence.timestamps import stamp_fault
from sonar_access_pipeline.warehouse import packets, queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.verify import verify as verify_warehouse

REQUIRED = (MANIFEST, SEAL, SIGNERS, SUMS, SIGNATURE)
TOGETHER = 4
"""Packets whose files are read at once: enough to keep the way to the store full, few enough for memory."""


@dataclass
class Report:
    """The outcome of a verification: faults of the packet, of what stands around it, and what a reader must know besides."""

    own: list[str] = field(default_factory=list)
    around: list[str] = field(default_factory=list)
    """Of the line of packets, of signed heads, and of the warehouse: each a fault, and none of them this packet's."""
    notes: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All faults, the packet's first."""
        return [*self.own, *self.around]

    @property
    def is_fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


@dataclass
class Packets:
    """Every packet of an organization: the report of each by its path, and what is wrong around them."""

    reports: dict[str, Report] = field(default_factory=dict)
    around: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    """What a person can state of the faults around: each by the key that names it in a statement."""

    @property
    def changed(self) -> list[str]:
        """The packets that are not what was sealed."""
        return [path for path, report in self.reports.items() if report.own]

    @property
    def faults(self) -> list[str]:
        """All faults, each packet's with its path."""
        own = [f"{path}: {fault}" for path, report in self.reports.items() for fault in report.own]
        return [*own, *self.around]


def verify(
    store: Store,
    path: str,
    *,
    fingerprints: Collection[str] = (),
    authorities: bytes | None = None,
    warehouse: Warehouse | None = None,
) -> Report:
    """Verify the packet at a path of a store.

    `fingerprints`: of keys that the reader got from elsewhere; `authorities`: certificates of time stamp authorities, PEM;
    `warehouse`: the one it was built from. Raises `EvidenceError` where there is nothing to read, and `UnreadableError` where the
    store does not answer: then nothing is said of anything.
    """
    files, report = store.get(path), Report()
    if not files.keys() & set(REQUIRED):
        raise EvidenceError(f"{store.place(path)} is no packet: it must hold {', '.join(REQUIRED)}.")
    said = alone(store, files, fingerprints, authorities, report, must_be_stamped=authorities is not None)
    if report.own:
        _older(store, path, files, fingerprints, authorities, report)
    if said is None:
        return report
    about, manifest = said
    organization_key = str(manifest["organization"]["key"])
    # Before the store is listed: what is sealed meanwhile is neither lost nor unknown.
    register = _Register.read(warehouse, organization_key) if warehouse is not None else None
    line = Line(store, organization_key, fingerprints, authorities, register.keys if register is not None else ())
    around = list(_follow(line, path, files, about, manifest, report))
    heads, faults = line.heads_since(about["snapshot_chain_head"])
    around += faults
    if warehouse is not None and register is not None:
        around += _entry_faults(about, register.rows)
        if is_noted(warehouse, store):
            around += _lock_faults(store, path, about, files, register)
            around += _warehouse_faults(line, {about["digest"]: about}, heads, register, warehouse)
        else:
            report.notes.append("The warehouse knows no store at this place: its register was not compared with what lies here.")
        recorded = verify_warehouse(warehouse, line.organization_key).findings
        around += [Fault(f"in the warehouse: {one.sentence}") for one in recorded]
        if digests_of({MANIFEST: files[MANIFEST]})[MANIFEST] in {row["digest"] for row in register.rows}:
            around += _build_again(files, about, manifest, register.rows, warehouse, report)
    stand, notes = line.settled(around)
    report.around += stand
    report.notes += notes
    return report


def verify_all(
    store: Store,
    organization_key: str,
    *,
    fingerprints: Collection[str] = (),
    authorities: bytes | None = None,
    warehouse: Warehouse | None = None,
) -> Packets:
    """Verify every packet of an organization, each by itself, and once the line they stand in.

    Arguments and errors are those of `verify`. Nothing is built again, and the warehouse's own tables are `warehouse/verify.py`'s
    business: the content is held by digests and signatures. Every object is read once, many at a time.
    """
    if warehouse is not None and (why := why_unknown(warehouse, store)):
        raise UnreadableError(why)
    register = _Register.read(warehouse, organization_key) if warehouse is not None else None
    line = Line(store, organization_key, fingerprints, authorities, register.keys if register is not None else ())
    found = Packets()
    seals: dict[str, Mapping[str, Any]] = {}
    faults: list[Fault] = []
    for path, files in _each(line):
        report = found.reports[path] = Report()
        said = alone(store, files, fingerprints, authorities, report, line.endorsed)
        if report.own:
            _older(store, path, files, fingerprints, authorities, report)
        if said is None:
            # Nobody of ours signed it: it is no link of the line.
            continue
        sealed = line.of(path, files)
        seals |= sealed.by_digest
        faults += sealed.faults
        if warehouse is not None and register is not None:
            # One that was sealed after the register was read is in the one of now.
            is_known = said[0]["digest"] in {row["digest"] for row in register.rows}
            known = register if is_known else _Register.read(warehouse, organization_key)
            faults += _entry_faults(said[0], known.rows)
            faults += _lock_faults(store, path, said[0], files, known)
    found.notes += line.notes
    faults += [
        Fault(
            f"the packet before {digest[:12]}, {seal['previous_digest'][:12]}, is not in the evidence folder",
            f"packet:{seal['previous_digest'][:12]}",
        )
        for digest, seal in seals.items()
        if seal["previous_digest"] is not None and seal["previous_digest"][:12] not in line.places
    ]
    heads, of_heads = line.heads
    faults += [*forks(Sealed(seals)), *of_heads]
    if warehouse is not None and register is not None:
        faults += _warehouse_faults(line, seals, heads, register, warehouse, whole=True)
    stand, notes = line.settled(faults)
    found.around += stand
    found.notes += notes
    found.keys = {fault.key: fault.sentence for fault in faults if fault.key and fault.sentence in stand}
    return found


def _each(line: Line) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The files of every packet, some packets at a time: what is read lies in memory until it was judged."""
    for begin in range(0, len(line.paths), TOGETHER):
        paths = line.paths[begin : begin + TOGETHER]
        read = read_all(line.store, [(path, name) for path in paths for name in line.names(path)])
        for path in paths:
            # A folder in a packet is none of its files: what is there and is not listed is named.
            yield path, {name: body if isinstance(body := read[path, name], bytes) else b"" for name in line.names(path)}


def _older(
    store: Store,
    path: str,
    files: Mapping[str, bytes],
    fingerprints: Collection[str],
    authorities: bytes | None,
    report: Report,
) -> None:
    """Say where older versions of the objects hold what was sealed, and what brings it back."""
    names = {*files, *REQUIRED, *_listed(files.get(SUMS, b""))}
    older = store.oldest(path, names)
    if not older:
        return
    before = Report()
    alone(store, {**files, **older}, fingerprints, authorities, before)
    if before.own:
        report.notes.append("There are older versions of its objects, and they do not hold what was sealed either.")
        return
    differing = [name for name, body in older.items() if files.get(name) != body]
    report.notes.append(f"Older versions hold what was sealed, of {', '.join(differing)}. These commands bring it back:")
    report.notes += store.restoring(path, differing)


def _listed(sums: bytes) -> list[str]:
    return [_sum_line(line)[0] for line in sums.decode(errors="replace").splitlines()]


def _lock_faults(
    store: Store, path: str, about: Mapping[str, Any], files: Mapping[str, bytes], register: _Register
) -> Iterator[Fault]:
    """Whether every object is locked as long as it was when the packet was published, where it was published."""
    published = register.locks.get(store.place(path))
    if published is None or published <= register.now:
        return
    until = store.locked_until(path, files)
    if until is None or until < published:
        name, said = str(about["digest"])[:12], f"it ends on {until:%Y-%m-%d}" if until else "there is none"
        yield Fault(f"the lock of packet {name} was to hold until {published:%Y-%m-%d}, and {said}", f"lock:{name}")


@dataclass(frozen=True)
class _Register:
    """What a warehouse says of evidence at one moment."""

    rows: list[dict[str, Any]]
    signed: list[dict[str, Any]]
    waiting: set[str]
    chain: dict[int, packets.Head]
    locks: dict[str, datetime]
    keys: set[str]
    now: datetime

    @classmethod
    def read(cls, warehouse: Warehouse, organization_key: str) -> _Register:
        """All of it in one transaction."""
        with warehouse.read() as transaction:
            return cls(
                queries.packets(transaction, organization_key),
                packets.signed_heads(transaction),
                {header.path for header in packets.waiting(transaction)},
                packets.heads(transaction),
                packets.locks(transaction),
                packets.keys(transaction, organization_key),
                datetime.now(UTC),
            )


def alone(
    store: Store,
    files: Mapping[str, bytes],
    fingerprints: Collection[str],
    authorities: bytes | None,
    report: Report,
    endorsing: Callable[[PublicKey], str | None] | None = None,
    *,
    must_be_stamped: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What a packet says, by its own files and nothing else: its seal and its manifest; None where they cannot be followed."""
    if missing := [name for name in REQUIRED if name not in files]:
        report.own += [f"{name} is missing" for name in missing]
        return None
    digests = digests_of({name: body for name, body in files.items() if name not in OUTSIDE})
    report.own += _sum_faults(files[SUMS], digests)
    key = _signature(files, report)
    trusting = endorsing or partial(endorsed, store, fingerprints=fingerprints)
    if key is None or not _is_trusted(key, fingerprints, trusting, report):
        # Anybody may have written all the rest: nothing that it says of itself is followed.
        return None
    about, manifest = _parsed(files, SEAL, report), _parsed(files, MANIFEST, report)
    if STAMP in files:
        # Named by nobody, they are those that the sealer named: under the signature, like everything else.
        said = None if about is None else str(about.get("sealed_at"))
        fault, note = stamp_fault(files[SIGNATURE], files[STAMP], authorities or files.get(AUTHORITIES), said)
        report.own += [f"{STAMP}: {fault}"] if fault else []
        report.notes += [note] if note else []
    elif about is not None and about.get("time_stamp"):
        report.own.append(f"{STAMP} is missing, and {SEAL} says that it was stamped")
    elif must_be_stamped:
        report.own.append(f"{STAMP} is missing: no authority says when it was sealed")
    else:
        report.notes.append("It has no time stamp: nobody but its sealer says when it was sealed.")
    if about is None or manifest is None:
        return None
    try:
        with uncollected():
            report.own += _statements(files, digests, about, manifest, key)
        place_of(manifest, about["digest"])
        require_linked(about)
        _ = about["sealed_at"], about["run_id"]
    except UNREADABLE:
        report.own.append(f"{MANIFEST} or {SEAL} is not what it should be")
        return None
    return about, manifest


def _sum_faults(sums: bytes, digests: Mapping[str, str]) -> Iterator[str]:
    if sums == sums_from(digests):
        return
    listed = dict(_sum_line(line) for line in sums.decode(errors="replace").splitlines())
    found = [f"{name} is listed but missing" for name in sorted(listed.keys() - digests.keys())]
    found += [f"{name} is not listed" for name in sorted(digests.keys() - listed.keys())]
    found += [f"{name} was changed" for name in sorted(listed.keys() & digests.keys()) if listed[name] != digests[name]]
    yield from found or [f"{SUMS} is not written as it was sealed"]


def _sum_line(line: str) -> tuple[str, str]:
    digest, _, name = line.partition("  ")
    return name, digest


def _signature(files: Mapping[str, bytes], report: Report) -> PublicKey | None:
    """The key that signed the packet, as far as anything here can say."""
    try:
        key = verified(files[SUMS], files[SIGNATURE], PACKETS)
    except SignatureError as fault:
        report.own.append(f"{SIGNATURE} does not fit {SUMS}: {fault}")
        return None
    if key.line not in files[SIGNERS].decode(errors="replace"):
        report.own.append(f"{SIGNERS} names another key than the one that signed")
    return key


def _is_trusted(
    key: PublicKey, fingerprints: Collection[str], endorsing: Callable[[PublicKey], str | None], report: Report
) -> bool:
    """Whether a key is one that the reader named, or that such a key endorses; nobody is distrusted where none was named."""
    if not fingerprints:
        report.notes.append(f"Signed by {key.fingerprint}: compare it with the fingerprint that you got from elsewhere.")
        return True
    if trusted := endorsing(key):
        report.notes.append(f"Signed by {key.fingerprint}, {trusted}.")
        return True
    report.own.append(f"it is signed by {key.fingerprint}, which is none of the keys that you named")
    return False


def _parsed(files: Mapping[str, bytes], name: str, report: Report) -> dict[str, Any] | None:
    try:
        document = json.loads(files[name])
        if isinstance(document, dict) and canonical_json(document) == files[name]:
            return document
    except UNREADABLE:
        pass
    report.own.append(f"{name} is not what it should be")
    return None


def _statements(
    files: Mapping[str, bytes],
    digests: Mapping[str, str],
    about: Mapping[str, Any],
    manifest: Mapping[str, Any],
    key: PublicKey,
) -> list[str]:
    """What seal and manifest say, against the files: digests, bytes, rows, numbers, queries, source."""
    found = []
    if about["digest"] != digests[MANIFEST]:
        found.append(f"{SEAL} names another manifest")
    if about["signed_by"] != key.fingerprint:
        found.append(f"{SEAL} names another key than the one that signed")
    stated = manifest["files"]
    content = files.keys() - OF_ONE_SEAL - {MANIFEST}
    found += [f"{MANIFEST} names {name}, which is missing" for name in sorted(stated.keys() - content)]
    found += [f"{MANIFEST} does not name {name}" for name in sorted(content - stated.keys() - set(RENDERINGS))]
    for name in sorted(stated.keys() & content):
        body, said = files[name], stated[name]
        if (said["sha256"], said["bytes"]) != (digests[name], len(body)):
            found.append(f"{MANIFEST} and {name} disagree")
        elif name.endswith(".csv"):
            found += _table_faults(name, body, said, str(manifest["source"]["kind"]))
    found += [
        f"{MANIFEST}: the statements behind {name} have another digest"
        for name, said in sorted(manifest["queries"].items())
        if canonical_digest(said["statements"]) != said["sha256"]
    ]
    if manifest["format_version"] == FORMAT_VERSION and not found:
        found += _count_faults(files, manifest)
    return found


def _table_faults(name: str, body: bytes, said: Mapping[str, Any], source: str) -> Iterator[str]:
    """Rows and their sources, counted as they go by: there may be millions."""
    records = reading(body)
    header = next(records)
    sources = Counter(map(itemgetter(0), records))
    if sources.total() != said["rows"]:
        yield f"{MANIFEST} says that {name} has {said['rows']} rows, and it has {sources.total()}"
    if header[0] != "source" or sources.keys() - {source}:
        yield f"{name} has rows of another source than {source}"


def _count_faults(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Iterator[str]:
    """The manifest's numbers, counted again in the files."""

    def rows(name: str) -> list[dict[str, str]]:
        header, *records = parsed(files[name])
        return [dict(zip(header, record, strict=True)) for record in records]

    population, findings = rows(POPULATION_CSV), rows(FINDINGS_CSV)
    failing = [row for row in findings if row["result"] == Result.FAIL.value]
    first = sum(row["kind"] == "first_observed" for row in rows(CHANGES_CSV))
    counted = {
        "accounts": len(population),
        "members": sum(row["is_member"] == "true" for row in population),
        "admins": sum(row["is_organization_admin"] == "true" for row in population),
        "access_rows": manifest["files"]["access.csv"]["rows"],
        "changes": manifest["files"]["changes.csv"]["rows"] - first,
        "first_observed": first,
        "findings": sum(not row["exception_by"] or bool(row["exception_ended"]) for row in failing),
        "exceptions": sum(bool(row["exception_by"]) and not row["exception_ended"] for row in failing),
        "ended_exceptions": sum(bool(row["exception_ended"]) for row in failing),
        "not_evaluable": sum(row["result"] == Result.NOT_EVALUABLE.value for row in findings),
        "failed_reconciliations": sum(row["passed"] == "false" for row in rows("reconciliation.csv")),
    }
    for name, number in counted.items():
        if manifest["counts"][name] != number:
            yield f"{MANIFEST} says {manifest['counts'][name]} {name}, and the files hold {number}"
    days = Counter(f"days_{row['status']}" for row in rows("coverage.csv"))
    if manifest["coverage"] != {"days": days.total(), **days}:
        yield f"{MANIFEST} and coverage.csv disagree about the days"


def _follow(
    line: Line,
    path: str,
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    manifest: Mapping[str, Any],
    report: Report,
) -> Iterator[Fault]:
    """Follow the line of packets from this one back, as far as one packet's verdict asks for it."""
    place = place_of(manifest, about["digest"])
    if path != place:
        if path.rpartition("/")[2] != place.rpartition("/")[2]:
            yield Fault(f"its folder is not called {place.rpartition('/')[2]}, as its digest says")
        else:
            report.notes.append("It lies outside of an evidence folder: the packets before it were not looked at.")
        return
    near = line.near(path, files, about)
    report.notes += [*line.notes, *near.strangers]
    yield from near.faults
    previous, seen = about["previous_digest"], {about["digest"]}
    for _ in range(FOLLOWED):
        if previous is None:
            break
        if previous in seen:
            yield Fault("the chain of packets runs in a circle")
            break
        if previous not in near.by_digest:
            yield Fault(f"the packet before it, {str(previous)[:12]}, is not in the evidence folder", f"packet:{previous[:12]}")
            break
        seen.add(previous)
        previous = near.by_digest[previous]["previous_digest"]
    report.notes += superseding(path, about["digest"], near.by_digest)
    yield from forks(near)


def _warehouse_faults(
    line: Line,
    seals: Mapping[str, Mapping[str, Any]],
    heads: Sequence[Mapping[str, Any]],
    register: _Register,
    warehouse: Warehouse,
    *,
    whole: bool = False,
) -> list[Fault]:
    """The register against the store, and heads against the chain, of which `seals` and `heads` were read: all, if `whole`.

    `register` was read before the store was listed.
    """
    now = _Register.read(warehouse, line.organization_key)
    found = list(_register_faults(line, seals, register, now, whole=whole))
    keys = {(row["snapshot_id"], row["head_sha256"]): row["key_fingerprint"] for row in now.signed}
    for said in heads:
        number, sha256 = said["snapshot_id"], said["head_sha256"]
        key = str(said["path"]).replace("heads/", "head:")
        if number not in now.chain:
            found.append(Fault(f"the warehouse has lost snapshot {number}, whose head was signed", key))
        elif now.chain[number].head_sha256 != sha256:
            found.append(Fault(f"the warehouse's snapshots up to {number} are not those whose head was signed", key))
        elif keys.get((number, sha256)) not in (None, said["signed_by"]):
            found.append(Fault(f"the signed head of snapshot {number} is signed by another key than the register has", key))
    there = {path.removeprefix("heads/") for path in line.head_paths}
    is_waiting = {path.removeprefix("heads/") for path in register.waiting}
    found += [
        Fault(f"the signed head of snapshot {row['snapshot_id']} is not in the evidence store", f"head:{name}")
        for row in register.signed
        for name in [f"{row['snapshot_id']:08d}-{row['head_sha256'][:12]}"]
        if name not in there | is_waiting
    ]
    chain = {None, *(head.head_sha256 for head in now.chain.values())}
    found += [
        Fault(
            f"the warehouse's snapshots do not lead to the head that the packet {digest[:12]} was sealed with",
            f"sealed-with:{digest[:12]}",
        )
        for digest, seal in seals.items()
        if seal["snapshot_chain_head"] not in chain
    ]
    return found


def _build_again(
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    manifest: Mapping[str, Any],
    registered: Iterable[Mapping[str, Any]],
    warehouse: Warehouse,
    report: Report,
) -> Iterator[Fault]:
    """Compare a packet with what the warehouse gives for its window now: what differs there is no fault of the packet."""
    name = str(about["digest"])[:12]
    if manifest["format_version"] != FORMAT_VERSION:
        report.notes.append(
            f"It is of format {manifest['format_version']}, and this version builds format {FORMAT_VERSION}: it was not built "
            "again from the warehouse."
        )
        return
    window = Window(*(date.fromisoformat(manifest["window"][name]) for name in ("first_day", "last_day")))
    try:
        built = build(warehouse, manifest["organization"]["key"], window)
    except WarehouseError as error:
        yield Fault(f"the warehouse cannot give this packet again: {error}", f"content:{name}")
        return
    differing = sorted(name for name, body in built.data.items() if files.get(name) != body)
    if built.digest in {row["digest"] for row in registered} - {about["digest"]}:
        if not any(note.startswith(SUPERSEDED) for note in report.notes):
            report.notes.append(f"{SUPERSEDED}: the warehouse gives packet {built.digest[:12]} for this window since.")
    elif differing:
        yield Fault(
            f"the warehouse does not give this packet any more; it gives other bytes of {', '.join(differing)}: something was "
            "observed, decided or redacted since, or changed (`sonar-access warehouse verify`)",
            f"content:{name}",
        )


def _entry_faults(about: Mapping[str, Any], registered: Iterable[Mapping[str, Any]]) -> Iterator[Fault]:
    """What the register says otherwise of a packet than its seal: of the two, the seal is signed."""
    name = str(about["digest"])[:12]
    ours = next((row for row in registered if row["digest"] == about["digest"]), None)
    if ours is None:
        yield Fault("the warehouse's register does not know this packet", f"unregistered:{name}")
        return
    said: dict[str, Any] = {
        "previous_digest": ours["previous_digest"],
        "sealed_at": iso(ours["sealed_at"]),
        "signed_by": ours["key_fingerprint"],
        "run_id": ours["run_id"],
    }
    if ours["time_stamp"] is not None:
        said["time_stamp"] = ours["time_stamp"]
    for field_name, value in said.items():
        if about.get(field_name) != value:
            sentence = f"{SEAL} of packet {name} and the warehouse's register disagree about {field_name}"
            yield Fault(sentence, f"register:{name}")


def _register_faults(
    line: Line, seals: Mapping[str, Any], register: _Register, now: _Register, *, whole: bool
) -> Iterator[Fault]:
    """Where the register's line is broken, and what only one of register and store has."""
    before: set[str | None] = {None}
    for row in now.rows:
        if row["previous_digest"] not in before:
            name = row["digest"][:12]
            yield Fault(f"in the warehouse's register packet {name} does not name one before it", f"register:{name}")
        before.add(row["digest"])
    there, is_waiting = line.places, {path.rpartition("/")[2][:12] for path in register.waiting}
    for row in register.rows:
        name = row["digest"][:12]
        if name not in there and row["format_version"] is not None:
            if name in is_waiting:
                yield Fault(f"packet {name} of the warehouse's register is sealed and waits to be published")
            else:
                yield Fault(f"packet {name} of the warehouse's register is not in the evidence store", f"packet:{name}")
    if whole:
        for name in {digest[:12] for digest in seals} - {row["digest"][:12] for row in now.rows}:
            yield Fault(
                f"the warehouse's register has lost packet {name}, which is in the evidence store", f"unregistered:{name}"
            )
