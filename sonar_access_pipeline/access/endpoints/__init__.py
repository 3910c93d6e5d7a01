"""SonarCloud's endpoints, one adapter per file: what is asked, and from the bytes of an answer to a
page of records. Which lists are read of them is `access/lists.py`.

An endpoint that SonarCloud removes is one file's change. Its adapter stays for the snapshots that
hold its answers: the raw archive is parsed again years later. Where the facts come from:
docs/sonarcloud.md.
"""

from sonar_access_pipeline.access.endpoints.shape import Endpoint, Page, ShapeError

__all__ = ["Endpoint", "Page", "ShapeError"]
