"""ConductorOne's baton-sql reads from the views what the command line says. The connector itself is
not here: its grammar is, and the few of its expressions that the configuration uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support.builders import World
from sonar_access_pipeline_tests.support.reviewing import USUAL, Reviewed

FILE = Path(__file__).parents[2] / "integrations" / "conductorone" / "sonar-access.yaml"
PAGINATION = {"strategy": "", "primary_key": "", "page_size": 0}
"""Keys of conductorone/baton-sql `pkg/bsql/config.go` @0d3e101d, as far as they are used: the
connector itself passes over a key that it does not know without a word.
"""
GRAMMAR: Mapping[str, Any] = {
    "app_name": "",
    "app_description": "",
    "connect": dict.fromkeys("scheme host port database user password".split(), "")
    | {"params": {"sslmode": ""}},
    "resource_types": {
        "*": {
            "name": "",
            "description": "",
            "list": {
                "query": "",
                "pagination": PAGINATION,
                "map": {
                    "id": "",
                    "display_name": "",
                    "description": "",
                    "traits": {
                        "user": {
                            "login": "",
                            "emails": [""],
                            "status": "",
                            "profile": {"*": ""},
                        },
                        "group": {"profile": {"*": ""}},
                    },
                },
            },
            "static_entitlements": [
                {
                    "id": "",
                    "display_name": "",
                    "description": "",
                    "purpose": "",
                    "slug": "",
                    "grantable_to": [""],
                }
            ],
            "entitlements": {
                "query": "",
                "pagination": PAGINATION,
                "map": [
                    {
                        "skip_if": "",
                        "id": "",
                        "display_name": "",
                        "description": "",
                        "purpose": "",
                        "slug": "",
                        "grantable_to": [""],
                    }
                ],
            },
            "grants": [
                {
                    "query": "",
                    "pagination": PAGINATION,
                    "map": [
                        {
                            "skip_if": "",
                            "principal_id": "",
                            "principal_type": "",
                            "entitlement_id": "",
                        }
                    ],
                }
            ],
        }
    },
}


def fits(found: Any, grammar: Any, place: str = "") -> None:
    """Refuse what the connector's grammar does not have."""
    if isinstance(grammar, dict):
        assert isinstance(found, dict), place
        for key, value in found.items():
            assert key in grammar or "*" in grammar, f"{place}.{key} would be passed over"
            fits(value, grammar.get(key, grammar.get("*")), f"{place}.{key}")
    elif isinstance(grammar, list):
        assert isinstance(found, list), place
        for one in found:
            fits(one, grammar[0], f"{place}[]")
    else:
        assert isinstance(found, type(grammar)), place


def configuration() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def test_the_configuration_has_nothing_that_the_connector_would_pass_over() -> None:
    found = configuration()
    fits(found, GRAMMAR)
    assert found["connect"]["scheme"] == "postgres", "the only one that its check takes"
    for name, kind in found["resource_types"].items():
        assert {"name", "list"} <= kind.keys(), name
        assert {"id", "display_name"} <= kind["list"]["map"].keys(), name
    assert "provisioning" not in FILE.read_text(), "it changes nothing"


class Connector:
    """What baton-sql does with a configuration, page by page, as far as this one needs it."""

    def __init__(self, warehouse: Warehouse, page: int) -> None:
        self.warehouse = warehouse
        self.page = page
        self.types = configuration()["resource_types"]

    def rows(self, asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while True:
            with self.warehouse.read() as transaction:
                query = asked["query"].replace("?<Limit>", ":limit").replace("?<Offset>", ":offset")
                found = (
                    transaction.execute(text(query), {"limit": self.page + 1, "offset": offset})
                    .mappings()
                    .all()
                )
            assert all(asked["pagination"]["primary_key"] in row for row in found)
            yield from (dict(row) for row in found[: self.page])
            if len(found) <= self.page:
                return
            offset += self.page

    def said(self, expression: str, row: Mapping[str, Any], resource: str) -> str:
        """Evaluate a column, a text, or the id of the resource."""
        if literal := re.fullmatch(r"'([^']*)'", expression):
            return literal[1]
        if expression == "resource.ID":
            return resource
        column = re.fullmatch(r"\.(\w+)", expression)
        assert column, expression
        assert isinstance(row[column[1]], str), f"{expression} is no text: {row[column[1]]!r}"
        return str(row[column[1]])

    def skipped(self, expression: str, row: Mapping[str, Any], resource: str) -> bool:
        left, right = expression.split(" != ")
        return self.said(left, row, resource) != self.said(right, row, resource)

    def resources(self, kind: str) -> list[dict[str, str]]:
        listing = self.types[kind]["list"]
        plain = {name: one for name, one in listing["map"].items() if name != "traits"}
        return [
            {name: self.said(one, row, "") for name, one in plain.items()}
            for row in self.rows(listing)
        ]

    def grants(self, kind: str) -> set[tuple[str, str, str]]:
        """Every grant, as resource, account and entitlement."""
        given = set()
        for resource in (one["id"] for one in self.resources(kind)):
            for asked in self.types[kind]["grants"]:
                for row in self.rows(asked):
                    for one in asked["map"]:
                        if not self.skipped(one["skip_if"], row, resource):
                            account = self.said(one["principal_id"], row, resource)
                            entitlement = self.said(one["entitlement_id"], row, resource)
                            given.add((resource, account, entitlement))
        return given


@pytest.mark.parametrize("page", [2, 1000])
def test_what_the_connector_reads_is_what_the_command_line_says(
    postgresql_url: str, tmp_path: Path, page: int
) -> None:
    warehouse = Warehouse(postgresql_url)
    upgrade(warehouse)
    for key in ("acme", "other"):
        here = Reviewed(warehouse, tmp_path / key, key)
        here.live(0, World(members={"gone": "Gone"}))
        here.live(1, USUAL)
    connector = Connector(warehouse, page)
    accounts = {one["id"]: one for one in connector.resources("user")}
    assert set(accounts) == {f"{key}:{who}" for key in ("acme", "other") for who in USUAL.members}
    with warehouse.read() as transaction:
        access = [
            row
            for key in ("acme", "other")
            for row in queries.access_at(transaction, queries.observations(transaction, key)[-1])
            if row["principal_type"] == "user"
        ]
        keys = {row["login"] for row in access}
    assert keys == set(USUAL.members)
    on_organization = {
        (key, f"{key}:{row['login']}", row["entitlement"])
        for key in ("acme", "other")
        for row in access
        if row["access_type"] in ("membership", "organization_permission")
    }
    assert connector.grants("organization") == on_organization
    in_groups = {
        (f"{key}:{row['resource']}", f"{key}:{row['login']}", "member")
        for key in ("acme", "other")
        for row in access
        if row["access_type"] == "group"
    }
    assert connector.grants("group") == in_groups
    # Every entitlement that is granted is one that is listed.
    entitlements = connector.rows(connector.types["organization"]["entitlements"])
    listed = {row["entitlement"] for row in entitlements}
    assert listed == {entitlement for _, _, entitlement in on_organization}
    warehouse.close()
