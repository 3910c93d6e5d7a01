"""The reviewers' page in a real browser: by keyboard, without script, on a phone, by three people
at once; and what a program finds that looks for what shuts people out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.sync_api import sync_playwright

from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests import THOROUGH
from sonar_access_pipeline_tests.support.paged import HEADER, Paged, served
from sonar_access_pipeline_tests.support.programs import needs, place_of
from sonar_access_pipeline_tests.support.reviewing import (
    BOB,
    FALLBACK,
    OWNER,
    Reviewed,
    done,
)

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
ZOOMED = {"width": 640, "height": 450}
"""A desk at 200 %: half the room for everything."""
SIZES = (DESK, ZOOMED, PHONE) if THOROUGH else (PHONE,)
HELPER = "helper@example.com"
pytestmark = pytest.mark.waits


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Reviewed]:
    needs("chromium")
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    found = Reviewed(warehouse, tmp_path)
    found.live(0)
    found.open(found.packet(0))
    yield found
    warehouse.close()


@contextmanager
def browser(page: Paged, person: str, *, size: Any = DESK, script: bool = True) -> Iterator[Any]:
    """Open somebody's browser: each request goes through the proxy, which says who they are."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=place_of("chromium"), args=["--no-sandbox"]
        )
        context = opened.new_context(
            viewport=size,
            java_script_enabled=script,
            extra_http_headers={HEADER: page.proxy.says(person)},
        )
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        yield tab
        opened.close()


def violations(tab: Any) -> list[str]:
    """Look for what shuts people out; each as rule and place."""
    tab.evaluate(AXE)
    found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['target']}" for one in found["violations"] for node in one["nodes"]
    ]


def decide_all(tab: Any, address: str) -> int:
    """Decide whatever waits, one after the other, and count them."""
    tab.goto(f"{address}/r/1")
    count = 0
    start = tab.get_by_text("Decide the next item")
    if start.count() == 0:
        return 0
    start.click()
    while tab.get_by_role("button", name="Decide", exact=True).count():
        tab.get_by_label("Keep", exact=True).check()
        tab.locator("#reason").fill("needed for the work")
        tab.get_by_role("button", name="Decide", exact=True).click()
        count += 1
    return count


def sign(tab: Any, address: str) -> None:
    tab.goto(f"{address}/r/1/sign")
    tab.get_by_role("button", name="Sign this").click()
    tab.get_by_text("has signed these very decisions already").wait_for()


def test_three_people_finish_a_review_at_once_one_of_them_on_a_phone(
    here: Reviewed, tmp_path: Path
) -> None:
    theirs = here.review().reviewed_by(FALLBACK)
    with served(here, tmp_path) as page:
        for number in theirs[: len(theirs) // 2]:
            given = page.as_(FALLBACK).post(
                f"/r/1/{number}/assign", {"to": HELPER, "reason": "shared"}
            )
            assert given.status_code == 303, given.text

        def work(person: str) -> int:
            size = PHONE if person == HELPER else DESK
            with browser(page, person, size=size, script=person != OWNER) as tab:
                count = decide_all(tab, page.address)
                sign(tab, page.address)
                return count

        with ThreadPoolExecutor(3) as pool:
            counts = list(pool.map(work, (OWNER, FALLBACK, HELPER)))
        assert sum(counts) == len(here.review().asked) == len(here.review().decisions)
        with browser(page, OWNER) as tab:
            tab.goto(f"{page.address}/r/1/owner")
            tab.get_by_role("button", name="Acknowledge").click()
            tab.get_by_text("It is acknowledged").wait_for()
    assert here.states() == "acknowledged"


def test_keys_decide_and_go_on_and_can_be_switched_off(here: Reviewed, tmp_path: Path) -> None:
    first, *_ = here.review().reviewed_by(FALLBACK)
    with served(here, tmp_path) as page, browser(page, FALLBACK) as tab:
        tab.goto(f"{page.address}/r/1")
        tab.keyboard.press("j")
        tab.wait_for_url(f"**/r/1/{first}")
        tab.keyboard.press("3")
        assert tab.get_by_label("Revoke: all of it goes").is_checked()
        tab.keyboard.press("r")
        tab.keyboard.type("1 is gone")
        assert tab.locator("#reason").input_value() == "1 is gone", "a key in a field is a letter"
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**done=*")
        tab.keyboard.press("u")
        tab.wait_for_url("**/r/1")
        tab.keyboard.press("?")
        tab.get_by_label("Switch these keys off").check()
        tab.keyboard.press("j")
        tab.wait_for_timeout(200)
        assert tab.url.endswith("/r/1")
    (decision,) = here.review().decisions
    assert (decision.choice.value, decision.reason) == ("revoke", "1 is gone")


def test_what_was_decided_before_a_session_ended_is_there(here: Reviewed, tmp_path: Path) -> None:
    first, second, *_ = here.review().reviewed_by(FALLBACK)
    with served(here, tmp_path, by="declared") as page, browser(page, FALLBACK) as tab:
        tab.goto(page.address)
        tab.get_by_label("Who are you").fill(FALLBACK)
        tab.get_by_role("button", name="Come in").click()
        tab.goto(f"{page.address}/r/1/{first}")
        tab.get_by_label("Keep", exact=True).check()
        tab.locator("#reason").fill("needed")
        tab.get_by_role("button", name="Decide", exact=True).click()
        tab.wait_for_url("**done=*")
        tab.context.clear_cookies()
        tab.goto(f"{page.address}/r/1/{second}")
        tab.get_by_label("Who are you").fill(FALLBACK)
        tab.get_by_role("button", name="Come in").click()
        tab.wait_for_url(f"**/r/1/{second}")
        tab.goto(f"{page.address}/r/1/{first}")
        assert tab.get_by_label("Keep", exact=True).is_checked()
    assert len(here.review().decisions) == 1


def test_no_page_shuts_anybody_out_in_any_size(tmp_path: Path) -> None:
    needs("chromium")
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    done(here)
    here.live(1)
    here.open(here.packet(1), series="next")
    own = here.number("privilege", BOB, "gateadmin", review_id=2)
    digest = here.review(2).about.packet_digest
    paths = [
        "/", "/r/1", "/r/2", "/r/2?all=1", "/r/2?q=nobody", f"/r/2/{own}", "/r/2/sign", "/r/1/sign",
        "/r/2/owner", "/r/1/owner", "/follow-up", "/connections", "/packets", f"/packets/{digest}",
        "/r/99",
    ]  # fmt: skip
    # Where time is short, one of each kind.
    paths = paths if THOROUGH else paths[:8:2] + paths[8::3]
    found: dict[str, list[str]] = {}
    with served(here, tmp_path) as page:
        for size in SIZES:
            with browser(page, OWNER, size=size) as tab:
                for path in paths:
                    tab.goto(f"{page.address}{path}")
                    if wrong := violations(tab):
                        found[f"{path} at {size['width']}"] = wrong
                    wide = tab.evaluate("document.documentElement.scrollWidth > innerWidth")
                    assert not wide, f"{path} is wider than {size['width']}"
    with (
        served(here, tmp_path, by="declared") as page,
        browser(page, OWNER, size=ZOOMED) as tab,
    ):
        tab.goto(f"{page.address}/login")
        found["/login"] = violations(tab)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}, json.dumps(found)
    warehouse.close()


def test_a_browser_runs_and_loads_nothing_but_what_is_ours(here: Reviewed, tmp_path: Path) -> None:
    with served(here, tmp_path) as page, browser(page, FALLBACK) as tab:
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda one: said.append(one.text))
        tab.on("request", lambda one: asked.append(one.url))
        tab.goto(f"{page.address}/r/1")
        tab.goto(f"{page.address}/r/1/{here.review().reviewed_by(FALLBACK)[0]}")
        tab.evaluate(
            "() => { const s = document.createElement('script'); s.text = 'window.x = 1';"
            " document.body.append(s); }"
        )
        assert tab.evaluate("window.x") is None
        hosts = {url for url in asked if not url.startswith(page.address)}
    assert hosts == set()
    assert [
        one for one in said if "Content Security Policy" not in one and "favicon" not in one
    ] == []
