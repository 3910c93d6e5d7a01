"""CONTRIBUTING.md names every file that a change of its kind touches: what is like it, and was
added, stands in no other.
"""

from __future__ import annotations

import re

import pytest

from sonar_access_pipeline_tests.house.test_released import A_COLUMN, A_POLICY_FIELD, A_RULE
from sonar_access_pipeline_tests.support.deployment import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = {
    title: body for title, _, body in (part.partition("\n") for part in PAGE.split("\n## ")[1:])
}
LIKE_IT = {
    # What was added, and who only uses it.
    "A rule": ("outside-email-domain", {"sonar_access_pipeline/access/policy.py"}),
    "A field of the policy": ("max_token_days", {"sonar_access_pipeline/access/rules.py"}),
    "A column of a packet": (
        "access_unchanged_since",
        {
            "sonar_access_pipeline/evidence/pdf.py",
            "sonar_access_pipeline/evidence/reviews/opening.py",
            "sonar_access_pipeline/evidence/workbook.py",
            "sonar_access_pipeline/deliveries/targets/drata.py",
            "sonar_access_pipeline/deliveries/targets/files.py",
            "sonar_access_pipeline/evidence/templates/report.html.j2",
            "docs/evidence.md",
            "docs/queries.md",
            "docs/deliveries.md",
        },
    ),
    "A setting": (
        "keep_runs_days",
        {"sonar_access_pipeline/orchestration/sensors.py", "docs/deploy.md"},
    ),
    "A history table": ("bridge_group_member", None),
    "A list of SonarCloud": ("user_tokens", {"sonar_access_pipeline/sonarcloud/client.py"}),
}
MADE = {
    "A column of a packet": {"docs/packet-dictionary.md", "docs/data-dictionary.md"},
    "A setting": {"docs/settings.md"},
}
"""By `make dictionary`."""
SEARCHED = ("sonar_access_pipeline", "docs", "deploy")


def named(title: str) -> set[str]:
    return set(
        re.findall(
            r"`((?:sonar_access_pipeline|sonar_access_pipeline_tests|docs|deploy)/[\w./-]*)`",
            RECIPES[title],
        )
    )


def mentioning(word: str) -> set[str]:
    files = (file for folder in SEARCHED for file in (ROOT / folder).rglob("*") if file.is_file())
    texts = (
        file
        for file in files
        if file.suffix in (".py", ".md", ".j2", ".sql", ".example", ".yaml", ".toml", ".sh")
    )
    return {
        str(file.relative_to(ROOT))
        for file in texts
        if re.search(rf"\b{word}\b", file.read_text(), re.I)
    }


@pytest.mark.parametrize("title", [title for title in RECIPES if title != "A release"])
def test_a_recipe_names_files_that_are_there_and_misses_none(title: str) -> None:
    files = named(title)
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []
    word, uses = LIKE_IT[title]
    if uses is None:
        return
    others = mentioning(word) - MADE.get(title, set()) - uses
    assert {
        name
        for name in others
        if not any(name == one or name.startswith(f"{one.rstrip('/')}/") for one in files)
    } == set()


@pytest.mark.parametrize(
    ("title", "changes"),
    [
        ("A rule", [A_RULE]),
        ("A field of the policy", [A_POLICY_FIELD]),
        ("A column of a packet", [*A_COLUMN]),
    ],
)
def test_what_was_tried_on_a_copy_is_what_the_recipe_says(
    title: str, changes: list[tuple[str, str, str]]
) -> None:
    assert {f"sonar_access_pipeline/{name}" for name, _, _ in changes} <= named(title)
