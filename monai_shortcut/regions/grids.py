# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether a region lies where its image lies: what their files say about place, scale, turning and colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SPACING_SET = "spacing_set"  # key in the metadata: the spacing is known in millimetres, and the place is not
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_UPRIGHT_WHEN_READ = (".tif", ".tiff")  # Pillow turns these itself
_ORIENTATION = 0x0112  # tag of EXIF
_MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # of NIfTI's units: unknown, metre, millimetre, micrometre
_NRRD_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimeters"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("m", "meter", "meters"), 1e3),
    "cm": 10.0,
}
_SAME = 0.01  # relative difference of spacings or aspects that headers owe to rounding


@dataclass(frozen=True)
class Picture:
    """What a file that Pillow reads says beside its pixels.

    Attributes:
        orientation: 1 to 8, as EXIF counts; 1 is upright.
        aspect: width of a pixel divided by its height.
        inverted: whether a viewer shows value 0 brighter than another, for the file has a palette that says so.
        transparent: whether one of the channels is opacity.
        pages: number of pictures in the file, of which readers take the first.
    """

    orientation: int
    aspect: float
    inverted: bool
    transparent: bool
    pages: int


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an array lie.

    Attributes:
        shape: (n_spatial,) pixels along each axis.
        affine: (4, 4) from indices to millimetres; None if unknown.
        placed: whether the affine tells the place and not only the spacing.
        palette: whether the values are numbers of colours.
        file: the file, empty if unknown.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    placed: bool
    palette: bool
    file: str

    @property
    def spacing(self) -> NDArray[np.float64]:
        """(n_spatial,) millimetres per pixel; the affine must be known."""
        assert self.affine is not None
        lengths: NDArray[np.float64] = np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0)
        return lengths


def grid_of(shape: Sequence[int], affine: Any, meta: Mapping[Any, Any]) -> Grid:
    """Where the pixels of an array lie.

    Args:
        shape: (n_spatial,) pixels along each axis.
        affine: (k, k) from indices to the file's units.
        meta: metadata of MONAI's readers.

    Raises:
        ValueError: If the file's unit of length is unknown.
    """
    file = str(meta.get("filename_or_obj", ""))
    matrix, placed = _known_affine(_four_by_four(affine), meta, file)
    return Grid(tuple(map(int, shape)), matrix, placed, meta.get("mode") == "P", file)


def _known_affine(
    matrix: NDArray[np.float64] | None, meta: Mapping[Any, Any], file: str
) -> tuple[NDArray[np.float64] | None, bool]:
    """The affine in millimetres, None if it means nothing, and whether it tells the place too."""
    if matrix is None or meta.get(SPACING_SET):
        return matrix, False
    if file:
        original = _four_by_four(meta.get("original_affine"))
        if original is None or (is_picture(file) and _only_counts(original)):
            return None, False
    elif np.array_equal(matrix, np.eye(4)):
        return None, False
    codes = [meta.get(key) for key in ("qform_code", "sform_code")]
    placed = any(code is None or str(np.asarray(code)) != "0" for code in codes)
    unit = millimetres_per_unit(meta)
    return np.diag([unit, unit, unit, 1.0]) @ matrix, placed


def millimetres_per_unit(meta: Mapping[Any, Any]) -> float:
    """Millimetres in the unit of length of a NIfTI or NRRD file; 1 if the metadata name none.

    Args:
        meta: metadata of MONAI's readers. Its reader with ITK, which gives ``xyzt_units`` as text, has converted them.

    Raises:
        ValueError: If the header names a unit that is no length, or several.
    """
    if "space units" in meta:
        named = {str(unit).strip('" ').lower() for unit in meta["space units"]}
        if len(named) != 1 or not named <= set(_NRRD_UNITS):
            raise ValueError(
                f"space units must be one of {', '.join(_NRRD_UNITS)}, got {', '.join(sorted(named))} in {_name(meta)}."
            )
        return _NRRD_UNITS[named.pop()]
    units = meta.get("xyzt_units")
    if units is None or isinstance(units, str):
        return 1.0
    code = int(np.asarray(units)) & 7
    if code not in _MILLIMETRES:
        raise ValueError(
            f"xyzt_units must be metres, millimetres or micrometres (1, 2, 3), got {code} in {_name(meta)}: "
            "correct the header."
        )
    return _MILLIMETRES[code]


def aligning(image: Grid, roi: Grid) -> tuple[list[int], list[int]]:
    """How the axes of a region become those of its image.

    Args:
        image: where the image lies.
        roi: where the region lies.

    Returns:
        For each axis of the image the axis of the region, and the axes of the image along which the region is flipped
        then. Where either place is unknown, nothing is changed.

    Raises:
        ValueError: If the files say that a viewer turns, stretches or colours them in other ways, or that their pixels
            do not lie on each other; the message names them.
    """
    _require_like_pictures(image, roi)
    axes = list(range(len(image.shape)))
    if len(image.shape) != len(roi.shape) or image.affine is None or roi.affine is None:
        return axes, []
    if not (image.placed and roi.placed):
        _require_spacing(image, roi)
        return axes, []
    return _permutation(image, roi)


def _permutation(image: Grid, roi: Grid) -> tuple[list[int], list[int]]:
    n = len(image.shape)
    assert image.affine is not None
    assert roi.affine is not None
    try:
        to_image = np.linalg.solve(image.affine, roi.affine)
    except np.linalg.LinAlgError:
        raise ValueError(f"the affine of an image must be invertible, got {_shown(image)} without volume.") from None
    corners = np.array([[*corner, *[0] * (3 - n), 1] for corner in product(*((0, size - 1) for size in roi.shape))])
    found = (corners @ to_image.T)[:, :3]
    axes = [int(np.abs(to_image[axis, :n]).argmax()) for axis in range(n)]
    signs = [to_image[axis, axes[axis]] for axis in range(n)]
    flips = [axis for axis in range(n) if signs[axis] < 0]
    if sorted(axes) != list(range(n)) or [roi.shape[axis] for axis in axes] != list(image.shape):
        if roi.shape != image.shape:
            return list(range(n)), []  # the shapes are refused later
        axes, flips = list(range(n)), []
    wanted = np.zeros_like(found)
    for axis, own in enumerate(axes):
        wanted[:, axis] = image.shape[axis] - 1 - corners[:, own] if axis in flips else corners[:, own]
    apart = float(np.abs(found - wanted).max())
    if not apart < 0.5:  # nearest neighbours would be other pixels
        raise ValueError(
            f"the region must lie on its image, got {_shown(roi)} whose corners are up to {apart:.3g} pixels away from "
            f"those of {_shown(image)} by their affines: resample it (ResampleToMatchd with mode nearest), or, if only "
            "its header is wrong, drop it (EnsureTyped with track_meta=False)."
        )
    return axes, flips


def _require_spacing(image: Grid, roi: Grid) -> None:
    ratio = roi.spacing / image.spacing
    if image.shape == roi.shape and not (np.abs(ratio - 1) < _SAME).all():
        raise ValueError(
            f"region and image must have one spacing, got {_numbers(roi.spacing)} mm in {_shown(roi)} and "
            f"{_numbers(image.spacing)} mm in {_shown(image)}: correct one, or drop the region's "
            "(EnsureTyped with track_meta=False)."
        )


def _require_like_pictures(image: Grid, roi: Grid) -> None:
    """Refuse pictures that a viewer turns or stretches in different ways, and regions by the number of a colour."""
    require_colours(roi)
    seen = [picture_of(grid.file) for grid in (image, roi)]
    turned = [1 if picture is None else picture.orientation for picture in seen]
    if turned[0] != turned[1]:
        raise ValueError(
            f"region and image must be turned alike, got EXIF orientation {turned[1]} in {_shown(roi)} and {turned[0]} "
            f"in {_shown(image)}, which viewers obey and MONAI does not: save both upright, without orientation."
        )
    if seen[0] and seen[1] and abs(seen[1].aspect / seen[0].aspect - 1) > _SAME:
        raise ValueError(
            f"region and image must have pixels of one shape, got width to height {seen[1].aspect:.3g} in "
            f"{_shown(roi)} and {seen[0].aspect:.3g} in {_shown(image)}: save both with the same resolution."
        )


def require_colours(roi: Grid) -> None:
    """Refuse a region whose values say the opposite of what its palette shows, or that has a channel of opacity."""
    picture = picture_of(roi.file)
    if roi.palette and (picture is None or picture.inverted):
        why = "cannot be looked up any more" if picture is None else "shows value 0 brighter than the region"
        raise ValueError(
            f"a region must be dark outside, got {_shown(roi)}, whose palette {why}: save it in grey "
            "(Pillow: convert('L')), or load it so (LoadImaged with converter)."
        )
    if picture is not None and picture.transparent:
        raise ValueError(f"a region must have no opacity, got {_shown(roi)} with a channel of it: save it in grey.")
    if picture is not None and picture.pages > 1 and len(roi.shape) == 2:
        raise ValueError(f"a region must be one picture, got {_shown(roi)} of {picture.pages}: save its page alone.")


def picture_of(file: str) -> Picture | None:
    """What a picture says beside its pixels; None if it is no picture, or not there."""
    if not is_picture(file):
        return None
    try:
        state = Path(file).stat()
    except (OSError, ValueError):
        return None
    return _picture(file, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=65536)
def _picture(file: str, changed: int, size: int) -> Picture | None:
    """`picture_of` a file of this age and size."""
    try:
        with Image.open(file) as image:
            turned = 1
            if Path(file).suffix.lower() not in _UPRIGHT_WHEN_READ:
                turned = Image.Image.getexif(image).get(_ORIENTATION, 1)  # PNG's own would decode the pixels
            transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa")
            inverted = image.mode == "P" and _inverted(image)
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # photographs with their preview
            return Picture(turned if turned in range(1, 9) else 1, _aspect(image.info), inverted, transparent, pages)
    except (OSError, SyntaxError, ValueError):  # Pillow raises SyntaxError for some broken PNG files
        return None


def _inverted(image: Image.Image) -> bool:
    used = np.flatnonzero(image.histogram())
    colours = np.reshape(image.getpalette("RGB") or [0, 0, 0], (-1, 3))
    if not len(used) or used.max() >= len(colours):
        return True
    brightness = colours[used] @ [299, 587, 114]
    outside, inside = brightness[used == 0], brightness[used > 0]
    if not len(outside) or not len(inside):
        return bool(outside.any() or not inside.all())
    return bool(outside[0] >= inside.min())


def _aspect(info: Mapping[Any, Any]) -> float:
    """Width of a pixel divided by its height; 1 if the file does not say."""
    if "aspect" in info:
        across, down = info["aspect"]  # PNG without a unit, as the density of pixels
    elif "dpi" in info:
        across, down = info["dpi"]
    else:
        across, down = info.get("jfif_density", (1, 1))
    ratio = float(down) / float(across) if across and down else 1.0
    return ratio if math.isfinite(ratio) and ratio > 0 else 1.0


def is_picture(file: str) -> bool:
    """Whether a file's suffix is that of a picture, such as PNG."""
    return file.lower().endswith(_PICTURES)


def _only_counts(affine: NDArray[np.float64]) -> bool:
    """Whether an affine counts pixels from the origin, perhaps along flipped axes."""
    return bool(np.array_equal(np.abs(affine), np.eye(4)))


def _four_by_four(affine: Any) -> NDArray[np.float64] | None:
    """An affine of two or three axes as one of three; None if there is none, or it is not of finite numbers."""
    matrix = None if affine is None else np.asarray(affine, dtype=np.float64)
    if matrix is None or matrix.shape not in ((3, 3), (4, 4)) or not np.isfinite(matrix).all():
        return None
    n = len(matrix) - 1
    full = np.eye(4)
    full[:n, :n], full[:n, 3] = matrix[:n, :n], matrix[:n, n]
    return full


def _shown(grid: Grid) -> str:
    return grid.file or "an array"


def _name(meta: Mapping[Any, Any]) -> str:
    return str(meta.get("filename_or_obj", "an array"))


def _numbers(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
