"""What SonarCloud's own catalogue says of the endpoints we rely on: gone, deprecated, or without a
parameter we ask with.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from sonar_access_pipeline.access.endpoints.shape import Api
from sonar_access_pipeline.access.lists import CATALOGUE, LISTS
from sonar_access_pipeline.access.records import CatalogueEntry


def warnings_of(entries: Iterable[CatalogueEntry]) -> tuple[str, ...]:
    """Write one sentence for each endpoint that is not as we need it; none when all is well."""
    known = {entry.path: entry for entry in entries}
    warnings: list[str] = []
    relied_upon = {
        one.endpoint
        for one in LISTS.values()
        if one.endpoint.api is Api.V1 and one is not CATALOGUE
    }
    for endpoint in sorted(relied_upon, key=attrgetter("path")):
        path = endpoint.path
        entry = known.get(path)
        if entry is None:
            warnings.append(
                f"SonarCloud's catalogue does not list {path} any more; look for a newer"
                " sonar-access-pipeline."
            )
            continue
        if missing := sorted({*endpoint.params} - entry.params):
            warnings.append(
                f"SonarCloud's catalogue lists {path} without {', '.join(missing)}; answers may"
                " change."
            )
        if entry.deprecated_since:
            warnings.append(
                f"SonarCloud deprecates {path} since {entry.deprecated_since}; look for a newer"
                " version in time."
            )
    return tuple(warnings)
