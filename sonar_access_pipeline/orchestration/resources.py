"""What assets are built with: settings, a clock, patience, and where progress goes.

No Dagster here.

Tests and the demo pass other resources; everything else is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from sonar_access_pipeline.evidence.seal import Sealing
from sonar_access_pipeline.evidence.signers import signer_of
from sonar_access_pipeline.evidence.stores import Store, store_of
from sonar_access_pipeline.evidence.timestamps import Stamp, stamped_by
from sonar_access_pipeline.private import private_folder
from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.pagination import Progress
from sonar_access_pipeline.sonarcloud.rate_limit import Patience, RateLimit
from sonar_access_pipeline.texts import TextError, bytes_in
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.timeouts import WORKING, TimeLimits

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Resources:
    """The resources of one pipeline.

    Raises `SettingsError` for a clock of its own where the source is real.
    """

    settings: Settings
    clock: Clock = system_clock
    patience: Patience = field(default_factory=Patience)
    progress: Callable[[Progress], None] | None = None
    only_asks: bool = False
    """Whether nothing is made that is not there, as a check asks."""

    def __post_init__(self) -> None:
        if self.clock is not system_clock and not all(
            connection.is_loopback for connection in self.settings.connections
        ):
            raise SettingsError(
                "Another clock is only for sources on this machine: a real day is dated by the real"
                " clock."
            )

    def client(self, connection: Connection) -> Client:
        """Build a client for a connection, at the rate that is shared by everybody on this machine
        who asks its host.
        """
        token = connection.token()
        host = urlsplit(connection.host_url).netloc.replace(":", "-")
        file = self.settings.data_dir / f"rate-limit-{host}"
        try:
            if not self.only_asks:
                private_folder(self.settings.data_dir)
            rate_limit = RateLimit(
                self.settings.requests_per_minute,
                file=file if not self.only_asks or file.exists() else None,
            )
        except OSError:
            # On a read-only file system the warehouse and the evidence lie elsewhere, and the rate
            # is this process's own.
            rate_limit = RateLimit(self.settings.requests_per_minute)
        return Client(
            connection.host_url,
            token,
            api_url=connection.api_url,
            patience=self.patience,
            rate_limit=rate_limit,
            clock=self.clock,
        )

    def sealing(self, keys: Path | None = None) -> Sealing:
        """Give what seals packets and signs heads; a key of this machine's own lies in `keys`, or
        in the data folder.

        Raises `EvidenceError`; `SettingsError` for unreadable certificates.
        """
        settings = self.settings
        authorities = self.authorities()
        return Sealing(
            store=self.store(),
            signer=signer_of(settings.signing_key, keys or settings.data_dir),
            clock=self.clock,
            stamp=_stamp(settings, authorities),
            authorities=authorities,
        )

    def store(self) -> Store:
        """Give the evidence store of the settings."""
        return store_of(self.settings.evidence, self.settings.evidence_retention_days)

    def authorities(self) -> bytes | None:
        """Give the certificates of the time stamp authority, where the settings name a file of
        them. Raises `SettingsError`.
        """
        file = self.settings.timestamp_certificates
        try:
            return None if file is None else bytes_in(file)
        except TextError as error:
            raise SettingsError(
                f"SONAR_ACCESS_TIMESTAMP_CERTIFICATES: {file} cannot be read: {error}."
            ) from None

    @contextmanager
    def warehouse(self, limits: TimeLimits = WORKING) -> Iterator[Warehouse]:
        """Hold the warehouse open, made or brought up to date if need be, and close it afterwards.

        Raises `WarehouseError`.
        """
        warehouse = Warehouse(self.settings.warehouse, limits)
        try:
            upgrade(warehouse)
            yield warehouse
        finally:
            warehouse.close()


def _stamp(settings: Settings, authorities: bytes | None) -> Stamp | None:
    if settings.timestamp_url is None:
        return None
    user, password = settings.timestamp_user, settings.timestamp_password
    login = (
        (user, password.get_secret_value()) if user is not None and password is not None else None
    )
    return stamped_by(
        settings.timestamp_url, authorities, login=login, policy=settings.timestamp_policy
    )
