# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Versions of the software that a result was computed with."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"
PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "pandas", "scikit-learn", "matplotlib", "jinja2")
MISSING = "missing"


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Version by package, this one and Python first; "missing" of those that are not installed."""
    return {
        "monai_shortcut": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING
