"""Many lists at once: page 1 tells a list's total, the rest of it and other lists are read in
parallel, and what does not add up is read again.

Knows pages, totals and threads; which lists there are is `reader.py`. All state is changed by the
calling thread alone: the workers only fetch, and tell each other when the token is refused, so that
nothing more is sent from that moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from queue import SimpleQueue
from typing import Any

from sonar_access_pipeline.access.content import Gathered, readings_of
from sonar_access_pipeline.access.endpoints import Endpoint, Page
from sonar_access_pipeline.access.lists import Part, SonarList
from sonar_access_pipeline.access.readings import Reading, counting, grants_come_first, list_read
from sonar_access_pipeline.access.records import GroupPermissions, UserPermissions
from sonar_access_pipeline.access.snapshot import ListRead, Response, Verdict
from sonar_access_pipeline.collector import uncollected
from sonar_access_pipeline.sonarcloud.client import PARALLEL, Client, Reply
from sonar_access_pipeline.sonarcloud.errors import NotFoundError, SourceError, TokenRefusedError

READINGS = 3
"""How often a list is read before its numbers are believed to be wrong for good."""
FEWER_ROWS = (0, 3, 13, 1, 7)
"""How many rows fewer a page has in each reading of a list, over and over: other boundaries part
other people of one name.
"""
WORKERS = 2 * PARALLEL
"""Threads that fetch and parse: more than connections, so that none of those idles while its last
answer is parsed.
"""
AHEAD = 2 * WORKERS
"""Pages handed to the workers beyond those they read: none waits for this thread to think."""
LARGEST_LIST = 1_000_000
"""Rows. A larger total is a fault: reading would never end, and no organization is that large."""


@dataclass(frozen=True, eq=False)
class ListPlan:
    """One list to read, asked with `params`.

    `subject` is the group or project it belongs to, else empty.

    `is_sample`: one row of it is all that is wanted.
    """

    list: SonarList[Any]
    params: Mapping[str, str]
    subject: str = ""
    is_sample: bool = False

    @property
    def part(self) -> Part:
        """The list's name and subject: what it is known by."""
        return self.list.name, self.subject

    @cached_property
    def endpoint(self) -> Endpoint:
        """The endpoint of the list, with pages of one row where that is enough."""
        endpoint = self.list.endpoint
        return (
            replace(endpoint, page_size=1)
            if self.is_sample and endpoint.page_size is not None
            else endpoint
        )


@dataclass(frozen=True)
class Progress:
    """How far reading is: the list at hand, its rows so far and its reported total, and all
    requests so far.

    `waiting_seconds` is how long the source still makes us wait for having asked too much; zero
    when it does not.
    """

    list_name: str
    rows: int
    total: int | None
    requests: int
    waiting_seconds: float = 0.0


@dataclass(eq=False)
class _Reading:
    """One reading of one list, page by page."""

    plan: ListPlan
    number: int = 1
    rereads: int = 0
    readings_left: int = 0
    until: float | None = None
    reported: int = 0
    pages: dict[int, Page] = field(default_factory=dict)
    keys: set[Hashable] = field(default_factory=set)
    rows: int = 0
    asked: int = 0
    last_page: int | None = None
    in_the_air: int = 0
    fault: str | None = None
    others_without_grants: bool = False
    is_queued: bool = True
    is_over: bool = False

    @property
    def has_more(self) -> bool:
        """Whether a page can be asked for now. Without page 1 nobody knows how many there are."""
        if self.asked == 0 or self.is_over:
            return not self.is_over
        if self.last_page is None or self.asked >= self.last_page:
            return False
        return not (self.plan.list.stops_without_grants and self.in_the_air)

    def next_page(self) -> int:
        """Move on to the page to ask for now, and return its number: the first, then the others in
        the order of the plan.
        """
        self.asked += 1
        if self.asked > 1 and self.plan.list.is_read_backwards:
            return (self.last_page or 1) + 2 - self.asked
        return self.asked

    def take(self, number: int, page: Page, may_stop: bool) -> None:
        """Note a page, and whether to ask for more: not behind a row without grants, and not once
        it cannot add up.
        """
        self.pages[number] = page
        before = len(self.keys)
        self.keys.update(self.plan.list.keys_of(page.records))
        self.rows += len(page.records)
        if number == 1:
            self.last_page = self._pages_of(page)
            self.reported = page.total or 0
        if may_stop and self._stands_at_a_row_without_grants(page):
            self.others_without_grants = True
            self._ask_no_more()
        elif fault := self._fault(number, page, len(self.keys) - before):
            self.fault = self.fault or fault
            self._ask_no_more()

    def again(self) -> _Reading:
        """Start the next reading of the list, within the time of this one."""
        return _Reading(
            self.plan,
            self.number + 1,
            self.rereads + 1,
            self.readings_left - 1,
            self.until,
            reported=self.reported,
        )

    def _ask_no_more(self) -> None:
        self.last_page = min(self.last_page or 1, self.asked)

    def _fault(self, number: int, page: Page, new: int) -> str | None:
        """Say why this reading cannot add up, whatever follows, so that the rest need not be asked
        for.
        """
        if self.last_page == 1 or not page.total:
            return None
        if page.total > LARGEST_LIST:
            return f"it reports {page.total} rows, more than any organization has"
        size = self._size(page)
        due = min(size, self._shown(page.total) - (number - 1) * size)
        if len(page.records) < due:
            return (
                f"it reports {page.total} rows, and page {number} delivers {len(page.records)}"
                f" where {due} are due"
            )
        return f"page {number} repeats others" if new == 0 else None

    def params(self, number: int) -> dict[str, str]:
        """Build the parameters of the request for one page."""
        return self.plan.endpoint.asked(self.plan.params, number, self._asked_size)

    @property
    def _asked_size(self) -> int:
        """The most that the endpoint gives, but a little less when a list is read again that does
        not fill its window.
        """
        most = self.plan.endpoint.page_size or 1
        fewer = FEWER_ROWS[self.rereads % len(FEWER_ROWS)]
        fills = (
            self.plan.endpoint.window is not None
            and self.reported > self.plan.endpoint.window - most
        )
        return most if fills or most <= max(FEWER_ROWS) else most - fewer

    def _size(self, page: Page) -> int:
        """Rows per page, as asked for unless the answer says that it uses fewer."""
        return max(1, min(page.size or self._asked_size, self._asked_size))

    def _shown(self, total: int) -> int:
        window = self.plan.endpoint.window
        return total if window is None else min(total, window)

    def _pages_of(self, page: Page) -> int:
        if self.plan.endpoint.page_size is None or self.plan.is_sample or not page.total:
            return 1
        return -(-self._shown(page.total) // self._size(page))

    def _stands_at_a_row_without_grants(self, page: Page) -> bool:
        last = page.records[-1] if page.records else None
        without = isinstance(last, UserPermissions | GroupPermissions) and not last.permissions
        return (
            self.plan.list.stops_without_grants
            and without
            and grants_come_first(page.records) is not False
        )


Arrival = tuple[_Reading, int, Reply | BaseException]
OnComplete = Callable[[ListPlan], Iterable[ListPlan]]


class Gathering:
    """What was read so far: the responses, the verdict on each list, the records; and the way to
    read more.
    """

    def __init__(self, client: Client, progress: Callable[[Progress], None]) -> None:
        self.responses: list[Response] = []
        self.reads: dict[Part, ListRead] = {}
        self.page_counts: dict[Part, int] = {}
        self.gathered = Gathered()
        self.gone: dict[Part, str] = {}
        self.grants_come_first: dict[str, bool] = {}
        """By endpoint: whether every list of it that was read whole had its rows with grants first.

        Absent: nobody knows.
        """
        self._stopped: set[ListPlan] = set()
        self._refused: TokenRefusedError | None = None
        self._client = client
        self._progress = progress
        self._ends = client.rate_limit.now() + client.patience.snapshot_seconds

    def read(self, plans: Iterable[ListPlan], on_complete: OnComplete = lambda _: ()) -> None:
        """Read lists until each settles or was read `READINGS` times; `on_complete` says what else
        to read then.

        A list that SonarCloud does not know (any more) is noted in `gone`. Raises `SourceError` for
        the first list that cannot be read at all; nothing else is waited for then.
        """
        ready: deque[_Reading] = deque(self._first(plan) for plan in plans)
        arrived: SimpleQueue[Arrival] = SimpleQueue()
        in_the_air = 0
        workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="sonar-access-read")
        try:
            with uncollected():
                while ready or in_the_air:
                    while ready and in_the_air < AHEAD:
                        reading = ready[0]
                        if reading.has_more:
                            workers.submit(self._fetch, reading, reading.next_page(), arrived)
                            reading.in_the_air += 1
                            in_the_air += 1
                        else:
                            ready.popleft().is_queued = False
                    if not in_the_air:
                        break
                    reading, number, outcome = arrived.get()
                    reading.in_the_air -= 1
                    in_the_air -= 1
                    ready.extend(self._arrived(reading, number, outcome, on_complete))
                    if reading.has_more and not reading.is_queued:
                        # A list that is begun is finished first: long lists must not be what is
                        # left at the end.
                        reading.is_queued = True
                        ready.appendleft(reading)
        except BaseException:
            self._client.stop()
            raise
        finally:
            workers.shutdown(cancel_futures=True)

    def _first(self, plan: ListPlan) -> _Reading:
        earlier = self.reads.get(plan.part)
        # Two readings must say the same where no other list would tell: two more, then, to come to
        # that.
        left = READINGS + 1 if plan.list.is_unwitnessed else READINGS - 1
        if earlier is None:
            return _Reading(plan, readings_left=left)
        # One number is left out: what was read before another list cast doubt on it is not put
        # together with what is read now.
        number = (
            max(
                (r.reading for r in self.responses if (r.list_name, r.subject) == plan.part),
                default=-1,
            )
            + 2
        )
        return _Reading(
            plan, number, earlier.rereads + 1, left, reported=earlier.reported_total or 0
        )

    def _fetch(self, reading: _Reading, number: int, arrived: SimpleQueue[Arrival]) -> None:
        """In a worker: one page, or why there is none."""
        client = self._client
        endpoint = reading.plan.endpoint
        try:
            if self._refused:
                raise self._refused
            if reading.until is None:
                reading.until = min(
                    self._ends, client.rate_limit.now() + client.patience.list_seconds
                )
            if reading.rereads and number == 1:
                # What was on the move a moment ago may have come to rest.
                client.rate_limit.sleep(client.patience.pause(reading.rereads))
            arrived.put(
                (
                    reading,
                    number,
                    client.get(
                        endpoint,
                        reading.params(number),
                        reading.until,
                        optional=reading.plan.list.is_optional,
                    ),
                )
            )
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for it
            if isinstance(error, TokenRefusedError) and not reading.plan.list.is_optional:
                self._refused = error
            arrived.put((reading, number, error))

    def _arrived(
        self,
        reading: _Reading,
        number: int,
        outcome: Reply | BaseException,
        on_complete: OnComplete,
    ) -> Iterable[_Reading]:
        """Take in one page; the readings that follow from it."""
        plan = reading.plan
        if isinstance(outcome, BaseException):
            self._failed(reading, outcome)
        if isinstance(outcome, BaseException) or reading.is_over:
            return ()
        reading.take(number, outcome.page, self.grants_come_first.get(plan.endpoint.path, False))
        self._keep(reading, number, outcome)
        if reading.in_the_air or reading.has_more:
            return ()
        pages = [reading.pages[page] for page in sorted(reading.pages)]
        counted = counting(plan.list, self._newest_first(reading, pages))
        read = list_read(
            plan.list,
            plan.subject,
            counted,
            reading.rereads,
            window=plan.endpoint.window,
            others_without_grants=reading.others_without_grants,
            fault=reading.fault,
        )
        self._learn_order(reading, read, pages)
        self.reads[plan.part] = read
        self.page_counts[plan.part] = len(pages)
        before = frozenset(self.gathered.part(plan.part))
        self.gathered.put(plan.part, counted.records)
        if plan.is_sample:
            pass
        elif read.verdict is not Verdict.COMPLETE:
            if reading.readings_left:
                return (reading.again(),)
        elif (
            plan.list.is_unwitnessed
            and len(pages) > 1
            and (reading.rereads == 0 or before != frozenset(self.gathered.part(plan.part)))
        ):
            if reading.readings_left:
                return (reading.again(),)
            reason = f"no two of its {reading.rereads + 1} readings say the same"
            self.reads[plan.part] = replace(read, verdict=Verdict.INCOMPLETE, reason=reason)
        return [self._first(following) for following in on_complete(plan)]

    def _newest_first(self, reading: _Reading, pages: Reading) -> Iterator[Reading]:
        yield pages
        part = reading.plan.part
        number = reading.number
        before = [
            r for r in self.responses if (r.list_name, r.subject) == part and r.reading < number
        ]
        if any(response.reading == number - 1 for response in before):
            yield from readings_of(before)

    def _learn_order(self, reading: _Reading, read: ListRead, pages: Iterable[Page]) -> None:
        """Learn whether grants come first: a list that was read whole proves it; any list can
        disprove it.
        """
        plan = reading.plan
        grants_first = grants_come_first(chain.from_iterable(page.records for page in pages))
        self._stopped.discard(plan)
        if reading.others_without_grants:
            self._stopped.add(plan)
        if grants_first is False or (
            grants_first and read.verdict is Verdict.COMPLETE and not reading.others_without_grants
        ):
            self.grants_come_first[plan.endpoint.path] = (
                grants_first and self.grants_come_first.get(plan.endpoint.path, True)
            )

    def stopped_in_vain(self) -> list[ListPlan]:
        """Return the lists that were not read to their end because grants come first, where this
        has since turned out to be wrong.
        """
        return [plan for plan in self._stopped if not self.grants_come_first[plan.endpoint.path]]

    def _failed(self, reading: _Reading, error: BaseException) -> None:
        plan = reading.plan
        reading.is_over = True
        if isinstance(error, NotFoundError) and plan.subject:
            self.gone[plan.part] = str(error)
        elif not (isinstance(error, SourceError) and plan.list.is_optional):
            raise error
        self.reads[plan.part] = ListRead(
            *plan.part, None, 0, 0, reading.rereads, Verdict.INCOMPLETE, str(error)
        )
        self.gathered.drop(plan.part)

    def _keep(self, reading: _Reading, number: int, answer: Reply) -> None:
        plan = reading.plan
        self.responses.append(
            Response(
                sequence=len(self.responses) + 1,
                list_name=plan.list.name,
                subject=plan.subject,
                reading=reading.number,
                endpoint=plan.endpoint.path,
                params=reading.params(number),
                page=number if plan.endpoint.page_size is not None else None,
                status=answer.status,
                started_at=answer.started_at,
                duration_ms=answer.duration_ms,
                server_time=answer.server_time,
                attempts=answer.attempts,
                rows=len(answer.page.records),
                reported_total=answer.page.total,
                **answer.packed,
            )
        )
        waiting = self._client.rate_limit.closed_seconds
        self._progress(
            Progress(plan.list.name, reading.rows, answer.page.total, len(self.responses), waiting)
        )
