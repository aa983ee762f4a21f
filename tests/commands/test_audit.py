# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import simulated
from scipy.special import softmax

from monai_shortcut.__main__ import main
from monai_shortcut.audit import Audit

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
            "head(embedding) must give the probabilities, got a difference of 0.",
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
    assert "probabilities must have shape (240, 2) as head(embedding), got (239, 2)" in capsys.readouterr().err


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
