# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What of grids the tests of masked files (tests/transforms/test_places.py) leave open."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from monai_shortcut.regions.grids import Grid, aligning, picture_of


def grid(*shape: int, axes: tuple[int, ...] = (0, 1, 2)) -> Grid:
    """Pixels of 1 mm whose first axis runs along that axis of space, and so on."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)]
    return Grid(shape, affine, placed=True, palette=False, file="")


def test_axes_are_exchanged_only_where_the_shapes_agree():
    assert aligning(grid(5, 6, 7), grid(7, 5, 6, axes=(2, 0, 1))) == ([1, 2, 0], [])
    with pytest.raises(ValueError, match="must lie on its image, got an array whose corners are up to 6 pixels away"):
        aligning(grid(5, 6, 7), grid(5, 6, 7, axes=(2, 0, 1)))
    assert aligning(grid(5, 6, 7), grid(5, 6, 8, axes=(2, 0, 1))) == ([0, 1, 2], [])  # MaskROI refuses the shapes


def test_a_picture_that_pillow_refuses_says_nothing(tmp_path):
    """A text of more than 1 MB is its ValueError, other damage its SyntaxError or OSError."""
    much = PngImagePlugin.PngInfo()
    much.add_text("comment", "x" * 2**21, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "text.png", pnginfo=much)
    (tmp_path / "damaged.png").write_bytes((tmp_path / "text.png").read_bytes()[:20])
    with pytest.raises(ValueError, match="too large"):
        Image.open(tmp_path / "text.png")
    for name in ("text.png", "damaged.png", "missing.png"):
        assert picture_of(str(tmp_path / name)) is None
