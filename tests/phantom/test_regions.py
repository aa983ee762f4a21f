# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from monai.transforms import LoadImage
from scipy.ndimage import binary_dilation
from sklearn.metrics import roc_auc_score

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.phantom.regions import SOURCES, border, draw_region_phantom
from monai_shortcut.regions.strategies import mask_roi

PATIENTS, SIZE = 300, 48


@cache
def drawn(source: str) -> tuple[Cohort, np.ndarray, np.ndarray]:
    phantom = draw_region_phantom(source, PATIENTS, seed=0)
    images, regions = zip(*(phantom.draw(index) for index in range(len(phantom.cohort))), strict=True)
    return phantom.cohort, np.stack(images)[:, 0], np.stack(regions)[:, 0] > 0


def statistics(images: np.ndarray, regions: np.ndarray) -> dict[str, np.ndarray]:
    """What a reader could measure in each place, one number per image."""
    frame = border(SIZE)
    between = [~frame & ~binary_dilation(region, iterations=2) for region in regions]
    rims = [binary_dilation(region) & ~region for region in regions]
    extents = [[np.ptp(axis) for axis in np.nonzero(region)] for region in regions]
    return {
        "inside": np.array([image[region].mean() for image, region in zip(images, regions, strict=True)]),
        "outside": images[:, frame].mean(axis=1),
        "between": np.array([image[part].mean() for image, part in zip(images, between, strict=True)]),
        "outline": np.array([rim.sum() / np.sqrt(region.sum()) for rim, region in zip(rims, regions, strict=True)]),
        "area": regions.sum(axis=(1, 2)),
        "box": np.prod(extents, axis=1),
    }


@pytest.mark.parametrize("source", SOURCES)
def test_the_class_shows_in_its_place_and_nowhere_else(source):
    cohort, images, regions = drawn(source)
    chance = 4 / np.sqrt(12 * len(images) / 4)  # four standard errors of an area of one half
    for place, values in statistics(images, regions).items():
        area = roc_auc_score(cohort.labels, values)
        if place == source:
            assert area > 0.7, place
        else:
            assert abs(area - 0.5) < chance, place


def test_no_reader_can_be_much_better_than_the_spread_allows():
    cohort, images, regions = drawn("outside")
    assert 0.88 < roc_auc_score(cohort.labels, statistics(images, regions)["outside"]) < 0.95


def test_the_frame_stays_clear_of_the_region_and_its_box():
    for source in SOURCES:
        _, _, regions = drawn(source)
        for region in regions:
            rows, columns = np.nonzero(region)
            box = np.zeros_like(region)
            box[max(rows.min() - 3, 0) : rows.max() + 4, max(columns.min() - 3, 0) : columns.max() + 4] = True
            assert not (box & border(SIZE)).any()
            assert 0.04 < region.mean() < 0.2


def test_the_region_is_darker_than_what_surrounds_it():
    _, images, regions = drawn("nowhere")
    seen = statistics(images, regions)
    assert (seen["inside"] < seen["between"]).mean() > 0.99


def test_sources_differ_in_their_place_only():
    _, inside, regions = drawn("inside")
    _, nowhere, same = drawn("nowhere")
    np.testing.assert_array_equal(regions, same)
    frame = border(SIZE)
    np.testing.assert_allclose(inside[:, frame], nowhere[:, frame], atol=1e-6)
    assert not np.allclose(inside, nowhere)


def test_contrast_zero_plants_nothing():
    one, other = (draw_region_phantom(source, 20, seed=1, contrast=0.0) for source in ("inside", "nowhere"))
    for index in range(len(one.cohort)):
        np.testing.assert_array_equal(one.draw(index)[0], other.draw(index)[0])


def test_equal_seeds_draw_equal_cohorts_and_others_differ():
    one, same, other = (draw_region_phantom("outline", 5, seed=seed) for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one.cohort.table, same.cohort.table)
    np.testing.assert_array_equal(one.draw(2)[0], same.draw(2)[0])
    assert not np.array_equal(one.draw(2)[0], other.draw(2)[0])


def test_age_goes_along_with_the_label_a_little_and_site_does_not():
    cohort, _, _ = drawn("inside")
    assert 0.55 < roc_auc_score(cohort.labels, cohort.values("age")) < 0.68
    assert abs(roc_auc_score(cohort.labels, cohort.values("site") == "site 2") - 0.5) < 0.08
    assert cohort.table.groupby("patient_id")["age"].nunique().max() == 1
    assert cohort.table.groupby("patient_id")["label"].nunique().max() == 2


def test_saved_files_hold_what_was_drawn(tmp_path):
    phantom = draw_region_phantom("outline", 3, seed=0)
    cohort = phantom.save(tmp_path)
    assert cohort.image_ids == phantom.cohort.image_ids
    assert cohort.labels.tolist() == phantom.cohort.labels.tolist()
    assert cohort.attributes == ("site", "age")
    read = LoadImage(reader="PILReader", reverse_indexing=False, ensure_channel_first=True)
    for index, item in enumerate(cohort.datalist()):
        image, region = phantom.draw(index)
        np.testing.assert_allclose(read(item["image"]).numpy(), 255 * image, atol=0.51)
        np.testing.assert_array_equal(read(item["roi"]).numpy(), 255 * region)
        assert mask_roi(read(item["image"]).as_tensor(), read(item["roi"]).as_tensor(), "roi_only").max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "around"}, "source must be one of inside, outside, outline, nowhere, got 'around'"),
        ({"patients": 1}, "patients must be at least 2 with at least 1 image, got 1, 2"),
        ({"images_per_patient": 0}, "patients must be at least 2 with at least 1 image, got 4, 0"),
        ({"size": 31}, "size must be at least 32, got 31"),
        ({"contrast": 2.5}, r"contrast must be in \[0, 2\], got 2.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_region_phantom(**({"source": "inside", "patients": 4, "seed": 0} | arguments))
