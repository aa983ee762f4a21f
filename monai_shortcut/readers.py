# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Read grey DICOM images alike with pydicom and with ITK, for MONAI's LoadImage."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, ensure_tuple
from numpy.typing import NDArray

from monai_shortcut.datasets.dicom_header import (
    SHAPE_TAGS,
    SPACING_TAGS,
    DicomError,
    element,
    first_line,
    needed,
    pixel_spacing_mm,
    read_header,
    rescaling,
    shape_of,
    transfer_syntax,
    why_unusable,
)
from monai_shortcut.transforms.metadata import SPACING_SET

__all__ = ["DicomReader"]

_OVERLAYS = [0x6000 + 2 * number for number in range(16)]  # groups whose overlays may lie in unused bits
_STREAM_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000


class DicomReader(ImageReader):  # type: ignore[misc]
    """Reader of DICOM files that hold one grey image of one frame, such as radiographs and still ultrasound.

    Use it as ``LoadImaged("image", reader="monai_shortcut.readers.DicomReader", ensure_channel_first=True)``. An image
    of R rows and C columns becomes (1, C, R), as MONAI reads PNG and NIfTI.

    Values are those stored, rescaled by slope and intercept if the file has them, which may be in the functional groups
    of an enhanced object. Images stored as ``MONOCHROME1``, where high values are dark, are inverted first: v becomes
    max + min - v, where max and min are those of the stored bits. So high values are bright in every image. Windows
    (VOI LUT) and real world values are not applied.

    Decoders only decompress; all else is done here, and checked: the file has as many bytes of pixels as rows and
    columns ask for, no value needs more bits than ``BitsStored`` says (unused bits may hold an overlay, which is cut
    off), a compressed stream has its end, and slope and intercept are one number each.

    The spacing comes from the tags as `monai_shortcut.datasets.dicom_header.pixel_spacing_mm` chooses it, with either
    backend, whether the file knows the patient's position or not; ``pixdim`` is (between columns, between rows). The
    affine holds the spacing only, not the position of the image in the patient, which MONAI could not tell apart in
    two dimensions. Without a spacing, ``pixdim`` is 1, and margins in mm are refused. Nothing else of the header goes
    into the metadata, and so nothing that names the patient.

    MONAI tries other readers when one fails to open a file. This one therefore opens files only when their data is
    asked for, so that an error is an error, and no other reader that happens to be installed takes over.

    Args:
        backend: What decompresses pixels: "pydicom" or "itk". Images are the same; ITK has more decoders built in.
            Uncompressed and run-length coded pixels need neither.

    Raises:
        ValueError: If there is no such backend; when an image is read, if there are several files for one image, or
            the file is not DICOM, holds no grey image of one frame, or cannot be decoded.
            `monai_shortcut.datasets.dicom_header.DicomError`, a ValueError, if header or pixels are damaged.
        OptionalImportError: If pydicom, or for its backend ITK, is not installed.
    """

    def __init__(self, backend: str = "pydicom") -> None:
        super().__init__()
        if backend not in ("pydicom", "itk"):
            raise ValueError(f"backend must be pydicom or itk, got {backend!r}.")
        self._decompress = {"pydicom": _by_pydicom, "itk": _by_itk}[backend]
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
            OSError: If the file is missing or may not be read.
        """
        if len(img) != 1:
            raise ValueError(f"an image must be in one DICOM file, got {len(img)}: {', '.join(img[:5])}.")
        header = _checked(img[0])
        syntax = transfer_syntax(header)
        own = not syntax.is_compressed or syntax == needed("pydicom").uid.RLELossless
        stored = (_by_pydicom if own else self._decompress)(img[0], header)
        pixels = np.ascontiguousarray(_meant(_checked_bits(img[0], stored, header), header).T)
        meta: dict[str, Any] = {MetaKeys.SPATIAL_SHAPE: pixels.shape, MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan")}
        spacing = pixel_spacing_mm(header)
        if spacing is not None:
            affine = np.diag([spacing[1], spacing[0], 1.0, 1.0])
            meta |= {MetaKeys.AFFINE: affine, MetaKeys.ORIGINAL_AFFINE: affine.copy(), SPACING_SET: True}
        return pixels, meta


def _checked(path: str) -> Any:
    """The file's tags that are needed, and its pixels as they are coded."""
    pydicom = needed("pydicom")
    try:
        data = read_header(path, (*SHAPE_TAGS, *SPACING_TAGS), pixels=True)
    except pydicom.errors.InvalidDicomError:
        raise DicomError(f"an image must be a DICOM file, got {path}, which is none.") from None
    reason = why_unusable(data)
    if reason:
        raise DicomError(f"a DICOM file must hold one grey image of one frame, got {path}, which has {reason}.")
    _check_length(path, data)
    return data


def _check_length(path: str, data: Any) -> None:
    """Refuse a file that has more or fewer bytes of pixels than its rows and columns ask for, or a stream cut short."""
    coded = element(data, "PixelData")
    if not isinstance(coded, bytes) or not coded:
        raise DicomError(f"a DICOM image must have pixels, got {path}, which has none.")
    syntax = transfer_syntax(data)
    if not syntax.is_compressed:
        shape = shape_of(data)
        wanted = shape["Rows"] * shape["Columns"] * shape["BitsAllocated"] // 8
        if len(coded) < wanted or coded[wanted:].strip(b"\0"):
            must_hold = f"{shape['Rows']} x {shape['Columns']} pixels of {shape['BitsAllocated']} bits"
            raise DicomError(f"{path} must hold {must_hold} in {wanted} bytes, got {len(coded)}.")
        data["PixelData"].value = coded[:wanted]
    elif syntax.startswith("1.2.840.10008.1.2.4."):
        try:
            stream = next(needed("pydicom").encaps.generate_frames(coded, number_of_frames=1))
        except Exception as error:  # StopIteration where there is no fragment, ValueError, struct.error
            raise DicomError(f"{path} must hold a compressed image, got: {first_line(error)}.") from error
        if not stream.rstrip(b"\0").endswith(_STREAM_END):
            raise DicomError(f"{path} must hold a whole compressed image ({syntax.name}), got one without its end.")


def _by_pydicom(path: str, data: Any) -> NDArray[Any]:
    """(R, C) stored values."""
    try:
        return np.asarray(needed("pydicom").pixels.pixel_array(data, correct_unused_bits=False))
    except Exception as error:  # each decoder has errors of its own
        raise _unreadable(path, "pydicom", error, data) from error


def _by_itk(path: str, data: Any) -> NDArray[Any]:
    """(R, C) stored values. ITK reads a copy without the tags by which it would invert and rescale."""
    itk, pydicom = needed("itk"), needed("pydicom")
    plain = pydicom.Dataset()
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = transfer_syntax(data)
    plain.SOPClassUID = plain.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    plain.SOPInstanceUID = plain.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    for keyword, value in shape_of(data).items():
        setattr(plain, keyword, value)
    plain.PhotometricInterpretation = "MONOCHROME2"
    plain.PixelData = data.PixelData
    plain["PixelData"].is_undefined_length = True
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "pixels.dcm")
            plain.save_as(copy, enforce_file_format=True)
            image = itk.imread(str(copy), imageio=itk.GDCMImageIO.New())
            return np.asarray(itk.array_from_image(image)[0])
    except Exception as error:  # RuntimeError of ITK's own, and TypeError where it has no class for the pixels
        raise _unreadable(path, "itk", error, data) from error


def _unreadable(path: str, backend: str, error: Exception, data: Any) -> DicomError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DicomError(
        f"backend {backend} must have a decoder for {path} ({transfer_syntax(data).name}), got: {lines[-1].strip()}."
    )


def _checked_bits(path: str, stored: NDArray[Any], data: Any) -> NDArray[Any]:
    """The stored values, if they fit the bits that the header speaks of."""
    shape = shape_of(data)
    if stored.shape != (shape["Rows"], shape["Columns"]):
        raise DicomError(f"{path} must hold {shape['Rows']} x {shape['Columns']} pixels, got {stored.shape}.")
    bits, signed = shape.get("BitsStored", shape["BitsAllocated"]), shape.get("PixelRepresentation") == 1
    values = stored.astype(np.int32)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if values.min() >= low and values.max() <= high:
        return values
    if not _has_overlay_in_pixels(path):
        found = f"values from {values.min()} to {values.max()}"
        raise DicomError(f"{path} must hold values of {bits} bits, {low} to {high}, as BitsStored says, got {found}.")
    values &= 2**bits - 1
    return np.where(values > high, values - 2**bits, values) if signed else values


def _has_overlay_in_pixels(path: str) -> bool:
    """Whether the file says that unused bits of its pixels hold an overlay."""
    positions = [(group << 16) + 0x0102 for group in _OVERLAYS]  # OverlayBitPosition; 0 where it has its own place
    header = read_header(path, positions)
    found = [element(header, position) for position in positions]
    return any(position is not None and position.value for position in found)


def _meant(stored: NDArray[Any], data: Any) -> NDArray[Any]:
    """(R, C) values, inverted if need be, and rescaled."""
    if element(data, "PhotometricInterpretation") == "MONOCHROME1":
        shape = shape_of(data)
        bits = shape.get("BitsStored", shape["BitsAllocated"])
        stored = (-1 if shape.get("PixelRepresentation") == 1 else 2**bits - 1) - stored
    scale = rescaling(data)
    return stored if scale == (1, 0) else stored * scale.slope + scale.intercept
