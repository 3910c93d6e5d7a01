"""Checking the packet of a review by its own files: digests and signature as of every packet, then
what only a review has: lines without forks, statements that follow from the decisions, nobody who
decided on themselves, nothing left undecided.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from sonar_access_pipeline.access.review.deciding import Asked, Review
from sonar_access_pipeline.access.review.facts import (
    Assignment,
    Basis,
    Decision,
    Part,
    SignOff,
    Strength,
    is_same,
)
from sonar_access_pipeline.access.review.items import Kind
from sonar_access_pipeline.access.review.statements import statement_sha256
from sonar_access_pipeline.access.snapshot import canonical_json
from sonar_access_pipeline.evidence.reviews.packet import README, REVIEW, parsed
from sonar_access_pipeline.evidence.reviews.paper import RENDERINGS
from sonar_access_pipeline.evidence.seal import OF_ONE_SEAL, SEAL
from sonar_access_pipeline.evidence.signers import REVIEWS
from sonar_access_pipeline.evidence.sshsig import SignatureError, verified

UNREADABLE = (ValueError, LookupError, TypeError)


def faults_of(files: Mapping[str, bytes]) -> list[str]:
    """List what is wrong with a review's packet, of which sums and signature hold."""
    try:
        document = json.loads(files[REVIEW])
        about = json.loads(files[SEAL])
        if canonical_json(document) != files[REVIEW]:
            return [f"{REVIEW} is not written as it was sealed"]
        faults = list(_file_faults(files, document["files"]))
        if about["digest"] != hashlib.sha256(files[REVIEW]).hexdigest():
            faults.append(f"{SEAL} names another {REVIEW}")
        found, left_out = parsed(files)
        if other := _other_items(found, left_out, document):
            # What is said of items that are not there follows from nothing.
            return [*faults, other]
        return [
            *faults,
            *_whole_faults(found, left_out, document),
            *_line_faults("assignment", {one.assignment_id: one for one in found.assignments}),
            *_line_faults("decision", {one.decision_id: one for one in found.decisions}),
            *_decision_faults(found),
            *_statement_faults(found, files),
        ]
    except UNREADABLE:
        return [f"{REVIEW} or a table of it is not what it should be"]


def _file_faults(
    files: Mapping[str, bytes], stated: Mapping[str, Mapping[str, object]]
) -> Iterator[str]:
    content = files.keys() - OF_ONE_SEAL - {REVIEW, README, *RENDERINGS}
    for name in sorted(stated.keys() | content):
        if name not in files:
            yield f"{REVIEW} names {name}, which is missing"
        elif name not in stated:
            yield f"{REVIEW} does not name {name}"
        elif hashlib.sha256(files[name]).hexdigest() != stated[name]["sha256"]:
            yield f"{name} is not what {REVIEW} names"


def _other_items(
    found: Review, left_out: Sequence[Asked], document: Mapping[str, object]
) -> str | None:
    if (len(found.asked), len(left_out)) == (document["items"], document["left_out"]):
        return None
    return (
        f"items.csv has {len(found.asked)} items and {len(left_out)} left out; {REVIEW} says"
        f" {document['items']} and {document['left_out']}"
    )


def _whole_faults(
    found: Review, left_out: Sequence[Asked], document: Mapping[str, object]
) -> Iterator[str]:
    """Yield what is not whole: undecided, unsigned, not acknowledged, not what its digest says."""
    weakest = found.weakest.value if found.weakest else None
    if weakest != document["weakest_strength"]:
        yield f"{REVIEW} says '{document['weakest_strength']}' of a review that is '{weakest}'"
    if found.undecided:
        yield f"item {found.undecided[0].item_no} has no decision"
    if found.unsigned:
        yield f"{found.unsigned[0]} has not signed what is in force"
    if not found.is_acknowledged:
        yield "its owner has not acknowledged what is in force"
    for asked in (*found.asked.values(), *left_out):
        is_redacted = asked.item.subject.startswith("redacted-")
        if asked.digest != asked.item.digest and not is_redacted:
            yield f"item {asked.item_no} is not what its digest says"


def _line_faults(
    what: str, line: Mapping[int, Assignment] | Mapping[int, Decision]
) -> Iterator[str]:
    """Yield forks: two facts in the place of one, two first ones, one of another item."""
    places = Counter((one.supersedes, one.item_no) for one in line.values())
    for (superseded, item_no), times in places.items():
        if times > 1:
            yield f"item {item_no} has two {what}s in the place of one"
        before = None if superseded is None else line.get(superseded)
        if superseded is not None and (before is None or before.item_no != item_no):
            yield f"item {item_no} has a {what} in the place of one that is none of its own"


def _decision_faults(found: Review) -> Iterator[str]:
    for number, decision in found.decided.items():
        asked = found.asked.get(number)
        if asked is None:
            yield f"there is a decision of item {number}, which is none"
            continue
        subject = asked.item.subject
        is_self = asked.item.kind is not Kind.GRANT and is_same(decision.decided_by, subject)
        if is_self and found.reviewers[number].basis is not Basis.EXCEPTION:
            yield f"{subject} decided item {number}, which is about {subject}"
        assigned = [one.reviewer for one in found.assignments if one.item_no == number]
        if not any(is_same(one, decision.decided_by) for one in assigned):
            yield f"{decision.decided_by} decided item {number} and was never to"


def _statement_faults(found: Review, files: Mapping[str, bytes]) -> Iterator[str]:
    for place, one in enumerate(found.signoffs, start=1):
        name = f"statement-{place}.json"
        statement = files.get(name, b"")
        if statement_sha256(statement) != one.statement_sha256:
            yield f"{name} is not the statement that {one.signer} signed"
        elif fault := _signature_fault(one, statement, files.get(f"{name}.sig")):
            yield f"{name}: {fault}"
    if found.about.owner and not any(one.part is Part.OWNER for one in found.signoffs):
        yield "nobody acknowledged it"


def _signature_fault(one: SignOff, statement: bytes, signature: bytes | None) -> str | None:
    if one.strength is not Strength.SIGNED:
        return None if signature is None else "there is a signature of what is declared only"
    if signature is None:
        return "it is said to be signed, and there is no signature"
    try:
        key = verified(statement, signature, REVIEWS)
    except SignatureError as fault:
        return str(fault)
    if key.fingerprint != one.key_fingerprint:
        return f"it is signed with {key.fingerprint}, not with {one.key_fingerprint}"
    return None
