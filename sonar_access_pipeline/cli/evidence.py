"""`evidence`: build, verify and list packets, and make of them what reviewers and auditors work
with.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sonar_access_pipeline.access.window import Window
from sonar_access_pipeline.cli.base import (
    by_option,
    console,
    end,
    errors,
    format_option,
    load,
    opened,
    organization_option,
    say,
    window_of,
)
from sonar_access_pipeline.cli.packets import (
    fingerprint_option,
    known_warehouse,
    opened_store,
    trusted_files,
)
from sonar_access_pipeline.errors import AROUND, FAILED
from sonar_access_pipeline.private import new_private_file
from sonar_access_pipeline.terminal import Day, print_answer
from sonar_access_pipeline.texts import TextError, bytes_in
from sonar_access_pipeline.warehouse.timeouts import WORKING

if TYPE_CHECKING:
    from sonar_access_pipeline.evidence.packet import Packet


@click.group()
def evidence() -> None:
    """Build, verify and list evidence packets."""


@evidence.command("build")
@organization_option
@click.option("--from", "first", type=Day(), default=None, help="First UTC day.")
@click.option("--to", "last", type=Day(), default=None, help="Last UTC day, included.")
@click.option("--month", default=None, help="A month, as 2026-09.")
@click.option("--quarter", default=None, help="A quarter, as 2026Q3.")
@click.option(
    "--for-people",
    is_flag=True,
    help="Also workbook, report and PDF of a single day, which is data otherwise.",
)
def evidence_build(
    organization: str | None,
    first: date | None,
    last: date | None,
    month: str | None,
    quarter: str | None,
    for_people: bool,
) -> None:
    """Seal the packet of a window of days, from what the warehouse holds.

    A day that was sealed as data gets its workbook, report and PDF in a folder of its own, here:
    what is sealed is never added to.

    \b
    Example:  sonar-access evidence build --quarter 2026Q3
    """
    from sonar_access_pipeline.evidence.packet import PAPER, build
    from sonar_access_pipeline.evidence.seal import seal
    from sonar_access_pipeline.evidence.summary import lines
    from sonar_access_pipeline.orchestration.resources import Resources

    window = _asked_window(first, last, month, quarter)
    if window.last > datetime.now(UTC).date():
        raise click.UsageError(
            f"The window ends on {window.last}, which has not come yet; end it today at the latest."
        )
    with opened(organization, WORKING) as (warehouse, organization_key):
        packet = build(warehouse, organization_key, window, for_people=for_people)
        sealing = Resources(load()).sealing()
        sealed = seal(packet, sealing, warehouse, run_id="command line")
        inside = sealed.place.removeprefix(sealing.store.place(""))
        is_data = for_people and not sealing.store.has(inside, PAPER)
    word = "Sealed" if sealed.is_new else "Verified, since it had been sealed before"
    say(f"{word}: {sealed.place}")
    say(f"Digest: {sealed.digest}")
    say(next(lines(packet.facts)).text)
    if is_data:
        say(f"For people, made of it now, and not sealed: {_put_beside(packet)}")


def _put_beside(packet: Packet) -> Path:
    """Write the renderings of a packet that was sealed as data into a folder here; what lies there
    already stays. Raises `EvidenceError`.
    """
    from sonar_access_pipeline.evidence.packet import PAPER
    from sonar_access_pipeline.evidence.seal import path_of
    from sonar_access_pipeline.evidence.stores import FolderStore

    path = path_of(packet.organization_key, packet.window, packet.digest, packet.source_kind)
    folder = Path.cwd() / path.replace("/", "_")
    if not folder.exists():
        unsealed = replace(packet, is_for_people=False)
        FolderStore(folder.parent).put(folder.name, unsealed.renderings, PAPER)
    return folder


@evidence.command("verify")
@click.argument("path", required=False)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Every packet of the organization, in the store of the settings.",
)
@organization_option
@fingerprint_option
@click.option(
    "--tsa-certificates",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates (PEM) of the time stamp authorities that you trust.",
)
@click.option("--offline", is_flag=True, help="Look at the files alone, not at the warehouse.")
def evidence_verify(
    path: str | None,
    everything: bool,
    organization: str | None,
    fingerprints: tuple[str, ...],
    tsa_certificates: Path | None,
    offline: bool,
) -> None:
    """Check that a packet is as it was sealed, by whom, after which one, and that the warehouse
    still says so.

    With --all every packet is checked by itself, and once the line they stand in, the signed heads
    and the register. Exit status 1: a packet is not what was sealed. 4: packets are, and what
    stands around them is not. 3: the store does not answer.

    Where no warehouse is set, and none lies in the data folder, the files alone are checked, as
    with --offline.

    \b
    Example:  sonar-access evidence verify evidence/acme/2026-09-01_2026-09-30/0123456789ab
    """
    from sonar_access_pipeline.evidence.verify import verify

    if everything == (path is not None):
        raise click.UsageError("Name one packet, or say --all.")
    authorities = None
    if tsa_certificates is not None:
        try:
            authorities = bytes_in(tsa_certificates)
        except TextError as error:
            raise click.UsageError(f"{tsa_certificates} cannot be read: {error}.") from None
    if path is None:
        _verify_all(organization, fingerprints, authorities)
        return
    store, inside = opened_store(path)
    with ExitStack() as stack:
        warehouse = None if offline else known_warehouse("verify the files alone, with --offline.")
        if warehouse is not None:
            stack.callback(warehouse.close)
        report = verify(
            store, inside, fingerprints=fingerprints, authorities=authorities, warehouse=warehouse
        )
    for note in (*report.notes, *report.stated):
        say(note)
    if not report.is_fine:
        is_only_a_strangers = report.own == [report.stranger]
        for fault in report.around if is_only_a_strangers else report.faults:
            say(fault, to=errors)
        if is_only_a_strangers:
            end(f"{path}: {report.stranger}.", FAILED)
        if report.own:
            end(f"{path} is not what was sealed.", FAILED)
        end(
            f"{path} itself is as it was sealed; what stands around it is not, as said above.",
            AROUND,
        )
    against = "the warehouse says the same" if warehouse else "the warehouse was not asked"
    if report.stated:
        against = "what differs around it was stated, as said above"
    say(f"{path} is as it was sealed; {against}.")


def _verify_all(
    organization: str | None, fingerprints: tuple[str, ...], authorities: bytes | None
) -> None:
    from sonar_access_pipeline.evidence.verify import verify_all
    from sonar_access_pipeline.orchestration.resources import Resources

    with opened(organization, WORKING) as (warehouse, organization_key):
        verification = verify_all(
            Resources(load()).store(),
            organization_key,
            fingerprints=fingerprints,
            authorities=authorities,
            warehouse=warehouse,
        )
    for fault in verification.faults:
        say(fault, to=errors)
    for note in (*verification.notes, *verification.stated):
        say(note)
    number = len(verification.reports)
    if verification.changed:
        end(
            f"{len(verification.changed)} of {number} packets are not what was sealed, or not by a"
            " key that is believed.",
            FAILED,
        )
    each = f"Each of {number} packets is as it was sealed" if number else "There is no packet"
    if verification.around:
        end(f"{each}; what stands around them is not as it was, as said above.", AROUND)
    against = (
        "what differs around them was stated, as said above"
        if verification.stated
        else "the warehouse's register says the same"
    )
    say(f"{each}; {against}.")


@evidence.command("publish")
def evidence_publish() -> None:
    """Bring what was sealed and waits into the evidence store, with the bytes that were sealed.

    Every run does it, too.

    \b
    Example:  sonar-access evidence publish
    """
    from sonar_access_pipeline.cli.base import opened_warehouse
    from sonar_access_pipeline.evidence.seal import publish
    from sonar_access_pipeline.orchestration.resources import Resources

    with opened_warehouse(WORKING) as warehouse:
        published = publish(warehouse, Resources(load()).sealing())
    for place in published.places:
        say(f"Published: {place}")
    if published.waiting:
        for why in dict.fromkeys(published.waiting.values()):
            say(why, to=errors)
        end(f"{len(published.waiting)} go on waiting, with their bytes.", FAILED)
    if not published.places:
        say(
            "Nothing waits to be published. Whether all that was published is still there:"
            " `sonar-access evidence verify --all`."
        )


@evidence.command("acknowledge")
@organization_option
@click.argument("faults", nargs=-1)
@click.option(
    "--why",
    default=None,
    help="What happened: it stands in the store, and in every verification, for ever.",
)
@by_option
def evidence_acknowledge(
    organization: str | None, faults: tuple[str, ...], why: str | None, by: str
) -> None:
    """Sign a statement about faults in the line of packets, such as a packet that is lost for good.

    FAULTS are their keys; without any, those that `evidence verify --all` finds now are listed with
    their keys. Nothing is mended by a statement: verification names who stated what, instead of a
    fault.

    \b
    Example:  sonar-access evidence acknowledge packet:8a3fbd300e21 \\
                --why "The bucket was deleted, ticket SEC-40"
    """
    from sonar_access_pipeline.evidence.seal import state
    from sonar_access_pipeline.evidence.verify import verify_all
    from sonar_access_pipeline.orchestration.resources import Resources

    resources = Resources(load())
    with opened(organization, WORKING) as (warehouse, organization_key):
        current_faults = verify_all(resources.store(), organization_key, warehouse=warehouse).keys
        if not faults:
            for key, sentence in current_faults.items():
                say(f"{key}  {sentence}")
            if not current_faults:
                say("Nothing in the line of packets needs a statement.")
            return
        if unknown := [key for key in faults if key not in current_faults]:
            raise click.UsageError(
                f"No fault is called {unknown[0]}; without any key they are listed."
            )
        if not why:
            raise click.UsageError("Say with --why what happened.")
        place = state(warehouse, resources.sealing(), organization_key, faults, by=by, why=why)
    say(f"Stated and signed: {place}")


@evidence.command("recover")
@organization_option
def evidence_recover(organization: str | None) -> None:
    """After a warehouse was restored: take the packets that the evidence store has and the register
    lost into it again.

    \b
    Example:  sonar-access evidence recover
    """
    from sonar_access_pipeline.evidence.recover import recover
    from sonar_access_pipeline.orchestration.resources import Resources

    with opened(organization, WORKING) as (warehouse, organization_key):
        recovered = recover(warehouse, Resources(load()).sealing(), organization_key)
    for place in recovered.entered:
        say(f"Entered: {place}")
    for place, why in recovered.refused.items():
        say(f"Not entered: {place}: {why}", to=errors)
    if recovered.refused:
        end(
            f"{len(recovered.refused)} packets of the store are not what was sealed with a key of"
            " ours.",
            FAILED,
        )
    if not recovered.entered:
        say("The register knows every packet of the store.")


@evidence.command("new-store")
@click.option(
    "--yes",
    is_flag=True,
    required=True,
    help="That store is lost for good: evidence goes into another one from now on.",
)
def evidence_new_store(yes: bool) -> None:
    """Have the store of the settings be the one that evidence goes into, though another one was at
    its place before.

    What was lost with the other one can be stated with `evidence acknowledge`.

    \b
    Example:  sonar-access evidence new-store --yes
    """
    from sonar_access_pipeline.cli.base import opened_warehouse
    from sonar_access_pipeline.evidence.identity import begin_anew
    from sonar_access_pipeline.orchestration.resources import Resources

    with opened_warehouse(WORKING) as warehouse:
        sealing = Resources(load()).sealing()
        name = begin_anew(warehouse, sealing.store, sealing.signer, sealing.clock)
    say(
        f"The evidence store at {sealing.store.place('')} is called {name[:12]}, and is the one"
        " from now on."
    )


@evidence.command("list")
@organization_option
@format_option
def evidence_list(organization: str | None, form: str) -> None:
    """List every packet ever sealed: its window, its digest, and where it lies.

    \b
    Example:  sonar-access evidence list
    """
    from sonar_access_pipeline.warehouse.ask import queries

    with opened(organization) as (warehouse, organization_key), warehouse.read() as transaction:
        rows = queries.packets(transaction, organization_key)
    listed = [{**row, "packet": row["digest"][:12]} for row in rows]
    in_table = ("first_day", "last_day", "packet", "sealed_at", "location")
    print_answer(console, listed, form, queries.PACKETS, in_table)


@evidence.command("worksheet")
@click.argument("path")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="The new file, .xlsx."
)
@fingerprint_option
def evidence_worksheet(path: str, target: Path, fingerprints: tuple[str, ...]) -> None:
    """Make a copy of a sealed packet's review sheet to decide on: every row has the digest of the
    row that it is about.

    The packet must be signed with a key that you name, or that the warehouse's register has for it.

    \b
    Example:  sonar-access evidence worksheet PACKET --to review-2026Q3.xlsx
    """
    from sonar_access_pipeline.evidence.workbook import worksheet

    files = trusted_files(path, fingerprints)
    if target.exists():
        raise click.UsageError(f"{target} is there already; name a new file.")
    try:
        with new_private_file(target) as file:
            file.write(worksheet(files))
    except OSError as error:
        end(f"{target} cannot be written: {error.strerror}.", FAILED)
    say(f"Written: {target!s}. The sealed packet stays the record.")


@evidence.command("export-raw")
@organization_option
@click.argument("path")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="The new folder."
)
def evidence_export_raw(organization: str | None, path: str, target: Path) -> None:
    """Write SonarCloud's own answers behind a packet into a folder, each named by its SHA-256, with
    a SHA256SUMS.

    \b
    Example:  sonar-access evidence export-raw PACKET --to answers
    """
    from sonar_access_pipeline.evidence.raw import export_raw

    store, inside = opened_store(path)
    with opened(organization, WORKING) as (warehouse, _):
        exported = export_raw(store.get(inside), store, warehouse, target)
    say(f"{exported.bodies} answers written to {exported.folder!s}.")
    if exported.missing:
        for digest in exported.missing:
            say(digest, to=errors)
        end(
            f"{len(exported.missing)} answers were dropped by age or replaced in a redaction; their"
            " digests stand above.",
            FAILED,
        )


@evidence.command("rotate-key")
@click.argument("new", type=str)
def evidence_rotate_key(new: str) -> None:
    """Endorse a new signing key with the one in use, and publish it; set SONAR_ACCESS_SIGNING_KEY
    to it afterwards.

    NEW is the path of an OpenSSH Ed25519 private key, or agent: and the path of a public key.

    \b
    Example:  sonar-access evidence rotate-key /etc/sonar-access/key-2027
    """
    from dataclasses import replace

    from sonar_access_pipeline.evidence.identity import require_known
    from sonar_access_pipeline.evidence.seal import endorse
    from sonar_access_pipeline.evidence.signers import signer_of
    from sonar_access_pipeline.orchestration.resources import Resources

    settings = load()
    sealing = Resources(settings).sealing()
    warehouse = known_warehouse("mend it before the key is changed.")
    if warehouse is not None:
        with closing(warehouse):
            require_known(warehouse, sealing.store, sealing.signer, sealing.clock)
    signer = signer_of(new, settings.data_dir)
    place = endorse(replace(sealing, signer=signer), endorsed_by=sealing.signer)
    say(f"Published: {place}")
    say(
        f"{sealing.signer.key.fingerprint} endorses {signer.key.fingerprint}. Set"
        f" SONAR_ACCESS_SIGNING_KEY to {new} now."
    )


def _asked_window(
    first: date | None, last: date | None, month: str | None, quarter: str | None
) -> Window:
    asked = [month, quarter, first or last]
    if sum(value is not None for value in asked) != 1 or (first is None) != (last is None):
        raise click.UsageError("Say the window once: --from and --to, or --month, or --quarter.")
    try:
        if month:
            return Window.month(month)
        if quarter:
            return Window.quarter(quarter)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    assert first is not None and last is not None
    return window_of(first, last)
