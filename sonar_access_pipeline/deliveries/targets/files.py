"""Files for who uploads by hand: a ZIP with the columns that a platform takes, in a folder or an
object store.

Columns: Vanta's access file (help.vanta.com, article 11345421: Account name, Account owner, Role,
Status); Probo's CSV (getprobo/probo `pkg/accessreview/drivers/csv.go` @5d717eae); and a wide one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
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


def permissions(row: Row) -> str:
    """Return the permissions on the organization, each once, without their ways."""
    ways = row["organization_permissions"].split("; ") if row["organization_permissions"] else []
    return ";".join(sorted({way.split(" (")[0] for way in ways}))


def _role(row: Row) -> str:
    return "Organization admin" if row["is_organization_admin"] == "true" else "Member"


def _vanta(row: Row) -> dict[str, str]:
    is_service = row["account_type"] == "service"
    return {
        "Account name": row["login"],
        "Account owner": "Not a person" if is_service else row.get("email", ""),
        "Role": _role(row),
        "Status": "Active",
    }


def _probo(row: Row) -> dict[str, str]:
    return {
        "email": row["email"],
        "full_name": row["name"],
        "role": ";".join(filter(None, (_role(row), permissions(row)))),
        "is_admin": row["is_organization_admin"],
        "external_id": row["login"],
        "account_type": "SERVICE_ACCOUNT" if row["account_type"] == "service" else "USER",
    }


def _wide(row: Row) -> dict[str, str]:
    return {
        "account_name": row["login"],
        "email": row.get("email", ""),
        "full_name": row.get("name", ""),
        "account_type": row["account_type"],
        "owner": row.get("owner", ""),
        "role": _role(row),
        "permissions": permissions(row),
        "groups": row["groups"],
        "is_admin": row["is_organization_admin"],
        "is_member": row["is_member"],
        "provider": row["provider"],
        "projects_administered": row["project_admin_count"],
        "first_seen": row["first_seen"],
        "access_unchanged_since": row["access_unchanged_since"],
        "unknown": row["unknown"],
    }


SHAPES: Mapping[Shape, Callable[[Row], dict[str, str]]] = {
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
                    f"{len(without):,} of {len(packet.population):,} accounts have no e-mail"
                    " address and are not in the file: Probo would drop them without a word."
                    " Review those elsewhere."
                )
            if not rows:
                raise DeliveryError(
                    "No account has an e-mail address, by which Probo knows them. Read the scope"
                    " account_details, or choose another shape."
                )
        if self.shape is Shape.VANTA:
            blank = sum(not _vanta(row)["Account owner"] for row in rows)
            if blank:
                notes.append(
                    f"{blank:,} accounts have no e-mail address: their owner is left empty."
                )
        table = _table(rows, SHAPES[self.shape])
        about = _about(packet, len(rows), notes)
        name = f"{packet.organization_key}-{packet.last_day}-{self.shape}"
        inside = {f"{name}.csv": table, "README.txt": about}
        sums = "".join(
            f"{hashlib.sha256(body).hexdigest()}  {file}\n" for file, body in sorted(inside.items())
        )
        body = zipped([*inside.items(), ("SHA256SUMS", sums.encode())])
        return Prepared([Part(f"{name}-{packet.digest[:12]}.zip", body, len(rows))], notes)

    def send(self, packet: SealedPacket, prepared: Prepared, key: str) -> Outcome:
        """Write the file under a name that has the packet's digest, and read it back."""
        return put(self.where, prepared)


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


def _table(rows: list[Row], shape: Callable[[Row], dict[str, str]]) -> bytes:
    """Write rows as CSV, without a mark of byte order, which Probo does not take; no value is taken
    for a formula.
    """
    shaped = [shape(row) for row in rows]
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
