# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two attributes together: a use that hangs on both is found, and one of each by itself is not found twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from difference_cases import LABELS
from samples import sample_of
from sklearn.linear_model import LinearRegression
from torch import nn

from monai_shortcut.analyses.differences import Values, differences
from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.audit.assembly import preview
from monai_shortcut.cohort import Cohort
from monai_shortcut.cohort.levels import attribute_levels, intersection
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.report import write_report

PAIR = "sex x scanner"
COUNT = 400


def audited(effect, intersections=(("sex", "scanner"),), **settings) -> Audit:
    """Answers of a model that knows the label, and to which sex and scanner (N,) of 0 and 1 add an effect."""
    rng = np.random.default_rng(3)
    labels = np.arange(COUNT) % 2
    sex, scanner = rng.integers(0, 2, size=(2, COUNT))
    chance = 0.5 + 0.2 * (2 * labels - 1) + effect(sex, scanner) + rng.normal(0, 0.06, size=COUNT)
    chance = chance.clip(0.01, 0.99)
    quick = {"permutations": 99, "bootstraps": 9, "repeats": 1, "held_out": 0, **settings}
    return audit(
        None,
        None,
        None,
        labels,
        [f"p{number}" for number in range(COUNT)],
        {"sex": np.array(["F", "M"])[sex], "scanner": np.array(["A", "B"])[scanner], "age": rng.normal(size=COUNT)},
        label_names=LABELS,
        predicted=np.stack([1 - chance, chance], axis=1),
        settings=AuditSettings(intersections=intersections, **quick),
    )


def exclusive(sex, scanner):
    return 0.2 * (2 * (sex ^ scanner) - 1)


def p_values(record: Audit) -> dict[str, float]:
    return {one.attribute: one.evidence.differences_p_value for one in record.findings}


@pytest.fixture(scope="module")
def crossed() -> Audit:
    return audited(exclusive)


def test_a_use_of_either_but_not_both_shows_in_the_intersection_and_in_neither_over_all_images(crossed):
    p_value = p_values(crossed)
    assert p_value[PAIR] == pytest.approx(0.04)  # the least of 99 permutations times four attributes
    assert min(p_value["sex"], p_value["scanner"]) > 0.2
    found = crossed.finding(PAIR)
    assert found.verdict == "used"
    assert found.parts == ("sex", "scanner")
    rows = [row for row in found.evidence.differences.rows if row.scale == "probability"]
    moved = {(row.first, row.second): row.estimate.value for row in rows if row.label == 0}
    assert list(found.levels) == ["F, A", "F, B", "M, A", "M, B"]
    assert moved[0, 1] == pytest.approx(0.4, abs=0.05)
    assert moved[0, 3] == pytest.approx(0.0, abs=0.05)
    # Of parts of the images, the attributes say the same, and are not held against their pair.
    assert crossed.finding("sex").evidence.company is None
    assert {row.within[0] for row in crossed.finding("sex").evidence.slices} == {"scanner"}


def test_what_each_adds_by_itself_is_no_finding_of_the_intersection():
    record = audited(lambda sex, scanner: 0.15 * sex - 0.2 * scanner)
    assert {record.finding(name).verdict for name in ("sex", "scanner")} == {"used"}
    assert record.finding(PAIR).verdict != "used"
    assert p_values(record)[PAIR] > 0.2


def test_nothing_is_found_where_nothing_is():
    assert "used" not in {one.verdict for one in audited(lambda sex, scanner: 0.0 * sex).findings}


def test_by_chance_fewer_than_one_in_twenty_interactions_are_significant(rng):
    """Answers with effects of both and none of the pair: the test is cautious."""
    p_values = []
    for _ in range(60):
        first, second = rng.integers(0, 2, size=(2, 80))
        chance = (0.5 + 0.2 * first - 0.1 * second + rng.normal(0, 0.1, size=80)).clip(0.01, 0.99)
        answers = np.stack([1 - chance, chance], axis=1)
        sample = sample_of(2 * first + second, np.arange(80) % 2, answers=answers, permutations=39)
        p_values.append(differences(replace(sample, beyond=(first, second))).test.p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05


def test_what_is_taken_off_is_a_linear_model_of_each_label(rng):
    labels, first, second = rng.integers(0, 2, 90), rng.integers(0, 3, 90), rng.integers(0, 2, 90)
    chance = rng.uniform(0.1, 0.9, 90)
    codes = np.where(first == 2, -1, 2 * first + second)
    sample = sample_of(codes, labels, answers=np.stack([1 - chance, chance], axis=1))
    found = Values.of(replace(sample, beyond=(first, second)), None)
    known = codes >= 0
    expected = chance[known].copy()
    for label in (0, 1):
        inside = labels[known] == label
        design = np.stack([first[known][inside] == 1, second[known][inside] == 1], axis=1)
        model = LinearRegression().fit(design, expected[inside])
        expected[inside] += expected[inside].mean() - model.predict(design)
    np.testing.assert_allclose(found.probabilities[:, 1], expected)
    np.testing.assert_allclose(found.columns[:, 0], expected)


def test_cells_of_few_patients_are_left_out_by_name(tmp_path):
    sex = attribute_levels(list("FFFFMMMM") * 3, list(range(24)), minimum_patients=2)
    scanner = attribute_levels(
        (["A"] * 4 + ["A", "A", "A", "B"]) * 2 + ["A"] * 7 + [None], list(range(24)), minimum_patients=1
    )
    both = intersection(sex, scanner, np.arange(24), minimum_patients=3)
    assert both.names == ("F, A", "M, A")
    assert both.left_out == {"F, B": 0, "M, B": 2}
    assert both.missing == 1
    assert np.bincount(both.codes[both.codes >= 0]).tolist() == [12, 9]
    assert intersection(sex, scanner, np.arange(24), minimum_patients=13).problem == (
        "fewer than two pairs of levels with at least 13 patients"
    )
    assert (
        "2 pairs of levels, more than the 1 that"
        in intersection(sex, scanner, np.arange(24), minimum_patients=3, maximum_levels=1).problem
    )
    alike = attribute_levels(["A"] * 24, list(range(24)))
    assert intersection(sex, alike, np.arange(24)).problem == "of one of the two: every image has the same value (A)"


def test_all_pairs_take_numbers_by_their_bins():
    record = audited(exclusive, "all", minimum_patients=50)
    assert [one.attribute for one in record.findings][3:] == [PAIR, "sex x age", "scanner x age"]
    assert len(record.finding("sex x age").levels) == 6
    assert record.settings.permutations == 6 * 20 - 1


@pytest.mark.slow
def test_the_page_says_what_is_taken_off(crossed, tmp_path):
    page = " ".join(write_report(crossed, tmp_path).read_text().split())
    assert page.count("Of sex and scanner, what each adds to the answers by itself is taken off before") == 1


def test_a_record_with_an_intersection_is_read_again(crossed, tmp_path):
    crossed.to_json(tmp_path / "audit.json")
    again = Audit.from_json(tmp_path / "audit.json")
    assert again.finding(PAIR).parts == ("sex", "scanner")
    assert again.settings.intersections == (("sex", "scanner"),)


def test_a_preview_lists_pairs_with_their_cells_and_what_would_be_noticed_of_them(rng):
    labels, sex, scanner = rng.integers(0, 2, (3, 200))
    sex[:3], scanner[(sex == 1) & (np.arange(200) > 6)] = 1, 0  # hardly anyone is M on B
    chance = (0.4 + 0.2 * sex + rng.normal(0, 0.1, 200)).clip(0.01, 0.99)
    patients = [f"p{number // 2}" for number in range(200)]
    attributes = {"sex": np.array(["F", "M"])[sex], "scanner": np.array(["A", "B"])[scanner]}
    answers, settings = np.stack([1 - chance, chance], axis=1), AuditSettings(intersections="all")
    known = labels, patients, attributes
    found = preview(None, None, None, *known, label_names=LABELS, predicted=answers, settings=settings)
    rows = {tuple(row[1:3]): tuple(row[3:]) for row in found.cells.itertuples(index=False) if row[0] == PAIR}
    table = pd.DataFrame({**attributes, "label": labels, "patient": patients})
    table["pair"] = table["sex"] + ", " + table["scanner"]
    assert set(rows) == {(label, pair) for label in LABELS for pair in ("F, A", "F, B", "M, A")}
    for (label, pair), cell in table[table["pair"] != "M, B"].groupby(["label", "pair"]):
        assert rows[LABELS[label], pair] == (len(cell), cell["patient"].nunique())
    few = int((table["pair"] == "M, B").sum())
    assert few > 0
    assert f"{PAIR}: left out, too few patients: M, B ({few} images)" in str(found)
    # The pair is noticed beyond sex and scanner: as if what these add had been taken off the answers before.
    pair = {"one": np.where(table["pair"] == "M, B", None, table["pair"]), "two": attributes["sex"]}
    pair["three"] = attributes["scanner"]  # p-values are adjusted over three
    for label in (0, 1):
        inside = labels == label
        design = np.stack([sex[inside], scanner[inside]], axis=1)[(kept := table["pair"][inside] != "M, B")]
        rest = chance[inside][kept] - LinearRegression().fit(design, chance[inside][kept]).predict(design)
        chance[np.flatnonzero(inside)[kept]] = rest + chance[inside][kept].mean()
    taken = preview(
        None, None, None, labels, patients, pair, label_names=LABELS, predicted=np.stack([1 - chance, chance], axis=1)
    )
    assert found.noticed[PAIR] == taken.noticed["one"]
    wrong = AuditSettings(intersections=[("sex", "site")])
    with pytest.raises(ValueError, match=r"intersections must be of the attributes .* got .'site'."):
        preview(None, None, None, *known, label_names=LABELS, predicted=answers, settings=wrong)


def test_pairs_are_of_two_attributes_that_exist():
    for wrong in ("some", [("sex",)], [("sex", "sex")], ["sex"]):
        with pytest.raises(ValueError, match="intersections must be pairs of two attributes"):
            AuditSettings(intersections=wrong)
    with pytest.raises(ValueError, match=r"intersections must be of the attributes .* got .'site'."):
        audited(exclusive, [("sex", "site")])
    table = {"image_id": [1, 2], "patient_id": [1, 2], "label": [0, 1], "sex": ["F", "M"]}
    cohort = Cohort.from_table(pd.DataFrame(table))
    with pytest.raises(ValueError, match=r"intersections must be of the cohort's attributes.*site"):
        ShortcutAudit(nn.Linear(1, 2), cohort, None, settings=AuditSettings(intersections=[("sex", "site")]))
    assert AuditSettings(intersections=[["a", "b"], ["b", "a"]]).intersections == (("b", "a"),)
    assert AuditSettings(intersections=[["a", "b"]]).about(["a"]).intersections == ()
