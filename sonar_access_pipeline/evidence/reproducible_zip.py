"""Compression that gives the same bytes everywhere: zlib differs between machines and Pythons, so
libdeflate is brought along.

`zipped` writes a zip file around it, since the standard library takes its own zlib only. Format:
APPNOTE.TXT of PKWARE, 4.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import deflate

LEVEL = 6
FIRST_DAY = 0x0021
"""1980-01-01, as zip files write it: the first day that one can have."""
VERSION = 20
UTF8 = 0x0800
DEFLATED = 8


def compressed(data: bytes) -> bytes:
    """Data as a zlib stream."""
    return bytes(deflate.zlib_compress(data, LEVEL))


def zipped(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Named parts as a zip file, in their order, all of one date, without a trace of a machine.

    Up to 4 GB.
    """
    body = bytearray()
    directory = bytearray()
    count = 0
    for name, data in parts:
        packed = bytes(deflate.deflate_compress(data, LEVEL))
        encoded = name.encode()
        about = struct.pack(
            "<HHHHHIIIHH",
            VERSION,
            UTF8,
            DEFLATED,
            0,
            FIRST_DAY,
            zlib.crc32(data),
            len(packed),
            len(data),
            len(encoded),
            0,
        )
        directory += (
            b"PK\x01\x02"
            + struct.pack("<H", VERSION)
            + about
            + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
            + encoded
        )
        body += b"PK\x03\x04" + about + encoded + packed
        count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + b"PK\x05\x06" + end)
