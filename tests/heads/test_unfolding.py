# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_shortcut.heads import LinearHead, linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.heads.unfolding import with_head


def normalized(channels: int, affine: bool, bias: bool) -> nn.Module:
    """A 1x1 convolution with a batch normalization that has seen something, averaged over space."""
    norm = nn.BatchNorm2d(channels, affine=affine)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if affine:
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
    head = nn.Conv2d(6, channels, 1, bias=bias)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), head, norm, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


NETWORKS = {
    "linear": lambda: nn.Sequential(nn.Conv2d(1, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)),
    "probabilities": lambda: nn.Sequential(NETWORKS["linear"](), nn.Softmax(dim=1)),
    "norm": lambda: normalized(3, affine=True, bias=True),
    "norm, no bias": lambda: normalized(3, affine=True, bias=False),
    "norm, not affine": lambda: normalized(3, affine=False, bias=True),
    "norm, not affine, no bias": lambda: normalized(3, affine=False, bias=False),
    "as many channels before": lambda: normalized(6, affine=True, bias=False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_copy_gives_the_logits_of_the_new_head_and_keeps_everything_else(name):
    network, images = NETWORKS[name]().eval(), torch.randn(4, 1, 9, 9)
    old = linear_head(network, images=images)
    new = LinearHead(torch.randn_like(old.weight).double(), torch.randn_like(old.bias).double(), old.layer)
    known = {key: value.clone() for key, value in network.state_dict().items()}
    changed = with_head(network, old, new, images)
    points, returned = embed(network, images, old.layer)
    logits = points.double() @ new.weight.T + new.bias
    expected = logits.softmax(dim=1) if old.activation else logits
    torch.testing.assert_close(changed(images).double(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(returned.double(), expected, atol=1e-2)
    state = changed.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in known.items()}
    moved = [key for key in state if not torch.equal(state[key], known[key])]
    assert 1 <= len(moved) <= 2
    for key, value in network.state_dict().items():
        assert torch.equal(value, known[key])  # the network itself stays


def test_heads_that_have_no_place_are_refused():
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)), torch.randn(3, 4)
    old = linear_head(network, images=images)
    shifted = LinearHead(old.weight, old.bias + 1, old.layer)
    with pytest.raises(ValueError, match=r"the head must have a bias for the repaired one to be put there, got Linear"):
        with_head(network, old, shifted, images)
    with pytest.raises(ValueError, match=r"shape of the old one, got \(1, 4\) and \(2, 4\)"):
        with_head(network, old, LinearHead(old.weight[:1], old.bias[:1], old.layer), images)
    with pytest.raises(ValueError, match="the layer '1' must hold the head, alone or with a batch normalization, got"):
        with_head(network, shifted, old, images)


def test_a_network_that_does_more_with_the_logits_is_refused():
    network, images = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.randn(5, 4)
    old = LinearHead(network[0].weight.detach(), network[0].bias.detach(), "0")
    with pytest.raises(ValueError, match="the repaired network must give the logits of the repaired head, got"):
        with_head(network, old, LinearHead(2 * old.weight, old.bias, "0"), images)
