"""Settings of deliveries: `[[delivery]]` of a settings file.

Add here: a kind of target, what it needs, and nothing that is a secret: variables are named.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import chain
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sonar_access_pipeline.addresses import holds_more, is_clear, is_loopback


class Kind(StrEnum):
    """A kind of target."""

    FILE = "file"
    OSCAL = "oscal"
    DRATA_EVIDENCE = "drata-evidence"
    DRATA_RECORDS = "drata-records"
    VANTA_DOCUMENT = "vanta-document"
    VANTA_ACCOUNTS = "vanta-accounts"


class Shape(StrEnum):
    """Whose columns a file has."""

    VANTA = "vanta"
    PROBO = "probo"
    WIDE = "wide"


class Windows(StrEnum):
    """Which packets are delivered: those of a day, a month or a quarter."""

    DAY = "day"
    MONTH = "month"
    QUARTER = "quarter"


NEEDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.FILE: ("to", "shape"),
    Kind.OSCAL: ("to",),
    Kind.DRATA_EVIDENCE: ("token_env", "workspace"),
    Kind.DRATA_RECORDS: ("token_env", "custom_connection", "resource"),
    Kind.VANTA_DOCUMENT: ("client_id_env", "client_secret_env", "document"),
    Kind.VANTA_ACCOUNTS: ("client_id_env", "client_secret_env", "resource"),
}
"""What must be set for a kind."""
TAKES: Mapping[Kind, tuple[str, ...]] = {
    Kind.FILE: (),
    Kind.OSCAL: (),
    Kind.DRATA_EVIDENCE: ("host_url", "title"),
    Kind.DRATA_RECORDS: ("host_url",),
    Kind.VANTA_DOCUMENT: ("host_url",),
    Kind.VANTA_ACCOUNTS: ("host_url",),
}
"""What may be set besides."""
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1, max_length=191)]


class DeliverySettings(BaseModel):
    """One target. `windows` says of which packets the newest is delivered.

    The asset sends only where `automatic` is true, else it shows what it would send. With
    `pseudonym_env`, the variable of a secret, logins are replaced by pseudonyms and names and
    addresses left out. Files go `to` a folder or the address of an object store.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    kind: Kind
    connection: str | None = None
    windows: Windows = Windows.QUARTER
    automatic: bool = False
    oldest_days: Annotated[int, Field(ge=1, le=366)] = 45
    pseudonym_env: Variable | None = None
    to: Text | None = None
    shape: Shape | None = None
    host_url: str | None = None
    token_env: Variable | None = None
    client_id_env: Variable | None = None
    client_secret_env: Variable | None = None
    workspace: Annotated[int, Field(ge=1)] | None = None
    title: Text | None = None
    custom_connection: Annotated[int, Field(ge=1)] | None = None
    resource: Text | None = None
    document: Text | None = None

    @field_validator("host_url")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://x")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write the address as https://api.example.com")
        if value is not None and (not is_clear(value) or holds_more(value)):
            raise ValueError("it holds no user, password or options: a key has its variable")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("plain http would show the key to the network; write https://")
        return value

    @field_validator("to")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and holds_more(value):
            raise ValueError(
                "credentials and options do not belong into an address; set the variables of the"
                " store's SDK"
            )
        return value

    @property
    def destination(self) -> tuple[object, ...] | None:
        """Name what a second delivery there would disturb; None for files, which have names of
        their own.
        """
        if self.kind in (Kind.FILE, Kind.OSCAL):
            return None
        named = (self.custom_connection, self.resource, self.document)
        # Without a title it is that of the organization.
        evidence = (self.workspace, self.title or self.connection)
        return (self.kind, self.host_url, *named, *evidence)

    @model_validator(mode="after")
    def _fits(self) -> DeliverySettings:
        needed, taken = NEEDS[self.kind], TAKES[self.kind]
        missing = [name for name in needed if getattr(self, name) is None]
        of_kinds = set(chain(*NEEDS.values(), *TAKES.values()))
        useless = sorted(
            name for name in of_kinds - {*needed, *taken} if getattr(self, name) is not None
        )
        if missing:
            raise ValueError(f"a delivery of kind {self.kind} needs {' and '.join(missing)}")
        if self.kind is Kind.DRATA_RECORDS and not str(self.resource).isdigit():
            raise ValueError("at Drata a resource is a number")
        if useless:
            raise ValueError(f"a delivery of kind {self.kind} has no use for {', '.join(useless)}")
        return self
