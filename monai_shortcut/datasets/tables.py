# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What readers of published collections share: checked tables, images found by name, findings as columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.storage.files import replacing
from monai_shortcut.storage.folders import owned
from monai_shortcut.storage.tables import named_columns, read_csv

_PATIENCE = 3600.0  # seconds to wait for another program that writes the same regions


def read_table(
    path: Path,
    needed: Sequence[str],
    *,
    dtype: type[str] | Mapping[str, type[str]] | None = None,
    usecols: Callable[[str], bool] | None = None,
    sep: str = ",",
    encoding: str | None = None,
    missing: Collection[str] = (),
    nrows: int | None = None,
    low_memory: bool = False,
) -> pd.DataFrame:
    """Read a CSV file as `monai_shortcut.storage.tables.read_csv` does, without columns that have no name.

    Args:
        path: the file, which may be compressed.
        needed: columns that must be there.
        dtype: str leaves all columns as text, a mapping those that it names.
        usecols: whether to read the column of a name.
        sep: what stands between cells.
        encoding: of the text; by default UTF-8, or UTF-16 where the file says so.
        missing: words that mean a missing value, beside the empty cell.
        nrows: number of rows to read.
        low_memory: has no effect; all cells of a column are always read alike.

    Raises:
        ValueError: If a column is absent or repeated, or as `read_csv`; the message names file and line.
    """
    text = None if dtype is str else tuple(dtype or ()) if isinstance(dtype, Mapping) else ()
    frame = read_csv(path, text=text, only=usecols, separator=sep, encoding=encoding, missing=missing, rows=nrows)
    return named_columns(frame, path, needed).reset_index(drop=True)


def not_found(folder: Path, must_hold: str) -> FileNotFoundError:
    """The error for a folder that is not laid out as published, with what it holds."""
    names = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else ["no such folder"]
    return FileNotFoundError(f"the folder must hold {must_hold}, got {folder} with: {', '.join(names) or 'nothing'}.")


def first_file(folder: Path, names: Iterable[str], must_hold: str) -> Path:
    """The first of several files that is there.

    Raises:
        FileNotFoundError: If none is.
    """
    present = [folder / name for name in names if (folder / name).is_file()]
    if not present:
        raise not_found(folder, must_hold)
    return present[0]


def files_by_name(folders: Iterable[Path]) -> dict[str, str]:
    """File name -> path of all files right inside the folders; of files with one name the first is taken."""
    found: dict[str, str] = {}
    for folder in folders:
        if folder.is_dir():
            with os.scandir(folder) as entries:
                found = {**{entry.name: entry.path for entry in entries if entry.is_file()}, **found}
    return found


def finding_cohort(frame: pd.DataFrame, label: str, findings: Sequence[str], **columns: Any) -> Cohort:
    """A cohort of images with several findings, one of them the label and the others attributes.

    Args:
        frame: (N, columns) with a column of "absent" and "present" for each finding.
        label: the finding that is the label.
        findings: all findings.
        **columns: as for `Cohort.from_table`.

    Raises:
        ValueError: If the label is none of the findings, or as for `Cohort.from_table`.
    """
    if label not in findings:
        raise ValueError(f"label must be one of {', '.join(findings)}, got {label!r}.")
    others = tuple(name for name in findings if name != label)
    attributes = (*others, *columns.pop("attributes"))
    return Cohort.from_table(frame, findings=(label, *others), attributes=attributes, **columns)


def roi_paths(images: Iterable[str], masks: str | Path) -> NDArray[np.object_]:
    """Paths, str or None where there is none, of the images' regions in a folder of files named like the images.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not Path(masks).is_dir():
        raise FileNotFoundError(f"regions must be in a folder, in files named like the images, got {masks}.")
    present = files_by_name([Path(masks)])
    return np.array([present.get(image) for image in images], dtype=object)


def without_regionless(cohort: Cohort, reason: str) -> Cohort:
    """The cohort without the images that have no region, excluded with this reason; unchanged without regions."""
    if "roi" not in cohort.table:
        return cohort
    return cohort.exclude(dict.fromkeys(cohort.table.index[cohort.table["roi"].isna()], reason))


def grey_levels(path: Path) -> NDArray[np.uint8] | None:
    """The (H, W) picture in grey, 0 to 255; None if it is missing or cannot be read."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for some broken PNG files
        return None


def write_regions(makers: Mapping[Path, Callable[[], NDArray[np.bool_] | None]]) -> list[Path]:
    """Write regions that are not there yet as one-bit PNG files, each in one step.

    A file is first written beside its place and then moved there, so that what is there is complete even if the
    program was stopped. Of several programs one writes to a folder, and the others wait.

    Args:
        makers: path of the file -> function that gives the (H, W) bool region, or None if there is none.

    Returns:
        The paths that hold a region, in order.

    Raises:
        FolderInUseError: If another program writes to a folder for more than an hour.
        PermissionError: If a folder cannot be written to.
    """
    folders: set[Path] = set()
    with ExitStack() as owners:
        for path, make in makers.items():
            region = None if path.exists() else make()
            if region is not None:
                if path.parent not in folders:
                    owners.enter_context(owned(path.parent, wait=_PATIENCE))
                    folders.add(path.parent)
                with replacing(path) as part:
                    Image.fromarray(region).save(part, format="PNG")
    return [path for path in makers if path.exists()]
