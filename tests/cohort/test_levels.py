# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from monai_shortcut.cohort.levels import association, attribute_levels


@pytest.mark.parametrize("bins", [2, 3, 4, 5])
def test_quantile_bins_hold_equal_shares_of_distinct_values(rng, bins):
    values = rng.permutation(np.arange(60.0))
    levels = attribute_levels(values, np.arange(60), bins=bins, minimum_patients=1)
    assert np.bincount(levels.codes).tolist() == [60 // bins] * bins
    assert len(levels.names) == bins == len(levels.edges) + 1
    assert levels.problem == ""
    np.testing.assert_array_equal(levels.codes, values * bins // 60)  # larger values have larger codes


def test_bins_are_closed_above_and_named_by_their_edges():
    levels = attribute_levels([1.0, 2.0, 2.0, 3.0, 5.0, 6.0, np.nan], list("abcdefg"), bins=3, minimum_patients=1)
    assert levels.edges == (2.0, 3.0)
    assert levels.names == ("<= 2", "2 to 3", "> 3")
    assert levels.codes.tolist() == [0, 0, 0, 1, 2, 2, -1]  # 2 is in the lower of its bins, 3 in the middle one
    assert (levels.missing, levels.left_out) == (1, {})


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([0.0] * 80 + [1.0] * 10 + [2.0] * 10, (0.0,)),  # heavily tied below
        ([0.0] * 10 + [1.0] * 10 + [2.0] * 80, (1.0,)),  # above: the highest value is no cut point
        ([0.0] * 10 + [1.0] * 80 + [2.0] * 10, (1.0,)),
        ([0.0] * 50 + [1.0] * 50, (0.0,)),
    ],
)
def test_heavy_ties_give_fewer_bins_and_none_is_empty(values, edges):
    levels = attribute_levels(values, np.arange(100), bins=4, minimum_patients=1)
    assert levels.edges == edges
    assert levels.names == (f"<= {edges[0]:g}", f"> {edges[0]:g}")
    np.testing.assert_array_equal(levels.codes, np.array(values) > edges[0])


def test_edges_are_written_with_as_many_digits_as_it_takes():
    """Study dates: with four digits each would read 2.014e+07, and the levels could not be told apart."""
    values = np.repeat([20140101.0, 20140102.0, 20140103.0, 20140104.0], [10, 3, 10, 10])
    levels = attribute_levels(values, np.arange(33), bins=11, minimum_patients=5)
    assert levels.names == ("<= 20140101", "20140102 to 20140103", "> 20140103")
    assert levels.left_out == {"20140101 to 20140102": 3}
    assert levels.codes.tolist() == [0] * 10 + [-1] * 3 + [1] * 10 + [2] * 10
    assert attribute_levels([0.123456, 7.0], ["a", "b"], bins=2, minimum_patients=1).names == ("<= 0.1235", "> 0.1235")


def test_categories_are_sorted_and_missing_ones_counted():
    levels = attribute_levels(["b", None, "a", "b", None, "c"], list("uvwxyz"), minimum_patients=1)
    assert levels.names == ("a", "b", "c")
    assert levels.codes.tolist() == [1, -1, 0, 1, -1, 2]
    assert (levels.missing, levels.edges, levels.problem) == (2, (), "")


@pytest.mark.parametrize("patients_of_b", [1, 2])
def test_a_category_of_one_patient_is_left_out_and_counted_however_many_images_it_has(patients_of_b):
    values = ["a"] * 6 + ["b"] * 4 + ["c"] * 6
    patients = [*range(6), *(100 + index % patients_of_b for index in range(4)), *range(10, 16)]
    levels = attribute_levels(values, patients, minimum_patients=2)
    if patients_of_b == 1:
        assert levels.names == ("a", "c")
        assert levels.codes.tolist() == [0] * 6 + [-1] * 4 + [1] * 6
        assert levels.left_out == {"b": 4}
    else:
        assert levels.codes.tolist() == [0] * 6 + [1] * 4 + [2] * 6
        assert levels.left_out == {}
    assert (levels.missing, levels.problem) == (0, "")


def test_every_image_is_counted_once(rng):
    values = rng.choice(np.array(["a", "b", "c", "d", None], dtype=object), p=[0.4, 0.4, 0.02, 0.03, 0.15], size=300)
    levels = attribute_levels(values, rng.integers(100, size=300), minimum_patients=12)
    assert set(levels.left_out) == {"c", "d"}
    assert (levels.codes >= 0).sum() + levels.missing + sum(levels.left_out.values()) == 300
    assert all(
        values[levels.codes == code].tolist() == [n] * (levels.codes == code).sum() for code, n in enumerate("ab")
    )


def test_fewer_than_two_levels_with_enough_patients_is_a_problem():
    levels = attribute_levels(["a"] * 20 + ["b"] * 3, np.arange(23), minimum_patients=10)
    assert levels.problem == "fewer than two levels with at least 10 patients"
    assert (levels.names, levels.left_out) == (("a",), {"b": 3})


def test_too_many_categories_are_refused_and_twenty_are_not():
    levels = attribute_levels([f"s{index}" for index in range(600)], np.arange(600), minimum_patients=1)
    assert levels.problem.startswith("600 different categories")
    assert "more than the 20 that are analysed" in levels.problem
    assert levels.names == ()
    assert (levels.codes == -1).all()
    assert attribute_levels([f"s{index}" for index in range(20)], np.arange(20), minimum_patients=1).problem == ""


@pytest.mark.parametrize(
    ("values", "name", "missing"), [(["x", "x", None], "x", 1), ([2.5, np.nan, np.nan], "2.5", 2), ([7.0] * 3, "7", 0)]
)
def test_a_constant_is_a_problem(values, name, missing):
    levels = attribute_levels(values, [1, 2, 3], minimum_patients=1)
    assert levels.problem == f"every image has the same value ({name})"
    assert (levels.names, levels.missing, levels.left_out) == ((name,), missing, {})


@pytest.mark.parametrize("values", [[None, None], [np.nan, np.nan]])
def test_nothing_but_missing_values_is_a_problem(values):
    levels = attribute_levels(values, ["a", "b"])
    assert (levels.problem, levels.missing, levels.names) == ("all values are missing", 2, ())
    assert levels.codes.tolist() == [-1, -1]


def test_values_and_patients_must_match():
    with pytest.raises(ValueError, match=r"values must have shape \(2,\) to match patients, got \(3,\)"):
        attribute_levels([1.0, 2.0, 3.0], ["a", "b"])


def test_given_edges_replace_quantiles(rng):
    values = np.array([1.0, 2.0, 2.5, 3.0, 7.0, np.nan])
    levels = attribute_levels(values, np.arange(6), minimum_patients=1, edges=[2, 5])
    assert levels.codes.tolist() == [0, 0, 1, 1, 2, -1]  # closed above
    assert (levels.names, levels.edges) == (("<= 2", "2 to 5", "> 5"), (2.0, 5.0))
    # A cut point that no value lies beyond, or before, separates nothing.
    assert attribute_levels(values, np.arange(6), minimum_patients=1, edges=[0, 2.2, 9]).codes.tolist() == [
        *[0, 0, 1, 1, 1, -1]
    ]
    assert "same value (within 1 to 7)" in attribute_levels(values, np.arange(6), edges=[9]).problem


@pytest.mark.parametrize(
    ("values", "edges", "message"),
    [
        (["a", "b"], [1], r"edges must be of a continuous attribute, got \[1\.0\] for one that is categorical\."),
        ([1.0, 2.0], [2, 1], r"edges must be finite and ascend, got \[2\.0, 1\.0\]\."),
        ([1.0, 2.0], [np.nan], r"edges must be finite and ascend, got \[nan\]\."),
    ],
)
def test_impossible_edges_are_refused(values, edges, message):
    with pytest.raises(ValueError, match=message):
        attribute_levels(values, ["x", "y"], edges=edges)


def test_categories_that_are_numbers_sort_as_numbers_and_others_as_text():
    levels = attribute_levels(["10", "9", None, "2.5", "10"], list("abcde"), minimum_patients=1)
    assert levels.names == ("2.5", "9", "10")
    assert levels.codes.tolist() == [2, 1, -1, 0, 2]
    assert attribute_levels([10, 9, 2], list("abc"), minimum_patients=1).names == ("2", "9", "10")
    for other in ("x", "nan", "inf"):
        assert attribute_levels(["9", other, "10"], list("abc"), minimum_patients=1).names == ("10", "9", other)


def test_ordinal_levels_are_coded_in_their_order(rng):
    order = ["none", "mild", "moderate", "severe", "fatal"]
    values = rng.choice(np.array([*order[:4], None], dtype=object), size=200)
    levels = attribute_levels(values, np.arange(200), minimum_patients=1, kind="ordinal", order=order)
    assert levels.names == tuple(order[:4])  # nobody died
    assert levels.codes.tolist() == [-1 if value is None else order.index(value) for value in values]
    assert (levels.kind, levels.ordered, levels.problem) == ("ordinal", True, "")
    assert attribute_levels(values, np.arange(200), minimum_patients=1).names == ("mild", "moderate", "none", "severe")


def test_rare_ordinal_levels_leave_the_order_of_the_others():
    values = ["low"] * 3 + ["middle"] + ["high"] * 3
    levels = attribute_levels(values, np.arange(7), minimum_patients=2, kind="ordinal", order=["low", "middle", "high"])
    assert levels.names == ("low", "high")
    assert levels.codes.tolist() == [0, 0, 0, -1, 1, 1, 1]
    assert levels.left_out == {"middle": 1}


@pytest.mark.parametrize("values", [[10.0, 9.0, np.nan, 2.5], ["10", "9", None, "2.5"], [10, 9, None, 2.5]])
def test_a_given_kind_decides_whatever_the_values_look_like(values):
    read = {
        kind: attribute_levels(values, list("abcd"), minimum_patients=1, bins=2, kind=kind)
        for kind in ("ordinal", "categorical", "continuous")
    }
    assert read["ordinal"].names == read["categorical"].names == ("2.5", "9", "10")
    assert read["continuous"].names == ("<= 9", "> 9")
    assert read["ordinal"].codes.tolist() == [2, 1, -1, 0]
    assert read["continuous"].codes.tolist() == [1, 0, -1, 0]
    assert {kind: levels.ordered for kind, levels in read.items()} == {
        "ordinal": True,
        "categorical": False,
        "continuous": True,
    }
    assert {kind: levels.kind for kind, levels in read.items()} == {kind: kind for kind in read}


def test_without_a_kind_floats_are_continuous_and_all_else_is_categorical():
    kinds = {np.dtype(t).kind: attribute_levels(np.array([0, 1], t), ["a", "b"]).kind for t in ("f4", "f8", "i8", "?")}
    assert kinds == {"f": "continuous", "i": "categorical", "b": "categorical"}
    assert attribute_levels(["a", np.nan, "b"], list("xyz"), minimum_patients=1).missing == 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (["a", "b"], {"kind": "nominal"}, r"kind must be one of categorical, ordinal, continuous, got 'nominal'\."),
        (["a", "b"], {"order": ["a", "b"]}, r"order must be that of an ordinal attribute, got \['a', 'b'\] for kind"),
        (["a", "1"], {"kind": "ordinal"}, r"ordinal attribute must hold numbers, or name the order .*, got 1 .*: a\."),
        (
            ["a", "b"],
            {"kind": "ordinal", "order": ["b", "c"]},
            r"an ordinal attribute must hold levels of its order \(b, c\), got 1 others: a\.",
        ),
        (
            ["a", "b"],
            {"kind": "ordinal", "order": ["a", "b", "a"]},
            r"the order of an ordinal attribute must name each level once, got 1 repeated: a\.",
        ),
        (["a", "2"], {"kind": "continuous"}, r"values must hold numbers to be continuous, got 1 others: a\."),
        (
            ["1", "2"],
            {"kind": "ordinal", "edges": [1]},
            r"edges must be .*, got \[1\.0\] for one that is ordinal\.",
        ),
    ],
)
def test_kinds_that_do_not_fit_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        attribute_levels(values, ["x", "y"], **options)


def test_association_is_cramers_v_within_labels(rng):
    first, second, label = rng.integers(3, size=400), rng.integers(2, size=400), rng.integers(2, size=400)
    assert association(first, second, label) < 0.1
    assert association(first, first, label) == pytest.approx(1.0)
    tied = np.where(rng.random(400) < 0.6, first % 2, second)
    for value in (0, 1):
        part = label == value
        table = np.array([[((first == a) & (tied == b) & part).sum() for b in (0, 1)] for a in range(3)])
        n, phi = table.sum(), chi2_contingency(table, correction=False).statistic / table.sum()
        phi = max(0, phi - 2 / (n - 1))
        expected = np.sqrt(phi / min(3 - 4 / (n - 1) - 1, 2 - 1 / (n - 1) - 1))
        assert association(first[part], tied[part], label[part]) == pytest.approx(expected)
    # Going along with the label alone is no association within labels.
    tracks = np.where(rng.random((2, 4000)) < 0.9, np.arange(4000) % 2, 1 - np.arange(4000) % 2)
    assert association(tracks[0], tracks[1], np.arange(4000) % 2) < 0.1
    assert association(tracks[0], tracks[1], np.zeros(4000, dtype=int)) > 0.5
    assert association(np.zeros(5, dtype=int), np.arange(5) % 2, np.zeros(5, dtype=int)) == 0.0


def test_missing_values_are_missing_whatever_holds_them():
    cells, patients = ["F", "M", None, "F"], list("abcd")
    holders = [cells, ["F", "M", np.nan, "F"], pd.Series(cells), pd.Series(cells, dtype=object), pd.Categorical(cells)]
    for values in (*holders, pd.array(cells, dtype="string"), np.array(cells, dtype=object)):
        found = attribute_levels(values, patients, minimum_patients=1)
        assert (found.names, found.codes.tolist(), found.missing) == (("F", "M"), [0, 1, -1, 0], 1)


def test_whole_numbers_are_as_continuous_as_fractions():
    ages = np.arange(20, 80)
    expected = attribute_levels(ages.astype(float), ages, minimum_patients=1)
    holders = [ages, ages.tolist(), pd.Series(ages), pd.Series(ages, dtype="Int64"), ages.astype(object)]
    for values in holders:
        found = attribute_levels(values, ages, minimum_patients=1)
        assert (found.names, found.kind) == (expected.names, "continuous")
    gaps = attribute_levels([None, *ages[1:].tolist()], ages, minimum_patients=1)
    assert (gaps.kind, gaps.missing, gaps.codes[0]) == ("continuous", 1, -1)
    assert attribute_levels([1.5, None, 2.5], [1, 2, 3], minimum_patients=1).kind == "continuous"
    assert attribute_levels([1, 2, 3] * 9, range(27), minimum_patients=1).names == ("1", "2", "3")


def test_options_out_of_range_and_unknown_patients_are_refused():
    with pytest.raises(ValueError, match="bins must be at least 2, got 1"):
        attribute_levels([1.0, 2.0], ["a", "b"], bins=1)
    with pytest.raises(ValueError, match="minimum_patients must be at least 1, got 0"):
        attribute_levels([1.0, 2.0], ["a", "b"], minimum_patients=0)
    with pytest.raises(ValueError, match="patients must be known for every image, got 1 that are not"):
        attribute_levels([1.0, 2.0], np.array(["a", None], dtype=object))
