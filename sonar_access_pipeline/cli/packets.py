"""How commands find a sealed packet, and whose signature they trust. No command here."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.addresses import holds_more
from sonar_access_pipeline.cli.base import end, load
from sonar_access_pipeline.errors import FAILED
from sonar_access_pipeline.evidence.errors import EvidenceError

if TYPE_CHECKING:
    from sonar_access_pipeline.evidence.stores import Store
    from sonar_access_pipeline.warehouse.database import Warehouse


def _fingerprints(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    for one in given:
        if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", one):
            raise click.BadParameter(
                f"'{one}' is none; `ssh-keygen -l` prints one, as SHA256: and 43 characters."
            )
    return given


fingerprint_option = click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    callback=_fingerprints,
    help="Fingerprint (SHA256:...) of a key that you trust; repeatable.",
)


def opened_store(path: str) -> tuple[Store, str]:
    """Return the store that a packet lies in, three folders above the packet, and where the packet
    lies in that store.
    """
    from sonar_access_pipeline.evidence.stores import store_of

    if "://" in path and holds_more(path):
        raise click.UsageError(
            "An address of evidence holds no user, password or options; set the variables of the"
            " store's SDK."
        )
    # Not where a link leads to: what is said is said of the path that was named.
    whole = path.rstrip("/") if "://" in path else os.path.normpath(Path(path).absolute())
    if "://" not in path and Path(whole).is_symlink():
        raise EvidenceError(
            f"{path} is a link to {Path(whole).resolve()}; name the folder itself, so that what is"
            " said is of it."
        )
    steps = whole.rsplit("/", 3)
    if len(steps) < 4:
        raise EvidenceError(
            f"{path} is no packet: a packet lies in <organization>/<window>/<digest>."
        )
    return store_of(steps[0] or "/"), "/".join(steps[1:])


def known_warehouse(otherwise: str) -> Warehouse | None:
    """Open the warehouse of the settings; None where none is set, and none lies in the data folder.

    Raises `WarehouseError` where one is set or lies there and does not answer; `otherwise` says how
    to do without it.
    """
    from sonar_access_pipeline.warehouse.database import Warehouse
    from sonar_access_pipeline.warehouse.errors import WarehouseError
    from sonar_access_pipeline.warehouse.migrations import require_current

    settings = load()
    warehouse = Warehouse(settings.warehouse)
    if (
        settings.warehouse_url is None
        and warehouse.sqlite_file is not None
        and not warehouse.sqlite_file.exists()
    ):
        warehouse.close()
        return None
    try:
        require_current(warehouse)
    except WarehouseError as error:
        warehouse.close()
        raise WarehouseError(f"{error} Or {otherwise}") from None
    return warehouse


def registered_keys(inside: str) -> tuple[str, ...]:
    """Give the keys of a register that knows the packet whose folder has this name: all of them, as
    keys are rotated.
    """
    from sonar_access_pipeline.warehouse.ask import queries
    from sonar_access_pipeline.warehouse.ledger import packets

    warehouse = known_warehouse("name the packet's key with --fingerprint, and it is not asked.")
    if warehouse is None:
        return ()
    begins = inside.rpartition("/")[2].partition("-")[0]
    with closing(warehouse), warehouse.read() as transaction:
        organizations = queries.organizations(transaction)
        of_each = (queries.packets(transaction, key) for key in organizations)
        packet_rows = list(chain.from_iterable(of_each))
        keys = packets.keys(transaction)
    is_known = any(
        row["digest"].startswith(begins) and row["key_fingerprint"] for row in packet_rows
    )
    return tuple(sorted(keys)) if is_known else ()


def trusted_files(path: str, fingerprints: tuple[str, ...]) -> Mapping[str, bytes]:
    """Read the files of a packet that is as it was sealed, by a key that was named or that the
    warehouse's register has for it; end the command for any other.
    """
    from sonar_access_pipeline.evidence.verify import verify

    store, inside = opened_store(path)
    registered = () if fingerprints else registered_keys(inside)
    if not (fingerprints or registered):
        raise click.UsageError(
            "Nobody says whose signature to trust: no register of a warehouse of the settings has a"
            " key for this packet. Name it with --fingerprint, as you got it from elsewhere."
        )
    # What is wrong with its neighbours does not make this packet another one.
    report = verify(store, inside, fingerprints=fingerprints, registered=registered)
    if report.own:
        end(f"{path} is not what was sealed: {report.stranger or report.own[0]}.", FAILED)
    return store.get(inside)
