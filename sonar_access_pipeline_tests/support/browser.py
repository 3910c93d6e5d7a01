"""Dagster's UI on the demo's instance, in a real browser without a screen.

Used by a test and by `docs/screenshots.py`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonar_access_pipeline_tests.support.deployment import ROOT, until
from sonar_access_pipeline_tests.support.programs import free_port, place_of

SCRIPTS = Path(sys.executable).parent


@contextmanager
def web_server(environment: dict[str, str], *options: str, daemon: bool = False) -> Iterator[str]:
    """A web server, and a daemon if need be, on an instance; its address."""
    port = free_port()
    workspace = str(ROOT / "workspace.yaml")
    commands = [[str(SCRIPTS / "dagster-webserver"), "-w", workspace, "-p", str(port), *options]]
    if daemon:
        commands.append([str(SCRIPTS / "dagster-daemon"), "run", "-w", workspace])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, env=environment, **quiet) for command in commands]  # type: ignore[call-overload]
    address = f"http://127.0.0.1:{port}"
    try:
        until("web server", lambda: _answers(address))
        yield address
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


@contextmanager
def browser_page() -> Iterator[Any]:
    """One page of a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without a sandbox of its own: tests may run as root, and only see pages of this machine.
        browser = playwright.chromium.launch(
            executable_path=place_of("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def _answers(address: str) -> bool:
    import requests

    try:
        return requests.get(f"{address}/server_info", timeout=2).ok
    except requests.RequestException:
        return False
