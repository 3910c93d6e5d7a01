"""What ends a delivery. Its sentence names no person and no secret."""

from __future__ import annotations


class DeliveryError(Exception):
    """A delivery that was not made, or of which that is not known; the sentence says why."""


class BusyError(DeliveryError):
    """The target did not answer, or asks for patience: trying again can help, and doubles
    nothing.
    """
