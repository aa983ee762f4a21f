# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One process fails half-way; argument: folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist

if __name__ == "__main__":
    from phantom_evaluation import Fails, evaluate, join, small_network

    join()
    evaluate(Path(sys.argv[1]), small_network(Fails))
    dist.barrier()
    dist.destroy_process_group()
