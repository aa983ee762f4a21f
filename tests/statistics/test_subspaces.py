# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Of subspaces what the tests of the weight space and the task space do not compare with a definition."""

from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.subspaces import enough_axes, leading_axes, symmetric_root


def test_leading_axes_are_the_directions_that_are_more_than_rounding(rng):
    rows = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 6))
    gram = rows.T @ rows
    power, axes = leading_axes(gram)
    assert (np.diff(power) < 0).all()
    assert axes.shape == (3, 6)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose((axes.T * power) @ axes, gram, atol=1e-9 * power[0])
    root = symmetric_root(gram)
    np.testing.assert_allclose(root.T @ root, gram, atol=1e-9 * power[0])
    np.testing.assert_allclose(leading_axes(1e-20 * gram)[0], 1e-20 * power)


@pytest.mark.parametrize("size", [0, 4])
def test_what_does_not_vary_has_no_axes(size):
    for gram in (np.zeros((size, size)), -1e-20 * np.eye(size)):
        power, axes = leading_axes(gram)
        assert (power.shape, axes.shape) == ((0,), (0, size))


@pytest.mark.parametrize(
    ("variance", "least", "expected"), [(0.5, 1, 1), (0.75, 1, 2), (0.76, 1, 3), (0.5, 3, 3), (1, 1, 3)]
)
def test_axes_are_the_fewest_that_explain_the_share(variance, least, expected):
    assert enough_axes(np.array([4.0, 2.0, 2.0]), variance, least) == expected
