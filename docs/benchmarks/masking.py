# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Masking with a margin beside iterated 3 x 3 dilation: equal pixels, and time per image, as tables in Markdown.

Run from the root of the repository. It takes about two minutes, and another one with real images:

    OMP_NUM_THREADS=1 python docs/benchmarks/masking.py --data DATA

`--only ratios` prints the table of ratios alone.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, generate_binary_structure

from monai_shortcut.regions.strategies import FILLS, METRICS, STRATEGIES, RegionError, RegionMargins, mask_roi

K = TypeVar("K", bound=Hashable)

MARGINS = (0, 5, 50, 500)
CURVE = (0, 5, 10, 25, 50, 100, 150, 200, 300, 400, 500)  # the published one


def ellipses(shape: Sequence[int], *parts: tuple[Sequence[float], Sequence[float]]) -> NDArray[np.bool_]:
    """A region of ellipses, each with a centre and radii given as shares of the sides."""
    grid = np.indices(shape).reshape(len(shape), -1) / np.array(shape)[:, None]
    inside = [(((grid.T - centre) / radii) ** 2).sum(axis=1) <= 1 for centre, radii in parts]
    region: NDArray[np.bool_] = np.any(inside, axis=0).reshape(shape)
    return region


HALVES = ((0.5, 0.28), (0.35, 0.16)), ((0.5, 0.72), (0.35, 0.16))
REGIONS = {
    "lesion, 1 x 512 x 512": ellipses((512, 512), ((0.45, 0.55), (0.08, 0.12))),
    "lungs, 1 x 512 x 512": ellipses((512, 512), *HALVES),
    "lesion, 1 x 128 x 128 x 128": ellipses((128,) * 3, ((0.45, 0.55, 0.5), (0.1, 0.14, 0.12))),
}
HARDER = {  # 500 pixels from a corner do not cover the image; a box as large as the image leaves nothing to skip
    "lesion in a corner, 1 x 512 x 512": ellipses((512, 512), ((0.08, 0.08), (0.07, 0.07))),
    "centre and two corners, 1 x 512 x 512": ellipses(
        (512, 512), ((0.02, 0.02), (0.015, 0.015)), ((0.98, 0.98), (0.015, 0.015)), ((0.5, 0.5), (0.2, 0.2))
    ),
    "lungs, 1 x 128 x 128 x 128": ellipses((128,) * 3, *[((*c, 0.5), (*r, 0.3)) for c, r in HALVES]),
}


def iterated(image: torch.Tensor, region: NDArray[np.bool_], passes: int) -> torch.Tensor:
    """The image without its region, as published: so many passes of a cross, then a product."""
    cross = generate_binary_structure(region.ndim, 1)
    # SciPy repeats until nothing changes where it is asked for no pass at all.
    grown = binary_dilation(region, cross, iterations=passes) if passes else region
    return image * torch.from_numpy(~grown)[None]


def milliseconds(steps: Mapping[K, Callable[[], object]], repeats: int) -> dict[K, float]:
    """Median processor time of each call; they take turns, after one call each to warm up."""
    times: dict[K, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn:
                times[name].append(time.process_time() - start)
    return {name: 1000 * median(values) for name, values in times.items()}


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
        masked = [mask_roi(image, roi, margin=margin, metric=metric) for metric in ("taxicab", "euclidean")]
        differ = [f"{100 * float((other != published).double().mean()):.2f} %" for other in masked]
        steps: dict[str, Callable[[], object]] = {"iterated": partial(iterated, image, region, margin)}
        steps |= {metric: partial(mask_roi, image, roi, margin=margin, metric=metric) for metric in METRICS}
        rows.append([margin, *differ, *in_order(milliseconds(steps, repeats))])
    for name, margins in (("the four together", MARGINS), ("the published eleven", CURVE)):
        rows.append([name, "", "", *in_order(milliseconds(curves(image, region, margins), repeats))])
    header = ["margin", "taxicab differs", "Euclidean differs", "iterated, ms", "taxicab, ms", "Euclidean, ms"]
    return table(header, rows)


def curves(image: torch.Tensor, region: NDArray[np.bool_], margins: Sequence[int]) -> dict[str, Callable[[], object]]:
    """All margins of an image as published, and from one `RegionMargins`."""
    roi = torch.from_numpy(region)[None]
    steps: dict[str, Callable[[], object]] = {"iterated": lambda: [iterated(image, region, m) for m in margins]}
    return steps | {metric: partial(curve, image, roi, margins, metric) for metric in METRICS}


def in_order(times: Mapping[str, float]) -> list[float]:
    """Times in the order of the columns."""
    return [times[name] for name in ("iterated", "taxicab", "euclidean")]


def ratios(image: torch.Tensor, region: NDArray[np.bool_], repeats: int, repetitions: int) -> list[list[str]]:
    """By metric: what a margin of 500 costs against one of 5, and how much faster the published margins are."""
    roi, found = torch.from_numpy(region)[None], []
    for _ in range(repetitions):
        steps = curves(image, region, CURVE)
        for margin, metric in itertools.product((5, 500), METRICS):
            steps[f"{metric} {margin}"] = partial(mask_roi, image, roi, margin=margin, metric=metric)
        found.append(milliseconds(steps, repeats))
    rows = []
    for metric in ("taxicab", "euclidean"):
        far = [times[f"{metric} 500"] / times[f"{metric} 5"] for times in found]
        faster = [times["iterated"] / times[metric] for times in found]
        rows.append([metric, *(f"{median(kind):.2f} ({min(kind):.2f} to {max(kind):.2f})" for kind in (far, faster))])
    return rows


def strategies_and_fills(image: torch.Tensor, region: NDArray[np.bool_], repeats: int) -> str:
    """Time of every strategy with a number, and of every fill."""
    roi = torch.from_numpy(region)[None]
    other = roi.flip(1)
    usual: list[tuple[str, float | str]] = [("without_roi", fill) for fill in FILLS if fill != "inpaint"]
    shown = [("roi_only", fill) for _, fill in usual]
    settings = [*((name, 0) for name in STRATEGIES), *itertools.chain(*zip(usual, shown, strict=True))]
    steps = {pair: partial(mask_roi, image, roi, pair[0], fill=pair[1], swapped_roi=other) for pair in settings}
    times = milliseconds(steps, repeats)
    if image.ndim == 3:  # inpainting solves a linear system with an unknown for each hidden pixel
        times |= milliseconds({("without_roi", "inpaint"): partial(mask_roi, image, roi, fill="inpaint")}, 1)
    return table(["strategy", "fill", "ms"], [[*pair, time] for pair, time in times.items()])


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


def ratio_table(repeats: int, repetitions: int) -> str:
    """Ratios of all regions, the median of all repetitions and their range."""
    rows = []
    for name, region in {**REGIONS, **HARDER}.items():
        rows += [[name, *row] for row in ratios(image_of(region), region, repeats, repetitions)]
    return table(["region", "metric", "500 against 5 pixels", "the published eleven, times faster than iterated"], rows)


def image_of(region: NDArray[np.bool_]) -> torch.Tensor:
    """An image to mask."""
    return torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1, (1, *region.shape)).astype(np.float32))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--repetitions", type=int, default=3, help="of all ratios")
    parser.add_argument("--only", choices=["ratios"], help="one table alone")
    parser.add_argument("--data", type=Path, help="folder of packs, each with images and masks of the same names")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"\n### Ratios\n\n{ratio_table(settings.repeats, settings.repetitions)}")
    if settings.only:
        return
    for name, region in REGIONS.items():
        image = image_of(region)
        print(f"\n### {name}, {100 * region.mean():.1f} % of the image\n\n{compare(image, region, settings.repeats)}")
        if not name.startswith("lungs"):
            print(f"\n{strategies_and_fills(image, region, settings.repeats)}")
    if settings.data:
        packs = sorted(path.parent for path in settings.data.glob("*/masks"))
        header = ["regions", "number", "with room elsewhere", "of those touching themselves", "black", "black, shifted"]
        print(f"\n### Room for shifted regions\n\n{table(header, [room(pack) for pack in packs])}")


if __name__ == "__main__":
    main()
