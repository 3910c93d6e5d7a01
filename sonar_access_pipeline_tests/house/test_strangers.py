"""Whoever sends us something strange: answers that are bent, words that are commands, packets and
archives of strangers.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from sqlalchemy import text

from sonar_access_pipeline import terminal
from sonar_access_pipeline.access.endpoints.shape import Api
from sonar_access_pipeline.access.lists import ENDPOINTS
from sonar_access_pipeline.alerts.causes import Cause
from sonar_access_pipeline.alerts.ledger import Entry, Event, is_over, messages_of
from sonar_access_pipeline.alerts.problems import Problem
from sonar_access_pipeline.evidence.errors import EvidenceError
from sonar_access_pipeline.evidence.raw import export_raw
from sonar_access_pipeline.evidence.stores import FolderStore
from sonar_access_pipeline.evidence.verify import verify, verify_all
from sonar_access_pipeline.sonarcloud.client import KNOWN_HOSTS, Client
from sonar_access_pipeline.sonarcloud.errors import NotFoundError, RefusedError, SourceError
from sonar_access_pipeline.sonarcloud.rate_limit import Patience
from sonar_access_pipeline.terminal import print_rows, say, shown
from sonar_access_pipeline.warehouse.database import Warehouse, sqlite_url
from sonar_access_pipeline.warehouse.errors import WarehouseError
from sonar_access_pipeline.warehouse.history.merge import derive
from sonar_access_pipeline.warehouse.migrations import upgrade
from sonar_access_pipeline.warehouse.raw.archive import export, import_
from sonar_access_pipeline.warehouse.raw.snapshots import record
from sonar_access_pipeline_tests.support.builders import EPOCH, World, snapshot_of
from sonar_access_pipeline_tests.support.commands import Commands, ends
from sonar_access_pipeline_tests.support.sealed import Sealings, edit, resigned

Answers = Callable[[BaseHTTPRequestHandler], None]
MEMBERS = ENDPOINTS["organizations/search_members"]
ONCE = Patience(attempts=1, request_seconds=2.0, list_seconds=5.0)


@contextmanager
def serving(answer: Answers) -> Iterator[str]:
    """A server that answers everything in one way."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def sends(body: bytes, status: int = 200, **headers: str) -> Answers:
    """Answer with a body and headers."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def said(answer: Answers) -> SourceError:
    """What a request ends with."""
    with (
        serving(answer) as url,
        Client(url, "token", patience=ONCE) as client,
        pytest.raises(SourceError) as ended,
    ):
        client.get(MEMBERS, {"organization": "acme", "p": "1", "ps": "100"})
    return ended.value


def page(**paging: object) -> bytes:
    """A page of nobody."""
    return json.dumps(
        {"users": [], "paging": {"pageIndex": 1, "pageSize": 100, "total": 0, **paging}}
    ).encode()


DEEP = b"[" * 20_000 + b"]" * 20_000


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (sends(DEEP), "nested too deep"),
        (sends(b'{"users": ' + DEEP + b"}"), "nested too deep"),
        (sends(DEEP, 400), "answers organizations/search_members with 400"),
        (sends(b'{"errors": ' + DEEP + b"}", 400), "with 400"),
        (sends(page(total=2**63)), "the total is not a number"),
        (sends(page(pageIndex=10**40)), "beyond 64 bits"),
        (sends(page(), 503, Retry_After="9" * 400), "with 503"),
        (sends(page(), 503, Retry_After="Fri, 31 Dec 99999 23:59:59 GMT"), "with 503"),
        (sends(b"x", 200, Date="Fri, 31 Dec 9999 23:59:59 -2300"), "not JSON"),
        (sends(b"x", 200, Date="Mon, 01 Jan 0001 00:00:00 +2300", Age="9" * 400), "an old answer"),
        (
            sends(rb'{"errors": [{"msg": "half \ud800 of one"}]}', 400),
            "half \N{REPLACEMENT CHARACTER} of one",
        ),
        (
            sends(rb'{"errors": [{"msg": "\u001b[31mred\r\nError: forged"}]}', 400),
            "\N{REPLACEMENT CHARACTER}[31mred",
        ),
        (sends(b'{"errors": [{"msg": "The organization moved"}]}'), "The organization moved"),
        (sends(b"", 407), "a proxy asks who we are"),
    ],
)
def test_an_answer_that_is_bent_is_a_sentence(answer: Answers, words: str) -> None:
    fault = said(answer)
    assert words in str(fault)
    assert str(fault).isprintable()
    str(fault).encode()


def test_a_body_that_drips_has_an_end_though_the_server_will_close() -> None:
    def drips(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Connection", "close")
        request.end_headers()
        try:
            for _ in range(300):
                request.wfile.write(b" ")
                request.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass
        request.close_connection = True

    began = time.monotonic()
    assert "took too long" in str(said(drips))
    assert time.monotonic() - began < 10


def test_a_first_address_of_the_newer_interface_that_refuses_does_not_hide_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v2 = next(one for one in ENDPOINTS.values() if one.api is Api.V2)

    def answer(request: BaseHTTPRequestHandler) -> None:
        is_first = request.path.startswith("/first")
        sends(
            b'{"message": "Forbidden"}' if is_first else b'{"message": "none"}',
            403 if is_first else 404,
        )(request)

    with serving(answer) as url:
        monkeypatch.setitem(KNOWN_HOSTS, "127.0.0.1", f"{url}/first")
        with (
            Client(url, "token", patience=ONCE) as client,
            pytest.raises(RefusedError, match="Forbidden") as refused,
        ):
            client.get(v2, {})
    assert not isinstance(refused.value, NotFoundError), (
        "who knows the address and refuses says more"
    )
    assert isinstance(said(sends(b'{"message": "Forbidden"}', 403)), RefusedError)


@pytest.fixture
def strange(here: Sealings) -> Path:
    """The folder of a packet, to put something strange into."""
    return here.last


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _pipe_in_place(folder: Path) -> None:
    (folder / "population.csv").unlink()
    os.mkfifo(folder / "population.csv")


def _device(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/dev/zero")


def _sparse(folder: Path) -> None:
    with (folder / "access.csv").open("r+b") as opened:
        opened.truncate(40 * 2**30)


def _no_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.csv")).write_bytes(b"x")


def _deep(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(DEEP)


def _endless_window(folder: Path) -> None:
    edit(
        folder,
        "manifest.json",
        lambda said: said["window"].update(first_day="0001-01-01", last_day="9999-12-31"),
    )
    resigned(folder, folder.parent / "stranger")


def _other_types(folder: Path) -> None:
    edit(folder, "seal.json", lambda said: said.update(digest=7, sealed_at=[], previous_digest={}))
    edit(folder, "manifest.json", lambda said: said.update(organization=[], files=7, window=None))
    resigned(folder, folder.parent / "stranger")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "put",
    [_pipe, _pipe_in_place, _device, _sparse, _no_utf8, _deep, _endless_window, _other_types],
    ids=lambda put: put.__name__,
)
def test_whatever_lies_in_a_packet_verifying_it_ends_and_names_it(
    here: Sealings, strange: Path, put: Callable[[Path], None], named: bool
) -> None:
    put(strange)
    store, path = FolderStore(here.root), str(strange.relative_to(here.root))
    keys = [here.fingerprint] if named else []
    try:
        faults = verify(store, path, fingerprints=keys, warehouse=here.warehouse).faults
    except EvidenceError as error:
        faults = [str(error)]
    assert faults
    assert all(fault.isprintable() for fault in faults)
    others = verify_all(store, "acme", warehouse=here.warehouse).reports
    assert [one for one, report in others.items() if not report.own and one != path], (
        "the others are judged by themselves"
    )


def test_answers_of_a_packet_that_was_cut_are_not_exported(here: Sealings, tmp_path: Path) -> None:
    file = here.last / "requests.csv"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:3]))
    files = FolderStore(here.root).get(str(here.last.relative_to(here.root)))
    with pytest.raises(
        EvidenceError, match=r"requests.csv was changed; verify it, nothing was exported"
    ):
        export_raw(files, FolderStore(here.root), here.warehouse, tmp_path / "answers")
    assert not (tmp_path / "answers").exists()


def _archive(here: Sealings, file: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    export(here.warehouse, "acme", file)
    with zipfile.ZipFile(file) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    change(entries)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, body in entries.items():
            made.writestr(name, body)
    return file


def _first(entries: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
    first, *rest = entries["snapshots.jsonl"].splitlines()
    said = json.loads(first)
    change(said)
    entries["snapshots.jsonl"] = b"\n".join([json.dumps(said).encode(), *rest])


BENT: dict[str, Callable[[dict[str, bytes]], None]] = {
    "nested": lambda entries: entries.update({"snapshots.jsonl": b"[" * 100_000 + b"]" * 100_000}),
    "unpacks to too much": lambda entries: entries.update(
        {sorted(entries)[0]: b"\0" * (600 * 2**20)}
    ),
    "a number beyond": lambda entries: _first(
        entries, lambda said: said["snapshot"].update(requests=2**70)
    ),
    "half a surrogate": lambda entries: _first(
        entries, lambda said: said["snapshot"].update(run_id="\ud800")
    ),
    "a zero": lambda entries: _first(entries, lambda said: said["snapshot"].update(run_id="\0")),
    "a time beyond": lambda entries: _first(
        entries, lambda said: said["snapshot"].update(observed_at="9999-12-31T23:59:59-23:00")
    ),
}


@pytest.mark.parametrize("name", BENT)
def test_an_archive_that_is_bent_is_a_sentence(here: Sealings, tmp_path: Path, name: str) -> None:
    file = _archive(here, tmp_path / "archive.zip", BENT[name])
    empty = Warehouse(sqlite_url(tmp_path / "empty.sqlite"))
    upgrade(empty)
    with pytest.raises(
        WarehouseError, match=r"is no archive of snapshots, or it is damaged|The archive"
    ):
        import_(empty, file, lambda: EPOCH + timedelta(days=9))
    with empty.read() as transaction:
        assert transaction.execute(text("SELECT count(*) FROM raw_snapshot")).scalar() == 0
    empty.close()


WORDS = [
    "[/]",
    "\\[/bold]",
    "[bold]x",
    "\x1b[31mred\x1b[0m",
    "a\r\nError: forged",
    "\u202eright to left",
    "[link=http://x]y[/link]",
]


@pytest.mark.parametrize("words", WORDS)
def test_words_from_elsewhere_are_neither_markup_nor_control_codes_nor_a_line_of_their_own(
    words: str,
) -> None:
    out = io.StringIO()
    say(
        f"It says {words}.",
        to=Console(file=out, force_terminal=True, width=200),
        label=words,
        style="bold",
    )
    printed = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    expected = shown(words)
    assert printed == f"{expected} It says {expected}.\n"
    assert out.getvalue().count("\x1b") == 2, "of the label alone"
    rows = io.StringIO()
    print_rows(Console(file=rows, width=200), [{"login": words}], ("login",), title=words)
    assert "\x1b" not in rows.getvalue()
    assert "forged" not in {line.strip() for line in rows.getvalue().splitlines()}


CELLS = st.one_of(st.none(), st.text(max_size=30), st.booleans(), st.integers())


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5), st.integers(30, 90))
def test_a_table_fits_its_terminal_and_loses_nothing(
    rows: list[tuple[object, ...]], width: int
) -> None:
    columns = ("one", "another", "a_third")
    out = io.StringIO()
    print_rows(
        Console(file=out, width=width),
        [dict(zip(columns, row, strict=True)) for row in rows],
        columns,
    )
    lines = out.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    letters = Counter("".join(lines).replace(" ", ""))
    for value in (value for row in rows for value in row if isinstance(value, str)):
        assert not Counter(re.sub(r"\s", "", shown(value))) - letters


def test_nothing_but_one_function_prints_on_the_terminal() -> None:
    """Whatever prints by itself could take a stranger's words for markup."""
    package = Path(terminal.__file__).parent
    printing = []
    for file in (
        *sorted((package / "cli").glob("*.py")),
        package / "demo.py",
        package / "terminal.py",
    ):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                name = (
                    called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                )
                if name in {"print", "print_json", "echo", "secho"} and node.args:
                    printing.append(str(file.relative_to(package)))
    assert set(printing) <= {"terminal.py"}, printing


def test_a_basis_that_looks_like_markup_breaks_no_verification(
    tmp_path: Path, commands: Commands
) -> None:
    warehouse = Warehouse(sqlite_url(tmp_path / "warehouse.sqlite"))
    upgrade(warehouse)
    for day, people in enumerate((["ada", "bob-the-leaver"], ["ada"])):
        world = World(
            members=dict.fromkeys(people, "Somebody"), user_permissions={"ada": ["admin"]}
        )
        record(warehouse, snapshot_of(world, EPOCH + timedelta(days=day)), lambda: EPOCH)
    derive(warehouse, "acme")
    warehouse.close()
    known = {
        "SONAR_ACCESS_WAREHOUSE_URL": sqlite_url(tmp_path / "warehouse.sqlite"),
        "SONAR_ORGANIZATION": "acme",
    }
    basis = ("--basis", "request [/] \\[/bold]", "--by", "dpo [red]")
    ends(commands.run(tmp_path, ("warehouse", "redact", "bob-the-leaver", *basis), known), 0)
    ends(
        commands.run(tmp_path, ("warehouse", "verify"), known),
        0,
        "request [/] \\[/bold]",
        "dpo [red]",
    )


def test_words_from_elsewhere_command_no_chat() -> None:
    said = (
        "The server says <!channel> @here [x](http://evil.example)"
        " <https://evil.example|click>\r\nNext: do that"
    )
    problem = Problem("acme:sync", Cause.REFUSED, "source", said, connection="acme")
    entry = Entry(Event.RAISED, problem)
    (message,) = messages_of([entry], lambda run: run)
    line = next(line for line in message.text.splitlines() if "The server says" in line)
    for command in ("<!channel>", "@here", "://evil", "<https", "|click>"):
        assert command not in line
    assert "Next: do that" in line, "and no line of its own"
    assert is_over(message.title) is False
    assert is_over("SonarCloud access: a test") is None
