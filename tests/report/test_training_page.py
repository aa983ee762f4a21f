# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace

from difference_cases import row

from monai_shortcut.audit.training import AttributePoint, Cost, EpochAudit, TrainingCurves, curve_settings
from monai_shortcut.report import write_training_report
from monai_shortcut.types import Estimate

LARGE = AttributePoint(
    images=80,
    own_auroc=Estimate(0.9, 0.8, 0.95),
    own_auroc_p_value=0.0,
    wsc=0.6,
    alignment=0.75,
    alignment_z=2.5,
    alignment_p_value=1.0,
    used=True,
    difference=row(-0.25),
    where="probability, left: B against A",
    p_value=0.01,
    reason="probability moves by <b>-0.25</b>.",
    noticed={"left": 0.25, "right": 0.375},
)
SMALL = AttributePoint(
    images=80,
    own_auroc=Estimate(0.6, 0.5, 0.7),
    own_auroc_p_value=0.04,
    wsc=0.3,
    alignment=0.45,
    alignment_z=-0.01,
    alignment_p_value=0.02,
    used=False,
    difference=row(0.03125, scale="rank"),
    where="rank, left: C against A",
    p_value=0.0004,
    noticed={"left": 0.25, "right": 0.2501},
)


def rows_of(text: str) -> list[list[str]]:
    lines = re.findall(r"<tr>(.*?)</tr>", text.replace("&nbsp;", " "), re.DOTALL)
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in lines]


def curves_of(*points: AttributePoint, **settings) -> TrainingCurves:
    area = Estimate(0.8, 0.7, 0.9)
    costs = (Cost(0.5, 0.25, None), Cost(0.5, 0.25, 4.0))
    epochs = [
        EpochAudit(2 * index + 2, 90, 30, area, {"scanner": point}, {}, costs[min(index, 1)])
        for index, point in enumerate(points)
    ]
    return TrainingCurves("Tiny", ("left", "right"), ("scanner",), curve_settings(1, **settings), 2, tuple(epochs))


def test_the_page_prints_each_number_of_its_epochs(tmp_path):
    curves = curves_of(SMALL, LARGE)
    last = EpochAudit(6, 90, 30, Estimate(0.8, 0.7, 0.9), {}, {"scanner": "one level <only>"})
    text = write_training_report(curves.with_epoch(last), tmp_path).read_text(encoding="utf-8")
    rows = rows_of(text)
    first = ["2", "scanner", "0.03 (0.00 to 0.16)", "rank, left: C against A", "&lt; 0.001", "0.25"]
    first += ["0.60 (0.50 to 0.70)", "0.040", "0.45", "0.0", "0.020", "0.30"]
    second = ["4", "scanner", "0.25 (0.12 to 0.38)", "probability, left: B against A", "0.010", "0.25 to 0.38"]
    second += ["0.90 (0.80 to 0.95)", "&lt; 0.001", "0.75", "2.5", "1.000", "0.60"]
    assert first in rows
    assert second in rows
    assert ["6", "scanner", "not measured: one level &lt;only&gt;"] in rows
    area_text = "0.80 (0.70 to 0.90)"
    assert ["2", area_text, "0.50 s", "0.25 s", "-", "-"] in rows
    assert ["4", area_text, "0.50 s", "0.25 s", "4.00 s", "12 %"] in rows
    assert ["6", area_text, "-", "-", "-", "-"] in rows
    assert text.count('class="number used"') == 1


def test_the_page_says_what_counts_as_used(tmp_path):
    settings = {"tolerance": 0.125, "tolerances": {"right": {"rank": 0.25}}, "judged_patients": 17}
    text = write_training_report(curves_of(LARGE, LARGE, **settings), tmp_path).read_text(encoding="utf-8")
    plain = " ".join(text.split())
    assert "the largest difference of the answers, of any label, between any two levels, is significant (p at" in plain
    assert "12.5 points of probability, 10 points of the answers, 0.1 of the AUC" in plain
    assert "0.25 of the AUC that a label has at one level, a ratio of the odds of 2 (right)" in plain
    assert "all differences of cells with at least 17 patients lie below their tolerances" in plain
    assert "At the last one probability moves by &lt;b&gt;-0.25&lt;/b&gt;." in plain
    assert "prediction gap" not in plain


def test_the_page_of_a_former_record_says_that_it_was_judged_by_a_mean(tmp_path):
    gap = replace(LARGE, difference=None, where="prediction gap, all labels", gap=Estimate(0.3, 0.2, 0.4), noticed={})
    text = write_training_report(curves_of(gap), tmp_path).read_text(encoding="utf-8")
    line = next(line for line in rows_of(text) if line[:2] == ["2", "scanner"])
    assert line[2:6] == ["0.30 (0.20 to 0.40)", "prediction gap, all labels", "0.010", "-"]
    plain = " ".join(text.split())
    assert "it does not see a use in one rare label or level" in plain
    assert "when its prediction gap is significant (p at most 0.05" in plain
    assert "largest difference of the answers" not in plain


def test_a_point_whose_answers_could_not_be_compared_has_dashes(tmp_path):
    bare = replace(SMALL, difference=None, where="", p_value=None, noticed={}, reason="no label has two levels.")
    text = write_training_report(curves_of(bare), tmp_path).read_text(encoding="utf-8")
    line = next(line for line in rows_of(text) if line[:2] == ["2", "scanner"])
    assert line[2:6] == ["-", "-", "-", "-"]
    assert "cannot tell whether the predictions depend on scanner; at the last audited epoch: no label has two" in text
