"""An end for every wait on a database that has stopped answering: the socket of whoever waits too
long is shut.

The server's own limits (`statement_timeout`, `lock_timeout`) need a server that runs. One that is
frozen, or a connection that something between lets starve, is only noticed here. One thread watches
all connections of one engine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TimeLimits:
    """How long a PostgreSQL warehouse is waited for, in seconds: to connect, for a lock that others
    hold, and for an answer.
    """

    connect: int = 10
    lock: float = 1800.0
    statement: float = 7200.0


WORKING = TimeLimits()
ASKING = TimeLimits(lock=60.0, statement=60.0)
"""For what derives, verifies and seals, and for what people and the watch ask and wait for."""


class Timeouts:
    """Watches what is asked of connections: `begin` and `done` stand around each wait, of one
    thread each.
    """

    def __init__(self) -> None:
        self._ends: dict[int, tuple[float, Any, int, float]] = {}
        self._late: dict[int, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def begin(self, connection: Any, seconds: float) -> None:
        """Somebody asks a driver's connection for something, and waits at most so many seconds."""
        with self._changed:
            asker = threading.get_ident()
            self._late.pop(asker, None)
            self._ends[id(connection)] = (time.monotonic() + seconds, connection, asker, seconds)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="sonar-access-silence", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def done(self, connection: Any) -> None:
        """It was answered, or given up."""
        with self._changed:
            self._ends.pop(id(connection), None)

    def was_late(self) -> float | None:
        """Return how many seconds this thread's last wait took, if it was ended here; None if not,
        or if this was asked before.
        """
        with self._changed:
            return self._late.pop(threading.get_ident(), None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (ends, connection, asker, seconds) in list(self._ends.items()):
                    if ends <= now:
                        del self._ends[key]
                        self._late[asker] = seconds
                        _shut(connection)
                soonest = min((ends for ends, *_ in self._ends.values()), default=now + 60)
                self._changed.wait(max(0.0, soonest - now))


def _shut(connection: Any) -> None:
    """Shut the socket under a driver's connection, from another thread: whoever reads from it gets
    an error at once.
    """
    with (
        contextlib.suppress(OSError, ValueError, RuntimeError),
        socket.socket(fileno=os.dup(connection.fileno())) as socket_copy,
    ):
        socket_copy.shutdown(socket.SHUT_RDWR)
