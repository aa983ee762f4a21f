# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What overlay configs import, which MONAI does before it builds anything.

From then on it is noted which weights are read, and what the bundle writes goes to the audit's folder. ``from
monai_shortcut.workflows.watching import begun`` begins anew whenever it is evaluated, so that of several runs in one
process each has its own files.
"""

from __future__ import annotations

import inspect

from monai.bundle.reference_resolver import ReferenceResolver

from monai_shortcut.handlers.weights import watch
from monai_shortcut.workflows.containment import contain


def __getattr__(name: str) -> bool:
    if name != "begun":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    watch()
    for called in inspect.stack(context=0):  # MONAI tells an import nothing of the configuration that it is part of
        if isinstance(resolver := called.frame.f_locals.get("self"), ReferenceResolver):
            contain(resolver)
            break
    return True
