"""Settings: from the environment, then from the TOML file that `SONAR_ACCESS_CONFIG` names, then defaults.

Reading them touches nothing: no connection is made, no folder, no file but the TOML file is opened. Tokens are named here,
never held; `Connection.token` fetches one when it is needed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as PydanticSettingsError

from sonar_access_pipeline.warehouse.database import sqlite_url

HOSTS = {"eu": "https://sonarcloud.io", "us": "https://sonarqube.us"}
DEFAULT_CONNECTION = "default"


class SettingsError(Exception):
    """A setting is missing or malformed; the sentence names the variable and what it should be."""


class Connection(BaseModel):
    """One organization, one token, one host. `name` appears in asset keys only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    organization: str | None = None
    token_env: str = "SONAR_TOKEN"
    host_url: str = HOSTS["eu"]

    @field_validator("host_url")
    @classmethod
    def _host(cls, value: str) -> str:
        url = urlsplit(value)
        if url.scheme not in ("https", "http") or not url.hostname or url.username or url.query:
            raise ValueError("write the host as https://sonarcloud.io")
        if url.scheme == "http" and not is_loopback(value):
            raise ValueError("plain http would show the token to the network; write https://")
        return value.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether the source is on this machine: a simulator, not SonarCloud."""
        return is_loopback(self.host_url)

    def organization_key(self) -> str:
        """The organization's key. Raises `SettingsError` when none is set."""
        if not self.organization:
            raise SettingsError(
                "No organization is set; set SONAR_ORGANIZATION to its key, which stands in the address of its page: "
                "https://sonarcloud.io/organizations/<key>."
            )
        return self.organization

    def token(self, environment: Mapping[str, str] = os.environ) -> str:
        """The token, from the environment. Raises `SettingsError` when it is not there or cannot be one."""
        token = environment.get(self.token_env, "").strip()
        if not token:
            raise SettingsError(
                f"No token is set; set {self.token_env} to a token of an account that administers organization "
                f"'{self.organization}' (My Account > Security)."
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise SettingsError(f"{self.token_env} is not a token: it holds spaces or characters no token has.")
        return token


class Settings(BaseSettings):
    """Everything that can be set. Every default is what a small company would choose."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_ignore_empty=True, env_prefix="SONAR_ACCESS_")

    connections: tuple[Connection, ...] = ()
    data_dir: Path = Path(".sonar-access")
    warehouse_url: str | None = None
    evidence_url: str | None = None
    first_day: date = date(2026, 1, 1)
    hour: Annotated[int, Field(ge=0, le=23)] = 5
    grace_hours: Annotated[int, Field(ge=1, le=72)] = 6

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file."""
        config = os.environ.get("SONAR_ACCESS_CONFIG")
        if not config:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(config))

    @field_validator("connections", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        # In TOML a connection is a table with its name: [connections.acme].
        return tuple({"name": name, **table} for name, table in value.items()) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _distinct(self) -> Settings:
        keys = [(connection.host_url, connection.organization) for connection in self.connections if connection.organization]
        if len(keys) != len(set(keys)):
            raise ValueError("an organization appears in two connections; its history has one source")
        return self

    @property
    def warehouse(self) -> str:
        """The warehouse's URL: the one set, else a SQLite file in the data folder."""
        return self.warehouse_url or sqlite_url(self.data_dir / "warehouse.sqlite")

    @property
    def evidence_root(self) -> Path:
        """The folder that packets go to."""
        return Path(self.evidence_url.removeprefix("file://")) if self.evidence_url else self.data_dir / "evidence"


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings as they are now. Raises `SettingsError` with one sentence for everything that is wrong."""
    config = environment.get("SONAR_ACCESS_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(f"SONAR_ACCESS_CONFIG names no file: {config}.")
    try:
        settings = Settings()
        connections = settings.connections or (_simple_connection(environment),)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(detail) for detail in error.errors(include_url=False))) from None
    except (PydanticSettingsError, ValueError) as error:
        raise SettingsError(f"The settings cannot be read: {str(error).splitlines()[0]}.") from None
    folder = settings.data_dir
    if config and "data_dir" in settings.model_fields_set and "SONAR_ACCESS_DATA_DIR" not in environment:
        # A path in a file is relative to that file, as people who write it there mean it.
        folder = Path(config).parent / folder
    return settings.model_copy(update={"connections": connections, "data_dir": folder.absolute()})


def _simple_connection(environment: Mapping[str, str]) -> Connection:
    """The one connection of a set-up without a file, from Sonar's own variable names."""
    region: Literal["eu", "us"] | str = environment.get("SONAR_REGION", "").lower() or "eu"
    if region not in HOSTS:
        raise SettingsError(f"SONAR_REGION is '{region}'; it can be eu or us.")
    return Connection(
        name=DEFAULT_CONNECTION,
        organization=environment.get("SONAR_ORGANIZATION", "").strip() or None,
        host_url=environment.get("SONAR_HOST_URL", "").strip() or HOSTS[region],
    )


def _sentence(detail: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"]) or "settings"
    name = "SONAR_HOST_URL" if place == "host_url" else f"SONAR_ACCESS_{place.upper()}" if "." not in place else place
    return f"{name}: {str(detail['msg']).removeprefix('Value error, ')}"


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
