"""`python -m sonar_access_pipeline.simulator`: serve a simulated organization until interrupted."""

from __future__ import annotations

import argparse
import contextlib
import threading
from datetime import UTC, datetime

from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator


def main() -> None:
    """Serve, and print the address on the first line."""
    options = _options()
    today = datetime.now(UTC).date()
    size = {"accounts": options.accounts, "groups": options.groups, "projects": options.projects}
    evolution = Evolution(options.seed, today, key=options.organization, **size)
    organization = evolution.on(today)
    simulator = Simulator(
        lambda: organization,
        port=options.port,
        latency=options.latency_ms / 1000,
        frozen=True,
        requests_per_minute=options.requests_per_minute_limit,
    )
    with simulator, contextlib.suppress(KeyboardInterrupt):
        print(simulator.url, flush=True)  # noqa: T201
        threading.Event().wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sonar_access_pipeline.simulator", description=main.__doc__
    )
    parser.add_argument("--organization", default="acme", help="its key")
    parser.add_argument("--accounts", type=int, default=320)
    parser.add_argument("--groups", type=int, default=14)
    parser.add_argument("--projects", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--latency-ms", type=float, default=0, help="from the arrival of a request to its answer"
    )
    parser.add_argument(
        "--requests-per-minute-limit", type=int, default=None, help="answer 429 beyond it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
