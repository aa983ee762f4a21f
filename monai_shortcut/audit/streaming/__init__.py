# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Encoding and prediction gap of embeddings that come in blocks, in memory that does not grow with the images."""

from __future__ import annotations

from monai_shortcut.audit.streaming.door import stream
from monai_shortcut.audit.streaming.source import Block

__all__ = ["Block", "stream"]
