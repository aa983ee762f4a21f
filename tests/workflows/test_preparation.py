# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, Identityd, NormalizeIntensityd, ScaleIntensityd

from monai_shortcut.transforms import MaskROId
from monai_shortcut.workflows.preparation import erased_by, require_shown


def item(region: int = 3) -> dict[str, torch.Tensor]:
    roi = torch.zeros(1, 8, 8)
    roi[:, 2 : 2 + region, 2:5] = 1
    return {"image": torch.rand(2, 8, 8) + 0.5, "roi": roi}


def prepared(strategy: str, *after: object) -> Compose:
    return Compose([Identityd("image"), MaskROId("image", "roi", strategy), Compose(list(after)), Identityd("image")])


NONZERO = NormalizeIntensityd("image", nonzero=True)


@pytest.mark.parametrize(
    ("strategy", "step", "erased"),
    [
        ("silhouette", NONZERO, "NormalizeIntensityd"),
        ("box_silhouette", NormalizeIntensityd("image", nonzero=True, channel_wise=True), "NormalizeIntensityd"),
        ("silhouette", NormalizeIntensityd("image", channel_wise=True), ""),
        ("silhouette", ScaleIntensityd("image"), ""),
        ("roi_only", NONZERO, ""),
        ("without_roi", NONZERO, ""),
        ("full", NONZERO, ""),
        ("roi_only", ScaleIntensityd("image", factor=-1.0, minv=None, maxv=None), "ScaleIntensityd"),  # times 0
    ],
)
def test_the_step_that_leaves_one_grey_is_named(strategy, step, erased):
    prepare = prepared(strategy, step)
    assert erased_by(prepare.flatten().transforms, item()) == erased
    if not erased:
        require_shown(prepare, [item()] * 3, strategy)
        return
    with pytest.raises(ValueError, match=rf"got {erased}, which makes one grey of images under '{strategy}': see the"):
        require_shown(prepare, [item(0), *[item()] * 3], strategy)  # the first has no region


def test_images_of_which_the_mask_leaves_nothing_prove_nothing():
    whole = {"image": torch.rand(2, 8, 8), "roi": torch.ones(1, 8, 8)}
    steps = prepared("silhouette", NONZERO).flatten().transforms
    assert erased_by(steps, whole) is None  # a silhouette of the whole image is 1 everywhere
    require_shown(prepared("silhouette", NONZERO), [whole], "silhouette")
    assert erased_by([Identityd("image")], item()) is None
    require_shown(Identityd("image"), [item()], "silhouette")
