# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from torch import nn

from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.masking import masked_images
from monai_shortcut.handlers.shortcut_audit import ROI_STRATEGIES, ShortcutAudit
from monai_shortcut.transforms import MaskROI


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """An image of two channels and a region that is no box."""
    region = torch.zeros(1, 12, 10, dtype=torch.uint8)
    region[0, 2:5, 1:4] = 1
    region[0, 5, 1] = 1
    return torch.randn(2, 12, 10), region


def test_an_image_under_all_strategies_is_that_under_each(pair):
    found, problem = masked_images(*pair, ROI_STRATEGIES)
    assert list(found) == list(ROI_STRATEGIES)
    assert problem == ""
    for strategy, image in found.items():
        assert torch.equal(image, MaskROI(strategy)(*pair))
    assert len({tuple(image.flatten().tolist()) for image in found.values()}) == len(ROI_STRATEGIES)


def test_what_follows_the_mask_sees_the_metadata_of_the_image(pair):
    image, seen = MetaTensor(pair[0], meta={"device_name": "A"}), []

    def halve(masked):
        seen.append(masked.meta["device_name"])
        return (masked / 2).to(torch.float64)

    found, _ = masked_images(image, pair[1], ["roi_only"], halve)
    assert seen == ["A"]
    assert type(found["roi_only"]) is torch.Tensor
    assert found["roi_only"].dtype == torch.float32
    torch.testing.assert_close(found["roi_only"], torch.where(pair[1].bool(), pair[0] / 2, 0))


def test_an_error_of_what_follows_is_no_problem_of_the_region(pair):
    def fail(masked):
        raise ValueError("the scale must be positive")

    with pytest.raises(ValueError, match="the scale must be positive"):
        masked_images(*pair, ["roi_only"], fail)


@pytest.mark.parametrize(
    ("change", "left", "message"),
    [
        (lambda region: region * 0, (), "roi must hold at least one pixel, got an empty region."),
        (lambda region: region * 3, (), "roi must hold only 0 and 1 (or 0 and 255), got 0, 3"),
        (lambda region: region[:, :6], (), "roi must have shape (1, 12, 10) or (2, 12, 10) to match the image"),
        (
            lambda region: 1 - region,
            [name for name in ROI_STRATEGIES if name != "shifted_roi"],
            "shifted_roi needs a place that leaves at least half of the region visible",
        ),
    ],
)
def test_the_first_problem_of_a_region_is_told(pair, change, left, message):
    found, problem = masked_images(pair[0], change(pair[1]), ROI_STRATEGIES)
    assert list(found) == list(left)
    assert problem.startswith(message)


@pytest.mark.parametrize("labels", [[], "1", [1, "2"], [[1], []], [1.5]])
def test_labels_of_a_region_are_whole_numbers(labels):
    cohort = Cohort.from_table(pd.DataFrame({"image_id": [0, 1], "patient_id": [0, 1], "label": [0, 1]}))
    with pytest.raises(ValueError, match=r"roi_labels must be an integer or several of them, got "):
        ShortcutAudit(nn.Linear(2, 2), cohort, None, roi_key="roi", roi_labels=labels)


def test_a_region_may_be_some_labels_of_a_map(pair):
    """An image that lacks one of them has no such region, unless one of several is enough."""
    images, region = torch.randn(24, 2, 12, 10), pair[1].expand(24, -1, -1, -1)
    labels = region * 3  # 0 and 3
    labels[:, :, 5] *= 2  # and 6
    labels[:, :, 8:] = 2  # of something else
    labels[5, :, 5] = 3
    table = pd.DataFrame({"image_id": range(24), "patient_id": range(24), "label": [0, 1] * 12, "sex": [*"FFMM"] * 6})
    network, settings = nn.Sequential(nn.Flatten(), nn.Linear(240, 2)), AuditSettings(permutations=19, bootstraps=19)
    found = []
    for roi, chosen in ((region, None), (labels, [3, 6]), (labels, None), (labels, [[3, 6, 9]]), (labels, [3, [9, 6]])):
        handler = ShortcutAudit(
            network, Cohort.from_table(table), None, roi_key="roi", roi_labels=chosen, settings=settings
        )
        engine = Engine(lambda engine, batch: network(batch["image"]))
        handler.attach(engine)
        engine.run([{"image": images, "roi": roi, "image_id": list(range(24))}])
        found.append(handler)
    columns = [torch.as_tensor(handler._column("without_roi")) for handler in found]
    whole, chosen, wrong, either, mixed = columns
    rows = torch.arange(24) != 5
    torch.testing.assert_close(chosen[rows], whole[rows])
    assert chosen[5].isnan().all()
    assert wrong.isnan().all()
    torch.testing.assert_close(either[rows], whole[rows])
    assert not either[5].isnan().any()
    torch.testing.assert_close(mixed, chosen, equal_nan=True)
    assert found[1].audit.without_roi == {"5": "roi must hold at least one pixel, got an empty region."}
    reason = "roi must hold only 0 and 1 (or 0 and 255), got 0, 2, 3, 6"
    assert reason in found[2].audit.without_roi["0"]
    said = f"No image has a usable region of interest (roi), so nothing was measured with it: {reason}"
    assert [any(note.startswith(said) for note in handler.audit.notes) for handler in found] == [0, 0, 1, 0, 0]
