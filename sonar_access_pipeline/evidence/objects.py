"""Evidence in an object store that fsspec knows: Amazon S3 and its kin, Google Cloud Storage, Azure
Blob Storage.

Here: how each kind is asked to write only what is not there, what it says when it refuses, and what
to do then; and what only S3 has: locks and older versions. To add a kind, add it to `KINDS`, its
codes to `REMEDIES`, and a test against a server of it.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from shlex import quote
from typing import Any, TypeVar
from urllib.parse import quote as encoded

from sonar_access_pipeline.evidence.errors import EvidenceError, UnreadableError
from sonar_access_pipeline.evidence.stores import AT_ONCE, Listing, is_left_behind, read_all

T = TypeVar("T")


@dataclass(frozen=True)
class StoreKind:
    """A kind of object store: its name, the library that must be installed, and how to speak to it.

    `options`: of the file system; `create`: of a write that fails where something lies already.
    """

    name: str
    library: str
    options: Mapping[str, Any] = field(default_factory=dict)
    create: Mapping[str, Any] = field(default_factory=dict)


S3 = StoreKind(
    "Amazon S3 and its kin",
    "s3fs",
    # One request at a time for an object: with more, s3fs asks for its size before it reads it. And
    # s3fs asks five times by itself: with botocore's own five for each, a store that is busy would
    # be asked 25 times in half a minute.
    {
        "max_concurrency": 1,
        "config_kwargs": {"retries": {"total_max_attempts": 1, "mode": "standard"}},
    },
    {"mode": "create"},
)
GOOGLE = StoreKind("Google Cloud Storage", "gcsfs", {}, {"mode": "create"})
AZURE = StoreKind("Azure Blob Storage", "adlfs", {}, {"overwrite": False})
KINDS = {"s3": S3, "gs": GOOGLE, "az": AZURE, "abfs": AZURE}
MEMORY = StoreKind("memory, in tests", "fsspec")

BUSY = frozenset(
    "SlowDown ServiceUnavailable InternalError RequestTimeout Throttling ThrottlingException"
    " ServerBusy OperationTimedOut TooManyRequests 429 500 502 503 504".split()
)
"""Codes of a store that answers, and asks to be asked again later."""
_RIGHTS = (
    "its credentials may not do that; the table of stores in docs/evidence.md lists the rights that"
    " it needs"
)
_CREDENTIALS = "it does not know the credentials; check those that its SDK finds in the environment"
_NOBODY = (
    "nothing answers at its address; check the network, and the address of the endpoint if one"
    " is set"
)
_REGION = "the bucket lies in another region; set AWS_DEFAULT_REGION to it"
REMEDIES = {
    **dict.fromkeys(BUSY, "it is busy; try again later"),
    **dict.fromkeys(
        ("AccessDenied", "AuthorizationFailure", "AuthorizationPermissionMismatch", "403"), _RIGHTS
    ),
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidToken",
            "NoCredentialsError",
            "PartialCredentialsError",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
            "401",
        ),
        _CREDENTIALS,
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
        "its credentials have expired; renew them",
    ),
    "RequestTimeTooSkewed": (
        "this machine's clock differs from the store's by more than it allows; set the clock"
    ),
    **dict.fromkeys(
        ("NoSuchBucket", "ContainerNotFound"),
        "there is no such bucket; make it, or mend SONAR_ACCESS_EVIDENCE_URL",
    ),
    **dict.fromkeys(
        ("InvalidRequest", "ObjectLockConfigurationNotFoundError"),
        "its bucket cannot lock objects; make a bucket with Object Lock switched on, or leave "
        "SONAR_ACCESS_EVIDENCE_RETENTION_DAYS out",
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        _REGION,
    ),
    **dict.fromkeys(
        (
            "EndpointConnectionError",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ConnectionClosedError",
            "ClientConnectorError",
            "ClientConnectorDNSError",
            "ServiceRequestError",
        ),
        _NOBODY,
    ),
}
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{1,60}|[45]\d\d")
LASTING = frozenset({"NoSuchBucket", "ContainerNotFound"})
"""Codes of a store that is not there at all: said of one object, it would say that the object is
gone.
"""
UNKNOWN = frozenset({"NotImplemented", "AccessDenied", "MethodNotAllowed", "NoSuchKey"})
"""Codes of a store that keeps no versions, or does not say."""


def code_of(error: BaseException) -> str:
    """Give the store's own code of what it refused, else the kind of the exception.

    Its words are never repeated.
    """
    one: BaseException | None = error
    seen: list[str] = []
    while one is not None and len(seen) < 9:
        response = getattr(one, "response", None)
        store_code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
        for candidate in (store_code, getattr(one, "error_code", None), getattr(one, "code", None)):
            text = str(getattr(candidate, "value", candidate))
            if candidate is not None and CODE.fullmatch(text):
                return text
        seen.append(type(one).__name__)
        one = one.__cause__ or one.__context__
    return next((name for name in reversed(seen) if name in REMEDIES), seen[0])


@dataclass(frozen=True)
class ObjectStore:
    """Bundles in an object store. With `retention_days` every object is locked for so long (S3).

    A store that is busy is asked again for `patient_seconds`.
    """

    url: str
    retention_days: int | None = None
    patient_seconds: float = 90
    sleep: Callable[[float], None] = time.sleep

    def place(self, path: str) -> str:
        """Give the URL of a path."""
        return f"{self.url.rstrip('/')}/{path}"

    def listing(self, path: str) -> Listing:
        """List all that lies below a folder, with older versions where the store keeps them.

        Raises `UnreadableError`.
        """
        if self._kind is S3:
            try:
                return self._versions(path)
            except UnreadableError as refused:
                if refused.code not in UNKNOWN:
                    raise
        nothing: Iterable[str] = ()
        paths = self._asked(
            path, lambda: self._files.find(f"{self._root}/{path}", refresh=True), nothing
        )
        return _listing([self._inside(file) for file in paths], {})

    def has(self, path: str, completed_by: str) -> bool:
        """Tell whether a whole bundle lies there. Raises `UnreadableError`."""
        if self._kind is S3:
            # s3fs would list, too, where nothing lies: it might be a folder.
            key = {"Bucket": self._bucket, "Key": self._key(path, completed_by)}
            return self._asked(path, lambda: bool(self._files.call_s3("head_object", **key)), False)
        return self._asked(
            path, lambda: bool(self._files.info(self._at(path, completed_by))), False
        )

    def put(self, path: str, files: Mapping[str, bytes], completed_by: str) -> None:
        """Put a bundle, or what is missing of it, its last file last.

        Stores that know `If-None-Match` write over nothing.
        """
        before = [name for name in files if name != completed_by]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._write(path, name, files[name]), before))
        self._write(path, completed_by, files[completed_by])

    def holds(self, path: str, files: Mapping[str, bytes]) -> bool:
        """Tell whether these files lie there, to the byte, and nothing else: by the store's own
        digests where it gives any.
        """
        nothing: Iterable[dict[str, Any]] = ()
        objects = self._asked(
            path, lambda: self._files.ls(f"{self._root}/{path}", detail=True, refresh=True), nothing
        )
        tags = {
            PurePosixPath(str(one["name"])).name: str(one.get("ETag", "")).strip('"')
            for one in objects
        }
        marker = PurePosixPath(path).name
        tags = {
            name: tag
            for name, tag in tags.items()
            if not is_left_behind(name) and (name != marker or name in files)
        }
        if tags.keys() != files.keys():
            return False
        # An entity tag is the MD5 unless the object is encrypted with a key of its own, or came in
        # parts: then it is read.
        unsaid = [
            name
            for name, body in files.items()
            if tags[name] != hashlib.md5(body, usedforsecurity=False).hexdigest()
        ]
        read = read_all(self, ((path, name) for name in unsaid))
        return all(read[path, name] == files[name] for name in unsaid)

    def get(self, path: str) -> dict[str, bytes]:
        """Read the files of a bundle, by name."""
        paths = self._asked(
            path, lambda: self._files.ls(f"{self._root}/{path}", detail=False, refresh=True)
        )
        # A marker of the folder, as consoles make one, is none of its files.
        files = [file for file in paths if file.strip("/") != f"{self._root}/{path}"]
        names = sorted(
            name for file in files if not is_left_behind(name := PurePosixPath(file).name)
        )
        read = read_all(self, ((path, name) for name in names))
        # One that was listed and cannot be read is a folder, or goes just now: it is named by what
        # it does not hold.
        return {
            name: body if isinstance(body := read[path, name], bytes) else b"" for name in names
        }

    def read(self, path: str, name: str) -> bytes:
        """Read one file of a bundle."""
        return bytes(
            self._asked(f"{path}/{name}", lambda: self._files.cat_file(self._at(path, name)))
        )

    def oldest(self, path: str, names: Iterable[str]) -> dict[str, bytes]:
        """Files as they were first written, where the store keeps versions; nothing where it does
        not.
        """
        versions = self._oldest_versions(path, names)

        def read(name: str) -> bytes:
            asked = {"version_id": versions[name]}
            return bytes(
                self._asked(
                    f"{path}/{name}", lambda: self._files.cat_file(self._at(path, name), **asked)
                )
            )

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(versions, pool.map(read, versions), strict=True))

    def restoring(self, path: str, names: Iterable[str]) -> list[str]:
        """Give the commands that make the oldest versions of files the latest ones."""
        bucket = self._bucket
        version_ids = self._oldest_versions(path, names)
        locked = ""
        if until := self._lock().get("ObjectLockRetainUntilDate"):
            locked = (
                " --object-lock-mode COMPLIANCE --object-lock-retain-until-date"
                f" {until:%Y-%m-%dT%H:%M:%SZ}"
            )
        versions = {self._key(path, name): version for name, version in version_ids.items()}
        return [
            f"aws s3api copy-object --bucket {quote(bucket)} --key {quote(key)} "
            f"--copy-source {quote(f'{bucket}/{encoded(key)}?versionId={version}')}{locked}"
            for key, version in versions.items()
        ]

    def locked_until(self, path: str, names: Iterable[str]) -> datetime | None:
        """Give the time when the first lock of these files ends; None where one is not locked, or
        the store cannot lock.
        """

        def ends(name: str) -> datetime | None:
            asked = {"Bucket": self._bucket, "Key": self._key(path, name)}
            metadata = self._asked(
                f"{path}/{name}", lambda: self._files.call_s3("head_object", **asked)
            )
            is_locked = metadata.get("ObjectLockMode") == "COMPLIANCE"
            kept: datetime | None = metadata.get("ObjectLockRetainUntilDate")
            return kept if is_locked else None

        if self._kind is not S3:
            return None
        with ThreadPoolExecutor(AT_ONCE) as pool:
            end_times = list(pool.map(ends, names))
        known = [end for end in end_times if end is not None]
        return min(known) if known and len(known) == len(end_times) else None

    def require_lockable(self) -> None:
        """Refuse a bucket that locks no objects, where somebody asked for that: before anything is
        put there.
        """
        if self.retention_days is None:
            return
        asked = {"Bucket": self._bucket}
        configuration = self._asked(
            "", lambda: self._files.call_s3("get_object_lock_configuration", **asked)
        )
        if configuration.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise EvidenceError(f"{self.url} cannot be locked: {REMEDIES['InvalidRequest']}.")

    def require_writable(self, path: str, name: str) -> None:
        """Raise `UnreadableError` where nothing may be put: asked to make what is there, a store
        looks at rights first.

        One that makes it all the same gets the same bytes again.
        """
        if self.has(path, name):
            body = self.read(path, name)
            self._asked(f"{path}/{name}", lambda: self._make(path, name, body))

    def _write(self, path: str, name: str, body: bytes) -> None:
        def write() -> None:
            if not self._make(path, name, body):
                # A store that does not know the header: what it is asked to write was entered, and
                # is the same each time.
                self._files.pipe_file(self._at(path, name), body, **self._lock())

        self._asked(f"{path}/{name}", write)

    def _make(self, path: str, name: str, body: bytes) -> bool:
        """Write a file where there is none; whether the store knows how to do only that."""
        try:
            self._files.pipe_file(self._at(path, name), body, **self._kind.create, **self._lock())
        except FileExistsError:
            pass
        except Exception as error:
            code = code_of(error)
            if code in ("NotImplemented", "501"):
                return False
            if code not in (
                "PreconditionFailed",
                "412",
                "BlobAlreadyExists",
                "ConditionalRequestConflict",
                "409",
            ):
                raise
        return True

    def _lock(self) -> dict[str, Any]:
        if self.retention_days is None:
            return {}
        until = datetime.now(UTC) + timedelta(days=self.retention_days)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}

    def _versions(self, path: str) -> Listing:
        latest: list[str] = []
        older: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
        tags: dict[str, set[str]] = defaultdict(set)
        for one in self._every_version(f"{path}/"):
            name = self._inside(f"{self._bucket}/{one['Key']}")
            if name.endswith("/"):
                # What consoles and sync tools make of a folder.
                continue
            if "ETag" not in one:
                # A mark that the object is deleted.
                tags[name].add("deleted")
            elif one["IsLatest"]:
                latest.append(name)
                tags[name].add(one["ETag"])
            else:
                older[name].append((one["LastModified"], str(one["VersionId"])))
                tags[name].add(one["ETag"])
        changed = {
            name: [version for _, version in sorted(dated_versions)]
            for name, dated_versions in older.items()
            if len(tags[name]) > 1
        }
        return _listing(latest, changed)

    def _every_version(self, prefix: str) -> Iterator[dict[str, Any]]:
        key = "/".join(part for part in (self._prefix, prefix) if part)
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": key}
        while True:
            page = self._asked(
                prefix, partial(self._files.call_s3, "list_object_versions", **asked)
            )
            yield from page.get("Versions", ())
            yield from page.get("DeleteMarkers", ())
            if not page.get("IsTruncated"):
                return
            asked |= {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def _oldest_versions(self, path: str, names: Iterable[str]) -> dict[str, str]:
        older = self.listing(path).older
        return {
            name: older[f"{path}/{name}"][0] for name in sorted(names) if f"{path}/{name}" in older
        }

    @property
    def _kind(self) -> StoreKind:
        scheme = self.url.split("://")[0]
        if scheme == "memory":
            return MEMORY
        try:
            return KINDS[scheme]
        except KeyError:
            known = ", ".join(f"{name}://" for name in KINDS)
            raise EvidenceError(
                f"Evidence cannot be kept at {scheme}://; SONAR_ACCESS_EVIDENCE_URL is a folder, or"
                f" begins with {known}. What can be mounted can be used as a folder."
            ) from None

    @property
    def _files(self) -> Any:
        import fsspec

        kind = self._kind
        try:
            return fsspec.filesystem(
                self.url.split("://")[0], use_listings_cache=False, **kind.options
            )
        except ImportError:
            raise EvidenceError(
                f"{kind.name} needs `pip install {kind.library}`, where this is installed."
            ) from None

    @property
    def _root(self) -> str:
        return self.url.split("://", 1)[1].rstrip("/")

    @property
    def _bucket(self) -> str:
        return self._root.partition("/")[0]

    @property
    def _prefix(self) -> str:
        return self._root.partition("/")[2]

    def _at(self, path: str, name: str) -> str:
        return f"{self._root}/{path}/{name}"

    def _key(self, path: str, name: str) -> str:
        return self._at(path, name).partition("/")[2]

    def _inside(self, file: str) -> str:
        """Return the path of a file below the root."""
        return file.lstrip("/").removeprefix(f"{self._root}/")

    def _is_there(self) -> bool:
        """Tell whether the bucket is there: gcsfs says the same of an object without its bucket and
        of one that is gone.
        """
        return bool(self._files.exists(self._bucket))

    def _asked(self, path: str, ask: Callable[[], T], otherwise: T | None = None) -> T:
        """Ask the store, and again while it is busy; `otherwise` where it says that nothing lies
        there.
        """
        until = time.monotonic() + self.patient_seconds
        pause = 1.0
        while True:
            try:
                return ask()
            except EvidenceError:
                raise
            except Exception as error:  # noqa: BLE001  # each store has errors of its own, and their words may hold credentials
                code = code_of(error)
                is_gone = isinstance(error, FileNotFoundError)
            if is_gone and self._kind is GOOGLE and not self._is_there():
                code = "NoSuchBucket"
            if is_gone and code not in LASTING:
                if otherwise is not None:
                    return otherwise
                raise EvidenceError(f"Nothing lies at {self.place(path)}.")
            if code not in BUSY or time.monotonic() + pause > until:
                is_of_locks = code == "InvalidRequest" and self.retention_days is None
                remedy = REMEDIES.get(code) if not is_of_locks else None
                remedy = (
                    remedy
                    or "check SONAR_ACCESS_EVIDENCE_URL, its credentials, and what they may do"
                )
                raise UnreadableError(
                    f"The evidence store refuses {self.place(path)} ({code}): {remedy}.", code
                )
            self.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, 16.0)


def _listing(files: Sequence[str], older: Mapping[str, Sequence[str]]) -> Listing:
    beside = [file for file in files if is_left_behind(file.rpartition("/")[2])]
    return Listing(_by_folder(set(files) - set(beside)), older, sorted(beside))


def _by_folder(files: Iterable[str]) -> dict[str, frozenset[str]]:
    names_by_folder: dict[str, set[str]] = defaultdict(set)
    for file in files:
        folder, _, name = file.rpartition("/")
        names_by_folder[folder].add(name)
    return {folder: frozenset(names) for folder, names in sorted(names_by_folder.items())}
