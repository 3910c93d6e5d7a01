"""Drata, by its public API v2: a packet as artifacts in the evidence library, or accounts as
records of a custom connection.

Shapes: api-evangelist/drata @11870355, `openapi/drata-{evidence,uploads,custom-data-records}-api-
openapi.yml`. Tried against those shapes, not against the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.deliveries.plans import Outcome, Part, Prepared
from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.deliveries.service import Service
from sonar_access_pipeline.deliveries.targets import secret
from sonar_access_pipeline.deliveries.targets.files import role
from sonar_access_pipeline.settings_delivery import DeliverySettings

ROOT = "https://public-api.drata.com/public/v2"
LIBRARY = ("report.pdf", "access-review.xlsx", "population.csv", "access.csv", "manifest.json")
"""What of a packet goes into the evidence library, as far as the packet has it."""
PAGE = 500
BATCH = 500
MIME = {
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv",
    "json": "application/json",
}


def mime(name: str) -> str:
    """Return the media type of a packet's file."""
    return MIME[name.rpartition(".")[2]]


def library_of(packet: SealedPacket, names: Sequence[str] = LIBRARY) -> Prepared:
    """Take the files of a packet that people read, with what is counted of them."""
    counted = packet.manifest["files"]
    parts = [
        Part(name, packet.files[name], counted.get(name, {}).get("rows"))
        for name in names
        if name in packet.files
    ]
    has_report = any(part.name.endswith(".pdf") for part in parts)
    notes = (
        []
        if has_report
        else ["The packet has no report and no workbook: only its tables are sent."]
    )
    return Prepared(parts, notes)


def _service(
    settings: DeliverySettings, environment: Mapping[str, str], rights: str, thing: str
) -> Service:
    return Service(
        "Drata",
        (settings.host_url or ROOT).rstrip("/"),
        str(settings.token_env),
        rights,
        thing,
        lambda: f"Bearer {secret(environment, settings.token_env)}",
    )


def _pages(service: Service, path: str, params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    cursor = None
    while True:
        more: Mapping[str, str] = {"cursor": cursor} if cursor else {}
        page = service.ask("GET", path, params={**params, "size": PAGE, **more})
        yield from page["data"]
        cursor = page["pagination"]["cursor"]
        if not cursor:
            return


class EvidenceTarget:
    """Files of a packet as artifacts of one piece of evidence, a new version each time."""

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.service = _service(
            settings, environment, "to read and write evidence", f"workspace {settings.workspace}"
        )
        self.path = f"/workspaces/{settings.workspace}"
        self.where = f"{self.service.root}{self.path}/evidence"

    def title(self, packet: SealedPacket) -> str:
        """Return the name of the evidence there."""
        return self.settings.title or f"SonarQube Cloud access: {packet.organization_key}"

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Take what people read, and the tables."""
        return library_of(packet)

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Upload what is missing, and make or renew the evidence; then list what it has."""
        wanted = {_name(packet, part): part for part in prepared.parts}
        evidence_id = self._evidence(self.title(packet))
        there = self._artifacts(evidence_id) if evidence_id is not None else {}
        missing = {name: part for name, part in wanted.items() if name not in there}
        if evidence_id is None:
            evidence_id = self._made(packet, missing)
        elif missing:
            self._renewed(evidence_id, packet, missing, there)
        now = self._artifacts(evidence_id)
        remote = {"evidence": str(evidence_id)}
        remote |= {
            f"artifact {_label(wanted[name])}": str(now[name]) for name in wanted if name in now
        }
        return Outcome(not missing, remote, wanted.keys() <= now.keys())

    def _evidence(self, title: str) -> int | None:
        found = [
            one["id"]
            for one in _pages(self.service, f"{self.path}/evidence", {"name": title})
            # Their filter takes every name that begins so.
            if one["name"] == title
        ]
        if len(found) > 1:
            raise DeliveryError(
                f"Drata has {len(found)} pieces of evidence named '{title}'; name another title,"
                " or leave one."
            )
        return int(found[0]) if found else None

    def _artifacts(self, evidence_id: int) -> dict[str, int]:
        path = f"{self.path}/evidence/{evidence_id}/artifacts"
        found = _pages(self.service, path, {"isArchived": "false"})
        return {str(one["artifactName"]): int(one["id"]) for one in found}

    def _uploaded(self, part: Part) -> str:
        files = {"file": (part.name, part.body, mime(part.name))}
        answer = self.service.ask("POST", f"{self.path}/evidence-files", files=files)
        return str(answer["fileKey"])

    def _made(self, packet: SealedPacket, missing: Mapping[str, Part]) -> int:
        artifacts = [
            {"type": "S3_FILE", **self._artifact(name, part, packet)}
            for name, part in missing.items()
        ]
        document = {
            "name": self.title(packet),
            "description": _description(packet),
            "artifacts": artifacts,
            "renewalScheduleType": "NONE",
        }
        answer = self.service.ask("POST", f"{self.path}/evidence", document=document)
        _require_all(answer)
        return int(answer["id"])

    def _renewed(
        self,
        evidence_id: int,
        packet: SealedPacket,
        missing: Mapping[str, Part],
        there: Mapping[str, int],
    ) -> None:
        """Add what is new, and make a new version of what an older packet brought."""
        older = {name.rsplit(" ", 2)[0]: artifact for name, artifact in there.items()}
        new, replaced = [], []
        for name, part in missing.items():
            artifact = {"artifactType": "S3_FILE", **self._artifact(name, part, packet)}
            if _label(part) in older:
                replaced.append({**artifact, "existingArtifactId": older[_label(part)]})
            else:
                new.append(artifact)
        document = {"newArtifacts": new, "replaceArtifacts": replaced}
        answer = self.service.ask(
            "PUT",
            f"{self.path}/evidence/{evidence_id}",
            document={name: artifacts for name, artifacts in document.items() if artifacts},
        )
        _require_all(answer)

    def _artifact(self, name: str, part: Part, packet: SealedPacket) -> dict[str, Any]:
        return {
            "artifactName": name,
            "fileKey": self._uploaded(part),
            "filedAt": str(packet.as_of.date()),
        }


def _name(packet: SealedPacket, part: Part) -> str:
    """Name an artifact by its packet and its own bytes."""
    return f"{_label(part)} {packet.digest[:12]} {part.sha256[:12]}"


def _label(part: Part) -> str:
    """Return what a file is called there, whichever packet it is of."""
    return f"SonarQube Cloud {part.name}"


def _description(packet: SealedPacket) -> str:
    return (
        f"Who has access to {packet.organization_key} on SonarQube Cloud, from a sealed evidence"
        " packet; each artifact's name ends with the first digits of the packet's digest and of its"
        " own."
    )


def _require_all(answer: Mapping[str, Any]) -> None:
    """Refuse an answer that says that it is well and made fewer than were asked for."""
    asked, made = answer["artifactsRequested"], answer["artifactsCreated"]
    if made != asked:
        raise DeliveryError(
            f"Drata says that it is done, and made {made} of {asked} artifacts. Send again: those"
            " that are there are found."
        )


class RecordsTarget:
    """Every account as a record of a custom connection, in one session that is completed or
    cancelled: what is not in it is deleted there.
    """

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        self.service = _service(
            settings,
            environment,
            "to read and write records of custom connections",
            f"custom connection {settings.custom_connection} with resource {settings.resource}",
        )
        self.path = (
            f"/custom-connections/{settings.custom_connection}/resources/{settings.resource}"
        )
        self.where = f"{self.service.root}{self.path}"

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Make a record of every account. An unknown is left out, and is not false."""
        body = json.dumps(
            [_record(row, packet) for row in packet.population], ensure_ascii=False, sort_keys=True
        ).encode()
        return Prepared([Part("records.json", body, len(packet.population))])

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Send all in one session and complete it; cancel it where anything is refused."""
        records = json.loads(prepared.parts[0].body)
        mine = f"sonar-{key[:32]}"
        for active in self._sessions("ACTIVE", mine):
            if self._holds(active, records):
                return Outcome(True, {"session": active}, True)
        for begun in self._sessions("IN_PROGRESS", mine):
            self._end(begun, "cancel")
        used = sum(len(self._sessions(status, mine)) for status in STATUSES)
        session = f"{mine}-{used + 1}"
        for first in range(0, len(records), BATCH):
            self._send(session, records[first : first + BATCH])
        self._end(session, "complete")
        return Outcome(False, {"session": session}, self._holds(session, records))

    def _sessions(self, status: str, mine: str) -> list[str]:
        found = _pages(self.service, f"{self.path}/sessions", {"status": status})
        return sorted(
            str(one["sessionId"]) for one in found if str(one["sessionId"]).startswith(f"{mine}-")
        )

    def _send(self, session: str, batch: Sequence[Mapping[str, Any]]) -> None:
        answer = self.service.ask(
            "POST",
            f"{self.path}/sessions/{session}",
            document={"data": batch},
            expected=(200, 201, 207),
        )
        # Of one record there may be one answer, and no list.
        answers = answer if isinstance(answer, list) else [answer]
        refused = sum(one.get("statusCode") not in (200, 201) for one in answers)
        if refused or len(answers) != len(batch):
            self._end(session, "cancel")
            raise DeliveryError(
                f"Drata refused {refused} of {len(batch)} records, and answered {len(answers)}; the"
                " session was cancelled, and what was there before stays. Look at the schema of"
                " the custom connection (docs/deliveries.md has ours)."
            )

    def _end(self, session: str, action: str) -> None:
        self.service.ask(
            "POST", f"{self.path}/sessions/{session}/actions", document={"action": action}
        )

    def _holds(self, session: str, records: Sequence[Mapping[str, Any]]) -> bool:
        found = _pages(self.service, f"{self.path}/records", {"sessionId": session})
        there = {one["attributes"]["login"]: one["attributes"] for one in found}
        return there == {one["login"]: one for one in records}


STATUSES = ("ACTIVE", "ARCHIVED", "CANCELED", "IN_PROGRESS")
TRUTH = {"true": True, "false": False}


def _record(row: Mapping[str, str], packet: SealedPacket) -> dict[str, Any]:
    """Write an account as a record. An empty value is one that nobody told."""
    found: dict[str, Any] = {
        "login": row["login"],
        "name": row.get("name"),
        "email": row.get("email"),
        "accountType": row["account_type"],
        "role": role(row),
        "isMember": TRUTH[row["is_member"]],
        "isOrganizationAdmin": TRUTH[row["is_organization_admin"]],
        "adminThrough": row["admin_through"],
        "permissions": ";".join(packet.permissions.get(row["login"], ())),
        "groups": row["groups"],
        "provider": row["provider"],
        "firstSeen": row["first_seen"],
        "accessUnchangedSince": row["access_unchanged_since"],
    }
    if row["project_admin_count"]:
        found["projectsAdministered"] = int(row["project_admin_count"])
    return {name: value for name, value in found.items() if value not in (None, "")}
