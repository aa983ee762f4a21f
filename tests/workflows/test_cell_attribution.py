# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where the models of a region study look."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from monai_shortcut.attribution import Answers, AttributionSettings, attribution
from monai_shortcut.attribution.measure import place_of
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.reader_study import ReaderStudy, StrategyReading
from monai_shortcut.region_study import RegionStudyRecord
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.workflows import RegionStudy
from monai_shortcut.workflows.cell import run_cell
from monai_shortcut.workflows.cell_attribution import Look, Looks
from monai_shortcut.workflows.configuration import cell_parser

CONFIGS = Path(__file__).parents[2] / "bundles" / "planted_region" / "configs"
LOOK = AttributionSettings(
    methods=("regional_shapley",), fills=(0.0,), images=8, curve_steps=2, checked_images=2, strategies=()
)
EVERYTHING = {"ids": True, "pixels": True}
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


def study(cohort: Cohort, folder: Path, **changed: object) -> RegionStudy:
    arguments: dict[str, object] = {"overrides": {"max_epochs": 1, "batch_size": 8}, "strategies": ("full",)}
    arguments |= {"folds": 2, "embeddings": False, "attribution": LOOK, "privacy": EVERYTHING}
    return RegionStudy(CONFIGS / "train.json", cohort, folder, **(arguments | changed))


@pytest.fixture(scope="module")
def folder(phantom, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    torch.set_num_threads(1)
    study(phantom, folder).run()
    return folder


def asked(own: RegionStudy):
    """Where its models look, without a page."""
    cells = own.cells()
    for cell in cells:
        run_cell(cell)
    return own._attributions(cells)


def untimed(found):
    return replace(found, methods=tuple(replace(one, seconds=0.0) for one in found.methods))


def test_each_model_explains_the_first_of_its_own_test_images(phantom, folder):
    record = RegionStudyRecord.from_json(folder / "region_study.json")
    assert [(one.label, one.fold) for one in record.attribution] == [("", 0), ("", 1)]
    for cell, one in zip(study(phantom, folder).cells(), record.attribution, strict=True):
        settings = {"seed": cell.seed, "strategy": "full", "margin": 0.0, "output_dir": str(folder)}
        parser = cell_parser(cell.config, settings, {"validate#dataset#data": []})
        network = parser.get_parsed_content("network").cpu()
        network.load_state_dict(torch.load(Path(cell.folder, "model.pt"), weights_only=True))
        prepare, chosen = parser.get_parsed_content("validate#preprocessing"), []
        label = dict(zip(phantom.image_ids, phantom.labels.tolist(), strict=True))
        patient = dict(zip(phantom.image_ids, phantom.patients.tolist(), strict=True))
        items = {item["image_id"]: prepare(dict(item)) for item in cell.test[""]}
        tested = sorted(items, key=lambda name: place_of(items[name]["image"].as_tensor()))
        for code in (0, 1):
            chosen += [name for name in tested if label[name] == code][:4]
        chosen.sort(key=tested.index)
        expected = attribution(
            Answers(network),
            [items[name]["image"].as_tensor() for name in chosen],
            [items[name]["roi"].as_tensor() for name in chosen],
            [label[name] for name in chosen],
            [patient[name] for name in chosen],
            label_names=phantom.label_names,
            image_ids=chosen,
            attributes={
                name: (levels.codes[[phantom.image_ids.index(image) for image in chosen]], levels.names)
                for name, levels in study(phantom, folder)._levels.items()
            },
            settings=LOOK,
            draws=Resampling(),
        )
        expected = expected if cell.fold == 0 else replace(expected, panels=(), masked=())
        assert untimed(one.found) == untimed(expected)
        assert one.found.images == 8


def test_it_stands_on_the_page_and_in_a_table(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "fold 1: " in page[page.index("Where it looks") :]
    assert (folder / "figures" / "attribution_panels.svg").is_file()
    assert len((folder / "attribution.csv").read_text().splitlines()) == 1 + 2 * 3 * 3


def test_a_second_run_asks_nothing_and_other_settings_ask_again_without_training(phantom, folder, tmp_path):
    shutil.copytree(folder / "cells", tmp_path / "cells")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.*")}
    record = RegionStudyRecord.from_json(folder / "region_study.json")
    assert asked(study(phantom, tmp_path)) == record.attribution
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.*")} == before
    found = asked(study(phantom, tmp_path, attribution=replace(LOOK, images=4)))
    assert [one.found.images for one in found] == [4, 4]
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"attribution.json", "log.txt"}
    assert asked(study(phantom, tmp_path, attribution=False)) == ()


def test_where_weights_are_gone_it_says_why(phantom, folder, tmp_path):
    shutil.copytree(folder / "cells", tmp_path / "cells")
    (tmp_path / "cells" / "full_fold1" / "attribution.json").unlink()
    (tmp_path / "cells" / "full_fold1" / "model.pt").unlink()
    own = study(phantom, tmp_path)
    cells = own.cells()
    assert run_cell(cells[1]) == 0
    first, second = own._attributions(cells)
    assert first.found.methods
    assert second.found.not_computed == {"all": "the model was tested before anybody asked, and its weights are gone"}


def test_of_a_fixed_test_set_each_model_explains_other_images(phantom, tmp_path):
    numbered = phantom.with_folds(3, 0)
    own = study(numbered.in_folds(0, 1), tmp_path, test=numbered.in_folds(2))
    tested = [set(cell.looks.looks[0].image_ids) for cell in own.cells()]
    assert not tested[0] & tested[1]
    assert tested[0] | tested[1] == set(numbered.in_folds(2).image_ids)


def test_of_several_findings_each_has_its_output_and_the_images_where_it_is_known(phantom, tmp_path):
    known = np.array(["present", "absent"], dtype=object)[np.arange(len(phantom)) % 2]
    known[:6] = None
    table = phantom.table.assign(mass=known, edema=known[::-1])
    cohort = Cohort.from_table(table.reset_index(), attributes=["mass", "edema"])
    own = study(cohort, tmp_path, findings=["mass", "edema"])
    looks = own._looks(own.splits[0]).looks
    assert [(look.label, look.outputs, look.label_names) for look in looks] == [
        ("mass", (0,), ("absent", "present")),
        ("edema", (1,), ("absent", "present")),
    ]
    for look in looks:
        levels = cohort.table[look.label].loc[list(look.image_ids)]
        assert levels.tolist() == [look.label_names[code] for code in look.codes]
        tested = cohort.table.loc[list(own.splits[0].test.image_ids), look.label]
        assert len(look.codes) == tested.notna().sum() < len(tested)
        assert look.attributes == {}


def test_readers_of_the_same_images_come_onto_the_page(phantom, folder, tmp_path):
    shutil.copytree(folder / "cells", tmp_path / "cells")
    reading = StrategyReading("full", 4, 2, 4, ())
    read = ReaderStudy("Read", "5f", "Is it a phantom?", ("a", "b"), ("R1",), 5, (reading,))
    read.to_json(tmp_path / "reader_study.json")
    found = study(phantom, tmp_path, readers=tmp_path / "reader_study.json").run()
    assert found.readers == {"": read}
    assert read.question in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def looks() -> Looks:
    codes = (0, 1, 0, 1)
    return Looks(LOOK, Resampling(bootstraps=9), (Look("", None, ("a", "b"), tuple("1234"), codes, tuple("pqrs"), {}),))


def test_a_preprocessing_without_regions_is_a_reason(looks, tmp_path):
    items = {name: {"image": torch.rand(1, 8, 8)} for name in "1234"}
    looks.ask(tmp_path, nn.Flatten(), dict, items)
    reason = "validate#preprocessing must give the keys 'image' and 'roi' of one image"
    assert looks.answers(tmp_path)[""].not_computed == {"all": reason}
    none = replace(looks, looks=(replace(looks.looks[0], image_ids=(), codes=(), patients=()),))
    none.ask(tmp_path, nn.Flatten(), dict, items)
    assert none.answers(tmp_path)[""].not_computed == {"all": "no image was tested"}


def test_probabilities_are_explained_as_logits(looks, tmp_path):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    items = {name: {"image": torch.rand(1, 8, 8), "roi": torch.eye(8)[None]} for name in "1234"}
    found = []
    for network in (plain, nn.Sequential(plain, nn.Softmax(dim=1)), Bent(plain)):
        looks.ask(tmp_path, network.eval(), dict, items)
        found.append([part.gain.value for part in looks.answers(tmp_path)[""].methods[0].labels[0].parts])
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert found[2] == pytest.approx([2 * value for value in found[0]], abs=1e-4)  # no head, and so no activation


class Bent(nn.Module):
    """Its head cannot be found."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * self.plain(images)
