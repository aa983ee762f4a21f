# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path

import fire
import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES, MACHINES, PLANES, write_cervix, write_fetal_planes
from conftest import DATA
from monai.bundle import ConfigWorkflow, run
from PIL import Image
from test_sononet_weights import CLASSES, lasagne_arrays, saved

from monai_shortcut.audit.assembly import Audit

FETAL, PRETERM = "fetal_plane_classification", "preterm_birth_sa_sononet"
SMALL = "--network_name sononet8 --spatial_size [32,40] --batch_size 8"
SHORT = "--max_epochs 1"
QUICK = (
    "--settings#permutations 9 --settings#bootstraps 19 --settings#erasures 5 --settings#held_out 0 "
    "--settings#repeats 1"
)
# MONAI warns about every config it runs and about files without text; scikit-learn about scores of rare classes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


@pytest.fixture(scope="module")
def planes_db(tmp_path_factory) -> Path:
    return write_fetal_planes(tmp_path_factory.mktemp("FETAL_PLANES_DB"))


@pytest.fixture(scope="module")
def cervix(tmp_path_factory) -> Path:
    return write_cervix(tmp_path_factory.mktemp("cervix"))


def bundle(name: str, folder: Path) -> Path:
    """A copy of a bundle, so that what it writes is beside nothing else."""
    return Path(shutil.copytree(BUNDLES / name, folder / name))


def commands(name: str) -> list[str]:
    """The commands of a README that run a configuration, in order."""
    lines = (BUNDLES / name / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("python -m monai.bundle run ")]


def execute(command: str, *more: str) -> None:
    """Run a command of a README word for word, with more options, in this process."""
    words = shlex.split(" ".join([command, *more]))
    assert words[:4] == ["python", "-m", "monai.bundle", "run"]
    fire.Fire(run, command=words[4:])


def files_of(command: str) -> list[str]:
    """Names of the configurations of a command."""
    return [Path(word.strip("[]'")).stem for word in shlex.split(command)[5].split(",")]


def workflow(name: str, *files: str, kind: str = "train", **overrides: object) -> ConfigWorkflow:
    folder = BUNDLES / name / "configs"
    return ConfigWorkflow(
        config_file=[str(folder / f"{file}.json") for file in files],
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        workflow_type=kind,
        **overrides,
    )


@pytest.mark.slow
def test_every_command_of_the_fetal_planes_readme_runs_word_for_word(planes_db, tmp_path, monkeypatch):
    folder = bundle("fetal_plane_classification", tmp_path)
    monkeypatch.chdir(folder)
    (folder / "FETAL_PLANES_DB").symlink_to(planes_db)
    (folder / "PNG_FILES").symlink_to(planes_db / "Images")
    (folder / "HC18").symlink_to(written_hc18(tmp_path / "hc18"))
    (folder / "models").mkdir()
    weights = saved(folder / "models" / "SonoNet8.npz", lasagne_arrays(classes=14, width=8))
    few = "--settings#minimum_patients 3"
    for command in commands("fetal_plane_classification"):
        files, more = files_of(command), [SMALL]
        more += [SHORT] if "inference" not in files else []
        more += [few, QUICK] if "audit" in files else []
        more += ["--minimum_patients 1"] if "multi_task_train" in files else []
        more += [f"--weights_path {weights}"] if {"pretrained", "published"} & set(files) else []
        more += ["--patients 30 --audit_patients 30 --learning_rate 0.001"] if "phantoms" in files else []
        execute(command, *more)
    ran = {file for command in commands("fetal_plane_classification") for file in files_of(command)}
    present = {path.stem for path in (folder / "configs").glob("*.json")}
    assert present - ran == {"metadata", "multi_gpu_train", "multi_gpu_evaluate"}  # as in test_distributed.py
    output = folder / "output"
    assert "val_accuracy" in (output / "sononet8" / "metrics.csv").read_text()
    predictions = pd.read_csv(output / "sononet8" / "predictions.csv", header=None)
    assert predictions.shape == (288, 7)
    np.testing.assert_allclose(predictions.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)
    assert pd.read_csv(output / "published_sononet8" / "predictions.csv", header=None).shape == (288, 15)
    alone = Audit.from_json(output / "sononet8" / "audit" / "audit.json")
    assert alone.label_names == (*sorted(PLANES[:4]), *PLANES[4:])
    assert sum(alone.labels.values()) == 96  # every third of 48 women
    assert alone.finding("machine").evidence.alignment.multi_task == ()
    joint = Audit.from_json(output / "sononet8_multi_task" / "audit" / "audit.json")
    for name, levels in (("machine", 4), ("operator", 2)):
        assert np.shape(joint.finding(name).evidence.alignment.multi_task) == (6, levels)
        assert f"{name} (own head)" in joint.weight_space.tasks
    biased = Audit.from_json(output / "biased_sononet8_multi_task" / "audit" / "audit.json")
    assert len(biased.labels) == 4
    assert set(biased.finding("machine").levels) == set(MACHINES[:3])
    phantoms = Audit.from_json(output / "phantoms_sononet8" / "audit" / "audit.json")
    assert phantoms.finding("scanner").counterfactual.images == 90
    heads = Audit.from_json(output / "hc18_sononet8" / "audit" / "audit.json")
    assert heads.label_names == ("first", "second", "third")
    assert heads.finding("pixel_size_mm").evidence is not None
    assert (folder / "models" / "sononet8_pretrained.pt").is_file()


def written_hc18(folder: Path) -> Path:
    """HC18 as published: 60 examinations of heads whose size in pixels is the same for all."""
    rng, lines = np.random.default_rng(0), ["filename,pixel size(mm),head circumference (mm)"]
    (folder / "training_set").mkdir(parents=True)
    for number in range(60):
        image = rng.integers(0, 100, (32, 40), dtype=np.uint8)
        image[8:24, 10:30] += np.uint8(50)
        Image.fromarray(image).save(folder / "training_set" / f"{number:03d}_HC.png")
        lines.append(f"{number:03d}_HC.png,{0.05 + 0.004 * number},{50 + 4 * number + number % 3 * 40}")
    (folder / "training_set_pixel_size_and_HC.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_every_command_of_the_preterm_birth_readme_runs_word_for_word(cervix, tmp_path, monkeypatch):
    folder = bundle("preterm_birth_sa_sononet", tmp_path)
    monkeypatch.chdir(folder)
    (folder / "CERVIX").symlink_to(cervix)
    network = workflow("preterm_birth_sa_sononet", "inference", kind="infer").parser.get_parsed_content(
        "segmentation_def"
    )
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "segmentation.pt")
    saved(folder / "models" / "SonoNet8.npz", lasagne_arrays(width=8))
    for command in commands("preterm_birth_sa_sononet"):
        files, more = files_of(command), ["--width 8 --spatial_size [32,48]"]
        more += [SHORT] if "inference" not in files else []
        more += ["--settings#minimum_patients 2", QUICK] if "audit" in files else []
        more += ["--weights_path models/SonoNet8.npz --ckpt_path pretrained.pt"] if "pretrained" in files else []
        execute(command, *more)
    output = folder / "output" / "sa_sononet_8"
    assert "val_auc" in (output / "metrics.csv").read_text()
    record = Audit.from_json(output / "audit" / "audit.json")
    assert record.label_names == ("term", "preterm")
    assert {finding.attribute for finding in record.findings} == {
        "gestational_age_weeks",
        "spacing_y_mm",
        "spacing_x_mm",
        "scanner",
    }
    predictions = pd.read_csv(output / "predictions.csv", header=None)
    assert predictions.shape == (80, 2)
    assert predictions[1].between(0, 1).all()
    state = torch.load(folder / "models" / "sa_sononet_8.pt", weights_only=True)
    for name, value in network.state_dict().items():
        assert torch.equal(state[f"segmentation.{name}"], value)  # frozen, running statistics too
    fetched = torch.load(folder / "pretrained.pt", weights_only=True)
    assert fetched["classifier.features.0.weight"].shape == (8, 8, 3, 3)


@pytest.mark.parametrize(("channels", "planes"), [(1, 1), (3, 3), (8, 4)])
def test_the_variants_of_sa_sononet_read_image_shapes_and_spacing(cervix, channels, planes):
    made = workflow(
        "preterm_birth_sa_sononet",
        "train",
        "evaluate",
        dataset_dir=str(cervix),
        channels=channels,
        width=2,
        spatial_size=[32, 96],
    )
    made.initialize()
    assert made.check_properties() == []
    network = made.network_def
    assert network.classifier.in_channels == channels
    cohort = made.parser.get_parsed_content("test_cohort")
    item = made.parser.get_parsed_content("validate#dataset")[0]
    assert item["image"].shape == (planes, 32, 96)
    assert item["label"].tolist() == [float(cohort.labels[0])]
    assert float(item["image"][0].max()) < 0  # no text: it was white, and speckle is darker than grey
    spacing = cohort.table.iloc[0]
    if channels > 1:  # 40 rows became 32, 48 columns 96
        expected = [spacing["spacing_y_mm"] * 40 / 32, spacing["spacing_x_mm"] * 48 / 96]
        np.testing.assert_allclose(item["image"][-2:].mean(dim=(1, 2)), expected, rtol=1e-5)
    if channels == 8:
        assert float(item["image"][1].max()) > 0.4  # the segmentation network sees the text
    made.finalize()


FETAL, PRETERM = "fetal_plane_classification", "preterm_birth_sa_sononet"


@pytest.mark.parametrize(("network", "channels"), [("sononet8", 8), ("sononet16", 16), ("sononet32", 32)])
def test_the_network_of_the_switch_has_its_width(network, channels):
    made = workflow(FETAL, "inference", kind="infer", network_name=network)
    found = made.parser.get_parsed_content("network_def")
    assert found.features[0].out_channels == channels
    assert found.adaptation[3].out_channels == 6


def test_a_woman_of_both_parts_is_tested_on_and_not_trained_on(planes_db, tmp_path):
    shutil.copytree(planes_db, tmp_path, dirs_exist_ok=True)
    table = tmp_path / "FETAL_PLANES_DB_data.csv"
    lines = table.read_text().splitlines()
    assert lines[7].split(";")[1] == "2"
    assert lines[7].endswith(";1 ")
    lines[7] = lines[7].removesuffix("1 ") + "0 "  # one of her six images
    table.write_text("\n".join(lines))
    made = workflow(FETAL, "train", dataset_dir=str(tmp_path))
    parts = [made.parser.get_parsed_content(f"{part}_cohort") for part in ("train", "validation", "test")]
    women = [set(part.patients) for part in parts]
    assert women[2] == {"2", *(str(woman) for woman in range(1, 49, 3))}
    assert not women[0] & women[1]
    assert not (women[0] | women[1]) & women[2]
    assert [len(part) for part in parts][2] == 97


@pytest.mark.parametrize("table", ["balanced", "biased", "full"])
def test_the_induced_bias_draws_the_published_tables_in_one_share(planes_db, table):
    tables = {
        "balanced": [[3, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
        "biased": [[2, 2, 6], [2, 6, 2], [6, 2, 2], [6, 2, 2]],
    }
    made = workflow(FETAL, "train", "induced_bias", dataset_dir=str(planes_db), table=table, tables=tables)
    there = np.array(made.parser.get_parsed_content("there"))
    share = min(1, (there / 6)[np.array(tables["biased"]) == 6].min(), (there / 3).min())
    assert made.parser.get_parsed_content("share") == pytest.approx(share)
    drawn = made.parser.get_parsed_content("train_cohort")
    counts = pd.crosstab(drawn.table["label"], drawn.table["machine"])
    machines = ["Voluson S10", "Aloka", "Voluson E6"]
    assert list(counts.index) == ["Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax"]
    expected = there if table == "full" else np.floor(share * np.array(tables[table]) + 1e-9)
    np.testing.assert_array_equal(counts[machines], expected)
    tested = made.parser.get_parsed_content("test_cohort")
    assert set(tested.table["machine"]) == set(machines)


def test_the_published_networks_know_their_planes_through_the_bundle(tmp_path):
    pack = DATA / "sononet16-fetal-planes"
    if not pack.is_dir():
        pytest.skip(f"no published weights at {pack}")
    folder = BUNDLES / FETAL / "configs"
    run(
        config_file=[str(folder / "inference.json"), str(folder / "published.json")],
        meta_file=str(folder / "metadata.json"),
        logging_file=False,
        dataset_dir=str(pack / "images"),
        weights_path=str(pack / "SonoNet16.npz"),
        output_dir=str(tmp_path),
    )
    scores = pd.read_csv(tmp_path / "predictions.csv", header=None)
    best = scores.iloc[:, 1:].to_numpy().argmax(axis=1)
    found = {Path(path).name: CLASSES[code] for path, code in zip(scores[0], best, strict=True)}
    labels = pd.read_csv(pack / "labels.csv")
    assert found == {Path(row.image).name: row.label for row in labels.itertuples()}
    assert len(found) == 13


@pytest.mark.parametrize(("name", "widths"), [(FETAL, (16, 32, 64)), (PRETERM, (32,))])
def test_published_weights_are_fetched_by_the_user(name, widths):
    listed = json.loads((BUNDLES / name / "large_files.json").read_text())["large_files"]
    assert [entry["path"] for entry in listed] == [f"models/SonoNet{width}.npz" for width in widths]
    assert all(entry["url"].startswith("https://github.com/baumgach/SonoNet-weights/") for entry in listed)
    assert not list((BUNDLES / name).rglob("*.npz"))
    pack = DATA / "sononet16-fetal-planes" / "SonoNet16.npz"
    if pack.is_file() and 16 in widths:
        assert hashlib.md5(pack.read_bytes(), usedforsecurity=False).hexdigest() == listed[0]["hash_val"]
