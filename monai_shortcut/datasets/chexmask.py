# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""CheXmask: lungs and heart in the chest X-rays of public collections, as run-length codes in tables."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import as_number
from monai_shortcut.datasets.tables import read_table, write_regions
from monai_shortcut.storage.tables import read_blocks

STRUCTURES = ("Right Lung", "Left Lung", "Heart")
LUNGS = STRUCTURES[:2]
IMAGE_ID = {"padchest": "ImageID", "nih": "Image Index"}  # how each collection's table calls the image
_DICE = "Dice RCA (Mean)"
_LINE = "line of the table"
_DIGITS = re.compile(r"-?[0-9]{1,30}")
_MOST_PIXELS = 2**30
_LOG = logging.getLogger(__name__)
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
        ValueError: If the image is of no size, the code is not pairs of whole numbers, or a run leaves the image.

    References:
        Gaggion et al. (2024), Scientific Data 11:511; run-length functions of the authors' repository
        ngaggion/CheXmask-Database, DataPostprocessing/utils.py.

    Example:
        >>> decode_rle("2 1 4 2", 2, 3).astype(int).tolist()
        [[0, 1, 0], [1, 1, 0]]
    """
    if min(height, width) < 1 or height * width > _MOST_PIXELS:
        raise ValueError(f"an image must have 1 to {_MOST_PIXELS} pixels, got {height} x {width}.")
    words = code.split()
    strangers = [word for word in words if not _DIGITS.fullmatch(word)]
    if strangers:
        raise ValueError(f"a run-length code must be whole numbers, got {strangers[0][:20]!r}.")
    if len(words) % 2:
        raise ValueError(f"a run-length code must be pairs of start and length, got {len(words)} numbers.")
    numbers = list(map(int, words))  # which do not overflow
    starts, ends = numbers[::2], [start - 1 + length for start, length in zip(*[iter(numbers)] * 2, strict=True)]
    if numbers and not (min(starts) >= 1 and min(numbers[1::2]) >= 0 and max(ends) <= height * width):
        raise ValueError(
            f"runs must stay among the {height} x {width} pixels 1 to {height * width}, "
            f"got some from {min(starts)} up to {max(ends)}."
        )
    region = np.zeros(height * width, dtype=np.bool_)
    for start, end in zip(starts, ends, strict=True):
        region[start - 1 : end] = True
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
        ValueError: If the collection or a structure is unknown, a column is absent, a quality is none, an image is
            named by more than its file, or a code does not fit its image; the message names the line.

    References:
        Gaggion et al. (2024), Scientific Data 11:511; https://doi.org/10.13026/dx54-8351.
    """
    if collection not in IMAGE_ID:
        raise ValueError(f"collection must be {' or '.join(IMAGE_ID)}, got {collection!r}.")
    if not structures or not set(structures) <= set(STRUCTURES):
        raise ValueError(f"structures must be among {', '.join(STRUCTURES)}, got {', '.join(structures) or 'none'}.")
    identifier = IMAGE_ID[collection]
    needed = [identifier, _DICE, *structures, "Height", "Width"]
    read_table(Path(table), needed, usecols=needed.__contains__, nrows=0)
    wanted = None if image_ids is None else {str(image) for image in image_ids}
    written: list[Path] = []
    unusable = 0
    for part in read_blocks(table, needed, rows=_ROWS_AT_ONCE):
        rows = [{**row, _LINE: line} for line, row in zip(part.index, part.to_dict("records"), strict=True)]
        rows = [row for row in rows if wanted is None or row[identifier] in wanted]
        usable = [row for row in rows if None not in row.values() and _dice(row, table) > least_dice]
        unusable += len(rows) - len(usable)
        written += write_regions(
            {
                Path(folder, _file_name(row, identifier, table)): partial(
                    _region, row, identifier, tuple(structures), table
                )
                for row in usable
            }
        )
    if unusable:
        _LOG.info("%s: %d rows have no region, for their quality or a structure that they lack.", table, unusable)
    return written


def _dice(row: Mapping[Any, Any], table: str | Path) -> float:
    value = as_number(row[_DICE])
    if not 0 <= value <= 1:
        raise ValueError(f"{table} must hold {_DICE} from 0 to 1, got {row[_DICE]!r} in line {row[_LINE]}.")
    return value


def _file_name(row: Mapping[Any, Any], identifier: str, table: str | Path) -> str:
    name = str(row[identifier])
    if name in (".", "..") or re.search(r"[/\\\0]", name):
        raise ValueError(
            f"{table} must name images by their files, without folders, got {name!r} in line {row[_LINE]}."
        )
    return name


def _region(
    row: Mapping[Any, Any], identifier: str, structures: tuple[str, ...], table: str | Path
) -> NDArray[np.bool_]:
    try:
        height, width = (_size(row[name], name) for name in ("Height", "Width"))
        parts = [decode_rle(row[name], height, width) for name in structures]
    except ValueError as error:
        place = f"{table} line {row[_LINE]}"
        raise ValueError(f"the codes of {row[identifier]} must fit its size: {error} ({place})") from error
    region: NDArray[np.bool_] = np.any(parts, axis=0)
    return region


def _size(text: str, name: str) -> int:
    number = as_number(text)
    if not number.is_integer():
        raise ValueError(f"{name} must be a whole number, got {text!r}.")
    return int(number)
