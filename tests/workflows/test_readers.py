# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Reader studies from a bundle to the report, and the sections that pages gain."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES, write_busbra
from monai.bundle import ConfigWorkflow, run
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged
from reader_answers import make_key, rows_of, write_answers
from region_scores import draw_study

from monai_shortcut.cohort import Cohort
from monai_shortcut.datasets import read_busbra
from monai_shortcut.handlers import ReaderExport, ShortcutAudit
from monai_shortcut.handlers.reading_items import ReadingItems, item_names
from monai_shortcut.installation import overlay
from monai_shortcut.networks import SonoNet
from monai_shortcut.reader_study import READ, Display, ReaderStudy, StudyKey, analyse
from monai_shortcut.region_study import RegionStudyRecord, study_record
from monai_shortcut.regions import mask_roi
from monai_shortcut.report import write_region_report
from monai_shortcut.types import Unmeasurable
from monai_shortcut.workflows import analyse_readers, export_reader_study, read_predictions

CONFIGS = BUNDLES / "breast_ultrasound_classification" / "configs"
pytestmark = [pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")]


@pytest.fixture(scope="module")
def busbra_like(tmp_path_factory) -> Path:
    return write_busbra(tmp_path_factory.mktemp("BUSBRA"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network that nobody has trained; its answers differ between images all the same."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save({"model": SonoNet(2, 1, 2, width=16).state_dict()}, path)
    return path


def arguments(folder: Path, output: Path, checkpoint: Path) -> dict[str, object]:
    return {
        "meta_file": str(CONFIGS / "metadata.json"),
        "logging_file": False,
        "dataset_dir": str(folder),
        "output_dir": str(output),
        "ckpt_path": str(checkpoint),
        "network_name": "sononet16",
        "spatial_size": 32,
    }


def test_the_bundle_exports_a_study_and_its_answers_become_a_report(busbra_like, checkpoint, tmp_path, capsys):
    shared = arguments(busbra_like, tmp_path, checkpoint)
    configs = [str(CONFIGS / "train.json"), str(CONFIGS / "readers.json")]
    run(config_file=configs, per_percentile=1, percentiles=[30, 70], **shared)
    assert (tmp_path / "readers" / "for_readers" / "reading.html").is_file()
    assert "page for readers: " in capsys.readouterr().out
    key = StudyKey.from_json(tmp_path / "readers" / "for_organisers" / "key.json")
    assert (key.strategies, key.sessions, len(key.presentations)) == (READ, 5, 20)
    assert key.answers == ("benign", "malignant")
    check_probabilities(key, shared)
    rng = np.random.default_rng(0)
    files = [
        write_answers(tmp_path / f"{name}.csv", rows_of(key, name, dict.fromkeys(READ, 1.0), rng)) for name in "AB"
    ]
    run(
        config_file=str(overlay("answers")),
        audit_answers=[str(path) for path in files],
        audit_key=str(tmp_path / "readers" / "for_organisers" / "key.json"),
        audit_dir=str(tmp_path / "answers"),
    )
    record = ReaderStudy.from_json(tmp_path / "answers" / "reader_study.json")
    assert record.readers == ("A", "B")
    assert all(reading.model is not None for reading in record.strategies)
    assert f"report: {tmp_path / 'answers' / 'report.html'}" in capsys.readouterr().out


def check_probabilities(key: StudyKey, shared: dict[str, object]) -> None:
    """The network saw the very pictures of the readers."""
    configs = [str(CONFIGS / "train.json"), str(CONFIGS / "readers.json")]
    workflow = ConfigWorkflow(config_file=configs, workflow_type="train", **shared)
    workflow.initialize()
    items = {item["image_id"]: item for item in workflow.parser.get_parsed_content("validate#dataset")}
    network = workflow.network_def.eval()
    network.load_state_dict(torch.load(shared["ckpt_path"])["model"])
    for shown in key.presentations:
        item = items[shown.image_id]
        image = mask_roi(item["image"].as_tensor(), item["roi"].as_tensor(), shown.strategy)
        with torch.no_grad():
            expected = network(image[None]).softmax(dim=1)[0, 1]
        assert shown.probability == pytest.approx(float(expected), abs=1e-5)
        assert shown.label == int(item["label"])


def test_overlays_export_a_study_from_a_bundle_that_knows_nothing_of_it(busbra_like, checkpoint, tmp_path):
    read_busbra(busbra_like).table.to_csv(tmp_path / "metadata.csv")
    run(
        config_file=[str(CONFIGS / "train.json"), str(overlay("evaluate")), str(overlay("readers"))],
        metadata_csv=str(tmp_path / "metadata.csv"),
        audit_dir=str(tmp_path / "study"),
        audit_percentiles=[50],
        audit_strategies=["full", "silhouette"],
        **{**arguments(busbra_like, tmp_path, checkpoint), "audit_display#window": [0, 1], "audit_title": "Lesions"},
    )
    key = StudyKey.from_json(tmp_path / "study" / "for_organisers" / "key.json")
    assert (key.title, key.strategies, len(key.presentations)) == ("Lesions", ("full", "silhouette"), 4)


@pytest.fixture(scope="module")
def predicted(busbra_like, checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("predictions")
    run(config_file=str(CONFIGS / "inference.json"), **arguments(busbra_like, output, checkpoint))
    return output / "predictions.csv"


def test_a_datalist_and_predictions_make_a_study(busbra_like, predicted, tmp_path):
    cohort = read_busbra(busbra_like)
    items = [dict(item, patient_id=one) for item, one in zip(cohort.datalist(), cohort.patients, strict=True)]
    load = LoadImaged(["image", "roi"], reader="PILReader", reverse_indexing=False, ensure_channel_first=True)
    page = export_reader_study(
        Dataset(items, Compose([load])),
        tmp_path,
        predictions=predicted,
        strategies=("full", "roi_only"),
        display=Display(window=(0, 255)),
    )
    key = StudyKey.from_json(tmp_path / "for_organisers" / "key.json")
    table = pd.read_csv(predicted, header=None, dtype=str)  # pandas may miss the last digit of a number
    known = {Path(path).stem: float(value) for path, value in zip(table[0], table[2], strict=True)}
    for shown in key.presentations:
        assert shown.probability == (known[shown.image_id] if shown.strategy == "full" else None)
        assert cohort.table.at[shown.image_id, "patient_id"] == shown.patient_id
        assert cohort.labels[cohort.image_ids.index(shown.image_id)] == shown.label
    assert page == tmp_path / "for_readers" / "reading.html"


def test_plain_dictionaries_make_a_study(tmp_path):
    rng = np.random.default_rng(0)
    items = [
        {
            "picture": rng.random((1, 6, 5)),
            "mask": np.eye(6, 5)[None],
            "who": number,
            "class": number % 3,
            "name": number,
        }
        for number in range(30)
    ]
    items = [item | {"p": float(item["picture"].mean())} for item in items]
    keys = {"image": "picture", "roi": "mask", "patient": "who", "label": "class", "id": "name"}
    export_reader_study(items, tmp_path, keys=keys, probability_key="p", positive=2, strategies=("without_roi",))
    key = StudyKey.from_json(tmp_path / "for_organisers" / "key.json")
    assert all(shown.label == (int(shown.image_id) % 3 == 2) for shown in key.presentations)
    with pytest.raises(ValueError, match="keys must be of image, roi, id, patient, label, got mask"):
        export_reader_study(items, tmp_path, keys={"mask": "mask"})
    with pytest.raises(
        ValueError, match="items must have the keys who, class, probability, got none named probability"
    ):
        export_reader_study(items, tmp_path, keys=keys)


@pytest.mark.parametrize(
    ("content", "positive", "expected"),
    [
        ("a.png,0.25,0.75\nb,0.5,0.5\n", 1, [0.75, 0.5]),
        ("a,0.25\nx,\nb,0.5\n", 1, [0.25, 0.5]),
        ("b,1,2,3\na,4,5,6", 2, [6, 3]),
    ],
)
def test_predictions_are_found_by_name(content, positive, expected, tmp_path):
    (tmp_path / "p.csv").write_text(content)
    assert read_predictions(tmp_path / "p.csv", ["a", "b"], positive) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,0.5\n", "p.csv must have a row for each image, got none for b."),
        ("a,0.5\nb,high\n", "p.csv line 2 must have a probability of class 1, got high."),
        ("a,0.5\n\nb\n", "p.csv line 3 must have a probability of class 1, got ."),
    ],
)
def test_wrong_predictions_are_named(content, message, tmp_path):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_predictions(tmp_path / "p.csv", ["a", "b"])


def test_a_region_study_gains_what_readers_see(tmp_path):
    names = ("full", "without_roi")
    scores = draw_study(np.random.default_rng(0), {"outside": 2.0}, strategies=names, labels=("ill",))
    page = write_region_report(study_record(*scores), tmp_path / "study")
    assert "Not measured: nobody has read these images." in page.read_text(encoding="utf-8")
    key = make_key(6, names, {"full": 1.0, "without_roi": 1.0})
    rows = rows_of(key, "A", dict.fromkeys(names, 1.0), np.random.default_rng(0))
    key.to_json(tmp_path / "key.json")
    found = analyse_readers(
        write_answers(tmp_path / "A.csv", rows),
        tmp_path / "key.json",
        tmp_path / "readers",
        record=tmp_path / "study" / "region_study.json",
    )
    assert RegionStudyRecord.from_json(tmp_path / "study" / "region_study.json").readers == {"": found}
    assert "which says nothing of others" in page.read_text(encoding="utf-8")


def cohort_of(names: tuple[str, ...]) -> Cohort:
    rows = [{"image_id": f"i{number}", "patient_id": number, "label": name} for number, name in enumerate(names)]
    return Cohort.from_table(pd.DataFrame(rows))


def test_one_of_several_classes_must_be_named(tmp_path):
    network = torch.nn.Linear(2, 3)
    cohort = cohort_of(("a", "b", "c"))
    with pytest.raises(
        ValueError, match="positive must name one of a, b, c, which readers tell from the others, got None"
    ):
        ReaderExport(network, cohort, tmp_path)._positive(cohort)
    with pytest.raises(ValueError, match="positive must be one of a, b, c, got 'd'"):
        ReaderExport(network, cohort, tmp_path, positive="d")._positive(cohort)
    assert ReaderExport(network, cohort, tmp_path, positive="c")._positive(cohort) == 2
    with pytest.raises(ValueError, match="strategy must be one of"):
        ReaderExport(network, cohort, tmp_path, strategies=["half"])


def test_each_label_has_a_study_of_its_own_and_the_network_sees_what_follows_the_mask(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in range(30)], "patient_id": range(30)})
    frame = frame.assign(edema=np.arange(30) % 2, mass=np.arange(30) // 2 % 2)
    roi = np.zeros((1, 4, 4), dtype=np.float32)
    roi[0, 1:3, 1:3] = 1
    images = rng.random((30, 1, 4, 4)).astype(np.float32)
    items = [
        {"image": image, "roi": roi, "image_id": name} for image, name in zip(images, frame["image_id"], strict=True)
    ]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    handler = ReaderExport(
        network,
        Cohort.from_table(frame, findings=["edema", "mass"]),
        tmp_path,
        labels=["edema", "mass"],
        strategies=("roi_only",),
        after_masking=lambda image: 2 * image,
        percentiles=[50],
        title="Chest",
    )
    loader = DataLoader(Dataset(items), batch_size=10)
    SupervisedEvaluator(torch.device("cpu"), loader, network.eval(), val_handlers=[handler]).run()
    for output, label in enumerate(("edema", "mass")):
        key = StudyKey.from_json(tmp_path / label / "for_organisers" / "key.json")
        assert key == handler.keys[label]
        assert (key.title, key.question) == (f"Chest: {label}", f"Is it there: {label}?")
        assert key.answers == ("absent", "present")
        for shown in key.presentations:
            number = int(shown.image_id[1:])
            assert shown.label == frame[label][number]
            with torch.no_grad():
                logit = network(torch.as_tensor(2 * images[number] * roi)[None])[0, output]
            assert shown.probability == pytest.approx(float(logit.sigmoid()), abs=1e-6)


def test_a_label_without_enough_patients_is_left_out_and_told(tmp_path, capsys):
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in range(8)], "patient_id": range(8)})
    frame = frame.assign(edema=np.arange(8) % 2, mass=[1, *[0] * 7])
    items = [{"image": torch.rand(1, 4, 4), "roi": torch.eye(4)[None], "image_id": name} for name in frame["image_id"]]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    cohort, engine = Cohort.from_table(frame, findings=["edema", "mass"]), DataLoader(Dataset(items), batch_size=8)
    shared = {"labels": ["edema", "mass"], "strategies": ("full",)}
    handler = ReaderExport(network, cohort, tmp_path, **shared, percentiles=2)
    SupervisedEvaluator(torch.device("cpu"), engine, network.eval(), val_handlers=[handler]).run()
    assert list(handler.keys) == ["edema"]
    said = "no reader study: mass: class 1 must have an image of another patient for each of 2"
    assert said in capsys.readouterr().out
    assert set(handler.problems) == {"mass"}
    handler = ReaderExport(network, cohort, tmp_path, **shared, percentiles=9)
    with pytest.raises(Unmeasurable, match=r"cases of both classes, got none: \{'edema': "):
        SupervisedEvaluator(torch.device("cpu"), engine, network.eval(), val_handlers=[handler]).run()


def test_an_audit_that_is_run_again_keeps_what_readers_see(tmp_path):
    key = make_key(6, ("full",), {"full": 1.0})
    rows = rows_of(key, "A", {"full": 1.0}, np.random.default_rng(0))
    found = analyse(write_answers(tmp_path / "A.csv", rows), key)
    found.to_json(tmp_path / "reader_study.json")
    network, cohort = torch.nn.Linear(2, 2), cohort_of(("a", "b"))
    assert ShortcutAudit(network, cohort, tmp_path, readers=tmp_path / "reader_study.json").readers == {"": found}
    assert ShortcutAudit(network, cohort, tmp_path, readers={"mass": found}).readers == {"mass": found}
    assert ShortcutAudit(network, cohort, tmp_path).readers == {}


def test_a_dataset_without_the_images_of_the_run_is_refused(tmp_path):
    cohort = cohort_of(("a", "b"))
    handler = ReaderExport(torch.nn.Linear(2, 2), cohort, tmp_path)
    with pytest.raises(ValueError, match="the dataset must hold every image of the run, got no i1"):
        handler._export(SimpleNamespace(name="", cohort=cohort), [], ["i0"], tmp_path)


def test_items_are_found_by_name_and_read_when_they_are_asked_for():
    items = [
        {"image": torch.ones(1, 2, 2), "roi": torch.ones(1, 2, 2), "image_id": torch.tensor(number)}
        for number in (7, 8)
    ]
    assert item_names(items, "image", "image_id") == ["7", "8"]
    assert item_names([{"image": "folder/a.png"}], "image", "image_id") == ["folder/a.png"]
    assert len(ReadingItems(items, [1])) == 1
    assert set(ReadingItems(items, [1])[0]) == {"image", "roi", "spacing"}
    with pytest.raises(ValueError, match="items must have the key 'image_id', or an image from a file, got"):
        item_names([{"image": torch.ones(1)}], "image", "image_id")
    with pytest.raises(ValueError, match="items must have the keys image, mask, got none named mask"):
        ReadingItems(items, [0], roi_key="mask")[0]
    with pytest.raises(ValueError, match="items of the dataset must be dictionaries, got list"):
        ReadingItems([[1]], [0])[0]
