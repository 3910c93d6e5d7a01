"""The files of a packet, each against what is known otherwise: kinds of changes, populations, sums
that tie, workbook and PDF.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import openpyxl
import pypdf
import pypdfium2
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from sonar_access_pipeline.access.policy import Exemption, Policy, identity
from sonar_access_pipeline.access.selection import of_account, of_group
from sonar_access_pipeline.access.snapshot import Control, ListRead, Scope, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence import charts, sheet_rows, summary, words
from sonar_access_pipeline.evidence.facts import Facts, gather
from sonar_access_pipeline.evidence.life import life_of
from sonar_access_pipeline.evidence.packet import Packet, build
from sonar_access_pipeline.evidence.pdf import printable
from sonar_access_pipeline.evidence.tables import FORMATS, limits, original, parsed, row_digest
from sonar_access_pipeline.evidence.workbook import REVIEW, ROW, fitting, worksheet
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger.policies import record_policy, record_rules
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.evidence.test_evidence import HOSTILE, WINDOW, fill, rows_of
from sonar_access_pipeline_tests.support import font
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

ALL_SCOPES = tuple(Scope)
DAY = EPOCH.date()


def live(warehouse: Warehouse, *days: tuple[World, tuple[Scope, ...]]) -> None:
    for number, (world, scopes) in enumerate(days):
        record(
            warehouse,
            snapshot_of(world, EPOCH + timedelta(days=number), scopes=scopes),
            lambda: EPOCH,
        )
    derive(warehouse, "acme")


def facts_of(warehouse: Warehouse, first: int, last: int) -> Facts:
    return gather(
        warehouse, "acme", Window(DAY + timedelta(days=first), DAY + timedelta(days=last))
    )


BASE = World(
    members={"ada": "Ada", "bob": "Bob"},
    groups={"1": "Members", "2": "Owners"},
    group_members={"1": ["ada", "bob"], "2": ["ada"]},
    user_permissions={"ada": [], "bob": ["scan"]},
    group_permissions={"2": ["admin"]},
    projects={"p": "P"},
    project_groups={"p": ["2"]},
    emails={"ada": "ada@acme.example", "bob": "bob@acme.example"},
)


def kinds_between(
    warehouse: Warehouse, *worlds: World, scopes: tuple[Scope, ...] = ALL_SCOPES
) -> set[tuple[str, str | None]]:
    """What the last of some days changed: kind, and whose or what."""
    live(warehouse, *((world, scopes) for world in worlds))
    changes = facts_of(warehouse, len(worlds) - 1, len(worlds) - 1).changes
    return {(row["kind"], row["login"] or row["resource"]) for row in changes}


def test_who_is_new_joins_and_is_added(warehouse: Warehouse) -> None:
    new = replace(
        BASE,
        members={**BASE.members, "cleo": "Cleo"},
        group_members={"1": ["ada", "bob", "cleo"], "2": ["ada"]},
        user_permissions={**BASE.user_permissions, "cleo": ["scan"]},
    )
    assert kinds_between(warehouse, BASE, new) == {
        ("joined", "cleo"),
        ("added_to_group", "cleo"),
        ("permission_granted", "cleo"),
    }


def test_who_goes_leaves_and_who_comes_back_returns(warehouse: Warehouse) -> None:
    without = replace(
        BASE,
        members={"ada": "Ada"},
        group_members={"1": ["ada"], "2": ["ada"]},
        user_permissions={"ada": []},
    )
    live(warehouse, (BASE, ALL_SCOPES), (without, ALL_SCOPES), (BASE, ALL_SCOPES))
    of = {
        day: {
            row["kind"]
            for row in facts_of(warehouse, day, day).changes
            if row["access_type"] == "membership"
        }
        for day in range(3)
    }
    assert of == {0: {"first_observed"}, 1: {"left"}, 2: {"returned"}}


def test_the_first_way_to_administer_promotes_and_the_last_way_gone_demotes(
    warehouse: Warehouse,
) -> None:
    both = replace(BASE, user_permissions={"ada": ["admin"], "bob": ["scan"]})
    direct = replace(both, group_members={"1": ["ada", "bob"], "2": []})
    none = replace(direct, user_permissions={"ada": [], "bob": ["scan"]})
    live(warehouse, *((world, ALL_SCOPES) for world in (BASE, both, direct, none, BASE)))

    def admin(day: int) -> list[tuple[str, str]]:
        rows = facts_of(warehouse, day, day).changes
        return [
            (row["kind"], row["granted_via"])
            for row in rows
            if row["entitlement"] == "admin" and row["login"] == "ada"
        ]

    assert admin(1) == [("permission_granted", "direct")], "an admin already"
    assert admin(2) == [("permission_revoked", "group:2")], "an admin still"
    assert admin(3) == [("demoted", "direct")]
    assert admin(4) == [("promoted", "group:2")]


def test_a_login_is_renamed_only_where_a_durable_id_proves_it(warehouse: Warehouse) -> None:
    renamed = snapshot_of(BASE, EPOCH, scopes=ALL_SCOPES)
    body = (
        b'{"users":[{"login":"%s","id":"7","email":"b@x"}],'
        b'"page":{"pageIndex":1,"pageSize":500,"total":1}}'
    )
    for number, login in enumerate(("bob", "bobby")):
        world = replace(
            BASE,
            members={"ada": "Ada", login: "Bob"},
            group_members={"1": ["ada", login], "2": ["ada"]},
            user_permissions={"ada": [], login: ["scan"]},
        )
        snapshot = snapshot_of(world, EPOCH + timedelta(days=number), scopes=ALL_SCOPES)
        responses = [_with_body(one, body % login.encode()) for one in snapshot.responses]
        record(warehouse, replace(snapshot, responses=tuple(responses)), lambda: EPOCH)
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 1, 1)
    rows = {
        (row["login"], row["kind"], row["detail"])
        for row in facts.changes
        if row["access_type"] == "membership"
    }
    assert rows == {("bob", "renamed", "is now bobby"), ("bobby", "renamed", "was bob")}
    assert [row["passed"] for row in facts.reconciliation if row["check"] == "rolled forward"] == [
        True,
        True,
    ]
    assert renamed.scopes == ALL_SCOPES


def _with_body(response, body: bytes):  # type: ignore[no-untyped-def]
    from sonar_access_pipeline.access.snapshot import packed

    return (
        replace(response, **packed(body)) if response.list_name == "account_details" else response
    )


def test_without_a_durable_id_one_leaves_and_another_joins(warehouse: Warehouse) -> None:
    other = replace(
        BASE,
        members={"ada": "Ada", "bobby": "Bob"},
        group_members={"1": ["ada", "bobby"], "2": ["ada"]},
    )
    core = (Scope.CORE,)
    kinds = kinds_between(
        warehouse,
        BASE,
        replace(other, user_permissions={"ada": [], "bobby": ["scan"]}),
        scopes=core,
    )
    assert {("left", "bob"), ("joined", "bobby")} <= kinds


def test_a_group_is_renamed_and_nobody_loses_anything(warehouse: Warehouse) -> None:
    renamed = replace(BASE, groups={"1": "Members", "2": "Keepers"})
    assert kinds_between(warehouse, BASE, renamed) == {("renamed", "2")}
    assert [row["detail"] for row in facts_of(warehouse, 1, 1).changes] == ["was Owners"]


def test_a_scope_that_is_not_read_any_more_ends_and_revokes_nothing(warehouse: Warehouse) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, (Scope.CORE,)))
    facts = facts_of(warehouse, 1, 1)
    assert {row["kind"] for row in facts.changes} == {"scope_ended"}
    assert [
        row["passed"] for row in facts.reconciliation if row["what"].startswith("access rows ")
    ] == [True, None]
    assert {row["project_admin_count"] for row in facts.population} == {None}
    assert "project_admin_count" in facts.population[0]["unknown"]


def test_a_population_says_who_is_who_and_since_when(warehouse: Warehouse) -> None:
    record_policy(
        warehouse,
        Policy(
            roster={identity("ada@acme.example"): "active"},
            service_accounts={identity("bob"): "Platform"},
        ),
        lambda: EPOCH,
    )
    more = replace(BASE, user_permissions={"ada": ["scan"], "bob": ["scan"]})
    live(warehouse, (BASE, ALL_SCOPES), (BASE, ALL_SCOPES), (more, ALL_SCOPES), (more, ALL_SCOPES))
    ada, bob = facts_of(warehouse, 0, 3).population
    observed = [EPOCH + timedelta(days=number, seconds=10) for number in range(4)]
    assert (ada["first_seen"], ada["access_unchanged_since"], ada["last_change"]) == (
        observed[0],
        observed[2],
        observed[2],
    )
    assert (bob["first_seen"], bob["access_unchanged_since"], bob["last_change"]) == (
        observed[0],
        observed[0],
        None,
    )
    assert (ada["account_type"], bob["account_type"], bob["owner"]) == (
        "human",
        "service",
        "Platform",
    )
    assert (ada["email"], ada["provider"]) == ("ada@acme.example", None)
    assert (ada["project_admin_count"], bob["project_admin_count"]) == (1, 0)
    assert ada["organization_permissions"] == "admin (group Owners); scan (direct)"
    assert ada["unknown"] == "provider; is_admin_by_sonarcloud"
    assert (ada["is_organization_admin"], ada["admin_through"]) == (True, "group Owners")


def test_numbers_that_do_not_tie_are_said_on_the_first_page(warehouse: Warehouse) -> None:
    lists = (
        ListRead("members", "", 3, 2, 2, 0, Verdict.COMPLETE, None),
        ListRead("groups", "", 2, 2, 2, 0, Verdict.COMPLETE, None),
        ListRead("group_members", "1", None, 2, 2, 0, Verdict.COMPLETE, None),
        ListRead("group_members", "2", 1, 1, 1, 0, Verdict.COMPLETE, None),
    )
    controls = (Control("admins", "two lists of admins", 1, 2, False, "bob"),)
    record(
        warehouse, replace(snapshot_of(BASE, EPOCH), lists=lists, controls=controls), lambda: EPOCH
    )
    derive(warehouse, "acme")
    packet = build(warehouse, "acme", Window(DAY, DAY))
    passed = {row["what"]: row["passed"] for row in packet.facts.reconciliation}
    assert passed["members"] is False
    assert passed["groups"] is True
    assert passed["group_members"] is True, (
        "one total is unknown; what came, is stored and is delivered is the same"
    )
    assert passed["two lists of admins"] is False
    report = packet.renderings["report.html"].decode()
    first_page = (
        pypdf.PdfReader(io.BytesIO(packet.renderings["report.pdf"]))
        .pages[0]
        .extract_text()
        .replace("\n", " ")
    )
    for said in (
        "A reconciliation fails: members: reported 3, extracted 2, stored 2, delivered 2",
        "two lists of admins",
    ):
        assert said in report
        assert said in first_page
    assert json.loads(packet.files["manifest.json"])["counts"]["failed_reconciliations"] == 2


def test_what_was_plus_joiners_less_leavers_is_what_is(warehouse: Warehouse) -> None:
    fill(warehouse)
    for first, last in ((0, 4), (1, 4), (3, 3), (4, 4)):
        ties = [
            row
            for row in facts_of(warehouse, first, last).reconciliation
            if row["check"] == "rolled forward"
        ]
        assert [row["passed"] for row in ties] == [True, True], (first, last)


def test_the_statements_behind_each_file_are_in_the_manifest_with_their_digest(
    warehouse: Warehouse,
) -> None:
    fill(warehouse)
    queries = json.loads(build(warehouse, "acme", WINDOW).files["manifest.json"])["queries"]
    csv_files = {
        "population",
        "access",
        "changes",
        "findings",
        "reviews",
        "follow_up",
        "coverage",
        "requests",
        "reconciliation",
    }
    assert set(queries) == {f"{name}.csv" for name in csv_files}
    for said in queries.values():
        canonical = json.dumps(
            said["statements"], separators=(",", ":"), ensure_ascii=False
        ).encode()
        assert said["sha256"] == hashlib.sha256(canonical).hexdigest()
        assert all(statement.startswith("SELECT") for statement in said["statements"])
    assert any("fct_user_access" in statement for statement in queries["access.csv"]["statements"])


@pytest.fixture(scope="module")
def in_formats(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Packet]:
    """The packet of one warehouse in every format that is built."""
    warehouse = Warehouse(sqlite_url(tmp_path_factory.mktemp("hostile") / "warehouse.sqlite"))
    upgrade(warehouse)
    fill(warehouse)
    found = {number: build(warehouse, "acme", WINDOW, number) for number in FORMATS}
    warehouse.close()
    return found


@pytest.fixture(scope="module")
def hostile(in_formats: dict[int, Packet]) -> Packet:
    return in_formats[FORMATS[-1]]


def test_the_workbook_holds_every_value_and_no_formula(hostile: Packet) -> None:
    book = openpyxl.load_workbook(io.BytesIO(hostile.files["access-review.xlsx"]))
    assert book.sheetnames == [
        "Summary",
        "Review",
        "Groups and Anyone",
        "Findings",
        "Projects",
        "Changes",
        "Reviews",
        "Follow-ups",
        "Access paths",
        "Coverage",
        "Reconciliation",
        "Not observed",
    ]
    for sheet in book:
        assert not [
            cell for row in sheet.iter_rows() for cell in row if cell.data_type in ("f", "e")
        ], sheet.title
        assert not sheet._hyperlinks
        if sheet.title != "Summary":
            assert sheet.auto_filter.ref
            assert sheet.freeze_panes in ("A2", "B2", "C2", "D2")
            assert sheet.print_title_rows == "$1:$1"
            assert sheet.page_setup.paperSize == 9, "A4"
    review = book["Review"]
    header = [cell.value for cell in review[1]]
    assert header == [column.head for column in REVIEW]
    assert header[:3] == ["name", "login", "decision"], "the decision stands beside the name"
    rows = [
        dict(zip(header, [cell.value for cell in row], strict=True))
        for row in review.iter_rows(min_row=2)
    ]
    population = rows_of(hostile, "population.csv")
    assert {row["login"] for row in rows} == {original(row["login"]) for row in population}
    admins = [row["login"] for row in population if row["is_organization_admin"] == "true"]
    assert [row["login"] for row in rows][: len(admins)] == admins, "admins first"
    names = {row["login"]: row["name"] for row in rows}
    for number, name in enumerate(HOSTILE):
        assert openpyxl.utils.escape.unescape(names[f"user-{number}"]) == name
    grants = [
        [cell.value for cell in row] for row in book["Groups and Anyone"].iter_rows(min_row=3)
    ]
    assert [(row[0], row[1], row[5]) for row in grants] == [
        ("Anyone", "Acme", "scan"),
        ("Group Members", "Acme", "provisioning"),
        ("Group Owners", "Acme", "admin"),
    ]
    assert str(book["Projects"]["A2"].value).startswith("Permissions on projects were not read")
    validation = review.data_validations.dataValidation[0]
    assert (validation.type, validation.formula1) == ("list", '"keep,change,revoke"')
    assert str(validation.sqref) == f"C2:C{len(rows) + 1}"
    assert {row["decision"] for row in rows} == {None}
    assert review.protection.sheet
    unlocked = {cell.column_letter for cell in review[2] if not cell.protection.locked}
    assert unlocked == {"C", "D", "E"}, "nothing but the answers"
    assert review.column_dimensions[review.cell(1, len(REVIEW)).column_letter].hidden
    assert review["K2"].data_type == "n", "what administers projects is a number"


def test_every_row_of_the_review_is_known_by_the_digest_of_its_row(hostile: Packet) -> None:
    book = openpyxl.load_workbook(io.BytesIO(hostile.files["access-review.xlsx"]))
    place = REVIEW.index(ROW)
    of_login = {
        openpyxl.utils.escape.unescape(row[1].value): row[place].value
        for row in book["Review"].iter_rows(min_row=2)
    }
    header, *records = parsed(hostile.files["population.csv"])
    logins = [original(fields[header.index("login")]) for fields in records]
    digests = [of_login[login] for login in logins]
    assert digests == list(map(row_digest, records))
    body = hostile.files["population.csv"].decode()
    for fields, digest in zip(records, digests, strict=True):
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator="\r\n").writerow(fields)
        row = buffer.getvalue().removesuffix("\r\n")
        assert f"\n{row}\n" in body, "the digest is of the row as it stands in the file"
        assert hashlib.sha256(row.encode()).hexdigest() == digest


def test_a_worksheet_is_a_copy_that_names_the_packet(hostile: Packet) -> None:
    book = openpyxl.load_workbook(io.BytesIO(worksheet(hostile.files)))
    assert book.sheetnames == ["Summary", "Review", "Groups and Anyone"]
    said = {row[0].value: row[1].value for row in book["Summary"].iter_rows()}
    assert said["Packet"] == hostile.digest
    assert "not evidence about SonarCloud" in said["Source"]
    sealed = openpyxl.load_workbook(io.BytesIO(hostile.files["access-review.xlsx"]))
    for name in ("Review", "Groups and Anyone"):
        assert [[cell.value for cell in row] for row in book[name]] == [
            [cell.value for cell in row] for row in sealed[name]
        ]


def test_nothing_in_the_workbook_differs_between_machines(hostile: Packet) -> None:
    with zipfile.ZipFile(io.BytesIO(hostile.files["access-review.xlsx"])) as book:
        assert {part.date_time for part in book.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {part.extra for part in book.infolist()} == {b""}
        assert book.testzip() is None
        assert b"2026-03-05T05:00:10" in book.read("docProps/core.xml"), (
            "made as of the last observation"
        )


def test_the_pdf_says_the_same_and_does_nothing(hostile: Packet) -> None:
    reader = pypdf.PdfReader(io.BytesIO(hostile.files["report.pdf"]))
    catalog = reader.trailer["/Root"]
    assert not [
        name for name in ("/OpenAction", "/AA", "/Names", "/AcroForm") if name in str(catalog)
    ]
    pages = [page.extract_text() for page in reader.pages]
    assert all("This is not evidence about SonarCloud." in page for page in pages)
    whole = "\n".join(pages)
    for said in (
        "Who had access to",
        "2026-03-03 (incomplete)",
        "Findings",
        "Reconciliation",
        "What is not observed, or only in part",
        "stranger",
    ):
        assert said in whole
    assert r"\u202egnp.exe" in whole, "what changes direction is written as its number"
    assert "\u202e" not in whole
    sections = [str(one["/Title"]) for one in reader.outline if not isinstance(one, list)]
    assert sections == [
        "What needs a decision",
        "Who administers",
        "What changed",
        "How far this can be trusted",
        "What to do next",
        "Findings",
        "Reviews",
        "Organization admins",
        "Every account",
        "Who may do what on which project",
        "Changes",
        "Over the window",
        "Coverage",
        "Reconciliation",
        "What is not observed, or only in part",
    ]


def test_what_the_font_has_is_what_is_written_of_it() -> None:
    assert font.FILE.read_text() == font.text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Żółć Ωμέγα Ж", "Żółć Ωμέγα Ж"),
        ("a\u200bb", "a<U+200B>b"),
        ("\u4e2d", "<U+4E2D>"),
        ("\U0001f9d1", "<U+1F9D1>"),
        ("a\nb\x07", "a b<U+0007>"),
    ],
)
def test_a_character_that_cannot_be_seen_is_a_number(text: str, shown: str) -> None:
    assert printable(text) == shown


BUILD = """
import sys
from datetime import date
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.warehouse.database import Warehouse
window = Window(*map(date.fromisoformat, sys.argv[2:4]))
print(build(Warehouse(sys.argv[1]), "acme", window).digest)
"""


def test_another_time_zone_locale_folder_and_hash_seed_give_the_same_bytes(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "warehouse.sqlite")
    warehouse = Warehouse(url)
    upgrade(warehouse)
    fill(warehouse)
    here = build(warehouse, "acme", WINDOW).digest
    warehouse.close()
    (tmp_path / "elsewhere").mkdir()
    places = (
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        {
            "TZ": "America/St_Johns",
            "LC_ALL": "tr_TR.UTF-8",
            "PYTHONHASHSEED": "2",
            "TMPDIR": str(tmp_path / "elsewhere"),
        },
    )
    for place in places:
        environment = {
            **os.environ,
            **place,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SOURCE_DATE_EPOCH": "1",
        }
        words = [sys.executable, "-c", BUILD, url, str(WINDOW.first), str(WINDOW.last)]
        done = subprocess.run(
            words,
            cwd=tmp_path / "elsewhere",
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here, place


GOLDEN = {
    2: "3f39655b87fca31f32011c84b200aa8a0d45d0d54e3b6b47600e7c8537a1dce2",
    3: "d1ef490cf7179a92f88066ca84bb88e0b0093757b7dc39bb390f1d6ab91cbc9d",
    4: "f6088c315dfc61a3ae8ae66c0e545849d0c3fe8f4d15d3318387397e11808524",
}
"""By version of the format, the digest of one packet.

A library that writes other bytes makes another format.
"""


def test_a_format_gives_the_same_bytes_for_ever(in_formats: dict[int, Packet]) -> None:
    assert {number: GOLDEN.get(number) for number in FORMATS} == {
        number: packet.digest for number, packet in in_formats.items()
    }, "other bytes: a new format in FORMATS, and write the new digest beside the old one"


# What is not known is never a fact.


def said(facts: Facts) -> str:
    return " ".join([words.kinds(facts), *(one.text for one in summary.lines(facts))])


def test_a_window_that_nothing_observed_knows_no_change_and_passes_no_rule_that_compares(
    warehouse: Warehouse,
) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, ALL_SCOPES))
    packet = build(warehouse, "acme", Window(DAY + timedelta(days=13), DAY + timedelta(days=43)))
    facts, manifest = packet.facts, json.loads(packet.files["manifest.json"])
    assert words.kinds(facts).startswith(
        "What changed is not known: nothing was observed in the window; the last observation"
    )
    assert ("not known", "changes of access") in words.numbers(facts)
    assert manifest["changes_are_known"] is False
    results = {row["rule_id"]: row["result"] for row in facts.findings}
    assert results["returned"] == results["privilege-gained"] == "not_evaluable"
    assert "Nothing changed" not in packet.files["report.html"].decode()
    assert "what changed in the window" in {
        row["subject"] for row in rows_of(packet, "limits.csv") if row["observed"] == "no"
    }
    assert all(week.opened is None for week in charts.weeks(facts))


def test_the_day_of_the_very_first_observation_knows_no_change_either(warehouse: Warehouse) -> None:
    live(warehouse, (BASE, ALL_SCOPES))
    facts = facts_of(warehouse, 0, 0)
    assert "its only observation is the first there ever was" in words.kinds(facts)
    results = {row["rule_id"]: row["result"] for row in facts.findings}
    assert results["returned"] == results["privilege-gained"] == "not_evaluable"


def test_the_ends_of_a_window_that_nothing_observed_are_said(warehouse: Warehouse) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, ALL_SCOPES))
    facts = facts_of(warehouse, -5, 20)
    first, last = facts.observations
    kinds = words.kinds(facts)
    assert kinds.startswith(f"{words.UNCHANGED}.")
    assert f"What changed before {first.observed_at:%Y-%m-%d %H:%M:%S} UTC is not known." in kinds
    assert f"What changed after {last.observed_at:%Y-%m-%d %H:%M:%S} UTC is not known." in kinds
    assert (facts.not_expected, facts.days_observed) == (5, 2)
    assert "On 5 days of the window nobody expected an observation yet" in said(facts)


def test_who_came_back_and_left_once_more_is_not_called_a_member_again(
    warehouse: Warehouse,
) -> None:
    without = replace(
        BASE,
        members={"ada": "Ada"},
        group_members={"1": ["ada"], "2": ["ada"]},
        user_permissions={"ada": []},
    )
    live(warehouse, *((world, ALL_SCOPES) for world in (BASE, without, BASE, without)))
    came = [
        row["subject"] for row in facts_of(warehouse, 1, 2).failed if row["rule_id"] == "returned"
    ]
    went = [
        row["subject"] for row in facts_of(warehouse, 1, 3).failed if row["rule_id"] == "returned"
    ]
    assert (came, went) == (["bob"], [])


def test_what_was_read_with_limits_is_not_called_unobserved(warehouse: Warehouse) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, (Scope.CORE,)))
    whole, core = (
        next(
            one.text
            for one in summary.lines(facts_of(warehouse, day, day))
            if one.text.startswith("Not observed: ")
        )
        for day in (0, 1)
    )
    for subject in ("projects and their permissions", "e-mail, durable id and identity provider"):
        assert subject not in whole
        assert subject in core
    assert "Observed in part: projects and their permissions, e-mail" in said(
        facts_of(warehouse, 0, 0)
    )


def test_no_group_can_be_named_so_that_it_forges_a_cell_of_the_population(
    warehouse: Warehouse,
) -> None:
    names = {"1": "Members", "2": "x); admin (direct", "3": 'a "quoted" one', "4": "plain"}
    world = replace(
        BASE,
        groups=names,
        group_members={"1": ["ada", "bob"], "2": ["bob"], "3": ["bob"], "4": ["bob"]},
        user_permissions={"ada": ["admin"], "bob": []},
        group_permissions={"2": ["scan"], "3": ["scan"], "4": ["scan"]},
        project_groups={},
    )
    live(warehouse, (world, ALL_SCOPES))
    bob = next(row for row in facts_of(warehouse, 0, 0).population if row["login"] == "bob")
    assert "admin (direct)" not in bob["organization_permissions"]
    assert (
        bob["organization_permissions"]
        == 'scan (group "a \\"quoted\\" one"); scan (group "x); admin (direct"); scan (group plain)'
    )
    parts = filter(None, map(str.strip, re.findall(r'"(?:[^"\\]|\\.)*"|[^;"]+', bob["groups"])))
    assert sorted(map(unquoted, parts)) == sorted(names.values())


def unquoted(field: str) -> str:
    return str(json.loads(field)) if field.startswith('"') else field


def test_a_read_across_midnight_is_of_the_day_on_which_it_began_in_every_answer(
    warehouse: Warehouse,
) -> None:
    late = EPOCH.replace(hour=23, minute=59, second=55)
    record(warehouse, snapshot_of(BASE, late - timedelta(days=1)), lambda: EPOCH)
    record(warehouse, snapshot_of(BASE, late), lambda: EPOCH)
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 0, 0)
    assert facts.as_of.started_at == late
    assert "0 h 0 min after the window's end, having begun before it" in words.about(facts)
    with warehouse.read() as transaction:
        assert (
            queries.observation_at(transaction, "acme", DAY).snapshot_id == facts.as_of.snapshot_id
        )
        (day,) = queries.coverage(transaction, "acme", DAY, DAY)
    assert day["status"] == "observed"


def test_an_end_of_a_window_that_nothing_observed_is_said_on_page_one_and_keeps_rules_from_passing(
    warehouse: Warehouse,
) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, ALL_SCOPES))
    facts = facts_of(warehouse, 1, 20)
    assert f"What changed after {facts.as_of.observed_at:%Y-%m-%d %H:%M:%S} UTC is not known." in [
        one.text for one in summary.lines(facts) if one.matters
    ]
    results = {row["rule_id"]: row["result"] for row in facts.findings}
    assert results["returned"] == results["privilege-gained"] == "not_evaluable"
    assert ("what changed in the window", "in part") in {
        (row["subject"], row["observed"]) for row in limits(facts)
    }


def test_changes_that_may_be_older_than_the_window_are_not_called_changes_of_it(
    warehouse: Warehouse,
) -> None:
    grown = replace(BASE, user_permissions={**BASE.user_permissions, "bob": ["admin"]})
    for day, world in ((0, BASE), (20, grown)):
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 20, 20)
    assert (
        "the last observation before the window: it may have changed before the window began."
        in said(facts)
    )
    (gained,) = [row["detail"] for row in facts.failed if row["rule_id"] == "privilege-gained"]
    assert gained.startswith(f"gained between {facts.before.observed_at:%Y-%m-%d %H:%M} UTC and ")  # type: ignore[union-attr]


def test_who_joins_is_not_said_to_have_gained_what_the_default_group_gives_everybody(
    warehouse: Warehouse,
) -> None:
    before = World(
        members={"ada": "Ada", "bob": "Bob"},
        groups={"1": "Members", "2": "owners"},
        group_members={"1": ["ada", "bob"], "2": ["ada"]},
        group_permissions={"1": ["scan"], "2": ["admin"]},
        default_group="1",
    )
    after = replace(
        before,
        members={**before.members, "zoe": "Zoe", "yan": "Yan"},
        group_members={"1": ["ada", "bob", "zoe", "yan"], "2": ["ada", "yan"]},
        user_permissions={"bob": ["scan"]},
    )
    record_rules(warehouse, lambda: EPOCH)
    for day, world in enumerate((before, after)):
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day, hours=1)), lambda: EPOCH)
    derive(warehouse, "acme")
    gained = {
        row["subject"]: row["detail"].rpartition(": ")[2]
        for row in facts_of(warehouse, 1, 1).failed
        if row["rule_id"] == "privilege-gained"
    }
    assert gained == {"yan": "admin"}


def test_an_admin_is_one_since_the_first_of_all_its_ways_and_not_since_the_last(
    warehouse: Warehouse,
) -> None:
    groups = {"1": "owners", "2": "Devs, became admin"}
    rights = {"1": ["admin"], "2": ["admin"]}
    first = World(
        members={"ada": "Ada", "bob": "Bob"},
        groups=groups,
        group_members={"1": ["ada"], "2": []},
        group_permissions=rights,
    )
    moved = replace(first, group_members={"1": ["ada"], "2": ["ada"]})
    last = replace(first, group_members={"1": [], "2": ["ada", "bob"]})
    for day, world in ((0, first), (3, moved), (4, last)):
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 0, 4)
    days = [str(DAY + timedelta(days=number)) for number in range(5)]
    shown = {line.text: line.items for line in summary.lines(facts)}
    quoted = 'through group "Devs, became admin"'
    assert shown[f"2 accounts administer the organization as of {days[4]}."] == (
        f"Ada (ada): {quoted}; seen as admin since {days[0]} or before",
        f"Bob (bob): {quoted}; seen as admin since {days[4]}",
    )
    items = [item for texts in shown.values() for item in texts]
    assert f'{days[4]}: Bob (bob) became admin, added to "Devs, became admin"' in items
    moved_on = f"{days[0]} to {days[3]}: Ada (ada)"
    assert f'{moved_on} added to "Devs, became admin", got admin on Acme' in items
    assert "Not compared: what Anyone may do, and what groups may do on projects." in shown


def test_two_projects_and_two_groups_of_one_name_are_two(warehouse: Warehouse) -> None:
    world = World(
        members={"ada": "Ada"},
        groups={"1": "Owners", "2": "Owners"},
        group_members={"1": ["ada"], "2": []},
        projects={"p1": "Pay", "p2": "Pay"},
        project_users={"p1": ["ada"], "p2": []},
        project_groups={"p1": ["1"], "p2": ["2"]},
    )
    both = (Scope.CORE, Scope.PROJECT_PERMISSIONS)
    record(warehouse, snapshot_of(world, EPOCH, scopes=both), lambda: EPOCH)
    derive(warehouse, "acme")
    report = build(warehouse, "acme", Window(DAY, DAY)).renderings["report.html"].decode()
    for said in ("Pay (p1)", "Pay (p2)", "Group Owners (id 1)", "Group Owners (id 2)"):
        assert said in report, said


def test_a_read_across_midnight_belongs_to_the_day_on_which_it_began_in_pictures_and_exceptions_too(
    warehouse: Warehouse,
) -> None:
    midnight = EPOCH.replace(hour=0, minute=0)
    grown = replace(
        BASE,
        members={**BASE.members, "zoe": "Zoe"},
        user_permissions={**BASE.user_permissions, "zoe": []},
    )
    record(warehouse, snapshot_of(BASE, midnight), lambda: EPOCH)
    record(
        warehouse,
        snapshot_of(grown, midnight + timedelta(days=7, minutes=-1), duration=timedelta(minutes=5)),
        lambda: EPOCH,
    )
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 0, 6)
    assert facts.as_of.observed_at.date() == DAY + timedelta(days=7)
    assert [(week.opened, week.closed) for week in charts.weeks(facts)] == [
        (len(facts.real_changes), 0)
    ]
    assert facts.real_changes


def test_an_exception_holds_for_a_read_that_began_on_its_last_day_and_ended_after_midnight(
    warehouse: Warehouse,
) -> None:
    midnight = EPOCH.replace(hour=0, minute=0)
    held = Exemption("admin-direct", identity("ada"), "eve", "founder", DAY)
    record_policy(warehouse, Policy(exemptions=(held,)), lambda: midnight - timedelta(days=1))
    world = replace(BASE, user_permissions={**BASE.user_permissions, "ada": ["admin"]})
    snapshot = snapshot_of(
        world, midnight + timedelta(days=1, minutes=-1), duration=timedelta(minutes=5)
    )
    record(warehouse, snapshot, lambda: EPOCH)
    derive(warehouse, "acme")
    facts = facts_of(warehouse, 0, 0)
    assert facts.as_of.observed_at.date() == DAY + timedelta(days=1)
    assert [row["subject"] for row in facts.excepted] == ["ada"]
    assert facts.ended_exceptions == []


# The PDF is set by a library, and read here by another.


def for_people(warehouse: Warehouse, *names: str) -> Packet:
    """Build the packet of a day on which everybody of some names administers."""
    members: dict[str, str | None] = {f"user-{place}": name for place, name in enumerate(names)}
    world = replace(
        BASE,
        members=members,
        group_members={"1": list(members), "2": list(members)},
        user_permissions={login: [] for login in members},
        emails={},
    )
    live(warehouse, (world, ALL_SCOPES))
    return build(warehouse, "acme", Window(EPOCH.date(), EPOCH.date()), for_people=True)


def test_names_from_right_to_left_stay_in_their_place(warehouse: Warehouse) -> None:
    packet = for_people(warehouse, "שלום כהן", "محمد علي")
    report = packet.renderings["report.html"].decode()
    assert "שלום כהן\u200e (user-0)" in report
    assert "محمد علي\u200e (user-1)" in report
    assert words.in_order("שלום, עולם (3)") == "שלום\u200e, עולם\u200e (3)"
    assert words.in_order("צוות א'; צוות ב'") == "צוות א'\u200e; צוות ב'"
    assert words.in_order("שלום עולם") == "שלום עולם", "a name of two words stays one"


def test_a_word_that_has_no_room_is_broken_and_whole(warehouse: Warehouse) -> None:
    wide = f"{'x' * 90}@{'y' * 90}.example"
    signed = f"a.{'M' * 60}@github"
    packet = for_people(warehouse, wide, "w" * 250, "Ada Lovelace-Byron", signed, "\u30b7" * 20)
    reader = pypdf.PdfReader(io.BytesIO(packet.renderings["report.pdf"]))
    whole = "".join(page.extract_text() for page in reader.pages)
    assert "Ada Lovelace-Byron (user-2)" in whole, "what has room is found and copied as it is"
    letters = whole.replace("\u200b", "").replace("\n", "")
    assert wide in letters
    assert signed in letters
    assert "<U+30B7>" * 20 in letters
    assert "w" * 250 in letters
    paper = pypdfium2.PdfDocument(packet.renderings["report.pdf"])
    for sheet in paper:
        text = sheet.get_textpage()
        edges = [text.get_charbox(place)[2] for place in range(text.count_chars())]
        assert max(edges) < sheet.get_width() - 30, "nothing runs off the page"


@given(
    rows=st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(10**9), 10**9), st.text(max_size=40)),
            st.text(
                alphabet=st.sampled_from(" \t\n\r\x0b\x1f_x0041_&<>\"'\ufffe\uffffé"), max_size=9
            ),
            st.none(),
        ),
        max_size=6,
    )
)
def test_rows_are_byte_for_byte_what_xlsxwriter_writes(
    rows: list[tuple[int | str | None, str, None]],
) -> None:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        looks = [book.add_format({"bold": True}), book.add_format({"italic": True})]
        looks.append(book.add_format({"locked": False}))
        for place, look in enumerate(looks):
            sheet.write_string(0, place, "head", look)
        for number, row in enumerate(rows, start=1):
            for place, value in enumerate(row):
                if isinstance(value, int):
                    sheet.write_number(number, place, value, looks[place])
                elif value:
                    sheet.write_string(number, place, value, looks[place])
                elif place == 2:
                    sheet.write_blank(number, place, None, looks[place])
    whole = zipfile.ZipFile(buffer).read("xl/worksheets/sheet1.xml").decode()
    _, _, theirs = whole.partition("</row>")
    ours = "".join(sheet_rows.rows_of(rows, [look.xf_index for look in looks], frozenset({2})))
    assert ours == theirs.partition("</sheetData>")[0]


def test_a_text_that_no_cell_holds_is_cut_and_says_so() -> None:
    assert fitting("a" * 32_000) == "a" * 32_000
    for text in ("a" * 40_000, "\U0001f9d1" * 20_000):
        cut = fitting(text)
        assert len(cut.encode("utf-16-le")) // 2 < 32_767
        assert cut.endswith("(whole in the CSV file)")


# What is not known is said where somebody would read that there is nothing.


def sheet_of(packet: Packet, name: str) -> list[tuple[object, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(packet.renderings["access-review.xlsx"]))
    return list(book[name].iter_rows(min_row=2, values_only=True))


def test_a_sheet_without_rows_says_whether_anybody_knows(warehouse: Warehouse) -> None:
    live(warehouse, (BASE, ALL_SCOPES), (BASE, (Scope.CORE,)))
    first = build(warehouse, "acme", Window(EPOCH.date(), EPOCH.date()))
    assert str(sheet_of(first, "Changes")[0][0]).startswith("What changed is not known: ")
    last = EPOCH.date() + timedelta(days=1)
    unread = build(warehouse, "acme", Window(last, last))
    for name in ("Groups and Anyone", "Projects", "Access paths"):
        assert "were not read" in str(sheet_of(unread, name)[0][0]), name
    assert "are not listed again" in str(sheet_of(first, "Projects")[0][0])


def test_a_group_that_nobody_is_in_stands_among_what_is_to_decide(warehouse: Warehouse) -> None:
    empty = replace(
        BASE,
        groups={**BASE.groups, "3": "Empty"},
        group_members={**BASE.group_members, "3": []},
        group_permissions={**BASE.group_permissions, "3": ["admin", "gateadmin"]},
    )
    live(warehouse, (empty, ALL_SCOPES))
    packet = build(warehouse, "acme", Window(EPOCH.date(), EPOCH.date()))
    rows = {(row[0], row[1]): row[5] for row in sheet_of(packet, "Groups and Anyone")}
    assert rows["Group Empty", "Acme"] == "admin, gateadmin"
    assert rows["Group Owners", "Acme"] == "admin"
    assert packet.facts.untied == [], "and everything ties"


def test_what_has_one_name_is_told_apart(warehouse: Warehouse) -> None:
    alike = replace(
        BASE,
        projects={"pay-dev": "Pay", "pay-prod": "Pay"},
        project_groups={},
        project_users={"pay-dev": ["bob"], "pay-prod": ["bob"]},
    )
    live(warehouse, (alike, ALL_SCOPES))
    packet = build(warehouse, "acme", Window(EPOCH.date(), EPOCH.date()))
    rows = sheet_of(packet, "Access paths")[1:]
    assert len(set(rows)) == len(rows)


def test_the_life_of_an_account_says_what_nobody_knows(warehouse: Warehouse) -> None:
    gone = replace(BASE, members={"ada": "Ada"}, group_members={"1": ["ada"], "2": ["ada"]})
    gone = replace(gone, user_permissions={"ada": []}, anyone=["scan"])
    live(warehouse, (BASE, ALL_SCOPES), (gone, (Scope.CORE,)))
    bob = life_of(warehouse, "acme", "bob")
    assert bob.sentence.startswith("Bob (bob) is in no list that was read")
    assert "permissions on projects were not read." in list(bob.unknown)
    ada = life_of(warehouse, "acme", "ada")
    through = {(row["entitlement"], row["through"]) for row in ada.access}
    assert ("scan", "Anyone") in through, "what everybody may do is not the account's own"
    assert ("admin", "group Owners") in through
    assert life_of(warehouse, "acme", "nobody").is_unseen


def test_rights_are_chosen_by_each_filter_and_never_by_a_word_that_is_none() -> None:
    rows = [
        {
            "principal_type": "user",
            "login": "ada",
            "access_type": "membership",
            "resource": "acme",
            "resource_name": "Acme",
            "granted_via": "direct",
            "granted_via_name": None,
        },
        {
            "principal_type": "user",
            "login": "bob",
            "access_type": "group",
            "resource": "direct",
            "resource_name": "Direct",
            "granted_via": "direct",
            "granted_via_name": None,
        },
    ]
    assert of_group(rows, "direct") == [rows[1]], "a group of that id, and no direct grant"
    assert of_account(rows, "ada") == [rows[0]]
    assert of_account(rows, "Ada") == []
