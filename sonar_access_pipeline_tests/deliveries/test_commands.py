"""`deliver` and the asset: what a person sees before and after, and that nothing is sent by itself
unless the settings say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from sonar_access_pipeline.access.snapshot import SourceKind
from sonar_access_pipeline.cli import main
from sonar_access_pipeline.orchestration.delivering import deliveries_asset
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Settings, load
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.ledger.deliveries import receipts
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support.company import company, metadata_of
from sonar_access_pipeline_tests.support.reviewing import USUAL, Reviewed

SETTINGS = """
data_dir = "{folder}"

[connections.acme]
organization = "acme"
token_env = "ACME_TOKEN"

[[delivery]]
name = "auditor"
kind = "file"
shape = "wide"
to = "{folder}/out"
windows = "day"
oldest_days = 366
{more}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reviewed]:
    """A warehouse with a sealed day, and settings with one delivery."""
    warehouse = Warehouse(f"sqlite:///{tmp_path}/warehouse.sqlite")
    upgrade(warehouse)
    found = Reviewed(warehouse, tmp_path, source_kind=SourceKind.SONARCLOUD)
    found.live(0)
    found.packet(0)
    _configure(tmp_path, monkeypatch)
    yield found
    warehouse.close()


def _configure(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    file = folder / "settings.toml"
    file.write_text(SETTINGS.format(folder=folder, more=more))
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(file))
    monkeypatch.setenv("ACME_TOKEN", "x")


def said(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["deliver", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def _at(here: Reviewed, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Resources.__init__

    def made(self: Resources, *arguments: Any, **more: Any) -> None:
        original(self, *arguments, **more)
        object.__setattr__(self, "clock", here.clock)

    monkeypatch.setattr(Resources, "__init__", made)


def test_a_plan_is_shown_sent_and_listed(
    here: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at(here, monkeypatch)
    status, plan = said("plan")
    assert (status, (tmp_path / "out").exists()) == (0, False), plan
    assert "3 accounts" in plan
    assert "Nothing was delivered there before." in plan
    key = plan.split("Plan: ")[1].split(":")[0]
    status, other = said("send", "auditor", "--plan", "0000")
    assert (status, (tmp_path / "out").exists()) == (1, False)
    assert "something changed since" in other.replace("\n", " ")
    status, sent = said("send", "auditor", "--plan", key)
    assert status == 0, sent
    assert "what is listed there is what was sent" in sent
    status, again = said("send")
    assert "it was there already" in again
    status, listed = said("list", "--format", "json")
    (receipt,) = json.loads(listed)
    assert receipt["name"] == "auditor"
    assert receipt["accounts"] == 3
    status, found = said("plan")
    assert "The same was delivered on" in found
    # Another packet, by its digest and by its place.
    status, by_digest = said("plan", "--packet", receipt["packet_digest"][:12])
    assert status == 0, by_digest
    status, unknown = said("plan", "nobody")
    assert (status, "there is: auditor" in unknown) == (2, True)


def test_a_refusal_is_a_sentence_and_a_status(
    here: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _at(here, monkeypatch)
    (tmp_path / "out").write_text("a file is in the way")
    status, output = said("send")
    assert status == 1
    assert "cannot be written to" in output
    with here.warehouse.read() as transaction:
        assert receipts(transaction) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('token_env = "X"', "has no use for token_env"),
        ('[[delivery]]\nname = "auditor"\nkind = "oscal"\nto = "x"', "two deliveries are named"),
        ('[[delivery]]\nname = "b"\nkind = "drata-evidence"', "needs token_env and workspace"),
        (
            '[[delivery]]\nname = "b"\nkind = "oscal"\nto = "x"\nconnection = "no"',
            "connection 'no', which is none",
        ),
        ('[[delivery]]\nname = "b"\nkind = "fax"', "kind"),
        ('[[delivery]]\nname = "b"\nkind = "oscal"\nto = "x"\ntoken = "y"', "token is no setting"),
    ],
)
def test_a_delivery_that_cannot_be_is_said_with_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, words: str
) -> None:
    _configure(tmp_path, monkeypatch, more)
    with pytest.raises(SettingsError, match=words):
        load()


def test_a_folder_is_meant_as_the_file_that_names_it_means_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = '[[delivery]]\nname = "b"\nkind = "oscal"\nto = "{}"\n'
    for written, meant in (
        ("handed/over", str(tmp_path / "handed" / "over")),
        ("/else", "/else"),
        ("s3://bucket/there", "s3://bucket/there"),
    ):
        _configure(tmp_path, monkeypatch, more.format(written))
        assert load().delivery[1].to == meant
    _configure(tmp_path, monkeypatch, more.format("s3://key:s3cr3t@bucket/there"))
    with pytest.raises(SettingsError) as caught:
        load()
    assert "credentials and options" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://api.example.com", "plain http"),
        ("ftp://x", "write the address as https"),
        ("https://u:p4ss@x", "a key has its variable"),
    ],
)
def test_an_address_that_would_show_a_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    more = (
        '[[delivery]]\nname = "b"\nkind = "drata-evidence"\nworkspace = 1\ntoken_env = "X"\n'
        f'host_url = "{address}"\n'
    )
    _configure(tmp_path, monkeypatch, more)
    with pytest.raises(SettingsError, match=words) as caught:
        load()
    assert "p4ss" not in str(caught.value)


def test_two_deliveries_to_one_place_are_refused_since_each_would_undo_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = (
        '[[delivery]]\nname = "{}"\nkind = "vanta-accounts"\nclient_id_env = "A"\n'
        'client_secret_env = "B"\nresource = "{}"\n'
    )
    _configure(tmp_path, monkeypatch, one.format("a", "r") + one.format("b", "s"))
    assert len(load().delivery) == 3
    _configure(tmp_path, monkeypatch, one.format("a", "r") + one.format("b", "r"))
    with pytest.raises(SettingsError, match="go to the same place"):
        load()


def _run(here: Reviewed, settings: Settings) -> dg.ExecuteInProcessResult:
    resources = Resources(settings)
    object.__setattr__(resources, "clock", here.clock)
    asset = deliveries_asset(settings.connections[0], resources)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([asset], instance=instance, raise_on_error=False)


def test_the_asset_sends_only_what_is_automatic_and_its_check_says_what_failed(
    here: Reviewed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _run(here, load())
    table = metadata_of(result, "delivery")["deliveries"].records
    assert [one.data["state"] for one in table] == ["would be sent"]
    assert not (tmp_path / "out").exists()
    _configure(tmp_path, monkeypatch, "automatic = true")
    states = []
    for _ in range(2):
        result = _run(here, load())
        table = metadata_of(result, "delivery")["deliveries"].records
        states += [one.data["state"] for one in table]
    assert states == ["sent", "delivered before"]
    here.live(1, changed(USUAL, members={**USUAL.members, "dora": "Dora"}))
    here.packet(1)
    for file in (tmp_path / "out").iterdir():
        file.unlink()
    (tmp_path / "out").rmdir()
    (tmp_path / "out").write_text("in the way")
    result = _run(here, load())
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.success, "it stops nothing"


def test_what_a_simulator_showed_is_never_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = {
        "name": "auditor",
        "kind": "file",
        "shape": "wide",
        "to": str(tmp_path / "out"),
        "windows": "day",
        "automatic": True,
    }
    with company(tmp_path / "data", monkeypatch.setenv, delivery=(delivery,)) as one:
        result = one.live(0)
        assert result.success
        table = metadata_of(result, "delivery")["deliveries"].records
    assert [row.data["state"] for row in table] == ["failed"]
    assert "simulated source" in table[0].data["why"]
    assert not (tmp_path / "out").exists()
