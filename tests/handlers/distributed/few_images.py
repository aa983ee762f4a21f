# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Fewer images than processes, so that MONAI skips the run of one; argument: folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist

if __name__ == "__main__":
    from phantom_evaluation import evaluate, join, small_network

    from monai_shortcut.handlers import processes

    processes.WAIT_S = 5.0
    join()
    evaluate(Path(sys.argv[1]), small_network(), shown=2)
    dist.barrier()
    dist.destroy_process_group()
