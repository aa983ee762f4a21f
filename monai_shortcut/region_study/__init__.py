# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which region does a classifier need? The statistics of models trained and tested under several masking strategies."""

from monai_shortcut.region_study.baseline import metadata_scores
from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.curves import CurvePoint, margin_curves
from monai_shortcut.region_study.external import ExternalArea
from monai_shortcut.region_study.fits import Fit, fits_of
from monai_shortcut.region_study.matrix import Baseline, MatrixCell, RegionMatrix, region_matrix
from monai_shortcut.region_study.reading import RegionReading, SourceReading, read_regions
from monai_shortcut.region_study.record import Counts, LearningCurve, ModelAttribution, RegionStudyRecord, study_record
from monai_shortcut.region_study.scores import METADATA, Condition, StudyScores
from monai_shortcut.region_study.tables import matrix_table, readings_table, study_tables

__all__ = [
    "METADATA",
    "Baseline",
    "Condition",
    "Contrast",
    "Counts",
    "CurvePoint",
    "ExternalArea",
    "Fit",
    "LabelAreas",
    "LearningCurve",
    "MatrixCell",
    "ModelAttribution",
    "RegionMatrix",
    "RegionReading",
    "RegionStudyRecord",
    "SourceReading",
    "StudyScores",
    "fits_of",
    "margin_curves",
    "matrix_table",
    "metadata_scores",
    "read_regions",
    "readings_table",
    "region_matrix",
    "study_record",
    "study_tables",
]
