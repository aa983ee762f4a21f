# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What MONAI's bundle specification and its Model Zoo ask of a bundle, for every bundle here.

Each rule is a function of a bundle's folder that returns what is wrong with it, and is shown a bundle that breaks it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import (
    BUNDLES,
    write_busbra,
    write_cervix,
    write_chaksu,
    write_chest_regions,
    write_fetal_planes,
    write_fundus_regions,
    write_padchest,
)
from conftest import DATA
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, run_workflow, verify_metadata, verify_net_in_out
from torch.nn.modules.batchnorm import _BatchNorm

import monai_shortcut

NAMES = sorted(folder.name for folder in BUNDLES.iterdir() if folder.is_dir())
SCHEMA = DATA / "monai-bundle-schema" / "meta_schema_20240725.json"
# MONAI warns about every config it runs, and about a schema that is there already.
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
    pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning"),
]
Rule = Callable[[Path], list[str]]


def metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def configs(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "configs").glob("*.json")}


def texts(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".json", ".md", ".txt", ".conf")]


# --- the rules -------------------------------------------------------------------------------------------------------


def necessary_files(folder: Path) -> list[str]:
    wanted = ("LICENSE", "configs/metadata.json", "configs/inference.json", "configs/logging.conf", "docs/README.md")
    wanted = (*wanted, "docs/data_license.txt")
    absent = [f"{name} must be there" for name in wanted if not (folder / name).is_file()]
    python = [f"{path.name}: Python belongs in the package" for path in folder.rglob("*.py")]
    limit = 25_000_000  # bytes that the Zoo takes; others are listed in large_files.json
    large = [f"{path.name} must not exceed 25 MB" for path in folder.rglob("*") if path.stat().st_size > limit]
    return absent + python + large


def several_processes(folder: Path) -> list[str]:
    """One way to train on several GPUs, which tests run with one of the bundles.

    The second at its end lets gloo's threads drop their last tensors before the interpreter ends, or now and then a
    process that is done is aborted (pytorch issue 190489).
    """
    found = configs(folder).get("multi_gpu_train")
    if found is None:
        return ["configs/multi_gpu_train.json must be there"]
    usual = configs(BUNDLES / "planted_shortcut")["multi_gpu_train"]
    wanted = {key: value for key, value in usual.items() if key != "initialize" and not key.startswith("audit#")}
    wrong = [f"multi_gpu_train.json must have the usual {key}" for key in wanted if found.get(key) != wanted[key]]
    steps = [step for step in usual["initialize"] if "@audit" not in step and step not in found["initialize"]]
    return wrong + [f"multi_gpu_train.json must begin with {step}" for step in steps]


def official_schema(folder: Path) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMA.is_file():
        pytest.skip(f"no schema at {SCHEMA}")
    errors = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text())).iter_errors(metadata(folder))
    return [error.message for error in errors]


def version_in_changelog(folder: Path) -> list[str]:
    found = metadata(folder)
    version, log = found.get("version"), found.get("changelog", {})
    return [] if version in log else [f"version {version} must be in the changelog, got {sorted(log)}"]


def names(folder: Path) -> list[str]:
    found, wrong = metadata(folder), []
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", folder.name):
        wrong.append(f"the folder must be words in small letters joined by underscores, got {folder.name}")
    if not found.get("name"):
        wrong.append("the metadata must have a name to show")
    title = (folder / "docs" / "README.md").read_text(encoding="utf-8").splitlines()[0]
    if title != f"# {found.get('name')}":
        wrong.append(f"the README's title must be the name of the metadata, got {title}")
    return wrong


def readme_sections(folder: Path) -> list[str]:
    wanted = ["Authors", "Tags", "Model Description", "Data", "Preprocessing", "Performance", "System Configuration"]
    wanted.append("Limitations")
    lines = (folder / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    found = [line.lstrip("#").strip(" *") for line in lines if line.startswith("##")]
    if [name for name in found if name in wanted] != wanted:
        return [f"the README must have the sections {wanted}, got {found}"]
    bodies = "\n".join(lines).split("\n#")[1:]
    return [f"section {body.splitlines()[0]} is empty" for body in bodies if len(body.strip().splitlines()) < 2]


def no_personal_paths(folder: Path) -> list[str]:
    personal = re.compile(r"(?<![\w.:])(/(home|Users|root|tmp|mnt|media|workspace|work)/|[A-Z]:\\)")
    return [
        f"{path.name}: {found[0]} is somebody's path"
        for path in texts(folder)
        if (found := personal.search(path.read_text(encoding="utf-8")))
    ]


def large_files(folder: Path) -> list[str]:
    path, wrong = folder / "large_files.json", []
    if not path.is_file():
        return []
    listed = json.loads(path.read_text(encoding="utf-8"))
    if list(listed) != ["large_files"]:
        return [f"large_files.json must hold large_files alone, got {sorted(listed)}"]
    for entry in listed["large_files"]:
        place = Path(entry.get("path", ""))
        if not {"path", "url"} <= set(entry) <= {"path", "url", "hash_val", "hash_type"}:
            wrong.append(f"a large file must have path and url, and may have a hash, got {sorted(entry)}")
        elif place.is_absolute() or place.parts[:1] != ("models",) or ".." in place.parts:
            wrong.append(f"a large file must lie in models, got {place}")
        elif not re.match(r"https://\S+$", entry["url"]):
            wrong.append(f"a large file must have the address it is fetched from, got {entry['url']}")
        elif bool(entry.get("hash_val")) != bool(entry.get("hash_type")):
            wrong.append(f"{place}: hash_val and hash_type belong together")
    return wrong


def weights(folder: Path) -> list[str]:
    """They are there, listed, or made by training: then the Zoo names the bundle in a list of its own."""
    large = folder / "large_files.json"
    entries = json.loads(large.read_text(encoding="utf-8")).get("large_files", []) if large.is_file() else []
    known = (folder / "models" / "model.pt").is_file() or any(one["path"] == "models/model.pt" for one in entries)
    told = "exclude_verify_preferred_files_list" in (folder / "docs" / "README.md").read_text(encoding="utf-8")
    return [] if known or told else ["models/model.pt must be there, be listed, or the README must say how it is made"]


def versions_of_packages(folder: Path) -> list[str]:
    found, wrong = metadata(folder), []
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (BUNDLES.parent / "constraints.txt").read_text(), re.MULTILINE))
    for key, package in (("monai_version", "monai"), ("pytorch_version", "torch")):
        if found.get(key) != pinned[package]:
            wrong.append(f"{key} must be the tested {pinned[package]}, got {found.get(key)}")
    required = found.get("required_packages_version", {})
    if required.get("monai-shortcut") != monai_shortcut.__version__:
        wrong.append(f"monai-shortcut must be required in version {monai_shortcut.__version__}, got {required}")
    given = {**required, "numpy": found.get("numpy_version", "")}
    return wrong + [f"{name}: {x} is no version" for name, x in given.items() if not re.fullmatch(r"\d+(\.\d+)+", x)]


def formatting(folder: Path) -> list[str]:
    wrong = []
    for path in folder.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        if text not in {json.dumps(json.loads(text), indent=4, ensure_ascii=only) + "\n" for only in (True, False)}:
            wrong.append(f"{path.name} must be indented by 4 spaces")
    return wrong


def key_names(folder: Path) -> list[str]:
    """Names that the Zoo asks for in configurations for inference and training."""
    found = configs(folder)
    parser = ConfigParser(found.get("inference", {}))
    wanted = ("bundle_root", "device", "network_def", "inferer", "output_dir", "dataset_dir")
    wrong = [f"inference.json must have {key}" for key in wanted if key not in parser]
    training = {name: config for name, config in found.items() if isinstance(config.get("train"), dict)}
    if not training:
        wrong.append("a configuration must have train")
    parts = ("trainer", "trainer#max_epochs", "dataset", "dataset#data", "handlers", "preprocessing", "inferer")
    wanted = ("bundle_root", "device", "dataset_dir", "output_dir", "network_def", *(f"train#{part}" for part in parts))
    parts = ("evaluator", "handlers", "dataset", "dataset#data", "preprocessing", "inferer", "key_metric")
    wanted = (*wanted, *(f"validate#{part}" for part in parts), "val_interval")
    for name, config in training.items():
        wrong += [f"{name}.json must have {key}" for key in wanted if key not in ConfigParser(config)]
        for handler in config["train"].get("handlers", ()):
            if handler["_target_"] == "ValidationHandler" and handler.get("interval") != "@val_interval":
                wrong.append(f"{name}.json must validate at @val_interval, got {handler.get('interval')}")
    return wrong


RULES: list[Rule] = [
    necessary_files,
    several_processes,
    official_schema,
    version_in_changelog,
    names,
    readme_sections,
    no_personal_paths,
    large_files,
    weights,
    versions_of_packages,
    formatting,
    key_names,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES)
def test_every_bundle_keeps_the_rules(rule, name):
    assert rule(BUNDLES / name) == []


# --- and bundles that break them -------------------------------------------------------------------------------------


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def added(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8") and None


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("Fundus-ROI"))


def listed(**entry: str) -> Callable[[Path], None]:
    return added("large_files.json", json.dumps({"large_files": [entry]}))


META, README, SEVERAL = "configs/metadata.json", "docs/README.md", "configs/multi_gpu_train.json"
URL = "https://example.org/model.pt"


@pytest.mark.parametrize(
    ("rule", "change", "complaint"),
    [
        (necessary_files, without("LICENSE"), "LICENSE must be there"),
        (necessary_files, without("configs/inference.json"), "configs/inference.json must be there"),
        (necessary_files, added("configs/step.py", "x = 1\n"), "step.py: Python belongs in the package"),
        (necessary_files, added("configs/model.txt", "0" * 25_000_001), "model.txt must not exceed 25 MB"),
        (several_processes, without(SEVERAL), "configs/multi_gpu_train.json must be there"),
        (several_processes, replaced(SEVERAL, '"train#sampler"', '"sampler"'), "must have the usual train#sampler"),
        (several_processes, replaced(SEVERAL, "Events.STARTED", "Events.COMPLETED"), "must begin with $@validate#eval"),
        (official_schema, replaced(META, '"task"', '"tusk"'), "'task' is a required property"),
        (
            official_schema,
            replaced(META, '"num_channels": 3', '"num_channels": "3"'),
            "is not valid under any of the given schemas",
        ),
        (
            version_in_changelog,
            replaced(META, '"version": "', '"version": "9.'),
            "version 9.0.1.0 must be in the chang",
        ),
        (names, replaced(META, '"name"', '"nome"'), "the metadata must have a name to show"),
        (names, replaced(README, "# ", "# The "), "the README's title must be the name of the metadata, got # The "),
        (names, renamed, "the folder must be words in small letters joined by underscores, got Fundus-ROI"),
        (readme_sections, replaced(README, "## System Configuration", "Speed:"), "the README must have the sections"),
        (readme_sections, replaced(README, "## Limitations\n", "## Limitations\n## More\n"), "Limitations is empty"),
        (no_personal_paths, replaced(README, "CHAKSU", "/home/me/CHAKSU"), "README.md: /home/ is somebody's path"),
        (no_personal_paths, added("docs/data_license.txt", "see C:\\Users"), "data_license.txt: C:\\ is somebody's"),
        (large_files, listed(path="models/model.pt"), "a large file must have path and url, and may have a hash, got"),
        (large_files, listed(path="../model.pt", url=URL), "a large file must lie in models, got ../model.pt"),
        (large_files, listed(path="models/model.pt", url="model.pt"), "must have the address it is fetched from"),
        (large_files, listed(path="models/model.pt", url=URL, hash_val="0"), "hash_val and hash_type belong together"),
        (large_files, added("large_files.json", "{}"), "large_files.json must hold large_files alone, got []"),
        (
            weights,
            replaced(README, "exclude_verify_preferred_files_list", "a list"),
            "or the README must say how it is",
        ),
        (versions_of_packages, replaced(META, '"2.13.0"', '"2.13.0+cpu"'), "pytorch_version must be the tested 2.13.0"),
        (
            versions_of_packages,
            replaced(META, '"monai-shortcut": "', '"monai-shortcut": ">'),
            "must be required in ver",
        ),
        (versions_of_packages, replaced(META, '"2.4.6"', '">=2"'), "numpy: >=2 is no version"),
        (
            formatting,
            added("large_files.json", '{"large_files": []}\n'),
            "large_files.json must be indented by 4 spaces",
        ),
        (
            key_names,
            replaced("configs/inference.json", '"inferer":', '"predictor":'),
            "inference.json must have inferer",
        ),
        (key_names, replaced("configs/train.json", '"val_interval":', '"every":'), "train.json must have val_interval"),
        (
            key_names,
            replaced("configs/train.json", '"@val_interval"', "1"),
            "train.json must validate at @val_interval",
        ),
        (key_names, without("configs/train.json"), "a configuration must have train"),
    ],
)
def test_a_bundle_that_breaks_a_rule_is_told_so(rule, change, complaint, tmp_path):
    folder = Path(shutil.copytree(BUNDLES / "fundus_roi", tmp_path / "fundus_roi"))
    assert rule(folder) == []
    change(folder)
    (folder,) = tmp_path.iterdir()
    assert any(complaint in found for found in rule(folder)), rule(folder)


@pytest.mark.parametrize(
    "known",
    [
        lambda folder: (folder / "models").mkdir() or (folder / "models" / "model.pt").touch(),
        listed(path="models/model.pt", url=URL),
    ],
)
def test_a_bundle_whose_weights_are_there_or_listed_need_not_be_named(known, tmp_path):
    folder = Path(shutil.copytree(BUNDLES / "planted_region", tmp_path / "planted_region"))
    replaced(README, "exclude_verify_preferred_files_list", "a list")(folder)
    assert weights(folder) != []
    known(folder)
    assert weights(folder) == []


# --- the commands of the READMEs, in this process ---------------------------------------------------------------------


def commands(folder: Path, name: str) -> list[list[str]]:
    """Words of the README's commands of this name, after it."""
    lines = (folder / "docs" / "README.md").read_text(encoding="utf-8").splitlines()
    return [shlex.split(line)[4:] for line in lines if line.startswith(f"python -m monai.bundle {name} ")]


def network(folder: Path, **overrides: object) -> torch.nn.Module:
    """The network of a bundle's inference, with random weights and running statistics that fit its images."""
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser.update(overrides)
    fresh = parser.get_parsed_content("network_def")
    for module in fresh.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    found = metadata(folder)
    channels = found["network_data_format"]["inputs"]["image"]["num_channels"]
    scale = 255 if "times 255" in found["image_classes"] else 1
    fresh.train()(scale * torch.randn(8, channels, 32, 48))
    return fresh.eval()


@pytest.fixture
def folder(request, tmp_path, monkeypatch) -> Path:
    """A copy of a bundle, and the place its README's commands start from."""
    copy = Path(shutil.copytree(BUNDLES / request.param, tmp_path / request.param))
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_the_metadata_are_verified_by_the_command_of_the_readme(folder):
    if not SCHEMA.is_file():
        pytest.skip(f"no schema at {SCHEMA}")
    pytest.importorskip("jsonschema")
    (command,) = commands(folder, "verify_metadata")
    shutil.copy(SCHEMA, command[command.index("--filepath") + 1])  # MONAI downloads it where it is not there
    fire.Fire(verify_metadata, command=command)
    replaced(META, '"authors"', '"author"')(folder)
    with pytest.raises(ValueError, match="'authors' is a required property"):
        fire.Fire(verify_metadata, command=command)


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_the_true_network_takes_and_gives_what_the_metadata_say(folder):
    (command,) = commands(folder, "verify_net_in_out")
    device = ["--device", "cpu"]
    fire.Fire(verify_net_in_out, command=command + device)
    shown = metadata(folder)["network_data_format"]
    classes = shown["outputs"]["pred"]["num_channels"]
    assert shown["outputs"]["pred"]["spatial_shape"] == [1, classes]
    assert len(shown["outputs"]["pred"]["channel_def"]) == classes
    assert len(shown["inputs"]["image"]["channel_def"]) == shown["inputs"]["image"]["num_channels"]
    wrong = ["--_meta_#network_data_format#outputs#pred#num_channels", str(classes + 1)]
    with pytest.raises(ValueError, match=f"output channel number `{classes}` doesn't match: `{classes + 1}`"):
        fire.Fire(verify_net_in_out, command=command + device + wrong)


@pytest.mark.slow
@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_the_checkpoint_is_exported_to_torchscript(folder):
    (command,) = commands(folder, "ckpt_export")
    checkpoint, exported = (Path(command[command.index(f"--{key}") + 1]) for key in ("ckpt_file", "filepath"))
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    fresh = network(folder)
    torch.save(fresh.state_dict(), checkpoint)
    fire.Fire(ckpt_export, command=command)
    extra = {"metadata.json": "", "inference.json": ""}
    script = torch.jit.load(exported, _extra_files=extra).eval()
    images = torch.rand(2, metadata(folder)["network_data_format"]["inputs"]["image"]["num_channels"], 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(script(images), fresh(images))
    assert json.loads(extra["metadata.json"])["name"] == metadata(folder)["name"]
    assert json.loads(extra["inference.json"])["bundle_root"] == "."


# --- workflows that need images ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> dict[str, dict[str, object]]:
    """For each bundle the options that make it small and name its small collection of images."""
    chest, fundus = (tmp_path_factory.mktemp(name) for name in ("chest", "fundus"))
    write_chest_regions(write_padchest(chest))
    write_fundus_regions(write_chaksu(fundus))
    roi = {"network_name": "densenet_small", "spatial_size": 32, "batch_size": 8, "num_workers": 0}
    return {
        "breast_ultrasound_classification": {
            "dataset_dir": str(write_busbra(tmp_path_factory.mktemp("BUSBRA"))),
            "network_name": "sononet16",
            "spatial_size": 32,
        },
        "chest_xray_roi": {"dataset_dir": str(chest / "PadChest"), "regions_dir": str(chest / "regions"), **roi},
        "fundus_roi": {"dataset_dir": str(fundus / "Chaksu"), "regions_dir": str(fundus / "regions"), **roi},
        "fetal_plane_classification": {
            "dataset_dir": str(write_fetal_planes(tmp_path_factory.mktemp("FETAL_PLANES_DB"))),
            "network_name": "sononet8",
            "spatial_size": [32, 40],
        },
        "preterm_birth_sa_sononet": {
            "dataset_dir": str(write_cervix(tmp_path_factory.mktemp("cervix"))),
            "width": 8,
            "spatial_size": [32, 48],
        },
        "planted_region": {"patients": 20},
        "planted_shortcut": {"patients": 4},
    }


IMAGES = {  # of the small collections that can be read, and what is told of each
    "breast_ultrasound_classification": (120, 2),
    "chest_xray_roi": (79, 5),
    "fetal_plane_classification": (288, 6),
    "fundus_roi": (84, 1),
    "planted_region": (40, 2),
    "planted_shortcut": (12, 4),
    "preterm_birth_sa_sononet": (80, 1),
}


@pytest.mark.parametrize("folder", NAMES, indirect=True)
def test_inference_runs_as_a_workflow(folder, collections):
    options = collections[folder.name]
    sizes = {key: value for key, value in options.items() if key in ("network_name", "width")}
    torch.save(network(folder, **sizes).state_dict(), folder / "model.pt")
    (command,) = commands(folder, "run_workflow")
    paths = {"ckpt_path": "model.pt", "output_dir": "output", "logging_file": False}
    given = [f"--{key}={json.dumps(value) if isinstance(value, list) else value}" for key, value in options.items()]
    fire.Fire(run_workflow, command=[*command, *given, *(f"--{key}={value}" for key, value in paths.items())])
    predictions = pd.read_csv("output/predictions.csv", header=None)
    images, classes = IMAGES[folder.name]
    assert predictions.shape == (images, classes + 1)
    assert predictions[0].is_unique
    scores = predictions.iloc[:, 1:].to_numpy()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(np.unique(scores[:, 0])) > images / 4


TRAINED = {
    "breast_ultrasound_classification": ("train", "train evaluate", "train audit", "train region_sensitivity"),
    "chest_xray_roi": ("train", "train evaluate", "train audit", "train region_sensitivity"),
    "fetal_plane_classification": (
        "train",
        "train evaluate",
        "train multi_task_train",
        "train multi_task_train audit",
        "train multi_task_train induced_bias",
        "train phantoms",
    ),
    "fundus_roi": ("train", "train evaluate", "train audit", "train region_sensitivity"),
    "planted_region": ("train", "train region_sensitivity"),
    "planted_shortcut": ("audit",),
    "preterm_birth_sa_sononet": ("train", "train evaluate", "train evaluate audit"),
}
SETS = [(name, files) for name in NAMES for files in (*TRAINED[name], "inference")]


def workflow(folder: Path, files: str, output: Path, **options: object) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(folder / "configs" / f"{name}.json") for name in files.split()],
        meta_file=str(folder / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer" if files == "inference" else "train",
        bundle_root=str(folder),
        output_dir=str(output),
        ckpt_path=str(output / "model.pt"),
        **options,
    )


@pytest.mark.parametrize(("name", "files"), SETS)
def test_a_workflow_has_every_property_that_monai_asks_for(name, files, collections, tmp_path):
    options = dict(collections[name])
    if name == "preterm_birth_sa_sononet" and files != "inference":
        options |= {"channels": 3}  # no segmentation network here
    if name == "chest_xray_roi" and "audit" in files:
        made = workflow(BUNDLES / name, "inference", tmp_path, **options)
        torch.save(made.parser.get_parsed_content("network_def").state_dict(), tmp_path / "model.pt")
    options |= {"audit_patients": 4} if name == "planted_shortcut" or "phantoms" in files else {}
    options |= {"patients": 12} if "phantoms" in files else {}
    options |= {"minimum_patients": 1} if "multi_task_train" in files else {}
    options |= {"batch_size": 8} if "induced_bias" in files else {}  # of 11 images
    made = workflow(BUNDLES / name, files, tmp_path, **options)
    made.initialize()
    assert made.check_properties() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({'"dataset_dir": ': '"folder": '}, "Property 'dataset_dir' with config ID 'dataset_dir' not in the config"),
        ({'"handlers": [': '"steps": [', '"@handlers"': '"@steps"'}, "handlers"),
    ],
)
def test_a_workflow_without_a_property_is_told_so(changes, complaint, tmp_path):
    folder = Path(shutil.copytree(BUNDLES / "planted_shortcut", tmp_path / "planted_shortcut"))
    for old, new in changes.items():
        replaced("configs/inference.json", old, new)(folder)
    made = workflow(folder, "inference", tmp_path, patients=4)
    made.initialize()
    with pytest.raises((KeyError, AssertionError), match=complaint):
        assert made.check_properties() == []
