"""How the page looks: its templates, one style and one script, which the policy of every answer
allows by digest and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from sonar_access_pipeline.access.roles import May, Role


def _part(name: str) -> str:
    folder = files("sonar_access_pipeline.page") / "templates"
    return (folder / name).read_text(encoding="utf-8")


STYLE, SCRIPT = _part("page.css"), _part("page.js")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{_digest(STYLE)}'; script-src"
    f" 'sha256-{_digest(SCRIPT)}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser lets an answer do: our style, our script, our forms."""


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("sonar_access_pipeline.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"style": STYLE, "script": SCRIPT, "May": May, "Role": Role}
    environment.filters["moment"] = moment
    return environment


def moment(value: datetime | None) -> str:
    """Write a time for people: its day and minute, UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M} UTC"


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Render a page, every value escaped."""
    known = {"visitor": None, "can_leave": False}
    return _templates().get_template(template).render({**known, **values})
