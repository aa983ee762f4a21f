# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from scipy.special import softmax

from monai_shortcut.analyses import sample as module
from monai_shortcut.analyses.sample import Embeddings, Sample, two_rows
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.ordering import OrderedRows
from monai_shortcut.statistics.resampling import Resampling, patient_folds, permuted_codes
from monai_shortcut.types import Estimate, Unmeasurable


def example(rng, images: int = 90, columns: int = 6, classes: int = 3):
    """Embeddings, labels, patients of one to three images and a head."""
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) + 3
    patients = np.sort(rng.integers(images // 2, size=images))
    return points, rng.integers(classes, size=images), patients, rng.normal(size=(classes, columns)), np.arange(classes)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_answers_are_those_of_the_head(rng, kind):
    points, labels, patients, weight, bias = example(rng)
    images = Sample.of(points.astype(kind), weight, bias, labels, patients)
    assert images.points.source.points.dtype == kind
    assert (len(images), images.classes) == (90, 3)
    expected = softmax(points @ weight.T + bias, axis=1)
    np.testing.assert_allclose(images.probabilities, expected, atol=1e-12 if kind == np.float64 else 1e-5)
    assert images.probabilities.dtype == np.float64
    assert images.image_ids.tolist() == [str(index) for index in range(90)]
    assert images.draws == Resampling()


@pytest.mark.parametrize("classes", [2, 7, 8])
def test_linked_logits_are_their_softmax(rng, classes):
    images = Sample.of_probabilities(softmax(rng.normal(size=(9, classes)), axis=1), np.arange(9) % 2, np.arange(9))
    logits = 300 * rng.normal(size=(4, 50, classes))
    np.testing.assert_array_equal(images.linked(logits), softmax(logits, axis=-1))


def test_a_single_logit_is_that_of_the_second_class(rng):
    points, labels, patients, weight, _ = example(rng, classes=2)
    images = Sample.of(points, weight[:1], [0.5], labels, patients, image_ids=[f"i{n}" for n in range(90)])
    np.testing.assert_allclose(images.probabilities[:, 1], 1 / (1 + np.exp(-points @ weight[0] - 0.5)), atol=1e-12)
    assert images.weight.tolist() == [[0.0] * 6, weight[0].tolist()]
    assert images.bias.tolist() == [0.0, 0.5]
    assert images.image_ids[3] == "i3"
    assert two_rows(weight, np.zeros(2))[0] is weight  # a head of two classes stays


def test_patients_may_have_names_and_classes_may_be_absent(rng):
    points, _, _, weight, bias = example(rng)
    images = Sample.of(points, weight, bias, np.repeat([0, 2], 45), np.repeat(["b", "a", "c"], 30))
    assert images.patients.tolist() == np.repeat([0, 1, 2], 30).tolist()  # as they appear
    assert images.strata.tolist() == np.repeat([0, 1], 45).tolist()
    assert images.labels[-1] == 2


FIT = {"points": np.arange(12.0).reshape(6, 2), "weight": np.eye(2), "bias": [0, 0], "labels": [0, 1] * 3}
ANSWERS = np.full((6, 2), 0.5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": np.ones(6)}, r"embeddings must have shape \(N, D\), got \(6,\)"),
        ({"points": np.full((6, 2), np.nan)}, "embeddings must be finite, got 6 images not so"),
        ({"weight": np.eye(3)}, r"weight and bias must have shapes \(C, 2\) and \(C,\), got \(3, 3\) and \(2,\)"),
        ({"bias": [0, np.inf]}, "bias must be finite, got 1 numbers that are not"),
        ({"labels": [0, 1]}, r"labels must have shape \(6,\) to match embeddings, got \(2,\)"),
        ({"labels": [0, 1, 2] * 2}, r"labels must be in 0 to 1, got \[0, 1, 2\]"),
        ({"labels": [1] * 6}, r"labels must hold at least two classes, got \[1\]"),
        ({"patients": range(5)}, r"patients must have shape \(6,\) to match embeddings, got \(5,\)"),
        ({"image_ids": ["a"]}, r"image_ids must have shape \(6,\) to match embeddings, got \(1,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, message):
    given = {**FIT, "patients": range(6), "image_ids": None, **changed}
    ids, arrays = given.pop("image_ids"), [given[name] for name in ("points", "weight", "bias", "labels", "patients")]
    with pytest.raises(ValueError, match=message):
        Sample.of(*arrays, image_ids=ids)
    if not changed.keys() & {"points", "weight", "bias"}:
        with pytest.raises(ValueError, match=message):
            Sample.of_probabilities(ANSWERS, *arrays[3:], image_ids=ids)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (np.ones(6), r"probabilities must have shape \(N, C\) with C at least 2, got \(6,\)"),
        (np.ones((6, 1)), r"probabilities must have shape \(N, C\) with C at least 2, got \(6, 1\)"),
        ([[0.5, np.nan]] * 6, r"probabilities must be in \[0, 1\], got 6 that are not"),
        ([[-0.5, 1.5]] * 5 + [[0, 1]], r"probabilities must be in \[0, 1\], got 10 that are not"),
        ([[0.5, 0.5]] * 5 + [[0.5, 0.75]], r"rows of probabilities must sum to 1, got a row that is off by 0\.25"),
    ],
)
def test_what_are_no_probabilities_is_refused(answers, message):
    with pytest.raises(ValueError, match=message):
        Sample.of_probabilities(answers, [0, 1] * 3, range(6))


def test_of_answers_alone_there_are_no_embeddings(rng):
    images = images_of([0, 1] * 3, answers=ANSWERS)
    assert (images.weight.shape, images.bias.tolist()) == ((2, 0), [0.0, 0.0])
    for question in (lambda: images.points, lambda: images.head, lambda: images.folds(), lambda: images.together):
        with pytest.raises(
            Unmeasurable, match="it takes the embeddings, and only the predicted probabilities are known"
        ):
            question()


def test_folds_need_a_patient_each(rng):
    images = images_of([0, 1] * 3, [0, 0, 1, 1, 2, 2], points=rng.normal(size=(6, 2)), folds=4)
    for question in (images.folds, lambda: images.metric(True)):
        with pytest.raises(Unmeasurable, match="there must be a patient for each of 4 folds, got 3"):
            question()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (Levels(("a",), np.zeros(6, np.int64), 0, {}, problem="every image has the same value (a)"), "same value"),
        (levels_of([0, 1] * 3), "at least one label must hold images of two levels, got an attribute that coincides"),
        (levels_of([0, -1, -1, 1, 0, 1]), "at least one label must hold images of two levels"),
    ],
)
def test_an_attribute_without_levels_to_compare_cannot_be_measured(levels, message):
    with pytest.raises(Unmeasurable, match=message):
        images_of([0, 1] * 3, answers=ANSWERS).by("scanner", levels)


def test_an_attribute_is_analysed_where_its_level_is_known(rng):
    points, labels, patients, weight, bias = example(rng)
    code = rng.integers(-1, 3, size=90)
    sample = sample_of(code, labels, patients, points=points, weight=weight, bias=bias, kind="ordinal")
    known = code >= 0
    assert 0 < known.sum() == len(sample) < 90
    assert (sample.count, sample.ordered) == (3, True)
    for found, expected in (
        (sample.rows, np.flatnonzero(known)),
        (sample.codes, code[known]),
        (sample.labels, labels[known]),
        (sample.strata, labels[known]),
        (sample.patients, sample.images.patients[known]),
        (sample.probabilities, sample.images.probabilities[known]),
        (sample.observed.codes, code[None, known]),
    ):
        np.testing.assert_array_equal(found, expected)
    assert not sample_of(code, labels, points=points).ordered


def test_rows_are_a_sample_of_their_own_and_all_of_them_are_the_same(rng):
    points, labels, patients, weight, bias = example(rng)
    images = images_of(labels, patients, points=points, weight=weight, bias=bias)
    assert images.rows(np.ones(90, bool)) is images
    chosen = patients % 2 == 0
    found, expected = images.rows(chosen), images_of(labels[chosen], patients[chosen], points=points[chosen])
    np.testing.assert_array_equal(found.points.source.rows(slice(None)), points[chosen])
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.patients, expected.patients)
    np.testing.assert_array_equal(found.probabilities, images.probabilities[chosen])
    assert found.image_ids.tolist() == np.flatnonzero(chosen).astype(str).tolist()
    assert images_of(labels, answers=images.probabilities).rows(chosen).embeddings is None


@pytest.mark.parametrize(("images", "columns"), [(90, 6), (40, 60)])
def test_principal_axes_are_those_of_a_singular_value_decomposition(rng, images, columns):
    points = rng.normal(size=(images, columns)) * 0.9 ** np.arange(columns) + 3
    points[:, 1] = 0.1
    power, axes = Embeddings(OrderedRows(points)).axes
    _, singular, expected = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    spanned = min(images, columns) - 1  # one column or, where there are few images, the mean
    assert len(axes) == spanned
    np.testing.assert_allclose(power, singular[:spanned] ** 2, rtol=1e-8)
    np.testing.assert_allclose(np.abs(np.sum(axes * expected[:spanned], axis=1)), 1, atol=1e-8)
    np.testing.assert_allclose(axes @ axes.T, np.eye(spanned), atol=1e-8)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("images", "columns"), [(90, 6), (40, 60)])
def test_the_metric_is_that_of_the_deviations(rng, images, columns, within):
    points, labels, patients, weight, bias = example(rng, images, columns)
    sample = images_of(labels, patients, points=points, weight=weight, bias=bias)
    deviation = points - points.mean(axis=0)
    for value in range(3) if within else []:
        deviation[labels == value] -= deviation[labels == value].mean(axis=0)
    others = rng.normal(size=(4, columns))
    prepared, root = sample.points.standardized, sample.metric(within)
    seen, expected = sample.head @ root.T @ root @ prepared.coordinates(others).T, deviation @ weight.T
    np.testing.assert_allclose(seen, expected.T @ (deviation @ others.T), atol=1e-8 * abs(seen).max())
    assert sample.metric(within) is root


def test_folds_are_those_of_patients_and_shared_by_all_attributes(rng):
    points, labels, patients, *head = example(rng)
    images = images_of(labels, patients, points=points, weight=head[0], bias=head[1], folds=4, seed=3)
    for draw in (0, 1):
        folded = images.folds(draw)
        assert (folded is images.folds(draw)) == (draw == 0)  # the first is kept
        expected = patient_folds(patients, labels, 4, images.rng("folds", str(draw)))
        np.testing.assert_array_equal(folded.fold, expected)
    assert (images.folds(0).fold != images.folds(1).fold).any()
    together = images.together
    np.testing.assert_allclose(together.gram[0], images.points.standardized.gram, atol=1e-9)
    assert (together.folds, together.fold.max()) == (1, 0)


def test_permutations_are_drawn_between_patients_within_cells(rng):
    points, labels, patients, *_ = example(rng)
    sample = sample_of(rng.integers(-1, 3, size=90), labels, patients, points=points, permutations=20)
    cells = rng.integers(2, size=len(sample))
    for one, within in ((sample, sample.labels), (replace(sample, cells=cells), cells)):
        found = one.permuted
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found[0], sample.codes)
        draws = permuted_codes(sample.codes, sample.patients, 20, sample.rng("permutations"), within)
        np.testing.assert_array_equal(found[1:], draws)
        assert one.permuted is found
    assert len(sample.codings(5).codes) == 6
    assert len(sample.codings().codes) == 21


def test_blocks_of_codings_are_all_of_them(rng, monkeypatch):
    points, labels, patients, *_ = example(rng)
    sample = sample_of(rng.integers(3, size=90), labels, patients, points=points, permutations=10)
    (whole,) = sample.in_blocks()
    monkeypatch.setattr(module, "_SUMS", 4 * sample.draws.folds * points.shape[1] * 2 + 1)
    blocks = list(sample.in_blocks())
    assert [len(block.codings.codes) for block in blocks] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([block.codings.codes for block in blocks]), sample.permuted)
    np.testing.assert_allclose(np.concatenate([block.sums for block in blocks], axis=-1), whole.sums)
    assert [len(block.codings.codes) for block in sample.in_blocks(5)] == [4, 2]


def test_resampled_sums_are_those_of_images_repeated(rng):
    points, labels, patients, *_ = example(rng)
    images = images_of(labels, patients, points=points, bootstraps=70, confidence=0.9)
    values, rows, cell = rng.normal(size=(50, 2)), rng.permutation(90)[:50], rng.integers(3, size=50)
    found, alone = images.resampled(values, rows, cell, 3), images.resampled(points)
    means = []
    for draw, times in enumerate(images.bootstrap):
        repeated = np.repeat(np.arange(50), times[images.patients[rows]])
        for index in range(3):
            inside = repeated[cell[repeated] == index]
            np.testing.assert_allclose(found[draw, index], values[inside].sum(axis=0), atol=1e-10)
        np.testing.assert_allclose(alone[draw, 0], times[images.patients] @ points, atol=1e-9)
        means.append(values[repeated, 0].mean())
    mean = images.mean(values[:, 0], rows)
    assert mean.value == pytest.approx(values[:, 0].mean())
    np.testing.assert_allclose([mean.low, mean.high], np.quantile(means, [0.05, 0.95]), rtol=1e-9)


def test_each_bootstrap_sample_draws_as_many_patients_as_there_are(rng):
    points, labels, patients, *_ = example(rng)
    images = images_of(labels, patients, points=points, bootstraps=300)
    count = images.patients.max() + 1
    assert images.bootstrap.shape == (300, count)
    assert (images.bootstrap.sum(axis=1) == count).all()
    assert images.bootstrap.mean(axis=0).std() < 3 / np.sqrt(300)


def test_streams_depend_on_seed_attribute_and_purpose_alone(rng):
    points, labels, patients, *_ = example(rng)
    code = rng.integers(2, size=90)
    settings = {"points": points, "seed": 5}
    numbers = [
        sample_of(code, labels, patients, name="site", **settings).rng("permutations").random(),
        sample_of(code, labels, patients, name="site", **settings).rng("held out").random(),
        sample_of(code, labels, patients, name="sex", **settings).rng("permutations").random(),
        sample_of(code, labels, patients, name="site", points=points, seed=6).rng("permutations").random(),
        images_of(labels, patients, **settings).rng("permutations").random(),
    ]
    assert len(set(numbers)) == 5
    again = sample_of(1 - code, labels, patients, name="site", **settings)
    again.rng("anything").random(100)
    assert again.rng("permutations").random() == numbers[0]


def test_percentile_limits():
    found = Estimate.of(120.0, np.arange(201.0), 0.5)
    assert found == Estimate(120.0, 50.0, 150.0)


@pytest.mark.parametrize(("value", "low", "high"), [(3.0, 3.0, 150.0), (170.0, 50.0, 170.0)])
def test_an_interval_holds_its_value(value, low, high):
    """A gap of few patients stood outside its own: 0.93 (-0.31 to 0.92)."""
    assert Estimate.of(value, np.arange(201.0), 0.5) == Estimate(value, low, high)
