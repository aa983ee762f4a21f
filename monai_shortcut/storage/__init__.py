# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Records and files on disk."""
