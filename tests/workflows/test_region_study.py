# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import run
from sklearn.metrics import roc_auc_score
from storage_processes import holding

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.phantom.regions import draw_region_phantom
from monai_shortcut.region_study import RegionStudyRecord
from monai_shortcut.storage.folders import FolderInUseError
from monai_shortcut.workflows import RegionStudy
from monai_shortcut.workflows.cell import Evaluation, run_cell, scores_of
from monai_shortcut.workflows.configuration import digest_of, first_difference, merged, with_contents

CONFIGS = Path(__file__).parents[2] / "bundles" / "planted_region" / "configs"
SMALL = {"max_epochs": 2, "batch_size": 16}
PLAIN = ("full", "without_roi", "silhouette")
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Cohort:
    folder = tmp_path_factory.mktemp("phantom")
    return draw_region_phantom("inside", patients=30, seed=0, size=32).save(folder)


def study(cohort: Cohort, folder: Path, **changed: object) -> RegionStudy:
    arguments: dict[str, object] = {"overrides": SMALL, "strategies": PLAIN, "folds": 2, "validation_folds": 3}
    return RegionStudy(CONFIGS / "train.json", cohort, folder, **(arguments | changed))


def scores(folder: Path) -> dict[str, str]:
    """Text of every file of scores, by cell and condition."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("cells/*/*.csv"))}


@pytest.fixture(scope="module")
def finished(phantom, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    torch.set_num_threads(1)
    study(phantom, folder).run()
    return folder


def test_every_model_is_tested_under_every_strategy_and_each_image_once(phantom, finished):
    record = RegionStudyRecord.from_json(finished / "region_study.json")
    assert {(cell.trained_on, cell.evaluated_on) for cell in record.matrix.cells} == {
        (trained_on, evaluated_on) for trained_on in PLAIN for evaluated_on in PLAIN
    }
    for trained_on in PLAIN:
        ids = []
        for fold in (0, 1):
            frame = pd.read_csv(finished / "cells" / f"{trained_on}_fold{fold}" / "full_0.csv")
            ids += frame["image_id"].tolist()
        assert sorted(ids) == sorted(phantom.image_ids)


def test_who_is_tested_was_neither_trained_on_nor_chose_the_checkpoint(phantom, finished, tmp_path):
    patient = phantom.table["patient_id"]
    for cell in study(phantom, tmp_path).cells():
        train, validation, test = (
            {patient[item["image_id"]] for item in items} for items in (cell.train, cell.validation, cell.test[""])
        )
        assert train
        assert validation
        assert not train & validation
        assert not test & (train | validation)
        kept = json.loads((finished / "cells" / cell.name / "cell.json").read_text())
        assert kept["trained"] == [item["image_id"] for item in cell.train]


def test_learning_curves_and_the_best_checkpoint_are_kept(finished):
    kept = json.loads((finished / "cells" / "full_fold0" / "cell.json").read_text())
    assert [epoch for epoch, _, _ in kept["curve"]] == [1, 2]
    assert all(np.isfinite(loss) and 0 <= metric <= 1 for _, loss, metric in kept["curve"])
    weights = torch.load(finished / "cells" / "full_fold0" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert not list((finished / "cells").rglob("*.part"))


def test_models_are_scored_on_the_images_that_they_were_made_with(phantom, finished):
    record = RegionStudyRecord.from_json(finished / "region_study.json")
    assert [fit.trained_on for fit in record.fits] == list(PLAIN)
    outcome = pd.Series(phantom.labels, phantom.image_ids)
    (fit,) = [fit for fit in record.fits if fit.trained_on == "silhouette"]
    for cell in study(phantom, finished).cells():
        if cell.trained_on != "silhouette":
            continue
        for part, items, folds in (
            ("training", cell.train, fit.fold_training),
            ("validation", cell.validation, fit.fold_validation),
        ):
            (path,) = Path(cell.folder).glob(f"{part}-*_silhouette_0.csv")
            frame = pd.read_csv(path)
            assert sorted(frame["image_id"]) == sorted(item["image_id"] for item in items)
            area = roc_auc_score(outcome[frame["image_id"]], frame["positive"])
            assert folds[cell.fold] == pytest.approx(area)


def test_training_images_are_scored_by_the_last_weights_and_others_by_the_chosen(phantom, finished, tmp_path):
    """Folders of former versions have no last weights, and stay as they are."""
    cell = study(phantom, finished).cells()[0]
    names = [evaluation.cohort for evaluation in cell.evaluations]
    training = cell.evaluations[names.index("training")]
    assert cell.weights(training).name == "last.pt"
    assert {cell.weights(other).name for other in cell.evaluations if other != training} == {"model.pt"}
    former = replace(cell, folder=str(tmp_path / "former"))
    shutil.copytree(cell.folder, former.folder)
    former.weights(training).rename(tmp_path / "last.pt")
    text = former.path(training).read_text()
    former.path(training).unlink()
    assert run_cell(former) == 0
    assert not former.path(training).is_file()
    (tmp_path / "last.pt").rename(former.weights(training))
    assert run_cell(former) > 0
    assert former.path(training).read_text() == text


def test_the_strategies_give_the_models_different_images(finished):
    texts = scores(finished)
    assert texts["cells/full_fold0/full_0.csv"] != texts["cells/full_fold0/without_roi_0.csv"]
    assert texts["cells/full_fold0/full_0.csv"] != texts["cells/silhouette_fold0/full_0.csv"]


def test_a_second_run_trains_nothing_and_gives_the_same_record(phantom, finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.*")}
    record = (finished / "region_study.json").read_text()
    study(phantom, finished).run()
    assert {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.*")} == before
    assert (finished / "region_study.json").read_text() == record


def test_every_file_of_a_cell_is_the_one_that_was_written(phantom, finished, tmp_path):
    cell = replace(study(phantom, finished).cells()[0], folder=str(tmp_path / "cell"))
    shutil.copytree(finished / "cells" / cell.name, cell.folder)
    assert run_cell(cell) == 0
    first, second = cell.path(cell.evaluations[0]), cell.path(cell.evaluations[1])
    texts = [path.read_text() for path in (first, second)]
    points = cell.embeddings(cell.evaluations[1]).read_bytes()
    first.write_text(texts[1])  # that of another condition, whole and well-formed
    cell.embeddings(cell.evaluations[1]).write_bytes(points[:100])
    second.with_suffix(".json").write_text('{"phantom_0000_0": "of another run"}')
    assert run_cell(cell) > 0
    assert [path.read_text() for path in (first, second)] == texts
    assert cell.embeddings(cell.evaluations[1]).read_bytes() == points
    assert not second.with_suffix(".json").exists()
    weights = Path(cell.folder, "model.pt")
    shutil.copy(finished / "cells" / "silhouette_fold1" / "model.pt", weights)
    with pytest.raises(
        ValueError, match=r"weights of a cell must be those that it was trained to, got others in .*model"
    ):
        run_cell(cell)
    former = json.loads(Path(cell.folder, "cell.json").read_text())
    del former["files"]  # as former versions wrote it
    Path(cell.folder, "cell.json").write_text(json.dumps(former))
    assert run_cell(cell) == 0


def test_a_training_begins_without_the_files_of_another(phantom, finished, tmp_path):
    brief = study(phantom, finished, overrides={**SMALL, "max_epochs": 1})
    cell = replace(brief.cells()[0], folder=str(tmp_path / "cell"))
    shutil.copytree(finished / "cells" / "silhouette_fold1", cell.folder)
    Path(cell.folder, "cell.json").unlink()
    for name in ("full_0.json", "best.part", ".model.pt.1.monai_shortcut.part", "full_9.csv"):
        Path(cell.folder, name).write_text("{}")
    evaluation = replace(cell, evaluations=cell.evaluations[:1])
    assert run_cell(evaluation) > 0
    names = {path.name for path in Path(cell.folder).iterdir()}
    assert names == {"cell.json", "full_0.csv", "full_0.npz", "last.pt", "log.txt", "model.pt"}
    kept = json.loads(Path(cell.folder, "cell.json").read_text())["files"]
    digests = {name: hashlib.sha256(Path(cell.folder, name).read_bytes()).hexdigest() for name in names - {"log.txt"}}
    assert kept == {name: digest for name, digest in digests.items() if name != "cell.json"}


def test_a_folder_in_which_another_process_writes_is_refused(phantom, finished, tmp_path):
    ready = study(phantom, tmp_path)
    process = holding(tmp_path)
    try:
        for call in (ready.run, lambda: study(phantom, tmp_path)):
            with pytest.raises(FolderInUseError, match=rf"got {tmp_path}, which process {process.pid} on host"):
                call()
        assert not (tmp_path / "cells").exists()
    finally:
        process.communicate()


def started(phantom: Cohort, folder: Path) -> subprocess.Popen[str]:
    """The study in a process of its own."""
    script = (
        "import sys, pandas as pd, test_region_study as t\n"
        "from monai_shortcut.cohort.table import Cohort\n"
        "t.study(Cohort.from_csv(sys.argv[1]), sys.argv[2]).run()\n"
    )
    root = Path(str(phantom.table["image"].iloc[0])).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            map(str, [Path(__file__).parents[2], Path(__file__).parents[1], Path(__file__).parent])
        ),
    }
    command = [sys.executable, "-W", "ignore", "-c", script, str(root / "metadata.csv"), str(folder)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


@pytest.mark.slow
def test_of_two_studies_that_start_at_once_in_a_folder_one_is_made_and_one_refused(phantom, finished, tmp_path):
    processes = [started(phantom, tmp_path) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    (refused,) = [text for process, text in zip(processes, errors, strict=True) if process.returncode]
    assert "FolderInUseError: a folder must be written by one process at a time, got " in refused
    assert scores(tmp_path) == scores(finished)
    assert (tmp_path / "matrix.csv").read_text() == (finished / "matrix.csv").read_text()


@pytest.mark.slow
def test_a_study_killed_in_the_middle_and_run_again_gives_identical_tables(phantom, finished, tmp_path):
    process = started(phantom, tmp_path)
    begun = time.monotonic()
    while len(list(tmp_path.rglob("cell.json"))) < 2 and process.poll() is None:
        assert time.monotonic() - begun < 120
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = scores(tmp_path)
    assert 0 < len(left) < len(scores(finished))
    study(phantom, tmp_path).run()
    assert scores(tmp_path) == scores(finished)
    assert (tmp_path / "matrix.csv").read_text() == (finished / "matrix.csv").read_text()


@pytest.mark.slow
def test_two_workers_of_joblib_give_identical_tables(phantom, finished, tmp_path):
    study(phantom, tmp_path, n_jobs=2).run()
    assert scores(tmp_path) == scores(finished)


@pytest.mark.slow
def test_two_workers_of_a_dask_cluster_give_identical_tables(phantom, finished, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        parallel = {"backend": "dask", "scheduler_host": cluster.scheduler_address}
        study(phantom, tmp_path, n_jobs=None, parallel=parallel).run()
        assert len(client.scheduler_info()["workers"]) == 2
    assert scores(tmp_path) == scores(finished)


def test_cells_of_another_configuration_are_refused_before_anything_is_trained(phantom, finished):
    with pytest.raises(ValueError, match=r"one configuration.*config#max_epochs: 2 there, 3 here"):
        study(phantom, finished, overrides={**SMALL, "max_epochs": 3}).run()
    with pytest.raises(ValueError, match=r"images#test#\d+#0: .* there, .* here"):
        study(phantom, finished, seed=1).run()


def test_a_moved_folder_of_images_is_the_same_configuration(phantom, tmp_path):
    one, other = (study(phantom, tmp_path, overrides={**SMALL, "dataset_dir": place}) for place in ("a", "b"))
    assert digest_of(one.cells()[0].configuration()) == digest_of(other.cells()[0].configuration())


def test_the_page_does_not_say_where_the_images_are(phantom, tmp_path):
    place = {"overrides": {**SMALL, "dataset_dir": "/data/Ann Lee"}}
    assert "dataset_dir" not in study(phantom, tmp_path, **place)._settings()
    allowed = study(phantom, tmp_path, **place, privacy={"paths": True})
    assert allowed._settings()["dataset_dir"] == "/data/Ann Lee"


def test_settings_say_what_was_studied_without_folders(phantom, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    found = study(phantom, tmp_path)
    found.cohort = replace(found.cohort, source="table.csv")
    settings = found._settings()
    assert settings["date"] == "1970-01-02"
    assert settings["table of images"] == "table.csv"
    assert settings["training configuration"].endswith(".json")
    assert "/" not in settings["training configuration"]


def test_more_conditions_are_tested_without_training_again(phantom, finished, tmp_path):
    cell = study(phantom, finished).cells()[0]
    before = (Path(cell.folder) / "model.pt").stat().st_mtime_ns
    more = type(cell)(**{**vars(cell), "evaluations": (*cell.evaluations, Evaluation("", "roi_only", 1.0))})
    assert run_cell(more) > 0
    path = Path(cell.folder) / "roi_only_1.csv"
    assert len(pd.read_csv(path)) == len(cell.test[""])
    assert (Path(cell.folder) / "model.pt").stat().st_mtime_ns == before
    path.unlink()


@pytest.mark.slow
def test_images_whose_region_vanishes_are_left_out_and_named(phantom, tmp_path):
    finished_study = study(
        phantom, tmp_path, strategies=("full", "roi_only"), margins=(-4.0,), margin_strategies=("roi_only",)
    )
    record = finished_study.run()
    gone = [name for name, reason in record.excluded.items() if "margin=-4" in reason]
    assert gone
    frames = [pd.read_csv(path) for path in tmp_path.glob("cells/roi_only_fold*/roi_only_-4.csv")]
    left = {name for frame in frames for name in frame["image_id"]}
    assert left
    assert not left & {name.split(",")[0] for name in gone}


def test_external_cohorts_need_no_regions_and_add_no_training(phantom, finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    other = draw_region_phantom("inside", patients=8, seed=9, size=32, name="elsewhere").save(folder)
    bare = Cohort.from_table(other.table.drop(columns="roi").reset_index(), label_names=other.label_names)
    before = (finished / "cells" / "full_fold0" / "model.pt").stat().st_mtime_ns
    record = study(phantom, finished, external={"elsewhere": bare}).run()
    assert (finished / "cells" / "full_fold0" / "model.pt").stat().st_mtime_ns == before
    (path,) = (finished / "cells" / "full_fold0").glob("elsewhere-*_full_0.csv")
    frame = pd.read_csv(path)
    assert sorted(frame["image_id"]) == sorted(bare.image_ids)
    assert {score.cohort for score in record.external} == {"elsewhere"}


def test_a_fixed_test_set_is_scored_in_every_fold(phantom, tmp_path):
    parts = phantom.with_folds(3, 0)
    cells = study(parts.in_folds(0, 1), tmp_path, test=parts.in_folds(2)).cells()
    assert {tuple(item["image_id"] for item in cell.test[""]) for cell in cells} == {parts.in_folds(2).image_ids}
    first, second = ({item["image_id"] for item in cell.validation} for cell in (cells[0], cells[-1]))
    assert first.isdisjoint(second)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strategies": ("without_roi",)}, 'strategies must hold "full" and each once, got without_roi'),
        ({"strategies": ("full", "full")}, 'strategies must hold "full" and each once'),
        ({"strategies": ("full", "inverse")}, "strategy must be one of full"),
        (
            {"margins": (1,), "margin_strategies": ("roi_only",)},
            "margin_strategies must be among the strategies, got roi_only",
        ),
        ({"attributes": ("scanner",)}, r"attributes must be among \['site', 'age'\], got \['scanner'\]"),
        ({"overrides": {"epochs": 3}}, "overrides must be ids of the training configuration, got 'epochs'"),
        ({"folds": 1}, "folds must not exceed the number of patients"),
    ],
)
def test_settings_that_cannot_be_are_refused(phantom, tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        study(phantom, tmp_path, **changed)


@pytest.mark.filterwarnings("ignore:`dataloader` is empty:UserWarning")
def test_a_training_without_a_batch_is_refused(phantom, tmp_path):
    with pytest.raises(RuntimeError, match=r"workflows\.check_training") as error:  # by the configuration
        run_cell(study(phantom, tmp_path, overrides={"max_epochs": 1, "batch_size": 32}).cells()[0])
    assert str(error.value.__cause__).startswith("batch_size must be an integer from 1 to 20")
    unchecked = {"max_epochs": 1, "batch_size": 32, "initialize#1": "$None"}
    with pytest.raises(ValueError, match="at least one batch of training, got 20 images: choose a smaller batch_size"):
        run_cell(study(phantom, tmp_path / "unchecked", overrides=unchecked).cells()[0])


def test_cohorts_that_cannot_be_are_refused(phantom, tmp_path):
    bare = Cohort.from_table(phantom.table.drop(columns="roi").reset_index(), label_names=phantom.label_names)
    with pytest.raises(ValueError, match="every image of the cohort must have a region of interest"):
        study(bare, tmp_path)
    with pytest.raises(ValueError, match="patients of test must not be in cohort, got phantom"):
        study(phantom, tmp_path, test=phantom)
    with pytest.raises(ValueError, match=r"an external cohort must have the labels.* 60 shared ids"):
        study(phantom, tmp_path, external={"same": phantom})
    with pytest.raises(ValueError, match=r"must not be those of the study's own parts, got \['training'\]"):
        study(phantom, tmp_path, external={"training": phantom})
    with pytest.raises(ValueError, match="names of external cohorts must be letters"):
        study(phantom, tmp_path, external={"../x": phantom})


def test_a_configuration_without_what_a_study_needs_is_refused(tmp_path):
    config = json.loads((CONFIGS / "train.json").read_text())
    bare = {**config, "preprocessing_transforms": config["preprocessing_transforms"][:-1]}
    (tmp_path / "bare.json").write_text(json.dumps(bare))
    with pytest.raises(ValueError, match=r"must have a monai_shortcut.transforms.MaskROId whose strategy is"):
        merged(tmp_path / "bare.json", {})
    del config["validate"]["preprocessing"]
    (tmp_path / "less.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="got none named validate#preprocessing"):
        merged([tmp_path / "less.json"], {})


def test_differences_are_found_where_they_are():
    assert first_difference({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == "a#b#1: 2 there, 3 here"
    assert first_difference({"a": 1, "dataset_dir": "x"}, {"a": 2, "dataset_dir": "y"}) == "a: 1 there, 2 here"
    assert digest_of({"a": 1, "dataset_dir": "x"}) == digest_of({"dataset_dir": "y", "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_what_cells_print_and_log_goes_to_their_own_files(phantom, tmp_path, capfd):
    logger = logging.getLogger("of a user")
    handler = logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    with (tmp_path / "closed.txt").open("w") as closed:
        logger.addHandler(logging.StreamHandler(closed))
    for cell in study(phantom, tmp_path, strategies=("full", "roi_only")).cells()[:2]:
        run_cell(cell)
        text = (Path(cell.folder) / "log.txt").read_text()
        assert "val_auc" in text
        assert "train [2/2]" in text
        assert "Logging error" not in text
    assert capfd.readouterr() == ("", "")
    logger.removeHandler(logger.handlers[1])
    logger.error("still there")
    assert "still there" in capfd.readouterr().out
    logger.removeHandler(handler)


@pytest.mark.slow
def test_the_bundle_runs_from_its_configuration(tmp_path, capsys):
    run(
        config_file=[str(CONFIGS / "train.json"), str(CONFIGS / "region_sensitivity.json")],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=False,
        bundle_root=str(CONFIGS.parent),
        output_dir=str(tmp_path),
        patients=24,
        size=32,
        max_epochs=1,
        batch_size=8,
        source="outline",
        strategies=["full", "silhouette"],
        study_folds=2,
    )
    assert (tmp_path / "study" / "report.html").is_file()
    assert "report: " in capsys.readouterr().out


@pytest.mark.slow
def test_the_how_to_guide_studies_a_bundle_from_its_own_words(phantom, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "region-study.md").read_text()
    first, second = (block.split("```")[0] for block in text.split("```json")[1:3])
    keys, config = json.loads("{" + first + "}"), json.loads((CONFIGS / "train.json").read_text())
    keys["preprocessing"]["transforms"][1]["spatial_size"] = [32, 32]
    keys["preprocessing"]["transforms"][0] |= {"reader": "PILReader", "reverse_indexing": False}
    config = {name: value for name, value in config.items() if name not in ("unit", "fill")} | keys
    for part in ("train", "validate"):
        config[part]["preprocessing"] = "@preprocessing"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps(config | {"batch_size": 16}))
    folder = Path(str(phantom.table["image"].iloc[0])).parents[1]
    cohort = Cohort.from_csv(folder / "metadata.csv")
    cohort.table.drop(columns="label").assign(label=cohort.table["label"]).to_csv(tmp_path / "metadata.csv")
    asked = json.loads(second)
    asked["study"] |= {"overrides": {"max_epochs": 1}, "folds": 2, "margins": [2], "strategies": ["full", "roi_only"]}
    (tmp_path / "configs" / "region_sensitivity.json").write_text(json.dumps(asked))
    monkeypatch.chdir(tmp_path)
    run(config_file="configs/region_sensitivity.json", meta_file=str(CONFIGS / "metadata.json"), logging_file=False)
    record = RegionStudyRecord.from_json(tmp_path / "output" / "regions" / "region_study.json")
    assert {point.margin for point in record.curves} == {0.0, 2.0}


def test_a_file_counts_by_what_it_holds(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"weights")
    (tmp_path / "b.pth").write_bytes(b"weights")
    (tmp_path / "c.pth").write_bytes(b"other weights")
    one, moved, other = (with_contents({"pretrained": str(tmp_path / f"{name}.pth"), "seed": 0}) for name in "abc")
    assert digest_of(one) == digest_of(moved) != digest_of(other)
    assert with_contents({"name": "x" * 10_000, "seed": 0}) == {"name": "x" * 10_000, "seed": 0}


def test_scores_of_two_classes_are_how_far_the_second_is_ahead():
    assert scores_of(torch.tensor([0.25, 0.75]), 1) == [0.5]
    assert scores_of(torch.tensor([[2.0], [-1.0], [0.5]]), 3) == [2.0, -1.0, 0.5]
    assert scores_of(torch.tensor(0.75), 1) == [0.75]
    assert scores_of(torch.tensor([0.0, math.log(3.0)]), 1) == pytest.approx([0.5])  # logits of 1/4 and 3/4
    assert scores_of(torch.tensor(0.75), 1, exclusive=True) == [0.75]
    exclusive = scores_of(torch.tensor([0.0, math.log(2.0), 0.0]), 3, exclusive=True)
    assert exclusive == pytest.approx([0.25, 0.5, 0.25])
    assert scores_of(torch.tensor(exclusive), 3, exclusive=True) == pytest.approx(exclusive)  # of a softmax
    with pytest.raises(ValueError, match="the network must return 2 values per image, got 3"):
        scores_of(torch.zeros(3), 2)
