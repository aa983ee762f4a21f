# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DenseNet121

from monai_shortcut.networks import load_imagenet_densenet


@pytest.fixture(scope="module")
def colour() -> DenseNet121:
    torch.manual_seed(0)
    network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=5)
    for name, buffer in network.named_buffers():
        if "running" in name:  # trained statistics are not those of a new network
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def distributed(network: DenseNet121, old: bool) -> dict[str, torch.Tensor]:
    """The weights under the names of torchvision's file, with its head of a thousand classes."""
    between = "." if old else ""
    state = {
        re.sub(r"layers\.(norm|conv)(\d)", rf"\g<1>{between}\2", name): value
        for name, value in network.state_dict().items()
        if not name.startswith("class_layers") and not (old and name.endswith("num_batches_tracked"))
    }
    return {**state, "classifier.weight": torch.zeros(1000, 1024), "classifier.bias": torch.zeros(1000)}


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "densenet121.pth")
    return folder / "densenet121.pth"


@pytest.mark.parametrize("old", [True, False])
def test_both_styles_of_names_give_the_network_back_but_for_its_head(colour, tmp_path, old):
    state = distributed(colour, old)
    assert ("features.denseblock1.denselayer1.norm.1.weight" in state) == old
    other = DenseNet121(spatial_dims=2, in_channels=3, out_channels=2)
    head = other.class_layers.out.weight.clone()
    load_imagenet_densenet(other, saved(state, tmp_path))
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(other.eval().features(images), colour.features(images))
    assert torch.equal(other.class_layers.out.weight, head)


def test_a_grey_image_is_read_as_in_three_equal_channels(colour, tmp_path):
    grey = DenseNet121(spatial_dims=2, in_channels=1, out_channels=5)
    load_imagenet_densenet(grey, saved(distributed(colour, old=True), tmp_path))
    image = torch.randn(2, 1, 64, 64)
    expected = colour.features(image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(grey.eval().features(image), expected, rtol=1e-4, atol=1e-4)


def test_files_that_do_not_fit_are_refused_by_the_first_tensor(colour, tmp_path):
    network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=5)
    state = distributed(colour, old=False)
    with pytest.raises(ValueError, match=r"must be a DenseNet of torchvision, with features\.conv0\.weight, got"):
        load_imagenet_densenet(network, saved({"fc.weight": torch.zeros(1)}, tmp_path))
    wrong = state | {"features.norm0.weight": torch.zeros(32)}
    with pytest.raises(ValueError, match=r"features\.norm0\.weight must have shape \(64,\).*got \(32,\) in"):
        load_imagenet_densenet(network, saved(wrong, tmp_path))
    del wrong["features.norm0.weight"]
    with pytest.raises(ValueError, match=r"features\.norm0\.weight must have shape \(64,\).*got none in"):
        load_imagenet_densenet(network, saved(wrong, tmp_path))
    more = state | {"features.denseblock5.denselayer1.norm1.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"layers of the network only, got features\.denseblock5"):
        load_imagenet_densenet(network, saved(more, tmp_path))
    two = DenseNet121(spatial_dims=2, in_channels=2, out_channels=5)
    with pytest.raises(
        ValueError, match=r"features\.conv0\.weight must have shape \(64, 2, 7, 7\).*got \(64, 3, 7, 7\)"
    ):
        load_imagenet_densenet(two, saved(state, tmp_path))
