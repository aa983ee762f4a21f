# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The held-out probe within labels under permutation, against a loop over scikit-learn's discriminant."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from cohorts import Drawn, draw
from installed import own_areas
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from timing import Line, Row, interleaved, markdown, ratios, seconds, spans

from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.statistics.resampling import permutation_p_value, permuted_codes

_TIMED = 3  # permutations of the loop, from which all are extrapolated


class Loop:
    """What one writes with scikit-learn: for each permutation and fold a discriminant, then areas within labels."""

    def __init__(self, drawn: Drawn, name: str, fold: NDArray[np.int64]) -> None:
        """Standardize the embeddings, then keep the images whose level is known."""
        known = attribute_levels(drawn.attributes[name], drawn.patients).codes >= 0
        points = drawn.embeddings.astype(np.float64)
        spread = points.std(axis=0)
        points = (points - points.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
        self.shrinkage = float(ledoit_wolf_shrinkage(points, assume_centered=True))
        self.points, self.fold, self.label = points[known], fold[known], drawn.labels[known]
        self.patients = drawn.patients[known]
        self.codes = np.unique(drawn.attributes[name][known].astype(str), return_inverse=True)[1]

    def area(self, codes: NDArray[np.int64]) -> float:
        """Area under the ROC curve within labels on patients not seen, mean over levels."""
        levels = int(codes.max()) + 1
        scores = np.empty((len(codes), levels))
        for index in range(5):
            held_out = self.fold == index
            train, label = self.points[~held_out].copy(), self.label[~held_out]
            for value in (0, 1):
                train[label == value] -= train[label == value].mean(axis=0)
            priors = np.full(levels, 1 / levels)
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.shrinkage, priors=priors)
            found = model.fit(train, codes[~held_out]).decision_function(self.points[held_out])
            scores[held_out] = np.stack([-found, found], axis=1) if found.ndim == 1 else found
        ranked = [1] if levels == 2 else range(levels)
        return float(np.mean([self._within(codes == level, scores[:, level]) for level in ranked]))

    def _within(self, positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
        parts = [self.label == value for value in (0, 1)]
        pairs = [positive[part].sum() * (~positive[part]).sum() for part in parts]
        return float(np.average([roc_auc_score(positive[part], score[part]) for part in parts], weights=pairs))

    def permuted(self, permutations: int) -> NDArray[np.int64]:
        """(B, n) codes, permuted between patients within labels."""
        return permuted_codes(self.codes, self.patients, permutations, np.random.default_rng(1), self.label)


def row(options: argparse.Namespace) -> Row:
    """Twelve attributes of 10,000 images, 1,024 columns; equal p where the loop can be run to its end."""
    images, columns = options.scaled(10_000, 1024)
    permutations, drawn = options.permutations(1000), draw(images, columns, 12).as_categories()
    own_areas(draw(400, 16, 2), 19)  # loads what is imported late
    fold, names = own_areas(drawn, 19).fold, list(drawn.attributes)

    def loop() -> float:
        found = [Loop(drawn, name, fold) for name in names[:_TIMED]]
        took = [seconds(partial(each.area, each.permuted(1)[0])) for each in found]
        return float(np.mean(took)) * permutations * len(names)

    sides = {"audit's": lambda: seconds(lambda: own_areas(drawn, permutations)), "scikit-learn's": loop}
    found = interleaved(sides, options.repeats)
    what = (
        f"{permutations:,} permutations x 12 attributes, N = {images:,}, D = {columns:,}, against scikit-learn's loop"
    )
    line = Line(what, ">= 50 times", ratios(found["scikit-learn's"], found["audit's"]), "{:.0f}")
    told = f"{spans(found)}, the latter extrapolated from {_TIMED} permutations of 5 fits."
    return Row((line,), f"{told}\n\n{_equal(options.permutations(499))}")


def _equal(permutations: int) -> str:
    """Areas and p of both on arrays where the loop is bearable, permutations drawn apart."""
    drawn = draw(600, 32, 5, trace=0.1, seed=1).as_categories()
    (tests, fold), cells = own_areas(drawn, permutations), []
    for name, test in tests.items():
        loop = Loop(drawn, name, fold)
        area, null = loop.area(loop.codes), [loop.area(codes) for codes in loop.permuted(permutations)]
        p_value = permutation_p_value(area, null)
        middle = (p_value + test.p_value) / 2
        apart = (test.p_value - p_value) / np.sqrt(2 * middle * (1 - middle) / permutations)
        means = [float(np.mean(each)) for each in (test.null, null)]
        cells.append([name, test.observed, area, *means, test.p_value, p_value, float(apart)])
    header = ["attribute", "area", "scikit-learn's", "null", "scikit-learn's", "p", "scikit-learn's", "errors apart"]
    caption = f"Both to the end in the same folds, N = 600, D = 32, {permutations} permutations drawn by either side:"
    return f"{caption}\n\n{markdown(header, cells)}"
