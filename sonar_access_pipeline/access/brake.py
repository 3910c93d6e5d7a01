"""The removal brake: would so much disappear at once that a person must look first? Counts only,
never a name.

Measured per list and per access type, between what the observation before shows and what a new
snapshot says. A wrong answer that is consistent in itself (a permission lost by the token's owner,
a service that forgets) looks exactly like this.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from sonar_access_pipeline.access.records import SnapshotContent
from sonar_access_pipeline.access.rows import (
    BRIDGE_GROUP_MEMBER,
    DIM_ACCOUNT_DETAIL,
    DIM_GROUP,
    DIM_PROJECT,
    DIM_USER,
    FCT_PERMISSION_GRANT,
    FCT_USER_ACCESS,
    HistoryTable,
    Part,
    Row,
    Value,
    parts_of,
)
from sonar_access_pipeline.access.snapshot import Scope

Measured = Mapping[str, Set[Row]]
"""What there is of each measured thing, as keys."""

Whose = Row | Value
Measure = tuple[str, Row, Whose]
"""What a row is measured as, its key, and whose it is."""

LISTS = {
    DIM_USER.name: "members",
    DIM_GROUP.name: "groups",
    BRIDGE_GROUP_MEMBER.name: "group members",
    DIM_PROJECT.name: "projects",
    DIM_ACCOUNT_DETAIL.name: "account details",
}
"""The tables that are one list each, and what the list is called.

Such a list must not become empty.
"""
OF_TYPE = "access rows of type "
"""What the rows of one access type are called.

Such a type must not become empty either, however few rows it had.
"""
OF_GROUP = "members of group "
"""What the list of one group is called.

It may become empty only if it was small: teams are disbanded every day.
"""
MEASURED = (
    DIM_USER,
    DIM_GROUP,
    BRIDGE_GROUP_MEMBER,
    DIM_PROJECT,
    DIM_ACCOUNT_DETAIL,
    FCT_PERMISSION_GRANT,
    FCT_USER_ACCESS,
)


ACCOUNT = {BRIDGE_GROUP_MEMBER.name: 1, FCT_PERMISSION_GRANT.name: 1, FCT_USER_ACCESS.name: 0}
"""Where the account stands in the keys of tables that may have many rows of one."""


@dataclass(frozen=True)
class Brake:
    """When to hold: more than `share` of a measured thing would close, and at least `rows` of it;
    or a list is emptied.

    More than one account, and more than `share` of those that have such rows, must lose some: in a
    small organization the rows of one admin are many, and one who leaves is an everyday thing.
    """

    share: float = 0.2
    rows: int = 10


@dataclass(frozen=True)
class Removal:
    """How much of one thing would disappear."""

    what: str
    before: int
    gone: int


def measures(description: HistoryTable, rows: Iterable[Row]) -> Iterator[Measure]:
    """Yield for each row of a history table what it is measured as, its key, and whose it is: an
    account's, or else the key itself.

    Only the key columns are looked at.
    """
    width = len(description.key)
    place = ACCOUNT.get(description.name)
    for row in rows:
        key = row[:width]
        is_an_accounts = place is not None and (
            description is not FCT_PERMISSION_GRANT or key[0] == "user"
        )
        whose = key[place] if place is not None and is_an_accounts else key
        yield _what(description, key), key, whose
        if description is BRIDGE_GROUP_MEMBER:
            yield f"{OF_GROUP}{key[0]}", key, whose


def _what(description: HistoryTable, key: Row) -> str:
    if description is FCT_USER_ACCESS:
        return f"{OF_TYPE}{key[1]}"
    if description is FCT_PERMISSION_GRANT:
        return f"{key[2]} permissions granted to {'users' if key[0] == 'user' else 'groups'}"
    return LISTS[description.name]


def measured(content: SnapshotContent, scopes: Iterable[Scope]) -> Measured:
    """Collect the keys that a snapshot has of each measured thing, as far as its scopes reach."""
    keys_by_thing: dict[str, set[Row]] = defaultdict(set)
    for description, part in measured_parts(set(scopes)):
        for what, key, _ in measures(description, part.rows(content)):
            keys_by_thing[what].add(key)
    return keys_by_thing


def measured_parts(scopes: Set[Scope]) -> list[tuple[HistoryTable, Part]]:
    """List the measured parts of history tables that `scopes` feed."""
    return list(parts_of(scopes, MEASURED))


def removals(before: Iterable[Measure], new: Measured, brake: Brake) -> list[Removal]:
    """List the things of which too much would disappear, in a fixed order; nothing when the change
    is an everyday one.

    `before` is what the last observation shows, as `measures` gives it, each row once.
    """
    there, gone = Counter[str](), Counter[str]()
    owners = defaultdict[str, set[Whose]](set)
    losers = defaultdict[str, set[Whose]](set)
    for what, key, whose in before:
        there[what] += 1
        owners[what].add(whose)
        if key not in new.get(what, frozenset()):
            gone[what] += 1
            losers[what].add(whose)
    groups = new.get(LISTS[DIM_GROUP.name], frozenset())
    held_removals = []
    for what in sorted(there):
        if what.startswith(OF_GROUP):
            # The members of a group that was deleted are no emptied list.
            exists = (what.removeprefix(OF_GROUP),) in groups
            is_held = exists and there[what] >= brake.rows and not new.get(what)
        else:
            emptied = (what in LISTS.values() or what.startswith(OF_TYPE)) and not new.get(what)
            is_much = gone[what] >= brake.rows and gone[what] > brake.share * there[what]
            is_many = len(losers[what]) > max(1, brake.share * len(owners[what]))
            is_held = emptied or (is_much and is_many)
        if is_held:
            held_removals.append(Removal(what, there[what], gone[what]))
    return held_removals


def left_behind_reason(non_members: Set[str], members_before: Set[str] | None) -> str | None:
    """Say why accounts that are listed with permissions and not as members need a person first;
    None where they do not.

    They left and kept rights, or the member list is short: nobody can tell, but for accounts that
    were no members by the last observation either. `members_before` are the members that it shows;
    None where there is none.
    """
    doubtful = non_members if members_before is None else non_members & members_before
    if not doubtful:
        return None
    accounts, were = (
        ("1 account stands", "was a member")
        if len(doubtful) == 1
        else (f"{len(doubtful)} accounts stand", "were members")
    )
    before = "" if members_before is None else f", and {were} by the last observation"
    return (
        f"{accounts} in the list of permissions and not in that of members{before}: whoever it is"
        " has left, or the member list lacks them"
    )


def held_reason(found: Iterable[Removal], brake: Brake) -> str:
    """Say in one sentence what would disappear, with the numbers and the limit."""
    losses = ", ".join(f"{removal.gone} of {removal.before} {removal.what}" for removal in found)
    return (
        f"{losses} would disappear at once (more than {brake.share:.0%} and at least {brake.rows}"
        " rows, or a list emptied)"
    )


def what_to_decide(snapshot_id: int) -> str:
    """Say what a person does about a held snapshot."""
    return (
        "Nothing opens or closes until a person decides: `sonar-access snapshot confirm"
        f" {snapshot_id} --reason ...` if it is true, `sonar-access snapshot retract {snapshot_id}"
        " --reason ...` if it is not."
    )
