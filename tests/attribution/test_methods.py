# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet, resnet18
from torch import nn
from torch.nn import functional

from monai_shortcut.attribution import AttributionSettings, region_parts
from monai_shortcut.attribution.activations import check_activations, out_of_place
from monai_shortcut.attribution.methods import METHODS, Answers, attributions, check_methods, question_of
from monai_shortcut.types import Unmeasurable

SETTINGS = AttributionSettings(cells=3, samples=4, steps=8)


def asked(network: nn.Module, side: int = 12, spatial_dims: int = 2, fill: float | str = 0.0, channels: int = 1):
    shape = (3, channels, *[side] * spatial_dims)
    roi = torch.zeros(3, 1, *shape[2:])
    for index in range(3):
        roi[index, 0, 2 : 5 + index, 3:7] = 1
    images = torch.randn(shape)
    parts, targets = region_parts(roi), torch.tensor([0, 1, 1])
    return question_of(network.eval(), images, parts, targets, fill, SETTINGS, torch.randn(4, *shape[1:]))


def expected_sums(name, question):
    """The answer less that of the baseline, from the definition."""
    with torch.no_grad():
        answer = question.network(question.images)
        if METHODS[name].baseline == "fill":
            other = question.network(question.baseline)
        else:
            other = question.network(question.background).mean(dim=0, keepdim=True).expand_as(answer)
    return (answer - other).gather(1, question.targets[:, None])[:, 0]


class Linear(nn.Module):
    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, pixels))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T


@pytest.mark.parametrize("fill", [0.5, "mean"])
@pytest.mark.parametrize("name", METHODS)
def test_of_a_linear_network_every_method_gives_what_the_pixels_add(name, fill):
    question = asked(Linear(2 * 144), fill=fill, channels=2)
    if METHODS[name].baseline == "background":
        question = replace(question, background=question.background[:1])  # of several, GradientShap draws
        other = question.background.expand_as(question.images)
    else:
        other = question.baseline
    gain = ((question.images - other).flatten(1) * question.network.weight[question.targets]).detach()
    gain = gain.reshape(question.images.shape).sum(dim=1)
    if name == "regional_shapley":
        if fill == "mean":
            return  # fills each coalition from what it shows: see test_shapley
        cells = question.parts[:, 0]
    else:
        cells = question.squares[0].expand(3, 12, 12)
    if name in ("regional_shapley", "feature_ablation", "shapley_sampling"):
        for own, cell in zip(gain, cells, strict=True):
            for value in cell.unique():
                own[cell == value] = own[cell == value].mean()
    torch.testing.assert_close(attributions(METHODS[name], question), gain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ["regional_shapley", "integrated_gradients", "shapley_sampling"])
def test_methods_sum_to_the_answer_of_a_densenet_in_two_and_three_dimensions(name, spatial_dims):
    network = Answers(DenseNet(spatial_dims, 1, 2, init_features=4, growth_rate=2, block_config=(1, 1)))
    question = asked(network, 24, spatial_dims)
    question = replace(question, settings=replace(SETTINGS, steps=64, samples=1))
    found = attributions(METHODS[name], question)
    assert found.shape == (3, *[24] * spatial_dims)
    torch.testing.assert_close(found.flatten(1).sum(dim=1), expected_sums(name, question), rtol=0.02, atol=1e-4)


def test_deep_lift_sees_through_layers_that_work_in_place_and_leaves_them_so():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    network = Answers(nn.Sequential(network, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    question = asked(network)
    found = attributions(METHODS["deep_lift_shap"], question)
    torch.testing.assert_close(
        found.flatten(1).sum(dim=1), expected_sums("deep_lift_shap", question), rtol=1e-3, atol=1e-5
    )
    assert [module.inplace for module in network.modules() if isinstance(module, nn.ReLU)] == [True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_in_place_layers_come_back_after_an_error():
    network, seen = nn.Sequential(nn.ReLU(inplace=True), nn.ReLU()), []

    def fail():
        with out_of_place(network):
            seen.extend(layer.inplace for layer in network)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [False, False]
    assert [layer.inplace for layer in network] == [True, False]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.layers(images), inplace=True).mean(dim=(2, 3))


def test_what_deep_lift_cannot_see_is_refused_with_what_to_do():
    method, ending = METHODS["deep_lift_shap"], (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(Unmeasurable, match=r"called as functions, which DeepLift cannot see: relu \(1 times\); mak"):
        attributions(method, asked(Functional()))
    twice = resnet18(spatial_dims=2, n_input_channels=1, num_classes=2).layer1[0].eval()
    with pytest.raises(Unmeasurable, match="a layer of its own for each activation, but act runs 2 times in a pass"):
        check_activations(twice, torch.zeros(1, 64, 8, 8))
    scripted = Answers(torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), *ending)))
    with pytest.raises(Unmeasurable, match="layers of TorchScript call no hooks: network; build the network in Python"):
        attributions(method, asked(scripted))


@pytest.mark.parametrize("name", ["regional_shapley", "integrated_gradients", "gradient_shap", "feature_ablation"])
def test_others_explain_functional_activations_and_torchscript(name):
    for network in (Functional(), torch.jit.script(Functional())):
        assert torch.isfinite(attributions(METHODS[name], asked(Answers(network)))).all()


class Detached(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.detach().mean(dim=(2, 3)).expand(-1, 2)


class Broken(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("network", "name", "message"),
    [
        (
            Detached(),
            "integrated_gradients",
            "the answers have no gradient with respect to the image; run",
        ),
        (
            Broken(RuntimeError("no derivative\nsecond")),
            "gradient_shap",
            "network does not run with gradients: no d",
        ),
        (Broken(KeyError("x")), "feature_ablation", "KeyError: 'x'"),
        (
            Broken(ImportError("No module named 'captum'")),
            "feature_ablation",
            r"captum'; install it with pip install \"\.\[a",
        ),
    ],
)
def test_a_method_that_fails_says_why(network, name, message):
    with pytest.raises(Unmeasurable, match=message):
        attributions(METHODS[name], asked(network))


def test_numbers_that_are_not_finite_are_no_explanation():
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    nn.init.constant_(network[1].weight, float("nan"))
    with pytest.raises(Unmeasurable, match="432 of its numbers are not finite"):
        attributions(METHODS["feature_ablation"], asked(network))


def test_what_is_drawn_comes_from_the_seed_and_moves_no_other_stream():
    question = asked(nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Tanh(), nn.Linear(8, 2)))
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (attributions(METHODS["gradient_shap"], question) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert numbers == np.random.get_state()[1].tolist()  # noqa: NPY002
    other = replace(question, settings=replace(SETTINGS, seed=1))
    assert not torch.equal(first, attributions(METHODS["gradient_shap"], other))


def test_an_answer_is_what_a_softmax_sees():
    logits = torch.randn(4, 3)
    network = Answers(nn.Identity())
    torch.testing.assert_close(network(logits + 5), network(logits))
    torch.testing.assert_close(network(logits)[:, 1], logits[:, 1] - (logits[:, 0] + logits[:, 2]) / 2)
    two = Answers(nn.Identity(), rows=(2, 0))(logits)
    torch.testing.assert_close(two, torch.stack([logits[:, 2] - logits[:, 0], logits[:, 0] - logits[:, 2]], dim=1))
    for ending in ("softmax", "sigmoid"):
        probabilities = logits.softmax(dim=1) if ending == "softmax" else logits.sigmoid()
        torch.testing.assert_close(Answers(nn.Identity(), activation=ending)(probabilities), network(logits))
    torch.testing.assert_close(Answers(nn.Identity(), rows=(1,))(logits), logits[:, [1, 1]] * torch.tensor([-1, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": 0}, "images must be an integer of at least 1, got 0"),
        ({"checked_images": 1}, "checked_images must be an integer of at least 2, got 1"),
        ({"steps": 2.5}, "steps must be an integer of at least 2, got 2.5"),
        ({"methods": ()}, r"methods and fills must not be empty, got \(\) and "),
        ({"fills": ("white",)}, "fill must be a finite number or one of mean, noise, blur, inpaint, got 'white'"),
        ({"ring": 0}, "ring must be above 0, in pixel or area, got 0 area"),
        ({"unit": "mm"}, "ring must be above 0, in pixel or area, got 1.0 mm"),
        ({"significance": 1}, "significance must be between 0 and 1, got 1"),
    ],
)
def test_settings_that_do_not_exist_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AttributionSettings(**change)
    with pytest.raises(ValueError, match=r"methods must be among regional_shapley, .*, got lime"):
        check_methods(("lime",))
