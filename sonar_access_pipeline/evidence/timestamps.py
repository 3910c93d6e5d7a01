"""Time stamps of RFC 3161: an authority signs that something existed when it says. Optional, and the only proof of when.

The library is Trail of Bits' rfc3161-client; `openssl ts -verify` checks the same file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from sonar_access_pipeline.evidence.errors import EvidenceError

Stamp = Callable[[bytes], bytes]
"""From what is to be stamped to the authority's answer, in DER."""
SECONDS = 30


def stamped_by(url: str) -> Stamp:
    """A way to have an authority stamp something. Raises `EvidenceError`, then or now."""
    try:
        import requests
        from rfc3161_client import TimestampRequestBuilder, decode_timestamp_response
    except ImportError:
        raise EvidenceError("Time stamps need `pip install sonar-access-pipeline[timestamp]`.") from None

    def stamp(data: bytes) -> bytes:
        asked = TimestampRequestBuilder().data(data).nonce(nonce=True).cert_request(cert_request=True).build()
        try:
            answer = requests.post(
                url, data=asked.as_bytes(), headers={"Content-Type": "application/timestamp-query"}, timeout=SECONDS
            )
            answer.raise_for_status()
            response = decode_timestamp_response(answer.content)
        except requests.RequestException:
            raise EvidenceError(f"The time stamp authority {url} does not answer; try again, or leave it out.") from None
        except ValueError:
            raise EvidenceError(f"The time stamp authority {url} answers with something else than a time stamp.") from None
        if response.status not in (0, 1) or response.tst_info.nonce != asked.nonce:
            raise EvidenceError(f"The time stamp authority {url} refuses to stamp, or stamps something else.")
        return bytes(answer.content)

    return stamp


def stamp_fault(data: bytes, stamp: bytes, authorities: bytes | None) -> tuple[str | None, str | None]:
    """What is wrong with a time stamp of `data`, and what a reader must know of it: `authorities` are certificates, PEM."""
    try:
        from cryptography.x509 import load_pem_x509_certificates
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        return None, "There is a time stamp; `pip install sonar-access-pipeline[timestamp]` or `openssl ts -verify` checks it."
    try:
        response = decode_timestamp_response(stamp)
        imprint, when = response.tst_info.message_imprint, response.tst_info.gen_time
        name = HASHES.get(imprint.hash_algorithm.dotted_string)
        if name is None or imprint.message != hashlib.new(name, data).digest():
            return "it is a time stamp of something else", None
    except ValueError:
        return "it is no time stamp", None
    if authorities is None:
        return None, f"Time stamp of {when:%Y-%m-%d %H:%M:%S} UTC; who gave it was not checked: name its certificates."
    try:
        roots = load_pem_x509_certificates(authorities)
    except ValueError:
        return "the certificates that you named are none", None
    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(response, data)
    except (VerificationError, ValueError):
        return "it is not signed by an authority whose certificates you named", None
    return None, f"Time stamp of {when:%Y-%m-%d %H:%M:%S} UTC, by an authority whose certificates you named."


HASHES = {"2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.2": "sha384", "2.16.840.1.101.3.4.2.3": "sha512"}
