# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from repair_cases import BIAS, SETTINGS, WEIGHT, Images, draw
from torch import nn

from monai_shortcut.audit import Audit
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import HeadRepair
from monai_shortcut.repair import Comparison
from monai_shortcut.types import Unmeasurable


def network() -> nn.Module:
    """Gives its input to a head that reads label and scanner."""
    head = nn.Linear(8, 2)
    head.load_state_dict({"weight": torch.as_tensor(WEIGHT), "bias": torch.as_tensor(BIAS)})
    return nn.Sequential(nn.Flatten(), head)


def table(images: Images) -> pd.DataFrame:
    names = [f"i{row:04}" for row in range(len(images.labels))]
    columns = {
        "image_id": names,
        "patient_id": images.patients,
        "label": np.array(["benign", "malignant"])[images.labels],
    }
    return pd.DataFrame(columns | {"scanner": np.array(["A", "B"])[images.scanner], "site": images.site.astype(str)})


def repaired(
    folder, images: Images, frame: pd.DataFrame | None = None, classifier: nn.Module | None = None, **changed
) -> tuple[HeadRepair, nn.Module]:
    frame, classifier = table(images) if frame is None else frame, classifier or network()
    known = [name for name in ("scanner", "site") if name in frame]
    cohort = Cohort.from_table(frame, attributes=known)
    handler = HeadRepair(classifier, cohort, folder, **{"repair": ["scanner"], "settings": SETTINGS, **changed})
    items = [
        {"image": point, "image_id": name}
        for point, name in zip(images.points.astype("f4"), frame["image_id"], strict=True)
    ]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=256),
        network=classifier,
        val_handlers=[handler],
        prepare_batch=lambda batch, device, non_blocking, **_: (batch["image"].to(device), None),
    )
    evaluator.run()
    return handler, classifier


@pytest.fixture(scope="module")
def images() -> Images:
    return draw(6, patients=600)


@pytest.fixture(scope="module")
def done(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repair")
    handler, classifier = repaired(folder, images)
    return folder, handler, classifier


def test_candidates_are_audited_on_the_other_half_of_the_patients(done, images):
    folder, handler, _ = done
    found = handler.comparisons[""]
    assert {name: one.attribute("scanner").verdict for name, one in found.items()} == {
        "erase": "repaired",
        "rebalance": "repaired",
    }
    assert {one.attribute("site").verdict for one in found.values()} == {"no change"}
    for name, one in found.items():
        assert Comparison.from_json(folder / f"comparison_{name}.json").attributes == one.attributes
        assert one.paired
        assert one.patients == (300, 300)
    assert Audit.from_json(folder / "before.json").finding("scanner").verdict == "used"
    html = (folder / "report.html").read_text()
    assert html.count("<h3>What it costs</h3>") == 2
    assert "The repair was fitted to other patients." in html


def test_the_state_of_the_whole_network_has_the_head_that_was_asked_for(done, images):
    folder, _, classifier = done
    state, heads = torch.load(folder / "repaired.pt"), torch.load(folder / "heads.pt")
    assert set(heads) == {"erase", "rebalance"}
    fresh = network()
    before = fresh(torch.as_tensor(images.points[:5], dtype=torch.float32))
    fresh.load_state_dict(state)
    torch.testing.assert_close(fresh[1].weight.double(), heads["rebalance"]["weight"], rtol=1e-6, atol=1e-7)
    assert not torch.allclose(fresh(torch.as_tensor(images.points[:5], dtype=torch.float32)), before, atol=0.01)
    torch.testing.assert_close(classifier[1].weight.double(), torch.as_tensor(WEIGHT))  # the evaluated one stays


def test_folds_of_the_table_say_who_is_for_the_fit(tmp_path, capsys):
    images = draw(8, patients=90)
    frame = table(images).assign(fold=np.unique(images.patients, return_inverse=True)[1] % 3)
    handler, _ = repaired(tmp_path, images, frame, fit_folds=[0, 2], method="erase")
    assert handler.comparisons[""]["erase"].patients == (30, 30)
    assert "repaired by erase: " in capsys.readouterr().out
    split = frame.assign(fold=np.arange(len(frame)) % 2)
    with pytest.raises(ValueError, match="a patient must be in one fold, got 90 in several: seed 8"):
        repaired(tmp_path, images, split, fit_folds=[0])
    with pytest.raises(ValueError, match="patients must be left to audit the repair on, got all in fit_folds"):
        repaired(tmp_path, images, frame, fit_folds=[0, 1, 2])


def test_patients_that_were_trained_on_are_refused(images, tmp_path):
    pd.DataFrame({"patient_id": [*images.patients[:9], "stranger"]}).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(ValueError, match=r"must not have been trained on, got 5 in .*train\.csv"):
        repaired(tmp_path / "out", images, trained_on=tmp_path / "train.csv")


def test_what_cannot_be_repaired_is_told_by_names(images, tmp_path, capsys):
    alike = images._replace(scanner=images.labels)
    with pytest.raises(Unmeasurable, match=r"one repair must be possible, got none: .*the diagnosis.*'malignant'"):
        repaired(tmp_path, alike)
    assert re.search(
        r"erase: no repair: the attribute must differ .*labels are \['benign', 'mal", capsys.readouterr().out
    )
    with pytest.raises(Unmeasurable, match="two levels or more, got site"):
        repaired(tmp_path, images._replace(site=0 * images.site), repair=["site"])


class Cubes(nn.Module):
    """Logits that no linear layer gives."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits**3


def test_a_network_whose_logits_no_layer_gives_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match=r"head\(embedding\) must equal the network's logits, .* ran \['Cubes'\]"):
        repaired(tmp_path, images, classifier=nn.Sequential(network(), Cubes()))
    assert not (tmp_path / "repaired.pt").exists()


def test_what_is_asked_for_must_exist(images, tmp_path):
    for changed, message in (
        ({"repair": []}, "repair must name attributes among scanner, site, got none"),
        ({"repair": ["age"]}, "repair must be of the attributes scanner, site, got 1 others: age"),
        ({"method": "forget"}, "method must be one of erase, rebalance, got 'forget'"),
        ({"embedding": "logit_map"}, "embedding must be \"pooled\", for other heads are no layer, got 'logit_map'"),
    ):
        with pytest.raises(ValueError, match=message):
            repaired(tmp_path, images, **changed)
