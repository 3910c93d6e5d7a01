"""Files for who uploads by hand: a ZIP with the columns that a platform takes, in a folder or an
object store.

Columns: Vanta's access file (help.vanta.com, article 11345421: Account name, Account owner, Role,
Status); Probo's CSV (getprobo/probo `pkg/accessreview/drivers/csv.go` @5d717eae); and a wide one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import fsspec

from sonar_access_pipeline.addresses import holds_more
from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.deliveries.plans import Outcome, Part, Prepared
from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.evidence.reproducible_zip import zipped
from sonar_access_pipeline.evidence.tables import SPELLED, encoded
from sonar_access_pipeline.settings_delivery import DeliverySettings, Shape

Row = Mapping[str, str]


Permissions = Sequence[str]
NOT_KNOWN = "e-mail address is known of"


def role(row: Row) -> str:
    """Say in words what an account is to the organization."""
    if row["is_organization_admin"] == "true":
        return "Organization admin"
    return "Member" if row["is_member"] == "true" else "Not a member, and holds rights"


def _vanta(row: Row, held: Permissions) -> dict[str, str]:
    is_service = row["account_type"] == "service"
    return {
        "Account name": row["login"],
        "Account owner": "Not a person" if is_service else row.get("email", ""),
        "Role": role(row),
        "Status": "Active",
    }


def _probo(row: Row, held: Permissions) -> dict[str, str]:
    return {
        "email": row["email"],
        "full_name": row["name"],
        "role": ";".join((role(row), *held)),
        "is_admin": row["is_organization_admin"],
        "external_id": row["login"],
        "account_type": "SERVICE_ACCOUNT" if row["account_type"] == "service" else "USER",
    }


def _wide(row: Row, held: Permissions) -> dict[str, str]:
    found = {
        "account_name": row["login"],
        "full_name": row.get("name"),
        "role": role(row),
        "permissions": ";".join(held),
        "is_admin": row["is_organization_admin"],
    }
    found |= {name: row.get(name) for name in AS_IN_POPULATION}
    # What pseudonyms leave out is no unknown: the column is not there.
    return {name: value for name, value in found.items() if value is not None}


AS_IN_POPULATION = (
    "email",
    "account_type",
    "owner",
    "groups",
    "is_member",
    "provider",
    "project_admin_count",
    "first_seen",
    "access_unchanged_since",
    "unknown",
)
"""Columns that the wide table takes as they are."""
SHAPES: Mapping[Shape, Callable[[Row, Permissions], dict[str, str]]] = {
    Shape.VANTA: _vanta,
    Shape.PROBO: _probo,
    Shape.WIDE: _wide,
}


class FileTarget:
    """A ZIP in a folder or an object store."""

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        assert settings.to is not None and settings.shape is not None, "the settings need both"
        self.shape = settings.shape
        self.where = settings.to

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Make the ZIP: the table, what it is, and digests."""
        rows = list(packet.population)
        notes = []
        if self.shape is Shape.PROBO:
            if rows and "email" not in rows[0]:
                raise DeliveryError(
                    "Probo knows accounts by their e-mail address, and pseudonyms have none: leave"
                    " pseudonym_env out, or choose another shape."
                )
            without = [row for row in rows if not row["email"].strip()]
            rows = [row for row in rows if row["email"].strip()]
            if without:
                notes.append(
                    f"No {NOT_KNOWN} {len(without):,} of {len(packet.population):,} accounts; they"
                    " are not in the file: Probo would drop them without a word. Review those"
                    " elsewhere."
                )
            if not rows:
                raise DeliveryError(
                    f"No {NOT_KNOWN} any account, by which Probo knows them. Read the scope"
                    " account_details, or choose another shape."
                )
        if self.shape is Shape.VANTA:
            blank = sum(not _vanta(row, ())["Account owner"] for row in rows)
            if blank:
                notes.append(f"No {NOT_KNOWN} {blank:,} accounts: their owner is left empty.")
        table = _table(packet, rows, SHAPES[self.shape])
        about = _about(packet, len(rows), notes)
        name = f"{packet.organization_key}-{packet.last_day}-{self.shape}"
        inside = {f"{name}.csv": table, "README.txt": about}
        sums = "".join(
            f"{hashlib.sha256(body).hexdigest()}  {file}\n" for file, body in sorted(inside.items())
        )
        body = zipped([*inside.items(), ("SHA256SUMS", sums.encode())])
        return Prepared([named(name, "zip", packet, body, len(rows))], notes)

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Write the file under a name that has the packet's digest, and read it back."""
        return put(self.where, prepared)


def named(name: str, ending: str, packet: SealedPacket, body: bytes, rows: int) -> Part:
    """Name a file by its packet and its own bytes, so that none is ever written over another."""
    digest = hashlib.sha256(body).hexdigest()
    return Part(f"{name}-{packet.digest[:12]}-{digest[:8]}.{ending}", body, rows)


def put(where: str, prepared: Prepared) -> Outcome:
    """Write parts into a folder or an object store, each as a whole; what is there already stays.

    Raises `DeliveryError`.
    """
    if "://" in where and holds_more(where):
        raise DeliveryError(
            "An address of files holds no user, password or options; set the variables of the"
            " store's SDK."
        )
    try:
        system, path = fsspec.core.url_to_fs(where if "://" in where else _folder(where))
        system.makedirs(path, exist_ok=True)
        files = {part.name: f"{path.rstrip('/')}/{part.name}" for part in prepared.parts}
        found = all(
            system.exists(files[part.name]) and system.cat_file(files[part.name]) == part.body
            for part in prepared.parts
        )
        if not found:
            for part in prepared.parts:
                # Under another name first where that is possible, so that no half of it is taken
                # for the whole.
                if "file" in system.protocol:
                    system.pipe_file(f"{files[part.name]}.part", part.body)
                    system.mv(f"{files[part.name]}.part", files[part.name])
                else:
                    system.pipe_file(files[part.name], part.body)
        is_same = all(system.cat_file(files[part.name]) == part.body for part in prepared.parts)
    except Exception as error:  # noqa: BLE001  # each store has errors of its own, and their words may hold credentials
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        raise DeliveryError(f"The files cannot be written to {where}: {reason}.") from None
    return Outcome(found, {"files": ", ".join(sorted(files))}, is_same)


def _folder(where: str) -> str:
    return str(Path(where).expanduser().absolute())


def _table(
    packet: SealedPacket,
    rows: Sequence[Row],
    shape: Callable[[Row, Permissions], dict[str, str]],
) -> bytes:
    """Write rows as CSV, without a mark of byte order, which Probo does not take; no value is taken
    for a formula.
    """
    shaped = [shape(row, packet.permissions.get(row["login"], ())) for row in rows]
    fields = ([SPELLED[str](value) for value in row.values()] for row in shaped)
    return encoded([list(shaped[0]), *fields]).encode()


def _about(packet: SealedPacket, rows: int, notes: list[str]) -> bytes:
    lines = [
        f"Accounts of {packet.organization_key} on SonarQube Cloud, as observed at"
        f" {packet.as_of:%Y-%m-%d %H:%M:%S} UTC.",
        f"{rows:,} rows. SonarQube Cloud lists no accounts that were removed: each is active.",
        f"From evidence packet {packet.digest}; `sonar-access evidence verify` proves it.",
        *notes,
    ]
    return ("\n".join(lines) + "\n").encode()
