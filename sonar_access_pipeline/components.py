"""What somebody's existing Dagster project uses: one function that returns definitions, and one component for a `defs.yaml`.

Both add their assets, jobs, schedules and the two sensors to a code location, once. Secrets are named, never given: tokens by
the variable or file they stand in, the warehouse and the channels by the environment (`docs/settings.md`), since Dagster shows
what a component is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import Connection, given


def sonar_access(connections: Sequence[Connection | Mapping[str, Any]], **settings: Any) -> dg.Definitions:
    """The definitions for some connections, as `{"name": "acme", "organization": "acme", "token_env": "ACME_SONAR_TOKEN"}`.

    `settings` are those of `docs/settings.md` by their names in a file; the environment says the rest. Merge what it returns with
    `dg.Definitions.merge`. Connects to nothing. Raises `SettingsError`.
    """
    return build_definitions(Parts(given(connections, **settings)))


class ConnectionModel(dg.Model, dg.Resolvable):
    """One organization, and where its token stands."""

    name: str = Field(description="Short name, in asset keys and jobs: lower case letters, digits, underscores.")
    organization: str = Field(description="Key of the organization, as in the address of its page.")
    token_env: str | None = Field(None, description="Variable that holds the token. Default: SONAR_TOKEN.")
    token_file: str | None = Field(None, description="File that holds the token, instead.")
    host_url: str | None = Field(None, description="Default: https://sonarcloud.io; for the US region https://sonarqube.us.")
    scopes: list[str] | None = Field(None, description="Read beside core: project_permissions, account_details.")


class SonarCloudAccess(dg.Component, dg.Model, dg.Resolvable):
    """Who has access to SonarCloud, on any day, proven: daily snapshots, access history, evidence packets, alerts."""

    connections: list[ConnectionModel]
    scopes: list[str] | None = Field(None, description="Read beside core by every connection that does not say.")
    first_day: str | None = Field(None, description="First daily partition, as 2026-01-01.")
    hour: int | None = Field(None, description="UTC hour of the daily sync.")
    grace_hours: int | None = Field(None, description="Hours after which a day without an observation is reported.")
    data_dir: str | None = Field(None, description="Folder of the embedded warehouse and of evidence.")
    evidence_url: str | None = Field(None, description="Folder, or address of an object store, that packets go to.")
    evidence_retention_days: int | None = Field(None, description="Days for which S3 locks what is put there.")
    signing_key: str | None = Field(None, description="Path of the key that signs, or agent: and the path of a public key.")
    timestamp_url: str | None = Field(None, description="Time stamp authority (RFC 3161).")
    timestamp_certificates: str | None = Field(None, description="File with the certificates of that authority, PEM.")
    requests_per_minute: int | None = Field(None, description="Rate per host, shared on this machine. Default: 600.")
    brake_share: float | None = Field(None, description="Share of members or rights whose loss at once holds a snapshot.")
    brake_rows: int | None = Field(None, description="Rows below which no loss holds a snapshot.")
    keep_bodies_days: int | None = Field(None, description="Days after which SonarCloud's own answers are dropped.")
    keep_runs_days: int | None = Field(None, description="Days after which our runs are deleted from Dagster. Default: 400.")
    policy: dict[str, Any] | None = Field(None, description="What rules measure by, as [policy] in a settings file.")
    ui_url: str | None = Field(None, description="Address of Dagster's UI, for links in alerts.")
    owners: list[str] | None = Field(None, description="Owners of the assets: team:name, or e-mail addresses.")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions for its connections."""
        said = self.model_dump(exclude_none=True)
        return sonar_access(said.pop("connections"), **said)
