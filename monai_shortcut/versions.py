# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""With what, and on what day, a result was computed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
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


def today() -> str:
    """The day in UTC, as in "2026-11-26"; that of SOURCE_DATE_EPOCH where it is set, so that runs can be repeated.

    References:
        https://reproducible-builds.org/specs/source-date-epoch
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    at = datetime.fromtimestamp(int(given), timezone.utc) if given.isdecimal() else datetime.now(timezone.utc)
    return at.date().isoformat()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING
