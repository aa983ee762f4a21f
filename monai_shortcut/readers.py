# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Read grey DICOM images alike with pydicom and with ITK, for MONAI's LoadImage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from monai_shortcut.datasets.dicom_header import (
    SHAPE_TAGS,
    SPACING_TAGS,
    needed,
    pixel_spacing_mm,
    read_header,
    why_unusable,
)
from monai_shortcut.transforms.metadata import SPACING_SET

__all__ = ["DicomReader"]


class DicomReader(ImageReader):  # type: ignore[misc]
    """Reader of DICOM files that hold one grey image of one frame, such as radiographs and still ultrasound.

    Use it as ``LoadImaged("image", reader="monai_shortcut.readers.DicomReader", ensure_channel_first=True)``. An image
    of R rows and C columns becomes (1, C, R), as MONAI reads PNG and NIfTI.

    Values are those stored, rescaled by slope and intercept if the file has them. Images stored as ``MONOCHROME1``,
    where high values are dark, are inverted first: v becomes max + min - v, where max and min are those of the stored
    bits. So high values are bright in every image. Windows (VOI LUT) are not applied.

    The spacing comes from the tags as `monai_shortcut.datasets.dicom_header.pixel_spacing_mm` chooses it, with either
    backend, whether the file knows the patient's position or not; ``pixdim`` is (between columns, between rows). The
    affine holds the spacing only, not the position of the image in the patient, which MONAI could not tell apart in
    two dimensions. Without a spacing, ``pixdim`` is 1, and margins in mm are refused. Nothing else of the header goes
    into the metadata, and so nothing that names the patient.

    MONAI tries other readers when one fails to open a file. This one therefore opens files only when their data is
    asked for, so that an error is an error, and no other reader that happens to be installed takes over.

    Args:
        backend: What decodes the pixels: "pydicom" or "itk". Images are the same; ITK has more decoders of compressed
            images built in, but cannot invert signed values of fewer bits than are allocated for them.

    Raises:
        ValueError: If there is no such backend; when an image is read, if there are several files for one image, or
            the file is not DICOM, holds no grey image of one frame, or cannot be decoded.
        OptionalImportError: If pydicom, or for its backend ITK, is not installed.
    """

    def __init__(self, backend: str = "pydicom") -> None:
        super().__init__()
        if backend not in ("pydicom", "itk"):
            raise ValueError(f"backend must be pydicom or itk, got {backend!r}.")
        self._decode = {"pydicom": _by_pydicom, "itk": _by_itk}[backend]
        for package in ("pydicom", backend):
            needed(package)

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True, as DICOM files may have any name."""
        return True

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> tuple[str, ...]:
        """The names of the files, which `get_data` opens."""
        return tuple(str(name) for name in ensure_tuple(data))

    def get_data(self, img: tuple[str, ...]) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read the pixels.

        Args:
            img: one file, from `read`.

        Returns:
            (C, R) values, and the metadata that MONAI needs.

        Raises:
            ValueError: As the class says.
        """
        if len(img) != 1:
            raise ValueError(f"an image must be in one DICOM file, got {len(img)}: {', '.join(img[:5])}.")
        header = _checked_header(img[0])
        pixels = np.ascontiguousarray(self._decode(img[0]).T)
        meta: dict[str, Any] = {MetaKeys.SPATIAL_SHAPE: pixels.shape, MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}
        spacing = pixel_spacing_mm(header)
        if spacing is not None:
            affine = np.diag([spacing[1], spacing[0], 1.0, 1.0])
            meta |= {MetaKeys.AFFINE: affine, MetaKeys.ORIGINAL_AFFINE: affine.copy(), SPACING_SET: True}
        return pixels, meta


def _checked_header(path: str) -> Any:
    pydicom = needed("pydicom")
    try:
        header = read_header(path, (*SHAPE_TAGS, *SPACING_TAGS))
    except pydicom.errors.InvalidDicomError:
        raise ValueError(f"an image must be a DICOM file, got {path}, which is none.") from None
    reason = why_unusable(header)
    if reason:
        raise ValueError(f"a DICOM file must hold one grey image of one frame, got {path}, which has {reason}.")
    return header


def _by_pydicom(path: str) -> NDArray[Any]:
    """(R, C) values, inverted if need be, and rescaled."""
    dataset = needed("pydicom").dcmread(path)
    try:
        stored = dataset.pixel_array
    except Exception as error:  # each decoder has errors of its own
        raise _unreadable(path, "pydicom", error, dataset.file_meta.TransferSyntaxUID.name) from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        signed, bits = dataset.PixelRepresentation == 1, dataset.BitsStored
        stored = (-1 if signed else 2**bits - 1) - stored.astype(np.int32)
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    return np.asarray(stored if (slope, intercept) == (1, 0) else stored * slope + intercept)


def _by_itk(path: str) -> NDArray[Any]:
    """(R, C) values, which ITK has inverted and rescaled as `_by_pydicom` does."""
    itk, pydicom = needed("itk"), needed("pydicom")
    try:
        image = itk.imread(path, imageio=itk.GDCMImageIO.New())
    except Exception as error:  # RuntimeError of ITK's own, and TypeError where it has no class for the pixels
        raise _unreadable(path, "itk", error, pydicom.dcmread(path).file_meta.TransferSyntaxUID.name) from error
    return np.asarray(itk.array_from_image(image)[0])


def _unreadable(path: str, backend: str, error: Exception, syntax: str) -> ValueError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ValueError(f"backend {backend} must have a decoder for {path} ({syntax}), got: {lines[-1].strip()}.")
