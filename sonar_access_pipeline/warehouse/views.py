"""The views as tables to select from.

Their SQL stands in the migrations; their columns' types and meanings stand here.

They have a metadata of their own, so that migrations never take them for tables to make.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Date, Integer, MetaData, Table, Text

from sonar_access_pipeline.access.rows import DIM_PROJECT, FCT_FINDING, FCT_USER_ACCESS
from sonar_access_pipeline.warehouse.schema import UtcDateTime, raw_snapshot
from sonar_access_pipeline.warehouse.schema_reviews import (
    fct_follow_up,
    review,
    review_assignment,
    review_decision,
    review_item,
)

metadata = MetaData()


def _column(name: str, meaning: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, comment=meaning)


_MEANINGS = {
    column.name: column.meaning
    for column in (*FCT_FINDING.columns, *FCT_USER_ACCESS.key, *DIM_PROJECT.key)
}


def _known(*names: str) -> list[Column[Any]]:
    return [_column(name, _MEANINGS[name]) for name in names]


def _of(table: Table, *names: str) -> list[Column[Any]]:
    """Take columns from a table that says what they mean."""
    return [_column(name, str(table.c[name].comment), table.c[name].type) for name in names]


ORGANIZATION = ("organization_key", "key of the organization")

observation = Table(
    "observation",
    metadata,
    *(Column(column.name, column.type, comment=column.comment) for column in raw_snapshot.c),
    comment="Snapshots that count: complete, or held and confirmed, and not retracted",
)

sync_coverage = Table(
    "sync_coverage",
    metadata,
    _column(*ORGANIZATION),
    _column("partition_date", "the day, in UTC", Date),
    _column("status", "observed, held, retracted, incomplete, failed or missing"),
    _column("snapshots", "reads that were kept", Integer),
    _column("attempts", "tries", Integer),
    _column("observed_at", "end of the last observation of the day", UtcDateTime),
    _column(
        "lateness_seconds",
        "end of its first observation after the hour it was due; NULL where either is unknown",
        Integer,
    ),
    _column("run_id", "Dagster run that read it"),
    _column("error", "why the day was not observed, in one sentence"),
    _column("imported_from", "digest of the archive that the day came in, if it did"),
    comment=(
        "One day of one organization, from its first try to today or its recorded end: was it"
        " observed, and if not, why"
    ),
)

fct_access_change = Table(
    "fct_access_change",
    metadata,
    _column(*ORGANIZATION),
    *_known("login", "access_type", "resource", "entitlement", "granted_via"),
    _column(
        "kind",
        "first_observed (a baseline: since when is not known); joined, returned (joined after"
        " having left), left, renamed (a durable id proves that it is the same account);"
        " added_to_group, removed_from_group; promoted, demoted (began or ceased to administer the"
        " organization, by whatever way); permission_granted, permission_revoked",
    ),
    _column("detail", "of a renamed account, what it was called before or is called now"),
    _column("closes", "whether it is the end of the access row, not its begin", Boolean),
    _column("changed_on", "the day of the first observation after the change, in UTC", Date),
    _column(
        "changed_after",
        "start of the observation before the change; NULL for first_observed",
        UtcDateTime,
    ),
    _column("changed_by", "end of the first observation after the change", UtcDateTime),
    comment="One access row that opened or closed, and the two observations between which it did",
)

current_access = Table(
    "current_access",
    metadata,
    _column(*ORGANIZATION),
    _column("organization_name", "display name of the organization"),
    *_known("login"),
    _column("user_name", "display name of the account"),
    *_known("access_type", "resource"),
    _column("resource_name", "display name of the resource"),
    *_known("entitlement", "granted_via"),
    _column("granted_via_name", "display name of the group that grants it"),
    _column("valid_from", "first observation that shows it", UtcDateTime),
    _column(
        "changed_after",
        "start of the observation before that one; NULL at the baseline",
        UtcDateTime,
    ),
    _column(
        "last_observed_at",
        "end of the last observation of its scope: how old this answer is",
        UtcDateTime,
    ),
    comment="Every access row that the last observation of its scope shows, with names",
)

user_project_access = Table(
    "user_project_access",
    metadata,
    _column(*ORGANIZATION),
    *_known("login", "project_key"),
    _column("permission", "permission key"),
    *_known("granted_via"),
    _column("valid_from", "first observation that shows it", UtcDateTime),
    _column(
        "valid_to", "first observation that no longer shows it; NULL while it shows", UtcDateTime
    ),
    _column(
        "changed_after",
        "start of the observation before valid_from; NULL at the baseline",
        UtcDateTime,
    ),
    _column(
        "last_seen_at", "start of the observation before valid_to; NULL while it shows", UtcDateTime
    ),
    comment=(
        "Every right of an account on a project, itself or through a group: grants and memberships"
        " intersected in time, between observations that read the permissions on projects"
    ),
)

finding_period = Table(
    "finding_period",
    metadata,
    _column(*ORGANIZATION),
    *_known("rule_id", "subject_type", "subject", "result"),
    _column(
        "valid_from",
        "first observation of which the rule answers so: since when a finding fails",
        UtcDateTime,
    ),
    _column(
        "valid_to",
        "first observation of which it answers otherwise; NULL while it answers so",
        UtcDateTime,
    ),
    _column(
        "changed_after",
        "start of the observation before valid_from; NULL at the baseline",
        UtcDateTime,
    ),
    _column(
        "last_seen_at",
        "start of the observation before valid_to; NULL while it answers so",
        UtcDateTime,
    ),
    comment=(
        "One answer of one rule about one subject, however its words, its thresholds and the policy"
        " changed meanwhile"
    ),
)


def _last_observed() -> Column[Any]:
    return _column(
        "last_observed_at", "end of the last observation: how old this answer is", UtcDateTime
    )


current_account = Table(
    "current_account",
    metadata,
    _column(*ORGANIZATION),
    *_known("login"),
    _column("name", "display name, where the member list shows the account"),
    _column("provider", "identity provider that signs it in; NULL where that was not read last"),
    _column("is_member", "whether the member list shows it", Boolean),
    _column(
        "is_organization_admin",
        "whether any of its permissions is to administer the organization",
        Boolean,
    ),
    _column(
        "admin_through", "each way in which it does: direct, or through which group; else empty"
    ),
    _column(
        "is_admin_by_sonarcloud",
        "SonarCloud's own statement in the member list, for comparison",
        Boolean,
    ),
    _column("groups", "names of its groups"),
    _column("organization_permissions", "its permissions on the organization, each with its way"),
    _column(
        "project_admin_count",
        "how many projects it administers, in every way; NULL where projects were not read last",
        Integer,
    ),
    _column("first_seen", "first observation that shows a right of it", UtcDateTime),
    _column(
        "access_unchanged_since",
        "observation since which all its rights are as they are",
        UtcDateTime,
    ),
    _column(
        "last_change",
        "last observation that shows a change of its rights; NULL where none does",
        UtcDateTime,
    ),
    _last_observed(),
    comment=(
        "One account that any list of the last observation names, as in population.csv of a packet"
        " (which has e-mail address, kind and owner besides: an address is for reviewers, the"
        " others are the policy's)"
    ),
)

current_finding = Table(
    "current_finding",
    metadata,
    _column(*ORGANIZATION),
    *_known("rule_id", "rule_version"),
    _column("title", "what the rule finds, as a sentence without its subject"),
    *_known("severity"),
    _column("result", "fail, or not_evaluable: nobody can tell, and detail says why"),
    *_known("subject_type", "subject"),
    _column("name", "display name of the account or group"),
    *_known("detail"),
    _column(
        "failing_since",
        "first observation of an unbroken line in which the rule failed for the subject",
        UtcDateTime,
    ),
    _column(
        "changed_after",
        "start of the observation before that one; NULL at the baseline",
        UtcDateTime,
    ),
    _last_observed(),
    comment=(
        "One thing that a rule finds in the last observation, or that it cannot tell. Rules of a"
        " window are asked for a packet only, and exceptions are the policy's: neither is here"
    ),
)

daily_count = Table(
    "daily_count",
    metadata,
    _column(*ORGANIZATION),
    _column("partition_date", "the day, in UTC", Date),
    _column("status", "what became of the day, as in sync_coverage"),
    _column(
        "observed_at",
        "end of the day's last observation; NULL where there is none, or history lacks it still",
        UtcDateTime,
    ),
    _column("members", "accounts in the member list", Integer),
    _column("admins", "accounts that administer the organization, by whatever way", Integer),
    _column("groups", "groups", Integer),
    _column("group_members", "accounts in groups, once for each group", Integer),
    _column("organization_permissions", "ways in which accounts hold permissions on it", Integer),
    _column("projects", "projects; NULL where they were not read", Integer),
    _column(
        "project_permissions",
        "permissions of accounts themselves on projects; NULL where they were not read",
        Integer,
    ),
    _column("failing", "what rules of an observation find", Integer),
    _column("not_evaluable", "what they cannot tell", Integer),
    comment=(
        "How many there were of each, day by day, from the first day to today: a day that was not"
        " observed counts nothing, and is not filled in from its neighbours"
    ),
)

review_item_status = Table(
    "review_item_status",
    metadata,
    _column(*ORGANIZATION),
    *_of(review_item, "review_id", "item_no", "kind", "subject", "name", "right", "resource"),
    *_of(review_item, "shown", "change_class", "left_out_why"),
    *_of(review_assignment, "reviewer", "basis"),
    *_of(review_decision, "decision_id", "decision", "remove", "reason", "decided_by", "strength"),
    *_of(review_decision, "decided_at", "due_at"),
    _column("state", "left out, open, decided, or signed by its reviewer"),
    comment="One item of one review: who is to decide it, and what is in force",
)

review_status = Table(
    "review_status",
    metadata,
    *_of(review, "review_id", "organization_key", "series", "scope", "packet_digest", "as_of"),
    *_of(review, "due", "items", "left_out", "owner", "opened_at"),
    _column("undecided", "items without a decision", Integer),
    _column("kept", "items to keep", Integer),
    _column("changed", "items of which something is to go", Integer),
    _column("revoked", "items that are to go", Integer),
    _column("reviewers", "people who have an item", Integer),
    _column("signed", "those of them who signed what they decided", Integer),
    _column("acknowledged_at", "when the owner acknowledged it", UtcDateTime),
    _column("ended_at", "when it was sealed, closed or cancelled", UtcDateTime),
    _column(
        "state",
        "open, decided, signed, acknowledged, sealed, closed incomplete or cancelled",
    ),
    comment="One review, and how far it is",
)

follow_up = Table(
    "follow_up",
    metadata,
    _column(*ORGANIZATION),
    *_of(review_item, "review_id", "item_no", "kind", "subject", "right", "resource"),
    *_of(review_decision, "decision_id", "decision", "remove", "decided_by", "decided_at"),
    _column("state", "open, done, late, returned, look-alike or not observable"),
    *_of(fct_follow_up, "due_at", "last_shown", "first_not_shown"),
    _column("observed_from", "first observation of which this state holds", UtcDateTime),
    comment="One thing that a review decided to remove, and what observations say of it",
)

_ACCESS_KEY = ("organization_key", *(column.name for column in FCT_USER_ACCESS.key))

KEYS = {
    "observation": ("snapshot_id",),
    "sync_coverage": ("organization_key", "partition_date"),
    "fct_access_change": (*_ACCESS_KEY, "closes", "changed_by"),
    "current_access": _ACCESS_KEY,
    "user_project_access": (
        "organization_key",
        "login",
        "project_key",
        "permission",
        "granted_via",
        "valid_from",
    ),
    "finding_period": ("organization_key", "rule_id", "subject_type", "subject", "valid_from"),
    "review_item_status": ("review_id", "item_no"),
    "review_status": ("review_id",),
    "follow_up": ("decision_id",),
    "current_account": ("organization_key", "login"),
    "current_finding": ("organization_key", "rule_id", "subject_type", "subject"),
    "daily_count": ("organization_key", "partition_date"),
}
"""The columns that name one row of each view, in the order in which views build on each other."""
VIEWS = tuple(KEYS)
"""Every view, in that order."""


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns that name one row of a table or view."""
    return KEYS.get(table.name) or tuple(column.name for column in table.primary_key)
