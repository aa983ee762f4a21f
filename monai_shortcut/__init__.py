# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Find out whether a medical-image classifier uses shortcuts."""
