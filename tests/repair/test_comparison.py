# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from repair_cases import BIAS, SETTINGS, WEIGHT, audited, draw
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

import monai_shortcut
from monai_shortcut.audit import AuditSettings
from monai_shortcut.repair import Comparison, compare_audits, erase, require_apart
from monai_shortcut.repair.ruling import rule
from monai_shortcut.statistics.delong import compare_aucs


@pytest.fixture(scope="module")
def wide():
    """So many patients that what is within the tolerances can be said to be."""
    return draw(4, patients=500)


@pytest.fixture(scope="module")
def wide_before(wide):
    return audited(wide, WEIGHT, BIAS, "before")


@pytest.fixture(scope="module")
def head(fit):
    return erase(WEIGHT, BIAS, *fit.to_fit)


@pytest.fixture(scope="module")
def wide_after(wide, head):
    return audited(wide, head.weight, head.bias, "after")


@pytest.fixture(scope="module")
def found(wide_before, wide_after) -> Comparison:
    return compare_audits(wide_before, wide_after)


def chances(images, weight, bias):
    return softmax(images.points @ weight.T + bias, axis=1)[:, 1]


def test_a_repair_that_worked_is_one_and_the_price_is_told(found, wide, head):
    assert monai_shortcut.compare_audits is compare_audits
    assert found.paired
    scanner, site = found.attributes
    assert (scanner.verdict, scanner.before, scanner.after) == ("repaired", "used", "encoded, not used")
    assert scanner.p_value <= 0.02
    assert "is within the tolerances now" in scanner.reason
    assert (site.verdict, site.before, site.after) == ("no change", "encoded, not used", "encoded, not used")
    old, new = (chances(wide, *one) for one in ((WEIGHT, BIAS), (head.weight, head.bias)))
    expected = compare_aucs(wide.labels, new, old, wide.patients)
    assert found.price is found.classes[0]
    assert found.price.auc.change.value == pytest.approx(expected.difference, abs=1e-4)
    assert found.price.auc.p_value == pytest.approx(expected.p_value, abs=1e-3)
    assert found.price.auc.before.value == pytest.approx(roc_auc_score(wide.labels, old), abs=1e-4)


def test_changes_are_differences_of_means_before_and_after(found, wide, head):
    old, new = (chances(wide, *one) for one in ((WEIGHT, BIAS), (head.weight, head.bias)))
    rows = [row for row in found.attribute("scanner").changes.rows if row.scale == "probability"]
    assert len(rows) == 2
    for row in rows:
        cells = [(wide.labels == row.label) & (wide.scanner == level) for level in (0, 1)]
        first, second = (float(chance[cells[1]].mean() - chance[cells[0]].mean()) for chance in (old, new))
        assert row.before.value == pytest.approx(first, abs=1e-5)
        assert row.after.value == pytest.approx(second, abs=1e-5)
        assert row.size.value == pytest.approx(abs(second) - abs(first), abs=1e-5)
        assert row.size.low < row.size.value < row.size.high < 0
        assert row.shrinks
        assert not row.grows


def test_limits_of_a_change_are_those_of_a_bootstrap_over_patients(found, wide, head, rng):
    row = next(r for r in found.attribute("scanner").changes.rows if (r.scale, r.label) == ("probability", 0))
    signs = np.sign([row.before.value, row.after.value])
    change = signs[1] * chances(wide, head.weight, head.bias) - signs[0] * chances(wide, WEIGHT, BIAS)
    _, patient = np.unique(wide.patients, return_inverse=True)
    cells = [(wide.labels == 0) & (wide.scanner == level) for level in (0, 1)]
    drawn = []
    for _ in range(400):
        weights = np.bincount(rng.integers(patient.max() + 1, size=patient.max() + 1), minlength=patient.max() + 1)
        means = [np.average(change[cell], weights=weights[patient[cell]]) for cell in cells]
        drawn.append(means[1] - means[0])
    assert (row.size.high - row.size.low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.15)


def test_gaps_and_levels_are_those_of_the_audits(found, wide_before, wide_after, wide):
    scanner = found.attribute("scanner")
    assert scanner.gap.before == wide_before.finding("scanner").evidence.gap.effect
    assert scanner.gap.after == wide_after.finding("scanner").evidence.gap.effect
    assert scanner.gap.change.high < -0.1
    assert [one.level for one in scanner.by_level] == [0, 1]
    chance = chances(wide, WEIGHT, BIAS)
    for one in scanner.by_level:
        inside = wide.scanner == one.level
        assert one.auc.before.value == pytest.approx(roc_auc_score(wide.labels[inside], chance[inside]), abs=1e-4)
        assert one.calibration.before.value == pytest.approx((chance - wide.labels)[inside].mean(), abs=1e-5)
        assert one.calibration.change.low <= one.calibration.change.value <= one.calibration.change.high


def test_the_same_model_has_not_changed(before):
    found = compare_audits(before, before)
    assert {one.verdict for one in found.attributes} == {"no change"}
    for one in found.attributes:
        assert one.p_value == 1
        assert all(abs(row.size.value) < 1e-12 for row in one.changes.rows)
    assert found.price.auc.change.value == 0


def test_a_repair_undone_is_worse(wide_before, wide_after):
    found = compare_audits(wide_after, wide_before)
    assert found.attribute("scanner").verdict == "worse"
    assert found.attribute("site").verdict == "no change"


def test_probabilities_that_are_merely_nearer_to_one_half_repair_nothing(wide, wide_before):
    """A temperature of four: probabilities move by less, and no image is ranked otherwise."""
    found = compare_audits(wide_before, audited(wide, WEIGHT / 4, BIAS / 4))
    scanner = found.attribute("scanner")
    assert scanner.verdict == "cannot tell"
    assert "the ranking shows no less" in scanner.reason


def test_too_few_patients_tell_less(before, others, head):
    found = compare_audits(before, audited(others, head.weight, head.bias))
    assert found.attribute("scanner").verdict == "reduced"
    assert "not shown to be within the tolerances" in found.attribute("scanner").reason


@pytest.mark.parametrize(("share", "verdict"), [(0.097, "cannot tell"), (0.103, "reduced")])
def test_a_rank_that_is_lower_by_less_than_a_tenth_is_no_other(before, others, head, share, verdict):
    """A temperature unties answers that were rounded to 0 and 1, and moves their ranks a little."""
    after = audited(others, head.weight, head.bias)
    scanner = compare_audits(before, after).attribute("scanner")
    ranks = [row for row in scanner.changes.rows if row.scale == "rank"]
    assert min(abs(row.before.value) for row in ranks) > 0.104  # a tenth is more than 0.01
    less = [replace(row, size=replace(row.size, value=-share * abs(row.before.value))) for row in ranks]
    rows = [row for row in scanner.changes.rows if row.scale != "rank"] + less
    findings = (audit.finding("scanner") for audit in (before, after))
    assert rule(*findings, rows, scanner.p_value, SETTINGS, after).verdict == verdict


def test_other_images_are_compared_as_independent(before, wide_after, found):
    others = compare_audits(before, wide_after)
    assert not others.paired
    assert others.attribute("scanner").verdict == "repaired"
    assert others.attribute("scanner").changes.test is None
    row, same = (one.attribute("scanner").changes.rows[0] for one in (others, found))
    error = np.hypot(row.before.high - row.before.low, row.after.high - row.after.low)
    assert row.size.high - row.size.low == pytest.approx(error, rel=0.02)
    assert row.size.high - row.size.low > same.size.high - same.size.low
    area = others.price.auc
    limits = np.hypot(area.before.high - area.before.low, area.after.high - area.after.low)
    assert area.change.high - area.change.low == pytest.approx(limits, rel=0.15)


def test_images_of_other_labels_are_other_images(wide, wide_before):
    flipped = audited(wide._replace(labels=1 - wide.labels), WEIGHT, BIAS)
    assert not compare_audits(wide_before, flipped).paired


def test_rows_in_another_order_and_records_without_names_compare_alike(found, wide, wide_before, head, tmp_path, rng):
    order = rng.permutation(len(wide.labels))
    names = np.array([f"{name} image {row}" for row, name in enumerate(wide.patients)])[order]
    turned = type(wide)(*(values[order] for values in wide))
    after = audited(turned, head.weight, head.bias, "after", image_ids=names.tolist())
    after.to_json(tmp_path / "after.json")
    again = compare_audits(wide_before, tmp_path / "after.json")
    assert again.paired
    for one, other in zip(found.attributes, again.attributes, strict=True):
        assert one.verdict == other.verdict
        for row, same in zip(one.changes.rows, other.changes.rows, strict=True):
            assert same.size.value == pytest.approx(row.size.value, abs=1e-6)
    found.to_json(tmp_path / "comparison.json")
    assert Comparison.from_json(tmp_path / "comparison.json") == found


def test_attributes_that_one_audit_has_are_named(before, others):
    alone = audited(others, WEIGHT, BIAS, attributes={"scanner": ["AB"[code] for code in others.scanner]})
    found = compare_audits(before, alone)
    assert [one.attribute for one in found.attributes] == ["scanner"]
    assert found.only == ("site",)
    with pytest.raises(ValueError, match=r"attribute must be one of \['scanner'\], got 'site'"):
        found.attribute("site")
    renamed = audited(others, WEIGHT, BIAS, attributes={"scanner": ["AC"[code] for code in others.scanner]})
    (scanner,) = compare_audits(before, renamed).attributes
    assert scanner.verdict == "cannot tell"
    assert "its levels are not the same" in scanner.reason


def test_what_cannot_be_compared_is_refused(before):
    with pytest.raises(
        ValueError, match="after must hold the answers of each image, got a record without: audit again"
    ):
        compare_audits(before, replace(before, answers=None))
    with pytest.raises(ValueError, match="same classes, got"):
        compare_audits(before, replace(before, label_names=("a", "b")))
    settings = replace(SETTINGS, tolerance=0.1)
    assert isinstance(settings, AuditSettings)
    with pytest.raises(ValueError, match="same tolerances, got others in tolerance"):
        compare_audits(before, replace(before, settings=settings))


def test_patients_of_the_fit_are_not_audited():
    require_apart(["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"not fitted to, got 2 in both: a, b\.$"):
        require_apart(["a", "b", "c"], ["b", "d", "a"])
