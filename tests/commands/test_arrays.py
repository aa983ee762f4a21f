# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.commands.arrays import Rows, by_class, read_head, read_rows

POINTS = np.arange(12.0).reshape(4, 3)
NAMES = ("007", "b", "c", "d")


def written(folder: Path, suffix: str, named: bool) -> Path:
    path = folder / f"points{suffix}"
    if suffix == ".npy":
        np.save(path, POINTS)
    elif suffix == ".npz":
        np.savez(
            path, **{"embeddings": POINTS, "other": np.ones(2)}, **({"image_id": np.array(NAMES)} if named else {})
        )
    else:
        frame = pd.DataFrame(POINTS, columns=["x", "y", "z"])
        frame = frame.assign(image_id=NAMES) if named else frame
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("named", [False, True])
def test_numbers_and_names_are_read_from_every_format(suffix, named, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    rows = read_rows(written(tmp_path, suffix, named), "embeddings")
    np.testing.assert_array_equal(rows.values, POINTS)
    assert rows.image_ids == (NAMES if named and suffix != ".npy" else None)
    assert rows.columns == (("x", "y", "z") if suffix in (".csv", ".parquet") else None)


def test_single_precision_stays_and_whole_numbers_become_double(tmp_path):
    for given, read in ((np.float32, np.float32), (np.int32, np.float64), (np.float16, np.float64)):
        np.save(tmp_path / "points.npy", POINTS.astype(given))
        assert read_rows(tmp_path / "points.npy", "embeddings").values.dtype == read
    np.save(tmp_path / "points.npy", POINTS[:, 0])
    np.testing.assert_array_equal(read_rows(tmp_path / "points.npy", "embeddings").values, POINTS[:, :1])


def test_a_head_is_read(tmp_path):
    np.savez(tmp_path / "head.npz", weight=np.eye(2, 3, dtype=np.float32), bias=np.array([1, 2]))
    head = read_head(tmp_path / "head.npz")
    np.testing.assert_array_equal(head.weight.numpy(), np.eye(2, 3))
    np.testing.assert_array_equal(head.bias.numpy(), [1.0, 2.0])


def test_columns_are_put_in_the_order_of_the_classes():
    values = np.array([[0.2, 0.5, 0.3]])
    assert by_class(Rows(values, None, ("c", "a", "b")), ("a", "b", "c")).tolist() == [[0.5, 0.3, 0.2]]
    assert by_class(Rows(values), ("a", "b", "c")).tolist() == values.tolist()
    assert by_class(Rows(values[:, :1], None, ("malignant",)), ("benign", "malignant")).tolist() == [[0.8, 0.2]]
    with pytest.raises(ValueError, match=r"a column for each class \(a, b, d\), got c, a, b"):
        by_class(Rows(values, None, ("c", "a", "b")), ("a", "b", "d"))
    with pytest.raises(ValueError, match=r"a column for each class \(a, b\), got 3 columns"):
        by_class(Rows(values), ("a", "b"))


def test_what_is_no_array_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"embeddings must be a file of .npz, .npy, .parquet, .csv, got points.mat"):
        read_rows("points.mat", "embeddings")
    path = tmp_path / "a.npz"
    np.savez(path, one=POINTS, two=POINTS)
    with pytest.raises(ValueError, match="must hold an array 'embeddings', got one, two"):
        read_rows(path, "embeddings")
    with pytest.raises(ValueError, match=r"the head must be an .npz with weight and bias, got .* with one, two"):
        read_head(path)
    with pytest.raises(ValueError, match=r"the head must be an .npz with weight and bias, got head.pt with none"):
        read_head("head.pt")
    np.savez(path, embeddings=POINTS, image_id=np.array(["a"]))
    with pytest.raises(ValueError, match=r"image_id of .* must be a name for each of 4 rows, got shape \(1,\)"):
        read_rows(path, "embeddings")
    np.savez(path, embeddings=POINTS[None])
    with pytest.raises(ValueError, match=r"must be numbers of shape \(N, K\), got float64 of \(1, 4, 3\)"):
        read_rows(path, "embeddings")
    np.savez(path, embeddings=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="must be an array file of numpy without pickled objects"):
        read_rows(path, "embeddings")
    (tmp_path / "a.csv").write_text("image_id,x,word\na,1,yes\nb,2,no\n")
    with pytest.raises(ValueError, match="must hold columns of numbers and image_id, got word"):
        read_rows(tmp_path / "a.csv", "embeddings")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def absent(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(ImportError, match=r"needs pyarrow: pip install pyarrow; or give .npz, .npy or .csv"):
        read_rows(tmp_path / "points.parquet", "embeddings")
