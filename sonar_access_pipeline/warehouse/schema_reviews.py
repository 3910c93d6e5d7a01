"""The tables of access reviews: facts that people state, each kept as it was said.

Add here: a fact of a review. What follows from facts is derived in `access/review/`; how they are
written and read is `reviews/`. Whoever supersedes a fact names it: unique keys keep each line
without forks, whoever writes, and however many at once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from sonar_access_pipeline.warehouse.schema_base import (
    UtcDateTime,
    column,
    metadata,
    required,
    where,
)


def _of_review(**options: Any) -> Column[int]:
    return Column(
        "review_id",
        ForeignKey("review.review_id"),
        nullable=False,
        comment="the review it belongs to",
        **options,
    )


def _of_item() -> tuple[Column[int], Column[int], ForeignKeyConstraint]:
    return (
        required("review_id", "the review it belongs to", Integer),
        required("item_no", "the item it is about", Integer),
        ForeignKeyConstraint(
            ["review_id", "item_no"], ["review_item.review_id", "review_item.item_no"]
        ),
    )


def _line(
    table: str, number: str
) -> tuple[UniqueConstraint, ForeignKeyConstraint, CheckConstraint]:
    """Keep each line within one item: what supersedes a fact is of the same item, and later."""
    item = ("review_id", "item_no")
    return (
        UniqueConstraint(number, *item),
        ForeignKeyConstraint(
            ["supersedes", *item],
            [f"{table}.{column}" for column in (number, *item)],
            name=f"fk_{table}_line",
        ),
        CheckConstraint(f"supersedes < {number}", name="line"),
    )


review = Table(
    "review",
    metadata,
    column("review_id", "number in the order of opening", Integer, primary_key=True),
    required("organization_key", "key of the organization", index=True),
    required("series", "name of the series that it belongs to"),
    required("scope", "everybody, admins or services"),
    required("packet_digest", "digest of the sealed packet that it is about"),
    required("packet_location", "where that packet lay"),
    required("source_kind", "sonarcloud, simulated or other"),
    required("as_of", "the observation that it is about", UtcDateTime),
    required("due", "the last day, in UTC, on which it is in time", Date),
    required("items", "things to decide", Integer),
    required("left_out", "things it does not ask about, each with its reason", Integer),
    column("owner", "who answers for the whole, and acknowledges it"),
    required("fallback", "who decides what nobody else could"),
    required("policy_version", "the policy in force at the observation", Integer),
    column(
        "previous_review_id",
        "the last signed review of the organization before it",
        Integer,
    ),
    required("opened_by", "who opened it, as they said"),
    required("opened_at", "when", UtcDateTime),
    CheckConstraint("scope IN ('everybody', 'admins', 'services')", name="scope"),
    comment="One review of access, pinned to a sealed packet; append-only",
)

review_item = Table(
    "review_item",
    metadata,
    _of_review(primary_key=True),
    column("item_no", "number in the review", Integer, primary_key=True),
    required("kind", "account, privilege or grant"),
    required("subject", "login; of a grant the group, as group: and its id, or Anyone"),
    required("right", "the privileged right; empty for an account and a grant"),
    required("resource", "what it is on: organization key or project key; empty for an account"),
    column("name", "display name of the subject, as it was shown"),
    required("held", "each right with the way to it, as JSON: what a decision is on"),
    required("shown", "the same in words with names, as the reviewer sees it"),
    required("findings", "findings of the subject that fail, as JSON"),
    column("unchanged_since", "since when all its rights are as they are, as was shown"),
    required("item_digest", "digest of what a decision is on"),
    required("change_class", "what is new about it since the last signed review"),
    column("left_out_why", "why it is not asked about; NULL where it is"),
    column("previous_decision_id", "the decision in force of the same item last time", Integer),
    UniqueConstraint("subject", "kind", "right", "resource", "review_id"),
    CheckConstraint("kind IN ('account', 'privilege', 'grant')", name="kind"),
    comment="One thing to decide in a review, or left out with its reason; append-only",
)

review_assignment = Table(
    "review_assignment",
    metadata,
    column("assignment_id", "number in the order of assigning", Integer, primary_key=True),
    *_of_item(),
    required("reviewer", "who is to decide: an e-mail address or a login"),
    required("basis", "why they"),
    required("assigned_by", "who assigned it; sonar-access where a rule did"),
    required("reason", "why, in words; empty where a rule did"),
    required("assigned_at", "when", UtcDateTime),
    Column(
        "supersedes",
        Integer,
        unique=True,
        comment="the assignment in whose place it is; NULL for the first of an item",
    ),
    *_line("review_assignment", "assignment_id"),
    Index("ix_review_assignment_review_id_item_no", "review_id", "item_no"),
    Index(
        "uq_review_assignment_root",
        "review_id",
        "item_no",
        unique=True,
        **where("supersedes IS NULL"),
    ),
    comment="Who is to decide an item, from when; a line without forks per item; append-only",
)

review_decision = Table(
    "review_decision",
    metadata,
    column("decision_id", "number in the order of deciding", Integer, primary_key=True),
    *_of_item(),
    required("decision", "keep, change or revoke"),
    required("remove", "of a change, the rights that are to go, as JSON"),
    required("reason", "why, in the reviewer's words; empty where none was needed"),
    required("decided_by", "who: an e-mail address or a login"),
    required("strength", "how that is known: signed, verified, mailed or declared"),
    required("channel", "command, sheet or page"),
    column("file_sha256", "digest of the sheet that it came in"),
    column("batch", "what several decisions that were taken at once have in common"),
    column("seconds", "how long the item was looked at; NULL where nobody measured", Float),
    required("item_digest", "digest of what was shown to the reviewer"),
    required("decided_at", "when", UtcDateTime),
    column("due_at", "until when what is to go is to be gone; NULL where nothing is", UtcDateTime),
    Column(
        "supersedes",
        Integer,
        unique=True,
        comment="the decision in whose place it is; NULL for the first of an item",
    ),
    *_line("review_decision", "decision_id"),
    Index("ix_review_decision_review_id_item_no", "review_id", "item_no"),
    Index(
        "uq_review_decision_root",
        "review_id",
        "item_no",
        unique=True,
        **where("supersedes IS NULL"),
    ),
    CheckConstraint("decision IN ('keep', 'change', 'revoke')", name="decision"),
    CheckConstraint("strength IN ('signed', 'verified', 'mailed', 'declared')", name="strength"),
    comment="One decision of an item; a line without forks per item; append-only",
)

review_signoff = Table(
    "review_signoff",
    metadata,
    column("signoff_id", "number in the order of signing", Integer, primary_key=True),
    _of_review(),
    required("part", "reviewer or owner"),
    required("signer", "who: an e-mail address or a login"),
    required("text_version", "version of the sentence that was signed", Integer),
    required("statement", "the statement, canonical JSON; it names items by digest", Text),
    required("statement_sha256", "its digest"),
    required("items", "items in it", Integer),
    required("strength", "how it is known who signed"),
    column("signature", "SSH signature of the statement; NULL where it is declared"),
    column("key_fingerprint", "fingerprint of the key that signed"),
    required("signed_at", "when", UtcDateTime),
    UniqueConstraint("review_id", "part", "signer", "statement_sha256"),
    CheckConstraint("part IN ('reviewer', 'owner')", name="part"),
    comment="A reviewer's sign-off, or the owner's acknowledgement; append-only",
)

review_event = Table(
    "review_event",
    metadata,
    column("event_id", "number in the order of noting", Integer, primary_key=True),
    _of_review(index=True),
    required(
        "event",
        "opened, closed incomplete, cancelled, sealed, reminded, escalated, sheet read, noted or"
        " imported",
    ),
    column("item_no", "the item that a note is about; NULL where it is none", Integer),
    required("noted_by", "who; sonar-access where a rule did"),
    required(
        "reason",
        "why, in words; of a sealed one, the digest of its packet; of one that was reminded or"
        " escalated, to whom, by digest; of a sheet or an archive, its digest",
    ),
    required("noted_at", "when", UtcDateTime),
    comment="What happened to a review as a whole; append-only",
)

fct_follow_up = Table(
    "fct_follow_up",
    metadata,
    column("organization_key", "key of the organization", primary_key=True),
    column("review_id", "the review that demands it", Integer, primary_key=True),
    column("item_no", "the item whose decision demands it", Integer, primary_key=True),
    required("decision_id", "that decision", Integer),
    required("subject", "whose right is to go: login, group: and its id, or Anyone"),
    required("state", "open, done, late, returned, look-alike or not observable"),
    required("due_at", "until when it is to be gone", UtcDateTime),
    column(
        "last_shown",
        "the last observation that shows it, before it was gone; NULL while it is shown",
        UtcDateTime,
    ),
    column(
        "first_not_shown",
        "the first observation that shows it gone; NULL while it is shown",
        UtcDateTime,
    ),
    column("valid_from", "first observation of which this holds", UtcDateTime, primary_key=True),
    column(
        "valid_to", "first observation of which it no longer holds; NULL while it does", UtcDateTime
    ),
    Column(
        "is_current",
        Boolean,
        Computed("valid_to IS NULL", persisted=True),
        comment="valid_to IS NULL",
    ),
    column(
        "changed_after",
        "start of the observation before valid_from; NULL where there is none",
        UtcDateTime,
    ),
    column(
        "last_seen_at",
        "start of the observation before valid_to; NULL while it holds",
        UtcDateTime,
    ),
    ForeignKeyConstraint(
        ["organization_key", "valid_from"],
        ["raw_snapshot.organization_key", "raw_snapshot.observed_at"],
        name="fk_fct_follow_up_valid_from",
    ),
    CheckConstraint("valid_from < valid_to", name="interval"),
    comment="History of what reviews demand, and whether an observation shows it gone",
)

REVIEW_TABLES = (
    review,
    review_item,
    review_assignment,
    review_decision,
    review_signoff,
    review_event,
)
"""Every table of facts of reviews."""
PEOPLE = {
    review: ("owner", "fallback", "opened_by"),
    review_item: ("subject",),
    review_assignment: ("reviewer", "assigned_by"),
    review_decision: ("decided_by",),
    review_signoff: ("signer",),
    review_event: ("noted_by",),
}
"""Where the facts of reviews name people: what a redaction may put a pseudonym into, and nothing
else. What is signed names items by digest, so a signature outlives it.
"""
