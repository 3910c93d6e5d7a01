"""`warehouse`: look after the warehouse itself."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime

import click

from sonar_access_pipeline.cli.base import by_option, load, opened, organization_option, say
from sonar_access_pipeline.terminal import Day
from sonar_access_pipeline.warehouse.timeouts import WORKING


@click.group()
def warehouse() -> None:
    """Look after the warehouse."""


@warehouse.command("upgrade")
def warehouse_upgrade() -> None:
    """Bring the warehouse's tables to this version, making them if need be.

    \b
    Example:  sonar-access warehouse upgrade
    """
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.migrations import REVISIONS, upgrade

    with closing(Warehouse(load().warehouse)) as opened_here:
        changed = upgrade(opened_here)
        say(
            f"{opened_here.name} {'is now' if changed else 'was already'} at revision"
            f" {REVISIONS[-1]}."
        )


@warehouse.command("rebuild")
@organization_option
def warehouse_rebuild(organization: str | None) -> None:
    """Derive all history again from the snapshots, in one transaction.

    \b
    Example:  sonar-access warehouse rebuild
    """
    from sonar_access_pipeline.warehouse.history.rebuild import rebuild

    with opened(organization, WORKING) as (opened_here, organization_key):
        observations = rebuild(opened_here, organization_key)
    say(f"Derived the history of {organization_key} again from {observations} observations.")


@warehouse.command("verify")
@organization_option
def warehouse_verify(organization: str | None) -> None:
    """Compare what is stored with its digests, and history with what the snapshots give; exit 1
    when anything differs.

    \b
    Example:  sonar-access warehouse verify
    """
    from sonar_access_pipeline.warehouse.history.verify import State, verify

    with opened(organization, WORKING) as (opened_here, organization_key):
        verification = verify(opened_here, organization_key)
    for finding in verification.findings:
        say(f"- {finding.sentence}")
    for redaction in verification.redactions:
        say(
            f"- {redaction.pseudonym} stands for a person who was taken out on"
            f" {redaction.redacted_at:%Y-%m-%d} by {redaction.decided_by}, on the basis:"
            f" {redaction.basis}; {len(redaction.bodies)} bodies were replaced"
        )
    compared = (
        f"{verification.snapshots} snapshots, {verification.bodies} bodies, history of"
        f" {verification.observations} observations"
    )
    if verification.horizon is not None:
        compared += (
            f"; not before {verification.horizon:%Y-%m-%d %H:%M}, since {verification.dropped}"
            " bodies were dropped by age"
        )
    words = {
        State.FINE: "is what was recorded",
        State.REDACTED: "was redacted, on record as above; everything else is what was recorded",
        State.BEHIND: (
            f"is what was recorded; {verification.waiting} observations are not derived yet: sync,"
            " or rebuild"
        ),
        State.DIFFERENT: "is not what was recorded, as above",
    }
    say(f"The warehouse of {organization_key} {words[verification.state]} ({compared}).")
    if verification.state is State.DIFFERENT:
        raise SystemExit(1)


@warehouse.command("redact")
@click.argument("login")
@organization_option
@click.option(
    "--basis", required=True, help="On what basis, for the record: the law, the request, who asked."
)
@by_option
def warehouse_redact(login: str, organization: str | None, basis: str, by: str) -> None:
    """Replace a person who left by a pseudonym, in history and in stored answers, on record and for
    good.

    Evidence that was sealed before stays as it is: what becomes of packets is decided where they
    are kept.

    \b
    Example:  sonar-access warehouse redact ada@github --basis "GDPR Art. 17, request 4711"
    """
    from sonar_access_pipeline.warehouse.raw.redaction import redact

    with opened(organization, WORKING) as (opened_here, organization_key):
        done = redact(
            opened_here,
            organization_key,
            login,
            by=by,
            basis=basis,
            clock=lambda: datetime.now(UTC),
        )
    say(
        f"{done.pseudonym} stands for the person from now on: {done.rows} rows and {done.bodies}"
        " bodies were replaced."
    )
    if done.read_by:
        say(
            f"The person's own token read {done.read_by} snapshots; they go on saying so, since"
            " their digests depend on it."
        )
    if opened_here.is_postgresql:
        say(
            "PostgreSQL keeps what was replaced in its files until it is vacuumed, and backups keep"
            " it as long as they are kept."
        )


@warehouse.command("end")
@organization_option
@click.option(
    "--on",
    "last_day",
    type=Day(),
    required=True,
    help="The last UTC day on which it is expected to be observed.",
)
@click.option("--reason", required=True, help="Why: it stands in the record for ever.")
@by_option
def warehouse_end(organization: str | None, last_day: date, reason: str, by: str) -> None:
    """Record that an organization is not observed any more, so that later days are neither gaps nor
    alerts.

    Everything about it stays. A snapshot that is read later makes it expected again.

    \b
    Example:  sonar-access warehouse end --organization acme --on 2026-11-24 \\
                --reason "Moved to acme-group, ticket SEC-31"
    """
    from sonar_access_pipeline.warehouse.ledger.alerts import ALERTING, end_organization

    with (
        opened(organization) as (opened_here, organization_key),
        opened_here.write(ALERTING) as transaction,
    ):
        end_organization(
            transaction,
            organization_key,
            last_day=last_day,
            reason=reason,
            by=by,
            now=datetime.now(UTC),
        )
    say(f"{organization_key} is not expected to be observed after {last_day}.")


@warehouse.command("grant")
@click.argument("role")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["analyst", "reviewer", "pipeline", "operator"]),
    required=True,
    help="What the role is for.",
)
def warehouse_grant(role: str, kind: str) -> None:
    """Give a role of the database (PostgreSQL) what its work needs, and no more.

    An analyst reads history and views, but no e-mail addresses; a reviewer these too, and how each
    snapshot came to be; the pipeline writes, can neither change nor delete what is append-only, and
    enters no decision; an operator is a person, who may decide and do what the pipeline does. Run
    it as the owner, again after each upgrade.

    \b
    Example:  sonar-access warehouse grant data_team --as analyst
    """
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.migrations import require_current
    from sonar_access_pipeline.warehouse.roles import Role, grant

    with closing(Warehouse(load().warehouse)) as opened_here:
        require_current(opened_here)
        tables = grant(opened_here, role, Role(kind))
    say(
        f"{role} has the rights of kind {kind} on {tables} tables and views of {opened_here.name}"
        " now; the database says that it has no others there, neither by itself nor through"
        " another role."
    )
