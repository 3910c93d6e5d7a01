"""Verifying beside an object store: its cost in requests, and in seconds at 30 ms of latency.

    $ python -m benchmarks.stores [--packets 300] [--server moto|minio|versitygw] [--latency 0.03]

A line of packets is made from one real packet: each has another window in its manifest, its own
seal and signature, and a head. The peer of `verify --all` is s3fs reading the same objects, many at
a time, and doing nothing with them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sonar_access_pipeline.access.snapshot import canonical_json
from sonar_access_pipeline.evidence.keys import Trust
from sonar_access_pipeline.evidence.line import Line, place_of
from sonar_access_pipeline.evidence.objects import ObjectStore
from sonar_access_pipeline.evidence.packet import MANIFEST
from sonar_access_pipeline.evidence.seal import (
    HEAD,
    SEAL,
    SIGNATURE,
    SIGNERS,
    SUMS,
    endorse,
    sums_of,
)
from sonar_access_pipeline.evidence.signers import HEADS, PACKETS
from sonar_access_pipeline.evidence.stores import AT_ONCE, read_all
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support.builders import EPOCH
from sonar_access_pipeline_tests.support.programs import free_port
from sonar_access_pipeline_tests.support.sealed import Sealings, live_a_day, sealing
from sonar_access_pipeline_tests.support.servers import forget_sessions, s3_at, s3_client, server


class Proxy:
    """Between client and server: counts requests, and lets every answer wait."""

    def __init__(self, target: int, latency: float) -> None:
        self.target, self.latency, self.requests, self.port = target, latency, 0, free_port()
        self.listening = socket.create_server(("127.0.0.1", self.port), backlog=200)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listening.accept()
            upstream = socket.create_connection(("127.0.0.1", self.target))
            for one in (client, upstream):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = threading.Event()
            threading.Thread(target=self._up, args=(client, upstream, asked), daemon=True).start()
            threading.Thread(target=self._down, args=(upstream, client, asked), daemon=True).start()

    def _up(self, client: socket.socket, upstream: socket.socket, asked: threading.Event) -> None:
        while data := _received(client):
            self.requests += data.count(b" HTTP/1.1\r\n")
            asked.set()
            upstream.sendall(data)
        upstream.close()

    def _down(self, upstream: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        while data := _received(upstream):
            if asked.is_set():
                asked.clear()
                time.sleep(self.latency)
            try:
                client.sendall(data)
            except OSError:
                break
        client.close()


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(1 << 16)
    except OSError:
        return b""


def bundles(folder: Path, count: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """A line of packets and heads, by path: from one that was really sealed."""
    real = Sealings(folder, sqlite_url(folder / "warehouse.sqlite"))
    model = {file.name: file.read_bytes() for file in real.last.iterdir()}
    manifest, about = json.loads(model[MANIFEST]), json.loads(model[SEAL])
    signer, previous = real.sealing.signer, None
    for number in range(count):
        day = (EPOCH + timedelta(days=number)).date()
        manifest["window"] |= {"first_day": str(day), "last_day": str(day)}
        files = {**model, MANIFEST: canonical_json(manifest)}
        head = hashlib.sha256(str(number).encode()).hexdigest()
        digest = sums_of({MANIFEST: files[MANIFEST]}).split()[0].decode()
        at = f"{EPOCH + timedelta(days=number):%Y-%m-%dT%H:%M:%S.%f}Z"
        said = {
            **about,
            "digest": digest,
            "previous_digest": previous,
            "snapshot_chain_head": head,
            "sealed_at": at,
        }
        files[SEAL] = canonical_json(said)
        content = {name: body for name, body in files.items() if name not in (SUMS, SIGNATURE)}
        files[SUMS] = sums_of(content)
        files[SIGNATURE] = signer.sign(files[SUMS], PACKETS)
        yield place_of(manifest, digest), files
        body = canonical_json(
            {
                "snapshot_id": number,
                "head_sha256": head,
                "organization": "acme",
                "time_stamp": False,
            }
        )
        signed = {
            HEAD: body,
            f"{HEAD}.sig": signer.sign(body, HEADS),
            SIGNERS: signer.allowed_signers,
        }
        yield f"heads/{number:08d}-{head[:12]}", signed
        previous = digest
    real.warehouse.close()


@contextmanager
def measured(proxy: Proxy) -> Iterator[dict[str, float]]:
    """Count requests and seconds of what happens inside."""
    before, began, found = proxy.requests, time.monotonic(), {"requests": 0.0, "seconds": 0.0}
    yield found
    found |= {"requests": proxy.requests - before, "seconds": round(time.monotonic() - began, 2)}


def main() -> None:
    """Measure, and print."""
    asked = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--packets", type=int, default=300)
    asked.add_argument("--server", default="moto")
    asked.add_argument("--latency", type=float, default=0.03)
    words = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "server").mkdir()
        with server(words.server, Path(folder) / "server", patch) as ours:
            _measure(Path(folder), ours, patch, words)


def _measure(folder: Path, ours: Any, patch: pytest.MonkeyPatch, words: argparse.Namespace) -> None:
    ours.make_bucket("evidence", False)
    client, paths, objects = s3_client(), [], 0
    with ThreadPoolExecutor(8) as pool:
        for path, files in bundles(folder / "real", words.packets):
            objects += len(files)
            paths += [path] if not path.startswith("heads/") else []
            list(
                pool.map(
                    lambda one: client.put_object(Bucket="evidence", Key=one[0], Body=one[1]),
                    ((f"sonar/{path}/{name}", body) for name, body in files.items()),
                )
            )
    ours.make_bucket("locked", True)
    direct = int(client.meta.endpoint_url.rpartition(":")[2])
    proxy = Proxy(direct, words.latency)
    s3_at("proxy", proxy.port, patch)
    forget_sessions()
    store = ObjectStore("s3://evidence/sonar")
    there = sealing(folder / "real" / "evidence", store=store)
    endorse(there)
    trusted = [there.signer.key.fingerprint]
    print(
        f"{words.packets} packets and heads, {objects} objects, {words.server},"
        f" {words.latency * 1000:.0f} ms each"
    )
    for name, bucket, days in (("", "evidence", None), (", with locks", "locked", 1)):
        own = folder / bucket
        own.mkdir()
        warehouse = Warehouse(sqlite_url(own / "warehouse.sqlite"))
        upgrade(warehouse)
        daily = sealing(
            own / "root",
            store=ObjectStore(f"s3://{bucket}/daily", days),
            clock=lambda: datetime.now(UTC),
        )
        live_a_day(warehouse, daily, 0, "ada")
        with measured(proxy) as found:
            live_a_day(warehouse, daily, 1, "ada", "bob")
        warehouse.close()
        print(
            f"a day: its head and its packet{name}: {found['requests']:.0f} requests,"
            f" {found['seconds']} s"
        )
    for name, path in (
        ("newest", paths[-1]),
        ("in the middle", paths[len(paths) // 2]),
        ("first", paths[0]),
    ):
        with measured(proxy) as found:
            assert verify(store, path, fingerprints=trusted).faults == []
        print(
            f"one packet, {name}, offline: {found['requests']:.0f} requests, {found['seconds']} s"
        )
    with measured(proxy) as found:
        assert verify_all(store, "acme", fingerprints=trusted).faults == []
    print(
        f"all: {found['requests']:.0f} requests ({found['requests'] / objects:.2f} an object),"
        f" {found['seconds']} s"
    )
    line = Line("acme", Trust(store, trusted))
    wanted = [(path, name) for path in line.paths for name in line.names(path)]
    with measured(proxy) as peer:
        read_all(store, wanted)
    print(f"the peer, {AT_ONCE} at a time: {peer['requests']:.0f} requests, {peer['seconds']} s")
    print(f"all / peer: {found['seconds'] / peer['seconds']:.2f}")


if __name__ == "__main__":
    main()
