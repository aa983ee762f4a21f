# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there complete, or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = re.compile(r"\..+\.[0-9]+\.monai_shortcut\.part", re.DOTALL)  # names of files that are being written


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of another when all is written.

    Several programs may write the same file at once: the last one stays. If writing fails, what was there before stays.
    What a killed program leaves is removed by the next owner of the folder, as in `monai_shortcut.storage.folders`.

    Args:
        path: the file to make or to replace, in a folder that exists.

    Yields:
        The path to write to, beside it.

    Example:
        >>> from tempfile import mkdtemp
        >>> table = Path(mkdtemp(), "table.csv")
        >>> with replacing(table) as part:
        ...     _ = part.write_text("a,b"), table.exists()
        >>> table.read_text(), len(list(table.parent.iterdir()))
        ('a,b', 1)
    """
    place = Path(path)
    part = place.with_name(f".{place.name}.{os.getpid()}.monai_shortcut.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def file_digest(path: str | Path) -> str:
    """SHA-256 of the contents of a file."""
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()
