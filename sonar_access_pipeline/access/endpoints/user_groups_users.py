"""`user_groups/users`: the members of one group, asked by id so that a rename does not matter.

Source: reference 4.4, recorded.

The one v1 list without a paging object: page, size and total stand at the top.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

from sonar_access_pipeline.access.endpoints.shape import (
    Endpoint,
    Page,
    Params,
    object_of,
    optional_number,
    rows,
    texts,
    total,
)
from sonar_access_pipeline.access.records import GroupMember


def _parse(document: Any, params: Params) -> Page:
    about = object_of(document)
    # Rows that are not `selected` are not in the group.
    member_rows = [row for row in rows(about, "users") if row.get("selected") is not False]
    members = map(GroupMember, repeat(params["id"]), texts(member_rows, "login"))
    return Page(
        tuple(members), total(about), optional_number(about, "p"), optional_number(about, "ps")
    )


# No maximum is documented for its pages; 500 is what its siblings accept.
ENDPOINT = Endpoint("user_groups/users", _parse, ("id", "p", "ps"), page_size=500)
