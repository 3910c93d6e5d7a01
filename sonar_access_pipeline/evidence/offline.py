"""One packet by its own files and nothing else: does it hold what a key that is believed signed?

Nothing that lies in a packet is believed: every byte of it may have been written by somebody else.
A fault is named in one sentence; nothing is raised for it. The packets around one, the register and
the warehouse are `verify.py`'s business.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from sonar_access_pipeline.access.snapshot import canonical_digest, canonical_json
from sonar_access_pipeline.collector import uncollected
from sonar_access_pipeline.evidence.keys import UNREADABLE, Trust
from sonar_access_pipeline.evidence.line import place_of, require_linked
from sonar_access_pipeline.evidence.packet import (
    CHANGES_CSV,
    FINDINGS_CSV,
    MANIFEST,
    POPULATION_CSV,
    RENDERINGS,
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
from sonar_access_pipeline.evidence.tables import FORMATS, reading
from sonar_access_pipeline.evidence.timestamps import stamp_fault

REQUIRED = (MANIFEST, SEAL, SIGNERS, SUMS, SIGNATURE)


@dataclass
class Report:
    """The outcome of a verification: faults of the packet, faults around it, and notes that a
    reader must know besides.
    """

    own: list[str] = field(default_factory=list)
    stranger: str | None = None
    """Of `own`, the sentence about a key that is not believed: then nobody who is believed says
    what was sealed.
    """
    around: list[str] = field(default_factory=list)
    """Of the line of packets, of signed heads, and of the warehouse: each a fault, and none of them
    this packet's.
    """
    notes: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    """Faults around it of which somebody stated and signed what they are: notes, and no agreement.
    """

    @property
    def faults(self) -> list[str]:
        """All faults, the packet's first."""
        return [*self.own, *self.around]

    @property
    def is_fine(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.faults


def alone(
    files: Mapping[str, bytes],
    trust: Trust,
    authorities: bytes | None,
    report: Report,
    *,
    must_be_stamped: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Look at a packet by its own files and nothing else, and give its seal and its manifest.

    `authorities` are certificates of time stamp authorities, PEM. None where nothing that it says
    of itself can be followed: files are missing, or no key that is believed signed it.
    """
    if missing := [name for name in REQUIRED if name not in files]:
        report.own += [f"{name} is missing" for name in missing]
        return None
    digests = digests_of({name: body for name, body in files.items() if name not in OUTSIDE})
    report.own += sum_faults(files[SUMS], digests)
    key = signing_key(files, report)
    if key is None:
        return None
    if not trust.believes(key):
        # Anybody may have written all the rest.
        report.stranger = trust.refusal(key)
        report.own.append(report.stranger)
        return None
    report.notes.append(trust.note(key))
    about = _parsed(files, SEAL, report)
    manifest = _parsed(files, MANIFEST, report)
    if STAMP in files:
        # Named by nobody, they are those that the sealer named: under the signature, like
        # everything else.
        stated_time = None if about is None else str(about.get("sealed_at"))
        fault, note = stamp_fault(
            files[SIGNATURE], files[STAMP], authorities or files.get(AUTHORITIES), stated_time
        )
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


def sum_faults(sums: bytes, digests: Mapping[str, str]) -> Iterator[str]:
    """Yield in what a packet's files are not those that its sums list."""
    if sums == sums_from(digests):
        return
    listed = dict(_sum_line(line) for line in sums.decode(errors="replace").splitlines())
    faults = [f"{name} is listed but missing" for name in sorted(listed.keys() - digests.keys())]
    faults += [f"{name} is not listed" for name in sorted(digests.keys() - listed.keys())]
    faults += [
        f"{name} was changed"
        for name in sorted(listed.keys() & digests.keys())
        if listed[name] != digests[name]
    ]
    yield from faults or [f"{SUMS} is not written as it was sealed"]


def _sum_line(line: str) -> tuple[str, str]:
    digest, _, name = line.partition("  ")
    return name, digest


def signing_key(files: Mapping[str, bytes], report: Report) -> PublicKey | None:
    """Find the key that signed the packet, as far as anything here can show it."""
    try:
        key = verified(files[SUMS], files[SIGNATURE], PACKETS)
    except SignatureError as fault:
        report.own.append(f"{SIGNATURE} does not fit {SUMS}: {fault}")
        return None
    if key.line not in files[SIGNERS].decode(errors="replace"):
        report.own.append(f"{SIGNERS} names another key than the one that signed")
    return key


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
    """Compare what seal and manifest say with the files: digests, bytes, rows, numbers, queries,
    source.
    """
    faults = []
    if about["digest"] != digests[MANIFEST]:
        faults.append(f"{SEAL} names another manifest")
    if about["signed_by"] != key.fingerprint:
        faults.append(f"{SEAL} names another key than the one that signed")
    stated = manifest["files"]
    content = files.keys() - OF_ONE_SEAL - {MANIFEST}
    faults += [
        f"{MANIFEST} names {name}, which is missing" for name in sorted(stated.keys() - content)
    ]
    faults += [
        f"{MANIFEST} does not name {name}"
        for name in sorted(content - stated.keys() - set(RENDERINGS))
    ]
    is_known = manifest["format_version"] in FORMATS
    tallies: dict[str, Tally] = {}
    for name in sorted(stated.keys() & content):
        body = files[name]
        entry = stated[name]
        if (entry["sha256"], entry["bytes"]) != (digests[name], len(body)):
            faults.append(f"{MANIFEST} and {name} disagree")
        elif name.endswith(".csv"):
            tallies[name] = _tally(body, COUNTED.get(name, ()) if is_known else ())
            faults += _table_faults(name, tallies[name], entry, str(manifest["source"]["kind"]))
    faults += [
        f"{MANIFEST}: the statements behind {name} have another digest"
        for name, entry in sorted(manifest["queries"].items())
        if canonical_digest(entry["statements"]) != entry["sha256"]
    ]
    if is_known and not faults:
        faults += _count_faults(tallies, manifest)
    return faults


Tally = Counter[tuple[str, ...]]
"""How many rows of a file have the same source and the same values of what is counted."""
COUNTED: Mapping[str, tuple[str, ...]] = {
    POPULATION_CSV: ("is_member", "is_organization_admin"),
    FINDINGS_CSV: ("result", "exception_by", "exception_ended"),
    CHANGES_CSV: ("kind",),
    "coverage.csv": ("status",),
    "reconciliation.csv": ("passed",),
}
"""The columns whose values the manifest counts, by file."""


def _tally(body: bytes, columns: Sequence[str]) -> Tally:
    """Count the rows of a file as they go by: there may be millions. Where it has no source, not
    these columns, or a row of another length, that is of no source.
    """
    records = reading(body)
    header = next(records)
    if header[0] != "source" or not set(columns) <= set(header) or len(set(header)) < len(header):
        return Counter([("",)])
    # At least two, so that a tuple comes.
    values = itemgetter(0, 0, *map(header.index, columns))
    width = len(header)
    return Counter(values(row) if len(row) == width else ("",) for row in records)


def _table_faults(name: str, tally: Tally, said: Mapping[str, Any], source: str) -> Iterator[str]:
    if tally.total() != said["rows"]:
        yield f"{MANIFEST} says that {name} has {said['rows']} rows, and it has {tally.total()}"
    if {values[0] for values in tally} - {source}:
        yield f"{name} has rows of another source than {source}"


def _count_faults(tallies: Mapping[str, Tally], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield each difference between the manifest's numbers and what is counted again in the
    files.
    """

    def count(name: str, holds: Callable[..., bool]) -> int:
        return sum(number for values, number in tallies[name].items() if holds(*values[2:]))

    def failing(holds: Callable[[str, str], bool]) -> int:
        return count(FINDINGS_CSV, lambda result, by, ended: result == "fail" and holds(by, ended))

    first = count(CHANGES_CSV, "first_observed".__eq__)
    counted = {
        "accounts": tallies[POPULATION_CSV].total(),
        "members": count(POPULATION_CSV, lambda is_member, _: is_member == "true"),
        "admins": count(POPULATION_CSV, lambda _, is_admin: is_admin == "true"),
        "access_rows": manifest["files"]["access.csv"]["rows"],
        "changes": manifest["files"]["changes.csv"]["rows"] - first,
        "first_observed": first,
        "findings": failing(lambda by, ended: not by or bool(ended)),
        "exceptions": failing(lambda by, ended: bool(by) and not ended),
        "ended_exceptions": failing(lambda _, ended: bool(ended)),
        "not_evaluable": count(FINDINGS_CSV, lambda result, *_: result == "not_evaluable"),
        "failed_reconciliations": count("reconciliation.csv", "false".__eq__),
    }
    for name, number in counted.items():
        if manifest["counts"][name] != number:
            yield f"{MANIFEST} says {manifest['counts'][name]} {name}, and the files hold {number}"
    covered = tallies["coverage.csv"]
    days = {f"days_{values[2]}": number for values, number in covered.items()}
    if manifest["coverage"] != {"days": covered.total(), **days}:
        yield f"{MANIFEST} and coverage.csv disagree about the days"


def listed(sums: bytes) -> list[str]:
    """List the names of files that sums name."""
    return [_sum_line(line)[0] for line in sums.decode(errors="replace").splitlines()]
