# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is installed, where its files are, and whether it works."""

from __future__ import annotations

import json
import logging
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigWorkflow

from monai_shortcut.storage.tables import write_csv
from monai_shortcut.versions import MISSING, PACKAGES, versions

PACKAGE = Path(__file__).parent
OPTIONAL = {
    "pyyaml": "bundles whose configs are YAML (extra: yaml)",
    "pydicom": "DICOM images and tags (extra: dicom)",
    "itk-io": "DICOM images by ITK (extra: itk)",
    "scikit-image": 'MaskROI(fill="inpaint") (extra: inpaint)',
    "captum": "maps of where a network looks (extra: attribution)",
    "distributed": "region studies on a cluster (extra: cluster)",
    "tensorboard": "curves of a training in TensorBoard (extra: tensorboard)",
    "jsonschema": "python -m monai.bundle verify_metadata (extra: test)",
}
OVERLAYS = {
    "inference": "configs with the id evaluator: inference.json, or train.yaml and evaluate.yaml of the YAML template",
    "evaluate": "configs with the id validate#evaluator: train.json and evaluate.json",
    "training": "configs with the id train#trainer: an audit every few epochs of a training",
    "regions": "by itself: a region study of a training configuration that masks its images",
    "readers": "after one of the first two: a page for readers in place of the audit",
    "answers": "by itself: what readers answered on that page",
    "repair": "configs with the id evaluator: repairs of the head, each audited on patients it was not fitted to",
    "compare": "by itself: two audits, before and after",
    "evaluator": "after inference or evaluate, for configs without an evaluator: one of their network and dataloader",
}
_BUNDLE: dict[str, Any] = {
    "imports": ["$import json", "$import pathlib", "$import torch"],
    "root": ".",
    "network": "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))",
    "dataset": {
        "_target_": "Dataset",
        "data": "$json.loads(pathlib.Path(@root + '/items.json').read_text())",
        "transform": {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
    },
    "loader": {"_target_": "CheckpointLoader", "load_path": "$@root + '/model.pt'", "load_dict": {"model": "@network"}},
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "$torch.device('cpu')",
        "val_data_loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 20},
        "network": "@network",
        "val_handlers": ["@loader"],
    },
}


def overlay(name: str) -> Path:
    """The absolute path of an overlay config.

    Args:
        name: one of `OVERLAYS`.

    Raises:
        ValueError: If there is no such overlay.
    """
    if name not in OVERLAYS:
        raise ValueError(f"overlay must be one of {', '.join(OVERLAYS)}, got {name!r}.")
    return (PACKAGE / "configs" / f"audit_{name}.json").resolve()


def shared(folder: str) -> Path | None:
    """Where "bundles" or "docs" are: in the checkout, or where the wheel has put them; None if nowhere."""
    places = [PACKAGE.parent, *(parent / "share" / "monai_shortcut" for parent in PACKAGE.parents)]
    found = (place / folder for place in places if (place / "bundles" / "planted_shortcut").is_dir())
    return next((path.resolve() for path in found if path.is_dir()), None)


def installed() -> dict[str, str]:
    """Version by package, also of those that only some uses need; "missing" of those that are not installed."""
    return versions((*PACKAGES, *OPTIONAL))


def devices() -> list[str]:
    """What models can run on."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{index} ({name})" for index, name in enumerate(names))]


def problems() -> list[str]:
    """What is wrong, a sentence each; none if a small model is audited through the overlay as it should be."""
    found = []
    if absent := [str(overlay(name)) for name in OVERLAYS if not overlay(name).is_file()]:
        found.append(f"overlays must be in the package, got no {', '.join(absent)}.")
    if missing := [name for name, version in versions(PACKAGES).items() if version == MISSING]:
        found.append(f"packages must be installed, got no {', '.join(missing)}.")
    try:
        with TemporaryDirectory() as folder, redirect_stdout(StringIO()), catch_warnings():
            simplefilter("ignore")
            logging.disable(logging.ERROR)
            verdict, page = _small_audit(Path(folder))
        if verdict != "used" or not page:
            found.append(f'a small audit must find the planted scanner "used" and report it, got {verdict!r}.')
    except Exception as error:  # whatever it is, the user has to see it
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        found.append(f"a small audit must run, got {type(cause).__name__}: {cause}")
    finally:
        logging.disable(logging.NOTSET)
    return found


def _small_audit(folder: Path) -> tuple[str, bool]:
    """Verdict on a model that sees nothing but the scanner, audited through the overlay, and whether a page is written.

    Args:
        folder: an empty one.
    """
    rng, numbers = np.random.default_rng(0), np.arange(200)
    scanner, label = numbers % 2, np.where(numbers % 5 == 0, 1 - numbers % 2, numbers % 2)
    images = rng.normal(size=(200, 1, 4, 4)) + 2 * scanner[:, None, None, None]
    table = pd.DataFrame({"image_id": numbers, "patient_id": numbers, "label": label, "scanner": scanner})
    write_csv(table, folder / "metadata.csv")
    items = [{"image": image.tolist(), "image_id": str(number)} for image, number in zip(images, numbers, strict=True)]
    (folder / "items.json").write_text(json.dumps(items))
    weights = {"1.weight": torch.tensor([[-1.0], [1.0]]).repeat(1, 16) / 16, "1.bias": torch.zeros(2)}
    torch.save({"model": weights}, folder / "model.pt")
    (folder / "inference.json").write_text(json.dumps(_BUNDLE))
    workflow = ConfigWorkflow(
        config_file=[str(folder / "inference.json"), str(overlay("inference"))],
        workflow_type="infer",
        logging_file=False,
        root=str(folder),
        metadata_csv=str(folder / "metadata.csv"),
        audit_dir=str(folder / "audit"),
        **{"audit_settings#permutations": 99, "audit_settings#bootstraps": 19, "audit_settings#repeats": 1},
    )
    workflow.initialize()
    workflow.run()
    finding = workflow.parser.get_parsed_content("audit_handler").audit.finding("scanner")
    return finding.verdict, (folder / "audit" / "report.html").is_file()
