# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The overlays, the command line, the files of the wheel, and every command of the guide."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.bundle import ConfigParser, run
from monai.handlers import CheckpointSaver
from scanner_images import bundle_modules, first_cause, fitted, keep, metadata, part, saved, scanned, written

from monai_shortcut import installation
from monai_shortcut.__main__ import main
from monai_shortcut.audit.assembly import Audit, AuditSettings
from monai_shortcut.audit.failing import failing
from monai_shortcut.audit.settings import ALL_PAIRS
from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.handlers.shortcut_audit import ROI_STRATEGIES, ShortcutAudit
from monai_shortcut.installation import OVERLAYS, installed, overlay, problems, shared
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.workflows import attach_audit, audited_network, exit_by_verdict
from monai_shortcut.workflows.add_on import without_savers
from monai_shortcut.workflows.containment import redirected, saved_best, within

ROOT = Path(__file__).parents[2]
SHAPES = Path(__file__).parent / "zoo_shapes"
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.S)
GUIDE = (ROOT / "docs" / "how-to" / "audit-your-own-bundle.md").read_text()
# MONAI warns about every config it runs.
pytestmark = [pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")]


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    with bundle_modules():
        yield


def content(name: str) -> dict[str, Any]:
    return dict(json.loads(overlay(name).read_text()))


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_touches_nothing_of_a_bundle_but_run(name):
    text = overlay(name).read_text()
    assert text == json.dumps(json.loads(text), indent=4) + "\n"
    ids = set(content(name)) - {"run"}
    assert all(name.startswith(("audit", "repair", "study")) or name == "metadata_csv" for name in ids)
    kinds = ("json", "yaml") if find_spec("yaml") else ("json",)
    for path in (path for kind in kinds for path in SHAPES.rglob(f"configs/*.{kind}")):
        assert not ids & set(ConfigParser.load_config_file(path)), path


def test_the_overlays_of_an_evaluation_differ_in_the_evaluator_alone():
    inference, evaluate = content("inference"), content("evaluate")
    assert {key for key in inference if inference[key] != evaluate[key]} == {"audited_evaluator"}
    training = content("training")
    own = {"audited_trainer", "audit_interval", "audit_tensorboard"}
    others = {"audit_roi_key", "audit_attribution", "audit_embeddings", "audit_fail_on", "audit_privacy"}
    others |= {"audit_readers", "audit_import", "audit_contained", "audit_image_properties", "audit_unseen_patients"}
    others |= {"audit_intersections"}
    others |= {"audit_unit", "audit_outcome_tolerance"}
    assert set(training) == set(inference) - others | own
    assert training["audit_cohort"] == inference["audit_cohort"]


# A command line gives true and false as text.
@pytest.mark.parametrize(
    ("asked", "maps"),
    [
        (False, ("pca",)),
        ("false", ("pca",)),
        (True, ("pca", "tsne", "umap")),
        ("true", ("pca", "tsne", "umap")),
    ],
)
def test_maps_of_embeddings_are_drawn_where_they_are_asked_for(asked, maps):
    parser = ConfigParser(content("inference") | {"audit_embeddings": asked})
    assert parser.get_parsed_content("audit_settings").embedding_maps == maps


@pytest.mark.parametrize(("asked", "measured"), [(False, False), ("false", False), (True, True), ("true", True)])
def test_images_are_measured_where_it_is_asked_for(asked, measured):
    for name in ("inference", "evaluate"):
        parser = ConfigParser(content(name) | {"audit_image_properties": asked})
        assert parser.get_parsed_content("audit_settings").image_properties is measured


@pytest.mark.parametrize(("asked", "pairs"), [([["sex", "scanner"]], ("sex", "scanner")), ("all", ALL_PAIRS)])
def test_intersections_are_audited_where_they_are_asked_for(asked, pairs):
    for name in ("inference", "evaluate"):
        assert ConfigParser(content(name)).get_parsed_content("audit_settings").intersections == ()
        parser = ConfigParser(content(name) | {"audit_intersections": asked})
        assert parser.get_parsed_content("audit_settings").intersections == (pairs,)


def test_privacy_may_be_said_on_a_command_line():
    parser = ConfigParser(content("inference"))
    parser["audit_privacy#pixels"] = "true"
    assert parser.get_parsed_content("audit_settings").privacy == Privacy(pixels=True)


def test_an_evaluator_without_a_network_is_refused():
    network = torch.nn.Linear(4, 2)
    assert audited_network(SimpleNamespace(network=network)) is network
    with pytest.raises(ValueError, match=r"must be an evaluator with one network, .*, got Engine; name"):
        audited_network(Engine(lambda engine, batch: None))
    with pytest.raises(ValueError, match="audited_evaluator must be an Ignite engine, got str"):
        attach_audit(SimpleNamespace(), "evaluator")


def test_handlers_that_save_checkpoints_are_taken_off_an_engine_and_no_others(tmp_path):
    engine, seen = Engine(lambda engine, batch: None), []
    network = torch.nn.Linear(2, 2)
    CheckpointSaver(str(tmp_path), {"model": network}, save_final=True, save_interval=2).attach(engine)
    ignites = Checkpoint({"model": network}, DiskSaver(str(tmp_path / "ignite")), filename_prefix="best")
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=1), ignites)
    engine.add_event_handler(Events.EPOCH_COMPLETED(every=1), lambda: seen.append("epoch"))
    assert sorted(without_savers(engine)) == ["Checkpoint", "CheckpointSaver"]
    assert without_savers(engine) == []
    engine.run([0], max_epochs=2)
    assert seen == ["epoch", "epoch"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_handlers_save_is_sent_to_a_folder(tmp_path):
    engine, network = Engine(lambda engine, batch: None), torch.nn.Linear(2, 2)
    scores, seen = iter([0.2, 0.9, 0.5]), []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(next(scores)))
    saver = DiskSaver(str(tmp_path / "elsewhere"))
    kept = Checkpoint({"model": network}, saver, score_function=lambda engine: seen[-1], n_saved=2)
    engine.add_event_handler(Events.EPOCH_COMPLETED, kept)
    assert redirected(engine, tmp_path / "here") == [kept]
    assert saved_best(kept) is None
    engine.run([0], max_epochs=3)
    assert saved_best(kept).parent == tmp_path / "here"
    assert "0.9" in saved_best(kept).name
    assert list((tmp_path / "elsewhere").iterdir()) == []
    kept.save_handler = lambda checkpoint, filename, metadata=None: None
    with pytest.raises(ValueError, match=r"checkpoints must be saved by a DiskSaver, .*, got function: take it out"):
        redirected(engine, tmp_path)


def test_components_are_built_with_the_folder_of_a_study():
    saver = {"_target_": "CheckpointSaver", "save_dir": "@ckpt_dir", "final_filename": "model.pt"}
    config = {"output_dir": "eval", "validate": {"handlers": [saver, {"_target_": "X", "log_dir": "logs"}]}}
    found = within(config, "there")
    handlers = [{**saver, "save_dir": "there"}, {"_target_": "X", "log_dir": "there"}]
    assert found == {"output_dir": "eval", "validate": {"handlers": handlers}}


def test_the_command_line_checks_the_installation(capsys):
    assert main([]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "passed" in printed.out
    for path in [*map(overlay, OVERLAYS), shared("bundles"), shared("docs")]:
        assert f"{path}\n" in printed.out
        assert path.exists()
    for name, number in installed().items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(number)}", printed.out, re.M)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_command_line_prints_the_path_of_an_overlay_alone(name, capsys):
    assert main(["--overlay", name]) == 0
    assert capsys.readouterr().out == f"{overlay(name)}\n"
    assert overlay(name).is_absolute()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "--overlay {inference,evaluate,training,regions,readers,answers,repair,compare,evaluator}"),
        (["--overlay", "other"], 1, "invalid choice: 'other'"),
        (["everything"], 1, "invalid choice: 'everything'"),
    ],
)
def test_the_command_line_explains_itself(arguments, status, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == status
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_an_unknown_overlay_is_refused():
    known = "inference, evaluate, training, regions, readers, answers, repair, compare, evaluator"
    with pytest.raises(ValueError, match=f"overlay must be one of {known}, got 'other'"):
        overlay("other")


def test_a_broken_installation_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(installation, "PACKAGE", tmp_path)
    monkeypatch.setattr(installation, "PACKAGES", (*installation.PACKAGES, "no-such-package"))
    assert main([]) == 1
    printed = capsys.readouterr()
    assert "failed" in printed.out
    assert "no-such-package missing" in printed.out
    assert "not installed; they are in the repository" in printed.out
    assert f"overlays must be in the package, got no {tmp_path / 'configs' / 'audit_inference.json'}, " in printed.err
    assert "packages must be installed, got no no-such-package." in printed.err
    assert "a small audit must run, got FileNotFoundError: Cannot find the config file: " in printed.err


def test_an_audit_that_finds_nothing_is_told(monkeypatch):
    blind = "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2), torch.nn.Tanh())"
    monkeypatch.setitem(installation._BUNDLE, "network", blind)
    (problem,) = problems()
    assert problem.startswith("a small audit must run, got ValueError: head(embedding) must equal the network's logits")
    monkeypatch.setattr(installation, "_small_audit", lambda folder: ("not encoded", True))
    assert problems() == ["a small audit must find the planted scanner \"used\" and report it, got 'not encoded'."]


@pytest.mark.parametrize("place", ["", "share/monai_shortcut", "../../../share/monai_shortcut"])
def test_bundles_and_docs_are_found_where_wheels_put_them(monkeypatch, tmp_path, place):
    packages = tmp_path / "lib" / "python3" / "site-packages"
    monkeypatch.setattr(installation, "PACKAGE", packages / "monai_shortcut")
    assert shared("docs") is None
    for folder in ("docs", "bundles/planted_shortcut"):
        (packages / place / folder).mkdir(parents=True)
    assert shared("docs") == (packages / place / "docs").resolve()


def test_the_wheel_has_every_file_of_bundles_and_docs():
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "configs/*.json" in settings["package-data"]["monai_shortcut"]
    shipped = set()
    for target, patterns in settings["data-files"].items():
        for pattern in patterns:
            paths = list(ROOT.glob(pattern))
            assert paths, pattern
            assert {path.parent.relative_to(ROOT).as_posix() for path in paths} == {
                target.removeprefix("share/monai_shortcut/")
            }
            shipped.update(paths)
    tracked = subprocess.run(["git", "ls-files", "bundles", "docs"], cwd=ROOT, capture_output=True, text=True).stdout
    if not tracked:
        pytest.skip("not a checkout")
    scripts = {".py"}  # of the benchmarks, which need the repository
    wanted = {ROOT / name for name in tracked.split() if Path(name).suffix not in scripts}
    assert {path for path in wanted if path.exists()} - shipped == set()


def small(root: Path, **network: Any) -> None:
    """Give the configs of a bundle a network that is audited in a moment."""
    for name in ("train.json", "inference.json"):
        path = root / "configs" / name
        if path.is_file():
            written(path, json.loads(path.read_text()) | {"network_def": network})


DENSE = {"_target_": "DenseNet", "init_features": 8, "growth_rate": 4, "block_config": [2, 2]}


def two_classes(root: Path) -> None:
    """PNG with regions; train, evaluate, inference; the weights as a checkpoint and as TorchScript."""
    shutil.copytree(SHAPES / "endoscopy", root)
    small(root, **DENSE, spatial_dims=2, in_channels=3, out_channels=2)
    train = saved(root / "data", scanned(120, 2, (32, 32), 0.95, 1), ".png", channels=3)
    test = scanned(44, 2, (32, 32), 0.5, 2)
    items = saved(root / "data", test, ".png", channels=3)
    region = test[0][0] * 0
    region[10:22, 10:22] = 1
    (roi,) = saved(root / "regions", (region[None], test[1].iloc[:1]), ".png")
    written(root / "label" / "train_samples.json", train)
    written(root / "label" / "test_samples.json", [{**item, "roi": roi["image"]} for item in items])
    metadata(root / "metadata.csv", test[1].rename(columns={"operator": "sex"}))
    network = part(root, "inference.json", "network_def")
    network = fitted(network, "class_layers.out", train, part(root, "inference.json", "preprocessing"))
    keep(network.state_dict(), root)
    torch.jit.script(network).save(str(root / "models" / "model.ts"))


def two_loaders(root: Path) -> None:
    shutil.copytree(SHAPES / "nodule", root)
    drawn = {name: scanned(40, 2, (16, 16, 12), 0.5, seed) for seed, name in enumerate(("validation", "external"), 7)}
    samples = {name: saved(root / "data", images, ".nii.gz") for name, images in drawn.items()}
    written(root / "samples.json", samples)
    metadata(root / "external.csv", drawn["external"][1])
    keep(part(root, "train.json", "network_def").state_dict(), root)


def yaml(root: Path) -> None:
    pytest.importorskip("yaml")
    shutil.copytree(SHAPES / "template", root)
    test = scanned(56, 4, (24, 24), 0.5, 4)
    for name in ("train", "test"):
        written(root / "data" / f"{name}_samples.json", saved(root / "data", test, ".nii.gz"))
    metadata(root / "metadata.csv", test[1])
    keep({"model": part(root, "inference.yaml", "network_def").state_dict()}, root)


def findings(root: Path) -> None:
    shutil.copytree(SHAPES / "density", root)
    test = scanned(40, 3, (32, 32), 0.5, 6, several=True)
    written(root / "configs" / "images.json", {"Test": saved(root / "data", test, ".png")})
    metadata(root / "metadata.csv", test[1])
    keep(part(root, "inference.json", "network_def").state_dict(), root)


BUNDLES = {make.__name__: make for make in (two_classes, two_loaders, yaml, findings)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a bundle that a command of the guide is for, made once."""

    @cache
    def made(name: str) -> Path:
        root = tmp_path_factory.mktemp("guide") / name
        BUNDLES[name](root)
        for file, text in files_of_the_guide().items():
            (root / file).write_text(text)
        return root

    return made


def blocks(language: str, mark: str) -> list[tuple[str, str]]:
    """What the paragraph before each block of code in this language says of it, and the block."""
    found = [(GUIDE[: block.start()].rstrip().split("\n\n")[-1], block) for block in re.finditer(FENCE, GUIDE)]
    return [(re.findall(mark, before)[-1], block[2]) for before, block in found if block[1] == language]


def files_of_the_guide() -> dict[str, str]:
    return dict(blocks("json", r"`(configs/\w+\.json)`"))


def commands() -> list[tuple[str, str]]:
    return [(name, line) for name, text in blocks("", r"<!-- bundle: (\w+) -->") for line in text.splitlines()]


def words(command: str) -> list[str]:
    """A command as a shell would take it apart."""
    own = r"\$\(python -m monai_shortcut --overlay (\w+)\)"
    return shlex.split(re.sub(own, lambda found: str(overlay(found[1])), command).replace("\\$", "$"))


def given(command: str, option: str, default: str) -> str:
    parts = words(command)
    return parts[parts.index(option) + 1] if option in parts else default


@pytest.mark.slow
def test_the_first_command_of_the_guide_runs_in_a_shell(bundle):
    name, command = commands()[0]
    root, environment = bundle(name), {**os.environ, "PYTHONPATH": str(ROOT)}
    shell = f'python() {{ "{sys.executable}" "$@"; }}\n{command}'
    done = subprocess.run(["bash", "-ec", shell], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "audit of DenseNet on Cohort(44 images of 44 patients, 0 excluded, labels 0, 1, attributes" in done.stdout
    told = "1 images have no row in the cohort and 1 of its rows no image, listed in audit/unmatched.csv: "
    assert f"{told}ghost, img_2_043" in done.stdout or f"{told}img_2_043, ghost" in done.stdout
    record = Audit.from_json(root / "audit" / "audit.json")
    assert record.finding("scanner").verdict == "used"
    assert record.finding("sex").verdict != "used"
    assert set(pd.read_csv(root / "audit" / "unmatched.csv")["name"]) == {"image 1", "image 2"}
    assert record.settings.permutations == 999


@pytest.mark.slow
def test_a_run_fails_by_verdict_after_the_report_is_written(bundle):
    """On the command line, where "used,inconclusive" comes as a list, and a text with blanks as it is."""
    root = bundle("two_classes")
    command = [sys.executable, *words(commands()[0][1])[1:], "--audit_settings#permutations", "99"]
    for asked, status in (("used,inconclusive", 2), ("encoded, not used,not computed", 0)):
        folder = root / f"failing_{status}"
        more = ["--audit_dir", str(folder), "--audit_attributes", "['scanner']", "--audit_fail_on", asked]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*command, *more], cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert ("the audit fails by its verdicts: scanner (used)\n" in done.stderr) == (status == 2)
        assert Audit.from_json(folder / "audit.json").finding("scanner").verdict == "used"
        assert (folder / "report.html").is_file()


def test_the_verdicts_asked_for_end_the_process(capsys):
    columns = {"image_id": list("abcd"), "patient_id": list("abcd"), "label": [0, 1, 0, 1], "scanner": list("xyxy")}
    cohort = Cohort.from_table(pd.DataFrame(columns))
    record = Audit.from_json(ROOT / "tests" / "audit" / "records" / "version_3.json")
    handlers = [ShortcutAudit(torch.nn.Linear(2, 2), cohort, None, fail_on=asked) for asked in (None, "used")]
    for handler in handlers:
        handler.audits = {"": record}
    exit_by_verdict(handlers[0])
    with pytest.raises(SystemExit) as ended:
        exit_by_verdict(handlers[1])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "the audit fails by its verdicts: scanner (used)\n"
    exit_by_verdict(CohortHandler(torch.nn.Linear(2, 2), cohort))  # of a reader study nothing fails
    handler = ShortcutAudit(torch.nn.Linear(2, 2), cohort, None, fail_on=["used", "not computed"])
    handler.audits, handler.problems = {"first": record, "second": record}, {"third": "no image has it"}
    found = failing(record, handler.fail_on).items()
    named = {f"{label} {name}": word for label in handler.audits for name, word in found}
    assert handler.failed == named | {"third": "not computed"}
    assert named["second scanner"] == "used"


# A network for segmentation, which takes images of 31 x 31 pixels in windows of 16 x 16 alone.
MAPS = {"network_def": {"_target_": "UNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 2}}
MAPS["network_def"] |= {"channels": [4, 8], "strides": [2]}
MAPS |= {"postprocessing#_disabled_": True, "handlers#0#_disabled_": True}
WINDOWS = {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16]}}
WINDOWS |= {"preprocessing#transforms#2#spatial_size": [31, 31]}


def check_quick(folder: Path) -> None:
    record = Audit.from_json(folder / "audit.json")
    assert [finding.attribute for finding in record.findings] == ["scanner"]
    assert record.settings.permutations == 99


def check_external(folder: Path) -> None:
    assert sum(Audit.from_json(folder / "audit.json").labels.values()) == 39


def check_findings(folder: Path) -> None:
    labels = [Audit.from_json(folder / f"finding_{code}" / "audit.json").title for code in range(3)]
    assert labels == [f"Shortcut audit of FindingsNetwork: finding_{code}" for code in range(3)]


def check_regions(folder: Path) -> None:
    record = Audit.from_json(folder / "audit.json")
    looked = [found.name for found in record.attribution.methods]
    assert looked[:2] == ["regional_shapley, mean", "regional_shapley, blur"]
    assert not record.attribution.panels  # pixels are written where they are allowed
    scores = {score.evaluated_on: score.auc.value for score in record.regions.scores}
    assert set(scores) == {"full", *ROI_STRATEGIES}
    plain = Audit.from_json(folder.parent / "evaluated" / "audit.json").regions.scores[0].auc.value
    assert scores["full"] == pytest.approx(plain)  # the strategy "full" hides nothing
    hidden = Audit.from_json(folder.parent / "without_roi" / "audit.json")
    assert hidden.regions.scores[0].auc.value == pytest.approx(scores["without_roi"])


def check_training(folder: Path) -> None:
    curves = TrainingCurves.from_json(folder / "training_curves.json")
    assert [audited.epoch for audited in curves.epochs] == [1, 2]


CHECKS = {
    "quick": check_quick,
    "external": check_external,
    "named": check_findings,
    "regions": check_regions,
    "training_audit": check_training,
}


def long(name: str) -> Any:
    """The bundle that most commands of the guide are for takes many seconds."""
    return pytest.param(name, marks=pytest.mark.slow) if name == "two_classes" else name


@pytest.mark.parametrize("name", [long(name) for name in dict.fromkeys(name for name, _ in commands())])
def test_the_commands_of_the_guide_run(bundle, name, monkeypatch):
    """Word for word, but not each in a new process, and with fewer draws where it does not say how many."""
    fewer = {"repeats": 1, "permutations": 39, "erasures": 5, "held_out": 0, "bootstraps": 19}
    defaults = zip((field.name for field in fields(AuditSettings)), AuditSettings.__init__.__defaults__, strict=True)
    monkeypatch.setattr(AuditSettings.__init__, "__defaults__", tuple(fewer.get(*default) for default in defaults))
    root = bundle(name)
    monkeypatch.chdir(root)
    folders = []
    for command in [command for other, command in commands()[1:] if other == name]:
        assert command.startswith("python -m monai.bundle run ")
        monkeypatch.setattr(sys, "argv", words(command)[2:])
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
        default = "training_audit" if "--overlay training" in command else "audit"
        folders.append(root / given(command, "--audit_dir", default))
    for folder in folders:
        assert list(folder.glob("*.html")), folder
        CHECKS.get(folder.name, lambda folder: None)(folder)


@pytest.mark.parametrize(
    ("configs", "kind", "overrides", "said"),
    [
        (["train.json"], "inference", {}, "the referring item `@evaluator` is not defined in the config content"),
        (["inference.json"], "", {}, "run ID 'run' doesn't exist in the config file"),
        (["inference.json"], "inference", {"metadata_csv": "no.csv"}, "No such file or directory: 'no.csv'"),
        (["inference.json"], "inference", {"audit_label": "Label"}, "columns must be among those of the table ("),
        (["inference.json"], "inference", {"audit_image_key": "img"}, "the batch must be a dict with the key 'img'"),
        (["inference.json"], "inference", {"audit_setings#folds": 3}, "query key: audit_setings"),
        (
            ["inference.json"],
            "inference",
            {"audit_settings#permutation": 3},
            "unexpected keyword argument 'permutation'",
        ),
        (["inference.json"], "inference", {"metadata_csv": "other.csv"}, "image ids must match those of the cohort ("),
        (["inference.json"], "inference", {"audit_fail_on": "guilty"}, "words that fail must be among"),
        (
            ["inference.json"],
            "inference",
            {"dataset#data": "$@test_dict[:1]"},
            "images of at least two classes must be evaluated",
        ),
        (
            ["inference.json"],
            "inference",
            {"metadata_csv": "others.csv"},
            "of the labels of the table may differ from those of the evaluation (mislabelled)",
        ),
        (
            ["inference.json"],
            "inference",
            {"metadata_csv": "three.csv"},
            "label_names must hold 2 names to match the head",
        ),
        (
            ["inference.json"],
            "inference",
            {"audit_handler#most_unmatched": 0.01},
            "of images and rows may be without counterpart (most_unmatched)",
        ),
        pytest.param(
            ["inference.json"],
            "inference",
            {"device": "$torch.device('cuda:0')"},
            "Torch not compiled with CUDA enabled",
            marks=pytest.mark.skipif(torch.version.cuda is not None, reason="a torch with CUDA"),
        ),
        (["inference.json"], "inference", MAPS, "the model is not a classifier"),
        (["inference.json"], "inference", {**MAPS, **WINDOWS}, "the model is not a classifier"),
    ],
)
def test_errors_are_those_of_the_guide(bundle, monkeypatch, configs, kind, overrides, said):
    root = bundle("two_classes")
    monkeypatch.chdir(root)
    scanned(40, 2, (4, 4), 0.5, 0)[1].to_csv("other.csv", index=False)
    table = pd.read_csv("metadata.csv")
    table.assign(label=1 - table["label"]).to_csv("others.csv", index=False)
    table.assign(label=[["a", "b", "c"][row % 3] for row in range(len(table))]).to_csv("three.csv", index=False)
    files = [f"configs/{name}" for name in configs] + ([str(overlay(kind))] if kind else [])
    with pytest.raises(Exception) as caught:  # noqa: PT011  whatever MONAI makes of it
        run(config_file=files, audit_dir="refused", **overrides)
    assert said in f"{first_cause(caught.value)} {caught.value}"
    told = {"'no.csv'": "'metadata.csv'", "'img'": "'image'"}
    for own, general in told.items():
        said = said.replace(own, general)
    assert said in GUIDE
