"""An end for every request: sockets that are past their time are shut, whatever they wait for.

The library's timeouts are per piece, so a server that sends a byte now and then would never meet
one. Here one thread watches all requests of a client and shuts the socket of those that are late;
whoever reads from it gets an error at once.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


@dataclass(eq=False)
class Limit:
    """One request in the air. `late` says that it was ended for its time, not by the server."""

    ends: float
    connection: HTTPConnection | None = None
    late: bool = False
    socket: socket.socket | None = None
    """The socket that answers: a connection that the server will close forgets it while its answer
    is still read.
    """


@dataclass
class _Current(threading.local):
    limit: Limit | None = None


_current = _Current()


class _Watched(HTTPConnection):
    """A connection that tells the request in its thread which socket it uses, from the first packet
    on.
    """

    def connect(self) -> None:
        self._note()
        super().connect()
        self._note()

    def request(self, *args: Any, **options: Any) -> None:
        self._note()
        super().request(*args, **options)
        self._note()

    def _note(self) -> None:
        if _current.limit is not None:
            _current.limit.connection = self
            _current.limit.socket = self.sock or _current.limit.socket


class _WatchedSecurely(_Watched, HTTPSConnection):
    """The same over TLS: the handshake has an end, too."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _WatchedSecurely


class WatchedAdapter(HTTPAdapter):
    """The library's adapter, on connections that can be watched, directly and through a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Do as the library does, with our pools."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Do as the library does, with our pools."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager


@dataclass
class DeadlineWatch:
    """Watches the requests of one client. `stop` ends all of them, those to come as well."""

    _limits: set[Limit] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _stopped: bool = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[Limit]:
        """End what this thread requests within so many seconds."""
        limit = Limit(time.monotonic() + seconds)
        with self._changed:
            if self._stopped:
                limit.ends = time.monotonic()
            self._limits.add(limit)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="sonar-access-deadlines", daemon=True
                )
                self._thread.start()
            if self._stopped or limit.ends <= min(other.ends for other in self._limits):
                self._changed.notify()
        _current.limit = limit
        try:
            yield limit
        finally:
            _current.limit = None
            with self._changed:
                self._limits.discard(limit)

    def stop(self) -> None:
        """End every request now, and every later one as it begins."""
        with self._changed:
            self._stopped = True
            for limit in self._limits:
                limit.ends = time.monotonic()
            self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while not (self._stopped and not self._limits):
                now = time.monotonic()
                for limit in self._limits:
                    if limit.ends <= now:
                        limit.late = True
                        _shut(limit)
                        # Once more soon: the socket may not have been there yet.
                        limit.ends = now + 0.2
                soonest = min((limit.ends for limit in self._limits), default=now + 60)
                self._changed.wait(max(0.0, soonest - now))


def _shut(limit: Limit) -> None:
    open_socket = (limit.connection.sock if limit.connection is not None else None) or limit.socket
    if open_socket is not None:
        # Past the TLS layer, which would take its own state away from the thread that reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)
