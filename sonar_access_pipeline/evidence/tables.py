"""The CSV files of a packet: their columns, and how a value is written so that the same facts are the same bytes everywhere.

UTF-8, comma, quotes where needed, lines end with LF. Unknown is an empty field; true and false are words; times are ISO 8601
UTC. Every row says where it comes from.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sonar_access_pipeline.access.snapshot import Scope, iso
from sonar_access_pipeline.evidence.facts import Facts
from sonar_access_pipeline.warehouse import queries
from sonar_access_pipeline.warehouse.queries import Rows

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
ESCAPING = "A value that begins with one of = + - @ ' TAB or CR has one ' put before it; remove it to get the original."
"""A spreadsheet takes such a value for a formula. The mark is reversible, and the manifest states it."""


@dataclass(frozen=True)
class CsvTable:
    """One CSV file: its columns, the rows that fill them, and what one row is."""

    name: str
    grain: str
    columns: tuple[str, ...]
    rows: Rows

    def encode(self, source_kind: str) -> bytes:
        """The file's bytes, with `source` as the first column of every row."""
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["source", *self.columns])
        columns = self.columns
        writer.writerows([source_kind, *[_field(row[column]) for column in columns]] for row in self.rows)
        return buffer.getvalue().encode()


def tables(facts: Facts) -> list[CsvTable]:
    """Every CSV file of a packet, in the order a reader meets them."""
    return [
        CsvTable(
            "population.csv",
            "one row per login seen in any list at the end of the window",
            (
                "organization_key",
                "login",
                "name",
                "is_member",
                "is_admin",
                "admin_through",
                "is_admin_by_sonarcloud",
                "groups",
                "organization_permissions",
            ),
            facts.population,
        ),
        CsvTable(
            "access.csv",
            "one row per way in which an account, or Anyone, has one right at the end of the window",
            queries.ACCESS,
            facts.access,
        ),
        CsvTable(
            "changes.csv",
            "one row per access row that opened or closed; the change lies after changed_after and at the latest at changed_by",
            queries.CHANGES,
            facts.changes,
        ),
        CsvTable(
            "coverage.csv",
            "one row per day of the window",
            queries.COVERAGE,
            facts.coverage,
        ),
        CsvTable("limits.csv", "one row per thing that is not observed", ("subject", "why"), limits(facts)),
    ]


def limits(facts: Facts) -> Rows:
    """What this packet does not show, and why; fixed limits first, then those of this window."""
    rows = [{"subject": subject, "why": why} for subject, why in FIXED_LIMITS]
    for scope, (subject, unread, read) in SCOPE_LIMITS.items():
        rows.append({"subject": subject, "why": read if scope in facts.as_of.scopes else unread})
    if facts.gaps:
        days = ", ".join(f"{row['day']} ({row['status']})" for row in facts.gaps)
        rows.append({"subject": "days without an observation", "why": f"not observed, and never filled in: {days}"})
    if facts.as_of.tls_bundle_sha256:
        rows.append(
            {
                "subject": "who stood between SonarCloud and us",
                "why": "its TLS was verified against a bundle of certificate authorities that the collecting machine names "
                f"(SHA-256 {facts.as_of.tls_bundle_sha256}): whoever holds one of them can alter answers",
            }
        )
    if facts.before is None:
        rows.append(
            {"subject": "before the first observation", "why": f"nothing is known before {iso(facts.observations[0].started_at)}"}
        )
    return rows


SCOPE_LIMITS = {
    Scope.PROJECT_PERMISSIONS: (
        "projects and their permissions",
        "scope project_permissions was not read by the last observation",
        "only the projects that the token's owner may see: SonarCloud leaves out the others without a word",
    ),
    Scope.ACCOUNT_DETAILS: (
        "e-mail, durable id and identity provider",
        "scope account_details was not read by the last observation; the member list does not give them",
        "they stand in dim_account_detail, as far as SonarCloud gives them",
    ),
}
"""Per scope: its subject, why it is not observed when it was not read, and what it does not show when it was."""

FIXED_LIMITS = (
    ("between two observations", "a right that was given and taken away between two observations leaves no trace"),
    ("tokens of other people", "SonarCloud shows a token list to its owner only"),
    ("scoped organization tokens", "SonarCloud has no public list of them that a member's token can read"),
    ("enterprise and portfolio rights", "they stand above organizations and are not shown to an organization's admin"),
    ("multi-factor authentication", "it belongs to the identity provider; SonarCloud does not know it"),
    ("last sign-in", "SonarCloud does not show it to an organization's admin"),
    ("reading of public projects", "everybody can read a public project, whatever permissions say"),
)


def _field(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return iso(value) if isinstance(value, datetime) else str(value)
