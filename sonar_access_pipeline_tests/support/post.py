"""A mail server on loopback that takes every letter, or refuses all."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.policy import default

from sonar_access_pipeline_tests.support.loopback import running


@dataclass
class Post:
    """What came: letters as (to, text)."""

    port: int
    is_up: bool = True
    letters: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As a setting names it."""
        return f"mailto://127.0.0.1:{self.port}?from=sonar@example.com&mode=insecure&user=x"


@contextmanager
def post() -> Iterator[Post]:
    """Run a mail server that is open."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 here" if box.is_up else "421 closed")
            to = ""
            while line := self.rfile.readline().decode(errors="replace").strip():
                word = line[:4].upper()
                if word == "RCPT":
                    to = line.partition("<")[2].partition(">")[0]
                if word == "DATA":
                    self._say("354 go on")
                    self._take(to)
                self._say("221 bye" if word == "QUIT" else "250 fine")
                if word == "QUIT":
                    return

        def _take(self, to: str) -> None:
            lines = []
            while (line := self.rfile.readline().decode()) not in (".\r\n", ""):
                lines.append(line)
            letter = message_from_string("".join(lines), policy=default)
            body = letter.get_body(("plain", "html"))
            box.letters.append((to, body.get_content() if body else ""))

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    box = Post(server.server_address[1])
    with running(server):
        yield box
