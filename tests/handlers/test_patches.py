# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Several images of one name, such as patches of a whole slide."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, list_data_collate
from monai.handlers import CheckpointLoader
from torch import nn

from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.handlers.recording import image_names, means
from monai_shortcut.handlers.weights import watch, weights_read
from monai_shortcut.workflows import watching

SLIDES, PATCHES = 24, 5
QUICK = AuditSettings(permutations=19, bootstraps=19, minimum_patients=2, repeats=1, erasures=1, held_out=0)


@pytest.fixture(scope="module")
def slides() -> tuple[np.ndarray, pd.DataFrame]:
    """(120, 1, 2, 2) patches, of 24 slides in turn, and a row for each slide."""
    rng = np.random.default_rng(0)
    label, scanner = np.arange(SLIDES) % 2, rng.permutation(np.arange(SLIDES) % 2)
    patches = rng.normal(size=(SLIDES * PATCHES, 1, 2, 2)).astype(np.float32)
    patches[:, 0, 0, 0] += np.tile(2 * label, PATCHES)
    table = pd.DataFrame({"image_id": [f"slide_{number:02}" for number in range(SLIDES)]})
    table["patient_id"] = [f"p{number // 2}" for number in range(SLIDES)]
    return patches, table.assign(label=label, scanner=np.where(scanner, "B", "A"))


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def run(slides: Any, table: pd.DataFrame, **changed: Any) -> ShortcutAudit:
    """Audit the patches as MONAI's datasets of whole slides give them."""
    net = network()
    handler = ShortcutAudit(net, Cohort.from_table(table), None, settings=QUICK, **changed)
    engine = Engine(lambda engine, batch: net(batch["image"].as_tensor()))
    handler.attach(engine)
    metas = [
        {"path": f"/data/slide_{number % SLIDES:02}.tif", "location": np.array([number // SLIDES * 512, 64])}
        for number in range(len(slides))
    ]
    items = [{"image": MetaTensor(torch.as_tensor(one), meta=meta)} for one, meta in zip(slides, metas, strict=True)]
    engine.run([list_data_collate(items[start : start + 16]) for start in range(0, len(items), 16)])
    return handler


def test_patches_of_a_slide_are_told_apart_by_their_place(slides):
    patches, table = slides
    places = [row // SLIDES * 512 for row in range(len(patches))]
    rows = pd.concat([table] * PATCHES, ignore_index=True)
    rows["image_id"] = [f"{name}_{place}_64" for name, place in zip(rows["image_id"], places, strict=True)]
    record = run(patches, rows).audit
    assert sum(record.labels.values()) == SLIDES * PATCHES
    assert record.patients == SLIDES // 2
    assert record.notes == ()
    assert record.weights is None  # nobody watched


def test_patches_are_averaged_for_each_slide(slides):
    patches, table = slides
    handler = run(patches, table, patches="mean")
    expected = patches.reshape(PATCHES, SLIDES, 4).mean(axis=0)
    np.testing.assert_allclose(handler.embeddings, expected, atol=1e-6)
    assert handler.image_ids == tuple(table["image_id"])
    assert sum(handler.audit.labels.values()) == SLIDES
    assert handler.audit.notes == ("What the head reads of 120 patches is averaged for each of 24 images.",)


def test_each_patch_is_audited_with_the_label_and_patient_of_its_slide(slides):
    patches, table = slides
    handler = run(patches, table, patches="each")
    record = handler.audit
    assert record.labels == {"0": SLIDES // 2 * PATCHES, "1": SLIDES // 2 * PATCHES}
    assert record.patients == SLIDES // 2
    assert sum(record.finding("scanner").levels.values()) == SLIDES * PATCHES
    assert record.notes == ("Each of 120 patches is audited by itself, with the label and patient of its image.",)
    assert handler.image_ids[:2] == ("slide_00", "slide_01")
    assert handler.image_ids[SLIDES : SLIDES + 2] == ("slide_00 (2)", "slide_01 (2)")
    task_rows = handler._matchers[""].match(handler.recorded)
    embeddings = handler.embeddings[task_rows.rows]
    for row, name in enumerate(task_rows.cohort.image_ids):  # each row of the cohort is beside its own patch
        slide, _, number = name.partition(" (")
        patch = SLIDES * (int(number.rstrip(")") or 1) - 1) + int(slide[-2:])
        np.testing.assert_allclose(embeddings[row], patches[patch].reshape(-1))
        assert task_rows.cohort.table["label"].iloc[row] == str(int(slide[-2:]) % 2)


def test_a_loader_whose_patches_have_the_names_of_slides_says_so_first(slides):
    patches, table = slides
    net = network()
    handler = ShortcutAudit(net, Cohort.from_table(table), None, settings=QUICK)
    engine = Engine(lambda engine, batch: net(batch["image"]))
    handler.attach(engine)
    engine.run([{"image": torch.as_tensor(patches), "image_id": table["image_id"].tolist() * PATCHES}])
    assert handler.audit.notes == (
        "96 of 120 images have the name of another one and are left out. Give patches ids of their own, or choose "
        'patches="mean" or "each".',
    )


def test_a_large_share_without_counterpart_is_said_first_and_may_be_refused(slides):
    patches, table = slides
    told = "12 of 24 images have no row, and 0 of 12 rows no image"
    record = run(patches, table[:12], patches="mean").audit
    assert record.notes[0] == f"{told}: this is about those that have both."
    assert not run(patches, table[1:], patches="mean").audit.notes[0].startswith("1 of 24")  # a small share
    with pytest.raises(ValueError, match=rf"at most 10% .* without counterpart \(most_unmatched\), got: {told}\."):
        run(patches, table[:12], patches="mean", most_unmatched=0.1)


def test_what_patches_cannot_be_is_refused(slides):
    with pytest.raises(ValueError, match=r"patches must be one of \('first', 'each', 'mean'\), got 'all'"):
        run(*slides, patches="all")
    with pytest.raises(ValueError, match="patches must be \"first\" with roi_key, got 'mean'"):
        run(*slides, patches="mean", roi_key="roi")
    with pytest.raises(ValueError, match=r'"CopyItemsd", "keys": "image", "names": "image_id"} as the first transform'):
        image_names({"image": torch.zeros(2, 1, 4, 4)}, "image", "image_id")


def test_rows_of_a_name_are_averaged_in_the_order_in_which_names_come():
    rows = np.array([[1.0, 2.0], [5.0, 5.0], [3.0, 6.0]], dtype=np.float32)
    found = means(["b", "a", "b"], rows)
    assert found.tolist() == [[2.0, 4.0], [5.0, 5.0]]
    assert found.dtype == np.float32


def test_weights_are_known_of_a_run_that_is_watched_and_of_loaders(tmp_path):
    engine = Engine(lambda engine, batch: None)
    assert weights_read(engine, watched=False) is None
    watch()
    torch.save({}, tmp_path / "a.pt")
    torch.load(tmp_path / "a.pt")
    digest = hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()
    assert weights_read(engine, watched=False) is None
    assert weights_read(engine, watched=True) == {digest: "a.pt"}
    assert weights_read(engine, watched=True) is None  # it has ended
    watch()
    assert weights_read(engine, watched=True) == {}
    CheckpointLoader(str(tmp_path / "a.pt"), {"model": nn.Linear(1, 1)}).attach(engine)
    assert weights_read(engine, watched=False) == {digest: "a.pt"}
    with pytest.raises(AttributeError, match=r"module 'monai_shortcut.workflows.watching' has no attribute 'ended'"):
        watching.ended  # noqa: B018
