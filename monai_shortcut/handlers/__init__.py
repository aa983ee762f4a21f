# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Handlers that audit the model of any Ignite or MONAI evaluator while it runs.

A cohort joins the images to patients, labels and attributes by ``image_id``: the batch's entry of that name, or else
the stem of the file the image was loaded from. Place these handlers before ``StatsHandler``, which then logs their
numbers.
"""

from __future__ import annotations

from monai_shortcut.handlers.epoch_seed import SeedEachEpoch
from monai_shortcut.handlers.head_repair import HeadRepair
from monai_shortcut.handlers.late_writer import LateSummaryWriter
from monai_shortcut.handlers.metadata_probe import MetadataProbe, WeightSpaceCorrelation
from monai_shortcut.handlers.reader_export import ReaderExport
from monai_shortcut.handlers.recording import EmbeddingRecorder
from monai_shortcut.handlers.shortcut_audit import ShortcutAudit
from monai_shortcut.handlers.training_audit import TrainingAudit

__all__ = [
    "EmbeddingRecorder",
    "HeadRepair",
    "LateSummaryWriter",
    "MetadataProbe",
    "ReaderExport",
    "SeedEachEpoch",
    "ShortcutAudit",
    "TrainingAudit",
    "WeightSpaceCorrelation",
]
