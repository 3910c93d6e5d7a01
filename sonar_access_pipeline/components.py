"""What somebody's existing Dagster project uses: one function that returns definitions, and one
component for a `defs.yaml`.

Both add their assets, jobs, schedules and the two sensors to a code location, once. Secrets are
named, never given: tokens by the variable or file they stand in, the warehouse and the channels by
the environment (`docs/settings.md`), since Dagster shows what a component is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, Settings, given


def sonar_access(
    connections: Sequence[Connection | Mapping[str, Any]], **settings: Any
) -> dg.Definitions:
    """Build the definitions for some connections, given as `{"name": "acme", "organization":
    "acme", "token_env": "ACME_SONAR_TOKEN"}`.

    `settings` are those of `docs/settings.md` by their names in a file; the environment says the
    rest. Merge what this returns with `dg.Definitions.merge`. Connects to nothing. Raises
    `SettingsError`.
    """
    return build_definitions(Resources(given(connections, **settings)))


class ConnectionModel(dg.Model, dg.Resolvable):
    """One organization, and where its token stands."""

    name: str = Field(
        description="Short name, in asset keys and jobs: lower case letters, digits, underscores."
    )
    organization: str = Field(description="Key of the organization, as in the address of its page.")
    token_env: str | None = Field(
        None, description="Variable that holds the token. Default: SONAR_TOKEN."
    )
    token_file: str | None = Field(None, description="File that holds the token, instead.")
    host_url: str | None = Field(
        None, description="Default: https://sonarcloud.io; for the US region https://sonarqube.us."
    )
    scopes: list[str] | None = Field(
        None, description="Read beside core: project_permissions, account_details."
    )


def _of_settings(name: str) -> Any:
    """Give the field of a setting, with what it means."""
    meaning = Settings.model_fields[name].description or ""
    return Field(None, description=re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", meaning))


class SonarCloudAccess(dg.Component, dg.Model, dg.Resolvable):
    """Who has access to SonarCloud, on any day, proven: daily snapshots, access history, evidence
    packets, alerts.
    """

    connections: list[ConnectionModel]
    scopes: list[str] | None = _of_settings("scopes")
    first_day: str | None = _of_settings("first_day")
    hour: int | None = _of_settings("hour")
    grace_hours: int | None = _of_settings("grace_hours")
    data_dir: str | None = _of_settings("data_dir")
    evidence_url: str | None = _of_settings("evidence_url")
    evidence_retention_days: int | None = _of_settings("evidence_retention_days")
    signing_key: str | None = _of_settings("signing_key")
    timestamp_url: str | None = _of_settings("timestamp_url")
    timestamp_certificates: str | None = _of_settings("timestamp_certificates")
    requests_per_minute: int | None = _of_settings("requests_per_minute")
    brake_share: float | None = _of_settings("brake_share")
    brake_rows: int | None = _of_settings("brake_rows")
    keep_bodies_days: int | None = _of_settings("keep_bodies_days")
    publish_url: str | None = _of_settings("publish_url")
    keep_runs_days: int | None = _of_settings("keep_runs_days")
    policy: dict[str, Any] | None = _of_settings("policy")
    review: dict[str, Any] | None = _of_settings("review")
    delivery: list[dict[str, Any]] | None = _of_settings("delivery")
    ui_url: str | None = _of_settings("ui_url")
    owners: list[str] | None = _of_settings("owners")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions for the connections of this component."""
        options = self.model_dump(exclude_none=True)
        return sonar_access(options.pop("connections"), **options)
