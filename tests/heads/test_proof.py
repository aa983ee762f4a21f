# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from monai.networks.nets import Discriminator
from torch import nn

from monai_shortcut.heads import LinearHead, linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.heads.proof import HeadError, Tolerance, excess, prove


class Ending(nn.Module):
    """A linear head followed by a function that is no module."""

    def __init__(self, ending, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.head, self.ending = nn.Linear(6, 4), nn.Linear(4, 3), ending
        with torch.no_grad():
            self.head.weight *= scale
            self.head.bias.fill_(scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.ending(self.head(self.first(inputs)))


@pytest.mark.parametrize(
    ("ending", "scale"),
    [
        (torch.tanh, 1e-3),  # nearly the identity on these images: only larger logits tell them apart
        (torch.nn.functional.softplus, 1.0),
        (lambda logits: 2 * logits, 1.0),
        (lambda logits: logits.clamp(-9, 9), 1.0),
        (lambda logits: logits.log_softmax(dim=1), 1.0),
        (lambda logits: logits.softmax(dim=0), 1.0),
        (lambda logits: logits * torch.nan, 1.0),
    ],
)
def test_a_function_after_the_head_is_refused(ending, scale):
    with pytest.raises(ValueError, match=r"got a difference of .* with layer 'head'.*one of \['head', 'first'\]"):
        linear_head(Ending(ending, scale))


def test_a_rectifier_that_no_image_reaches_is_refused():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU())
    with torch.no_grad():
        network[2].weight.abs_()
        network[2].bias.abs_()
    images = torch.randn(4, 6)
    torch.testing.assert_close(network[:3](images), network(images), rtol=0, atol=0)  # the same on every image
    with pytest.raises(ValueError, match=r"got a difference of .* with layer '2', after which ran \['ReLU'\]"):
        linear_head(network, images=images)


# --- sigmoid and softmax ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, -6.0, 30.0])
@pytest.mark.parametrize(
    ("ending", "activation"),
    [
        (torch.sigmoid, "sigmoid"),
        (lambda logits: torch.softmax(logits, dim=1), "softmax"),
        (lambda logits: (torch.tanh(logits / 2) + 1) / 2, "sigmoid"),  # the same function
        (lambda logits: torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6), "sigmoid"),
    ],
)
def test_probabilities_are_told_by_value_whatever_computes_them(ending, activation, offset):
    network = Ending(ending)
    with torch.no_grad():
        network.head.bias += torch.tensor([0.0, offset, 0.5])
    head = linear_head(network)
    assert (head.layer, head.activation) == ("head", activation)
    assert torch.equal(head.weight, network.head.weight)
    inputs = torch.randn(5, 6)
    embeddings, returned = embed(network, inputs)
    torch.testing.assert_close(returned, network(inputs).detach())  # what the network returned: probabilities
    torch.testing.assert_close(head(embeddings), network.head(network.first(inputs)).detach())  # logits


def test_a_single_probability_is_a_sigmoid_and_never_a_softmax():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1), nn.Sigmoid())
    assert linear_head(network).activation == "sigmoid"
    network[3] = nn.Softmax(dim=1)  # always 1, so it says nothing about the logit
    with pytest.raises(ValueError, match=r"got a difference of .* with layer '2', after which ran \['Softmax'\]"):
        linear_head(network)
    network = Discriminator((1, 16, 16), (4,), (2,))
    head = linear_head(network, images=torch.randn(2, 1, 16, 16))
    assert (head.layer, head.activation) == ("final.1", "sigmoid")


@pytest.mark.parametrize(
    "ending",
    [
        lambda logits: torch.sigmoid(torch.sigmoid(logits)),
        lambda logits: logits.softmax(dim=1).softmax(dim=1),
        lambda logits: torch.sigmoid(1.01 * logits),
        lambda logits: (logits / 1.01).softmax(dim=1),
        lambda logits: torch.sigmoid(logits).clamp(0.001, 1),  # differs by 0.001, near 0 alone
        lambda logits: torch.sigmoid(logits).clamp(0, 0.999),
        lambda logits: logits.softmax(dim=1).clamp(max=0.999),
        nn.functional.hardsigmoid,
        lambda logits: 1 - torch.sigmoid(logits),
        lambda logits: torch.special.ndtr(logits / 1.702),  # differs from sigmoid by less than 0.01
        lambda logits: torch.sigmoid(logits).round(decimals=3),
        lambda logits: 0.999 * torch.sigmoid(logits),
        lambda logits: torch.sigmoid(logits) + torch.nan,
    ],
)
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_functions_that_are_merely_similar_are_refused(ending, scale):
    with pytest.raises(ValueError, match=r"must equal the network's logits, got a difference of .* with layer 'head'"):
        linear_head(Ending(ending, scale))


def test_a_head_of_logits_is_taken_for_such_where_they_look_like_probabilities():
    network = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    with torch.no_grad():
        network[1].weight.mul_(1e-3)
        network[1].bias.fill_(0.5)
    assert linear_head(network).activation == ""


def test_probabilities_averaged_over_a_map_have_no_linear_head():
    layers = [nn.Conv2d(1, 4, 5), nn.Conv2d(4, 3, 1)]
    rest = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    with pytest.raises(ValueError, match=r"after which ran \['Sigmoid', 'AdaptiveAvgPool2d', 'Flatten'\]"):
        linear_head(nn.Sequential(*layers, nn.Sigmoid(), *rest))
    assert linear_head(nn.Sequential(*layers, *rest, nn.Sigmoid())).activation == "sigmoid"


def test_lower_precision_weights_are_told_too():
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.Sigmoid()).bfloat16()
    assert linear_head(network).activation == "sigmoid"
    assert linear_head(network.double()).activation == "sigmoid"
    assert linear_head(network.double()).weight.dtype == torch.float64


def test_a_head_that_is_given_its_input_by_name_is_scaled_too():
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 3)
            nn.init.uniform_(self.head.weight, -1e-3, 1e-3)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.head(input=inputs))

    with pytest.raises(ValueError, match="got a difference of"):
        linear_head(Keyword())


# --- the proof itself ------------------------------------------------------------------------------------------------


def test_the_proof_names_the_activation_or_says_how_the_two_differ():
    network = Ending(torch.sigmoid)
    bare = LinearHead(network.head.weight, network.head.bias, layer="head")
    images = torch.randn(5, 6)
    head = prove(bare, network, images)
    assert (bare.activation, head.activation, head.layer) == ("", "sigmoid", "head")
    assert torch.equal(head.weight, network.head.weight)
    network.ending = lambda logits: logits + torch.tensor([0.0, 0.25, 0.0])
    with pytest.raises(HeadError, match=r"^a difference of 0\.25 for logits up to \d"):
        prove(bare, network, images)
    network.ending = lambda logits: logits[:, :2]
    with pytest.raises(HeadError, match=r"^2 logits and 3 outputs$"):
        prove(bare, network, images)


@pytest.mark.parametrize("activation", ["", "sigmoid", "softmax"])
def test_the_excess_is_that_of_a_loop_over_images_and_classes(activation):
    torch.manual_seed(1)
    logits = 3 * torch.randn(4, 3, dtype=torch.float64)
    returned = torch.rand(4, 3, dtype=torch.float64)
    largest = max(abs(value) for row in logits.tolist() for value in row)
    worst = -math.inf
    for row, answers in zip(logits.tolist(), returned.tolist(), strict=True):
        for c, (value, answer) in enumerate(zip(row, answers, strict=True)):
            expected, allowed = value, 0.01 * largest
            if activation:
                total = sum(math.exp(other) for other in row)
                expected = math.exp(row[c]) / total if activation == "softmax" else 1 / (1 + math.exp(-value))
                allowed = 2 * expected * (1 - expected) * 0.01 * largest + 1e-4
            worst = max(worst, abs(answer - expected) - allowed)
    assert excess(activation, logits, returned, Tolerance(0.01, 1e-4)) == pytest.approx(worst, abs=1e-12)


def test_a_softmax_of_one_class_and_nan_are_beyond_any_rounding():
    one = torch.ones(2, 1)
    assert excess("softmax", one, one, Tolerance(1.0, 1.0)) == math.inf
    assert excess("", one, one * torch.nan, Tolerance(1.0, 1.0)) == math.inf


def test_rounding_grows_with_the_coarseness_of_the_weights():
    linear = nn.Linear(2, 2)
    assert Tolerance.of(linear, linear) == Tolerance(1e-3, 16 * 2**-23)
    assert Tolerance.of(linear.bfloat16(), linear) == Tolerance(16 * 2**-7, 16 * 2**-7)
    assert Tolerance.of(linear.double(), linear) == Tolerance(1e-3, 16 * 2**-23)
    assert Tolerance.of(nn.Identity(), nn.Sequential(nn.Linear(2, 2).half())) == Tolerance(16 * 2**-10, 16 * 2**-10)
    assert Tolerance.of(nn.Identity(), nn.Identity()) == Tolerance(1e-3, 16 * 2**-23)
