# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""No file that an audit leaves behind tells who was examined."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from monai_shortcut.__main__ import main
from monai_shortcut.attribution import AttributionSettings
from monai_shortcut.audit import Audit, AuditSettings
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import usable
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.networks import SonoNet
from monai_shortcut.report import write_report
from monai_shortcut.storage.privacy import Privacy, written

QUICK: dict[str, Any] = {"permutations": 9, "bootstraps": 9, "erasures": 2, "held_out": 0, "minimum_patients": 3}
NAMES = ("Lovelace", "Ada", "Byron", "archive")  # of files, images, patients and folders
PATIENTS = 16


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> tuple[Path, Path, Audit]:
    """The folder of the data, and that of an audit of images of which one is damaged, one unknown and one a double."""
    data = tmp_path_factory.mktemp("data") / "archive of Ada Lovelace"
    data.mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(PATIENTS):
        name = f"Lovelace_Ada_Byron_{number}"
        image, roi = data / f"{name}.npy", data / f"{name}_roi.npy"
        np.save(image, rng.normal(size=(1, 32, 32)).astype(np.float32) + number % 2)
        np.save(roi, np.zeros((1, 32, 32), np.float32))
        if number != 5:  # whose region is empty
            region = np.zeros((1, 32, 32), np.float32)
            region[:, 8:16, 8:16] = 1
            np.save(roi, region)
        rows.append(
            (name, f"Lovelace^Ada^{number}", str(image), str(roi), f"class {number % 2}", f"site {number // 2 % 2}")
        )
    (data / "Lovelace_Ada_Byron_3.npy").write_bytes(b"no image")
    np.save(data / "Lovelace_Ada_Byron_7.npy", np.load(data / "Lovelace_Ada_Byron_9.npy"))
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "image", "roi", "label", "site"])
    table.to_csv(data / "table.csv", index=False)
    cohort = usable(Cohort.from_csv(data / "table.csv", image="image", roi="roi"), require_roi=False)
    assert "Lovelace_Ada_Byron_3" in cohort.excluded
    items = [{"image": row[2], "roi": row[3]} for row in rows if row[0] in cohort.image_ids[2:]]
    np.save(data / "Lovelace_Ada_other.npy", rng.normal(size=(1, 32, 32)).astype(np.float32))
    items.append({"image": str(data / "Lovelace_Ada_other.npy"), "roi": items[0]["roi"]})
    folder = tmp_path_factory.mktemp("audit")
    torch.manual_seed(0)
    network = SonoNet(2, 1, 2, width=4).eval()
    handler = ShortcutAudit(
        network,
        cohort,
        folder,
        roi_key="roi",
        strategies=["roi_only"],
        attribution=AttributionSettings(methods=("regional_shapley",), images=4),
        settings=AuditSettings(**QUICK),
    )
    load = Compose([LoadImaged(["image", "roi"]), EnsureChannelFirstd(["image", "roi"], channel_dim=0)])
    loader = DataLoader(Dataset(items, load), batch_size=8)
    SupervisedEvaluator(torch.device("cpu"), loader, network, val_handlers=[handler]).run()
    assert handler.audit is not None
    assert handler.audit.examples
    assert any("Lovelace" in name for name in (*handler.audit.excluded, *handler.audit.unseen))
    return data, folder, handler.audit


def test_no_file_holds_a_name_a_path_or_a_pixel(evaluated):
    data, folder, _ = evaluated
    assert main(["evidence", str(folder / "audit.json"), "--metadata", str(data / "table.csv")]) == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"report.html", "audit.json", "excluded.csv", "findings.csv", "unmatched.csv"} <= {p.name for p in files}
    assert {"evidence.html", "evidence.json", "summary.md", "metadata_audit.json"} <= {p.name for p in files}
    assert (folder / "model_card.md").is_file()
    for path in files:
        content = path.read_bytes()
        for name in (*NAMES, str(data.parent), "/tmp", str(folder)):
            assert name.encode() not in content, (path.name, name)
    assert not [path for path in files if path.stem in ("examples", "attribution_panels")]
    record = Audit.from_json(folder / "audit.json")
    assert record.examples == ()
    assert record.attribution is not None
    assert record.attribution.panels == ()


def test_the_page_still_says_how_many_and_why(evaluated):
    _, folder, _ = evaluated
    excluded = pd.read_csv(folder / "excluded.csv")
    assert excluded["image_id"].str.fullmatch(r"image \d+").all()
    assert excluded["reason"].str.startswith("image unreadable: ").sum() == 1
    assert (excluded["reason"] == "no row in the cohort").sum() == 1
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"2\s+further rows of the cohort were not among the images evaluated", page)


def test_what_is_allowed_is_written(evaluated, tmp_path):
    """A negative control: the record in memory knows the names, and the same writer writes them where it may."""
    data, _, record = evaluated
    allowed = replace(record, settings=replace(record.settings, privacy=Privacy(True, True, True)))
    page = write_report(allowed, tmp_path).read_text(encoding="utf-8")
    assert "Lovelace_Ada_Byron_3" in page
    assert (tmp_path / "figures" / "examples.svg").exists()
    assert (tmp_path / "figures" / "attribution_panels.svg").exists()
    assert Audit.from_json(tmp_path / "audit.json") == allowed
    with_names = written(replace(record, settings=replace(record.settings, privacy=Privacy(ids=True))))
    assert with_names.excluded["Lovelace_Ada_Byron_3"].startswith("image unreadable: ")
    assert str(data) not in str(with_names.excluded)
    assert with_names.examples == ()
