"""Folders and files of ours: nobody but their owner can read them, since what we write holds who
has access to what.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def private_folder(folder: Path) -> None:
    """Make a folder and those above it that are not there yet. Raises `OSError`."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def new_private_file(file: Path) -> BinaryIO:
    """Create a new file to write.

    Raises `OSError`, such as `FileExistsError`: an existing file is never written over.
    """
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def expanded(path: Path) -> Path:
    """Give the path with the home folder that `~` means; as it is where it means none."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
