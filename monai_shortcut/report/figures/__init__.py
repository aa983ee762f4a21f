# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Figures, drawn from a record alone."""
