"""Whether a service serves, in less than a tenth of a second of CPU: Dagster's own commands for it
take seconds.

usage: python health.py code|web|daemon|reviews
           exit status 0: it serves; what is wrong stands in `docker inspect`
       python health.py reload   have the code server load its definitions anew
"""

import os
import socket
import sys

SECONDS = 20
DAEMON_SECONDS = 300
"""A daemon that is alive writes every half minute that it is."""
QUESTION = (
    b'{"query": "{ runsOrError(limit: 1) { ... on Runs { results { id } } } workspaceOrError '
    b'{ ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"}'
)


def code() -> str | None:
    """Look whether the code server listens, as it does once it has tried to load its
    definitions.
    """
    socket.create_connection(("127.0.0.1", 4000), SECONDS).close()
    return None


def web() -> str | None:
    """Ask the web server for something of its database, and whether the code server's definitions
    were loaded.
    """
    with socket.create_connection(("127.0.0.1", 3000), SECONDS) as opened:
        head = (
            "POST /graphql HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length:"
            f" {len(QUESTION)}\r\n\r\n"
        )
        opened.sendall(head.encode() + QUESTION)
        said = b""
        while piece := opened.recv(1 << 16):
            said += piece
    if b'"results"' not in said:
        return "it does not reach its database"
    return (
        None
        if b'"RepositoryLocation"' in said
        else "the definitions of the code server do not load: its log says why"
    )


def daemon() -> str | None:
    """Look when the daemon wrote last that it is alive."""
    import psycopg2

    url = os.environ["DAGSTER_POSTGRES_URL"].replace("postgresql+psycopg2://", "postgresql://", 1)
    with (
        psycopg2.connect(url, connect_timeout=SECONDS) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT min(extract(epoch FROM now() AT TIME ZONE 'UTC' - timestamp)) FROM"
            " daemon_heartbeats"
        )
        # The newest of all: of a part that is switched off the last word stays.
        (age,) = cursor.fetchone() or (None,)
    return None if age is not None and age < DAEMON_SECONDS else "it is silent"


def reviews() -> str | None:
    """Ask the reviewers' page whether it reaches its database."""
    with socket.create_connection(("127.0.0.1", 8384), SECONDS) as opened:
        opened.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        said = opened.recv(1 << 12)
    return None if b" 200 " in said.split(b"\r\n")[0] else "it does not reach its database"


def reload() -> str | None:
    """Have the code server load its definitions anew; runs that go on are left alone."""
    import grpc

    with grpc.insecure_channel("127.0.0.1:4000") as channel:
        channel.unary_unary("/api.DagsterApi/ReloadCode")(b"", timeout=120)
        answer = channel.unary_unary("/api.DagsterApi/ListRepositories")(b"", timeout=120)
    return (
        None
        if b"ListRepositoriesResponse" in answer
        else "its definitions do not load: its log says why"
    )


KINDS = {"code": code, "web": web, "daemon": daemon, "reviews": reviews, "reload": reload}

if __name__ == "__main__":
    try:
        fault = KINDS[sys.argv[1]]()
    except OSError as error:
        fault = f"it does not answer: {error}"
    if fault:
        sys.exit(f"{sys.argv[1]}: {fault}")
