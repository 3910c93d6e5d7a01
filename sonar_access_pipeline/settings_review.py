"""Settings of reviews: `[review]` and `[[review.series]]` of a settings file.

Add here: a setting of reviews. All of it goes into the policy, so that what was in force on a day
judges that day.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sonar_access_pipeline.access.policy import ReviewPolicy, Series
from sonar_access_pipeline.access.review.items import ReviewScope
from sonar_access_pipeline.access.roles import read as read_role
from sonar_access_pipeline.settings_page import AssertionSettings


def _known_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    for one in roles:
        read_role(one)
    return roles


def _origin(page: str | None) -> str | None:
    """Write an address as a browser does: in lower case, without the port that its scheme has."""
    if page is None:
        return None
    scheme, _, host = page.lower().partition("://")
    usual = {"http": ":80", "https": ":443"}[scheme]
    return f"{scheme}://{host.removesuffix(usual)}"


RolesOf = dict[str, Annotated[tuple[str, ...], AfterValidator(_known_roles)]]


class SeriesSettings(BaseModel):
    """A rhythm and a scope: `every` so many months. `reminders` and `escalate_after` are days
    before and after the due date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    scope: ReviewScope = ReviewScope.EVERYBODY
    every: Annotated[int, Field(ge=1, le=24)] = 3
    due_days: Annotated[int, Field(ge=1, le=180)] = 14
    reminders: tuple[Annotated[int, Field(ge=0, le=180)], ...] = Series.reminders
    escalate_after: Annotated[int, Field(ge=0, le=180)] = Series.escalate_after


class ReviewSettings(BaseModel):
    """Who reviews, how often, and until when what is decided is to be done.

    `people` are the accounts of one person, by an address or a login of theirs. `page` is the
    address at which reviewers see their items; messages to them name it. `assertion` is how the
    page knows them behind an identity proxy; `roles` are by person, `groups` by a group that the
    proxy names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str | None = None
    fallback: str | None = None
    oldest_days: Annotated[int, Field(ge=1, le=90)] = ReviewPolicy.oldest_days
    bulk_at_most: Annotated[int, Field(ge=1, le=1000)] = ReviewPolicy.bulk_at_most
    privilege_days: Annotated[int, Field(ge=0, le=365)] = ReviewPolicy.privilege_days
    days: Annotated[int, Field(ge=0, le=365)] = ReviewPolicy.days
    privileged: tuple[str, ...] = ReviewPolicy.privileged
    page: Annotated[str | None, Field(pattern=r"^https?://[^/?#]+$"), AfterValidator(_origin)] = (
        None
    )
    assertion: AssertionSettings | None = None
    roles: RolesOf = Field(default_factory=dict)
    groups: RolesOf = Field(default_factory=dict)
    people: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    series: tuple[SeriesSettings, ...] = ()

    def policy(self) -> ReviewPolicy:
        """Build what the policy keeps of it."""
        return ReviewPolicy(
            owner=self.owner,
            fallback=self.fallback,
            oldest_days=self.oldest_days,
            bulk_at_most=self.bulk_at_most,
            privilege_days=self.privilege_days,
            days=self.days,
            privileged=self.privileged,
            series=tuple(
                Series(**{**one.model_dump(), "scope": one.scope.value}) for one in self.series
            ),
        )
