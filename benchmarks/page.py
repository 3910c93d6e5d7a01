"""The reviewers' page under work: one decision from the request to the next item, fifty reviewers
at once, and what it keeps in memory.

    python -m benchmarks.page [accounts]

The page is a process of its own, as in production, on PostgreSQL; people come by assertions.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import requests
import uvicorn
from sqlalchemy import func, select

from benchmarks.history import database, postgresql
from benchmarks.reviews import world
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.page.who import Roles
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.reviews.facts import reassign
from sonar_access_pipeline.warehouse.schema_reviews import review_decision
from sonar_access_pipeline_tests.support.paged import HEADER, Proxy, by_assertion, site_of
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.reviewing import FALLBACK, OWNER, Reviewed

ACCOUNTS, REVIEWERS, EACH, ONE_BY_ONE = 10_000, 50, 40, 500


class Today(Reviewed):
    """The same by the clock of the machine."""

    def clock(self) -> datetime:
        """Tell the time."""
        return datetime.now(UTC)


def serve(url: str, folder: str, port: int) -> None:
    """Run the page in a process of its own."""
    here = Today(Warehouse(url), Path(folder))
    entering = by_assertion(here, Path(folder) / "jwks.json", Roles.of({OWNER: ("admin",)}, {}))
    # Nobody decides as fast as a benchmark.
    site = site_of(here, f"http://127.0.0.1:{port}", entering, per_minute=10**9)
    uvicorn.run(site, host="127.0.0.1", port=port, log_level="error", access_log=False)


class Reviewer:
    """Somebody who decides, one item after the other."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({HEADER: token, "Origin": address})

    def decide(self, number: int) -> tuple[float, int, int]:
        """Decide an item: the seconds until the next is shown, the status, and its number."""
        form = {"choice": "keep", "reason": "needed for the work", "seen": "", "shown": ""}
        began = time.perf_counter()
        answer = self.session.post(f"{self.address}/r/1/{number}", data=form)
        seconds = time.perf_counter() - began
        page = answer.url.partition("?")[0].rpartition("/")[2]
        return seconds, answer.status_code, int(page) if "done=all" not in answer.url else 0


def memory(process: multiprocessing.Process) -> float:
    """Give the resident memory of a process, in megabytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError("it has ended")


@contextmanager
def opened(accounts: int) -> Iterator[tuple[str, Path, Reviewed]]:
    """Open a review of so many accounts on PostgreSQL, half of it shared by fifty reviewers."""
    with tempfile.TemporaryDirectory() as scratch, postgresql(Path(scratch)) as server:
        url = database(server, "page")
        warehouse = Warehouse(url)
        upgrade(warehouse)
        here = Reviewed(warehouse, Path(scratch))
        here.live(0, world(accounts), scopes=(Scope.CORE,))
        here.open(here.packet(0))
        numbers = here.review().reviewed_by(FALLBACK)
        for place in range(REVIEWERS):
            part = numbers[len(numbers) // 2 + place :: REVIEWERS][: EACH + 1]
            given: dict[str, Any] = {"by": OWNER, "reason": "shared"}
            person = f"reviewer{place}@example.com"
            reassign(warehouse, 1, part, person, **given, why_not=lambda _: None, clock=here.clock)
        yield url, Path(scratch), here
        warehouse.close()


def main() -> None:
    """Measure one after the other, then all at once, then memory."""
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
    print("| measure | reach | measured |\n|---|---|---|")
    with opened(accounts) as (url, folder, here):
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        proxy = Proxy(folder, lambda: datetime.now(UTC))
        process = multiprocessing.Process(target=serve, args=(url, str(folder), port), daemon=True)
        process.start()
        _wait(address)
        _one_by_one(address, proxy, here)
        _listed(address, proxy)
        before = _memory_after(address, proxy, here, process, 100)
        _at_once(address, proxy, here)
        after = _memory_after(address, proxy, here, process, accounts)
        print(
            f"| memory after {accounts:,} decisions / after 100 | at most 1.2 |"
            f" {after / before:.2f} ({before:.0f}, {after:.0f} MB) |"
        )
        process.terminate()
        process.join()


def _wait(address: str) -> None:
    for _ in range(200):
        try:
            if requests.get(f"{address}/ready", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise TimeoutError("the page does not come up")


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1] * 1000


def _one_by_one(address: str, proxy: Proxy, here: Reviewed) -> None:
    asking = Reviewer(address, proxy.says(FALLBACK))
    number = next(one for one in here.review().reviewed_by(FALLBACK))
    seconds: list[float] = []
    while number and len(seconds) < ONE_BY_ONE:
        took, status, number = asking.decide(number)
        assert status == 200, status
        seconds.append(took)
    print(
        f"| decide one of {len(here.review().asked):,} items, until the next is shown, p95 |"
        f" 100 ms | {_p95(seconds):.0f} ms (median {statistics.median(seconds) * 1000:.0f}) |"
    )


def _listed(address: str, proxy: Proxy) -> None:
    """Show one part of the list of everything."""
    owner = Reviewer(address, proxy.says(OWNER))
    seconds = []
    for part in range(1, 60):
        began = time.perf_counter()
        answer = owner.session.get(f"{address}/r/1?all=1&state=open&page={part}")
        seconds.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.status_code
    print(f"| one part of the list of everybody's items, p95 | | {_p95(seconds):.0f} ms |")


def _at_once(address: str, proxy: Proxy, here: Reviewed) -> None:
    """Have all decide at once: each a second or three after the item was shown, then each at
    once.
    """
    people = [f"reviewer{place}@example.com" for place in range(REVIEWERS)]
    numbers = {one: here.review().reviewed_by(one)[0] for one in people}
    for what, reach, rounds, pause in (
        ("who look at each for 1 to 3 s", "300 ms", EACH // 3, 2.0),
        ("who do not look", "", EACH // 2, 0.0),
    ):
        before = _decisions(here)
        began = time.perf_counter()
        work = partial(_work, address, proxy, numbers, rounds, pause)
        with ThreadPoolExecutor(REVIEWERS) as pool:
            done = list(chain.from_iterable(pool.map(work, people)))
        rate = len(done) / (time.perf_counter() - began)
        seconds = [took for took, _ in done]
        errors = sum(status != 200 for _, status in done)
        lost = REVIEWERS * rounds - (_decisions(here) - before)
        print(
            f"| {REVIEWERS} reviewers at once, {what}: errors; lost or doubled | 0; 0 | {errors};"
            f" {lost} |"
        )
        print(
            f"| the same: until the next item is shown, p95 | {reach} | {_p95(seconds):.0f} ms"
            f" (median {statistics.median(seconds) * 1000:.0f}; {rate:.0f} decisions a second) |"
        )


def _work(
    address: str, proxy: Proxy, numbers: dict[str, int], rounds: int, pause: float, person: str
) -> list[tuple[float, int]]:
    """Decide some items of one person: for each, the seconds and the status."""
    asking = Reviewer(address, proxy.says(person))
    done = []
    for _ in range(rounds):
        time.sleep(random.uniform(pause / 2, pause * 1.5))
        took, status, numbers[person] = asking.decide(numbers[person])
        done.append((took, status))
    return done


def _decisions(here: Reviewed) -> int:
    with here.warehouse.read() as transaction:
        query = select(func.count()).select_from(review_decision)
        return int(transaction.execute(query).scalar_one())


def _memory_after(
    address: str,
    proxy: Proxy,
    here: Reviewed,
    process: multiprocessing.Process,
    count: int,
) -> float:
    """Go on deciding until there are so many decisions; the memory then."""
    asking = Reviewer(address, proxy.says(FALLBACK))
    found = here.review()
    waiting = [one for one in found.reviewed_by(FALLBACK) if one not in found.decided]
    number = waiting[0] if waiting else 0
    done = _decisions(here)
    while number and done < count:
        _, status, number = asking.decide(number)
        assert status == 200, status
        done += 1
    return memory(process)


if __name__ == "__main__":
    main()
