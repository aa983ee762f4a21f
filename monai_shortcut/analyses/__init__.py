# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One question a module, asked of the images and one attribute."""
