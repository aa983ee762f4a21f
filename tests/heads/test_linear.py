# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_shortcut.heads import LinearHead, linear_head


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_folded_convolution_and_norm_equal_the_definition_class_by_class(dims, bias, affine):
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](4, 3, 1, bias=bias).double()
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](3, eps=0.05, affine=affine).double()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    inputs = torch.randn(5, 4, *(2, 3, 2)[:dims], dtype=torch.float64)
    expected = torch.zeros(5, 3, dtype=torch.float64)
    for image in range(5):
        for c in range(3):
            total = 0.0
            pixels = inputs[image].reshape(4, -1).T.tolist()
            for pixel in pixels:
                value = sum(float(convolution.weight[c, d].item()) * pixel[d] for d in range(4))
                value += float(convolution.bias[c].item()) if bias else 0.0
                value = (value - float(norm.running_mean[c])) / (float(norm.running_var[c]) + 0.05) ** 0.5
                total += value * float(norm.weight[c].item()) + float(norm.bias[c].item()) if affine else value
            expected[image, c] = total / len(pixels)
    head = linear_head(convolution, norm)
    torch.testing.assert_close(head(inputs.flatten(2).mean(dim=2)), expected)
    norm.eval()
    torch.testing.assert_close(norm(convolution(inputs)).flatten(2).mean(dim=2).detach(), expected)


def test_a_bare_linear_is_copied_and_a_norm_after_it_folded():
    linear, norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    inputs = torch.randn(5, 4)
    torch.testing.assert_close(linear_head(linear, norm.eval())(inputs), norm(linear(inputs)).detach())
    head = linear_head(linear)
    before = head.weight.clone()
    nn.init.zeros_(linear.weight)
    assert torch.equal(head.weight, before)  # training on does not change a head already taken
    assert not head.weight.requires_grad


def test_half_precision_weights_become_float32():
    head = linear_head(nn.Linear(4, 3).half())
    assert (head.weight.dtype, head.bias.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.Conv2d(4, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, padding=1),
    ],
)
def test_other_convolutions_are_refused(convolution):
    with pytest.raises(ValueError, match=r"must be a Linear or a 1x1 convolution with groups=1.*got Conv2d\(4, 4"):
        linear_head(convolution)


def test_a_pointwise_convolution_may_pad_by_name():
    assert linear_head(nn.Conv2d(4, 2, 1, padding="same")).weight.shape == (2, 4)


def test_norms_that_cannot_be_folded_are_refused():
    with pytest.raises(ValueError, match=r"batch normalization with running statistics, got BatchNorm2d"):
        linear_head(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(ValueError, match=r"batch normalization with running statistics, got InstanceNorm2d"):
        linear_head(nn.Conv2d(4, 3, 1), nn.InstanceNorm2d(3))
    with pytest.raises(ValueError, match="the layer's 3 channels, got 5"):
        linear_head(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(5))
    with pytest.raises(ValueError, match="norm goes with a bare Linear or 1x1 convolution, got a Sequential"):
        linear_head(nn.Sequential(nn.Linear(2, 2)), nn.BatchNorm1d(2))


def test_a_linear_head_is_a_checked_affine_map_without_gradient():
    head = LinearHead(nn.Parameter(torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]])), torch.tensor([0.0, 1.0, -1.0]))
    expected = torch.tensor([[5.0, -1.0, 3.0], [1.0, 1.0, 2.0]])
    torch.testing.assert_close(head(torch.tensor([[1, 2], [1, 0]])), expected)
    assert not head.weight.requires_grad
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N, 2\), got \(4, 3\)"):
        head(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"shapes \(C, D\) and \(C,\), got \(3, 2\) and \(2,\)"):
        LinearHead(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"shapes \(C, D\) and \(C,\), got \(3,\) and \(3,\)"):
        LinearHead(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"activation must be one of \['', 'sigmoid', 'softmax'\], got 'tanh'"):
        LinearHead(torch.zeros(3, 2), torch.zeros(3), activation="tanh")
    with pytest.raises(ValueError, match=r"both be float32 or both float64, got torch.float32 and torch.float64"):
        LinearHead(torch.zeros(3, 2), torch.zeros(3).double())
