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
class Column:
    """A column: what it means; its width on a sheet, in characters; whether people see the day of
    it only; its first format.
    """

    meaning: str
    width: int = 18
    is_day: bool = False
    since: int = FIRST_FORMAT


COLUMNS: Mapping[str, Column] = {
    "source": Column(
        "sonarcloud, or what else the row comes from: then it is no evidence about SonarCloud"
    ),
    "organization_key": Column("key of the organization"),
    # Who.
    "login": Column(
        "login of the account, as SonarCloud writes it; empty in a row that is about no account",
        WIDE,
    ),
    "name": Column(
        "display name of whom the row is about, account or group, as it was known last", WIDE
    ),
    "email": Column("e-mail address, where SonarCloud gives it", WIDE),
    "provider": Column("identity provider that signs the account in, where SonarCloud gives it"),
    "account_type": Column(
        "service where the policy names an owner, human where the roster knows it, else unknown"
    ),
    "owner": Column("who answers for a service account, as the policy says"),
    "is_member": Column("whether the organization's member list shows it"),
    "is_organization_admin": Column(
        "whether any of its permissions is to administer the organization"
    ),
    "admin_through": Column(
        "each way in which it administers the organization: direct, or through which group", WIDE
    ),
    "is_admin_by_sonarcloud": Column(
        "SonarCloud's own statement in the member list, for comparison"
    ),
    "groups": Column("names of its groups", WIDER),
    "organization_permissions": Column(
        "its permissions on the organization, each with its way", WIDER
    ),
    "project_admin_count": Column("how many projects it administers, in every way"),
    "first_seen": Column("first observation that shows a right of it", is_day=True),
    "access_unchanged_since": Column(
        "observation since which all its rights are as they are", is_day=True
    ),
    "last_change": Column("last observation that shows a change of its rights", is_day=True),
    "unknown": Column("which columns of the row are empty because nobody told", WIDE),
    # What it may do.
    "principal_type": Column("user, group or anyone"),
    "access_type": Column("membership, group, organization_permission or project_permission"),
    "resource": Column("what the right is on: organization key, group id or project key", WIDE),
    "resource_name": Column("name of that organization, group or project", WIDE),
    "entitlement": Column("member, or the key of the permission"),
    "granted_via": Column("direct, or group:<group id>"),
    "granted_via_name": Column("name of that group", WIDE),
    # Since when.
    "kind": Column(
        "kind of the change: joined, left, promoted and so on (docs/evidence.md lists them)"
    ),
    "valid_from": Column("first observation that shows it"),
    "changed_after": Column(
        "start of the observation before: it was otherwise then; empty at the baseline"
    ),
    "changed_by": Column(
        "first observation that shows it as it is since: the change lies between the two"
    ),
    "detail": Column("what else there is to say, in words", WIDEST),
    # What rules answer.
    "rule_id": Column("the rule (docs/findings.md)"),
    "rule_version": Column("version of the rule that was asked"),
    "title": Column("what the rule finds, as a sentence without its subject", 48),
    "severity": Column("high, medium or low"),
    "result": Column("fail, pass, or not_evaluable: nobody can tell, and detail says why"),
    "subject_type": Column(
        "account, group, anyone, or organization where the rule answers for all"
    ),
    "threshold": Column("what the policy measures by, where the rule measures"),
    "policy_version": Column("version of the policy in force; 0 is the defaults"),
    "failing_since": Column(
        "first observation of an unbroken line in which the rule failed for the subject"
    ),
    "exception_by": Column("who answers for the finding"),
    "exception_why": Column("why"),
    "exception_until": Column("last day on which that holds"),
    "exception_ended": Column(
        "day on which it ended, by its date or because a later policy does not name it"
    ),
    # What was observed.
    "day": Column("UTC day"),
    "status": Column(
        "of a day: observed, held, retracted, incomplete, failed, missing, not_expected. Of an"
        " answer: HTTP status"
    ),
    "snapshots": Column("how many snapshots the day has"),
    "attempts": Column("how often the day, or the request, was tried"),
    "observed_at": Column("end of the day's last observation"),
    "run_id": Column("Dagster run of it", 38),
    "error": Column(
        "why the day was not observed: of its last try, its snapshot, or the decision about it",
        WIDEST,
    ),
    "imported_from": Column(
        "digest of the archive in which the observation came, where another warehouse read it"
    ),
    "sequence": Column("number of the request within its snapshot"),
    "list_name": Column("which list was asked for"),
    "subject": Column(
        "what it is about: login, group id, project key, Anyone, organization key, or a limit in"
        " words",
        WIDER,
    ),
    "reading": Column("how many times the list had been begun by then"),
    "endpoint": Column("address that was asked, below the host"),
    "params": Column("parameters of the request"),
    "page": Column("number of the page"),
    "started_at": Column("when it was asked"),
    "duration_ms": Column("milliseconds until the whole answer was there"),
    "server_time": Column("SonarCloud's own clock, as the answer says"),
    "rows": Column("rows in the answer"),
    "reported_total": Column("rows of the whole list, as SonarCloud says"),
    "body_sha256": Column("SHA-256 of the answer's body, as it is kept"),
    # What adds up.
    "check": Column("which kind of comparison", 36),
    "what": Column("what is compared", 48),
    "reported": Column("what SonarCloud says that there is; of list against list, the first list"),
    "extracted": Column("what came; of list against list, the second list"),
    "stored": Column(
        "what the warehouse shows, or what follows from what it showed before and what changed"
    ),
    "delivered": Column("what this packet shows"),
    "passed": Column(
        "whether what is compared agrees; empty where nobody can tell, as detail says"
    ),
    # What is not there.
    "observed": Column("no, or in part"),
    "why": Column("why", 90),
}
"""Every column of every file, by its name."""
