# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import io

import pytest
import torch
from monai.networks.nets import DenseNet121
from torch import nn

from monai_shortcut.networks import freeze_except

PUBLISHED = ("features.denseblock4.denselayer16", "class_layers")


@pytest.fixture(scope="module")
def densenet() -> nn.Module:
    torch.manual_seed(0)
    return DenseNet121(spatial_dims=2, in_channels=3, out_channels=5, dropout_prob=0.2)


def train(network: nn.Module, steps: int = 2) -> dict[str, torch.Tensor]:
    """State after some steps in training mode."""
    chosen = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(chosen, lr=0.1)
    network.train()
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        network(3 + torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_the_published_choice_trains_171205_parameters(densenet):
    network = freeze_except(copy.deepcopy(densenet), PUBLISHED)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 171_205


def test_training_leaves_frozen_parts_bit_for_bit_and_moves_the_rest(densenet):
    network = freeze_except(copy.deepcopy(densenet), PUBLISHED)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after = train(network)
    for name, value in after.items():
        chosen = name.startswith(tuple(f"{part}." for part in PUBLISHED))
        assert torch.equal(value, before[name]) != chosen, name


def test_without_gradients_alone_the_statistics_of_batch_norm_drift(densenet):
    network = copy.deepcopy(densenet)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(PUBLISHED))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after = train(network)
    assert torch.equal(after["features.conv0.weight"], before["features.conv0.weight"])
    assert not torch.equal(after["features.norm0.running_mean"], before["features.norm0.running_mean"])


def test_dropout_of_frozen_layers_is_off_and_that_of_trained_layers_on():
    network = freeze_except(nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 64), nn.Dropout(0.5)), ["2"]).train()
    network[1].weight.data = torch.eye(64)
    network[1].bias.data.zero_()
    dropped = network(torch.ones(1, 64)) == 0
    assert 10 < int(dropped.sum()) < 54  # of one dropout, not of two
    assert set(network(torch.ones(4, 64)).unique().tolist()) == {0.0, 2.0}
    assert torch.equal(network.eval()(torch.ones(1, 64)), torch.ones(1, 64))


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_freezes_its_own_modules(way):
    network = freeze_except(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), ["1"])
    if way == "deepcopy":
        copied = copy.deepcopy(network)
    else:
        stream = io.BytesIO()
        torch.save(network, stream)
        stream.seek(0)
        copied = torch.load(stream, weights_only=False)
    copied.train()(5 + torch.randn(8, 3))
    assert torch.equal(copied[0].running_mean, torch.zeros(3))
    assert network.state_dict().keys() == copied.state_dict().keys()


def test_modules_that_do_not_exist_are_refused(densenet):
    with pytest.raises(ValueError, match=r"children: features, class_layers\), got 'classifier', ''\."):
        freeze_except(densenet, ["features", "classifier", ""])
