"""What SonarCloud's own catalogue says of the endpoints we rely on: gone, deprecated, or without a parameter we ask with."""

from __future__ import annotations

from collections.abc import Iterable

from sonar_access_pipeline.access.endpoints import relied_upon
from sonar_access_pipeline.access.records import CatalogueEntry


def warnings_of(entries: Iterable[CatalogueEntry]) -> tuple[str, ...]:
    """One sentence per endpoint that is not as we need it; none when all is well."""
    known = {entry.path: entry for entry in entries}
    warnings: list[str] = []
    for path, params in sorted(relied_upon().items()):
        entry = known.get(path)
        if entry is None:
            warnings.append(f"SonarCloud's catalogue does not list {path} any more; look for a newer sonar-access-pipeline.")
            continue
        if missing := sorted(params - entry.params):
            warnings.append(f"SonarCloud's catalogue lists {path} without {', '.join(missing)}; answers may change.")
        if entry.deprecated_since:
            warnings.append(f"SonarCloud deprecates {path} since {entry.deprecated_since}; look for a newer version in time.")
    return tuple(warnings)
