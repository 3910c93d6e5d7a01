"""OSCAL assessment results (NIST, 1.2.1, JSON): reviews and what rules say as observations, what
fails and what is still to be removed as findings; what nobody can tell is an observation alone.

Schema: usnistgov/OSCAL 1.2.1, as oscal-compass/compliance-trestle @0e354a51 carries it. Every id
follows from what it names, so that the same packet gives the same file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

from sonar_access_pipeline.access.review.follow_up import FollowUpState
from sonar_access_pipeline.deliveries.plans import Outcome, Prepared
from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.deliveries.targets.files import named, put
from sonar_access_pipeline.settings_delivery import DeliverySettings

VERSION = "1.2.1"
OURS = UUID("6f6d3a0e-4d0b-5c2e-9d2f-0a7c9b1f5e11")
NAMESPACE = "https://sonar-access-pipeline.invalid/oscal"
CONTROLS = ("ac-2", "ac-5", "ac-6")
"""NIST SP 800-53: account management, separation of duties, least privilege."""
REVIEW, REMOVAL, PRIVILEGE = "ac-2_smt.j", "ac-2_smt.f", "ac-6_smt"
"""The statements that are answered: accounts are reviewed; they are changed as decided; privileges
are the least.
"""
GONE = frozenset({FollowUpState.DONE.value})
UNTOLD = frozenset({FollowUpState.NOT_OBSERVABLE.value, FollowUpState.LOOK_ALIKE.value})
"""States of which nobody can tell whether it is gone."""
Row = Mapping[str, str]


class OscalTarget:
    """A file of assessment results in a folder or an object store."""

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        self.where = str(settings.to)

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Write the packet as assessment results."""
        document = assessment_results(packet)
        body = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n"
        results = document["assessment-results"]["results"][0]
        name = f"{packet.organization_key}-{packet.last_day}-oscal"
        return Prepared([named(name, "json", packet, body, len(results["observations"]))])

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Write the file, and read it back."""
        return put(self.where, prepared)


def assessment_results(packet: SealedPacket) -> dict[str, Any]:
    """Write a packet as a document of the model `assessment-results`."""
    at = _moment(packet)
    resource = _id(packet, "packet", packet.digest)
    observations = [
        _summary(packet),
        *_of_reviews(packet),
        *_of_rules(packet),
        *_of_follow_ups(packet),
    ]
    findings = [*_failing(packet), *_to_remove(packet)]
    result = {
        "uuid": _id(packet, "result", packet.digest),
        "title": f"Access to {packet.organization_key} on SonarQube Cloud",
        "description": (
            f"As observed at {at}, in the window from {packet.first_day} to {packet.last_day}"
            " (UTC)."
        ),
        "start": f"{packet.first_day}T00:00:00Z",
        "end": at,
        "reviewed-controls": {
            "control-selections": [
                {"include-controls": [{"control-id": control} for control in CONTROLS]}
            ]
        },
        "observations": observations,
        **({"findings": findings} if findings else {}),
    }
    return {
        "assessment-results": {
            "uuid": _id(packet, "document", packet.digest),
            "metadata": {
                "title": f"Access evidence of {packet.organization_key}",
                "last-modified": at,
                "version": packet.digest[:12],
                "oscal-version": VERSION,
            },
            "import-ap": {"href": f"#{resource}"},
            "results": [result],
            "back-matter": {
                "resources": [
                    {
                        "uuid": resource,
                        "title": "Sealed evidence packet",
                        "description": (
                            "The packet that all of this is taken from; its seal is checked with"
                            " `sonar-access evidence verify`."
                        ),
                        "rlinks": [
                            {
                                "href": "manifest.json",
                                "hashes": [{"algorithm": "SHA-256", "value": packet.digest}],
                            }
                        ],
                    }
                ]
            },
        }
    }


def _moment(packet: SealedPacket) -> str:
    return str(packet.manifest["as_of"]["observed_at"])


def _id(packet: SealedPacket, kind: str, *names: str) -> str:
    named = json.dumps([packet.source_url, packet.organization_key, kind, *names])
    return str(uuid5(OURS, named))


def _plain(text: str) -> str:
    """Write a text as OSCAL takes it: of one line, not empty."""
    return " ".join(text.split()) or "-"


def _props(**values: str) -> dict[str, Any]:
    found = [
        {"name": name.replace("_", "-"), "value": _plain(value), "ns": NAMESPACE}
        for name, value in values.items()
        if value
    ]
    return {"props": found} if found else {}


def _observation(
    packet: SealedPacket, uuid: str, title: str, said: str, **props: str
) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "title": _plain(title),
        "description": _plain(said),
        "methods": ["EXAMINE"],
        "collected": _moment(packet),
        **_props(**props),
    }


def _summary(packet: SealedPacket) -> dict[str, Any]:
    counts = packet.manifest["counts"]
    return _observation(
        packet,
        _id(packet, "summary", packet.digest),
        "Who has access",
        f"{counts['accounts']} accounts, {counts['admins']} of which administer the organization.",
        accounts=str(counts["accounts"]),
        administrators=str(counts["admins"]),
    )


def _review_id(packet: SealedPacket, row: Row) -> str:
    return _id(packet, "review", row["review_id"])


def _of_reviews(packet: SealedPacket) -> Iterator[dict[str, Any]]:
    for row in packet.records("reviews.csv"):
        yield _observation(
            packet,
            _review_id(packet, row),
            f"Review {row['review_id']} of access, {row['series']}",
            f"It is {row['state']}: {row['items']} things to decide, {row['undecided']} of them"
            f" undecided; {row['signed']} of {row['reviewers']} reviewers signed. It was due on"
            f" {row['due']}.",
            state=row["state"],
            reviewed_packet=row["reviewed_packet"],
            review_packet=row["review_packet"],
        )


def _answers(packet: SealedPacket) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Yield the answers of rules with what tells each from every other: a rule of a window may say
    several things of one subject.
    """
    seen = Counter[tuple[str, ...]]()
    for row in packet.records("findings.csv"):
        about = (row["rule_id"], row["subject_type"], row["subject"], row["result"])
        seen[about] += 1
        yield (*about, str(seen[about])), row


def _of_rules(packet: SealedPacket) -> Iterator[dict[str, Any]]:
    for about, row in _answers(packet):
        yield _observation(
            packet,
            _id(packet, "rule", *about),
            f"{row['rule_id']}: {row['result']}",
            f"{row['subject']}: {row['title']}. {row.get('detail', '')}"
            if row["result"] == "fail"
            else f"Rule '{row['title']}': {row['result']}. {row.get('detail', '')}",
            result=row["result"],
            severity=row["severity"],
            rule_version=row["rule_version"],
        )


def _failing(packet: SealedPacket) -> Iterator[dict[str, Any]]:
    for about, row in _answers(packet):
        if row["result"] != "fail":
            continue
        is_accepted = bool(row["exception_until"]) and not row["exception_ended"]
        yield _finding(
            _id(packet, "finding", *about),
            f"{row['rule_id']}: {row['subject']}",
            f"{row['subject']}: {row['title']}.",
            PRIVILEGE,
            "not-satisfied",
            _id(packet, "rule", *about),
            severity=row["severity"],
            failing_since=row["failing_since"],
            accepted_until=row["exception_until"] if is_accepted else "",
        )


def _follow_up_id(packet: SealedPacket, kind: str, row: Row) -> str:
    return _id(packet, kind, row["review_id"], row["item_no"])


def _of_follow_ups(packet: SealedPacket) -> Iterator[dict[str, Any]]:
    for row in packet.records("follow_up.csv"):
        yield _observation(
            packet,
            _follow_up_id(packet, "follow-up", row),
            f"Decided in review {row['review_id']}, item {row['item_no']}",
            f"{_what(row)} is to go by {row['due_at'][:10]}; it is {row['state']}.",
            state=row["state"],
            last_shown=row["last_shown"],
            first_not_shown=row["first_not_shown"],
        )


def _what(row: Row) -> str:
    """Say what is to go: a privilege by its name and place; of an account what is none."""
    if row["item_kind"] == "account":
        what = row.get("removed") or "every right that is no privilege"
        return f"{what} of {row['subject']}"
    return f"{row['entitlement']} on {row['resource'] or 'it'} of {row['subject']}"


def _to_remove(packet: SealedPacket) -> Iterator[dict[str, Any]]:
    """Yield a finding of what was to go: satisfied once it is gone. Where nobody can tell there is
    none.
    """
    for row in packet.records("follow_up.csv"):
        if row["state"] in UNTOLD:
            continue
        yield _finding(
            _follow_up_id(packet, "removal", row),
            f"Review {row['review_id']}, item {row['item_no']}: {row['state']}",
            f"{_what(row)} was to go by {row['due_at'][:10]}; it is {row['state']}.",
            REMOVAL,
            "satisfied" if row["state"] in GONE else "not-satisfied",
            _follow_up_id(packet, "follow-up", row),
            follow_up=row["state"],
        )


def _finding(
    uuid: str, title: str, said: str, statement: str, state: str, observation: str, **props: str
) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "title": _plain(title),
        "description": _plain(said),
        "target": {
            "type": "statement-id",
            "target-id": statement,
            "status": {"state": state},
        },
        "related-observations": [{"observation-uuid": observation}],
        **_props(**props),
    }
