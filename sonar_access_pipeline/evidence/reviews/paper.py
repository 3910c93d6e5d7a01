"""What a person reads of a sealed review: report, PDF and workbook, from one description.

Renderings of one building, as those of an access packet: `review.json` does not name them, the sums
and the signature hold them. Add here: a section, or a column of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sonar_access_pipeline.access.review.deciding import Asked, Review, quality
from sonar_access_pipeline.access.review.facts import Choice, Part, Strength
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.evidence import pdf, workbook
from sonar_access_pipeline.evidence.reviews.read_back import said_of
from sonar_access_pipeline.evidence.templating import templates

REPORT, PAPER, WORKBOOK = "report.html", "report.pdf", "review.xlsx"
RENDERINGS = (REPORT, PAPER, WORKBOOK)

MEANINGS = {
    Strength.SIGNED: "with an SSH key of their own",
    Strength.VERIFIED: "an identity provider said who they are",
    Strength.MAILED: "by a link that was mailed to them",
    Strength.DECLARED: "they said who they are, and nothing proved it",
}
LIMITS = (
    (
        "whether access was used",
        "SonarCloud does not show it to an organization's admin, so nobody could go by it",
    ),
    (
        "who sat at the keyboard",
        "each decision says how it is known who decided; 'declared' proves nothing",
    ),
    ("whether a reviewer looked", "a decision says what was decided, not how carefully"),
    (
        "what happened after it was acknowledged",
        "later packets of access show it: their follow_up.csv names this review",
    ),
)
"""What a review does not show, and why."""


@dataclass(frozen=True)
class Section:
    """A table of a review: its name, its columns with their share of the width, and its rows."""

    name: str
    columns: Sequence[tuple[str, int]]
    rows: Sequence[Sequence[Any]]
    nothing: str


@dataclass(frozen=True)
class Told:
    """A sealed review, as it is told: title, the sentences at its top, and its tables."""

    title: str
    source: str
    is_evidence: bool
    made: datetime
    sentences: Sequence[str]
    sections: Sequence[Section]


def told(
    review: Review,
    left_out: Sequence[tuple[Asked, str]],
    demands: Sequence[Mapping[str, Any]],
    heading: Mapping[str, Any],
) -> Told:
    """Tell a review that is acknowledged."""
    kind = str(heading["source_kind"])
    is_evidence = kind == SourceKind.SONARCLOUD.value
    return Told(
        title=f"Access review {review.about.review_id} of {review.about.organization_key}",
        source=f"Source: {kind}."
        + ("" if is_evidence else " This is not evidence about SonarCloud."),
        is_evidence=is_evidence,
        made=max(one.signed_at for one in review.signoffs),
        sentences=list(_sentences(review, heading)),
        sections=[
            _to_go(review, demands),
            _signatures(review),
            _decisions(review),
            _reviewing(review),
            Section(
                "Left out",
                (("Who", 40), ("Why", 60)),
                [(said_of(one), why) for one, why in left_out],
                "Nothing was left out.",
            ),
            Section("Not shown", (("What", 30), ("Why", 70)), LIMITS, ""),
        ],
    )


def _sentences(review: Review, heading: Mapping[str, Any]) -> Iterator[str]:
    about = review.about
    choices = Counter(one.choice for one in review.decided.values())
    counts = ", ".join(f"{choices[choice]} {choice.value}" for choice in Choice)
    yield (
        f"Access as it was on {about.as_of:%Y-%m-%d %H:%M} UTC, as packet {about.packet_digest}"
        " shows it."
    )
    yield (
        f"Series '{heading['series']}', scope '{heading['scope']}': {len(review.asked)} items were"
        f" decided ({counts}), {heading['left_out']} were left out."
    )
    acknowledged = max(one.signed_at for one in review.signoffs if one.part is Part.OWNER)
    when = "in time" if acknowledged.date() <= about.due else "late"
    yield (
        f"{len(review.items_of)} people decided; {about.owner} acknowledged it on"
        f" {acknowledged:%Y-%m-%d}, {when}: it was due on {about.due}."
    )
    if review.weakest is not None:
        weakest = review.weakest
        yield f"The weakest way in which a decider is known: {weakest.value} ({MEANINGS[weakest]})."


def _to_go(review: Review, demands: Sequence[Mapping[str, Any]]) -> Section:
    columns = (("What", 38), ("Decision", 14), ("By", 18), ("Why", 18), ("To be gone by", 12))
    rows = []
    for row in demands:
        decision = review.decided[row["item_no"]]
        goes = f": {', '.join(decision.remove)}" if decision.remove else ""
        rows.append(
            (
                said_of(review.asked[row["item_no"]]),
                f"{decision.choice.value}{goes}",
                decision.decided_by,
                decision.reason,
                f"{row['due_at']:%Y-%m-%d}",
            )
        )
    return Section("What is to go", columns, rows, "Everything was kept.")


def _signatures(review: Review) -> Section:
    columns = (("Who", 26), ("As", 10), ("Items", 8), ("How it is known", 20), ("Statement", 36))
    rows = [
        (one.signer, one.part.value, one.items, one.strength.value, one.statement_sha256)
        for one in review.signoffs
    ]
    return Section("Signatures", columns, rows, "Nobody signed.")


def _decisions(review: Review) -> Section:
    columns = (
        ("Item", 6),
        ("What", 30),
        ("News", 14),
        ("Findings", 18),
        ("Decision", 10),
        ("By", 16),
        ("Why", 16),
        ("On", 10),
    )
    rows = [
        (
            number,
            said_of(asked),
            asked.change_class.value,
            "; ".join(asked.findings),
            decision.choice.value,
            decision.decided_by,
            decision.reason,
            f"{decision.decided_at:%Y-%m-%d}",
        )
        for number, asked in review.asked.items()
        if (decision := review.decided[number])
    ]
    return Section("Every decision", columns, rows, "Nothing was to decide.")


def _reviewing(review: Review) -> Section:
    columns = (
        ("Reviewer", 24),
        ("Items", 8),
        ("Kept", 8),
        ("Kept in bulk", 10),
        ("Largest batch", 10),
        ("Same reasons", 10),
        ("Median seconds", 12),
        ("Given to them", 10),
        ("Known as", 10),
    )
    rows = [
        (
            one.reviewer,
            one.items,
            one.kept,
            one.in_bulk,
            one.largest_batch,
            one.repeated_reasons,
            "not measured" if one.median_seconds is None else one.median_seconds,
            one.reassigned,
            one.weakest or "",
        )
        for one in quality(review)
    ]
    return Section("How it was reviewed", columns, rows, "Nobody reviewed.")


def renderings(of: Told, digest: str) -> dict[str, bytes]:
    """Render a review as report, PDF and workbook; they name its packet by digest."""
    return {
        REPORT: templates().get_template("review.html.j2").render(of=of, digest=digest).encode(),
        PAPER: _pdf(of, digest),
        WORKBOOK: _workbook(of, digest),
    }


def _pdf(of: Told, digest: str) -> bytes:
    paper = {
        "title": of.title,
        "running": f"{of.title}. {of.source if of.is_evidence else ''}".strip(),
        "warning": None if of.is_evidence else of.source,
        "packet": f"Packet {digest[:12]}",
        "first": [
            pdf.text(of.title, kind="title", matters=True),
            *(pdf.text(sentence) for sentence in of.sentences),
        ],
        "rest": list(_blocks(of)),
    }
    return pdf.typeset(paper, of.made)


def _blocks(of: Told) -> Iterator[pdf.Block]:
    for section in of.sections:
        yield pdf.section(section.name)
        columns = [pdf.TableColumn(head, share) for head, share in section.columns]
        yield from pdf.table(columns, section.rows, section.nothing)


def _workbook(of: Told, digest: str) -> bytes:
    lines = [(of.title, ""), ("Packet", digest), *((sentence, "") for sentence in of.sentences)]
    sheets = [
        workbook.Sheet(
            section.name,
            [
                workbook.SheetColumn(head, max(10, round(share * 1.2)), wraps=share >= 16)
                for head, share in section.columns
            ],
            section.rows,
            section.nothing,
        )
        for section in of.sections
    ]
    return workbook.workbook_of(lines, sheets, of.source, of.title, of.made)
