"""dlt's slowly changing dimension to PostgreSQL, from dicts or from a DataFrame, as its
documentation shows.
"""

import csv
import hashlib
import json
import os
import sys
import time
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"

import dlt
import pandas as pd
import psycopg2
from dlt.sources.helpers.transform import add_row_hash_to_table

COLUMNS = ["login", *(f"value_{number}" for number in range(9))]
kind, address, folder = sys.argv[1:4]
dataset = f"dlt_{kind}"
pipeline = dlt.pipeline(
    f"bench_{kind}",
    pipelines_dir=folder,
    destination=dlt.destinations.postgres(address),
    dataset_name=dataset,
)


def resource(data):
    """The day as a resource."""
    strategy = {"disposition": "merge", "strategy": "scd2"}
    if kind == "frame":
        found = dlt.resource(
            data, name="wide", write_disposition={**strategy, "row_version_column_name": "row_hash"}
        )
        return found.add_map(add_row_hash_to_table("row_hash"))
    return dlt.resource(data, name="wide", write_disposition=strategy)


def read(file):
    """The day in memory, before the clock starts."""
    if kind == "frame":
        return [pd.read_csv(file, dtype=str)]
    with Path(file).open(newline="") as opened:
        return list(csv.DictReader(opened))


def day(file):
    """One day."""
    data = read(file)
    began = time.perf_counter()
    pipeline.run(resource(data))
    return {"seconds": time.perf_counter() - began}


def prepare(first, past):
    """The first day, then a year of rows that have ended."""
    day(first)
    ids = "row_hash" if kind == "frame" else "_dlt_id"
    more = "" if kind == "frame" else ", _dlt_load_id"
    unique = "hashtextextended(login, 0)" if kind == "frame" else "md5(login)"
    columns = ", ".join(f"{name} text" for name in COLUMNS)
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE past ({columns}, valid_from timestamptz, valid_to timestamptz)"
        )
        with Path(past).open() as file:
            cursor.copy_expert("COPY past FROM STDIN WITH (FORMAT csv, HEADER)", file)
        names = f"{', '.join(COLUMNS)}, _dlt_valid_from, _dlt_valid_to, {ids}{more}"
        chosen = f"{', '.join(COLUMNS)}, valid_from, valid_to, {unique}{', 0' if more else ''}"
        cursor.execute(f"INSERT INTO {dataset}.wide ({names}) SELECT {chosen} FROM past")
    connection.close()
    return {}


def state():
    """What is open, as a digest, and how many rows have ended that were not there before."""
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(COLUMNS)} FROM {dataset}.wide WHERE _dlt_valid_to IS NULL"
        )
        rows = cursor.fetchall()
        cursor.execute(
            f"SELECT count(*) FROM {dataset}.wide WHERE _dlt_valid_to IS NOT NULL AND login NOT"
            " LIKE 'past-%'"
        )
        (ended,) = cursor.fetchone()
    connection.close()
    return {
        "open": hashlib.sha256(json.dumps(sorted(map(list, rows))).encode()).hexdigest(),
        "ended": ended,
    }


for line in sys.stdin:
    command, *arguments = json.loads(line)
    answer = {"prepare": prepare, "day": day, "state": state}[command](*arguments)
    print(json.dumps(answer), flush=True)
