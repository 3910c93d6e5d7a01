"""What can go wrong with evidence."""

from __future__ import annotations


class EvidenceError(Exception):
    """A packet cannot be written, or is not what it says; the sentence names the file and what to
    do.
    """


class UnreadableError(EvidenceError):
    """The store does not answer, or refuses: nothing is known of what lies there, and nothing may
    be said of it.

    `code` is the store's own, where it gave one.
    """

    def __init__(self, sentence: str, code: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code
