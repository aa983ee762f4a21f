# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from monai.networks.nets import (
    Classifier,
    DenseNet121,
    EfficientNetBN,
    NetAdapter,
    SEResNet50,
    SEResNext50,
    ViT,
    resnet18,
    resnet50,
)
from torch import nn
from wrappers import data_parallel

from monai_shortcut.heads import linear_head, logit_map_head
from monai_shortcut.heads.embeddings import EmbeddingHook, embed, first_output
from monai_shortcut.networks import SonoNet

SMALL_DENSENET = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2, 2, 2)}
CONVOLUTION = {"use_conv": True, "pool": ("adaptiveavg", {"output_size": 1})}


def vit(dims: int, classes: int, **arguments) -> nn.Module:
    pytest.importorskip("einops", reason="MONAI's ViT needs einops")
    return ViT(
        1, 32, 8 * (dims - 1), 16, 32, 2, 4, classification=True, num_classes=classes, spatial_dims=dims, **arguments
    )


# How to build each with C classes, the shape of its images, and the name of its head.
FAMILIES = {
    "densenet121": (lambda classes: DenseNet121(2, 1, classes), (1, 32, 32), "class_layers.out"),
    "densenet 3D": (lambda classes: DenseNet121(3, 1, classes, **SMALL_DENSENET), (1, 32, 32, 32), "class_layers.out"),
    "resnet18": (lambda classes: resnet18(spatial_dims=2, n_input_channels=1, num_classes=classes), (1, 32, 32), "fc"),
    "resnet50": (
        lambda classes: resnet50(spatial_dims=2, n_input_channels=1, num_classes=classes, widen_factor=0.25),
        (1, 32, 32),
        "fc",
    ),
    "resnet18 3D": (
        lambda classes: resnet18(spatial_dims=3, n_input_channels=1, num_classes=classes, widen_factor=0.25),
        (1, 32, 32, 32),
        "fc",
    ),
    "efficientnet": (
        lambda classes: EfficientNetBN("efficientnet-b0", False, in_channels=2, num_classes=classes),
        (2, 64, 64),
        "_fc",
    ),
    "efficientnet 3D": (
        lambda classes: EfficientNetBN("efficientnet-b0", False, spatial_dims=3, in_channels=1, num_classes=classes),
        (1, 32, 32, 32),
        "_fc",
    ),
    "seresnet50": (
        lambda classes: SEResNet50(spatial_dims=2, in_channels=1, num_classes=classes),
        (1, 64, 64),
        "last_linear",
    ),
    "seresnet50 3D": (
        lambda classes: SEResNet50(layers=(1, 1, 1, 1), spatial_dims=3, in_channels=1, num_classes=classes),
        (1, 32, 32, 32),
        "last_linear",
    ),
    "seresnext50": (
        lambda classes: SEResNext50(layers=(1, 1, 1, 1), spatial_dims=2, in_channels=1, num_classes=classes),
        (1, 64, 64),
        "last_linear",
    ),
    "vit": (lambda classes: vit(2, classes, post_activation="none"), (1, 32, 32), "classification_head"),
    "vit 3D": (lambda classes: vit(3, classes, post_activation="none"), (1, 32, 32, 32), "classification_head"),
    "classifier": (
        lambda classes: Classifier((1, 16, 16), classes, (4, 8), (2, 2), norm="batch"),
        (1, 16, 16),
        "final.1",
    ),
    "classifier 3D": (
        lambda classes: Classifier((1, 8, 8, 8), classes, (4, 8), (2, 2), norm="batch"),
        (1, 8, 8, 8),
        "final.1",
    ),
    "net adapter": (
        lambda classes: NetAdapter(resnet18(spatial_dims=2, n_input_channels=1), classes, **CONVOLUTION),
        (1, 32, 32),
        "fc",
    ),
    "sononet": (lambda classes: SonoNet(2, 1, classes, width=2), (1, 32, 48), "adaptation.3"),
    "sononet 3D": (lambda classes: SonoNet(3, 1, classes, width=2), (1, 16, 32, 16), "adaptation.3"),
}


def settled(name: str, classes: int) -> nn.Module:
    """A network in evaluation mode, its batch normalizations with statistics and affine terms that matter."""
    torch.manual_seed(0)
    build, shape, _ = FAMILIES[name]
    network = build(classes).eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train().momentum = None  # the mean over these images alone; else deep networks go nearly constant
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        for _ in range(2):
            network(drawn(4, shape))
    return network.eval()


def drawn(number: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Images that differ in pixels, contrast and brightness."""
    images = torch.randn(number, *shape)
    places = torch.linspace(-1, 1, number).reshape(-1, *[1] * len(shape))
    return images * (1.5 + places) + 3 * places


class Family(NamedTuple):
    network: nn.Module  # of five outputs
    shape: tuple[int, ...]
    layer: str
    name: str


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return Family(settled(request.param, 5), *FAMILIES[request.param][1:], request.param)


def what_it_reads(network: nn.Module, layer: str, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (N, D) by a hook of this test's own, and logits (N, C), of an evaluation without gradient."""
    read: list[torch.Tensor] = []
    hook = network.get_submodule(layer).register_forward_pre_hook(lambda _, values: read.append(values[0].clone()))
    with torch.no_grad():
        returned = network(images)
    hook.remove()
    logits = returned[0] if isinstance(returned, tuple) else returned
    return (read[0].flatten(2).mean(dim=2) if read[0].ndim > 2 else read[0]), logits.reshape(len(images), -1)


def equal(computed: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(computed, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("classes", [1, 5])
def test_the_head_of_what_it_reads_is_the_networks_logits(family, classes):
    network = family.network if classes == 5 else settled(family.name, classes)
    head = linear_head(network, images=drawn(2, family.shape))
    assert (head.layer, head.activation, len(head.bias)) == (family.layer, "", classes)
    images = drawn(3, family.shape)
    embeddings, logits = what_it_reads(network, family.layer, images)
    equal(head(embeddings), logits)
    for c in range(classes):  # the images differ, so the identity says something, and their order matters
        assert float(logits[:, c].max() - logits[:, c].min()) > 1e-2 * float(logits.abs().max())
    assert float((head(embeddings.flip(0)) - logits).abs().max()) > 1e-2 * float(logits.abs().max())
    recorded, returned = embed(network, images, family.layer)
    equal(recorded, embeddings)
    equal(returned, logits)


class Returning(nn.Module):
    """A network that returns its logits among other things."""

    def __init__(self, network: nn.Module, form) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, images: torch.Tensor):
        logits = first_output(self.network(images), as_is=True)
        return self.form(logits, logits.flip(1))  # what else it returns is as wide as the logits


# What the network returns, and the output= that its logits then need.
FORMS = {
    "list": (lambda logits, other: [logits, other], None),
    "tuple": (lambda logits, other: (other, logits), 1),
    "dict": (lambda logits, other: {"other": other, "logits": logits}, "logits"),
    "dict with one entry that fits": (lambda logits, other: {"mean": other.mean(), "pred": logits}, None),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_logits_are_the_entry_that_output_names(family, form):
    (returns, output), (network, shape, layer, _) = FORMS[form], family
    images = drawn(3, shape)
    wrapped = data_parallel(Returning(network, returns))
    head = linear_head(wrapped, images=images[:2], output=output)
    assert (head.layer, head.activation) == (f"network.{layer}", "")
    embeddings, returned = embed(wrapped, images, head.layer, output=output)
    equal(returned, what_it_reads(network, layer, images)[1])
    equal(head(embeddings), returned)
    if output is not None:
        wrong = "other" if form == "dict" else 0
        with pytest.raises(ValueError, match=rf"got a difference of .* with layer 'network.{layer}'"):
            linear_head(wrapped, images=images[:2], output=wrong)


def test_an_evaluation_in_mixed_precision_records_float32(family):
    network, shape, layer, _ = family
    images = drawn(3, shape)
    head = linear_head(network, images=images[:2])
    hook = EmbeddingHook(network, layer).attach(once=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = first_output(network(images))
    assert hook.embeddings.dtype == logits.dtype == torch.float32
    exact, _ = what_it_reads(network, layer, images)
    scale = float(logits.abs().max())
    torch.testing.assert_close(head(hook.embeddings), logits, rtol=0, atol=0.02 * scale)  # bfloat16 keeps 8 bits
    assert 0 < float((hook.embeddings - exact).abs().max()) <= 0.2 * float(exact.abs().max())  # it did run in bfloat16


@pytest.mark.parametrize(("activation", "ending"), [("sigmoid", nn.Sigmoid()), ("softmax", nn.Softmax(dim=1))])
def test_networks_that_end_in_probabilities_have_the_head_of_their_logits(family, activation, ending):
    network, shape, layer, _ = family
    images = drawn(3, shape)
    ended = Returning(network, lambda logits, _: ending(logits))
    head = linear_head(ended, images=images[:2])
    assert (head.layer, head.activation) == (f"network.{layer}", activation)
    embeddings, probabilities = embed(ended, images, head.layer)
    _, logits = what_it_reads(network, layer, images)
    equal(head(embeddings), logits)  # a head gives logits, whatever the network makes of them
    torch.testing.assert_close(ending(head(embeddings)), probabilities)
    with pytest.raises(ValueError, match=rf"with layer 'network.{layer}'"):
        linear_head(Returning(network, lambda logits, _: ending(ending(logits))), images=images[:2])


@pytest.mark.parametrize("dims", [2, 3])
def test_a_vit_that_ends_in_tanh_has_a_head_once_the_identity_is_in_its_place(dims):
    network, images = vit(dims, 3), torch.randn(2, 1, *[32] * dims)
    with pytest.raises(
        ValueError, match=r"layer 'classification_head.0', after which ran \['Tanh'\]; .*torch.nn.Identity in its place"
    ):
        linear_head(network, images=images)
    before = first_output(network(images))
    network.classification_head[1] = nn.Identity()
    head = linear_head(network, images=images)
    embeddings, logits = embed(network, images, head.layer)
    equal(head(embeddings), logits)
    torch.testing.assert_close(logits.tanh(), before)


@pytest.mark.parametrize("shape", [(1, 32, 48), (1, 16, 32, 32)])
def test_a_logit_map_is_found_in_an_entry_and_before_a_sigmoid(shape):
    network, images = SonoNet(len(shape) - 1, 1, 5, width=2).eval(), torch.randn(2, *shape)
    plain = logit_map_head(network, images=images)
    for activation in ("", "sigmoid", "softmax"):
        ending = {"": nn.Identity(), "sigmoid": nn.Sigmoid(), "softmax": nn.Softmax(dim=1)}[activation]
        ended = Returning(network, lambda logits, other, ending=ending: {"other": other, "pred": ending(logits)})
        head = logit_map_head(ended, images=images, output="pred")
        assert (head.layer, head.activation) == ("network.adaptation.4", activation)
        assert torch.equal(head.weight, plain.weight)
        embeddings, returned = embed(ended, images, head.layer, reads="logit_map", output="pred")
        torch.testing.assert_close(ending(head(embeddings)), returned)
        with pytest.raises(ValueError, match="must average a map of logits"):
            logit_map_head(ended, images=images, output="other")
