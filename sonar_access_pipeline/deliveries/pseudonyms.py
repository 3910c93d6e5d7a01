"""Packets without names: logins become pseudonyms that are the same in every delivery under one
secret, and are of no use to who does not have it; names, addresses and texts that may hold either
are left out. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import replace
from itertools import chain

from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.evidence.tables import SPELLED, encoded, records

LOGINS = frozenset({"login", "decided_by"})
LEFT_OUT = frozenset({"name", "email", "owner", "detail", "exception_by", "exception_why", "token"})
KEPT = ("population.csv", "access.csv", "findings.csv", "reviews.csv", "follow_up.csv")
"""Tables that are of use without names."""
OF_ACCOUNTS = frozenset({"account", "privilege"})
SHORTEST_SECRET = 16


def pseudonym(secret: str, login: str) -> str:
    """Make the pseudonym of a login under a secret."""
    digest = hmac.new(secret.encode(), login.encode(), hashlib.sha256).hexdigest()
    return f"account-{digest[:20]}"


def pseudonymised(packet: SealedPacket, secret: str) -> SealedPacket:
    """Return a packet of the tables alone, without names; its manifest stays, which names nobody
    but the account that read.
    """
    named = chain(packet.population, packet.records("access.csv"))
    logins = {row["login"] for row in named} - {""}
    tables = {
        name: _without(packet.files[name], secret, logins) for name in KEPT if name in packet.files
    }
    return replace(packet, files={"manifest.json": packet.files["manifest.json"], **tables})


def _without(body: bytes, secret: str, logins: Collection[str]) -> bytes:
    found = list(records(body))
    if not found:
        return body
    names = [name for name in found[0] if name not in LEFT_OUT]
    rows = (
        [SPELLED[str](_said(name, row[name], secret, logins)) for name in names] for row in found
    )
    return encoded([names, *rows]).encode()


def _said(name: str, value: str, secret: str, logins: Collection[str]) -> str:
    if value and (name in LOGINS or value in logins):
        return pseudonym(secret, value)
    return value
