"""The name of a store: a small signed file in it, and the warehouse's note of it.

A share that is not mounted, a bucket that somebody emptied or the wrong one looks like a store with
nothing in it. The warehouse notes the name of the store at each place; where another name or none
is found, nothing is written and the sentence says why.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import datetime

from sonar_access_pipeline.access.snapshot import canonical_json, iso
from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.signers import STORES, Signer
from sonar_access_pipeline.evidence.sshsig import SignatureError, verified
from sonar_access_pipeline.evidence.stores import Store
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger import packets

FOLDER = "store"
NAME = "store.json"


def name_of(store: Store) -> str | None:
    """Give the name that a store has; None where it has none.

    Raises `EvidenceError` where what lies there is not signed.
    """
    try:
        body = store.read(FOLDER, NAME)
    except UnreadableError:
        raise
    except EvidenceError:
        return None
    try:
        document = json.loads(body)
        verified(
            _to_sign(document["name"], document["named_at"]), document["signature"].encode(), STORES
        )
        return str(document["name"])
    except (SignatureError, ValueError, KeyError, TypeError, AttributeError):
        raise EvidenceError(
            f"{store.place(FOLDER)}/{NAME}, the name of the evidence store, is not what was signed;"
            " bring it back from a copy, or an older version of the object."
        ) from None


def require_known(
    warehouse: Warehouse, store: Store, signer: Signer, clock: Callable[[], datetime]
) -> None:
    """Raise `EvidenceError` where a store is another than it was; one that is new is given a
    name.
    """
    why = why_unknown(warehouse, store)
    if why is not None:
        raise EvidenceError(why)
    place = store.place("").rstrip("/")
    with warehouse.read() as transaction:
        known = packets.store_name(transaction, place)
    if known is None:
        packets.note_store(warehouse, place, name_of(store) or _name(store, signer, clock), clock())


def why_unknown(warehouse: Warehouse, store: Store) -> str | None:
    """Say why a store cannot be the one that evidence was put into before; None where it can be, or
    is new.
    """
    place = store.place("").rstrip("/")
    stored_name = name_of(store)
    with warehouse.read() as transaction:
        known = packets.store_name(transaction, place)
        before = packets.published_below(transaction, store.place(""))
    if known is None and (
        stored_name or not before or any(store.listing(one).bundles for one in before)
    ):
        return None
    if known is not None and stored_name == known:
        return None
    return (
        f"The evidence store at {place} "
        + (f"is called {stored_name[:12]}" if stored_name else "has no name")
        + ", and evidence was put there before into one "
        + (f"called {known[:12]}" if known else "that had packets")
        + ": a share that is not mounted, or another bucket. Nothing is written there. Mount it,"
        " mend SONAR_ACCESS_EVIDENCE_URL, or, if that store is lost for good, say so with"
        " `sonar-access evidence new-store`."
    )


def is_noted(warehouse: Warehouse, store: Store) -> bool:
    """Tell whether a store is the one that the warehouse put evidence into: a packet may lie
    elsewhere, as a copy.
    """
    with warehouse.read() as transaction:
        known = packets.store_name(transaction, store.place("").rstrip("/"))
        before = packets.published_below(transaction, store.place(""))
    return bool(known or before) and why_unknown(warehouse, store) is None


def begin_anew(
    warehouse: Warehouse, store: Store, signer: Signer, clock: Callable[[], datetime]
) -> str:
    """Have the store at this place be the one from now on, whatever was there before; its name."""
    stored_name = name_of(store) or _name(store, signer, clock)
    packets.note_store(warehouse, store.place("").rstrip("/"), stored_name, clock())
    return stored_name


def _name(store: Store, signer: Signer, clock: Callable[[], datetime]) -> str:
    name = secrets.token_hex(16)
    named_at = iso(clock())
    signature = signer.sign(_to_sign(name, named_at), STORES).decode()
    # One file, so that of two who name it at once one is whole.
    store.put(
        FOLDER,
        {NAME: canonical_json({"name": name, "named_at": named_at, "signature": signature})},
        NAME,
    )
    stored_name = name_of(store)
    if stored_name is None:
        raise EvidenceError(
            f"The evidence store at {store.place('')} does not give back what was written there."
        )
    return stored_name


def _to_sign(name: str, named_at: str) -> bytes:
    return canonical_json({"name": name, "named_at": named_at})
