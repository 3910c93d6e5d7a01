"""A packet in memory: its data files, its manifest, its digest, and renderings of it for people.

Building one reads the warehouse and writes nothing.

The manifest holds content only: no time of building, no version, no path, and of the files those
that are data, whose bytes are ours alone. So the same warehouse gives the same packet anywhere, in
any year, with any version of a typesetting library. Workbook, report and PDF are renderings of one
building: the sums, the seal and the signature hold them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files as resources
from typing import Any

from sonar_access_pipeline.access.snapshot import SourceKind, canonical_digest, canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.collector import uncollected
from sonar_access_pipeline.evidence import dictionary
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.facts import Facts, gather
from sonar_access_pipeline.evidence.tables import (
    ESCAPING,
    FORMATS,
    IN_PART,
    NO,
    CsvTable,
    limits,
    tables,
)
from sonar_access_pipeline.warehouse.database import Warehouse

LONGEST_WINDOW = 3660
"""Days: coverage has a row for each."""
MANIFEST = "manifest.json"
README = "README.txt"
WORKBOOK = "access-review.xlsx"
REPORT = "report.html"
PAPER = "report.pdf"
RENDERINGS = (WORKBOOK, REPORT, PAPER, README)
"""What is made for people of one building's data. A packet of a single day has only the last."""
POPULATION_CSV = "population.csv"
FINDINGS_CSV = "findings.csv"
REQUESTS_CSV = "requests.csv"
CHANGES_CSV = "changes.csv"


@dataclass(frozen=True)
class Packet:
    """The content of a packet: every file but the seal and the sums.

    `digest` is that of the manifest, which names the data.

    `data` is the manifest and the files that it names: what the digest stands for.
    """

    facts: Facts = field(repr=False)
    data: dict[str, bytes] = field(repr=False)
    digest: str
    format_version: int
    is_for_people: bool
    """Whether the renderings are part of it. They change no digest."""

    @property
    def files(self) -> dict[str, bytes]:
        """Everything that is sealed: the data, how to check it, and what is made for people."""
        files = {**self.data, README: _readme(self.format_version)}
        return files | self.renderings if self.is_for_people else files

    @cached_property
    def renderings(self) -> dict[str, bytes]:
        """Workbook, report and PDF: made, and what makes them loaded, when somebody asks, as nobody
        does who only verifies or seals a day.
        """
        from sonar_access_pipeline.evidence import pdf, report, workbook

        with uncollected():
            return {
                WORKBOOK: workbook.write(self.facts, self.data),
                REPORT: report.render(
                    self.facts, self.digest, is_sealed=self.is_for_people
                ).encode(),
                PAPER: pdf.render(self.facts, self.digest, is_sealed=self.is_for_people),
            }

    @property
    def organization_key(self) -> str:
        """Whose access it shows."""
        return self.facts.organization_key

    @property
    def window(self) -> Window:
        """The days it answers for."""
        return self.facts.window

    @property
    def source_kind(self) -> SourceKind:
        """Where its facts come from."""
        return self.facts.source_kind


def build(
    warehouse: Warehouse,
    organization_key: str,
    window: Window,
    format_version: int = FORMATS[-1],
    *,
    for_people: bool = False,
) -> Packet:
    """Build the packet of a window, from the warehouse alone, in one of the `FORMATS`.

    A single day's packet is data, unless it is asked for `for_people`: nobody opens a workbook and
    a PDF of every day.

    Raises `NothingObservedError`, and `EvidenceError` for over ten years.
    """
    if (window.last - window.first).days > LONGEST_WINDOW:
        raise EvidenceError(
            f"The window {window.first} to {window.last} is longer than the ten years that one"
            " packet can answer for; begin it on the first day that was observed (`sonar-access"
            " coverage`)."
        )
    with uncollected():
        facts = gather(warehouse, organization_key, window)
        return _built(facts, format_version, for_people or window.first < window.last)


def _built(facts: Facts, format_version: int, for_people: bool) -> Packet:
    csv_tables = tables(facts, format_version)
    data = {table.name: table.encode(facts.source_kind.value) for table in csv_tables}
    manifest = canonical_json(
        {"format_version": format_version, **_manifest(facts, csv_tables, data)}
    )
    digest = hashlib.sha256(manifest).hexdigest()
    return Packet(facts, {MANIFEST: manifest, **data}, digest, format_version, for_people)


def _readme(format_version: int) -> bytes:
    how_to = (resources("sonar_access_pipeline.evidence") / "templates" / README).read_text()
    return f"{how_to.rstrip()}\n\n{dictionary.plain(format_version)}".encode()


def _manifest(facts: Facts, csv_tables: list[CsvTable], data: dict[str, bytes]) -> dict[str, Any]:
    grains = {table.name: (table.grain, len(table.rows)) for table in csv_tables}
    return {
        "organization": {"key": facts.organization_key, "name": facts.name},
        "window": {
            "first_day": facts.window.first,
            "last_day": facts.window.last,
            "time_zone": "UTC",
        },
        "as_of": {
            "started_at": facts.as_of.started_at,
            "observed_at": facts.as_of.observed_at,
            "seconds_before_end_of_window": facts.age_seconds,
            "scopes": list(facts.as_of.scopes),
            "content_sha256": facts.as_of.content_sha256,
        },
        "source": {
            "url": facts.as_of.source_url,
            "kind": facts.source_kind,
            "token_login": facts.as_of.token_login,
            "tls_bundle_sha256": facts.as_of.tls_bundle_sha256,
        },
        "snapshots": [
            {
                "observed_at": used.observed_at,
                "content_sha256": used.content_sha256,
                "imported_from": used.imported_from,
            }
            for used in facts.used
        ],
        "decisions": [
            {
                name: row[name]
                for name in ("content_sha256", "decision", "reason", "decided_by", "decided_at")
            }
            for row in facts.decisions
        ],
        "redactions": facts.redactions,
        "not_counted": [
            {
                "observed_at": row["observed_at"],
                "verdict": row["verdict"],
                "content_sha256": row["content_sha256"],
            }
            for row in facts.waiting
        ],
        "policy": {"version": facts.in_force.version, "sha256": facts.in_force.policy.sha256},
        "coverage": {
            "days": len(facts.coverage),
            **{
                f"days_{status}": count
                for status, count in sorted(
                    Counter(row["status"] for row in facts.coverage).items()
                )
            },
        },
        "counts": counts(facts),
        "controls": [
            {
                "name": row["control"],
                "left": row["left_count"],
                "right": row["right_count"],
                "passed": row["passed"],
            }
            for row in facts.controls
        ],
        "changes_are_known": facts.compares,
        "not_observed": [row["subject"] for row in limits(facts) if row["observed"] == NO],
        "observed_in_part": [row["subject"] for row in limits(facts) if row["observed"] == IN_PART],
        "escaping": ESCAPING,
        "queries": {
            name: {"statements": statements, "sha256": canonical_digest(statements)}
            for name, statements in facts.statements.items()
            if name in data
        },
        "files": {
            name: {
                "sha256": hashlib.sha256(body).hexdigest(),
                "bytes": len(body),
                "rows": grains[name][1],
                "grain": grains[name][0],
            }
            for name, body in data.items()
        },
    }


def counts(facts: Facts) -> dict[str, int]:
    """Count the numbers of the manifest, which can be counted again in its files."""
    return {
        "accounts": len(facts.population),
        "members": facts.members,
        "admins": len(facts.admins),
        "access_rows": len(facts.access),
        "changes": len(facts.real_changes),
        "first_observed": len(facts.changes) - len(facts.real_changes),
        "findings": len(facts.failed),
        "exceptions": len(facts.excepted),
        "ended_exceptions": len(facts.ended_exceptions),
        "not_evaluable": len(facts.not_evaluable),
        "failed_reconciliations": len(facts.untied),
    }
