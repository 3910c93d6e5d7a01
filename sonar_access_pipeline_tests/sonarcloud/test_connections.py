"""Several connections, and the way to SonarCloud: tokens, hosts, regions, proxies, certificates,
clocks. Nothing leaks.
"""

from __future__ import annotations

import itertools
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import trustme
from pydantic import ValidationError
from sqlalchemy import make_url, text

from sonar_access_pipeline.access.snapshot import Scope, SourceKind, Verdict
from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.evidence.packet import build
from sonar_access_pipeline.orchestration.build import build_definitions
from sonar_access_pipeline.orchestration.observe import check, observe
from sonar_access_pipeline.orchestration.resources import Resources
from sonar_access_pipeline.settings import Connection, Settings, load
from sonar_access_pipeline.settings_errors import SettingsError
from sonar_access_pipeline.simulator import faults
from sonar_access_pipeline.simulator.organization import READER, Evolution
from sonar_access_pipeline.simulator.server import Simulator
from sonar_access_pipeline.sonarcloud.client import Client
from sonar_access_pipeline.sonarcloud.errors import RefusedError
from sonar_access_pipeline.sonarcloud.rate_limit import RateLimit
from sonar_access_pipeline.sonarcloud.reader import Reader
from sonar_access_pipeline.warehouse.ask import queries
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline_tests.support.company import (
    FAST,
    QUIET,
    TOKEN,
    company,
    failure_sentence,
)
from sonar_access_pipeline_tests.support.reading import (
    FOUNDED,
    QUICK,
    organization,
    preflight,
    read,
    serving,
)

TODAY = datetime.now(UTC).date()


@contextmanager
def connected(
    folder: Path, environment: Callable[[str, str], None], *keys: str
) -> Iterator[tuple[dict[str, Simulator], Resources]]:
    """One simulated SonarCloud per organization, and the resources of a pipeline that is connected
    to all of them.
    """
    simulators, connections = {}, []
    for key in keys:
        found = Evolution(5, FOUNDED, key=key, accounts=20, groups=3).on(FOUNDED)
        simulators[key] = Simulator(lambda found=found: found, tokens={f"token-of-{key}": READER})  # type: ignore[misc]
        environment(f"TOKEN_{key.upper()}", f"token-of-{key}")
        connections.append(
            Connection(
                name=key,
                organization=key,
                token_env=f"TOKEN_{key.upper()}",
                host_url=simulators[key].url,
            )
        )
    settings = Settings(
        connections=tuple(connections),
        data_dir=folder,
        first_day=TODAY - timedelta(days=3),
        requests_per_minute=FAST,
    )
    try:
        for simulator in simulators.values():
            simulator.__enter__()
        yield simulators, Resources(settings, patience=QUICK)
    finally:
        for simulator in simulators.values():
            simulator.__exit__(None, None, None)


def run(resources: Resources, instance: dg.DagsterInstance, key: str) -> dg.ExecuteInProcessResult:
    job = build_definitions(resources).resolve_job_def(f"{key}_daily")
    return job.execute_in_process(
        instance=instance, partition_key=str(TODAY), run_config=QUIET, raise_on_error=False
    )


def test_each_connection_has_its_own_assets_jobs_and_schedules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(tmp_path, monkeypatch.setenv, "acme", "beta") as (_, resources):
        definitions = build_definitions(resources)
        keys = {tuple(key.path) for key in definitions.resolve_asset_graph().get_all_asset_keys()}
        assert {key for key, table in keys if table == "fct_user_access"} == {"acme", "beta"}
        names = {
            job.name
            for job in definitions.get_repository_def().get_all_jobs()
            if not job.name.startswith("__")
        }
        assert names == {
            f"{key}_{job}"
            for key in ("acme", "beta")
            for job in ("daily", "history", "evidence", "verify")
        }
        schedules = {schedule.name for schedule in definitions.get_repository_def().schedule_defs}
        assert schedules == {
            f"{key}_{when}_schedule"
            for key in ("acme", "beta")
            for when in ("daily", "monthly", "quarterly", "weekly")
        }


def test_a_broken_connection_never_stops_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(tmp_path, monkeypatch.setenv, "acme", "beta", "gamma") as (
        simulators,
        resources,
    ):
        simulators["acme"].tokens.clear()
        monkeypatch.delenv("TOKEN_BETA")
        with dg.DagsterInstance.ephemeral() as instance:
            outcomes = {key: run(resources, instance, key) for key in ("acme", "beta", "gamma")}
        assert {key: outcome.success for key, outcome in outcomes.items()} == {
            "acme": False,
            "beta": False,
            "gamma": True,
        }
        assert "refuses the token" in failure_sentence(outcomes["acme"])
        assert "set TOKEN_BETA" in failure_sentence(outcomes["beta"])
        with resources.warehouse() as warehouse, warehouse.read() as transaction:
            assert queries.organizations(transaction) == ["gamma"]


def test_connections_that_run_at_the_same_time_do_not_hinder_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse_url: str
) -> None:
    with connected(tmp_path, monkeypatch.setenv, "acme", "beta", "gamma") as (_, resources):
        settings = resources.settings.model_copy(
            update={"warehouse_url": Settings(warehouse_url=warehouse_url).warehouse_url}
        )
        resources = Resources(settings, patience=QUICK)
        upgrade(opened := Warehouse(warehouse_url))
        failed: list[BaseException] = []

        def one(connection: Connection) -> None:
            try:
                with resources.warehouse() as warehouse:
                    observe(
                        connection, resources, warehouse, f"run-{connection.name}", lambda _: None
                    )
            except BaseException as error:  # noqa: BLE001  # said by the thread that looks
                failed.append(error)

        threads = [
            threading.Thread(target=one, args=(connection,)) for connection in settings.connections
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        with opened.read() as transaction:
            assert queries.organizations(transaction) == ["acme", "beta", "gamma"]
        opened.close()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({}, {"host_url": "https://sonarqube.us"}),
        ({"scopes": ["project_permissions"]}, {"scopes": []}),
    ],
)
def test_the_same_organization_twice_is_refused(
    first: dict[str, object], second: dict[str, object]
) -> None:
    with pytest.raises(ValidationError, match="organization 'acme' appears in two connections"):
        Settings(
            connections={
                "a": {"organization": "acme", **first},
                "b": {"organization": "acme", **second},
            }
        )


def write_config(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)


def test_paths_in_a_settings_file_lie_beside_it_and_others_where_somebody_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(
        tmp_path / "etc",
        "data_dir = 'data'\nsigning_key = 'agent:key.pub'\ntimestamp_certificates ="
        " 'authority.pem'\nevidence_url = 'packets'\npublish_url = 'tables'\n"
        "[connections.acme]\norganization = 'acme'\n",
    )
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "etc" / "config.toml"))
    here = tmp_path / "etc"
    found = load()
    assert (found.data_dir, found.signing_key) == (here / "data", f"agent:{here / 'key.pub'}")
    assert found.timestamp_certificates == here / "authority.pem"
    assert (found.evidence, found.publish_url) == (str(here / "packets"), str(here / "tables"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for said, meant in (
        ("~/packets", "home/packets"),
        ("packets", "packets"),
        (f"file://{tmp_path}/x", "x"),
    ):
        monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", said)
        assert load().evidence == str(tmp_path / meant), (
            "whole, as it comes to stand in the register"
        )
    monkeypatch.setenv("SONAR_ACCESS_SIGNING_KEY", "mine")
    monkeypatch.setenv("SONAR_ACCESS_TIMESTAMP_CERTIFICATES", "mine.pem")
    assert (load().signing_key, load().timestamp_certificates) == ("mine", Path("mine.pem"))


@pytest.mark.parametrize("url", [None, "evidence", "gs://evidence", "az://evidence"])
def test_a_lock_is_refused_where_nothing_locks(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ORGANIZATION", "acme")
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_RETENTION_DAYS", "30")
    if url is not None:
        monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", url)
    with pytest.raises(
        SettingsError,
        match=r"^SONAR_ACCESS_EVIDENCE_RETENTION_DAYS needs a SONAR_ACCESS_EVIDENCE_URL",
    ):
        load()
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_URL", "s3://evidence")
    assert load().evidence_retention_days == 30
    monkeypatch.setenv("SONAR_ACCESS_EVIDENCE_RETENTION_DAYS", "1000000")
    with pytest.raises(SettingsError, match="3653"):
        load()


def test_a_token_comes_from_a_file_that_lies_beside_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(
        tmp_path / "etc", "[connections.acme]\norganization = 'acme'\ntoken_file = 'acme.token'\n"
    )
    (tmp_path / "etc" / "acme.token").write_text("token-of-acme\n")
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "etc" / "config.toml"))
    (connection,) = load().connections
    assert connection.token() == "token-of-acme"
    (tmp_path / "etc" / "acme.token").write_text("")
    with pytest.raises(SettingsError, match=r"write into .*acme\.token"):
        connection.token()
    (tmp_path / "etc" / "acme.token").unlink()
    with pytest.raises(SettingsError, match=r"acme\.token cannot be read: No such file"):
        connection.token()


def test_the_simple_connection_takes_its_token_from_a_file_too_but_not_from_two_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("token-of-acme")
    monkeypatch.setenv("SONAR_TOKEN_FILE", str(tmp_path / "token"))
    assert load().connections[0].token() == "token-of-acme"
    monkeypatch.setenv("SONAR_TOKEN", "another")
    with pytest.raises(SettingsError, match="both set"):
        load()


@pytest.mark.parametrize(
    "toml",
    [
        "[connections.acme]\norganization = 'acme'\ntoken = 'sqp-5ecret'\n",
        "[connections.acme]\norganization = 'acme'\ntoken_env = 'A'\ntoken_file = 'b'\n",
        "[connections.acme]\norganization = 'acme'\nscopes = ['everything']\n",
        "[connections.acme]\norganization = 'acme'\nhost_url = 'http://sonarcloud.io'\n",
        "[connections.acme]\norganization = 'acme'\napi_url = 'http://api.sonarcloud.io'\n",
        "scopes = 7\n",
        "requests_per_minute = 0\n",
        "brake_share = 2\n",
        "evidence_url = 's3://AKIA:sqp-5ecret@bucket/x'\n",
        "evidence_url = 's3://bucket/x?token=sqp-5ecret'\n",
        "evidence_url = 's3:/bucket/x'\n",
        "publish_url = 's3://AKIA:sqp-5ecret@bucket/x'\n",
        "evidence_url = 'sftp://somebody:sqp-5ecret@host/x'\n",
        (
            "timestamp_url = 'https://us:sqp-5ecret@stamps.example.com'\ntimestamp_certificates ="
            " 'ca.pem'\n"
        ),
        (
            "timestamp_url = 'https://stamps.example.com?key=sqp-5ecret'\ntimestamp_certificates ="
            " 'ca.pem'\n"
        ),
        "timestamp_url = 'https://stamps.example.com'\n",
        (
            "timestamp_url = 'https://stamps.example.com'\ntimestamp_certificates ="
            " 'ca.pem'\ntimestamp_password = 'sqp-5ecret'\n"
        ),
        "timestamp_policy = 'any'\n",
    ],
)
def test_settings_that_cannot_be_meant_are_one_sentence_without_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toml: str
) -> None:
    write_config(tmp_path, toml)
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "config.toml"))
    with pytest.raises(SettingsError) as caught:
        load()
    assert "sqp-5ecret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scopes_come_from_the_environment_for_all_or_from_the_file_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONAR_ACCESS_SCOPES", "account_details, project_permissions")
    assert load().connections[0].scopes == (Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS)
    write_config(
        tmp_path,
        "[connections.a]\norganization = 'a'\nscopes = []\n[connections.b]\norganization = 'b'\n",
    )
    monkeypatch.setenv("SONAR_ACCESS_CONFIG", str(tmp_path / "config.toml"))
    assert [connection.scopes for connection in load().connections] == [
        (),
        (Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS),
    ]


WAREHOUSE_PASSWORD = "pa55word-of-the-warehouse"
ALERT_URL = "slack://t0ken-a/t0ken-b/t0ken-of-the-channel"


def test_no_secret_and_no_person_stands_where_it_does_not_belong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    postgresql_url: str,
) -> None:
    """Every kind of run, with faults and an unexpected database among them; then everything that
    was written is searched.
    """
    monkeypatch.setenv("SONAR_ACCESS_ALERT_URLS", ALERT_URL)
    admin = Warehouse(postgresql_url)
    user = f"user_{os.getpid()}"
    with admin.write("test") as transaction:
        transaction.execute(
            text(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{WAREHOUSE_PASSWORD}'")
        )
    url = (
        make_url(postgresql_url)
        .set(username=user, password=WAREHOUSE_PASSWORD)
        .render_as_string(hide_password=False)
    )
    home = tmp_path / "dagster"
    home.mkdir()
    said: list[str] = []
    with (
        dg.DagsterInstance.local_temp(str(home)) as instance,
        company(
            tmp_path / "data",
            monkeypatch.setenv,
            instance=instance,
            warehouse_url=url,
            accounts=30,
            projects=4,
            brake_rows=1000,
            scopes=(Scope.PROJECT_PERMISSIONS, Scope.ACCOUNT_DETAILS),
        ) as here,
    ):
        assert here.live(0).success
        for number, (endpoint, fault) in enumerate(
            [
                ("users/current", faults.status(401)),
                ("organizations/search_members", faults.html),
                ("permissions/users", faults.short(1)),
                ("user_groups/search", faults.invalid_utf8),
                ("v2/users-management/users", faults.short(2)),
                ("organizations/search", faults.redirect("http://127.0.0.1:9/")),
            ],
            start=1,
        ):
            here.simulator.faults.add(endpoint, fault, times=None)
            result = here.live(number)
            here.simulator.faults.clear()
            said += [str(event) for event in result.all_events]
        # An error that nobody foresaw: the database changes under our feet.
        with admin.write("test") as transaction:
            transaction.execute(
                text(
                    "ALTER TABLE sonar_access.dim_account_detail RENAME COLUMN email TO"
                    " electronic_mail"
                )
            )
        unforeseen = here.live(8)
        assert not unforeseen.success
        said += [str(event) for event in unforeseen.all_events]
        assert "does not exist" in failure_sentence(unforeseen)
        with admin.write("test") as transaction:
            transaction.execute(
                text(
                    "ALTER TABLE sonar_access.dim_account_detail RENAME COLUMN electronic_mail TO"
                    " email"
                )
            )
        assert here.live(9).success
        said += [
            repr(here.settings),
            repr(here.resources),
            str(here.settings),
            repr(vars(here.resources)),
        ]
        with here.resources.client(here.settings.connections[0]) as client:
            said += [repr(client), repr(vars(client)), repr(client.source_kind)]
        with here.warehouse() as warehouse:
            said += [repr(warehouse.engine), warehouse.name]
            with warehouse.read() as transaction:
                tables = transaction.execute(
                    text(
                        "SELECT table_name FROM information_schema.tables WHERE table_schema ="
                        " 'sonar_access'"
                    )
                ).scalars()
                for table in tables:
                    if table not in ("raw_body", "dim_account_detail"):
                        said += [
                            repr(row) for row in transaction.execute(text(f"SELECT * FROM {table}"))
                        ]
        people = {
            here.truth(number).details_of(login).email
            for number in range(10)
            for login in here.truth(number).names
        }
    said += ["".join(capfd.readouterr())]
    written = {
        file: file.read_bytes().decode(errors="replace")
        for file in tmp_path.rglob("*")
        if file.is_file()
    }
    # Packets say who an account is: there, and in no other file.
    packets = {
        file
        for file in written
        if file.name in ("population.csv", "report.html", "report.pdf", "access-review.xlsx")
    }
    everything = "\n".join(
        [*said, *(text for file, text in written.items() if file not in packets)]
    )
    assert [
        email for email in people if email and email in "".join(written[file] for file in packets)
    ]
    assert len(everything) > 1_000_000
    for secret in (TOKEN, WAREHOUSE_PASSWORD, ALERT_URL, "t0ken-of-the-channel"):
        assert secret not in everything
        assert not [file for file in packets if secret in written[file]]
    assert len(people) > 20
    assert not [email for email in people if email and email in everything]


def test_what_is_written_is_private_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = tmp_path / "elsewhere" / "evidence"
    before = os.umask(0)
    try:
        with company(
            tmp_path / "state" / "data", monkeypatch.setenv, accounts=12, evidence_url=str(evidence)
        ) as here:
            assert here.live(0).success
    finally:
        os.umask(before)
    written = [
        path
        for folder in ("state", "elsewhere")
        for path in [tmp_path / folder, *(tmp_path / folder).rglob("*")]
    ]
    assert len(written) > 12
    assert [path for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


# The way to SonarCloud.


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA, tmp_path: Path) -> str:
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    return str(bundle)


@pytest.fixture(autouse=True)
def _no_way_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no bundle of the machine that runs the tests."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """A proxy that knows CONNECT and sends every tunnel to one address, whatever was asked for."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.asked: list[str] = []
        self._address = address
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.split(b"\r\n")[0].decode())
        assert b"authorization" not in head.lower().replace(b"proxy-authorization", b"")
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        server = socket.create_connection(self._address)
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def address_of(simulator: Simulator) -> tuple[str, int]:
    host, _, port = simulator.url.partition("//")[2].partition(":")
    return host, int(port)


@pytest.mark.parametrize(
    ("region", "hosts"),
    [("eu", ("sonarcloud.io", "api.sonarcloud.io")), ("us", ("sonarqube.us", "api.sonarqube.us"))],
)
def test_both_regions_are_read_through_a_proxy_with_a_private_authority(
    region: str,
    hosts: tuple[str, str],
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real hosts by name, over real TLS, through a real proxy; only the server at the end is
    not theirs.
    """
    monkeypatch.setenv("SONAR_REGION", region)
    monkeypatch.setenv("SONAR_ORGANIZATION", "acme")
    monkeypatch.setenv("SONAR_TOKEN", "simulated-token")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusting(authority, tmp_path))
    found = organization(accounts=30, groups=3)
    with serving(found, tls=tls(authority, *hosts)) as simulator:
        proxy = Proxy(address_of(simulator))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        settings = load().model_copy(
            update={"data_dir": tmp_path / "data", "requests_per_minute": FAST}
        )
        resources = Resources(settings, patience=QUICK)
        (connection,) = settings.connections
        connection = connection.model_copy(update={"scopes": (Scope.ACCOUNT_DETAILS,)})
        checked = check(connection, resources)
        with resources.warehouse() as warehouse:
            recorded, snapshot = observe(connection, resources, warehouse, "run", lambda _: None)
            derive(warehouse, "acme")
            packet = build(warehouse, "acme", Window(TODAY, TODAY))
        proxy.close()
    assert recorded.verdict is Verdict.COMPLETE
    assert snapshot is not None
    assert (snapshot.source_kind, snapshot.source_url) == (
        SourceKind.SONARCLOUD,
        f"https://{hosts[0]}",
    )
    assert {line.split()[1] for line in proxy.asked} == {f"{host}:443" for host in hosts}
    assert [warning for warning in checked.warnings if "authority.pem" in warning]
    assert str(snapshot.tls_bundle_sha256) in packet.files["limits.csv"].decode()


def test_the_v2_interface_is_looked_for_where_the_first_address_does_not_know_it(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusting(authority, tmp_path))
    with serving(
        organization(accounts=30, groups=3),
        tls=tls(authority, "sonarcloud.io", "api.sonarcloud.io"),
    ) as simulator:
        proxy = Proxy(address_of(simulator))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with Client(
            "https://sonarcloud.io", "simulated-token", patience=QUICK, rate_limit=RateLimit(FAST)
        ) as client:
            reader = Reader(client, "acme", scopes=[Scope.ACCOUNT_DETAILS])
            observed = reader.read(
                reader.preflight(), connection="c", run_id="r", started_at=datetime.now(UTC)
            )
        asked = [endpoint for _, endpoint in simulator.requests if "users-management" in endpoint]
        proxy.close()
    assert observed.snapshot.scopes == (Scope.CORE, Scope.ACCOUNT_DETAILS)
    # The simulator has v2 below /api/v2 alone, so what came to api.sonarcloud.io was answered with
    # 404 first.
    assert asked == ["/users-management/users", "v2/users-management/users"]


def test_a_certificate_of_an_unknown_authority_is_refused_and_never_tried_again(
    authority: trustme.CA,
) -> None:
    with serving(organization(20, 3), tls=tls(authority, "127.0.0.1")) as simulator:
        with pytest.raises(RefusedError, match="certificate that cannot be verified"):
            preflight(simulator)
        assert simulator.requests == [], "the token was sent to nobody"


def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusting(authority, tmp_path))
    with serving(organization(20, 3), tls=tls(authority, "elsewhere.example")) as simulator:
        with pytest.raises(RefusedError, match="certificate that cannot be verified"):
            preflight(simulator)
        assert simulator.requests == []


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with (
        Client("https://sonarcloud.io", "t", patience=QUICK) as client,
        pytest.raises(Exception, match="proxy before https://sonarcloud"),
    ):
        Reader(client, "acme").preflight()


class Real(Client):
    """What would be SonarCloud, if only by its own word."""

    source_kind = SourceKind.SONARCLOUD


def observed_at(simulator: Simulator, rate_limit: RateLimit, clock: Callable[[], datetime]) -> None:
    with Real(simulator.url, "simulated-token", rate_limit=rate_limit, clock=clock) as client:
        reader = Reader(client, "acme")
        reader.read(reader.preflight(), connection="c", run_id="r", started_at=clock())


class Hasty(RateLimit):
    """A rate_limit whose seconds pass a thousand times as fast."""

    def __init__(self) -> None:
        super().__init__(FAST, now=lambda: time.monotonic() * 1000)


@pytest.mark.parametrize("minutes", [-6, 6, 60 * 24 * 365])
def test_a_host_whose_clock_is_not_sonarclouds_is_refused(minutes: int) -> None:
    with (
        serving(organization(20, 3)) as simulator,
        pytest.raises(RefusedError, match=r"clock is .* away from SonarCloud's"),
    ):
        observed_at(
            simulator, RateLimit(FAST), lambda: datetime.now(UTC) + timedelta(minutes=minutes)
        )


def test_a_host_whose_clock_differs_a_little_is_not(tmp_path: Path) -> None:
    with serving(organization(20, 3)) as simulator:
        observed_at(simulator, RateLimit(FAST), lambda: datetime.now(UTC) + timedelta(minutes=4))


def without_date(answer: faults.Answer) -> faults.Answer:
    """The answer as a proxy passes it on that takes the date away."""

    def delivery(wire: faults.Wire, head: bytes, body: bytes) -> None:
        lines = [
            line
            for line in head.split(b"\r\n")
            if not line.lower().startswith((b"date:", b"x-sonar-server-time:"))
        ]
        wire.send(b"\r\n".join(lines) + body)

    return replace(answer, delivery=delivery)


def test_a_source_that_says_no_time_is_refused_whatever_the_host_clock_says() -> None:
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add(faults.ANY, without_date, times=None)
        with pytest.raises(RefusedError, match="without a date"):
            observed_at(simulator, RateLimit(FAST), lambda: datetime.now(UTC) + timedelta(days=365))


@pytest.mark.parametrize(
    ("host", "api", "kind"),
    [
        ("https://sonarcloud.io", None, SourceKind.SONARCLOUD),
        ("https://sonarcloud.io", "https://api.sonarcloud.io", SourceKind.SONARCLOUD),
        ("https://sonarcloud.io", "http://127.0.0.1:1/v2", SourceKind.OTHER),
        ("https://sonarcloud.io", "https://elsewhere.example", SourceKind.OTHER),
        ("https://sonarqube.us", None, SourceKind.SONARCLOUD),
        ("http://127.0.0.1:1", None, SourceKind.OTHER),
    ],
)
def test_a_source_is_sonarcloud_only_if_every_address_that_is_asked_is(
    host: str, api: str | None, kind: SourceKind
) -> None:
    with Client(host, "t", api_url=api) as client:
        assert client.source_kind is kind


def test_a_server_clock_that_stands_still_is_refused() -> None:
    """A cache that gives one old answer after another looks like this."""
    now = datetime.now(UTC)
    with (
        serving(organization(200, 20), clock=lambda: now, latency=0.01) as simulator,
        pytest.raises(RefusedError, match="clock stood still"),
    ):
        observed_at(simulator, Hasty(), lambda: now + timedelta(seconds=40))


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_host_clock_that_jumps_while_reading_is_refused(jump: timedelta) -> None:
    asked = itertools.count()
    with serving(organization(20, 3)) as simulator:

        def clock() -> datetime:
            return datetime.now(UTC) + (jump if next(asked) > 6 else timedelta())

        with pytest.raises(RefusedError, match="clock jumped"):
            observed_at(simulator, RateLimit(FAST), clock)


def test_the_catalogue_warns_of_what_is_gone_or_deprecated() -> None:
    def changed(answer: faults.Answer) -> faults.Answer:
        services = [dict(service) for service in answer.document["webServices"]]  # type: ignore[index,call-overload]
        for service in services:
            actions = [dict(action) for action in service["actions"]]
            if service["path"] == "api/permissions":
                actions = [action for action in actions if action["key"] != "users"]
            for action in actions:
                if action["key"] == "search_members":
                    action["deprecatedSince"] = "10.9"
                if (service["path"], action["key"]) == ("api/user_groups", "users"):
                    action["params"] = [param for param in action["params"] if param["key"] != "id"]
            service["actions"] = actions
        return faults.Answer(200, {"webServices": services})

    with serving(organization(20, 3)) as simulator:
        with Client(
            simulator.url, "simulated-token", patience=QUICK, rate_limit=RateLimit(FAST)
        ) as client:
            reader = Reader(client, "acme", scopes=tuple(Scope))
            reader.preflight()
            assert reader.probe().warnings == (), "all is as we need it"
        simulator.faults.add("webservices/list", changed, times=None)
        with Client(
            simulator.url, "simulated-token", patience=QUICK, rate_limit=RateLimit(FAST)
        ) as client:
            reader = Reader(client, "acme")
            reader.preflight()
            warnings = reader.probe().warnings
    assert [warning.split(";")[0] for warning in warnings] == [
        "SonarCloud deprecates organizations/search_members since 10.9",
        "SonarCloud's catalogue does not list permissions/users any more",
        "SonarCloud's catalogue lists user_groups/users without id",
    ]


def test_a_catalogue_that_does_not_answer_is_a_warning_and_no_more() -> None:
    with serving(organization(20, 3)) as simulator:
        simulator.faults.add("webservices/list", faults.status(503), times=None)
        with Client(
            simulator.url, "simulated-token", patience=QUICK, rate_limit=RateLimit(FAST)
        ) as client:
            reader = Reader(client, "acme")
            reader.preflight()
            assert "catalogue cannot be read" in reader.probe().warnings[0]
        assert read(simulator).verdict is Verdict.COMPLETE


def test_a_warehouse_url_in_the_settings_never_prints_its_password() -> None:
    settings = Settings(warehouse_url="postgresql://user:pa55word@host/name")
    assert "pa55word" not in f"{settings!r}{settings}{settings.model_dump()}"
    assert settings.warehouse.endswith("pa55word@host/name")
    assert Settings().warehouse.startswith("sqlite:///")
    assert sqlite_url(Path("/x")) == "sqlite:////x"
