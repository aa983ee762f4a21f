# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a region study keeps of the embeddings of its models."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from torch import nn

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.region_study import RegionStudyRecord
from monai_shortcut.statistics.cosines import row_cosines
from monai_shortcut.workflows import RegionStudy
from monai_shortcut.workflows import region_study as module
from monai_shortcut.workflows.cell import run_cell
from monai_shortcut.workflows.cell_embeddings import TestReader, read_embeddings
from monai_shortcut.workflows.configuration import cell_parser

CONFIGS = Path(__file__).parents[2] / "bundles" / "planted_region" / "configs"
PLAIN = ("full", "without_roi", "silhouette")
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


def study(cohort: Cohort, folder: Path, **changed: object) -> RegionStudy:
    arguments: dict[str, object] = {"overrides": {"max_epochs": 1, "batch_size": 8}, "strategies": PLAIN}
    return RegionStudy(CONFIGS / "train.json", cohort, folder, **(arguments | {"folds": 2} | changed))


@pytest.fixture(scope="module")
def folder(phantom, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    torch.set_num_threads(1)
    study(phantom, folder).run()
    return folder


@pytest.fixture(scope="module")
def record(folder) -> RegionStudyRecord:
    return RegionStudyRecord.from_json(folder / "region_study.json")


def test_a_model_of_full_images_keeps_every_strategy_and_others_their_own(folder):
    kept = {path.name: sorted(file.stem for file in path.glob("*.npz")) for path in (folder / "cells").iterdir()}
    assert kept["full_fold0"] == ["full_0", "silhouette_0", "without_roi_0"]
    assert kept["without_roi_fold1"] == ["full_0", "without_roi_0"]
    assert kept["silhouette_fold0"] == ["full_0", "silhouette_0"]


def test_they_are_what_the_chosen_weights_read_of_the_masked_images(phantom, folder):
    cell = next(cell for cell in study(phantom, folder).cells() if cell.name == "full_fold1")
    evaluation = next(one for one in cell.evaluations if one.strategy == "without_roi" and not one.cohort)
    settings = {"seed": cell.seed, "strategy": "without_roi", "margin": 0.0, "output_dir": str(folder)}
    parser: ConfigParser = cell_parser(cell.config, settings, {"validate#dataset#data": list(cell.test[""])})
    network = parser.get_parsed_content("network").cpu()
    network.load_state_dict(torch.load(cell.weights(evaluation), weights_only=True))
    prepare = parser.get_parsed_content("validate#preprocessing")
    items = [prepare(dict(item)) for item in cell.test[""]]
    images = torch.stack([torch.as_tensor(item["image"]) for item in items])
    expected, _ = embed(network, images, linear_head(network, images=images).layer)
    found = read_embeddings(cell.embeddings(evaluation))
    assert found.index.tolist() == [item["image_id"] for item in cell.test[""]]
    np.testing.assert_allclose(found.to_numpy(), expected.numpy(), atol=1e-5)


def test_the_record_has_the_cosines_of_all_test_images(phantom, folder, record):
    values = []
    for fold in (0, 1):
        points = [read_embeddings(folder / "cells" / f"full_fold{fold}" / f"{name}_0.npz") for name in PLAIN[:2]]
        assert points[0].index.equals(points[1].index)
        values += row_cosines(*(frame.to_numpy() for frame in points)).tolist()
    assert len(values) == len(phantom)
    assert record.moves["full"].get("without_roi").mean.value == pytest.approx(np.mean(values), abs=1e-6)
    assert {name: {one.strategy for one in moves.cosines} for name, moves in record.moves.items()} == {
        "full": {"without_roi", "silhouette", "another patient"},
        "without_roi": {"without_roi", "another patient"},
        "silhouette": {"silhouette", "another patient"},
    }
    assert set(record.maps.maps[0].points) == set(PLAIN)
    assert record.not_moved == {}


def test_the_page_tells_how_embeddings_move(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "How the embedding moves" in page
    assert "Models trained on masked images have embeddings of their own" in page
    assert (folder / "figures" / "map_pca.svg").is_file()
    assert len((folder / "cosines.csv").read_text().splitlines()) > 10


def test_they_can_be_turned_off_and_asked_for_later_without_training(phantom, folder, record, tmp_path):
    shutil.copytree(folder / "cells", tmp_path / "cells")
    for file in tmp_path.rglob("*.npz"):
        file.unlink()
    study(phantom, tmp_path, embeddings=False).run()
    found = RegionStudyRecord.from_json(tmp_path / "region_study.json")
    assert (found.moves, found.maps, found.not_moved) == ({}, None, {})
    assert not list(tmp_path.rglob("*.npz"))
    assert "Not measured: it takes the embeddings" in (tmp_path / "report.html").read_text(encoding="utf-8")
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    later = study(phantom, tmp_path, embedding_maps=()).run()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")} == weights
    assert later.moves == record.moves
    assert later.maps is None


def test_where_weights_are_gone_it_says_that_nothing_is_known(phantom, folder, tmp_path):
    cell = next(cell for cell in study(phantom, folder).cells() if cell.name == "silhouette_fold0")
    evaluation = cell.evaluations[0]
    file, weights = cell.embeddings(evaluation), cell.weights(evaluation)
    file.rename(tmp_path / "kept.npz")
    weights.rename(tmp_path / "kept.pt")
    try:
        assert run_cell(cell) == 0
        found = study(phantom, folder)._record(study(phantom, folder).cells())
    finally:
        (tmp_path / "kept.npz").rename(file)
        (tmp_path / "kept.pt").rename(weights)
    why = "it was tested by a version that kept no embeddings, and its weights are gone"
    assert found.not_moved == {"trained on silhouette, fold 0": why}


def test_of_many_images_patients_are_drawn_anew_in_each_fold(phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_EMBEDDED", 5)
    cells = study(phantom, tmp_path).cells()
    assert {len(cell.embedded) for cell in cells} <= {4, 5}
    assert all(cell.embedded <= {item["image_id"] for item in cell.test[""]} for cell in cells)
    assert len({cell.embedded for cell in cells}) == 2


def test_an_unknown_map_is_refused(phantom, tmp_path):
    with pytest.raises(ValueError, match="embedding_maps must be among pca, tsne, umap, got isomap"):
        study(phantom, tmp_path, embedding_maps=["isomap"])


class Bent(nn.Module):
    """No head: the logits are bent after the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1)) ** 3


@pytest.mark.parametrize("key", ["image", "scan"])
def test_a_network_without_a_head_is_tested_all_the_same(tmp_path, key):
    network, scores = Bent().eval(), []
    engine = Engine(lambda _, batch: scores.append(network(batch[key])))
    reader = TestReader(network)
    reader.attach(engine)
    items = [{key: torch.randn(1, 2, 2), "image_id": str(number)} for number in range(6)]
    with torch.no_grad():
        engine.run(DataLoader(Dataset(items), batch_size=4))
    assert [len(rows) for rows in scores] == [4, 2]
    reader.save(tmp_path / "full_0.npz", {"1", "2"})
    assert read_embeddings(tmp_path / "full_0.npz") == reader.problem
    assert ("the key 'image'" in reader.problem) == (key == "scan")
    assert not network.layer._forward_pre_hooks


def test_no_image_is_no_embedding(tmp_path):
    TestReader(nn.Linear(2, 2)).save(tmp_path / "full_0.npz", {"a"})
    assert read_embeddings(tmp_path / "full_0.npz") == "no test image could be masked"
