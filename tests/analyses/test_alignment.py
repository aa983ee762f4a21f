# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of

from monai_shortcut.analyses.alignment import Alignment, alignment, head_matrix, label_alignment
from monai_shortcut.statistics import weight_space
from monai_shortcut.statistics.probes import fit_probe
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.statistics.task_space import task_matrix
from monai_shortcut.statistics.weight_space import component_sweep, weight_space_correlation
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable

SHAPES = {"few columns": (200, 12), "many columns": (300, 60), "more columns than images": (50, 70)}


def example(rng, images: int = 200, columns: int = 12, levels: int = 3, classes: int = 3):
    """Embeddings (correlated, off centre, one column constant) that know level and class; a head."""
    code, label = rng.permutation(np.arange(images) % levels), rng.permutation(np.arange(images) % classes)
    axes = np.linalg.qr(rng.normal(size=(columns, columns))).Q
    points = rng.normal(size=(images, columns)) * 0.95 ** np.arange(columns) @ axes.T + rng.normal(size=columns)
    points += rng.normal(size=(levels, columns))[code] + rng.normal(size=(classes, columns))[label]
    points[:, 3] = 0.1
    head = rng.normal(size=(classes, columns))
    return points, code, label, np.arange(images) // 2, head


def of(points, code, label, patient, head, kind="categorical", variance=0.99, least=50, own_head=None, **draws):
    sample = sample_of(code, label, patient, kind=kind, points=points, weight=head, **draws)
    return sample, alignment(sample, variance, least, own_head)


@pytest.mark.parametrize("settings", [(0.99, 50), (0.9, 5)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_number_is_that_of_the_array_functions(rng, shape, settings):
    """Roots of sums of squares against decompositions of the embeddings; probes fitted one by one."""
    points, code, label, patient, head = example(rng, *SHAPES[shape])
    own = rng.normal(size=(4, points.shape[1]))
    sample, found = of(points, code, label, patient, head, "categorical", *settings, own)

    def published(probe):
        return weight_space_correlation(head, probe, points, *settings)

    blind, within = fit_probe(points, code).weight, fit_probe(points, code, label).weight
    for name, expected in {
        "wsc": published(blind),
        "within": weight_space.alignment(head, within, points, label),
        "raw": weight_space_correlation(head, blind, points, None),
        "balanced": published(fit_probe(points, code, label, balanced=True).weight),
        "multi_task": published(own),
        "logits": weight_space.alignment(head, blind, points),
        "sweep": component_sweep(head, blind, points).cosines,
    }.items():
        value = getattr(found, name)
        np.testing.assert_allclose(value.cosines if name == "sweep" else value, expected, atol=1e-7, err_msg=name)
        assert np.std(expected) > 0.02
    assert found.sweep.components == component_sweep(head, blind, points).components
    null = [
        (
            abs(published(fit_probe(points, coding).weight)).max(),
            abs(weight_space.alignment(head, fit_probe(points, coding, label).weight, points, label)).max(),
        )
        for coding in sample.permuted
    ]
    for test, expected in zip((found.wsc_test, found.test), zip(*null, strict=True), strict=True):
        np.testing.assert_allclose([test.observed, *test.null], expected, atol=1e-7)
    assert found.wsc_test.observed == pytest.approx(abs(np.array(found.wsc)).max())
    assert found.test.observed == pytest.approx(abs(np.array(found.within)).max())


def test_of_an_ordered_attribute_one_direction_is_compared(rng):
    points, code, label, patient, head = example(rng, levels=4)
    _, found = of(points, code, label, patient, head, "ordinal")
    for name in ("wsc", "within", "raw", "balanced", "logits"):
        assert np.shape(getattr(found, name)) == (3, 1)
    prepared = Standardized.of(points)
    z = prepared.rows(slice(None))
    residual = np.concatenate([z[label == value] - z[label == value].mean(axis=0) for value in range(3)])
    marks = np.concatenate([code[label == value] - code[label == value].mean() for value in range(3)])
    covariance = residual.T @ residual / 200
    covariance = (1 - prepared.shrinkage) * covariance + prepared.shrinkage * np.trace(covariance) / 12 * np.eye(12)
    row = prepared.original(np.linalg.solve(covariance, residual.T @ marks))
    expected = weight_space.alignment(head, row[None], points, label)
    np.testing.assert_allclose(found.within, expected, atol=1e-8)
    # Two levels in their order point as two categories do.
    two = code % 2
    ordered, categories = (of(points, two, label, patient, head, kind)[1] for kind in ("ordinal", "categorical"))
    np.testing.assert_allclose(np.array(ordered.within)[:, 0], np.array(categories.within)[:, 1], atol=1e-8)
    np.testing.assert_allclose(ordered.test.null, categories.test.null, atol=1e-8)


def test_images_without_a_level_shape_the_metric_and_no_probe(rng):
    """Where they are like the others nothing but noise changes; where they lie elsewhere the probe does not follow."""
    points, code, label, patient, head = example(rng, 1000)
    unknown = rng.random(1000) < 0.3
    some = np.where(unknown, -1, code)
    whole, part = (of(points, codes, label, patient, head)[1] for codes in (code, some))
    np.testing.assert_allclose(part.within, whole.within, atol=0.2)
    far = points + 30 * unknown[:, None] * np.eye(12)[0]
    away = of(far, some, label, patient, np.eye(12)[[0, 0, 1]] * [[1], [-1], [0]])[1]
    assert abs(np.array(away.within)[0]).max() < 0.4  # the head reads who is unknown


def test_float32_embeddings_change_nothing_that_matters(rng):
    points, *others = example(rng, 300, 60)
    double, single = (of(points.astype(kind), *others)[1] for kind in (np.float64, np.float32))
    for name in ("wsc", "within", "raw", "balanced", "logits"):
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), atol=1e-4)
    np.testing.assert_allclose(single.test.null, double.test.null, atol=1e-4)


def reading(seed: int, reads: float, patients: int = 60):
    """Patients with marks of their own; an attribute that leaves a trace, which the head reads or not."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    label, code = (rng.permutation(np.arange(patients) % 2)[patient] for _ in range(2))
    points = rng.normal(size=(patients, 20))[patient] + 0.3 * rng.normal(size=(len(patient), 20))
    points[:, 0] += 2 * label
    points[:, 1] += 2 * (reads > 0) * code
    head = np.zeros((2, 20))
    head[1, :3] = 1.0, reads, 0.5
    return points, code, label, patient, head


def test_p_values_are_uniform_for_an_attribute_at_random():
    found = [of(*reading(seed, 0.0), permutations=39, seed=seed)[1] for seed in range(300)]
    p_values = np.array([(each.test.p_value, each.wsc_test.p_value) for each in found])
    rejected = (p_values <= 0.05).mean(axis=0)
    assert ((rejected > 0.02) & (rejected < 0.085)).all()
    quartiles = np.quantile(p_values, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(quartiles, np.repeat([[0.25], [0.5], [0.75]], 2, axis=1), atol=0.1)


def test_a_head_that_reads_the_attribute_is_aligned_with_it():
    found = [of(*reading(seed, 1.5), permutations=39)[1] for seed in range(30)]
    assert np.mean([each.test.p_value <= 0.05 for each in found]) > 0.9
    assert np.mean([each.within[1][1] for each in found]) > 0.5


def test_heads_of_all_tasks_are_compared_as_the_matrix_of_arrays_does(rng):
    points, code, label, patient, head = example(rng)
    images = images_of(label, patient, points=points, weight=head)
    two, own = code % 2, rng.normal(size=(3, 12))
    attributes = {name: images.by(name, levels_of(codes)) for name, codes in (("site", code), ("sex", two))}
    found = head_matrix(images, attributes, {"site": own, "age": own}, 0.9, 5)
    rows = {"label": head, "site (probe)": fit_probe(points, code).weight, "sex (probe)": fit_probe(points, two).weight}
    expected = task_matrix({**rows, "site (own head)": own}, points, 0.9, 5)
    assert found.tasks == expected.tasks
    np.testing.assert_allclose(found.cosines, expected.cosines, atol=1e-8)


def test_a_head_that_tells_no_class_from_the_others_has_no_direction(rng):
    """Its rows differ by their rounding alone."""
    points, code, label, patient, head = example(rng)
    alike = head[:1] * np.array([[1.0], [1 + 1e-16], [1 - 1e-16]])[: len(head)]
    images = images_of(label, patient, points=points, weight=alike)
    found = alignment(images.by("site", levels_of(code)))
    np.testing.assert_array_equal(found.within, 0)
    np.testing.assert_array_equal(found.logits, 0)


def test_the_label_is_aligned_as_an_attribute_would_be(rng):
    points, _, label, patient, head = example(rng)
    label = np.array([0, 2])[label % 2]  # class 1 is absent
    found = label_alignment(images_of(label, patient, points=points, weight=head), 0.9, 5)
    expected = weight_space_correlation(head, fit_probe(points, label // 2).weight, points, 0.9, 5)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments = example(rng)
    found = [of(*arguments, seed=seed)[1] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    np.testing.assert_allclose(found[0].wsc, found[2].wsc, atol=1e-12)  # the permutations differ, not the probe
    assert found[0].multi_task == ()
    assert decode(Alignment, json.loads(json.dumps(encode(found[0])))) == found[0]


def test_what_cannot_be_compared_is_refused(rng):
    points, code, label, patient, head = example(rng)
    with pytest.raises(
        ValueError, match=r"attribute head must have shape \(M, 12\) to match embeddings, got \(3, 11\)"
    ):
        of(points, code, label, patient, head, own_head=head[:, 1:])
    for settings, message in (((2, 50), r"variance must be in \(0, 1\], got 2"), ((0.9, 0), "min_components must be")):
        with pytest.raises(ValueError, match=message):
            of(points, code, label, patient, head, "categorical", *settings)
    answers = images_of(label, answers=np.full((200, 3), 1 / 3))
    sample = answers.by("site", levels_of(code))
    for question in (
        lambda: alignment(sample),
        lambda: label_alignment(answers),
        lambda: head_matrix(answers, {"site": sample}, {}),
    ):
        with pytest.raises(Unmeasurable, match="it takes the embeddings"):
            question()
