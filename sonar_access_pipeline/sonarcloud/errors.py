"""What can go wrong at the source, split by the one question that matters: can trying again help?

Every message is one sentence for a person: what happened, to what, what to do. None holds a token
or a body.
"""

from __future__ import annotations


class SourceError(Exception):
    """SonarCloud could not be read."""


class RefusedError(SourceError):
    """Permanent: a person must change something (the token, the organization key, a right, a
    clock). Never retried.
    """


class TokenRefusedError(RefusedError):
    """Permanent: the token is wrong, expired or revoked."""


class NotFoundError(RefusedError):
    """Permanent, of one thing: SonarCloud answers 404 with its own message."""


class UnavailableError(SourceError):
    """Transient: the network, a proxy, a limit or SonarCloud itself.

    `retry_after` is in seconds, where it was given.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StartingError(UnavailableError):
    """Transient: SonarCloud does not know an address that it has.

    Of one that is not needed, it may be gone for good.
    """


class BlockedError(UnavailableError):
    """Transient, but asking again now makes it worse: the edge before SonarCloud blocks the address
    that asks.
    """
