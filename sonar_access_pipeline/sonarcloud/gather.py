"""Many lists at once: page 1 tells a list's total, the rest of it and other lists are read in parallel, and what does not
add up is read again.

Knows pages, totals and threads; which lists there are is `reader.py`. All state is changed by the calling thread alone: the
workers only fetch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue

from sonar_access_pipeline.access.completeness import grants_come_first, key_of, list_read
from sonar_access_pipeline.access.content import Gathered
from sonar_access_pipeline.access.endpoints import Endpoint, Page
from sonar_access_pipeline.access.records import GroupPermissions, UserPermissions
from sonar_access_pipeline.access.snapshot import ListName, ListRead, Response, Verdict
from sonar_access_pipeline.sonarcloud.client import PARALLEL, Answer, Client
from sonar_access_pipeline.sonarcloud.errors import NotFoundError, SourceError

READINGS = 3
"""How often a list is read before its numbers are believed to be wrong for good."""
AHEAD = 2 * PARALLEL
"""Pages handed to the workers beyond those they read: none waits for this thread to think."""


@dataclass(frozen=True)
class ListPlan:
    """One list to read. `subject` is the group or project it belongs to, else empty.

    `stops_without_grants`: page by page, and no further than the first row without grants. `optional`: its failure is noted,
    and nothing more. `is_sample`: its first page is all that is wanted.
    """

    name: ListName
    endpoint: Endpoint
    params: Mapping[str, str]
    subject: str = ""
    stops_without_grants: bool = False
    optional: bool = False
    is_sample: bool = False

    @property
    def part(self) -> tuple[ListName, str]:
        """The list's name and subject: what it is known by."""
        return self.name, self.subject


@dataclass(frozen=True)
class Progress:
    """How far reading is: the list at hand, its rows so far and its reported total, and all requests so far.

    `waiting_seconds` is how long the source still makes us wait for having asked too much; zero when it does not.
    """

    list_name: ListName
    rows: int
    total: int | None
    requests: int
    waiting_seconds: float = 0.0


@dataclass(eq=False)
class _Reading:
    """One reading of one list, page by page."""

    plan: ListPlan
    number: int
    readings_left: int = READINGS - 1
    until: float | None = None
    pages: dict[int, Page] = field(default_factory=dict)
    keys: set[Hashable] = field(default_factory=set)
    rows: int = 0
    next_page: int = 1
    last_page: int | None = None
    in_the_air: int = 0
    others_without_grants: bool = False
    is_queued: bool = True
    is_over: bool = False

    @property
    def has_more(self) -> bool:
        """Whether a page can be asked for now. Without page 1 nobody knows how many there are."""
        if self.is_over or self.next_page == 1:
            return not self.is_over
        if self.last_page is None or self.next_page > self.last_page:
            return False
        return not (self.plan.stops_without_grants and self.in_the_air)

    def take(self, number: int, page: Page) -> None:
        """Note a page, and where the list ends by what it says."""
        self.pages[number] = page
        before = len(self.keys)
        self.keys.update(key_of(record) for record in page.records)
        self.rows += len(page.records)
        size = min(page.size or self._asked_size, self._asked_size)
        if number == 1:
            self.last_page = self._pages_of(page.total, size)
        is_short = len(page.records) < size or len(self.keys) == before
        if is_short or self._without_grants(page):
            # What follows a short page, or one that only repeats, is nothing, whatever the total says.
            self.last_page = min(self.last_page or 1, max(number, self.next_page - 1))

    @property
    def _asked_size(self) -> int:
        return self.plan.endpoint.page_size or 1

    def _pages_of(self, total: int | None, size: int) -> int:
        if self.plan.endpoint.page_size is None or self.plan.is_sample or not total:
            return 1
        window = self.plan.endpoint.window
        return -(-(total if window is None else min(total, window)) // max(1, size))

    def _without_grants(self, page: Page) -> bool:
        if not self.plan.stops_without_grants or not page.records:
            return False
        last = page.records[-1]
        self.others_without_grants = (
            isinstance(last, UserPermissions | GroupPermissions)
            and not last.permissions
            and grants_come_first(page.records) is not False
        )
        return self.others_without_grants


Arrival = tuple[_Reading, int, Answer | BaseException]
OnComplete = Callable[[ListPlan], Iterable[ListPlan]]


class Gathering:
    """What was read so far: the responses, the verdict on each list, the records; and the way to read more."""

    def __init__(self, client: Client, progress: Callable[[Progress], None]) -> None:
        self.responses: list[Response] = []
        self.reads: dict[tuple[ListName, str], ListRead] = {}
        self.page_counts: dict[tuple[ListName, str], int] = {}
        self.gathered = Gathered()
        self.gone: dict[tuple[ListName, str], str] = {}
        self._client = client
        self._progress = progress
        self._ends = client.pace.now() + client.patience.snapshot_seconds

    def read(self, plans: Iterable[ListPlan], on_complete: OnComplete = lambda _: ()) -> None:
        """Read lists until each settles or was read `READINGS` times; `on_complete` says what else to read then.

        A list that SonarCloud does not know (any more) is noted in `gone`. Raises `SourceError` for the first list that cannot
        be read at all; nothing else is waited for then.
        """
        ready: deque[_Reading] = deque(self._first(plan) for plan in plans)
        arrived: SimpleQueue[Arrival] = SimpleQueue()
        in_the_air = 0
        workers = ThreadPoolExecutor(PARALLEL, thread_name_prefix="sonar-access-read")
        try:
            while ready or in_the_air:
                while ready and in_the_air < AHEAD:
                    reading = ready[0]
                    if reading.has_more:
                        workers.submit(self._fetch, reading, reading.next_page, arrived)
                        reading.next_page += 1
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
                    # A list that is begun is finished first: long lists must not be what is left at the end.
                    reading.is_queued = True
                    ready.appendleft(reading)
        except BaseException:
            self._client.stop()
            raise
        finally:
            workers.shutdown(cancel_futures=True)

    def _first(self, plan: ListPlan) -> _Reading:
        earlier = self.reads.get(plan.part)
        return _Reading(plan, earlier.rereads + 2 if earlier else 1)

    def _fetch(self, reading: _Reading, number: int, arrived: SimpleQueue[Arrival]) -> None:
        """In a worker: one page, or why there is none."""
        client, endpoint = self._client, reading.plan.endpoint
        try:
            if reading.until is None:
                reading.until = min(self._ends, client.pace.now() + client.patience.list_seconds)
            if reading.number > 1 and number == 1:
                # What was on the move a moment ago may have come to rest.
                client.pace.sleep(client.patience.pause(reading.number - 1))
            arrived.put((reading, number, client.get(endpoint, endpoint.asked(reading.plan.params, number), reading.until)))
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for it
            arrived.put((reading, number, error))

    def _arrived(
        self, reading: _Reading, number: int, outcome: Answer | BaseException, on_complete: OnComplete
    ) -> Iterable[_Reading]:
        """Take in one page; the readings that follow from it."""
        plan = reading.plan
        if isinstance(outcome, BaseException):
            self._failed(reading, outcome)
        if isinstance(outcome, BaseException) or reading.is_over:
            return ()
        reading.take(number, outcome.page)
        self._keep(reading, number, outcome)
        if reading.in_the_air or reading.has_more:
            return ()
        pages = [reading.pages[page] for page in sorted(reading.pages)]
        read = list_read(
            *plan.part,
            pages,
            reading.number,
            window=plan.endpoint.window,
            others_without_grants=reading.others_without_grants,
        )
        self.reads[plan.part] = read
        self.page_counts[plan.part] = len(pages)
        self.gathered.put(*plan.part, pages)
        if read.verdict is not Verdict.COMPLETE and reading.readings_left and not plan.is_sample:
            return (_Reading(plan, reading.number + 1, reading.readings_left - 1, reading.until),)
        return [self._first(following) for following in on_complete(plan)]

    def _failed(self, reading: _Reading, error: BaseException) -> None:
        plan = reading.plan
        reading.is_over = True
        if isinstance(error, NotFoundError) and plan.subject:
            self.gone[plan.part] = str(error)
        elif not (isinstance(error, SourceError) and plan.optional):
            raise error
        self.reads[plan.part] = ListRead(*plan.part, None, 0, 0, reading.number - 1, Verdict.INCOMPLETE, str(error))
        self.gathered.drop(*plan.part)

    def _keep(self, reading: _Reading, number: int, answer: Answer) -> None:
        plan = reading.plan
        self.responses.append(
            Response(
                sequence=len(self.responses) + 1,
                list_name=plan.name,
                subject=plan.subject,
                reading=reading.number,
                endpoint=plan.endpoint.path,
                params=plan.endpoint.asked(plan.params, number),
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
        waiting = self._client.pace.closed_seconds
        self._progress(Progress(plan.name, reading.rows, answer.page.total, len(self.responses), waiting))
