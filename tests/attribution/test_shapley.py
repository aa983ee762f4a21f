# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from monai_shortcut.attribution import network as passes
from monai_shortcut.attribution import region_parts, regional_shapley
from monai_shortcut.regions.fills import FILLS, fill_hidden


def small_network(spatial_dims: int = 2, channels: int = 2) -> nn.Module:
    convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    norm = nn.BatchNorm2d if spatial_dims == 2 else nn.BatchNorm3d
    network = nn.Sequential(
        convolution(channels, 4, 3, padding=1), norm(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Flatten(2)
    )
    return nn.Sequential(network, _Mean(), nn.Linear(4, 3)).double()


class _Mean(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.amax(dim=2)


def batch(spatial: tuple[int, ...] = (6, 5), count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(3, 2, *spatial, dtype=torch.float64)
    return images, torch.randint(count, (3, 1, *spatial))


def by_orders(network, image, parts, count, fill):
    """Mean gain over all orders of the parts, each image shown by itself."""

    def worth(members):
        visible = (
            torch.stack([parts == part for part in members]).any(dim=0) if members else torch.zeros_like(parts).bool()
        )
        if members or not isinstance(fill, str):
            shown = fill_hidden(image, visible.expand_as(image), fill)
        else:
            shown = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True).expand_as(image)
        with torch.no_grad():
            return network(shown[None])[0]

    orders = list(permutations(range(count)))
    shares = torch.zeros(count, 3, dtype=torch.float64)
    for order in orders:
        for place, part in enumerate(order):
            shares[part] += worth(order[: place + 1]) - worth(order[:place])
    return shares / len(orders)


@pytest.mark.parametrize("fill", [0.0, -1.5, *FILLS])
def test_shares_are_the_mean_gain_over_all_orders(fill):
    network, (images, parts) = small_network().eval(), batch()
    found = regional_shapley(network, images, parts, fill)
    assert found.shape == (3, 4, 3)
    for own, image, part in zip(found, images, parts, strict=True):
        torch.testing.assert_close(own, by_orders(network, image, part, 4, fill))


def test_shares_sum_to_what_the_image_is_worth_in_three_dimensions():
    network, (images, parts) = small_network(3).eval(), batch((4, 3, 5), count=3)
    found = regional_shapley(network, images, parts, 0.25)
    with torch.no_grad():
        expected = network(images) - network(torch.full_like(images, 0.25))
    torch.testing.assert_close(found.sum(dim=1), expected)
    assert torch.equal(regional_shapley(network, images, parts, "black"), regional_shapley(network, images, parts))


def test_of_a_linear_network_each_part_has_what_its_pixels_add():
    weight = torch.randn(2, 60, dtype=torch.float64)
    images, parts = batch()
    found = regional_shapley(lambda shown: shown.flatten(1) @ weight.T, images, parts, 0.5)
    gains = ((images - 0.5).flatten(1)[:, None] * weight).reshape(3, 2, 2, 6, 5)
    for part in range(4):
        torch.testing.assert_close(found[:, part], (gains * (parts == part)[:, None]).sum(dim=(2, 3, 4)))


def test_a_part_that_is_absent_or_that_the_network_ignores_has_no_share():
    images, parts = batch(count=3)
    parts[1] = parts[1] // 2 * 2  # no part 1

    def reader(own):
        return lambda shown: torch.where(own == 2, 0, shown).sum(dim=(1, 2, 3))[:, None] ** 2

    pairs = zip(images, parts, strict=True)
    found = torch.cat([regional_shapley(reader(own), image[None], own[None], count=5) for image, own in pairs])
    assert found.shape == (3, 5, 1)
    assert (found[1, 1] == 0).all()
    assert (found[:, 3:] == 0).all()
    torch.testing.assert_close(found[:, 2], torch.zeros(3, 1, dtype=torch.float64))
    assert (found[:, 0] != 0).all()


def test_the_network_keeps_its_modes_gradients_and_statistics():
    network, (images, parts) = small_network(), batch()
    network[0][1].eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    first = regional_shapley(network, images.requires_grad_(), parts)
    assert not first.requires_grad
    assert [module.training for module in network.modules()].count(False) == 1
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(first, regional_shapley(network.eval(), images, parts))


def test_batches_are_bounded_and_change_nothing(monkeypatch):
    network, (images, parts) = small_network().eval(), batch()
    whole, seen = regional_shapley(network, images, parts), []
    monkeypatch.setattr(passes, "MOST_NUMBERS", 5 * images[0].numel())

    def noted(shown):
        seen.append(len(shown))
        return network(shown)

    torch.testing.assert_close(regional_shapley(noted, images, parts), whole)
    assert seen == [5] * 9 + [3]


def test_a_float32_network_reads_float64_images_and_masks_of_any_dtype():
    network, (images, parts) = small_network().float().eval(), batch()
    found = regional_shapley(network, images, parts.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, regional_shapley(network, images.float(), parts.to(torch.uint8)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 4)}, r"images must have shape \(N, C, H, W\) or \(N, C, H, W, D\), got \(2, 4\)"),
        ({"images": torch.zeros(1, 1, 2, 2).int()}, "images must be of a floating point dtype, got torch.int32"),
        ({"images": torch.full((1, 1, 2, 2), torch.nan)}, "images must be finite, got 1 images that are not"),
        (
            {"parts": torch.zeros(1, 2, 2, 2)},
            r"parts must have shape \(1, 1, 2, 2\) to match images, got \(1, 2, 2, 2\)",
        ),
        (
            {"parts": torch.full((1, 1, 2, 2), 0.5)},
            'parts must be whole numbers, got 0.5; resize a mask with mode="near',
        ),
        ({"parts": torch.full((1, 1, 2, 2), -1)}, "parts must be at least 0, got -1 to -1"),
        ({"parts": torch.full((1, 1, 2, 2), 3), "count": 3}, "parts must be in 0 to 2, got 3 to 3"),
        (
            {"parts": torch.full((1, 1, 2, 2), 12)},
            r"parts must be at most 12, for all 2\^K coalitions are sh",
        ),
        ({"fill": "white"}, "fill must be a finite number or one of mean, noise, blur, inpaint, got 'white'"),
        ({"network": lambda shown: shown}, r"the network's logits must have shape \(N, C\), got \(2, 1, 2, 2\)"),
        (
            {"network": lambda shown: shown[:1, 0, 0]},
            "network must give a row of logits for each of the 2 images, got 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {
        "network": lambda shown: shown.flatten(1),
        "images": torch.ones(1, 1, 2, 2),
        "parts": torch.zeros(1, 1, 2, 2),
    }
    with pytest.raises(ValueError, match=message):
        regional_shapley(**(given | change))


def test_regions_become_parts_each_image_its_own():
    roi = torch.zeros(4, 1, 5, 6, dtype=torch.uint8)
    roi[0, 0, 2, 1] = 255
    roi[1, 0, 0, 3:5] = 255
    roi[3] = 255
    parts = region_parts(roi, 1, "pixel")
    assert parts[0, 0].tolist() == [
        [2, 2, 2, 2, 2, 2],
        [2, 1, 2, 2, 2, 2],
        [1, 0, 1, 2, 2, 2],
        [2, 1, 2, 2, 2, 2],
        [2, 2, 2, 2, 2, 2],
    ]
    assert parts[1, 0, 0].tolist() == [2, 2, 1, 0, 0, 1]
    assert (parts[2] == 2).all()
    assert (parts[3] == 0).all()
    assert [int((region_parts(roi)[index] == 1).sum()) for index in range(4)] == [1, 2, 0, 0]


def test_regions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"roi must have shape \(N, 1, H, W\) or \(N, 1, H, W, D\), got \(2, 2, 3,"):
        region_parts(torch.zeros(2, 2, 3, 3))
    with pytest.raises(ValueError, match="ring must be above 0, got 0"):
        region_parts(torch.zeros(2, 1, 3, 3), 0)
