# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.special import expit, softmax
from scipy.stats import binom
from sklearn.cross_decomposition import CCA

from monai_shortcut.statistics.probes import fit_probe, null_probes
from monai_shortcut.statistics.resampling import permutation_p_value
from monai_shortcut.statistics.subspaces import orthonormal_rows, principal_cosines
from monai_shortcut.statistics.task_space import (
    TaskMatrix,
    joint_alignment,
    joint_alignment_null,
    joint_share,
    task_matrix,
)
from monai_shortcut.statistics.weight_space import alignment, weight_space_correlation
from monai_shortcut.storage.records import decode, encode

SIZES = {"plane": 4, "scanner": 3, "smoker": 1}


def cohort(rng, images: int = 200, columns: int = 12):
    """Embeddings (correlated, off centre) and labels."""
    axes = np.linalg.qr(rng.normal(size=(columns, columns))).Q
    points = rng.normal(size=(images, columns)) * 0.8 ** np.arange(columns) @ axes.T + rng.normal(size=columns)
    return points, np.arange(images) % 3


def heads_of(rng, columns: int = 12):
    return {task: rng.normal(size=(size, columns)) for task, size in SIZES.items()}


def descended(points, wanted, activation, steps: int = 400, rate: float = 0.5):
    """Head fitted by gradient descent from zero weights; `wanted` (N, M) are the levels or findings."""
    centred = points - points.mean(axis=0)
    weight, bias = np.zeros((wanted.shape[1], points.shape[1])), np.zeros(wanted.shape[1])
    for _ in range(steps):
        error = activation(centred @ weight.T + bias) - wanted
        weight -= rate * error.T @ centred / len(points)
        bias -= rate * error.mean(axis=0)
    return weight


def test_blocks_of_the_matrix_are_correlations_of_the_pairs(rng):
    heads, (points, _) = heads_of(rng), cohort(rng)
    for settings in ({}, {"variance": 0.9, "min_components": 1}, {"variance": None}):
        matrix = task_matrix(heads, points, **settings)
        assert matrix.tasks == ("plane",) * 4 + ("scanner",) * 3 + ("smoker",)
        found, tasks = np.array(matrix.cosines), np.array(matrix.tasks)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(np.diag(found), 1, atol=1e-12)
        for first, head in heads.items():
            for second, other in heads.items():
                expected = weight_space_correlation(head, other, points, **settings)
                np.testing.assert_allclose(found[np.ix_(tasks == first, tasks == second)], expected, atol=1e-12)
    assert decode(TaskMatrix, json.loads(json.dumps(encode(matrix)))) == matrix


def test_pairs_within_and_between_tasks_are_those_of_loops(rng):
    matrix = task_matrix(heads_of(rng), cohort(rng)[0])
    pairs = [
        (frozenset((matrix.tasks[i], matrix.tasks[j])), matrix.cosines[i][j]) for i in range(8) for j in range(i + 1, 8)
    ]
    within = [(names, value) for names, value in pairs if len(names) == 1]
    between = [(names, value) for names, value in pairs if len(names) == 2]
    assert matrix.within().tolist() == [value for _, value in within]
    assert matrix.between().tolist() == [value for _, value in between]
    assert (len(within), len(between)) == (6 + 3, 12 + 4 + 3)
    for task, count in {"plane": 6, "scanner": 3, "smoker": 0}.items():
        assert matrix.within(task).tolist() == [value for names, value in within if task in names]
        assert matrix.between(task).tolist() == [value for names, value in between if task in names]
        assert len(matrix.within(task)) == count
        for other in set(SIZES) - {task}:
            expected = [value for names, value in between if names == {task, other}]
            assert matrix.between(task, other).tolist() == expected
            assert len(expected) == SIZES[task] * SIZES[other]
    assert matrix.between(second="smoker").tolist() == matrix.between("smoker").tolist()


def test_levels_of_a_softmax_head_compete(rng):
    """Gradients of the logits sum to zero, and so do rows descended from zero, projected or not: with three levels they
    are the sides of a triangle, whose exterior angles have cosines that sum to less than -1."""
    points, _ = cohort(rng, 400)
    heads = {
        task: descended(points, np.eye(3)[(points @ rng.normal(size=(12, 3))).argmax(axis=1)], softmax_rows)
        for task in ("plane", "scanner")
    }
    for settings in ({}, {"variance": 0.8, "min_components": 1}):
        matrix = task_matrix(heads, points, **settings)
        for task in heads:
            assert -1.5 <= matrix.within(task).sum() < -1
    shifted = {task: head + 3 * np.linalg.norm(head) * np.eye(12)[0] for task, head in heads.items()}
    assert task_matrix(shifted, points).within().mean() > 0.5  # the same probabilities, written with other rows


def softmax_rows(logits):
    return softmax(logits, axis=1)


def test_inner_products_within_a_softmax_head_are_negative_on_average_and_of_sigmoid_heads_need_not_be(rng):
    points, _ = cohort(rng, 400)
    drivers = rng.normal(size=12) + 0.3 * rng.normal(size=(5, 12))
    logits = (points - points.mean(axis=0)) @ drivers.T
    softmax_head = descended(points, np.eye(5)[logits.argmax(axis=1)], softmax_rows)
    sigmoid_head = descended(points, (logits > 0).astype(float), expit)
    matrix = task_matrix({"one of five": softmax_head, "five findings": sigmoid_head}, points)
    length = np.linalg.norm(softmax_head, axis=1)  # all 12 components are kept
    products = np.outer(length, length)[np.triu_indices(5, 1)] * matrix.within("one of five")
    assert products.sum() == pytest.approx(-0.5 * (length**2).sum(), rel=1e-9)
    assert matrix.within("one of five").mean() < -0.1
    assert matrix.within("five findings").mean() > 0.5


def test_unrelated_tasks_are_narrow_around_zero_and_related_ones_are_not(rng):
    points = rng.normal(size=(2000, 100))
    drivers = {task: rng.normal(size=(100, 3)) for task in ("plane", "scanner")}
    drivers["protocol"] = drivers["scanner"]
    heads = {
        task: descended(points, np.eye(3)[(points @ driver + rng.normal(size=(2000, 3))).argmax(axis=1)], softmax_rows)
        for task, driver in drivers.items()
    }
    matrix = task_matrix(heads, points)
    assert np.abs(matrix.between("plane")).max() < 0.35
    assert abs(matrix.between("plane").mean()) < 0.02
    assert np.abs(matrix.between("scanner", "protocol")).max() > 0.9


def test_a_matrix_of_rows_without_direction(rng):
    points, _ = cohort(rng)
    matrix = task_matrix({"none": np.zeros((2, 12)), "some": np.eye(2, 12)}, points)
    assert (np.array(matrix.cosines)[:2] == 0).all()
    assert np.diag(matrix.cosines)[2:].tolist() == pytest.approx([1, 1])


def demeaned(values, labels):
    """Deviations from the mean of the label, or from the mean of all."""
    labels = np.zeros(len(values)) if labels is None else labels
    return values - np.array([values[labels == label].mean(axis=0) for label in labels])


def logits_of(head, points, labels):
    """Logits relative to the image's mean logit, as deviations."""
    logits = points @ np.asarray(head).T
    return demeaned(logits - logits.mean(axis=1, keepdims=True) if logits.shape[1] > 1 else logits, labels)


def canonical(first, second):
    """Canonical correlations by their definition: eigenvalues of products of covariances, as Hotelling has them."""
    a, b, c = first.T @ first, first.T @ second, second.T @ second
    roots = np.linalg.eigvals(np.linalg.pinv(a, rcond=1e-9) @ b @ np.linalg.pinv(c, rcond=1e-9) @ b.T)
    return np.sqrt(np.sort(np.clip(roots.real, 0, 1))[::-1])


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("sizes", [(3, 2), (4, 3, 1), (1, 1), (5,)])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_joint_alignment_is_the_canonical_correlation_of_the_logits(rng, classes, sizes, within):
    points, labels = cohort(rng)
    head, probes = rng.normal(size=(classes, 12)), [rng.normal(size=(size, 12)) for size in sizes]
    label = labels if within else None
    first = logits_of(head, points, label)
    second = np.concatenate([logits_of(probe, points, label) for probe in probes], axis=1)
    found = joint_alignment(head, probes, points, label)
    rank = min(max(classes - 1, 1), sum(max(size - 1, 1) for size in sizes))
    assert len(found) == rank
    np.testing.assert_allclose(found, canonical(first, second)[:rank], atol=1e-6)
    np.testing.assert_allclose(found, np.cos(subspace_angles(first, second))[::-1][:rank], atol=1e-10)
    explained = second @ np.linalg.lstsq(second, first, rcond=1e-10)[0]  # the logits of a probe sum to zero
    share = 1 - ((first - explained) ** 2).sum() / (first**2).sum()
    assert joint_share(head, probes, points, label) == pytest.approx(share, abs=1e-10)


def test_joint_alignment_equals_scikit_learns_canonical_correlations(rng):
    points, _ = cohort(rng)
    head, probes = rng.normal(size=(3, 12)), [rng.normal(size=(3, 12)), rng.normal(size=(2, 12))]
    first = logits_of(head, points, None)[:, 1:]  # the logits sum to zero
    second = np.concatenate([logits_of(probe, points, None)[:, 1:] for probe in probes], axis=1)
    variates = CCA(n_components=2, max_iter=10000, tol=1e-14).fit_transform(first, second)
    expected = [np.corrcoef(u, v)[0, 1] for u, v in zip(*(v.T for v in variates), strict=True)]
    np.testing.assert_allclose(joint_alignment(head, probes, points), expected, atol=1e-6)


@pytest.mark.parametrize("within", [False, True])
def test_with_one_binary_attribute_joint_alignment_is_alignment(rng, within):
    points, labels = cohort(rng)
    label = labels if within else None
    for classes, levels in ((2, 2), (1, 2), (2, 1), (1, 1)):
        head, probe = rng.normal(size=(classes, 12)), rng.normal(size=(levels, 12))
        expected = np.abs(alignment(head, probe, points, label)).max()
        assert joint_alignment(head, [probe], points, label) == pytest.approx((expected,), abs=1e-12)
        assert joint_share(head, [probe], points, label) == pytest.approx(expected**2, abs=1e-12)


def test_a_vector_added_to_every_row_and_another_scale_change_nothing(rng):
    points, labels = cohort(rng)
    head, probes = rng.normal(size=(3, 12)), [rng.normal(size=(4, 12)), rng.normal(size=(2, 12))]
    moved, others = head + 30 * rng.normal(size=12), [1e3 * (p + 30 * rng.normal(size=12)) for p in probes]
    others[1] *= 1e-9
    for label in (None, labels):
        expected = joint_alignment(head, probes, points, label)
        np.testing.assert_allclose(joint_alignment(moved, others, points, label), expected, rtol=0, atol=1e-9)
        share = joint_share(head, probes, points, label)
        assert joint_share(moved, others, points, label) == pytest.approx(share, abs=1e-9)
    change = weight_space_correlation(moved, others[0], points) - weight_space_correlation(head, probes[0], points)
    assert abs(change).max() > 0.3


def test_levels_and_attributes_that_repeat_others_add_nothing(rng):
    points, _ = cohort(rng)
    head, probe = rng.normal(size=(4, 12)), rng.normal(size=(3, 12))
    contrast = probe - probe.mean(axis=0)
    copies = [probe, -2 * probe[::-1] + 1, contrast[:1] - 0.5 * contrast[1:2], np.tile(probe[0], (3, 1))]
    expected = joint_alignment(head, [probe], points)
    assert len(expected) == 2
    np.testing.assert_allclose(joint_alignment(head, copies, points), expected, rtol=0, atol=1e-9)
    more = joint_alignment(head, [probe, rng.normal(size=(2, 12))], points)
    assert len(more) == 3
    assert more[0] > expected[0] + 1e-3


def test_small_differences_between_attributes_or_levels_are_directions(rng):
    points, _ = cohort(rng)
    head, probe = rng.normal(size=(1, 12)), rng.normal(size=(1, 12))
    near = probe + 1e-5 * head
    for probes in ([probe, near], [np.concatenate([probe, near, -probe])]):
        assert joint_alignment(head, probes, points) == pytest.approx((1,), abs=1e-9)
    assert joint_alignment(head, [near], points)[0] < 0.9


def test_a_head_that_mixes_two_attributes_is_explained_by_both_and_by_neither_alone(rng):
    points, labels = cohort(rng)
    probes = [rng.normal(size=(2, 12)), rng.normal(size=(3, 12))]
    mixed = (probes[0][0] - probes[0][1]) + (probes[1][0] - probes[1].mean(axis=0))
    head = np.stack([mixed, -mixed]) + rng.normal(size=12)
    for label in (None, labels):
        assert joint_alignment(head, probes, points, label) == pytest.approx((1,), abs=1e-10)
        assert joint_share(head, probes, points, label) == pytest.approx(1, abs=1e-10)
        for probe in probes:
            assert joint_alignment(head, [probe], points, label)[0] < 0.95
            assert joint_share(head, [probe], points, label) < 0.9
    assert joint_alignment(head, [probes[0], rng.normal(size=(3, 12))], points)[0] < 0.98


def test_more_attributes_never_explain_less(rng):
    points, labels = cohort(rng)
    head, probes = rng.normal(size=(4, 12)), [rng.normal(size=(3, 12)) for _ in range(7)]
    found = [joint_alignment(head, probes[:count], points, labels) for count in range(1, 8)]
    shares = [joint_share(head, probes[:count], points, labels) for count in range(1, 8)]
    assert (np.diff([values[0] for values in found]) > -1e-12).all()
    assert (np.diff(shares) > -1e-12).all()
    assert found[-1] == pytest.approx((1, 1, 1), abs=1e-10)  # 14 contrasts in 12 columns: whatever the head is
    assert shares[-1] == pytest.approx(1, abs=1e-10)
    assert max(found[0]) < 0.98


def test_share_weighs_contrasts_by_their_variance(rng):
    """The attribute holds one of two uncorrelated contrasts entirely, the one whose logits vary far less."""
    points = np.linalg.qr(rng.normal(size=(50, 4))).Q
    points -= points.mean(axis=0)
    points = np.linalg.qr(points).Q  # uncorrelated columns of equal variance, means of zero
    head = np.array([[10, 1, 0, 0], [-10, 1, 0, 0], [0, -2, 0, 0]])
    probe = [np.eye(4)[1:2]]
    assert joint_alignment(head, probe, points) == pytest.approx((1,), abs=1e-10)
    assert joint_share(head, probe, points) == pytest.approx(6 / 206, abs=1e-10)


def test_what_does_not_vary_is_not_explained(rng):
    points, labels = cohort(rng)
    head, probe = rng.normal(size=(3, 12)), rng.normal(size=(4, 12))
    of_labels = rng.normal(size=(3, 12))[labels]
    nothing = [
        (np.tile(head[0], (3, 1)), [probe], points, None),
        (head, [np.tile(probe[0], (3, 1)), np.zeros((2, 12))], points, None),
        (head, [probe], np.full((40, 12), 0.1), None),
        (head, [probe], np.full((40, 12), 1e6 / 7), None),
        (head, [probe], of_labels, labels),
    ]
    for arguments in nothing:
        assert joint_alignment(*arguments) == (0.0,)
        assert joint_share(*arguments) == 0.0
    assert joint_alignment(head, [probe], of_labels)[0] > 0.1
    null = joint_alignment_null(head, [np.stack([0 * probe, probe])], points)
    assert null[0] == 0
    assert null[1] > 0.1


@pytest.mark.parametrize(("images", "columns"), [(200, 12), (20, 50)])
def test_null_is_the_largest_joint_alignment_of_each_permutation(rng, images, columns):
    points, labels = cohort(rng, images, columns)
    head = rng.normal(size=(3, columns))
    draws = [rng.normal(size=(70, size, columns)) for size in (3, 2, 1)]  # more than fit into one block
    draws[1][66] = 0  # one of another rank
    for label in (None, labels):
        expected = [joint_alignment(head, list(probes), points, label)[0] for probes in zip(*draws, strict=True)]
        np.testing.assert_allclose(joint_alignment_null(head, draws, points, label), expected, atol=1e-12)
    assert joint_alignment_null(head, [d[:0] for d in draws], points).shape == (0,)


def p_value(head, attributes, points, patients, rng, permutations=39):
    """By permuting the attributes together."""
    probes, seed = [fit_probe(points, codes).weight for codes in attributes], int(rng.integers(2**31))
    null = [null_probes(points, c, patients, permutations, np.random.default_rng(seed)) for c in attributes]
    observed = joint_alignment(head, probes, points)[0]
    return permutation_p_value(observed, joint_alignment_null(head, null, points))


def test_generators_of_one_seed_permute_attributes_together(rng):
    """An attribute and its copy stay one attribute."""
    (points, _), codes, patients = cohort(rng), rng.integers(3, size=200), np.repeat(np.arange(100), 2)
    head = rng.normal(size=(3, 12))
    null = [null_probes(points, codes, patients, 50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    alone = joint_alignment_null(head, null[:1], points)
    np.testing.assert_allclose(joint_alignment_null(head, null[:2], points), alone, atol=1e-9)
    assert joint_alignment_null(head, null[1:], points).mean() > alone.mean() + 0.05


def test_permutations_find_attributes_that_are_used_and_nothing_where_none_is(rng):
    """Two attributes that go along with each other; each image is a patient."""
    silent, loud, patients = [], [], np.arange(80)
    for _ in range(150):
        points, shared = rng.normal(size=(80, 12)), rng.normal(size=80)
        attributes = [(shared + rng.normal(size=80) > 0).astype(int) for _ in range(2)]
        silent.append(p_value(rng.normal(size=(2, 12)), attributes, points, patients, rng))
        if len(loud) < 20:
            moved = points + np.array([codes - codes.mean() for codes in attributes]).T @ (3 * np.eye(2, 12))
            head = np.stack([np.eye(12)[0] + np.eye(12)[1], np.zeros(12)])
            loud.append(p_value(head, attributes, moved, patients, rng))
    for level in (0.05, 0.2, 0.5):
        low, high = binom.interval(0.999, 150, level)
        assert low <= (np.array(silent) <= level + 1e-9).sum() <= high
    assert np.mean(np.array(loud) <= 0.05) > 0.9


def test_orthonormal_rows_span_the_images_whatever_their_rank(rng):
    image = rng.normal(size=(3, 2, 2)) @ rng.normal(size=(2, 7))
    image = np.concatenate([image, image.sum(axis=1, keepdims=True)], axis=1)
    image[1] = 0
    image[2, 1:] = image[2, :1]
    rows = orthonormal_rows(image)
    assert rows.any(axis=-1).sum(axis=-1).tolist() == [2, 0, 1]
    np.testing.assert_allclose(image @ np.swapaxes(rows, -1, -2) @ rows, image, atol=1e-12)
    gram = rows @ np.swapaxes(rows, -1, -2)
    np.testing.assert_allclose(gram, [np.diag(d) for d in ([1, 1, 0], [0, 0, 0], [1, 0, 0])], atol=1e-12)
    assert not orthonormal_rows(image, [100, 100, 100]).any()
    np.testing.assert_allclose(principal_cosines(rows[0], rows[0]), [1, 1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("function", "name", "axes", "dims"),
    [
        (joint_alignment, "probes", "M", 2),
        (joint_share, "probes", "M", 2),
        (joint_alignment_null, "null_probes", "B, M", 3),
    ],
)
def test_arrays_that_do_not_fit_jointly_are_refused(rng, function, name, axes, dims):
    points, labels = cohort(rng)
    head, probe = np.ones((3, 12)), np.ones((4, 3, 12)[3 - dims :])
    cases = [
        ((head, [], points), f"^{name} must hold the probe of at least one attribute, got none"),
        ((head, [probe, probe[0]], points), rf"^{name}\[1\] must have shape \({axes}, 12\) to match embeddings, got "),
        ((head, [probe[..., 1:]], points), rf"^{name}\[0\] must have shape \({axes}, 12\) to match embeddings, got "),
        ((head, [probe * np.nan], points), rf"^{name}\[0\] must be finite, got {probe.size} numbers that are not"),
        ((head[0], [probe], points), r"head must have shape \(C, 12\) to match embeddings, got \(12,\)"),
        ((head * np.inf, [probe], points), "head must be finite, got 36 numbers that are not"),
        ((head, [probe], points[0]), r"embeddings must have shape \(N, D\) with N at least 2, got \(12,\)"),
        ((head, [probe], points, labels[1:]), r"labels must have shape \(200,\) to match embeddings, got \(199,\)"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_permutations_that_differ_in_number_are_refused(rng):
    draws = [np.ones((4, 3, 12)), np.ones((5, 3, 12))]
    message = r"null_probes must hold equally many permutations of each attribute, got \[4, 5\]"
    with pytest.raises(ValueError, match=message):
        joint_alignment_null(np.ones((3, 12)), draws, cohort(rng)[0])


def test_what_is_no_task_is_refused(rng):
    heads, (points, _) = heads_of(rng), cohort(rng)
    matrix = task_matrix(heads, points)
    known = r"task must be one of \['plane', 'scanner', 'smoker'\], got 'age'"
    for question in (matrix.within, matrix.between, lambda task: matrix.between(second=task)):
        with pytest.raises(ValueError, match=known):
            question("age")
    with pytest.raises(ValueError, match="first and second must be different tasks, got 'plane' twice"):
        matrix.between("plane", "plane")
    with pytest.raises(ValueError, match="heads must hold the head of at least one task, got none"):
        task_matrix({}, points)
    with pytest.raises(
        ValueError, match=r"heads\['age'\] must have shape \(M, 12\) to match embeddings, got \(3, 11\)"
    ):
        task_matrix({**heads, "age": np.ones((3, 11))}, points)
    with pytest.raises(ValueError, match=r"heads\['age'\] must be finite, got 12 numbers that are not"):
        task_matrix({**heads, "age": np.full((1, 12), np.nan)}, points)
    with pytest.raises(ValueError, match=r"variance must be in \(0, 1\], got 2"):
        task_matrix(heads, points, variance=2)
    with pytest.raises(ValueError, match="min_components must be at least 1, got 0"):
        task_matrix(heads, points, min_components=0)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N, D\) with N at least 2, got \(12,\)"):
        task_matrix(heads, points[0])
