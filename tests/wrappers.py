# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks in wrappers."""

from __future__ import annotations

from torch import nn


def data_parallel(network: nn.Module) -> nn.DataParallel:
    """A network in DataParallel that stays on the CPU, where its tests' images are, also beside GPUs."""
    wrapped = nn.DataParallel(network).cpu()
    wrapped.device_ids = []
    return wrapped
