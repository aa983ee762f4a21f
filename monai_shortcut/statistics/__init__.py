# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Statistics whose units are patients, on plain arrays."""
