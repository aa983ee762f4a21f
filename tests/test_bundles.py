# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DATA
from monai.bundle import ConfigWorkflow, run
from monai.bundle.properties import InferProperties, TrainProperties
from monai.networks.nets import DenseNet121
from PIL import Image

from monai_shortcut.audit import Audit
from monai_shortcut.networks import SonoNet

BUNDLES = Path(__file__).parents[1] / "bundles"
NAMES = sorted(folder.name for folder in BUNDLES.iterdir())
# MONAI warns about every config it runs, about a metric that holds one value per class, and about TorchScript.
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_has_the_files_of_the_specification_and_no_python(name):
    folder = BUNDLES / name
    files = ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt")
    for required in files:
        assert (folder / required).is_file(), required
    assert not list(folder.rglob("*.py"))
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_follow_the_official_schema(name):
    jsonschema = pytest.importorskip("jsonschema")
    schema = DATA / "monai-bundle-schema" / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip(f"no schema at {schema}")
    metadata = json.loads((BUNDLES / name / "configs" / "metadata.json").read_text())
    jsonschema.validate(metadata, json.loads(schema.read_text()))
    with pytest.raises(jsonschema.ValidationError, match="'task' is a required property"):
        jsonschema.validate({key: metadata[key] for key in metadata if key != "task"}, json.loads(schema.read_text()))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small folder in the layout in which BUS-BRA is published: 60 patients, two images each."""
    folder, rng, rows = tmp_path_factory.mktemp("BUSBRA"), np.random.default_rng(0), []
    for sub in ("Images", "Masks"):
        (folder / sub).mkdir()
    for case in range(1, 61):
        malignant = case % 3 == 0
        for side in ("l", "r"):
            roi = np.zeros((40, 48), dtype=np.uint8)
            size = 12 if malignant else 6
            top, left = rng.integers(2, 40 - size), rng.integers(2, 48 - size)
            roi[top : top + size, left : left + size] = 255
            image = rng.integers(60, 120, roi.shape).astype(np.uint8) - (roi > 0) * np.uint8(50)
            Image.fromarray(image).save(folder / "Images" / f"bus_{case:04d}-{side}.png")
            Image.fromarray(roi).save(folder / "Masks" / f"mask_{case:04d}-{side}.png")
            rows.append(
                {
                    "ID": f"bus_{case:04d}-{side}",
                    "Case": case,
                    "Histology": "fibroadenoma",
                    "Pathology": "malignant" if malignant else "benign",
                    "BIRADS": 4 if malignant else 3,
                    "Device": ("GE Logiq 7 @10-14MHz", "GE Logiq 5 @10-12MHz")[case % 2],
                    "Width": 48,
                    "Height": 40,
                    "Side": "left" if side == "l" else "right",
                    "BBOX": "[1,1,2,2]",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "bus_data.csv", index=False)
    return folder


def workflow_arguments(folder: Path, output: Path) -> dict[str, object]:
    return {
        "meta_file": str(BUNDLES / "breast_ultrasound_classification" / "configs" / "metadata.json"),
        "logging_file": False,
        "dataset_dir": str(folder),
        "output_dir": str(output),
        "ckpt_path": str(output / "model.pt"),
        "network_name": "sononet16",
        "spatial_size": 32,
    }


def breast(*names: str) -> list[str]:
    return [str(BUNDLES / "breast_ultrasound_classification" / "configs" / f"{name}.json") for name in names]


def test_breast_ultrasound_trains_evaluates_audits_and_infers(published, tmp_path, capsys):
    shared = workflow_arguments(published, tmp_path)
    run(config_file=breast("train"), max_epochs=1, **shared)
    assert (tmp_path / "model.pt").is_file()
    run(config_file=breast("train", "evaluate"), **shared)
    assert "val_auc" in (tmp_path / "metrics.csv").read_text()
    run(
        config_file=breast("train", "audit"),
        **shared,
        **{"settings#permutations": 19, "settings#bootstraps": 19, "settings#minimum_patients": 3},
    )
    audit = Audit.from_json(tmp_path / "audit" / "audit.json")
    assert audit.label_names == ("benign", "malignant")
    assert {finding.attribute for finding in audit.findings} >= {"device", "side", "lesion_fraction"}
    assert audit.finding("width").reason == "It could not be analysed: every image has the same value (48)."
    assert next(score.evaluated_on for score in audit.regions.scores) == "full"
    assert sum(audit.labels.values()) == 40  # two of six folds of 120 images
    assert f"report: {tmp_path / 'audit' / 'report.html'}" in capsys.readouterr().out
    run(config_file=breast("inference"), **shared)
    predictions = pd.read_csv(tmp_path / "predictions.csv", header=None)
    assert len(predictions) == 120
    np.testing.assert_allclose(predictions[1] + predictions[2], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "kind", "properties"),
    [
        (("train",), "train", TrainProperties),
        (("train", "evaluate"), "train", TrainProperties),
        (("train", "audit"), "train", TrainProperties),
        (("inference",), "infer", InferProperties),
    ],
)
def test_breast_ultrasound_has_every_property_monai_asks_for(published, tmp_path, names, kind, properties):
    arguments = workflow_arguments(published, tmp_path)
    workflow = ConfigWorkflow(config_file=breast(*names), workflow_type=kind, **arguments)
    workflow.initialize()
    assert workflow.check_properties() == []
    assert any(item["required"] for item in properties.values())


def test_both_networks_of_the_switch_have_two_logits(published, tmp_path):
    for name, kind in (("densenet121", DenseNet121), ("sononet16", SonoNet)):
        arguments = {**workflow_arguments(published, tmp_path), "network_name": name}
        workflow = ConfigWorkflow(config_file=breast("inference"), workflow_type="infer", **arguments)
        workflow.initialize()
        network = workflow.network_def.eval()
        assert network(torch.rand(2, 1, 64, 64)).shape == (2, 2)
        assert isinstance(network, kind)


def planted() -> dict[str, object]:
    folder = BUNDLES / "planted_shortcut" / "configs"
    return {
        "config_file": str(folder / "audit.json"),
        "meta_file": str(folder / "metadata.json"),
        "logging_file": False,
    }


def test_planted_shortcut_trains_audits_and_shows_the_counterfactual(tmp_path, capsys):
    run(
        **planted(),
        patients=150,
        audit_patients=60,
        epochs=6,
        output_dir=str(tmp_path),
        **{"settings#permutations": 99},
    )
    audit = Audit.from_json(tmp_path / "audit.json")
    assert audit.finding("scanner").verdict == "used"
    truth = audit.finding("scanner").counterfactual
    assert truth is not None
    assert truth.change > 0.1
    assert audit.finding("operator").verdict != "used"
    assert audit.finding("operator").counterfactual is None
    assert {score.evaluated_on for score in audit.regions.scores} >= {"full", "without_roi", "roi_only"}
    assert "scanner" in capsys.readouterr().out


def test_planted_shortcut_has_every_property_monai_asks_for():
    workflow = ConfigWorkflow(workflow_type="train", patients=4, audit_patients=4, **planted())
    workflow.initialize()
    assert workflow.check_properties() == []


def test_an_unknown_folder_is_refused_with_what_it_should_hold(tmp_path):
    arguments = workflow_arguments(tmp_path, tmp_path)
    with pytest.raises(RuntimeError) as caught:
        run(config_file=breast("inference"), **arguments)
    assert "bus_data.csv" in str(caught.value.__cause__ or caught.value) or "bus_data.csv" in repr(caught.getrepr())


@pytest.mark.parametrize("names", [("train",), ("train", "region_sensitivity")])
def test_planted_region_has_every_property_monai_asks_for(tmp_path, names):
    folder = BUNDLES / "planted_region" / "configs"
    workflow = ConfigWorkflow(
        config_file=[str(folder / f"{name}.json") for name in names],
        workflow_type="train",
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        bundle_root=str(folder.parent),
        output_dir=str(tmp_path),
        patients=20,
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_region_study_of_breast_ultrasound_is_resumed_under_its_own_configuration(published, tmp_path, capsys):
    arguments = workflow_arguments(published, tmp_path) | {
        "bundle_root": str(BUNDLES / "breast_ultrasound_classification"),
        "network_name": "sononet8",
        "strategies": ["full", "without_roi"],
        "margins": [1],
        "study_folds": 2,
        "max_epochs": 1,
        "fill": "mean",
    }
    for _ in range(2):
        run(config_file=breast("train", "region_sensitivity"), **arguments)
    assert capsys.readouterr().out.count("4 of 4 cells done, the last in 0 s") >= 1
    with pytest.raises(RuntimeError) as caught:
        run(config_file=breast("train", "region_sensitivity"), **arguments | {"fill": 0.5})
    assert 'config#fill: "mean" there, 0.5 here' in str(caught.value.__cause__)
