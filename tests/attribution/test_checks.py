# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from monai_shortcut.attribution import METHODS, AttributionSettings, checks, region_parts
from monai_shortcut.attribution.checks import (
    complaints,
    completeness,
    curves,
    rank_correlation,
    shuffled_weights,
)
from monai_shortcut.attribution.methods import Method, attributions, question_of
from monai_shortcut.types import Estimate

SETTINGS = AttributionSettings(steps=4, curve_steps=4, seed=3)


def question(network: nn.Module, images: torch.Tensor | None = None):
    images = torch.randn(6, 1, 8, 8) if images is None else images
    roi = torch.zeros(len(images), 1, 8, 8)
    roi[:, :, 2:4, 2:5] = 1
    return question_of(network.eval(), images, region_parts(roi), torch.arange(len(images)) % 2, 0.0, SETTINGS)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))


def run_checks(method, own, share):
    return checks.run_checks(method, own, attributions(method, own), share)


def ratio(above, below):
    value = float(above.sum() / below.sum())
    return Estimate(value, value, value)


def test_shuffled_weights_are_the_same_values_elsewhere_and_come_back():
    network = linear()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ZeroDivisionError):
        _divide(network, before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def _divide(network, before):
    with shuffled_weights(network, 0):
        weight = network[1].weight
        assert not torch.equal(weight, before["1.weight"])
        assert torch.equal(weight.flatten().sort().values, before["1.weight"].flatten().sort().values)
        _ = 1 / 0


def test_curves_hide_and_show_the_foremost_pixels_first():
    own = question(linear())
    maps = attributions(METHODS["integrated_gradients"], own)
    deleted, inserted, size = curves(maps, own)
    with torch.no_grad():
        blank = own.network(torch.zeros_like(own.images))
        for image, target in enumerate(own.targets.tolist()):
            whole = float((own.network(own.images) - blank)[image, target])
            sign = 1 if whole >= 0 else -1
            order = torch.argsort(-sign * maps[image].flatten())
            for step in range(5):
                shown, hidden = torch.zeros(64), own.images[image].flatten().clone()
                shown[order[: 16 * step]] = hidden[order[: 16 * step]]
                hidden[order[: 16 * step]] = 0
                for found, pixels in ((inserted, shown), (deleted, hidden)):
                    answer = own.network(pixels.reshape(1, 1, 8, 8))[0, target] - blank[image, target]
                    assert found[image, step] == pytest.approx(sign * float(answer), abs=1e-5)
            assert size[image] == pytest.approx(abs(whole), abs=1e-5)


def test_a_faithful_method_of_a_linear_network_passes_and_shuffled_weights_change_it():
    images = torch.rand(40, 1, 8, 8) + 0.5  # alike everywhere: the map is that of the weights
    found = run_checks(METHODS["integrated_gradients"], question(linear(), images), ratio)
    assert found.passed
    assert found.completeness == pytest.approx(0, abs=1e-5)
    assert abs(found.survival) < 0.4
    assert found.insertion[0] == pytest.approx(0, abs=1e-6)
    assert (found.insertion[-1], found.deletion[0]) == pytest.approx((1, 1))
    assert found.deletion[-1] == pytest.approx(0, abs=1e-6)
    assert found.gain.value == pytest.approx(np.mean(found.insertion) - np.mean(found.deletion), abs=1e-6)
    assert found.gain.value > 0.5


def test_an_edge_detector_is_found_out():
    edges = Method("edges", "fill", sums=True, gradient=False, explain=lambda asked: asked.images.abs())
    images = torch.randn(40, 1, 8, 8) * torch.tensor([0.01, 1.0]).repeat(4)
    network = linear()
    with torch.no_grad():
        network[1].weight[:] = torch.randn(2, 64)
    found = run_checks(edges, question(network, images), ratio)
    assert found.survival == pytest.approx(1)
    assert not found.passed
    assert [text.split("(")[0].split(" by ")[0] for text in found.complaints[:2]] == [
        "its attributions miss the answer",
        "it survives shuffled weights ",
    ]


def test_parts_survive_if_the_shares_outside_rank_alike():
    found = run_checks(METHODS["regional_shapley"], question(linear(), torch.randn(40, 1, 8, 8)), ratio)
    assert abs(found.survival) < 0.45
    assert found.completeness == pytest.approx(0, abs=1e-5)
    assert run_checks(METHODS["feature_ablation"], question(linear()), ratio).completeness is None


def test_completeness_is_the_mean_miss_as_a_share_of_the_answer():
    own = question(linear())
    maps = attributions(METHODS["integrated_gradients"], own)
    assert completeness(maps * 1.25, METHODS["integrated_gradients"], own) == pytest.approx(0.25, abs=1e-4)


def test_what_cannot_be_checked_is_named():
    def explain(asked):
        if not torch.equal(asked.network[1].weight, weight):
            raise ValueError("no such weights")
        return asked.images

    network = linear()
    weight = network[1].weight.detach().clone()
    found = run_checks(Method("fragile", "fill", sums=False, gradient=False, explain=explain), question(network), ratio)
    assert found.not_computed == {"shuffled weights": "ValueError: no such weights"}
    assert found.survival is None


def test_a_network_that_says_the_same_of_all_images_has_no_gain():
    network = linear()
    nn.init.zeros_(network[1].weight)
    found = run_checks(METHODS["feature_ablation"], question(network), ratio)
    assert found.gain is None
    assert set(found.deletion) == {0.0}


def test_each_complaint_has_its_own_number():
    found = run_checks(METHODS["feature_ablation"], question(linear()), ratio)
    bad = replace(found, completeness=0.34, survival=0.61, gain=Estimate(0.1, -0.01, 0.2))
    assert complaints(bad) == (
        "its attributions miss the answer by 34% of it",
        "it survives shuffled weights (rank correlation 0.61)",
        "hiding what it points to does not certainly move the answer more than hiding pixels at random",
    )
    assert len(complaints(bad, 0.7)) == 2
    assert complaints(replace(bad, completeness=0.1, survival=0.49, gain=Estimate(0.1, 0.01, 0.2))) == ()


def test_rank_correlation_is_spearmans(rng):
    first = rng.integers(6, size=(5, 8))
    second = first + rng.integers(4, size=(5, 8))
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first.ravel(), second.ravel()).statistic)
    assert rank_correlation(first, np.ones((5, 8))) == 0


def test_no_pixel_can_be_blurred_by_itself():
    own = replace(question(linear()), fill="blur")
    found = run_checks(METHODS["regional_shapley"], own, ratio)
    assert found.not_computed == {"curves": "pixels that are hidden one by one cannot become blur"}
    assert found.gain is None
    assert found.deletion == found.insertion == ()
    assert found.completeness == pytest.approx(0, abs=1e-5)
