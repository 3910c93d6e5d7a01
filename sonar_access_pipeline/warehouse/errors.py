"""What can go wrong at the warehouse, as one sentence each; never with a password or a row in
it.
"""

from __future__ import annotations


class WarehouseError(Exception):
    """The warehouse cannot do what was asked: unreachable, full, too new, not there yet."""


class SourceMismatchError(WarehouseError):
    """The organization's history belongs to another host or kind of source."""


class OutOfOrderError(WarehouseError):
    """A snapshot would not come after the last one of its organization: clocks went back, or two
    reads overlapped.
    """


class NothingObservedError(WarehouseError):
    """There is no observation that could answer."""


class UntiedError(WarehouseError):
    """The tables do not say what the stored answers say: nothing may be sealed of them."""


class BodyDroppedError(WarehouseError):
    """The answers of a snapshot are not there any more: they were older than the days that bodies
    are kept.
    """


class WarehouseUrlError(WarehouseError):
    """The address of the warehouse is none: a setting, and nothing that a database refused."""
