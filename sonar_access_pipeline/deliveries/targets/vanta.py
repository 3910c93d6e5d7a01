"""Vanta, by its API: a packet as files of a document, or the whole population as user accounts of
an application of one's own.

Shapes: `manage-vanta.json` and `build-integrations.json` in chris-morris-528/docs @04920f86, copies
of Vanta's own. Tried against those shapes, not against the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from sonar_access_pipeline.deliveries.errors import DeliveryError
from sonar_access_pipeline.deliveries.plans import Outcome, Part, Prepared
from sonar_access_pipeline.deliveries.sealed import SealedPacket
from sonar_access_pipeline.deliveries.service import Service
from sonar_access_pipeline.deliveries.targets import secret
from sonar_access_pipeline.deliveries.targets.drata import library_of, mime
from sonar_access_pipeline.deliveries.targets.files import role
from sonar_access_pipeline.settings_delivery import DeliverySettings

ROOT = "https://api.vanta.com"
OF_DOCUMENTS = "vanta-api.all:read vanta-api.all:write vanta-api.documents:upload"
OF_ACCOUNTS = "connectors.self:write-resource connectors.self:read-resource"
LIBRARY = ("report.pdf", "access-review.xlsx", "population.csv")
PAGE = 100


def _service(
    settings: DeliverySettings, environment: Mapping[str, str], scope: str, thing: str
) -> Service:
    root = (settings.host_url or ROOT).rstrip("/")
    names = f"{settings.client_id_env} and {settings.client_secret_env}"
    token: list[str] = []

    def authorization() -> str:
        if not token:
            # A new token ends the one before: one is asked for, and used for the whole delivery.
            asking = Service("Vanta", root, names, f"the scopes {scope}", thing, lambda: "")
            document = {
                "client_id": secret(environment, settings.client_id_env),
                "client_secret": secret(environment, settings.client_secret_env),
                "scope": scope,
                "grant_type": "client_credentials",
            }
            answer = asking.ask("POST", "/oauth/token", document=document, is_signed=False)
            token.append(str(answer["access_token"]))
        return f"Bearer {token[0]}"

    return Service("Vanta", root, names, f"the scopes {scope}", thing, authorization)


class DocumentTarget:
    """Files of a packet as uploads of a document, which is then submitted."""

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        document = str(settings.document)
        self.service = _service(settings, environment, OF_DOCUMENTS, f"document {document}")
        self.path = f"/v1/documents/{quote(document, safe='')}"
        self.where = f"{self.service.root}{self.path}"

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Take what people read, and who has access."""
        return library_of(packet, LIBRARY)

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Upload what is missing, submit, and list what the document has."""
        wanted = {_mark(packet, part): part for part in prepared.parts}
        there = self._uploads()
        missing = [part for mark, part in wanted.items() if mark not in there]
        for part in missing:
            self.service.ask(
                "POST",
                f"{self.path}/uploads",
                files={"file": (part.name, part.body, mime(part.name))},
                form={
                    "effectiveAtDate": f"{packet.as_of:%Y-%m-%dT%H:%M:%SZ}",
                    "description": _mark(packet, part),
                },
            )
        # Whether what is there was submitted they do not say: only a receipt does.
        is_submitted = not missing and is_known
        if not is_submitted:
            self.service.ask("POST", f"{self.path}/submit", expected=(200, 204))
        now = self._uploads()
        remote = {f"upload {part.name}": now[mark] for mark, part in wanted.items() if mark in now}
        return Outcome(not missing and is_submitted, remote, wanted.keys() <= now.keys())

    def _uploads(self) -> dict[str, str]:
        return {
            str(one["description"]): str(one["id"])
            for one in _pages(self.service, f"{self.path}/uploads")
            if one["deletionDate"] is None
        }


def _pages(service: Service, path: str) -> Iterator[Mapping[str, Any]]:
    cursor = None
    while True:
        more: Mapping[str, str] = {"pageCursor": cursor} if cursor else {}
        results = service.ask("GET", path, params={"pageSize": PAGE, **more})["results"]
        yield from results["data"]
        if not results["pageInfo"]["hasNextPage"]:
            return
        cursor = results["pageInfo"]["endCursor"]


def _mark(packet: SealedPacket, part: Part) -> str:
    """Describe an upload so that it is found again: by its packet, and by its own bytes."""
    return (
        f"{part.name} of evidence packet {packet.digest[:16]}, SonarQube Cloud"
        f" {packet.organization_key} (SHA-256 {part.sha256[:16]})"
    )


class AccountsTarget:
    """The whole population in one request: who is not in it has left, by Vanta's reading."""

    def __init__(self, settings: DeliverySettings, environment: Mapping[str, str]) -> None:
        self.resource = str(settings.resource)
        self.service = _service(
            settings, environment, OF_ACCOUNTS, f"resource {self.resource} of user accounts"
        )
        self.path = "/v1/resources/user_account"
        self.where = f"{self.service.root}{self.path}?resourceId={quote(self.resource, safe='')}"

    def prepare(self, packet: SealedPacket) -> Prepared:
        """Make an account of each row. Raises `DeliveryError` where one lacks what Vanta needs:
        left out, it would be taken for a leaver.
        """
        rows = packet.population
        without = sum(not row.get("email") or not row["first_seen"] for row in rows)
        if without:
            raise DeliveryError(
                f"No e-mail address is known of {without:,} of {len(rows):,} accounts, or no time"
                " since when there is one, and Vanta needs both; left out they would be taken for"
                " people who left. Read the scope account_details, deliver without pseudonyms, or"
                " deliver a document."
            )
        accounts = [_account(row, packet) for row in rows]
        body = json.dumps(
            {"resourceId": self.resource, "resources": accounts}, ensure_ascii=False, sort_keys=True
        ).encode()
        return Prepared(
            [Part("user_account.json", body, len(rows))],
            [
                "createdTimestamp is when an account was first seen: SonarQube Cloud does not tell"
                " when it was made.",
                "authMethod is SSO, since nobody signs in to SonarQube Cloud with a password of"
                " its own. Whether there is a second factor is unknown here: the form asks for"
                " mfaEnabled, which is false, and Vanta passes over it with SSO.",
            ],
        )

    def send(
        self, packet: SealedPacket, prepared: Prepared, key: str, *, is_known: bool
    ) -> Outcome:
        """Put all, unless all are there as they would be put, and compare what is there."""
        document = json.loads(prepared.parts[0].body)
        remote = {"resource": self.resource}
        if self._there() == _compared(document["resources"]):
            return Outcome(True, remote, True)
        answer = self.service.ask("PUT", self.path, document=document)
        if answer.get("success") is not True:
            raise DeliveryError("Vanta did not say that it took the accounts. Send again.")
        return Outcome(False, remote, self._there() == _compared(document["resources"]))

    def _there(self) -> dict[str, Mapping[str, Any]]:
        answer = self.service.ask("GET", self.path, params={"resourceId": self.resource})
        return _compared(one for one in answer["resources"] if not one.get("deletedAt"))


COMPARED = ("displayName", "email", "permissionLevel", "roleDescription", "status")


def _compared(accounts: Any) -> dict[str, Mapping[str, Any]]:
    return {str(one["uniqueId"]): _of_account(one) for one in accounts}


def _of_account(account: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: account.get(name) for name in COMPARED}


def _account(row: Mapping[str, str], packet: SealedPacket) -> dict[str, Any]:
    name = row["name"] or row["login"]
    held = packet.permissions.get(row["login"], ())
    organization = f"{packet.source_url}/organizations/{quote(row['organization_key'])}"
    level = "EDITOR" if held else "BASE"
    return {
        "displayName": name,
        "uniqueId": row["login"],
        "externalUrl": f"{organization}/members",
        "fullName": name,
        "accountName": row["login"],
        "email": row["email"],
        "permissionLevel": "ADMIN" if row["is_organization_admin"] == "true" else level,
        "roleDescription": ", ".join((role(row), *held)),
        "createdTimestamp": row["first_seen"],
        "status": "ACTIVE",
        "mfaEnabled": False,
        "mfaMethods": [],
        "authMethod": "SSO",
    }
