# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from scipy.special import expit, softmax
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses.erasure import ErasureEffect, erasure
from monai_shortcut.statistics.delong import compare_aucs
from monai_shortcut.statistics.erasers import fit_eraser, random_eraser
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable

QUICK = {"erasures": 19, "permutations": 19, "bootstraps": 2}


def cohort(seed: int, *, trace: float = 0.0, reads: float = 0.0, patients: int = 60, columns: int = 16, apart: int = 3):
    """Patients with a label and an attribute, far apart in some columns; the head reads label and attribute."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    label, code = (rng.permutation(np.arange(patients) % 2)[patient] for _ in range(2))
    between = np.where(np.arange(columns) < apart, 2.0, 0.05)
    points = (between * rng.normal(size=(patients, columns)))[patient] + 0.3 * rng.normal(size=(len(patient), columns))
    points[:, 0] += 2 * label
    points[:, -1] += trace * code
    head = np.zeros((2, columns))
    head[1, 0], head[1, 3], head[1, -1] = 1.0, 0.3, reads
    return (points, code, label, patient, head, np.array([0.3, -1.0])), rng


def several(rng, images: int = 240, columns: int = 12, levels: int = 3, classes: int = 3):
    """Correlated embeddings with traces of codes and labels, which go along with each other; patients; a head."""
    label = rng.permutation(np.arange(images) % classes)
    code = np.where(rng.random(images) < 0.3, label % levels, rng.permutation(np.arange(images) % levels))
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) + 5 * rng.normal(size=columns)
    points += rng.normal(size=(levels, columns))[code] + rng.normal(size=(classes, columns))[label]
    head = 0.2 * rng.normal(size=(classes, columns))
    return points, code, label, rng.integers(0, images // 2, images), head, np.arange(float(classes))


def effect(points, code, label, patient, head, offset, kind="categorical", **draws):
    settings = {**QUICK, **draws}
    return erasure(sample_of(code, label, patient, kind=kind, points=points, weight=head, bias=offset, **settings))


def areas_within_labels(logits, code, label, ordered=False):
    """One level against the rest, or each level against the lower ones, over all pairs of images of one label."""
    areas = []
    for level in [1] if len(logits) == 2 else range(len(logits)):
        wins = pairs = 0.0
        for value in np.unique(label):
            splits = [(code == level, code != level)]
            if ordered:
                splits = [(code == high, code < high) for high in np.unique(code)]
            for own, other in splits:
                first, second = (logits[level, (label == value) & side] for side in (own, other))
                wins += (first[:, None] > second).sum() + 0.5 * (first[:, None] == second).sum()
                pairs += first.size * second.size
        areas.append(wins / pairs)
    return np.mean(areas)


def gap_by_definition(score, code, label):
    total = pairs = 0.0
    for value in np.unique(label):
        for first in np.unique(code):
            for second in range(first):
                own, other = (score[(label == value) & (code == level)] for level in (first, second))
                total += len(own) * len(other) * 0.5 * abs(own.mean(axis=0) - other.mean(axis=0)).sum()
                pairs += len(own) * len(other)
    return total / pairs


class Twin:
    """Erasers and probes within labels, computed on standardized embeddings themselves."""

    def __init__(self, points, code, label, ordered):
        self.centre, self.scale = points.mean(axis=0), points.std(axis=0)
        self.z, self.code, self.label, self.ordered = (points - self.centre) / self.scale, code, label, ordered
        self.share = ledoit_wolf_shrinkage(self.z, assume_centered=True)

    def design(self, rows):
        return self.code[rows, None] if self.ordered else self.code[rows, None] == np.arange(self.code.max() + 1)

    def demeaned(self, values, rows):
        """Values (n, K) of some rows as deviations from their labels' means."""
        label = self.label[rows]
        return values - np.array([values[label == value].mean(axis=0) for value in label])

    def spread(self, z, rows):
        """Shrunken covariance within labels of some rows."""
        residual = self.demeaned(z[rows], rows)
        covariance, columns = residual.T @ residual / len(residual), z.shape[1]
        return (1 - self.share) * covariance + self.share * np.trace(covariance) / columns * np.eye(columns)

    def erased(self, rows):
        """All embeddings by an eraser of some rows: whiten, project on what is orthogonal, colour again."""
        known = rows & (self.code >= 0)
        power, axes = np.linalg.eigh(self.spread(self.z, rows))
        whitening, colouring = axes / np.sqrt(power) @ axes.T, axes * np.sqrt(power) @ axes.T
        across = self.demeaned(self.z[known], known).T @ self.design(known)
        left, size, _ = np.linalg.svd(whitening @ across, full_matrices=False)
        left = left[:, size > 1e-9 * size[0]]
        away = self.z - self.z[known].mean(axis=0)
        return self.z - away @ whitening @ left @ left.T @ colouring

    def logits(self, z, rows):
        """Logits (m, N) of embeddings z by a probe fitted to some rows of them."""
        known = rows & (self.code >= 0)
        marked, design = self.demeaned(z[known], known), self.design(known)
        means = (marked.T @ design / (len(marked) if self.ordered else design.sum(axis=0))).T
        weight = np.linalg.solve(self.spread(z, rows), means.T)
        constant = 0 if self.ordered else -0.5 * np.sum(means.T * weight, axis=0)
        return ((z - z[known].mean(axis=0)) @ weight + constant).T

    def changed(self, fold, head, offset):
        """Probabilities of embeddings erased one fold after the other."""
        z = np.empty_like(self.z)
        for index in np.unique(fold):
            z[fold == index] = self.erased(fold != index)[fold == index]
        return softmax((z * self.scale + self.centre) @ head.T + offset, axis=1)


CASES = {
    "two levels": (240, 12, 2, 2, "categorical", 0.0),
    "three levels": (240, 12, 3, 3, "categorical", 0.0),
    "ordered": (240, 12, 4, 2, "ordinal", 0.0),
    "unknown levels": (240, 12, 3, 2, "categorical", 0.3),
    "ordered and unknown": (240, 12, 3, 2, "ordinal", 0.3),
    "more columns than images": (60, 90, 2, 2, "categorical", 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_equals_the_definition_by_erasers_of_other_patients(rng, case):
    images, columns, levels, classes, kind, missing = CASES[case]
    points, code, label, patient, head, offset = several(rng, images, columns, levels, classes)
    unknown = rng.random(images) < missing
    points[unknown, :2] += 10  # images without a level lie elsewhere
    code[unknown] = -1
    draws = {"folds": 4, "erasures": 7, "bootstraps": 50, "confidence": 0.9}
    settings = {"kind": kind, "points": points, "weight": head, "bias": offset, **draws}
    sample = sample_of(code, label, patient, **settings)
    found, fold, rows = erasure(sample), sample.images.folds().fold, sample.rows
    twin = Twin(points, code, label, kind == "ordinal")
    before, after = softmax(points @ head.T + offset, axis=1)[rows], twin.changed(fold, head, offset)[rows]
    moved = 0.5 * abs(after - before).sum(axis=1)
    assert found.change.value == pytest.approx(moved.mean(), rel=1e-7)
    weights = sample.images.bootstrap[:, sample.patients]
    limits = np.quantile([np.average(moved, weights=weight) for weight in weights], [0.05, 0.95])
    np.testing.assert_allclose([found.change.low, found.change.high], limits, rtol=1e-7)
    null = []
    for permuted in sample.permuted[1:8]:
        other = np.full(images, -1)
        other[rows] = permuted
        changed = Twin(points, other, label, kind == "ordinal").changed(fold, head, offset)[rows]
        null.append(0.5 * abs(changed - before).sum(axis=1).mean())
    np.testing.assert_allclose(found.test.null, null, rtol=1e-6)
    assert found.test.observed == pytest.approx(moved.mean(), rel=1e-7)
    own = code[rows], label[rows]
    np.testing.assert_allclose(found.gap, [gap_by_definition(score, *own) for score in (before, after)], rtol=1e-6)
    logits = np.empty((2, 1 if kind == "ordinal" else levels, images))
    for index in range(4):
        others = [other for other in range(4) if other != index]
        first, second = np.isin(fold, others[:1]), np.isin(fold, others[1:])
        for row, z in enumerate((twin.z, twin.erased(first))):
            logits[row][:, fold == index] = twin.logits(z, second)[:, fold == index]
    expected = [areas_within_labels(z[:, rows], *own, kind == "ordinal") for z in logits]
    np.testing.assert_allclose(found.encoded, expected, rtol=1e-6)
    assert np.std(null) > 1e-4


def test_areas_are_those_before_and_after_on_the_same_images(rng):
    points, code, label, patient, head, offset = several(rng)
    found = effect(points, code, label, patient, head, offset, confidence=0.9)
    sample = sample_of(code, label, patient, points=points)
    before = softmax(points @ head.T + offset, axis=1)
    after = Twin(points, code, label, False).changed(sample.images.folds().fold, head, offset)
    assert [change.label for change in found.auc] == [0, 1, 2]
    for change in found.auc:
        old, new = before[:, change.label], after[:, change.label]
        expected = compare_aucs(label == change.label, old, new, patient, 0.9)
        assert change.before == pytest.approx(roc_auc_score(label == change.label, old))
        assert change.after == pytest.approx(roc_auc_score(label == change.label, new))
        assert change.difference.value == pytest.approx(change.before - change.after)
        np.testing.assert_allclose((change.difference.low, change.difference.high), expected.interval)
        assert change.p_value == pytest.approx(expected.p_value)


def test_erasers_agree_with_those_of_arrays_where_images_abound(rng):
    """They differ in what standardizes and shrinks: all images here, those of the fit there."""
    points, code, label, _, head, offset = several(rng, 3000)
    sample = sample_of(code, label, np.arange(3000), points=points, weight=head, bias=offset)
    fold, before = sample.images.folds().fold, sample.probabilities
    erased = np.empty_like(points)
    for index in range(5):
        chosen = fold != index
        erased[~chosen] = fit_eraser(points[chosen], code[chosen], label[chosen], None)(points[~chosen])
    expected = 0.5 * abs(softmax(erased @ head.T + offset, axis=1) - before).sum(axis=1).mean()
    assert erasure(sample).change.value == pytest.approx(expected, rel=0.01)
    assert expected > 0.02


def test_float32_embeddings_change_nothing_that_matters(rng):
    points, code, label, patient, head, offset = several(rng)
    double, single = (
        effect(points.astype(kind), code, label, patient, head, offset) for kind in (np.float64, np.float32)
    )
    assert single.change.value == pytest.approx(double.change.value, abs=1e-5)
    np.testing.assert_allclose(single.test.null, double.test.null, atol=1e-5)
    np.testing.assert_allclose(single.encoded, double.encoded, atol=1e-3)


def test_erasers_do_not_see_the_patients_whose_embeddings_they_change(rng):
    """Each patient has a column of its own, from which the head knows its level; nothing is common to patients."""
    patient = np.repeat(np.arange(80), 3)
    code, label = patient % 2, patient // 2 % 2
    points, head = np.eye(80)[patient], np.stack([np.zeros(80), 3 * np.tile([-1, 1], 40)])
    found = effect(points, code, label, patient, head, np.zeros(2))
    assert found.change.value < 0.05
    assert found.gap[1] > 0.9 * found.gap[0]
    dishonest = softmax(fit_eraser(points, code, label, None)(points) @ head.T, axis=1)
    assert abs(dishonest - softmax(points @ head.T, axis=1)).sum(axis=1).mean() / 2 > 0.4


def test_a_head_that_reads_the_attribute_changes_and_loses_its_gap():
    draws = {"erasures": 99, "permutations": 99, "bootstraps": 99}
    found = [
        effect(*cohort(1, trace=1.0, reads=reads, patients=300, columns=64, apart=0)[0], **draws)
        for reads in (3.0, 0.0)
    ]
    used, unused = found
    assert used.test.p_value == 0.01
    assert used.change.low > max(used.test.null)
    assert used.change.low > 3 * np.mean(used.test.null)
    assert used.gap[0] > 0.3
    assert used.gap[1] < 0.3 * used.gap[0]
    assert used.auc[0].difference.value < -0.02  # the attribute, unrelated to the label, was noise to the head
    assert used.auc[0].p_value < 0.05
    assert used.auc[0].difference.high < 0
    assert unused.test.p_value > 0.05
    assert unused.change.value < max(unused.test.null)
    assert abs(unused.auc[0].difference.value) < 0.01
    for each in found:
        assert each.encoded[0] > 0.95
        assert each.encoded[1] < 0.7


def test_a_head_orthogonal_to_the_probe_in_the_metric_of_the_embeddings_is_left_alone(rng):
    """Of two columns that go along, a head orthogonal to the probe in the raw space is one that changes."""
    code, label, patient = np.arange(900) % 2, np.arange(900) // 2 % 2, np.arange(900) // 3
    points = rng.normal(size=(900, 64))
    points[:, 0] += 2 * code
    points[:, 1] = points[:, 0] + 0.5 * points[:, 1]  # the trace is (1, 1), which the probe (1, 0) finds in the first
    alone, changes = (
        effect(points, code, label, patient, np.outer([0, 1], row), [0.0, 0.0], bootstraps=99)
        for row in (2 * np.eye(64)[0] - 2 * np.eye(64)[1], 2 * np.eye(64)[1])
    )
    assert alone.change.value < 0.02
    assert alone.test.p_value > 0.05
    assert changes.change.low > max(changes.test.null)
    assert changes.change.low > 3 * np.mean(changes.test.null)
    assert changes.test.p_value == 0.05


def test_the_class_is_not_erased_with_an_attribute_that_tracks_it(rng):
    label = np.arange(600) % 2
    code = np.where(rng.random(600) < 0.85, label, 1 - label)
    points = rng.normal(size=(600, 20))
    points[:, 0] += 3 * label
    head, offset = np.array([np.zeros(20), 2 * np.eye(20)[0]]), np.array([0.0, -3.0])
    found = effect(points, code, label, np.arange(600), head, offset)
    assert found.change.value < 0.05
    assert abs(found.auc[0].difference.value) < 0.01
    assert found.test.p_value > 0.05
    without = softmax(fit_eraser(points, code)(points) @ head.T + offset, axis=1)  # the negative control
    assert 0.5 * abs(without - softmax(points @ head.T + offset, axis=1)).sum(axis=1).mean() > 0.2


def test_images_without_a_level_are_not_what_is_erased(rng):
    """They lie far away along a column that the head reads, and that has nothing to do with the attribute."""
    code, label = rng.integers(2, size=600), np.arange(600) % 2
    points = rng.normal(size=(600, 10))
    points[:, 1] += 2 * code
    points[:200, 0] += 5
    code[:200] = -1
    head = np.stack([np.zeros(10), np.eye(10)[0]])
    found = effect(points, code, label, np.arange(600), head, [0.0, 0.0])
    assert found.change.value < 0.04
    assert found.test.p_value > 0.05
    assert found.encoded[1] < 0.6 < 0.85 < found.encoded[0]


@pytest.mark.slow
@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.015, 0.095), (False, 0.15, 1.0)])
def test_p_values_are_uniform_for_an_attribute_at_random_unless_patients_are_ignored(by_patient, low, high):
    p_values, encoded = [], []
    for seed in range(300 if by_patient else 100):
        (points, code, label, patient, *head), _ = cohort(seed)
        unit = patient if by_patient else np.arange(len(patient))
        found = effect(points, code, label, unit, *head, folds=3, seed=seed)
        p_values.append(found.test.p_value)
        encoded.append(found.encoded)
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.12)
        np.testing.assert_allclose(np.mean(encoded, axis=0), 0.5, atol=0.02)
    else:
        assert np.mean(encoded, axis=0)[0] > 0.53


def test_directions_at_random_would_call_the_attribute_of_patients_used_far_too_often():
    """Why the control hands the attribute to other patients: it also follows whatever patients differ in."""
    p_values = []
    for seed in range(100):
        (points, code, label, _, head, offset), rng = cohort(seed)
        moved = [
            abs(
                expit((eraser(points) @ head.T + offset) @ [-1, 1]) - expit((points @ head.T + offset) @ [-1, 1])
            ).mean()
            for eraser in [fit_eraser(points, code, label), *(random_eraser(points, 1, rng, label) for _ in range(19))]
        ]
        p_values.append((1 + (np.array(moved[1:]) >= moved[0]).sum()) / 20)
    assert np.mean(np.array(p_values) <= 0.05) > 0.15


def test_little_is_left_of_a_strong_attribute_and_less_the_more_images_there_are():
    small, large = (effect(*cohort(0, trace=1.0, patients=patients)[0]).encoded for patients in (60, 1200))
    assert large[0] > 0.85
    assert 0.47 < large[1] < 0.6
    assert large[1] < small[1]


def test_a_head_that_reads_nothing_is_not_said_to_stay_as_it_is():
    (points, code, label, patient, head, offset), _ = cohort(0, trace=1.0)
    with pytest.raises(Unmeasurable, match=r"^the answers do not vary$"):
        effect(points, code, label, patient, 0 * head, offset)
    with pytest.raises(Unmeasurable, match=r"^the embedding does not vary$"):
        effect(np.full_like(points, 0.1), code, label, patient, head, offset)


def test_classes_of_too_few_patients_have_no_area(rng):
    points, code, _, _, head, offset = several(rng)
    label = np.arange(240) % 2
    label[:5] = 2
    patient = np.where(label == 2, 999, np.arange(240))
    found = effect(points, code, label, patient, head, offset)
    assert [change.label for change in found.auc] == [0, 1]


def test_a_level_that_folds_miss(rng):
    points, code, label, _, head, offset = several(rng, images=40, columns=60)
    code = np.where(np.arange(40) == 0, 3, code)
    found = effect(points, code, label, np.arange(40), head, offset)
    assert np.isfinite([found.change.value, *found.test.null, *found.gap, *found.encoded]).all()
    assert 0 < found.change.value < 1


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments = several(rng)
    first, same, other = (effect(*arguments, seed=seed) for seed in (1, 1, 2))
    assert first == same != other
    assert len(first.test.null) == 19
    assert decode(ErasureEffect, json.loads(json.dumps(encode(first)))) == first
    patients = np.array([f"patient {p:03d}" for p in arguments[3]])
    assert effect(*arguments[:3], patients, *arguments[4:], seed=1) == first


def test_erasure_takes_embeddings_and_three_folds(rng):
    points, code, label, patient, head, offset = several(rng)
    with pytest.raises(Unmeasurable, match="erasure takes at least 3 folds, got 2"):
        effect(points, code, label, patient, head, offset, folds=2)
    answers = images_of(label, patient, answers=np.full((240, 3), 1 / 3))
    with pytest.raises(Unmeasurable, match="it takes the embeddings"):
        erasure(answers.by("attribute", levels_of(code)))
