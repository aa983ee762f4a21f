# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Lists of images, as bundles keep them in scripts of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def labelled_images(filename: str) -> list[dict[str, Any]]:
    """Items of the split "Test"."""
    content = json.loads(Path(filename).read_text())
    return [
        {"image": str(Path(filename).parents[1] / item["image"]), "label": item["label"]} for item in content["Test"]
    ]
