"""`review serve`: the reviewers' page, as a process of its own."""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from sonar_access_pipeline.addresses import is_loopback
from sonar_access_pipeline.cli.base import end, load, say
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.settings_errors import SettingsError

if TYPE_CHECKING:
    from sonar_access_pipeline.access.policy import ReviewPolicy
    from sonar_access_pipeline.page.entering import Entering
    from sonar_access_pipeline.page.who import Roles
    from sonar_access_pipeline.settings import Settings
    from sonar_access_pipeline.warehouse.database import Warehouse

PORT = 8384


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
def review_serve(host: str, port: int) -> None:
    """Serve the reviewers' page: everybody sees their items, decides, reads back and signs.

    People are known by the signed assertion of an identity proxy (`[review.assertion]`), else by a
    link that is mailed to them (SONAR_ACCESS_MAIL_URL, and `review.page` with https). With neither
    it serves this machine alone, and believes what people say of themselves.

    \b
    Example:  sonar-access review serve --port 8384
    """
    serve(load(), host, port)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve the page of some settings until somebody stops it."""
    import uvicorn

    try:
        app = built(settings, host, port)
    except SettingsError as error:
        end(str(error), FAILED)
    listening = _listening(host, port)
    say(address(settings, host, port), label="The reviewers' page:", style="bold green")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        limit_concurrency=500,
        h11_max_incomplete_event_size=16 * 1024,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """Take the place before it is told to anybody."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        end(
            f"The page cannot be served at {host}, port {port}: {reason}. Name another"
            " place with --host and --port.",
            FAILED,
        )


def address(settings: Settings, host: str, port: int) -> str:
    """Give the address at which people see the page."""
    return settings.review.page or f"http://{f'[{host}]' if ':' in host else host}:{port}"


def built(settings: Settings, host: str, port: int) -> Any:
    """Build the page of some settings, as it is served at a place.

    Raises `SettingsError` where people could not be known there.
    """
    from sonar_access_pipeline.evidence.stores import store_of
    from sonar_access_pipeline.page.asking import Office
    from sonar_access_pipeline.page.serving import application, new_secret
    from sonar_access_pipeline.page.who import Roles
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.ledger.policies import policy_at
    from sonar_access_pipeline.warehouse.migrations import require_current
    from sonar_access_pipeline.warehouse.timeouts import ASKING

    warehouse = Warehouse(settings.warehouse, ASKING)
    require_current(warehouse)

    def policy() -> ReviewPolicy:
        with warehouse.read() as transaction:
            return policy_at(transaction, _now()).policy.review

    roles = Roles.of(_with_owner(settings), settings.review.groups)
    entering = _entering(settings, warehouse, roles, host)
    organizations = [one.organization for one in settings.connections if one.organization]
    office = Office(
        warehouse=warehouse,
        store=store_of(settings.evidence),
        organizations=organizations,
        linked=settings.review.people,
        policy=policy,
        clock=_now,
        origin=address(settings, host, port),
        secret=new_secret(),
    )
    return application(office, entering)


def _with_owner(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Give the roles of people: whoever answers for reviews administers them."""
    found = dict(settings.review.roles)
    owner = settings.review.owner
    if owner:
        found[owner] = (*found.get(owner, ()), "admin")
    return found


def _entering(settings: Settings, warehouse: Warehouse, roles: Roles, host: str) -> Entering:
    from sonar_access_pipeline.alerts.channels import write_to
    from sonar_access_pipeline.page.entering import ByAssertion, BySession
    from sonar_access_pipeline.page.who import Assertions, Keys
    from sonar_access_pipeline.warehouse.reviews import listing

    said = settings.review.assertion
    page = settings.review.page
    if said is not None:
        if page is None:
            raise SettingsError(
                "review.assertion needs review.page: the address at which the proxy serves it."
            )
        return ByAssertion(Assertions(said, Keys(said.keys, _now), _now), roles)
    mail = settings.mail_url
    is_mailed = mail is not None and page is not None and page.startswith("https://")
    elsewhere = None if page is None else urlsplit(page).hostname
    if not is_mailed and elsewhere is not None and not is_loopback(elsewhere):
        raise SettingsError(
            f"Nobody could be known at {page}: set review.assertion (an identity proxy), or"
            " SONAR_ACCESS_MAIL_URL with an address that begins with https. A page that believes"
            " what people say serves this machine alone: leave review.page out."
        )
    if not is_mailed and not is_loopback(host):
        raise SettingsError(
            f"Nobody could be known at {host}: set review.assertion (an identity proxy), or"
            " SONAR_ACCESS_MAIL_URL and review.page with https; or serve this machine alone, with"
            " --host 127.0.0.1."
        )

    def known(person: str) -> bool:
        acting = {one.casefold() for one in (*roles.people, settings.review.fallback or "")}
        if person.casefold() in acting:
            return True
        with warehouse.read() as transaction:
            return listing.is_reviewer(transaction, person)

    def people() -> list[str]:
        with warehouse.read() as transaction:
            return listing.waited_for(transaction)

    def write(person: str, text: str) -> str | None:
        assert mail is not None, "people are mailed to where there is a server"
        return write_to(mail.get_secret_value(), person, "SonarCloud access review", text)

    return BySession(
        warehouse=warehouse,
        roles=roles,
        clock=_now,
        is_secure=is_mailed,
        mail=write if is_mailed else None,
        known=known,
        people=people,
    )


def _now() -> datetime:
    return datetime.now(UTC)
