# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images with hidden pixels: the last step of their preparation, and one image under every masking strategy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from monai_shortcut.attribution import METHODS, Answers, Attribution, AttributionSettings, attribution, region_parts
from monai_shortcut.attribution.checks import completeness, curves
from monai_shortcut.attribution.methods import attributions, question_of
from monai_shortcut.regions.strategies import STRATEGIES
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.transforms import MaskROI
from monai_shortcut.types import Unmeasurable

SETTINGS = AttributionSettings(
    methods=("regional_shapley", "integrated_gradients"), fills=(0.0,), steps=8, curve_steps=2, cells=2, samples=40
)


def normalised(image: torch.Tensor) -> torch.Tensor:
    """Mean 0 and standard deviation 1; an image for which that was done stays as it is."""
    deviation = image.std(correction=0)
    return (image - image.mean()) / (deviation if deviation > 1e-5 else 1)


class Bent(nn.Module):
    """Not linear, so that the scale of what is visible counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1)) ** 3


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return Answers(Bent().eval())


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    drawn = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(2)) ** 2
    return torch.stack([normalised(image) for image in drawn])


@pytest.fixture(scope="module")
def regions() -> torch.Tensor:
    found = torch.zeros(6, 1, 8, 8)
    for index, region in enumerate(found):
        region[:, 1:4, 1 : 3 + index % 3] = 1
    return found


def asked(network, images, regions, fill=0.0, after=normalised):
    targets = torch.arange(len(images)) % 2
    return question_of(network, images, region_parts(regions), targets, fill, SETTINGS, after_masking=after)


@pytest.mark.parametrize("name", ["feature_ablation", "shapley_sampling"])
def test_squares_are_hidden_before_the_last_step(network, images, regions, name):
    """Against every set of the four squares; sampled values come near, squares hidden one by one are exact."""
    own = asked(network, images, regions)
    found = attributions(METHODS[name], own)
    squares = own.squares[0, 0]
    for row, target in enumerate(own.targets.tolist()):

        def worth(visible, row=row, target=target):
            shown = torch.where(torch.isin(squares, torch.tensor(visible)), images[row], 0)
            with torch.no_grad():
                return float(network(normalised(shown)[None])[0, target])

        for square in range(4):
            if name == "feature_ablation":
                expected = worth(range(4)) - worth([other for other in range(4) if other != square])
                assert float(found[row][squares == square].sum()) == pytest.approx(expected, rel=1e-3, abs=1e-4)
        total = worth(range(4)) - worth([9])
        if name == "shapley_sampling":
            assert float(found[row].sum()) == pytest.approx(total, rel=1e-3, abs=1e-4)
    assert not torch.allclose(found, attributions(METHODS[name], asked(network, images, regions, after=None)))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("fill", [0.7, "mean"])
def test_sums_are_held_against_what_the_network_says_of_the_filled_image(network, images, regions, name, fill):
    """A normaliser turns an image that is 0.7 everywhere into 0."""
    own = asked(network, images, regions, fill)
    with torch.no_grad():
        black = network(torch.zeros(1, 1, 8, 8))[0, own.targets]
        whole = network(images)[torch.arange(6), own.targets]
    method = METHODS[name]
    if method.sums and method.baseline == "fill":
        found = attributions(method, own)
        if name != "integrated_gradients":  # of few steps
            assert found.flatten(1).sum(dim=1).numpy() == pytest.approx((whole - black).numpy(), rel=1e-3, abs=1e-3)
        missed = (found.flatten(1).sum(dim=1) - (whole - black)).abs()
        expected = missed.mean() / (whole - black).abs().mean()
        assert completeness(found, method, own) == pytest.approx(float(expected), abs=1e-3)


def test_curves_are_of_prepared_images(network, images, regions):
    own = asked(network, images, regions)
    maps = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0))
    deleted, inserted, size = curves(maps, own)
    with torch.no_grad():
        black = network(torch.zeros(1, 1, 8, 8))[0]
        for row, target in enumerate(own.targets.tolist()):
            whole = float(network(images[row : row + 1])[0, target] - black[target])
            sign = 1 if whole >= 0 else -1
            first = torch.zeros(64, dtype=torch.bool)
            first[torch.argsort(-sign * maps[row].flatten())[:32]] = True
            for curve, shown in ((deleted, ~first), (inserted, first)):
                image = torch.where(shown.reshape(1, 8, 8), images[row], 0)
                expected = float(network(normalised(image)[None])[0, target] - black[target])
                assert curve[row, 1] == pytest.approx(sign * expected, rel=1e-3, abs=1e-4)
            assert size[row] == pytest.approx(abs(whole), rel=1e-4, abs=1e-5)


def broken(image: torch.Tensor) -> torch.Tensor:
    raise ZeroDivisionError("no scale")


def test_a_step_that_fails_is_the_reason_why_nothing_is_computed(network, images, regions):
    with pytest.raises(Unmeasurable, match="after_masking failed on a masked image: ZeroDivisionError: no scale"):
        attributions(METHODS["regional_shapley"], asked(network, images, regions, after=broken))
    assert explained(network, images, regions, after_masking=broken).methods == ()


def explained(network, images, regions, patients="abcdef", **options) -> Attribution:
    return attribution(
        network,
        list(images),
        list(regions),
        np.arange(len(images)) % 2,
        list(patients),
        label_names=("benign", "malignant"),
        settings=SETTINGS,
        draws=Resampling(bootstraps=9, permutations=9),
        **options,
    )


@pytest.fixture(scope="module")
def found(network, images, regions) -> Attribution:
    return explained(network, images, regions, after_masking=normalised)


def test_the_median_image_of_each_label_is_mapped_under_every_strategy(found, network, images, regions):
    assert [panel.label for panel in found.masked] == ["benign", "malignant"]
    medians = {panel.label: panel.image_id for panel in found.panels if panel.rule == "median"}
    for label, panel in enumerate(found.masked):
        row = int(panel.image_id)
        assert panel.image_id == medians[panel.label]
        assert (panel.method, panel.not_computed) == ("integrated_gradients, 0", {})
        assert [view.strategy for view in panel.views] == list(STRATEGIES)
        for view in panel.views:
            hidden = MaskROI(view.strategy)(images[row], regions[row], regions[(row + 1) % 6])
            seen = hidden if view.strategy == "full" else normalised(hidden)
            own = asked(network, seen[None], regions[row : row + 1])
            own.targets[:] = label
            map_ = attributions(METHODS["integrated_gradients"], own)[0].abs().numpy()
            outside = float(map_[own.parts[0, 0].numpy() == 2].sum() / map_.sum())
            assert view.outside == pytest.approx(outside, abs=1e-4)
            scaled = 255 * ((seen[0] - seen.min()) / (seen.max() - seen.min())).numpy()
            np.testing.assert_allclose(view.image.array, scaled, atol=0.51)
            np.testing.assert_allclose(
                view.map.array, np.clip(255 * map_ / np.quantile(map_, 0.99), 0, 255), atol=0.6, rtol=1e-4
            )
        assert panel.parts.array.tolist() == region_parts(regions[row : row + 1])[0, 0].tolist()
    assert found.masked[0].view("roi_only") == found.masked[0].views[3]
    assert found.masked[0].view("none") is None


def test_a_strategy_that_cannot_be_applied_says_why(network, images, regions):
    regions = regions.clone()
    regions[:, :, 1:, :] = 1
    panel = explained(network, images, regions, patients="aaaaaa").masked[0]
    assert list(panel.not_computed) == ["shifted_roi", "swapped_roi"]
    assert panel.not_computed["swapped_roi"].startswith('strategy "swapped_roi" needs the region of another patient')
    assert len(panel.views) == 7


def test_a_map_of_nothing_has_no_share_outside(images, regions):
    """Outside the region the network is blind, and the region alone is hidden."""
    network = Bent()
    with torch.no_grad():
        network.layer.weight[:] = regions.amax(dim=0).flatten() * torch.tensor([[1.0], [-1.0]])
        network.layer.bias[:] = 0
    blind = explained(Answers(network), images, regions.amax(dim=0, keepdim=True).expand_as(regions))
    views = {view.strategy: view.outside for view in blind.masked[0].views}
    assert (views["without_roi"], views["full"]) == (None, 0)


def test_no_map_no_panel_under_strategies(network, images, regions):
    without = AttributionSettings(methods=("regional_shapley",), fills=(0.0,), curve_steps=2)
    arguments = (network, list(images), list(regions), np.arange(6) % 2, list("abcdef"))
    assert attribution(*arguments, label_names=("a", "b"), settings=without).masked == ()
    with pytest.raises(ValueError, match=r"strategy must be one of full, .*, got 'upside_down'"):
        AttributionSettings(strategies=("upside_down",))
