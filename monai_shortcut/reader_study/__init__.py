# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What do people see in the images that the model was shown? Cases for readers, their answers, and what these say."""

from monai_shortcut.reader_study.analysis import analyse
from monai_shortcut.reader_study.answers import read_answers
from monai_shortcut.reader_study.key import Presentation, StudyKey
from monai_shortcut.reader_study.pictures import Display, Picture
from monai_shortcut.reader_study.preparation import READ, ReaderSet, prepare
from monai_shortcut.reader_study.record import Agreement, ReaderResult, ReaderStudy, StrategyReading

__all__ = [
    "READ",
    "Agreement",
    "Display",
    "Picture",
    "Presentation",
    "ReaderResult",
    "ReaderSet",
    "ReaderStudy",
    "StrategyReading",
    "StudyKey",
    "analyse",
    "prepare",
    "read_answers",
]
