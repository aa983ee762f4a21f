# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from monai.data import load_decathlon_datalist

from monai_shortcut.cohort import Cohort
from monai_shortcut.repair import balanced_table, sampling_weights, write_weighted_datalist
from monai_shortcut.types import Unmeasurable


def cohort(**changed) -> Cohort:
    scanner = ["A"] * 16 + ["B"] * 8 + ["A"] * 4 + ["B"] * 12
    frame = {
        "image_id": [f"i{row:02}" for row in range(40)],
        "patient_id": [f"p{row}" for row in range(40)],
        "label": ["benign"] * 24 + ["malignant"] * 16,
        "scanner": scanner,
        "sex": ["F", "M"] * 20,
        "image": [f"/images/i{row:02}.png" for row in range(40)],
    }
    return Cohort.from_table(pd.DataFrame(frame | changed), attributes=["scanner", "sex"])


def test_under_the_weights_label_and_attribute_are_independent_and_their_shares_stay(rng):
    label, code = rng.integers(3, size=400), rng.integers(-1, 3, size=400)
    code[label == 1] = np.where(rng.random((label == 1).sum()) < 0.6, 2, code[label == 1])
    weights, known = sampling_weights(label, code), code >= 0
    assert (weights[~known] == 1).all()
    table = np.zeros((3, 3))
    np.add.at(table, (label[known], code[known]), weights[known])
    plain = np.zeros((3, 3))
    np.add.at(plain, (label[known], code[known]), 1)
    np.testing.assert_allclose(table, np.outer(plain.sum(axis=1), plain.sum(axis=0)) / plain.sum())
    assert abs(plain - table).max() > 5


def test_a_table_of_equal_counts_is_the_largest_that_can_be_drawn():
    table = balanced_table(cohort(), "scanner")
    assert table == {"benign": {"A": 4, "B": 4}, "malignant": {"A": 4, "B": 4}}
    drawn = cohort().draw("scanner", table, seed=0)
    assert pd.crosstab(drawn.table["label"], drawn.table["scanner"]).to_numpy().tolist() == [[4, 4], [4, 4]]
    with pytest.raises(Unmeasurable, match="images of each level, got none of malignant at C"):
        balanced_table(cohort(scanner=["C"] * 20 + ["A"] * 20), "scanner")


def test_a_datalist_with_weights_is_one_of_monai(tmp_path):
    path = tmp_path / "datalist.json"
    write_weighted_datalist(cohort(), ["scanner"], path)
    items = load_decathlon_datalist(str(path), data_list_key="training")
    assert [item["image_id"] for item in items] == list(cohort().image_ids)
    assert [item["weight"] for item in items[:1] + items[-1:]] == [24 * 20 / 40 / 16, 16 * 20 / 40 / 12]
    write_weighted_datalist(cohort(), ["scanner", "sex"], path, section="validation")
    weights = [item["weight"] for item in json.loads(path.read_text())["validation"]]
    assert len(set(np.round(weights, 6))) == 4  # sexes are balanced already
    with pytest.raises(Unmeasurable, match="sex must have two levels to be balanced: "):
        write_weighted_datalist(cohort(sex=["F"] * 40), ["sex"], path)
