# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2_contingency

from monai_shortcut.phantom import fetal_planes as phantoms
from monai_shortcut.phantom.fetal_planes import ATTRIBUTES, PLANES, Phantom, Scanner, draw_phantom

OTHER = {"scanner A": "scanner B", "scanner B": "scanner A"}


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(patients=4, strength=0.5, seed=3)


def crossed(first, second) -> np.ndarray:
    """Counts of each pair of values."""
    return np.array([[((first == a) & (second == b)).sum() for b in np.unique(second)] for a in np.unique(first)])


def test_the_region_is_that_of_the_plane_whatever_the_attributes(phantom):
    for index, scanner in enumerate(phantom.cohort.table["scanner"]):
        image, region = phantom.draw(index)
        swapped, same_region = phantom.draw(index, scanner=OTHER[scanner], annotation="present", operator="operator 2")
        np.testing.assert_array_equal(region, same_region)
        assert set(np.unique(region)) == {0, 1}
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() <= 1
        assert np.abs(image - swapped).mean() > 0.01
    assert not np.array_equal(phantom.draw(0)[1], phantom.draw(1)[1])


def test_scanners_of_equal_blur_differ_by_gain_and_attenuation_alone(phantom, monkeypatch):
    sharp = phantoms.SCANNERS["scanner A"]
    monkeypatch.setitem(phantoms.SCANNERS, "scanner B", Scanner(sharp.axial, sharp.lateral, gain=3.0, attenuation=6.0))
    depth = np.linspace(0, 1, phantom.size)[:, None]
    expected = np.broadcast_to((3.0 - (6.0 - sharp.attenuation) * depth) / 50, (64, 64))  # 50 dB are drawn from 0 to 1
    for index in range(len(phantom.cohort)):
        first, second = (phantom.draw(index, scanner=name, annotation="absent")[0][0] for name in OTHER)
        inside = (first > 0) & (first < 1) & (second > 0) & (second < 1)  # not clipped
        assert inside.mean() > 0.5
        np.testing.assert_allclose((second - first)[inside], expected[inside], atol=1e-6)


def test_blur_alone_changes_no_brightness(phantom, monkeypatch):
    monkeypatch.setitem(phantoms.SCANNERS, "scanner A", Scanner(0.5, 0.8, gain=0.0, attenuation=0.0))
    monkeypatch.setitem(phantoms.SCANNERS, "scanner B", Scanner(1.0, 1.6, gain=0.0, attenuation=0.0))
    levels = []
    for name in OTHER:
        images = np.stack([phantom.draw(i, scanner=name, annotation="absent")[0] for i in range(12)]).astype(float)
        levels.append(10 * np.log10(np.mean(10 ** ((images * 50 - 40) / 10))))
    assert abs(levels[0] - levels[1]) < 0.3  # decibel


def test_both_scanners_see_the_same_scatterers(phantom):
    def speckle(index, scanner, of):
        image = of.draw(index, scanner=scanner, annotation="absent")[0][0].astype(float)
        return (image - gaussian_filter(image, 4))[16:].ravel()

    redrawn = replace(phantom, seeds=tuple(seed + 1 for seed in phantom.seeds))
    same = [np.corrcoef(*(speckle(i, name, phantom) for name in OTHER))[0, 1] for i in range(6)]
    others = [np.corrcoef(speckle(i, "scanner A", phantom), speckle(i, "scanner B", redrawn))[0, 1] for i in range(6)]
    assert min(same) > 0.7
    assert max(others) < 0.3


def test_swapping_back_gives_the_identical_image(phantom):
    table = phantom.cohort.table
    swapped = replace(phantom, cohort=replace(phantom.cohort, table=table.assign(scanner=table["scanner"].map(OTHER))))
    for index, scanner in enumerate(table["scanner"]):
        np.testing.assert_array_equal(swapped.draw(index, scanner=scanner)[0], phantom.draw(index)[0])
        np.testing.assert_array_equal(phantom.draw(index, scanner=scanner)[0], phantom.draw(index)[0])
        np.testing.assert_array_equal(swapped.draw(index)[0], phantom.draw(index, scanner=OTHER[scanner])[0])


@pytest.mark.parametrize(("size", "unit"), [(32, 1), (64, 2)])
def test_the_annotation_changes_its_text_and_its_scales_alone(size, unit):
    phantom = draw_phantom(patients=2, strength=0.0, seed=0, size=size)
    row, column = np.mgrid[:size, :size]
    text = np.isin(row // unit, (1, 3, 5)) & (column >= unit) & (column < 10 * unit)
    scale = (row >= 8 * unit) & (row % (3 * unit) == 8 * unit % (3 * unit)) & (column < 2 * unit)
    edge = size // 8
    bar = (row >= edge) & (row < size - edge) & (column >= size - 4 * unit) & (column < size - unit)
    marker = (text | scale | bar)[None]
    drawn = np.where(bar, 1 - (row - edge) / (size - 2 * edge - 1), 1)[None]
    assert 0.08 < marker.mean() < 0.13
    for index in range(len(phantom.cohort)):
        without, present = (phantom.draw(index, annotation=value)[0] for value in ("absent", "present"))
        np.testing.assert_allclose(present, np.where(marker, drawn, without), atol=1e-6)
        assert (without[marker] != drawn[marker]).any()


def test_the_operator_changes_nothing(phantom):
    for index in range(len(phantom.cohort)):
        first, second = (phantom.draw(index, operator=f"operator {number}")[0] for number in (1, 2))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_strength_is_how_often_the_plane_follows_the_scanner(strength):
    cohort = draw_phantom(patients=500, strength=strength, seed=1).cohort
    favoured = {"scanner A": {"head", "femur"}, "scanner B": {"abdomen", "thorax"}}
    rows = zip(cohort.table["scanner"], cohort.table["label"], strict=True)
    share = np.mean([label in favoured[scanner] for scanner, label in rows])
    expected = (1 + strength) / 2
    assert abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / len(cohort))
    table = crossed(cohort.values("scanner"), cohort.labels)
    assert (chi2_contingency(table).pvalue < 1e-6) == (strength > 0)
    assert (table > 0).all() == (strength < 1)


@pytest.mark.parametrize("attribute", ["annotation", "operator"])
def test_the_other_attributes_are_independent_of_the_plane_and_of_the_scanner(attribute):
    cohort = draw_phantom(patients=500, strength=1.0, seed=2).cohort
    values, first = cohort.values(attribute), np.unique(cohort.patients, return_index=True)[1]
    assert chi2_contingency(crossed(values, cohort.labels)).pvalue > 0.01
    assert chi2_contingency(crossed(values[first], cohort.values("scanner")[first])).pvalue > 0.01
    assert 0.4 < np.mean(values == np.unique(values)[0]) < 0.6


def test_scanner_and_operator_belong_to_the_patient_and_the_annotation_to_the_image():
    table = draw_phantom(patients=60, strength=0.0, seed=0).cohort.table
    values = table.groupby("patient_id")[list(ATTRIBUTES)].nunique()
    assert (values[["scanner", "operator"]] == 1).all(axis=None)
    assert (values["annotation"] == 2).any()
    assert (table.groupby("patient_id").size() == 3).all()
    assert (table.groupby("patient_id")["label"].nunique() > 1).any()


def test_equal_seeds_draw_equal_cohorts_and_other_seeds_others():
    first, same, other = (draw_phantom(patients=10, strength=0.5, seed=seed) for seed in (5, 5, 6))
    assert first.cohort.table.equals(same.cohort.table)
    assert first.seeds == same.seeds
    np.testing.assert_array_equal(first.draw(7)[0], same.draw(7)[0])
    assert not first.cohort.table.equals(other.cohort.table)
    assert set(first.seeds).isdisjoint(other.seeds)
    assert len(set(first.seeds)) == 30


def test_invisible_anatomy_leaves_tissue_alone():
    clear, faint = (draw_phantom(patients=4, strength=0.0, seed=0, visibility=value) for value in (1.0, 1e-9))
    for index, label in enumerate(clear.cohort.table["label"]):
        contrasts = []
        for phantom in (clear, faint):
            image, region = phantom.draw(index, scanner="scanner A", annotation="absent")
            contrasts.append(abs(image[region == 1].mean() - image[region == 0].mean()))
        assert contrasts[1] < 0.03, label
    assert faint.visibility == 1e-9


def test_the_datalist_holds_what_draw_gives(phantom):
    items = phantom.datalist(["scanner", "annotation"])
    assert len(items) == 12
    for index, item in enumerate(items):
        row = phantom.cohort.table.iloc[index]
        assert list(item) == ["image", "roi", "label", "image_id", "image_scanner", "image_annotation"]
        image, region = phantom.draw(index)
        np.testing.assert_array_equal(item["image"], image)
        np.testing.assert_array_equal(item["roi"], region)
        assert item["roi"].dtype == np.uint8
        assert type(item["label"]) is int
        assert PLANES[item["label"]] == row["label"]
        assert item["image_id"] == phantom.cohort.image_ids[index]
        np.testing.assert_array_equal(item["image_scanner"], phantom.draw(index, scanner=OTHER[row["scanner"]])[0])
        other = "present" if row["annotation"] == "absent" else "absent"
        np.testing.assert_array_equal(item["image_annotation"], phantom.draw(index, annotation=other)[0])
    assert list(phantom.datalist()[0]) == ["image", "roi", "label", "image_id"]


def test_names_tell_cohorts_apart():
    phantom = draw_phantom(patients=2, strength=0.0, seed=0, images_per_patient=1, name="train")
    assert phantom.cohort.image_ids == ("train_0000_0", "train_0001_0")
    assert phantom.cohort.patients.tolist() == ["train_0000", "train_0001"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scanner": "scanner C"}, r"scanner must be one of \('scanner A', 'scanner B'\), got 'scanner C'"),
        ({"colour": "red"}, r"colour must be one of \('scanner', 'annotation', 'operator'\), got 'red'"),
    ],
)
def test_what_cannot_be_changed_is_refused(phantom, changed, message):
    with pytest.raises(ValueError, match=message):
        phantom.draw(0, **changed)


def test_a_counterfactual_of_an_unknown_attribute_is_refused(phantom):
    with pytest.raises(ValueError, match=r"counterfactuals must be among \('scanner', .*, got 'colour'"):
        phantom.datalist(["colour"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 1}, "patients must be at least 2 with at least 1 image, got 1, 3"),
        ({"images_per_patient": 0}, "patients must be at least 2 with at least 1 image, got 4, 0"),
        ({"strength": -0.1}, r"strength must be in \[0, 1\], got -0.1"),
        ({"strength": 1.1}, r"strength must be in \[0, 1\], got 1.1"),
        ({"size": 31}, "size must be at least 32, got 31"),
        ({"visibility": 0.0}, r"visibility must be in \(0, 1\], got 0.0"),
        ({"visibility": 1.5}, r"visibility must be in \(0, 1\], got 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        draw_phantom(**{"patients": 4, "strength": 0.5, "seed": 0} | wrong)
