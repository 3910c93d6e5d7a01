"""What people see in Dagster's UI, in a real browser: assets, checks, pictures, the backfill;
reviewers can change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sonar_access_pipeline.demo import BAD_DAY
from sonar_access_pipeline_tests.support.browser import browser_page, web_server
from sonar_access_pipeline_tests.support.programs import needs
from sonar_access_pipeline_tests.support.shown import shown


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    needs("chromium")
    return shown(tmp_path_factory).environment


@pytest.fixture
def page() -> Iterator[Any]:
    with browser_page() as opened:
        yield opened


def shows(page: Any, address: str, *words: str) -> None:
    """A page shows some words within a minute."""
    page.goto(address)
    for each in words:
        page.get_by_text(each, exact=False).first.wait_for(state="visible")


@pytest.mark.waits
def test_the_demo_shows_what_it_must(demo: dict[str, str], page: Any) -> None:
    bad_day = str(datetime.now(UTC).date() - timedelta(days=BAD_DAY))
    with web_server(demo) as address:
        shows(
            page,
            f"{address}/assets/demo/fct_user_access",
            "History of",
            "granted_via",
            "security",
            "SQL",
        )
        shows(
            page,
            f"{address}/assets/demo/raw_snapshot?view=checks",
            "complete",
            "not_held",
            "reconciled",
            "Every list was read",
        )
        shows(
            page,
            f"{address}/assets/demo/raw_snapshot?view=partitions&partition={bad_day}",
            bad_day,
            "Failed",
        )
        shows(
            page, f"{address}/assets/demo/evidence_packet?view=events", "simulated", "days_observed"
        )
        page.get_by_text("Show Markdown").first.click()
        picture = page.locator("img[alt=coverage]").first
        picture.wait_for(state="visible")
        assert picture.evaluate("image => image.naturalWidth") > 500
        shows(page, f"{address}/assets/demo/evidence_packet", "Materialize")
        page.get_by_text("Materialize").first.click()
        page.get_by_text("Backfills all partitions in a single run").wait_for(state="visible")
        shows(
            page,
            f"{address}/automation",
            "sonar_access_watch",
            "sonar_access_retry",
            "demo_daily_schedule",
        )


BROKEN_WORDS = """() => [...document.querySelectorAll("thead th, .question p, .facts li, nav a")]
  .filter((element) => {
    const range = document.createRange();
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      for (const word of walker.currentNode.data.matchAll(/[A-Za-z]+/g)) {
        range.setStart(walker.currentNode, word.index);
        range.setEnd(walker.currentNode, word.index + word[0].length);
        if (range.getClientRects().length > 1) return true;
      }
    }
    return false;
  }).map((element) => element.textContent)"""
"""Words that stand on two lines."""


def test_the_report_is_searched_and_filtered_and_asks_no_network(
    demo: dict[str, str], page: Any
) -> None:
    root = Path(demo["SONAR_ACCESS_CONFIG"]).parent / "evidence" / "acme"
    report = max(root.glob("*/*/report.html"), key=lambda file: file.stat().st_size)
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report.as_uri())
    rows = page.locator("#accounts-table tbody tr")
    accounts = page.get_by_role("group", name="Every account")
    everybody = int(accounts.get_by_role("status").inner_text().split(" of ")[1].split()[0])
    assert rows.count() == 50 < everybody, "a page of a long table"
    first = rows.first.locator("th").inner_text().splitlines()[0]
    assert "admin" in rows.first.inner_text(), "who administers stands first"
    accounts.get_by_role("button", name="Next").click()
    assert rows.first.locator("th").inner_text().splitlines()[0] != first
    accounts.get_by_role("searchbox").fill(first.upper())
    assert 1 <= rows.count() < everybody
    assert f"of {everybody} rows shown" in accounts.inner_text()
    accounts.get_by_role("searchbox").fill("")
    accounts.get_by_role("combobox").select_option("has a finding")
    assert all(row.locator("td").first.inner_text() for row in rows.all())
    accounts.get_by_role("combobox").select_option("")
    heading = page.locator("#accounts-table thead th").first
    heading.get_by_role("button").click()
    shown = [cell.inner_text().splitlines()[0] for cell in rows.locator("th").all()]
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [name[0] for name in shown if name.isascii()] == sorted(
        name[0] for name in shown if name.isascii()
    )
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == everybody, "paper has every row"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    for width in (1280, 800, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert page.evaluate(BROKEN_WORDS) == [], width
    for chart in page.get_by_role("img").all():
        assert chart.get_attribute("aria-label")
    page.emulate_media(media="print")
    assert not page.locator("form.tools").first.is_visible()
    assert asked == [report.as_uri()]
    assert said == [], "nothing is refused and nothing fails"


def test_a_reviewer_finds_no_way_to_change_anything(demo: dict[str, str], page: Any) -> None:
    with web_server(demo, "--read-only") as address:
        shows(page, f"{address}/assets/demo/evidence_packet", "Every packet ever sealed")
        button = page.get_by_role("button", name="Materialize").first
        button.wait_for(state="visible")
        assert button.is_disabled()
