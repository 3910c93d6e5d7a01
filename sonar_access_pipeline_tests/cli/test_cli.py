"""The command line as people use it: a real process, its exit status, one clear sentence, no
traceback, nothing half-written.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.ledger import Entry, Event, messages_of
from sonar_access_pipeline.alerts.problems import Problem
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger.alerts import ALERTING, note, note_look
from sonar_access_pipeline_tests.support.commands import TODAY, TOKEN, Commands, ends, settings
from sonar_access_pipeline_tests.support.mailbox import mailbox
from sonar_access_pipeline_tests.support.shown import shown

AFTER = TODAY + timedelta(days=2)


running: Commands


@pytest.fixture(scope="module", autouse=True)
def _running(commands: Commands) -> None:
    global running
    running = commands


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`sonar-access` with `arguments` in `folder`, seeing no settings but `environment`."""
    return running.run(folder, arguments, environment)


def run_anew(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The same in a process that loads everything itself, as on somebody's machine."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SONAR", "DAGSTER"))
    }
    command = [
        sys.executable,
        "-c",
        "from sonar_access_pipeline.cli import main; main()",
        *arguments,
    ]
    return subprocess.run(
        command, cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )


def tamper(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


HEAVY = ("dagster", "pandas", "sqlalchemy", "requests", "pydantic", "alembic", "cryptography")


def test_what_only_shows_help_loads_nothing_that_a_question_needs(tmp_path: Path) -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from sonar_access_pipeline.cli import main\n"
            "try: main(['--help'])\n"
            "finally: print(sorted(sys.modules))",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "findings" in said
    loaded = said.splitlines()[-1]
    assert [name for name in HEAVY if f"'{name}'" in loaded] == []


def test_a_review_is_planned_from_a_sealed_packet_alone(
    simulator: Simulator, tmp_path: Path
) -> None:
    known = settings(simulator)
    synced = run(tmp_path, "sync", **known)
    folder = synced.stdout.split("Evidence packet of this run: ")[1].splitlines()[0].strip()
    planned = run(tmp_path, "review", "plan", folder, "--format", "json", **known)
    ends(planned, 0, "the packet has 30 accounts", "permissions on projects were not read")
    items = json.loads(planned.stdout)
    assert [item["item_no"] for item in items] == list(range(1, len(items) + 1))
    assert sum(item["kind"] == "account" for item in items) == 30
    assert {item["kind"] for item in items} == {"account", "privilege", "grant"}
    admins = run(tmp_path, "review", "plan", folder, "--scope", "admins", **known)
    ends(admins, 0, "left out", "privilege")
    why = run(tmp_path, "review", "plan", folder, "--scope", "admins", "--left-out", **known)
    ends(why, 0, "the account holds no privileged right")
    population = Path(folder) / "population.csv"
    population.write_bytes(population.read_bytes().replace(b",true,", b",false,", 1))
    ends(run(tmp_path, "review", "plan", folder, **known), 1, "is not what was sealed")


def test_findings_lives_and_rights_are_asked_for_by_name(
    simulator: Simulator, tmp_path: Path
) -> None:
    known = settings(simulator)
    ends(run(tmp_path, "sync", **known), 0)
    rows = json.loads(run(tmp_path, "access", "--format", "json", **known).stdout)
    admin = next(row for row in rows if row["entitlement"] == "admin" and row["login"])
    login, group = admin["login"], admin["granted_via_name"]

    mine = json.loads(
        run(tmp_path, "access", "--account", login, "--format", "json", **known).stdout
    )
    groups = {f"group:{row['resource']}" for row in mine if row["access_type"] == "group"}
    assert [row for row in rows if row["login"] == login] == [row for row in mine if row["login"]]
    assert {row["granted_via"] for row in mine if row["principal_type"] == "group"} <= groups
    through = json.loads(
        run(tmp_path, "access", "--group", group, "--format", "json", **known).stdout
    )
    assert login in {row["login"] for row in through}
    assert {row["granted_via_name"] or row["resource_name"] for row in through} == {group}
    ends(
        run(tmp_path, "access", "--account", "nobody", **known),
        1,
        "shows no right of the account 'nobody'",
    )
    ends(
        run(tmp_path, "access", "--project", "p", **known),
        1,
        "did not read permissions on projects, so nobody knows",
    )

    found = run(tmp_path, "findings", "--format", "json", **known)
    ends(found, 0, "Answered by the observation of", "--all says why")
    findings = json.loads(found.stdout)
    severities = [("high", "medium", "low").index(row["severity"]) for row in findings]
    assert severities == sorted(severities)
    assert {row["result"] for row in findings} == {"fail"}
    ends(run(tmp_path, "findings", "--check", **known), 1, f"{len(findings)} open.")
    ends(run(tmp_path, "findings", "--all", **known), 0, "not_evaluable")

    ends(
        run(tmp_path, "who", login, **known),
        0,
        login,
        f"administers through group {group}",
        "What it may do now",
        "first_observed",
    )
    ends(run(tmp_path, "who", f"{login}x", **known), 1, "No observation shows", f"Perhaps: {login}")
    life = json.loads(run(tmp_path, "who", login, "--format", "json", **known).stdout)
    assert {row["login"] for row in life} == {login}
    ends(run(tmp_path, "evidence", "list", **known), 0, "packet", "acme")


def test_check_sync_and_every_question_after_it(simulator: Simulator, tmp_path: Path) -> None:
    known = settings(simulator)
    ends(
        run_anew(tmp_path, "check", **known),
        0,
        "sonar-access-reader",
        "Only GET",
        "60 days",
        "signed by a key to be made",
    )
    assert not (tmp_path / ".sonar-access" / "signing_key").exists(), (
        "a check leaves nothing behind"
    )
    synced = run_anew(tmp_path, "sync", **known)
    ends(synced, 0, "Who administers acme", "sonar-access-reader", "Evidence packet of this run")
    ends(run(tmp_path, "sync", **known), 0)
    folder = synced.stdout.split("Evidence packet of this run: ")[1].splitlines()[0].strip()
    assert not (Path(folder) / "report.html").exists(), "a day's packet is data"
    day = Path(folder).parent.name.partition("_")[0]
    for_people = ("evidence", "build", "--from", day, "--to", day, "--for-people")
    made = run(tmp_path, *for_people, **known)
    ends(
        made,
        0,
        "Verified, since it had been sealed before",
        "High: ",
        "and not sealed:",
    )
    (report,) = tmp_path.glob("acme_*/report.html")
    assert str(report.parent) in made.stdout.replace("\n", "")
    assert "no signature holds this file" in report.read_text()
    ends(run(tmp_path, *for_people, **known), 0, "and not sealed:")
    verified = run(tmp_path, "evidence", "verify", folder)
    ends(
        verified,
        0,
        "as it was sealed; the warehouse says the same",
        "compare it with the fingerprint",
    )
    fingerprint = next(
        word for word in verified.stdout.split() if word.startswith("SHA256:")
    ).rstrip(":,.")
    ends(
        run(tmp_path, "evidence", "verify", folder, "--fingerprint", fingerprint),
        0,
        "which you named",
    )
    ends(
        run(tmp_path, "evidence", "verify", folder, "--fingerprint", f"SHA256:{'x' * 43}"),
        1,
        "none of the keys",
    )
    ends(
        run(tmp_path, "evidence", "verify", folder, "--fingerprint", "SHA256:x"),
        2,
        "'SHA256:x' is none",
    )
    ends(run(tmp_path, "evidence", "verify", folder, "--offline"), 0, "the warehouse was not asked")
    ends(
        run(tmp_path, "evidence", "worksheet", folder, "--to", "review.xlsx"), 0, "stays the record"
    )
    ends(
        run(tmp_path, "evidence", "worksheet", folder, "--to", "review.xlsx"), 2, "is there already"
    )
    ends(
        run(tmp_path, "evidence", "export-raw", folder, "--to", "answers", **known),
        0,
        "answers written to",
    )
    assert (tmp_path / "answers" / "SHA256SUMS").read_text().count("\n") == len(
        list((tmp_path / "answers").iterdir())
    ) - 1
    ends(run(tmp_path, "check", **known), 0, "self-signed on the collecting machine")
    (tmp_path / ".sonar-access" / "signing_key").chmod(0o644)
    ends(run(tmp_path, "check", **known), 1, "evidence: The signing key", "chmod 600")
    (tmp_path / ".sonar-access" / "signing_key").chmod(0o600)
    (tmp_path / ".sonar-access" / "evidence").rename(tmp_path / "share")
    ends(run(tmp_path, "check", **known), 1, "a share that is not mounted")
    (tmp_path / "share").rename(tmp_path / ".sonar-access" / "evidence")
    ends(
        run(tmp_path, "evidence", "rotate-key", str(tmp_path / "none"), **known),
        1,
        "cannot be read",
    )
    rows = json.loads(run(tmp_path, "access", "--format", "json", **known).stdout)
    assert len({row["login"] for row in rows if row["access_type"] == "membership"}) == 30
    ends(run(tmp_path, "access", "--as-of", "2020-01-01", **known), 1, "the past cannot be fetched")
    found = run(tmp_path, "changes", "--from", str(TODAY), "--to", str(TODAY), **known)
    ends(found, 0, "first_observed", "What changed before", "is not known")
    ends(
        run(tmp_path, "changes", "--from", str(TODAY), "--to", str(AFTER), **known),
        2,
        f"{AFTER} has not come yet",
    )
    ends(
        run(tmp_path, "coverage", "--from", str(TODAY), "--to", str(AFTER), **known),
        2,
        f"{AFTER} has not come yet",
    )
    ends(run(tmp_path, "access", "--as-of", str(AFTER), **known), 2, f"{AFTER} has not come yet")
    ends(run(tmp_path, "access", "--as-of", f"{AFTER}T00:00", **known), 2, "has not come yet")
    ends(
        run(tmp_path, "access", "--as-of", str(TODAY), **known), 0, "Answered by the observation of"
    )
    ends(
        run(tmp_path, "coverage", "--from", str(TODAY), "--to", str(TODAY), "--check", **known),
        0,
        "observed",
    )
    ends(
        run(tmp_path, "coverage", "--from", "2020-01-01", "--to", "2020-01-02", "--check", **known),
        1,
        "nothing to check",
    )
    month = run(tmp_path, "coverage", "--to", str(TODAY), **known)
    ends(month, 0, "observed", "29 days are left out")
    assert "missing" not in month.stdout, "days before the first try were nobody's to observe"
    ends(run(tmp_path, "snapshot", "list", **known), 0, "complete")
    ends(run(tmp_path, "evidence", "list", **known), 0, "simulated")
    ends(
        run(tmp_path, "evidence", "build", "--from", str(TODAY), "--to", str(TODAY), **known),
        0,
        "Digest: ",
    )
    ends(run(tmp_path, "warehouse", "upgrade", **known), 0, "already at revision")
    ends(run(tmp_path, "warehouse", "rebuild", **known), 0, "from 2 observations")
    ends(
        run(tmp_path, "warehouse", "verify", **known),
        0,
        "is what was recorded",
        "history of 2 observations",
    )
    basis = ("--basis", "request 17", "--by", "dpo")
    ends(
        run(tmp_path, "warehouse", "redact", "sonar-access-reader", *basis, **known),
        1,
        "has access to",
        "then redact",
    )
    ends(
        run(tmp_path, "warehouse", "redact", "nobody", *basis, **known),
        1,
        "Nobody of login 'nobody'",
    )
    ends(
        run(tmp_path, "warehouse", "grant", "team", "--as", "analyst", **known),
        1,
        "SQLite has no roles",
    )
    tamper(
        tmp_path / ".sonar-access" / "warehouse.sqlite",
        "DELETE FROM bridge_group_member WHERE login = 'sonar-access-reader'",
    )
    ends(
        run(tmp_path, "warehouse", "verify", **known),
        1,
        "is in the snapshots and not in the table",
        "is not what was recorded",
    )
    ends(run(tmp_path, "warehouse", "rebuild", **known), 0)
    ends(run(tmp_path, "warehouse", "verify", **known), 0)
    (Path(folder) / "access.csv").write_text("nothing")
    ends(run(tmp_path, "evidence", "verify", folder), 1, "access.csv was changed")


def test_a_sync_killed_at_any_moment_is_finished_by_the_next(
    simulator: Simulator, tmp_path: Path
) -> None:
    """SIGKILL from before the first request to after the seal; then one sync, compared with the
    truth.
    """
    known = settings(simulator)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SONAR", "DAGSTER"))
    }
    command = [sys.executable, "-c", "from sonar_access_pipeline.cli import main; main()", "sync"]
    killed = 0
    for seconds in (1.6, 1.9, 2.2, 2.5, 2.8, 3.2):
        with subprocess.Popen(
            command, cwd=tmp_path, env=clean | known, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
    assert killed
    ends(run(tmp_path, "sync", **known), 0)
    rows = json.loads(run(tmp_path, "access", "--format", "json", **known).stdout)
    columns = ("login", "access_type", "resource", "entitlement", "granted_via")
    assert {
        tuple(row[column] for column in columns) for row in rows
    } == simulator.organization().truth()
    ends(run(tmp_path, "coverage", "--from", str(TODAY), "--to", str(TODAY), "--check", **known), 0)
    packets = [
        path
        for path in (tmp_path / ".sonar-access" / "evidence" / "acme").glob("*/*")
        if not path.name.startswith(".")
    ]
    for packet in packets:
        ends(run(tmp_path, "evidence", "verify", str(packet)), 0)


def test_a_check_warns_and_tells_the_ages_of_the_accounts_own_tokens(
    simulator: Simulator, tmp_path: Path
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o644)
    known = {name: value for name, value in settings(simulator).items() if name != "SONAR_TOKEN"}
    known |= {
        "SONAR_TOKEN_FILE": str(token_file),
        "SONAR_ACCESS_SCOPES": "project_permissions,account_details",
    }
    done = run(tmp_path, "check", **known)
    ends(
        done,
        0,
        "This account has 2 tokens",
        "days old",
        "expires in",
        "can be read by other accounts",
    )
    token_file.chmod(0o600)
    ends(run(tmp_path, "check", **known), 0)


def test_a_held_snapshot_is_listed_said_with_every_answer_and_decided_upon(
    simulator: Simulator, tmp_path: Path
) -> None:
    known, everybody = settings(simulator), simulator.organization()
    ends(run(tmp_path, "sync", **known), 0)
    fewer = everybody.copied()
    for login in sorted(set(everybody.names) - {"sonar-access-reader"})[:15]:
        fewer.leave(login)
    simulator.organization = lambda: fewer
    ends(
        run(tmp_path, "sync", **known),
        3,
        "The snapshot is held",
        "15 of 30 members",
        "snapshot confirm 2",
    )
    ends(run(tmp_path, "snapshot", "list", **known), 0, "held", "15 of 30 members")
    ends(run(tmp_path, "access", **known), 0, "Held: snapshot 2", "waits for a decision")
    day = ("--from", str(TODAY), "--to", str(TODAY))
    ends(
        run(tmp_path, "changes", *day, **known),
        1,
        "Held: snapshot 2",
        "What changed is not known: its only observation is the first",
    )
    ends(
        run(tmp_path, "alerts", "list", **known),
        1,
        "Snapshot 2 of acme",
        "is held and waits for a person",
        "No watch has ever",
    )
    named = run(tmp_path, "snapshot", "show", "2", **known)
    ends(
        named,
        0,
        "15 members would disappear",
        "disappears",
        *sorted(set(everybody.names) - set(fewer.names))[:3],
    )
    rows = json.loads(run(tmp_path, "snapshot", "show", "2", "--format", "json", **known).stdout)
    assert {row["login"] for row in rows if row["access_type"] == "membership"} == set(
        everybody.names
    ) - set(fewer.names)
    admins = [row["is_admin"] for row in rows]
    assert admins == sorted(admins, reverse=True), "admins first"
    ends(run(tmp_path, "snapshot", "confirm", "2", **known), 2, "--reason")
    ends(
        run(tmp_path, "snapshot", "confirm", "2", "--reason", " ", **known),
        2,
        "neither can be empty",
    )
    ends(run(tmp_path, "snapshot", "confirm", "7", "--reason", "r", **known), 1, "no snapshot 7")
    done = run(
        tmp_path, "snapshot", "confirm", "2", "--reason", "they left", "--by", "ada", **known
    )
    ends(done, 0, "Snapshot 2 of acme is confirmed")
    ends(run(tmp_path, "snapshot", "list", **known), 0, "confirmed by ada: they left")
    ends(run(tmp_path, "snapshot", "show", "2", **known), 0, "confirmed by ada on", "they left")
    ends(run(tmp_path, "snapshot", "show", "77", **known), 1, "no snapshot 77")
    rows = json.loads(run(tmp_path, "access", "--format", "json", **known).stdout)
    assert {row["login"] for row in rows if row["access_type"] == "membership"} == set(fewer.names)
    ends(run(tmp_path, "sync", **known), 0)
    ends(
        run(tmp_path, "snapshot", "retract", "3", "--reason", "was a test", **known),
        0,
        "is retracted",
    )


def test_a_scope_that_does_not_answer_takes_no_packet_with_it(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The likely first day of `account_details`: the newer interface does not answer, and the day
    is sealed all the same.
    """
    known = settings(simulator) | {"SONAR_ACCESS_SCOPES": "account_details"}
    simulator.v2 = False
    folders = []
    for _ in range(2):
        synced = run(tmp_path, "sync", **known)
        ends(synced, 0, "Who administers acme")
        folders.append(
            synced.stdout.split("Evidence packet of this run: ")[1].splitlines()[0].strip()
        )
    assert len(set(folders)) == 2, "each run names its own"
    limits = (Path(folders[1]) / "limits.csv").read_text()
    assert (
        '"e-mail, durable id and identity provider",no,scope account_details was not read by the'
        " last observation" in limits
    )


def test_snapshots_are_carried_to_another_warehouse(simulator: Simulator, tmp_path: Path) -> None:
    known = settings(simulator)
    ends(run(tmp_path, "sync", **known), 0)
    ends(
        run(tmp_path, "snapshot", "export", "acme.zip", **known),
        0,
        "1 snapshots of acme are in acme.zip",
        "SHA-256: ",
    )
    ends(run(tmp_path, "snapshot", "export", "acme.zip", **known), 1, "File exists")
    elsewhere = {"SONAR_ACCESS_DATA_DIR": "elsewhere"}
    ends(
        run(tmp_path, "snapshot", "import", "acme.zip", **elsewhere),
        0,
        "1 snapshots of acme were imported",
    )
    ends(run(tmp_path, "snapshot", "import", "acme.zip", **elsewhere), 0, "1 were there already")
    ends(run(tmp_path, "access", "--organization", "acme", **elsewhere), 0, "imported from archive")
    ends(
        run(tmp_path, "coverage", "--to", str(TODAY), "--from", str(TODAY), **elsewhere),
        0,
        "archive ",
    )
    ends(run(tmp_path, "snapshot", "import", "none.zip", **elsewhere), 1, "cannot be read")


def test_one_connection_without_a_token_does_not_keep_the_others_from_being_synced(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(
        f"[connections.acme]\norganization = 'acme'\nhost_url = '{simulator.url}'\ntoken_env ="
        " 'ACME_TOKEN'\n[connections.beta]\norganization = 'beta'\nhost_url ="
        f" '{simulator.url}'\ntoken_env = 'BETA_TOKEN'\n[connections.gone]\norganization ="
        f" 'gone'\nhost_url = '{simulator.url}'\ntoken_env = 'ACME_TOKEN'\n"
    )
    known = {"SONAR_ACCESS_CONFIG": "config.toml", "ACME_TOKEN": TOKEN}
    ends(
        run(tmp_path, "sync", **known),
        3,
        "beta: No token is set",
        "gone: The token's owner is in no",
        "Who administers acme",
    )
    ends(
        run(tmp_path, "check", **known),
        3,
        "beta: No token is set",
        "gone: The token's owner is in no",
        "acme: the token of",
    )


def test_channels_are_tried_and_problems_listed_with_who_was_told(
    simulator: Simulator, tmp_path: Path
) -> None:
    with mailbox() as box:
        known = settings(simulator) | {
            "SONAR_ACCESS_ALERT_URLS": box.alert_url,
            "SONAR_ACCESS_HEARTBEAT_URL": box.heartbeat_url,
        }
        ends(run(tmp_path, "alerts", "test", **known), 0, "json:", "taken", "heartbeat: taken")
        assert box.titles == ["SonarCloud access: a test"]
        box.status = 500
        broken = run(tmp_path, "alerts", "test", **known)
        ends(broken, 1, "does not take the message", "heartbeat: the heartbeat URL answers 500")
        assert "pa55word" not in broken.stdout + broken.stderr
        assert "secret-of-the-heartbeat" not in broken.stdout + broken.stderr
    ends(
        run(tmp_path, "alerts", "test", **settings(simulator)),
        2,
        "No channel is set; set SONAR_ACCESS_ALERT_URLS",
    )
    ends(run(tmp_path, "sync", **settings(simulator)), 0)
    ends(
        run(tmp_path, "alerts", "list", **settings(simulator)),
        1,
        "No watch has ever looked at this warehouse",
    )
    with closing(Warehouse(f"sqlite:///{tmp_path}/.sonar-access/warehouse.sqlite")) as warehouse:
        with warehouse.write(ALERTING) as transaction:
            note_look(transaction, "default", datetime.now(UTC) - timedelta(hours=3))
        ends(run(tmp_path, "alerts", "list", **settings(simulator)), 1, "The watch looked last on")
        with warehouse.write(ALERTING) as transaction:
            note_look(transaction, "default", datetime.now(UTC))
    ends(run(tmp_path, "alerts", "list", **settings(simulator)), 0, "Nothing is wrong.")
    problem = Problem(
        "default:sync", Cause.LOST, "lost:deployment", "The process was lost.", connection="default"
    )
    with closing(Warehouse(f"sqlite:///{tmp_path}/.sonar-access/warehouse.sqlite")) as warehouse:
        entries = [Entry(Event.RAISED, problem)]
        with warehouse.write(ALERTING) as transaction:
            note(
                transaction,
                entries,
                messages_of(entries, str),
                ["slack:12345678"],
                datetime.now(UTC),
            )
    found = run(tmp_path, "alerts", "list", "--format", "json", **settings(simulator))
    ends(found, 1, "The process was lost.", "slack:12345678 not taken after 0 tries")
    ends(run(tmp_path, "alerts", "list", "--all", **settings(simulator)), 0, "raised", "lost")


def test_an_outside_monitor_sees_a_day_that_is_missing_of_any_connection(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(
        f"[connections.acme]\norganization = 'acme'\nhost_url = '{simulator.url}'\ntoken_env ="
        " 'ACME_TOKEN'\n[connections.beta]\norganization = 'beta'\nhost_url ="
        f" '{simulator.url}'\ntoken_env = 'ACME_TOKEN'\n"
    )
    known = {"SONAR_ACCESS_CONFIG": "config.toml", "ACME_TOKEN": TOKEN}
    run(tmp_path, "sync", **known)
    today = str(datetime.now(UTC).date())
    ends(
        run(tmp_path, "coverage", "--organization", "acme", "--to", today, "--check", **known),
        0,
        today,
        "observed",
    )
    ends(
        run(tmp_path, "coverage", "--to", today, "--check", **known),
        1,
        "no snapshot of organization 'beta'",
    )


def test_an_organization_that_ends_is_not_missed_any_more(
    simulator: Simulator, tmp_path: Path
) -> None:
    ends(run(tmp_path, "sync", **settings(simulator)), 0)
    today = str(datetime.now(UTC).date())
    reason = ("--on", today, "--reason", "moved", "--by", "eve")
    ends(
        run(tmp_path, "warehouse", "end", *reason, **settings(simulator)),
        0,
        "acme is not expected to be observed after",
    )


def test_missing_settings_are_named(tmp_path: Path) -> None:
    ends(run(tmp_path, "sync"), 2, "set SONAR_ORGANIZATION")
    ends(run(tmp_path, "sync", SONAR_ORGANIZATION="acme"), 2, "set SONAR_TOKEN")
    ends(run(tmp_path, "check"), 2, "set SONAR_ORGANIZATION")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SONAR_HOST_URL": "http://sonarcloud.io"}, "plain http"),
        ({"SONAR_HOST_URL": "sonarcloud.io"}, "SONAR_HOST_URL"),
        ({"SONAR_REGION": "mars"}, "eu or us"),
        ({"SONAR_TOKEN": "two words"}, "not a token"),
        ({"SONAR_ACCESS_HOUR": "25"}, "SONAR_ACCESS_HOUR"),
        ({"SONAR_ACCESS_FIRST_DAY": "yesterday"}, "SONAR_ACCESS_FIRST_DAY"),
        ({"SONAR_ACCESS_CONFIG": "none.toml"}, "names no file"),
    ],
)
def test_malformed_settings_are_named(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    ends(
        run(tmp_path, "sync", **({"SONAR_TOKEN": "x", "SONAR_ORGANIZATION": "acme"} | environment)),
        2,
        words,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "toml",
    [
        "not toml at all [",
        "hours = 5",
        "[connections.acme]\norganisation = 'acme'",
        "[connections.Acme]\norganization = 'acme'",
        "[connections.a]\norganization = 'acme'\n[connections.b]\norganization = 'acme'",
    ],
)
def test_a_malformed_file_is_one_sentence(tmp_path: Path, toml: str) -> None:
    (tmp_path / "config.toml").write_text(toml)
    ends(run(tmp_path, "sync", SONAR_ACCESS_CONFIG="config.toml"), 2, "Error:")


def test_connections_come_from_the_file_and_their_tokens_from_the_environment(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(
        "data_dir = 'here'\n[connections.acme]\norganization = 'acme'\nhost_url ="
        f" '{simulator.url}'\ntoken_env = 'ACME_TOKEN'\n"
    )
    known = {"SONAR_ACCESS_CONFIG": "config.toml", "ACME_TOKEN": TOKEN}
    ends(run(tmp_path, "sync", "--connection", "acme", **known), 0, "Who administers acme")
    assert (tmp_path / "here" / "warehouse.sqlite").exists()
    ends(run(tmp_path, "sync", "--connection", "other", **known), 2, "there is: acme")


def test_a_wrong_token_a_wrong_organization_and_a_caller_without_the_right_are_told_apart(
    simulator: Simulator, tmp_path: Path
) -> None:
    known = settings(simulator)
    for command in ("check", "sync"):
        ends(run(tmp_path, command, **known | {"SONAR_TOKEN": "wrong"}), 3, "refuses the token")
        ends(
            run(tmp_path, command, **known | {"SONAR_ORGANIZATION": "acne"}),
            3,
            "no organization 'acne'",
        )
    organization = simulator.organization()
    simulator.tokens["plain"] = next(
        login for login in sorted(organization.names) if login not in organization.admins()
    )
    ends(run(tmp_path, "check", **known | {"SONAR_TOKEN": "plain"}), 3, "Administer organization")


def test_an_unreachable_host_is_named(tmp_path: Path) -> None:
    known = {
        "SONAR_TOKEN": TOKEN,
        "SONAR_ORGANIZATION": "acme",
        "SONAR_HOST_URL": "http://127.0.0.1:9",
    }
    ends(run(tmp_path, "check", **known), 3, "http://127.0.0.1:9 cannot be reached")


def test_a_data_folder_that_cannot_be_written_is_named(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    ends(
        run(tmp_path, "sync", **settings(simulator), SONAR_ACCESS_DATA_DIR=str(tmp_path / "taken")),
        2,
        "cannot be written",
    )
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_warehouse_that_cannot_be_reached_fails_the_sync_with_its_name_and_no_password(
    simulator: Simulator, tmp_path: Path
) -> None:
    url = "postgresql://user:pa55word@127.0.0.1:1/none"
    done = run(tmp_path, "sync", **settings(simulator), SONAR_ACCESS_WAREHOUSE_URL=url)
    ends(done, 1, "127.0.0.1:1/none", "SONAR_ACCESS_WAREHOUSE_URL")
    assert "pa55word" not in done.stdout + done.stderr


def test_a_warehouse_of_a_newer_version_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    import sqlite3

    known = settings(simulator)
    ends(run(tmp_path, "warehouse", "upgrade", **known), 0)
    with sqlite3.connect(tmp_path / ".sonar-access" / "warehouse.sqlite") as connection:
        connection.execute("UPDATE sonar_access_version SET version_num = '9999'")
    for arguments in (("sync",), ("access",), ("warehouse", "upgrade")):
        ends(run(tmp_path, *arguments, **known), 1, "newer version")


def test_asking_before_the_first_sync_makes_nothing(tmp_path: Path) -> None:
    ends(run(tmp_path, "access"), 1, "run `sonar-access sync` first")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("access", "--as-of", "soon"),
        ("changes", "--from", "2026-02-01", "--to", "2026-01-01"),
        ("changes", "--from", "1.2.2026", "--to", "2026-01-01"),
        ("evidence", "build"),
        ("evidence", "build", "--month", "2026-13"),
        ("evidence", "build", "--month", "2026-01", "--quarter", "2026Q1"),
        ("evidence", "build", "--quarter", "2999Q1"),
        ("nonsense",),
    ],
)
def test_wrong_use_is_status_two(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ends(run(tmp_path, *arguments), 2, "Error")


def test_a_folder_that_is_no_packet_is_no_pass(tmp_path: Path) -> None:
    ends(run(tmp_path, "evidence", "verify", "."), 1, "is no packet")
    ends(run(tmp_path, "evidence", "verify", "nowhere"), 1, "cannot be read")


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"),
    list(commands(main)),
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_every_command_shows_an_example_of_itself(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert f"Example:  sonar-access {' '.join(path)}" in (command.help or "")


@pytest.mark.waits
def test_the_demo_of_an_installed_wheel_runs_to_its_end_and_leaves_what_it_promises(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    demo = shown(tmp_path_factory)
    done = demo.ended
    ends(
        done,
        0,
        "as planned",
        "Who administers acme now (simulated)",
        "nobody decides on themselves",
        "What the review decided to remove, as observed since",
        "What changed in the last seven days",
        "Dagster's UI:",
    )
    report = Path(done.stdout.split("Report: ")[1].splitlines()[0].strip())
    assert "not evidence about SonarCloud" in report.read_text()
    known = {"SONAR_ACCESS_CONFIG": str(demo.folder / "demo.toml")}
    asked = run(tmp_path, "coverage", "--from", str(TODAY), "--to", str(TODAY), **known)
    ends(asked, 0, "observed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    ends(run(tmp_path, "demo", "--folder", "mine"), 2, "something else than a demo")
    assert (tmp_path / "mine" / "precious").exists()
