"""Object stores and time stamp authorities of our own, on loopback, as the real servers that people
run.

`moto` comes with the development environment; the others are used where their programs are found:
`make stores` asks for all.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from sonar_access_pipeline_tests.support.programs import PACKAGES, free_port, needs

KEY, SECRET = "evidence", "evidence-secret"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Of Azurite's only account, the same everywhere: its documentation names it."""


@dataclass(frozen=True)
class Server:
    """An object store: how to make a bucket in it, and how addresses in it begin."""

    name: str
    scheme: str
    make_bucket: Callable[[str, bool], None]

    @property
    def is_s3(self) -> bool:
        """Whether it speaks S3."""
        return self.scheme == "s3"


@contextmanager
def running(
    words: list[str], port: int, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A program that listens on a port; ended afterwards."""
    if words[0] in PACKAGES:
        needs(words[0])
    elif shutil.which(words[0]) is None:
        pytest.skip(f"this machine has no {words[0]}: `make stores`")
    process = subprocess.Popen(
        words,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def server(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start the object store of a name, with the environment that its SDK reads set."""
    port = free_port()
    start = {
        "moto": _moto,
        "minio": _minio,
        "versitygw": _versitygw,
        "azurite": _azurite,
        "fake-gcs-server": _google,
    }[name]
    with start(port, folder, monkeypatch) as found:
        forget_sessions()
        yield found
        forget_sessions()


def forget_sessions() -> None:
    """Have fsspec make its file systems anew: they keep the address of the server that was there
    before.
    """
    import fsspec

    for scheme in ("s3", "gs", "az"):
        if (kind := fsspec.registry.get(scheme)) is not None:
            kind.clear_instance_cache()


def s3_at(name: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Server:
    """An S3 that listens at a port, with the environment that SDKs read."""
    for variable, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():
        monkeypatch.setenv(variable, value)

    def make(bucket: str, locks: bool) -> None:
        s3_client().create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locks)

    return Server(name, "s3", make)


def s3_client() -> Any:
    """A client of the server of the environment that is not ours: to look at what lies there, and
    to attack it.
    """
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(s3={"addressing_style": "path"}))


@contextmanager
def _moto(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    ours = ThreadedMotoServer(port=port, verbose=False)
    ours.start()
    try:
        # What it holds outlives it, in this process.
        requests.post(f"http://127.0.0.1:{port}/moto-api/reset", timeout=10).raise_for_status()
        yield s3_at("moto", port, monkeypatch)
    finally:
        ours.stop()


@contextmanager
def _minio(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    words = ["minio", "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder)]
    with running(words, port, {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}):
        yield s3_at("minio", port, monkeypatch)


@contextmanager
def _versitygw(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("objects", "versions"):
        (folder / name).mkdir()
    words = [
        "versitygw",
        "--port",
        f"127.0.0.1:{port}",
        "--access",
        KEY,
        "--secret",
        SECRET,
        "posix",
    ]
    with running(
        [*words, "--versioning-dir", str(folder / "versions"), str(folder / "objects")], port
    ):
        yield s3_at("versitygw", port, monkeypatch)


@contextmanager
def _azurite(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("adlfs")
    account = "devstoreaccount1"
    said = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={AZURE_KEY};BlobEndpoint=http://127.0.0.1:{port}/{account};"
    words = [
        "azurite-blob",
        "--silent",
        "--skipApiVersionCheck",
        "--blobPort",
        str(port),
        "--location",
        str(folder),
    ]
    with running(words, port):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", said)

        def make(bucket: str, locks: bool) -> None:
            from azure.storage.blob import BlobServiceClient

            BlobServiceClient.from_connection_string(said).create_container(bucket)

        yield Server("azurite", "az", make)


@contextmanager
def _google(port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pytest.importorskip("gcsfs")
    place = f"http://127.0.0.1:{port}"
    words = [
        "fake-gcs-server",
        "-scheme",
        "http",
        "-host",
        "127.0.0.1",
        "-port",
        str(port),
        "-public-host",
        f"127.0.0.1:{port}",
    ]
    with running([*words, "-filesystem-root", str(folder)], port):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", place)

        def make(bucket: str, locks: bool) -> None:
            requests.post(
                f"{place}/storage/v1/b", json={"name": bucket}, timeout=10
            ).raise_for_status()

        yield Server("fake-gcs-server", "gs", make)
