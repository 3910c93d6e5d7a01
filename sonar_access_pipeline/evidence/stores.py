"""Where evidence lies: a folder, or an object store that fsspec knows. What is put there is put whole, and never changed.

A bundle is a folder of files that belong together. In a folder it appears by one rename. An object store has no rename: there the
file that completes a bundle is written last, and a bundle without it is none.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.private import new_private_file, private_folder

ABANDONED_SECONDS = 24 * 3600
"""After so long nobody writes a bundle any more: its process was killed."""


class Store(Protocol):
    """A place for bundles. Paths are relative, with `/` between.

    Raises `EvidenceError` for what is not there, and `UnreadableError` where the store does not say.
    """

    def place(self, path: str) -> str:
        """Where a path is: the folder or the URL."""

    def has(self, path: str, completed_by: str) -> bool:
        """Whether a whole bundle lies there."""

    def put(self, path: str, files: Mapping[str, bytes], completed_by: str) -> None:
        """Put a bundle where there is none."""

    def get(self, path: str) -> dict[str, bytes]:
        """The files of a bundle, by name."""

    def read(self, path: str, name: str) -> bytes:
        """One file of a bundle."""

    def names(self, path: str) -> list[str]:
        """What lies in a folder, sorted; nothing where there is no such folder."""

    def require_locked(self, path: str, names: Iterable[str], since: datetime) -> None:
        """Nothing where files of a bundle are locked as long as the settings say from a moment on, or nobody asked for that."""


@dataclass(frozen=True)
class FolderStore:
    """Bundles in a local folder."""

    root: Path

    def place(self, path: str) -> str:
        """Where a path is."""
        return str(self.root / path)

    def has(self, path: str, completed_by: str) -> bool:
        """Whether a whole bundle lies there."""
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
                f"The evidence cannot be written to {folder}: {error.strerror}; free some space or set SONAR_ACCESS_EVIDENCE_URL."
            ) from None

    def get(self, path: str) -> dict[str, bytes]:
        """The files of a bundle, by name."""
        folder = self.root / path
        try:
            # A folder in a bundle is none of its files: what is there and is not listed is named.
            return {file.name: b"" if file.is_dir() else file.read_bytes() for file in sorted(folder.iterdir())}
        except OSError as error:
            raise _kind(error)(f"{folder} cannot be read as a packet: {error.strerror}.") from None

    def read(self, path: str, name: str) -> bytes:
        """One file of a bundle."""
        try:
            return (self.root / path / name).read_bytes()
        except OSError as error:
            raise _kind(error)(f"{self.root / path / name} cannot be read: {error.strerror}.") from None

    def names(self, path: str) -> list[str]:
        """What lies in a folder, sorted."""
        folder = self.root / path
        try:
            return sorted(one.name for one in folder.iterdir() if not one.name.startswith(".")) if folder.is_dir() else []
        except OSError as error:
            raise _kind(error)(f"{folder} cannot be listed: {error.strerror}.") from None

    def require_locked(self, path: str, names: Iterable[str], since: datetime) -> None:
        """Nothing: a folder locks nothing, and the settings refuse to ask for it."""


@dataclass(frozen=True)
class ObjectStore:
    """Bundles in an object store. With `retention_days` every object is locked for so long, where the store can do that (S3)."""

    url: str
    retention_days: int | None = None

    def place(self, path: str) -> str:
        """Where a path is."""
        return f"{self.url.rstrip('/')}/{path}"

    def has(self, path: str, completed_by: str) -> bool:
        """Whether a whole bundle lies there."""
        with self._translated(path):
            try:
                self._files.info(f"{self._root}/{path}/{completed_by}")
            except FileNotFoundError:
                return False
            return True

    def put(self, path: str, files: Mapping[str, bytes], completed_by: str) -> None:
        """Put a bundle where there is none: what completes it is written last."""
        lock = self._lock()
        last = {completed_by: files[completed_by]}
        with self._translated(path):
            for name, body in {**{name: body for name, body in files.items() if name != completed_by}, **last}.items():
                self._files.pipe_file(f"{self._root}/{path}/{name}", body, **lock)

    def get(self, path: str) -> dict[str, bytes]:
        """The files of a bundle, by name."""
        with self._translated(path):
            found = sorted(self._files.ls(f"{self._root}/{path}", detail=False, refresh=True))
            return {PurePosixPath(file).name: self._files.cat_file(file) for file in found}

    def read(self, path: str, name: str) -> bytes:
        """One file of a bundle."""
        with self._translated(path):
            return bytes(self._files.cat_file(f"{self._root}/{path}/{name}"))

    def names(self, path: str) -> list[str]:
        """What lies in a folder, sorted."""
        with self._translated(path):
            try:
                found = self._files.ls(f"{self._root}/{path}", detail=False, refresh=True)
            except FileNotFoundError:
                return []
            return sorted(PurePosixPath(one).name for one in found)

    def require_locked(self, path: str, names: Iterable[str], since: datetime) -> None:
        """Nothing where the store says that files are locked as was asked: one that ignores the header says nothing of it."""
        if self.retention_days is None:
            return
        bucket, _, root = self._root.partition("/")
        for name in names:
            with self._translated(path):
                said = self._files.call_s3("head_object", Bucket=bucket, Key=f"{root}/{path}/{name}".lstrip("/"))
            kept = said.get("ObjectLockRetainUntilDate")
            if said.get("ObjectLockMode") != "COMPLIANCE" or not kept or kept < since + timedelta(days=self.retention_days):
                raise EvidenceError(
                    f"The evidence store took {self.place(path)}/{name} and did not lock it; make a bucket with Object Lock "
                    "switched on, or leave SONAR_ACCESS_EVIDENCE_RETENTION_DAYS out."
                )

    def _lock(self) -> dict[str, Any]:
        if self.retention_days is None:
            return {}
        until = datetime.now(UTC) + timedelta(days=self.retention_days)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}

    @property
    def _files(self) -> Any:
        import fsspec

        try:
            return fsspec.filesystem(self.url.split("://")[0], use_listings_cache=False)
        except (ImportError, ValueError):
            raise EvidenceError(
                f"Nothing here speaks to {self.url.split('://')[0]}://; install what does, such as sonar-access-pipeline[s3]."
            ) from None

    @property
    def _root(self) -> str:
        return self.url.split("://", 1)[1].rstrip("/")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except EvidenceError:
            raise
        except FileNotFoundError:
            raise EvidenceError(f"Nothing lies at {self.place(path)}.") from None
        except Exception as error:  # noqa: BLE001  # each store has errors of its own, and their words may hold credentials
            raise UnreadableError(
                f"The evidence store refuses {self.place(path)} ({type(error).__name__}); check SONAR_ACCESS_EVIDENCE_URL, its "
                "credentials, and what they may do there."
            ) from None


def store_of(place: str, retention_days: int | None = None) -> Store:
    """The store of a folder, a file:// URL, or the URL of an object store."""
    if "://" in place and not place.startswith("file://"):
        return ObjectStore(place, retention_days)
    return FolderStore(Path(place.removeprefix("file://")))


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
