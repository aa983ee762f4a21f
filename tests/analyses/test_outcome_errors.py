# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from outcome_cases import asked, regression
from samples import sample_of
from sklearn.metrics import mean_absolute_error, r2_score

from monai_shortcut.analyses.outcome_errors import errors_of, outcome_errors
from monai_shortcut.types import Unmeasurable


def test_errors_are_those_of_scikit_learn_over_all_images_and_at_each_level():
    case = regression(1, 300, used=6.0)
    sample = asked(case)
    said = case["embeddings"] @ case["weight"][0]
    true, scanner = case["labels"], case["attributes"]["scanner"]
    by_level = outcome_errors(sample)
    assert [one.level for one in by_level] == [0, 1]
    every = (errors_of(sample.images), *by_level)
    for found, rows in zip(every, (scanner != "", scanner == "A", scanner == "B"), strict=True):
        assert (found.images, found.patients) == (rows.sum(), rows.sum())
        assert found.bias.value == pytest.approx((said - true)[rows].mean(), rel=1e-6)
        assert found.absolute.value == pytest.approx(mean_absolute_error(true[rows], said[rows]), rel=1e-6)
        assert found.r_squared.value == pytest.approx(r2_score(true[rows], said[rows]), rel=1e-6)
        assert found.correlation.value == pytest.approx(np.corrcoef(true[rows], said[rows])[0, 1], rel=1e-6)
        for number in (found.bias, found.absolute, found.r_squared, found.correlation):
            assert number.low < number.value < number.high
        assert found.predicts


def test_limits_are_those_of_patients_drawn_with_replacement():
    sample = asked(regression(2, 100))
    error = sample.images.outcome.predicted - sample.images.outcome.values
    drawn = [np.repeat(error, times).mean() for times in sample.images.bootstrap]
    bias = errors_of(sample.images).bias
    np.testing.assert_allclose([bias.low, bias.high], np.quantile(drawn, [0.025, 0.975]), rtol=1e-6)


def test_a_model_that_sees_nothing_of_the_outcome_does_not_predict():
    assert not errors_of(asked(regression(3, 200, seen=lambda outcome: 200.0)).images).predicts


def test_a_classifier_has_no_errors_of_an_outcome():
    answers = np.tile([[0.25, 0.75], [0.5, 0.5]], (10, 1))
    sample = sample_of(np.tile([0, 1], 10), np.repeat([0, 1], 10), answers=answers)
    with pytest.raises(Unmeasurable, match=r"^it is of a continuous outcome, and classes are predicted$"):
        outcome_errors(sample)
