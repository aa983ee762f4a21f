# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, SegResNet, UNet
from monai.networks.utils import convert_to_torchscript
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.heads import linear_head, logit_map_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.networks import SASonoNet


def unet(spatial_dims: int = 2, out_channels: int = 14) -> nn.Module:
    """A segmentation network with dropout and batch normalization, which training mode would change."""
    return UNet(spatial_dims, 1, out_channels, (4, 8, 16), (2, 2), norm="BATCH", dropout=0.3)


def built(**settings: object) -> SASonoNet:
    return SASonoNet(**{"segmentation": unet(), "width": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "in_channels", "read"),
    [
        ({"segmentation": None, "spacing": False}, 1, 1),
        ({"segmentation": None}, 3, 3),
        ({}, 4, 8),
        ({"spacing": False, "structures": 2}, 2, 3),
        ({"image_channels": 3, "segmentation_channels": 1}, 6, 10),
    ],
)
def test_the_papers_variants_and_others(settings, in_channels, read):
    network = built(**settings).eval()
    assert (network.in_channels, network.classifier.in_channels) == (in_channels, read)
    images = torch.randn(2, in_channels, 32, 48)
    logits = network(images).detach()
    assert logits.shape == (2, 1)
    assert float((logits[0] - logits[1]).abs()) > 0


def test_the_classifier_reads_image_then_shapes_then_spacing():
    network = built().eval()
    images = torch.randn(3, 4, 32, 48)
    read = network.with_shapes(images)
    expected = torch.stack([torch.cat([x[:1], network.segmentation(x[None, 1:2])[0, :5], x[2:]]) for x in images])
    torch.testing.assert_close(read, expected)
    torch.testing.assert_close(network(images), network.classifier(expected))
    uncleaned = images.clone()
    uncleaned[:, 1] = images[[1, 2, 0], 1]  # calipers change the shapes alone
    assert torch.equal(network.with_shapes(uncleaned)[:, [0, 6, 7]], images[:, [0, 2, 3]])
    assert float((network.with_shapes(uncleaned)[:, 1:6] - read[:, 1:6]).abs().max()) > 1e-3


def test_spacing_alone_changes_the_logit():
    network = built(segmentation=None).eval()
    images = torch.randn(1, 3, 32, 48).repeat(2, 1, 1, 1)
    images[0, 1:], images[1, 1:] = 0.1, 0.3
    assert float((network(images)[0] - network(images)[1]).detach().abs()) > 1e-4


def test_the_segmentation_network_is_frozen():
    network = built()
    before = {name: value.clone() for name, value in network.segmentation.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        network.train()
        assert network.training
        assert network.classifier.training
        assert not any(module.training for module in network.segmentation.modules())
        network(torch.randn(4, 4, 32, 32)).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad is None for parameter in network.segmentation.parameters())
    assert all(parameter.grad is not None for parameter in network.classifier.parameters())
    after = network.segmentation.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # running statistics too
    inside = nn.Sequential(network)
    inside.train()  # as within another network
    assert not network.segmentation.training


def test_training_mode_gives_the_shapes_of_evaluation_mode():
    network, images = built(), torch.randn(2, 4, 32, 32)
    assert torch.equal(network.train().with_shapes(images), network.eval().with_shapes(images))
    network.segmentation.train()  # the negative control: dropout and batch statistics would make others
    assert not torch.equal(network.with_shapes(images), network.eval().with_shapes(images))


def test_no_gradient_reaches_the_shapes():
    network, images = built(), torch.randn(2, 4, 32, 32, requires_grad=True)
    network.eval()(images).sum().backward()
    assert float(images.grad[:, 1].abs().max()) == 0
    assert all(float(images.grad[:, channel].abs().max()) > 0 for channel in (0, 2, 3))


def test_a_checkpoint_holds_the_segmentation_network():
    first, second, images = built().eval(), built().eval(), torch.randn(2, 4, 32, 32)
    assert len(first.state_dict()) > len(first.classifier.state_dict())
    assert not torch.allclose(first(images), second(images))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize(
    "segmentation",
    [
        DynUNet(2, 1, 5, (3, 3, 3), (1, 2, 2), (2, 2), filters=(4, 4, 4), deep_supervision=True, deep_supr_num=1),
        SegResNet(2, 8, 1, 5),
        BasicUNetPlusPlus(2, 1, 5, features=(4, 4, 4, 4, 4, 4)),
        nn.Conv2d(1, 6, 1),
    ],
    ids=lambda network: type(network).__name__,
)
def test_any_segmentation_network_will_do(segmentation):
    network = built(segmentation=segmentation).train()
    images = torch.randn(2, 4, 32, 48)
    output = segmentation(images[:, 1:2])
    output = output[0] if isinstance(output, (list, tuple)) else output
    torch.testing.assert_close(network.with_shapes(images)[:, 1:6], output[:, :5])


@pytest.mark.parametrize(("spatial_dims", "sides"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_both_heads_give_the_logit(spatial_dims, sides):
    network = built(spatial_dims=spatial_dims, segmentation=unet(spatial_dims)).train()
    images = torch.randn(4, 2 + spatial_dims, *sides)
    with torch.no_grad():
        network(images)  # statistics that matter
    logits = network.eval()(images).detach()
    head, of_map = linear_head(network, images=images), logit_map_head(network, images=images)
    assert (head.layer, head.weight.shape) == ("classifier.adaptation.3", (1, 8))
    torch.testing.assert_close(head(embed(network, images, head.layer)[0]), logits)
    map_embeddings = embed(network, images, of_map.layer, reads="logit_map")[0]
    cells = map_embeddings.shape[1]
    assert torch.equal(of_map.weight, torch.ones(1, cells) / cells)  # the paper's embedding, whose head is of ones
    torch.testing.assert_close(of_map(map_embeddings), logits)


def test_the_papers_size_gives_a_map_of_252_cells():
    network = built(segmentation=nn.Conv2d(1, 5, 1))
    assert logit_map_head(network, images=torch.randn(1, 4, 224, 288)).weight.shape == (1, 252)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("settings", [{}, {"segmentation": None}], ids=["shapes", "no shapes"])
def test_torchscript_gives_the_same_logits(tmp_path, settings):
    network = built(**settings)
    images = torch.randn(2, network.in_channels, 32, 48)
    convert_to_torchscript(network, str(tmp_path / "model.ts"), verify=True, inputs=(images,), device="cpu")
    torch.testing.assert_close(torch.jit.load(str(tmp_path / "model.ts"))(images), network(images))


def test_a_monai_trainer_trains_it_from_plain_images():
    network = built()
    name, frozen = next((name, value.clone()) for name, value in network.segmentation.state_dict().items())
    before = network.classifier.features[0].weight.clone()
    batches = [{"image": torch.randn(4, 4, 32, 32), "label": torch.tensor([[0.0], [1.0], [1.0], [0.0]])}] * 2
    losses = []

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        losses.append(logits.shape)
        return binary_cross_entropy_with_logits(logits, labels)

    trainer = SupervisedTrainer("cpu", 1, batches, network, torch.optim.SGD(network.parameters(), 0.1), loss)
    trainer.run()
    assert losses == [(4, 1)] * 2
    assert not torch.equal(network.classifier.features[0].weight, before)
    assert torch.equal(network.segmentation.state_dict()[name], frozen)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structures": 0}, "structures must be an integer of at least 1, got 0"),
        ({"image_channels": 1.5}, "image_channels must be an integer of at least 1, got 1.5"),
        ({"segmentation_channels": -1}, "segmentation_channels must be an integer of at least 1, got -1"),
        ({"spatial_dims": 1}, "spatial_dims must be 2 or 3, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        built(**settings)


def test_batches_and_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"4 channels \(1 of the image, 1 for .*, 2 of spacing\), got shape \[2, 3"):
        built()(torch.randn(2, 3, 32, 32))
    for segmentation, got in ((nn.Conv2d(1, 4, 1), "4, 32, 32"), (nn.Conv2d(1, 5, 2, stride=2), "5, 16, 16")):
        with pytest.raises(ValueError, match=rf"at least 5 logits of the size of .*32\], got shape \[2, {got}\]"):
            built(segmentation=segmentation)(torch.randn(2, 4, 32, 32))


def test_a_cohort_from_a_table_as_in_the_paper(tmp_path):
    rng = np.random.default_rng(0)
    patients = np.repeat([f"{number:04d}" for number in range(40)], 2)
    frame = pd.DataFrame(
        {
            "image_dir_clean": [f"clean/{number}.png" for number in range(80)],
            "image_dir_calipers": [f"calipers/{number}.png" for number in range(80)],
            "patient_id": patients,
            "birth_before_week_37": np.repeat(rng.integers(0, 2, 40), 2),
            "ga_in_weeks": rng.integers(19, 33, 80),
            "px_spacing": rng.uniform(0.01, 0.02, 80),
            "py_spacing": rng.uniform(0.01, 0.02, 80),
        }
    )
    frame.to_csv(tmp_path / "cervix.csv", index=False)
    cohort = Cohort.from_csv(
        tmp_path / "cervix.csv",
        image_id="image_dir_clean",
        image="image_dir_calipers",
        label="birth_before_week_37",
        continuous=("ga_in_weeks",),
        label_names=("term", "preterm"),
    ).with_folds(5, seed=0)
    assert cohort.attributes == ("ga_in_weeks", "px_spacing", "py_spacing")
    assert {cohort.kind(name) for name in cohort.attributes} == {"continuous"}
    assert cohort.labels.tolist() == frame["birth_before_week_37"].tolist()
    assert cohort.table["patient_id"].tolist() == patients.tolist()  # with their leading zeros
    folds = [set(cohort.in_folds(fold).patients) for fold in range(5)]
    assert sum(map(len, folds)) == len(set.union(*folds)) == 40
    shares = [cohort.in_folds(fold).labels.mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.2
    spacings = zip(cohort.values("py_spacing"), cohort.values("px_spacing"), strict=True)  # as a bundle joins them
    items = [{**item, "y": 10 * y, "x": 10 * x} for item, (y, x) in zip(cohort.datalist(), spacings, strict=True)]
    assert items[3]["image"] == str(tmp_path / "calipers" / "3.png")
    assert items[3]["y"] == pytest.approx(10 * frame["py_spacing"][3])
