"""The CSV files of a packet: their columns, and how a value is written so that the same facts are
the same bytes everywhere.

UTF-8, comma, quotes where needed, lines end with LF. Unknown is an empty field; true and false are
words; times are ISO 8601 UTC. Every row says where it comes from.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime
from operator import itemgetter
from typing import Any, NamedTuple

from sonar_access_pipeline.access.snapshot import Scope, iso
from sonar_access_pipeline.evidence.columns import COLUMNS, FIRST_FORMAT
from sonar_access_pipeline.evidence.facts import POPULATION, Facts
from sonar_access_pipeline.warehouse.ask import proof, queries, reviewed
from sonar_access_pipeline.warehouse.ask.queries import Rows

FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20'")
ESCAPING = (
    "CSV: a value that begins with one of = + - @ (also their full-width forms) TAB CR LF ' has one"
    " ' put before it; remove it to get the original. XLSX: every value is a text cell, never a"
    " formula; what XML cannot hold is written as _xHHHH_, as Excel does; of a text over 32,000"
    " characters the beginning is shown. HTML: every value is escaped. PDF: a character that the"
    " font does not have, that is invisible or that changes direction is written as its number,"
    " like <U+202E>; a table ends after 500 rows. For people, a name that could be taken for what"
    " stands around it is written as a JSON text. The CSV files hold every value whole."
)
"""A spreadsheet takes such a value for a formula.

The mark is reversible, and the manifest states it.
"""


LONGEST_FIELD = 1 << 30
"""Characters: somebody may be in ten thousand groups."""


@dataclass(frozen=True)
class CsvTable:
    """One CSV file: its columns, the rows that fill them, and what one row is."""

    name: str
    grain: str
    columns: tuple[str, ...]
    rows: Rows

    def encode(self, source_kind: str) -> bytes:
        """Encode the table as the file's bytes, with `source` as the first column of every row."""
        return encoded([("source", *self.columns), *self.fields(source_kind)]).encode()

    def fields(self, source_kind: str) -> Iterator[list[str]]:
        """Yield the fields of every row, as they are written, `source` first."""
        values = itemgetter(*self.columns)
        return (
            [source_kind, *[SPELLED[type(value)](value) for value in values(row)]]
            for row in self.rows
        )


def encoded(records: Iterable[Iterable[str]]) -> str:
    """Records as CSV, the one way in which this format writes them."""
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n").writerows(records)
    return "".join(lines.written)


class _Lines:
    """Takes rows from a writer that ends them with CR LF, and ends them with LF.

    So a field with a CR has quotes: later Pythons give it some in any case, and earlier ones only
    where lines end with one.
    """

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        """Take one row."""
        self.written.append(f"{line[:-2]}\n")


def row_digest(fields: Iterable[str]) -> str:
    """Hex SHA-256 of one row of a CSV file, as its bytes stand there, without the LF at its end."""
    return hashlib.sha256(encoded([fields]).removesuffix("\n").encode()).hexdigest()


def parsed(body: bytes) -> list[list[str]]:
    """Parse a CSV file into its records, the header first, as they are written.

    Raises `ValueError` for what is not a CSV file.
    """
    try:
        return list(reading(body))
    except csv.Error as error:
        raise ValueError(str(error)) from None


def reading(body: bytes) -> Iterator[list[str]]:
    """Read the records of a CSV file one by one. Raises `ValueError` and `csv.Error`."""
    csv.field_size_limit(LONGEST_FIELD)
    return csv.reader(io.StringIO(body.decode(), newline=""), strict=True)


def original(field: str) -> str:
    """Return the value of a field, without the mark that keeps a spreadsheet from taking it for a
    formula.
    """
    return field.removeprefix("'")


def records(body: bytes) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by its headings, as they were: an older packet lacks what came
    later. Raises `ValueError`.
    """
    header, *rows = parsed(body)
    return (dict(zip(header, map(original, fields), strict=True)) for fields in rows)


LIMITS = ("subject", "observed", "why")


class Grain(NamedTuple):
    """What one row of a file is, its columns after `source`, and the first format that has it."""

    text: str
    columns: tuple[str, ...]
    since: int = FIRST_FORMAT


GRAINS = {
    "population.csv": Grain(
        "one row per login seen in any list at the end of the window", POPULATION
    ),
    "access.csv": Grain(
        (
            "one row per way in which an account, or Anyone, has one right at the end of the"
            " window; what groups may do on projects, and groups without members on the"
            " organization, stands once per group"
        ),
        queries.ACCESS,
    ),
    "changes.csv": Grain(
        (
            "one row per access row that opened or closed; the change lies after changed_after"
            " (last seen as it was before) and at the latest at changed_by (first seen as it is"
            " since)"
        ),
        queries.CHANGES,
    ),
    "findings.csv": Grain("one row per answer of a rule", proof.FINDINGS),
    "reviews.csv": Grain(
        (
            "one row per review of access that ran in the window, or was the last of its series"
            " before, as it was when the last observation ended"
        ),
        reviewed.REVIEWS,
        4,
    ),
    "follow_up.csv": Grain(
        (
            "one row per thing that a review decided to remove, as the last observation shows it,"
            " but for what was gone before the window"
        ),
        reviewed.FOLLOW_UPS,
        4,
    ),
    "coverage.csv": Grain("one row per day of the window", queries.COVERAGE),
    "requests.csv": Grain(
        "one row per HTTP response behind the last observation, and the digest of its body",
        proof.REQUESTS,
    ),
    "reconciliation.csv": Grain(
        "one row per comparison of numbers that should be the same",
        proof.RECONCILIATION,
    ),
    "limits.csv": Grain("one row per thing that is not observed, or only in part", LIMITS),
}
"""Every file, in the order in which a reader meets them."""

FORMATS = range(FIRST_FORMAT, 5)
"""The formats of packets that this version builds: those of every release.

The last one is that of new packets.
"""


def tables(facts: Facts, format_version: int = FORMATS[-1]) -> list[CsvTable]:
    """List every CSV file of a packet, with the columns of a format, in the order a reader meets
    them.
    """
    return [
        replace(
            table,
            columns=tuple(one for one in table.columns if COLUMNS[one].since <= format_version),
        )
        for table in _tables(facts)
        if GRAINS[table.name].since <= format_version
    ]


def _tables(facts: Facts) -> list[CsvTable]:
    rows = {
        "population.csv": facts.population,
        "access.csv": facts.access,
        "changes.csv": facts.changes,
        "findings.csv": facts.findings,
        "reviews.csv": facts.reviews,
        "follow_up.csv": facts.follow_ups,
        "coverage.csv": facts.coverage,
        "requests.csv": facts.requests,
        "reconciliation.csv": facts.reconciliation,
        "limits.csv": limits(facts),
    }
    return [CsvTable(name, grain.text, grain.columns, rows[name]) for name, grain in GRAINS.items()]


def limits(facts: Facts) -> Rows:
    """List what this packet does not show, or only in part, and why; fixed limits first, then those
    of this window.

    Columns: `LIMITS`; observed is no, or in part.
    """
    rows = [_limit(subject, why) for subject, why in FIXED_LIMITS]
    for scope, (subject, unread, read) in SCOPE_LIMITS.items():
        is_read = scope in facts.as_of.scopes
        rows.append(_limit(subject, read if is_read else unread, in_part=is_read))
    if facts.gaps:
        days = ", ".join(f"{row['day']} ({row['status']})" for row in facts.gaps)
        rows.append(
            _limit("days without an observation", f"not observed, and never filled in: {days}")
        )
    if facts.as_of.tls_bundle_sha256:
        rows.append(
            {
                "subject": "who stood between SonarCloud and us",
                "observed": IN_PART,
                "why": (
                    "its TLS was verified against a bundle of certificate authorities that the"
                    f" collecting machine names (SHA-256 {facts.as_of.tls_bundle_sha256}): whoever"
                    " holds one of them can alter answers"
                ),
            }
        )
    if facts.redactions:
        rows.append(
            {
                "subject": "persons who were replaced by a pseudonym",
                "observed": IN_PART,
                "why": (
                    f"{len(facts.redactions)} by decisions of which manifest.json has basis, time"
                    " and who took them; the bodies of requests.csv are named by the digests that"
                    " they came with"
                ),
            }
        )
    if facts.before is None:
        rows.append(
            _limit(
                "before the first observation",
                f"nothing is known before {iso(facts.observations[0].started_at)}",
            )
        )
    if facts.no_comparison:
        rows.append(_limit("what changed in the window", facts.no_comparison))
    rows += [
        _limit("what changed in the window", part, in_part=True) for part in facts.unknown_parts
    ]
    if facts.not_expected:
        why = (
            f"{facts.not_expected} of the window's days: before the first try to observe, or after"
            " the organization's end"
        )
        rows.append(_limit("days on which no observation was expected", why))
    return rows


NO = "no"
IN_PART = "in part"


def _limit(subject: str, why: str, *, in_part: bool = False) -> dict[str, str]:
    return {"subject": subject, "observed": IN_PART if in_part else NO, "why": why}


SCOPE_LIMITS = {
    Scope.PROJECT_PERMISSIONS: (
        "projects and their permissions",
        "scope project_permissions was not read by the last observation",
        (
            "only the projects that the token's owner may see: SonarCloud leaves out the others"
            " without a word"
        ),
    ),
    Scope.ACCOUNT_DETAILS: (
        "e-mail, durable id and identity provider",
        (
            "scope account_details was not read by the last observation; the member list does not"
            " give them"
        ),
        "as far as SonarCloud gives them: an empty field of population.csv is unknown",
    ),
}
"""Per scope: its subject, why it is not observed when it was not read, and what it does not show
when it was.
"""

FIXED_LIMITS = (
    (
        "between two observations",
        "a right that was given and taken away between two observations leaves no trace",
    ),
    ("tokens of other people", "SonarCloud shows a token list to its owner only"),
    (
        "scoped organization tokens",
        "SonarCloud has no public list of them that a member's token can read",
    ),
    (
        "enterprise and portfolio rights",
        "they stand above organizations and are not shown to an organization's admin",
    ),
    (
        "multi-factor authentication",
        "it belongs to the identity provider; SonarCloud does not know it",
    ),
    ("last sign-in", "SonarCloud does not show it to an organization's admin"),
    ("reading of public projects", "everybody can read a public project, whatever permissions say"),
)


def _text(value: str) -> str:
    return f"'{value}" if value[:1] in FORMULA_STARTS else value


SPELLED: dict[type, Callable[[Any], str]] = {
    str: _text,
    type(None): lambda _: "",
    bool: lambda value: "true" if value else "false",
    int: str,
    float: repr,
    datetime: iso,
    date: date.isoformat,
}
"""How a field of each type is written.

There are millions of fields: a type is looked up, not asked for.
"""
