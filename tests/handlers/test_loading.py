# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from torch.utils.data import BatchSampler, SequentialSampler, WeightedRandomSampler

from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.loading import NamedBatches

TABLE = pd.DataFrame({"image_id": list("abcdef"), "patient_id": range(6), "label": [0, 1] * 3, "sex": list("FFMMFM")})
IMAGES = torch.arange(6.0).reshape(6, 1, 1)


def batches(loader: Any, **changed: Any) -> list[dict[str, Any]]:
    keys = {"image_key": "image", "label_key": "label", "id_key": "image_id", "ids": None}
    return list(NamedBatches(loader, **{**keys, "cohort": Cohort.from_table(TABLE), **changed}))


def test_tuples_and_tensors_are_named_by_the_rows():
    for loader in (list(zip(IMAGES.split(4), torch.tensor([0, 1] * 3).split(4), strict=True)), IMAGES.split(4)):
        found = batches(loader)
        assert [batch["image_id"] for batch in found] == [list("abcd"), list("ef")]
        assert torch.equal(torch.cat([batch["image"] for batch in found]), IMAGES)
    assert torch.equal(found[1]["image"], IMAGES[4:])


def test_names_of_files_and_of_the_batch_come_first():
    items = [{"image": MetaTensor(image, meta={"filename_or_obj": f"/{n}.png"})} for n, image in enumerate(IMAGES)]
    for loader in (
        DataLoader(Dataset(items), batch_size=4, shuffle=True),
        [{"image": IMAGES, "image_id": list("fedcba")}],
    ):
        found = batches(loader)
    assert found == [{"image": IMAGES, "image_id": list("fedcba")}]
    assert "image_id" not in batches(DataLoader(Dataset(items), batch_size=4, shuffle=True))[0]


def test_given_names_come_before_all():
    found = batches([(IMAGES, torch.zeros(6, dtype=torch.long))], ids=range(6))
    assert found[0]["image_id"] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("batch", "keys"),
    [
        ({"pixel_values": IMAGES, "name": list("fedcba")}, {"image_key": "pixel_values", "id_key": "name"}),
        ((IMAGES, 0, list("fedcba")), {"id_key": "2"}),
        ([list("fedcba"), IMAGES.numpy()], {"image_key": "1", "id_key": "0"}),
    ],
)
def test_entries_are_named_or_numbered(batch, keys):
    (found,) = batches([batch], **keys)
    assert found[keys["id_key"]] == list("fedcba")
    assert torch.equal(torch.as_tensor(found[keys.get("image_key", "image")]), IMAGES)


def test_the_label_is_the_first_entry_that_the_network_does_not_take():
    sex, label = torch.tensor([1, 0] * 3), torch.tensor([0, 1] * 3)
    (found,) = batches([(IMAGES, sex, label)], beside=["1"])
    assert torch.equal(found["label"], label)
    with pytest.raises(ValueError, match="labels of the loader must be those of the table's rows"):
        batches([(IMAGES, sex, label)])
    assert "label" not in batches([(IMAGES, sex)], beside=["1"])[0]


def test_labels_that_are_no_classes_are_not_compared():
    assert len(batches([(IMAGES, torch.zeros(6))])) == len(batches([(IMAGES, torch.eye(6))])) == 1


def ordered_by(sampler: Any) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader([(image, 0) for image in IMAGES], sampler=sampler)


@pytest.mark.parametrize(
    ("loader", "changed", "message"),
    [
        ([], {}, "loader must give at least one batch, got none"),
        (
            [[{"image": IMAGES[0]}]],
            {},
            "batches must be dicts, tuples or tensors, got a list of dict: let the loader collate",
        ),
        ([7], {}, "batches must be dicts, tuples or tensors, got a int: let"),
        ([IMAGES], {"cohort": None}, "entry 'image_id' of the batch .* got a table for each label"),
        (
            ordered_by(WeightedRandomSampler([1.0] * 6, 6)),
            {},
            "got a loader that is ordered by a WeightedRandomSampler",
        ),
        ([IMAGES], {"ids": list("abc")}, "ids must be one for each image of the loader, got 3 for 6 or more images"),
        ([IMAGES], {"ids": list("abcdefg")}, "ids must be one for each image of the loader, got 7 for 6 images"),
        ([IMAGES[:4]], {}, "rows of the table, whose order names the images, must be .* got 6 for 4 images"),
        (
            [(IMAGES, torch.tensor([0, 1, 1, 1, 0, 0]))],
            {},
            "labels of the loader must be .* got 2 others: 1 for c, whose class is 0. Pass ids= or id_key=",
        ),
        (
            [IMAGES],
            {"cohort": Cohort.from_table(TABLE.assign(label=[0, 1, None] * 2))},
            "got one with 2 rows that are excluded",
        ),
    ],
)
def test_images_that_cannot_be_named_say_how(loader, changed, message):
    with pytest.raises(ValueError, match=message):
        batches(loader, **changed)


def test_a_sampler_of_batches_in_order_is_in_order():
    inner = BatchSampler(SequentialSampler(IMAGES), 2, drop_last=False)
    loader = torch.utils.data.DataLoader(
        [(image, label % 2) for label, image in enumerate(IMAGES)], batch_sampler=inner
    )
    assert [batch["image_id"] for batch in batches(loader)] == [list("ab"), list("cd"), list("ef")]
