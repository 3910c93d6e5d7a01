"""dbt snapshots as its documentation shows them: load the day into a source table, then `dbt
snapshot`.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

COLUMNS = ["login", *(f"value_{number}" for number in range(9))]
kind, address, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
dbt = str(Path(sys.executable).parent / "dbt")
os.environ["DBT_SEND_ANONYMOUS_USAGE_STATS"] = "false"

PROJECT = (
    "name: bench\nversion: '1.0'\nprofile: bench\nflags:\n  send_anonymous_usage_stats: false\n"
)
SNAPSHOT = """{% snapshot wide %}
{{ config(target_schema='dbt_history', unique_key='login', strategy='check', check_cols='all', invalidate_hard_deletes=True) }}
select * from dbt_raw.day
{% endsnapshot %}
"""  # noqa: E501


def profile():
    """Where dbt writes."""
    if kind == "duckdb":
        output = {"type": "duckdb", "path": address, "schema": "main", "threads": 2}
    else:
        import psycopg2.extensions

        parts = psycopg2.extensions.parse_dsn(address)
        output = {
            "type": "postgres",
            "host": parts["host"],
            "port": int(parts.get("port", 5432)),
            "user": parts["user"],
            "password": parts.get("password", "none"),
            "dbname": parts["dbname"],
            "schema": "public",
            "threads": 2,
        }
    return json.dumps({"bench": {"target": "it", "outputs": {"it": output}}})


def run(*statements, copy=None):
    """Statements in one transaction, `copy` a file into the table of the last; the rows of the last
    one.
    """
    if kind == "duckdb":
        import duckdb

        with duckdb.connect(address) as connection:
            for statement in statements:
                result = connection.execute(statement)
            return result.fetchall()
    import psycopg2

    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        if copy:
            with Path(copy).open() as file:
                cursor.copy_expert("COPY dbt_raw.day FROM STDIN WITH (FORMAT csv, HEADER)", file)
            return []
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def load(file):
    """The day into the source table."""
    if kind == "duckdb":
        run(
            f"CREATE OR REPLACE TABLE dbt_raw.day AS SELECT * FROM read_csv('{file}', all_varchar ="
            " true, header = true)"
        )
    else:
        run("TRUNCATE dbt_raw.day", copy=file)


def snapshot():
    """dbt's command line; what its node took by its own account."""
    done = subprocess.run(
        [dbt, "snapshot", "--project-dir", str(folder), "--profiles-dir", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    results = json.loads((folder / "target" / "run_results.json").read_text())["results"]
    return results[0]["execution_time"]


def prepare(day, past):
    """The first day, then a year of rows that have ended."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "snapshots").mkdir(exist_ok=True)
    (folder / "dbt_project.yml").write_text(PROJECT)
    (folder / "profiles.yml").write_text(profile())
    (folder / "snapshots" / "wide.sql").write_text(SNAPSHOT)
    columns = ", ".join(f"{name} text" for name in COLUMNS)
    run("CREATE SCHEMA IF NOT EXISTS dbt_raw", f"CREATE TABLE dbt_raw.day ({columns})")
    load(day)
    snapshot()
    ended = f"({columns}, valid_from timestamp, valid_to timestamp)"
    names = f"{', '.join(COLUMNS)}, dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to"
    chosen = f"{', '.join(COLUMNS)}, md5(login), valid_from, valid_from, valid_to"
    into = f"INSERT INTO dbt_history.wide ({names}) SELECT {chosen} FROM"
    if kind == "duckdb":
        run(f"{into} read_csv('{past}', header = true, columns = {json.dumps(types())})")
    else:
        run("CREATE TABLE dbt_raw.day_past " + ended)
        run(
            "ALTER TABLE dbt_raw.day RENAME TO day_kept",
            "ALTER TABLE dbt_raw.day_past RENAME TO day",
            copy=past,
        )
        run(
            f"{into} dbt_raw.day",
            "DROP TABLE dbt_raw.day",
            "ALTER TABLE dbt_raw.day_kept RENAME TO day",
        )
    return {}


def types():
    """The columns of the file of the past."""
    return {**dict.fromkeys(COLUMNS, "VARCHAR"), "valid_from": "TIMESTAMP", "valid_to": "TIMESTAMP"}


def day(file):
    """One day: seconds with the command line, and with its node alone."""
    began = time.perf_counter()
    load(file)
    loaded = time.perf_counter() - began
    began = time.perf_counter()
    node = snapshot()
    return {"seconds": loaded + time.perf_counter() - began, "node": loaded + node}


def state():
    """What is open, as a digest, and how many rows have ended that were not there before."""
    rows = run(f"SELECT {', '.join(COLUMNS)} FROM dbt_history.wide WHERE dbt_valid_to IS NULL")
    (ended,) = run(
        "SELECT count(*) FROM dbt_history.wide WHERE dbt_valid_to IS NOT NULL AND login NOT LIKE"
        " 'past-%'"
    )
    return {
        "open": hashlib.sha256(json.dumps(sorted(map(list, rows))).encode()).hexdigest(),
        "ended": ended[0],
    }


csv.field_size_limit(10**9)
for line in sys.stdin:
    command, *arguments = json.loads(line)
    print(
        json.dumps({"prepare": prepare, "day": day, "state": state}[command](*arguments)),
        flush=True,
    )
