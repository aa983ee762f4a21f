# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A writer for TensorBoard that makes no file before there is something in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class LateSummaryWriter:
    """The ``summary_writer`` of a ``TensorBoardStatsHandler``, whose own one makes an empty file when it is built.

    Args:
        log_dir: where the event file goes.
    """

    def __init__(self, log_dir: str | Path) -> None:
        self.log_dir = str(log_dir)
        self._writer: Any = None

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write a number."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # an extra

            self._writer = SummaryWriter(self.log_dir)
        self._writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Bring what was written to the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
