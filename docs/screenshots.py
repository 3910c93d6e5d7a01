"""Take the pictures of the documentation anew: `make screenshots` (a browser must be there:
`apt-get install chromium`).

Runs the demo, opens Dagster's UI on it and the packet's report, and writes `docs/images/`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2
import requests
from PIL import Image

from sonar_access_pipeline.demo_review import OWNER
from sonar_access_pipeline_tests.support.browser import SCRIPTS, browser_page, web_server
from sonar_access_pipeline_tests.support.deployment import until
from sonar_access_pipeline_tests.support.programs import free_port

IMAGES = Path(__file__).parent / "images"
COLOURS = 128
"""Of a palette: enough for a user interface, at a tenth of the bytes."""


def run_demo(folder: Path, days: int) -> dict[str, str]:
    """Run the demo into `folder`; the environment in which everything finds it."""
    command = [str(SCRIPTS / "sonar-access"), "demo", "--days", str(days), "--folder", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder.parent)
    return {
        **os.environ,
        "DAGSTER_HOME": str(folder / "dagster_home"),
        "SONAR_ACCESS_CONFIG": str(folder / "demo.toml"),
    }


def main() -> None:
    """All of them."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = run_demo(Path(folder) / "demo", days=30)
        with web_server(environment, daemon=True) as address, browser_page() as page:
            lineage(page, address)
            checks(page, address)
            pictures(page, address)
            red_day(page, address)
            backfill(page, address)
            report(page, Path(folder) / "demo" / "evidence" / "acme")
            paper(Path(folder) / "demo" / "evidence" / "acme")
        with reviews_page(environment) as address, browser_page() as page:
            reviewing(page, address)


def lineage(page: Any, address: str) -> None:
    """What a packet is made from."""
    page.goto(
        f"{address}/assets/demo/evidence_packet?view=lineage&lineageScope=upstream&lineageDepth=2"
    )
    page.get_by_text("raw_snapshot").first.wait_for(state="visible")
    page.wait_for_timeout(4000)
    save(page, "lineage")


def checks(page: Any, address: str) -> None:
    """What a snapshot was compared with."""
    page.goto(f"{address}/assets/demo/raw_snapshot?view=checks")
    page.get_by_text("group_permissions").first.wait_for(state="visible")
    save(page, "checks")


def pictures(page: Any, address: str) -> None:
    """Coverage, in the metadata of a packet."""
    page.goto(f"{address}/assets/demo/evidence_packet?view=events")
    page.get_by_text("Show Markdown").first.click()
    page.locator("img[alt=coverage]").first.wait_for(state="visible")
    page.wait_for_timeout(1000)
    save(page, "coverage")
    page.keyboard.press("Escape")
    page.wait_for_timeout(1000)


def red_day(page: Any, address: str) -> None:
    """The day that the demo fails on purpose, among the partitions of the raw layer."""
    page.goto(f"{address}/assets/demo/raw_snapshot?view=partitions")
    page.get_by_text("Failed").first.wait_for(state="visible")
    page.wait_for_timeout(2000)
    save(page, "partitions")


def backfill(page: Any, address: str) -> None:
    """A range of days of the packet: chosen, launched, done."""
    page.goto(f"{address}/assets/demo/evidence_packet")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="All", exact=True).click()
    page.wait_for_timeout(2000)
    save(page, "backfill-choose")
    page.get_by_role("button", name="Launch backfill").click()
    page.wait_for_timeout(3000)
    page.goto(f"{address}/runs?view=backfills")
    page.get_by_text(re.compile("^(Success|Succeeded|Completed)$")).first.wait_for(
        state="visible", timeout=180_000
    )
    page.wait_for_timeout(2000)
    save(page, "backfill-done")


def report(page: Any, evidence: Path) -> None:
    """The first page of a packet's report."""
    newest = max(evidence.rglob("report.html"), key=lambda file: file.stat().st_mtime)
    page.goto(newest.as_uri())
    page.wait_for_timeout(1000)
    save(page, "report")


def paper(evidence: Path) -> None:
    """The first page of a packet's PDF."""
    newest = max(evidence.rglob("report.pdf"), key=lambda file: file.stat().st_mtime)
    shown = pypdfium2.PdfDocument(newest)[0].render(scale=1.2).to_pil()
    write(shown, "paper")


@contextmanager
def reviews_page(environment: dict[str, str]) -> Iterator[str]:
    """Serve the reviewers' page, with a review of everybody that waits."""
    sonar_access = str(SCRIPTS / "sonar-access")
    config = Path(environment["SONAR_ACCESS_CONFIG"])
    reports = (config.parent / "evidence" / "acme").rglob("report.html")
    packet = max(reports, key=lambda file: file.stat().st_mtime).parent
    opened = ["review", "open", "--packet", str(packet), "--due", "2099-12-31", "--by", OWNER]
    subprocess.run([sonar_access, *opened], check=True, env=environment)
    port = free_port()
    command = [sonar_access, "review", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        until("the reviewers' page", lambda: _is_ready(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=2).ok
    except requests.RequestException:
        return False


def reviewing(page: Any, address: str) -> None:
    """The list of a reviewer, one item, how far a review is; and the item on a phone."""
    page.goto(f"{address}/login")
    page.fill("#person", OWNER)
    page.get_by_role("button", name="Come in").click()
    page.goto(f"{address}/r/2")
    save(page, "review-items")
    page.goto(f"{address}/r/2/2")
    save(page, "review-item")
    page.goto(f"{address}/r/2/owner")
    save(page, "review-owner")
    page.set_viewport_size({"width": 390, "height": 1000})
    page.goto(f"{address}/r/2/2")
    save(page, "review-phone")


def save(page: Any, name: str) -> None:
    """Write what the page shows."""
    write(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), name)


def write(shown: Image.Image, name: str) -> None:
    """Write a picture as small as it is clear."""
    shown.quantize(COLOURS).save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
