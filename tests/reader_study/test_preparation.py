# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_shortcut.reader_study import Display, StudyKey, prepare
from monai_shortcut.reader_study.pictures import masked, pictures

NAMES = ("full", "without_roi", "silhouette")
SHOWN = Display(window=(0, 1))


class Items:
    """A dataset that notes which items are read; the region of item 7 is empty."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.images, self.read = torch.as_tensor(rng.random((count, 1, 8, 6))), []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.read.append(index)
        roi = torch.zeros(1, 8, 6)
        roi[0, 1 + index % 4 : 3 + index % 4, 1:4] = index != 7
        return {"image": self.images[index], "roi": roi}


@pytest.fixture
def given():
    rng = np.random.default_rng(1)
    return {
        "items": Items(40),
        "labels": np.arange(40) % 2,
        "patients": [f"person {index // 2}" for index in range(40)],
        "probabilities": rng.random(40),
        "image_ids": [f"file_{index}.png" for index in range(40)],
        "strategies": NAMES,
        "display": SHOWN,
        "seed": 3,
    }


def test_every_case_is_seen_once_under_each_strategy_in_sessions_of_their_own(given):
    found = prepare(**given)
    seen = Counter((shown.image_id, shown.strategy) for shown in found.key.presentations)
    images = {shown.image_id for shown in found.key.presentations}
    assert len(images) == 6
    assert seen == Counter((image, name) for image in images for name in NAMES)
    assert len({(shown.image_id, shown.session) for shown in found.key.presentations}) == 18
    assert found.key.sessions == 3
    assert Counter(shown.label for shown in found.key.presentations) == {0: 9, 1: 9}
    assert set(found.pictures) == {shown.case for shown in found.key.presentations}


def test_the_key_says_what_each_picture_is(given):
    found = prepare(**given)
    for shown in found.key.presentations:
        index = given["image_ids"].index(shown.image_id)
        item = given["items"][index]
        expected = pictures(item, masked(item, [shown.strategy], SHOWN), SHOWN)[shown.strategy]
        assert found.pictures[shown.case] == expected
        assert (shown.label, shown.patient_id) == (index % 2, given["patients"][index])
        assert shown.probability == (given["probabilities"][index] if shown.strategy == "full" else None)


def test_only_items_that_may_be_shown_are_read(given):
    prepare(**given)
    assert len(given["items"].read) <= 8


def test_the_model_is_asked_about_each_picture(given):
    asked = {}

    def score(image, strategy, pixels):
        asked[image, strategy] = pixels
        return image + len(strategy) / 100

    key = prepare(**given, scorer=score).key
    for shown in key.presentations:
        index = given["image_ids"].index(shown.image_id)
        assert shown.probability == index + len(shown.strategy) / 100
        torch.testing.assert_close(
            asked[index, shown.strategy], masked(given["items"][index], [shown.strategy], SHOWN)[shown.strategy]
        )


def test_scores_may_be_those_of_models_for_each_strategy(given):
    own = np.where(np.arange(40) == 3, np.nan, np.arange(40.0))
    key = prepare(**given, scorer={"silhouette": own}).key
    for shown in key.presentations:
        index = given["image_ids"].index(shown.image_id)
        scores = {"full": given["probabilities"][index], "silhouette": None if index == 3 else float(index)}
        assert shown.probability == scores.get(shown.strategy)
    with pytest.raises(ValueError, match=r"scores of silhouette must have shape \(40,\), got \(2,\)"):
        prepare(**given, scorer={"silhouette": [0.0, 1.0]})


def test_images_without_a_usable_region_are_listed(given):
    given["probabilities"][7] = np.sort(given["probabilities"][1::2])[10]
    key = prepare(**{**given, "percentiles": [52.6]}).key
    assert key.excluded == {"file_7.png": "roi must hold at least one pixel, got an empty region."}
    assert "file_7.png" not in {shown.image_id for shown in key.presentations}


def test_a_seed_draws_the_same_study_and_none_another_each_time(given):
    assert prepare(**given).key == prepare(**given).key
    del given["seed"]
    first, second = prepare(**given).key, prepare(**given).key
    assert first.study != second.study
    assert not {shown.case for shown in first.presentations} & {shown.case for shown in second.presentations}
    assert first.settings["seed"] == "random"


def test_a_key_survives_its_json(given, tmp_path):
    key = prepare(**given, answers=("benign", "malignant")).key
    key.to_json(tmp_path / "key.json")
    assert StudyKey.from_json(tmp_path / "key.json") == key
    assert key.question == "Is it benign or malignant?"
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold the JSON of the key of a reader study, got other JSON"):
        StudyKey.from_json(tmp_path / "key.json")
    replace(key, version=99).to_json(tmp_path / "key.json")
    with pytest.raises(ValueError, match="must have format version 1 or older, got 99"):
        StudyKey.from_json(tmp_path / "key.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategies": ()}, "strategies must be at least one, each once, got none"),
        ({"strategies": ("full", "full")}, "strategies must be at least one, each once, got full, full"),
        ({"strategies": ("half",)}, "strategy must be one of"),
        ({"per_percentile": 0}, "per_percentile must be at least 1, got 0"),
        ({"levels": 10}, "levels must be 1 to 9, for each has a key, got 10"),
        ({"items": [{}]}, r"items must be as many as labels \(40\), got 1"),
    ],
)
def test_settings_are_checked(given, change, message):
    with pytest.raises(ValueError, match=message):
        prepare(**{**given, **change})


def test_an_error_that_is_no_region_is_raised(given):
    given["items"] = [{"image": torch.ones(1, 4, 4), "roi": torch.ones(1, 3, 3)}] * 40
    with pytest.raises(ValueError, match="roi must have shape"):
        prepare(**given)
