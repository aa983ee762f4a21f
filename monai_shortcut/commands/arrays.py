# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of images in files of arrays and tables: embeddings, probabilities and heads."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monai_shortcut.heads.linear import LinearHead
from monai_shortcut.storage.tables import named_columns, read_csv

FORMATS = (".npz", ".npy", ".parquet", ".csv")
IDS = "image_id"


class Rows(NamedTuple):
    """Numbers of images.

    Attributes:
        values: (M, K) float32 or float64.
        image_ids: M names; None if the file holds none.
        columns: K names; None if the file holds none.
    """

    values: NDArray[Any]
    image_ids: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None


def read_rows(path: str | Path, what: str) -> Rows:
    """Read the numbers of images.

    Args:
        path: .npy, or .npz with an array of this name or a single one, and names in an array "image_id"; or a table,
            .csv or .parquet, with columns of numbers and "image_id".
        what: what they are, "embeddings" or "probabilities".

    Raises:
        ValueError: If the file is of another kind, or holds no numbers for each image.
        ImportError: If the file is Parquet and pyarrow is not installed.
    """
    place = Path(path)
    if place.suffix.lower() not in FORMATS:
        raise ValueError(f"{what} must be a file of {', '.join(FORMATS)}, got {place}.")
    if place.suffix.lower() in (".csv", ".parquet"):
        return _of_table(place, what)
    arrays = _arrays(place)
    ids = arrays.pop(IDS, None)
    if what not in arrays and len(arrays) != 1:
        raise ValueError(f"{place} must hold an array {what!r}, got {', '.join(arrays) or 'none'}.")
    values = _numbers(arrays.get(what, next(iter(arrays.values()))), place, what)
    return Rows(values, _ids(ids, len(values), place))


def read_head(path: str | Path) -> LinearHead:
    """Read a head: .npz with ``weight`` (C, D), or (1, D) for a single logit, and ``bias`` (C,) or (1,).

    Raises:
        ValueError: If the file holds something else.
    """
    arrays = _arrays(Path(path)) if Path(path).suffix.lower() == ".npz" else {}
    if not {"weight", "bias"} <= set(arrays):
        raise ValueError(
            f"the head must be an .npz with weight and bias, got {path} with {', '.join(arrays) or 'none'}."
        )
    return linear(_numbers(arrays["weight"], path, "weight"), arrays["bias"])


def linear(weight: NDArray[Any], bias: NDArray[Any]) -> LinearHead:
    """A head of arrays, in float64."""
    rows, offset = (torch.as_tensor(np.asarray(part, dtype=np.float64)) for part in (weight, bias))
    return LinearHead(rows, offset)


def by_class(rows: Rows, label_names: Sequence[str]) -> NDArray[np.float64]:
    """(M, C) probabilities in the order of the classes.

    Args:
        rows: a column for each class, named by it if columns have names; or one, of the second of two classes.
        label_names: the classes.

    Raises:
        ValueError: If the columns are not those of the classes.
    """
    values = rows.values.astype(np.float64)
    if values.shape[1] == 1 and len(label_names) == 2:
        return np.hstack([1 - values, values])
    return by_name(rows, label_names, "class", "--label-names")


def by_name(rows: Rows, names: Sequence[str], what: str, option: str) -> NDArray[np.float64]:
    """(M, K) probabilities, or predictions, in the order of K names.

    Args:
        rows: a column for each, named by it if columns have names and there are several.
        names: what the columns are of.
        what: "class", "finding" or "outcome".
        option: argument that says the names.

    Raises:
        ValueError: If the columns are others.
    """
    values, columns = rows.values.astype(np.float64), rows.columns
    if columns and len(names) > 1 and set(columns) == set(names):
        return values[:, [columns.index(name) for name in names]]
    if values.shape[1] != len(names) or (columns and len(names) > 1):
        found = ", ".join(columns) if columns else f"{values.shape[1]} columns"
        raise ValueError(
            f"probabilities must have a column for each {what} ({', '.join(names)}), got {found}: name the columns so, "
            f"or say with {option} what they are."
        )
    return values


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} must be an array file of numpy without pickled objects, got {error}.") from error


def _of_table(path: Path, what: str) -> Rows:
    is_csv = path.suffix.lower() == ".csv"
    frame = named_columns(read_csv(path, text=[IDS]), path) if is_csv else _parquet(path)
    ids = frame.pop(IDS) if IDS in frame else None
    if frame.columns.empty or not all(map(pd.api.types.is_numeric_dtype, frame.dtypes)):
        wrong = [name for name, kind in frame.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
        raise ValueError(f"{path} must hold columns of numbers and {IDS}, got {', '.join(map(str, wrong)) or 'none'}.")
    names = None if ids is None else _ids(ids.to_numpy(dtype=object), len(frame), path)
    return Rows(_numbers(frame.to_numpy(), path, what), names, tuple(map(str, frame.columns)))


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow: pip install pyarrow; or give .npz, .npy or .csv.") from error
    return frame.reset_index() if frame.index.name == IDS else frame


def _numbers(values: NDArray[Any], path: str | Path, what: str) -> NDArray[Any]:
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise ValueError(f"{what} of {path} must be numbers of shape (N, K), got {values.dtype} of {values.shape}.")
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def _ids(names: NDArray[Any] | None, count: int, path: Path) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.shape != (count,):
        raise ValueError(f"{IDS} of {path} must be a name for each of {count} rows, got shape {names.shape}.")
    return tuple(str(name) for name in names.tolist())
