"""A place that alerts and heartbeats really go to: an HTTP server on loopback that can be down,
full, or well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sonar_access_pipeline_tests.support.loopback import running


@dataclass
class Mailbox:
    """What came: messages as (title, text), and heartbeats. `status` is what it answers."""

    port: int
    status: int = 200
    messages: list[tuple[str, str]] = field(default_factory=list)
    heartbeats: int = 0

    @property
    def alert_url(self) -> str:
        """As a notification URL, with a password in it that must be seen nowhere."""
        return f"json://somebody:pa55word-of-the-channel@127.0.0.1:{self.port}/alerts"

    @property
    def heartbeat_url(self) -> str:
        """The address of the heartbeat, with a secret in it."""
        return f"http://127.0.0.1:{self.port}/ping/secret-of-the-heartbeat"

    @property
    def titles(self) -> list[str]:
        """The titles of what came."""
        return [title for title, _ in self.messages]


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mailbox that is open."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if box.status == 200:
                box.messages.append((body["title"], body["message"]))
            self._answer()

        def do_GET(self) -> None:
            box.heartbeats += box.status == 200
            self._answer()

        def _answer(self) -> None:
            self.send_response(box.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box = Mailbox(server.server_port)
    with running(server):
        yield box
