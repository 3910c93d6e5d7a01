"""The packet of a review: the same bytes on both databases, checked by a stranger's tools, and no
change of it that is not found.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pypdf
import pytest

from sonar_access_pipeline.access.snapshot import canonical_json
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.offline import Report
from sonar_access_pipeline.evidence.packet import MANIFEST
from sonar_access_pipeline.evidence.packet import build as build_packet
from sonar_access_pipeline.evidence.reviews.packet import REVIEW, build
from sonar_access_pipeline.evidence.seal import SEAL, SIGNATURE, SUMS, digests_of, seal_review
from sonar_access_pipeline.evidence.signers import PACKETS
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.tables import encoded, parsed, records
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.ledger.policies import record_policy, record_rules
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.reviews.facts import ReviewError
from sonar_access_pipeline_tests.support.builders import EPOCH
from sonar_access_pipeline_tests.support.reviewing import (
    BOB,
    FALLBACK,
    OWNER,
    USUAL,
    WITHOUT_GATE,
    Reviewed,
    done,
)
from sonar_access_pipeline_tests.support.sealed import resigned


def _key(folder: Path) -> Path:
    key = folder / "their_key"
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(made, check=True)
    return key


def sealed(here: Reviewed) -> Path:
    with here.warehouse.read() as transaction:
        packet = build(transaction, 1)
    return Path(seal_review(packet, here.sealing, here.warehouse, by=OWNER))


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    """A review that is done and sealed; one reviewer signed with a key of their own."""
    folder = tmp_path_factory.mktemp("reviewed")
    warehouse = Warehouse(sqlite_url(folder / "warehouse.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, folder)
    done(here, _key(folder))
    sealed(here)
    yield here
    warehouse.close()


def checked(folder: Path, fingerprint: str, warehouse: Warehouse | None = None) -> Report:
    path = "/".join(folder.parts[-3:])
    store = FolderStore(folder.parents[2])
    return verify(store, path, fingerprints=[fingerprint], warehouse=warehouse)


def folder_of(here: Reviewed) -> Path:
    (folder,) = (Path(here.sealing.store.place("reviews/acme"))).iterdir()
    return folder


@pytest.fixture
def copy(reviewed: Reviewed, tmp_path: Path) -> Path:
    root = tmp_path / "copied"
    shutil.copytree(folder_of(reviewed).parents[2], root)
    return root / folder_of(reviewed).relative_to(folder_of(reviewed).parents[2])


def fingerprint(here: Reviewed) -> str:
    return here.sealing.signer.key.fingerprint


def test_a_sealed_review_holds_and_is_what_the_warehouse_gives(reviewed: Reviewed) -> None:
    report = checked(folder_of(reviewed), fingerprint(reviewed), reviewed.warehouse)
    assert report.faults == []
    assert reviewed.states() == "sealed"
    document = json.loads((folder_of(reviewed) / REVIEW).read_text())
    assert document["weakest_strength"] == "declared"
    assert document["counts"] == {
        "kept": len(reviewed.review().asked) - 1,
        "changed": 0,
        "revoked": 1,
        "decisions": len(reviewed.review().asked) + 1,
        "reviewers": 2,
    }
    assert sealed(reviewed) == folder_of(reviewed)


def test_it_stays_what_it_was_when_later_days_show_more(reviewed: Reviewed) -> None:
    before = digests_of({file.name: file.read_bytes() for file in folder_of(reviewed).iterdir()})
    reviewed.live(1, USUAL)
    with reviewed.warehouse.read() as transaction:
        again = digests_of(build(transaction, 1).files)
    assert again.items() <= before.items()


def test_what_was_late_when_it_was_acknowledged_is_late_in_it_for_ever(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    here.live(0)
    here.open(here.packet(0))
    number = here.number("privilege", BOB, "gateadmin")
    here.decide(number, "revoke", "not needed")
    here.keep_the_rest()
    here.live(2)
    here.sign_all()
    here.acknowledge()
    place = sealed(here)
    here.live(3, WITHOUT_GATE)
    here.open(here.packet(3), series="next")
    here.decide(here.number("account", BOB, review_id=2), "keep", review_id=2)
    here.live(4)
    (row,) = records((place / "follow_up.csv").read_bytes())
    assert row["state"] == "late"
    assert checked(place, fingerprint(here), warehouse).faults == []
    warehouse.close()


def test_the_same_review_is_the_same_bytes_on_both_databases(
    warehouse: Warehouse, reviewed: Reviewed, tmp_path: Path
) -> None:
    here = Reviewed(warehouse, tmp_path)
    done(here)
    with here.warehouse.read() as transaction:
        ours = build(transaction, 1).data
    other = Warehouse(sqlite_url(tmp_path / "other.sqlite"))
    upgrade(other)
    there = Reviewed(other, tmp_path / "other")
    done(there)
    with other.read() as transaction:
        assert build(transaction, 1).data == ours
    other.close()


def test_a_stranger_checks_it_with_sha256sum_and_ssh_keygen(reviewed: Reviewed) -> None:
    folder = folder_of(reviewed)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    public = (Path(reviewed.sealing.store.place("")).parent / "their_key.pub").read_text()
    signers = folder.parents[2].parent / "signers"
    signers.write_text(f"{FALLBACK} {public}")
    statement = next(folder.glob("statement-*.json.sig"))
    command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", FALLBACK]
    subprocess.run(
        [*command, "-n", "sonar-access-review", "-s", str(statement)],
        input=statement.with_suffix("").read_bytes(),
        check=True,
        capture_output=True,
    )


def test_what_is_not_acknowledged_is_not_sealed(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    here.live(0)
    here.open(here.packet(0))
    with pytest.raises(ReviewError, match="is open; what is acknowledged by its owner is sealed"):
        sealed(here)
    warehouse.close()


NAMES = (
    "review.json",
    "items.csv",
    "assignments.csv",
    "decisions.csv",
    "signoffs.csv",
    "events.csv",
    "follow_up.csv",
    "quality.csv",
    "statement-1.json",
    "statement-2.json",
    "statement-3.json",
    "seal.json",
    "README.txt",
    "SHA256SUMS",
    "SHA256SUMS.sig",
    "allowed_signers",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["changed", "missing"])
def test_any_file_that_was_changed_or_taken_away_is_found(
    copy: Path, reviewed: Reviewed, name: str, way: str
) -> None:
    file = copy / name
    if way == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes() + b" ")
    try:
        report = checked(copy, fingerprint(reviewed))
    except EvidenceError as error:
        assert name == REVIEW, error
        return
    assert report.own


def _rewrite(folder: Path, name: str, change: Callable[[list[dict[str, str]]], None]) -> None:
    """Change a table and everything that names it, and sign it all anew with the sealer's key: the
    most that an insider can do.
    """
    header, *fields = parsed((folder / name).read_bytes())
    rows = [dict(zip(header, row, strict=True)) for row in fields]
    change(rows)
    body = encoded([header, *([row[column] for column in header] for row in rows)]).encode()
    (folder / name).write_bytes(body)
    _stated(folder, lambda _: None)


def _stated(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads((folder / REVIEW).read_text())
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name, digest in digests_of(files).items():
        if name in document["files"]:
            document["files"][name] = {"sha256": digest, "bytes": len(files[name])}
    change(document)
    (folder / REVIEW).write_bytes(canonical_json(document))
    about = json.loads((folder / SEAL).read_text())
    about["digest"] = digests_of({REVIEW: canonical_json(document)})[REVIEW]
    (folder / SEAL).write_bytes(canonical_json(about))


def _of(rows: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    return next(row for row in rows if all(row[name] == value for name, value in wanted.items()))


INSIDER: dict[str, tuple[str, Callable[[list[dict[str, str]]], Any], str]] = {
    "a revoke that became a keep": (
        "decisions.csv",
        lambda rows: _of(rows, decision="revoke", reason="not needed").update(decision="keep"),
        "has not signed what is in force",
    ),
    "a reason that was written anew": (
        "decisions.csv",
        lambda rows: rows[0].update(reason="nicer"),
        "has not signed what is in force",
    ),
    "a decision that was taken out": (
        "decisions.csv",
        lambda rows: rows.pop(0),
        "has not signed what is in force|has no decision",
    ),
    "a fork of decisions": (
        "decisions.csv",
        lambda rows: rows.append({**_of(rows, reason="left"), "decision_id": "99"}),
        "has two decisions in the place of one",
    ),
    "a line that goes across items": (
        "decisions.csv",
        lambda rows: _of(rows, reason="is back").update(supersedes=rows[0]["decision_id"]),
        "in the place of one that is none of its own",
    ),
    "somebody who decided on themselves": (
        "decisions.csv",
        lambda rows: [row.update(decided_by="bob") for row in rows],
        "decided item .*, which is about bob",
    ),
    "somebody who was never to decide": (
        "decisions.csv",
        lambda rows: rows[0].update(decided_by="stranger@example.com"),
        "and was never to",
    ),
    "a reviewer who was another": (
        "assignments.csv",
        lambda rows: rows[0].update(reviewer="stranger@example.com"),
        "has not signed|was never to",
    ),
    "an item that was taken out": (
        "items.csv",
        lambda rows: rows.pop(0),
        "items.csv has|which is none",
    ),
    "an item that shows less": (
        "items.csv",
        lambda rows: _of(rows, kind="account", subject="ada").update(held="[]"),
        "is not what its digest says",
    ),
    "an item that is left out afterwards": (
        "items.csv",
        lambda rows: rows[0].update(left_out_why="nobody asked"),
        "items.csv has",
    ),
    "a sign-off that was taken out": (
        "signoffs.csv",
        lambda rows: rows.pop(),
        "has not acknowledged|has not signed",
    ),
    "a strength that was raised": (
        "signoffs.csv",
        lambda rows: [row.update(strength="signed") for row in rows],
        "there is no signature",
    ),
    "a key that was another": (
        "signoffs.csv",
        lambda rows: _of(rows, strength="signed").update(key_fingerprint="SHA256:x"),
        "it is signed with SHA256:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", INSIDER)
def test_what_an_insider_with_the_sealing_key_rewrites_is_found_by_what_people_signed(
    copy: Path, reviewed: Reviewed, what: str
) -> None:
    name, change, words = INSIDER[what]
    _rewrite(copy, name, change)
    resigned(copy)
    sums = (copy / SUMS).read_bytes()
    (copy / SIGNATURE).write_bytes(reviewed.sealing.signer.sign(sums, PACKETS))
    report = checked(copy, fingerprint(reviewed))
    assert any(re.search(words, fault) for fault in report.own), report.own


def everything(here: Reviewed) -> list[str]:
    found = verify_all(here.sealing.store, "acme", warehouse=here.warehouse)
    return found.faults


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Reviewed]:
    """A review that is done and sealed, of a warehouse of its own."""
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    done(here)
    sealed(here)
    yield here
    warehouse.close()


def test_verifying_all_looks_at_the_packets_of_reviews_too(lived: Reviewed) -> None:
    assert everything(lived) == []
    folder = folder_of(lived)
    found = verify_all(lived.sealing.store, "acme", warehouse=lived.warehouse)
    assert f"reviews/acme/{folder.name}" in found.reports
    (folder / "items.csv").write_text("source\n")
    assert any("items.csv" in fault for fault in everything(lived))
    shutil.rmtree(folder)
    (fault,) = everything(lived)
    assert "is not in the evidence folder" in fault


def test_a_review_that_a_restored_warehouse_lost_is_named(lived: Reviewed, tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "restored.sqlite"))
    upgrade(warehouse)
    other = Reviewed(warehouse, tmp_path)
    done(other)
    found = verify_all(lived.sealing.store, "acme", warehouse=warehouse)
    warehouse.close()
    assert any("does not know of the review" in fault for fault in found.around)


def rows(files: Mapping[str, bytes], name: str) -> list[dict[str, str]]:
    return list(records(files[name]))


def findings(files: Mapping[str, bytes], rule_id: str) -> list[tuple[str, str]]:
    return [
        (row["result"], row["subject"])
        for row in rows(files, "findings.csv")
        if row["rule_id"] == rule_id
    ]


def test_a_later_access_packet_says_what_reviews_decided_and_what_became_of_it(
    lived: Reviewed,
) -> None:
    record_policy(lived.warehouse, lived.policy, lived.clock)
    record_rules(lived.warehouse, lived.clock)
    lived.live(1, WITHOUT_GATE)
    files = lived.packet(1)
    (review,) = rows(files, "reviews.csv")
    assert (review["state"], review["to_go"], review["review_packet"][:12]) == (
        "sealed",
        "1",
        folder_of(lived).name.split("-")[1],
    )
    (gone,) = rows(files, "follow_up.csv")
    assert (gone["subject"], gone["entitlement"], gone["state"]) == (BOB, "gateadmin", "done")
    assert gone["first_not_shown"] > gone["last_shown"] > ""
    assert findings(files, "follow-up-late") == [("pass", "acme")]
    lived.live(2, USUAL)
    files = lived.packet(2)
    (back,) = rows(files, "follow_up.csv")
    assert back["state"] == "returned"
    assert findings(files, "follow-up-late") == [("fail", BOB)]


def test_what_people_do_later_changes_no_packet_that_was_sealed(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    here.live(0)
    here.open(here.packet(0))
    here.live(1)
    before = here.packet(1)
    (open_then,) = rows(before, "reviews.csv")
    assert (open_then["state"], open_then["undecided"]) == ("open", open_then["items"])
    here.keep_the_rest()
    here.sign_all()
    here.acknowledge()
    sealed(here)
    here.live(2)
    assert here.packet(1)[MANIFEST] == before[MANIFEST]
    assert rows(here.packet(2), "reviews.csv")[0]["state"] == "sealed"
    warehouse.close()


def test_a_packet_of_the_format_before_reviews_names_none_of_them(lived: Reviewed) -> None:
    lived.live(1)
    day = (EPOCH + timedelta(days=1)).date()
    before = build_packet(lived.warehouse, "acme", Window(day, day), 3)
    manifest = json.loads(before.data[MANIFEST])
    assert not {"reviews.csv", "follow_up.csv"} & (before.data.keys() | manifest["queries"].keys())


def test_report_pdf_and_workbook_of_a_review_say_the_same_and_nothing_of_them_is_run(
    lived: Reviewed, tmp_path: Path
) -> None:
    folder = folder_of(lived)
    page = (folder / "report.html").read_text()
    assert "<script" not in page
    book = openpyxl.load_workbook(folder / "review.xlsx")
    summary = [str(row[0].value) for row in book["Summary"].iter_rows()]
    reader = pypdf.PdfReader(folder / "report.pdf")
    paper = " ".join(" ".join(one.extract_text() for one in reader.pages).split())
    sections = [line.partition("</h2>")[0].partition(">")[2] for line in page.split("<h2")[1:]]
    assert sections == book.sheetnames[1:]
    for section in sections:
        assert section in paper
    for sentence in re.findall(r"<p>(.*?)</p>", page):
        said = html.unescape(sentence)
        assert said in summary
        assert said[:60] in paper
    assert folder.name.endswith("-simulated")
    assert "not evidence about SonarCloud" in page
    assert "not evidence about SonarCloud" in paper


def test_a_name_in_a_review_is_never_markup(tmp_path: Path) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "w.sqlite"))
    upgrade(warehouse)
    here = Reviewed(warehouse, tmp_path)
    hostile = "<img src=x onerror=alert(1)>=cmd|' /C calc'!A0"
    here.live(0, replace(USUAL, members={**USUAL.members, "eve": hostile}))
    here.open(here.packet(0))
    here.keep_the_rest()
    here.sign_all()
    here.acknowledge()
    page = (sealed(here) / "report.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page
    warehouse.close()
