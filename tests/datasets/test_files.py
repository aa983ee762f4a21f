# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import read_busbra, usable


def save(path: Path, array: np.ndarray) -> str:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return str(path)


@pytest.fixture
def good(tmp_path, rng) -> dict[str, tuple[str, str]]:
    """Image and region of images that are all right, one per way of storing the region."""
    grey = rng.integers(1, 255, (12, 20), dtype=np.uint8)
    inside = np.zeros((12, 20), dtype=bool)
    inside[3:6, 4:9] = True
    numbers = grey.astype(np.float32)
    image, colour = save(tmp_path / "grey.png", grey), save(tmp_path / "rgb.png", np.stack([grey] * 3, axis=-1))
    return {
        "one_bit": (image, save(tmp_path / "bit.png", inside)),
        "zero_one": (image, save(tmp_path / "01.png", inside.astype(np.uint8))),
        "zero_255": (colour, save(tmp_path / "255.png", inside.astype(np.uint8) * 255)),
        "boolean": (save(tmp_path / "image.npy", numbers), save(tmp_path / "roi.npy", inside)),
    }


def cohort_of(pairs: dict[str, tuple[object, object]]) -> Cohort:
    rows = [
        {"image_id": name, "patient_id": name, "label": number % 2, "image": image, "roi": roi}
        for number, (name, (image, roi)) in enumerate(pairs.items())
    ]
    return Cohort.from_table(pd.DataFrame(rows))


def test_sound_files_stay(good):
    cohort = usable(cohort_of(good))
    assert cohort.image_ids == ("one_bit", "zero_one", "zero_255", "boolean")
    assert cohort.excluded == {}


def test_unusable_images_are_excluded_with_their_reason(good, tmp_path):
    image, roi = good["zero_one"]
    (tmp_path / "text.png").write_text("no image")
    numbers = np.load(good["boolean"][0])
    holes, infinite = numbers.copy(), numbers.copy()
    holes[2, 3], infinite[0, 0] = np.nan, np.inf
    bad = {
        "absent": (str(tmp_path / "absent.png"), roi),
        "text": (str(tmp_path / "text.png"), roi),
        "holes": (save(tmp_path / "nan.npy", holes), good["boolean"][1]),
        "infinite": (save(tmp_path / "inf.npy", infinite), good["boolean"][1]),
    }
    cohort = usable(cohort_of({**good, **bad}))
    assert set(cohort.image_ids) == set(good)
    assert cohort.excluded == {
        "absent": "image missing",
        "text": "image unreadable: cannot identify image file 'text.png'",
        "holes": "image holds NaN",
        "infinite": "image holds infinite values",
    }
    assert image in cohort.table["image"].tolist()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MONAI leaves the broken file open
def test_truncated_files_are_unreadable(good, tmp_path):
    image, roi = (Path(path) for path in good["zero_one"])
    for path in (image, roi):
        (tmp_path / f"half_{path.name}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    bad = {
        "image": (str(tmp_path / f"half_{image.name}"), str(roi)),
        "roi": (str(image), str(tmp_path / f"half_{roi.name}")),
    }
    excluded = usable(cohort_of({**good, **bad})).excluded
    assert set(excluded) == {"image", "roi"}
    assert excluded["image"].startswith("image unreadable: ")
    assert excluded["roi"].startswith("roi unreadable: ")
    assert "\n" not in "".join(excluded.values())


def test_unusable_regions_exclude_their_image_if_asked(good, tmp_path):
    image = good["zero_one"][0]
    inside = np.asarray(Image.open(good["zero_one"][1]))
    grey = inside * 128
    colour = np.stack([inside] * 3, axis=-1)
    bad = {
        "no_path": (image, None),
        "absent": (image, str(tmp_path / "absent.png")),
        "empty": (image, save(tmp_path / "empty.png", inside * 0)),
        "shape": (image, save(tmp_path / "shape.png", inside[:, :10])),
        "turned": (image, save(tmp_path / "turned.npy", inside)),
        "colour": (image, save(tmp_path / "colour.png", colour)),
        "grey": (image, save(tmp_path / "grey_roi.png", grey)),
        "holes": (good["boolean"][0], save(tmp_path / "nan.npy", np.where(inside, np.nan, 0.0))),
    }
    cohort = usable(cohort_of({**good, **bad}))
    assert set(cohort.image_ids) == set(good)
    assert cohort.excluded == {
        "no_path": "roi missing",
        "absent": "roi missing",
        "empty": "roi empty",
        "shape": "roi shape (1, 10, 12) differs from image shape (1, 20, 12)",
        "turned": "roi shape (1, 12, 20) differs from image shape (1, 20, 12)",
        "colour": "roi shape (3, 20, 12) differs from image shape (1, 20, 12)",
        "grey": "roi holds values other than 0 and 1",
        "holes": "roi holds values other than 0 and 1",
    }
    everything = usable(cohort_of({**good, **bad}), require_roi=False)
    assert len(everything) == len(good) + len(bad)
    assert everything.excluded == {}


def test_images_without_regions_and_cohorts_without_images(good):
    cohort = cohort_of(good)
    alone = Cohort.from_table(cohort.table.drop(columns="roi"))
    assert len(usable(alone)) == 4
    with pytest.raises(ValueError, match=r"must have image paths, got columns patient_id, label, roi\."):
        usable(Cohort.from_table(cohort.table.drop(columns="image")))


def test_real_files_are_usable(busbra):
    cohort = read_busbra(busbra)
    cohort = cohort.select(cohort.image_ids[::40])
    assert usable(cohort).image_ids == cohort.image_ids
