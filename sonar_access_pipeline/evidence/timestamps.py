"""Time stamps of RFC 3161: an authority signs that something existed when it says.

Optional, and the only proof of when.

The library is Trail of Bits' rfc3161-client; `openssl ts -verify` checks the same file. An answer
is checked whole before anything is sealed with it: a store that is locked for years keeps a stamp
that proves nothing just as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sonar_access_pipeline.access.snapshot import CLOCKS_DIFFER
from sonar_access_pipeline.evidence.errors import EvidenceError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from rfc3161_client import TimeStampResponse

Stamp = Callable[[bytes], bytes]
"""From what is to be stamped to the authority's answer, in DER."""
SECONDS = 30
GRANTED = 0
"""The only answer that grants what was asked for (RFC 3161, section 2.4.2)."""


def stamped_by(
    url: str,
    authorities: bytes | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    login: tuple[str, str] | None = None,
    policy: str | None = None,
) -> Stamp:
    """Build a function that has an authority stamp something, and checks what it answers.

    `authorities`: its certificates, PEM; `login`: user and password, where it asks for them;
    `policy`: the identifier (OID) of the only policy whose stamps are taken. Raises
    `EvidenceError`, now or when the function is called.
    """
    try:
        import requests
        from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response
    except ImportError:
        raise EvidenceError(
            "Time stamps need `pip install rfc3161-client`, where this is installed."
        ) from None

    def stamp(data: bytes) -> bytes:
        asked = (
            TimestampRequestBuilder()
            .data(data)
            .nonce(nonce=True)
            .cert_request(cert_request=True)
            .build()
        )
        try:
            answer = requests.post(
                url,
                data=asked.as_bytes(),
                headers={"Content-Type": "application/timestamp-query"},
                timeout=SECONDS,
                auth=login,
            )
            if answer.status_code in (401, 403):
                raise EvidenceError(
                    f"The time stamp authority {url} does not let us in; set"
                    " SONAR_ACCESS_TIMESTAMP_USER and SONAR_ACCESS_TIMESTAMP_PASSWORD."
                )
            answer.raise_for_status()
            response = decode_timestamp_response(answer.content)
        except requests.RequestException:
            raise EvidenceError(
                f"The time stamp authority {url} does not answer; try again, or leave it out."
            ) from None
        except ValueError:
            raise EvidenceError(
                f"The time stamp authority {url} answers with something else than a time stamp."
            ) from None
        if response.status != GRANTED:
            raise EvidenceError(f"The time stamp authority {url} refuses to stamp.")
        fault, _ = stamp_fault(data, answer.content, authorities)
        if (
            fault is None
            and policy is not None
            and response.tst_info.policy.dotted_string != policy
        ):
            fault = (
                f"it is given under policy {response.tst_info.policy.dotted_string}, not {policy}"
            )
        if fault is None and response.tst_info.nonce != asked.nonce:
            fault = "it answers another question than the one that was asked"
        if fault is None and abs(response.tst_info.gen_time - clock()) > CLOCKS_DIFFER:
            fault = (
                "its clock and this machine's differ by"
                f" {abs(response.tst_info.gen_time - clock())}"
            )
        if fault:
            raise EvidenceError(
                f"The stamp of the time stamp authority {url} does not hold, so nothing is sealed:"
                f" {fault}. Name another authority, or its certificates in"
                " SONAR_ACCESS_TIMESTAMP_CERTIFICATES."
            )
        return bytes(answer.content)

    return stamp


def stamp_fault(
    data: bytes, stamp: bytes, authorities: bytes | None, said: str | None = None
) -> tuple[str | None, str | None]:
    """Check a time stamp of `data`: give its fault, and a note that a reader must know.

    `authorities` are certificates, PEM.

    `said`: when the sealer says that it was sealed; a stamp of another time is of something that
    was made later.
    """
    try:
        from cryptography.x509 import load_pem_x509_certificates
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        return (
            None,
            (
                "There is a time stamp; `pip install rfc3161-client` or `openssl ts -verify`"
                " checks it."
            ),
        )
    try:
        response = decode_timestamp_response(stamp)
        imprint = response.tst_info.message_imprint
        when = response.tst_info.gen_time
        name = HASHES.get(imprint.hash_algorithm.dotted_string)
        if name is None or imprint.message != hashlib.new(name, data).digest():
            return "it is a time stamp of something else", None
        if fault := certificate_fault(response):
            return fault, None
        if said is not None and abs(when - datetime.fromisoformat(said)) > CLOCKS_DIFFER:
            return f"it is of {when:%Y-%m-%d %H:%M} UTC, and the seal says {said[:16]}", None
    except (ValueError, TypeError):
        return "it is no time stamp", None
    if authorities is None:
        return (
            None,
            (
                f"Time stamp of {when:%Y-%m-%d %H:%M:%S} UTC; who gave it was not checked: name its"
                " certificates."
            ),
        )
    try:
        named = load_pem_x509_certificates(authorities)
    except ValueError:
        return "the certificates of the authority are none", None
    roots = [one for one in named if one.issuer == one.subject]
    intermediates = [one for one in named if one.issuer != one.subject]
    try:
        VerifierBuilder(roots=roots, intermediates=intermediates).build().verify_message(
            response, data
        )
    except (VerificationError, ValueError):
        return "it is not signed by an authority whose certificates are at hand", None
    return (
        None,
        (
            f"Time stamp of {when:%Y-%m-%d %H:%M:%S} UTC, by an authority whose certificates are at"
            " hand."
        ),
    )


def certificate_fault(response: TimeStampResponse) -> str | None:
    """Say why the certificate that came with a stamp cannot be its signer's at that time; None when
    it can.
    """
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, load_der_x509_certificate
    from cryptography.x509.oid import ExtendedKeyUsageOID

    brought: list[Certificate] = [
        load_der_x509_certificate(one) for one in response.signed_data.certificates
    ]
    serials = {signer.serial_number for signer in response.signed_data.signer_infos}
    signer = next((one for one in brought if one.serial_number in serials), None)
    if signer is None:
        return "it does not bring the certificate that signed it"
    if not signer.not_valid_before_utc <= response.tst_info.gen_time <= signer.not_valid_after_utc:
        return "its certificate was not valid when it was made"
    try:
        usage = signer.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        usage = ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    if ExtendedKeyUsageOID.TIME_STAMPING not in usage:
        return "its certificate is not one for time stamps"
    return None


HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
