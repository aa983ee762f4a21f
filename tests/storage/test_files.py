# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_shortcut.storage.files import replacing


def test_a_file_appears_when_it_is_written(tmp_path):
    path = tmp_path / "record.json"
    with replacing(path) as part:
        part.write_text("first")
        assert not path.exists()
        assert part.parent == tmp_path
    assert path.read_text() == "first"
    with replacing(str(path)) as part:
        part.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("before", [None, "whole"])
def test_what_was_there_stays_if_writing_fails(tmp_path, before):
    path = tmp_path / "record.json"
    if before is not None:
        path.write_text(before)

    def write() -> None:
        with replacing(path) as part:
            part.write_text("hal")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_part_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "record.json"):
        pass
