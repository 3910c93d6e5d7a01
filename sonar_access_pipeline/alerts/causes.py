"""Everything that can be wrong with the pipeline, one cause each: what it is called, what to do
next, and who shares it.

The runbook has a section for every cause; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """Why something is wrong.

    Those of a try to sync stand in `sync_attempt.cause`; all of them in `alert.cause`.
    """

    TOKEN_REFUSED = "token_refused"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    INCOMPLETE = "incomplete"
    HELD = "held"
    SETTINGS = "settings"
    WAREHOUSE = "warehouse"
    UNEXPECTED = "unexpected"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_STARTED = "not_started"
    WAITING = "waiting"
    STUCK = "stuck"
    MISSING = "missing"
    RUN_FAILED = "run_failed"
    CHECK_FAILED = "check_failed"
    TOKEN_IDLE = "token_idle"
    TOKEN_EXPIRING = "token_expiring"
    SENSOR_SILENT = "sensor_silent"
    UNPUBLISHED = "unpublished"
    REVIEW_LATE = "review_late"
    REVIEW_UNSENT = "review_unsent"
    SHEET_UNREAD = "sheet_unread"


class Shared(StrEnum):
    """Who has the same problem for the same reason, so that it is said once for all of them."""

    NOBODY = "nobody"
    HOST = "host"
    TOKEN = "token"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True)
class Meaning:
    """What a cause is called in a title, what to do next, and who shares it."""

    title: str
    next_step: str
    shared: Shared = Shared.NOBODY


MEANINGS = {
    Cause.TOKEN_REFUSED: Meaning(
        "SonarCloud refuses the token",
        "Make a new token (My Account > Security), set it, then run `sonar-access check` and"
        " `sonar-access sync`.",
        Shared.TOKEN,
    ),
    Cause.REFUSED: Meaning(
        "SonarCloud refuses to be read",
        "Change what the sentence names; `sonar-access check` says whether it works.",
    ),
    Cause.UNAVAILABLE: Meaning(
        "SonarCloud cannot be reached",
        "It is tried again by itself until the day ends; if it lasts, look at"
        " https://status.sonarqube.com, the proxy and the firewall.",
        Shared.HOST,
    ),
    Cause.INCOMPLETE: Meaning(
        "what SonarCloud answers does not add up",
        "It is tried again by itself until the day ends; nothing was derived from it.",
    ),
    Cause.HELD: Meaning(
        "so much would disappear that a person must decide",
        "Look whether it is true, then confirm or retract the snapshot, as the sentence says.",
    ),
    Cause.SETTINGS: Meaning("a setting is wrong", "Change the setting that the sentence names."),
    Cause.WAREHOUSE: Meaning(
        "the warehouse refuses",
        "See that the warehouse can be reached and written; the sync is tried again.",
        Shared.DEPLOYMENT,
    ),
    Cause.UNEXPECTED: Meaning(
        "a sync failed unexpectedly",
        "Open the run, and report its error: it is ours. The sync is tried again.",
    ),
    Cause.CANCELLED: Meaning(
        "a run was cancelled",
        "If nobody meant to leave the day out, run `sonar-access sync` while it lasts: it is not"
        " tried again.",
    ),
    Cause.LOST: Meaning(
        "the process of a sync was lost",
        "It is tried again by itself; if it happens again, look at the memory and the restarts of"
        " the machine or pod.",
        Shared.DEPLOYMENT,
    ),
    Cause.NOT_STARTED: Meaning(
        "a sync never started",
        "It is tried again by itself; look at the code location, the run launcher and the room for"
        " pods.",
        Shared.DEPLOYMENT,
    ),
    Cause.WAITING: Meaning(
        "a run waits too long to start",
        "Look at the queue, the daemon, and what fills `max_concurrent_runs`.",
        Shared.DEPLOYMENT,
    ),
    Cause.STUCK: Meaning(
        "a run goes on for too long",
        "Open the run; when nothing moves, terminate it: the sync is tried again.",
        Shared.DEPLOYMENT,
    ),
    Cause.MISSING: Meaning(
        "a day was not observed",
        "See that the daemon runs and the schedule is on, then run `sonar-access sync` while today"
        " lasts.",
        Shared.DEPLOYMENT,
    ),
    Cause.RUN_FAILED: Meaning(
        "a run failed", "Open the run, mend what it names, then run it again."
    ),
    Cause.CHECK_FAILED: Meaning(
        "a check failed", "Open the check of the asset: it shows what was compared."
    ),
    Cause.TOKEN_IDLE: Meaning(
        "the token will soon be ended for want of use",
        "Run `sonar-access sync`; SonarCloud ends a token that is not used for 60 days.",
        Shared.TOKEN,
    ),
    Cause.TOKEN_EXPIRING: Meaning(
        "a token will soon expire",
        "Make a new token of the same account, set it, then run `sonar-access check`.",
        Shared.TOKEN,
    ),
    Cause.SENSOR_SILENT: Meaning(
        "a sensor does not run",
        "Start it in Dagster's UI (Automation), and see that the daemon runs.",
        Shared.DEPLOYMENT,
    ),
    Cause.UNPUBLISHED: Meaning(
        "sealed evidence waits for its store",
        "Mend what the sentence names; `sonar-access evidence publish` says whether it works."
        " Nothing need be sealed again.",
        Shared.DEPLOYMENT,
    ),
    Cause.REVIEW_LATE: Meaning(
        "a review of access is late",
        "`sonar-access review show` says with whom it waits; give items to somebody else with"
        " `review assign`, or close it incomplete.",
    ),
    Cause.REVIEW_UNSENT: Meaning(
        "reviewers cannot be written to",
        "See that the mail server of SONAR_ACCESS_MAIL_URL takes messages; they are sent again by"
        " themselves.",
        Shared.DEPLOYMENT,
    ),
    Cause.SHEET_UNREAD: Meaning(
        "a sheet in the inbox cannot be read",
        "`sonar-access review read` says what is wrong with it; move it out of the inbox.",
        Shared.DEPLOYMENT,
    ),
}

MAY_PASS = frozenset(
    {
        Cause.UNAVAILABLE,
        Cause.INCOMPLETE,
        Cause.WAREHOUSE,
        Cause.UNEXPECTED,
        Cause.LOST,
        Cause.NOT_STARTED,
    }
)
"""The causes of a failed try that may pass by themselves: only after these a sync is tried again.
"""


def runbook_section(cause: Cause) -> str:
    """Return the heading of a cause's section in `runbook.md`, beside this file: `sonar-access
    alerts explain` prints that section.
    """
    return cause.value.replace("_", "-")
