# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page on which readers answer, and the key that stays with who organises the study."""

from __future__ import annotations

from pathlib import Path

from monai_shortcut.reader_study import ReaderSet
from monai_shortcut.report.files import in_base64, writable
from monai_shortcut.report.pages import render
from monai_shortcut.storage.files import replacing

FOR_READERS, FOR_ORGANISERS = Path("for_readers", "reading.html"), Path("for_organisers", "key.json")


def write_reading_page(study: ReaderSet, folder: str | Path) -> Path:
    """Write the page for readers and the key.

    The page is one file. It needs no network and sends nothing. It holds the pictures and their names, which tell
    nothing; what they are is in the key alone, in a folder of its own.

    Args:
        study: pictures and key.
        folder: where ``for_readers/reading.html`` and ``for_organisers/key.json`` go; made when absent.

    Returns:
        The path of the page.

    Raises:
        PermissionError: If a folder cannot be written to.
    """
    page, key = Path(folder) / FOR_READERS, Path(folder) / FOR_ORGANISERS
    for path in (page, key):
        writable(path.parent)
    with replacing(key) as part:
        study.key.to_json(part)
    with replacing(page) as part:
        part.write_text(_html(study), encoding="utf-8")
    return page


def _html(study: ReaderSet) -> str:
    key = study.key
    # Named one by one: whatever else the key holds must not reach readers.
    sessions = [
        sorted(shown.case for shown in key.presentations if shown.session == number)
        for number in range(1, key.sessions + 1)
    ]
    pictures = {case: [in_base64(picture.png), round(picture.ratio, 4)] for case, picture in study.pictures.items()}
    return render(
        "reading",
        title=key.title,
        question=key.question,
        answers=key.answers,
        levels=key.levels,
        study=key.study,
        count=len(pictures),
        sessions=len(sessions),
        data={"study": key.study, "sessions": sessions, "pictures": pictures},
    )
