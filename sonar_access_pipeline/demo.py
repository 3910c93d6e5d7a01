"""The demo: a simulated company over a month, through the real client, assets and jobs, on a
persistent Dagster instance.

Only three things are not real: the server on loopback, its organization, and the clock that both
sides read.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.demo_review import (
    FALLBACK,
    OWNER,
    open_another,
    review,
    show_follow_ups,
    take_away,
)
from sonar_access_pipeline.orchestration.launch import Launcher
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.private import private_folder
from sonar_access_pipeline.settings import load
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.simulator.faults import short
from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.rate_limit import Patience
from sonar_access_pipeline.terminal import print_rows, say
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse

SEED = 2026
PROJECTS = 12
CONFIG = "demo.toml"
TOKEN_VARIABLE = "SONAR_ACCESS_DEMO_TOKEN"
BAD_DAY = 9
"""Days before the last on which the member list comes short, so that a gap is to be seen."""


class SimulatedClock:
    """A clock that stands on a chosen day and runs from five in the morning."""

    def __init__(self) -> None:
        self.go_to(date(2000, 1, 1))

    def go_to(self, day: date, *, hours: int = 0) -> None:
        """Start `day`, or so many hours later."""
        self._base = datetime.combine(day, time_of_day(5 + hours), UTC)
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        """Now, on the simulated day."""
        return self._base + timedelta(seconds=time.monotonic() - self._since)


def run(console: Console, folder: Path, days: int, *, is_waiting: bool = False) -> int:
    """Run the demo into `folder`, print what a newcomer wants to see, and give the exit status. A
    review more is opened and waits, where somebody wants that.
    """
    began = time.monotonic()
    last = datetime.now(UTC).date()
    window = Window(last - timedelta(days=days - 1), last)
    evolution = Evolution(SEED, window.first, projects=PROJECTS)
    clock = SimulatedClock()
    with Simulator(lambda: evolution.on(clock().date()), clock=clock) as simulator:
        config = _prepare(folder, window, simulator.url)
        # From here on everything reads its settings where `sonar-access` and Dagster will read them
        # again later.
        os.environ |= {
            "SONAR_ACCESS_CONFIG": str(config),
            TOKEN_VARIABLE: next(iter(simulator.tokens)),
        }
        for name in (
            "DAGSTER_HOME",
            "SONAR_ACCESS_DATA_DIR",
            "SONAR_ACCESS_WAREHOUSE_URL",
            "SONAR_ACCESS_EVIDENCE_URL",
        ):
            os.environ.pop(name, None)
        settings = load()
        resources = Resources(
            settings, clock=clock, patience=Patience(first_pause=0.01), progress=lambda _: None
        )
        with Launcher(resources) as launcher, _bar(console) as bar:
            failed = _live(launcher, resources, window, clock, simulator, bar)
            if failed:
                say(failed, to=console, label="A run failed that was to work:", style="red")
                return 1
            sealed = launcher.evidence(settings.connections[0], window)
            if not sealed.success or sealed.packet is None:
                say("", to=console, label=sealed.sentence, style="red")
                return 1
            with closing(Warehouse(settings.warehouse)) as warehouse:
                reviewed = review(console, resources, warehouse, sealed.packet)
                # Somebody does what was decided, of one of the two; the next look shows it.
                take_away(evolution.on(last), reviewed.item)
                clock.go_to(last, hours=1)
                again = launcher.sync(settings.connections[0], str(last))
                if not again.success:
                    say("", to=console, label=again.sentence, style="red")
                    return 1
                show_follow_ups(console, warehouse)
                if is_waiting:
                    open_another(console, resources, warehouse, sealed.packet)
                _show(console, warehouse, window, config, sealed.packet, reviewed.place)
    say("", to=console, label=f"{days} days in {time.monotonic() - began:.0f} s", style="dim")
    return 0


def _prepare(folder: Path, window: Window, url: str) -> Path:
    """Make a fresh folder with the demo's settings; a folder that is not a demo's is never
    touched.
    """
    config = folder / CONFIG
    if folder.exists() and any(folder.iterdir()) and not config.exists():
        raise SettingsError(f"{folder} holds something else than a demo; choose another --folder.")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        private_folder(folder)
        config.write_text(
            "# A simulated organization. Its server ran only while the demo did: nothing can be"
            " synced any more.\n"
            f'data_dir = "."\nfirst_day = {window.first}\nrequests_per_minute = 1000000\n'
            'scopes = ["project_permissions", "account_details"]\n\n'
            f'[connections.demo]\norganization = "acme"\nhost_url = "{url}"\ntoken_env ='
            f' "{TOKEN_VARIABLE}"\n\n'
            f'[review]\nowner = "{OWNER}"\nfallback = "{FALLBACK}"\n'
        )
    except OSError as error:
        raise SettingsError(
            f"The folder {folder} cannot be written: {error.strerror}; choose another --folder."
        ) from None
    return config


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def _live(
    launcher: Launcher,
    resources: Resources,
    window: Window,
    clock: SimulatedClock,
    simulator: Simulator,
    bar: Progress,
) -> str | None:
    """Run the daily job once for each day of the window; on one of these days the member list comes
    incomplete.

    Return the sentence of a run that failed and was not meant to.
    """
    connection = resources.settings.connections[0]
    task = bar.add_task("simulated days", total=len(list(window.days())))
    for day in window.days():
        clock.go_to(day)
        is_planned = day == window.last - timedelta(days=BAD_DAY)
        if is_planned:
            simulator.faults.add("organizations/search_members", short(7), times=None)
        outcome = launcher.sync(connection, str(day))
        simulator.faults.clear()
        if not outcome.success and not is_planned:
            return f"{day}: {outcome.sentence}"
        if not outcome.success:
            say(f"{day}: the run failed, as planned: {outcome.sentence}", to=bar.console)
        bar.advance(task)
    return None


def _show(
    console: Console,
    warehouse: Warehouse,
    window: Window,
    config: Path,
    packet: str,
    review_packet: str,
) -> None:
    with warehouse.read() as transaction:
        key = queries.the_organization(transaction, None)
        answering = queries.observation_at(transaction, key, window.end)
        admins = queries.admins_at(transaction, answering)
        week = queries.window_observations(
            transaction, key, Window(window.last - timedelta(days=6), window.last)
        )
        changes = queries.changes_between(transaction, key, week.after, week.as_of.observed_at)
        gaps = queries.missing_days(transaction, key, window.first, window.last)
    for row in admins:
        row["through"] = (
            "direct" if row["granted_via"] == "direct" else f"group {row['granted_via_name']}"
        )
    console.print()
    print_rows(
        console,
        admins,
        ("login", "name", "through"),
        title=f"Who administers {key} now (simulated)",
    )
    console.print()
    print_rows(
        console,
        _by_account(changes),
        ("day", "login", "what"),
        title="What changed in the last seven days",
    )
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {count}"
        for kind, count in sorted(Counter(r["kind"] for r in changes).items())
    )
    say(
        f"{kinds}; days without an observation, left as gaps:"
        f" {', '.join(map(str, gaps)) or 'none'}",
        to=console,
    )
    console.print()
    command = f"SONAR_ACCESS_CONFIG={config} {_script()}"
    for label, text in (
        ("Evidence packet", packet),
        ("Report", f"{packet}/report.html"),
        ("Review's packet", review_packet),
        ("Ask more", f"{command} access --as-of {window.first}"),
        ("The review", f"{command} review show 1"),
        ("Dagster's UI", f"{command} ui"),
    ):
        say(text, to=console, label=f"{label}:")


def _by_account(changes: queries.Rows) -> list[dict[str, str]]:
    """Build one line per account and day: membership and admin rights in words, the rest in
    numbers.
    """
    lines: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in changes:
        words = str(row["kind"]).replace("_", " ")
        is_admin = (row["access_type"], row["entitlement"]) == ("organization_permission", "admin")
        what = f"admin {words.split()[-1]}" if is_admin else words
        lines[f"{row['changed_by']:%Y-%m-%d}", row["login"]][what] += 1
    return [
        {
            "day": day,
            "login": login,
            "what": ", ".join(
                f"{what} x{n}" if n > 1 else what for what, n in sorted(kinds.items())
            ),
        }
        for (day, login), kinds in lines.items()
    ]


def _script() -> str:
    """Return how the command line was called, so that the printed commands work in the same
    place.
    """
    return (
        os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).name == "sonar-access" else "sonar-access"
    )
