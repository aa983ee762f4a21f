# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from monai_shortcut.cohort import Cohort
from monai_shortcut.sampling import draw_table


@pytest.fixture
def rows(rng):
    """Labels, levels and patients of 600 images, four of each patient; some levels are missing."""
    labels = rng.choice(["head", "femur"], 600).tolist()
    levels = [None if rng.random() < 0.05 else str(rng.choice(["A", "B", "C"])) for _ in range(600)]
    return labels, levels, [f"p{i // 4}" for i in range(600)]


def counted(rows, chosen) -> Counter:
    return Counter((rows[0][i], rows[1][i]) for i in chosen)


@pytest.mark.parametrize("seed", range(5))
def test_every_cell_has_as_many_images_as_the_table_asks_for(rows, seed):
    rng = np.random.default_rng(seed)
    there = Counter(zip(rows[0], rows[1], strict=True))
    table = {
        label: {level: int(rng.integers(there[label, level] + 1)) for level in "AB"} for label in ("head", "femur")
    }
    chosen = draw_table(*rows, table, rng)
    wanted = {(label, level): count for label, row in table.items() for level, count in row.items() if count}
    assert counted(rows, chosen) == wanted  # exactly, and no level C, no missing level
    assert len(set(chosen.tolist())) == len(chosen)
    assert (np.diff(chosen) > 0).all()


def test_a_balanced_table_makes_label_and_level_independent_and_a_biased_one_ties_them(rows):
    for table, ratio in (
        ({"head": {"A": 40, "B": 40}, "femur": {"A": 40, "B": 40}}, 1.0),
        ({"head": {"A": 60, "B": 10}, "femur": {"A": 15, "B": 50}}, 20.0),
    ):
        found = counted(rows, draw_table(*rows, table, np.random.default_rng(1)))
        cells = np.array([[found[label, level] for level in "AB"] for label in ("head", "femur")])
        assert cells[0, 0] * cells[1, 1] / (cells[0, 1] * cells[1, 0]) == ratio
        assert (chi2_contingency(cells, correction=False).statistic == 0) == (ratio == 1.0)


def test_images_of_a_patient_stay_together_until_a_cell_is_full():
    labels, levels = ["head"] * 40, ["A"] * 40
    patients = [f"p{i // 4}" for i in range(40)]
    for count, split in ((20, 0), (22, 1)):
        chosen = draw_table(labels, levels, patients, {"head": {"A": count}}, np.random.default_rng(0))
        sizes = Counter(patients[i] for i in chosen)
        assert sum(size < 4 for size in sizes.values()) == split


def test_equal_seeds_draw_equally_and_others_differ(rows):
    table = {"head": {"A": 30}, "femur": {"B": 30}}
    first, again, other = (draw_table(*rows, table, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"spine": {"A": 1}}, r"table must name classes among \['femur', 'head'\], got 'spine'\."),
        ({"head": {"D": 1}}, r"table must name levels among \['A', 'B', 'C'\], got 'D'\."),
        ({"head": {"A": -1}}, r"table must hold integers of at least 0, got -1 of head / A\."),
        ({"head": {"A": 1.5}}, r"table must hold integers of at least 0, got 1\.5 of head / A\."),
        ({"head": {"A": True}}, r"table must hold integers of at least 0, got True of head / A\."),
        ({"head": {"A": 599}}, r"at most the images there are, got 599 of head / A where there are \d+\."),
        ({"head": {"A": 0}}, r"table must ask for at least one image, got none\."),
        ({}, r"table must ask for at least one image, got none\."),
    ],
)
def test_impossible_tables_are_refused(rows, table, message):
    with pytest.raises(ValueError, match=message):
        draw_table(*rows, table, np.random.default_rng(0))


def test_a_cohort_is_drawn_to_a_table(rows):
    labels, levels, patients = rows
    frame = pd.DataFrame({"image_id": range(600), "patient_id": patients, "label": labels, "scanner": levels})
    cohort = Cohort.from_table(frame.assign(age=np.arange(600.0)))
    drawn = cohort.draw("scanner", {"head": {"A": 20, "B": 5}, "femur": {"B": 9}}, seed=3)
    assert Counter(zip(drawn.table["label"], drawn.values("scanner"), strict=True)) == {
        ("head", "A"): 20,
        ("head", "B"): 5,
        ("femur", "B"): 9,
    }
    assert drawn.image_ids == cohort.draw("scanner", {"head": {"A": 20, "B": 5}, "femur": {"B": 9}}, seed=3).image_ids
    assert drawn.attributes == cohort.attributes
    with pytest.raises(ValueError, match=r"attribute must be categorical to be drawn by its levels, got 'age'\."):
        cohort.draw("age", {"head": {"A": 1}}, seed=0)


def test_a_cohort_gains_an_attribute():
    frame = pd.DataFrame({"image_id": list("abc"), "patient_id": list("xyz"), "label": [0, 1, 0]})
    cohort = Cohort.from_table(frame, attributes=())
    wider = cohort.with_attribute("tag", ["present", None, "absent"])
    assert wider.values("tag").tolist() == ["present", None, "absent"]
    assert (wider.attributes, wider.kind("tag"), cohort.attributes) == (("tag",), "categorical", ())
    assert wider.with_attribute("dose", [1, 2, 3], "continuous").kind("dose") == "continuous"
    assert wider.select(["c", "a"]).values("tag").tolist() == ["absent", "present"]
    for name in ("tag", "label", "fold"):
        with pytest.raises(ValueError, match=rf"name must be that of no other column, got '{name}'\."):
            wider.with_attribute(name, [1, 2, 3])
    with pytest.raises(ValueError, match=r"values must be one for each of the 3 images, got 2\."):
        wider.with_attribute("dose", [1, 2])
    with pytest.raises(ValueError, match=r"kind must be categorical or continuous, got 'ordinal'\."):
        wider.with_attribute("dose", [1, 2, 3], "ordinal")
