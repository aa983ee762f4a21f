# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that region studies of tests are made of, unless a module has its own."""

from __future__ import annotations

import pytest

from monai_shortcut.cohort import Cohort
from monai_shortcut.phantom import draw_region_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Cohort:
    return draw_region_phantom("inside", patients=24, seed=0, size=32).save(tmp_path_factory.mktemp("phantom"))
