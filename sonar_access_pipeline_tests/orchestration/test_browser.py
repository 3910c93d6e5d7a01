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
    everybody, first = rows.count(), rows.first.locator("th").inner_text()
    page.get_by_role("search", name="Search the accounts").get_by_role("searchbox").fill(
        first.upper()
    )
    assert 1 <= page.locator("#accounts-table tbody tr:visible").count() < everybody
    assert (
        f"of {everybody} rows shown"
        in page.get_by_role("search", name="Search the accounts").inner_text()
    )
    page.get_by_role("search", name="Search the accounts").get_by_role("searchbox").fill("")
    page.get_by_role("search", name="Search the findings").get_by_role("combobox").select_option(
        "not_evaluable"
    )
    shown = page.locator("#findings-table tbody tr:visible")
    assert {cell.inner_text() for cell in shown.locator("td:nth-of-type(2)").all()} == {
        "not evaluable"
    }
    for chart in page.get_by_role("img").all():
        assert chart.get_attribute("aria-label")
    page.emulate_media(media="print")
    assert not page.locator("form.search").first.is_visible()
    assert asked == [report.as_uri()]
    assert said == [], "nothing is refused and nothing fails"


def test_a_reviewer_finds_no_way_to_change_anything(demo: dict[str, str], page: Any) -> None:
    with web_server(demo, "--read-only") as address:
        shows(page, f"{address}/assets/demo/evidence_packet", "Every packet ever sealed")
        button = page.get_by_role("button", name="Materialize").first
        button.wait_for(state="visible")
        assert button.is_disabled()
