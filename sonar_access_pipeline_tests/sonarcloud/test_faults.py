"""Every fault between SonarCloud and us ends well: a right snapshot, or an incomplete one with a
sentence. Never a wrong one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from sonar_access_pipeline.access.snapshot import Scope, Verdict
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.sonarcloud.client import KNOWN_HOSTS, Client
from sonar_access_pipeline.sonarcloud.errors import RefusedError, UnavailableError
from sonar_access_pipeline.sonarcloud.faults import FAULTS, NETWORK, Answered, fault_of
from sonar_access_pipeline.sonarcloud.pagination import WORKERS
from sonar_access_pipeline.sonarcloud.rate_limit import Patience, RateLimit
from sonar_access_pipeline.sonarcloud.reader import Reader
from sonar_access_pipeline_tests.support.reading import (
    FAST,
    QUICK,
    TOKEN,
    access_of,
    organization,
    preflight,
    read,
    serving,
)

MEMBERS = "organizations/search_members"
GONE_BY = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)

THAT_MAY_PASS = {
    "429 with Retry-After in seconds": (faults.status(429, Retry_After="0"), "permissions/users"),
    "429 with Retry-After as a date": (faults.status(429, Retry_After=GONE_BY), MEMBERS),
    "429 without Retry-After": (faults.status(429), "permissions/users"),
    "429 with nonsense in Retry-After": (faults.status(429, Retry_After="soon"), MEMBERS),
    "500": (faults.status(500), "user_groups/search"),
    "503": (faults.status(503), "permissions/groups"),
    "504": (faults.status(504), "user_groups/users"),
    "a page of a proxy with status 200": (faults.html, "user_groups/search"),
    "a login page with status 200": (faults.login_page, MEMBERS),
    "a firewall's page with status 403": (faults.forbidden_html, MEMBERS),
    "an empty body with status 200": (faults.empty, "permissions/groups"),
    "a truncated body": (faults.truncated, MEMBERS),
    "a body in chunks, cut": (faults.chunk_cut, MEMBERS),
    "invalid UTF-8": (faults.invalid_utf8, MEMBERS),
    "no JSON under a JSON type": (faults.body(b"<html>"), MEMBERS),
    "the list missing": (faults.without_list, MEMBERS),
    "the list null": (faults.null_list, "permissions/users"),
    "the total as text": (faults.total_as_text, "user_groups/users"),
    "JSON of another shape": (faults.body(b'{"errors":[{"msg":"?"}]}'), MEMBERS),
    "a number for an answer": (faults.body(b"7"), "permissions/groups"),
    "a reset before the body": (faults.reset, MEMBERS),
    "a reset inside the body": (faults.reset_inside, MEMBERS),
    "a server that never answers": (faults.stall(30), "user_groups/search"),
    "a server that drips the body": (faults.drip(0.1), MEMBERS),
    "a server that drips the headers": (faults.drip_headers(0.1), MEMBERS),
    "an old answer from a cache": (faults.stale(3600), MEMBERS),
    "a page too short": (faults.short(3), MEMBERS),
    "a group's page too short": (faults.short(1), "user_groups/users"),
    "a page of grants too short": (faults.short(1), "permissions/users"),
    "a list of groups too short": (faults.short(1), "user_groups/search"),
    "a list of group grants too short": (faults.short(1), "permissions/groups"),
    "a row that comes twice": (faults.repeated, MEMBERS),
    "a total one too high": (faults.total_off_by(1), MEMBERS),
    "a total one too low": (faults.total_off_by(-1), "user_groups/users"),
    "a total far too high": (faults.total_off_by(100_000), MEMBERS),
    "a total beyond all organizations": (faults.total_off_by(10**9), "permissions/users"),
    "pages that repeat without end": (faults.repeating_page, "permissions/users"),
    "new pages without end": (faults.endless(), MEMBERS),
    "another page than the one asked for": (
        faults.body(b'{"paging":{"pageIndex":7,"pageSize":500,"total":0},"users":[]}'),
        MEMBERS,
    ),
}
"""What is seen, and where it is met.

Each passes when it comes once, and leaves an incomplete snapshot when it stays.
"""


@pytest.mark.parametrize("name", THAT_MAY_PASS)
def test_a_fault_that_passes_is_overcome(name: str) -> None:
    fault, endpoint = THAT_MAY_PASS[name]
    found = organization(accounts=130, groups=4)
    with serving(found) as simulator:
        simulator.faults.add(endpoint, fault, times=1)
        snapshot = read(simulator)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    assert access_of(snapshot) == found.truth()


@pytest.mark.parametrize("name", THAT_MAY_PASS)
def test_a_fault_that_stays_leaves_an_incomplete_snapshot_that_says_why(name: str) -> None:
    fault, endpoint = THAT_MAY_PASS[name]
    with serving(organization(accounts=130, groups=4)) as simulator:
        simulator.faults.add(endpoint, fault, times=None)
        began = time.monotonic()
        snapshot = read(simulator)
        took = time.monotonic() - began
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert snapshot.reason
    assert not [word for word in (TOKEN, "<html", "\n") if word in snapshot.reason], (
        "a sentence, and nobody's data in it"
    )
    assert snapshot.counts == {}
    assert took < QUICK.snapshot_seconds + 1, "no fault outlasts the budget of a snapshot"


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(503),
        faults.stall(30),
        faults.drip(0.2),
        faults.status(429, Retry_After="3600"),
    ],
)
def test_no_fault_outlasts_the_budget_of_its_list(fault: faults.Fault) -> None:
    patience = Patience(
        attempts=1000, first_pause=0.01, request_seconds=0.3, list_seconds=1.0, snapshot_seconds=60
    )
    with serving(organization(accounts=30, groups=3)) as simulator:
        simulator.faults.add("user_groups/search", fault, times=None)
        began = time.monotonic()
        snapshot = read(simulator, patience=patience)
        took = time.monotonic() - began
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "the time for it is over" in str(snapshot.reason)
    assert took < 3


def test_no_number_of_slow_lists_outlasts_the_budget_of_the_snapshot() -> None:
    patience = Patience(
        attempts=3, first_pause=0.01, request_seconds=5, list_seconds=5, snapshot_seconds=1.0
    )
    with serving(organization(accounts=60, groups=40), latency=0.3) as simulator:
        began = time.monotonic()
        snapshot = read(simulator, patience=patience)
        took = time.monotonic() - began
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert took < 3


def test_a_token_revoked_in_the_middle_ends_the_reading_at_once() -> None:
    with serving(organization(130, 90)) as simulator:

        def revoke(number: int) -> None:
            if simulator.requests[number - 1][1] == "user_groups/users":
                simulator.tokens.clear()

        simulator.on_request = revoke
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "refuses the token" in str(snapshot.reason)
    asked = simulator.requests.count(("GET", "user_groups/users"))
    assert asked <= WORKERS, "no worker asks again once it was told"
    confirming = [request for request in simulator.requests if request[1] == "users/current"]
    assert len(confirming) == 2, (
        "once to begin with, and once to confirm, whatever the number of workers"
    )


WRONGED = {
    "a JSON 401 of a server that is starting": (
        faults.error(401, "User is not authenticated"),
        MEMBERS,
    ),
    "a gateway's HTML 401": (faults.page(401), "users/current"),
    "an empty 401 of one endpoint alone": (faults.status(401), "permissions/users"),
    "a JSON 404 of a server that is starting": (
        faults.error(404, "Unknown url : /api/users/current"),
        "users/current",
    ),
    "a gateway's HTML 404": (faults.page(404), "user_groups/search"),
}
"""What is not SonarCloud's word on the token or the organization, and may pass."""


@pytest.mark.parametrize("name", WRONGED)
def test_what_is_not_sonarclouds_word_is_tried_again(name: str) -> None:
    fault, endpoint = WRONGED[name]
    found = organization(accounts=60, groups=3)
    with serving(found) as simulator:
        simulator.faults.add(endpoint, fault, times=2)
        snapshot = read(simulator)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    assert access_of(snapshot) == found.truth()


@pytest.mark.parametrize("name", WRONGED)
def test_what_is_not_sonarclouds_word_sends_nobody_for_a_new_token_however_long_it_lasts(
    name: str,
) -> None:
    fault, endpoint = WRONGED[name]
    with serving(organization(accounts=60, groups=3)) as simulator:
        simulator.faults.add(endpoint, fault, times=None)
        try:
            reason = str(read(simulator).reason)
        except UnavailableError as unavailable:
            reason = str(unavailable)
    assert "make a new one" not in reason
    assert "tried 3 times" in reason


def test_a_refusal_that_nobody_could_be_asked_about_is_not_said_to_be_of_one_endpoint_alone() -> (
    None
):
    with serving(organization(accounts=60, groups=3)) as simulator:

        def refused(answer: faults.Answer) -> faults.Answer:
            simulator.faults.add("users/current", faults.status(503), times=None)
            return faults.status(401)(answer)

        simulator.faults.add("permissions/users", refused, times=None)
        reason = str(read(simulator).reason)
    assert "as if the token were refused, and no other endpoint could be asked" in reason


def test_a_block_at_the_edge_is_said_and_not_asked_against() -> None:
    block = faults.page(429, CF_Ray="8a1b2c3d4e5f-FRA", CF_Mitigated="challenge")
    with serving(organization(accounts=60, groups=3)) as simulator:
        simulator.faults.add("permissions/users", block, times=None)
        snapshot = read(simulator)
        asked = simulator.requests.count(("GET", "permissions/users"))
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "the edge before SonarCloud blocks this address" in str(snapshot.reason)
    assert asked == 1, "asking again makes it worse"


def test_the_second_address_of_the_v2_interface_is_asked_when_the_first_shows_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = organization(accounts=60, groups=3)
    gateway = Answering(404, "text/html", b"<html>not here</html>")
    with serving(found) as simulator, gateway as elsewhere:
        monkeypatch.setitem(KNOWN_HOSTS, "127.0.0.1", elsewhere)
        with Client(simulator.url, TOKEN, patience=QUICK, rate_limit=RateLimit(FAST)) as client:
            reader = Reader(client, "acme", scopes=(Scope.ACCOUNT_DETAILS,))
            snapshot = reader.read(
                reader.preflight(), connection="c", run_id="r", started_at=datetime.now(UTC)
            ).snapshot
    assert Scope.ACCOUNT_DETAILS in snapshot.scopes
    assert gateway.asked == 2, "once for each of its endpoints"


def test_a_right_taken_away_in_the_middle_is_said_in_sonarclouds_own_words() -> None:
    refused = faults.body(b'{"errors":[{"msg":"Insufficient privileges"}]}')

    def forbidden(answer: faults.Answer) -> faults.Answer:
        return replace(refused(answer), status=403)

    with serving(organization(30, 3)) as simulator:
        simulator.faults.add("permissions/groups", forbidden, times=None)
        snapshot = read(simulator)
        asked = simulator.requests.count(("GET", "permissions/groups"))
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert "403: Insufficient privileges" in str(snapshot.reason)
    assert asked == 1, "a JSON refusal is permanent"


def test_a_group_deleted_between_listing_and_reading_is_left_out_and_the_rest_is_right() -> None:
    found = organization(accounts=130, groups=6)
    doomed = max(found.groups)

    def delete(number: int) -> None:
        if simulator.requests[number - 1][1] == "user_groups/users" and doomed in found.groups:
            del found.groups[doomed]

    with serving(found) as simulator:
        simulator.on_request = delete
        snapshot = read(simulator)
    assert (snapshot.verdict, snapshot.reason) == (Verdict.COMPLETE, None)
    assert access_of(snapshot) == found.truth()
    assert doomed not in found.groups


def test_a_group_that_stays_listed_but_cannot_be_read_leaves_the_snapshot_incomplete() -> None:
    found = organization(accounts=60, groups=4)
    unreadable = str(max(found.groups))
    gone = faults.body(b'{"errors":[{"msg":"No group with id"}]}')
    with serving(found) as simulator:
        simulator.faults.add(
            "user_groups/users",
            lambda answer: replace(gone(answer), status=404),
            times=None,
            when=lambda params: params["id"] == unreadable,
        )
        snapshot = read(simulator)
    assert snapshot.verdict is Verdict.INCOMPLETE
    assert f"group_members of group {unreadable}" in str(snapshot.reason)


class Answering:
    """A host that gives one answer to everything, and counts."""

    def __init__(self, status: int, content_type: str, body: bytes) -> None:
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v2"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Another host, and the headers of every request that it gets."""
    heard: list[dict[str, str]] = []

    class Listening(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(dict(self.headers))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listening)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}/api/users/current", heard
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused_and_the_token_does_not_follow(
    elsewhere: tuple[str, list[dict[str, str]]], status: int
) -> None:
    address, heard = elsewhere
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("users/current", faults.status(status, Location=address), times=None)
        with pytest.raises(RefusedError, match="redirect, which is not followed"):
            preflight(simulator)
    assert heard == []


def test_a_cookie_that_a_proxy_sets_is_not_sent_back() -> None:
    with serving(organization(20, 3)) as simulator:
        cookie = faults.body(b"{}")
        simulator.faults.add(
            "users/current", lambda a: replace(cookie(a), headers={"Set-Cookie": "a=b"}), times=1
        )
        heard: list[str | None] = []
        simulator.on_headers = lambda headers: heard.append(headers.get("Cookie"))
        read(simulator)
    assert heard
    assert not any(heard)


def test_a_netrc_cannot_replace_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(organization(20, 3)) as simulator:
        assert preflight(simulator).token_login == "sonar-access-reader"


class Recording(RateLimit):
    """A rate_limit that does not wait, and knows what it would have waited for."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self.closed: list[float] = []
        self.slept: list[float] = []

    def close_for(self, seconds: float) -> None:
        self.closed.append(seconds)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_retry_after_is_waited_for_and_a_limit_without_it_waits_longer() -> None:
    rate_limit = Recording()
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("users/current", faults.status(429, Retry_After="17"))
        simulator.faults.add("organizations/search", faults.status(429))
        snapshot = read(
            simulator, patience=Patience(attempts=3, limited_pause=60), rate_limit=rate_limit
        )
    assert sorted(rate_limit.closed) == [17, 60]
    assert snapshot.verdict is Verdict.COMPLETE
    assert sorted(response.attempts for response in snapshot.responses)[-2:] == [2, 2]


def test_a_retry_after_given_as_a_date_is_waited_for() -> None:
    rate_limit = Recording()
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("users/current", faults.status(429, Retry_After=later))
        preflighted = read(simulator, rate_limit=rate_limit, patience=Patience())
    assert preflighted.verdict is Verdict.COMPLETE
    assert 80 < rate_limit.closed[0] <= 90


def test_pauses_grow_and_are_shaken() -> None:
    rate_limit = Recording()
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("users/current", faults.status(503), times=None)
        with pytest.raises(UnavailableError, match="tried 5 times"):
            read(simulator, rate_limit=rate_limit, patience=Patience(attempts=5, first_pause=1.0))
    # What was in the air when all was given up may come after these.
    waited = [pause for pause in rate_limit.slept if pause > 0.5][:4]
    for expected, pause in zip((1, 2, 4, 8), waited, strict=True):
        assert 0.75 * expected <= pause <= 1.25 * expected
    assert waited != [1, 2, 4, 8]


def test_every_answer_is_judged_by_the_first_row_that_matches_and_a_page_of_json_by_none() -> None:
    assert fault_of(Answered(200, True, 2)) is None
    judged = {
        row.name: fault_of(answered)
        for row, answered in zip(
            FAULTS,
            [
                Answered(407, False, 0),
                Answered(302, False, 0),
                Answered(401, False, 0),
                Answered(401, True, 5),
                Answered(429, False, 5),
                Answered(429, False, 0),
                Answered(500, True, 5),
                Answered(404, False, 5, is_v2=True),
                Answered(404, True, 5, message="Unknown url : /api/users/current"),
                Answered(403, False, 5),
                Answered(404, True, 5),
                Answered(400, True, 5),
                Answered(200, True, 0),
                Answered(200, True, 1 << 40),
                Answered(200, False, 5),
                Answered(200, True, 5, 61.0),
            ],
            strict=True,
        )
    }
    assert {name: fault.name if fault else None for name, fault in judged.items()} == {
        row.name: row.name for row in FAULTS
    }


def test_every_exception_of_the_library_is_in_the_table() -> None:
    names = [row.error for row in NETWORK]
    for name in dir(requests.exceptions):
        error = getattr(requests.exceptions, name)
        if isinstance(error, type) and issubclass(error, requests.RequestException):
            assert any(issubclass(error, known) for known in names)


def test_the_documentation_shows_every_row_of_the_table() -> None:
    shown = (Path(__file__).parents[2] / "docs" / "sonarcloud.md").read_text()
    for row in FAULTS:
        assert f"| {row.name} | {row.kind.value} |" in shown, row.name
