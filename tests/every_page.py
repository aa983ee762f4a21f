# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A page of every kind, with all sections that it can have."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from looked import PLANE, explained
from reader_answers import make_key, rows_of, write_answers
from region_scores import draw_study
from repair_cases import BIAS, WEIGHT, audited, draw

from monai_shortcut.attribution.record import MaskedPanel, MaskedView
from monai_shortcut.audit.record import Audit
from monai_shortcut.cohort import Cohort
from monai_shortcut.reader_study import ReaderSet, ReaderStudy, analyse
from monai_shortcut.reader_study.pictures import Picture
from monai_shortcut.region_study import Fit, ModelAttribution, RegionStudyRecord, study_record
from monai_shortcut.repair.comparison import compare_audits
from monai_shortcut.report import (
    write_check,
    write_comparison,
    write_reader_report,
    write_reading_page,
    write_region_report,
    write_report,
    write_reports,
    write_training_report,
)
from monai_shortcut.report.figures.audit import picture
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.table_check import check_table

CURVES = Path(__file__).parent / "audit" / "records" / "training_curves_version_1.json"
STRATEGIES = ("full", "without_roi", "silhouette")
EXCLUDED = {f"image {number}": "its region is empty" for number in range(300)}


def pages(record: Audit, folder: Path) -> dict[str, Path]:
    """The pages by kind, written below the folder; the audit is given."""
    read = _read(folder)
    audit = replace(record, attribution=_looked(), readers=read, excluded={**record.excluded, **EXCLUDED})
    small = replace(record, findings=record.findings[:1], weight_space=None, examples=())  # few figures
    writers: Mapping[str, Callable[[Path], Path]] = {
        "audit": lambda to: write_report(audit, to),
        "overview": lambda to: write_reports({"mass": small, "edema": small}, to, title="Two", problems={"x": "few"}),
        "regions": lambda to: write_region_report(_studied(read), to),
        "training": lambda to: write_training_report(CURVES, to),
        "comparison": _compared,
        "check": _checked,
        "readers": lambda to: write_reader_report(read, to),
        "reading": _to_read,
    }
    found = {kind: write(folder / kind) for kind, write in writers.items()}
    return found | {"audit of a label": folder / "overview" / "mass" / "report.html"}


def _looked() -> object:
    view = MaskedView("roi_only", PLANE, PLANE, None)
    panel = MaskedPanel("image 5", "ill", "gradient_shap, background", PLANE, (view,), {"shifted_roi": "no room"})
    return replace(explained(0.3), masked=(panel,), unusable=EXCLUDED)


def _read(folder: Path) -> ReaderStudy:
    key, rng = make_key(12, STRATEGIES, {"full": 1.0, "without_roi": 6.0}), np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    skill = dict.fromkeys(STRATEGIES, 1.0)
    rows = {name: rows_of(key, name, skill, rng) for name in ("A", "B")}
    return analyse([write_answers(folder / f"{name}.csv", rows[name]) for name in rows], key)


def _studied(read: ReaderStudy) -> RegionStudyRecord:
    labels = ("ill", "other")
    given = draw_study(np.random.default_rng(0), {"outside": 2.0}, strategies=STRATEGIES, labels=labels, patients=60)
    found = study_record(
        *given,
        title="Study of a network",
        learning_curves={(name, 0): [(1, 0.7, 0.5), (2, 0.6, 0.6)] for name in STRATEGIES},
        excluded=EXCLUDED,
        settings={"folds": "3"},
        software={"numpy": "2"},
    )
    fits = tuple(Fit(label, "full", 1.0, 0.875, (1.0,), ()) for label in labels)
    looked = tuple(ModelAttribution(label, fold, _looked()) for label in labels for fold in (0, 1))
    return replace(found, fits=fits, attribution=looked, readers={"ill": read}, privacy=Privacy(True, True, True))


def _compared(folder: Path) -> Path:
    images = draw(2)
    before, after = (audited(images, weight, BIAS, "before") for weight in (WEIGHT, WEIGHT * (np.arange(8) != 1)))
    return write_comparison({"erase": compare_audits(before, after)}, folder, repaired=["scanner"])


def _checked(folder: Path) -> Path:
    rng, count = np.random.default_rng(0), 120
    table = pd.DataFrame({"image_id": [f"i{row}" for row in range(count)]})
    table["patient_id"] = [f"p{row // 2}" for row in range(count)]
    table["label"] = np.where(np.repeat(rng.random(count // 2) < 0.4, 2), "malignant", "benign")
    table["device"] = np.where(rng.random(count) < 0.7, table["label"], "other")
    table["side"] = ["left", "right"] * (count // 2)
    folds = {name: "train" if row % 9 else "test" for row, name in enumerate(table["image_id"])}
    found = check_table(Cohort.from_table(table), folds=folds)
    return write_check(replace(found, excluded=EXCLUDED), folder)


def _to_read(folder: Path) -> Path:
    key = make_key(2)
    shown = Picture(base64.b64decode(picture(np.eye(8)[None])), 1.0)
    return write_reading_page(ReaderSet(key, {one.case: shown for one in key.presentations}), folder)
