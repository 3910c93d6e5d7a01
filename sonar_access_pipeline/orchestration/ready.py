"""Asking for everything that a sync and its alerts will need, before there is anything to lose.

Nothing is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sonar_access_pipeline.alerts.channels import channels_of
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.rehearsal import hindrances
from sonar_access_pipeline.evidence.signers import OWN_KEY
from sonar_access_pipeline.orchestration.launch import require_home, require_storage
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.texts import TextError, text_in
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError, WarehouseUrlError
from sonar_access_pipeline.warehouse.migrations import is_current, require_suitable
from sonar_access_pipeline.warehouse.timeouts import ASKING


@dataclass(frozen=True)
class Hindrance:
    """One thing that would hinder a sync or its alerts: the part of the settings that it is about,
    and a sentence.

    `is_wrong`: a setting is wrong; otherwise what it names does not answer or lacks something.
    """

    part: str
    sentence: str
    is_wrong: bool


def faults(resources: Resources) -> Iterator[Hindrance]:
    """Give what would hinder a sync or its alerts, before there is anything to lose."""
    steps: dict[str, Callable[[Resources], Iterator[str]]] = {
        "policy": _policy,
        "dagster": _dagster,
        "warehouse": _warehouse,
        "evidence": _evidence,
        "alerts": _alerts,
    }
    failed: set[str] = set()
    for name, step in steps.items():
        if name == "evidence" and "warehouse" in failed:
            # It asks the warehouse which store it knows; that it does not answer was said.
            continue
        try:
            for sentence in step(resources):
                yield Hindrance(name, sentence, is_wrong=False)
        except (SettingsError, WarehouseError, EvidenceError) as error:
            failed.add(name)
            yield Hindrance(
                name, str(error), is_wrong=isinstance(error, SettingsError | WarehouseUrlError)
            )


def has_key(resources: Resources) -> bool:
    """Tell whether the key that signs is there: one of this machine's own is made by the first
    sync.
    """
    return (
        resources.settings.signing_key is not None
        or (resources.settings.data_dir / OWN_KEY).exists()
    )


def _policy(resources: Resources) -> Iterator[str]:
    resources.settings.whole_policy()
    yield from ()


def _dagster(resources: Resources) -> Iterator[str]:
    home = require_home(resources.settings)
    settings = home / "dagster.yaml"
    if settings.is_file():
        try:
            named = _variables(yaml.safe_load(text_in(settings)))
        except TextError as error:
            yield f"{settings} cannot be read: {error}."
            return
        except yaml.YAMLError:
            yield f"{settings} is no YAML."
            return
        if missing := [name for name in named if name not in os.environ]:
            yield from (
                f"{settings} names the variable {name}, which is not set." for name in missing
            )
            return
    require_storage(home)


def _variables(document: Any) -> Iterator[str]:
    """Give the variables that settings of Dagster name, as `env: NAME` wherever a value may
    stand.
    """
    if isinstance(document, dict):
        if document.keys() == {"env"} and isinstance(document["env"], str):
            yield document["env"]
        for value in document.values():
            yield from _variables(value)
    elif isinstance(document, list):
        for value in document:
            yield from _variables(value)


def _warehouse(resources: Resources) -> Iterator[str]:
    with closing(Warehouse(resources.settings.warehouse, ASKING)) as warehouse:
        require_suitable(warehouse)
    yield from ()


def _evidence(resources: Resources) -> Iterator[str]:
    place = Path(resources.settings.evidence)
    if "://" not in resources.settings.evidence and os.path.isfile(place):  # noqa: PTH113  # Path's raises in a closed folder
        yield (
            f"Evidence cannot be kept at {place}, which is a file; set SONAR_ACCESS_EVIDENCE_URL to"
            " a folder."
        )
        return
    with (
        closing(Warehouse(resources.settings.warehouse, ASKING)) as warehouse,
        TemporaryDirectory() as folder,
    ):
        sealing = resources.sealing(None if has_key(resources) else Path(folder))
        yield from hindrances(sealing, warehouse if is_current(warehouse) else None)


def _alerts(resources: Resources) -> Iterator[str]:
    heartbeat = resources.settings.heartbeat_url
    if heartbeat is not None and not heartbeat.get_secret_value().startswith(
        ("http://", "https://")
    ):
        yield "SONAR_ACCESS_HEARTBEAT_URL is no address; write it as https://..."
    urls = [url.get_secret_value() for url in resources.settings.alert_urls]
    for number, channel in enumerate(channels_of(urls).values(), start=1):
        if channel.service is None:
            yield (
                f"Address {number} of SONAR_ACCESS_ALERT_URLS is no notification URL;"
                " https://appriseit.com/services shows how one looks."
            )
