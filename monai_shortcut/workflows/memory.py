# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How a process keeps the memory that it has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_KEPT, _LARGE = 1 << 30, 1 << 28  # bytes


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the next batch.

    The GNU C library returns freed blocks of a few MB to the system, which gives them back page by page, each filled
    with zeros. A small network on the processor frees its activations in every iteration and then spends a quarter of
    its time on that. Numbers do not change. Where images or networks are large there is nothing to gain.

    Returns:
        Whether the C library has such a setting; others are left as they are.

    References:
        mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    return all([set_option(_TRIM_THRESHOLD, _KEPT), set_option(_MMAP_THRESHOLD, _LARGE)])
