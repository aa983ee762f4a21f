# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import DATA
from monai.networks.utils import convert_to_torchscript
from torch import nn
from torch.nn.functional import conv2d, max_pool2d, relu

from monai_shortcut.heads import linear_head, logit_map_head
from monai_shortcut.networks import SonoNet


def layers(network: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Each convolution with its batch normalization, in order."""
    convolutions = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    norms = [module for module in network.modules() if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d))]
    return list(zip(convolutions, norms, strict=True))


def trained(network: nn.Module, *shape: int) -> nn.Module:
    """The network in evaluation mode, its batch normalizations with statistics and affine terms that matter."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    for _ in range(3):
        network(torch.randn(*shape))
    return network.eval()


def test_sononet16_has_the_shapes_of_the_published_weights():
    path = DATA / "sononet16-fetal-planes" / "SonoNet16.npz"
    if not path.is_file():
        pytest.skip(f"no published weights at {path}")
    with np.load(path) as arrays:
        published = [arrays[f"arr_{i}"].shape for i in range(len(arrays.files))]
    ours = []
    for convolution, norm in layers(SonoNet(out_channels=14)):
        assert convolution.bias is None
        assert norm.eps == 1e-4
        ours.append(convolution.weight.shape)  # W, then beta, gamma, mean and inverse standard deviation
        ours += [values.shape for values in (norm.bias, norm.weight, norm.running_mean, norm.running_var)]
    assert len(published) == 75
    assert [tuple(shape) for shape in ours] == published


def test_the_forward_pass_equals_the_papers_recipe_written_out():
    network = trained(SonoNet(in_channels=2, out_channels=3, width=2), 4, 2, 32, 48).double()
    images = torch.randn(3, 2, 32, 48, dtype=torch.float64)
    expected = images
    stages = layers(network)
    for number, (convolution, norm) in enumerate(stages):
        expected = conv2d(expected, convolution.weight, padding=1 if number < 13 else 0)
        expected = (expected - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-4).sqrt()
        expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
        expected = expected if number == 14 else relu(expected)
        expected = max_pool2d(expected, 2) if number in (1, 3, 6, 9) else expected
    torch.testing.assert_close(network(images), expected.sum(dim=(2, 3)) / (2 * 3))
    assert len({tuple(row) for row in network(images).tolist()}) == 3  # each image has its own logits


@pytest.mark.parametrize("width", [16, 32, 64])
def test_the_published_widths_have_the_papers_channels(width):
    channels = [convolution.out_channels for convolution, _ in layers(SonoNet(out_channels=5, width=width))]
    assert channels == [width * m for m in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8, 4)] + [5]


def test_weights_are_initialized_as_he_proposed():
    weight = layers(SonoNet(width=16))[-4][0].weight  # 128 x 128 x 3 x 3
    assert float(weight.detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("spatial_dims", "sides"), [(2, (16, 16)), (3, (16, 16, 16))])
def test_images_of_sixteen_pixels_pass_and_smaller_ones_are_refused(spatial_dims, sides):
    network = SonoNet(spatial_dims, 1, 2, width=1).eval()
    assert network(torch.randn(2, 1, *sides)).shape == (2, 2)
    with pytest.raises(ValueError, match=rf"1 channels and {spatial_dims} sides of at least 16 pixels, got shape \[2"):
        network(torch.randn(2, 1, *sides[1:], 15))
    with pytest.raises(ValueError, match=r"must have a batch axis, 1 channels .*got shape \[2, 3"):
        network(torch.randn(2, 3, *sides))
    with pytest.raises(ValueError, match=r"got shape \[1, 16"):
        network(torch.randn(1, *sides))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
        ({"in_channels": 0}, "in_channels must be an integer of at least 1, got 0"),
        ({"out_channels": -1}, "out_channels must be an integer of at least 1, got -1"),
        ({"width": 1.5}, "width must be an integer of at least 1, got 1.5"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SonoNet(**arguments)


def test_the_seed_decides_weights_logits_and_gradients():
    def run() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(3)
        network = SonoNet(out_channels=2, width=2)
        logits = network(torch.randn(2, 1, 32, 32))
        logits.square().sum().backward()
        return logits, network.features[0].weight.grad

    for first, second in zip(run(), run(), strict=True):
        assert torch.equal(first, second)


SIDES = [(2, (32, 48)), (3, (16, 32, 16))]
# PyTorch 2.13 deprecates TorchScript, which bundles are still exported to.
DEPRECATED = "ignore:.torch.jit:DeprecationWarning"


@pytest.mark.filterwarnings(DEPRECATED)
@pytest.mark.parametrize(("spatial_dims", "sides"), SIDES)
@pytest.mark.parametrize("use_trace", [False, True], ids=["script", "trace"])
def test_torchscript_as_a_bundle_exports_it_gives_the_same_logits(tmp_path, spatial_dims, sides, use_trace):
    network = trained(SonoNet(spatial_dims, 1, 2, width=2), 4, 1, *sides)
    images = torch.randn(2, 1, *sides)
    convert_to_torchscript(
        network, str(tmp_path / "model.ts"), verify=True, inputs=(images,), use_trace=use_trace, device="cpu"
    )
    exported = torch.jit.load(str(tmp_path / "model.ts"))
    torch.testing.assert_close(exported(images), network(images))
    other = torch.randn(3, 1, *[16 + side for side in sides])  # of another batch size and another shape
    torch.testing.assert_close(exported(other), network(other))


@pytest.mark.filterwarnings(DEPRECATED)
def test_torchscript_refuses_small_images():
    with pytest.raises(torch.jit.Error, match=r"at least 16 pixels, got shape \[2, 1, 8, 8\]"):
        torch.jit.script(SonoNet(width=2).eval())(torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(("spatial_dims", "sides"), SIDES)
def test_the_head_is_the_last_convolution_with_its_norm(spatial_dims, sides):
    network = trained(SonoNet(spatial_dims, 1, 3, width=2), 4, 1, *sides)
    images = torch.randn(3, 1, *sides)
    head = linear_head(network, images=images)
    inner = network.adaptation[:3](network.features(images)).detach().flatten(2).mean(dim=2)
    assert head.layer == "adaptation.3"
    assert head.weight.shape == (3, 8)
    torch.testing.assert_close(head(inner), network(images).detach())


@pytest.mark.parametrize(("spatial_dims", "sides"), SIDES)
def test_the_head_of_the_logit_map_is_made_of_ones(spatial_dims, sides):
    network = trained(SonoNet(spatial_dims, 1, 3, width=2), 4, 1, *sides)
    images = torch.randn(3, 1, *sides)
    head = logit_map_head(network, images=images)
    cells = int(np.prod(sides)) // 16**spatial_dims
    with torch.no_grad():
        of_map = network.adaptation(network.features(images)).flatten(1)
        torch.testing.assert_close(head(of_map), network(images))
    assert torch.equal(head.weight, torch.eye(3).repeat_interleave(cells, dim=1) / cells)
