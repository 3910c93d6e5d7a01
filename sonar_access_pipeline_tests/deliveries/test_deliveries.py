"""Deliveries: what is sent is what was planned and what was sealed, once, however it is cut off;
and what is not to reach anybody does not.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sqlalchemy import insert, text

from sonar_access_pipeline import __version__
from sonar_access_pipeline.access.brake import Brake
from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.deliveries.errors import BusyError, DeliveryError
from sonar_access_pipeline.deliveries.pseudonyms import pseudonym
from sonar_access_pipeline.deliveries.sealed import SealedPacket, kind_of_window
from sonar_access_pipeline.deliveries.sending import Ready, packet_of, ready, send
from sonar_access_pipeline.deliveries.targets import drata, vanta
from sonar_access_pipeline.deliveries.targets.oscal import assessment_results
from sonar_access_pipeline.errors import fact_of
from sonar_access_pipeline.settings_delivery import DeliverySettings, Kind, Shape, Windows
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger.deliveries import receipts
from sonar_access_pipeline.warehouse.schema import redaction, snapshot_decision
from sonar_access_pipeline_tests.support.builders import World
from sonar_access_pipeline_tests.support.platforms import (
    CLIENT_ID,
    CLIENT_SECRET,
    CONTRACTS,
    KEY,
    Drata,
    Fault,
    Platform,
    Vanta,
    platform,
)
from sonar_access_pipeline_tests.support.reviewing import ADA, BOB, CLEO, USUAL, Reviewed

PSEUDONYMS = "a secret of more than sixteen letters"
ENVIRONMENT = {
    "DRATA_KEY": KEY,
    "VANTA_ID": CLIENT_ID,
    "VANTA_SECRET": CLIENT_SECRET,
    "PSEUDONYMS": PSEUDONYMS,
}
PERSONAL = ("ada@example.com", "bob@example.com", "cleo@example.com", "Ada", "Bob", "Cleo")


@pytest.fixture
def here(warehouse: Warehouse, tmp_path: Path) -> Reviewed:
    """A small organization that was observed twice and whose second day was sealed."""
    found = observed(warehouse, tmp_path)
    found.live(0)
    found.live(1)
    return found


def observed(warehouse: Warehouse, folder: Path) -> Reviewed:
    """An organization of SonarCloud itself, as far as a packet says."""
    return Reviewed(warehouse, folder, source_kind=SourceKind.SONARCLOUD)


def sealed(here: Reviewed, day: int = 1, *, for_people: bool = False) -> SealedPacket:
    return SealedPacket("place", here.packet(day, for_people=for_people))


def settings(kind: Kind, **more: Any) -> DeliverySettings:
    return DeliverySettings(name="there", kind=kind, windows=Windows.DAY, **more)


def planned(
    here: Reviewed, packet: SealedPacket, wanted: DeliverySettings, brake: Brake | None = None
) -> Ready:
    brake = brake or Brake()
    return ready(here.warehouse, packet, wanted, brake, ENVIRONMENT, here.now)


def deliver(here: Reviewed, packet: SealedPacket, wanted: DeliverySettings) -> Any:
    return send(here.warehouse, planned(here, packet, wanted), here.clock, __version__)


def registered(here: Reviewed) -> list[dict[str, Any]]:
    with here.warehouse.read() as transaction:
        return list(receipts(transaction))


@dataclass(frozen=True)
class On:
    """A kind of target on a platform: its settings there, and how often it holds the packet."""

    kind: Kind
    platform: type[Platform]
    more: Mapping[str, Any]
    held: Callable[[Any], int]


def _versions(there: Drata) -> int:
    return sum(one["version"] for found in there.artifacts.values() for one in found.values())


TARGETS = {
    "drata-evidence": On(
        Kind.DRATA_EVIDENCE, Drata, {"token_env": "DRATA_KEY", "workspace": 7}, _versions
    ),
    "drata-records": On(
        Kind.DRATA_RECORDS,
        Drata,
        {"token_env": "DRATA_KEY", "custom_connection": 3, "resource": "4"},
        lambda there: len(there.active),
    ),
    "vanta-document": On(
        Kind.VANTA_DOCUMENT,
        Vanta,
        {
            "client_id_env": "VANTA_ID",
            "client_secret_env": "VANTA_SECRET",
            "document": "access-reviews",
        },
        lambda there: len(there.uploads),
    ),
    "vanta-accounts": On(
        Kind.VANTA_ACCOUNTS,
        Vanta,
        {"client_id_env": "VANTA_ID", "client_secret_env": "VANTA_SECRET", "resource": "r1"},
        lambda there: len(there.accounts),
    ),
}
WHOLE = {"drata-evidence": 5, "drata-records": 3, "vanta-document": 3, "vanta-accounts": 3}


@pytest.fixture(params=TARGETS)
def on(request: pytest.FixtureRequest) -> On:
    return TARGETS[request.param]


@pytest.fixture
def there(on: On, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The platform, whose patience takes no time."""
    monkeypatch.setattr("sonar_access_pipeline.deliveries.service.sleep", lambda _: None)
    with platform(on.platform) as found:
        yield found


def at(on: On, there: Platform, **more: Any) -> DeliverySettings:
    return settings(on.kind, host_url=there.url, **on.more, **more)


pytestmark = pytest.mark.proofs("sqlite")


# What arrives.


def test_what_was_sealed_arrives_once_and_the_receipt_says_so(
    here: Reviewed, on: On, there: Any
) -> None:
    packet = sealed(here, for_people=True)
    outcome = deliver(here, packet, at(on, there))
    assert (outcome.found, outcome.read_back) == (False, True)
    assert on.held(there) == WHOLE[on.kind.value]
    writes = len(there.written)
    again = deliver(here, packet, at(on, there))
    assert (again.found, again.read_back) == (True, True)
    assert on.held(there) == WHOLE[on.kind.value]
    assert len([one for one in there.written if "token" not in one[1]]) <= writes
    (receipt,) = registered(here)
    assert (receipt["packet_digest"], receipt["accounts"]) == (packet.digest, 3)
    assert receipt["target"].startswith(there.url)
    assert not any(word in str(receipt) for word in (*PERSONAL, KEY, CLIENT_SECRET))


def test_the_bytes_that_arrive_are_those_of_the_packet(here: Reviewed) -> None:
    packet = sealed(here, for_people=True)
    with platform(Drata) as there:
        on = TARGETS["drata-evidence"]
        deliver(here, packet, at(on, there))
        (evidence,) = there.evidence.values()
        assert evidence["name"] == "SonarQube Cloud access: acme"
        bodies = {one["body"] for found in there.artifacts.values() for one in found.values()}
        assert bodies == {packet.files[name] for name in drata.LIBRARY}
        filed = {one["filedAt"] for found in there.artifacts.values() for one in found.values()}
        assert filed == {str(packet.as_of.date())}
    with platform(Vanta) as there:
        deliver(here, packet, at(TARGETS["vanta-document"], there))
        assert set(there.bodies) == {packet.files[name] for name in vanta.LIBRARY}
        assert there.submitted == 1


def test_a_later_packet_is_a_new_version_of_the_same_artifacts(here: Reviewed) -> None:
    on = TARGETS["drata-evidence"]
    with platform(Drata) as there:
        deliver(here, sealed(here, for_people=True), at(on, there))
        here.live(2, replace(USUAL, members={**USUAL.members, "dora": "Dora"}))
        deliver(here, sealed(here, 2, for_people=True), at(on, there))
        (artifacts,) = there.artifacts.values()
        assert {one["version"] for one in artifacts.values()} == {2}
        assert len(artifacts) == 5
    assert [one["found"] for one in registered(here)] == [False, False]


def test_every_account_arrives_with_what_is_known_and_an_unknown_is_left_out(
    here: Reviewed,
) -> None:
    with platform(Drata) as there:
        deliver(here, sealed(here), at(TARGETS["drata-records"], there))
        records = {one["login"]: one for one in there.active}
    assert set(records) == {ADA, BOB, CLEO}
    assert records[ADA]["isOrganizationAdmin"] is True
    assert records[BOB]["permissions"] == "gateadmin"
    assert "provider" not in records[ADA], "nobody told it"
    with platform(Vanta) as there:
        deliver(here, sealed(here), at(TARGETS["vanta-accounts"], there))
        assert there.accounts[ADA]["permissionLevel"] == "ADMIN"
        assert there.accounts[BOB]["permissionLevel"] == "EDITOR"
        assert there.accounts[CLEO]["permissionLevel"] == "BASE"


# What goes wrong there.

STATUSES = {
    400: "its interface may have changed",
    401: "holds one that is wrong",
    402: "plan there",
    403: "it needs",
    404: "as the settings name it",
    409: "changing the same thing",
    412: "must sign in there",
    413: "too large",
    422: "values",
    429: "fewer requests",
    500: "found, not doubled",
    503: "found, not doubled",
}


def _first_write(on: On) -> tuple[str, str]:
    return {
        Kind.DRATA_EVIDENCE: ("POST", r"/evidence-files$"),
        Kind.DRATA_RECORDS: ("POST", r"/sessions/[^/]+$"),
        Kind.VANTA_DOCUMENT: ("POST", r"/uploads$"),
        Kind.VANTA_ACCOUNTS: ("PUT", r"/user_account$"),
    }[on.kind]


def test_each_refusal_is_a_sentence_that_names_nobody_and_afterwards_it_arrives(
    here: Reviewed, on: On, there: Any, caplog: pytest.LogCaptureFixture
) -> None:
    packet = sealed(here)
    method, path = _first_write(on)
    for status, words in STATUSES.items():
        with platform(on.platform) as fresh:
            fresh.faults.append(Fault(method, path, status=status, times=3))
            with caplog.at_level(logging.DEBUG), pytest.raises(DeliveryError) as caught:
                deliver(here, packet, at(on, fresh))
            assert words in str(caught.value)
            said = f"{caught.value} {caplog.text}"
            assert not any(word in said for word in (*PERSONAL, KEY, CLIENT_SECRET))
            assert fact_of(caught.value).may_pass is (status in (409, 429) or status >= 500)
            assert on.held(fresh) == 0
            assert not any(fresh.url in one["target"] for one in registered(here))
            fresh.faults.clear()
            assert deliver(here, packet, at(on, fresh)).read_back is True
            assert on.held(fresh) > 0


def test_a_page_instead_of_an_answer_is_said_and_nothing_is_registered(
    here: Reviewed, on: On, there: Any
) -> None:
    method, path = _first_write(on)
    there.faults.append(Fault(method, path, html=True))
    with pytest.raises(DeliveryError, match="something else than JSON"):
        deliver(here, sealed(here), at(on, there))
    assert registered(here) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_cut_off_at_any_write_and_sent_again_it_is_there_once(
    here: Reviewed, on: On, there: Any, when: str
) -> None:
    packet = sealed(here, for_people=on.platform is Vanta or on.kind is Kind.DRATA_EVIDENCE)
    deliver(here, packet, at(on, there))
    writes = [one for one in there.written if one[1] != "/oauth/token"]
    for number, (method, path) in enumerate(writes):
        with platform(on.platform) as fresh:
            wanted = (
                at(on, fresh, title=f"cut {number}") if "evidence" in on.kind else at(on, fresh)
            )
            seen = sum(one == (method, path) for one in writes[:number])
            fresh.faults += [Fault(method, re.escape(path) + "$", change=lambda x: x)] * seen
            fault = Fault(method, _any_session(path), cut=when)
            fresh.faults = [_passing(method, _any_session(path), seen), fault]
            with pytest.raises(BusyError, match="found, not doubled"):
                deliver(here, packet, wanted)
            outcome = deliver(here, packet, wanted)
            assert outcome.read_back is True
            assert on.held(fresh) == WHOLE[on.kind.value], (number, path)


def _any_session(path: str) -> str:
    return re.sub(r"sonar-[0-9a-f]+-\d+", "[^/]+", path) + "$"


def _passing(method: str, path: str, times: int) -> Fault:
    """Something that lets so many requests pass as they are."""
    return Fault(method, path, change=lambda answer: answer, times=times)


def test_patience_is_kept_as_long_as_it_is_asked_for(
    here: Reviewed, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr("sonar_access_pipeline.deliveries.service.sleep", paused.append)
    on = TARGETS["drata-evidence"]
    with platform(Drata) as there:
        there.faults.append(
            Fault("POST", r"/evidence-files$", status=429, headers={"Retry-After": "7"}, times=2)
        )
        there.faults.append(Fault("GET", r"/evidence$", status=503, times=1))
        deliver(here, sealed(here), at(on, there))
    assert paused.count(7.0) == 2


def test_201_with_fewer_created_than_asked_is_a_failure(here: Reviewed) -> None:
    on = TARGETS["drata-evidence"]
    with platform(Drata) as there:
        there.faults.append(
            Fault("POST", r"/evidence$", change=lambda one: {**one, "artifactsCreated": 1})
        )
        with pytest.raises(DeliveryError, match="made 1 of"):
            deliver(here, sealed(here), at(on, there))
    assert registered(here) == []


def test_a_record_that_is_refused_cancels_the_session_and_what_was_there_stays(
    here: Reviewed,
) -> None:
    on = TARGETS["drata-records"]
    with platform(Drata) as there:
        deliver(here, sealed(here), at(on, there))
        before = there.active
        here.live(2, replace(USUAL, members={**USUAL.members, "dora": "Dora"}))

        def refusing(answers: Any) -> Any:
            return [*answers[:-1], {"statusCode": 400, "error": {"code": 28022, "message": "x"}}]

        there.faults.append(Fault("POST", r"/sessions/[^/]+$", change=refusing))
        with pytest.raises(DeliveryError, match=r"refused 1 of 4 .* cancelled"):
            deliver(here, sealed(here, 2), at(on, there))
        assert there.active == before
        deliver(here, sealed(here, 2), at(on, there))
        assert len(there.active) == 4


def test_what_they_hold_otherwise_than_it_was_sent_gives_no_receipt(here: Reviewed) -> None:
    on = TARGETS["vanta-accounts"]
    with platform(Vanta) as there:
        there.faults.append(Fault("GET", r"/user_account$", change=lambda one: one))
        there.faults.append(
            Fault("GET", r"/user_account$", change=lambda one: {"resources": one["resources"][1:]})
        )
        with pytest.raises(DeliveryError, match="is not what was sent"):
            deliver(here, sealed(here), at(on, there))
    assert registered(here) == []


# What reaches nobody.


def test_a_packet_that_proves_nothing_of_sonarcloud_now_is_sent_nowhere(
    here: Reviewed, tmp_path: Path
) -> None:
    wanted = settings(Kind.FILE, to=str(tmp_path / "out"), shape=Shape.WIDE, oldest_days=10)
    packet = sealed(here)
    changed = json.loads(packet.files["manifest.json"])
    changed["source"]["kind"] = "simulated"
    simulated = replace(
        packet, files={**packet.files, "manifest.json": json.dumps(changed).encode()}
    )
    with pytest.raises(DeliveryError, match="simulated source"):
        planned(here, simulated, wanted)
    unknown = replace(
        packet, files={**packet.files, "manifest.json": packet.files["manifest.json"] + b" "}
    )
    with pytest.raises(DeliveryError, match="does not stand in the register"):
        planned(here, unknown, wanted)
    here.now += timedelta(days=11)
    with pytest.raises(DeliveryError, match="11 days ago"):
        planned(here, packet, wanted)
    here.now -= timedelta(days=11)
    (tmp_path / "out").mkdir()
    assert planned(here, packet, wanted).plan.accounts == 3
    here.live(1.2, replace(USUAL, members={ADA: "Ada", BOB: "Bob"}))
    later = sealed(here)
    with pytest.raises(DeliveryError, match="superseded"):
        planned(here, packet, wanted)
    with here.warehouse.write("test") as transaction:
        number = transaction.execute(text("SELECT MAX(snapshot_id) FROM raw_snapshot")).scalar()
        transaction.execute(
            insert(snapshot_decision).values(
                snapshot_id=number,
                decision="retracted",
                decided_by="x",
                decided_at=here.now,
                reason="y",
            )
        )
    with pytest.raises(DeliveryError, match="held or was retracted"):
        planned(here, later, wanted)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_window_whose_last_day_was_not_observed_is_not_taken_for_its_end(
    here: Reviewed, tmp_path: Path
) -> None:
    here.now += timedelta(days=1)
    packet = sealed(here, 2)
    assert packet.observed_on < packet.last_day
    with pytest.raises(DeliveryError, match="its last day was not observed"):
        planned(here, packet, settings(Kind.FILE, to=str(tmp_path), shape=Shape.WIDE))


def test_a_population_that_collapsed_is_not_sent_where_absence_means_leaving(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    here = observed(warehouse, tmp_path)
    many = {f"person-{number}": "P" for number in range(60)}
    here.live(0, World(members=many, user_permissions={"person-0": ["admin"]}))
    wanted = settings(Kind.FILE, to=str(tmp_path / "out"), shape=Shape.WIDE)
    deliver(here, sealed(here, 0), wanted)
    few = dict(list(many.items())[:40])
    here.live(1, World(members=few, user_permissions={"person-0": ["admin"]}))
    packet = sealed(here, 1)
    with pytest.raises(DeliveryError, match="40 accounts, and there were 60"):
        planned(here, packet, wanted)
    found = planned(here, packet, wanted, Brake(share=0.5))
    assert "Accounts: 60 then, 40 now." in found.differences


def test_accounts_without_an_address_stop_a_population_and_are_counted_in_a_file(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    here = observed(warehouse, tmp_path)
    here.live(0, replace(USUAL, emails={ADA: "ada@example.com"}))
    packet = sealed(here, 0)
    unknown = "No e-mail address is known of 2 of 3 accounts"
    with platform(Vanta) as there, pytest.raises(DeliveryError, match=unknown):
        planned(here, packet, at(TARGETS["vanta-accounts"], there))
    probo = planned(here, packet, settings(Kind.FILE, to=str(tmp_path / "p"), shape=Shape.PROBO))
    assert unknown in probo.plan.prepared.notes[0]
    assert probo.plan.prepared.parts[0].rows == 1


def test_a_secret_that_is_not_set_is_named_and_nothing_is_asked(here: Reviewed) -> None:
    for on in TARGETS.values():
        with platform(on.platform) as there:
            found = planned(here, sealed(here), at(on, there))
            wanted = at(on, there)
            empty = ready(here.warehouse, sealed(here), wanted, Brake(), {}, here.now)
            assert found.plan.key == empty.plan.key, "a plan needs no secret"
            with pytest.raises(DeliveryError, match=r"The variable \w+, which .* is not set"):
                send(here.warehouse, empty, here.clock, __version__)
            assert there.asked == []


# Files.


def table_in(body: bytes) -> list[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".csv")]
        assert archive.testzip() is None
        return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


def test_a_file_has_the_columns_that_its_platform_takes(here: Reviewed, tmp_path: Path) -> None:
    found = {}
    for shape in Shape:
        wanted = settings(Kind.FILE, to=str(tmp_path / shape), shape=shape)
        outcome = deliver(here, sealed(here), wanted)
        assert (outcome.found, outcome.read_back) == (False, True)
        (file,) = (tmp_path / shape).iterdir()
        found[shape] = table_in(file.read_bytes())
        assert deliver(here, sealed(here), wanted).found is True
        assert [one.name for one in (tmp_path / shape).iterdir()] == [file.name]
    assert list(found[Shape.VANTA][0]) == ["Account name", "Account owner", "Role", "Status"]
    assert {row["Status"] for row in found[Shape.VANTA]} == {"Active"}
    probo = found[Shape.PROBO][0]
    assert probo["email"] == "ada@example.com"
    assert probo["role"].split(";") == ["Organization admin", "admin"]
    assert probo["is_admin"] == "true"
    assert {row["account_name"] for row in found[Shape.WIDE]} == {ADA, BOB, CLEO}
    # Twice the same packet gives the same bytes.
    one, two = (
        planned(
            here, sealed(here), settings(Kind.FILE, to=str(tmp_path), shape=Shape.WIDE)
        ).plan.prepared.parts[0]
        for _ in range(2)
    )
    assert one.body == two.body


def test_no_value_of_a_file_is_taken_for_a_formula(warehouse: Warehouse, tmp_path: Path) -> None:
    here = observed(warehouse, tmp_path)
    here.live(0, replace(USUAL, members={**USUAL.members, ADA: "=HYPERLINK(1)"}))
    found = planned(here, sealed(here, 0), settings(Kind.FILE, to=str(tmp_path), shape=Shape.WIDE))
    assert table_in(found.plan.prepared.parts[0].body)[0]["full_name"] == "'=HYPERLINK(1)"


def test_a_place_that_cannot_be_written_is_a_sentence(here: Reviewed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    wanted = settings(Kind.FILE, to=str(tmp_path / "file" / "below"), shape=Shape.WIDE)
    with pytest.raises(DeliveryError, match="cannot be written"):
        deliver(here, sealed(here), wanted)


# Without names.


LEAVER, TEAM, PROJECT = "dora-of-acme", "Team; admin (all)", "dora-of-acme_web"


def with_a_leaver(here: Reviewed) -> SealedPacket:
    """The packet after a review: somebody was to go and went, and everything has a telling name."""
    before = replace(
        USUAL,
        members={**USUAL.members, LEAVER: "Dora"},
        groups={**USUAL.groups, "3": TEAM, "4": ADA},
        group_members={**USUAL.group_members, "3": [CLEO], "4": [CLEO]},
        group_permissions={**USUAL.group_permissions, "3": ["scan"]},
        projects={PROJECT: "Dora's"},
        project_users={BOB: ["admin"]},
    )
    here.live(2, before)
    here.open(here.packet(2))
    here.decide(here.number("account", LEAVER), "revoke", "left")
    here.keep_the_rest()
    here.sign_all()
    here.acknowledge()
    members = {login: name for login, name in before.members.items() if login != LEAVER}
    here.live(3, replace(before, members=members))
    return sealed(here, 3, for_people=True)


@pytest.mark.parametrize(
    "kind", ["drata-evidence", "drata-records", "vanta-document", "oscal", "file"]
)
def test_pseudonymised_nobody_is_named_and_the_same_person_stays_the_same(
    here: Reviewed, kind: str, tmp_path: Path
) -> None:
    packet = with_a_leaver(here)
    follow_ups = packet.records("follow_up.csv")
    assert [(row["subject"], row["state"]) for row in follow_ups] == [(LEAVER, "done")]
    on = TARGETS.get(kind)
    more: dict[str, Any] = {"to": str(tmp_path / kind)} if on is None else {**on.more}
    if kind == "file":
        more["shape"] = Shape.WIDE
    wanted = settings(Kind(kind), pseudonym_env="PSEUDONYMS", **more)
    parts = planned(here, packet, wanted).plan.prepared.parts
    text_sent = "\n".join(_readable(part.body) for part in parts)
    words = re.findall(r"[\w.@-]+", text_sent)
    assert not {ADA, BOB, CLEO, LEAVER, "Dora", "caller", PROJECT, *PERSONAL} & set(words)
    assert TEAM not in text_sent
    assert not any(part.name == "manifest.json" for part in parts)
    assert len(set(re.findall(r"account-[0-9a-f]{20}", text_sent))) >= 2
    again = planned(here, packet, wanted).plan.prepared.parts
    assert [part.body for part in parts] == [part.body for part in again]
    known = sorted(pseudonym(PSEUDONYMS, login) for login in (ADA, BOB, CLEO))
    if kind == "file":
        table = table_in(parts[0].body)
        assert [row["account_name"] for row in table] == known, "in an order that tells nothing"
        assert "email" not in table[0], "what is left out is no unknown"
        (admin,) = [row for row in table if row["is_admin"] == "true"]
        assert admin["permissions"] == "admin"


def _readable(body: bytes) -> str:
    if body[:2] != b"PK":
        return body.decode()
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return "\n".join(archive.read(name).decode() for name in archive.namelist())


def test_no_name_of_a_group_forges_a_permission(here: Reviewed) -> None:
    packet = with_a_leaver(here)
    (cleo,) = [row for row in packet.population if row["login"] == CLEO]
    assert TEAM in cleo["organization_permissions"], "it stands there, in quotes"
    with platform(Drata) as there:
        deliver(here, packet, at(TARGETS["drata-records"], there))
        (record,) = [one for one in there.active if one["login"] == CLEO]
    assert record["permissions"] == "scan"
    assert record["isOrganizationAdmin"] is False


def test_who_is_no_member_is_not_called_one(here: Reviewed, tmp_path: Path) -> None:
    here.live(2, replace(USUAL, user_permissions={**USUAL.user_permissions, "zoe": ["scan"]}))
    wanted = settings(Kind.FILE, to=str(tmp_path), shape=Shape.VANTA)
    table = table_in(planned(here, sealed(here, 2), wanted).plan.prepared.parts[0].body)
    roles = {row["Account name"]: row["Role"] for row in table}
    assert roles["zoe"] == "Not a member, and holds rights"
    assert (roles[ADA], roles[CLEO]) == ("Organization admin", "Member")


def test_what_was_sent_in_clear_is_not_taken_for_what_is_pseudonymised(here: Reviewed) -> None:
    packet = sealed(here, for_people=True)
    on = TARGETS["drata-evidence"]
    with platform(Drata) as there:
        deliver(here, packet, at(on, there))
        outcome = deliver(here, packet, at(on, there, pseudonym_env="PSEUDONYMS"))
        assert outcome.found is False
        (artifacts,) = there.artifacts.values()
        newest = {one["name"].split()[2]: one["body"] for one in artifacts.values()}
    assert b"ada@example.com" not in newest["population.csv"]


def test_an_older_packet_replaces_no_newer_one(here: Reviewed) -> None:
    older, newer = sealed(here, 0), sealed(here, 1)
    on = TARGETS["vanta-accounts"]
    with platform(Vanta) as there:
        deliver(here, newer, at(on, there))
        with pytest.raises(DeliveryError, match="would replace it there"):
            deliver(here, older, at(on, there))


def test_who_was_taken_out_since_is_sent_to_nobody(here: Reviewed) -> None:
    packet = sealed(here)
    on = TARGETS["drata-records"]
    with here.warehouse.write("test") as transaction:
        transaction.execute(
            insert(redaction).values(
                organization_key="acme",
                pseudonym="redacted-1",
                salt="s",
                basis="asked",
                decided_by="x",
                redacted_at=here.now + timedelta(minutes=1),
                last_snapshot_id=1,
            )
        )
    with platform(Drata) as there, pytest.raises(DeliveryError, match="stands in it still"):
        deliver(here, packet, at(on, there))


def test_a_document_that_was_uploaded_and_not_submitted_is_submitted_the_next_time(
    here: Reviewed,
) -> None:
    on = TARGETS["vanta-document"]
    with platform(Vanta) as there:
        deliver(here, sealed(here), at(on, there))
        here.live(2)
        there.faults.append(Fault("POST", "/submit$", cut="before"))
        with pytest.raises(BusyError):
            deliver(here, sealed(here, 2), at(on, there))
        assert (there.submitted, there.status) == (1, "Needs update")
        deliver(here, sealed(here, 2), at(on, there))
        assert (there.submitted, there.status) == (2, "OK")


def test_one_is_sent_at_a_time(here: Reviewed) -> None:
    on = TARGETS["drata-evidence"]
    with platform(Drata) as there:
        found = planned(here, sealed(here), at(on, there))
        with here.warehouse.exclusive("delivery:acme:there") as is_ours:
            assert is_ours
            with pytest.raises(BusyError, match="by somebody else"):
                send(here.warehouse, found, here.clock, __version__)
        assert there.asked == []
        assert send(here.warehouse, found, here.clock, __version__).read_back is True


def test_no_netrc_puts_another_key_in_the_place_of_ours(
    here: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with platform(Drata) as there:
        assert deliver(here, sealed(here), at(TARGETS["drata-evidence"], there)).read_back is True


def _always(said: Any) -> Callable[[Any], Any]:
    return lambda _: said


def test_an_answer_of_another_form_is_a_sentence(here: Reviewed, on: On, there: Any) -> None:
    packet = sealed(here)
    odd_ones: tuple[Any, ...] = (None, [], {}, "text", {"data": None})
    for odd in odd_ones:
        with platform(on.platform) as fresh:
            fresh.faults.append(Fault("GET", "", change=_always(odd), times=9))
            with pytest.raises(DeliveryError) as caught:
                deliver(here, packet, at(on, fresh))
            assert not any(word in str(caught.value) for word in PERSONAL)
    assert registered(here) == []


def test_a_short_secret_hides_nobody(here: Reviewed, tmp_path: Path) -> None:
    wanted = settings(Kind.FILE, to=str(tmp_path), shape=Shape.WIDE, pseudonym_env="SHORT")
    with pytest.raises(DeliveryError, match="fewer than 16"):
        ready(here.warehouse, sealed(here), wanted, Brake(), {"SHORT": "abc"}, here.now)


# OSCAL.


def oscal_schema() -> dict[str, Any]:
    """NIST's schema; its tokens are written with classes that Python's re does not know."""
    whole = (CONTRACTS / "oscal_assessment-results_1.2.1.json").read_text()
    found: dict[str, Any] = json.loads(
        whole.replace(r"\\p{L}", r"[^\\W\\d_]").replace(r"\\p{N}", r"\\d")
    )
    return found


def results_of(here: Reviewed, packet: SealedPacket, tmp_path: Path) -> dict[str, Any]:
    found = planned(here, packet, settings(Kind.OSCAL, to=str(tmp_path / "oscal")))
    document = json.loads(found.plan.prepared.parts[0].body)
    jsonschema.Draft7Validator(oscal_schema(), format_checker=jsonschema.FormatChecker()).validate(
        document
    )
    result: dict[str, Any] = document["assessment-results"]["results"][0]
    return result


def test_assessment_results_are_valid_and_say_what_the_packet_says(
    here: Reviewed, tmp_path: Path
) -> None:
    here.open(here.packet(1))
    here.decide(here.number("privilege", BOB, "gateadmin"), "revoke", "not needed")
    here.decide(here.number("account", CLEO), "revoke", "left")
    here.keep_the_rest()
    here.sign_all()
    here.acknowledge()
    # Bob lost the right, Cleo is there still.
    here.live(2, replace(USUAL, user_permissions={}))
    packet = sealed(here, 2)
    result = results_of(here, packet, tmp_path)
    titles = [one["title"] for one in result["observations"]]
    assert any(title.startswith("Review 1 of access") for title in titles)
    states = {
        one["title"].rpartition(": ")[2]: one["target"]["status"]["state"]
        for one in result["findings"]
        if one["title"].startswith("Review")
    }
    assert states == {"done": "satisfied", "open": "not-satisfied"}
    rules = packet.records("findings.csv")
    failing = [row for row in rules if row["result"] == "fail"]
    of_rules = [one for one in result["findings"] if not one["title"].startswith("Review")]
    assert len(of_rules) == len(failing)
    untold = [row for row in rules if row["result"] == "not_evaluable"]
    assert untold
    observed = {one["uuid"] for one in result["observations"]}
    every = [one["uuid"] for one in (*result["observations"], *result["findings"])]
    assert len(set(every)) == len(every), "no id stands for two things"
    for finding in result["findings"]:
        (related,) = finding["related-observations"]
        assert related["observation-uuid"] in observed
    found = {title for title in titles if title.endswith("not_evaluable")}
    assert found
    assert not any(one["title"] in found for one in result["findings"])
    # Made again it is the same, to the byte; and what is about the same thing keeps its id later.
    assert result == results_of(here, packet, tmp_path)
    here.live(3, replace(USUAL, user_permissions={}))
    later = results_of(here, sealed(here, 3), tmp_path)
    kept = {one["uuid"] for one in result["findings"]} & {one["uuid"] for one in later["findings"]}
    assert kept


def test_two_answers_of_one_rule_about_one_subject_have_ids_of_their_own(here: Reviewed) -> None:
    packet = sealed(here)
    head, *rows = packet.files["findings.csv"].splitlines(keepends=True)
    twice = b"".join([head, *rows, *rows])
    result = assessment_results(replace(packet, files={**packet.files, "findings.csv": twice}))
    (found,) = result["assessment-results"]["results"]
    every = [one["uuid"] for one in (*found["observations"], *found.get("findings", ()))]
    assert len(set(every)) == len(every) > 2 * len(rows)


# Which packet.


def test_the_newest_packet_of_the_windows_is_taken(here: Reviewed) -> None:
    with pytest.raises(DeliveryError, match="No packet of a quarter was sealed"):
        packet_of(
            here.warehouse,
            here.sealing.store,
            "acme",
            DeliverySettings(name="x", kind=Kind.OSCAL, to="x"),
        )
    older, newer = sealed(here, 0), sealed(here, 1)
    wanted = settings(Kind.OSCAL, to="x")
    found = packet_of(here.warehouse, here.sealing.store, "acme", wanted)
    assert found.digest == newer.digest != older.digest
    file = Path(found.location) / "population.csv"
    file.write_bytes(file.read_bytes().replace(b"cleo", b"clea"))
    with pytest.raises(DeliveryError, match="is not what was sealed"):
        packet_of(here.warehouse, here.sealing.store, "acme", wanted)


@pytest.mark.parametrize(
    ("first", "last", "kind"),
    [
        ("2026-01-01", "2026-01-01", Windows.DAY),
        ("2026-02-01", "2026-02-28", Windows.MONTH),
        ("2026-10-01", "2026-12-31", Windows.QUARTER),
        ("2026-02-01", "2026-04-30", None),
        ("2026-01-01", "2026-12-31", None),
        ("2026-01-02", "2026-01-31", None),
    ],
)
def test_windows_are_told_apart(first: str, last: str, kind: Windows | None) -> None:
    days = [datetime.fromisoformat(day).replace(tzinfo=UTC).date() for day in (first, last)]
    assert kind_of_window(*days) is kind
