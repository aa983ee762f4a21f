# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The last step of the preparation, as explained images go through it."""

from __future__ import annotations

import torch

from monai_shortcut.attribution.network import prepared


def test_a_step_that_works_in_place_gets_memory_of_its_own():
    """Also where hidden pixels are one number that stands for all."""

    def halve(image: torch.Tensor) -> torch.Tensor:
        image[image > 1] /= 2
        return image

    images = torch.tensor([2.0, 0.5]).reshape(2, 1, 1, 1).expand(2, 1, 3, 3)
    assert prepared(images, halve)[:, 0, 0, 0].tolist() == [1.0, 0.5]
    assert images[0].unique().item() == 2
