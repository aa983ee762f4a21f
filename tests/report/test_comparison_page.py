# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pandas as pd
import pytest

from monai_shortcut.analyses.changes import Change, Changes
from monai_shortcut.audit import AuditSettings
from monai_shortcut.repair.comparison import AttributeChange, Comparison, GapChange
from monai_shortcut.repair.performance import ClassChange, Moved
from monai_shortcut.report import write_comparison
from monai_shortcut.types import Estimate, Tested


def about(value: float) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05)


MOVED = Moved(about(0.9), about(0.87), about(-0.03), 0.004)
ROW = Change(1, 0, 1, "decision", about(0.4), about(0.02), about(-0.38), True, False, 0.5, 60)


@pytest.fixture
def comparison() -> Comparison:
    gap = GapChange(about(0.3), about(0.01), about(-0.29))
    levels = (ClassChange(1, 0, MOVED, MOVED), ClassChange(1, 1, None, None))
    rows = Changes((ROW,), Tested(5.0, (1.0, 2.0)), 0.3)
    return Comparison(
        before="Model <1>",
        after="Model 2",
        paired=True,
        images=(300, 300),
        patients=(150, 150),
        label_names=("benign", "malignant"),
        settings=AuditSettings(),
        attributes=(
            AttributeChange("sex", "cannot tell", "It could not be told.", "inconclusive", "inconclusive"),
            AttributeChange("scanner", "repaired", "It was <used>.", "used", "encoded, not used", ("A", "B"), ROW, rows,
                            0.01, gap, levels),
        ),
        classes=(ClassChange(1, None, MOVED, None),),
    )  # fmt: skip


def test_the_page_says_what_became_of_each_attribute_and_what_it_cost(comparison, tmp_path):
    page = write_comparison(comparison, tmp_path, title="Before & after", repaired=["scanner"])
    html = page.read_text().replace("&nbsp;", " ")
    assert html.index("<b>scanner</b>") < html.index("<b>sex</b> (was not to be repaired)")
    assert "It was &lt;used&gt;." in html
    assert "Model &lt;1&gt;, then Model 2" in html
    assert "The same 300 images of 150 patients" in html
    cells = r"malignant</td>\s*<td class=\"number\"[^>]*>0.90 \(0.85 to 0.95\)</td>.*0.03 \(-0.02 to 0.08\)"
    assert re.search(cells, html)
    assert "decision, malignant: B against" in html
    assert "scanner: B" in html
    table = pd.read_csv(tmp_path / "changes.csv")
    assert table.loc[0, ["attribute", "levels", "size", "shrinks"]].tolist() == ["scanner", "B against A", -0.38, True]
    assert Comparison.from_json(tmp_path / "comparison.json") == comparison


def test_candidates_have_a_section_each(comparison, tmp_path):
    html = write_comparison({"erase": comparison, "rebalance": comparison}, tmp_path).read_text()
    assert re.findall(r"<h2>(erase|rebalance)</h2>", html) == ["erase", "rebalance"]
    assert {path.name for path in tmp_path.glob("*.json")} == {"comparison_erase.json", "comparison_rebalance.json"}
    assert "repaired" in html
    assert "was not to be repaired" not in html
