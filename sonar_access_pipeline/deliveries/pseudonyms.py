"""Packets without names: logins become pseudonyms that are the same in every delivery under one
secret, and are of no use to who does not have it. Pure.

Names, addresses, and texts that may hold either are left out; groups stand by their ids, projects
by pseudonyms. Reports, workbooks and the manifest hold names: they are left out, too. Add here: a
column that a packet gets, in one of the lists; one that is in none is left out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.evidence.tables import SPELLED, encoded

KEPT = ("population.csv", "access.csv", "findings.csv", "reviews.csv", "follow_up.csv")
"""Tables that are of use without names."""
AS_THEY_ARE = frozenset(
    """
    source organization_key provider account_type is_member is_organization_admin
    is_admin_by_sonarcloud project_admin_count first_seen access_unchanged_since last_change
    principal_type access_type entitlement granted_via valid_from changed_after changed_by
    rule_id rule_version title severity result subject_type threshold policy_version failing_since
    exception_until exception_ended review_id series scope state opened_at due reviewed_packet
    reviewed_as_of items undecided to_go reviewers signed ended_at review_packet item_no item_kind
    decision decided_at due_at state_since last_shown first_not_shown
    """.split()
)
"""Columns that name nobody."""
LOGINS = frozenset({"login", "decided_by"})
BY_ID = frozenset({"groups", "admin_through", "organization_permissions"})
"""Columns of an account that name its groups: written anew, with ids."""
ABOUT = frozenset({"subject", "resource"})
"""Columns that may hold a login, or the key of a project."""
SHORTEST_SECRET = 16
Row = Mapping[str, str]


def pseudonym(secret: str, login: str, kind: str = "account") -> str:
    """Make the pseudonym of a login, or of something else that people name."""
    digest = hmac.new(secret.encode(), f"{kind}:{login}".encode(), hashlib.sha256).hexdigest()
    return f"{kind}-{digest[:20]}"


def pseudonymised(packet: SealedPacket, secret: str) -> SealedPacket:
    """Return a packet of its tables alone, without names and in an order that tells nothing."""
    rights = defaultdict[str, list[Row]](list)
    for row in packet.records("access.csv"):
        if row["principal_type"] == "user":
            rights[row["login"]].append(row)
    tables = {}
    for name in KEPT:
        if rows := packet.records(name):
            written = (_without(row, rights[row.get("login", "")], secret) for row in rows)
            tables[name] = _encoded(sorted(written, key=lambda row: list(row.values())))
        elif name in packet.files:
            tables[name] = packet.files[name]
    return replace(packet, files=tables, stated=packet.manifest_body)


def _encoded(rows: Sequence[Row]) -> bytes:
    fields = (list(map(SPELLED[str], row.values())) for row in rows)
    return encoded([list(rows[0]), *fields]).encode()


def _without(row: Row, rights: Sequence[Row], secret: str) -> dict[str, str]:
    """Write a row without names."""
    found: dict[str, str] = {}
    for name, value in row.items():
        if name in AS_THEY_ARE:
            found[name] = value
        elif name in LOGINS:
            found[name] = pseudonym(secret, value) if value else ""
        elif name in ABOUT:
            found[name] = _about(row, name, value, secret)
        elif name in BY_ID:
            found[name] = "; ".join(sorted(GROUPS[name](rights)))
    return found


def _about(row: Row, name: str, value: str, secret: str) -> str:
    """Write what a row is about: a group by its id, an organization by its key, anyone as such."""
    if name == "resource":
        is_project = "project" in row.get("access_type", "project")
        is_named = is_project and value not in ("", row["organization_key"])
        return pseudonym(secret, value, "project") if is_named else value
    is_named = row.get("subject_type", "account") == "account" and not value.startswith("group:")
    return pseudonym(secret, value) if is_named and value != "Anyone" else value


def _via(row: Row) -> str:
    return row["granted_via"].replace(":", " ", 1)


def _groups(rights: Sequence[Row]) -> set[str]:
    return {row["resource"] for row in rights if row["access_type"] == "group"}


def _on_organization(rights: Sequence[Row]) -> list[Row]:
    return [row for row in rights if row["access_type"] == "organization_permission"]


def _admin_through(rights: Sequence[Row]) -> set[str]:
    return {_via(row) for row in _on_organization(rights) if row["entitlement"] == "admin"}


def _permissions(rights: Sequence[Row]) -> set[str]:
    return {f"{row['entitlement']} ({_via(row)})" for row in _on_organization(rights)}


GROUPS: Mapping[str, Callable[[Sequence[Row]], set[str]]] = {
    "groups": _groups,
    "admin_through": _admin_through,
    "organization_permissions": _permissions,
}
