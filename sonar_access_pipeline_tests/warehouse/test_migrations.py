"""Where the tables come from. What a released version wrote is brought here in
`test_released.py`.
"""

from __future__ import annotations

import pytest
from sqlalchemy import text

from sonar_access_pipeline.warehouse import migrations
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.schema import SCHEMA, metadata


@pytest.mark.parametrize(
    ("revision", "said"),
    [("0009", "made before version 0.1.0 was released"), ("9999", "written by a newer version")],
)
def test_a_warehouse_of_another_revision_is_left_alone_and_what_to_do_is_said(
    warehouse: Warehouse, revision: str, said: str
) -> None:
    with warehouse.write("test") as transaction:
        transaction.execute(
            text(f"UPDATE {migrations.VERSION_TABLE} SET version_num = :revision"),
            {"revision": revision},
        )
    for ask in (migrations.upgrade, migrations.is_current, migrations.require_current):
        with pytest.raises(WarehouseError, match=said):
            ask(warehouse)


def test_every_table_view_and_column_says_what_it_means_in_postgresql(postgresql_url: str) -> None:
    opened = Warehouse(postgresql_url)
    migrations.upgrade(opened)
    with opened.read() as transaction:
        described = transaction.execute(
            text(
                "SELECT c.relname, a.attname, col_description(c.oid, a.attnum),"
                " obj_description(c.oid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
                " AND a.attnum > 0 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname ="
                " :schema AND c.relkind IN ('r', 'v') AND c.relname <> :version"
            ),
            {"schema": SCHEMA, "version": migrations.VERSION_TABLE},
        ).all()
    opened.close()
    assert {row[0] for row in described} >= {table.name for table in metadata.sorted_tables}
    assert [tuple(row[:2]) for row in described if not row[2] or not row[3]] == []
