# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import simulated
from scipy.special import expit, softmax

from monai_shortcut.__main__ import main
from monai_shortcut.audit import Audit, audit

QUICK = [f"--set={name}" for name in ("permutations=99", "bootstraps=19", "repeats=1", "erasures=5", "held_out=0")]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Embeddings, head, probabilities and table of a model that uses "used" and sees "visible"."""
    folder, known = tmp_path_factory.mktemp("arrays"), simulated(patients=80)
    points, names = known["embeddings"], [f"image {number}" for number in range(len(known["labels"]))]
    weight, bias = known["weight"], known["bias"]
    np.save(folder / "points.npy", points)
    np.savez(folder / "named.npz", embeddings=points[::-1], image_id=np.array(names)[::-1])
    np.savez(folder / "head.npz", weight=weight, bias=bias)
    np.savez(folder / "wrong.npz", weight=weight[::-1], bias=bias)
    answers = pd.DataFrame(softmax(points @ weight.T + bias, axis=1), columns=["class 0", "class 1"])
    answers.assign(image_id=names).sample(frac=1, random_state=0).to_csv(folder / "answers.csv", index=False)
    table = pd.DataFrame({**known["attributes"], "image_id": names, "patient_id": known["patients"]})
    table["label"] = [known["label_names"][code] for code in known["labels"]]
    table[["image_id", "patient_id", "label", "used", "visible", "absent"]].to_csv(folder / "metadata.csv", index=False)
    return folder


def ran(files: Path, tmp_path: Path, *arguments: str) -> int:
    known = [str(files / word) if (files / word).is_file() else word for word in arguments]
    return main(
        ["audit", *known, "--metadata", str(files / "metadata.csv"), "--output", str(tmp_path / "audit"), *QUICK]
    )


def record(tmp_path: Path) -> dict[str, str]:
    return {one.attribute: one.verdict for one in Audit.from_json(tmp_path / "audit" / "audit.json").findings}


def test_arrays_are_audited_with_their_head(files, tmp_path, capsys):
    given = ["--embeddings", "points.npy", "--head", "head.npz", "--attributes", "used"]
    assert ran(files, tmp_path, *given, "--fail-on", "encoded, not used,inconclusive") == 0
    printed = capsys.readouterr().out
    assert "0 images have no row in the table, 0 rows no image" in printed
    assert f"report: {tmp_path / 'audit' / 'report.html'} (beside it" in printed
    assert record(tmp_path) == {"used": "used"}


def test_arrays_in_the_order_of_the_table_and_named_ones_are_of_the_same_images(files, tmp_path, capsys):
    head = ["--head", "head.npz", "--dry-run"]
    assert ran(files, tmp_path, "--embeddings", "points.npy", *head) == 0
    in_order = capsys.readouterr().out
    assert ran(files, tmp_path, "--embeddings", "named.npz", "--probabilities", "answers.csv", *head) == 0
    assert capsys.readouterr().out == in_order


def test_probabilities_alone_answer_all_that_takes_no_embedding(files, tmp_path, capsys):
    assert ran(files, tmp_path, "--probabilities", "answers.csv", "--fail-on", "used,inconclusive") == 2
    assert "the audit fails by its verdicts: used (used)" in capsys.readouterr().out
    found = Audit.from_json(tmp_path / "audit" / "audit.json").finding("used")
    assert found.verdict == "used"
    assert found.evidence.encoding is None
    why = "it takes the embeddings, and only the predicted probabilities are known"
    assert found.evidence.not_computed["encoding"] == why
    page = " ".join((tmp_path / "audit" / "report.html").read_text().split())
    assert f"Encoding: not computed: {why}" in page
    assert "What the embedding looks like" not in page


def test_embeddings_without_a_head_have_one_fitted(files, tmp_path, capsys):
    assert ran(files, tmp_path, "--embeddings", "points.npy", "--fit-head", "--attributes", "absent") == 0
    said = "Logistic regressions were fitted to what it returns, in 5 folds of patients"
    assert said in capsys.readouterr().out
    assert said in " ".join((tmp_path / "audit" / "report.html").read_text().split())
    assert record(tmp_path)["absent"] != "used"


@pytest.mark.parametrize(
    "given", [["--embeddings", "points.npy", "--head", "head.npz"], ["--probabilities", "answers.csv"]]
)
def test_a_dry_run_says_what_there_is_and_writes_nothing(given, files, tmp_path, capsys):
    assert ran(files, tmp_path, *given, "--dry-run") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    table = pd.read_csv(files / "metadata.csv")
    assert "240 images of 80 patients" in lines
    for (label, level), cell in table.groupby(["label", "visible"]):
        assert f"visible {label} {level} {len(cell)} {cell['patient_id'].nunique()}" in lines
    assert any(
        line.startswith("absent: smallest use that these images would show, in probability: 0.") for line in lines
    )
    assert lines[-1].startswith("the audit takes about ")
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--embeddings or --probabilities must be given, got neither"),
        (["--embeddings", "points.npy"], "--embeddings must go with one of --head and --fit-head, got neither with"),
        (
            ["--embeddings", "points.npy", "--head", "head.npz", "--fit-head"],
            "got --head and --fit-head with embeddings",
        ),
        (["--probabilities", "answers.csv", "--head", "head.npz"], "got --head without embeddings"),
        (
            ["--embeddings", "points.npy", "--head", "wrong.npz", "--probabilities", "answers.csv"],
            "head(embedding) must give the probabilities, got a difference of ",
        ),
        (["--embeddings", "points.npy", "--head", "points.npy"], "the head must be an .npz with weight and bias"),
        (["--embeddings", "nothing.npy", "--head", "head.npz"], "No such file"),
        (["--embeddings", "head.npz", "--fit-head"], "must hold an array 'embeddings', got weight, bias"),
        (
            ["--probabilities", "answers.csv", "--attributes", "age"],
            "attributes must be among ['used', 'visible', 'absent']",
        ),
        (
            ["--probabilities", "answers.csv", "--label-names", "class 0,class 1,other"],
            "probabilities must have a column for each class (class 0, class 1, other), got class 0, class 1",
        ),
    ],
)
def test_what_does_not_fit_is_said_without_a_traceback(arguments, message, files, tmp_path, capsys):
    assert ran(files, tmp_path, *arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert not (tmp_path / "audit").exists()


def test_a_row_that_is_excluded_keeps_its_place_among_the_arrays(files, tmp_path, capsys):
    table = pd.read_csv(files / "metadata.csv")
    table.loc[5, "label"] = None
    table.to_csv(tmp_path / "metadata.csv", index=False)
    given = ["--embeddings", str(files / "points.npy"), "--fit-head", "--dry-run"]
    assert main(["audit", *given, "--metadata", str(tmp_path / "metadata.csv"), *QUICK]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "239 images of 80 patients" in lines
    for (label, level), cell in table.groupby(["label", "used"]):
        assert f"used {label} {level} {len(cell)} {cell['patient_id'].nunique()}" in lines


def test_images_without_a_row_are_said_first_and_may_be_an_error(files, tmp_path, capsys):
    table = pd.read_csv(files / "metadata.csv")
    table[table["patient_id"].str[1:].astype(int) < 60].to_csv(tmp_path / "metadata.csv", index=False)
    given = ["--probabilities", str(files / "answers.csv"), "--metadata", str(tmp_path / "metadata.csv"), *QUICK]
    said = "60 of 240 images have no row, and 0 of 180 rows no image"
    assert main(["audit", *given, "--output", str(tmp_path / "audit"), "--attributes", "used"]) == 0
    assert f"{said}: this is about those that have both." in capsys.readouterr().out
    assert main(["audit", *given, "--dry-run", "--most-unmatched", "0.2"]) == 1
    assert (
        f"at most 20% of images and rows may be without counterpart (most_unmatched), got: {said}"
        in capsys.readouterr().err
    )


def test_arrays_of_another_length_than_the_table_are_refused(files, tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.ones((7, 16)))
    assert ran(files, tmp_path, "--embeddings", str(tmp_path / "few.npy"), "--head", "head.npz") == 1
    assert (
        "arrays without image_id must have a row for each of the table's 240, in its order, got 7"
        in capsys.readouterr().err
    )
    assert main(["audit", "--probabilities", "p.csv", "--metadata", "m.csv"]) == 1
    assert "--output must name the folder of the report, or --dry-run be given, got neither" in capsys.readouterr().err


def test_probabilities_of_other_images_prove_nothing(files, tmp_path, capsys):
    few = tmp_path / "few.csv"
    answers = pd.read_csv(files / "answers.csv").sort_values("image_id")
    answers[:-1].to_csv(few, index=False)
    named = ["--embeddings", "named.npz", "--head", "head.npz", "--probabilities"]
    assert ran(files, tmp_path, *named, str(few)) == 1
    assert "probabilities must hold every image of the embeddings, got none of" in capsys.readouterr().err
    answers[:-1].drop(columns="image_id").to_csv(few, index=False)
    assert ran(files, tmp_path, *named, str(few)) == 1
    assert "arrays without image_id must have a row for each of the table's 240, in its order, got 239" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "colour=red"], "NAME=VALUE must set one of folds, repeats,"),
        (["--set", "folds"], "NAME=VALUE must set one of folds, repeats,"),
        (
            ["--fail-on", "guilty"],
            "words that fail must be among used; encoded, not used; not encoded; not used; inconclusive;",
        ),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_arguments_have_another_status_than_a_verdict(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["audit", "--metadata", "m.csv", "--probabilities", "p.csv", *arguments])
    assert caught.value.code == 1
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def several(files) -> Path:
    """A multi-label model of two findings, of which only the first is told by what "used" adds."""
    known = simulated(patients=80)
    points, rng = known["embeddings"], np.random.default_rng(0)
    weight = np.stack([known["weight"][1] - known["weight"][0], 2 * np.eye(16)[5]])
    weight[0, 0] = 4
    answers = expit(points @ weight.T + [-0.5, 0.0])
    table = pd.read_csv(files / "metadata.csv").drop(columns="label").assign(effusion=known["labels"])
    table["mass"] = np.where(points[:, 5] + 0.5 * rng.normal(size=len(points)) > 0, "present", "absent")
    table.loc[3, "mass"] = None
    table.to_csv(files / "findings.csv", index=False)
    np.savez(files / "outputs.npz", weight=weight, bias=[-0.5, 0.0])
    told = pd.DataFrame(answers, columns=["effusion", "mass"]).assign(image_id=table["image_id"])
    told[["mass", "effusion", "image_id"]][::-1].to_csv(files / "findings_answers.csv", index=False)
    np.savez(files / "findings_answers.npz", probabilities=answers)
    return files


FINDINGS = ["--findings", "effusion,mass", "--attributes", "used"]


def of_findings(several: Path, tmp_path: Path, *arguments: str) -> int:
    known = [str(several / word) if (several / word).is_file() else word for word in arguments]
    given = ["--metadata", str(several / "findings.csv"), "--output", str(tmp_path / "audit")]
    return main(["audit", *known, *given, *QUICK])


@pytest.mark.slow
def test_findings_of_a_multi_label_model_have_an_overview_and_a_report_each(several, tmp_path, capsys):
    head = ["--embeddings", "points.npy", "--head", "outputs.npz", "--probabilities", "findings_answers.csv"]
    assert of_findings(several, tmp_path, *head, *FINDINGS, "--fail-on", "used") == 2
    printed = capsys.readouterr().out
    assert "the audit fails by its verdicts: effusion used (used)" in printed
    assert f"report: {tmp_path / 'audit' / 'report.html'} (beside it findings.csv, and the report of each" in printed
    records = {name: Audit.from_json(tmp_path / "audit" / name / "audit.json") for name in ("effusion", "mass")}
    assert records["effusion"].labels == {"absent": 109, "present": 131}
    assert sum(records["mass"].labels.values()) == 239  # of one it is not known
    assert records["mass"].finding("used").verdict != "used"
    # The same as of the handlers' way through this model, from Python.
    table, points = pd.read_csv(several / "findings.csv"), np.load(several / "points.npy")
    head = np.load(several / "outputs.npz")
    expected = audit(
        points,
        head["weight"][:1],
        head["bias"][:1],
        table["effusion"],
        table["patient_id"],
        {"used": table["used"]},
        label_names=["absent", "present"],
        image_ids=table["image_id"],
        settings=records["effusion"].settings,
        audits=2,
    ).finding("used")
    found = records["effusion"].finding("used")
    assert found.evidence.differences_p_value == expected.evidence.differences_p_value
    assert found.reason == expected.reason


def test_answers_to_findings_are_those_of_the_head_by_name_or_in_their_order(several, tmp_path, capsys):
    told = []
    for given in (
        ["--embeddings", "points.npy", "--head", "outputs.npz", "--probabilities", "findings_answers.npz"],
        ["--probabilities", "findings_answers.csv"],
        ["--probabilities", "findings_answers.npz"],
    ):
        assert of_findings(several, tmp_path, *given, *FINDINGS, "--dry-run") == 0
        told.append([line for line in capsys.readouterr().out.splitlines() if "the audit takes" not in line])
    assert told[0] == told[1] == told[2]
    assert [line for line in told[0] if line in ("effusion", "mass")] == ["effusion", "mass"]
    assert "239 images of 80 patients" in told[0]
    table = pd.read_csv(several / "findings.csv")
    cell = table[(table["mass"] == "present") & (table["used"] == "used 1")]
    counted = f"used present used 1 {len(cell)} {cell['patient_id'].nunique()}"
    assert counted in [" ".join(line.split()) for line in told[0][told[0].index("mass") :]]
    swapped = ["--findings", "mass,effusion", "--dry-run"]
    given = ["--embeddings", "points.npy", "--head", "outputs.npz", "--probabilities", "findings_answers.csv"]
    assert of_findings(several, tmp_path, *given, *swapped) == 1
    assert "head(embedding) must give the probabilities, got a difference of 0." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ["--probabilities", "findings_answers.csv", "--findings", "effusion,tumour"],
            ["findings.csv: columns must be among those of the table (", "got 1 absent: tumour"],
        ),
        (
            ["--probabilities", "findings_answers.csv", "--findings", "mass"],
            [
                "findings_answers.csv: probabilities must have a column for each finding (mass), got mass, effusion: ",
                "name the columns so, or say with --findings what they are",
            ],
        ),
        (
            ["--embeddings", "points.npy", "--head", "outputs.npz", "--findings", "mass"],
            ["outputs.npz: each of the labels must have an output of its own, got 1 labels for 2 outputs"],
        ),
        (
            ["--probabilities", "findings_answers.csv"],
            ["findings.csv: columns must be among", "; name those of image_id, patient_id, label if they are called"],
        ),
        (
            ["--probabilities", "findings_answers.csv", "--findings", "mass", "--outcome", "age"],
            ["--findings and --outcome must go without the other and --label-names and --fit-head, which are about"],
        ),
        (
            ["--probabilities", "findings_answers.csv", "--findings", "used,visible"],
            ["findings.csv: finding used must be"],
        ),
    ],
)
def test_wrong_findings_are_said_with_their_file(arguments, messages, several, tmp_path, capsys):
    assert of_findings(several, tmp_path, *arguments) == 1
    said = capsys.readouterr().err
    assert all(message in said for message in messages), said


@pytest.fixture(scope="module")
def ages(tmp_path_factory) -> Path:
    """A network that predicts an age, and adds years where the scanner is B."""
    folder, rng = tmp_path_factory.mktemp("ages"), np.random.default_rng(1)
    age, scanner = rng.uniform(20, 80, 300), rng.integers(0, 2, 300)
    points = np.stack([age + rng.normal(0, 3, 300) + 12 * scanner, scanner + rng.normal(0, 0.2, 300)], axis=1)
    table = pd.DataFrame({"image_id": range(300), "patient_id": range(300), "age": age})
    table.assign(scanner=np.array(["A", "B"])[scanner]).to_csv(folder / "metadata.csv", index=False)
    np.savez(folder / "points.npz", embeddings=points)
    np.savez(folder / "head.npz", weight=[[1.0, 0.0]], bias=[0.5])
    np.savez(folder / "two.npz", weight=np.eye(2), bias=[0.0, 0.0])
    pd.DataFrame({"image_id": range(300), "predicted": points[:, 0] + 0.5}).to_csv(folder / "p.csv", index=False)
    return folder


@pytest.mark.slow
def test_a_number_is_audited_in_its_unit(ages, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ages)
    given = ["audit", "--metadata", "metadata.csv", "--outcome", "age", "--unit", "years", *QUICK]
    head = ["--embeddings", "points.npz", "--head", "head.npz"]
    for name, known in (("head", [*head, "--probabilities", "p.csv"]), ("alone", ["--probabilities", "p.csv"])):
        assert main([*given, *known, "--output", str(tmp_path / name), "--fail-on", "used"]) == 2
        found = Audit.from_json(tmp_path / name / "audit.json")
        assert (found.regression.name, found.unit) == ("age", "years")
        moved = [row.estimate for row in found.finding("scanner").evidence.differences.rows]
        assert all(one.low < 12 < one.high for one in moved)


def test_a_number_is_foreseen_and_what_does_not_fit_is_refused(ages, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ages)
    given = ["audit", "--metadata", "metadata.csv", "--dry-run", "--outcome", "age", "--unit", "years"]
    assert main([*given, "--embeddings", "points.npz", "--head", "head.npz", "--probabilities", "p.csv"]) == 0
    assert "scanner: smallest use that these images would show, in years: " in capsys.readouterr().out
    assert main([*given, "--embeddings", "points.npz", "--head", "two.npz"]) == 1
    assert "two.npz: a network that predicts an outcome must end in one linear output" in capsys.readouterr().err
    wrong = pd.read_csv("p.csv").assign(predicted=lambda known: known["predicted"] + 1)
    wrong.to_csv(tmp_path / "wrong.csv", index=False)
    known = ["--embeddings", "points.npz", "--head", "head.npz", "--probabilities", str(tmp_path / "wrong.csv")]
    assert main([*given, *known]) == 1
    assert "head(embedding) must give the probabilities, got a difference of 1" in capsys.readouterr().err


def test_attributes_that_may_move_answers_are_those_of_both_arguments(files, tmp_path, capsys):
    given = ["--probabilities", "answers.csv", "--dry-run", "--adjust-for", "visible", "--set"]
    assert ran(files, tmp_path, *given, 'adjust_for=["absent"]') == 0
    assert ran(files, tmp_path, *given, 'adjust_for=["colour"]') == 1
    assert (
        "adjust_for must be of the attributes ['absent', 'used', 'visible'], got ['colour']" in capsys.readouterr().err
    )
