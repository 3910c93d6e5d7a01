"""Faults of settings in words: each setting is named as people wrote it, with its value where that
is no secret, and the remedy.

No word of the library that found the fault is repeated, and no place in a list of its.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class Written:
    """Where people wrote settings: what a sentence about one needs.

    `file` is the settings file, empty where there is none; `of_file` are the settings that stand in
    it and in no variable, `of_variables` those that a variable says. `connections` are the names of
    those in the file, in its order, where they count. `models` describes what can be set: at the
    top (its key is empty), and in the tables below it, by their names.
    """

    models: Mapping[str, type[BaseModel]]
    file: str = ""
    of_file: frozenset[str] = frozenset()
    of_variables: frozenset[str] = frozenset()
    connections: tuple[str, ...] = ()


def sentences(error: ValidationError, written: Written) -> str:
    """Name the faults of settings, one sentence each."""
    return "; ".join(_sentence(detail, written) for detail in error.errors(include_url=False))


def _sentence(detail: ErrorDetails, written: Written) -> str:
    names = written.connections
    place = [str(part) for part in detail["loc"]]
    kind = str(detail["type"])
    limits = detail.get("ctx", {})
    if place[:1] == ["connections"] and len(place) > 1 and place[1].isdigit():
        number = int(place[1])
        place[1] = names[number] if number < len(names) else f"number {number + 1}"
    place = (
        [place[0], *(f"number {int(part) + 1}" if part.isdigit() else part for part in place[1:])]
        if place
        else []
    )
    problem = str(detail["msg"]).removeprefix("Value error, ")
    if kind != "value_error":
        problem = WORDS.get(kind, "it is not what it should be").format(**limits)
    if not place:
        # It is about several settings, and names them.
        return problem
    if kind == "extra_forbidden":
        return _unknown(place, written.models)
    given = detail.get("input")
    is_plain = (
        isinstance(given, str | int | float) and place[-1] not in SECRET and "://" not in str(given)
    )
    shown = (
        f" is {str(given)[:60]!r}"
        if is_plain and kind not in ("missing", "string_too_short")
        else ""
    )
    return f"{_setting(place, written)}{shown}: {problem}"


def _setting(place: list[str], written: Written) -> str:
    """Name a setting as people do: a variable, or its place in the file."""
    if place == ["host_url"]:
        return "SONAR_HOST_URL"
    if len(place) > 1 and place[0] in written.models and place[0] not in written.of_variables:
        return f"{place[-1]} in [{'.'.join(place[:-1])}]"
    if place[0] in written.of_file:
        return f"{place[0]} in {written.file}"
    within = f"{place[-1]} in " if len(place) > 1 and place[0] in written.models else ""
    return f"{within}SONAR_ACCESS_{place[0].upper()}"


def _unknown(place: list[str], models: Mapping[str, type[BaseModel]]) -> str:
    # The name of a connection is anybody's choice; what stands in one are its fields.
    tables = place[:1] if place[0] == "connections" else place[:-1]
    table = (
        next((name for name in reversed(tables) if name in models), "") if len(place) > 1 else ""
    )
    known = sorted(models[table].model_fields)
    near = get_close_matches(place[-1], known, n=1)
    where = f" of [{'.'.join(place[:-1])}]" if len(place) > 1 else ""
    hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
    if place[-1] == "token":
        hint = (
            "; a token never stands in a file of settings: name its variable (token_env) or its"
            " file (token_file)"
        )
    return f"{place[-1]} is no setting{where}{hint}"


def unreadable(message: str) -> str:
    """Name the variable that cannot be read; never what it holds."""
    field = re.search(r'field "(\w+)"', message)
    name = f"SONAR_ACCESS_{field[1].upper()}" if field else "A variable SONAR_ACCESS_..."
    return (
        f"{name} cannot be read; what has parts is written as JSON, or in the file that"
        " SONAR_ACCESS_CONFIG names."
    )


SECRET = frozenset(
    {
        "token_env",
        "warehouse_url",
        "alert_urls",
        "heartbeat_url",
        "mail_url",
        "timestamp_password",
        "token",
    }
)
"""Settings whose values are never repeated."""
WORDS = {
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "greater_than_equal": "write {ge} or more",
    "less_than_equal": "write {le} or less",
    "date_parsing": "write a day as 2026-01-31",
    "date_from_datetime_parsing": "write a day as 2026-01-31",
    "date_type": "write a day as 2026-01-31",
    "string_type": "write a text",
    "string_pattern_mismatch": "it has another form than it should; see docs/settings.md",
    "string_too_short": "it is empty",
    "too_short": "it is empty",
    "tuple_type": "write a list",
    "dict_type": "write a table",
    "model_type": "write a table",
    "model_attributes_type": "write a table",
    "path_type": "write a path",
    "missing": "it is missing",
}
"""What is wrong with a value, by pydantic's name for it."""
