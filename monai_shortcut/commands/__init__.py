# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The commands of ``python -m monai_shortcut``, a module each: its arguments, and what it does."""

from __future__ import annotations

from monai_shortcut.commands import audit, check, evidence

COMMANDS = {"audit": audit, "check": check, "evidence": evidence}

__all__ = ["COMMANDS"]
