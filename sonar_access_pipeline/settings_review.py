"""Settings of reviews: `[review]` and `[[review.series]]` of a settings file.

Add here: a setting of reviews. All of it goes into the policy, so that what was in force on a day
judges that day.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sonar_access_pipeline.access.policy import ReviewPolicy, Series
from sonar_access_pipeline.access.review.items import ReviewScope


class SeriesSettings(BaseModel):
    """A rhythm and a scope: `every` so many months."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    scope: ReviewScope = ReviewScope.EVERYBODY
    every: Annotated[int, Field(ge=1, le=24)] = 3
    due_days: Annotated[int, Field(ge=1, le=180)] = 14


class ReviewSettings(BaseModel):
    """Who reviews, how often, and until when what is decided is to be done.

    `people` are the accounts of one person, by an address or a login of theirs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: str | None = None
    fallback: str | None = None
    oldest_days: Annotated[int, Field(ge=1, le=90)] = ReviewPolicy.oldest_days
    bulk_at_most: Annotated[int, Field(ge=1, le=1000)] = ReviewPolicy.bulk_at_most
    privilege_days: Annotated[int, Field(ge=0, le=365)] = ReviewPolicy.privilege_days
    days: Annotated[int, Field(ge=0, le=365)] = ReviewPolicy.days
    privileged: tuple[str, ...] = ReviewPolicy.privileged
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
                Series(one.name, one.scope.value, one.every, one.due_days) for one in self.series
            ),
        )
