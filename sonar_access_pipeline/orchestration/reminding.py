"""What the watch does for reviews: reminds whom something is open with, escalates what is late, and
reads the sheets that lie in the inbox of the evidence store.

Who is written to, and when, is `access/review/reminding.py`. Nothing here decides: a sheet is read
back to its reviewer, and counts for nothing until they have it recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from email.utils import parseaddr

from sonar_access_pipeline.access.policy import Series
from sonar_access_pipeline.access.review.facts import EventKind
from sonar_access_pipeline.access.review.reminding import Reminder, reminders
from sonar_access_pipeline.alerts import channels
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.reviews import sheet
from sonar_access_pipeline.evidence.reviews.read_back import read_back
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.reviews import facts
from sonar_access_pipeline.warehouse.reviews.facts import BY_RULE

TITLE = "SonarCloud access review"


@dataclass(frozen=True)
class Sheets:
    """The sheets of the inbox that were looked at, by the names of their files: why each could not
    be read; empty where it could.
    """

    faults: Mapping[str, str] = field(default_factory=dict)


def remind(resources: Resources, warehouse: Warehouse, today: date) -> str | None:
    """Write to everybody who is to hear of a review today; why somebody could not be written to.

    Who has no address, because the review knows only a login, is not written to.
    """
    mail = resources.settings.mail_url
    if mail is None:
        return None
    organizations = [one.organization for one in resources.settings.connections if one.organization]
    known = {one.name: one for one in resources.settings.review.policy().series}
    with warehouse.read() as transaction:
        waiting = facts.running(transaction, organizations)
    fault = None
    for row in waiting:
        series = known.get(row["series"]) or Series(row["series"], "", 1, 1)
        with warehouse.read() as transaction:
            found = facts.load(transaction, row["review_id"])
        for one in reminders(found, series, today):
            fault = _sent(resources, warehouse, mail.get_secret_value(), row, one) or fault
    return fault


def _sent(
    resources: Resources,
    warehouse: Warehouse,
    mail: str,
    row: Mapping[str, object],
    one: Reminder,
) -> str | None:
    if not is_address(one.to):
        return None
    number = int(str(row["review_id"]))
    text = f"{one.text}\n{where_to(resources, number, one.to)}"
    if why := channels.write_to(mail, one.to, TITLE, text):
        return why
    # After it was taken: who is written to twice is better off than who never hears of it.
    facts.note(warehouse, number, one.kind, by=BY_RULE, reason=one.person, clock=resources.clock)
    return None


def is_address(person: str) -> bool:
    """Tell whether a person is called by an e-mail address, that mail can be sent to."""
    name, address = parseaddr(person)
    return not name and address == person and "@" in person.strip("@") and person.isprintable()


def where_to(resources: Resources, review_id: int, person: str) -> str:
    """Say where somebody goes on: at the page, where there is one, or by command."""
    page = resources.settings.review.page
    if page is not None:
        return f"{page}/r/{review_id}"
    return f"sonar-access review show {review_id} --reviewer {person}"


def read_inbox(resources: Resources, warehouse: Warehouse, before: Sheets) -> Sheets:
    """Read the sheets that came into the inbox since, each once: what was understood is sent to its
    reviewer, who has it recorded or not.
    """
    store = resources.store()
    try:
        names = store.listing(sheet.INBOX).bundles.get(sheet.INBOX, ())
    except EvidenceError:
        # The watch of evidence tells of a store that cannot be read.
        return before
    found: dict[str, str] = {}
    for name in sorted(names):
        if name in before.faults:
            found[name] = before.faults[name]
            continue
        try:
            found[name] = (
                _looked_at(resources, warehouse, name, store.read(sheet.INBOX, name)) or ""
            )
        except (EvidenceError, WarehouseError) as error:
            found[name] = str(error)
    return Sheets(found)


def _looked_at(resources: Resources, warehouse: Warehouse, name: str, body: bytes) -> str | None:
    digest = hashlib.sha256(body).hexdigest()
    with warehouse.read() as transaction:
        if digest in facts.sheets_read(transaction):
            return None
        about = sheet.about(body)
        found = facts.load(transaction, about.review_id)
    filled = sheet.read(found, about.reviewer, body)
    lines = [*read_back(found, about.reviewer, filled.understood, filled.undecided), ""]
    lines += _how_to_record(about, name)
    mail = resources.settings.mail_url
    if mail is None or not is_address(about.reviewer):
        return "Its reviewer cannot be written to, so that nobody hears what was understood."
    if why := channels.write_to(mail.get_secret_value(), about.reviewer, TITLE, "\n".join(lines)):
        return f"What was understood could not be sent to its reviewer: {why}."
    facts.note(
        warehouse,
        about.review_id,
        EventKind.SHEET_READ,
        by=BY_RULE,
        reason=digest,
        clock=resources.clock,
    )
    return None


def _how_to_record(about: sheet.About, name: str) -> Iterator[str]:
    yield "Nothing of this is recorded. If it is what you meant, have it recorded:"
    yield (
        f"sonar-access review read {about.review_id} {sheet.INBOX}/{name} --from {about.reviewer}"
        " --record"
    )
