# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Masking with a margin beside iterated 3 x 3 dilation: equal pixels, and time per image, as tables in Markdown.

Run from the root of the repository; it takes less than a minute, and another one with real images:

    OMP_NUM_THREADS=1 python docs/benchmarks/masking.py --data DATA
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, generate_binary_structure

from monai_shortcut.regions.strategies import FILLS, METRICS, STRATEGIES, RegionError, RegionMargins, mask_roi

MARGINS = (0, 5, 50, 500)
CURVE = (0, 5, 10, 25, 50, 100, 150, 200, 300, 400, 500)  # the published one


def ellipses(shape: Sequence[int], *parts: tuple[Sequence[float], Sequence[float]]) -> NDArray[np.bool_]:
    """A region of ellipses, each with a centre and radii given as shares of the sides."""
    grid = np.indices(shape).reshape(len(shape), -1) / np.array(shape)[:, None]
    inside = [(((grid.T - centre) / radii) ** 2).sum(axis=1) <= 1 for centre, radii in parts]
    return np.any(inside, axis=0).reshape(shape)


REGIONS = {
    "lesion, 1 x 512 x 512": ellipses((512, 512), ((0.45, 0.55), (0.08, 0.12))),
    "lungs, 1 x 512 x 512": ellipses((512, 512), ((0.5, 0.28), (0.35, 0.16)), ((0.5, 0.72), (0.35, 0.16))),
    "lesion, 1 x 128 x 128 x 128": ellipses((128,) * 3, ((0.45, 0.55, 0.5), (0.1, 0.14, 0.12))),
}


def iterated(image: torch.Tensor, region: NDArray[np.bool_], passes: int) -> torch.Tensor:
    """The image without its region, as published: so many passes of a cross, then a product."""
    cross = generate_binary_structure(region.ndim, 1)
    # SciPy repeats until nothing changes where it is asked for no pass at all.
    grown = binary_dilation(region, cross, iterations=passes) if passes else region
    return image * torch.from_numpy(~grown)[None]


def milliseconds(step: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call, after one call to warm up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1000 * median(times)


def curve(image: torch.Tensor, roi: torch.Tensor, margins: Sequence[int], metric: str) -> None:
    """One image under many margins, from one transform."""
    made = RegionMargins(roi)
    for margin in margins:
        mask_roi(image, made, margin=margin, metric=metric)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in line)} |" for line in lines
    )


def compare(image: torch.Tensor, region: NDArray[np.bool_], repeats: int) -> str:
    """Pixels and times at each margin, and for several margins together."""
    roi, rows = torch.from_numpy(region)[None], []
    for margin in MARGINS:
        published = iterated(image, region, margin)
        masked = {metric: mask_roi(image, roi, margin=margin, metric=metric) for metric in METRICS}
        differ = {metric: float((other != published).double().mean()) for metric, other in masked.items()}
        times = [milliseconds(lambda m=margin: iterated(image, region, m), repeats)]
        for metric in ("taxicab", "euclidean"):
            times.append(
                milliseconds(lambda m=margin, name=metric: mask_roi(image, roi, margin=m, metric=name), repeats)
            )
        rows.append([margin, *(f"{100 * differ[metric]:.2f} %" for metric in ("taxicab", "euclidean")), *times])
    for name, margins in (("the four together", MARGINS), ("the published eleven", CURVE)):
        times = [milliseconds(lambda all_=margins: [iterated(image, region, m) for m in all_], repeats)]
        for metric in ("taxicab", "euclidean"):
            times.append(milliseconds(lambda all_=margins, one=metric: curve(image, roi, all_, one), repeats))
        rows.append([name, "", "", *times])
    header = ["margin", "taxicab differs", "Euclidean differs", "iterated, ms", "taxicab, ms", "Euclidean, ms"]
    return table(header, rows)


def strategies_and_fills(image: torch.Tensor, region: NDArray[np.bool_], repeats: int) -> str:
    """Time of every strategy with a number, and of every fill."""
    roi = torch.from_numpy(region)[None]
    other = roi.flip(1)
    rows: list[list[object]] = [
        [name, 0, milliseconds(lambda s=name: mask_roi(image, roi, s, swapped_roi=other), repeats)]
        for name in STRATEGIES
    ]
    for fill in FILLS:
        if fill != "inpaint":
            for name in ("without_roi", "roi_only"):
                rows.append([name, fill, milliseconds(lambda s=name, f=fill: mask_roi(image, roi, s, fill=f), repeats)])
    if image.ndim == 3:  # inpainting solves a linear system with an unknown for each hidden pixel
        rows.append(["without_roi", "inpaint", milliseconds(lambda: mask_roi(image, roi, fill="inpaint"), 1)])
    return table(["strategy", "fill", "ms"], rows)


def room(folder: Path) -> list[object]:
    """How many regions of a folder can be shifted, and how much of what regions and shifted regions hide is black."""
    black, shifted_black, overlaps, files = [], [], [], sorted((folder / "masks").iterdir())
    for file in files:
        roi = torch.from_numpy(np.array(Image.open(file)) > 0)[None]
        pixels = torch.from_numpy(np.array(Image.open(folder / "images" / file.name).convert("L")))[None]
        try:
            shifted = mask_roi(torch.ones_like(pixels), roi, "shifted_roi") == 0
        except RegionError:
            continue
        black.append(float((pixels[roi] == 0).double().mean()))
        shifted_black.append(float((pixels[shifted] == 0).double().mean()))
        overlaps.append(bool((shifted & roi).any()))
    shares = [f"{100 * np.mean(values):.0f} %" for values in (overlaps, black, shifted_black)]
    return [folder.name, len(files), len(black), *shares]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", type=Path, help="folder of packs, each with images and masks of the same names")
    settings = parser.parse_args()
    repeats = settings.repeats
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for name, region in REGIONS.items():
        image = torch.from_numpy(rng.uniform(0.1, 1, (1, *region.shape)).astype(np.float32))
        print(f"\n### {name}, {100 * region.mean():.1f} % of the image\n\n{compare(image, region, repeats)}")
        if not name.startswith("lungs"):
            print(f"\n{strategies_and_fills(image, region, repeats)}")
    if settings.data:
        packs = sorted(path.parent for path in settings.data.glob("*/masks"))
        header = ["regions", "number", "with room elsewhere", "of those touching themselves", "black", "black, shifted"]
        print(f"\n### Room for shifted regions\n\n{table(header, [room(pack) for pack in packs])}")


if __name__ == "__main__":
    main()
