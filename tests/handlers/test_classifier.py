# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Any classifier, audited by one call: the head reads a scanner that went with the label in training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.networks.nets import ViT
from scanner_images import fitted, scanned
from torch import nn
from torch.utils.data import TensorDataset

from monai_shortcut import audit_classifier
from monai_shortcut.audit import Audit, AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.shortcut_audit import ShortcutAudit
from monai_shortcut.heads.inputs import Inputs

QUICK = AuditSettings(folds=3, permutations=59, bootstraps=29, repeats=1, erasures=5, held_out=0)


@dataclass
class ImageClassifierOutput(OrderedDict):
    """What image classifiers of transformers return: a dict without the fields that are None, in their order."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if (value := getattr(self, field.name)) is not None:
                super().__setitem__(field.name, value)


@dataclass
class Answer:
    """A dataclass that is no dict."""

    logits: torch.Tensor
    mean: torch.Tensor | None = None


class Patches(nn.Module):
    """Tokens (N, T, D) of patches, as transformers read them."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Conv2d(1, 24, 4, stride=4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.projection(images)).flatten(2).transpose(1, 2)


class Transformer(nn.Module):
    """The ending of ViTForImageClassification: the head reads the first token, and the output is an object."""

    def __init__(self, form: Callable[..., Any] = ImageClassifierOutput) -> None:
        super().__init__()
        self.vit, self.mix, self.form = Patches(), nn.Linear(16, 16), form
        self.classifier = nn.Linear(24, 2)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        tokens = self.vit(pixel_values)
        tokens = tokens + self.mix(tokens.transpose(1, 2)).transpose(1, 2)
        return self.form(logits=self.classifier(tokens[:, 0]))


class PoolingHead(nn.Module):
    """The classifier of timm's networks: pooling, dropout, a 1x1 convolution, and what flattens it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 24, 5, stride=2), nn.BatchNorm2d(24), nn.ReLU())
        self.global_pool, self.drop = nn.AdaptiveAvgPool2d((1, 1)), nn.Dropout(0.5)
        self.fc, self.flatten = nn.Linear(24, 2), nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.flatten(self.fc(self.drop(self.global_pool(self.stem(images)).flatten(1))))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 6),
        nn.ELU(),
        nn.Linear(6, 2),
    )


def vit() -> nn.Module:
    pytest.importorskip("einops", reason="MONAI's ViT needs einops")
    return ViT(1, 16, 4, 24, 24, 1, 4, classification=True, num_classes=2, spatial_dims=2, post_activation="none")


def timm_network() -> nn.Module:
    return pytest.importorskip("timm").create_model("resnet10t", num_classes=2, in_chans=1)


def transformers_network() -> nn.Module:
    library = pytest.importorskip("transformers")
    about = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = library.ViTConfig(image_size=16, patch_size=4, num_channels=1, num_labels=2, **about)
    return library.ViTForImageClassification(config)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "cnn with two layers in its head": (cnn, "6"),
    "vit of MONAI": (vit, "classification_head"),
    "head as of timm": (PoolingHead, "fc"),
    "output as of transformers": (Transformer, "classifier"),
    "output that is a dataclass": (lambda: Transformer(Answer), "classifier"),
    "timm": (timm_network, "fc"),
    "transformers": (transformers_network, "classifier"),
}


@pytest.fixture(scope="module")
def data() -> SimpleNamespace:
    """Images and table to audit, where the scanner means nothing, and others to fit a head to, where it does."""
    (images, table), (others, known) = scanned(120, 2, (16, 16), 0.5, 0), scanned(200, 2, (16, 16), 0.95, 1)
    as_tensor = lambda pixels: torch.as_tensor(pixels, dtype=torch.float32)[:, None]  # noqa: E731
    training = [{"image": one, "label": label} for one, label in zip(as_tensor(others), known["label"], strict=True)]
    return SimpleNamespace(
        images=as_tensor(images), table=table, label=torch.tensor(table["label"].tolist()), training=training
    )


def trained(build: Callable[[], nn.Module], layer: str, data: SimpleNamespace) -> nn.Module:
    torch.manual_seed(0)
    return fitted(build(), layer, data.training, lambda item: item)


def loader(data: SimpleNamespace, *beside: torch.Tensor) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(TensorDataset(data.images, *beside, data.label), batch_size=50)


def check_means(found: Audit, answers: np.ndarray, data: SimpleNamespace) -> None:
    """The audit has the answers (N, 2) that the network gives by itself."""
    means = found.finding("scanner").evidence.gap.means
    for label in (0, 1):
        for code, level in enumerate(found.finding("scanner").levels):
            cell = (data.table["label"] == label) & (data.table["scanner"] == level)
            np.testing.assert_allclose(means[label][code], answers[cell].mean(axis=0), atol=1e-5)


def verdicts(audit: Audit) -> dict[str, str]:
    return {finding.attribute: finding.verdict for finding in audit.findings}


@pytest.mark.parametrize("name", NETWORKS)
def test_three_lines_find_what_the_network_uses(name, data, tmp_path):
    network = trained(*NETWORKS[name], data).train()
    flags = {module: module.training for module in network.modules()}
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    data.table.to_csv(tmp_path / "metadata.csv", index=False)
    found = audit_classifier(network, loader(data), tmp_path / "metadata.csv", settings=QUICK)
    assert verdicts(found)["scanner"] == "used"
    assert verdicts(found)["operator"] != "used"
    assert {module: module.training for module in network.modules()} == flags
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not list(tmp_path.glob("*/"))  # nothing is written unless it is asked for


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["cnn with two layers in its head", "vit of MONAI", "head as of timm"])
def test_a_network_on_cuda_is_audited_as_on_the_cpu(name, data):
    network = trained(*NETWORKS[name], data)
    there, here = (
        audit_classifier(network.to(device), loader(data), data.table, settings=QUICK) for device in ("cuda", "cpu")
    )
    assert verdicts(there) == verdicts(here)
    assert verdicts(there)["scanner"] == "used"
    for mine, other in zip(there.findings, here.findings, strict=True):
        np.testing.assert_allclose(mine.evidence.gap.means, other.evidence.gap.means, atol=1e-3)


@pytest.fixture(scope="module")
def network(data) -> nn.Module:
    return trained(cnn, "6", data)


@pytest.fixture(scope="module")
def expected(network, data) -> Audit:
    """The audit of the same by the handler, in an evaluator's way."""
    names = data.table["image_id"]
    items = [{"image": image, "image_id": name} for image, name in zip(data.images, names, strict=True)]
    return audit_classifier(network, DataLoader(Dataset(items), batch_size=32), data.table, settings=QUICK)


def shuffled(data: SimpleNamespace, form: Callable[..., Any]) -> list[Any]:
    """Batches in another order than the table's."""
    order = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(1)).split(40)
    names = data.table["image_id"].to_numpy()
    return [form(data.images[rows], data.label[rows], names[rows].tolist()) for rows in order]


def test_batches_in_another_order_give_the_same_audit(data, network, expected):
    batches = shuffled(data, lambda images, label, names: (images, label, names))
    found = audit_classifier(network, batches, data.table, settings=QUICK, id_key=2)
    assert verdicts(found) == verdicts(expected)
    ours, theirs = (one.finding("scanner").evidence.gap.means for one in (found, expected))
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=1e-5)


def test_names_in_the_order_of_the_loader_serve(data, network, expected):
    batches = shuffled(data, lambda images, label, names: images)
    names = [name for batch in shuffled(data, lambda images, label, names: names) for name in batch]
    cohort = Cohort.from_table(data.table)
    found = audit_classifier(network, batches, cohort, settings=QUICK, ids=names, adjust_for=["operator"])
    ours, theirs = (one.finding("scanner").evidence.gap.means for one in (found, expected))
    np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=1e-5)
    assert found.settings.adjust_for == ("operator",)


class Fused(nn.Module):
    """The head reads what a convolution sees and what stands beside the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(5, 2)

    def forward(self, image: torch.Tensor, age: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.head(torch.cat([self.conv(image).mean((2, 3)), scale * age], dim=1))


@pytest.mark.parametrize("keys", [1, {"age": "1"}])
def test_a_network_of_two_inputs_is_audited_by_its_answers(keys, data):
    """The head reads a number beside the image, which says the scanner, and nothing else."""
    scanner = torch.tensor((data.table["scanner"] == "B").tolist()).float()[:, None]
    network = Fused()
    nn.init.zeros_(network.head.weight).data[1, 4] = 4.0
    batches = loader(data, scanner)
    found = audit_classifier(network, batches, data.table, settings=QUICK, extra_keys=keys)
    assert verdicts(found)["scanner"] == "used"
    with torch.no_grad():
        answers = network(data.images, scanner).softmax(dim=1).numpy()
    check_means(found, answers, data)
    with pytest.raises(ValueError, match=r"batch must have the extra_keys, got \['0', '1', '2', .*\] without size"):
        audit_classifier(network, batches, data.table, extra_keys="size", label_key=2)
    said = r"missing 1 required positional argument: 'age'; name the entries .* extra_keys of audit_classifier, Prepare"
    with pytest.raises(ValueError, match=said):
        audit_classifier(network, batches, data.table, label_key=2)


class Bags(nn.Module):
    """Each image is a bag of its quarters; the answers of the quarters are averaged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quarters = images.unfold(2, 8, 8).unfold(3, 8, 8).reshape(-1, 1, 8, 8)
        return self.network(quarters).reshape(len(images), -1, 2).mean(dim=1)


def test_bags_of_patches_are_audited_by_the_mean_of_what_the_head_reads(data):
    bags = Bags(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)))
    found = audit_classifier(bags, loader(data), data.table, settings=QUICK)
    with torch.no_grad():
        answers = bags(data.images).softmax(dim=1).numpy()
    check_means(found, answers, data)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        (nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU()), {}),
        (
            lambda: Transformer(lambda logits: {"pooler_output": logits, "other": logits.mean()}),
            {"output": "pooler_output"},
        ),
    ],
)
def test_an_encoder_without_a_head_is_audited_with_one_that_is_fitted_in_folds(encoder, options, data):
    encoder = encoder if isinstance(encoder, nn.Module) else encoder()
    before = set(dict(encoder.named_modules()))
    table = data.table.assign(label=(data.table["scanner"] == "B") ^ (data.table.index % 8 == 0))  # it must be used
    found = audit_classifier(
        encoder, loader(data), table.astype({"label": int}), settings=QUICK, fit_head=True, label_key=9, **options
    )
    assert found.notes == (
        "The network has no head of its own. Logistic regressions were fitted to what it returns, in 3 folds of "
        "patients; audited are the answers of each to patients that it was not fitted to.",
    )
    assert set(dict(encoder.named_modules())) == before
    if not options:
        assert verdicts(found) == {"scanner": "used", "operator": verdicts(found)["operator"]}
        assert verdicts(found)["operator"] != "used"


def test_a_multi_label_network_has_an_audit_for_each_label(data):
    _, table = scanned(120, 2, (16, 16), 0.5, 0, several=True)
    found = audit_classifier(
        cnn(), loader(data), table, settings=QUICK, labels=["finding_0", "finding_1"], ids=table["image_id"]
    )
    assert list(found) == ["finding_0", "finding_1"]
    assert all(isinstance(one, Audit) and one.title.endswith(f": {name}") for name, one in found.items())


class Nonlinear(nn.Module):
    """Its answers are no affine map of what a layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.body = cnn()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.body(images))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"network": Nonlinear()},
            r"head\(embedding\) must equal the network's logits, got a difference of .*Identity",
        ),
        ({"network": nn.Conv2d(1, 3, 1)}, r"logits must have shape \(N, C\), got .*\(2, 3, 16, 16\).*fit_head=True"),
        (
            {"fit_head": True, "layer": "6", "embedding": "logit_map", "labels": ["a"]},
            "fit_head=True must go without embedding, layer, labels, outcome, got embedding, layer, labels",
        ),
        ({"attributes": ["age"]}, r"attributes must be among \['scanner', 'operator'\], got \['age'\]"),
        (
            {"network": nn.Sequential(nn.Flatten(), nn.Linear(256, 64))},
            r"an output for each class, got 64 outputs for 0, 1\. Of an encoder without a head, fit_head=True fits one",
        ),
        (
            {"network": nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Flatten())},
            r"head\(embedding\) must equal the network's logits, .* audit_classifier\(\.\.\., fit_head=True\) fits one",
        ),
    ],
)
def test_what_cannot_be_read_says_what_to_do(changed, message, data, network):
    options = {"network": network, "loader": loader(data), "metadata": data.table, "settings": QUICK} | changed
    with pytest.raises(ValueError, match=message):
        audit_classifier(**options)


def test_an_error_of_the_network_is_its_own():
    network = nn.Flatten()
    network.forward = lambda images: images + "1"
    with pytest.raises(TypeError, match="unsupported operand"):
        Inputs(torch.ones(1)).into(network)


def test_attribution_of_a_network_of_several_inputs_is_refused(data):
    handler = ShortcutAudit(Fused(), Cohort.from_table(data.table), None, roi_key="roi", attribution=True)
    prepare = lambda batch, device, non_blocking: (batch["image"], None, (batch["age"],), {})  # noqa: E731
    batch = {
        "image": data.images[:4],
        "age": torch.ones(4, 1),
        "roi": torch.ones(4, 1, 16, 16).tril(),
        "image_id": data.table["image_id"][:4].tolist(),
    }
    engine = SimpleNamespace(state=SimpleNamespace(batch=batch), prepare_batch=prepare)
    with pytest.raises(ValueError, match="attribution must be false of a network of several inputs, got one of 2"):
        handler._look(engine)


def test_masked_images_keep_what_stands_beside_them(data):
    """Each row's own number goes with its masked image, also where some regions are unusable."""
    scanner = torch.tensor((data.table["scanner"] == "B").tolist()).float()[:, None]
    network, count = Fused(), 12
    nn.init.zeros_(network.head.weight).data[1, 4] = 4.0
    handler = ShortcutAudit(network, Cohort.from_table(data.table), None, roi_key="roi", strategies=["without_roi"])
    regions = torch.zeros(count, 1, 16, 16)
    regions[:, :, 4:8, 4:8] = 1
    regions[3] = 0  # none
    batch = {
        "image": data.images[:count],
        "age": scanner[:count],
        "roi": regions,
        "image_id": data.table["image_id"][:count].tolist(),
    }
    prepare = lambda batch, device, non_blocking: (batch["image"], None, (), {"age": batch["age"]})  # noqa: E731
    handler._look(SimpleNamespace(state=SimpleNamespace(batch=batch), prepare_batch=prepare))
    logits = handler._column("without_roi")
    assert np.flatnonzero(np.isnan(logits).any(axis=1)).tolist() == [3]
    known = np.delete(np.arange(count), 3)
    move = logits[known, 1] - float(network.head.bias[1].detach())
    np.testing.assert_allclose(move, 4 * scanner[known, 0].numpy(), atol=1e-5)


def test_nothing_is_named_by_a_table_that_is_not_in_the_order_of_the_loader(data, network):
    batches = torch.utils.data.DataLoader(TensorDataset(data.images, data.label), batch_size=50, shuffle=True)
    with pytest.raises(
        ValueError, match="order of the table cannot name them, got a loader that is ordered by a RandomSampler"
    ):
        audit_classifier(network, batches, data.table)
    reverse = data.table[::-1]
    with pytest.raises(
        ValueError, match=r"labels of the loader must be those of the table's rows, .* got 50 others: 0 for"
    ):
        audit_classifier(network, loader(data), reverse)
    half = pd.concat([data.table, data.table.assign(image_id=data.table["image_id"] + "x")])
    with pytest.raises(
        ValueError, match=r"rows of the table, .* one for each image of the loader, got 240 for 120 images"
    ):
        audit_classifier(network, loader(data), half)
