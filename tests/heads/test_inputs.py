# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_shortcut.heads import Inputs, linear_head, logit_map_head
from monai_shortcut.heads.embeddings import EmbeddingHook, averaged_output, embed, first_output


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(5, 2)

    def forward(self, image: torch.Tensor, age: torch.Tensor, *, power: float = 1.0) -> torch.Tensor:
        return self.head(torch.cat([self.conv(image).mean((2, 3)), age**power], dim=1))


def test_rows_of_what_has_a_row_for_each_image():
    inputs = Inputs(torch.arange(4.0), (torch.arange(8).reshape(4, 2), "all", torch.tensor(3)), {"names": list("abcd")})
    chosen = inputs.rows([3, 1])
    assert chosen.images.tolist() == [3.0, 1.0]
    assert chosen.args[0].tolist() == [[6, 7], [2, 3]]
    assert chosen.args[1:] == ("all", torch.tensor(3))
    assert chosen.kwargs == {"names": ["d", "b"]}
    assert (len(inputs), len(chosen)) == (4, 2)
    assert Inputs.of(inputs) is inputs


def test_metadata_of_images_is_left_out():
    plain = Inputs(MetaTensor(torch.ones(2))).plain().images
    assert type(plain) is torch.Tensor


@pytest.mark.parametrize("named", [False, True])
def test_a_head_beside_another_input_gives_the_networks_logits(named):
    network, images, ages = Fused(), torch.randn(5, 1, 8, 8), torch.rand(5, 1) + 0.5
    inputs = Inputs(images, (), {"age": ages, "power": 2.0}) if named else Inputs(images, (ages,))
    head = linear_head(network, images=inputs)
    assert head.layer == "head"
    embeddings, logits = embed(network, inputs, "head")
    expected = network(images, ages, power=2.0 if named else 1.0)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(head(embeddings), expected)
    torch.testing.assert_close(embeddings[:, 4:], ages ** (2 if named else 1))


def test_a_network_of_two_inputs_says_how_to_give_them():
    with pytest.raises(
        ValueError, match=r"missing 1 required .* pass images= .* of several inputs as heads.inputs.Inputs"
    ):
        linear_head(Fused())


class Bags(nn.Module):
    def __init__(self, order: str) -> None:
        super().__init__()
        self.head, self.order = nn.Linear(3, 2), order

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = images if self.order == "image by image" else images.transpose(0, 1)
        logits = self.head(patches.reshape(-1, 3)).reshape(*patches.shape[:2], 2)
        if self.order == "largest":
            return logits.amax(dim=0)
        return logits.mean(dim=1 if self.order == "image by image" else 0)


def test_the_embedding_of_a_bag_is_the_mean_over_its_patches():
    network, bags = Bags("image by image"), torch.randn(4, 7, 3)
    head = linear_head(network, images=bags)
    embeddings, logits = embed(network, bags, "head")
    torch.testing.assert_close(embeddings, bags.mean(dim=1))
    torch.testing.assert_close(head(embeddings), logits)
    with EmbeddingHook(network, "head") as hook, torch.no_grad():
        network(images=bags[:1])  # by name, one alone
    torch.testing.assert_close(hook.embeddings, bags[:1].mean(dim=1))


@pytest.mark.parametrize("order", ["patch by patch", "largest"])
def test_bags_whose_patches_are_in_another_order_or_not_averaged_are_refused(order):
    with pytest.raises(ValueError, match=r"head\(embedding\) must equal the network's logits"):
        linear_head(Bags(order), images=torch.randn(4, 7, 3))


def test_a_logit_map_beside_another_input():
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3)

        def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.cat([image, other], dim=1)).mean((2, 3))

    head = logit_map_head(Mapped(), images=Inputs(torch.randn(2, 1, 6, 6), (torch.randn(2, 1, 6, 6),)))
    assert (head.layer, tuple(head.weight.shape)) == ("conv", (3, 48))


@dataclass
class Output:
    logits: torch.Tensor
    states: torch.Tensor | None = None


def test_dataclasses_are_read_as_dicts_without_what_is_none():
    logits, states = torch.ones(2, 3), torch.zeros(2, 4)
    assert torch.equal(first_output(Output(logits)), logits)
    assert torch.equal(first_output(Output(logits, states), "states"), states)
    with pytest.raises(ValueError, match=r"one entry of shape \(N, C\) .* 'logits': \(2, 3\), 'states': \(2, 4\)"):
        first_output(Output(logits, states))


def test_what_an_encoder_returns_is_averaged_over_tokens_and_pixels():
    tokens, maps = torch.randn(2, 5, 3), torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(averaged_output(tokens), tokens.mean(dim=1))
    torch.testing.assert_close(averaged_output(maps), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(averaged_output((maps, tokens)), maps.mean(dim=(2, 3)))
    torch.testing.assert_close(averaged_output((maps, tokens), 1), tokens.mean(dim=1))
    torch.testing.assert_close(averaged_output({"a": tokens, "b": maps[:, :, 0, 0]}), maps[:, :, 0, 0])
    torch.testing.assert_close(averaged_output({"a": tokens, "b": maps}, "a"), tokens.mean(dim=1))
    assert torch.equal(averaged_output(maps[:, :, :1, :1]), maps[:, :, 0, 0])
    with pytest.raises(ValueError, match="must have one entry of shape"):
        averaged_output({"a": tokens})
