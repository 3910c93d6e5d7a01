"""The endpoints that are read, one description each: path, page size, and which list of a snapshot they give.

What an answer looks like is `access/answers.py`; where these facts come from is docs/sonarcloud.md. An endpoint that
SonarCloud removes is replaced here, and its parser stays for the snapshots that hold its answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from sonar_access_pipeline.access.snapshot import ListName


@dataclass(frozen=True)
class Endpoint:
    """A GET below `api/`. `page_size` is the largest that SonarCloud accepts; None where the answer has no pages."""

    list_name: ListName
    path: str
    page_size: int | None


CALLER = Endpoint(ListName.CALLER, "users/current", None)
ORGANIZATION = Endpoint(ListName.ORGANIZATION, "organizations/search", None)
MEMBERS = Endpoint(ListName.MEMBERS, "organizations/search_members", 500)
GROUPS = Endpoint(ListName.GROUPS, "user_groups/search", 500)
# No maximum is documented for the next one; 500 is what its siblings accept.
GROUP_MEMBERS = Endpoint(ListName.GROUP_MEMBERS, "user_groups/users", 500)
USER_PERMISSIONS = Endpoint(ListName.USER_PERMISSIONS, "permissions/users", 100)
GROUP_PERMISSIONS = Endpoint(ListName.GROUP_PERMISSIONS, "permissions/groups", 100)
