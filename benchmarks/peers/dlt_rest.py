"""The same lists through dlt's REST client and its page-number paginator, as its documentation
shows.
"""

import json
import sys
import time

from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator


class ByTotalRows(PageNumberPaginator):
    """SonarCloud reports a total of rows where dlt counts pages: the page size turns one into the
    other.
    """

    def __init__(self, size, total_path):
        super().__init__(
            base_page=1,
            page_param="p",
            total_path=None,
            maximum_page=10**9,
            stop_after_empty_page=False,
        )
        self.size, self.at = size, total_path

    def update_state(self, response, data=None):
        document = response.json()
        for name in self.at:
            document = document[name]
        self.current_value += 1
        self._has_next_page = (self.current_value - 1) * self.size < document


url, asked = sys.argv[1], 0
client = RESTClient(base_url=f"{url}/api", auth=BearerTokenAuth("simulated-token"))


def pages(path, rows_at, size, total_path=("paging", "total"), **params):
    """Every page of a list, to its total."""
    global asked
    seen = []
    for page in client.paginate(
        path,
        params={**params, "ps": size},
        paginator=ByTotalRows(size, total_path),
        data_selector=rows_at,
    ):
        asked += 1
        seen += page
    return seen


began = time.perf_counter()
organization = {"organization": "acme"}
pages("organizations/search_members", "users", 500, **organization)
groups = pages("user_groups/search", "groups", 500, **organization)
for group in groups:
    pages("user_groups/users", "users", 500, ("total",), id=group["id"])
pages("permissions/users", "users", 100, **organization)
pages("permissions/groups", "groups", 100, **organization)
print(json.dumps({"wall": time.perf_counter() - began, "requests": asked}))
