# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


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
            assert row[["own_auroc", "gap", "accuracy", "alignment_z"]].isna().all()
            continue
        area, gap = shown.encoding.own_auroc, shown.gap.effect
        numbers = {"own_auroc": area.value, "own_auroc_low": area.low, "own_auroc_high": area.high}
        numbers |= {"own_auroc_p": shown.encoding_p_value, "auroc": shown.encoding.auroc.value}
        numbers |= {name: shown.encoding.metrics[name].value for name in ("accuracy", "precision", "recall", "f1")}
        numbers |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
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


def test_the_regions_table_holds_the_records_numbers(record, folder):
    table = pd.read_csv(folder / "regions.csv")
    assert len(table) == len(record.regions.scores) == 2
    for (_, row), score in zip(table.iterrows(), record.regions.scores, strict=True):
        assert row.tolist()[:4] == [score.label, "full", score.evaluated_on, score.images]
        numbers = [
            score.auc.value,
            score.auc.low,
            score.auc.high,
            score.chance_p_value,
            score.difference,
            score.p_value,
        ]
        assert row.tolist()[4:] == pytest.approx(numbers, rel=1e-12)
    assert table["images"].tolist() == [119, 118]


def test_the_excluded_table_holds_every_image_with_its_reason(folder):
    table = pd.read_csv(folder / "excluded.csv")
    assert table.to_numpy().tolist() == [["<img>", 'unreadable, "really"'], ["image 5", "embedding not finite"]]
