"""The way from nothing to today's tables, for both databases, with a version table of its own.

Reading which version a warehouse has costs one query; Alembic itself is loaded only when there is
something to change.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sonar_access_pipeline.private import new_private_file, private_folder
from sonar_access_pipeline.warehouse.comments import comment
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.schema import SCHEMA

VERSION_TABLE = "sonar_access_version"
REVISIONS = ("0010", "0011", "0012", "0013")
"""Every released revision, oldest first.

The last one is what this version of the pipeline reads and writes.
"""


def revision_of(connection: Connection) -> str | None:
    """Return the revision a warehouse is at; None when it has no tables of ours."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def is_current(warehouse: Warehouse) -> bool:
    """Tell whether a warehouse has the tables of this version.

    Raises `WarehouseError` for one that a newer version wrote.
    """
    if warehouse.sqlite_file is not None and not warehouse.sqlite_file.exists():
        return False
    return _revision(warehouse) == REVISIONS[-1]


def require_current(warehouse: Warehouse) -> None:
    """Refuse a warehouse whose tables are not there, or not of this version.

    Raises `WarehouseError` with what to do otherwise.
    """
    if warehouse.sqlite_file is not None and not warehouse.sqlite_file.exists():
        raise WarehouseError(
            f"There is no warehouse at {warehouse.name} yet; run `sonar-access sync` first."
        )
    revision = _revision(warehouse)
    if revision is None:
        raise WarehouseError(
            f"The warehouse {warehouse.name} has no tables yet; run `sonar-access sync` first."
        )
    if revision != REVISIONS[-1]:
        raise WarehouseError(
            f"The warehouse {warehouse.name} is older than this version; run `sonar-access"
            " warehouse upgrade`."
        )


def require_suitable(warehouse: Warehouse) -> None:
    """Raise `WarehouseError` where a database cannot hold a warehouse, or has none and does not let
    one be made.
    """
    file = warehouse.sqlite_file
    if file is not None:
        above = next(folder for folder in file.absolute().parents if folder.exists())
        if not os.access(file if file.exists() else above, os.W_OK):
            raise WarehouseError(
                f"{file if file.exists() else above} cannot be written, and the warehouse lies"
                " there; mend its rights."
            )
        return
    with warehouse.read() as connection:
        encoding, role, database, may_create = connection.execute(
            text(
                "SELECT current_setting('server_encoding'), current_user, current_database(), "
                "has_database_privilege(current_database(), 'CREATE')"
            )
        ).one()
        is_made = inspect(connection).has_schema(SCHEMA)
        offered = connection.execute(
            text("SELECT 1 FROM pg_available_extensions WHERE name = 'btree_gist'")
        ).first()
    if encoding != "UTF8":
        raise WarehouseError(
            f"The database {database} is encoded in {encoding}, which cannot hold every name; make"
            f" one with CREATE DATABASE {database} ENCODING 'UTF8' TEMPLATE template0."
        )
    if not is_made and not may_create:
        raise WarehouseError(
            f"The role {role} may not create anything in the database {database}; once, an owner"
            f" must run GRANT CREATE ON DATABASE {database} TO {role}: for the schema {SCHEMA} and"
            " the extension btree_gist."
        )
    if offered is None:
        raise WarehouseError(
            "The server has no extension btree_gist, which guards history against overlaps; install"
            " PostgreSQL's contrib package."
        )


def upgrade(warehouse: Warehouse) -> bool:
    """Bring a warehouse to today's tables, making it if need be; whether anything changed.

    Writers wait for each other.
    """
    if warehouse.sqlite_file is not None:
        _private_folder(warehouse.sqlite_file)
    if warehouse.is_postgresql:
        with warehouse.read() as connection:
            there = inspect(connection).has_schema(SCHEMA)
        require_suitable(warehouse)
        if not there:
            with warehouse.write("migration") as connection:
                connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    revision = _revision(warehouse)
    if revision == REVISIONS[-1]:
        return False
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with warehouse.write("migration") as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if warehouse.is_postgresql:
            comment(connection)
    return True


def _revision(warehouse: Warehouse) -> str | None:
    with warehouse.read() as connection:
        revision = revision_of(connection)
    if revision is not None and revision < REVISIONS[0]:
        raise WarehouseError(
            f"The warehouse {warehouse.name} was made before version 0.1.0 was released (its"
            f" revision is {revision}); with the version that made it run `sonar-access snapshot"
            " export`, then `snapshot import` with this one, into another place."
        )
    if revision is not None and revision not in REVISIONS:
        raise WarehouseError(
            f"The warehouse {warehouse.name} was written by a newer version (its revision is"
            f" {revision}, this version knows up to {REVISIONS[-1]}); upgrade"
            " sonar-access-pipeline."
        )
    return revision


def _private_folder(file: Path) -> None:
    try:
        private_folder(file.parent)
        with contextlib.suppress(FileExistsError):
            new_private_file(file).close()
    except OSError as error:
        raise WarehouseError(
            f"The warehouse {file} cannot be made: {error.strerror}; choose another"
            " SONAR_ACCESS_DATA_DIR."
        ) from None
