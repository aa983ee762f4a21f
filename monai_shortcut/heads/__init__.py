# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the head of a classifier reads, and the head as one affine map."""

from __future__ import annotations

from monai_shortcut.heads.finding import linear_head, logit_map_head
from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.linear import LinearHead

__all__ = ["Inputs", "LinearHead", "linear_head", "logit_map_head"]
