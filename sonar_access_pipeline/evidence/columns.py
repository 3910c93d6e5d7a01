"""The columns of a packet's CSV files: what each means, how wide it is shown, and since which
format there is it.

A name means the same in every file. Add here: a column, with the format that brings it
(`tables.FORMATS`); its rows get it where they are made (`facts.py`, `warehouse/ask/proof.py`,
`warehouse/ask/queries.py`). Everything else follows from here: the CSV files of each format,
sheets, the README of a packet and `docs/packet-dictionary.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FIRST_FORMAT = 3
"""The format of the first release."""
WIDE = 26
WIDER = 40
WIDEST = 60


@dataclass(frozen=True)
class PacketColumn:
    """A column: what it means; its width on a sheet, in characters; whether people see the day of
    it only; its first format.
    """

    meaning: str
    width: int = 18
    is_day: bool = False
    since: int = FIRST_FORMAT


COLUMNS: Mapping[str, PacketColumn] = {
    "source": PacketColumn(
        "sonarcloud, or what else the row comes from: then it is no evidence about SonarCloud"
    ),
    "organization_key": PacketColumn("key of the organization"),
    # Who.
    "login": PacketColumn(
        "login of the account, as SonarCloud writes it; empty in a row that is about no account",
        WIDE,
    ),
    "name": PacketColumn(
        "display name of whom the row is about, account or group, as it was known last", WIDE
    ),
    "email": PacketColumn("e-mail address, where SonarCloud gives it", WIDE),
    "provider": PacketColumn(
        "identity provider that signs the account in, where SonarCloud gives it"
    ),
    "account_type": PacketColumn(
        "service where the policy names an owner, human where the roster knows it, else unknown"
    ),
    "owner": PacketColumn("who answers for a service account, as the policy says"),
    "is_member": PacketColumn("whether the organization's member list shows it"),
    "is_organization_admin": PacketColumn(
        "whether any of its permissions is to administer the organization"
    ),
    "admin_through": PacketColumn(
        "each way in which it administers the organization: direct, or through which group", WIDE
    ),
    "is_admin_by_sonarcloud": PacketColumn(
        "SonarCloud's own statement in the member list, for comparison"
    ),
    "groups": PacketColumn("names of its groups", WIDER),
    "organization_permissions": PacketColumn(
        "its permissions on the organization, each with its way", WIDER
    ),
    "project_admin_count": PacketColumn("how many projects it administers, in every way"),
    "first_seen": PacketColumn("first observation that shows a right of it", is_day=True),
    "access_unchanged_since": PacketColumn(
        "observation since which all its rights are as they are", is_day=True
    ),
    "last_change": PacketColumn("last observation that shows a change of its rights", is_day=True),
    "unknown": PacketColumn("which columns of the row are empty because nobody told", WIDE),
    # What it may do.
    "principal_type": PacketColumn("user, group or anyone"),
    "access_type": PacketColumn("membership, group, organization_permission or project_permission"),
    "resource": PacketColumn(
        "what the right is on: organization key, group id or project key", WIDE
    ),
    "resource_name": PacketColumn("name of that organization, group or project", WIDE),
    "entitlement": PacketColumn("member, or the key of the permission"),
    "granted_via": PacketColumn("direct, or group: and the id of the group"),
    "granted_via_name": PacketColumn("name of that group", WIDE),
    # Since when.
    "kind": PacketColumn(
        "kind of the change: joined, left, promoted and so on (docs/evidence.md lists them)"
    ),
    "valid_from": PacketColumn("first observation that shows it"),
    "changed_after": PacketColumn(
        "start of the observation before: it was otherwise then; empty at the baseline"
    ),
    "changed_by": PacketColumn(
        "first observation that shows it as it is since: the change lies between the two"
    ),
    "detail": PacketColumn("what else there is to say, in words", WIDEST),
    # What rules answer.
    "rule_id": PacketColumn("the rule (docs/findings.md)"),
    "rule_version": PacketColumn("version of the rule that was asked"),
    "title": PacketColumn("what the rule finds, as a sentence without its subject", 48),
    "severity": PacketColumn("high, medium or low"),
    "result": PacketColumn("fail, pass, or not_evaluable: nobody can tell, and detail says why"),
    "subject_type": PacketColumn(
        "account, group, anyone, or organization where the rule answers for all"
    ),
    "threshold": PacketColumn("what the policy measures by, where the rule measures"),
    "policy_version": PacketColumn("version of the policy in force; 0 is the defaults"),
    "failing_since": PacketColumn(
        "first observation of an unbroken line in which the rule failed for the subject"
    ),
    "exception_by": PacketColumn("who answers for the finding"),
    "exception_why": PacketColumn("why"),
    "exception_until": PacketColumn("last day on which that holds"),
    "exception_ended": PacketColumn(
        "day on which it ended, by its date or because a later policy does not name it"
    ),
    # What was reviewed.
    "review_id": PacketColumn("number of the review", since=4),
    "series": PacketColumn("which series of reviews it belongs to", since=4),
    "scope": PacketColumn("what the review is about: everybody, admins or services", since=4),
    "state": PacketColumn(
        "how far it is. A review: open, decided, signed, acknowledged, sealed, closed incomplete or"
        " cancelled. What is to go: open, late, done, returned, look-alike or not observable",
        since=4,
    ),
    "opened_at": PacketColumn("when the review was opened", is_day=True, since=4),
    "due": PacketColumn("last day on which the review is in time", since=4),
    "reviewed_packet": PacketColumn("digest of the packet that the review is about", since=4),
    "reviewed_as_of": PacketColumn("observation that the review is about", is_day=True, since=4),
    "items": PacketColumn("how many things are to decide", since=4),
    "undecided": PacketColumn("how many of them nobody decided", since=4),
    "to_go": PacketColumn("of how many something is to go", since=4),
    "reviewers": PacketColumn("how many people have something to decide", since=4),
    "signed": PacketColumn("how many of them signed what they decided", since=4),
    "ended_at": PacketColumn(
        "when the review was sealed, closed or cancelled", is_day=True, since=4
    ),
    "review_packet": PacketColumn("digest of the packet that the review was sealed as", since=4),
    "item_no": PacketColumn("number of the item in the review", since=4),
    "item_kind": PacketColumn("account, privilege or grant", since=4),
    "decision": PacketColumn("change or revoke", since=4),
    "removed": PacketColumn("what of it was to go; empty where all of it", WIDE, since=4),
    "decided_by": PacketColumn("who decided", WIDE, since=4),
    "decided_at": PacketColumn("when", since=4),
    "due_at": PacketColumn("until when it was to be gone", since=4),
    "state_since": PacketColumn("first observation of which that state holds", since=4),
    "last_shown": PacketColumn("last observation that shows it, once it is gone", since=4),
    "first_not_shown": PacketColumn("first observation that does not show it any more", since=4),
    # What was observed.
    "day": PacketColumn("UTC day"),
    "status": PacketColumn(
        "of a day: observed, held, retracted, incomplete, failed, missing, not_expected. Of an"
        " answer: HTTP status"
    ),
    "snapshots": PacketColumn("how many snapshots the day has"),
    "attempts": PacketColumn("how often the day, or the request, was tried"),
    "observed_at": PacketColumn("end of the day's last observation"),
    "run_id": PacketColumn("Dagster run of it", 38),
    "error": PacketColumn(
        "why the day was not observed: of its last try, its snapshot, or the decision about it",
        WIDEST,
    ),
    "imported_from": PacketColumn(
        "digest of the archive in which the observation came, where another warehouse read it"
    ),
    "sequence": PacketColumn("number of the request within its snapshot"),
    "list_name": PacketColumn("which list was asked for"),
    "subject": PacketColumn(
        "what it is about: login, group id, project key, Anyone, organization key, or a limit in"
        " words",
        WIDER,
    ),
    "reading": PacketColumn("how many times the list had been begun by then"),
    "endpoint": PacketColumn("address that was asked, below the host"),
    "params": PacketColumn("parameters of the request"),
    "page": PacketColumn("number of the page"),
    "started_at": PacketColumn("when it was asked"),
    "duration_ms": PacketColumn("milliseconds until the whole answer was there"),
    "server_time": PacketColumn("SonarCloud's own clock, as the answer says"),
    "rows": PacketColumn("rows in the answer"),
    "reported_total": PacketColumn("rows of the whole list, as SonarCloud says"),
    "body_sha256": PacketColumn("SHA-256 of the answer's body, as it is kept"),
    # What adds up.
    "check": PacketColumn("which kind of comparison", 36),
    "what": PacketColumn("what is compared", 48),
    "reported": PacketColumn(
        "what SonarCloud says that there is; of list against list, the first list"
    ),
    "extracted": PacketColumn("what came; of list against list, the second list"),
    "stored": PacketColumn(
        "what the warehouse shows, or what follows from what it showed before and what changed"
    ),
    "delivered": PacketColumn("what this packet shows"),
    "passed": PacketColumn(
        "whether what is compared agrees; empty where nobody can tell, as detail says"
    ),
    # What is not there.
    "observed": PacketColumn("no, or in part"),
    "why": PacketColumn("why", 90),
}
"""Every column of every file, by its name."""
