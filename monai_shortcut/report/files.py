# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The files of a report, and names of folders for reports."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from monai_shortcut.report.drawings import Drawing
from monai_shortcut.storage.tables import write_csv

Files = Mapping[str, Callable[[Path], object]]  # by path in the report's folder, the function that writes the file
PAGE = "report.html"
_LONGEST = 100  # bytes of a folder's name; file systems take 255, and a number may follow
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin|conout|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?:\.|$)", re.I
)
_OWN = re.compile(r"^figures$|\.(?:html|json|csv|part)$", re.I)  # of the report that the folders are in


def report_files(
    records: Files, tables: Mapping[str, pd.DataFrame], drawn: Mapping[str, Drawing], html: str, page: str = PAGE
) -> Files:
    """The files of a report, to be given to `monai_shortcut.storage.folders.replace_files`.

    Args:
        records: by file name, the function that writes the record to a path.
        tables: by file name without the suffix.
        drawn: figures by file name without the suffix.
        html: the page.
        page: file name of the page.
    """
    return {
        **records,
        **{f"{name}.csv": partial(write_csv, table) for name, table in tables.items()},
        **{f"figures/{name}.svg": as_file(one.svg) for name, one in drawn.items()},
        page: as_file(html),
    }


def as_file(content: str | bytes) -> Callable[[Path], object]:
    """The function that writes a content to a path; what UTF-8 cannot write is escaped."""
    return partial(_write, content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def label_folders(labels: Iterable[str]) -> dict[str, str]:
    """A folder name for each label: letters, digits, dots, dashes and underscores, at most 100 bytes.

    The names differ on file systems that ignore case or the Unicode form, too. What Windows keeps for devices, and what
    a report calls its own files, begins with "label_".

    Example:
        >>> label_folders(["pleural effusion", "Pleural/effusion", "con"])
        {'pleural effusion': 'pleural_effusion', 'Pleural/effusion': 'Pleural_effusion_2', 'con': 'label_con'}
    """
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", label)).strip("._") or "label"
        plain = plain.encode("utf-8")[:_LONGEST].decode("utf-8", "ignore").rstrip(".")
        plain = f"label_{plain}" if _RESERVED.match(plain) or _OWN.search(plain) else plain
        numbered = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        folders[label] = next(name for name in numbered if _alike(name) not in taken)
        taken.add(_alike(folders[label]))
    return folders


def _alike(name: str) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def png(figure: Figure) -> bytes:
    """A figure as a PNG file, without the name and version of the program that drew it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def in_base64(picture: bytes) -> str:
    """A picture as the text that a page holds."""
    return base64.b64encode(picture).decode("ascii")
