# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Published layouts of image collections, read as cohorts, and a check of the files behind a cohort."""

from __future__ import annotations

from monai_shortcut.datasets.airogs import read_airogs
from monai_shortcut.datasets.busbra import read_busbra
from monai_shortcut.datasets.chaksu import read_chaksu, write_chaksu_regions
from monai_shortcut.datasets.chexmask import decode_rle, encode_rle, write_chexmask
from monai_shortcut.datasets.dicom import dicom_attributes, read_dicom
from monai_shortcut.datasets.dicom_tags import DICOM_ATTRIBUTES
from monai_shortcut.datasets.fetal_planes import read_fetal_planes
from monai_shortcut.datasets.files import usable
from monai_shortcut.datasets.hc18 import read_hc18, write_hc18_regions
from monai_shortcut.datasets.nih import read_nih
from monai_shortcut.datasets.padchest import read_padchest

__all__ = [
    "DICOM_ATTRIBUTES",
    "decode_rle",
    "dicom_attributes",
    "encode_rle",
    "read_airogs",
    "read_busbra",
    "read_chaksu",
    "read_dicom",
    "read_fetal_planes",
    "read_hc18",
    "read_nih",
    "read_padchest",
    "usable",
    "write_chaksu_regions",
    "write_chexmask",
    "write_hc18_regions",
]
