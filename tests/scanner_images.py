# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images with findings and a planted scanner, in files, and networks that were fitted to them in a moment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from PIL import Image
from sklearn.linear_model import LogisticRegression
from torch import nn

from monai_shortcut.heads.embeddings import embed

Drawn = tuple[np.ndarray, pd.DataFrame]


def scanned(count: int, classes: int, size: Sequence[int], tie: float, seed: int, *, several: bool = False) -> Drawn:
    """Images in [0, 1], a blob in another corner for each class, and their table.

    Args:
        count: number of images, of as many patients.
        classes: number of classes; of two, the first has no blob. With ``several``, of findings.
        size: (H, W) or (H, W, D).
        tie: how often scanner B goes with the upper half of the classes, or the first finding; 0.5 is never.
        seed: of all draws.
        several: an image may have several findings.

    Returns:
        (count, *size) float64 and the table, with a column for each finding or "label".
    """
    rng = np.random.default_rng(seed)
    present = rng.random((count, classes)) < 0.5 if several else np.eye(classes, dtype=bool)[np.arange(count) % classes]
    upper = present[:, 0] if several else present[:, classes // 2 :].any(axis=1)
    scanner = np.where(rng.random(count) < tie, upper, ~upper)
    images = rng.normal(0.4, 0.06, size=(count, *size))
    for code in range(classes) if several or classes > 2 else (1,):
        corner = tuple(
            slice(length // 2 * bit + 2, length // 2 * bit + length // 2 - 2)
            for length, bit in zip(size, ((code >> 1) & 1, code & 1, 0), strict=False)
        )
        images[(present[:, code], *corner)] += 0.12
    images[scanner, ..., :2] += 0.3
    table = pd.DataFrame({"image_id": [f"img_{seed}_{number:03}" for number in range(count)]})
    table["patient_id"] = [f"p{number}" for number in range(count)]
    table["scanner"] = np.where(scanner, "B", "A")
    table["operator"] = rng.choice(["x", "y"], size=count)
    if several:
        return images.clip(0, 1), table.join(pd.DataFrame(present.astype(int)).add_prefix("finding_"))
    return images.clip(0, 1), table.assign(label=present.argmax(axis=1))


def saved(
    folder: Path, drawn: Drawn, suffix: str, *, channels: int = 1, scale: Callable[[Any], Any] = lambda x: x
) -> list[dict[str, Any]]:
    """Write the images as files of this kind; a datalist of their paths and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    images, table = drawn
    items = []
    for image, row in zip(images, table.to_dict("records"), strict=True):
        path = folder / f"{row['image_id']}{suffix}"
        if suffix == ".png":
            pixels = (image * 255).astype(np.uint8)
            Image.fromarray(np.stack([pixels] * channels, -1) if channels > 1 else pixels).save(path)
        else:
            nib.save(nib.Nifti1Image(scale(image).astype(np.float32), np.eye(4)), path)
        labels = [row[name] for name in table if name.startswith("finding_")]
        items.append({"image": str(path), "label": labels or row["label"]})
    return items


def written(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def metadata(path: Path, table: pd.DataFrame) -> Path:
    """The table as CSV, without the row of the last image, and with one of an image that does not exist."""
    ghost = table.iloc[[0]].assign(image_id="ghost", patient_id="nobody")
    pd.concat([table.iloc[:-1], ghost]).to_csv(path, index=False)
    return path


def fitted(network: nn.Module, layer: str, items: list[dict[str, Any]], transforms: Compose) -> nn.Module:
    """The network with its normalization settled and the weights of its head from logistic regressions on the items."""
    loaded = [transforms(item) for item in items]
    images = torch.stack([torch.as_tensor(item["image"]) for item in loaded])
    labels = np.array([item["label"] for item in items])
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    with torch.no_grad():
        network.train()(images)
    network.eval()
    points = embed(network, images, layer)[0].double().numpy()
    head = network.get_submodule(layer)
    assert isinstance(head, nn.Linear)
    if labels.ndim == 1 and head.out_features > 1:
        codes = np.eye(head.out_features)[labels]
    else:
        codes = labels.reshape(len(labels), -1)
    centre, spread = points.mean(axis=0), points.std() + 1e-12
    for row, outcome in enumerate(codes.T):
        model = LogisticRegression(C=0.1).fit((points - centre) / spread, outcome)
        head.weight.data[row] = torch.as_tensor(model.coef_[0] / spread)
        head.bias.data[row] = float(model.intercept_[0] - model.coef_[0] @ centre / spread)
    return network


@contextmanager
def bundle_modules(root: Path | str = ".") -> Iterator[None]:
    """With a bundle's own modules, of which other bundles have others under the same names."""
    before = list(sys.path)
    sys.path_importer_cache.pop(".", None)
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path[:] = before
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]


def part(root: Path, config: str, name: str) -> Any:
    """An object of a bundle, by its id in one of the bundle's configs."""
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / config))
    parser["bundle_root"] = str(root)
    with bundle_modules(root):
        return parser.get_parsed_content(name)


def keep(state: Any, root: Path) -> None:
    """Save a checkpoint where bundles have it."""
    (root / "models").mkdir()
    torch.save(state, root / "models" / "model.pt")


def first_cause(error: BaseException) -> str:
    """What was said first: MONAI wraps errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)
