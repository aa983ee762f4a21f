# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the header of a DICOM file says about its image: whether it is one grey frame, and its spacing."""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableSequence
from importlib import import_module
from pathlib import Path
from typing import Any

from monai.utils import OptionalImportError

EXTRAS = {"pydicom": "dicom", "itk": "itk"}
GREY = ("MONOCHROME1", "MONOCHROME2")
SHAPE_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "ModalityLUTSequence"),
)
SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions")
_CENTIMETRES, _TISSUE = 3, 1  # PhysicalUnitsXDirection, RegionSpatialFormat: a picture, not a curve over time


def needed(package: str) -> Any:
    """Import an optional package at its first use.

    No module holds a stand-in for it, so that pydoc, doctest and inspect may look at every attribute.

    Args:
        package: one of `EXTRAS`.

    Raises:
        OptionalImportError: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        how = f'pip install ".[{EXTRAS[package]}]" from a clone'
        raise OptionalImportError(f"this use of DICOM needs {package}: {how} ({error})") from error


def read_header(path: str | Path, keywords: Iterable[str] | None = None) -> Any:
    """Read a DICOM file without its pixels.

    Args:
        path: the file.
        keywords: the only tags to read; None reads all.

    Returns:
        A ``pydicom.Dataset``.

    Raises:
        pydicom.errors.InvalidDicomError: If the file is not DICOM.
        OptionalImportError: If pydicom is not installed.
    """
    tags = None if keywords is None else list(keywords)
    return needed("pydicom").dcmread(path, stop_before_pixels=True, specific_tags=tags)


def why_unusable(header: Any) -> str:
    """Why a file is not one grey image of one frame; empty if it is.

    Args:
        header: a ``pydicom.Dataset`` with `SHAPE_TAGS`.
    """
    if not header.get("Rows") or not header.get("Columns"):
        return "no image"
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel") or 1)
    colours, bits = header.get("PhotometricInterpretation"), header.get("BitsAllocated")
    if frames > 1:
        return f"{frames} frames"
    if samples > 1 or colours not in GREY:
        return f"no grey image: {colours} with {samples} samples per pixel"
    if bits not in (8, 16):
        return f"{bits} bits per pixel"
    return "a modality lookup table" if "ModalityLUTSequence" in header else ""


def pixel_spacing_mm(header: Any) -> tuple[float, float] | None:
    """Distance in mm between the centres of neighbouring rows, and of neighbouring columns; None if unknown.

    The first that is given counts:

    1. ``PixelSpacing``, which is in the patient, or calibrated to it.
    2. ``ImagerPixelSpacing`` of projections such as radiographs, which is on the detector: distances in the patient are
       shorter by the magnification, about a tenth in a chest.
    3. The ``PhysicalDeltaY`` and ``PhysicalDeltaX`` of an ultrasound image, if all of its two-dimensional regions that
       are measured in centimetres agree.

    Args:
        header: a ``pydicom.Dataset`` with `SPACING_TAGS`.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = _positive(numbers(header, keyword))
        if spacing is not None:
            return spacing
    found = {_region_spacing(region) for region in header.get("SequenceOfUltrasoundRegions") or ()} - {None}
    return found.pop() if len(found) == 1 else None


def _region_spacing(region: Any) -> tuple[float, float] | None:
    units = {region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"}
    if units != {_CENTIMETRES} or region.get("RegionSpatialFormat") != _TISSUE:
        return None
    return _positive([10 * abs(number) for axis in "YX" for number in numbers(region, f"PhysicalDelta{axis}")])


def _positive(values: list[float]) -> tuple[float, float] | None:
    """Two numbers if they are a spacing."""
    valid = len(values) == 2 and all(math.isfinite(value) and value > 0 for value in values)
    return (values[0], values[1]) if valid else None


def numbers(header: Any, keyword: str) -> list[float]:
    """All values of a tag, none if it is missing, empty or malformed."""
    try:
        value = header.get(keyword)
        several = [] if value is None else value if isinstance(value, MutableSequence) else [value]
        return [float(each) for each in several]
    except (TypeError, ValueError):
        return []
