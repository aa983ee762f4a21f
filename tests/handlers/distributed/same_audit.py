# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every handler on several processes, with and without images that a sampler repeats; arguments: folder, images."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist

if __name__ == "__main__":
    from phantom_evaluation import evaluate, join, keep, small_network

    join()
    for name, even in (("uneven", False), ("even", True)):
        folder = Path(sys.argv[1], f"{name}_{dist.get_rank()}")
        keep(folder.parent, name, *evaluate(folder, small_network(), images=int(sys.argv[2]), even=even))
    dist.barrier()
    dist.destroy_process_group()
