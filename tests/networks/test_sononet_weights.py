# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA
from monai.bundle import ConfigParser
from torch import nn
from torch.nn.functional import conv2d, max_pool2d, relu

from monai_shortcut.heads import linear_head, logit_map_head
from monai_shortcut.networks import SonoNet, load_sononet_weights

PACK = DATA / "sononet16-fetal-planes"
CLASSES = ["3VV", "4CH", "Abdominal", "Background", "Brain (Cb.)", "Brain (Tv.)", "Femur", "Kidneys", "Lips", "LVOT"]
CLASSES += ["Profile", "RVOT", "Spine (cor.)", "Spine (sag.)"]
# As a bundle has it: rows stay rows (MONAI would transpose a PNG), grey, 224 x 288, standardized and times 255.
PREPROCESSING = {
    "_target_": "Compose",
    "transforms": [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": "PILReader",
            "reverse_indexing": False,
            "ensure_channel_first": True,
        },
        {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: image.mean(dim=0, keepdim=True)"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [224, 288], "mode": "bicubic"},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
        {"_target_": "ScaleIntensityd", "keys": "image", "minv": None, "maxv": None, "factor": 254.0},
    ],
}
# The port's layers, written down from its module tree.
PORT = [(f"features.{block}.{layer}.0", f"features.{block}.{layer}.1") for block in (0, 1) for layer in (0, 1)]
PORT += [(f"features.{block}.{layer}.0", f"features.{block}.{layer}.1") for block in (2, 3, 4) for layer in (0, 1, 2)]
PORT += [("adaption.0", "adaption.1"), ("adaption.3", "adaption.4")]


@pytest.fixture
def pack() -> Path:
    if not PACK.is_dir():
        pytest.skip(f"no published weights at {PACK}")
    return PACK


@pytest.fixture(scope="module")
def planes() -> tuple[torch.Tensor, list[int]]:
    """The 13 planes as the published networks see them, and the class of each."""
    if not PACK.is_dir():
        pytest.skip(f"no published weights at {PACK}")
    with (PACK / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    preprocessing = ConfigParser({"preprocessing": PREPROCESSING}).get_parsed_content("preprocessing")
    images = [preprocessing({"image": PACK / row["image"]})["image"].as_tensor() for row in rows]
    return torch.stack(images), [CLASSES.index(row["label"]) for row in rows]


def lasagne_arrays(classes: int = 4, width: int = 2, channels: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Arrays as the authors save them, of a small network: W, beta, gamma, mean, inverse standard deviation."""
    rng, arrays, last = np.random.default_rng(seed), [], channels
    outputs = [width * multiple for multiple in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8, 4)] + [classes]
    for number, wide in enumerate(outputs):
        side = 3 if number < 13 else 1
        scale = (2 / (last * side**2)) ** 0.5
        arrays += [
            rng.normal(scale=scale, size=(wide, last, side, side)),
            rng.normal(size=wide),
            rng.uniform(0.5, 2, size=wide),
        ]
        arrays += [rng.normal(size=wide), rng.uniform(0.5, 2, size=wide)]
        last = wide
    return [array.astype(np.float32) for array in arrays]


def port_state(arrays: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """The same network as a state dict of the port, one entry at a time."""
    state = {}
    for number, (convolution, norm) in enumerate(PORT):
        weight, beta, gamma, mean, inverse = arrays[5 * number : 5 * number + 5]
        state[f"{convolution}.weight"] = torch.tensor(weight)
        state[f"{norm}.weight"] = torch.tensor(gamma)
        state[f"{norm}.bias"] = torch.tensor(beta)
        state[f"{norm}.running_mean"] = torch.tensor(mean)
        state[f"{norm}.running_var"] = torch.tensor([1 / float(value) ** 2 - 1e-4 for value in inverse])
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return state


def published(arrays: list[np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """Logits straight from the authors' arrays, with their inverse standard deviations, in float64."""
    values = images.double()
    for number in range(15):
        weight, beta, gamma, mean, inverse = (torch.tensor(a).double() for a in arrays[5 * number : 5 * number + 5])
        values = conv2d(values, weight, padding=weight.shape[-1] // 2)
        values = (values - mean[:, None, None]) * (gamma * inverse)[:, None, None] + beta[:, None, None]
        values = values if number == 14 else relu(values)
        values = max_pool2d(values, 2) if number in (1, 3, 6, 9) else values
    return values.mean(dim=(2, 3))


def saved(path: Path, arrays: list[np.ndarray]) -> Path:
    np.savez(path, *arrays)
    return path


def logits(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(images)


def test_the_published_network_puts_all_planes_in_their_class(planes):
    images, classes = planes
    network = load_sononet_weights(SonoNet(), PACK / "SonoNet16.npz")
    scores = logits(network, images)
    assert scores.argmax(dim=1).tolist() == classes
    best, second = scores.topk(2, dim=1).values.T
    assert float((best - second).min()) > 0.5  # of the published preprocessing: no plane is near another
    turned = logits(network, images.flip(2, 3))  # a negative control: the planes are not classed by their grey alone
    assert int((turned.argmax(dim=1) == torch.tensor(classes)).sum()) < 10


@pytest.mark.parametrize(
    ("step", "setting", "value", "right"),
    [(0, "reverse_indexing", True, range(4)), (2, "spatial_size", [288, 224], (12,))],
    ids=["MONAI's rows for columns", "the port's size"],
)
def test_planes_with_rows_and_columns_swapped_are_lost(planes, step, setting, value, right):
    swapped = [dict(transform) for transform in PREPROCESSING["transforms"]]
    swapped[step][setting] = value
    config = {"_target_": "Compose", "transforms": swapped}
    preprocessing = ConfigParser({"preprocessing": config}).get_parsed_content("preprocessing")
    with (PACK / "labels.csv").open(newline="", encoding="utf-8") as file:
        paths = [PACK / row["image"] for row in csv.DictReader(file)]
    images = torch.stack([preprocessing({"image": path})["image"].as_tensor() for path in paths])
    scores = logits(load_sononet_weights(SonoNet(), PACK / "SonoNet16.npz"), images)
    correct = scores.argmax(dim=1) == torch.tensor(planes[1])
    assert int(correct.sum()) in right
    assert not correct[0]  # the three-vessel view becomes the outflow tract of the right ventricle, or background


def test_published_arrays_and_the_ports_state_dict_give_equal_logits(planes, tmp_path):
    with np.load(PACK / "SonoNet16.npz") as file:
        arrays = [file[f"arr_{number}"] for number in range(75)]
    torch.save(port_state(arrays), tmp_path / "SonoNet16.pth")
    first = logits(load_sononet_weights(SonoNet(), PACK / "SonoNet16.npz"), planes[0][:4])
    second = logits(load_sononet_weights(SonoNet(), tmp_path / "SonoNet16.pth"), planes[0][:4])
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.double(), published(arrays, planes[0][:4]), rtol=0, atol=1e-4)
    assert float((first[0] - first[1]).abs().max()) > 1


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_all_formats_give_the_logits_of_the_arrays(tmp_path, wrapped):
    arrays, images = lasagne_arrays(), torch.randn(3, 1, 32, 48)
    expected = published(arrays, images)
    from_arrays = load_sononet_weights(SonoNet(out_channels=4, width=2), saved(tmp_path / "a.npz", arrays))
    torch.testing.assert_close(logits(from_arrays, images).double(), expected, rtol=1e-4, atol=1e-4)
    for name, state in (("port.pth", port_state(arrays)), ("ours.pt", from_arrays.state_dict())):
        torch.save(state if wrapped is None else {wrapped: state, "epoch": 3}, tmp_path / name)
        network = load_sononet_weights(SonoNet(out_channels=4, width=2), tmp_path / name)
        torch.testing.assert_close(logits(network, images), logits(from_arrays, images), rtol=0, atol=1e-4)


def test_an_epsilon_of_the_default_size_would_be_noticed(tmp_path):
    arrays, images = lasagne_arrays(), torch.randn(3, 1, 32, 48)
    network = load_sononet_weights(SonoNet(out_channels=4, width=2), saved(tmp_path / "a.npz", arrays))
    right = logits(network, images)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.eps == 1e-4
            module.eps = 1e-5
    wrong = logits(network, images)
    expected = published(arrays, images).float()
    assert float((wrong - expected).abs().max()) > 10 * float((right - expected).abs().max())


def test_a_variance_that_rounds_below_zero_is_zero(tmp_path):
    arrays = lasagne_arrays()
    arrays[4][0] = np.nextafter(np.float32(100), np.float32(101))  # of a channel that does not vary
    network = load_sononet_weights(SonoNet(out_channels=4, width=2), saved(tmp_path / "a.npz", arrays))
    assert network.features[1].running_var[0] == 0


def test_weights_are_spread_over_more_channels(tmp_path):
    arrays, grey = lasagne_arrays(), torch.randn(3, 1, 32, 48)
    path = saved(tmp_path / "a.npz", arrays)
    network = load_sononet_weights(SonoNet(in_channels=3, out_channels=4, width=2), path)
    expected = published(arrays, grey).float()
    torch.testing.assert_close(logits(network, grey.expand(3, 3, 32, 48)), expected, rtol=1e-4, atol=1e-4)
    colour = torch.randn(3, 3, 32, 48)
    torch.testing.assert_close(
        logits(network, colour), published(arrays, colour.mean(1, keepdim=True)).float(), rtol=1e-4, atol=1e-4
    )


def test_the_first_convolution_may_stay_as_it_is(tmp_path):
    path = saved(tmp_path / "a.npz", lasagne_arrays())
    network = SonoNet(in_channels=8, out_channels=4, width=2)
    before = network.features[0].weight.clone()
    load_sononet_weights(network, path, first_convolution="initial")
    assert torch.equal(network.features[0].weight, before)
    assert torch.equal(network.features[3].weight, torch.tensor(lasagne_arrays()[5]))
    same = load_sononet_weights(SonoNet(out_channels=4, width=2), path, first_convolution="initial")
    assert torch.equal(same.features[0].weight, torch.tensor(lasagne_arrays()[0]))  # there is nothing to adapt


def test_a_head_of_other_classes_stays_as_it_is_and_can_be_trained(tmp_path):
    arrays, images = lasagne_arrays(), torch.randn(4, 1, 32, 48)
    network = SonoNet(out_channels=2, width=2)
    before = network.adaptation[3].weight.clone()
    load_sononet_weights(network, saved(tmp_path / "a.npz", arrays))
    assert torch.equal(network.adaptation[3].weight, before)
    assert torch.equal(network.adaptation[4].running_mean, torch.zeros(2))
    assert torch.equal(network.adaptation[0].weight, torch.tensor(arrays[65]))
    head = linear_head(network.eval(), images=images)
    inner = network.adaptation[:3](network.features(images)).detach().flatten(2).mean(dim=2)
    torch.testing.assert_close(head(inner), logits(network, images))
    network.train()(images).square().sum().backward()
    assert float(network.adaptation[3].weight.grad.abs().max()) > 0


def test_both_heads_of_the_published_network_give_its_logits(planes):
    network, images = load_sononet_weights(SonoNet(), PACK / "SonoNet16.npz").eval(), planes[0][:2]
    expected = logits(network, images)
    with torch.no_grad():
        read = network.adaptation[:3](network.features(images))
        of_map = network.adaptation[3:](read)
    torch.testing.assert_close(linear_head(network, images=images)(read.mean(dim=(2, 3))), expected, rtol=0, atol=1e-4)
    head = logit_map_head(network, images=images)
    assert head.weight.shape == (14, 14 * 14 * 18)
    torch.testing.assert_close(head(of_map.flatten(1)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 4}, r"layer features.0 must find a weight of shape \(4, 1, 3, 3\) in a.npz, got \(2, 1, 3, 3\)"),
        (
            {"spatial_dims": 3, "width": 2},
            r"layer features.0 must find .* \(2, 1, 3, 3, 3\) in a.npz, got \(2, 1, 3, 3\)",
        ),
    ],
)
def test_the_first_layer_of_another_network_is_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        load_sononet_weights(SonoNet(out_channels=4, **settings), saved(tmp_path / "a.npz", lasagne_arrays()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda a: a[:50], r"layer features.34 must find a weight of shape \(16, 16, 3, 3\) in a.npz, got none"),
        (lambda a: [*a, a[0]], r"a.npz must hold the 15 layers of SonoNet and no more, got \['arr_75'\]"),
        (lambda a: [*a[:11], a[0], *a[12:]], r"layer features.8 must find a bias of shape \(4,\) .*got \(2, 1, 3, 3\)"),
        (
            lambda a: [*a[:70], a[70][:, :3], *a[71:]],
            r"layer adaptation.3 .* \(4, 8, 1, 1\) .*got \(4, 3, 1, 1\)",
        ),
    ],
    ids=["too few", "too many", "another order", "another head"],
)
def test_arrays_that_do_not_fit_are_refused_and_change_nothing(tmp_path, changed, message):
    network = SonoNet(out_channels=4, width=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    path = tmp_path / "a.npz"
    np.savez(path, *changed(lasagne_arrays()))
    with pytest.raises(ValueError, match=message):
        load_sononet_weights(network, path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_state_dict_that_lacks_a_layer_is_refused(tmp_path):
    state = port_state(lasagne_arrays())
    del state["features.2.1.0.weight"]
    torch.save(state, tmp_path / "port.pth")
    with pytest.raises(ValueError, match=r"layer features.17 must find a weight of shape \(8, 8, 3, 3\) .*got none"):
        load_sononet_weights(SonoNet(out_channels=4, width=2), tmp_path / "port.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt must hold a state dict of tensors, got a (list|dict)"):
        load_sononet_weights(SonoNet(), tmp_path / "a.pt")


class Unsafe:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a pickle ran",)


def test_pickles_are_not_run(tmp_path, capsys):
    torch.save({"features.0.weight": Unsafe()}, tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        load_sononet_weights(SonoNet(), tmp_path / "a.pth")
    np.savez(tmp_path / "a.npz", np.array([Unsafe()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_sononet_weights(SonoNet(), tmp_path / "a.npz")
    assert "a pickle ran" not in capsys.readouterr().out


def test_settings_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in .npz, .pt or .pth, got 'a.onnx'"):
        load_sononet_weights(SonoNet(), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"first_convolution must be one of \('spread', 'initial'\), got 'mean'"):
        load_sononet_weights(SonoNet(), tmp_path / "a.npz", first_convolution="mean")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (4, 0.0, "layer features.1 must find inverse standard deviations above 0 in a.npz, got 1 of 2 that are not"),
        (4, np.nan, "layer features.1 must find inverse standard deviations above 0"),
        (4, -1.0, "layer features.1 must find inverse standard deviations above 0"),
        (4, 1e-30, "layer features.1 must find a finite running_var in a.npz"),
        (0, np.inf, "layer features.0 must find a finite weight in a.npz"),
        (3, np.nan, "layer features.1 must find a finite running_mean in a.npz"),
    ],
)
def test_arrays_whose_answers_would_be_no_numbers_are_refused(tmp_path, place, value, message):
    arrays = lasagne_arrays()
    arrays[place].flat[0] = value
    network = SonoNet(out_channels=4, width=2)
    before = {key: entry.clone() for key, entry in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_sononet_weights(network, saved(tmp_path / "a.npz", arrays))
    assert all(torch.equal(entry, before[key]) for key, entry in network.state_dict().items())


def test_state_dicts_whose_answers_would_be_no_numbers_are_refused(tmp_path):
    network = SonoNet(out_channels=4, width=2)
    for value, message in (
        (-1.0, "layer features.1 must find variances of at least 0"),
        (np.nan, "a finite running_var"),
    ):
        state = {key: entry.clone() for key, entry in network.state_dict().items()}
        state["features.1.running_var"][0] = value
        torch.save(state, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=message):
            load_sononet_weights(network, tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.npz", "a.pt"])
def test_damaged_files_are_refused_by_name(tmp_path, name):
    whole = tmp_path / name
    if name == "a.npz":
        saved(whole, lasagne_arrays())
    else:
        torch.save(SonoNet(out_channels=4, width=2).state_dict(), whole)
    content = whole.read_bytes()
    for damaged in (b"", b"no weights", content[:100], content[: len(content) // 2], content[:-30]):
        whole.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{name} must be a file of weights, "):
            load_sononet_weights(SonoNet(out_channels=4, width=2), whole)
    with pytest.raises(FileNotFoundError):
        load_sononet_weights(SonoNet(out_channels=4, width=2), tmp_path / f"none{name[1:]}")


def test_arrays_of_other_names_or_values_are_refused(tmp_path):
    first, *rest = lasagne_arrays()
    np.savez(tmp_path / "a.npz", first, first_bias=rest[0])
    with pytest.raises(ValueError, match=r"arrays must be named arr_0 to arr_1, got \['first_bias'\]"):
        load_sononet_weights(SonoNet(out_channels=4, width=2), tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", first.astype(str), *rest)
    with pytest.raises(ValueError, match=r"a\.npz must hold arrays of numbers, got arr_0 of other values"):
        load_sononet_weights(SonoNet(out_channels=4, width=2), tmp_path / "a.npz")
