"""Settings: from the environment, then from the TOML file that `SONAR_ACCESS_CONFIG` names, then
defaults.

Reading them touches nothing: no connection is made, no folder, no file but the TOML file is opened.
Tokens are named here, never held; `Connection.token` fetches one when it is needed.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError as PydanticSettingsError

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.calendar import Calendar
from sonar_access_pipeline.access.policy import Exemption, Policy, identity
from sonar_access_pipeline.access.review.people import SELF
from sonar_access_pipeline.access.rules import RULES
from sonar_access_pipeline.access.snapshot import Scope
from sonar_access_pipeline.addresses import holds_more, is_clear, is_loopback
from sonar_access_pipeline.private import expanded
from sonar_access_pipeline.roster import RosterError, RosterRow, read_roster
from sonar_access_pipeline.settings_delivery import DeliverySettings
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.settings_review import ReviewSettings, SeriesSettings
from sonar_access_pipeline.settings_words import Written, sentences, unreadable
from sonar_access_pipeline.texts import TextError, text_in, value_of
from sonar_access_pipeline.warehouse.database import sqlite_url

HOSTS = {"eu": "https://sonarcloud.io", "us": "https://sonarqube.us"}
DEFAULT_CONNECTION = "default"
BEARER = "bearer "
PREFIX = "SONAR_ACCESS_"
OURS = re.compile(r"SONAR_?AC+ES+_")
"""What is meant to begin with `PREFIX`."""
SIMPLE = ("SONAR_ORGANIZATION", "SONAR_TOKEN", "SONAR_TOKEN_FILE", "SONAR_REGION", "SONAR_HOST_URL")
"""The variables of a set-up without a file, under Sonar's own names."""
ALIKE = 0.9
"""How alike two names are of which one is a slip of the other."""
OF_KUBERNETES = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT(_\d+_\w+)?$")
"""What Kubernetes sets for a service whose name begins with ours."""
STORES = ("s3", "gs", "az", "abfs")
"""What the address of an object store can begin with."""
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""What is meant as an address, however many slashes follow."""
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*\.?")
"""A name that DNS can have (RFC 1123), with the underscore that containers use."""


def setting(default: Any, meaning: str, *, unset: str | None = None) -> Any:
    """Describe a setting: its default, what it means, and what holds where it is not set, if the
    default does not say that.

    `docs/settings.md` and the fields of the component follow from it.
    """
    return Field(
        default, description=meaning, json_schema_extra=None if unset is None else {"unset": unset}
    )


def _optional_scopes(value: Any) -> Any:
    """Read the scopes beyond `core` from a list, or from a text with commas, and put them in order;
    `core` itself is always read.
    """
    named = (
        [name.strip() for name in value.split(",") if name.strip()]
        if isinstance(value, str)
        else value
    )
    if named is None:
        return None
    known = {str(scope): scope for scope in Scope}
    if not isinstance(named, list | tuple) or not set(map(str, named)) <= set(known):
        raise ValueError(f"a scope is one of {', '.join(str(scope) for scope in OPTIONAL_SCOPES)}")
    return tuple(scope for scope in OPTIONAL_SCOPES if scope in map(str, named))


OPTIONAL_SCOPES = tuple(scope for scope in Scope if scope is not Scope.CORE)
Scopes = Annotated[tuple[Scope, ...], NoDecode, BeforeValidator(_optional_scopes)]


def _words(value: Any) -> Any:
    """Read words from a list, a JSON list, or a text with spaces or line ends between them: not
    commas, which a notification URL may hold.
    """
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return tuple(json.loads(value))
        except ValueError:
            raise ValueError("write the addresses with spaces between, or as a JSON list") from None
    # A comma at the end of an address parts it from the next one, and is no part of it.
    return tuple(word for word in (value_of(word.strip(",;")) for word in value.split()) if word)


SecretUrls = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_words)]
Owners = Annotated[
    tuple[Annotated[str, Field(pattern=r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+)$")], ...],
    NoDecode,
    BeforeValidator(_words),
]
"""Whom Dagster's UI names as owners of the assets: `team:name`, or an e-mail address."""


class Connection(BaseModel):
    """One organization, one token, one host. `name` appears in asset keys only.

    The token stands in the variable `token_env` or in the file `token_file`. `scopes` are those
    read beside `core`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    organization: str | None = None
    token_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "SONAR_TOKEN"
    token_file: Path | None = None
    host_url: str = HOSTS["eu"]
    api_url: str | None = None
    scopes: Annotated[tuple[Scope, ...] | None, BeforeValidator(_optional_scopes)] = None

    @field_validator("host_url", "api_url")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not is_clear(value) or holds_more(value):
            raise ValueError(
                "write the host as https://sonarcloud.io, without user, password or options: a"
                " token has its place"
            )
        url = urlsplit(value)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise ValueError("write the host as https://sonarcloud.io")
        if url.scheme == "http" and not is_loopback(url.hostname):
            raise ValueError("plain http would show the token to the network; write https://")
        if (
            not url.hostname.startswith("[")
            and not HOST.fullmatch(url.hostname)
            and ":" not in url.hostname
        ):
            raise ValueError("it names no host that can be; write it as https://sonarcloud.io")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_token(self) -> Connection:
        if self.token_file is not None and "token_env" in self.model_fields_set:
            raise ValueError("a token comes from token_env or from token_file, not from both")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether the source is on this machine: a simulator, not SonarCloud."""
        return is_loopback(urlsplit(self.host_url).hostname or "")

    def organization_key(self) -> str:
        """Return the organization's key.

        Raises `SettingsError` when none is set, or when it cannot be one.
        """
        if not self.organization:
            raise SettingsError(
                "No organization is set; set SONAR_ORGANIZATION to its key, which stands in the"
                " address of its page: https://sonarcloud.io/organizations/<key>."
            )
        if not (self.organization.isascii() and self.organization.isprintable()):
            raise SettingsError(
                "SONAR_ORGANIZATION is no key of an organization: it holds characters that no key"
                " has."
            )
        return self.organization

    def token(self, environment: Mapping[str, str] = os.environ) -> str:
        """Read the token from its variable or file.

        Raises `SettingsError` when it is not there or cannot be one.
        """
        if self.token_file is None:
            token = environment.get(self.token_env, "")
            place = self.token_env
            remedy = f"set {self.token_env} to"
        else:
            token = _content(self.token_file)
            place = f"The file {self.token_file}"
            remedy = f"write into {self.token_file}"
        token = value_of(token)
        token = value_of(token[len(BEARER) :]) if token.lower().startswith(BEARER) else token
        if not token:
            raise SettingsError(
                f"No token is set; {remedy} a token of an account that administers organization "
                f"'{self.organization}' (My Account > Security)."
            )
        if re.match(r"[A-Z_]+=", token):
            raise SettingsError(
                f"{place} is not a token: it is a line that sets a variable; write what stands"
                " behind the `=` alone."
            )
        if "\n" in token:
            raise SettingsError(
                f"{place} is not a token: it has several lines; write the token alone."
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise SettingsError(
                f"{place} is not a token: it holds spaces or characters no token has."
            )
        return token


class PolicyException(BaseModel):
    """A finding that somebody answers for until a day: which rule, whose (a login or group id; none
    for the organization).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    subject: str = ""
    by: Annotated[str, Field(min_length=1)]
    why: Annotated[str, Field(min_length=1)]
    until: date

    @field_validator("rule")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in {*RULES, SELF}:
            raise ValueError(f"there is no rule '{value}'; there are: {', '.join((*RULES, SELF))}")
        return value


class PolicySettings(BaseModel):
    """What the rules measure by.

    A roster is a CSV file: `login` or `email`, and, as known, name, manager, status.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_admins: Annotated[int, Field(ge=1)] = Policy.max_admins
    max_token_days: Annotated[int, Field(ge=1)] = Policy.max_token_days
    dormant_days: Annotated[int, Field(ge=1)] = Policy.dormant_days
    email_domains: tuple[str, ...] = Policy.email_domains
    active_statuses: Annotated[tuple[str, ...], Field(min_length=1)] = Policy.active_statuses
    service_words: tuple[str, ...] = Policy.service_words
    service_accounts: dict[str, str] = Field(default_factory=dict)
    roster: Path | None = None
    exceptions: tuple[PolicyException, ...] = ()

    def policy(self) -> Policy:
        """Build the policy, with the roster as its file is now.

        Raises `SettingsError` for a roster that cannot be read.
        """
        return Policy(
            max_admins=self.max_admins,
            max_token_days=self.max_token_days,
            dormant_days=self.dormant_days,
            email_domains=self.email_domains,
            active_statuses=tuple(status.strip().casefold() for status in self.active_statuses),
            service_words=tuple(word.strip().casefold() for word in self.service_words),
            service_accounts={
                identity(login): owner for login, owner in self.service_accounts.items()
            },
            roster=None if self.roster is None else _roster(self.roster, self.active_statuses[0]),
            exemptions=tuple(
                Exemption(
                    one.rule,
                    identity(one.subject) if one.subject else "",
                    one.by,
                    one.why,
                    one.until,
                )
                for one in self.exceptions
            ),
        )


def roster_rows(file: Path) -> list[RosterRow]:
    """Read a roster. Raises `SettingsError` for one that cannot be read; an empty one is an error,
    not an empty company.
    """
    try:
        return read_roster(file)
    except RosterError as error:
        raise SettingsError(str(error)) from None


def _roster(file: Path, active: str) -> dict[str, str]:
    """Status by identity. A row without a status is of somebody active."""
    known: dict[str, str] = {}
    for row in roster_rows(file):
        status = row.status or active.strip().casefold()
        known |= dict.fromkeys(map(identity, row.names), status)
    return known


OF_FILE = frozenset({"connections", "policy", "review", "delivery"})
"""Settings that a file says, and no variable of the documentation."""


class Settings(BaseSettings):
    """Everything that can be set. Every default is what a small company would choose."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        env_prefix=PREFIX,
        hide_input_in_errors=True,
    )

    connections: tuple[Connection, ...] = setting(
        (), "organizations to read, each a table of its own, as `[connections.acme]`"
    )
    scopes: Scopes = setting(
        (),
        "what is read beside `core`: `project_permissions`, `account_details`, with a comma"
        " between",
    )
    requests_per_minute: Annotated[int, Field(ge=1)] = setting(
        600,
        "the request rate per host, shared by all processes that use the data folder; after a quiet"
        " time up to a quarter of it starts at once besides. SonarCloud asks for under 1,000,"
        " shared by everybody behind one address",
    )
    brake_share: Annotated[float, Field(ge=0, le=1)] = setting(
        Brake.share,
        "a snapshot is held when more than this share, and at least `brake_rows` rows, of a list or"
        " of an access type would disappear at once, from more than one account",
    )
    brake_rows: Annotated[int, Field(ge=1)] = setting(
        Brake.rows, "rows below which no loss holds a snapshot"
    )
    data_dir: Path = setting(
        Path(".sonar-access"),
        "folder of the embedded warehouse, of evidence, and of Dagster's instance when"
        " `DAGSTER_HOME` is not set",
    )
    warehouse_url: SecretStr | None = setting(
        None,
        "`postgresql://user:password@host/name`, or a SQLite URL",
        unset="SQLite in the data folder",
    )
    evidence_url: str | None = setting(
        None,
        "where packets and signed heads go: a folder, or an object store ([which, and what each"
        " needs](evidence.md#stores)). Credentials never stand in it: each store's SDK finds them"
        " in variables of its own",
        unset="`evidence` in the data folder",
    )
    evidence_retention_days: Annotated[int, Field(ge=1, le=3653)] | None = setting(
        None,
        "S3: every object is locked (Object Lock, compliance mode) for so many days, 3653 at most:"
        " nobody can undo it. The bucket must have Object Lock. What the store says of each lock is"
        " read back",
        unset="nothing is locked",
    )
    signing_key: str | None = setting(
        None,
        "path of an OpenSSH Ed25519 private key without a passphrase, that others cannot read; or"
        " `agent:` and the path of a public key whose private half an SSH agent holds",
        unset=(
            'made once as `signing_key` in the data folder; packets then say "self-signed on the'
            ' collecting machine"'
        ),
    )
    timestamp_url: str | None = setting(
        None,
        "a time stamp authority (RFC 3161) that stamps the signature of every packet and head"
        " (`[timestamp]`); what it does not stamp is not sealed, nor what has a stamp that does not"
        " hold: of something else, of another question, under another policy, by a certificate that"
        " is missing, not valid then, not for time stamps or of another authority, by a clock that"
        " is five minutes off",
    )
    timestamp_certificates: Path | None = setting(
        None,
        "needed with it: a PEM file with the authority's certificates, root and intermediates, as"
        " it publishes them. They come to lie in every packet",
    )
    timestamp_user: str | None = setting(None, "name at an authority that asks for one")
    timestamp_password: SecretStr | None = setting(
        None, "password at an authority that asks for one"
    )
    timestamp_policy: Annotated[str, Field(pattern=r"^\d+(\.\d+)+$")] | None = setting(
        None, "the identifier (OID) of the only policy whose stamps are taken", unset="any"
    )
    first_day: date = setting(date(2026, 1, 1), "first daily partition")
    hour: Annotated[int, Field(ge=0, le=23)] = setting(5, "UTC hour of the daily sync")
    grace_hours: Annotated[int, Field(ge=1, le=72)] = setting(
        6, "hours after which a day without an observation is reported"
    )
    keep_bodies_days: Annotated[int, Field(ge=1)] | None = setting(
        None,
        "after so many days raw answers are dropped: facts and digests stay, and history up to"
        " there cannot be derived again ([how](how-it-works.md))",
        unset="kept for ever",
    )
    publish_url: str | None = setting(
        None,
        "a folder or the address of an object store, where each connection's tables go as Parquet"
        " after each sync, below its name (needs pyarrow)",
        unset="none is written; `sonar-access export` writes them when asked",
    )
    keep_runs_days: Annotated[int, Field(ge=1)] = setting(
        400,
        "after so many days Dagster's record of our own runs is deleted; the warehouse forgets"
        " nothing by it",
    )
    alert_urls: SecretUrls = setting(
        (),
        "where alerts go: [notification URLs](https://appriseit.com/services/) (Slack, Teams,"
        " e-mail, PagerDuty, webhooks ...) with spaces between; try them with `sonar-access alerts"
        " test`",
        unset="alerts are logged",
    )
    heartbeat_url: SecretStr | None = setting(
        None,
        "asked (GET) every half minute while all is well, so that silence is noticed elsewhere",
    )
    mail_url: SecretStr | None = setting(
        None,
        "by which mail server reviewers are reminded, each for themselves: a"
        " [mailto:// or mailtos:// URL](https://appriseit.com/services/email/) without a receiver",
        unset="nobody is written to; alerts name reviews that are late",
    )
    ui_url: str | None = setting(
        None, "address of Dagster's UI, so that alerts link to runs", unset="they name the run"
    )
    owners: Owners = setting(
        ("team:security",),
        "owners of the assets in Dagster's UI: `team:name` or e-mail addresses, with spaces"
        " between",
    )
    policy: PolicySettings = setting(
        PolicySettings(), "what the rules measure by, as `[policy]` in a settings file"
    )
    review: ReviewSettings = setting(
        ReviewSettings(), "who reviews access, and how often, as `[review]` in a settings file"
    )
    delivery: tuple[DeliverySettings, ...] = setting(
        (), "where evidence is put besides, each as `[[delivery]]` in a settings file"
    )

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
        if isinstance(env_settings, EnvSettingsSource):
            variables = {
                name: value and value_of(value) for name, value in env_settings.env_vars.items()
            }
            env_settings.env_vars = {name: value for name, value in variables.items() if value}
        config = _config(os.environ)
        if not config:
            return init_settings, env_settings
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _document(Path(config))),
        )

    @field_validator("connections", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        # In TOML a connection is a table with its name: [connections.acme].
        if isinstance(value, list | tuple):
            return value
        if not isinstance(value, Mapping) or not all(
            isinstance(table, Mapping) for table in value.values()
        ):
            raise ValueError("each connection is a table of its own, as [connections.acme]")
        return tuple({"name": name, **table} for name, table in value.items())

    @field_validator("evidence_url", "publish_url")
    @classmethod
    def _store(cls, value: str | None) -> str | None:
        if value is None or not ADDRESS.match(value):
            return value
        scheme = value.partition(":")[0]
        if scheme != "file" and scheme not in STORES:
            raise ValueError(
                "it is a folder, or an address that begins with"
                f" {', '.join(f'{one}://' for one in STORES)}; what can be mounted can be used as a"
                " folder"
            )
        if not re.match(rf"{scheme}://" + ("" if scheme == "file" else "[^/]"), value):
            raise ValueError(f"write it as {scheme}://bucket/path, with two slashes and a bucket")
        if holds_more(value):
            # abfs://container@account... names the account, which adlfs takes from its own
            # variables too.
            raise ValueError(
                "credentials and options do not belong into an address; set the variables of the"
                " store's SDK"
            )
        return value.rstrip("/")

    @field_validator("ui_url")
    @classmethod
    def _shown(cls, value: str | None) -> str | None:
        if value is not None and (not is_clear(value) or holds_more(value)):
            raise ValueError(
                "it stands in every alert; write it as https://dagster.example.com, without user,"
                " password or options"
            )
        return value

    @field_validator("timestamp_url")
    @classmethod
    def _authority(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise ValueError("write the authority's address as https://timestamp.example.com")
        if not is_clear(value) or holds_more(value):
            raise ValueError(
                "credentials do not belong into an address; set SONAR_ACCESS_TIMESTAMP_USER and"
                " SONAR_ACCESS_TIMESTAMP_PASSWORD"
            )
        return value

    def calendar_of(self, organization_key: str | None) -> Calendar:
        """Return when an organization is to be observed: one hour for all of them, so far."""
        return Calendar(self.hour, self.grace_hours)

    @model_validator(mode="after")
    def _checkable(self) -> Settings:
        if self.timestamp_url is not None and self.timestamp_certificates is None:
            raise ValueError(
                "SONAR_ACCESS_TIMESTAMP_URL needs SONAR_ACCESS_TIMESTAMP_CERTIFICATES, a file with"
                " the authority's root and intermediate certificates (PEM): a stamp that nobody"
                " checked may prove nothing. The authority publishes them"
            )
        if (self.timestamp_user is None) != (self.timestamp_password is None):
            raise ValueError(
                "SONAR_ACCESS_TIMESTAMP_USER and SONAR_ACCESS_TIMESTAMP_PASSWORD belong together;"
                " set both, or none"
            )
        return self

    @model_validator(mode="after")
    def _lockable(self) -> Settings:
        if self.evidence_retention_days is not None and not (self.evidence_url or "").startswith(
            "s3://"
        ):
            raise ValueError(
                "SONAR_ACCESS_EVIDENCE_RETENTION_DAYS needs a SONAR_ACCESS_EVIDENCE_URL that begins"
                " with s3://: no other store locks what is put there. Set it, or leave the days out"
            )
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Settings:
        keys = [
            connection.organization for connection in self.connections if connection.organization
        ]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(
                f"organization '{twice[0]}' appears in two connections; its history has one source"
            )
        return self

    @model_validator(mode="after")
    def _deliverable(self) -> Settings:
        connections = [connection.name for connection in self.connections]
        names = [one.name for one in self.delivery]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two deliveries are named '{twice[0]}'; receipts go by the name")
        places = [one.destination for one in self.delivery if one.destination is not None]
        if len(set(places)) < len(places):
            raise ValueError(
                "two deliveries go to the same place, where each would undo the other; name"
                " another title, resource or document for one of them"
            )
        for one in self.delivery:
            if one.connection is None and len(connections) > 1:
                raise ValueError(
                    f"the delivery '{one.name}' does not say of which connection, and there are"
                    " several"
                )
            if one.connection is not None and one.connection not in connections:
                raise ValueError(
                    f"the delivery '{one.name}' is of connection '{one.connection}', which is none"
                )
        return self

    def deliveries_of(self, connection: Connection) -> tuple[DeliverySettings, ...]:
        """Return the deliveries of a connection."""
        return tuple(one for one in self.delivery if one.connection in (None, connection.name))

    def whole_policy(self) -> Policy:
        """Build the policy that is to be in force, with the roster as its file is now.

        Raises `SettingsError`.
        """
        return replace(self.policy.policy(), review=self.review.policy())

    @property
    def brake(self) -> Brake:
        """When a snapshot is held because too much would disappear at once."""
        return Brake(self.brake_share, self.brake_rows)

    @property
    def warehouse(self) -> str:
        """The warehouse's URL: the one set, else a SQLite file in the data folder."""
        if self.warehouse_url:
            return self.warehouse_url.get_secret_value()
        if "?" in str(self.data_dir):
            raise SettingsError(
                f"SONAR_ACCESS_DATA_DIR is {self.data_dir}: no embedded warehouse can lie below a"
                " `?`; name another."
            )
        return sqlite_url(self.data_dir / "warehouse.sqlite")

    @property
    def evidence(self) -> str:
        """Where packets go: a folder, or the URL of an object store."""
        if self.evidence_url is None:
            return str(self.data_dir / "evidence")
        if ADDRESS.match(self.evidence_url) and not self.evidence_url.startswith("file:"):
            return self.evidence_url
        # Whole, as it stands in the register: whoever reads that later may be somewhere else.
        return str(expanded(Path(self.evidence_url.removeprefix("file://"))).absolute())


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings as they are now.

    Raises `SettingsError` with one sentence for everything that is wrong.
    """
    config = _config(environment)
    if config and not Path(config).is_file():
        raise SettingsError(f"SONAR_ACCESS_CONFIG names no file: {config}.")
    try:
        settings = Settings()
        connections = settings.connections or (_simple_connection(environment),)
    except ValidationError as error:
        raise SettingsError(sentences(error, _written(os.environ))) from None
    except PydanticSettingsError as error:
        raise SettingsError(unreadable(str(error))) from None
    _require_known(environment, connections)
    # A path in a file is relative to that file, as people who write it there mean it.
    beside = Path(config).parent if config else Path()
    of_file = _written(environment).of_file
    update: dict[str, Any] = {"connections": connections}
    for name in ("data_dir", "timestamp_certificates"):
        path: Path | None = getattr(settings, name)
        if path is not None and name in of_file:
            update[name] = beside / expanded(path)
        elif path is not None:
            update[name] = expanded(path)
    if settings.signing_key is not None and "signing_key" in of_file:
        agent = "agent:" if settings.signing_key.startswith("agent:") else ""
        update["signing_key"] = (
            f"{agent}{beside / expanded(Path(settings.signing_key.removeprefix(agent)))}"
        )
    for name in ("evidence_url", "publish_url"):
        place: str | None = getattr(settings, name)
        if place is not None and name in of_file and not ADDRESS.match(place):
            update[name] = str(beside / expanded(Path(place)))
    if "delivery" in of_file:
        update["delivery"] = tuple(_placed(one, beside) for one in settings.delivery)
    return _complete(settings.model_copy(update=update), beside)


def _placed(delivery: DeliverySettings, beside: Path) -> DeliverySettings:
    """Give a delivery whose folder is meant as the file that names it means it."""
    if delivery.to is None or ADDRESS.match(delivery.to):
        return delivery
    return delivery.model_copy(update={"to": str(beside / expanded(Path(delivery.to)))})


def given(connections: Sequence[Connection | Mapping[str, Any]], **more: Any) -> Settings:
    """Settings for connections given in code, with `more` of them; the environment says the rest.

    Raises `SettingsError`.
    """
    if not connections:
        raise SettingsError(
            "No connection is given; give at least one, with a name and the organization's key."
        )
    try:
        return _complete(Settings(connections=tuple(connections), **more), Path())
    except ValidationError as error:
        raise SettingsError(sentences(error, _written(os.environ))) from None


def _complete(settings: Settings, beside: Path) -> Settings:
    update: dict[str, Any] = {
        "connections": tuple(
            _finished(connection, settings.scopes, beside) for connection in settings.connections
        ),
        "data_dir": settings.data_dir.absolute(),
    }
    if settings.policy.roster is not None:
        roster = (beside / expanded(settings.policy.roster)).absolute()
        update["policy"] = settings.policy.model_copy(update={"roster": roster})
    return settings.model_copy(update=update)


def _finished(connection: Connection, scopes: tuple[Scope, ...], beside: Path) -> Connection:
    """Complete a connection with what it leaves to others: the scopes of all connections, and the
    folder where relative paths begin.
    """
    update: dict[str, Any] = {"scopes": scopes if connection.scopes is None else connection.scopes}
    if connection.token_file is not None:
        update["token_file"] = (beside / expanded(connection.token_file)).absolute()
    return connection.model_copy(update=update)


def _content(file: Path) -> str:
    try:
        return text_in(file)
    except TextError as error:
        raise SettingsError(f"The token file {file} cannot be read: {error}.") from None


def _simple_connection(environment: Mapping[str, str]) -> Connection:
    """Build the one connection of a set-up without a settings file, from Sonar's own variable
    names.
    """

    def said(name: str) -> str:
        return value_of(environment.get(name, ""))

    region: Literal["eu", "us"] | str = said("SONAR_REGION").lower() or "eu"
    if region not in HOSTS:
        raise SettingsError(f"SONAR_REGION is '{region}'; it can be eu or us.")
    token_file = said("SONAR_TOKEN_FILE")
    if token_file and said("SONAR_TOKEN"):
        raise SettingsError("SONAR_TOKEN and SONAR_TOKEN_FILE are both set; keep one of them.")
    return Connection(
        name=DEFAULT_CONNECTION,
        organization=said("SONAR_ORGANIZATION") or None,
        token_file=expanded(Path(token_file)).absolute() if token_file else None,
        host_url=said("SONAR_HOST_URL") or HOSTS[region],
    )


def _config(environment: Mapping[str, str]) -> str:
    """Find the settings file that the environment names; return an empty text where it names
    none.
    """
    named = value_of(environment.get("SONAR_ACCESS_CONFIG", ""))
    return str(expanded(Path(named))) if named else ""


def _document(config: Path) -> dict[str, Any]:
    """Read the settings file. Raises `SettingsError` when it cannot be read or is not TOML."""
    try:
        return tomllib.loads(text_in(config))
    except TextError as error:
        raise SettingsError(f"SONAR_ACCESS_CONFIG: {config} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"SONAR_ACCESS_CONFIG: {config} is not TOML: {str(error)[:1].lower()}{str(error)[1:]}."
        ) from None


def passed_over(settings: Settings, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Name variables that look as if they were read and are not, one sentence each, with what is
    read in their place.
    """
    env_values = _said(environment)
    written = _written(environment)
    tokens = {connection.token_env.upper() for connection in settings.connections}
    if (
        any(connection.name != DEFAULT_CONNECTION for connection in settings.connections)
        or written.connections
    ):
        place = written.file if "connections" in written.of_file else "SONAR_ACCESS_CONNECTIONS"
        unread = [name for name in SIMPLE if env_values.get(name) and name not in tokens]
        return [f"{name} is set and not read: the connections stand in {place}." for name in unread]
    notices = []
    for name in sorted(env_values.keys() - {*SIMPLE, *tokens}):
        near = get_close_matches(name, SIMPLE, n=1, cutoff=ALIKE)
        if near and not env_values.get(near[0]):
            notices.append(f"{name} is set and not read; did you mean {near[0]}?")
    return notices


def _require_known(environment: Mapping[str, str], connections: Sequence[Connection]) -> None:
    """Raise `SettingsError` for a variable of ours that nobody reads, with the nearest that is
    read.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{PREFIX}CONFIG"}
    tokens = {connection.token_env.upper() for connection in connections}
    for name in sorted(_said(environment)):
        if OURS.match(name) and name not in known | tokens and not OF_KUBERNETES.search(name):
            near = get_close_matches(name, sorted(known), n=1)
            raise SettingsError(
                f"{name} is no setting{f'; did you mean {near[0]}?' if near else '; remove it.'}"
            )


def _written(environment: Mapping[str, str]) -> Written:
    """Tell where settings stand: in the file, and not in a variable that says the same."""
    config = _config(environment)
    document = _document(Path(config)) if config and Path(config).is_file() else {}
    named = document.get("connections")
    env_values = _said(environment)
    of_variables = frozenset(
        name.removeprefix(PREFIX).lower()
        for name in env_values
        if name.startswith(PREFIX) and env_values[name]
    )
    connections = (
        tuple(named) if isinstance(named, Mapping) and "connections" not in of_variables else ()
    )
    return Written(MODELS, config, frozenset(document) - of_variables, of_variables, connections)


def _said(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables as they are meant: names in capitals, and values without what is around
    them.
    """
    return {name.upper(): value_of(value) for name, value in environment.items()}


MODELS: dict[str, type[BaseModel]] = {
    "": Settings,
    "connections": Connection,
    "policy": PolicySettings,
    "exceptions": PolicyException,
    "review": ReviewSettings,
    "series": SeriesSettings,
    "delivery": DeliverySettings,
}
"""What can be set, by the name of the table that it stands in."""
