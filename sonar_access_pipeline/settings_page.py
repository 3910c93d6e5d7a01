"""Settings of the reviewers' page: how people are known, and which roles they have.

Add here: a setting of the page. None of it is part of the policy: it says nothing about access to
SonarCloud.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AssertionSettings(BaseModel):
    """The assertion of an identity proxy: in which header it comes, by whom, for whom, with which
    keys (an address, or a file); and the claims that name the person and their groups.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1)]
    keys: Annotated[str, Field(min_length=1)]
    person: Annotated[str, Field(min_length=1)] = "email"
    groups: str | None = None
