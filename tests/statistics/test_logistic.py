# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_shortcut.statistics import logistic
from monai_shortcut.statistics.logistic import Heads, PooledHead, fit_many, log_odds

TIGHT = 1e-10
STRENGTH = 10.0


def data(rng, *, images=240, size=8, classes=2, heads=6, signal=1.0):
    """Correlated columns of different scale and centre, a rare label, and rows that differ between heads."""
    label = rng.choice(classes, size=images, p=np.array([8, 1, 3][:classes]) / sum([8, 1, 3][:classes]))
    label[:classes] = range(classes)
    points = rng.normal(size=(images, size)) @ rng.normal(size=(size, size))
    points[:, :classes] += signal * np.sqrt(size) * np.eye(classes)[label]
    points = points * rng.uniform(0.5, 2, size) + rng.normal(size=size)
    rows = rng.random((images, heads)) < rng.uniform(0.3, 0.9, heads)
    rows[:classes] = True
    return points, label, rows


def of_scikit_learn(points, label, rows, strength=STRENGTH):
    """Logits (N, H) or (N, H, C) of heads fitted one by one, on points standardized by their rows."""
    result = []
    for chosen in rows.T:
        centre, scale = points[chosen].mean(axis=0), points[chosen].std(axis=0)
        scale[scale < 1e-9] = np.inf
        head = LogisticRegression(C=strength / chosen.sum(), class_weight="balanced", tol=1e-9, max_iter=100000)
        head.fit((points[chosen] - centre) / scale, label[chosen])
        result.append(head.decision_function((points - centre) / scale))
    return np.stack(result, axis=1)


def by_newton(points, label, chosen, strength):
    """Logits (N, C) that minimize the balanced loss with a penalty of C weight vectors, by full Newton steps."""
    centre, scale = points[chosen].mean(axis=0), points[chosen].std(axis=0)
    z = np.column_stack([(points - centre) / scale, np.ones(len(points))])
    x, y = z[chosen], np.eye(label.max() + 1)[label[chosen]]
    count, size = y.shape[1], x.shape[1]
    share = (y / y.sum(axis=0)).sum(axis=1) / count
    penalty = np.kron(np.eye(count), np.diag(np.append(np.ones(size - 1), 0) / strength))
    theta = np.zeros(count * size)
    for _ in range(50):
        p = softmax(x @ theta.reshape(count, size).T, axis=1)
        gradient = ((share[:, None] * (p - y)).T @ x).ravel() + penalty @ theta
        blocks = [
            [(x * (share * p[:, j] * ((j == k) - p[:, k]))[:, None]).T @ x for k in range(count)] for j in range(count)
        ]
        # The same constant may be added to all biases: the Hessian has no inverse, but the least step will do.
        theta = theta - np.linalg.lstsq(np.block(blocks) + penalty, gradient, rcond=1e-12)[0]
    assert np.abs(gradient).max() < 1e-12
    return z @ theta.reshape(count, size).T


def test_binary_heads_are_those_of_scikit_learn(rng):
    points, label, rows = data(rng)
    found = fit_many(points, label, rows, STRENGTH, TIGHT)
    assert (found.weight.shape, found.bias.shape) == ((1, 8, 6), (1, 6))
    np.testing.assert_allclose(found.logits(points)[0], of_scikit_learn(points, label, rows), atol=1e-5)


def test_heads_of_three_classes_are_those_of_scikit_learn(rng):
    points, label, rows = data(rng, classes=3)
    found = fit_many(points, label, rows, STRENGTH, TIGHT)
    np.testing.assert_allclose(found.weight.sum(axis=0), 0, atol=1e-9)  # as the penalty has it
    expected = np.moveaxis(of_scikit_learn(points, label, rows), 2, 0)
    np.testing.assert_allclose(log_odds(found.logits(points)), log_odds(expected), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_heads_are_where_newton_ends(rng, classes):
    points, label, rows = data(rng, classes=classes, heads=3)
    odds = log_odds(fit_many(points, label, rows, STRENGTH, TIGHT).logits(points))
    # The difference of two opposite vectors has twice the squared length of both together.
    strength = STRENGTH / 2 if classes == 2 else STRENGTH
    for head, chosen in enumerate(rows.T):
        chance = softmax(by_newton(points, label, chosen, strength), axis=1).T
        np.testing.assert_allclose(odds[..., head], np.log(chance / (1 - chance)), atol=1e-6)


@pytest.mark.parametrize(("images", "size"), [(600, 16), (400, 300), (300, 600)])
def test_default_tolerance_in_float32_ranks_as_scikit_learn_does(rng, images, size):
    points, label, rows = data(rng, images=images, size=size, heads=8)
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    found = fit_many(points.astype(np.float32), label, rows, STRENGTH).logits(points.astype(np.float32))[0]
    expected = of_scikit_learn(points, label, rows)
    assert found.dtype == np.float32
    assert np.sqrt(((found - expected) ** 2).mean()) < 2e-3 * expected.std()
    apart = [
        np.subtract(*(roc_auc_score(label[~c], z[~c, h]) for z in (found, expected))) for h, c in enumerate(rows.T)
    ]
    assert np.abs(apart).mean() < 1e-3
    # Of all pairs of images, one in a thousand changes its order.
    assert min(kendalltau(found[:, head], expected[:, head]).statistic for head in range(8)) > 0.998


def test_more_columns_than_rows(rng):
    points, label, rows = data(rng, images=50, size=120)
    found = fit_many(points, label, rows, STRENGTH, TIGHT).logits(points)[0]
    np.testing.assert_allclose(found, of_scikit_learn(points, label, rows), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_has_no_say(rng, dtype):
    points, label, rows = data(rng, size=4)
    group = rng.integers(2, size=len(points))
    rows[:, :2] &= group[:, None] == [0, 1]
    wide = np.column_stack([points, np.full(len(points), 0.1), group * 3.3]).astype(dtype)
    found = fit_many(wide, label, rows, STRENGTH)
    assert (found.weight[0, 4] == 0).all()  # constant everywhere
    assert (found.weight[0, 5, :2] == 0).all()  # in the rows of these heads
    assert (found.weight[0, 5, 2:] != 0).all()
    expected = of_scikit_learn(points, label, rows[:, :2])
    np.testing.assert_allclose(found.logits(wide)[0, :, :2], expected, atol=0.02)


def test_constant_points_leave_balanced_classes(rng):
    _, label, rows = data(rng)
    found = fit_many(np.full((len(label), 3), 0.1, dtype=np.float32), label, rows, STRENGTH)
    np.testing.assert_array_equal(found.weight, 0)
    np.testing.assert_allclose(found.bias, 0, atol=1e-6)


def test_centre_and_scale_of_columns_do_not_matter(rng):
    points, label, rows = data(rng, classes=3)
    moved = points * rng.uniform(0.01, 100, 8) + rng.normal(0, 100, 8)
    found, expected = (fit_many(x, label, rows, STRENGTH, 1e-8).logits(x) for x in (moved, points))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_head_that_knows_two_of_three_classes_is_the_binary_head(rng):
    points, label, rows = data(rng, classes=3)
    rows[:, 0] &= label != 1
    logits = fit_many(points, label, rows, STRENGTH, TIGHT).logits(points)[..., :1]
    odds = log_odds(logits)[..., 0]
    expected = of_scikit_learn(points, label, rows[:, :1])[:, 0]
    assert (odds[1] == -np.inf).all()
    np.testing.assert_allclose(odds[2], expected, atol=1e-5)
    np.testing.assert_allclose(odds[0], -expected, atol=1e-5)


def test_log_odds_are_those_of_the_probabilities(rng):
    logits = rng.normal(size=(3, 20, 4))
    chance = softmax(logits, axis=0)
    np.testing.assert_allclose(log_odds(logits), np.log(chance / (1 - chance)))
    np.testing.assert_array_equal(log_odds(logits[:1]), [-logits[0], logits[0]])


def test_log_odds_of_images_far_away_do_not_tie():
    logits = np.stack([np.arange(1000.0, 1100.0), np.zeros(100), -np.arange(100.0)]).astype(np.float32)
    for row in log_odds(logits):
        assert np.isfinite(row).all()
    assert len(set(log_odds(logits)[0].tolist())) == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_separable_classes_and_a_weak_penalty(rng, dtype):
    points, label, rows = data(rng, signal=40.0)
    found = fit_many(points.astype(dtype), label, rows, 1e4, 1e-3).logits(points.astype(dtype))[0]
    expected = of_scikit_learn(points, label, rows, 1e4)
    assert np.abs(found - expected).max() < 0.05 * expected.std()


@pytest.mark.parametrize(("noise", "strength"), [(0.1, 1e3), (0.3, 1e5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_head_that_contradicts_the_pooled_head(rng, dtype, noise, strength):
    """Where the start is certain and wrong its curvature vanishes, and the first steps are far too long."""
    points, group = rng.normal(size=(1000, 4)).astype(dtype), np.arange(1000) < 40
    label = ((points[:, 0] + noise * rng.normal(size=1000) > 0) ^ group).astype(np.int64)
    found = fit_many(points, label, group[:, None], strength, 1e-4)
    expected = of_scikit_learn(points.astype(np.float64), label, group[:, None], strength)
    np.testing.assert_allclose(found.logits(points)[0], expected, atol=0.01 * expected.std())


def test_classes_of_which_the_pooled_head_is_certain(rng):
    """Its probabilities are 0 and 1 in float32, so that its Hessian would vanish."""
    label = np.arange(200) % 2
    points = (1e3 * label[:, None] + rng.normal(size=(200, 3))).astype(np.float32)
    found = fit_many(points, label, rng.random((200, 4)) < 0.5, 1e8, 1e-2)
    assert np.isfinite(found.weight).all()
    assert ((found.logits(points)[0] > 0) == (label == 1)[:, None]).all()


def test_blocks_of_heads_change_nothing(rng, monkeypatch):
    points, label, rows = data(rng, classes=3)
    together = fit_many(points, label, rows, STRENGTH, TIGHT)
    monkeypatch.setattr(logistic, "_BLOCK", 2 * 3 * len(points) + 1)
    monkeypatch.setattr(logistic, "_ROWS", 7)
    apart = fit_many(points, label, rows, STRENGTH, TIGHT)
    for name in ("weight", "bias"):
        np.testing.assert_allclose(getattr(apart, name), getattr(together, name), atol=1e-7)


def test_the_gradient_is_as_short_as_wanted(rng):
    points, label, rows = data(rng, heads=20)
    pooled = PooledHead.of(points, label, STRENGTH)
    for tolerance in (1e-2, 1e-5):
        weight = pooled.fit(rows, tolerance)
        for head, chosen in enumerate(rows.T):
            x, y = points[chosen], label[chosen]
            centre, scale = x.mean(axis=0), x.std(axis=0)
            share = 1 / (2 * np.bincount(y)[y])
            residual = share * (1 / (1 + np.exp(-weight.logits(x)[0, :, head])) - y)
            own = weight.weight[0, :, head] * scale
            gradient = np.append(residual @ ((x - centre) / scale) + own / STRENGTH, residual.sum())
            length = gradient @ pooled.solve(gradient[None, :, None])[0, :, 0]
            assert length <= tolerance**2 * (1 + 1e-6)


def test_the_pooled_hessian_is_inverted(rng):
    points, label, _ = data(rng, images=90)
    pooled = PooledHead.of(points, label, STRENGTH)
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    chance = 1 / (1 + np.exp(-pooled.start.logits(points)[0, :, 0]))
    weight = np.maximum(chance * (1 - chance), 1e-3) / (2 * np.bincount(label)[label])
    centred = z - weight @ z / weight.sum()
    gradient = rng.normal(size=(1, 9, 5))
    found = pooled.solve(gradient)[0]
    np.testing.assert_allclose(
        (centred * weight[:, None]).T @ centred @ found[:-1] + found[:-1] / STRENGTH, gradient[0, :-1]
    )
    np.testing.assert_allclose(found[-1] * weight.sum(), gradient[0, -1])


def test_rows_of_a_single_class_are_refused(rng):
    points, label, rows = data(rng)
    rows[:, 2] = label == 1
    with pytest.raises(ValueError, match="rows of each head must hold at least two classes, got 1"):
        fit_many(points, label, rows, STRENGTH)


def test_a_descent_that_does_not_end_warns(rng, monkeypatch):
    points, label, rows = data(rng)
    pooled = PooledHead.of(points, label, STRENGTH)
    monkeypatch.setattr(logistic, "_MOST_STEPS", 1)
    with pytest.warns(RuntimeWarning, match=r"gradients must be at most 1e-10 long, got 0\.\d+"):
        pooled.fit(rows, TIGHT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_head_that_has_arrived_stays_while_the_others_descend(rng, dtype):
    # With a slope of rounding alone, no step is short enough to go downhill.
    points, label, rows = data(rng, heads=12)
    rows[:, 0] = True
    head = PooledHead.of(points.astype(dtype), label, STRENGTH)
    exact = head.fit(rows[:, :1], TIGHT if dtype == np.float64 else 1e-5)
    again = PooledHead(head.points, head.member, STRENGTH, exact, head.solve).fit(rows, 1e-5)
    np.testing.assert_allclose(again.weight[..., 0], exact.weight[..., 0], rtol=1e-13)
    np.testing.assert_allclose(again.logits(points), of_scikit_learn(points, label, rows)[None], atol=2e-3)


def test_heads_give_logits_in_the_precision_of_the_points(rng):
    head = Heads(rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 4)))
    points = rng.normal(size=(5, 3))
    expected = np.einsum("nd,kdh->knh", points, head.weight) + head.bias[:, None]
    np.testing.assert_allclose(head.logits(points), expected)
    assert head.logits(points.astype(np.float32)).dtype == np.float32
