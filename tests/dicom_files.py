# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM files from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
MAGNETIC = "1.2.840.10008.5.1.4.1.1.4"


def needs_itk() -> None:
    """Skip what follows without ITK, which the extra `test` leaves out for its size."""
    pytest.importorskip("itk", reason='needs ITK: pip install ".[itk]" from a clone')


def write_dicom(
    path: Path, stored: np.ndarray, *, bits: int = 12, signed: bool = False, kind: str = RADIOGRAPH, **tags: Any
) -> Path:
    """Write stored values of (rows, columns), or (frames, rows, columns), or (rows, columns, 3) for RGB.

    Up to 8 bits are stored in one byte, more in two. A tag that is given as None is left out.
    """
    colour = stored.shape[-1] == 3
    frames = stored.shape[0] if stored.ndim == 3 and not colour else None
    rows, columns = stored.shape[:2] if colour else stored.shape[-2:]
    allocated = 8 if bits <= 8 else 16
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = kind, pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    data.Rows, data.Columns = rows, columns
    data.BitsAllocated, data.BitsStored, data.HighBit = allocated, bits, bits - 1
    data.PixelRepresentation = int(signed)
    if colour:
        data.PlanarConfiguration = 0
    if frames is not None:
        data.NumberOfFrames = frames
    data.PixelData = stored.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    data["PixelData"].VR = "OB" if allocated == 8 else "OW"
    for keyword, value in tags.items():
        if value is None:
            del data[keyword]
        else:
            setattr(data, keyword, value)
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def ultrasound_region(row_cm: float, column_cm: float, *, units: int = 3, spatial: int = 1) -> pydicom.Dataset:
    """A region of an ultrasound image with its spacing in cm, unless the units say otherwise."""
    region = pydicom.Dataset()
    region.RegionSpatialFormat = spatial
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = units
    region.PhysicalDeltaX, region.PhysicalDeltaY = column_cm, row_cm
    return region
