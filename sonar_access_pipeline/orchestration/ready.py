"""Everything that a sync and its alerts will need, asked before there is anything to lose. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from sonar_access_pipeline.alerts.channels import channels_of
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.rehearsal import hindrances
from sonar_access_pipeline.evidence.signers import OWN_KEY
from sonar_access_pipeline.orchestration.launch import require_home
from sonar_access_pipeline.orchestration.parts import Parts
from sonar_access_pipeline.settings import SettingsError
from sonar_access_pipeline.warehouse.database import ASKING, Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.migrations import require_suitable


def faults(parts: Parts) -> Iterator[tuple[str, str]]:
    """Give what would hinder a sync or its alerts: the part of the settings that it is about, and a sentence."""
    steps: dict[str, Callable[[Parts], Iterator[str]]] = {
        "policy": _policy,
        "dagster": _dagster,
        "warehouse": _warehouse,
        "evidence": _evidence,
        "alerts": _alerts,
    }
    for name, step in steps.items():
        try:
            for sentence in step(parts):
                yield name, sentence
        except (SettingsError, WarehouseError, EvidenceError) as error:
            yield name, str(error)


def has_key(parts: Parts) -> bool:
    """Tell whether the key that signs is there: one of this machine's own is made by the first sync."""
    return parts.settings.signing_key is not None or (parts.settings.data_dir / OWN_KEY).exists()


def _policy(parts: Parts) -> Iterator[str]:
    parts.settings.policy.policy()
    yield from ()


def _dagster(parts: Parts) -> Iterator[str]:
    require_home(parts.settings)
    yield from ()


def _warehouse(parts: Parts) -> Iterator[str]:
    with closing(Warehouse(parts.settings.warehouse, ASKING)) as warehouse:
        require_suitable(warehouse)
    yield from ()


def _evidence(parts: Parts) -> Iterator[str]:
    with closing(Warehouse(parts.settings.warehouse, ASKING)) as warehouse, TemporaryDirectory() as folder:
        sealing = parts.sealing(None if has_key(parts) else Path(folder))
        yield from hindrances(sealing, warehouse if _is_made(warehouse) else None)


def _is_made(warehouse: Warehouse) -> bool:
    from sonar_access_pipeline.warehouse.migrations import REVISIONS, revision_of

    if warehouse.sqlite_file is not None and not warehouse.sqlite_file.exists():
        return False
    with warehouse.read() as transaction:
        return revision_of(transaction) == REVISIONS[-1]


def _alerts(parts: Parts) -> Iterator[str]:
    urls = [url.get_secret_value() for url in parts.settings.alert_urls]
    for number, channel in enumerate(channels_of(urls).values(), start=1):
        if channel.service is None:
            yield (
                f"Address {number} of SONAR_ACCESS_ALERT_URLS is no notification URL; https://appriseit.com/services shows how "
                "one looks."
            )
