# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

from monai_shortcut.audit.training import AttributePoint, Cost, EpochAudit, TrainingCurves, curve_settings
from monai_shortcut.report import write_training_report
from monai_shortcut.types import Estimate


def test_the_page_prints_each_number_of_its_epochs(tmp_path):
    small = AttributePoint(
        80, Estimate(0.6, 0.5, 0.7), 0.04, 0.3, 0.45, -0.01, 0.02, Estimate(-0.001, -0.004, 0.02), 0.0004
    )
    large = AttributePoint(80, Estimate(0.9, 0.8, 0.95), 0.0, 0.6, 0.75, 2.5, 1.0, Estimate(0.3, 0.2, 0.4), 0.01)
    area = Estimate(0.8, 0.7, 0.9)
    epochs = (
        EpochAudit(2, 90, 30, area, {"scanner": small}, {}, Cost(0.5, 0.25, None)),
        EpochAudit(4, 90, 30, area, {"scanner": large}, {}, Cost(0.5, 0.25, 4.0)),
        EpochAudit(6, 90, 30, area, {}, {"scanner": "one level <only>"}),
    )
    curves = TrainingCurves("Tiny", ("left", "right"), ("scanner",), curve_settings(1), 2, epochs)
    text = write_training_report(curves, tmp_path).read_text(encoding="utf-8")
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    first = [
        "2",
        "scanner",
        "0.00 (0.00 to 0.02)",
        "&lt; 0.001",
        "0.60 (0.50 to 0.70)",
        "0.040",
        "0.45",
        "0.0",
        "0.020",
    ]
    second = [
        "4",
        "scanner",
        "0.30 (0.20 to 0.40)",
        "0.010",
        "0.90 (0.80 to 0.95)",
        "&lt; 0.001",
        "0.75",
        "2.5",
        "1.000",
    ]
    assert [*first, "0.30"] in rows
    assert [*second, "0.60"] in rows
    assert ["6", "scanner", "not measured: one level &lt;only&gt;"] in rows
    area_text = "0.80 (0.70 to 0.90)"
    assert ["2", area_text, "0.50 s", "0.25 s", "-", "-"] in rows
    assert ["4", area_text, "0.50 s", "0.25 s", "4.00 s", "12 %"] in rows
    assert ["6", area_text, "-", "-", "-", "-"] in rows
    assert text.count('class="number used"') == 1
