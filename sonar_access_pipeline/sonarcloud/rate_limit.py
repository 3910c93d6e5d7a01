"""How fast and how long: the request rate of everybody on this machine who asks one host, the pause
that a limit imposes, and the patience with faults.

No HTTP here. Times are seconds of a monotonic clock.
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

REQUESTS_PER_MINUTE = 600
ASKED_FOR = 1000
"""SonarCloud asks for fewer requests a minute, shared by everybody behind one address."""
STATE = struct.Struct("<dd16s")
"""When the next request is due, until when nobody starts, and by whose clock: that of a machine
since it was started.
"""
FORGOTTEN = 3600.0
"""Seconds: a due time that lies further ahead is none of this clock."""
LOCKED_SECONDS = 30.0
"""How long another process may hold the file: it needs a millisecond."""


@dataclass(frozen=True)
class Patience:
    """How long to try.

    One request: `attempts` in all, pauses doubling from `first_pause`, with jitter.

    429 without `Retry-After` waits `limited_pause`: SonarCloud asks for "a few minutes" and
    documents no header. Nothing takes longer than its budget: one try `request_seconds`, one list
    `list_seconds`, everything together `snapshot_seconds`.
    """

    attempts: int = 5
    first_pause: float = 1.0
    longest_pause: float = 120.0
    limited_pause: float = 60.0
    request_seconds: float = 60.0
    list_seconds: float = 1800.0
    snapshot_seconds: float = 7200.0

    def pause(self, failures: int) -> float:
        """Compute how long to wait, in seconds, after so many failures."""
        return min(self.first_pause * 2.0 ** (failures - 1), self.longest_pause) * random.uniform(
            0.75, 1.25
        )


@dataclass
class _State:
    """When the next request is due by the rate, and until when a limit lets nobody start."""

    due: float
    closed_until: float


class RateLimit:
    """Lets requests start: `per_minute`, evenly, and none while a limit imposes a pause.

    After a quiet time a quarter of a minute's may start at once, as far as no minute has as many as
    SonarCloud asks to stay below: what a small organization needs is not paced. With a `file`,
    every process of this machine that names the same one shares rate and pauses. `stop` ends all
    waiting, now and later.
    """

    def __init__(
        self,
        per_minute: int = REQUESTS_PER_MINUTE,
        *,
        file: Path | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        self._at_once = max(1, min(per_minute // 4, ASKED_FOR - 1 - per_minute))
        self._interval = 60.0 / per_minute
        self._lock = threading.Lock()
        self._state = _State(now(), now())
        self._file = None if file is None else os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        self._file_lock = (
            None if file is None else FileLock(f"{file}.lock", timeout=LOCKED_SECONDS, mode=0o600)
        )
        self._clock = _clock_name()
        self._stopping = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether nobody should start any more."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stopping.set()

    def sleep(self, seconds: float) -> None:
        """Let time pass, unless all is stopped."""
        self._stopping.wait(seconds)

    def close(self) -> None:
        """Give back the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def wait(self) -> None:
        """Return when the next request may start."""
        with self._shared() as state:
            now = self.now()
            due = max(state.due, state.closed_until, now)
            start = max(now, state.closed_until, due - (self._at_once - 1) * self._interval)
            state.due = due + self._interval
        while start > now and not self.stopped:
            self.sleep(start - now)
            # A limit may have been met while this one waited for its turn.
            with self._shared() as state:
                now = self.now()
                start = max(start, state.closed_until)

    def close_for(self, seconds: float) -> None:
        """Let nobody start for so long: the source said that there were too many requests."""
        with self._shared() as state:
            state.closed_until = max(state.closed_until, self.now() + seconds)
            # A pause that was imposed is no quiet time: what follows it is paced.
            paced = state.closed_until + (self._at_once - 1) * self._interval
            state.due = max(state.due, paced)

    @property
    def closed_seconds(self) -> float:
        """How long the pause that a limit imposed still lasts, as far as this process knows; zero
        when there is none.
        """
        with self._lock:
            return max(0.0, self._state.closed_until - self.now())

    @contextmanager
    def _shared(self) -> Iterator[_State]:
        """Hold the state, to look at it and to change it while nobody else does."""
        with self._lock, self._held() as file:
            if file is None:
                yield self._state
                return
            self._state = self._read(file)
            yield self._state
            os.pwrite(file, STATE.pack(self._state.due, self._state.closed_until, self._clock), 0)

    @contextmanager
    def _held(self) -> Iterator[int | None]:
        """Hold the file while nobody else has it.

        Yields None where there is no file, or where its folder knows no locks: then the rate is
        that of this process alone.
        """
        if self._file is None or self._file_lock is None:
            yield None
            return
        try:
            self._file_lock.acquire()
        except (OSError, NotImplementedError):
            # Also for a lock that stayed when its process died on another machine: `Timeout` is an
            # OSError.
            self.close()
            yield None
            return
        try:
            yield self._file
        finally:
            self._file_lock.release()

    def _read(self, file: int) -> _State:
        now = self.now()
        noted = os.pread(file, STATE.size, 0)
        if len(noted) != STATE.size:
            return _State(now, now)
        *moments, clock = STATE.unpack(noted)
        if clock != self._clock:
            return _State(now, now)
        return _State(*(moment if moment < now + FORGOTTEN else now for moment in moments))


def _clock_name() -> bytes:
    """Name the clock that counts since this machine was started: that of another machine, or of
    before, says nothing here.
    """
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        name = platform.node().encode()
    return hashlib.sha256(name).digest()[:16]
