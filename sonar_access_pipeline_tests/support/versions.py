"""A packet that one set of libraries sealed, verified and built again by another: both have the
same warehouse and store.

$ lock/bin/python -m sonar_access_pipeline_tests.support.versions seal FOLDER
$ lowest/bin/python -m sonar_access_pipeline_tests.support.versions verify FOLDER
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.evidence.seal import seal
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify_all
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline_tests.support.sealed import WINDOWS, Sealings, sealing

LIBRARIES = (
    "cryptography",
    "deflate",
    "fsspec",
    "jinja2",
    "pandas",
    "sqlalchemy",
    "typst",
    "xlsxwriter",
)


def main(what: str, folder: Path) -> None:
    """Seal three packets into a folder, or verify those that lie there, build them again, and seal
    nothing a second time.
    """
    print(f"{what} with", ", ".join(f"{name} {version(name)}" for name in LIBRARIES))  # noqa: T201
    url = sqlite_url(folder / "warehouse.sqlite")
    if what == "seal":
        Sealings(folder, url)
    warehouse, store = Warehouse(url), FolderStore(folder / "evidence")
    before = {path: store.get(path) for path in sorted(store.listing("").bundles)}
    found = verify_all(store, "acme", warehouse=warehouse)
    assert len(found.reports) == len(WINDOWS)
    assert found.faults == []
    for window in WINDOWS:
        sealed = seal(
            build(warehouse, "acme", window),
            sealing(folder / "evidence"),
            warehouse,
            run_id="another",
        )
        assert not sealed.is_new
    assert {path: store.get(path) for path in sorted(store.listing("").bundles)} == before
    warehouse.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
