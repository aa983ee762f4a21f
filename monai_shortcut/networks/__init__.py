# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks for audited classifiers that MONAI does not have."""

from __future__ import annotations

from monai_shortcut.networks.freezing import freeze_except
from monai_shortcut.networks.multi_task import MultiTaskClassifier, MultiTaskLoss
from monai_shortcut.networks.pretrained import load_imagenet_densenet
from monai_shortcut.networks.sa_sononet import SASonoNet
from monai_shortcut.networks.sononet import SonoNet
from monai_shortcut.networks.sononet_weights import load_sononet_weights

__all__ = [
    "MultiTaskClassifier",
    "MultiTaskLoss",
    "SASonoNet",
    "SonoNet",
    "freeze_except",
    "load_imagenet_densenet",
    "load_sononet_weights",
]
