"""Receipts of what was put where somebody else keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from sonar_access_pipeline.warehouse.schema import delivery, redaction

RECEIPT = tuple(column.name for column in delivery.columns)
"""The columns of a receipt, in their order."""


def enter(transaction: Connection, receipt: Mapping[str, Any]) -> None:
    """Enter a receipt; its number is given here."""
    transaction.execute(insert(delivery).values(**receipt))


def receipts(
    transaction: Connection, organization_key: str | None = None, name: str | None = None
) -> Sequence[dict[str, Any]]:
    """List receipts, oldest first. Columns: `RECEIPT`."""
    query = select(delivery).order_by(delivery.c.delivery_id)
    if organization_key is not None:
        query = query.where(delivery.c.organization_key == organization_key)
    if name is not None:
        query = query.where(delivery.c.name == name)
    return [dict(row) for row in transaction.execute(query).mappings()]


def redacted_at(transaction: Connection, organization_key: str) -> Sequence[datetime]:
    """List when somebody was taken out of what is kept of an organization."""
    query = select(redaction.c.redacted_at).where(redaction.c.organization_key == organization_key)
    return list(transaction.execute(query).scalars())


def last(transaction: Connection, organization_key: str, name: str) -> dict[str, Any] | None:
    """Return the last receipt of a delivery by its name; None where there is none."""
    found = receipts(transaction, organization_key, name)
    return found[-1] if found else None
