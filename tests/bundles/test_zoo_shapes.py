# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The overlays on bundles of public shapes, whose files are not touched."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, run
from monai.networks.nets import DenseNet
from scanner_images import bundle_modules, first_cause, fitted, keep, metadata, part, saved, scanned, written
from sklearn.metrics import roc_auc_score

from monai_shortcut.audit.assembly import Audit
from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.weights import NOT_LOADED
from monai_shortcut.installation import overlay
from monai_shortcut.workflows import RegionStudy, audit_cohort
from monai_shortcut.workflows.add_on import output_names
from monai_shortcut.workflows.cell import require_controls, run_cell
from monai_shortcut.workflows.configuration import cell_parser

SHAPES = Path(__file__).parent / "zoo_shapes"
GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "audit-your-own-bundle.md").read_text(encoding="utf-8")
SETTINGS = {"folds": 3, "permutations": 59, "bootstraps": 49, "repeats": 1, "erasures": 9, "held_out": 0}
pytestmark = [pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")]


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with bundle_modules():
        yield


def copied(shape: str, folder: Path) -> Path:
    return Path(shutil.copytree(SHAPES / shape, folder / shape))


def audited(root: Path, monkeypatch: pytest.MonkeyPatch, configs: list[str], kind: str, **overrides: Any) -> Path:
    """Run a bundle with an overlay as the command line does, in its folder; where the audit is."""
    monkeypatch.chdir(root)
    files = [f"configs/{name}" for name in configs]
    settings = {f"audit_settings#{name}": value for name, value in SETTINGS.items()}
    settings |= {"audit_privacy#ids": True, "audit_privacy#pixels": True} if kind != "training" else {}
    run(config_file=[*files, str(overlay(kind))], **{**settings, **overrides})
    return root / overrides.get("audit_dir", "audit")


def check_scanner_is_used(
    folder: Path, images: int, title: str = "Shortcut audit of ", attributes: set[str] | None = None
) -> Audit:
    record = Audit.from_json(folder / "audit.json")
    assert {finding.attribute for finding in record.findings} == (attributes or {"scanner", "operator"})
    assert [finding.attribute for finding in record.findings if finding.verdict == "used"] == ["scanner"]
    assert sum(record.labels.values()) == images
    assert record.title.startswith(title)
    assert (folder / "report.html").is_file()
    return record


def check_unmatched(folder: Path, last: str) -> None:
    listed = pd.read_csv(folder / "unmatched.csv")
    assert sorted(listed["name"]) == sorted(["ghost", last])


@pytest.fixture(scope="module")
def endoscopy(tmp_path_factory) -> Path:
    """JSON, train, evaluate and inference with a run id of its own; SEResNet50, colour PNG, two classes."""
    root = copied("endoscopy", tmp_path_factory.mktemp("zoo"))
    train = saved(root / "data", scanned(160, 2, (32, 32), 0.95, 1), ".png", channels=3)
    test = scanned(44, 2, (32, 32), 0.5, 2)
    written(root / "label/train_samples.json", train)
    written(root / "label/test_samples.json", saved(root / "data", test, ".png", channels=3))
    metadata(root / "metadata.csv", test[1])
    network = part(root, "inference.json", "network_def")
    network = fitted(network, "last_linear", train, part(root, "inference.json", "preprocessing"))
    keep(network.state_dict(), root)
    return root


def test_a_json_bundle_in_its_inference_form(endoscopy, monkeypatch):
    changed = {"audit_label_names": ["out", "in"], "audit_attributes": ["scanner"]}
    folder = audited(endoscopy, monkeypatch, ["inference.json"], "inference", **changed)
    record = check_scanner_is_used(folder, 43, attributes={"scanner"})
    assert record.label_names == ("out", "in")
    check_unmatched(folder, "img_2_043")


def test_a_json_bundle_in_its_evaluate_form(endoscopy, monkeypatch):
    changed = {"audit_dir": "other", "audit_attributes": ["scanner"], "audit_title": "Endoscopy"}
    folder = audited(endoscopy, monkeypatch, ["train.json", "evaluate.json"], "evaluate", **changed)
    check_scanner_is_used(folder, 43, "Endoscopy", {"scanner"})
    assert (folder / "bundle" / "metrics.csv").is_file()  # the bundle's own handlers have run


SAVER = {
    "_target_": "CheckpointSaver",
    "save_dir": "@ckpt_dir",
    "save_dict": {"model": "@network"},
    "save_final": True,
    "final_filename": "final.pt",
    "save_key_metric": True,
    "key_metric_filename": "model.pt",
    "save_interval": 1,
}
METRICS = {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": "*"}


def contents(root: Path) -> dict[str, bytes | None]:
    """What every file of a bundle holds, and its folders."""
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def test_an_audit_leaves_the_bundles_files_as_they_are(endoscopy, monkeypatch, capsys, tmp_path):
    """A training configuration alone, whose validator saves: the trained file was replaced by untrained weights."""
    before = contents(endoscopy)
    assert "models/model.pt" in before
    changed = {"validate#handlers": [SAVER, METRICS], "audit_dir": str(tmp_path / "audit")}
    folder = audited(endoscopy, monkeypatch, ["train.json"], "evaluate", **changed)
    assert contents(endoscopy) == before
    assert (folder / "report.html").is_file()
    assert (folder / "bundle" / "metrics.csv").is_file()
    assert "the audit takes CheckpointSaver off the evaluator" in capsys.readouterr().out


LOAD = {"_target_": "CheckpointLoader", "load_path": "models/model.pt", "load_dict": {"model": "@network"}}
BOARD = {"_target_": "TensorBoardStatsHandler", "log_dir": "@output_dir", "iteration_log": False}
LOG = {"_target_": "LogfileHandler", "output_dir": "@output_dir"}
ANSWERS = {"_target_": "ClassificationSaver", "output_transform": "$lambda x: [item['pred'] for item in x]"}
ANSWERS |= {"batch_transform": "$lambda x: [item['image'].meta for item in x]", "filename": "answers.csv"}
CLASSES = {"_target_": "SaveClassificationd", "keys": "pred", "filename": "classes.csv", "meta_key_postfix": None}
NAMED = {**CLASSES, "output_dir": "@output_dir", "filename": "predictions.csv"}


def test_an_audit_writes_nothing_but_its_own_folder(endoscopy, monkeypatch, tmp_path):
    """What components make or remove when they are built is theirs too; by default they write where one stands."""
    former = [endoscopy / name for name in ("eval/predictions.csv", "classes.csv", "answers.csv")]
    for path in former:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the true evaluation\n")
    before = contents(endoscopy)
    changed = {"handlers": [LOAD, BOARD, LOG, ANSWERS], "postprocessing#transforms": [CLASSES, NAMED]}
    there = {"audit_dir": str(tmp_path / "audit"), "audit_attributes": ["scanner"]}
    audited(endoscopy, monkeypatch, ["inference.json"], "inference", **changed, **there)
    assert contents(endoscopy) == before
    written = {path.name.split(".")[0]: path for path in (tmp_path / "audit" / "bundle").iterdir()}
    assert set(written) == {"events", "log", "predictions", "classes", "answers"}
    images = len(json.loads((endoscopy / "label" / "test_samples.json").read_text()))
    assert len(written["predictions"].read_text().splitlines()) == images
    # A negative control: without the overlay the bundle replaces its files.
    run(run_id="evaluating", config_file=[str(endoscopy / "configs" / "inference.json")], **changed)
    assert [path.name for path in former if path.read_text() == "of the true evaluation\n"] == []
    for path in former:
        path.unlink()


def test_classes_that_do_not_fit_the_network_are_refused_at_the_first_batch(endoscopy, monkeypatch, tmp_path):
    """The error came when all images had been evaluated."""
    table = pd.read_csv(endoscopy / "metadata.csv")
    table.assign(label=[["in", "out", "both"][row % 3] for row in table.index]).to_csv(
        tmp_path / "three.csv", index=False
    )
    changed = {"metadata_csv": str(tmp_path / "three.csv"), "audit_dir": str(tmp_path / "audit")}
    changed |= {"dataset#data": "$@test_dict + [{'image': 'the last one is not there'}]"}
    told = refused(endoscopy, monkeypatch, ["inference.json"], "inference", **changed)
    assert told.startswith("label_names must hold 2 names to match the head, got 3 (both, in, out")


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> Path:
    """The same with regions, whose trainer and validator save; regions are masked before a normalisation."""
    root = copied("endoscopy", tmp_path_factory.mktemp("regions"))
    images, table = scanned(24, 2, (32, 32), 0.5, 3)
    items = saved(root / "data", (images, table), ".png", channels=3)
    masks = np.zeros_like(images)
    for row, mask in enumerate(masks):
        mask[8 + row % 4 : 20, 8:22] = 1
    regions = saved(root / "regions", (masks, table), ".png")
    for name in ("train", "test"):
        written(root / "label" / f"{name}_samples.json", items)
    table.assign(
        image=[item["image"] for item in items], roi=[item["image"] for item in regions], label=table["label"]
    ).to_csv(root / "metadata.csv", index=False)
    load = {"_target_": "LoadImaged", "keys": ["image", "roi"], "ensure_channel_first": True}
    load["allow_missing_keys"] = True
    mask = {"_target_": "monai_shortcut.transforms.MaskROId", "keys": "image", "roi_key": "roi"}
    normal = {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": "@nonzero", "channel_wise": True}
    network = {"_target_": "DenseNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "init_features": 4}
    changed = {
        **{"strategy": "full", "margin": 0.0, "nonzero": True},
        "network_def": {**network, "growth_rate": 2, "block_config": [1, 1]},
        "train#deterministic_transforms": [load, {**mask, "strategy": "@strategy", "margin": "@margin"}, normal],
        "train#random_transforms": [],
        "validate#handlers": [SAVER, METRICS],
    }
    written(root / "configs" / "masked.json", changed)
    torch.manual_seed(0)
    keep(DenseNet(2, 3, 2, init_features=4, growth_rate=2, block_config=(1, 1)).state_dict(), root)
    return root


def study(root: Path, folder: Path, **overrides: Any) -> RegionStudy:
    configs = [root / "configs" / name for name in ("train.json", "masked.json")]
    settings = {"folds": 2, "validation_folds": 2, "strategies": ("full", "silhouette"), "embeddings": False}
    cohort = Cohort.from_csv(root / "metadata.csv")
    return RegionStudy(configs, cohort, folder, overrides={"bundle_root": str(root), **overrides}, **settings)


def test_a_region_study_leaves_the_bundles_files_as_they_are_and_keeps_the_best_weights(studied, tmp_path):
    before = contents(studied)
    cell = study(studied, tmp_path, nonzero=False).cells()[0]
    assert run_cell(cell) > 0
    assert contents(studied) == before
    kept = json.loads(Path(cell.folder, "cell.json").read_text())
    metrics = [metric for _, _, metric in kept["curve"]]
    weights, last = (torch.load(Path(cell.folder, name), weights_only=True) for name in ("model.pt", "last.pt"))
    same = all(torch.equal(weights[name], last[name]) for name in last)
    assert same == (metrics[1] > metrics[0])
    assert not Path(cell.folder, "saved").exists()


def test_the_overlay_makes_the_study_of_a_foreign_bundle(studied, tmp_path, monkeypatch):
    """As `study`, from the command line: what the bundle's training lacks is in its masked.json."""
    monkeypatch.chdir(studied)
    parser = ConfigParser(ConfigParser.load_config_file(overlay("regions")))
    parser["study_overrides"], parser["study_folds"] = {"bundle_root": str(studied), "nonzero": False}, 2
    parser["audit_dir"], parser["study#embeddings"] = str(tmp_path / "regions"), False
    parser["study#validation_folds"], parser["study#strategies"] = 2, ["full", "silhouette"]
    made, expected = parser.get_parsed_content("study"), study(studied, tmp_path / "regions", nonzero=False)
    assert made.config == expected.config
    pairs = list(zip(made.cells(), expected.cells(), strict=True))
    assert [one.trained_on for one, _ in pairs] == ["full", "silhouette"] * 2
    assert all((one.folder, one.train, one.test) == (other.folder, other.train, other.test) for one, other in pairs)


def test_a_region_study_reads_what_the_network_returns_and_not_the_class_that_is_made_of_it(studied, tmp_path):
    """The postprocessing of the Zoo ends in argmax and one-hot: scores were -1 and 1."""
    cell = study(studied, tmp_path, nonzero=False).cells()[0]
    run_cell(cell)
    scores = pd.read_csv(cell.path(cell.evaluations[0]), index_col="image_id")["1"]
    parser = cell_parser(cell.config, {"strategy": "full"}, {})
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(torch.load(Path(cell.folder, "model.pt"), weights_only=True))
    prepare = parser.get_parsed_content("validate#preprocessing")
    images = {item["image_id"]: prepare(dict(item))["image"].as_tensor() for item in cell.test[""]}
    with torch.no_grad():
        first, second = network(torch.stack([images[name] for name in scores.index])).softmax(dim=1).T
    assert scores.to_numpy() == pytest.approx((second - first).numpy(), abs=1e-6)
    assert scores.nunique() == len(scores) == 12


def test_a_control_that_a_normalisation_erases_is_refused_with_the_step(studied, tmp_path):
    """Silhouettes are 1 where they are not 0; what is normalised over these is 0 everywhere."""
    said = r"got NormalizeIntensityd, which makes one grey of images under 'silhouette': see the order"
    with pytest.raises(ValueError, match=said):
        study(studied, tmp_path).run()
    assert not list(tmp_path.rglob("cell.json"))
    for cell in study(studied, tmp_path, nonzero=False).cells():
        require_controls(cell)


LOADER = {"_target_": "CheckpointLoader", "load_path": "$@ckpt_dir + '/model.pt'", "load_dict": {"model": "@network"}}
BY_HAND = "$@network.load_state_dict(torch.load(@ckpt_dir + '/model.pt', weights_only=True))"


@pytest.mark.parametrize(
    ("handlers", "initialize", "read"), [([LOADER], [], True), ([], [BY_HAND], True), ([METRICS], [], False)]
)
def test_the_file_of_the_weights_stands_on_the_page_or_that_none_was_read(
    studied, monkeypatch, tmp_path, capsys, handlers, initialize, read
):
    torch.save({}, tmp_path / "of_another_run.pt")
    torch.load(tmp_path / "of_another_run.pt")
    changed = {"validate#handlers": handlers, "initialize": initialize, "audit_dir": str(tmp_path / "audit")}
    folder = audited(studied, monkeypatch, ["train.json", "masked.json"], "evaluate", **changed)
    record, page = Audit.from_json(folder / "audit.json"), (folder / "report.html").read_text()
    digest = hashlib.sha256((studied / "models" / "model.pt").read_bytes()).hexdigest()
    assert record.weights == ({digest: "model.pt"} if read else {})
    assert (f"model.pt (SHA-256 {digest})" in page) == read
    assert (NOT_LOADED in record.notes) == (NOT_LOADED in page) == (not read)
    told = f"weights: model.pt (SHA-256 {digest})" if read else NOT_LOADED
    assert told in capsys.readouterr().out


def test_a_configuration_without_an_evaluator_gets_one(studied, monkeypatch, tmp_path):
    monkeypatch.chdir(studied)
    files = [f"configs/{name}" for name in ("train.json", "masked.json")]
    files += [str(overlay(name)) for name in ("inference", "evaluator")]
    changed = {f"audit_settings#{name}": value for name, value in SETTINGS.items()}
    said = "the referring item `@dataloader` is not defined in the config content"
    assert f"``{said}``" in GUIDE
    with pytest.raises(ValueError, match=said):
        run(config_file=files, audit_dir=str(tmp_path), **changed)
    run(config_file=files, audit_loader="@validate#dataloader", audit_dir=str(tmp_path), **changed)
    record = Audit.from_json(tmp_path / "audit.json")
    assert list(record.weights.values()) == ["model.pt"]
    assert sum(record.labels.values()) == 24


def test_names_of_classes_come_from_the_bundles_metadata(tmp_path):
    names = {"2": "no finding", "0": "benign", "1": "malignant"}
    outputs = {"pred": {"channel_def": names}}
    path = written(tmp_path / "metadata.json", {"network_data_format": {"outputs": outputs}})
    frame = pd.DataFrame({"image_id": list("abc"), "patient_id": list("abc")})
    frame.assign(label=["no finding", "malignant", "no finding"]).to_csv(tmp_path / "named.csv", index=False)
    frame.assign(label=[2, 0, 2]).to_csv(tmp_path / "numbered.csv", index=False)
    cohort = audit_cohort(tmp_path / "named.csv", metadata=path)
    assert cohort.label_names == ("benign", "malignant", "no finding")
    assert cohort.labels.tolist() == [2, 1, 2]
    assert audit_cohort(tmp_path / "numbered.csv", metadata=path).label_names == ("0", "2")
    own = audit_cohort(tmp_path / "named.csv", metadata=path, label_names=["no finding", "malignant"])
    assert own.label_names == ("no finding", "malignant")
    assert output_names(tmp_path / "absent.json") == output_names(written(tmp_path / "other.json", {})) == []


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """YAML, all ids at the top level, among them label and image; four classes, NIfTI of two dimensions."""
    root = copied("template", tmp_path_factory.mktemp("zoo"))
    train = saved(root / "data", scanned(160, 4, (24, 24), 0.95, 3), ".nii.gz")
    test = scanned(100, 4, (24, 24), 0.5, 4)
    written(root / "data/train_samples.json", train)
    written(root / "data/test_samples.json", saved(root / "data", test, ".nii.gz"))
    metadata(root / "metadata.csv", test[1])
    network = part(root, "inference.yaml", "network_def")
    network = fitted(network, "class_layers.out", train, part(root, "inference.yaml", "preprocessing"))
    keep({"model": network.state_dict()}, root)
    return root


@pytest.mark.parametrize("configs", [["inference.yaml"], ["train.yaml", "evaluate.yaml"]], ids="-".join)
def test_the_yaml_template(template, monkeypatch, configs):
    pytest.importorskip("yaml")
    folder = audited(template, monkeypatch, configs, "inference", audit_dir="-".join(configs))
    record = check_scanner_is_used(folder, 99)
    assert record.label_names == ("0", "1", "2", "3")
    check_unmatched(folder, "img_4_099")


@pytest.fixture(scope="module")
def density(tmp_path_factory) -> Path:
    """JSON with scripts of its own; three findings with a sigmoid, of which the first goes with the scanner."""
    root = copied("density", tmp_path_factory.mktemp("zoo"))
    train = saved(root / "data", scanned(240, 3, (32, 32), 0.95, 5, several=True), ".png")
    test = scanned(90, 3, (32, 32), 0.5, 6, several=True)
    items = saved(root / "data", test, ".png")
    written(root / "configs/images.json", {"Test": items})
    metadata(root / "metadata.csv", test[1])
    network = part(root, "inference.json", "network_def")
    network = fitted(network, "findings", train, part(root, "inference.json", "preprocessing"))
    keep(network.state_dict(), root)
    return root


SEVERAL = {"audit_findings": ["finding_0", "finding_1", "finding_2"], "audit_attributes": ["scanner"]}
LAYER = {"audit_layer": "findings", "postprocessing#_disabled_": True}


@pytest.mark.parametrize(
    ("returns", "decollate", "overrides"),
    [
        ("tensor", True, {}),
        pytest.param("list", True, LAYER, marks=pytest.mark.slow),
        ("dict", True, LAYER | {"audit_output": "findings"}),
        pytest.param("dict", False, LAYER | {"audit_output": "findings"}, marks=pytest.mark.slow),
        ("probabilities", False, {"postprocessing#_disabled_": True}),
    ],
)
def test_several_findings_are_audited_one_at_a_time(density, monkeypatch, returns, decollate, overrides):
    changed = {"network_def#returns": returns, "evaluator#decollate": decollate, "audit_dir": f"{returns}_{decollate}"}
    folder = audited(density, monkeypatch, ["inference.json"], "inference", **SEVERAL, **changed, **overrides)
    record = check_scanner_is_used(folder / "finding_0", 89, attributes={"scanner"})
    assert record.title.endswith(": finding_0")
    assert record.label_names == ("absent", "present")
    for other in ("finding_1", "finding_2"):
        finding = Audit.from_json(folder / other / "audit.json").finding("scanner")
        assert finding.verdict in ("encoded, not used", "inconclusive")  # few images
        assert abs(finding.evidence.gap.effect.value) < abs(record.finding("scanner").evidence.gap.effect.value) / 3
    assert "finding_2" in (folder / "report.html").read_text()
    check_unmatched(folder, "img_6_089")


@pytest.mark.parametrize(
    ("returns", "overrides", "message"),
    [
        ("list", {}, "pass output=|layer"),
        ("dict", {"audit_layer": "findings"}, "pass output= the key of the logits"),
        (
            "dict",
            {"audit_layer": "findings", "audit_output": "logits"},
            "output must be an entry of a dict with ",
        ),
        (
            "tensor",
            {"audit_findings": ["finding_0"]},
            "must have an output of its own, got 1 labels",
        ),
    ],
)
def test_a_head_that_is_not_found_is_refused_with_the_remedy(density, monkeypatch, returns, overrides, message):
    changed = {
        "network_def#returns": returns,
        "postprocessing#_disabled_": True,
        "audit_dir": "refused",
        **SEVERAL,
        **overrides,
    }
    assert re.search(message, refused(density, monkeypatch, ["inference.json"], "inference", **changed))
    assert not (density / "refused" / "report.html").exists()


def refused(root: Path, monkeypatch: pytest.MonkeyPatch, configs: list[str], kind: str, **overrides: Any) -> str:
    """What is said when a run is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  whatever MONAI makes of it
        audited(root, monkeypatch, configs, kind, **overrides)
    return first_cause(caught.value)


@pytest.fixture(scope="module")
def nodule(tmp_path_factory) -> Path:
    """JSON, three dimensions, one logit, two validation loaders; the weights are loaded in ``initialize``."""
    root = copied("nodule", tmp_path_factory.mktemp("zoo"))
    size, hounsfield = (16, 16, 12), lambda image: image * 1500 - 1000
    drawn = {
        "training": scanned(160, 2, size, 0.95, 7),
        "validation": scanned(70, 2, size, 0.5, 8),
        "external": scanned(50, 2, size, 0.5, 9),
    }
    samples = {name: saved(root / "data", images, ".nii.gz", scale=hounsfield) for name, images in drawn.items()}
    written(root / "samples.json", samples)
    metadata(root / "metadata.csv", drawn["validation"][1])
    metadata(root / "external.csv", drawn["external"][1])
    network = part(root, "train.json", "network_def")
    network = fitted(network, "class_layers.out", samples["training"], part(root, "train.json", "preprocessing"))
    keep(network.state_dict(), root)
    return root


EVALUATE = ["train.json", "evaluate.json"]


def test_each_of_several_validation_loaders_can_be_audited(nodule, monkeypatch, capsys):
    folder = audited(nodule, monkeypatch, EVALUATE, "evaluate")
    first = check_scanner_is_used(folder, 69)
    check_unmatched(folder, "img_8_069")
    changed = {"audited_evaluator": "@validate#external#evaluator", "metadata_csv": "external.csv"}
    folder = audited(nodule, monkeypatch, EVALUATE, "evaluate", audit_dir="external", **changed)
    second = check_scanner_is_used(folder, 49)
    check_unmatched(folder, "img_9_049")
    assert set(first.labels) == set(second.labels) == {"0", "1"}
    assert "audit of DenseNet on Cohort(50 images of 50 patients" in capsys.readouterr().out


def test_one_logit_tells_the_second_class(nodule, monkeypatch):
    """The record's predictions are the sigmoid of the network's logit."""
    folder = audited(nodule, monkeypatch, EVALUATE, "evaluate", audit_dir="logit")
    record = Audit.from_json(folder / "audit.json")
    network = part(nodule, "train.json", "network_def")
    network.load_state_dict(torch.load(nodule / "models/model.pt", weights_only=True))
    transforms = part(nodule, "train.json", "preprocessing")
    items = json.loads((nodule / "samples.json").read_text())["validation"][:-1]
    with torch.no_grad():
        logits = network.eval()(torch.stack([transforms(item)["image"].as_tensor() for item in items]))[:, 0]
    outcome = np.array([item["label"] for item in items])
    (score,) = record.regions.scores
    assert (score.label, score.images) == ("1", 69)
    expected = roc_auc_score(outcome, logits.numpy())
    assert score.auc.value == pytest.approx(expected, abs=0.005)  # on a GPU, a near tie is ranked the other way


def test_torchscript_is_refused_and_the_remedy_works(nodule, monkeypatch):
    network = part(nodule, "train.json", "network_def")
    network.load_state_dict(torch.load(nodule / "models/model.pt", weights_only=True))
    torch.jit.script(network).save(str(nodule / "models/model.ts"))
    scripted = {"network_def": "$torch.jit.load(@bundle_root + '/models/model.ts')"}
    message = refused(nodule, monkeypatch, ["train.json"], "evaluate", **scripted)
    assert "network must be a Python module whose layers call hooks, got TorchScript." in message
    assert "network.load_state_dict(torch.jit.load(path).state_dict())" in message
    remedy = ["$@network.load_state_dict(torch.jit.load(@bundle_root + '/models/model.ts').state_dict())"]
    folder = audited(nodule, monkeypatch, ["train.json"], "evaluate", audit_dir="remedy", initialize=remedy)
    check_scanner_is_used(folder, 69)


def test_a_training_is_audited_every_few_epochs(nodule, monkeypatch, capsys):
    folder = audited(nodule, monkeypatch, ["train.json"], "training", audit_dir="training", audit_interval=2)
    assert "audit of DenseNet on Cohort(70 images" in capsys.readouterr().out
    curves = TrainingCurves.from_json(folder / "training_curves.json")
    assert [audited.epoch for audited in curves.epochs] == [2]
    assert set(curves.epochs[0].points) == {"scanner", "operator"}
    assert (folder / "tensorboard").is_dir() == bool(find_spec("tensorboard"))


def test_the_tanh_of_a_vision_transformer_is_refused_and_the_remedy_works(endoscopy, monkeypatch):
    network = {"_target_": "ViT", "in_channels": 3, "img_size": [32, 32], "patch_size": 16, "spatial_dims": 2}
    network |= {"hidden_size": 24, "mlp_dim": 48, "num_layers": 1, "num_heads": 2, "num_classes": 2}
    changed = {"network_def": {**network, "classification": True}, "postprocessing#_disabled_": True}
    changed |= {"handlers#0#_disabled_": True, "audit_dir": "transformer"}
    message = refused(endoscopy, monkeypatch, ["inference.json"], "inference", **changed)
    assert "head(embedding) must equal the network's logits" in message
    assert "Tanh" in message
    remedy = ["$setattr(@network.classification_head, '1', torch.nn.Identity())"]
    folder = audited(endoscopy, monkeypatch, ["inference.json"], "inference", initialize=remedy, **changed)
    assert {finding.attribute for finding in Audit.from_json(folder / "audit.json").findings} == {"scanner", "operator"}
