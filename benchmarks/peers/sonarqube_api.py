"""The same lists through python-sonarqube-api: its session, its requests, one page after another.

It has no paging of its own.
"""

import json
import sys
import time

from sonarqube import SonarCloudClient

url, asked = sys.argv[1], 0
client = SonarCloudClient(sonarqube_url=url, token="simulated-token").user_groups


def pages(path, rows_at, size, **params):
    """Every page of a list, to its total."""
    global asked
    number, seen = 1, []
    while True:
        document = client.request(
            "GET", f"/api/{path}", params={**params, "p": number, "ps": size}
        ).json()
        asked += 1
        seen += document[rows_at]
        if number * size >= document.get("paging", document)["total"]:
            return seen
        number += 1


began = time.perf_counter()
organization = {"organization": "acme"}
pages("organizations/search_members", "users", 500, **organization)
groups = pages("user_groups/search", "groups", 500, **organization)
for group in groups:
    pages("user_groups/users", "users", 500, id=group["id"])
pages("permissions/users", "users", 100, **organization)
pages("permissions/groups", "groups", 100, **organization)
print(json.dumps({"wall": time.perf_counter() - began, "requests": asked}))
