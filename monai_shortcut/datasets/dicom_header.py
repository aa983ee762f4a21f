# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the header of a DICOM file says about its image: whether it is one grey frame, its bits, scale and spacing."""

from __future__ import annotations

import math
from collections.abc import Iterable, MutableSequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from monai.utils import OptionalImportError

EXTRAS = {"pydicom": "dicom", "itk": "itk"}
GREY = ("MONOCHROME1", "MONOCHROME2")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")  # of enhanced objects
SHAPE_TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ModalityLUTSequence", "PresentationLUTShape"),
    *("RescaleSlope", "RescaleIntercept", *_GROUPS),
)
SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "SequenceOfUltrasoundRegions")
_WHOLE = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_CENTIMETRES, _TISSUE = 3, 1  # PhysicalUnitsXDirection, RegionSpatialFormat: a picture, not a curve over time


class DicomError(ValueError):
    """A DICOM file whose header or pixels are damaged or contradict themselves; the message names the file."""


class Scale(NamedTuple):
    """What stored values mean: slope * value + intercept."""

    slope: float
    intercept: float


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


def read_header(path: str | Path, keywords: Iterable[str | int] | None = None, *, pixels: bool = False) -> Any:
    """Read a DICOM file.

    Args:
        path: the file.
        keywords: the only tags to read; None reads all.
        pixels: whether to read the pixels too.

    Returns:
        A ``pydicom.Dataset``.

    Raises:
        pydicom.errors.InvalidDicomError: If the file is not DICOM.
        DicomError: If it is, but damaged.
        OSError: If the file is missing or may not be read.
        OptionalImportError: If pydicom is not installed.
    """
    pydicom = needed("pydicom")
    tags = None if keywords is None else [*keywords, *(["PixelData"] if pixels else [])]
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags)
    except pydicom.errors.InvalidDicomError:
        raise
    except Exception as error:  # whatever a parser meets: struct.error, NotImplementedError, EOFError, ...
        if isinstance(error, OSError) and error.errno is not None:  # of the file system
            raise
        raise DicomError(f"a DICOM file must be whole, got {path}, which is damaged: {first_line(error)}.") from error


def why_unusable(header: Any) -> str:
    """Why a file is not one grey image of one frame whose header can be relied on; empty if it is.

    Args:
        header: a ``pydicom.Dataset`` with `SHAPE_TAGS`.
    """
    try:
        shape = shape_of(header)
        reason = _unusable_shape(header, shape) or _unusable_bits(shape)
        if not reason and "ModalityLUTSequence" in header:
            reason = "a modality lookup table"
        rescaling(header)
    except ValueError as error:
        return str(error)
    syntax = transfer_syntax(header)
    if reason or syntax is None:
        return reason or "no transfer syntax, so that nothing says how its pixels are coded"
    try:
        syntax.is_compressed  # noqa: B018
    except ValueError:  # pydicom's answer where it does not know
        return f"the transfer syntax {syntax}, which is unknown"
    return ""


def shape_of(header: Any) -> dict[str, int]:
    """Rows, columns, frames, samples, bits and sign, of those the header gives.

    Raises:
        ValueError: If one is no whole number.
    """
    return {keyword: _whole(header, keyword) for keyword in _WHOLE if _has_value(header, keyword)}


def _unusable_shape(header: Any, shape: dict[str, int]) -> str:
    if shape.get("Rows", 0) < 1 or shape.get("Columns", 0) < 1:
        return "no image"
    frames, samples = shape.get("NumberOfFrames") or 1, shape.get("SamplesPerPixel") or 1
    colours = element(header, "PhotometricInterpretation")
    if frames != 1:
        return f"{frames} frames"
    if samples != 1 or colours not in GREY:
        return f"no grey image: {colours} with {samples} samples per pixel"
    if colours == "MONOCHROME2" and element(header, "PresentationLUTShape") == "INVERSE":
        return "MONOCHROME2 with PresentationLUTShape INVERSE, so that nothing says which values are bright"
    groups = len(items(header, _GROUPS[1]))
    return f"functional groups of {groups} frames" if groups > 1 else ""


def _unusable_bits(shape: dict[str, int]) -> str:
    allocated = shape.get("BitsAllocated")
    if allocated not in (8, 16):
        return f"{allocated} bits per pixel"
    stored = shape.get("BitsStored", allocated)
    if not 1 <= stored <= allocated:
        return f"{stored} bits stored in {allocated}"
    if shape.get("HighBit", stored - 1) != stored - 1:
        return f"its {stored} stored bits up to bit {shape['HighBit']} and not {stored - 1}"
    signed = shape.get("PixelRepresentation", 0)
    return "" if signed in (0, 1) else f"PixelRepresentation {signed}, which is neither 0 nor 1"


def transfer_syntax(header: Any) -> Any:
    """The file's transfer syntax, a ``pydicom.uid.UID``; None if it has none."""
    syntax = element(getattr(header, "file_meta", {}), "TransferSyntaxUID")
    return syntax if isinstance(syntax, str) and syntax else None


def rescaling(header: Any) -> Scale:
    """Slope and intercept of the stored values; 1 and 0 where the file gives none.

    Enhanced objects keep them in their functional groups (PixelValueTransformationSequence).

    Args:
        header: a ``pydicom.Dataset`` with `SHAPE_TAGS`.

    Raises:
        ValueError: If either is not one finite number, the slope is 0, or the file gives several.
    """
    slope = _one_number(header, "PixelValueTransformationSequence", "RescaleSlope", 1.0)
    if slope == 0:
        raise ValueError("a damaged RescaleSlope: 0")
    return Scale(slope, _one_number(header, "PixelValueTransformationSequence", "RescaleIntercept", 0.0))


def _one_number(header: Any, sequence: str, keyword: str, default: float) -> float:
    found = set()
    for place in _places(header, sequence):
        if _has_value(place, keyword):
            values = numbers(place, keyword)
            if len(values) != 1 or not math.isfinite(values[0]):
                raise ValueError(f"a damaged {keyword}: {_shown(place, keyword)}")
            found.add(values[0])
    if len(found) > 1:
        raise ValueError(f"several values of {keyword}: {', '.join(f'{value:g}' for value in sorted(found))}")
    return found.pop() if found else default


def _places(header: Any, sequence: str) -> list[Any]:
    """The data sets that may hold a tag of an image: the file's own, and its functional groups."""
    groups = [group for name in _GROUPS for group in items(header, name)]
    return [header, *(item for group in groups for item in items(group, sequence))]


def pixel_spacing_mm(header: Any) -> tuple[float, float] | None:
    """Distance in mm between the centres of neighbouring rows, and of neighbouring columns; None if unknown.

    The first that is given counts; one that is malformed does not let the next one speak for it:

    1. ``PixelSpacing``, which is in the patient, or calibrated to it. Enhanced objects keep it in their functional
       groups (PixelMeasuresSequence).
    2. ``ImagerPixelSpacing`` of projections such as radiographs, which is on the detector: distances in the patient are
       shorter by the magnification, about a tenth in a chest.
    3. The ``PhysicalDeltaY`` and ``PhysicalDeltaX`` of an ultrasound image, if all of its two-dimensional regions that
       are measured in centimetres agree.

    Args:
        header: a ``pydicom.Dataset`` with `SPACING_TAGS` and `SHAPE_TAGS`.
    """
    for keyword, places in (
        ("PixelSpacing", _places(header, "PixelMeasuresSequence")),
        ("ImagerPixelSpacing", [header]),
    ):
        given = [numbers(place, keyword) for place in places if _has_value(place, keyword)]
        known = [values for values in given if values != [0, 0]]  # some programs write zeros for unknown
        if known:
            spacings = {_positive(values) for values in known}
            return spacings.pop() if len(spacings) == 1 else None
    found = {_region_spacing(region) for region in items(header, "SequenceOfUltrasoundRegions")} - {None}
    return found.pop() if len(found) == 1 else None


def _region_spacing(region: Any) -> tuple[float, float] | None:
    units = [element(region, f"PhysicalUnits{axis}Direction") for axis in "XY"]
    if units != [_CENTIMETRES, _CENTIMETRES] or element(region, "RegionSpatialFormat") != _TISSUE:
        return None
    return _positive([10 * abs(number) for axis in "YX" for number in numbers(region, f"PhysicalDelta{axis}")])


def _positive(values: list[float]) -> tuple[float, float] | None:
    """Two numbers if they are a spacing."""
    valid = len(values) == 2 and all(math.isfinite(value) and value > 0 for value in values)
    return (values[0], values[1]) if valid else None


def element(header: Any, keyword: str | int) -> Any:
    """The value of a tag (by its number, its element); None if it is missing or its bytes do not make one."""
    try:
        return header.get(keyword)
    except Exception:  # pydicom decodes a tag when it is asked for, with errors of many types
        return None


def items(header: Any, keyword: str) -> list[Any]:
    """The data sets of a sequence; none if it is missing or no sequence."""
    value = element(header, keyword)
    return [item for item in value if hasattr(item, "get")] if isinstance(value, MutableSequence) else []


def numbers(header: Any, keyword: str) -> list[float]:
    """All values of a tag, none if it is missing, empty or malformed."""
    value = element(header, keyword)
    several = [] if value is None else value if isinstance(value, MutableSequence) else [value]
    try:
        return [float(each) for each in several]
    except (TypeError, ValueError, OverflowError):
        return []


def _whole(header: Any, keyword: str) -> int:
    values = numbers(header, keyword)
    if len(values) != 1 or not values[0].is_integer():
        raise ValueError(f"a damaged {keyword}: {_shown(header, keyword)}")
    return int(values[0])


def _has_value(header: Any, keyword: str) -> bool:
    """Whether a tag is there and not empty; what cannot be decoded is not empty."""
    try:
        value = header.get(keyword)
    except Exception:
        return True
    return value is not None and not (isinstance(value, str | bytes | MutableSequence) and len(value) == 0)


def _shown(header: Any, keyword: str) -> str:
    """A value for a message, in one short line."""
    try:
        value = header.get(keyword)
        text = "\\".join(map(str, value)) if isinstance(value, MutableSequence) else str(value)
    except Exception as error:
        text = first_line(error)
    return repr(text[:60])


def first_line(error: Exception) -> str:
    """What an error says, in one line without a full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
