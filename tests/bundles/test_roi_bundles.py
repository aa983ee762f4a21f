# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES, WIDTH, lungs, write_chaksu, write_chest_regions, write_fundus_regions, write_padchest
from monai.bundle import ConfigWorkflow, run
from PIL import Image
from scipy.ndimage import binary_dilation
from test_padchest import FINDINGS
from test_pretrained import distributed, saved

from monai_shortcut.audit.assembly import Audit
from monai_shortcut.datasets import read_chaksu, read_padchest
from monai_shortcut.reader_study import StudyKey
from monai_shortcut.region_study import RegionStudyRecord

SMALL = {"network_name": "densenet_small", "spatial_size": 32, "batch_size": 8, "num_workers": 0, "cache_rate": 1.0}
SETTINGS = {"settings#permutations": 19, "settings#bootstraps": 19, "settings#minimum_patients": 3}
STUDY = {
    "strategies": ["full", "without_roi"],
    "margins": [1],
    "study#margin_strategies": ["without_roi"],
    "study_folds": 2,
    "max_epochs": 1,
    "attribution#images": 4,
    "attribution#pixel_images": 2,
}
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")


@pytest.fixture(scope="module")
def padchest(tmp_path_factory) -> Path:
    return write_padchest(tmp_path_factory.mktemp("chest"))


@pytest.fixture(scope="module")
def chaksu(tmp_path_factory) -> Path:
    return write_chaksu(tmp_path_factory.mktemp("fundus"))


def configs(bundle: str, *names: str) -> list[str]:
    return [str(BUNDLES / bundle / "configs" / f"{name}.json") for name in names]


def arguments(bundle: str, top: Path, output: Path) -> dict[str, object]:
    """What every command is given here; the folders of data and regions are those of the READMEs."""
    folder = {"chest_xray_roi": "PadChest", "fundus_roi": "Chaksu"}[bundle]
    return {
        "meta_file": str(BUNDLES / bundle / "configs" / "metadata.json"),
        "logging_file": False,
        "bundle_root": str(BUNDLES / bundle),
        "dataset_dir": str(top / folder),
        "regions_dir": str(top / "regions"),
        "output_dir": str(output),
        "ckpt_path": str(output / "model.pt"),
        **SMALL,
    }


@pytest.fixture(scope="module")
def chest(padchest) -> Path:
    write_chest_regions(padchest, nih_dir=str(padchest / "NIH"))
    return padchest


@pytest.fixture(scope="module")
def fundus(chaksu) -> Path:
    write_fundus_regions(chaksu, airogs_dir=str(chaksu / "AIROGS"))
    return chaksu


@pytest.fixture(scope="module")
def trained(chest, fundus, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """For each bundle the folder of its data and that of a model trained for one epoch."""
    folders = {"chest_xray_roi": chest, "fundus_roi": fundus}
    outputs = {bundle: tmp_path_factory.mktemp(bundle) for bundle in folders}
    for bundle, top in folders.items():
        torch.manual_seed(0)
        run(config_file=configs(bundle, "train"), max_epochs=1, **arguments(bundle, top, outputs[bundle]))
    return {bundle: (folders[bundle], outputs[bundle]) for bundle in folders}


def parsed(bundle: str, top: Path, output: Path, *names: str, **more: object) -> Callable[[str], Any]:
    """What an initialized workflow holds, by id."""
    workflow = ConfigWorkflow(
        config_file=configs(bundle, *names), workflow_type="train", **arguments(bundle, top, output) | more
    )
    workflow.initialize()
    return workflow.parser.get_parsed_content


def test_regions_are_written_once_and_unusable_images_listed(chest, fundus, capsys):
    assert json.loads((chest / "regions" / "unusable.json").read_text()).keys() == {"1_p.png"}
    cohort = read_padchest(chest / "PadChest", masks=chest / "regions")
    assert cohort.excluded == {"0_p.png": "no lung mask"}  # its quality is below 0.7
    for index in (2, 7):
        region = np.asarray(Image.open(chest / "regions" / f"{index}_p.png"))
        np.testing.assert_array_equal(region, lungs(index % 5))
    assert json.loads((fundus / "regions" / "unusable.json").read_text()) == {"Train_Forus_ImageTrain2": "roi missing"}
    before = {path: path.stat().st_mtime_ns for path in (chest / "regions").glob("*.png")}
    write_chest_regions(chest)
    assert {path: path.stat().st_mtime_ns for path in (chest / "regions").glob("*.png")} == before
    assert "79 images with a region" in capsys.readouterr().out


def test_the_patients_of_the_test_set_are_a_fifth_of_padchest_and_the_published_ones_of_chaksu(chest, fundus, tmp_path):
    content = parsed("chest_xray_roi", chest, tmp_path, "train")
    test, development = content("test"), content("development")
    assert (len(test), len(development)) == (16, 62)
    assert not set(test.patients) & set(development.patients)
    assert set(development.table["fold"]) == {0, 1, 2, 3, 4}
    assert {"0_p.png": "no lung mask"}.items() <= test.excluded.items()
    assert "1_p.png" in test.excluded
    content = parsed("fundus_roi", fundus, tmp_path, "train")
    test, development = content("test"), content("development")
    assert set(test.values("split")) == {"test"}
    assert (len(test), len(development)) == (36, 46)  # without a region missing and a patient of both parts
    assert development.excluded["Train_Bosch_P1_ImageTrain"] == "patient is in the test set"
    assert not set(test.patients) & set(development.patients)
    assert test.table["image"].nunique() + len(development) + 2 == len(read_chaksu(fundus / "Chaksu"))


@pytest.mark.parametrize("bundle", ["chest_xray_roi", "fundus_roi"])
def test_training_evaluation_and_inference(trained, bundle, tmp_path):
    top, output = trained[bundle]
    shared = arguments(bundle, top, output)
    run(config_file=configs(bundle, "train", "evaluate"), **shared)
    assert 0 < float((output / "metrics.csv").read_text().split(",")[-1]) < 1
    run(config_file=configs(bundle, "inference"), **shared)
    predictions = pd.read_csv(output / "predictions.csv", header=None)
    assert len(predictions) == {"chest_xray_roi": 79, "fundus_roi": 84}[bundle]  # one X-ray cannot be read
    scores = predictions.iloc[:, 1:].to_numpy()
    assert scores.shape[1] == {"chest_xray_roi": 5, "fundus_roi": 1}[bundle]
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores[:, 0])) > 10


@pytest.mark.slow
def test_each_finding_of_the_chest_is_audited_by_its_own_logit(trained, capsys):
    top, output = trained["chest_xray_roi"]
    shared = arguments("chest_xray_roi", top, output) | SETTINGS | {"embedding_maps": ["pca"], "attribution": False}
    run(config_file=configs("chest_xray_roi", "train", "audit"), attributes=["sex", "effusion"], **shared)
    records = {
        name: Audit.from_json(path / "audit.json") for name in FINDINGS if (path := output / "audit" / name).is_dir()
    }
    table = pd.read_csv(output / "audit" / "findings.csv")
    assert set(records) == set(table["label"])
    assert len(records) > 1
    for name, record in records.items():
        assert record.label_names == ("absent", "present")
        assert record.title == f"Chest X-ray: densenet_small: {name}"
        audited = [finding.attribute for finding in record.findings]
        assert audited == [attribute for attribute in ("sex", "effusion") if attribute != name]
        assert record.regions.scores
        assert record.moves.get("roi_only", "absent") is not None
        assert record.attribution is None
    areas = {
        next(s.auc.value for s in record.regions.scores if s.evaluated_on == "full") for record in records.values()
    }
    assert len(areas) == len(records)
    assert f"report: {output / 'audit' / 'report.html'}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_camera_is_audited_in_fundus_photographs(trained):
    top, output = trained["fundus_roi"]
    run(config_file=configs("fundus_roi", "train", "audit"), **arguments("fundus_roi", top, output), **SETTINGS)
    record = Audit.from_json(output / "audit" / "audit.json")
    assert record.label_names == ("no glaucoma", "glaucoma")
    assert {finding.attribute for finding in record.findings} == {"camera"}
    assert sum(record.labels.values()) == 36
    assert [shown.method for shown in record.maps.maps] == ["pca", "tsne"]
    assert record.attribution.images > 0
    assert not record.attribution.not_computed


@pytest.mark.parametrize("bundle", ["chest_xray_roi", "fundus_roi"])
def test_readers_see_images_before_their_normalization_and_the_network_after_it(trained, bundle):
    top, output = trained[bundle]
    shared = arguments(bundle, top, output) | {"percentiles": [50], "per_percentile": 1}
    run(config_file=configs(bundle, "train", "readers"), **shared)
    keys = [StudyKey.from_json(path) for path in (output / "readers").rglob("key.json")]
    assert keys
    assert all(len(key.presentations) == 10 for key in keys)
    given = parsed(bundle, top, output, "train", "readers")
    items = {item["image_id"]: item for item in given("validate#dataset")}
    network = given("network_def").eval()
    network.load_state_dict(torch.load(output / "model.pt"))
    for key in keys:
        finding = key.title.partition(": ")[2]
        for shown in (one for one in key.presentations if one.strategy == "full"):
            with torch.no_grad():
                logits = network(items[shown.image_id]["image"].as_tensor()[None])[0]
            output_number = FINDINGS.index(finding) if finding else 0
            assert shown.probability == pytest.approx(float(logits[output_number].sigmoid()), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bundle", "elsewhere", "labels"),
    [("chest_xray_roi", {"nih_dir": "NIH"}, FINDINGS), ("fundus_roi", {"airogs_dir": "AIROGS"}, ["glaucoma"])],
)
def test_the_region_study_is_read_for_every_finding_and_elsewhere(chest, fundus, tmp_path, bundle, elsewhere, labels):
    top = chest if bundle == "chest_xray_roi" else fundus
    folders = {key: str(top / name) for key, name in elsewhere.items()}
    run(
        config_file=configs(bundle, "train", "region_sensitivity"),
        **arguments(bundle, top, tmp_path),
        **STUDY,
        **folders,
    )
    record = RegionStudyRecord.from_json(tmp_path / "region_study.json")
    assert [reading.label for reading in record.readings] == list(labels)
    assert {cell.trained_on for cell in record.matrix.cells} == {"full", "without_roi"}
    assert {score.cohort for score in record.external} == {next(iter(elsewhere.values())).lower()}
    tested = pd.read_csv(tmp_path / "cells" / "full_fold1" / "without_roi_1.csv")
    assert list(tested.columns) == ["image_id", *labels]
    assert (tmp_path / "report.html").is_file()
    looked = {(one.label, one.fold): one.found for one in record.attribution}
    assert {label for label, _ in looked} == (set(labels) if len(labels) > 1 else {""})
    assert all(found.methods and not found.not_computed for found in looked.values())


@pytest.mark.parametrize(("bundle", "count"), [("chest_xray_roi", 171_205), ("fundus_roi", 167_105)])
def test_only_the_last_dense_layer_and_the_head_are_trained(chest, fundus, tmp_path, bundle, count, capsys):
    top = chest if bundle == "chest_xray_roi" else fundus
    bare = parsed(bundle, top, tmp_path, "train", network_name="densenet121")
    network = bare("network")
    assert sum(weights.numel() for group in bare("optimizer").param_groups for weights in group["params"]) == count
    assert sum(weights.numel() for weights in network.parameters() if weights.requires_grad) == count
    assert "the frozen layers are random" in capsys.readouterr().out
    checkpoint = str(saved(distributed(network, old=True), tmp_path))
    other = parsed(bundle, top, tmp_path, "train", network_name="densenet121", pretrained=checkpoint, seed=1)("network")
    assert "the frozen layers are random" not in capsys.readouterr().out
    assert torch.equal(other.features.conv0.weight, network.features.conv0.weight)
    assert not torch.equal(other.class_layers.out.weight, network.class_layers.out.weight)
    whole = parsed(bundle, top, tmp_path, "train", network_name="densenet121", trainable=[])("network")
    assert all(weights.requires_grad for weights in whole.parameters())


def prepared(bundle: str, top: Path, output: Path, **settings: object) -> torch.Tensor:
    """The first test image as the model sees it, back on the scale of 0 to 1."""
    content = parsed(bundle, top, output, "train", spatial_size=WIDTH, **settings)
    item = content("test").datalist(findings=content("findings") if bundle == "chest_xray_roi" else None)[0]
    image = content("validate#preprocessing")(item)["image"].as_tensor()
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return image * deviation + mean


def test_hidden_pixels_of_an_x_ray_do_not_scale_those_that_are_left(chest, tmp_path):
    item = parsed("chest_xray_roi", chest, tmp_path, "train")("test").datalist()[0]
    path, roi = Path(item["image"]), np.asarray(Image.open(item["roi"]))
    before, grey = path.read_bytes(), np.asarray(Image.open(path)).astype(np.uint16)
    shown = {name: prepared("chest_xray_roi", chest, tmp_path, strategy=name) for name in ("without_roi", "full")}
    Image.fromarray(np.where(roi, grey + np.uint16(20_000), grey)).save(path)
    try:
        again = {name: prepared("chest_xray_roi", chest, tmp_path, strategy=name) for name in ("without_roi", "full")}
    finally:
        path.write_bytes(before)
    outside = torch.from_numpy(np.pad(~roi, ((4, 4), (0, 0))))
    assert torch.equal(shown["without_roi"], again["without_roi"])
    assert not torch.allclose(shown["full"][:, outside], again["full"][:, outside], atol=0.1)
    expected = np.pad(np.where(roi, 0, grey) / grey[~roi].max(), ((4, 4), (0, 0)))
    np.testing.assert_allclose(shown["without_roi"].numpy(), np.stack([expected] * 3), atol=1e-5)


def test_fundus_photographs_keep_their_colours_and_lose_their_disc(fundus, tmp_path):
    item = parsed("fundus_roi", fundus, tmp_path, "train")("test").datalist()[0]
    colours, roi = np.asarray(Image.open(item["image"])) / 255, np.asarray(Image.open(item["roi"]))
    expected = np.pad(np.where(roi[..., None], 0, colours), ((4, 4), (0, 0), (0, 0))).transpose(2, 0, 1)
    shown = prepared("fundus_roi", fundus, tmp_path, strategy="without_roi")
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("bundle", ["chest_xray_roi", "fundus_roi"])
def test_silhouettes_are_black_and_white_and_margins_count_steps_of_a_cross(chest, fundus, tmp_path, bundle):
    top = chest if bundle == "chest_xray_roi" else fundus
    item = parsed(bundle, top, tmp_path, "train")("test").datalist()[0]
    roi = np.asarray(Image.open(item["roi"]))
    for margin in (0, 3):
        shown = prepared(bundle, top, tmp_path, strategy="silhouette", margin=margin)
        grown = (
            binary_dilation(np.pad(roi, ((4, 4), (0, 0))), iterations=margin)
            if margin
            else np.pad(roi, ((4, 4), (0, 0)))
        )
        np.testing.assert_allclose(shown.numpy(), np.stack([grown.astype(float)] * 3), atol=1e-6)


@pytest.mark.parametrize("bundle", ["chest_xray_roi", "fundus_roi"])
def test_training_images_are_turned_flipped_and_dimmed_within_the_published_ranges(chest, fundus, tmp_path, bundle):
    top = chest if bundle == "chest_xray_roi" else fundus
    steps = parsed(bundle, top, tmp_path, "train")("augmentation_transforms")
    turn, flip, dim = steps
    assert (turn.rand_rotate.range_x, turn.prob) == ((-np.pi / 4, np.pi / 4), 1.0)
    assert (flip.prob, flip.flipper.spatial_axis) == (0.5, 1)
    image = torch.ones(1, 8, 8)
    levels = [float(dim({"image": image})["image"].max()) for _ in range(200)]
    assert 0.7 <= min(levels) < 0.72
    assert 1.08 < max(levels) <= 1.1


def test_weights_are_fetched_from_where_torchvision_publishes_them():
    for bundle in ("chest_xray_roi", "fundus_roi"):
        (entry,) = json.loads((BUNDLES / bundle / "large_files.json").read_text())["large_files"]
        assert entry["path"] == f"models/{entry['url'].rsplit('/', 1)[-1]}"
        assert entry["url"] == "https://download.pytorch.org/models/densenet121-a639ec97.pth"
