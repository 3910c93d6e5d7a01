"""What a change of access is called. A row opened or closed between two observations; what that means depends on what else the
account had before and after. Pure.

Kinds: joined, left, returned (joined after having left), promoted and demoted (began or ceased to administer the organization,
by whatever way), permission_granted, permission_revoked, added_to_group, removed_from_group, renamed (a durable id proves that it
is the same account or group), first_observed (a baseline: since when is not known), scope_ended (its lists are no longer read).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Span(NamedTuple):
    """How long something showed: its first observation, and the first that no longer showed it (None: it still shows)."""

    begins: datetime
    ends: datetime | None

    def shows_before(self, moment: datetime) -> bool:
        """Whether the observation before the one at `moment` showed it."""
        return self.begins < moment and (self.ends is None or self.ends >= moment)

    def shows_at(self, moment: datetime) -> bool:
        """Whether the observation at `moment` shows it."""
        return self.begins <= moment and (self.ends is None or self.ends > moment)


Spans = Mapping[str, Sequence[Span]]


@dataclass(frozen=True)
class Context:
    """What tells kinds apart, by login: when an account was a member, when it administered the organization (each way is a span),
    and which durable id it had.
    """

    memberships: Spans = field(default_factory=dict)
    admin: Spans = field(default_factory=dict)
    durable_ids: Mapping[str, Sequence[tuple[str, Span]]] = field(default_factory=dict)

    def renamed(self) -> dict[tuple[str, datetime], str]:
        """For a login that began or ended at a moment, the other login of the same account: (login, moment) to login."""
        of_id: dict[str, list[tuple[str, Span]]] = {}
        for login, ids in self.durable_ids.items():
            for durable_id, span in ids:
                of_id.setdefault(durable_id, []).append((login, span))
        found = {}
        for spans in of_id.values():
            for old, ended in spans:
                for new, begun in spans:
                    if old != new and ended.ends is not None and ended.ends == begun.begins:
                        found[old, ended.ends] = new
                        found[new, ended.ends] = old
        return found


def kind_of(row: Row, context: Context, renamed: Mapping[tuple[str, datetime], str]) -> tuple[str, str | None]:
    """The kind of a change, and what there is to say of it besides."""
    kind, login, at = row["kind"], row["login"], row["changed_by"]
    if kind in ("joined", "left") and (other := renamed.get((login, at))):
        return "renamed", f"was {other}" if kind == "joined" else f"is now {other}"
    if kind == "joined" and any(span.ends is not None and span.ends <= at for span in context.memberships.get(login, ())):
        return "returned", None
    if (row["access_type"], row["entitlement"]) == ("organization_permission", "admin"):
        ways = context.admin.get(login, ())
        if kind == "permission_granted" and not any(span.shows_before(at) for span in ways):
            return "promoted", None
        if kind == "permission_revoked" and not any(span.shows_at(at) for span in ways):
            return "demoted", None
    return kind, None


def called(rows: Iterable[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
    """Changes with their kinds, a `detail`, and whether each is the end of an access row (`closes`), not its begin."""
    renamed = context.renamed()
    answer = []
    for row in rows:
        kind, detail = kind_of(row, context, renamed)
        answer.append(row | {"closes": row["kind"] in CLOSING, "kind": kind, "detail": detail})
    return answer


CLOSING = frozenset({"left", "removed_from_group", "permission_revoked"})
"""The kinds of a row's end, as the view has them."""
