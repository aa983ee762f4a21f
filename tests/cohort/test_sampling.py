# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from monai_shortcut.cohort.sampling import draw_table


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


# --- patients


def random_case(seed: int, *, one_cell: bool) -> tuple[tuple[list, list, list], dict]:
    """Nine patients of one to four images, in one cell each or in several, and a random table."""
    rng, rows = np.random.default_rng(seed), []
    for patient in range(9):
        label, level = str(rng.choice(["head", "femur"])), str(rng.choice(["A", "B"]))
        for _ in range(rng.integers(1, 5)):
            rows.append((label if one_cell else str(rng.choice(["head", "femur"])), level, f"p{patient}"))
    labels, levels, patients = map(list, zip(*rows, strict=True))
    table: dict[str, dict[str, int]] = {}
    for (label, level), count in sorted(Counter(zip(labels, levels, strict=True)).items()):
        table.setdefault(label, {})[level] = int(rng.integers(count + 1))
    table[labels[0]][levels[0]] = max(1, table[labels[0]][levels[0]])
    return (labels, levels, patients), table


def cells_of(table) -> dict[tuple[str, str], int]:
    return {(label, level): count for label, row in table.items() for level, count in row.items() if count}


def split_patients(rows, table, chosen) -> int:
    """Patients with drawn and undrawn images in cells that the table asks for."""
    wanted = cells_of(table)
    there = Counter(patient for *cell, patient in zip(*rows, strict=True) if tuple(cell) in wanted)
    drawn = Counter(rows[2][i] for i in chosen)
    return sum(count < there[patient] for patient, count in drawn.items())


def fewest_split(rows, table) -> int:
    """By trying whatever each patient could give."""
    wanted = cells_of(table)
    give = {patient: Counter() for patient in rows[2]}
    for *cell, patient in zip(*rows, strict=True):
        if tuple(cell) in wanted:
            give[patient][tuple(cell)] += 1
    fewest = {(0,) * len(wanted): 0}
    for own in give.values():
        step = {}
        for (filled, cost), part in product(fewest.items(), product(*(range(own[cell] + 1) for cell in wanted))):
            total = tuple(a + b for a, b in zip(filled, part, strict=True))
            split = 0 < sum(part) < sum(own.values())
            if all(a <= b for a, b in zip(total, wanted.values(), strict=True)):
                step[total] = min(step.get(total, 99), cost + split)
        fewest = step
    return fewest[tuple(wanted.values())]


def test_patients_of_one_cell_are_split_only_where_counts_do_not_allow_otherwise():
    found = []
    for seed in range(120):
        rows, table = random_case(seed, one_cell=True)
        chosen = draw_table(*rows, table, np.random.default_rng(seed))
        assert counted(rows, chosen) == cells_of(table)
        found.append((split_patients(rows, table, chosen), fewest_split(rows, table)))
    assert all(split == fewest for split, fewest in found)
    assert {fewest for _, fewest in found} >= {0, 1, 2}  # tables that allow it, and tables that do not


def naive_draw(rows, table, rng) -> list[int]:
    """Patients in random order, each giving what still fits."""
    room, chosen = cells_of(table), []
    for patient in rng.permutation(sorted(set(rows[2]))):
        for i, (*cell, owner) in enumerate(zip(*rows, strict=True)):
            if owner == patient and room.get(tuple(cell), 0) > 0:
                room[tuple(cell)] -= 1
                chosen.append(i)
    return chosen


def test_fewer_patients_of_several_cells_are_split_than_by_taking_what_fits():
    split, fewest, naive = [], [], []
    for seed in range(120):
        rows, table = random_case(seed, one_cell=False)
        chosen, taken = (
            draw(*given, np.random.default_rng(seed))
            for draw, given in ((draw_table, (*rows, table)), (naive_draw, (rows, table)))
        )
        assert counted(rows, chosen) == counted(rows, taken) == cells_of(table)
        split.append(split_patients(rows, table, chosen))
        naive.append(split_patients(rows, table, taken))
        fewest.append(fewest_split(rows, table))
    assert (np.array(split) >= fewest).all()
    assert sum(split) < 0.7 * sum(naive)
    assert sum(split) > sum(fewest)  # a heuristic, as documented


@pytest.mark.parametrize(("count", "split"), [(1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 1), (7, 0)])
def test_two_twos_and_a_three_are_split_only_for_one_and_six(count, split):
    rows = ["head"] * 7, ["A"] * 7, list("aaabbcc")
    table = {"head": {"A": count}}
    for seed in range(20):  # in every order of the patients
        chosen = draw_table(*rows, table, np.random.default_rng(seed))
        assert len(chosen) == count
        assert split_patients(rows, table, chosen) == split


def test_images_that_the_table_does_not_ask_for_split_nobody():
    rows = ["head", "femur", "head", "head"] * 5, ["A", "A", "B", None] * 5, np.repeat(list("abcde"), 4).tolist()
    for table in ({"head": {"A": 3}}, {"head": {"A": 3, "B": 0}, "femur": {"A": 0}}):
        chosen = draw_table(*rows, table, np.random.default_rng(0))
        assert counted(rows, chosen) == {("head", "A"): 3}
        assert split_patients(rows, table, chosen) == 0


def test_images_of_a_cell_with_count_0_keep_nobody_from_being_whole():
    rows = ["head"] * 10, ["A"] * 7 + ["B"] * 3, list("aaabbccabc")
    table = {"head": {"A": 4, "B": 0}}
    for seed in range(20):
        assert {rows[2][i] for i in draw_table(*rows, table, np.random.default_rng(seed))} == {"b", "c"}


def test_among_patients_who_must_be_split_who_fills_most_comes_first():
    images = {"x": "AAABBB", "y": "AAAAADD", "z": "CCCCDD"}  # y has most, but fills least
    levels, patients = zip(*((level, name) for name, own in images.items() for level in own), strict=True)
    table = {"head": {"A": 2, "B": 2, "C": 3, "D": 1}}
    for seed in range(20):
        chosen = draw_table(["head"] * 19, levels, patients, table, np.random.default_rng(seed))
        assert Counter(patients[i] for i in chosen) == {"x": 4, "z": 4}


def test_a_split_patient_gives_the_first_images(rng):
    rows = ["head"] * 5, ["A"] * 5, ["p"] * 5
    assert draw_table(*rows, {"head": {"A": 2}}, rng).tolist() == [0, 1]


def test_patients_of_equal_counts_are_drawn_equally_often():
    rows = ["head"] * 30, ["A", "B"] * 15, np.repeat([f"p{i}" for i in range(15)], 2).tolist()
    drawn = np.zeros(30)
    for seed in range(1500):
        drawn[draw_table(*rows, {"head": {"A": 5, "B": 5}}, np.random.default_rng(seed))] += 1
    assert np.abs(drawn / 1500 - 1 / 3).max() < 0.05  # four standard errors


def test_the_draw_does_not_depend_on_the_order_of_the_rows(rows):
    order = np.random.default_rng(7).permutation(600)
    shuffled = tuple([column[i] for i in order] for column in rows)
    alone = (rows[0], rows[1], [f"p{i}" for i in range(600)])
    for whole, mixed in ((alone, tuple([column[i] for i in order] for column in alone)), (rows, shuffled)):
        first, second = (
            draw_table(*case, {"head": {"A": 30}, "femur": {"B": 30}}, np.random.default_rng(3))
            for case in (whole, mixed)
        )
        assert {whole[2][i] for i in first} == {mixed[2][i] for i in second}


def test_all_images_may_be_asked_for(rows, rng):
    table = {label: {level: counted(rows, range(600))[label, level] for level in "ABC"} for label in ("head", "femur")}
    chosen = draw_table(*rows, table, rng)
    assert chosen.tolist() == [i for i, level in enumerate(rows[1]) if level is not None]


# --- seeds and errors


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
