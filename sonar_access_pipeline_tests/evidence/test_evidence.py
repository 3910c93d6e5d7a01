"""Packets: the same bytes from the same content, complete, marked with their source, and
verifiable.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pypdf
import pytest

from sonar_access_pipeline.access.snapshot import Control, SourceKind, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.packet import Packet, build
from sonar_access_pipeline.evidence.seal import seal
from sonar_access_pipeline.evidence.signers import PACKETS
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import NothingObservedError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.sealed import sealing, signer

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

HOSTILE = [
    '=HYPERLINK("http://x")',
    "+1",
    "-1",
    "@SUM(A1)",
    "'quoted",
    "<script>alert(1)</script>",
    "a\nb\r\nc",
    "tab\there",
    "\u202egnp.exe",
    "../../etc/passwd",
    "x" * 5000,
    "Ada \U0001f600",
    'comma, "quote"',
]
FIRST = EPOCH.date()
WINDOW = Window(FIRST, FIRST + timedelta(days=4))


def worlds() -> list[World | None]:
    groups = {"1": "Members", "2": "Owners"}
    people: dict[str, str | None] = {"ada": "Ada", "nameless": None}
    people.update((f"user-{number}", name) for number, name in enumerate(HOSTILE))

    def world(members: dict[str, str | None], owners: list[str]) -> World:
        return World(
            members=members,
            groups=groups,
            group_members={"1": list(members), "2": owners},
            user_permissions={login: ["scan"] if login == "ada" else [] for login in members},
            group_permissions={"1": ["provisioning"], "2": ["admin"]},
            anyone=["scan"],
        )

    return [
        world(people, ["ada"]),
        world({**people, "bob": "Bob"}, ["ada", "bob"]),
        None,
        world({**people, "bob": "Bob"}, ["bob", "stranger"]),
        world({login: name for login, name in people.items() if login != "ada"}, ["stranger"]),
    ]


def fill(warehouse: Warehouse, source_kind: SourceKind = SourceKind.SIMULATED) -> None:
    for day, world in enumerate(worlds()):
        verdict = Verdict.COMPLETE if world else Verdict.INCOMPLETE
        snapshot = snapshot_of(
            world or World(), EPOCH + timedelta(days=day), verdict=verdict, source_kind=source_kind
        )
        record(warehouse, snapshot, lambda: EPOCH)
    derive(warehouse, "acme")


def text_of(paper: bytes) -> str:
    return " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(paper)).pages)


def rows_of(packet: Packet, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(packet.files[name].decode(), newline="")))


def original(value: str) -> str:
    return value.removeprefix("'")


@pytest.fixture
def packet(warehouse: Warehouse) -> Packet:
    fill(warehouse)
    return build(warehouse, "acme", WINDOW)


def test_the_same_content_gives_the_same_bytes_on_both_databases(
    tmp_path: Path, postgresql_url: str
) -> None:
    packets = []
    for url in (sqlite_url(tmp_path / "warehouse.sqlite"), postgresql_url):
        warehouse = Warehouse(url)
        upgrade(warehouse)
        fill(warehouse)
        packets.append(build(warehouse, "acme", WINDOW))
        packets.append(build(warehouse, "acme", WINDOW))
        warehouse.close()
    assert all(packet.files == packets[0].files for packet in packets)
    assert len({packet.digest for packet in packets}) == 1


def test_the_population_is_every_login_that_any_list_names(packet: Packet) -> None:
    population = {row["login"]: row for row in rows_of(packet, "population.csv")}
    members = set(worlds()[4].members)  # type: ignore[union-attr]
    assert set(population) == members | {"stranger"}
    assert population["stranger"]["is_member"] == "false"
    assert population["stranger"]["is_organization_admin"] == "true"
    assert population["stranger"]["admin_through"] == "group Owners"
    assert population["nameless"]["name"] == ""
    assert population["nameless"]["is_admin_by_sonarcloud"] == "", "unknown is empty, not false"


def test_hostile_names_stay_names_and_can_be_recovered(packet: Packet) -> None:
    names = [
        original(row["name"])
        for row in rows_of(packet, "population.csv")
        if row["login"].startswith("user-")
    ]
    assert sorted(names) == sorted(HOSTILE)
    assert not [
        row
        for row in rows_of(packet, "population.csv")
        if row["name"].startswith(("=", "+", "-", "@"))
    ]
    manifest = json.loads(packet.files["manifest.json"])
    assert "remove it to get the original" in manifest["escaping"]


def test_in_the_report_nothing_runs_and_nothing_is_fetched(packet: Packet) -> None:
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    report = packet.files["report.html"].decode()
    Tags().feed(report)
    assert [tag for tag, _ in tags].count("script") == 1
    script = report.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src &#39;none&#39;" not in report
    assert f"script-src 'sha256-{digest}'" in report, "nothing but our own script may run"
    assert not [
        name
        for _, attributes in tags
        for name in attributes
        if name == "src" or name.startswith("on")
    ]
    assert {attributes["href"][:1] for tag, attributes in tags if tag == "a"} == {"#"}  # type: ignore[index]


def test_changes_lie_between_two_observations_and_the_baseline_is_never_a_grant(
    packet: Packet,
) -> None:
    changes = rows_of(packet, "changes.csv")
    by_login = {
        (row["login"], row["kind"]): row for row in changes if row["access_type"] == "membership"
    }
    assert by_login["bob", "joined"]["changed_after"] == "2026-03-01T05:00:00.000000Z"
    assert by_login["bob", "joined"]["changed_by"] == "2026-03-02T05:00:10.000000Z"
    assert by_login["ada", "left"]["changed_by"] == "2026-03-05T05:00:10.000000Z"
    assert by_login["ada", "first_observed"]["changed_after"] == ""
    admin = [
        row
        for row in changes
        if row["entitlement"] == "admin" and row["login"] == "ada" and row["kind"] == "demoted"
    ]
    assert [row["changed_after"] for row in admin] == ["2026-03-02T05:00:00.000000Z"], (
        "not on the day that was not observed"
    )


def test_a_day_without_an_observation_is_a_gap_in_every_place(packet: Packet) -> None:
    assert [row["status"] for row in rows_of(packet, "coverage.csv")] == [
        "observed",
        "observed",
        "incomplete",
        "observed",
        "observed",
    ]
    manifest = json.loads(packet.files["manifest.json"])
    assert manifest["coverage"] == {"days": 5, "days_incomplete": 1, "days_observed": 4}
    assert len(manifest["snapshots"]) == 4
    assert len(manifest["not_counted"]) == 1
    assert "2026-03-03 (incomplete)" in packet.files["report.html"].decode()
    assert "2026-03-03 (incomplete)" in packet.files["limits.csv"].decode()


def test_anyone_is_a_principal_and_never_a_login(packet: Packet) -> None:
    anyone = [row for row in rows_of(packet, "access.csv") if row["principal_type"] == "anyone"]
    assert [(row["login"], row["name"], row["entitlement"]) for row in anyone] == [
        ("", "Anyone", "scan")
    ]
    assert "Anyone" not in {row["login"] for row in rows_of(packet, "population.csv")}


def test_the_manifest_names_every_data_file_with_its_digest_its_bytes_and_its_rows(
    packet: Packet,
) -> None:
    manifest = json.loads(packet.files["manifest.json"])
    assert hashlib.sha256(packet.files["manifest.json"]).hexdigest() == packet.digest
    assert set(manifest["files"]) == {name for name in packet.files if name.endswith(".csv")}
    assert set(packet.data) == {*manifest["files"], "manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256(packet.files[name]).hexdigest()
        assert (entry["bytes"], entry["rows"]) == (
            len(packet.files[name]),
            len(rows_of(packet, name)),
        )


def test_a_single_days_packet_is_data_and_its_renderings_change_no_digest(
    packet: Packet, warehouse: Warehouse
) -> None:
    people = {"access-review.xlsx", "report.html", "report.pdf"}
    assert people < set(packet.files)
    day = build(warehouse, "acme", Window(packet.window.last, packet.window.last))
    assert set(day.files) == {*day.data, "README.txt"}
    asked = build(warehouse, "acme", day.window, for_people=True)
    assert asked.digest == day.digest
    assert set(asked.files) - set(day.files) == people
    report, paper = "report.html", "report.pdf"
    assert asked.renderings["access-review.xlsx"] == day.renderings["access-review.xlsx"]
    assert "Not sealed, made of packet" in text_of(day.renderings[paper])
    assert "Not sealed" not in text_of(asked.renderings[paper])
    assert "no signature holds this file" in day.renderings[report].decode()
    assert "no signature holds this file" not in asked.renderings[report].decode()


def test_another_version_of_a_typesetting_library_is_no_forgery_and_seals_nothing_twice(
    packet: Packet, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = seal(packet, sealing(tmp_path / "evidence"), warehouse, run_id="one")
    monkeypatch.setattr(
        "sonar_access_pipeline.evidence.pdf.render", lambda *_, **__: b"%PDF-9.9 of another year"
    )
    monkeypatch.setattr(
        "sonar_access_pipeline.evidence.workbook.write", lambda *_: b"PK of another year"
    )
    later = build(warehouse, "acme", packet.window)
    assert later.digest == packet.digest
    assert later.files["report.pdf"] != packet.files["report.pdf"]
    assert not seal(later, sealing(tmp_path / "evidence"), warehouse, run_id="two").is_new
    store, inside = (
        FolderStore(tmp_path / "evidence"),
        str(Path(first.place).relative_to(tmp_path / "evidence")),
    )
    assert verify(store, inside, warehouse=warehouse).faults == []


@pytest.mark.parametrize("how", ["missing", "rubbish", "of a stranger"])
def test_a_packet_that_lies_there_is_verified_with_its_signature_before_it_is_said_to_be(
    packet: Packet, warehouse: Warehouse, tmp_path: Path, how: str
) -> None:
    ours = sealing(tmp_path / "evidence")
    folder = Path(seal(packet, ours, warehouse, run_id="one").place)
    signature = folder / "SHA256SUMS.sig"
    if how == "missing":
        signature.unlink()
    elif how == "rubbish":
        signature.write_bytes(b"rubbish")
    else:
        stranger = signer(tmp_path / "stranger")
        signature.write_bytes(stranger.sign((folder / "SHA256SUMS").read_bytes(), PACKETS))
    with pytest.raises(EvidenceError, match="its signature is not by SHA256:"):
        seal(packet, ours, warehouse, run_id="two")


def test_a_comparison_that_could_not_be_made_is_not_counted_as_agreeing(
    warehouse: Warehouse,
) -> None:
    controls = (
        Control("admins", "a and b", None, None, None, "SonarCloud does not state it for anybody"),
        Control("members", "c and d", 3, 3, True, None),
    )
    record(
        warehouse,
        replace(snapshot_of(World(members={"ada": None}), EPOCH), controls=controls),
        lambda: EPOCH,
    )
    derive(warehouse, "acme")
    report = build(warehouse, "acme", Window(FIRST, FIRST)).renderings["report.html"].decode()
    assert "could not be made. Reconciliation says why." in report
    assert "SonarCloud does not state it for anybody" in report
    ties = {
        row["what"]: row["passed"]
        for row in rows_of(build(warehouse, "acme", Window(FIRST, FIRST)), "reconciliation.csv")
    }
    assert (ties["a and b"], ties["c and d"]) == ("", "true")


def test_a_simulated_source_says_so_everywhere(
    packet: Packet, warehouse: Warehouse, tmp_path: Path
) -> None:
    for name in packet.files:
        if name.endswith(".csv"):
            of_nothing = name in ("reviews.csv", "follow_up.csv")
            said = {row["source"] for row in rows_of(packet, name)}
            assert said == (set() if of_nothing else {"simulated"}), name
    assert "not evidence about SonarCloud" in packet.files["report.html"].decode()
    assert json.loads(packet.files["manifest.json"])["source"]["kind"] == "simulated"
    sealed = seal(packet, sealing(tmp_path / "evidence"), warehouse, run_id="run")
    assert Path(sealed.place).name == f"{packet.digest[:12]}-simulated"


def test_a_real_source_is_not_called_simulated(warehouse: Warehouse, tmp_path: Path) -> None:
    fill(warehouse, SourceKind.SONARCLOUD)
    packet = build(warehouse, "acme", WINDOW)
    assert "This is not evidence" not in packet.files["report.html"].decode()
    assert (
        seal(packet, sealing(tmp_path), warehouse, run_id="run").place.rpartition("/")[2]
        == packet.digest[:12]
    )


def test_sealing_again_verifies_instead_and_the_register_keeps_one_line(
    packet: Packet, warehouse: Warehouse, tmp_path: Path
) -> None:
    first = seal(packet, sealing(tmp_path), warehouse, run_id="one")
    second = seal(packet, sealing(tmp_path), warehouse, run_id="two")
    assert (first.is_new, second.is_new) == (True, False)
    other = seal(
        build(warehouse, "acme", Window(FIRST, FIRST)), sealing(tmp_path), warehouse, run_id="three"
    )
    with warehouse.read() as transaction:
        register = queries.packets(transaction, "acme")
    assert [(row["digest"], row["previous_digest"]) for row in register] == [
        (first.digest, None),
        (other.digest, first.digest),
    ]
    (Path(first.place) / "access.csv").write_text("nothing")
    with pytest.raises(EvidenceError, match="has been changed"):
        seal(packet, sealing(tmp_path), warehouse, run_id="four")


def test_a_window_before_the_first_observation_is_refused_and_one_after_the_last_says_how_old_it_is(
    warehouse: Warehouse,
) -> None:
    fill(warehouse)
    with pytest.raises(NothingObservedError, match="cannot be fetched"):
        build(warehouse, "acme", Window(FIRST - timedelta(days=9), FIRST - timedelta(days=1)))
    later = build(warehouse, "acme", Window(FIRST + timedelta(days=10), FIRST + timedelta(days=11)))
    manifest = json.loads(later.files["manifest.json"])
    end = datetime.combine(FIRST + timedelta(days=12), datetime.min.time(), UTC)
    observed = EPOCH + timedelta(days=4, seconds=10)
    assert manifest["as_of"]["seconds_before_end_of_window"] == (end - observed).total_seconds()
    assert manifest["coverage"] == {"days": 2, "days_missing": 2}
    assert manifest["changes_are_known"] is False
    assert rows_of(later, "changes.csv") == []


def test_a_later_observation_does_not_change_the_packet_of_an_earlier_window(
    warehouse: Warehouse,
) -> None:
    fill(warehouse)
    window = Window(FIRST, FIRST + timedelta(days=1))
    before = build(warehouse, "acme", window)
    record(warehouse, snapshot_of(World(), EPOCH + timedelta(days=9)), lambda: EPOCH)
    derive(warehouse, "acme")
    assert build(warehouse, "acme", window).files == before.files


def test_a_packet_that_cannot_be_written_leaves_nothing_behind(
    packet: Packet, warehouse: Warehouse, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.write_text("a file where the folder should be")
    with pytest.raises(EvidenceError, match="cannot be written"):
        seal(packet, sealing(root), warehouse, run_id="run")
    assert root.read_text() == "a file where the folder should be"


def test_the_key_of_an_organization_never_leads_out_of_the_evidence_folder(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    record(
        warehouse, snapshot_of(World(members={"ada": None}), EPOCH, key="../../up"), lambda: EPOCH
    )
    derive(warehouse, "../../up")
    sealed = seal(
        build(warehouse, "../../up", Window(FIRST, FIRST)),
        sealing(tmp_path),
        warehouse,
        run_id="run",
    )
    assert Path(sealed.place).resolve().is_relative_to(tmp_path.resolve())
    assert len(Path(sealed.place).relative_to(tmp_path).parts) == 3


def test_windows_are_whole_days_months_and_quarters() -> None:
    assert Window.month("2028-02") == Window(date(2028, 2, 1), date(2028, 2, 29))
    assert Window.quarter("2026Q3") == Window(date(2026, 7, 1), date(2026, 9, 30))
    assert Window.month_before(date(2026, 1, 15)) == Window(date(2025, 12, 1), date(2025, 12, 31))
    assert Window.quarter_before(date(2026, 1, 15)) == Window.quarter("2025Q4")
    assert Window.quarter_before(date(2026, 6, 30)) == Window.quarter("2026Q1")
    for wrong in ("2026-13", "26-1", "x"):
        with pytest.raises(ValueError, match="no month"):
            Window.month(wrong)
