"""Raw snapshots carried between warehouses: everything arrives, nothing that was changed does, and
it says where it came from.
"""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.judgement import judged
from sonar_access_pipeline.access.policy import Policy, identity
from sonar_access_pipeline.access.snapshot import (
    ListRead,
    Scope,
    Snapshot,
    Verdict,
    canonical_json,
)
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.facts import gather
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import SourceMismatchError, WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.ledger.policies import record_policy
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.archive import (
    FORMER,
    LEDGER,
    SNAPSHOTS,
    Carried,
    export,
    import_,
)
from sonar_access_pipeline.warehouse.raw.attempts import begin_attempt, end_attempt
from sonar_access_pipeline.warehouse.raw.decisions import CONFIRMED, RETRACTED, decide
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline.warehouse.schema import (
    history_tables,
    raw_body,
    raw_response,
    raw_snapshot,
)
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of, unguard
from sonar_access_pipeline_tests.support.company import Company, company

pytestmark = pytest.mark.proofs("sqlite")
"""Where time is short, PostgreSQL alone."""

ONE = World(
    members={"ada": "Ada"},
    groups={"1": "Members"},
    group_members={"1": ["ada"]},
    group_permissions={"1": ["scan"]},
)


@pytest.fixture
def lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    """Five days: one incomplete, one retracted."""
    with company(
        tmp_path / "data", monkeypatch.setenv, accounts=30, groups=4, brake_rows=1000
    ) as here:
        for number in range(5):
            if number == 2:
                here.simulator.faults.add("permissions/users", faults.short(1), times=None)
            here.live(number)
            here.simulator.faults.clear()
        with here.warehouse() as warehouse:
            decide(
                warehouse,
                4,
                RETRACTED,
                by="ada",
                reason="their incident",
                brake=here.settings.brake,
                clock=here.clock,
            )
        yield here


def taken(warehouse: Warehouse, file: Path) -> Carried:
    carried = import_(warehouse, file, lambda: EPOCH + timedelta(days=1000))
    for organization_key in carried.organizations:
        derive(warehouse, organization_key)
    return carried


def history(warehouse: Warehouse) -> dict[str, list[str]]:
    with warehouse.read() as transaction:
        return {
            name: sorted(repr(tuple(row)) for row in transaction.execute(select(table)))
            for name, table in history_tables.items()
        }


def test_everything_arrives_and_says_that_it_was_imported(
    lived: Company, warehouse: Warehouse, tmp_path: Path
) -> None:
    file, window = tmp_path / "acme.zip", Window(lived.day(0), lived.day(4))
    with lived.warehouse() as source:
        sent = export(source, "acme", file)
        got = taken(warehouse, file)
        assert (got.snapshots, got.known, got.sha256) == (5, 0, sent.sha256)
        assert history(warehouse) == history(source)
        with source.read() as theirs, warehouse.read() as ours:
            there, here = (
                queries.coverage(t, "acme", window.first, window.last) for t in (theirs, ours)
            )
            assert [row["status"] for row in here] == [row["status"] for row in there]
            assert [row["status"] for row in here] == [
                "observed",
                "observed",
                "incomplete",
                "retracted",
                "observed",
            ]
            assert {row["imported_from"] for row in here} == {sent.sha256}
            assert {row["imported_from"] for row in there} == {None}
            assert here[2]["error"] == there[2]["error"]
            said = [
                {k: row[k] for k in ("decision", "reason", "decided_by", "decided_at")}
                for row in queries.decisions(ours, "acme")
            ]
            assert [(row["decision"], row["reason"]) for row in said] == [
                ("retracted", "their incident")
            ]
            digests = [
                [row["content_sha256"] for row in queries.snapshots(t, "acme")]
                for t in (theirs, ours)
            ]
            assert digests[0] == digests[1]
        packet = build(warehouse, "acme", window)
    manifest = json.loads(packet.files["manifest.json"])
    assert {used["imported_from"] for used in manifest["snapshots"]} == {sent.sha256}
    assert "came in an archive from another warehouse" in packet.files["report.html"].decode()


def test_an_archive_taken_in_twice_changes_nothing_and_a_longer_one_adds_what_is_new(
    lived: Company, warehouse: Warehouse, tmp_path: Path
) -> None:
    with lived.warehouse() as source:
        export(source, "acme", tmp_path / "late.zip", Window(lived.day(3), lived.day(4)))
        export(source, "acme", tmp_path / "all.zip")
        assert taken(warehouse, tmp_path / "late.zip").snapshots == 2
        assert (again := taken(warehouse, tmp_path / "late.zip")).snapshots == 0
        assert again.known == 2
        added = taken(warehouse, tmp_path / "all.zip")
        assert (added.snapshots, added.known) == (3, 2)
        assert history(warehouse) == history(source), "the past was put before what was there"


def test_the_same_snapshots_are_the_same_bytes_and_the_file_is_private(
    lived: Company, tmp_path: Path
) -> None:
    with lived.warehouse() as source:
        first, second = (export(source, "acme", tmp_path / name) for name in ("1.zip", "2.zip"))
    assert first.sha256 == second.sha256
    assert stat.S_IMODE((tmp_path / "1.zip").stat().st_mode) == 0o600


def test_a_live_source_goes_on_where_the_archive_ends(
    lived: Company, warehouse_url: str, tmp_path: Path
) -> None:
    with lived.warehouse() as source:
        export(source, "acme", tmp_path / "acme.zip")
    with closing(Warehouse(warehouse_url)) as moved:
        upgrade(moved)
        taken(moved, tmp_path / "acme.zip")
    lived.settings = lived.settings.model_copy(update={"warehouse_url": SecretStr(warehouse_url)})
    lived.read_scopes()
    assert lived.live(5).success
    with lived.warehouse() as warehouse, warehouse.read() as transaction:
        origins = [
            facts.imported_from is None for facts in queries.observations(transaction, "acme")
        ]
    assert origins == [False, False, False, True]


def change(file: Path, edit: Callable[[dict[str, bytes]], object]) -> None:
    """Write the archive anew with its members edited."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def forged(members: dict[str, bytes], edit: Callable[[Snapshot], Snapshot]) -> None:
    """The first snapshot of an archive with something else in it, and every digest made anew to
    fit.
    """
    lines = [json.loads(line) for line in members[SNAPSHOTS].splitlines()]
    made = edit(snapshot_of(ONE, EPOCH))
    for answer in made.responses:
        members[f"bodies/{answer.body_sha256}"] = answer.body
    lines[0] |= {
        "snapshot": json.loads(canonical_json(made.facts())),
        "content_sha256": made.content_sha256,
    }
    members[SNAPSHOTS] = b"\n".join(json.dumps(line).encode() for line in lines)


def without(name: str) -> Callable[[Snapshot], Snapshot]:
    def edit(snapshot: Snapshot) -> Snapshot:
        kept = tuple(answer for answer in snapshot.responses if answer.list_name != name)
        return replace(snapshot, responses=kept)

    return edit


def of_the_far_future(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, observed_at=snapshot.observed_at.replace(year=9998))


FORGED: dict[str, tuple[Callable[[Snapshot], Snapshot], str]] = {
    "the answers of one list left out": (
        without("group_permissions"),
        "by its own answers it is incomplete: the list group_permissions was not read",
    ),
    "the members of one group left out": (
        without("group_members"),
        "the list group_members of 1 was not read",
    ),
    "a snapshot of the year 9998": (of_the_far_future, "a future that nobody can have seen"),
    "no scope": (lambda snapshot: replace(snapshot, scopes=()), "no archive of snapshots"),
    "only projects": (
        lambda snapshot: replace(snapshot, scopes=(Scope.PROJECT_PERMISSIONS,)),
        "no archive of snapshots",
    ),
    "a scope twice": (
        lambda snapshot: replace(snapshot, scopes=(Scope.CORE, Scope.CORE)),
        "no archive of snapshots",
    ),
    "a list that nobody reads": (
        lambda snapshot: replace(
            snapshot, lists=(ListRead("x", "", 1, 1, 1, 0, Verdict.COMPLETE, None),)
        ),
        "no archive of snapshots",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_an_archive_that_was_forged_with_all_its_digests_is_refused_by_its_answers(
    name: str, tmp_path: Path
) -> None:
    edit, said = FORGED[name]
    source, target = (
        Warehouse(sqlite_url(tmp_path / f"{place}.sqlite")) for place in ("source", "target")
    )
    for warehouse in (source, target):
        upgrade(warehouse)
    record(source, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")
    change(tmp_path / "acme.zip", lambda members: forged(members, edit))
    with pytest.raises(WarehouseError, match=said):
        import_(target, tmp_path / "acme.zip", lambda: EPOCH + timedelta(days=1))
    with target.read() as transaction:
        assert transaction.execute(select(raw_snapshot)).all() == []


@pytest.mark.parametrize(
    "said",
    [{"rereads": "0"}, {"more": 1}, {"reported_total": 2.0}, {"verdict": "COMPLETE"}],
    ids=str,
)
def test_an_archive_that_only_reads_as_the_same_is_refused(
    said: dict[str, Any], tmp_path: Path
) -> None:
    source, target = (
        Warehouse(sqlite_url(tmp_path / f"{place}.sqlite")) for place in ("source", "target")
    )
    for warehouse in (source, target):
        upgrade(warehouse)
    read = ListRead("members", "", 2, 2, 2, 0, Verdict.COMPLETE, None)
    record(source, replace(snapshot_of(ONE, EPOCH), lists=(read,)), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")

    def changed(members: dict[str, bytes]) -> None:
        line = json.loads(members[SNAPSHOTS])
        line["snapshot"]["lists"][0] |= said
        members[SNAPSHOTS] = json.dumps(line).encode()

    change(tmp_path / "acme.zip", changed)
    with pytest.raises(WarehouseError, match="no archive of snapshots"):
        import_(target, tmp_path / "acme.zip", lambda: EPOCH + timedelta(days=1))


@pytest.mark.parametrize("scopes", [(), (Scope.PROJECT_PERMISSIONS,), (Scope.CORE,)], ids=str)
def test_answers_without_the_lists_of_everybody_are_incomplete_whatever_they_claim(
    scopes: tuple[Scope, ...],
) -> None:
    responses = snapshot_of(ONE, EPOCH).responses
    alone = [answer for answer in responses if answer.list_name == "organization"]
    assert judged(scopes, alone)[0] is Verdict.INCOMPLETE
    assert judged((Scope.CORE,), responses)[0] is Verdict.COMPLETE


def test_members_who_vanish_from_one_list_alone_are_not_imported_without_a_persons_word(
    tmp_path: Path,
) -> None:
    source, target = (
        Warehouse(sqlite_url(tmp_path / f"{place}.sqlite")) for place in ("source", "target")
    )
    for warehouse in (source, target):
        upgrade(warehouse)
    record(
        source,
        snapshot_of(replace(ONE, members={"ada": "Ada", "bob": "Bob"}), EPOCH),
        lambda: EPOCH,
    )
    shorter = replace(ONE, user_permissions={"bob": ["admin"]})
    record(source, snapshot_of(shorter, EPOCH + timedelta(days=1)), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")
    with pytest.raises(
        WarehouseError,
        match="needed nobody's decision, and it did: 1 account stands in the list of permissions",
    ):
        import_(target, tmp_path / "acme.zip", lambda: EPOCH + timedelta(days=9))


def test_policies_come_along_so_that_every_day_is_judged_as_it_was(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    for day in range(2):
        policy = Policy(max_admins=1 + day, roster={identity("zoe"): "active"})
        record_policy(source, policy, lambda day=day: EPOCH + timedelta(days=day, hours=-1))  # type: ignore[misc]
        record(source, snapshot_of(ONE, EPOCH + timedelta(days=day)), lambda: EPOCH)
        derive(source, "acme")
    end_day = EPOCH.date() + timedelta(days=1)
    attempt = begin_attempt(
        source,
        connection="acme",
        organization_key="acme",
        partition_date=end_day,
        run_id="failed",
        started_at=EPOCH,
    )
    end_attempt(
        source, attempt, ended_at=EPOCH, outcome="failed", error="the network", snapshot_id=None
    )
    export(source, "acme", tmp_path / "acme.zip")
    carried = taken(warehouse, tmp_path / "acme.zip")
    assert (carried.policies, carried.lacking) == (2, ())
    assert history(warehouse) == history(source)
    window = Window(EPOCH.date(), end_day)
    assert {row["rule_id"] for row in gather(warehouse, "acme", window).failed} >= {"not-on-roster"}
    with warehouse.read() as transaction:
        _, day_after = queries.coverage(transaction, "acme", window.first, window.last)
    assert day_after["attempts"] == 1, "tries come along"
    again = taken(warehouse, tmp_path / "acme.zip")
    assert (again.policies, again.lacking, again.known) == (0, (), 2)


def test_policies_that_cannot_hold_here_are_said_to_be_lacking_and_what_follows(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    record_policy(source, Policy(max_admins=1), lambda: EPOCH - timedelta(days=1))
    record(source, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")
    record_policy(warehouse, Policy(max_admins=9), lambda: EPOCH)
    carried = taken(warehouse, tmp_path / "acme.zip")
    assert carried.policies == 0
    assert "1 policies of the archive were not taken" in carried.lacking[0]
    assert "by the defaults before its first one" in carried.lacking[0]


def test_an_archive_of_the_format_before_is_taken_in_and_says_what_it_lacks(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    record(source, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")

    def former(members: dict[str, bytes]) -> None:
        del members[LEDGER]
        edited_line(members, lambda line: line.update(format=FORMER))

    change(tmp_path / "acme.zip", former)
    carried = taken(warehouse, tmp_path / "acme.zip")
    assert carried.snapshots == 1
    assert "carried no policies" in carried.lacking[0]


def edited_line(members: dict[str, bytes], edit: Callable[[dict[str, object]], object]) -> None:
    lines = [json.loads(line) for line in members[SNAPSHOTS].splitlines()]
    edit(lines[0])
    members[SNAPSHOTS] = b"\n".join(json.dumps(line).encode() for line in lines)


def a_body(members: dict[str, bytes]) -> str:
    return next(name for name in sorted(members) if name.startswith("bodies/"))


TAMPERING: dict[str, Callable[[dict[str, bytes]], object]] = {
    "a body changed": lambda m: m.update({a_body(m): m[a_body(m)] + b" "}),
    "a body missing": lambda m: m.pop(a_body(m)),
    "a fact changed": lambda m: edited_line(
        m,
        lambda line: line["snapshot"].update(token_login="somebody"),  # type: ignore[attr-defined]
    ),
    "a verdict changed": lambda m: edited_line(
        m,
        lambda line: line["snapshot"].update(verdict="held"),  # type: ignore[attr-defined]
    ),
    "a time moved": lambda m: edited_line(
        m,
        lambda line: line["snapshot"].update(observed_at="2026-03-02T05:00:00Z"),  # type: ignore[attr-defined]
    ),
    "a list left out": lambda m: edited_line(m, lambda line: line["snapshot"]["responses"].pop()),  # type: ignore[index]
    "a digest changed": lambda m: edited_line(m, lambda line: line.update(content_sha256="0" * 64)),
    "another format": lambda m: edited_line(m, lambda line: line.update(format="something-else")),
    "a field missing": lambda m: edited_line(m, lambda line: line.pop("snapshot")),
    "an unknown field": lambda m: edited_line(
        m,
        lambda line: line["snapshot"].update(shoe_size=38),  # type: ignore[attr-defined]
    ),
    "no list of snapshots": lambda m: m.pop(SNAPSHOTS),
    "no JSON": lambda m: m.update({SNAPSHOTS: b"{"}),
    "a line that is a number": lambda m: m.update({SNAPSHOTS: b"7"}),
    "not UTF-8": lambda m: m.update({SNAPSHOTS: b"\xff\xfe"}),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_an_archive_that_was_changed_is_refused_whole_in_one_sentence(
    name: str, tmp_path: Path
) -> None:
    source, target = (
        Warehouse(sqlite_url(tmp_path / f"{place}.sqlite")) for place in ("source", "target")
    )
    for warehouse in (source, target):
        upgrade(warehouse)
    for day in range(2):
        record(source, snapshot_of(ONE, EPOCH + timedelta(days=day)), lambda: EPOCH)
    file = tmp_path / "acme.zip"
    export(source, "acme", file)
    change(file, TAMPERING[name])
    with pytest.raises(WarehouseError) as caught:
        import_(target, file, lambda: EPOCH)
    assert "\n" not in str(caught.value)
    with target.read() as transaction:
        assert transaction.execute(select(raw_snapshot)).all() == []
        assert transaction.execute(select(raw_body)).all() == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"a letter" * 100])
def test_a_file_that_is_no_archive_is_named(
    content: bytes, tmp_path: Path, warehouse: Warehouse
) -> None:
    file = tmp_path / "letter.zip"
    file.write_bytes(content)
    with pytest.raises(WarehouseError, match=r"letter\.zip is no archive of snapshots"):
        import_(warehouse, file, lambda: EPOCH)
    with pytest.raises(WarehouseError, match="cannot be read"):
        import_(warehouse, tmp_path / "none.zip", lambda: EPOCH)


def test_an_archive_of_another_source_or_of_another_truth_is_refused(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    record(source, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")
    record(warehouse, snapshot_of(World(), EPOCH + timedelta(seconds=5)), lambda: EPOCH)
    with pytest.raises(WarehouseError, match="only one of the two can be true"):
        import_(warehouse, tmp_path / "acme.zip", lambda: EPOCH)
    other = Warehouse(sqlite_url(tmp_path / "other.sqlite"))
    upgrade(other)
    record(
        other,
        replace(snapshot_of(ONE, EPOCH + timedelta(days=1)), source_url="https://elsewhere"),
        lambda: EPOCH,
    )
    with pytest.raises(SourceMismatchError, match="two sources never mix"):
        import_(other, tmp_path / "acme.zip", lambda: EPOCH)


def test_a_warehouse_that_was_changed_is_not_exported_and_leaves_no_half_file(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    with warehouse.write("test") as transaction:
        unguard(transaction, "raw_response")
        transaction.execute(
            update(raw_response).where(raw_response.c.sequence == 1).values(rows=99)
        )
    with pytest.raises(WarehouseError, match="is not what was recorded"):
        export(warehouse, "acme", tmp_path / "acme.zip")
    assert not (tmp_path / "acme.zip").exists()


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path, warehouse: Warehouse) -> None:
    record(warehouse, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    (tmp_path / "precious.zip").write_text("precious")
    with pytest.raises(WarehouseError, match="File exists"):
        export(warehouse, "acme", tmp_path / "precious.zip")
    assert (tmp_path / "precious.zip").read_text() == "precious"
    with pytest.raises(WarehouseError, match="choose other days"):
        export(
            warehouse,
            "acme",
            tmp_path / "none.zip",
            Window(EPOCH.date() - timedelta(days=9), EPOCH.date() - timedelta(days=8)),
        )


def test_an_honest_archive_is_taken_in_whatever_part_of_it_and_whatever_was_decided_later(
    tmp_path: Path,
) -> None:
    source, target, whole = (
        Warehouse(sqlite_url(tmp_path / f"{place}.sqlite"))
        for place in ("source", "target", "whole")
    )
    for warehouse in (source, target, whole):
        upgrade(warehouse)
    left = replace(ONE, user_permissions={"bob": ["admin"]})
    for day, world in enumerate((replace(ONE, members={"ada": "Ada", "bob": "Bob"}), left, left)):
        verdict = Verdict.HELD if day == 1 else Verdict.COMPLETE
        record(
            source, snapshot_of(world, EPOCH + timedelta(days=day), verdict=verdict), lambda: EPOCH
        )
        if day == 1:
            decide(
                source,
                2,
                CONFIRMED,
                by="ada",
                reason="he left",
                brake=Brake(),
                clock=lambda: EPOCH + timedelta(days=1, hours=2),
            )
        derive(source, "acme")
    days = [EPOCH.date() + timedelta(days=number) for number in range(3)]
    for number, window in enumerate((Window(days[0], days[1]), Window(days[2], days[2]))):
        export(source, "acme", tmp_path / f"{number}.zip", window)
        assert taken(target, tmp_path / f"{number}.zip").snapshots == 2 - number
    decide(
        source,
        2,
        RETRACTED,
        by="ada",
        reason="after all",
        brake=Brake(),
        clock=lambda: EPOCH + timedelta(days=9),
    )
    export(source, "acme", tmp_path / "whole.zip")
    assert taken(whole, tmp_path / "whole.zip").snapshots == 3


FOREIGN = {
    "another organization's": lambda ledger: ledger | {"organization_key": "other"},
    "a policy of another digest": (
        lambda ledger: ledger | {"policies": [ledger["policies"][0] | {"policy_sha256": "0" * 64}]}
    ),
    "a policy of a time to come": lambda ledger: (
        ledger
        | {"policies": [ledger["policies"][0] | {"in_force_from": "2099-01-01T00:00:00.000000Z"}]}
    ),
    "a time without a zone": lambda ledger: (
        ledger | {"policies": [ledger["policies"][0] | {"in_force_from": "2020-01-01T00:00:00"}]}
    ),
    "an end of a time to come": lambda ledger: (
        ledger
        | {
            "ends": [
                {
                    "last_day": "2020-01-01",
                    "reason": "r",
                    "decided_by": "x",
                    "decided_at": "2099-01-01T00:00:00.000000Z",
                }
            ]
        }
    ),
}


def with_ledger(tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """Give an archive whose ledger somebody changed."""
    source = Warehouse(sqlite_url(tmp_path / "source.sqlite"))
    upgrade(source)
    record_policy(source, Policy(max_admins=1), lambda: EPOCH - timedelta(hours=1))
    record(source, snapshot_of(ONE, EPOCH), lambda: EPOCH)
    export(source, "acme", tmp_path / "acme.zip")
    with (
        zipfile.ZipFile(tmp_path / "acme.zip") as archive,
        zipfile.ZipFile(tmp_path / "forged.zip", "w") as changed,
    ):
        for entry in archive.namelist():
            body = archive.read(entry)
            changed.writestr(
                entry, canonical_json(change(json.loads(body))) if entry == LEDGER else body
            )
    return tmp_path / "forged.zip"


@pytest.mark.parametrize("version", [99, "x"])
def test_an_archive_that_was_judged_by_rules_that_nobody_here_knows_is_refused(
    version: object, tmp_path: Path, warehouse: Warehouse
) -> None:
    rule = {
        "rule_id": "no-admin",
        "rule_version": version,
        "in_force_from": "2026-01-01T00:00:00.000000Z",
    }
    file = with_ledger(tmp_path, lambda ledger: ledger | {"rules": [rule]})
    with pytest.raises(WarehouseError, match="which this version does not know"):
        taken(warehouse, file)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_ledger_that_is_not_of_the_snapshots_that_came_with_it_is_refused(
    name: str, tmp_path: Path, warehouse: Warehouse
) -> None:
    file = with_ledger(tmp_path, FOREIGN[name])
    with pytest.raises(WarehouseError, match="are not those of its snapshots"):
        taken(warehouse, file)
