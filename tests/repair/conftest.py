# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from repair_cases import BIAS, WEIGHT, Images, audited, draw

from monai_shortcut.audit import Audit


@pytest.fixture(scope="package")
def fit() -> Images:
    return draw(1)


@pytest.fixture(scope="package")
def others() -> Images:
    """Images of other patients."""
    return draw(2)


@pytest.fixture(scope="package")
def before(others) -> Audit:
    return audited(others, WEIGHT, BIAS, "before")
