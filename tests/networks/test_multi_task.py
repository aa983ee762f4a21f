# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
import pickle
from copy import deepcopy
from inspect import cleandoc
from math import exp, log

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.networks.nets import DenseNet121
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from wrappers import data_parallel

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers import EmbeddingRecorder
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import EmbeddingHook, embed
from monai_shortcut.heads.layers import evaluating
from monai_shortcut.networks import MultiTaskClassifier, MultiTaskLoss, SonoNet

LEVELS = {"scanner": 3, "site.of.birth": 2}  # a name that no module may have
SMALL = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2, 2, 2)}
NETWORKS = {
    "sononet": (lambda: SonoNet(2, 1, 4, width=2), (1, 32, 48), "adaptation.3", 8),
    "sononet 3D": (lambda: SonoNet(3, 1, 4, width=2), (1, 16, 32, 16), "adaptation.3", 8),
    "densenet": (lambda: DenseNet121(2, 1, 4), (1, 32, 32), "class_layers.out", 1024),
    "densenet 3D": (lambda: DenseNet121(3, 1, 4, **SMALL), (1, 32, 32, 32), "class_layers.out", 16),
}


def settled(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network whose normalization knows the images, and three other images."""
    build, shape, _, _ = NETWORKS[name]
    network = build().train()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = 0.9
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(4, *shape))
    return network.eval(), torch.randn(3, *shape)


def heads(model: MultiTaskClassifier) -> list[nn.Linear]:
    """Of the attributes, in their order."""
    return list(model.attribute_heads.values())


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_attribute_heads_read_what_the_clinical_head_reads(name):
    network, images = settled(name)
    _, _, layer, size = NETWORKS[name]
    model = MultiTaskClassifier(network, LEVELS, images=images)
    assert model.layer == layer
    with EmbeddingHook(network, layer) as hook, evaluating(model):
        logits, of_attributes = model.all_logits(images)
    with evaluating(network):
        torch.testing.assert_close(logits, network(images))
    embeddings = hook.embeddings
    assert embeddings.shape == (3, size)
    assert list(of_attributes) == list(LEVELS)
    for index, (attribute, levels) in enumerate(LEVELS.items()):
        own = heads(model)[index]
        weight = model.attribute_weights()[attribute]
        assert weight.shape == (levels, size)
        assert not weight.requires_grad
        assert torch.equal(weight, own.weight)
        for image in range(3):
            for level in range(levels):
                expected = float(embeddings[image].double() @ weight[level].double() + own.bias[level].detach())
                assert float(of_attributes[attribute][image, level]) == pytest.approx(expected, abs=1e-4)
    assert float((of_attributes["scanner"][0] - of_attributes["scanner"][1]).abs().max()) > 1e-3
    assert hooks(model) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_mode_is_the_classifier_itself(name):
    network, images = settled(name)
    expected = network(images).detach()
    model = MultiTaskClassifier(network, LEVELS, images=images).eval()
    torch.testing.assert_close(model(images).detach(), expected, rtol=0, atol=0)
    with torch.no_grad():
        logits, of_attributes = model.train()(images)
    assert logits.shape == expected.shape
    assert [values.shape for values in of_attributes.values()] == [(3, 3), (3, 2)]


@pytest.mark.parametrize("name", NETWORKS)
def test_audits_find_the_clinical_head(name):
    network, images = settled(name)
    model = MultiTaskClassifier(network, LEVELS, images=images).eval()
    head, bare = linear_head(model, images=images), linear_head(network, images=images)
    assert head.layer == f"network.{NETWORKS[name][2]}" == f"network.{bare.layer}"
    assert torch.equal(head.weight, bare.weight)
    assert torch.equal(head.bias, bare.bias)
    assert linear_head(model.train(), images=images).layer == head.layer  # the head is looked for in evaluation mode
    assert model.training
    (embeddings, logits), (own, expected) = embed(model, images), embed(network, images)
    torch.testing.assert_close(embeddings, own, rtol=0, atol=0)
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


def test_every_term_reaches_the_backbone_and_its_own_head_only():
    network, images = settled("sononet")
    model = MultiTaskClassifier(network, LEVELS, images=images).train()
    clinical = network.adaptation[3].weight
    terms = {"label": ({"scanner": 0, "site.of.birth": 0}, 1.0), "scanner": ({"scanner": 1, "site.of.birth": 0}, 0.0)}
    codes = torch.tensor([[0, 0, 1], [1, 1, 0], [3, 2, 1]])
    for name, (weights, label_weight) in terms.items():
        model.zero_grad()
        MultiTaskLoss(weights, label_weight)(model(images), codes).backward()
        assert float(network.features[0].weight.grad.abs().max()) > 1e-6
        assert bool(clinical.grad.any()) == (name == "label")
        assert bool(heads(model)[0].weight.grad.any()) == (name == "scanner")
        assert not heads(model)[1].weight.grad.any()
    model.zero_grad()
    MultiTaskLoss(0.0, 0.0)(model(images), codes).backward()
    assert not any(parameter.grad.any() for parameter in model.parameters())


def toy(images: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of four numbers: the sign of the first is the label, the sign of the others' product the attribute."""
    values = torch.randn(images, 4)
    return values, torch.stack([values[:, 0] > 0, values[:, 1] * values[:, 2] > 0], dim=1).long()


@pytest.mark.parametrize(
    ("weight", "frozen", "low", "high"), [(1.0, False, 0.9, 1.0), (0.0, False, 0.0, 0.75), (1.0, True, 0.0, 0.75)]
)
def test_an_attribute_is_learned_by_backbone_and_head_when_its_term_counts(weight, frozen, low, high):
    values, codes = toy()
    backbone = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU())
    model = MultiTaskClassifier(nn.Sequential(backbone, nn.Linear(6, 2)), {"mark": 2}, images=values).train()
    backbone.requires_grad_(not frozen)
    loss = MultiTaskLoss({"mark": weight})
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        loss(model(values), codes).backward()
        optimizer.step()
    logits, of_attributes = model(values)
    accuracy = float((of_attributes["mark"].argmax(dim=1) == codes[:, 1]).float().mean())
    assert low <= accuracy <= high
    if not frozen:
        assert float((logits.argmax(dim=1) == codes[:, 0]).float().mean()) > 0.95


# --- the loss --------------------------------------------------------------------------------------------------------


def surprise(logits: list[float], code: int) -> float:
    """Minus the logarithm of the probability of a code."""
    return -log(exp(logits[code]) / sum(exp(value) for value in logits))


def example() -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
    codes = torch.tensor([[0, 2, 1], [1, -1, 0], [2, 0, -1], [1, 1, -1], [0, -1, 0]])
    return torch.randn(5, 3), {"scanner": torch.randn(5, 3), "site.of.birth": torch.randn(5, 2)}, codes


def test_the_loss_is_the_weighted_sum_of_means_over_images_that_have_the_attribute():
    logits, others, codes = example()
    weights = {"site.of.birth": 0.25, "scanner": 2.0}  # in another order than the heads
    expected = 0.5 * np.mean([surprise(row, code) for row, code in zip(logits.tolist(), codes[:, 0], strict=True)])
    for column, name in enumerate(others, start=1):
        terms = [
            surprise(row, code)
            for row, code in zip(others[name].tolist(), codes[:, column].tolist(), strict=True)
            if code >= 0
        ]
        assert len(terms) == 3
        expected += weights[name] * np.mean(terms)
    loss = MultiTaskLoss(weights, label_weight=0.5)((logits, others), codes)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    library = 0.5 * cross_entropy(logits, codes[:, 0])
    for column, name in enumerate(others, start=1):
        library += weights[name] * cross_entropy(others[name], codes[:, column], ignore_index=-1)
    torch.testing.assert_close(loss, library)
    even = MultiTaskLoss()((logits, others), codes)
    assert float(even) == pytest.approx(float(MultiTaskLoss(dict.fromkeys(others, 1.0))((logits, others), codes)))
    assert float(MultiTaskLoss(2.0, 2.0)((logits, others), codes)) == pytest.approx(2 * float(even), rel=1e-5)


def test_missing_levels_add_nothing_and_pull_nowhere():
    logits, others, codes = example()
    others = {name: values.requires_grad_() for name, values in others.items()}
    MultiTaskLoss()((logits, others), codes).backward()
    for column, name in enumerate(others, start=1):
        moved = others[name].grad.abs().sum(dim=1) > 0
        assert moved.tolist() == (codes[:, column] >= 0).tolist()
    codes[:, 1:] = -1
    alone = MultiTaskLoss()((logits, others), codes)
    torch.testing.assert_close(alone.detach(), cross_entropy(logits, codes[:, 0]))
    alone.backward()
    assert all(torch.isfinite(values.grad).all() for values in others.values())


def test_clinical_logits_alone_have_the_loss_of_the_label():
    logits, _, codes = example()
    expected = 0.5 * cross_entropy(logits, codes[:, 0])
    for targets in (codes, codes[:, 0], codes[:, :1], codes.int(), codes.float()):
        torch.testing.assert_close(MultiTaskLoss({"scanner": 1.0}, 0.5)(logits, targets), expected)


def test_classes_have_weights_within_the_label_term():
    logits, others, codes = example()
    weights = [0.5, 2.0, 1.0]
    terms = [surprise(row, code) for row, code in zip(logits.tolist(), codes[:, 0].tolist(), strict=True)]
    expected = np.average(terms, weights=[weights[code] for code in codes[:, 0].tolist()])
    found = MultiTaskLoss(0.0, class_weights=weights)((logits, others), codes)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert abs(float(found) - np.mean(terms)) > 1e-3
    attributes_only = MultiTaskLoss(1.0, 0.0, weights)((logits, others), codes)
    torch.testing.assert_close(attributes_only, MultiTaskLoss(1.0, 0.0)((logits, others), codes))


def test_a_missing_label_adds_nothing():
    logits, others, codes = example()
    codes[1, 0] = codes[4, 0] = -1
    known = codes[:, 0] >= 0
    expected = cross_entropy(logits[known], codes[known, 0])
    torch.testing.assert_close(MultiTaskLoss(0.0)((logits, others), codes), expected)
    logits.requires_grad_()
    nothing = MultiTaskLoss(0.0)((logits, others), torch.full_like(codes, -1))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert not logits.grad.any()


def test_codes_and_weights_that_do_not_fit_are_refused():
    logits, others, codes = example()
    for weights in ([1.0, 0.0, 1.0], [1.0, float("nan"), 1.0]):
        with pytest.raises(ValueError, match=r"class_weights must be positive, got \(1.0, "):
            MultiTaskLoss(class_weights=weights)
    with pytest.raises(ValueError, match="class_weights must be 3, one per class, got 2"):
        MultiTaskLoss(class_weights=[1.0, 2.0])((logits, others), codes)
    for wrong in (codes[:, :2], codes[1:], codes[:, 0]):
        with pytest.raises(
            ValueError, match=rf"targets must have shape \(5, 3\) .* got \({', ?'.join(map(str, wrong.shape))},?\)"
        ):
            MultiTaskLoss()((logits, others), wrong)
    with pytest.raises(ValueError, match=r"targets must have shape \(5, 1\) to match the heads, got \(4,\)"):
        MultiTaskLoss()(logits, codes[1:, 0])
    with pytest.raises(ValueError, match=r"of the attributes \['scanner', 'site.of.birth'\], got \['scanner'\]"):
        MultiTaskLoss({"scanner": 1.0})((logits, others), codes)
    for arguments in ((-1.0,), ({"scanner": -0.5},), (1.0, -1.0)):
        with pytest.raises(ValueError, match=r"weights must not be negative, got .* and label_weight "):
            MultiTaskLoss(*arguments)


# --- in MONAI's engines ----------------------------------------------------------------------------------------------


def test_monais_trainer_and_evaluator_run_it_and_the_recorder_reads_it():
    values, codes = toy(60)
    items = [
        {"image": v, "label": c, "image_id": f"image {i}"} for i, (v, c) in enumerate(zip(values, codes, strict=True))
    ]
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model = MultiTaskClassifier(network, {"mark": 2}, images=values)
    loss = MultiTaskLoss()
    before = float(loss(model(values), codes).detach())
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=5,
        train_data_loader=DataLoader(Dataset(items), batch_size=16),
        network=model,
        optimizer=torch.optim.Adam(model.parameters(), 0.02),
        loss_function=loss,
    )
    trainer.run()
    assert float(loss(model(values), codes).detach()) < before - 0.1
    recorder, read = EmbeddingRecorder(model), []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=16),
        network=model,
        val_handlers=[recorder],
        postprocessing=lambda item: read.append(item["pred"]) or item,
    )
    evaluator.run()
    assert recorder.image_ids == tuple(item["image_id"] for item in items)
    assert recorder.head.layer == "network.2"
    assert torch.equal(recorder.head.weight, network[2].weight)
    np.testing.assert_allclose(recorder.embeddings, network[:2](values).detach().numpy(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.stack(read), network(values).detach())


def test_the_documented_configuration_trains_it():
    text = cleandoc(MultiTaskClassifier.__doc__).partition("::\n\n")[2].partition("\n\nArgs:")[0]
    config = json.loads("{" + text + "}")
    rows = [
        {"image_id": f"i{i}", "patient_id": f"p{i}", "label": i % 3, "image": f"i{i}.png", "site.of.birth": "ab"[i % 2]}
        | {"scanner": None if i == 4 else "xyz"[i // 20], "age": 20.0 + i * 7 % 60}
        for i in range(60)
    ]
    cohort = Cohort.from_table(pd.DataFrame(rows), continuous=["age"])
    parser = ConfigParser(config | {"attributes": ["scanner", "site.of.birth", "age"]})
    parser.update({"cohort": cohort, "network_def": SonoNet(2, 1, 3, width=1)})
    for line in ("import numpy as np", "import monai_shortcut"):
        assert f"${line}" in config["imports"]
    items, network, loss = (parser.get_parsed_content(name) for name in ("training", "network", "loss"))
    assert network.attributes == ("scanner", "site.of.birth", "age")
    assert [len(weight) for weight in network.attribute_weights().values()] == [3, 2, 3]
    images = torch.randn(60, 1, 16, 16)
    items = [item | {"image": image} for item, image in zip(items, images, strict=True)]
    batch = next(iter(DataLoader(Dataset(items), batch_size=60)))
    assert batch["label"][:6, :3].tolist() == [[0, 0, 0], [1, 0, 1], [2, 0, 0], [0, 0, 1], [1, -1, 0], [2, 0, 1]]
    bins = [0 if row["age"] < 40 else 1 if row["age"] < 60 else 2 for row in rows]
    assert batch["label"][:, 3].tolist() == bins
    before = [head.weight.clone() for head in network.attribute_heads.values()]
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=20),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=loss,
    )
    trainer.run()
    for head, old in zip(network.attribute_heads.values(), before, strict=True):
        assert not torch.equal(head.weight, old)


# --- copies, kinds of networks and what is refused -------------------------------------------------------------------


def test_states_copies_and_pickles_give_the_same_logits():
    network, images = settled("sononet")
    model = MultiTaskClassifier(network, LEVELS, images=images).eval()
    other = MultiTaskClassifier(NETWORKS["sononet"][0](), LEVELS, images=images).eval()
    logits, of_attributes = model.all_logits(images)
    assert float((other.all_logits(images)[1]["scanner"] - of_attributes["scanner"]).detach().abs().max()) > 1e-3
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    copy, stored = deepcopy(model), pickle.loads(pickle.dumps(model))
    for restored in (other, copy, stored):
        again, of_restored = restored.all_logits(images)
        torch.testing.assert_close(again, logits, rtol=0, atol=0)
        torch.testing.assert_close(of_restored, of_attributes, rtol=0, atol=0)
    with torch.no_grad():
        heads(copy)[0].weight.zero_()
        copy.network.features[0].weight.zero_()
    torch.testing.assert_close(model.all_logits(images)[0], logits, rtol=0, atol=0)
    assert model.attribute_weights()["scanner"].any()


def test_states_are_read_by_the_attributes_names():
    images = torch.randn(3, 4)
    names = ["type", "keys", "a.b", "a%2Eb", ""]  # a ModuleDict's own names, and one with a dot beside its escape
    model, other = (
        MultiTaskClassifier(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), dict.fromkeys(order, 2), images=images)
        for order in (names, names[::-1])
    )
    other.load_state_dict(model.state_dict())
    (logits, expected), (again, found) = model.all_logits(images), other.all_logits(images)
    torch.testing.assert_close(again, logits)
    assert list(found) == names[::-1]
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    assert len({tuple(values.flatten().tolist()) for values in expected.values()}) == len(names)
    third = MultiTaskClassifier(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), {"type": 2}, images=images)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        third.load_state_dict(model.state_dict())


def test_without_images_the_head_is_found_on_random_ones():
    network = SonoNet(2, 1, 4, width=2).eval()
    images = torch.randn(2, 1, 32, 32)
    model = MultiTaskClassifier(network, LEVELS).eval()
    assert model.layer == MultiTaskClassifier(network, LEVELS, images=images).layer == "adaptation.3"
    with pytest.raises(ValueError, match=r"dummy batch of shape \(2, 3\), got ValueError: .*evaluators; pass images="):
        MultiTaskClassifier(Pair(), LEVELS)


def test_distributed_training_reaches_every_head_also_where_a_batch_lacks_an_attribute():
    network, images = settled("sononet")
    model = MultiTaskClassifier(network, LEVELS, images=images).train()
    codes = torch.tensor([[0, -1, 1], [1, -1, 0], [3, -1, 1]])
    alone = deepcopy(model)
    MultiTaskLoss()(alone(images), codes).backward()
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # a parameter without a gradient in the first pass stops the second
            wrapped.zero_grad()
            MultiTaskLoss()(wrapped(images), codes).backward()
        layer = linear_head(wrapped, images=images).layer
    finally:
        distributed.destroy_process_group()
    assert layer == "network.adaptation.3"
    for parameter, expected in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, first, second):
        return self.head(first + second)


class Twice(nn.Module):
    """A network of two heads, called by keyword, one of which must be named; it returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.plane, self.view, self.unused = (nn.Linear(a, b) for a, b in [(3, 5), (5, 2), (5, 4), (5, 2)])

    def forward(self, images):
        embeddings = torch.relu(self.body(images))
        return self.plane(input=embeddings), self.view(2 * embeddings)


def test_a_named_head_is_read_also_where_it_is_called_by_keyword():
    network, images = Twice(), torch.randn(6, 3)
    model = MultiTaskClassifier(data_parallel(network), {"scanner": 2}, images=images, layer="plane")
    logits, of_attributes = model(images)
    embeddings = torch.relu(network.body(images))
    torch.testing.assert_close(logits, network.plane(embeddings))
    torch.testing.assert_close(of_attributes["scanner"], heads(model)[0](embeddings))
    assert isinstance(model.eval()(images), torch.Tensor)
    assert MultiTaskClassifier(network, {"scanner": 2}, images=images).layer == "view"  # the last to run


def test_heads_have_the_precision_of_the_network():
    model = MultiTaskClassifier(nn.Sequential(nn.Linear(4, 2)).double(), LEVELS, images=torch.randn(2, 4).double())
    logits, of_attributes = model(torch.randn(3, 4).double())
    assert {logits.dtype, *(values.dtype for values in of_attributes.values())} == {torch.float64}


def test_networks_and_attributes_that_do_not_fit_are_refused():
    images = torch.randn(2, 3)
    for attributes, got in (({}, "no attribute"), ({"scanner": 3, "sex": 1}, r"\{'sex': 1\}")):
        with pytest.raises(ValueError, match=f"attributes must have at least two levels each, got {got}"):
            MultiTaskClassifier(Twice(), attributes, images=images)
    with pytest.raises(ValueError, match="must run a Linear or 1x1 convolution, got none"):
        MultiTaskClassifier(nn.Sequential(nn.ReLU()), LEVELS, images=images)
    for layer in ("unused", ""):
        message = rf"convolution that runs, as \['view', 'plane', 'body'\], got '{layer}'"
        with pytest.raises(ValueError, match=message):
            MultiTaskClassifier(Twice(), LEVELS, images=images, layer=layer)
    with pytest.raises(ValueError, match="layer must be one of the network's modules, such as"):
        MultiTaskClassifier(Twice(), LEVELS, images=images, layer="fc")
    model = MultiTaskClassifier(Twice(), LEVELS, images=images)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(torch.randn(2, 4))
    assert hooks(model) == 0  # also after an error
