"""`python -m sonar_access_pipeline.simulator`: serve a simulated organization until interrupted."""

from __future__ import annotations

import argparse
import threading
from datetime import UTC, datetime

from sonar_access_pipeline.simulator.organization import Evolution
from sonar_access_pipeline.simulator.server import Simulator


def main() -> None:
    """Serve, and print the address on the first line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--accounts", type=int, default=320)
    parser.add_argument("--groups", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    today = datetime.now(UTC).date()
    organization = Evolution(options.seed, today, accounts=options.accounts, groups=options.groups).on(today)
    with Simulator(lambda: organization, port=options.port) as simulator:
        print(simulator.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
