# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from monai_shortcut.analyses.encoding import fit_probe, held_out_margins, null_probes, probe_encoding
from monai_shortcut.statistics.discriminant import Discriminant
from monai_shortcut.statistics.resampling import patient_folds, permute_by_patient


def embedded(rng, images: int, columns: int, levels: int, strata: int = 2):
    """Correlated embeddings of unequal scale that know the level and the class; one column is constant."""
    code, stratum = rng.permutation(np.arange(images) % levels), rng.permutation(np.arange(images) % strata)
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) * rng.uniform(0.1, 9, columns)
    points += rng.normal(size=(levels, columns))[code] + rng.normal(size=(strata, columns))[stratum] + 5
    points[:, -1] = 0.1
    return points, code, stratum


def by_definition(points, code, stratum=None):
    """Standardize, shrink and solve in all D dimensions."""
    scale = points.std(axis=0)
    varying = scale > 1e-9
    standard = np.zeros_like(points)
    standard[:, varying] = ((points - points.mean(axis=0)) / np.where(varying, scale, 1))[:, varying]
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    stratum = np.zeros_like(code) if stratum is None else stratum
    residual = standard.copy()
    for value in np.unique(stratum):
        residual[stratum == value] -= standard[stratum == value].mean(axis=0)
    covariance = residual.T @ residual / len(points)
    dimensions = points.shape[1]
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / dimensions * np.eye(dimensions)
    weight, bias = [], []
    for level in np.unique(code):
        mean = residual[code == level].mean(axis=0)
        row = np.linalg.inv(covariance) @ mean
        weight.append(np.where(varying, row / np.where(varying, scale, 1), 0))
        bias.append(-0.5 * mean @ row - points.mean(axis=0) @ weight[-1])
    return np.array(weight), np.array(bias), shrinkage


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("images", "columns", "levels"), [(150, 8, 2), (150, 8, 4), (40, 90, 3), (60, 60, 2)])
def test_probe_equals_standardize_shrink_and_solve(rng, images, columns, levels, within):
    points, code, stratum = embedded(rng, images, columns, levels)
    probe = fit_probe(points, code, stratum if within else None)
    weight, bias, _ = by_definition(points, code, stratum if within else None)
    np.testing.assert_allclose(probe.weight, weight, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(probe.bias, bias, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(probe(points[:5]), points[:5] @ weight.T + bias, atol=1e-7)


def test_probe_of_two_levels_has_the_direction_of_scikit_learns_ridge(rng):
    points, code, _ = embedded(rng, 80, 30, 2)
    points = points[:, :-1]
    *_, shrinkage = by_definition(points, code)
    standard = (points - points.mean(axis=0)) / points.std(axis=0)
    ridge = Ridge(alpha=len(points) * shrinkage / (1 - shrinkage)).fit(standard, code)
    weight = fit_probe(points, code).weight
    expected = ridge.coef_ / points.std(axis=0)
    ratio = (weight[1] - weight[0]) / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
    assert ratio[0] > 0


def test_probe_answers_as_scikit_learns_linear_discriminant_with_equal_priors(rng):
    code = np.repeat([0, 1], [3000, 1000])
    points = rng.normal(size=(4000, 5)) + code[:, None] * [1.0, 0.5, 0, 0, -1]
    answer = fit_probe(points, code)(points).argmax(axis=1)
    equal, observed = (
        LinearDiscriminantAnalysis(priors=priors).fit(points, code).predict(points) for priors in ([0.5, 0.5], None)
    )
    assert (answer == equal).mean() > 0.998
    assert (answer == observed).mean() < 0.97  # rare levels are not sacrificed to common ones


@pytest.mark.parametrize("columns", [6, 80])
def test_null_probes_are_the_probes_of_the_permuted_attribute(rng, columns):
    points, _, stratum = embedded(rng, 60, columns, 3)
    patient = np.repeat(np.arange(30), 2)
    code = rng.permutation(np.arange(30) % 3)[patient]
    for strata, within in ((None, False), (stratum, False), (stratum, True)):
        found = null_probes(points, code, patient, 4, np.random.default_rng(1), strata, within)
        draws = permute_by_patient(patient, 4, np.random.default_rng(1), strata)
        expected = [fit_probe(points, code[draw], stratum if within else None).weight for draw in draws]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
        assert abs(found[0] - found[1]).max() > 0.01  # items differ


def test_null_probes_in_blocks_are_those_of_one_block(rng, monkeypatch):
    points, code, _ = embedded(rng, 60, 5, 3)
    whole = null_probes(points, code, np.arange(60), 7, np.random.default_rng(1))
    monkeypatch.setattr("monai_shortcut.analyses.encoding._COLUMNS", 6)
    np.testing.assert_allclose(null_probes(points, code, np.arange(60), 7, np.random.default_rng(1)), whole, rtol=1e-12)


def simulated(seed: int, trace: float = 0.0, tracks: float = 0.5, levels: int = 2, patients: int = 50):
    """Embeddings with a patient's and a label's mark; an attribute of patients, perhaps with a mark of its own."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    label = rng.integers(2, size=patients)
    code = np.where(rng.random(patients) < tracks, label, 1 - label) if levels == 2 else rng.integers(levels, size=50)
    points = (rng.normal(size=(patients, 6)) + 3 * label[:, None] * np.eye(6)[0])[patient]
    points += 0.5 * rng.normal(size=points.shape) + trace * code[patient][:, None] * np.eye(6)[1]
    return points, code[patient], patient, label[patient], rng


def test_an_attribute_that_tracks_the_label_is_read_off_but_has_no_trace_of_its_own():
    found = {}
    for trace in (0.0, 3.0):
        points, code, patient, label, rng = simulated(3, trace, tracks=0.85, patients=150)
        found[trace] = probe_encoding(points, code, patient, label, permutations=99, bootstraps=99, rng=rng)
    assert found[0.0].auroc[1] > 0.6
    assert found[0.0].own_auroc[0] == pytest.approx(0.5, abs=0.1)
    assert found[0.0].own_auroc[1] < 0.5 < found[0.0].own_auroc[2]
    assert found[0.0].p_value > 0.05
    assert found[3.0].own_auroc[1] > 0.8  # the negative control has one
    assert found[3.0].p_value == 0.01


@pytest.mark.parametrize(
    ("tracks", "levels", "by_patient", "low", "high"),
    [
        (0.5, 2, True, 0.01, 0.09),
        (0.8, 2, True, 0.01, 0.09),
        (0.12, 2, True, 0.01, 0.09),
        (0.5, 3, True, 0.01, 0.09),
        (0.5, 2, False, 0.3, 1),
    ],
)
def test_p_values_are_uniform_under_a_clustered_null_unless_patients_are_ignored(tracks, levels, by_patient, low, high):
    p_values, covered = [], []
    for seed in range(150 if by_patient else 60):
        points, code, patient, label, rng = simulated(seed, tracks=tracks, levels=levels)
        unit = patient if by_patient else np.arange(len(patient))
        found = probe_encoding(points, code, unit, label, permutations=39, bootstraps=2, rng=rng)
        p_values.append(found.p_value)
        covered.append(found.own_auroc[1] <= 0.5 <= found.own_auroc[2])
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.13)
        assert np.mean(covered) > 0.85


def test_a_rare_attribute_is_no_more_extreme_than_its_permutations():
    """Folds that knew the attribute would balance it, and its permutations not."""
    rank = []
    for seed in range(150):
        points, _, patient, label, rng = simulated(seed)
        code = (rng.permutation(50) < 5)[patient].astype(int)
        found = probe_encoding(points, code, patient, label, permutations=39, bootstraps=2, rng=rng)
        rank.append(np.mean(np.array(found.null) < found.own_auroc[0]))
    assert np.mean(rank) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.4, 0.55), (False, 0.99, 1)])
def test_embeddings_that_know_the_patient_alone_do_not_encode_what_patients_were_given(by_patient, low, high):
    areas = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(40), 4)
        points = rng.normal(size=(40, 64))[patient] + 1e-3 * rng.normal(size=(160, 64))
        code = rng.permutation(np.arange(40) % 2)[patient]
        unit = patient if by_patient else np.arange(160)
        found = probe_encoding(points, code, unit, np.zeros(160), permutations=2, bootstraps=2, rng=rng)
        areas.append(found.auroc[0])
    assert low <= np.mean(areas) <= high


def test_metrics_are_those_of_the_held_out_answers(rng):
    points, code, patient, label, _ = simulated(1, trace=1.5, levels=3)
    found = probe_encoding(
        points, code, patient, label, permutations=5, bootstraps=9, rng=np.random.default_rng(4), folds=3
    )
    fold = patient_folds(patient, label, 3, np.random.default_rng(4))
    scale, centre = points.std(axis=0), points.mean(axis=0)
    standard = (points - centre) / scale
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    answer = np.empty_like(code)
    for index in range(3):
        seen, unseen = fold != index, fold == index
        middle = standard[seen].mean(axis=0)
        covariance = np.cov(standard[seen].T, bias=True)
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 6 * np.eye(6)
        means = np.array([standard[seen & (code == level)].mean(axis=0) - middle for level in range(3)])
        away = (standard[unseen] - middle)[:, None] - means  # the nearest mean, in the metric of the covariance
        answer[unseen] = np.einsum("nmd,de,nme->nm", away, np.linalg.inv(covariance), away).argmin(axis=1)
    assert found.metrics["accuracy"][0] == pytest.approx((answer == code).mean())
    assert found.metrics["recall"][0] == pytest.approx(np.mean([(answer[code == c] == c).mean() for c in range(3)]))
    assert all(low <= value <= high for value, low, high in found.metrics.values())
    assert len(found.null) == 5


def test_a_level_that_a_fold_has_not_seen_is_never_answered_there():
    """The images of the only patient with level 1 rank with the lowest of their fold, and below all other images."""
    points, _, patient, label, _ = simulated(5)
    code = (patient == 7).astype(int)
    found = probe_encoding(points, code, patient, 0 * label, permutations=3, bootstraps=2, rng=np.random.default_rng(2))
    fold = patient_folds(patient, 0 * label, 5, np.random.default_rng(2))
    beside = (fold == fold[code == 1][0]) & (code == 0)
    assert found.auroc[0] == pytest.approx(0.5 * beside.sum() / (code == 0).sum())
    assert found.metrics["recall"][0] == pytest.approx(found.metrics["accuracy"][0] * len(code) / (code == 0).sum() / 2)
    three = np.where(code == 1, 2, patient % 2)
    assert 0 < probe_encoding(points, three, patient, label, permutations=3, rng=np.random.default_rng(2)).auroc[0] < 1


def test_results_depend_on_the_generator_alone():
    points, code, patient, label, _ = simulated(1)
    draws = [
        probe_encoding(points, code, patient, label, permutations=9, bootstraps=9, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]


POINTS = np.random.default_rng(0).normal(size=(6, 2))


@pytest.mark.parametrize(
    ("points", "codes", "strata", "message"),
    [
        (POINTS[0], [0, 1], None, r"embeddings must have shape \(N, D\), got \(2,\)"),
        (np.where(POINTS[1, 1] == POINTS, np.nan, POINTS), [0, 1] * 3, None, "embeddings must be finite, got 1 images"),
        (POINTS, [0, 1], None, r"codes must have shape \(6,\) to match embeddings, got \(2,\)"),
        (POINTS, [0] * 6, None, r"codes must be 0 to M - 1, each present and M at least 2, got \[0\]"),
        (POINTS, [0, 2] * 3, None, r"codes must be 0 to M - 1, each present and M at least 2, got \[0, 2\]"),
        (POINTS, [-1, 0, 1] * 2, None, r"each present and M at least 2, got \[-1, 0, 1\]"),
        (POINTS, [0, 1] * 3, [0, 1], r"strata must have shape \(6,\) to match codes, got \(2,\)"),
    ],
)
def test_what_cannot_be_probed_is_refused(points, codes, strata, message):
    with pytest.raises(ValueError, match=message):
        fit_probe(points, codes, strata)
    with pytest.raises(ValueError, match=message):
        null_probes(points, codes, np.arange(len(points)), 2, np.random.default_rng(0), strata)


def test_an_attribute_that_is_the_label_is_refused(rng):
    with pytest.raises(ValueError, match="at least one label must hold images of two levels, got an attribute that"):
        probe_encoding(POINTS, [0, 1] * 3, np.arange(6), [5, 3] * 3, rng=rng)


def test_balanced_weights_make_class_and_level_independent(rng):
    points, code, stratum = embedded(rng, 90, 5, 3)
    stratum = np.where(rng.random(90) < 0.7, code % 2, stratum)
    cells = np.array([[((stratum == s) & (code == c)).sum() for c in range(3)] for s in range(2)])
    weight = np.array([(stratum == s).sum() * (code == c).sum() / 90 / cells[s, c] for s, c in zip(stratum, code)])  # noqa: B905
    table = np.array([[weight[(stratum == s) & (code == c)].sum() for c in range(3)] for s in range(2)])
    np.testing.assert_allclose(table, np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum())
    # The same by definition: weighted level means in the metric of all embeddings.
    scale = np.where(points.std(axis=0) > 1e-9, points.std(axis=0), np.inf)
    standard = (points - points.mean(axis=0)) / scale
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    covariance = standard.T @ standard / 90
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 5 * np.eye(5)
    means = np.array([np.average(standard[code == c], axis=0, weights=weight[code == c]) for c in range(3)])
    expected = np.linalg.solve(covariance, means.T).T / scale
    np.testing.assert_allclose(fit_probe(points, code, stratum, balanced=True).weight, expected, rtol=1e-8, atol=1e-10)


def test_an_attribute_that_only_goes_along_with_the_class_leaves_a_balanced_probe_no_direction():
    points, code, patient, label, _ = simulated(1, tracks=0.85, patients=800)
    plain = np.diff(fit_probe(points, code).weight, axis=0)[0]
    balanced = np.diff(fit_probe(points, code, label, balanced=True).weight, axis=0)[0]
    assert abs(plain[0]) / np.linalg.norm(plain) > 0.9  # the class's direction, by which the head reads too
    assert abs(balanced[0]) < 0.2 * abs(plain[0])
    permuted = null_probes(points, code, patient, 3, np.random.default_rng(1), label, balanced=True)
    draws = permute_by_patient(patient, 3, np.random.default_rng(1), label)
    expected = [fit_probe(points, code[draw], label, balanced=True).weight for draw in draws]
    np.testing.assert_allclose(permuted, expected, rtol=1e-8, atol=1e-9)


def test_balanced_weights_need_classes(rng):
    for fit in (fit_probe, lambda *a, **k: null_probes(*a, np.arange(4), 2, rng, **k)):
        with pytest.raises(ValueError, match=r"balanced weights need strata, the class of each image, got none\."):
            fit(rng.normal(size=(4, 2)), [0, 0, 1, 1], balanced=True)


def test_spread_is_the_standard_deviation_over_draws_of_the_folds():
    points, code, patient, label, _ = simulated(3, 1.0)
    settings = {"permutations": 9, "bootstraps": 9}
    once = probe_encoding(points, code, patient, label, rng=np.random.default_rng(5), **settings)
    found = probe_encoding(points, code, patient, label, repeats=3, rng=np.random.default_rng(5), **settings)
    assert once.spread == {}
    rng = np.random.default_rng(5)
    first = patient_folds(patient, label, 5, rng)
    permute_by_patient(patient, 9, rng, label)
    folds = [first, *(patient_folds(patient, label, 5, rng) for _ in range(2))]
    accuracies = []
    for fold in folds:
        right = np.zeros(len(code), dtype=bool)
        for index in range(5):
            inside = fold == index
            # Shrinkage comes from all embeddings, so the probe is that of the module with the fold's rows.
            prepared = Discriminant.of(points)
            weight, bias = prepared.fit(np.flatnonzero(~inside), code[None, ~inside], None, 2)
            right[inside] = (prepared.points[inside] @ weight[0].T + bias[0]).argmax(axis=1) == code[inside]
        accuracies.append(right.mean())
    assert found.metrics["accuracy"][0] == pytest.approx(accuracies[0])
    assert found.spread["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert set(found.spread) == {*found.metrics, "auroc", "own_auroc"}


def test_selectivity_is_what_control_tasks_do_not_reach():
    for trace, low, high in ((0.0, -0.12, 0.12), (3.0, 0.3, 0.5)):
        points, code, patient, label, rng = simulated(3, trace, patients=150)
        found = probe_encoding(points, code, patient, label, permutations=49, bootstraps=9, rng=rng)
        assert found.selectivity == pytest.approx(found.own_auroc[0] - np.mean(found.null))
        assert low < found.selectivity < high


def test_margins_are_large_where_the_trace_is_plain_and_come_from_other_patients():
    points, code, patient, label, _ = simulated(2, 2.0, patients=120)
    marked = np.flatnonzero(code == 1)[:3]
    points[marked, 1] += 8  # plainly of level 1
    margins = held_out_margins(points, code, patient, label, rng=np.random.default_rng(0))
    assert set(np.argsort(-margins)[:3]) == set(marked)
    assert (margins > 0).mean() > 0.65
    # A patient who can be told by heart gives nothing away: the probe has not seen that patient.
    heart = np.eye(120)[patient] * 10
    lonely = held_out_margins(heart, code, patient, label, rng=np.random.default_rng(0))
    assert (lonely > 0.5).mean() < 0.2
