# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
