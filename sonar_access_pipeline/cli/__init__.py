"""`sonar-access`: a thin face on the functions that the assets call.

Exit status: 0 success, 1 a finding or a failed check, 2 wrong use, 3 the source cannot be read.

Dagster and pandas are loaded by the commands that need them, so that the others answer at once.
"""

from __future__ import annotations

import click

from sonar_access_pipeline import __version__
from sonar_access_pipeline.cli.alerts import alerts
from sonar_access_pipeline.cli.base import OneSentence
from sonar_access_pipeline.cli.deliver import deliver
from sonar_access_pipeline.cli.evidence import evidence
from sonar_access_pipeline.cli.export import export
from sonar_access_pipeline.cli.questions import access, changes, coverage, findings, who
from sonar_access_pipeline.cli.review import review
from sonar_access_pipeline.cli.serve import review_serve
from sonar_access_pipeline.cli.snapshot import snapshot
from sonar_access_pipeline.cli.source import check, sync
from sonar_access_pipeline.cli.start import demo, ui, upgrade
from sonar_access_pipeline.cli.warehouse import warehouse


@click.group(
    cls=OneSentence,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="sonar-access")
def main() -> None:
    """Prove who has access to SonarCloud, on any day.

    \b
    First:  export SONAR_TOKEN=... SONAR_ORGANIZATION=...
            sonar-access check
            sonar-access sync
    Or see it without an account:
            sonar-access demo
    """


for command in (
    check,
    sync,
    access,
    changes,
    coverage,
    findings,
    who,
    evidence,
    review,
    warehouse,
    snapshot,
    alerts,
    export,
    deliver,
    ui,
    demo,
    upgrade,
):
    main.add_command(command)
review.add_command(review_serve)
