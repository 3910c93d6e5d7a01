"""Texts as people's programs write them: what editors, spreadsheets, secret stores and container
tools add is understood.

Settings, tokens, rosters and lists of addresses are all read through here. What cannot be
understood is named as what it is.
"""

from __future__ import annotations

import codecs
import csv
import os
import stat
from pathlib import Path

INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
"""Marks and spaces that nobody sees: a byte order mark, spaces of no width, a soft hyphen."""
LARGEST = 64 * 2**20
"""Bytes of a file of settings, a roster of a large company among them."""
QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c"}
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""How a text begins that is not UTF-8, and says so."""


class TextError(ValueError):
    """A text cannot be read; the words say what it is."""


def text_of(body: bytes) -> str:
    """Read a text: UTF-8 with or without a mark, or UTF-16 and UTF-32 with one; lines end as they
    do here. Raises `TextError`.
    """
    if body.startswith(b"PK\x03\x04"):
        raise TextError("it is a workbook or an archive; save it as CSV")
    encoding = next((name for mark, name in MARKS if body.startswith(mark)), "utf-8-sig")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise TextError(f"it is not UTF-8 from line {line} on; save it as UTF-8") from None
    if "\0" in text:
        raise TextError("it holds zero bytes, so it is no text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_in(file: Path) -> str:
    """Read the text of a plain file. Raises `TextError`."""
    return text_of(bytes_in(file))


def bytes_in(file: Path) -> bytes:
    """Read a plain file of settings; nobody is waited for who might write into a pipe.

    Raises `TextError` for one that is not there or may not be read, a pipe, a device, and what is
    too large.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise TextError("it is no plain file")
            body = opened.read(LARGEST + 1)
    except OSError as error:
        raise TextError(error.strerror) from None
    if len(body) > LARGEST:
        raise TextError("it is larger than any such file")
    return body


def table_of(text: str) -> list[dict[str, str]]:
    """Read a table that a spreadsheet wrote: with commas, or semicolons or tabs where that is its
    language's way.

    Rows by the names in the first one. Raises `csv.Error`.
    """
    lines = text.splitlines(keepends=True)
    delimiter = None
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].strip()) == len("sep=") + 1:
        delimiter = lines.pop(0).strip()[-1]
    heading = lines[0] if lines else ""
    return list(csv.DictReader(lines, delimiter=delimiter or max(",;\t", key=heading.count)))


def value_of(text: str) -> str:
    """Take off what is around a value: spaces of every kind, invisible marks, and one pair of
    quotes.
    """
    bare = _bare(text)
    inside = bare[1:-1]
    if len(bare) > 1 and QUOTES.get(bare[0]) == bare[-1] and not {bare[0], bare[-1]} & set(inside):
        bare = _bare(inside)
    return bare


def _bare(text: str) -> str:
    before = None
    while text != before:
        before = text
        text = text.strip().strip(INVISIBLE)
    return text
