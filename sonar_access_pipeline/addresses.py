"""Addresses as they may be printed and stored: without user, password, query and fragment.

Every address from a setting passes through here before it stands in a sentence, a row or a report.
No network here.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

UNREADABLE = "an address that cannot be read"


def plain_address(address: str) -> str:
    """Give an address without what may be secret in it; of one that does not parse cleanly nothing
    is given.
    """
    if not is_clear(address):
        return UNREADABLE
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_clear(address: str) -> bool:
    """Tell whether nobody can take a part of the password for the host: there is one `@`, in what
    names the host.
    """
    scheme, separator, rest = address.partition("://")
    if not (scheme and separator) or not address.isprintable():
        return False
    of_the_host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and (rest.count("@") > 1 or "@" not in of_the_host):
        return False
    try:
        _ = urlsplit(address).port
    except ValueError:
        return False
    return True


def holds_more(address: str) -> bool:
    """Tell whether an address holds more than scheme, host, port and path: a user, a password, a
    query or a fragment.
    """
    return any(mark in address for mark in "@?#")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
