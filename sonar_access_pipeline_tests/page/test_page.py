"""The reviewers' page, asked as a browser asks it and as an attacker would: who may do what, who is
believed, and what changes nothing.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from sqlalchemy import delete, select, update

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.review.facts import Channel, EventKind, Strength
from sonar_access_pipeline.access.roles import MAY, May, Reach, Role, read
from sonar_access_pipeline.page.serving import PER_MINUTE, Rates
from sonar_access_pipeline.page.who import Keys, UnknownPersonError
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.decisions import RETRACTED
from sonar_access_pipeline.warehouse.raw.decisions import decide as say_of_snapshot
from sonar_access_pipeline.warehouse.reviews import listing, visitors
from sonar_access_pipeline.warehouse.reviews.facts import reassign
from sonar_access_pipeline.warehouse.schema_page import page_end, page_entry, page_event
from sonar_access_pipeline_tests.support.builders import EPOCH
from sonar_access_pipeline_tests.support.paged import (
    AUDIENCE,
    HEADER,
    ISSUER,
    Asking,
    Paged,
    Proxy,
    served,
)
from sonar_access_pipeline_tests.support.reviewing import (
    ADA,
    BOB,
    CLEO,
    FALLBACK,
    OWNER,
    USUAL,
    WITHOUT_GATE,
    Reviewed,
    done,
)

OTHER = "manager@example.com"
pytestmark = pytest.mark.proofs("postgresql")
ON_BOTH = pytest.mark.proofs("neither")
"""Marks what is tried on PostgreSQL too where time is short: what is decided, and by several."""


@pytest.fixture
def here(warehouse: Warehouse, tmp_path: Path) -> Reviewed:
    found = Reviewed(warehouse, tmp_path)
    found.live(0)
    found.open(found.packet(0))
    return found


@pytest.fixture
def page(here: Reviewed, tmp_path: Path) -> Iterator[Paged]:
    with served(here, tmp_path) as one:
        yield one


def decisions(here: Reviewed) -> int:
    return len(here.review().decisions)


def field(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found, (name, text)
    return found[1]


def of(here: Reviewed, person: str) -> int:
    return here.review().reviewed_by(person)[0]


# What a reviewer does.


@ON_BOTH
def test_a_whole_review_goes_by_the_page_from_the_list_to_the_sealed_statement(
    here: Reviewed, page: Paged
) -> None:
    for person in (FALLBACK, OWNER):
        asking = page.as_(person)
        assert "Review 1 of acme" in asking.get("/").text
        for number in here.review().reviewed_by(person):
            shown = asking.get(f"/r/1/{number}")
            assert shown.status_code == 200
            form = {
                "choice": "revoke" if number == 2 else "keep",
                "reason": "not needed" if number == 2 else "needed for the work",
                "seen": field(shown.text, "seen"),
                "shown": field(shown.text, "shown"),
            }
            here.now += timedelta(seconds=7)
            answer = asking.post(f"/r/1/{number}", form)
            assert answer.status_code == 303, answer.text
        read_back = asking.get("/r/1/sign").text
        assert "needed for the work" in read_back
        signed = asking.post("/r/1/sign", {"statement": field(read_back, "statement")})
        assert signed.status_code == 303, signed.text
    owner = page.as_(OWNER)
    whole = owner.get("/r/1/owner").text
    answer = owner.post("/r/1/acknowledge", {"statement": field(whole, "statement")})
    assert answer.status_code == 303, answer.text
    found = here.review()
    assert here.states() == "acknowledged"
    assert {one.strength for one in found.decisions} == {Strength.VERIFIED}
    assert {one.channel for one in found.decisions} == {Channel.PAGE}
    assert {one.seconds for one in found.decisions} == {7.0}
    assert {one.strength for one in found.signoffs} == {Strength.VERIFIED}


def test_what_is_refused_is_said_and_what_was_written_stays(here: Reviewed, page: Paged) -> None:
    number = here.number("privilege", BOB, "gateadmin")
    asking = page.as_(here.review().reviewers[number].reviewer)
    answer = asking.post(f"/r/1/{number}", {"choice": "keep", "reason": " ", "seen": ""})
    assert answer.status_code == 409
    assert "needs a reason" in answer.text
    answer = asking.post(f"/r/1/{number}", {"reason": "half a thought", "seen": ""})
    assert answer.status_code == 422
    assert "half a thought" in answer.text
    assert decisions(here) == 0


@ON_BOTH
def test_of_two_who_decide_one_item_the_second_is_shown_the_first(
    here: Reviewed, page: Paged
) -> None:
    number = of(here, FALLBACK)
    first, second = page.as_(FALLBACK), page.as_(FALLBACK)
    seen = [field(one.get(f"/r/1/{number}").text, "seen") for one in (first, second)]
    form = {"choice": "keep", "reason": "needed", "seen": seen[0]}
    assert first.post(f"/r/1/{number}", form).status_code == 303
    answer = second.post(f"/r/1/{number}", {"choice": "revoke", "reason": "gone", "seen": seen[1]})
    assert answer.status_code == 409
    assert "was decided meanwhile: keep by" in answer.text
    assert decisions(here) == 1


@ON_BOTH
def test_several_are_kept_at_once_only_after_each_was_listed_and_only_plain_ones(
    here: Reviewed, page: Paged
) -> None:
    done_before = here.number("privilege", BOB, "gateadmin")
    plain = [
        number
        for number, one in here.review().asked.items()
        if not one.needs_reason and here.review().reviewers[number].reviewer == FALLBACK
    ]
    asking = page.as_(FALLBACK)
    listed = asking.post("/r/1/several", {"item": plain, "reason": ""})
    assert listed.status_code == 200
    assert "Keep these" in listed.text
    assert decisions(here) == 0
    sure = {"item": plain, "reason": "", "sure": "yes"}
    assert asking.post("/r/1/several", sure).status_code == 303
    assert decisions(here) == len(plain)
    refused = page.as_(OWNER).post("/r/1/several", {"item": [done_before], "sure": "yes"})
    assert refused.status_code == 409


def test_an_item_is_given_away_never_to_whom_it_is_about(here: Reviewed, page: Paged) -> None:
    number = here.number("account", ADA)
    asking = page.as_(here.review().reviewers[number].reviewer)
    for subject in (ADA, "Ada@Example.com"):
        answer = asking.post(f"/r/1/{number}/assign", {"to": subject, "reason": "away"})
        assert answer.status_code == 409, subject
        assert "nobody decides on themselves" in answer.text
    assert asking.post(f"/r/1/{number}/assign", {"to": OTHER, "reason": ""}).status_code == 422
    answer = asking.post(f"/r/1/{number}/assign", {"to": OTHER, "reason": "away"})
    assert answer.status_code == 303
    assert page.as_(OTHER).get(f"/r/1/{number}").status_code == 200
    escalated = page.as_(OTHER).post(f"/r/1/{number}/assign", {"reason": "unsure", "escalate": "1"})
    assert escalated.status_code == 303
    assert here.review().reviewers[number].reviewer == OWNER


def test_a_subject_does_not_decide_on_themselves_whatever_address_they_ask(
    here: Reviewed, page: Paged
) -> None:
    number = here.number("account", CLEO)
    asking = page.as_("cleo@example.com")
    assert asking.get(f"/r/1/{number}").status_code == 403
    answer = asking.post(f"/r/1/{number}", {"choice": "keep", "reason": "me", "seen": ""})
    assert answer.status_code in (403, 409)
    assert decisions(here) == 0


@ON_BOTH
def test_what_changed_since_the_as_of_stands_beside_the_item(here: Reviewed, page: Paged) -> None:
    number = here.number("privilege", BOB, "gateadmin")
    here.live(1, WITHOUT_GATE)
    text = page.as_(OWNER).get(f"/r/1/{number}").text
    assert "gone by 2026-03-02" in text


def test_a_statement_that_has_changed_since_it_was_shown_is_not_signed(
    here: Reviewed, page: Paged
) -> None:
    for number in here.review().reviewed_by(FALLBACK):
        here.decide(number, "keep")
    asking = page.as_(FALLBACK)
    statement = field(asking.get("/r/1/sign").text, "statement")
    here.decide(of(here, FALLBACK), "revoke", "after all")
    answer = asking.post("/r/1/sign", {"statement": statement})
    assert answer.status_code == 409
    assert "changed since it was shown" in answer.text
    assert here.review().signoffs == []


@ON_BOTH
def test_follow_ups_take_notes_which_close_nothing(tmp_path: Path, warehouse: Warehouse) -> None:
    here = Reviewed(warehouse, tmp_path)
    done(here)
    with served(here, tmp_path) as page:
        asking = page.as_(OWNER)
        number = here.number("privilege", BOB, "gateadmin")
        answer = asking.post(f"/r/1/{number}/note", {"text": "SEC-204 <script>"})
        assert answer.status_code == 303
        text = asking.get("/follow-up").text
    assert "SEC-204 &lt;script&gt;" in text
    assert here.follow_up(number) == "open"
    assert [one.kind for one in here.review().events][-1] is EventKind.NOTED


# Who may do what.


def person_of(role: Role) -> str:
    return f"{role.value}@example.com"


ROLES = {
    person_of(role): (f"{role.value}:acme" if role is Role.WORKSPACE_MANAGER else role.value,)
    for role in Role
} | {"elsewhere@example.com": ("workspace_manager:other",)}


def tried(asking: Asking, what: May, number: int, digest: str) -> bool:
    """Ask an address by which somebody does something; whether it was done."""
    reason = {"reason": "needed for the work"}
    asked: dict[May, Any] = {
        May.SEE_CONNECTIONS: lambda: "<h2>acme</h2>" in asking.get("/connections").text,
        May.SEE_COUNTS: lambda: "Review 1 of acme" in asking.get("/").text,
        May.SEE_ITEMS: lambda: asking.get(f"/r/1/{number}").status_code == 200,
        May.GET_PACKETS: lambda: asking.get(f"/packets/{digest}").status_code == 200,
        May.ASSIGN: lambda: (
            asking.post(f"/r/1/{number}/assign", {"to": OTHER, **reason}).status_code == 303
        ),
        May.DECIDE: lambda: (
            asking.post(f"/r/1/{number}", {"choice": "keep", "seen": "", **reason}).status_code
            == 303
        ),
        May.ACKNOWLEDGE: lambda: asking.post("/r/1/close", reason).status_code == 303,
        May.NOTE: lambda: asking.post(f"/r/1/{number}/note", {"text": "SEC-1"}).status_code == 303,
    }
    return bool(asked[what]())


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with an open review, to be copied."""
    folder = tmp_path_factory.mktemp("opened")
    warehouse = Warehouse(sqlite_url(folder / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, folder)
    here.live(0)
    here.open(here.packet(0))
    warehouse.close()
    return folder


IN_ORDER = (
    *(one for one in May if one not in (May.DECIDE, May.ASSIGN, May.ACKNOWLEDGE)),
    May.DECIDE,
    May.ASSIGN,
    May.ACKNOWLEDGE,
)
"""What changes least comes first: who gave an item away has it no more, and a review ends once."""


def expected(what: May, role: Role | None, own: bool) -> bool:
    """Read a cell; a manager of another organization reaches nothing here."""
    reach = MAY[what].get(role or Role.WORKSPACE_MANAGER)
    if what is May.SEE_COUNTS and own:
        return True
    if reach is Reach.ORGANIZATIONS:
        return role is not None
    return reach is Reach.ALL or (reach is Reach.OWN and own)


@pytest.mark.parametrize("own", [False, True], ids=["of others", "own"])
@pytest.mark.parametrize("role", [*Role, None], ids=lambda one: one.value if one else "elsewhere")
def test_every_cell_of_the_table_of_roles_is_as_it_says(
    role: Role | None, own: bool, opened_once: Path, tmp_path: Path
) -> None:
    shutil.copytree(opened_once, tmp_path / "copy")
    warehouse = Warehouse(sqlite_url(tmp_path / "copy" / "w.sqlite"))
    here = Reviewed(warehouse, tmp_path / "copy")
    here.now = EPOCH + timedelta(hours=3)
    person = person_of(role) if role else "elsewhere@example.com"
    number = here.number("account", CLEO)
    if own:
        _given(here, number, person)
    digest = here.review().about.packet_digest
    with served(here, tmp_path, roles=ROLES) as page:
        asking = page.as_(person)
        done = {what: tried(asking, what, number, digest) for what in IN_ORDER}
    assert done == {what: expected(what, role, own) for what in IN_ORDER}
    warehouse.close()


def _given(here: Reviewed, number: int, person: str) -> None:
    reassign(
        here.warehouse, 1, [number], person, by=OWNER, reason="x", why_not=lambda _: None,
        clock=here.clock,
    )  # fmt: skip


def test_the_table_of_roles_is_that_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reviews.md").read_text()
    for what, reaches in MAY.items():
        cells = [reaches[role].value if role in reaches else "no" for role in Role]
        assert f"| {what.value} | {' | '.join(cells)} |" in page, what


@pytest.mark.parametrize("text", ["boss", "workspace_manager", "admin:acme", ""])
def test_a_role_that_is_none_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text)


def test_a_group_that_the_proxy_names_gives_its_roles(here: Reviewed, tmp_path: Path) -> None:
    with served(here, tmp_path, groups={"sonar-auditors": ("auditor",)}) as page:
        number = here.number("account", CLEO)
        assert page.as_("eve@example.com").get(f"/r/1/{number}").status_code == 403
        auditor = page.as_("eve@example.com", groups=["sonar-auditors"])
        assert auditor.get(f"/r/1/{number}").status_code == 200
        text = auditor.get("/r/1?all=1&pseudonyms=1").text
        assert CLEO not in text
        assert "Cleo" not in text


# Who is believed.


def forged(here: Reviewed, page: Paged) -> dict[str, str]:
    now = int(here.now.timestamp())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "email": OWNER, "iat": now, "exp": now + 600}
    other = ECKey.generate_key("P-256", {"kid": "one"})

    def plain(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    public = page.proxy.file.read_text()
    secret = OctKey.import_key(public, {"kid": "one"})
    head = {"alg": "ES256", "kid": "one"}
    return {
        "another key": str(jwt.encode(head, claims, other)),
        "none": f"{plain({'alg': 'none', 'kid': 'one'})}.{plain(claims)}.",
        "public key as a shared secret": str(
            jwt.encode({"alg": "HS256", "kid": "one"}, claims, secret, algorithms=["HS256"])
        ),
        "over": page.proxy.says(OWNER, exp=now - 3600),
        "another audience": page.proxy.says(OWNER, aud="other"),
        "another issuer": page.proxy.says(OWNER, iss="https://evil.example.com"),
        "not yet": page.proxy.says(OWNER, nbf=now + 3600),
        "address not verified": page.proxy.says(OWNER, email_verified=False),
        "nobody": page.proxy.says("", email=""),
        "a list": page.proxy.says(OWNER, email=[OWNER]),
        "no end": _without(page, "exp", now),
        "nonsense": "a.b.c",
        "nothing": "",
    }


def _without(page: Paged, claim: str, now: int) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "email": OWNER, "iat": now, "exp": now + 600}
    claims.pop(claim)
    return str(jwt.encode({"alg": "ES256", "kid": "one"}, claims, page.proxy.key))


def test_an_assertion_that_is_not_the_proxys_is_not_believed(here: Reviewed, page: Paged) -> None:
    assert page.as_(OWNER).get("/").status_code == 200
    for what, token in forged(here, page).items():
        answer = Asking(page.address, {HEADER: token}).get("/")
        assert answer.status_code == 401, what
        assert OWNER not in answer.text, what


def test_a_header_that_only_names_somebody_is_never_believed(page: Paged) -> None:
    for header in (
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Auth-Request-Email",
        "Remote-User",
        "X-Remote-User",
    ):
        assert Asking(page.address, {header: OWNER}).get("/").status_code == 401, header


def arrived(box: list[tuple[str, str]], count: int = 1) -> list[tuple[str, str]]:
    """Give the letters that came, once there are so many: they are sent after the answer."""
    for _ in range(100):
        if len(box) >= count:
            break
        time.sleep(0.02)
    return box


def test_a_mailed_link_is_opened_often_and_used_once(here: Reviewed, tmp_path: Path) -> None:
    box: list[tuple[str, str]] = []
    with served(here, tmp_path, by="mail", mail=lambda *letter: box.append(letter)) as page:
        asking = Asking(page.address, {})
        assert asking.get("/").headers["location"].startswith("/login?next=")
        same = asking.post("/login", {"person": "stranger@example.com"}).text
        assert box == []
        assert asking.post("/login", {"person": FALLBACK}).text == same, "nobody learns who reviews"
        ((to, text),) = arrived(box)
        assert to == FALLBACK
        path = re.search(r"/link/\S+", text)
        assert path
        for _ in range(10):
            opened = asking.get(path[0])
            assert opened.status_code == 200
            assert "set-cookie" not in opened.headers
        assert asking.post(path[0], {}).status_code == 303
        home = asking.get("/")
        assert home.status_code == 200
        assert "(mailed)" in home.text
        second = Asking(page.address, {})
        assert second.post(path[0], {}).status_code == 410
        assert second.get("/").status_code == 303
        with here.warehouse.read() as transaction:
            kept = list(transaction.execute(select(page_entry.c.token_sha256)).scalars())
        assert path[0].rpartition("/")[2] not in kept, "a secret is kept by its digest"


def test_a_link_that_is_too_old_lets_nobody_in_and_few_are_sent(
    here: Reviewed, tmp_path: Path
) -> None:
    box: list[tuple[str, str]] = []
    with served(here, tmp_path, by="mail", mail=lambda *letter: box.append(letter)) as page:
        asking = Asking(page.address, {})
        for _ in range(8):
            asking.post("/login", {"person": FALLBACK})
        assert len(arrived(box, 5)) == 5
        here.now += timedelta(minutes=31)
        path = re.search(r"/link/\S+", box[0][1])
        assert path
        assert asking.post(path[0], {}).status_code == 410


@ON_BOTH
def test_of_two_who_use_a_link_at_once_one_comes_in(here: Reviewed, tmp_path: Path) -> None:
    box: list[tuple[str, str]] = []
    with served(here, tmp_path, by="mail", mail=lambda *letter: box.append(letter)) as page:
        Asking(page.address, {}).post("/login", {"person": FALLBACK})
        path = re.search(r"/link/\S+", arrived(box)[0][1])
        assert path
        statuses: list[int] = []

        def use() -> None:
            statuses.append(Asking(page.address, {}).post(path[0], {}).status_code)

        threads = [threading.Thread(target=use) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(statuses) == [303, 410, 410, 410, 410, 410]


def test_a_session_ends_after_eight_hours_and_when_somebody_leaves(
    here: Reviewed, tmp_path: Path
) -> None:
    with served(here, tmp_path, by="declared") as page:
        asking = Asking(page.address, {})
        came = asking.post("/login", {"person": FALLBACK, "next": "//evil.example.com"})
        assert came.headers["location"] == "/"
        cookie = came.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "(declared)" in asking.get("/").text
        copied = dict(asking.session.cookies)
        here.now += timedelta(hours=7)
        assert asking.get("/").status_code == 200
        asking.post("/logout", {})
        thief = Asking(page.address, {})
        thief.session.cookies.update(copied)
        assert thief.get("/").status_code == 303
        asking.post("/login", {"person": FALLBACK})
        here.now += timedelta(hours=9)
        assert asking.get("/").status_code == 303


# What changes nothing.


def test_nothing_from_elsewhere_changes_anything(here: Reviewed, page: Paged) -> None:
    number = of(here, FALLBACK)
    form = {"choice": "revoke", "reason": "x", "seen": ""}
    token = page.proxy.says(FALLBACK)
    tries: dict[str, dict[str, str]] = {
        "another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.com"},
        "a site beside": {"Sec-Fetch-Site": "same-site", "Origin": "https://x.example.com"},
        "typed": {"Sec-Fetch-Site": "none"},
        "no headers": {},
        "another origin": {"Origin": "https://evil.example.com"},
        "no origin": {"Origin": "null"},
        "said to be ours, from another": {
            "Sec-Fetch-Site": "same-origin",
            "Origin": "https://evil.example.com",
        },
    }
    for what, headers in tries.items():
        answer = requests.post(
            f"{page.address}/r/1/{number}",
            data=form,
            headers={HEADER: token, **headers},
            allow_redirects=False,
            timeout=10,
        )
        assert answer.status_code == 403, what
    ours = {"Origin": page.address, HEADER: token}
    url = f"{page.address}/r/1/{number}"
    others = {
        "json": requests.post(url, json=form, headers=ours, timeout=10).status_code,
        "text": requests.post(
            url, data="choice=revoke&reason=x", headers={**ours, "Content-Type": "text/plain"},
            timeout=10,
        ).status_code,
        "put": requests.put(url, data=form, headers=ours, timeout=10).status_code,
        "delete": requests.delete(url, headers=ours, timeout=10).status_code,
        "get": requests.get(url, params=form, headers=ours, timeout=10).status_code,
        "another host": requests.post(
            url, data=form, headers={**ours, "Host": "evil.example.com"}, timeout=10
        ).status_code,
        "too large": requests.post(
            url, data={**form, "reason": "x" * 70_000}, headers=ours, timeout=10
        ).status_code,
        "too large, of no length": requests.post(
            url, data=iter([urlencode(form).encode(), b"x" * 70_000]),
            headers={**ours, "Content-Type": "application/x-www-form-urlencoded"}, timeout=10,
        ).status_code,
    }  # fmt: skip
    assert others == {
        "json": 415, "text": 415, "put": 405, "delete": 405, "get": 200, "another host": 421,
        "too large": 413, "too large, of no length": 413,
    }  # fmt: skip
    assert decisions(here) == 0
    assert requests.post(url, data=form, headers=ours, timeout=10).status_code == 200, "followed"
    assert decisions(here) == 1, "an old browser says where it is from, and that is enough"


@ON_BOTH
def test_of_several_decisions_of_an_item_the_last_is_shown_once(
    here: Reviewed, page: Paged
) -> None:
    asking, number = page.as_(FALLBACK), of(here, FALLBACK)
    for choice in ("keep", "revoke", "keep"):
        seen = field(asking.get(f"/r/1/{number}").text, "seen")
        form = {"choice": choice, "reason": f"to {choice}", "seen": seen}
        assert asking.post(f"/r/1/{number}", form).status_code == 303
    with here.warehouse.read() as transaction:
        rows, count = listing.items(transaction, 1, listing.Wanted(FALLBACK, "decided"))
    assert count == 1
    assert [(row["item_no"], row["decision"]) for row in rows] == [(number, "keep")]
    last = max(one.decision_id for one in here.review().decisions)
    assert rows[0]["decision_id"] == last


def test_every_answer_forbids_what_is_not_ours_to_run_to_frame_and_to_keep(page: Paged) -> None:
    asking = page.as_(OWNER)
    for path in ("/", "/r/1", "/r/1/1", "/r/99", "/nothing", "/alive", "/r/1/owner"):
        answer = asking.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers or "uvicorn" in answer.headers["server"]
    assert "Traceback" not in asking.get("/r/1/x").text


HOSTILE = "<script>alert(1)</script>' onmouseover=alert(2) \u202e{{7*7}}"


def test_a_hostile_name_is_inert(warehouse: Warehouse, tmp_path: Path) -> None:
    here = Reviewed(warehouse, tmp_path)
    here.live(0, replace(USUAL, members={**USUAL.members, "eve": HOSTILE}))
    here.open(here.packet(0))
    with served(here, tmp_path) as page:
        asking = page.as_(FALLBACK)
        number = here.number("account", "eve")
        asking.post(f"/r/1/{number}", {"choice": "keep", "reason": HOSTILE, "seen": ""})
        for path in ("/r/1", f"/r/1/{number}", "/r/1/sign", f"/r/1?q={HOSTILE}"):
            text = asking.get(path).text
            assert "<script>alert" not in text
            assert "49" not in re.sub(r"[0-9a-f]{8,}", "", text)


ODD = (
    "/r/0",
    "/r/-1",
    "/r/1e9",
    "/r/99999999999",
    "/r/1/../../packets",
    "/r/1/1%00",
    "/packets/..",
    "/packets/x/..%2f..%2fetc%2fpasswd",
    "/r/1?page=-5",
    "/r/1?page=99999999999999",
    "/r/1?class='%20OR%201=1--",
    "/r/1?q=%25%27%22%5C",
    "/link/x",
    "/r/1/sign?statement=x",
)


@ON_BOTH
def test_an_odd_address_is_answered_in_a_sentence(page: Paged) -> None:
    asking = page.as_(OWNER)
    for path in ODD:
        answer = asking.get(path)
        assert answer.status_code in (200, 307, 400, 403, 404), (path, answer.text)
        assert "Traceback" not in answer.text


def test_whoever_asks_too_often_waits(here: Reviewed, page: Paged) -> None:
    rates = Rates()
    assert [rates.is_too_much(OWNER) for _ in range(PER_MINUTE)].count(True) <= 1
    assert any(rates.is_too_much(OWNER) for _ in range(PER_MINUTE))
    assert not rates.is_too_much(FALLBACK)


def test_who_saw_and_did_what_is_on_record_and_nobody_is_named_in_logs(
    here: Reviewed, page: Paged, caplog: pytest.LogCaptureFixture
) -> None:
    number = of(here, FALLBACK)
    asking = page.as_(FALLBACK)
    asking.get(f"/r/1/{number}")
    asking.post(f"/r/1/{number}", {"choice": "keep", "reason": "needed", "seen": ""})
    page.as_("eve@example.com").get(f"/r/1/{number}")
    assert sorted(events(here, 3)) == sorted(
        [
            (FALLBACK, "saw an item", number, 200),
            (FALLBACK, "decided", number, 303),
            ("eve@example.com", "saw an item", number, 403),
        ]
    )
    assert [one for one in caplog.messages if "@" in one] == []


def test_what_the_page_keeps_is_changed_by_nobody_but_for_a_pseudonym(
    here: Reviewed, tmp_path: Path
) -> None:
    with served(here, tmp_path, by="declared") as page:
        asking = Asking(page.address, {})
        asking.post("/login", {"person": FALLBACK})
        asking.get("/")
        asking.post("/logout", {})
    for change in (
        update(page_entry).values(strength="signed"),
        update(page_end).values(ended_at=here.now + timedelta(days=1)),
        update(page_event).values(what="nothing"),
        update(page_event).values(person="somebody else"),
        delete(page_entry),
        delete(page_end),
        delete(page_event),
    ):
        with (
            pytest.raises(WarehouseError, match="append-only"),
            here.warehouse.write("test") as transaction,
        ):
            transaction.execute(change)
    with here.warehouse.write("test") as transaction:
        transaction.execute(update(page_event).values(person="redacted-1"))


def events(here: Reviewed, count: int) -> list[tuple[str, str, int | None, int]]:
    """Give what is on record, once so much of it is there: what was only seen comes a moment
    later.
    """
    for _ in range(200):
        with here.warehouse.read() as transaction:
            rows = transaction.execute(select(page_event)).all()
        if len(rows) >= count:
            break
        time.sleep(0.02)
    return [(row.person, row.what, row.item_no, row.status) for row in rows]


# What a second look found.


def test_nobody_sees_items_of_others_by_marking_them(here: Reviewed, page: Paged) -> None:
    for number in here.review().asked:
        for person in ("stranger@example.com", OWNER, FALLBACK):
            if here.review().reviewers[number].reviewer == person:
                continue
            answer = page.as_(person).post("/r/1/several", {"item": number})
            assert answer.status_code == 403
            assert here.review().asked[number].item.subject not in answer.text


def test_several_at_once_never_take_the_place_of_what_was_decided_meanwhile(
    here: Reviewed, page: Paged
) -> None:
    plain = next(
        number
        for number, one in here.review().asked.items()
        if not one.needs_reason and here.review().reviewers[number].reviewer == FALLBACK
    )
    asking = page.as_(FALLBACK)
    assert asking.post("/r/1/several", {"item": plain}).status_code == 200
    here.decide(plain, "revoke", "left the company")
    answer = asking.post("/r/1/several", {"item": plain, "sure": "yes"})
    assert answer.status_code == 409
    assert here.review().decided[plain].choice.value == "revoke"


@ON_BOTH
def test_what_a_group_lost_since_stands_beside_its_item_too(here: Reviewed, page: Paged) -> None:
    number = here.number("grant", "group:2")
    here.live(1, replace(USUAL, group_permissions={}))
    assert "gone by 2026-03-02" in page.as_(OWNER).get(f"/r/1/{number}").text


def test_after_somebody_else_was_first_the_form_knows_what_stands(
    here: Reviewed, page: Paged
) -> None:
    number = of(here, FALLBACK)
    here.decide(number, "keep")
    asking = page.as_(FALLBACK)
    form = {"choice": "revoke", "reason": "gone", "seen": ""}
    answer = asking.post(f"/r/1/{number}", form)
    assert answer.status_code == 409
    form["seen"] = field(answer.text, "seen")
    assert asking.post(f"/r/1/{number}", form).status_code == 303


def test_what_goes_is_said_wherever_a_change_is_shown(here: Reviewed, page: Paged) -> None:
    number = here.number("account", ADA)
    here.decide(number, "change", "left the team", remove=["group 2"])
    here.live(1)
    asking = page.as_(OWNER)
    assert "group 2 goes" in asking.get(f"/r/1/{number}").text
    assert "group 2 goes" in asking.get("/follow-up").text


def test_a_signed_item_is_not_given_away(here: Reviewed, page: Paged) -> None:
    for number in here.review().reviewed_by(FALLBACK):
        here.decide(number, "keep")
    here.sign(FALLBACK)
    number = of(here, FALLBACK)
    answer = page.as_(OWNER).post(f"/r/1/{number}/assign", {"to": OTHER, "reason": "x"})
    assert answer.status_code == 409
    assert "has signed what they decided" in answer.text


def test_a_read_back_says_what_others_decided_before(here: Reviewed, page: Paged) -> None:
    number = of(here, FALLBACK)
    here.decide(number, "keep")
    page.as_(FALLBACK).post(f"/r/1/{number}/assign", {"to": OTHER, "reason": "away"})
    text = page.as_(OTHER).get("/r/1/sign").text
    assert f"1 of these were decided by {FALLBACK}" in text


def test_pseudonyms_go_on_to_the_items_and_no_name_is_searched_for(
    here: Reviewed, page: Paged
) -> None:
    asking = page.as_(OWNER)
    text = asking.get("/r/1?all=1&pseudonyms=1&q=cleo").text
    number = here.number("account", CLEO)
    assert f"/r/1/{number}?pseudonyms=1" in text
    assert f"/r/1/{here.number('account', ADA)}?pseudonyms=1" in text, "all are listed"
    assert "Cleo" not in asking.get(f"/r/1/{number}?pseudonyms=1").text


def test_a_review_whose_observation_was_corrected_is_shown_and_says_so(
    here: Reviewed, page: Paged
) -> None:
    say_of_snapshot(
        here.warehouse, 1, RETRACTED, by=OWNER, reason="x", brake=Brake(), clock=here.clock
    )
    number = of(here, FALLBACK)
    for path in ("/r/1", f"/r/1/{number}"):
        answer = page.as_(FALLBACK).get(path)
        assert answer.status_code == 200
        assert "was corrected since it was opened" in answer.text
        assert ">Decide</button>" not in answer.text


def test_a_review_that_ended_says_so_and_is_not_ended_again(here: Reviewed, page: Paged) -> None:
    here.keep_the_rest()
    here.sign_all()
    here.acknowledge()
    asking = page.as_(OWNER)
    assert asking.post("/r/1/close", {"reason": "after all"}).status_code == 409
    text = page.as_(FALLBACK).get(f"/r/1/{of(here, FALLBACK)}").text
    assert "is acknowledged: nothing is decided in it any more" in text
    assert ">Decide</button>" not in text


def test_a_file_that_was_changed_is_not_given(here: Reviewed, page: Paged) -> None:
    digest = here.review().about.packet_digest
    asking = page.as_(OWNER)
    assert asking.get(f"/packets/{digest}/access.csv").status_code == 200
    place = next(Path(here.sealing.store.place("acme")).glob(f"*/{digest[:12]}*"))
    (place / "access.csv").chmod(0o600)
    (place / "access.csv").write_text("source\n")
    answer = asking.get(f"/packets/{digest}/access.csv")
    assert answer.status_code == 409
    assert asking.get(f"/packets/{digest}/nothing.csv").status_code == 404


@ON_BOTH
def test_what_no_database_keeps_is_refused_in_a_sentence(here: Reviewed, page: Paged) -> None:
    number = of(here, FALLBACK)
    asking = page.as_(FALLBACK)
    assert asking.get("/r/1?q=%00").status_code == 400
    form = {"choice": "keep", "reason": "a\0b", "seen": ""}
    assert asking.post(f"/r/1/{number}", form).status_code == 400
    odd = {"choice": "keep", "reason": "fine", "seen": "", "shown": "1:\u00e9"}
    assert asking.post(f"/r/1/{number}", odd).status_code == 303


@ON_BOTH
def test_items_before_are_ones_own(here: Reviewed, page: Paged) -> None:
    first, second, *_ = here.review().reviewed_by(FALLBACK)
    asking = page.as_(FALLBACK)
    assert asking.get(f"/r/1/{second}/previous").headers["location"] == f"/r/1/{first}"
    assert asking.get(f"/r/1/{first}/previous").headers["location"] == "/r/1"


def test_what_was_done_is_answered_though_the_record_is_refused(
    here: Reviewed, page: Paged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise WarehouseError("full")

    monkeypatch.setattr(visitors, "note", refuse)
    number = of(here, FALLBACK)
    form = {"choice": "keep", "reason": "needed", "seen": ""}
    assert page.as_(FALLBACK).post(f"/r/1/{number}", form).status_code == 303
    assert decisions(here) == 1
    assert "are not on record" in caplog.text
    assert FALLBACK not in caplog.text


def test_whoever_reads_waits_for_no_writer(here: Reviewed, page: Paged) -> None:
    asking = page.as_(FALLBACK)
    with here.warehouse.write("page-events"):
        began = time.monotonic()
        assert asking.get("/r/1").status_code == 200
        assert time.monotonic() - began < 3
    assert events(here, 1)


def test_links_are_few_however_the_address_is_spelled(here: Reviewed, tmp_path: Path) -> None:
    box: list[tuple[str, str]] = []
    with served(here, tmp_path, by="mail", mail=lambda *letter: box.append(letter)) as page:
        for number in range(10):
            spelled = FALLBACK[:number].upper() + FALLBACK[number:]
            Asking(page.address, {}).post("/login", {"person": spelled})
        time.sleep(0.3)
    assert len(box) == 5


def test_keys_that_cannot_be_fetched_hold_nobody_up(here: Reviewed, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, here.clock)
    keys = Keys(str(proxy.file), here.clock)
    known = keys.current()
    proxy.file.unlink()
    here.now += timedelta(hours=1)
    assert keys.current() is known, "those that are known go on"
    here.now += timedelta(days=2)
    with pytest.raises(UnknownPersonError, match="cannot be read"):
        keys.current()


def test_health_is_told_without_anybody_being_known(here: Reviewed, page: Paged) -> None:
    anybody = Asking(page.address, {"Host": "10.0.0.7"})
    assert (anybody.get("/alive").status_code, anybody.get("/ready").status_code) == (200, 200)
