# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a table can do to a model, before one is trained: attributes that tell the label, leaks and double images."""

from monai_shortcut.table_check.check import check_table
from monai_shortcut.table_check.record import CheckSettings, TableCheck

__all__ = ["CheckSettings", "TableCheck", "check_table"]
