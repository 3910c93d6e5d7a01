"""How the templates of this package are filled: every value escaped, nothing missing, names from
right to left in their place.
"""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from sonar_access_pipeline.evidence import words


@cache
def templates() -> Environment:
    """Return the templates for HTML and SVG, by their names."""
    return Environment(
        loader=PackageLoader("sonar_access_pipeline.evidence"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_in_order,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _in_order(value: object) -> object:
    """Write a text of the facts in its order; what is marked up has been written already."""
    return words.in_order(value) if type(value) is str else value
