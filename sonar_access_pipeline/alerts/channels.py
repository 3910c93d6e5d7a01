"""The only room that sends: messages to people through Apprise, and a heartbeat to whatever notices
silence.

A channel is named by its kind and a digest, never by its URL: that holds a secret. So does no error
and no log line here. Apprise is loaded when something is sent: every run loads this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

import requests

from sonar_access_pipeline.alerts.ledger import is_over

if TYPE_CHECKING:
    import apprise

HEARTBEAT_SECONDS = 10


@dataclass(frozen=True)
class Channel:
    """One place that messages go to; `service` is None where its URL is none that Apprise knows."""

    name: str
    service: apprise.NotifyBase | None

    def send(self, title: str, text: str) -> str | None:
        """Send a message; the reason, when it was not taken."""
        if self.service is None:
            return (
                "its URL is no notification URL; https://appriseit.com/services shows how one looks"
            )
        import apprise

        kinds = {
            True: apprise.NotifyType.SUCCESS,
            False: apprise.NotifyType.FAILURE,
            None: apprise.NotifyType.INFO,
        }
        with _silenced():
            notify = apprise.Apprise([self.service]).notify
            taken = notify(
                title=title,
                body=text,
                notify_type=kinds[is_over(title)],
                body_format=apprise.NotifyFormat.TEXT,
            )
        return None if taken else "it cannot be reached, or does not take the message"


def channels_of(urls: Sequence[str]) -> Mapping[str, Channel]:
    """Build the channels of notification URLs, by name."""
    if not urls:
        return {}
    import apprise

    channels_by_name = {}
    for number, url in enumerate(urls, 1):
        with _silenced():
            service = apprise.Apprise.instantiate(url)
        name = (
            f"number {number}"
            if service is None
            else f"{service.schema}:{sha256(url.encode()).hexdigest()[:8]}"
        )
        channels_by_name[name] = Channel(name, service)
    return channels_by_name


def write_to(url: str, address: str, title: str, text: str) -> str | None:
    """Write to one person by the mail server of a URL; the reason, when it was not taken.

    Never to somebody else: what Apprise makes of an address must be that address.
    """
    to = f"{url}{'&' if '?' in url else '?'}to={quote(address, safe='')}"
    channel = next(iter(channels_of([to]).values()))
    targets = getattr(channel.service, "targets", None)
    known = [str(one[-1]).casefold() for one in targets or ()]
    if channel.service is not None and known != [address.casefold()]:
        return "its address is none that mail can be sent to"
    return channel.send(title, text)


def ping(url: str) -> str | None:
    """Say to a heartbeat monitor that all is well; the reason, when it was not taken."""
    try:
        response = requests.get(url, timeout=HEARTBEAT_SECONDS)
    except requests.RequestException as error:
        return f"the heartbeat URL cannot be reached ({type(error).__name__})"
    return None if response.ok else f"the heartbeat URL answers {response.status_code}"


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Apprise's own log lines, which may quote a URL, to itself."""
    import apprise

    before = apprise.logger.disabled
    apprise.logger.disabled = True
    try:
        yield
    finally:
        apprise.logger.disabled = before
