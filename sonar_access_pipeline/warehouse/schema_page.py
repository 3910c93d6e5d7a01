"""What the reviewers' page keeps: who was let in and until when, and who saw and did what.

A secret is kept as its digest alone. Nothing is changed: what ends a session, or uses a link, is a
row of its own.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, Table, Text

from sonar_access_pipeline.warehouse.schema_base import UtcDateTime, column, metadata, required

page_entry = Table(
    "page_entry",
    metadata,
    column("token_sha256", "digest of the secret that is shown to come in", primary_key=True),
    required("kind", "link: mailed, good for one use; session: in a browser's cookie"),
    required("person", "who: an e-mail address or a login"),
    required("strength", "how it is known who that is"),
    required("made_at", "when it was given out", UtcDateTime),
    required("ends_at", "until when it is good", UtcDateTime),
    CheckConstraint("kind IN ('link', 'session')", name="kind"),
    comment="What lets somebody in to the reviewers' page; append-only",
)

page_end = Table(
    "page_end",
    metadata,
    Column(
        "token_sha256",
        Text,
        ForeignKey("page_entry.token_sha256"),
        primary_key=True,
        comment="what is not good any more",
    ),
    required("ended_at", "when: a link was used, somebody left", UtcDateTime),
    comment="Links that were used and sessions that were left; append-only",
)

page_event = Table(
    "page_event",
    metadata,
    column("event_id", "number in the order of noting", Integer, primary_key=True),
    required("at", "when", UtcDateTime),
    required("person", "who: an e-mail address or a login"),
    required("strength", "how it is known who that is"),
    required("what", "what was asked for: saw, decided, kept several, assigned, signed and so on"),
    column("review_id", "of which review; NULL where of none", Integer),
    column("item_no", "of which item; NULL where of none", Integer),
    required("status", "how it was answered, as HTTP says it", Integer),
    comment="Who saw and did what on the reviewers' page; append-only",
)

PAGE_TABLES = (page_entry, page_end, page_event)
"""Every table of the page."""
