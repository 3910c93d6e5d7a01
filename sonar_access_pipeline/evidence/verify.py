"""Verifying a packet, or all of an organization: by its own files (`offline.py`), in its line
(`line.py`), and by the warehouse.

What is wrong with a packet itself and what is wrong around it have verdicts of their own. Nothing
is raised for a fault.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import product
from typing import Any

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.snapshot import canonical_json, iso
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.identity import is_noted, why_unknown
from sonar_access_pipeline.evidence.keys import Trust
from sonar_access_pipeline.evidence.line import (
    FOLLOWED,
    SUPERSEDED,
    Line,
    LineFault,
    SealedPackets,
    forks,
    place_of,
    superseding,
)
from sonar_access_pipeline.evidence.offline import (
    REQUIRED,
    Report,
    alone,
    listed,
)
from sonar_access_pipeline.evidence.packet import MANIFEST, build
from sonar_access_pipeline.evidence.reviews.packet import REVIEW
from sonar_access_pipeline.evidence.reviews.verify import look_at, look_at_all
from sonar_access_pipeline.evidence.seal import (
    SEAL,
    SUMS,
    digests_of,
)
from sonar_access_pipeline.evidence.stores import Store, read_all
from sonar_access_pipeline.evidence.tables import FORMATS
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.verify import verify as verify_warehouse
from sonar_access_pipeline.warehouse.ledger import packets

TOGETHER = 4
"""Packets whose files are read at once: enough to keep the way to the store full, few enough for
memory.
"""


@dataclass
class Packets:
    """Every packet of an organization: the report of each by its path, and what is wrong around
    them.
    """

    reports: dict[str, Report] = field(default_factory=dict)
    around: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    """Faults around them of which somebody stated and signed what they are: notes, and no
    agreement.
    """
    keys: dict[str, str] = field(default_factory=dict)
    """The faults around of which a person can state something: sentences, by the key that names
    each in a statement.
    """

    @property
    def changed(self) -> list[str]:
        """The paths of packets that are not what was sealed, or not by a key that is believed."""
        return [path for path, report in self.reports.items() if report.own]

    @property
    def faults(self) -> list[str]:
        """All faults, each packet's with its path."""
        own: list[str] = []
        for path, report in self.reports.items():
            own += [f"{path}: {fault}" for fault in report.own]
        return [*own, *self.around]


def verify(
    store: Store,
    path: str,
    *,
    fingerprints: Collection[str] = (),
    registered: Collection[str] = (),
    authorities: bytes | None = None,
    warehouse: Warehouse | None = None,
) -> Report:
    """Verify the packet at a path of a store.

    `fingerprints`: of keys that the reader got from elsewhere; `registered`: of those of the
    register, where the warehouse itself is not compared; `authorities`: certificates of time stamp
    authorities, PEM; `warehouse`: the one it was built from. Raises `EvidenceError` where there is
    nothing to read, and `UnreadableError` where the store does not answer: then nothing is said of
    anything.
    """
    files = store.get(path)
    report = Report()
    if REVIEW in files:
        trust = Trust(store, fingerprints, registered or _keys(warehouse))
        look_at(files, trust, report, warehouse)
        return report
    if not files.keys() & set(REQUIRED):
        raise EvidenceError(
            f"{store.place(path)} is no packet: it must hold {', '.join(REQUIRED)}."
        )
    trust = Trust(store, fingerprints, registered or _keys(warehouse))
    documents = alone(files, trust, authorities, report, must_be_stamped=authorities is not None)
    if report.own:
        _older(path, files, trust, authorities, report)
    if documents is None:
        return report
    about, manifest = documents
    line = Line(str(manifest["organization"]["key"]), trust, authorities)
    # Before the store is listed: what is sealed meanwhile is neither lost nor unknown.
    register = _Register.read(warehouse, line.organization_key) if warehouse is not None else None
    around = list(_follow(line, path, files, about, manifest, report))
    heads, faults = line.heads_since(about["snapshot_chain_head"])
    around += faults
    if warehouse is not None and register is not None:
        around += _entry_faults(about, register.rows)
        if is_noted(warehouse, store):
            around += _lock_faults(store, path, about, files, register)
            around += _warehouse_faults(line, {about["digest"]: about}, heads, register, warehouse)
        else:
            report.notes.append(
                "The warehouse knows no store at this place: its register was not compared with"
                " what lies here."
            )
        recorded = verify_warehouse(warehouse, line.organization_key).findings
        around += [LineFault(f"in the warehouse: {one.sentence}") for one in recorded]
        if digests_of({MANIFEST: files[MANIFEST]})[MANIFEST] in {
            row["digest"] for row in register.rows
        }:
            around += _build_again(line, files, about, manifest, register.rows, warehouse, report)
    report.around, report.stated = line.settled(around)
    return report


def verify_all(
    store: Store,
    organization_key: str,
    *,
    fingerprints: Collection[str] = (),
    authorities: bytes | None = None,
    warehouse: Warehouse | None = None,
) -> Packets:
    """Verify every packet of an organization, those of reviews too: each by itself, and once the
    line they stand in.

    Arguments and errors are those of `verify`. Nothing is built again, and the warehouse's own
    tables are `warehouse/history`'s business: the content is held by digests and signatures. Every
    object is read once, many at a time.
    """
    if warehouse is not None and (why := why_unknown(warehouse, store)):
        raise UnreadableError(why)
    register = _Register.read(warehouse, organization_key) if warehouse is not None else None
    trust = Trust(store, fingerprints, _keys(warehouse))
    line = Line(organization_key, trust, authorities)
    outcome = Packets()
    seals: dict[str, Mapping[str, Any]] = {}
    faults: list[LineFault] = []
    for path, files in _each(line):
        report = outcome.reports[path] = Report()
        documents = alone(files, trust, authorities, report)
        if report.own:
            _older(path, files, trust, authorities, report)
        if documents is None:
            # Nobody of ours signed it: it is no link of the line.
            continue
        sealed = line.of(path, files)
        seals |= sealed.by_digest
        faults += sealed.faults
        if warehouse is not None and register is not None:
            # One that was sealed after the register was read is in the one of now.
            is_known = documents[0]["digest"] in {row["digest"] for row in register.rows}
            known = register if is_known else _Register.read(warehouse, organization_key)
            faults += _entry_faults(documents[0], known.rows)
            faults += _lock_faults(store, path, documents[0], files, known)
    outcome.notes += line.notes
    faults += [
        LineFault(
            f"the packet before {digest[:12]}, {seal['previous_digest'][:12]}, is not in the"
            " evidence folder",
            f"packet:{seal['previous_digest'][:12]}",
        )
        for digest, seal in seals.items()
        if seal["previous_digest"] is not None and seal["previous_digest"][:12] not in line.places
    ]
    heads, of_heads = line.heads
    faults += [*forks(SealedPackets(seals)), *of_heads]
    if warehouse is not None and register is not None:
        faults += _warehouse_faults(line, seals, heads, register, warehouse, whole=True)
    of_reviews, around_reviews = look_at_all(trust, organization_key, warehouse)
    outcome.reports |= of_reviews
    faults += around_reviews
    outcome.around, outcome.stated = line.settled(faults)
    outcome.keys = {
        fault.key: fault.sentence
        for fault in faults
        if fault.key and fault.sentence in outcome.around
    }
    return outcome


def _each(line: Line) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read the files of every packet, some packets at a time: they lie in memory until they were
    judged.
    """
    for begin in range(0, len(line.paths), TOGETHER):
        paths = line.paths[begin : begin + TOGETHER]
        files: list[tuple[str, str]] = []
        for path in paths:
            files += product([path], line.names(path))
        read = read_all(line.store, files)
        for path in paths:
            # A folder in a packet is none of its files: what is there and is not listed is named.
            yield (
                path,
                {
                    name: body if isinstance(body := read[path, name], bytes) else b""
                    for name in line.names(path)
                },
            )


def _older(
    path: str, files: Mapping[str, bytes], trust: Trust, authorities: bytes | None, report: Report
) -> None:
    """Say where older versions of the objects hold what was sealed, and what brings it back."""
    older = trust.store.oldest(path, {*files, *REQUIRED, *listed(files.get(SUMS, b""))})
    if not older:
        return
    before = Report()
    alone({**files, **older}, trust, authorities, before)
    if before.own:
        report.notes.append(
            "There are older versions of its objects, and they do not hold what was sealed either."
        )
        return
    differing = [name for name, body in older.items() if files.get(name) != body]
    report.notes.append(
        f"Older versions hold what was sealed, of {', '.join(differing)}. These commands bring it"
        " back:"
    )
    report.notes += trust.store.restoring(path, differing)


def _keys(warehouse: Warehouse | None) -> set[str]:
    """Give the fingerprints of the register's keys; none without a warehouse."""
    if warehouse is None:
        return set()
    with warehouse.read() as transaction:
        return packets.keys(transaction)


def _lock_faults(
    store: Store,
    path: str,
    about: Mapping[str, Any],
    files: Mapping[str, bytes],
    register: _Register,
) -> Iterator[LineFault]:
    """Compare the locks of a packet's objects with the one that was noted when it was published,
    where it was published.
    """
    published = register.locks.get(store.place(path))
    if published is None or published <= register.now:
        return
    until = store.locked_until(path, files)
    if until is None or until < published:
        name = str(about["digest"])[:12]
        phrase = f"it ends on {until:%Y-%m-%d}" if until else "there is none"
        yield LineFault(
            f"the lock of packet {name} was to hold until {published:%Y-%m-%d}, and {phrase}",
            f"lock:{name}",
        )


@dataclass(frozen=True)
class _Register:
    """What a warehouse says of evidence at one moment."""

    rows: list[dict[str, Any]]
    signed: list[dict[str, Any]]
    waiting: set[str]
    chain: dict[int, packets.Head]
    locks: dict[str, datetime]
    now: datetime

    @classmethod
    def read(cls, warehouse: Warehouse, organization_key: str) -> _Register:
        """Read all of the register in one transaction."""
        with warehouse.read() as transaction:
            return cls(
                queries.packets(transaction, organization_key),
                packets.signed_heads(transaction),
                {header.path for header in packets.waiting(transaction)},
                packets.heads(transaction),
                packets.locks(transaction),
                datetime.now(UTC),
            )


def _follow(
    line: Line,
    path: str,
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    manifest: Mapping[str, Any],
    report: Report,
) -> Iterator[LineFault]:
    """Follow the line of packets from this one back, as far as one packet's verdict asks for it."""
    place = place_of(manifest, about["digest"])
    if path != place:
        if path.rpartition("/")[2] != place.rpartition("/")[2]:
            yield LineFault(
                f"its folder is not called {place.rpartition('/')[2]}, as its digest says"
            )
        else:
            report.notes.append(
                "It lies outside of an evidence folder: the packets before it were not looked at."
            )
        return
    near = line.near(path, files, about)
    report.notes += [*line.notes, *near.strangers]
    yield from near.faults
    previous = about["previous_digest"]
    seen = {about["digest"]}
    for _ in range(FOLLOWED):
        if previous is None:
            break
        if previous in seen:
            yield LineFault("the chain of packets runs in a circle")
            break
        if previous not in near.by_digest:
            yield LineFault(
                f"the packet before it, {str(previous)[:12]}, is not in the evidence folder",
                f"packet:{previous[:12]}",
            )
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
) -> list[LineFault]:
    """Compare the register with the store, and heads with the chain.

    `seals` and `heads` are those that were read: all, if `whole`.

    `register` was read before the store was listed.
    """
    now = _Register.read(warehouse, line.organization_key)
    faults = list(_register_faults(line, seals, register, now, whole=whole))
    keys = {(row["snapshot_id"], row["head_sha256"]): row["key_fingerprint"] for row in now.signed}
    for signed_head in heads:
        number = signed_head["snapshot_id"]
        sha256 = signed_head["head_sha256"]
        key = str(signed_head["path"]).replace("heads/", "head:")
        if number not in now.chain:
            faults.append(
                LineFault(f"the warehouse has lost snapshot {number}, whose head was signed", key)
            )
        elif now.chain[number].head_sha256 != sha256:
            faults.append(
                LineFault(
                    f"the warehouse's snapshots up to {number} are not those whose head was signed",
                    key,
                )
            )
        elif keys.get((number, sha256)) not in (None, signed_head["signed_by"]):
            faults.append(
                LineFault(
                    f"the signed head of snapshot {number} is signed by another key than the"
                    " register has",
                    key,
                )
            )
    there = {path.removeprefix("heads/") for path in line.head_paths}
    is_waiting = {path.removeprefix("heads/") for path in register.waiting}
    named = {
        f"{row['snapshot_id']:08d}-{row['head_sha256'][:12]}": row["snapshot_id"]
        for row in register.signed
    }
    faults += [
        LineFault(
            f"the signed head of snapshot {snapshot_id} is not in the evidence store",
            f"head:{name}",
        )
        for name, snapshot_id in named.items()
        if name not in there | is_waiting
    ]
    chain = {None, *(head.head_sha256 for head in now.chain.values())}
    faults += [
        LineFault(
            f"the warehouse's snapshots do not lead to the head that the packet {digest[:12]} was"
            " sealed with",
            f"sealed-with:{digest[:12]}",
        )
        for digest, seal in seals.items()
        if seal["snapshot_chain_head"] not in chain
    ]
    return faults


def _build_again(
    line: Line,
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    manifest: Mapping[str, Any],
    registered: Sequence[Mapping[str, Any]],
    warehouse: Warehouse,
    report: Report,
) -> Iterator[LineFault]:
    """Compare a packet with what the warehouse gives for its window now: what differs there is no
    fault of the packet.
    """
    name = str(about["digest"])[:12]
    if manifest["format_version"] not in FORMATS:
        report.notes.append(
            f"It is of format {manifest['format_version']}, which this version does not build: it"
            " was not built again from the warehouse."
        )
        return
    if about["version"] != __version__:
        report.notes.append(
            f"Version {about['version']} built it: in which words the warehouse was asked is not"
            " compared."
        )
    try:
        differing = _differing(files, warehouse)
        if not differing:
            return
        later = _newest_of_window(line, manifest, registered)
        if (
            later is not None
            and digests_of({MANIFEST: later[MANIFEST]})[MANIFEST] != about["digest"]
        ):
            superseded = not _differing(later, warehouse)
            if superseded and not any(note.startswith(SUPERSEDED) for note in report.notes):
                report.notes.append(
                    f"{SUPERSEDED}: the warehouse gives another packet for this window since."
                )
            if superseded:
                return
    except WarehouseError as error:
        yield LineFault(f"the warehouse cannot give this packet again: {error}", f"content:{name}")
        return
    yield LineFault(
        "the warehouse does not give this packet any more; it gives other bytes of"
        f" {', '.join(differing)}: something was observed, decided or redacted since, or changed"
        " (`sonar-access warehouse verify`)",
        f"content:{name}",
    )


def _newest_of_window(
    line: Line, manifest: Mapping[str, Any], registered: Sequence[Mapping[str, Any]]
) -> Mapping[str, bytes] | None:
    """Read the packet that was sealed last for the window of another; None where it does not lie in
    the store.
    """
    days = _window(manifest)
    digests = [
        row["digest"]
        for row in registered
        if (row["first_day"], row["last_day"]) == (days.first, days.last)
    ]
    paths = line.places.get(digests[-1][:12], []) if digests else []
    files = line.store.get(paths[0]) if paths else {}
    is_whole = (
        files.keys() >= {MANIFEST, SEAL}
        and digests_of({MANIFEST: files[MANIFEST]})[MANIFEST] == digests[-1]
    )
    return files if is_whole else None


def _window(manifest: Mapping[str, Any]) -> Window:
    return Window(
        *(date.fromisoformat(manifest["window"][name]) for name in ("first_day", "last_day"))
    )


def _differing(files: Mapping[str, bytes], warehouse: Warehouse) -> list[str]:
    """Name the data files of a packet that the warehouse gives otherwise now, in the packet's own
    format.

    A later version may ask in other words: those of the manifest are compared only where this
    version built it.
    """
    manifest = json.loads(files[MANIFEST])
    seal = json.loads(files[SEAL])
    if manifest["format_version"] not in FORMATS:
        return [MANIFEST]
    built = build(
        warehouse, manifest["organization"]["key"], _window(manifest), manifest["format_version"]
    )
    compared = dict(built.data)
    ours = {**files}
    if seal["version"] != __version__:
        for one in (compared, ours):
            one[MANIFEST] = canonical_json(
                {
                    part: value
                    for part, value in json.loads(one[MANIFEST]).items()
                    if part != "queries"
                }
            )
    return sorted(name for name, body in compared.items() if ours.get(name) != body)


def _entry_faults(
    about: Mapping[str, Any], registered: Iterable[Mapping[str, Any]]
) -> Iterator[LineFault]:
    """Name each point in which the register and the seal of a packet differ: of the two, the seal
    is signed.
    """
    name = str(about["digest"])[:12]
    ours = next((row for row in registered if row["digest"] == about["digest"]), None)
    if ours is None:
        yield LineFault(
            "the warehouse's register does not know this packet", f"unregistered:{name}"
        )
        return
    register_values: dict[str, Any] = {
        "previous_digest": ours["previous_digest"],
        "sealed_at": iso(ours["sealed_at"]),
        "signed_by": ours["key_fingerprint"],
        "run_id": ours["run_id"],
        "time_stamp": ours["time_stamp"],
    }
    for field_name, value in register_values.items():
        if about.get(field_name) != value:
            sentence = (
                f"{SEAL} of packet {name} and the warehouse's register disagree about {field_name}"
            )
            yield LineFault(sentence, f"register:{name}")


def _register_faults(
    line: Line, seals: Mapping[str, Any], register: _Register, now: _Register, *, whole: bool
) -> Iterator[LineFault]:
    """Yield a fault where the register's line is broken, and for what only one of register and
    store has.
    """
    before: set[str | None] = {None}
    for row in now.rows:
        if row["previous_digest"] not in before:
            name = row["digest"][:12]
            yield LineFault(
                f"in the warehouse's register packet {name} does not name one before it",
                f"register:{name}",
            )
        before.add(row["digest"])
    there = line.places
    is_waiting = {path.rpartition("/")[2][:12] for path in register.waiting}
    for row in register.rows:
        name = row["digest"][:12]
        if name not in there:
            if name in is_waiting:
                yield LineFault(
                    f"packet {name} of the warehouse's register is sealed and waits to be published"
                )
            else:
                yield LineFault(
                    f"packet {name} of the warehouse's register is not in the evidence store",
                    f"packet:{name}",
                )
    if whole:
        for name in {digest[:12] for digest in seals} - {row["digest"][:12] for row in now.rows}:
            yield LineFault(
                f"the warehouse's register has lost packet {name}, which is in the evidence store",
                f"unregistered:{name}",
            )
