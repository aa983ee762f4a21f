# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.networks import convert_to_torchscript
from monai.networks.nets import Classifier, DenseNet121, resnet18
from torch import nn
from wrappers import data_parallel

from monai_shortcut.heads import Inputs, linear_head, logit_map_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.networks import SonoNet

BatchNorm = nn.modules.batchnorm._BatchNorm


def with_statistics(network: nn.Module, *shape: int) -> nn.Module:
    """The network in training mode, its batch normalizations with statistics and affine terms that matter."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 0.9  # statistics of these images at once: with the initial ones deep networks go constant
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(*shape))
    return network


class Returning(nn.Module):
    """A linear layer whose output is returned in another form."""

    def __init__(self, form: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.form, self.conv = form, nn.Conv2d(1, 2, 1)

    def forward(self, images: torch.Tensor) -> Any:
        return self.form(self.conv(images))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda maps: maps, r"got maps of shape \(2, 2, 8, 8\): the model is not a classifier\. Segmentation"),
        (lambda maps: {"nucleus": maps, "type": maps[:, :1]}, r"maps of shape \(2, 2, 8, 8\), \(2, 1, 8, 8\): the"),
        (lambda maps: {"box": [maps, maps], "class": [maps]}, "maps of shape .*: the model is not a classifier"),
        (lambda maps: [{"boxes": maps[0, 0, :5, :4]}] * 2, r"boxes of shape \(5, 4\), .*: the model is not a classif"),
    ],
)
def test_what_is_no_classifier_is_told_so(form, said):
    for find in (linear_head, logit_map_head):
        with pytest.raises(ValueError, match=said):
            find(Returning(form), images=torch.randn(2, 1, 8, 8))


def test_a_network_is_called_by_the_inferer_of_its_evaluator():
    """It takes images of 8 x 8 alone; the inferer crops others."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    crop = lambda images, network: network(images[..., :8, :8])  # noqa: E731
    inputs = Inputs(torch.randn(3, 1, 9, 9), inferer=crop)
    head = linear_head(network, images=inputs)
    points, logits = embed(network, inputs.rows([2, 0]), head.layer)
    torch.testing.assert_close(points, inputs.images[[2, 0], :, :8, :8].flatten(1))
    torch.testing.assert_close(logits, head(points))


@pytest.mark.parametrize(
    "build", [lambda: SonoNet(2, 3, 2, width=2), lambda: resnet18(spatial_dims=2, n_input_channels=3, num_classes=2)]
)
def test_without_images_a_batch_is_made_that_fits_the_first_convolution(build):
    network = with_statistics(build(), 4, 3, 32, 32)
    images = torch.randn(3, 3, 32, 32)
    head = linear_head(network)
    embeddings, logits = embed(network, images, head.layer)
    torch.testing.assert_close(head(embeddings), logits, rtol=0, atol=1e-5 * float(logits.abs().max()))


def test_without_images_a_network_of_linear_layers_is_read_too():
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    head = linear_head(network)
    assert (head.layer, head.weight.dtype) == ("2", torch.float64)
    assert torch.equal(head.weight, network[2].weight)
    assert torch.equal(head.bias, network[2].bias)


# --- which layer -----------------------------------------------------------------------------------------------------


class TwoHeads(nn.Module):
    def __init__(self, combine) -> None:
        super().__init__()
        self.backbone, self.plane, self.scanner = nn.Linear(6, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.unused, self.combine = nn.Linear(4, 3), combine

    def forward(self, inputs: torch.Tensor):
        embeddings = torch.relu(self.backbone(inputs))
        return self.combine(self.plane(embeddings), self.scanner(embeddings))


def test_of_two_heads_the_one_whose_logits_come_first_must_be_named():
    network = TwoHeads(lambda plane, scanner: (plane, scanner))
    with pytest.raises(ValueError, match=r"with layer 'scanner'.*one of \['scanner', 'plane', 'backbone'\]"):
        linear_head(network)
    assert torch.equal(linear_head(network, layer="plane").weight, network.plane.weight)


def test_outputs_without_one_heads_logits_are_refused():
    with pytest.raises(ValueError, match="got 6 logits and 3 outputs with layer 'scanner'"):
        linear_head(TwoHeads(lambda plane, scanner: torch.cat([plane, scanner], dim=1)))
    with pytest.raises(ValueError, match="with layer 'scanner'"):
        linear_head(TwoHeads(lambda plane, scanner: plane + scanner))


def test_of_a_dict_of_two_heads_entry_and_layer_must_be_named():
    network = TwoHeads(lambda plane, scanner: {"plane": plane, "scanner": scanner})
    with pytest.raises(
        ValueError, match=r"got a dict with 'plane': \(2, 3\), 'scanner': \(2, 3\); pass output= the key of the logits"
    ):
        linear_head(network)
    with pytest.raises(
        ValueError, match=r"with layer 'scanner'.*one of \['scanner', 'plane', 'backbone'\], or output= the entry"
    ):
        linear_head(network, output="plane")
    for name in ("plane", "scanner"):
        head = linear_head(network, output=name, layer=name)
        assert torch.equal(head.weight, network.get_submodule(name).weight)
    assert linear_head(network, output="scanner").layer == "scanner"  # the last to run
    with pytest.raises(ValueError, match=r"must be an entry of a dict with 'plane'.*, 'scanner'.*, got 'region'"):
        linear_head(network, output="region")


class WithDecoder(nn.Module):
    """A classifier beside a decoder that runs after it, of many 1x1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.classify = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 3)
        self.decoder = nn.Sequential(*[nn.Conv2d(4, 4, 1) for _ in range(6)], nn.Conv2d(4, 1, 1))

    def forward(self, images: torch.Tensor):
        read = torch.relu(self.encoder(images))
        return {"logits": self.classify(read.mean(dim=(2, 3))), "segmentation": self.decoder(read)}


def test_a_head_before_a_decoder_is_among_the_layers_to_name():
    network = WithDecoder()
    with pytest.raises(
        ValueError,
        match=r"got 3 logits and 1 outputs with layer 'decoder.6'.* one of \['classify', 'decoder.6', 'decoder.5'",
    ):
        linear_head(network)
    head = linear_head(network, layer="classify")  # "logits" is the only entry of shape (N, C)
    assert torch.equal(head.weight, network.classify.weight)
    assert torch.equal(head.bias, network.classify.bias)


def test_a_wrong_layer_is_refused_and_the_right_ones_listed():
    network = TwoHeads(lambda plane, scanner: plane)
    with pytest.raises(ValueError, match=r"got 3 logits and 4 outputs with layer 'backbone'"):
        linear_head(network, layer="backbone")
    with pytest.raises(ValueError, match=r"modules, such as \['backbone', 'plane', 'scanner', 'unused'\], got 'fc'"):
        linear_head(network, layer="fc")
    with pytest.raises(
        ValueError, match=r"layer that runs, as one of \['scanner', 'plane', 'backbone'\], got 'unused'"
    ):
        linear_head(network, layer="unused")
    with pytest.raises(ValueError, match=r"must be a Linear or a 1x1 convolution.*got ReLU"):
        linear_head(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)), layer="1")


def test_an_earlier_layer_as_wide_as_the_logits_does_not_pass_for_the_head():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"got a difference of .* with layer '0', after which ran \['Linear'\]"):
        linear_head(network, layer="0")


def test_a_maximum_over_a_map_of_logits_is_no_head():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match=r"after which ran \['BatchNorm2d', 'AdaptiveMaxPool2d', 'Flatten'\]"):
        linear_head(network)
    network[2] = nn.AdaptiveAvgPool2d(1)
    assert linear_head(network).layer == "0"


def test_networks_without_a_head_are_refused():
    with pytest.raises(ValueError, match="must have a Linear or convolution layer, got ReLU with none"):
        linear_head(nn.ReLU())
    with pytest.raises(ValueError, match="must run a Linear or 1x1 convolution, got none in 2 layers that ran"):
        linear_head(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1)))


def test_a_dummy_batch_that_does_not_fit_asks_for_images():
    network = Classifier((1, 16, 16), 3, (4,), (2,))
    with pytest.raises(ValueError, match=r"dummy batch of shape \(2, 1, 64, 64\), got RuntimeError: .*pass images= a"):
        linear_head(network)


# --- TorchScript and exported programs -------------------------------------------------------------------------------


def test_the_head_of_an_archive_is_found_in_the_python_network_with_its_weights(tmp_path):
    small = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2, 2, 2)}
    trained = with_statistics(DenseNet121(2, 1, 5, **small), 4, 1, 32, 32).eval()
    images = torch.randn(3, 1, 32, 32)
    for name, script in {
        "scripted": convert_to_torchscript(trained),
        "traced": torch.jit.trace(trained, images),
    }.items():
        torch.jit.save(script, path := tmp_path / f"{name}.ts")
        archive = torch.jit.load(path)
        with pytest.raises(ValueError, match=r"got TorchScript\. .* network.load_state_dict\(torch.jit.load\(path"):
            linear_head(archive, images=images)
        network_def = DenseNet121(2, 1, 5, **small)
        network_def.load_state_dict(archive.state_dict())
        head = linear_head(network_def, images=images[:2])
        logits = archive(images).detach()
        embeddings, _ = embed(network_def, images, head.layer)
        torch.testing.assert_close(head(embeddings), logits, rtol=0, atol=1e-5 * float(logits.abs().max()))


def backbone() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


SCRIPTED = {
    "scripted": torch.jit.script,
    "traced": lambda module: torch.jit.trace(module, torch.randn(2, 1, 8, 8)),
    "frozen": lambda module: torch.jit.freeze(torch.jit.script(module)),
}


@pytest.mark.parametrize("form", SCRIPTED)
def test_a_python_head_on_a_scripted_backbone_is_found(form):
    network = nn.Sequential(SCRIPTED[form](backbone()), nn.Linear(4, 3), nn.Sigmoid())
    images = torch.randn(3, 1, 8, 8)
    head = linear_head(network, images=images[:2])
    assert (head.layer, head.activation) == ("1", "sigmoid")
    assert torch.equal(head.weight, network[1].weight)
    embeddings, _ = embed(network, images)
    torch.testing.assert_close(embeddings, network[0](images).detach())
    torch.testing.assert_close(head(embeddings).sigmoid(), network(images).detach())


@pytest.mark.parametrize("form", SCRIPTED)
def test_a_head_within_a_scripted_part_is_refused(form):
    network = nn.Sequential(SCRIPTED[form](nn.Sequential(backbone(), nn.Linear(4, 3)).eval()), nn.Identity())
    images = torch.randn(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"got none in 1 layers that ran \(the layers of \['0'\], TorchScript, call"):
        linear_head(network, images=images)
    with pytest.raises(ValueError, match="a Python module, which calls hooks, got '0', which is TorchScript"):
        embed(network, images, "0")
    with pytest.raises(ValueError, match=r"with layer '0', .* \(the layers of \['1'\], TorchScript, call no"):
        linear_head(nn.Sequential(nn.Conv2d(1, 1, 1), *network), images=images)
    inner = "1" if form == "frozen" else "1.1"  # a frozen part has no layers any more
    with pytest.raises(ValueError, match=rf"got '{inner}', which is TorchScript"):
        linear_head(nn.Sequential(nn.Conv2d(1, 1, 1), *network), images=images, layer=inner)


@pytest.mark.filterwarnings("ignore")  # torch.export deprecates what it uses itself
def test_an_exported_program_is_refused_and_its_weights_load_into_the_python_network():
    network, images = nn.Sequential(backbone(), nn.Linear(4, 3)).eval(), torch.randn(2, 1, 8, 8)
    program = torch.export.export(network, (images,))
    with pytest.raises(ValueError, match=r"whose layers call hooks, got an exported ExportedProgram\. Build the"):
        linear_head(program, images=images)
    with pytest.raises(ValueError, match="whose layers call hooks, got an exported GraphModule"):
        linear_head(program.module(), images=images)
    again = nn.Sequential(backbone(), nn.Linear(4, 3))
    again.load_state_dict(program.state_dict)
    assert torch.equal(linear_head(again, images=images).weight, network[1].weight)
    traced = torch.fx.symbolic_trace(network)  # a graph whose layers are still modules
    assert torch.equal(linear_head(traced, images=images).weight, network[1].weight)


# --- left as it was --------------------------------------------------------------------------------------------------


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize("ending", [nn.Identity(), nn.Tanh(), nn.Linear(7, 1)])
def test_flags_hooks_statistics_gradients_and_random_state_are_left_also_after_an_error(ending):
    network = nn.Sequential(SonoNet(2, 1, 3, width=2), nn.Dropout(), ending).train()
    network[0].features[1].eval()  # a frozen norm stays frozen
    flags = [module.training for module in network.modules()]
    state = {name: values.clone() for name, values in network.state_dict().items()}
    random_state = torch.get_rng_state()
    if isinstance(ending, nn.Identity):
        linear_head(network)
    else:
        with pytest.raises(ValueError, match=r"logits|dummy batch"):
            linear_head(network)
    assert [module.training for module in network.modules()] == flags
    assert hooks(network) == 0
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_wrappers_and_metatensors_are_taken_off():
    network = with_statistics(SonoNet(2, 1, 3, width=2), 4, 1, 32, 32)
    expected = linear_head(network)
    head = linear_head(
        data_parallel(torch.compile(network, backend="eager")), images=MetaTensor(torch.randn(2, 1, 32, 32))
    )
    assert head.layer == "adaptation.3"
    assert type(head.weight) is torch.Tensor
    assert torch.equal(head.weight, expected.weight)
    assert torch.equal(head.bias, expected.bias)


def test_the_proof_does_not_run_in_the_callers_lower_precision():
    network = with_statistics(SonoNet(2, 1, 3, width=2), 4, 1, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head = linear_head(network)
    assert torch.equal(head.weight, linear_head(network).weight)


def test_a_network_of_bfloat16_weights_has_a_head():
    network = with_statistics(SonoNet(2, 1, 3, width=2), 4, 1, 32, 32)
    expected = linear_head(network)
    head = linear_head(network.bfloat16())
    assert head.weight.dtype == torch.float32
    torch.testing.assert_close(head.weight, expected.weight, rtol=0.05, atol=0.02)


def test_a_parametrized_layer_is_a_head_with_the_weight_it_applies():
    network = nn.Sequential(nn.Linear(4, 3), nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))).eval()
    head = linear_head(network)
    assert head.layer == "1"
    torch.testing.assert_close(head.weight, network[1].weight.detach())


def test_a_layer_that_runs_twice_is_proved_on_its_last_run():
    linear = nn.Linear(3, 3)
    network = with_statistics(nn.Sequential(linear, nn.BatchNorm1d(3), linear), 8, 3)
    head = linear_head(network)
    assert head.layer == "0"
    assert torch.equal(head.weight, linear.weight)  # the norm before the last run is not folded in


# --- a map of logits as the embedding --------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize(("shape", "cells"), [((1, 32, 48), 6), ((1, 32, 16, 48), 6)])
def test_the_head_of_a_logit_map_is_its_average(shape, cells, classes):
    network = with_statistics(SonoNet(len(shape) - 1, 1, classes, width=2), 4, *shape).eval()
    head = logit_map_head(network, images=torch.randn(2, *shape))
    assert head.layer == "adaptation.4"
    assert head.weight.shape == (classes, classes * cells)
    assert not head.bias.any()
    images = torch.randn(3, *shape)
    with torch.no_grad():
        logits, read = network(images), network.adaptation(network.features(images))
    embeddings, returned = embed(network, images, head.layer, reads="logit_map")
    torch.testing.assert_close(returned, logits)
    torch.testing.assert_close(embeddings, read.flatten(1))
    torch.testing.assert_close(head(embeddings), logits, rtol=0, atol=1e-5 * float(logits.abs().max()))
    for image in range(3):
        for c in range(classes):
            numbers = read[image, c].flatten().tolist()
            assert float(head(embeddings)[image, c]) == pytest.approx(sum(numbers) / len(numbers), rel=1e-4, abs=1e-5)
            assert max(numbers) - min(numbers) > 1e-2  # a map, not one number over and over
    order = torch.randperm(embeddings.shape[1])
    if classes > 1:
        assert float((head(embeddings[:, order]) - logits).abs().max()) > 1e-3


class Mapped(nn.Module):
    """A map of logits, changed perhaps, then made into logits."""

    def __init__(self, finish, after: nn.Module | None = None) -> None:
        super().__init__()
        self.map, self.after, self.finish = nn.Conv2d(1, 3, 3), after or nn.Identity(), finish

    def forward(self, images: torch.Tensor):
        return self.finish(self.after(self.map(images)))


def mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean(dim=(2, 3))


def test_the_last_map_is_taken_or_the_one_that_is_named():
    network = Mapped(lambda values: (mean(values), values), nn.BatchNorm2d(3))
    assert logit_map_head(with_statistics(network, 4, 1, 16, 16)).layer == "after"
    with pytest.raises(ValueError, match="must be the average of the output of layer 'map', got a difference of"):
        logit_map_head(network, layer="map")
    network = Mapped(mean, nn.AvgPool2d(31))  # of 62 x 62 pixels: four cells with the same average
    heads = {layer: logit_map_head(network, layer=layer) for layer in (None, "map")}
    assert [(head.layer, head.weight.shape[1]) for head in heads.values()] == [("after", 12), ("map", 3 * 62**2)]
    network = Mapped(lambda values: values.flatten(1), nn.AdaptiveAvgPool2d(1))
    assert logit_map_head(network).layer == "map"  # a single cell is no map
    with pytest.raises(ValueError, match="'after' must have more than one cell for each of the 3 logits, got 3 numb"):
        logit_map_head(network, layer="after")


@pytest.mark.parametrize(
    ("network", "images", "last"),
    [
        (resnet18(spatial_dims=2, n_input_channels=1, num_classes=3), torch.randn(2, 1, 32, 32), r"'avgpool', 'fc'\]"),
        (SonoNet(2, 1, 3, width=2), torch.randn(2, 1, 16, 16), r"'adaptation.4'\]"),  # its map has one cell
        (Mapped(lambda values: values.amax(dim=(2, 3))), None, r"\['map', 'after'\]"),
        (Mapped(lambda values: mean(values).tanh()), None, r"\['map', 'after'\]"),
        (Mapped(lambda values: mean(values[:, :, 1:])), None, r"\['map', 'after'\]"),
        (Mapped(lambda values: mean(values)[:, :2]), None, r"\['map', 'after'\]"),
    ],
)
def test_networks_whose_logits_are_no_average_of_a_map_are_refused(network, images, last):
    with pytest.raises(ValueError, match=rf"must average a map of logits of more than one cell, got none .*{last}"):
        logit_map_head(network, images=images)


def test_a_map_is_proved_also_where_no_image_of_the_batch_goes():
    network = Mapped(mean, nn.ReLU())
    with torch.no_grad():
        network.map.bias.fill_(100.0)
    assert logit_map_head(network).layer == "after"  # what comes after the rectifier is the average
    with pytest.raises(ValueError, match="average of the output of layer 'map', got a difference of"):
        logit_map_head(network, layer="map")


def test_an_unfit_layer_of_a_map_is_refused():
    with pytest.raises(ValueError, match="layer must be one of the network's modules"):
        logit_map_head(Mapped(mean), layer="fc")
    network = nn.Sequential(Mapped(mean), nn.Identity())
    with pytest.raises(ValueError, match=r"of layer '1' must have shape \(B, C, ...\) to be a map, got \(2, 3\)"):
        logit_map_head(network, layer="1")
    assert hooks(network) == 0
    assert logit_map_head(data_parallel(network)).layer == "0.after"


def test_a_map_of_double_precision_stays_so():
    head = logit_map_head(Mapped(mean).double())
    assert (head.weight.dtype, head.bias.dtype) == (torch.float64, torch.float64)
