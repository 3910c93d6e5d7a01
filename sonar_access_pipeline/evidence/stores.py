"""Stores of evidence: the interface, and the folder. Object stores are `objects.py`.

A bundle is a folder of files that belong together. What is put there is put whole, and never
changed: in a folder a bundle appears by one rename; an object store has no rename, so the file that
completes a bundle is written last, and a bundle without it is none.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.private import new_private_file, private_folder

ABANDONED_SECONDS = 24 * 3600
"""After so long nobody writes a bundle any more: its process was killed."""
LEFT_BEHIND = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r"})
LARGEST_FILE = 2**30
"""Bytes: the files of an organization of 10,000 accounts have 40 million together."""
AT_ONCE = 32
"""Files that are read at the same time: what takes long is the way to the store."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder of a store: their names by their folder, also of one that is empty.

    `older`: versions of files that are not the latest one, oldest first, by path; only of files
    that were changed or deleted. `beside`: the paths of what operating systems leave in folders,
    which is nobody's evidence.
    """

    bundles: Mapping[str, frozenset[str]]
    older: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Sequence[str] = ()


def is_left_behind(name: str) -> bool:
    """Tell whether an operating system leaves such a file in folders that people look into, or a
    writer in one it works on.
    """
    return name.startswith(".") or name in LEFT_BEHIND


class Store(Protocol):
    """A place for bundles. Paths are relative, with `/` between.

    Raises `EvidenceError` for what is not there, and `UnreadableError` where the store does not
    say.
    """

    def place(self, path: str) -> str:
        """Give the folder or the URL of a path."""

    def listing(self, path: str) -> Listing:
        """List all that lies below a folder; nothing where there is no such folder."""

    def has(self, path: str, completed_by: str) -> bool:
        """Tell whether a whole bundle lies there."""

    def put(self, path: str, files: Mapping[str, bytes], completed_by: str) -> None:
        """Put a bundle, or what is missing of it; nothing that lies there is written over."""

    def holds(self, path: str, files: Mapping[str, bytes]) -> bool:
        """Tell whether these files lie there, to the byte, and nothing else."""

    def get(self, path: str) -> dict[str, bytes]:
        """Read the files of a bundle, by name."""

    def read(self, path: str, name: str) -> bytes:
        """Read one file of a bundle."""

    def oldest(self, path: str, names: Iterable[str]) -> dict[str, bytes]:
        """Files as they were first written, where the store keeps versions; nothing where it does
        not.
        """

    def restoring(self, path: str, names: Iterable[str]) -> list[str]:
        """Give the commands that make the oldest versions of files the latest ones."""

    def locked_until(self, path: str, names: Iterable[str]) -> datetime | None:
        """Give the time when the first lock of these files ends; None where one of them is not
        locked.
        """

    def require_lockable(self) -> None:
        """Raise `EvidenceError` where the store cannot lock what is put there, and somebody asked
        for that.
        """

    def require_writable(self, path: str, name: str) -> None:
        """Raise `EvidenceError` where nothing may be put, asked with a file that lies there, if it
        does: it stays as it is.
        """

    @property
    def retention_days(self) -> int | None:
        """The days for which all that is put there is locked; None where it is not."""


def read_all(
    store: Store, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], bytes | EvidenceError]:
    """Read files, many at a time: what each holds, or why it is not there.

    Raises `UnreadableError`.
    """

    def read(one: tuple[str, str]) -> bytes | EvidenceError:
        try:
            return store.read(*one)
        except UnreadableError:
            raise
        except EvidenceError as error:
            return error

    asked = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(asked, pool.map(read, asked), strict=True))


@dataclass(frozen=True)
class FolderStore:
    """Bundles in a local folder."""

    root: Path

    def place(self, path: str) -> str:
        """Give the folder of a path."""
        return f"{str(self.root).rstrip('/')}/{path}"

    def has(self, path: str, completed_by: str) -> bool:
        """Tell whether a whole bundle lies there."""
        file = self.root / path / completed_by
        try:
            return stat.S_ISREG(file.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise UnreadableError(f"{file} cannot be looked at: {error.strerror}.") from None

    def put(self, path: str, files: Mapping[str, bytes], completed_by: str) -> None:
        """Put a bundle where there is none, by one rename."""
        folder = self.root / path
        # Of its own: another process may be writing the same, and whoever is first is right.
        partial = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
        try:
            private_folder(partial)
            for left in folder.parent.glob(f".{folder.name}.*.partial"):
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
            for name, body in files.items():
                with new_private_file(partial / name) as file:
                    file.write(body)
                    file.flush()
                    os.fsync(file.fileno())
            if not folder.exists():
                partial.rename(folder)
                _flush(folder.parent)
            shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if folder.exists():
                return
            raise EvidenceError(
                f"The evidence cannot be written to {folder}: {error.strerror}; free some space or"
                " set SONAR_ACCESS_EVIDENCE_URL."
            ) from None

    def get(self, path: str) -> dict[str, bytes]:
        """Read the files of a bundle, by name."""
        folder = self.root / path
        try:
            # A folder in a bundle is none of its files: what is there and is not listed is named.
            names = sorted(one.name for one in folder.iterdir())
        except OSError as error:
            raise _kind(error)(f"{folder} cannot be read as a packet: {error.strerror}.") from None
        # What is no plain file is none of its files: what is there and is not listed is named.
        return {
            _shown(name): self._plain(folder / name) or b""
            for name in names
            if not is_left_behind(name)
        }

    def read(self, path: str, name: str) -> bytes:
        """Read one file of a bundle."""
        body = self._plain(self.root / path / name)
        if body is None:
            raise EvidenceError(f"{self.root / path / name} is no plain file.")
        return body

    def _plain(self, file: Path) -> bytes | None:
        """Read the bytes of a plain file; return None for anything else: a folder, a link, a pipe
        or a device is not evidence.
        """
        try:
            # Not waiting for whoever writes into a pipe, and not following a link to somewhere
            # else.
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as opened:  # noqa: PTH123  # a descriptor
                about = os.fstat(opened.fileno())
                if not stat.S_ISREG(about.st_mode):
                    return None
                if about.st_size > LARGEST_FILE:
                    raise EvidenceError(
                        f"{file} has {about.st_size} bytes, which no file of evidence has; it was"
                        " not read."
                    )
                return opened.read(LARGEST_FILE)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                return None
            raise _kind(error)(f"{file} cannot be read: {error.strerror}.") from None

    def listing(self, path: str) -> Listing:
        """List all that lies below a folder.

        What begins with a dot is being written, or somebody's own.
        """
        names_by_folder: dict[str, frozenset[str]] = {}
        beside: list[str] = []

        def refused(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise UnreadableError(
                    f"{error.filename} cannot be listed: {error.strerror}."
                ) from None

        for folder, inside, files in os.walk(self.root / path, onerror=refused):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            here = _shown(Path(folder).relative_to(self.root).as_posix())
            beside += [f"{here}/{_shown(name)}" for name in sorted(files) if is_left_behind(name)]
            names = frozenset(_shown(name) for name in files if not is_left_behind(name))
            if names or not inside:
                names_by_folder[here] = names
        return Listing(names_by_folder, beside=beside)

    def holds(self, path: str, files: Mapping[str, bytes]) -> bool:
        """Tell whether these files lie there, to the byte, and nothing else."""
        return self.get(path) == files

    def oldest(self, path: str, names: Iterable[str]) -> dict[str, bytes]:
        """Nothing: a folder keeps no versions."""
        return {}

    def restoring(self, path: str, names: Iterable[str]) -> list[str]:
        """Nothing: a folder keeps no versions."""
        return []

    def locked_until(self, path: str, names: Iterable[str]) -> datetime | None:
        """None: a folder locks nothing."""
        return None

    def require_lockable(self) -> None:
        """Nothing: the settings refuse to ask a folder for locks."""

    def require_writable(self, path: str, name: str) -> None:
        """Raise `EvidenceError` where nothing may be put: a file system may be read-only, whatever
        rights say.
        """
        folders = (self.root, *self.root.absolute().parents)
        above = next(filter(os.path.exists, folders))  # Path's raises
        try:
            with TemporaryFile(dir=above):
                pass
        except OSError as error:
            raise EvidenceError(
                f"Evidence cannot be written to {self.root}: {error.strerror}; mend its rights or"
                " set SONAR_ACCESS_EVIDENCE_URL."
            ) from None

    @property
    def retention_days(self) -> int | None:
        """None: a folder locks nothing."""
        return None


def store_of(place: str, retention_days: int | None = None) -> Store:
    """Return the store of a folder, a file:// URL, or the URL of an object store.

    Raises `EvidenceError` for any other.
    """
    if "://" in place and not place.startswith("file://"):
        from sonar_access_pipeline.evidence.objects import ObjectStore

        return ObjectStore(place, retention_days)
    return FolderStore(Path(place.removeprefix("file://")))


def _shown(name: str) -> str:
    """Return the name of a file, with what is not UTF-8 replaced."""
    return os.fsencode(name).decode(errors="replace")


def _kind(error: OSError) -> type[EvidenceError]:
    gone = FileNotFoundError | NotADirectoryError | IsADirectoryError
    return EvidenceError if isinstance(error, gone) else UnreadableError


def _flush(folder: Path) -> None:
    """Have a rename be on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
