# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from hidden_groups import QUICK
from ignite.engine import Engine
from matplotlib.image import imread
from monai.data import DataLoader, Dataset
from torch import nn

from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.handlers import shortcut_audit as module

PATIENTS, SIDE = 120, 160


@pytest.fixture(scope="module")
def images() -> tuple[Dataset, Cohort, nn.Module]:
    """Quarters of the images hold the label, a scanner that no column names, and nothing; the network reads two."""
    rng = np.random.default_rng(0)
    label, scanner = rng.integers(2, size=(2, PATIENTS))
    quarters = rng.normal(size=(PATIENTS, 4)) + np.stack([3 * label, 12 * scanner, 0 * label, 0 * label], axis=1)
    planes = np.kron(quarters.reshape(-1, 2, 2), np.ones((SIDE // 2, SIDE // 2))).astype(np.float32)
    names = [f"image_{row}" for row in range(PATIENTS)]
    items = [{"image": plane[None], "image_id": name} for plane, name in zip(planes, names, strict=True)]
    table = pd.DataFrame({"image_id": names, "patient_id": names, "label": np.array(["a", "b"])[label]})
    table["operator"] = np.array(["one", "two"])[rng.integers(2, size=PATIENTS)]
    network = nn.Sequential(nn.AvgPool2d(SIDE // 2), nn.Flatten(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1.5, 0.4, 0, 0]]))
        network[2].bias.copy_(torch.tensor([0.0, -4.5]))
    return Dataset(items), Cohort.from_table(table, attributes=["operator"]), network


def groups(images, folder, **privacy: bool):
    data, cohort, network = images
    settings = replace(QUICK, discovered_groups=2, minimum_patients=5, privacy=privacy)
    handler = ShortcutAudit(network, cohort, folder, settings=settings)
    engine = Engine(lambda _, batch: network(batch["image"]))
    handler.attach(engine)
    engine.run(DataLoader(data, batch_size=16))
    (record,) = handler.audits.values()
    return record.discovered, (folder / "report.html").read_text()


def test_members_are_shown_as_the_network_saw_them(images, tmp_path):
    found, page = groups(images, tmp_path, ids=True, pixels=True)
    data = {item["image_id"]: item["image"][0] for item in images[0]}
    shown = [content for row in found.examples for content in row.pictures.values()]
    names = [image for one in found.found.groupings for group in one.groups for pair in group.beside for image in pair]
    assert len(shown) == len(names) > 0
    for name, content in zip(names, shown, strict=True):
        plane = data[name][::2, ::2]
        expected = (plane - plane.min()) / (plane.max() - plane.min())
        decoded = imread(BytesIO(base64.b64decode(content)), format="png")[..., 0]
        np.testing.assert_allclose(decoded, expected, atol=1 / 128)
    assert "Members of each group beside similar images that are none" in page
    assert f"groups of {found.examples[0].label}" in page
    assert "Typical members, each beside" not in page


@pytest.mark.slow
def test_no_picture_is_kept_without_leave(images, tmp_path):
    found, page = groups(images, tmp_path, ids=True)
    assert found.examples == ()
    assert "Members of each group" not in page


@pytest.mark.slow
def test_no_more_pictures_are_kept_than_the_limit(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_THUMBNAILS", 0)
    assert groups(images, tmp_path, ids=True, pixels=True)[0].examples == ()
