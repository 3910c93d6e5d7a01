"""What stands around it: machines, addresses and programs as they are."""

from __future__ import annotations

import os
import sqlite3
import string
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import make_url

from sonar_access_pipeline.access.lists import ENDPOINTS
from sonar_access_pipeline.access.policy import identity
from sonar_access_pipeline.addresses import UNREADABLE, plain_address
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.signers import signer_of
from sonar_access_pipeline.orchestration.launch import Launcher, require_storage
from sonar_access_pipeline.orchestration.ready import _variables
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, PolicySettings, load, passed_over
from sonar_access_pipeline.settings import given as settings_of
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.errors import RefusedError
from sonar_access_pipeline.sonarcloud.rate_limit import STATE, RateLimit
from sonar_access_pipeline.warehouse.database import Warehouse
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline_tests.support.commands import Commands, ends, settings

SECRET = "5ecret-of-somebody"
OPENS = """
import sys, time
from pathlib import Path
from sonar_access_pipeline.orchestration.launch import Launcher
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import load
resources = Resources(load())
(Path(sys.argv[1]) / sys.argv[2]).touch()
while len(list(Path(sys.argv[1]).iterdir())) < 4:
    time.sleep(0.01)
with Launcher(resources) as launcher:
    print(len(launcher._instance.get_runs()))
"""


def test_first_runs_at_once_make_one_instance(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.mkdir()
    known = {
        **os.environ,
        "SONAR_ACCESS_DATA_DIR": str(tmp_path / "data"),
        "SONAR_ORGANIZATION": "acme",
        "SONAR_TOKEN": "x",
    }
    words = [sys.executable, "-W", "ignore", "-c", OPENS, str(ready)]
    opened = [
        subprocess.Popen([*words, str(number)], env=known, stdout=-1, stderr=-1, text=True)
        for number in range(4)
    ]
    for one in opened:
        out, errors = one.communicate(timeout=120)
        assert (one.returncode, out.strip()) == (0, "0"), errors


def test_an_instance_that_was_left_half_made_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(tmp_path / "data"))
    resources = Resources(settings_of([Connection(name="acme", organization="acme")]))
    with Launcher(resources):
        pass
    (runs,) = (tmp_path / "data").rglob("runs.db")
    with sqlite3.connect(runs) as opened:
        opened.execute("INSERT INTO alembic_version VALUES ('another')")
    for opens in (
        lambda: Launcher(resources),
        lambda: require_storage(tmp_path / "data" / "dagster_home"),
    ):
        with pytest.raises(SettingsError, match="was left half-made: move its folder away"):
            opens()


@pytest.mark.parametrize("named", ["relative", "/none/at/all"])
def test_a_home_of_dagster_that_cannot_be_is_one_sentence(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", named)
    with pytest.raises(
        SettingsError, match=f"DAGSTER_HOME is {named}; set it to a folder that is there"
    ):
        Launcher(Resources(settings_of([Connection(name="acme", organization="acme")])))


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        (
            f"postgresql://u:{SECRET}@host:5432/name?password={SECRET}",
            "postgresql://host:5432/name",
        ),
        (f"https://{SECRET}@host/path#x", "https://host/path"),
        (f"https://host/path?key={SECRET}", "https://host/path"),
        (f"http://:{SECRET}@host", "http://host"),
        (f"postgresql://u:pa@{SECRET}@host/name", UNREADABLE),
        (f"postgresql://u:pa/{SECRET}@host/name", UNREADABLE),
        (f"postgresql://u:pa?{SECRET}@host:port/name", UNREADABLE),
        ("no address", UNREADABLE),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(address: str, plain: str) -> None:
    assert plain_address(address) == plain


@given(
    st.text(alphabet=string.printable[:95] + "\u00e4\u20ac", min_size=6),
    st.sampled_from(["https://u:{}@host/x", "s3://host/x?{}", "http://host/#{}"]),
)
def test_no_part_of_a_password_is_ever_shown(secret: str, form: str) -> None:
    shown = plain_address(form.replace("{}", secret))
    assert shown == UNREADABLE or shown in (
        form.partition("//")[0] + "//host/x",
        form.partition("//")[0] + "//host/",
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://u:pa@{SECRET}@host/db", "in more than one way; write `@`"),
        (f"postgresql://u:pa/{SECRET}@host/db", "in more than one way"),
        (f"postgresql://u:{SECRET}@host:port/db", "has a port that is none"),
        (
            f"postgresql+psycopg://u:{SECRET}@host/db",
            "names the driver psycopg; write postgresql:// alone",
        ),
        (f"postgresql+asyncpg://u:{SECRET}@host/db", "names the driver asyncpg"),
        (f"mysql://u:{SECRET}@host/db", "not mysql"),
        ("sqlite://warehouse.sqlite", "names no file"),
        ("sqlite://", "no address of one"),
        ("sqlite:///", "names no file"),
        ("sqlite:////a?b/warehouse.sqlite", "has a `?` in it"),
        ("warehouse.sqlite", "no address of one"),
    ],
)
def test_a_warehouse_that_cannot_be_meant_is_one_sentence_without_its_password(
    url: str, said: str
) -> None:
    with pytest.raises(WarehouseError) as refused:
        Warehouse(url)
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_warehouse_is_named_without_user_password_and_options() -> None:
    warehouse = Warehouse(
        f"postgresql://u:{SECRET}@127.0.0.1:9/db?sslpassword={SECRET}&application_name={SECRET}"
    )
    assert warehouse.name == "postgresql://127.0.0.1:9/db"
    with pytest.raises(WarehouseError) as refused, warehouse.read():
        pass
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        f"http://:{SECRET}@127.0.0.1",
        f"https://{SECRET}@sonarcloud.io",
        f"https://sonarcloud.io#{SECRET}",
    ],
)
def test_a_source_with_credentials_in_its_address_is_refused(
    host: str, commands: Commands, tmp_path: Path
) -> None:
    done = commands.run(
        tmp_path,
        ("check",),
        {"SONAR_ORGANIZATION": "acme", "SONAR_TOKEN": "x", "SONAR_HOST_URL": host},
    )
    assert done.returncode == 2
    assert "a token has its place" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_this_machine_is_never_asked_through_a_proxy(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(502)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    proxy = f"http://127.0.0.1:{server.server_port}"
    known = {
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "ALL_PROXY": proxy,
        "all_proxy": proxy,
        "NO_PROXY": "",
        "no_proxy": "",
    }
    ends(commands.run(tmp_path, ("check",), settings(simulator) | known), 0, "reads organization")
    server.shutdown()
    assert seen == []


@pytest.mark.parametrize(
    "written",
    [
        "t0ken",
        "  t0ken\r\n",
        "\ufefft0ken\n",
        "\u200bt0ken\u00a0",
        '"t0ken"',
        "\u201ct0ken\u201d",
        "Bearer t0ken",
        "'Bearer t0ken'\n",
    ],
)
def test_a_token_is_understood_as_programs_write_it(written: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(written, encoding="utf-8", newline="")
    named = Connection(name="acme", organization="acme", token_file=tmp_path / "token")
    assert named.token() == "t0ken"
    assert Connection(name="acme", organization="acme").token({"SONAR_TOKEN": written}) == "t0ken"
    (tmp_path / "token").write_bytes(written.strip("\ufeff").encode("utf-16"))
    assert named.token() == "t0ken"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"one\ntwo\n", "several lines"),
        (b"to ken", "holds spaces"),
        (b"\x80token", "not UTF-8 from line 1 on"),
        (b"to\0ken", "holds zero bytes"),
        (b"\xef\xbb\xbf \r\n", "No token is set"),
    ],
)
def test_what_is_no_token_is_named_as_what_it_is(written: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(written)
    with pytest.raises(SettingsError, match=said):
        Connection(name="acme", organization="acme", token_file=tmp_path / "token").token()


ROSTERS = {
    "comma": "login,status\nada,active\nbob,left\n",
    "Excel's marks": "\ufefflogin,status\r\nada,active\r\nbob,left\r\n",
    "semicolons": "login;status\nada;active\nbob;left\n",
    "named semicolons": "sep=;\r\nlogin;status\r\nada;active\r\nbob;left\r\n",
    "tabs": "Login\tStatus\nada\tactive\nbob\tleft\n",
    "spaces that nobody sees": "\u00a0Login , STATUS\u200b\n ada\u00a0,Active\n\u200bbob,left \n",
    "quotes": '"login","status"\n"ada","active"\n"bob","left"\n',
    "an old Mac": "login,status\rada,active\rbob,left\r",
}


@pytest.mark.parametrize("name", ROSTERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_roster_is_understood_as_spreadsheets_write_it(
    name: str, encoding: str, tmp_path: Path
) -> None:
    file = tmp_path / "roster.csv"
    file.write_bytes(ROSTERS[name].encode(encoding))
    policy = PolicySettings(roster=file).policy()
    assert policy.roster == {identity("ada"): "active", identity("bob"): "left"}


def test_a_roster_in_an_encoding_of_its_own_is_named(tmp_path: Path) -> None:
    file = tmp_path / "roster.csv"
    file.write_bytes("login,name\nada,Ad\u00e4\n".encode("cp1252"))
    with pytest.raises(SettingsError, match="it is not UTF-8 from line 2 on; save it as UTF-8"):
        PolicySettings(roster=file).policy()


@pytest.mark.parametrize(
    "written",
    [
        "json://a json://b",
        "json://a,\njson://b,",
        '["json://a", "json://b"]',
        "\u201cjson://a\u201d\tjson://b;",
        "'json://a' 'json://b'",
    ],
)
def test_a_list_of_addresses_is_understood_as_people_write_it(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ORGANIZATION", "acme")
    monkeypatch.setenv("SONAR_ACCESS_ALERT_URLS", written)
    assert [url.get_secret_value() for url in load().alert_urls] == ["json://a", "json://b"]


def test_quotes_that_a_container_tool_leaves_around_values_are_no_part_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONAR_ORGANIZATION", '"acme"')
    monkeypatch.setenv("SONAR_REGION", "'us'")
    monkeypatch.setenv("SONAR_ACCESS_HOUR", '"7"')
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", "\ufeffs3://bucket/x\r")
    found = load()
    assert (found.connections[0].organization, found.connections[0].host_url) == (
        "acme",
        "https://sonarqube.us",
    )
    assert (found.hour, found.evidence) == (7, "s3://bucket/x")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"SONAR_ACCESS_SCOPE": "core"},
            "SONAR_ACCESS_SCOPE is no setting; did you mean SONAR_ACCESS_SCOPES?",
        ),
        ({"SONAR_ACCESS_NOTHING_LIKE_IT_AT_ALL_": "x"}, "is no setting"),
        ({"SONAR_ACCESS_HOUR": "99"}, "SONAR_ACCESS_HOUR is '99': write 23 or less"),
        (
            {"SONAR_ACCESS_FIRST_DAY": "soon"},
            "SONAR_ACCESS_FIRST_DAY is 'soon': write a day as 2026-01-31",
        ),
        (
            {"SONAR_ACCESS_BRAKE_SHARE": "half"},
            "SONAR_ACCESS_BRAKE_SHARE is 'half': write a number",
        ),
        ({"SONAR_ACCESS_CONNECTIONS": "acme"}, "SONAR_ACCESS_CONNECTIONS cannot be read"),
        (
            {"SONAR_ACCESS_CONNECTIONS": f'{{"a": "{SECRET}"}}'},
            "each connection is a table of its own",
        ),
        ({"SONAR_ACCESS_EVIDENCE_URL": "s3://"}, "two slashes and a bucket"),
        ({"SONAR_ACCESS_EVIDENCE_URL": "s3:bucket/x"}, "two slashes and a bucket"),
        ({"SONAR_ACCESS_UI_URL": f"http://u:{SECRET}@host"}, "it stands in every alert"),
        ({"sonar_access_scope": "core"}, "SONAR_ACCESS_SCOPE is no setting"),
        (
            {"SONAR_ACCESS_POLICY": '{"max_admins": 0}'},
            "max_admins in SONAR_ACCESS_POLICY is '0': write 1 or more",
        ),
        (
            {
                "SONAR_ACCESS_CONNECTIONS": (
                    '[{"name": "other", "organization": "o", "host_url": "http://x.example"}]'
                )
            },
            "host_url in SONAR_ACCESS_CONNECTIONS: plain http would show the token",
        ),
    ],
)
def test_a_wrong_variable_is_named_with_the_remedy_and_its_value_unless_that_may_be_secret(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SONAR_ORGANIZATION": "acme", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as wrong:
        load()
    assert said in str(wrong.value)
    assert SECRET not in str(wrong.value)


@pytest.mark.parametrize(
    "name", ["SONAR_ACCES_HOUR", "SONARACCESS_HOUR", "SONAR_ACESS_HOUR", "SONAR_ACCESSS_HOUR"]
)
def test_a_slip_in_the_beginning_of_a_name_is_no_other_programs_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "7")
    with pytest.raises(
        SettingsError, match=f"{name} is no setting; did you mean SONAR_ACCESS_HOUR"
    ):
        load()


def test_a_check_names_the_variables_that_nobody_reads(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    simple = settings(simulator)
    known = simple | {"SONAR_REGIN": "us", "SONAR_SCANNER_OPTS": "-X", "SONAR_USER_HOME": "/x"}
    ends(
        commands.run(tmp_path, ("check",), known),
        0,
        "SONAR_REGIN is set and not read; did you mean SONAR_REGION?",
    )
    assert "is set and not read" not in commands.run(tmp_path, ("check",), simple).stderr
    (tmp_path / "ours.toml").write_text(
        f"[connections.acme]\norganization = 'acme'\nhost_url = '{simulator.url}'\n"
    )
    done = commands.run(
        tmp_path, ("check",), simple | {"SONAR_ACCESS_CONFIG": "ours.toml", "SONAR_REGION": "us"}
    )
    for name in ("SONAR_REGION", "SONAR_ORGANIZATION", "SONAR_HOST_URL"):
        ends(done, 0, f"{name} is set and not read: the connections stand in ours.toml.")
    assert "SONAR_TOKEN is" not in done.stderr


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONAR_ORGANIZATION", "acme")
    for name in (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_80_TCP",
        "PORT_80_TCP_ADDR",
        "WEB_SERVICE_HOST",
    ):
        monkeypatch.setenv(f"SONAR_ACCESS_{name}", "tcp://10.0.0.1:80")
    assert load().connections[0].organization == "acme"


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (
            "[connections.acme]\norganisation = 'acme'\n",
            "organisation is no setting of [connections.acme]; did you mean organization?",
        ),
        (
            "[connections.acme]\norganization = 'acme'\ntoken = 'x'\n",
            "a token never stands in a file of settings",
        ),
        (
            "[policy]\nmax_admin = 3\n",
            "max_admin is no setting of [policy]; did you mean max_admins?",
        ),
        (
            "[policy]\nmax_admins = 'many'\n",
            "max_admins in [policy] is 'many': write a whole number",
        ),
        ("[connections.Acme]\norganization = 'acme'\n", "name in [connections.Acme] is 'Acme'"),
        ("data_dir =\n", "is not TOML: invalid value (at line 1"),
        ("data_dir = 7\n", "data_dir in settings.toml is '7': write a path"),
        (
            "connections = 'acme'\n",
            "connections in settings.toml is 'acme': each connection is a table of its own",
        ),
        ("policy = 'strict'\n", "policy in settings.toml is 'strict': write a table"),
        (
            "owners = ['nobody at all']\n",
            "owners in settings.toml is 'nobody at all': it has another form",
        ),
        (
            "[[policy.exceptions]]\nrule = 'dormant'\nby = 'x'\nresaon = 'y'\nuntil = 2027-01-01\n",
            (
                "resaon is no setting of [policy.exceptions.number 1]; there are: by, rule,"
                " subject, until, why"
            ),
        ),
    ],
)
def test_a_wrong_line_of_the_file_is_named_as_people_wrote_it(
    toml: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text(toml)
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", "settings.toml")
    with pytest.raises(SettingsError) as wrong:
        load()
    assert said in str(wrong.value)
    assert "pydantic" not in str(wrong.value)
    assert ".0." not in str(wrong.value)


def test_a_variable_of_another_program_is_not_taken_for_one_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "settings.toml").write_text(
        "data_dir = 'data'\n[connections.acme]\norganization = 'acme'\n"
    )
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", "etc/settings.toml")
    for name in ("DATA_DIR", "CONNECTIONS"):
        monkeypatch.setenv(name, "/of/another")
    assert load().data_dir == tmp_path / "etc" / "data"
    monkeypatch.setenv("SONAR_REGION", "us")
    monkeypatch.setenv("SONAR_ORGANISATION", "x")
    assert passed_over(load()) == [
        "SONAR_REGION is set and not read: the connections stand in etc/settings.toml."
    ]


def test_an_empty_list_of_connections_leaves_the_simple_variables_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_CONNECTIONS", "[]")
    monkeypatch.setenv("SONAR_ORGANIZATION", "acme")
    assert load().connections[0].organization == "acme"
    assert passed_over(load()) == []


def test_connections_of_a_list_in_the_file_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text(
        "[[connections]]\nname = 'acme'\norganization = 'acme'\n"
    )
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", "settings.toml")
    monkeypatch.setenv("SONAR_ORGANIZATION", "zz")
    assert passed_over(load()) == [
        "SONAR_ORGANIZATION is set and not read: the connections stand in settings.toml."
    ]


def test_a_settings_file_with_the_marks_of_an_editor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[connections.acme]\r\norganization = 'acme'\r\n"
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "settings.toml"))
    for body in (text.encode("utf-8-sig"), text.encode("utf-16")):
        (tmp_path / "settings.toml").write_bytes(body)
        assert load().connections[0].organization == "acme"


def test_what_a_terminal_cannot_print_changes_nothing(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    known = settings(simulator) | {
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    simulator.organization().names["person-000"] = "Ad\u00e4 \u0142"
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SONAR", "DAGSTER"))
    }
    done = subprocess.run(
        [sys.executable, "-c", "from sonar_access_pipeline.cli import main; main()", "sync"],
        cwd=tmp_path,
        env=clean | known,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Evidence packet of this run" in done.stdout


def test_a_check_asks_for_everything_that_a_sync_and_its_alerts_will_need(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    known = settings(simulator)
    (tmp_path / "file").write_text("x")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "dagster.yaml").write_text("x")
    for wrong, status, words in (
        (("SONAR_ACCESS_WAREHOUSE_URL", "postgresql://u@127.0.0.1:1/db"), 1, ("warehouse:",)),
        (("SONAR_ACCESS_WAREHOUSE_URL", "oracle://u@host/db"), 2, ("warehouse:", "not oracle")),
        (
            ("SONAR_ACCESS_ALERT_URLS", "nothing"),
            1,
            ("alerts:", "Address 1 of SONAR_ACCESS_ALERT_URLS is no notification URL"),
        ),
        (("SONAR_ACCESS_SIGNING_KEY", "none"), 1, ("evidence:", "cannot be read")),
        (("SONAR_ACCESS_EVIDENCE_URL", "file"), 1, ("evidence:", "which is a file")),
        (("SONAR_ACCESS_DATA_DIR", "file/x"), 2, ("dagster:", "cannot be written")),
        (("DAGSTER_HOME", "relative"), 2, ("dagster:", "DAGSTER_HOME is relative")),
    ):
        ends(commands.run(tmp_path, ("check",), known | dict([wrong])), status, *words)
    ends(
        commands.run(
            tmp_path, ("sync",), known | {"SONAR_ACCESS_WAREHOUSE_URL": "oracle://u@host/db"}
        ),
        2,
        "not oracle",
    )
    assert not (tmp_path / ".sonar-access" / "dagster_home").exists()
    bundle = known | {"REQUESTS_CA_BUNDLE": str(tmp_path / "file")}
    ends(
        commands.run(tmp_path, ("check",), bundle),
        3,
        "REQUESTS_CA_BUNDLE names",
        "holds no certificates",
    )
    ends(
        commands.run(tmp_path, ("check",), known | {"REQUESTS_CA_BUNDLE": "/none.pem"}),
        3,
        "REQUESTS_CA_BUNDLE names /none.pem",
    )
    (tmp_path / "settings.toml").write_text(
        "[policy]\nroster = 'none.csv'\n[connections.acme]\norganization = 'acme'\nhost_url ="
        f" '{simulator.url}'\n"
    )
    with_roster = {"SONAR_ACCESS_CONFIG": "settings.toml", "SONAR_TOKEN": known["SONAR_TOKEN"]}
    ends(commands.run(tmp_path, ("check",), with_roster), 2, "policy:", "none.csv cannot be read")
    assert not (tmp_path / ".sonar-access").exists(), "nothing was made"


def test_what_stands_in_the_settings_of_dagster_is_read_as_dagster_reads_it(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    known = settings(simulator) | {"DAGSTER_HOME": str(tmp_path / "home")}
    file = tmp_path / "home" / "dagster.yaml"
    # As for launchers of containers: a list, which names no variable that must be set here.
    file.write_text(
        "schedules:\n  use_threads: true\n  num_workers: 2\n# env: [{name: X, value: Y}]\n"
    )
    ends(commands.run(tmp_path, ("check",), known), 0)
    assert list(_variables({"container_config": {"env": [{"name": "X", "value": "Y"}]}})) == []
    assert list(_variables({"a": [{"env": "NAME"}]})) == ["NAME"]
    file.write_bytes(b"telemetry: \xff\n")
    ends(
        commands.run(tmp_path, ("check",), known),
        1,
        "dagster.yaml cannot be read: it is not UTF-8 from line 1 on",
    )


def test_a_rate_file_of_another_machine_or_of_before_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "rate_limit"
    file.write_bytes(
        STATE.pack(time.monotonic() + 3000, time.monotonic() + 3000, b"another machine!")
    )
    rate_limit = RateLimit(600, file=file)
    began = time.monotonic()
    rate_limit.wait()
    assert time.monotonic() - began < 2
    rate_limit.close()


def test_a_rate_file_whose_lock_stayed_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonar_access_pipeline.sonarcloud.rate_limit.LOCKED_SECONDS", 0.2)
    held = FileLock(tmp_path / "rate_limit.lock")
    rate_limit = RateLimit(600, file=tmp_path / "rate_limit")
    with held:
        began = time.monotonic()
        rate_limit.wait()
        rate_limit.wait()
        assert time.monotonic() - began < 2, "once, and not for ever"


def test_a_folder_that_knows_no_locks_gives_each_process_its_own_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", unknown)
    rate_limit = RateLimit(600, file=tmp_path / "rate_limit")
    rate_limit.wait()
    rate_limit.close_for(0.0)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (407, "asks who we are (407); write user and password into https_proxy"),
        (403, "lets nobody through to it (403)"),
    ],
)
def test_a_proxy_that_refuses_says_which_and_is_asked_once(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    with Client("https://sonarcloud.io", "token") as client, pytest.raises(RefusedError) as refused:
        client.get(ENDPOINTS["users/current"], {})
    server.shutdown()
    assert said in str(refused.value)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "address",
    ["http://[bad", "http://host:port", "host:99999", "http://", "htp://x:1", "http://a b:1"],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
def test_an_address_of_a_proxy_that_is_none_is_said_by_its_variable(
    address: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, address)
    with Client("https://sonarcloud.io", "token") as client, pytest.raises(RefusedError) as refused:
        client.get(ENDPOINTS["users/current"], {})
    said = (
        f"the proxy before https://sonarcloud.io is no address; write {variable} as"
        " http://host:port."
    )
    assert str(refused.value).endswith(said[1:])


def test_a_proxy_that_speaks_socks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with (
        Client("https://sonarcloud.io", "token") as client,
        pytest.raises(RefusedError, match=r"speaks SOCKS; run `pip install"),
    ):
        client.get(ENDPOINTS["users/current"], {})


@pytest.mark.parametrize("put", ["pipe", "device", "folder", "workbook"])
def test_a_file_of_settings_that_is_no_plain_text_is_named_and_nobody_is_waited_for(
    put: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    if put == "pipe":
        os.mkfifo(file)
    elif put == "device":
        file.symlink_to("/dev/zero")
    elif put == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"PK\x03\x04 a workbook")
    said = {"workbook": "save it as CSV", "folder": "Is a directory|no plain file"}.get(
        put, "no plain file"
    )
    with pytest.raises(SettingsError, match=said):
        Connection(name="acme", organization="acme", token_file=file).token()
    with pytest.raises(SettingsError, match=said):
        PolicySettings(roster=file).policy()
    with pytest.raises(
        EvidenceError,
        match=r"no plain file|no OpenSSH private key|cannot be read|can be read or changed",
    ):
        signer_of(str(file), tmp_path)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("https://a..b", "names no host that can be"),
        ("https://*.sonarcloud.io", "names no host that can be"),
        (f"https://{'a' * 70}.io", "names no host that can be"),
    ],
)
def test_a_host_that_cannot_be_is_a_sentence(
    host: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_HOST_URL", host)
    with pytest.raises((SettingsError, ValidationError), match=said):
        load()


def test_an_empty_variable_is_none_and_a_tilde_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "etc" / "settings.toml").write_text(
        "data_dir = 'data'\n[policy]\nroster = '~/roster.csv'\n"
        "[connections.acme]\norganization = 'acme'\ntoken_file = '~/token'\n"
    )
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "etc" / "settings.toml"))
    for empty in ("", '"  "', "''"):
        monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", empty)
        monkeypatch.setenv("SONAR_ACCESS_HOUR", empty)
        found = load()
        assert (found.data_dir, found.hour) == (tmp_path / "etc" / "data", 5)
    assert found.connections[0].token_file == tmp_path / "home" / "token"
    assert found.policy.roster == tmp_path / "home" / "roster.csv"
    monkeypatch.setenv("SONAR_ACCESS_DATA_DIR", "~/data")
    assert load().data_dir == tmp_path / "home" / "data"
    assert Warehouse("sqlite:///~/x.sqlite").sqlite_file == tmp_path / "home" / "x.sqlite"


@pytest.mark.parametrize(
    "words",
    [
        ("access", "--as-of", "0001-01-01T00:00+23:00"),
        ("access", "--as-of", "9999-12-31T23:00-23:00"),
        ("snapshot", "show", "99999999999999999999"),
        ("evidence", "verify", "s3://key:5ecret@bucket/a/b/c"),
    ],
)
def test_dates_numbers_and_addresses_beyond_all_measure_are_wrong_use(
    words: tuple[str, ...], commands: Commands, tmp_path: Path
) -> None:
    done = commands.run(tmp_path, words, {"SONAR_ORGANIZATION": "acme"})
    ends(done, 2)
    assert "5ecret" not in done.stdout + done.stderr


def test_a_port_a_database_and_a_role_that_are_none_have_remedies_of_their_own(
    postgresql_url: str,
) -> None:
    with pytest.raises(WarehouseError, match="has a port that is none"):
        Warehouse("postgresql://h:99999/db")
    for changed, said in (
        ({"database": "nothing_like_it"}, "there is no such database"),
        ({"username": "nobody_like_it"}, "there is no such role"),
    ):
        warehouse = Warehouse(
            make_url(postgresql_url).set(**changed).render_as_string(hide_password=False)  # type: ignore[arg-type]
        )
        with pytest.raises(WarehouseError, match=said), warehouse.read():
            pass
        warehouse.close()


def test_a_variable_that_the_settings_of_dagster_name_and_nobody_set_is_said_by_a_check(
    simulator: Simulator, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    storage = (
        "# env: NOBODY_READS_IT\nstorage:\n  postgres:\n    postgres_url:\n      env:"
        " NOTHING_SETS_IT\n"
    )
    (tmp_path / "home" / "dagster.yaml").write_text(storage)
    known = settings(simulator) | {"DAGSTER_HOME": str(tmp_path / "home")}
    ends(
        commands.run(tmp_path, ("check",), known),
        1,
        "dagster:",
        "names the variable NOTHING_SETS_IT, which is not set",
    )
    ends(commands.run(tmp_path, ("sync",), known), 2, "NOTHING_SETS_IT")
    down = known | {"NOTHING_SETS_IT": f"postgresql+psycopg2://u:{SECRET}@127.0.0.1:1/db"}
    for command in ("check", "sync"):
        done = commands.run(tmp_path, (command,), down)
        ends(done, 2, "Dagster's own storage does not answer or lets nobody in")
        assert SECRET not in done.stdout + done.stderr
        assert len(done.stderr.splitlines()) < 4, "and nothing else"
