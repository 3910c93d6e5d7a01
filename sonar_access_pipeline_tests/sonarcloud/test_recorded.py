"""Real answers of SonarCloud, replayed: the whole pipeline must deliver the one account that they
show.

The recordings lie beside the project, not in it; without them these tests are skipped. Lists that
nobody recorded are filled by the reference. The client is never patched: a real server on loopback
answers with the recorded bytes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from sonar_access_pipeline.access.lists import page_of
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, Settings
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse

RECORDED = Path(__file__).parents[3] / "shared" / "api" / "recorded"
pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recorded answers of SonarCloud do not lie beside the project"
)
KEY, LOGIN = "j1-test-organization", "teemuj1@github"


def har_bodies() -> dict[tuple[str, str], bytes]:
    """The recorded bodies, byte for byte, by endpoint and group id."""
    found: dict[tuple[str, str], bytes] = {}
    for file in sorted((RECORDED / "har").glob("*.har")):
        for entry in json.loads(file.read_text())["log"]["entries"]:
            url = urlsplit(entry["request"]["url"])
            found[url.path.removeprefix("/api/"), parse_qs(url.query).get("id", [""])[0]] = entry[
                "response"
            ]["content"]["text"].encode()
    return found


def filled() -> dict[tuple[str, str], bytes]:
    """What nobody recorded, in the shapes of the reference."""
    everything = ["admin", "gateadmin", "profileadmin", "provisioning", "scan"]
    documents: dict[str, Any] = {
        "users/current": {"isLoggedIn": True, "login": LOGIN, "name": "teemuj1"},
        "organizations/search": {
            "paging": {"pageIndex": 1, "pageSize": 100, "total": 1},
            "organizations": [
                {
                    "key": KEY,
                    "name": KEY,
                    "actions": {"admin": True},
                    "subscription": "FREE",
                    "alm": {"key": "github"},
                }
            ],
        },
        "permissions/users": {
            "paging": {"pageIndex": 1, "pageSize": 100, "total": 1},
            "users": [{"login": LOGIN, "name": "teemuj1", "permissions": []}],
        },
        "permissions/groups": {
            "paging": {"pageIndex": 1, "pageSize": 100, "total": 2},
            "groups": [
                {"id": "441812", "name": "Owners", "permissions": everything},
                {"id": "441813", "name": "Members", "permissions": []},
            ],
        },
    }
    return {
        (endpoint, ""): json.dumps(document).encode() for endpoint, document in documents.items()
    }


@pytest.fixture
def replaying() -> Iterator[str]:
    bodies = filled() | har_bodies()

    class Replay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = bodies.get(
                (url.path.removeprefix("/api/"), parse_qs(url.query).get("id", [""])[0])
            )
            self.send_response(404 if body is None else 200)
            body = body or b'{"errors":[{"msg":"Unknown url"}]}'
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_every_recorded_list_is_parsed() -> None:
    bodies = har_bodies()
    for endpoint, subject in bodies:
        if endpoint in ("organizations/search_members", "user_groups/search", "user_groups/users"):
            page = page_of(endpoint, {"id": subject}, bodies[endpoint, subject])
            assert page.total == len(page.records)


def test_the_recorded_organization_is_delivered_whole(
    replaying: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_TOKEN", "replayed")
    connection = Connection(name="recorded", organization=KEY, host_url=replaying)
    settings = Settings(connections=(connection,), data_dir=tmp_path / "data")
    today = datetime.now(UTC).date()
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(Resources(settings)).resolve_job_def("recorded_daily")
        assert job.execute_in_process(
            instance=instance, partition_key=str(today), raise_on_error=False
        ).success
    warehouse = Warehouse(settings.warehouse)
    with warehouse.read() as transaction:
        observed = queries.observation_at(transaction, KEY, datetime.now(UTC))
        rows = queries.access_at(transaction, observed)
        controls = queries.controls_of_snapshot(transaction, observed.snapshot_id)
    warehouse.close()
    shown = [
        (
            row["login"],
            row["access_type"],
            row["resource_name"],
            row["entitlement"],
            row["granted_via_name"],
        )
        for row in rows
    ]
    assert shown == [
        (LOGIN, "group", "Owners", "member", None),
        (LOGIN, "group", "Members", "member", None),
        (LOGIN, "membership", KEY, "member", None),
        *(
            (LOGIN, "organization_permission", KEY, key, "Owners")
            for key in ("admin", "gateadmin", "profileadmin")
        ),
        *(
            (LOGIN, "organization_permission", KEY, key, "Owners")
            for key in ("provisioning", "scan")
        ),
    ]
    assert observed.source_kind == "other", "a replay is neither SonarCloud nor our simulator"
    assert all(control["passed"] for control in controls)
