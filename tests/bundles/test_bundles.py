# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES, write_busbra
from monai.bundle import ConfigParser, ConfigWorkflow, run
from monai.networks.nets import DenseNet121

from monai_shortcut.attribution import AttributionSettings
from monai_shortcut.audit.assembly import Audit
from monai_shortcut.networks import SonoNet

# MONAI warns about every config it runs, about a metric that holds one value per class, and about TorchScript.
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return write_busbra(tmp_path_factory.mktemp("BUSBRA"))


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


@pytest.mark.parametrize("section", ["train", "validate"])
@pytest.mark.parametrize(
    ("bundle", "config"),
    [
        ("breast_ultrasound_classification", "train"),
        ("fetal_plane_classification", "train"),
        ("planted_region", "train"),
        ("planted_shortcut", "audit"),
    ],
)
def test_answer_and_label_are_compared_on_the_device_of_the_network(bundle, config, section):
    """An engine makes numbers of labels; the meta device stands for any that is not the CPU."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs" / f"{config}.json"))
    parser["device"] = "$torch.device('meta')"
    if parser.get(f"{section}#postprocessing") is None:
        assert (bundle, section) == ("planted_shortcut", "train")
        return
    if "label_names" in parser:
        parser["label_names"] = ["a", "b"]
    compared = parser.get_parsed_content(f"{section}#postprocessing")(
        {"pred": torch.rand(2, device="meta"), "label": 1}
    )
    assert {name: value.device.type for name, value in compared.items()} == {"pred": "meta", "label": "meta"}


@pytest.mark.slow
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
    assert audit.finding("width").reason == "Not computed: every image has the same value (48)."
    assert next(score.evaluated_on for score in audit.regions.scores) == "full"
    assert sum(audit.labels.values()) == 40  # two of six folds of 120 images
    assert {found.method for found in audit.attribution.methods} == set(AttributionSettings().methods)
    assert {panel.label for panel in audit.attribution.panels} == {"benign", "malignant"}
    assert f"report: {tmp_path / 'audit' / 'report.html'}" in capsys.readouterr().out
    run(config_file=breast("inference"), **shared)
    predictions = pd.read_csv(tmp_path / "predictions.csv", header=None)
    assert len(predictions) == 120
    np.testing.assert_allclose(predictions[1] + predictions[2], 1, atol=1e-5)


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


@pytest.mark.slow
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
    assert truth.change.value > 0.1
    assert audit.finding("operator").verdict != "used"
    assert audit.finding("operator").counterfactual is None
    assert {score.evaluated_on for score in audit.regions.scores} >= {"full", "without_roi", "roi_only"}
    assert "scanner" in capsys.readouterr().out


def test_an_unknown_folder_is_refused_with_what_it_should_hold(tmp_path):
    arguments = workflow_arguments(tmp_path, tmp_path)
    with pytest.raises(RuntimeError) as caught:
        run(config_file=breast("inference"), **arguments)
    assert "bus_data.csv" in str(caught.value.__cause__ or caught.value) or "bus_data.csv" in repr(caught.getrepr())


@pytest.mark.slow
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
