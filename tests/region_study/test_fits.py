# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.region_study import fits_of

OUTCOMES = pd.DataFrame({"ill": [0.0, 0, 1, 1, np.nan, 1], "old": [1.0, 1, 1, 1, 1, 0]}, list("abcdef"))


def part(name, fold, images, ill, trained_on="silhouette"):
    place = {"trained_on": trained_on, "fold": fold, "part": name}
    return pd.DataFrame({"image_id": list(images), "ill": ill, "old": [-value for value in ill], **place})


def test_areas_are_of_each_fold_and_of_known_outcomes():
    fitted = pd.concat(
        [
            part("training", 0, "abcde", [1.0, 3, 2, 4, 9]),  # three of four pairs are in order
            part("training", 1, "cafb", [5.0, 2, 2, 1]),  # three and a half of four
            part("validation", 0, "fba", [0.0, 1, 2]),
            part("validation", 1, "cd", [0.0, 1]),  # one class: no area
        ]
    )
    ill, old = fits_of(fitted, OUTCOMES)
    assert (ill.label, ill.trained_on, ill.fold_training, ill.fold_validation) == (
        "ill",
        "silhouette",
        (0.75, 0.875),
        (0.0,),
    )
    assert (ill.training, ill.validation) == (0.8125, 0.0)
    assert (old.fold_training, old.validation) == ((0.5,), 0.0)


def test_strategies_without_training_images_of_both_classes_have_no_fit():
    fitted = pd.concat([part("training", 0, "cd", [0.0, 1]), part("training", 0, "ac", [0.0, 1], "full")])
    assert [(fit.label, fit.trained_on, fit.validation) for fit in fits_of(fitted, OUTCOMES)] == [("ill", "full", None)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda frame: frame.drop(columns="part"), "fitted must have the columns .* got none named part"),
        (lambda frame: frame.assign(part="test"), "parts must be training or validation, got test"),
        (lambda frame: frame.assign(image_id="z"), "fitted must be of images that have an outcome, got z"),
    ],
)
def test_tables_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        fits_of(changed(part("training", 0, "ac", [0.0, 1])), OUTCOMES)
