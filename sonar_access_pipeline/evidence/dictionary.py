"""The columns of a packet's CSV files, said in words: for the README of every packet, and for
`docs/packet-dictionary.md`.
"""

from __future__ import annotations

from collections.abc import Iterator

from sonar_access_pipeline.evidence.columns import COLUMNS, FIRST_FORMAT, PacketColumn
from sonar_access_pipeline.evidence.tables import FORMATS, GRAINS


def plain(format_version: int = FORMATS[-1]) -> str:
    """Say the columns of a format as plain text."""
    lines = [
        "The columns of the CSV files. A name means the same in each; empty is unknown, or nothing"
        " to say."
    ]
    for name, grain, columns in _files(format_version):
        lines += ["", f"{name}: {grain}", ""]
        lines += [f"  {column:<24} {about.meaning}" for column, about in columns]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Say the columns of the newest format as a page of the documentation."""
    lines = [
        "# The CSV files of a packet, column by column",
        "",
        (
            f"Made by `make dictionary`; this is format {FORMATS[-1]}. A name means the same in"
            " every file. Empty is unknown, or"
        ),
        "nothing to say; true and false are words; times are ISO 8601 in UTC.",
    ]
    for name, grain, columns in _files(FORMATS[-1]):
        lines += [
            "",
            f"## `{name}`",
            "",
            f"{grain[0].upper()}{grain[1:]}.",
            "",
            "| column | meaning |",
            "|---|---|",
        ]
        lines += [f"| `{column}` | {about.meaning}{_since(about)} |" for column, about in columns]
    return "\n".join(lines) + "\n"


def _since(column: PacketColumn) -> str:
    return f" (since format {column.since})" if column.since > FIRST_FORMAT else ""


def _files(format_version: int) -> Iterator[tuple[str, str, list[tuple[str, PacketColumn]]]]:
    for name, grain in GRAINS.items():
        if grain.since > format_version:
            continue
        yield (
            name,
            grain.text,
            [
                (one, COLUMNS[one])
                for one in ("source", *grain.columns)
                if COLUMNS[one].since <= format_version
            ],
        )
