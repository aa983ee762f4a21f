# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""CheXmask: lungs and heart in the chest X-rays of public collections, as run-length codes in tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.datasets.tables import read_table, write_regions

STRUCTURES = ("Right Lung", "Left Lung", "Heart")
LUNGS = STRUCTURES[:2]
IMAGE_ID = {"padchest": "ImageID", "nih": "Image Index"}  # how each collection's table calls the image
_DICE = "Dice RCA (Mean)"
_ROWS_AT_ONCE = 500  # a row holds some 50 kB of text, and a table up to 200,000 rows


def decode_rle(code: str, height: int, width: int) -> NDArray[np.bool_]:
    """The region that a run-length code of CheXmask stands for.

    The code is "start length start length ...". Pixels are counted from 1, along the first row, then the second.

    Args:
        code: the runs.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: If the numbers are not pairs, or a run leaves the image.

    References:
        Gaggion et al. (2024), Scientific Data 11:511; run-length functions of the authors' repository
        ngaggion/CheXmask-Database, DataPostprocessing/utils.py.

    Example:
        >>> decode_rle("2 1 4 2", 2, 3).astype(int).tolist()
        [[0, 1, 0], [1, 1, 0]]
    """
    numbers = np.array(code.split(), dtype=np.int64)
    if len(numbers) % 2:
        raise ValueError(f"a run-length code must be pairs of start and length, got {len(numbers)} numbers.")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if len(numbers) and not (starts.min() >= 0 <= lengths.min() and (starts + lengths).max() <= height * width):
        raise ValueError(
            f"runs must stay among the {height} x {width} pixels 1 to {height * width}, "
            f"got some from {starts.min() + 1} up to {(starts + lengths).max()}."
        )
    region = np.zeros(height * width, dtype=np.bool_)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        region[start : start + length] = True
    return region.reshape(height, width)


def encode_rle(region: NDArray[np.bool_]) -> str:
    """The run-length code of a region, as `decode_rle` reads it.

    Args:
        region: (H, W) bool.
    """
    inside = np.concatenate([[0], np.asarray(region, dtype=np.int8).ravel(), [0]])
    bounds = np.flatnonzero(np.diff(inside))
    return " ".join(f"{start + 1} {end - start}" for start, end in bounds.reshape(-1, 2).tolist())


def write_chexmask(
    table: str | Path,
    folder: str | Path,
    collection: str,
    *,
    structures: Sequence[str] = LUNGS,
    least_dice: float = 0.7,
    image_ids: Collection[str] | None = None,
) -> list[Path]:
    """Write the regions of a CheXmask table as PNG files named like the images; those already there are kept.

    A row is left out if its quality is at most ``least_dice``, as in the masking study (the authors of CheXmask would
    keep a row at exactly 0.7), or if it lacks one of the structures. Files made with other structures or another
    quality are not recognised as such: write those to a folder of their own.

    Column names were read in CheXmask's data dictionary on PhysioNet, the names of the image column in the authors'
    programs that write the tables, and the run-length code in theirs that read them; the tables were not at hand.

    Args:
        table: ``OriginalResolution/Padchest.csv`` or ``OriginalResolution/ChestX-Ray8.csv``, perhaps compressed. Use
            the originals' resolution, since regions must have the size of the images.
        folder: where the PNG files go.
        collection: whose images: "padchest" or "nih".
        structures: which of "Right Lung", "Left Lung" and "Heart" make up the region.
        least_dice: quality, the mean Dice of the reverse classification accuracy, that a row must exceed; in [0, 1].
        image_ids: images to write; None means all.

    Returns:
        The paths of all the table's regions in the folder, just written or found there.

    Raises:
        ValueError: If the collection or a structure is unknown, a column is absent, or a code does not fit its image.

    References:
        Gaggion et al. (2024), Scientific Data 11:511; https://doi.org/10.13026/dx54-8351.
    """
    if collection not in IMAGE_ID:
        raise ValueError(f"collection must be {' or '.join(IMAGE_ID)}, got {collection!r}.")
    if not structures or not set(structures) <= set(STRUCTURES):
        raise ValueError(f"structures must be among {', '.join(STRUCTURES)}, got {', '.join(structures) or 'none'}.")
    identifier = IMAGE_ID[collection]
    needed = [identifier, _DICE, *structures, "Height", "Width"]
    read_table(Path(table), needed, nrows=0)
    written: list[Path] = []
    with pd.read_csv(table, usecols=lambda name: name.strip() in needed, chunksize=_ROWS_AT_ONCE) as parts:
        for part in parts:
            rows = part.rename(columns=str.strip).dropna(subset=needed)
            rows = rows[(rows[_DICE] > least_dice) & (image_ids is None or rows[identifier].isin(list(image_ids)))]
            written += write_regions(
                {
                    Path(folder, str(row[identifier])): partial(_region, row, identifier, tuple(structures))
                    for row in rows.to_dict("records")
                }
            )
    return written


def _region(row: dict[Any, Any], identifier: str, structures: tuple[str, ...]) -> NDArray[np.bool_]:
    try:
        parts = [decode_rle(str(row[name]), int(row["Height"]), int(row["Width"])) for name in structures]
    except ValueError as error:
        raise ValueError(f"the codes of {row[identifier]} must fit its size: {error}") from error
    region: NDArray[np.bool_] = np.any(parts, axis=0)
    return region
