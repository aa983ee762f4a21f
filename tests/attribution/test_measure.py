# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from monai_shortcut.attribution import METHODS, Answers, Attribution, AttributionSettings, attribution, regional_shapley
from monai_shortcut.attribution.measure import first_images, not_asked, place_of
from monai_shortcut.attribution.parts import region_parts
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.storage.records import decode, encode

SETTINGS = AttributionSettings(
    methods=tuple(METHODS),
    fills=(0.0, "mean", "noise"),
    cells=4,
    samples=3,
    steps=4,
    background=3,
    pixel_images=20,
    checked_images=6,
)
DRAWS = Resampling(bootstraps=49, permutations=49)


class Corner(nn.Module):
    """Reads the corner in images of the first site, and the region otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(2, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        corner, middle = images[:, 0, :4, :4].mean(dim=(1, 2)), images[:, 0, 6:10, 6:10].mean(dim=(1, 2))
        first = (corner > 0).to(corner)  # the sites differ there
        score = first * corner + (1 - first) * middle
        return torch.stack([-score, score], dim=1) @ self.gain.diag().diag()


def drawn(count: int = 24):
    generator = torch.Generator().manual_seed(1)
    site = np.arange(count) // 2 % 2
    images, regions = [], []
    for index in range(count):
        image = torch.rand(1, 16, 16, generator=generator) + 0.5
        image[:, :4, :4] = image[:, :4, :4] * (1 if site[index] == 0 else -1)
        region = torch.zeros(1, 16, 16)
        region[:, 6:10, 6:10] = 7
        images.append(image)
        regions.append(region)
    labels = np.arange(count) % 2
    return images, regions, labels, [f"p{index // 2}" for index in range(count)], site


def measured(network: nn.Module) -> Attribution:
    images, regions, labels, patients, site = drawn()
    regions[3] = torch.zeros(1, 16, 16)
    regions[4] = torch.ones(1, 16, 16)
    regions[5] = torch.ones(1, 8, 8)
    images[6] = torch.full((1, 16, 16), torch.nan)
    return attribution(
        Answers(network),
        images,
        regions,
        labels,
        patients,
        label_names=("benign", "malignant"),
        image_ids=[f"image {index}" for index in range(24)],
        attributes={"site": (site, ("x", "y")), "one": (np.zeros(24, dtype=int), ("only",))},
        settings=SETTINGS,
        draws=DRAWS,
    )


@pytest.fixture(scope="module")
def record() -> Attribution:
    return measured(Corner())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_on_cuda_is_explained_as_on_the_cpu(record):
    found = measured(Corner().cuda())
    assert found.not_computed == {}
    assert found.unusable == record.unusable
    for there, here in zip(found.methods, record.methods, strict=True):
        assert there.name == here.name
        for mine, other in zip(there.labels[0].parts, here.labels[0].parts, strict=True):
            assert mine.share.value == pytest.approx(other.share.value, abs=1e-3)


def test_images_without_inside_or_outside_are_counted_and_named(record):
    assert record.unusable == {
        "image 3": "the region is empty",
        "image 4": "the region covers the image",
        "image 5": "the region has shape (1, 8, 8), the image (1, 16, 16)",
        "image 6": "the image holds values that are not finite",
    }
    assert (record.images, record.patients) == (20, 11)


def test_every_method_is_asked_with_the_fills_that_differ_for_it(record):
    assert [found.name for found in record.methods] == [
        "regional_shapley, 0",
        "regional_shapley, mean",
        "regional_shapley, noise",
        "integrated_gradients, 0",
        "integrated_gradients, mean",
        "gradient_shap, background",
        "deep_lift_shap, background",
        "feature_ablation, 0",
        "feature_ablation, mean",
        "shapley_sampling, 0",
        "shapley_sampling, mean",
    ]
    assert record.not_computed == {}
    assert all(found.seconds > 0 and found.images == 20 for found in record.methods)


def test_shares_are_those_of_the_exact_values(record):
    images, regions, labels, _, _ = drawn()
    kept = [index for index in range(24) if index not in (3, 4, 5, 6)]
    parts = region_parts(torch.stack(regions)[kept] != 0)
    shares = regional_shapley(Answers(Corner()), torch.stack(images)[kept], parts)
    own = shares[torch.arange(20), :, torch.as_tensor(labels)[kept]].abs()
    expected = (own / own.sum(dim=1, keepdim=True)).mean(dim=0)
    found = record.method("regional_shapley").labels[0]
    assert [part.share.value for part in found.parts] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [part.area.value for part in found.parts] == pytest.approx([1 / 16, 1 / 16, 14 / 16])
    assert [one.label for one in record.method("regional_shapley").labels] == ["", "benign", "malignant"]
    assert [one.images for one in record.method("regional_shapley").labels] == [20, 10, 10]


def test_levels_that_the_network_reads_elsewhere_differ(record):
    found = record.method("integrated_gradients")
    ((site,), untested) = found.levels, found.untested
    assert site.p_value <= 0.05
    cells = {(cell.label, cell.level): cell.outside.value for cell in site.cells}
    assert min(cells["benign", "x"], cells["malignant", "x"]) > 0.99
    assert max(cells["benign", "y"], cells["malignant", "y"]) < 0.01
    assert untested == {"one": "no label has images of two levels with at least 5 patients each"}


def test_panels_are_chosen_by_rule(record):
    images, regions, labels, _, _ = drawn()
    kept = [index for index in range(24) if index not in (3, 4, 5, 6)]
    parts = region_parts(torch.stack(regions) != 0)
    shares = torch.zeros(24)
    for index in kept:
        own = regional_shapley(Answers(Corner()), images[index][None], parts[index][None])[
            0, :, int(labels[index])
        ].abs()
        shares[index] = own[2] / own.sum()
    for label, name in enumerate(("benign", "malignant")):
        shown = [panel for panel in record.panels if panel.label == name]
        assert [panel.rule for panel in shown] == ["highest", "median", "lowest"]
        values = sorted((shares[index].item() for index in kept if labels[index] == label), reverse=True)
        wanted = [values[0], values[len(values) // 2], values[-1]]
        assert [panel.outside for panel in shown] == pytest.approx(wanted, abs=1e-6)
        for panel in shown:
            index = int(panel.image_id.split()[1])
            assert labels[index] == label
            assert shares[index].item() == pytest.approx(panel.outside, abs=1e-6)
            assert (panel.parts.array == parts[index, 0].numpy()).all()
            pixels = images[index][0].numpy()
            scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
            np.testing.assert_allclose(panel.image.array / 255, scaled, atol=0.003)
            assert panel.shares["regional_shapley, 0"][2] == pytest.approx(panel.outside, abs=1e-6)
            assert set(panel.maps) == {
                "integrated_gradients, 0",
                "gradient_shap, background",
                "deep_lift_shap, background",
                "feature_ablation, 0",
                "shapley_sampling, 0",
            }
            assert panel.maps["integrated_gradients, 0"].array.max() == 255


def test_a_record_survives_json(record):
    assert decode(Attribution, json.loads(json.dumps(encode(record), allow_nan=False))) == record
    assert record.trusted is None  # what this network reads is not in its weights: all survives their shuffling
    with pytest.raises(ValueError, match=r"method must be one of regional_shapley, 0; .*, got 'lime', None"):
        record.method("lime")


def test_a_method_that_fails_leaves_the_others():
    images, regions, labels, patients, _ = drawn(6)

    class Opaque(nn.Module):
        def forward(self, shown):
            return shown.detach().flatten(1)[:, :2]

    settings = AttributionSettings(methods=("integrated_gradients", "regional_shapley"), fills=(0.0,), steps=2)
    found = attribution(Opaque(), images, regions, labels, patients, label_names="ab", settings=settings, draws=DRAWS)
    assert list(found.not_computed) == ["integrated_gradients"]
    assert found.not_computed["integrated_gradients"].startswith("the answers have no gradient")
    assert [one.method for one in found.methods] == ["regional_shapley"]


def test_a_network_that_reads_nothing_has_no_shares():
    images, regions, labels, patients, _ = drawn(4)
    network, settings = Corner(), AttributionSettings(methods=("regional_shapley",), fills=(0.0,))
    nn.init.zeros_(network.gain)
    found = attribution(network, images, regions, labels, patients, label_names="ab", settings=settings, draws=DRAWS)
    assert found.not_computed == {"regional_shapley": "all its attributions are 0"}
    assert found.methods == found.panels == ()


def test_no_usable_region_is_a_reason():
    images, regions, labels, patients, _ = drawn(2)
    found = attribution(Corner(), images, [0 * region for region in regions], labels, patients, label_names="ab")
    assert found.not_computed == {"all": "no image has a region with something inside and something outside"}
    assert len(found.unusable) == 2
    assert not_asked("no mask").not_computed == {"all": "no mask"}


def test_volumes_and_images_of_different_sizes_are_explained():
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 8, 6)] * 5 + [(6, 8, 8)] * 3
    images = [torch.randn(2, *size, generator=generator) for size in sizes]
    regions = [torch.zeros(2, *size) for size in sizes]
    for index, region in enumerate(regions):
        region[1, 2:4, 2:5, 3:5] = 1
        region[0, 2, 2:4, 4] = index % 2
    network = nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 3))
    settings = AttributionSettings(
        methods=("regional_shapley", "integrated_gradients"), fills=(0.0,), steps=4, batch=2, pixel_images=3
    )
    found = attribution(
        Answers(network),
        images,
        regions,
        [0, 1, 2, 0, 1, 2, 0, 1],
        list("abcdefgh"),
        label_names="abc",
        settings=settings,
        draws=DRAWS,
    )
    assert [one.images for one in found.methods] == [8, 3]
    assert [one.checks.images for one in found.methods] == [5, 3]  # of the first size
    assert {panel.image.array.shape for panel in found.panels} == {(8, 8), (6, 8)}
    assert all((panel.parts.array == 0).any() for panel in found.panels)


def test_lengths_that_disagree_are_refused():
    images, regions, labels, patients, _ = drawn(4)
    with pytest.raises(ValueError, match="regions must have one value for each of the 4 images, got 3"):
        attribution(Corner(), images, regions[:3], labels, patients, label_names="ab")
    with pytest.raises(ValueError, match="methods must be among regional_shapley"):
        attribution(
            Corner(), images, regions, labels, patients, label_names="ab", settings=AttributionSettings(methods=("x",))
        )


def test_the_place_of_an_image_is_at_random_and_follows_from_its_pixels(rng):
    """Frames of one film differ by a hundredth of their noise, and are as far apart as any others."""
    base = rng.random((1, 64, 96))
    films = base + 0.01 * rng.normal(size=(500, 1, 64, 96))
    places = np.array([place_of(torch.as_tensor(image)) for image in films])
    assert kstest(places, "uniform").pvalue > 0.01
    others = np.array([place_of(torch.as_tensor(image), 1) for image in films])
    assert abs(np.corrcoef(places, others)[0, 1]) < 0.15
    again = np.array([place_of(torch.as_tensor(image).float()) for image in films])
    np.testing.assert_allclose(again, places, atol=1e-3)
    labels, settings = np.arange(500) % 2, AttributionSettings(images=9)
    chosen = first_images(places.tolist(), labels, 2, settings)
    assert first_images(again.tolist(), labels, 2, settings) == chosen
    expected = [row for label in (0, 1) for row in sorted(range(label, 500, 2), key=places.__getitem__)[:5]]
    assert chosen == sorted(expected, key=places.__getitem__)


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 4, 4), torch.full((1, 4, 4), torch.nan), torch.ones(2, 3) * torch.inf]
)
def test_an_image_of_zeros_or_of_no_finite_pixels_comes_last(image):
    assert place_of(image) == 1
    assert place_of(torch.ones(1, 4, 4)) < 1
