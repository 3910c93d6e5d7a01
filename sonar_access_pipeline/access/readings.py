"""One list, read once or several times: which of its rows count, and whether they are all there
are.

The same functions judge a list while it is read and when it is parsed again from the archive, years
later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sonar_access_pipeline.access.endpoints import Page
from sonar_access_pipeline.access.lists import SonarList
from sonar_access_pipeline.access.records import GroupPermissions, Record, UserPermissions
from sonar_access_pipeline.access.snapshot import ListRead, Verdict

Reading = Sequence[Page]
"""The pages of one reading of a list, in the order of their numbers."""


@dataclass(frozen=True)
class Counting:
    """The pages that count, oldest first, of how many readings they are, and what they hold: each
    key as it was last seen.
    """

    pages: Sequence[Page]
    readings: int
    by_key: Mapping[Hashable, Record]

    @property
    def records(self) -> tuple[Record, ...]:
        """Every record once, in the order first seen."""
        return tuple(self.by_key.values())


def _by_key(of: SonarList[Any], pages: Iterable[Page]) -> dict[Hashable, Record]:
    records: dict[Hashable, Record] = {}
    for page in pages:
        records.update(zip(of.keys_of(page.records), page.records, strict=True))
    return records


def counting(of: SonarList[Any], newest_first: Iterable[Reading]) -> Counting:
    """Choose what counts of a list: the last reading; or, when rows are missing from it, the last
    few readings if together they have exactly the total.

    People with the same display name have no order, so that one of them may come twice and another
    not at all, in each reading somebody else. All these readings report one total: when that many
    different rows were seen, they are all there are.
    """
    last: Counting | None = None
    together: list[Page] = []
    for readings, reading in enumerate(newest_first, start=1):
        total = _one_total(reading)
        if last is not None and (total is None or total != _one_total(last.pages)):
            break
        together = [*reading, *together]
        candidate = Counting(together, readings, _by_key(of, together))
        if total is None or len(candidate.by_key) >= total:
            return candidate
        last = last or candidate
    return last or Counting((), 1, {})


def _one_total(reading: Reading) -> int | None:
    """Return the total that every page of a reading reports; None when the pages report different
    totals, or there is none.
    """
    totals = {page.total for page in reading}
    return totals.pop() if len(totals) == 1 else None


def list_read(
    of: SonarList[Any],
    subject: str,
    counted: Counting,
    rereads: int,
    *,
    window: int | None = None,
    others_without_grants: bool = False,
    fault: str | None = None,
) -> ListRead:
    """Judge a list: it is complete when every page that counts reports one total and there are that
    many distinct keys.

    Three lists are complete though something is amiss, and say so in `reason`: one whose last
    readings have all rows together; the member list, which SonarCloud shows to the end of its
    `window` only (`who_exists` then demands the others from another list); and the permissions of a
    project when `others_without_grants`: it was stopped at a row without grants, and behind that
    nobody has any. `rereads` counts the readings before the last one; `fault` says why the last one
    ended early.
    """
    rows = sum(len(page.records) for page in counted.pages)
    distinct = len(counted.by_key)
    totals = [page.total for page in counted.pages if page.total is not None]
    reported = totals[-1] if totals else None
    note = None
    if counted.readings > 1:
        fault = (
            None if distinct == reported else f"it reports {reported} rows and delivers {distinct}"
        )
        note = (
            f"put together from {counted.readings} readings: people of one name change places"
            " between its pages"
        )
    else:
        fault = fault or _moved_or_repeated(totals, rows, distinct)
    if fault is None and reported is not None and distinct != reported:
        fault = f"it reports {reported} rows and delivers {distinct}"
        if distinct < reported and others_without_grants:
            fault = None
            note = (
                f"stopped at a row without grants: the other {reported - distinct} rows have none"
            )
        elif of.continued_in and window is not None and distinct == window < reported:
            fault = None
            note = (
                f"SonarCloud shows {window} of {reported}; the others come from {of.continued_in}"
            )
        elif window is not None and distinct == window < reported:
            fault = f"it reports {reported} rows, of which SonarCloud shows the first {window}"
    return ListRead(
        name=of.name,
        subject=subject,
        reported_total=reported,
        rows=rows,
        distinct=distinct,
        rereads=rereads,
        verdict=Verdict.INCOMPLETE if fault else Verdict.COMPLETE,
        reason=fault or note,
    )


def _moved_or_repeated(totals: Sequence[int], rows: int, distinct: int) -> str | None:
    if len(set(totals)) > 1:
        return f"its total moved from {totals[0]} to {totals[-1]} while it was read"
    if totals and rows != distinct:
        return f"{rows - distinct} of its {rows} rows came twice, of {totals[0]} reported"
    return None


def grants_come_first(records: Iterable[Record]) -> bool | None:
    """Tell whether no row with grants stands behind one without.

    None where that cannot be told: the list does not have both kinds.
    """
    granted = [
        bool(record.permissions)
        for record in records
        if isinstance(record, UserPermissions | GroupPermissions)
    ]
    if len(set(granted)) < 2:
        return None
    return all(before or not after for before, after in pairwise(granted))
