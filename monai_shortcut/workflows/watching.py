# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Imported by overlay configs before anything else is built: from then on it is noted which weights are read."""

from __future__ import annotations

from monai_shortcut.handlers.weights import watch

watch()
