# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA
from PIL import Image

from monai_shortcut.datasets import read_hc18, usable, write_hc18_regions
from monai_shortcut.datasets.hc18 import _convex_hull

TABLE = "training_set_pixel_size_and_HC.csv"
HEADER = "filename,pixel size(mm),head circumference (mm)"
ROWS = ("000_HC.png,0.069135804,44.3", "014_HC.png,0.1,100", "014_2HC.png,0.2,249.99", "805_HC.png,0.3,250.0")
HEIGHT, WIDTH = 54, 80


def ellipse(centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.3) -> np.ndarray:
    """(HEIGHT, WIDTH) the pixels whose centres are in an ellipse."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    across = (columns - centre[1]) * np.cos(angle) + (rows - centre[0]) * np.sin(angle)
    along = (rows - centre[0]) * np.cos(angle) - (columns - centre[1]) * np.sin(angle)
    return (across / axes[0]) ** 2 + (along / axes[1]) ** 2 <= 1


def outline(region: np.ndarray) -> np.ndarray:
    """The pixels of a region that have a neighbour outside; the image's border is no outline."""
    padded = np.pad(region, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inner


HEADS = [
    ellipse((26, 40), (25, 18)),
    ellipse((20, 30), (12, 9), 1.2),
    ellipse((27, 50), (20, 20)),
    ellipse((26, 6), (20, 16)),
]


@pytest.fixture
def published(tmp_path, rng) -> Path:
    images = tmp_path / "training_set"
    images.mkdir()
    (tmp_path / TABLE).write_text("\n".join((HEADER, *ROWS)) + "\n")
    for row, head in zip(ROWS, HEADS, strict=True):
        stem = row.split(".png")[0]
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)).save(images / f"{stem}.png")
        Image.fromarray(np.uint8(255 * outline(head))).save(images / f"{stem}_Annotation.png")
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    write_hc18_regions(published, published / "heads")
    cohort = read_hc18(published, regions=published / "heads")
    assert cohort.image_ids == ("000_HC", "014_HC", "014_2HC", "805_HC")
    assert cohort.patients.tolist() == ["exam000", "exam014", "exam014", "exam805"]
    assert cohort.label_names == ("first", "second", "third")
    assert cohort.labels.tolist() == [0, 1, 1, 2]
    assert cohort.attributes == ("pixel_size_mm", "head_circumference_mm")
    assert cohort.values("pixel_size_mm").tolist() == [0.069135804, 0.1, 0.2, 0.3]
    assert cohort.values("head_circumference_mm").tolist() == [44.3, 100, 249.99, 250]
    assert usable(cohort).excluded == {}
    assert "roi" not in read_hc18(published).table


def test_outlines_are_filled_each_with_its_own_head(published):
    paths = write_hc18_regions(published, published / "heads")
    assert [path.name for path in paths] == ["000_HC.png", "014_HC.png", "014_2HC.png", "805_HC.png"]
    for path, head in zip(paths[:3], HEADS[:3], strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)) > 0, head)
        assert head.sum() > 3 * outline(head).sum()
    cut_off = np.asarray(Image.open(paths[3])) > 0
    assert not (cut_off & ~HEADS[3]).any()
    assert cut_off.sum() > 0.98 * HEADS[3].sum()


def test_the_hull_of_a_filled_head_is_the_head_and_lines_stay_lines():
    for head in HEADS:
        np.testing.assert_array_equal(_convex_hull(head), head)
    line = np.zeros((5, 6), dtype=bool)
    line[2, 1:4] = True
    np.testing.assert_array_equal(_convex_hull(line), line)
    corners = np.zeros((5, 6), dtype=bool)
    corners[[0, 0, 4], [0, 4, 0]] = True
    rows, columns = np.indices((5, 6))
    np.testing.assert_array_equal(_convex_hull(corners), rows + columns <= 4)


def test_annotations_that_say_nothing_leave_images_without_region(published):
    images = published / "training_set"
    (images / "000_HC_Annotation.png").unlink()
    (images / "014_HC_Annotation.png").write_text("no image")
    Image.new("L", (WIDTH, HEIGHT)).save(images / "014_2HC_Annotation.png")
    assert [path.name for path in write_hc18_regions(published, published / "heads")] == ["805_HC.png"]
    cohort = read_hc18(published, regions=published / "heads")
    assert set(usable(cohort).excluded) == {"000_HC", "014_HC", "014_2HC"}


def test_a_folder_inside_itself_is_read(published):
    (published / "training_set").rename(published / "inner")
    (published / "training_set").mkdir()
    (published / "inner").rename(published / "training_set" / "training_set")
    cohort = read_hc18(published)
    assert cohort.table.loc["000_HC", "image"] == str(published / "training_set" / "training_set" / "000_HC.png")
    os.replace(published / TABLE, published / "training_set" / TABLE)
    assert read_hc18(published).image_ids == cohort.image_ids


def test_the_pack_has_the_counts_of_its_readme():
    folder = DATA / "hc18-fetal-head"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set MONAI_SHORTCUT_DATA to the folder that holds hc18-fetal-head")
    cohort = read_hc18(folder)
    assert len(cohort) == 688
    assert len(set(cohort.patients)) == 557
    assert np.bincount(cohort.labels).tolist() == [128, 464, 96]
    circumference = cohort.values("head_circumference_mm")
    np.testing.assert_array_equal(cohort.labels, np.digitize(circumference, [100, 250]))
    assert round(np.corrcoef(cohort.values("pixel_size_mm"), circumference)[0, 1], 2) == 0.82
    some = cohort.select(cohort.image_ids[::50])
    assert usable(some).excluded == {}
    for path in some.table["roi"]:  # real heads are convex, so the hull of the outline is the head but for a few pixels
        head = np.asarray(Image.open(path)) > 0
        padded = np.pad(head, 1)
        edge = head & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])
        assert (_convex_hull(edge) ^ head).sum() < 0.02 * head.sum()


def test_wrong_folders_and_tables_are_refused(tmp_path, published):
    with pytest.raises(FileNotFoundError, match=r"must hold training_set.*\.csv and training_set \(or metadata\.csv\)"):
        read_hc18(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"regions must be in a folder, .* got nowhere\."):
        read_hc18(published, regions="nowhere")
    (published / TABLE).write_text("filename,pixel size\n000_HC.png,0.1\n")
    with pytest.raises(ValueError, match=r"must have columns filename, .* got none named pixel size\(mm\), head"):
        read_hc18(published)
    (published / TABLE).write_text("\n".join((HEADER, *ROWS)))
    (published / "training_set").rename(published / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"and training_set \(or metadata\.csv\), got .* with: elsewhere, "):
        read_hc18(published)
    (published / "metadata.csv").write_text("image,label\na.png,first\n")
    with pytest.raises(ValueError, match=r"regions must not be given for a pack, which has its own, got heads\."):
        read_hc18(published, regions="heads")
    with pytest.raises(ValueError, match=r"metadata\.csv must have columns image, .* got none named patient_id,"):
        read_hc18(published)
