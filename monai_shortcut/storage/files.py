# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there complete, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the place of another when all is written.

    Several programs may write the same file at once: the last one stays. If writing fails, what was there before stays.

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
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)
