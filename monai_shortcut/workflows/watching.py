# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What overlay configs import, which MONAI does before anything else of a run: it is then noted which weights are read.

``from monai_shortcut.workflows.watching import begun`` begins anew whenever it is evaluated, so that of several runs in
one process each has its own files.
"""

from __future__ import annotations

from monai_shortcut.handlers.weights import watch


def __getattr__(name: str) -> bool:
    if name != "begun":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    watch()
    return True
