# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic fetal planes with a planted shortcut, and the same image under another scanner.

A plane is a map of echo strengths; speckle is drawn as complex Gaussian scatterers, blurred by the scanner's
point-spread function and turned into a log-compressed envelope (Wagner et al. 1983, IEEE Trans. Sonics Ultrason. 30).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from monai_shortcut.cohort.table import Cohort

Image = NDArray[np.float32]
PLANES = ("head", "abdomen", "femur", "thorax")


@dataclass(frozen=True)
class Scanner:
    """What a scanner does to every image.

    Attributes:
        axial: blur of the scatterers along the beam, standard deviation in pixels.
        lateral: blur across the beams, standard deviation in pixels.
        gain: decibel added to all echoes.
        attenuation: decibel lost from the first to the last row.
    """

    axial: float
    lateral: float
    gain: float
    attenuation: float


SCANNERS: Mapping[str, Scanner] = {
    "scanner A": Scanner(axial=0.6, lateral=1.0, gain=0.0, attenuation=2.0),
    "scanner B": Scanner(axial=0.9, lateral=1.5, gain=2.0, attenuation=5.0),
}
ANNOTATIONS = ("absent", "present")
OPERATORS = ("operator 1", "operator 2")
ATTRIBUTES = ("scanner", "annotation", "operator")
_ALTERNATIVES: dict[str, tuple[str, ...]] = {
    "scanner": tuple(SCANNERS),
    "annotation": ANNOTATIONS,
    "operator": OPERATORS,
}


@dataclass(frozen=True)
class Phantom:
    """A cohort of synthetic fetal planes.

    Attributes:
        cohort: one row per image; attributes are scanner (tied to the plane), annotation (burned-in text and
            scales, visible but independent of the plane) and operator (independent, without any trace in the image).
        size: rows and columns of the square images.
        seeds: seed of each image, in the order of the cohort.
        visibility: how far the anatomy stands out from the tissue around it; 1 is clear.
    """

    cohort: Cohort
    size: int
    seeds: tuple[int, ...]
    visibility: float

    def draw(self, index: int, **changed: str) -> tuple[Image, NDArray[np.uint8]]:
        """Draw one image, or the same image with attributes changed.

        Args:
            index: row of the cohort.
            changed: new value by attribute, e.g. ``scanner="scanner B"``.

        Returns:
            The (1, size, size) float32 image in [0, 1] and the (1, size, size) uint8 region of the anatomy, 0 or 1.

        Raises:
            ValueError: If an attribute or a value does not exist.
        """
        for name, value in changed.items():
            if value not in _ALTERNATIVES.get(name, ()):
                raise ValueError(f"{name} must be one of {_ALTERNATIVES.get(name, ATTRIBUTES)}, got {value!r}.")
        row = self._rows[index] | changed
        scene = row["label"], self.size, self.visibility, self.seeds[index]
        image = _scanned(*scene, row["scanner"]).copy()
        if row["annotation"] == "present":
            _mark(image)
        return image[None], _scene(*scene)[1][None].astype(np.uint8)

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        rows = self.cohort.table.to_dict("records")
        return [{str(key): str(value) for key, value in row.items()} for row in rows]

    def datalist(self, counterfactuals: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The images as a MONAI datalist of arrays.

        Args:
            counterfactuals: attributes; each adds a key ``image_<attribute>`` with the same image under the
                attribute's other value.

        Returns:
            One dict per image: image and roi arrays, label (integer) and image_id.
        """
        items = []
        for index, image_id in enumerate(self.cohort.image_ids):
            image, region = self.draw(index)
            item = {"image": image, "roi": region, "label": int(self.cohort.labels[index]), "image_id": image_id}
            for name in counterfactuals:
                item[f"image_{name}"] = self.draw(index, **{name: self._other(name, index)})[0]
            items.append(item)
        return items

    def _other(self, attribute: str, index: int) -> str:
        if attribute not in _ALTERNATIVES:
            raise ValueError(f"counterfactuals must be among {ATTRIBUTES}, got {attribute!r}.")
        return next(value for value in _ALTERNATIVES[attribute] if value != self._rows[index][attribute])


def draw_phantom(
    patients: int,
    strength: float,
    seed: int,
    *,
    images_per_patient: int = 3,
    size: int = 64,
    visibility: float = 1.0,
    name: str = "phantom",
) -> Phantom:
    """Draw a cohort in which the scanner is tied to the plane with a given strength.

    Each patient is examined with one scanner. Of two scanners, the first favours heads and femurs, the second abdomens
    and thoraxes; a plane is drawn from the favoured pair with probability (1 + strength) / 2.

    Args:
        patients: number of patients.
        strength: 0 plants nothing, 1 ties the scanner to the plane completely.
        seed: seed of everything; equal seeds draw equal cohorts.
        images_per_patient: images of each patient.
        size: rows and columns of the images, at least 32.
        visibility: contrast of the anatomy, in (0, 1].
        name: prefix of patient and image names, so that cohorts can be told apart.

    Returns:
        The cohort, its images drawn on demand.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> phantom = draw_phantom(patients=4, strength=1.0, seed=0)
        >>> len(phantom.cohort), phantom.draw(0)[0].shape
        (12, (1, 64, 64))
    """
    if patients < 2 or images_per_patient < 1:
        raise ValueError(f"patients must be at least 2 with at least 1 image, got {patients}, {images_per_patient}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], got {strength}.")
    if size < 32:
        raise ValueError(f"size must be at least 32, got {size}.")
    if not 0 < visibility <= 1:
        raise ValueError(f"visibility must be in (0, 1], got {visibility}.")
    rng = np.random.default_rng(seed)
    rows, scanners = [], tuple(SCANNERS)
    for patient in range(patients):
        scanner, operator = rng.integers(2), rng.integers(2)
        for image in range(images_per_patient):
            favoured = rng.random() < (1 + strength) / 2
            plane = 2 * rng.integers(2) + (scanner if favoured else 1 - scanner)
            rows.append(
                {
                    "image_id": f"{name}_{patient:04d}_{image}",
                    "patient_id": f"{name}_{patient:04d}",
                    "label": PLANES[plane],
                    "scanner": scanners[scanner],
                    "annotation": ANNOTATIONS[rng.integers(2)],
                    "operator": OPERATORS[operator],
                }
            )
    seeds = tuple(int(value) for value in rng.integers(2**31, size=len(rows)))
    cohort = Cohort.from_table(pd.DataFrame(rows), attributes=ATTRIBUTES, label_names=PLANES)
    return Phantom(cohort, size, seeds, visibility)


# An image and its counterfactuals are drawn one after the other: they share what the changed attribute leaves.
@lru_cache(maxsize=2)
def _scanned(plane: str, size: int, visibility: float, seed: int, scanner: str) -> Image:
    """The scan without annotation."""
    return scan(_scene(plane, size, visibility, seed)[0], SCANNERS[scanner])


@lru_cache(maxsize=1)
def _scene(plane: str, size: int, visibility: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scatterers (2, size, size), the same whatever the scanner, and the region of the anatomy."""
    rng = np.random.default_rng(seed)
    echo, region = _anatomy(plane, size, visibility, rng)
    return scatterers(echo, rng), region


def _anatomy(
    plane: str, size: int, visibility: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Echo strength in decibel and the region of the anatomy, at a random place, size and angle."""
    rows, columns = np.mgrid[:size, :size] / size
    down, right = rng.uniform(0.4, 0.6, size=2)
    angle, scale = rng.uniform(-0.6, 0.6), rng.uniform(0.85, 1.15)
    y, x = (rows - down) / scale, (columns - right) / scale
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside, parts = _PLANES[plane](u, v)
    echo = np.full((size, size), -12.0) + 2.0 * gaussian_filter(rng.normal(size=(size, size)), 5) * 5
    for level, part in parts:
        echo[part] += visibility * (level - echo[part])
    return echo, inside


def _ring(u: NDArray[np.float64], v: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    """Distance from the centre in units of an ellipse's axes."""
    return np.asarray(np.hypot(u / a, v / b))


def _head(u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[Any, Any]:
    radius = _ring(u, v, 0.33, 0.25)
    midline = (np.abs(v) < 0.012) & (radius < 0.8)
    return radius < 1, [(-18.0, radius < 1), (0.0, (radius > 0.9) & (radius < 1)), (-4.0, midline)]


def _abdomen(u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[Any, Any]:
    radius = _ring(u, v, 0.28, 0.26)
    stomach = _ring(u + 0.1, v - 0.02, 0.08, 0.05) < 1
    spine = _ring(u - 0.17, v, 0.04, 0.04) < 1
    return radius < 1, [(-16.0, radius < 1), (-4.0, (radius > 0.92) & (radius < 1)), (-36.0, stomach), (0.0, spine)]


def _femur(u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[Any, Any]:
    shaft = (np.abs(v - 0.25 * u**2) < 0.025) & (np.abs(u) < 0.26)
    ends = (_ring(np.abs(u) - 0.26, v - 0.02, 0.035, 0.045)) < 1
    thigh = _ring(u, v, 0.36, 0.16) < 1
    return thigh, [(-14.0, thigh), (0.0, shaft), (-2.0, ends)]


def _thorax(u: NDArray[np.float64], v: NDArray[np.float64]) -> tuple[Any, Any]:
    radius = _ring(u, v, 0.28, 0.26)
    heart = _ring(u + 0.04, v + 0.03, 0.13, 0.12)
    septum = (np.abs(u + 0.04) < 0.015) | (np.abs(v + 0.03) < 0.015)
    parts = [(-16.0, radius < 1), (-4.0, (radius > 0.92) & (radius < 1)), (-34.0, heart < 1)]
    return radius < 1, [*parts, (-4.0, (heart < 1) & septum)]


_PLANES = {"head": _head, "abdomen": _abdomen, "femur": _femur, "thorax": _thorax}


def scatterers(echo: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Real and imaginary part (2, rows, columns) of what each point of an echo (rows, columns) sends back."""
    return np.asarray(rng.normal(size=(2, *echo.shape)) * 10 ** (echo / 20))


def scan(sent: NDArray[np.float64], scanner: Scanner) -> Image:
    """Speckle, gain and log compression of scatterers (2, rows, columns)."""
    blurred = gaussian_filter(sent, (0, scanner.axial, scanner.lateral))
    power = _power(sent.shape[1:], scanner.axial, scanner.lateral)  # blur must not change brightness
    decibel = 10 * np.log10((blurred**2).sum(axis=0) / (2 * power) + 1e-6)
    decibel += scanner.gain - scanner.attenuation * np.linspace(0, 1, sent.shape[1])[:, None]
    return np.asarray(np.clip((decibel + 40) / 50, 0, 1), dtype=np.float32)


@cache
def _power(shape: tuple[int, ...], axial: float, lateral: float) -> float:
    """Sum of squares of the image of a point."""
    unit = np.zeros(shape)
    unit[shape[0] // 2, shape[1] // 2] = 1
    return float((gaussian_filter(unit, (axial, lateral)) ** 2).sum())


def _mark(image: Image) -> None:
    """What a screen shows beside the scan: text, ticks on the left edge, a grey scale on the right."""
    rows, unit = len(image), max(1, len(image) // 32)
    for line in range(3):
        image[(1 + 2 * line) * unit : (2 + 2 * line) * unit, unit : 10 * unit] = 1
    image[8 * unit :: 3 * unit, : 2 * unit] = 1
    image[rows // 8 : -(rows // 8), -4 * unit : -unit] = np.linspace(1, 0, rows - 2 * (rows // 8))[:, None]
