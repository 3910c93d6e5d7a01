"""The request rate: never more than it says, shared by every process of the machine, and not much
less.
"""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sonar_access_pipeline.access.snapshot import Verdict
from sonar_access_pipeline.sonarcloud.rate_limit import STATE, Patience, RateLimit, _clock_name
from sonar_access_pipeline_tests.support.reading import QUICK, organization, read, serving


class Imagined(RateLimit):
    """A rate_limit in a time of its own, which passes only by waiting."""

    def __init__(self, per_minute: int, file: Path | None = None, start: float = 1000.0) -> None:
        self.time = start
        super().__init__(per_minute, file=file, now=lambda: self.time)

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def starts(
    rate_limit: Imagined, requests: int, pause: Callable[[int], float] = lambda _: 0.0
) -> list[float]:
    found = []
    for number in range(requests):
        rate_limit.time += pause(number)
        rate_limit.wait()
        found.append(rate_limit.time)
    return found


def most_in_a_minute(found: list[float]) -> int:
    return max(sum(first <= other < first + 60 for other in found) for first in found)


@example(per_minute=900, pauses=[0.0], seed=0)
@given(
    per_minute=st.integers(1, 998),
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=60),
    seed=st.integers(0, 2**16),
)
def test_no_minute_has_as_many_requests_as_sonarcloud_asks_to_stay_below(
    per_minute: int, pauses: list[float], seed: int
) -> None:
    found = starts(
        Imagined(per_minute),
        1500,
        lambda number: pauses[(number * 7919 + seed) % len(pauses)] * (number % 5 == 0),
    )
    assert most_in_a_minute(found) <= min(per_minute + max(1, per_minute // 4), 999)


def test_what_a_small_organization_needs_is_not_paced_and_the_rest_is_evenly() -> None:
    rate_limit = Imagined(600)
    found = starts(rate_limit, 150 + 600)
    assert found[149] == pytest.approx(found[0])
    assert most_in_a_minute(found) == 750
    assert found[-1] - found[0] == pytest.approx(60)
    rate_limit.time += 15
    assert len({round(at, 6) for at in starts(rate_limit, 150)}) == 1, "after a quiet time, again"


@pytest.mark.parametrize("per_minute", [60, 600, 900])
def test_the_rate_is_used_up(per_minute: int) -> None:
    found = starts(Imagined(per_minute), 3 * per_minute)
    assert (found[-1] - found[0]) / (3 * 60) <= 1.05


def test_a_limit_closes_the_way_for_everybody_and_for_those_who_wait_already() -> None:
    rate_limit = Imagined(600)
    starts(rate_limit, 30)
    rate_limit.close_for(17)
    assert rate_limit.closed_seconds == 17
    began = rate_limit.time
    assert starts(rate_limit, 1)[0] >= began + 17
    assert rate_limit.closed_seconds == 0


def test_after_a_limit_nobody_starts_many_at_once() -> None:
    rate_limit = Imagined(600)
    starts(rate_limit, 400)
    rate_limit.close_for(60)
    found = starts(rate_limit, 50)
    assert found[-1] - found[0] == pytest.approx(4.9)


def test_one_who_waits_for_a_turn_waits_on_when_the_way_is_closed_meanwhile() -> None:
    class Closing(Imagined):
        is_closed = False

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if not self.is_closed:
                self.is_closed = True
                self.close_for(5)

    rate_limit = Closing(60)
    starts(rate_limit, 15)
    began = rate_limit.time
    rate_limit.wait()
    assert rate_limit.time >= began + 5


def test_processes_share_one_rate_through_a_file_that_is_private(tmp_path: Path) -> None:
    file = tmp_path / "rate_limit"
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sonar_access_pipeline.sonarcloud.rate_limit import RateLimit\n"
        "rate_limit = RateLimit(1200, file=Path(sys.argv[1]))\n"
        "for _ in range(30): rate_limit.wait(); print(time.monotonic())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    found = sorted(
        float(line) for process in processes for line in process.communicate()[0].split()
    )
    assert len(found) == 90
    # Forty-eight may start at once; the other forty-two follow twenty a second.
    assert found[-1] - found[0] >= 42 * 60 / 1200 * 0.9
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_pause_that_one_process_was_told_to_make_is_made_by_all(tmp_path: Path) -> None:
    one, other = Imagined(600, tmp_path / "rate_limit"), Imagined(600, tmp_path / "rate_limit")
    one.close_for(30)
    assert starts(other, 1)[0] >= 1030


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        STATE.pack(10**9, 10**9, _clock_name()),
        STATE.pack(float("nan"), float("inf"), _clock_name()),
    ],
)
def test_a_file_from_before_the_machine_started_or_a_broken_one_is_forgotten(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "rate_limit").write_bytes(content)
    assert starts(Imagined(600, tmp_path / "rate_limit"), 1) == [1000.0]


def test_stopping_ends_every_wait_at_once() -> None:
    rate_limit = RateLimit(1)
    rate_limit.wait()
    waiting = [threading.Thread(target=rate_limit.wait) for _ in range(4)]
    for thread in waiting:
        thread.start()
    began = time.monotonic()
    rate_limit.stop()
    for thread in waiting:
        thread.join()
    assert time.monotonic() - began < 1


@given(failures=st.integers(1, 40))
def test_pauses_double_up_to_the_longest_with_a_quarter_of_jitter(failures: int) -> None:
    patience = Patience(first_pause=1.0, longest_pause=120.0)
    assert (
        0.75 * min(2 ** (failures - 1), 120)
        <= patience.pause(failures)
        <= 1.25 * min(2 ** (failures - 1), 120)
    )


def test_a_source_with_a_limit_is_read_whole_without_meeting_it() -> None:
    found = organization(accounts=60, groups=60)
    with serving(found, requests_per_minute=600) as simulator:
        snapshot = read(
            simulator,
            rate_limit=RateLimit(600),
            patience=replace(QUICK, snapshot_seconds=60, list_seconds=60),
        )
    assert snapshot.verdict is Verdict.COMPLETE
    assert all(response.attempts == 1 for response in snapshot.responses)


def test_a_source_with_a_lower_limit_than_ours_is_read_by_waiting_as_it_says() -> None:
    found = organization(accounts=20, groups=20)
    told: list[float] = []

    class Told(RateLimit):
        def close_for(self, seconds: float) -> None:
            told.append(seconds)
            # A minute of the server's is not waited for in a test.
            simulator.requests_per_minute = 1000

    with serving(found, requests_per_minute=10) as simulator:
        snapshot = read(simulator, rate_limit=Told(1_000_000), patience=Patience())
    assert snapshot.verdict is Verdict.COMPLETE
    assert told
    assert all(0 < seconds <= 60 for seconds in told)
