# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from audit_cases import measured
from difference_cases import bare, found, row, shown

from monai_shortcut.audit.leading import told
from monai_shortcut.report.tables import findings_table


def test_the_findings_table_holds_the_records_numbers(record, folder):
    table = pd.read_csv(folder / "findings.csv").set_index("attribute")
    assert list(table.index) == [finding.attribute for finding in record.findings]
    for finding in record.findings:
        row, shown = table.loc[finding.attribute], finding.evidence
        assert (row["verdict"], row["reason"]) == (finding.verdict, finding.reason)
        assert row[["images", "patients", "missing", "left_out"]].tolist() == [
            sum(finding.levels.values()),
            finding.patients,
            finding.missing,
            sum(finding.left_out.values()),
        ]
        assert row[["images", "missing", "left_out"]].sum() == 119
        if shown is None:
            assert row[["own_auroc", "gap", "accuracy", "alignment_z", "differences_p", "difference"]].isna().all()
            continue
        area, gap = shown.encoding.own_auroc, shown.gap.effect
        numbers = {"own_auroc": area.value, "own_auroc_low": area.low, "own_auroc_high": area.high}
        numbers |= {"own_auroc_p": shown.encoding_p_value, "auroc": shown.encoding.auroc.value}
        numbers |= {name: shown.encoding.metrics[name].value for name in ("accuracy", "precision", "recall", "f1")}
        numbers |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
        one = told(finding, record).row
        numbers |= {"difference": one.estimate.value, "difference_low": one.estimate.low}
        numbers |= {"difference_high": one.estimate.high, "differences_p": shown.differences_p_value}
        numbers |= {"spread_p": shown.spread_p_value}
        numbers |= {"gap_p": shown.gap_p_value, "largest_wsc": np.abs(shown.alignment.wsc).max()}
        numbers |= {
            "wsc_p": shown.alignment.wsc_test.p_value,
            "largest_alignment": np.abs(shown.alignment.within).max(),
        }
        numbers |= {"alignment_z": shown.alignment.test.z, "alignment_p": shown.alignment.test.p_value}
        assert row[list(numbers)].to_dict() == pytest.approx(numbers, rel=1e-12)
    swapped = record.findings[1].counterfactual
    found = table[["swapped", "swapped_low", "swapped_high"]].iloc[1].tolist()
    assert found == pytest.approx([swapped.change.value, swapped.change.low, swapped.change.high], rel=1e-12)
    assert table["swapped"].notna().sum() == 1
    assert table.loc["plain name", "levels"] == "; ".join(
        f"{name}: {count}" for name, count in record.finding("plain name").levels.items()
    )


def test_the_leading_difference_has_its_scale_label_and_levels_and_odds_are_a_ratio():
    odds = row(math.log(3), math.log(2), scale="odds", certain=1.0, outcome=1, label=1, second=2)
    part = row(-0.4, certain=0.2, within=("site", 1), scale="rank")
    scanner = found("scanner", shown(row(), odds), shared_with=("lens", "ward"))
    site = found("site", shown(row(0.25, scale="decision")), levels={"X": 60, "Y": 60})
    table = findings_table(bare(scanner, found("lens", shown(row(), slices=(part,))), site)).set_index("attribute")
    assert table["shared_with"].tolist() == ["lens; ward", "", ""]
    assert table["difference_scale"].tolist() == ["odds", "rank", "decision"]
    assert table["difference_label"].tolist() == ["malignant", "benign", "benign"]
    assert table["difference_levels"].tolist() == ["C against A", "B against A where site is Y", "Y against X"]
    assert table["difference"].tolist() == pytest.approx([3.0, -0.4, 0.25])
    assert table["difference_low"].tolist() == pytest.approx([1.5, -0.525, 0.125])
    assert table["difference_high"].tolist() == pytest.approx([6.0, -0.275, 0.375])
    assert table["differences_p"].tolist() == [0.03] * 3
    assert table["spread_p"].tolist() == [0.75] * 3


def test_the_findings_table_of_an_older_record_has_a_gap_and_no_leading_difference():
    table = findings_table(bare(found("scanner", measured(0.01, 0.9, 0.02, 0.3, 0.4))))
    assert table.loc[0, ["gap", "gap_p"]].tolist() == [0.3, 0.02]
    assert table["differences_p"].isna().all()
    assert "difference" not in table


def test_the_regions_table_holds_the_records_numbers(record, folder):
    table = pd.read_csv(folder / "regions.csv")
    assert len(table) == len(record.regions.scores) == 2
    for (_, line), score in zip(table.iterrows(), record.regions.scores, strict=True):
        assert line.tolist()[:4] == [score.label, "full", score.evaluated_on, score.images]
        numbers = [
            score.auc.value,
            score.auc.low,
            score.auc.high,
            score.chance_p_value,
            score.difference,
            score.p_value,
        ]
        assert line.tolist()[4:] == pytest.approx(numbers, rel=1e-12)
    assert table["images"].tolist() == [119, 118]


def test_the_excluded_table_holds_every_image_with_its_reason(folder):
    table = pd.read_csv(folder / "excluded.csv")
    assert table.to_numpy().tolist() == [["<img>", 'unreadable, "really"'], ["image 5", "embedding not finite"]]
