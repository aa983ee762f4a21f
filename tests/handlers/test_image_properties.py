# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Properties of images as attributes: a network that uses brightness is found out without a column that names it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized
from PIL import Image
from torch import nn

from monai_shortcut import audit_classifier, image_properties
from monai_shortcut.audit import Audit, AuditSettings
from monai_shortcut.audit.measured import NOT_SEEN
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.handlers.recording import file_shapes
from monai_shortcut.regions.properties import MEAN, NOISE, PROPERTIES, SIZE, TEXT
from monai_shortcut.report import write_report

QUICK = AuditSettings(permutations=19, bootstraps=19, repeats=1, erasures=3, held_out=0, image_properties=True)
IMAGES = 240


class Contrast(nn.Module):
    """Reads by how much the middle is brighter than the frame, and how bright the frame is; the label is the first."""

    def __init__(self, use: float) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0, 0.0], [10.0, use]]))
            self.head.bias.copy_(torch.tensor([0.0, -2.5 - 0.5 * use]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        frame = images[..., :6].mean(dim=(1, 2, 3))
        return self.head(torch.stack([images[..., 8:16, 8:16].mean(dim=(1, 2, 3)) - frame, frame], dim=1))


@pytest.fixture(scope="module")
def drawn() -> tuple[torch.Tensor, pd.DataFrame]:
    """Images whose scanner shifts all pixels; the table does not tell which scanner it was."""
    rng = np.random.default_rng(5)
    label, shift = np.arange(IMAGES) % 2, rng.choice([0.3, 0.5, 0.7], size=IMAGES)
    images = rng.normal(0, 0.05, size=(IMAGES, 1, 24, 24)) + shift[:, None, None, None]
    images[..., 8:16, 8:16] += (label * 0.5 + rng.normal(0, 0.15, size=IMAGES))[:, None, None, None]
    table = pd.DataFrame({"image_id": [f"i{number}" for number in range(IMAGES)], "label": label})
    table["patient_id"], table["sex"] = table["image_id"], rng.choice(["F", "M"], size=IMAGES)
    return torch.as_tensor(images, dtype=torch.float32), table


def audited(drawn: tuple[torch.Tensor, pd.DataFrame], use: float) -> Audit:
    images, table = drawn
    batches = [{"image": images[at : at + 60], "image_id": table["image_id"][at : at + 60]} for at in range(0, 240, 60)]
    found: Audit = audit_classifier(Contrast(use), batches, table, settings=QUICK)
    return found


@pytest.fixture(scope="module")
def using(drawn) -> Audit:
    return audited(drawn, 12.0)


def test_brightness_that_is_used_is_found_without_a_column(drawn, using):
    assert using.finding(MEAN).verdict == "used"
    assert using.finding("sex").verdict != "used"
    assert using.finding(NOISE).verdict != "used"
    assert audited(drawn, 0.0).finding(MEAN).verdict != "used"


def test_properties_are_marked_and_those_that_say_nothing_are_named(using, tmp_path):
    assert using.finding(MEAN).measured == PROPERTIES[MEAN]
    assert using.finding("sex").measured == ""
    assert using.finding(MEAN).kind == "continuous"
    assert set(PROPERTIES) - {one.attribute for one in using.findings} >= {TEXT, SIZE}
    (note,) = using.notes
    assert "image text (every image has the same value (absent))" in note
    assert "image original size (all values are missing)" in note
    assert using.settings.permutations == (1 + len(PROPERTIES)) * 20 - 1  # all count in the correction
    using.to_json(tmp_path / "audit.json")
    assert Audit.from_json(tmp_path / "audit.json").finding(MEAN).measured == PROPERTIES[MEAN]


@pytest.mark.slow
def test_the_page_says_that_it_is_measured(using, tmp_path):
    page = write_report(using, tmp_path).read_text()
    assert f"Measured from the images as the model sees them: {PROPERTIES[MEAN]}." in " ".join(page.split())


def test_an_evaluator_measures_what_the_network_gets_and_knows_the_files(tmp_path):
    """Of resized files: properties are those of the resized image, and the size is that of the file."""
    rng = np.random.default_rng(0)
    rows, items = [], []
    for number in range(40):
        size = (30 + number % 2 * 10, 20)
        path = tmp_path / f"{number:02}.png"
        Image.fromarray(rng.integers(0, 255, size=size, dtype=np.uint8)).save(path)
        rows.append({"image_id": path.stem, "patient_id": number, "label": number // 2 % 2, "sex": "FM"[number % 2]})
        items.append({"image": str(path)})
    steps = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), Resized("image", (24, 24))])
    network = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(9, 2))
    settings = AuditSettings(permutations=9, bootstraps=9, repeats=1, erasures=1, held_out=0, image_properties=True)
    cohort = Cohort.from_table(pd.DataFrame(rows))
    handler = ShortcutAudit(network, cohort, None, settings=settings, attributes=["sex"])
    dataset = Dataset(items, steps)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=16),
        network=network,
        val_handlers=[handler],
        prepare_batch=lambda batch, device, non_blocking: (batch["image"].to(device), None),
    )
    evaluator.run()
    found = handler.recorded.properties
    batch = torch.stack([torch.as_tensor(item["image"]) for item in dataset])
    expected = image_properties(batch, [(20, 30 + number % 2 * 10) for number in range(40)])
    for name in PROPERTIES:
        np.testing.assert_allclose(found[name], expected[name])
    assert handler.audit.finding(SIZE).levels == {"<= 600": 20, "> 600": 20}
    assert "image aspect ratio" in {one.attribute for one in handler.audit.findings}


def test_images_that_were_not_loaded_have_no_file():
    assert file_shapes(torch.zeros(2, 1, 4, 4)) == [None, None]


def test_an_audit_of_arrays_says_that_it_sees_no_image(rng):
    from monai_shortcut.audit import audit

    labels = np.arange(60) % 2
    found = audit(
        rng.normal(size=(60, 2)) + labels[:, None],
        np.eye(2),
        np.zeros(2),
        labels,
        list(map(str, range(60))),
        {"sex": np.array(["F", "M", "M"] * 20, dtype=object)},
        label_names=("a", "b"),
        settings=QUICK,
    )
    assert found.notes == (NOT_SEEN,)


def test_columns_and_settings_must_leave_room_for_what_is_measured(drawn):
    images, table = drawn
    clash = table.assign(**{MEAN: range(IMAGES)})
    with pytest.raises(ValueError, match=r"must not be called as what is measured.*image mean"):
        audit_classifier(Contrast(0.0), [images], clash, settings=QUICK)
    with pytest.raises(ValueError, match="image_properties must be true or false, got 1"):
        AuditSettings(image_properties=1)
    held = AuditSettings(image_properties=True, edges={NOISE: (0.5,)}, adjust_for=(MEAN,))
    assert ShortcutAudit(Contrast(0.0), Cohort.from_table(table), None, settings=held).settings is held
