"""Public keys beside the packets, each endorsed by the one before it: why a key is believed by
whoever knows an older one.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.signers import KEYS
from sonar_access_pipeline.evidence.sshsig import PublicKey, verified
from sonar_access_pipeline.evidence.stores import Store

KEY = "key.pub"
UNREADABLE = (
    csv.Error,
    StopIteration,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    OverflowError,
)
"""The errors of reading a file that has another shape."""


def key_path(key: PublicKey) -> str:
    """Give the path of a public key under the root."""
    return f"keys/{hashlib.sha256(key.blob).hexdigest()[:32]}"


@dataclass(frozen=True)
class Trust:
    """The keys that are believed: those that a reader `named`, or those that the register has where
    nobody named any.

    Where there are none of either, everybody is believed, and a reader is told to compare.
    """

    store: Store
    named: Collection[str] = ()
    registered: Collection[str] = ()

    @property
    def is_blind(self) -> bool:
        """Tell whether nobody said whom to believe."""
        return not (self.named or self.registered)

    def believes(self, key: PublicKey) -> bool:
        """Tell whether a key is one of those, or is endorsed by one, or nobody said whom to
        believe. Raises `UnreadableError`.
        """
        return self.is_blind or self._through(key) is not None

    def note(self, key: PublicKey) -> str:
        """Say of a believed key why it is, and what is left to the reader."""
        through = self._through(key)
        if through not in (None, key.fingerprint):
            return f"Signed by {key.fingerprint}, which {through} endorses."
        if self.named:
            return f"Signed by {key.fingerprint}, which you named."
        known = ", which the register has" if self.registered else ""
        return (
            f"Signed by {key.fingerprint}{known}: compare it with the fingerprint that you got from"
            " elsewhere."
        )

    def refusal(self, key: PublicKey) -> str:
        """Say of a key that it is not believed."""
        whose = "that you named" if self.named else "of the warehouse's register"
        return f"it is signed by {key.fingerprint}, which is none of the keys {whose}"

    def _through(self, key: PublicKey) -> str | None:
        if self.is_blind:
            return None
        if key not in self._asked:
            self._asked[key] = endorsed(self.store, key, self.named or self.registered)
        return self._asked[key]

    @cached_property
    def _asked(self) -> dict[PublicKey, str | None]:
        # Each key is looked up in the store once.
        return {}


def endorsed(store: Store, key: PublicKey, fingerprints: Collection[str]) -> str | None:
    """Find why a key is believed: its own fingerprint where that is among those given, else that of
    the key that endorses it.

    Endorsements are followed from key to key, each once. None where nothing leads there. Raises
    `UnreadableError`.
    """
    if key.fingerprint in fingerprints:
        return key.fingerprint
    paths = list(store.listing("keys").bundles)
    through = [(key, "")]
    seen = {key}
    while through:
        one, first = through.pop()
        for before in _endorsers(store, paths, one):
            why = first or before.fingerprint
            if before.fingerprint in fingerprints:
                return why
            if before not in seen:
                seen.add(before)
                through.append((before, why))
    return None


def _endorsers(store: Store, paths: Sequence[str], key: PublicKey) -> Iterator[PublicKey]:
    """Give the keys that endorse a key, by what lies at its place and beside it.

    Raises `UnreadableError`.
    """
    for path in (path for path in paths if path.startswith(key_path(key))):
        try:
            files = store.get(path)
            before = verified(files[KEY], files[f"{KEY}.sig"], KEYS)
            is_its_own = PublicKey.parsed(files[KEY].decode()) == key
        except UnreadableError:
            raise
        except (EvidenceError, *UNREADABLE):
            continue
        if is_its_own:
            yield before


def endorsement_path(key: PublicKey, before: PublicKey) -> str:
    """Give the path of the endorsement of a key by the one before it: beside the key, which may lie
    there already.
    """
    return f"{key_path(key)}-by-{hashlib.sha256(before.blob).hexdigest()[:12]}"
