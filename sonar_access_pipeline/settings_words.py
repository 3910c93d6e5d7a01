"""Faults of settings in words: each setting is named as people wrote it, with its value where that is no secret, and the remedy.

No word of the library that found the fault is repeated, and no place in a list of its.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Models = Mapping[int, type[BaseModel]]
"""The description of settings by how deep they stand: of all, of a table such as the policy, and of one connection."""


def sentences(error: ValidationError, names: Sequence[str], models: Models) -> str:
    """Name the faults of settings, one sentence each. `names` are those of the connections, in the order of the file."""
    return "; ".join(_sentence(detail, names, models) for detail in error.errors(include_url=False))


def _sentence(detail: ErrorDetails, names: Sequence[str], models: Models) -> str:
    place = [str(part) for part in detail["loc"]]
    kind, limits = str(detail["type"]), detail.get("ctx", {})
    if place[:1] == ["connections"] and len(place) > 1 and place[1].isdigit():
        number = int(place[1])
        place[1] = names[number] if number < len(names) else f"number {number + 1}"
    place = [place[0], *(f"number {int(part) + 1}" if part.isdigit() else part for part in place[1:])] if place else []
    said = str(detail["msg"]).removeprefix("Value error, ")
    if kind != "value_error":
        said = WORDS.get(kind, "it is not what it should be").format(**limits)
    if not place:
        # It is about several settings, and names them.
        return said
    if kind == "extra_forbidden":
        return _unknown(place, models)
    given = detail.get("input")
    is_plain = isinstance(given, str | int | float) and place[-1] not in SECRET and "://" not in str(given)
    shown = f" is {str(given)[:60]!r}" if is_plain and kind not in ("missing", "string_too_short") else ""
    return f"{_setting(place)}{shown}: {said}"


def _setting(place: Sequence[str]) -> str:
    """Name a setting as people do: a variable, or its place in the file."""
    if place == ["host_url"]:
        return "SONAR_HOST_URL"
    if len(place) == 1 or place[0] not in ("connections", "policy"):
        return f"SONAR_ACCESS_{place[0].upper()}"
    return f"{place[-1]} in [{'.'.join(place[:-1])}]" if len(place) > 1 else place[0]


def _unknown(place: Sequence[str], models: Models) -> str:
    known = sorted(models[min(len(place), 3)].model_fields)
    near = get_close_matches(place[-1], known, n=1)
    where = f" of [{'.'.join(place[:-1])}]" if len(place) > 1 else ""
    hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
    if place[-1] == "token":
        hint = "; a token never stands in a file of settings: name its variable (token_env) or its file (token_file)"
    return f"{place[-1]} is no setting{where}{hint}"


def unreadable(message: str) -> str:
    """Name the variable that cannot be read; never what it holds."""
    field = re.search(r'field "(\w+)"', message)
    name = f"SONAR_ACCESS_{field[1].upper()}" if field else "A variable SONAR_ACCESS_..."
    return f"{name} cannot be read; what has parts is written as JSON, or in the file that SONAR_ACCESS_CONFIG names."


SECRET = frozenset({"token_env", "warehouse_url", "alert_urls", "heartbeat_url", "timestamp_password", "token"})
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
