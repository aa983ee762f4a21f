# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re

import pytest
from bundle_data import BUNDLES
from monai.bundle import run
from scanner_images import first_cause

from monai_shortcut.workflows import check_training

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
GIVEN = {"training": range(30), "validation": range(9), "batch_size": 16, "max_epochs": 3, "val_interval": 1}
GIVEN |= {"patience": 20}
TRAINED = sorted(path.parent for path in BUNDLES.glob("*/configs/train.json"))


@pytest.mark.parametrize(
    "given", [{}, {"batch_size": 1}, {"batch_size": 30}, {"val_interval": 3}, {"validation": [0]}, {"patience": 1}]
)
def test_a_training_that_can_run_is_not_refused(given):
    check_training(**GIVEN | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"training": []}, "train#dataset must hold images, got none: look at the folds and at the images left out."),
        ({"validation": []}, "validate#dataset must hold images, got none: look at the folds"),
        ({"max_epochs": 0}, "max_epochs must be an integer of at least 1, got 0."),
        ({"val_interval": 4}, "val_interval must be an integer from 1 to 3 (max_epochs), got 4."),
        ({"val_interval": 0}, "val_interval must be an integer from 1 to 3 (max_epochs), got 0."),
        ({"val_interval": 1.5}, "val_interval must be an integer from 1 to 3 (max_epochs), got 1.5."),
        ({"val_interval": True}, "val_interval must be an integer from 1 to 3 (max_epochs), got True."),
        (
            {"batch_size": 31},
            "batch_size must be an integer from 1 to 30 (training images of a process; what is left of them is dropped)"
            ", got 31.",
        ),
        ({"batch_size": 0}, "batch_size must be an integer from 1 to 30 ("),
        ({"patience": 0}, "patience must be an integer of at least 1, got 0."),
    ],
)
def test_a_training_that_would_end_without_a_model_is_refused_by_the_name_of_the_key(given, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        check_training(**GIVEN | given)


@pytest.mark.parametrize("folder", TRAINED, ids=lambda folder: folder.parent.name)
def test_what_depends_on_a_validation_listens_to_the_validator(folder):
    config = json.loads((folder / "train.json").read_text())
    assert "metrics[" not in json.dumps(config["train"])
    (place,) = [
        index
        for index, handler in enumerate(config["validate"]["handlers"])
        if "engine.state.metrics[" in handler.get("score_function", "")
    ]
    for name in ("train", "multi_gpu_train"):
        begun = json.loads((folder / f"{name}.json").read_text())["initialize"]
        assert f"$@validate#handlers#{place}.set_trainer(@train#trainer)" in begun
        (checked,) = [step for step in begun if isinstance(step, dict)]
        assert checked["_target_"] == "monai_shortcut.workflows.check_training"
        asked = {key: value.lstrip("@") for key, value in checked.items() if key != "_target_"}
        numbers = {key for key, value in asked.items() if key == value}
        assert numbers == {"batch_size", "max_epochs", "val_interval", "patience"} <= set(config)


def phantoms(output, **given) -> None:
    folder = BUNDLES / "planted_region" / "configs"
    run(
        config_file=str(folder / "train.json"),
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        output_dir=str(output),
        patients=24,
        size=32,
        **{"batch_size": 8, **given},
    )


@pytest.mark.parametrize(
    "given",
    [
        {"max_epochs": 3, "val_interval": 2},
        pytest.param(
            {"max_epochs": 4, "val_interval": 2, "patience": 1, "train#dataloader#num_workers": 1},
            marks=pytest.mark.slow,
        ),
        pytest.param({"max_epochs": 1, "batch_size": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_bundle_trains_at_any_interval_with_any_batch(given, tmp_path):
    phantoms(tmp_path, **given)
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_epochs": 3, "val_interval": 4}, "val_interval must be an integer from 1 to 3 (max_epochs), got 4."),
        ({"validate#dataset#data": []}, "validate#dataset must hold images, got none"),
        ({"batch_size": 1000}, "batch_size must be an integer from 1 to "),
    ],
)
def test_a_bundle_says_which_key_keeps_it_from_training(given, said, tmp_path):
    with pytest.raises(Exception) as caught:  # noqa: PT011  whatever MONAI makes of it
        phantoms(tmp_path, **given)
    assert said in str(first_cause(caught.value))
    assert not (tmp_path / "model.pt").exists()
