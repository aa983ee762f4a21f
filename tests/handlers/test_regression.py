# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regression networks, audited by one call, by the handler and by the overlay: their head reads a scanner or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DenseNet121
from scanner_images import first_cause
from torch import nn

import monai_shortcut
from monai_shortcut import audit_classifier
from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import HeadRepair, ShortcutAudit, TrainingAudit
from monai_shortcut.repair import compare_audits
from monai_shortcut.types import Outcome

QUICK = AuditSettings(folds=3, permutations=59, bootstraps=29, repeats=1, erasures=5, held_out=0, outcome_tolerance=2.0)


class Reader(nn.Module):
    """Predicts 100 mm more than ten times the first pixel, and what the head adds for the second one."""

    def __init__(self, added: float) -> None:
        super().__init__()
        self.flat, self.out = nn.Flatten(), nn.Linear(16, 1)
        with torch.no_grad():
            self.out.weight.zero_()
            self.out.weight[0, :2] = torch.tensor([10.0, added])
            self.out.bias.fill_(100.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.out(self.flat(images))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """The first pixel tells the outcome, the second the scanner."""
    rng = np.random.default_rng(0)
    pixels = 0.3 * rng.normal(size=(240, 1, 4, 4))
    true = rng.normal(size=240)
    pixels[:, 0, 0, 0] += true
    pixels[:, 0, 0, 1] = (0.5 * true + rng.normal(size=240) > 0) + 0.01 * rng.normal(size=240)
    pixels[:, 0, 3, 3] = true  # for the table
    return torch.as_tensor(pixels, dtype=torch.float32)


@pytest.fixture(scope="module")
def table(images: torch.Tensor) -> pd.DataFrame:
    outcome = 100 + 10 * images[:, 0, 3, 3].numpy().astype(float)
    scanner = np.where(images[:, 0, 0, 1] > 0.5, "B", "A")
    return pd.DataFrame({"image_id": [f"i{n}" for n in range(240)], "patient_id": range(240), "hc": outcome}).assign(
        scanner=scanner
    )


def batches(images: torch.Tensor) -> list[dict[str, object]]:
    return [{"image": images[i : i + 60], "image_id": [f"i{n}" for n in range(i, i + 60)]} for i in range(0, 240, 60)]


@pytest.mark.parametrize(("added", "verdict"), [(6.0, "used"), (0.0, "encoded, not used")])
def test_a_network_with_one_output_is_audited_in_the_unit_of_its_outcome(added, verdict, images, table):
    settings = QUICK if added else AuditSettings(**{**vars(QUICK), "outcome_tolerance": 4.0})
    record = audit_classifier(Reader(added), batches(images), table, outcome="hc", unit="mm", settings=settings)
    assert record.finding("scanner").verdict == verdict
    assert [finding.attribute for finding in record.findings] == ["scanner"]
    assert record.regression.unit == "mm"
    row = record.finding("scanner").evidence.differences.rows[-1]
    assert row.estimate.low < added < row.estimate.high


def test_a_cohort_or_the_path_of_a_table_do_as_well(images, table, tmp_path):
    table.to_csv(tmp_path / "metadata.csv", index=False)
    known = Cohort.from_table(table.assign(label="plane " + table["scanner"]))  # the outcome is an attribute of it
    first = audit_classifier(Reader(6.0), batches(images), known, outcome="hc", unit="mm", settings=QUICK)
    other = audit_classifier(Reader(6.0), batches(images), tmp_path / "metadata.csv", outcome="hc", settings=QUICK)
    rows = [record.finding("scanner").evidence.differences.rows[-1].estimate for record in (first, other)]
    assert rows[0] == rows[1]


def test_an_image_without_its_outcome_is_left_out_and_listed(images, table):
    lacking = table.assign(hc=table["hc"].where(table.index > 2))
    cohort = Cohort.from_table(lacking.assign(label=np.tile(["a", "b"], 120)))
    found = cohort.with_outcome("hc")
    assert dict(found.excluded) == {"i0": "hc missing", "i1": "hc missing", "i2": "hc missing"}
    assert found.attributes == ("scanner",)
    np.testing.assert_array_equal(found.table["label"].astype(float), lacking["hc"].to_numpy()[3:])
    record = audit_classifier(Reader(6.0), batches(images), cohort, outcome="hc", settings=QUICK)
    assert sum(record.labels.values()) == 237


def test_an_outcome_must_be_numbers_that_differ(table):
    cohort = Cohort.from_table(table.assign(label=np.tile(["a", "b"], 120), same=5.0))
    with pytest.raises(ValueError, match=r"^outcome age must hold numbers to be continuous, got 240 others: a, b, "):
        cohort.with_outcome("age")
    with pytest.raises(ValueError, match=r"^outcome same must differ between images, got \[5\.0\]\.$"):
        cohort.with_outcome("same")


def test_a_densenet_of_monai_is_audited_by_its_evaluator(images, table, tmp_path, capsys):
    torch.manual_seed(0)
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=1, init_features=4, growth_rate=2).eval()
    with torch.no_grad():
        network.class_layers.out.weight.mul_(100)
    large = nn.functional.interpolate(images[:120], size=(32, 32))
    items = [{"image": image, "image_id": f"i{n}", "label": 7.5} for n, image in enumerate(large)]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=DataLoader(Dataset(items), batch_size=60), network=network
    )
    handler = ShortcutAudit(
        network,
        Cohort.from_table(table[:120], label="hc"),
        tmp_path,
        outcome="hc",
        unit="mm",
        counterfactual_keys={},
        settings=QUICK,
    )
    handler.attach(evaluator)
    evaluator.run()
    record = handler.audit
    said = network(large).detach().numpy()[:, 0]
    error = said - table["hc"].to_numpy()[:120]
    assert record.regression.errors.bias.value == pytest.approx(error.mean(), rel=1e-4)
    assert record.finding("scanner").evidence is not None
    assert "Hc: mean absolute error" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "mm" in page
    assert "where hc is the same" in page


def test_without_the_outcome_a_regression_is_called_one(images, table):
    with pytest.raises(ValueError, match=r'one output .* this is a regression: name it, as outcome="age" of audit_cl'):
        audit_classifier(Reader(0.0), batches(images), table.rename(columns={"hc": "label"}), settings=QUICK)


def test_what_does_not_go_with_an_outcome_is_refused(images, table):
    cohort = Cohort.from_table(table, label="hc")
    with pytest.raises(
        ValueError,
        match=r"^outcome must go without roi_key, attribution, readers, labels and with one cohort, got roi_key\.$",
    ):
        ShortcutAudit(Reader(0.0), cohort, None, outcome="hc", roi_key="roi")
    with pytest.raises(ValueError, match=r"with one cohort, got several cohorts\.$"):
        ShortcutAudit(Reader(0.0), {"a": cohort}, None, outcome="hc")
    two = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(
        ValueError, match=r"^a network that predicts an outcome must end in one linear output, got 2\.$"
    ):
        audit_classifier(two, batches(images), table, outcome="hc", settings=QUICK)
    squeezed = nn.Sequential(Reader(0.0), nn.Sigmoid())
    with pytest.raises(ValueError, match=r"must end in one linear output, got 1 and a sigmoid\.$"):
        audit_classifier(squeezed, batches(images), table, outcome="hc", settings=QUICK)
    with pytest.raises(ValueError, match=r"^fit_head=True must go without .*, outcome, got outcome\.$"):
        audit_classifier(nn.Flatten(), batches(images), table, outcome="hc", fit_head=True)


def test_what_takes_classes_says_what_to_do_with_an_outcome_instead(images, table, tmp_path):
    """In one sentence for all, and what it says works: the differences of two models stand side by side in mm."""
    cohort, said = (
        Cohort.from_table(table, label="hc"),
        r" must be given a classifier, got a regression of hc\. Audit each",
    )
    for handler, more in ((TrainingAudit, {}), (HeadRepair, {"repair": ["scanner"]})):
        with pytest.raises(ValueError, match=handler.__name__ + said):
            handler(Reader(0.0), cohort, tmp_path, outcome="hc", **more)
    given = {"outcome": "hc", "unit": "mm", "settings": QUICK}
    before, after = (audit_classifier(Reader(added), batches(images), table, **given) for added in (6.0, 0.0))
    with pytest.raises(ValueError, match="compare_audits" + said):
        compare_audits(before, after)
    moved = [
        next(row.estimate for row in one.finding("scanner").evidence.differences.rows if row.label == 2)
        for one in (before, after)
    ]
    assert moved[0].low > 4 > 2 > moved[1].high
    assert moved[0].value - moved[1].value == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize("overlay", ["audit_training", "audit_repair"])
def test_overlays_of_what_takes_classes_do_not_pass_over_an_outcome(overlay, table, tmp_path):
    table.to_csv(tmp_path / "metadata.csv", index=False)
    parser = ConfigParser()
    parser.read_config(Path(monai_shortcut.__file__).parent / "configs" / f"{overlay}.json")
    parser["metadata_csv"], parser["audit_outcome"] = str(tmp_path / "metadata.csv"), "hc"
    parser["audited_network"], parser["audit_dir"] = Reader(0.0), str(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("audit_handler")
    assert "must be given a classifier, got a regression of hc. Audit each of the models" in str(
        first_cause(caught.value)
    )


@pytest.mark.parametrize("overlay", ["audit_evaluate", "audit_inference"])
def test_the_overlays_hand_the_outcome_on(overlay, table, tmp_path):
    table.to_csv(tmp_path / "metadata.csv", index=False)
    parser = ConfigParser()
    parser.read_config(Path(monai_shortcut.__file__).parent / "configs" / f"{overlay}.json")
    parser["metadata_csv"] = str(tmp_path / "metadata.csv")
    parser["audit_outcome"], parser["audit_unit"], parser["audit_outcome_tolerance"] = "hc", "mm", 3
    parser["audited_network"], parser["audit_dir"] = Reader(0.0), str(tmp_path / "audit")
    handler = parser.get_parsed_content("audit_handler")
    assert handler.outcome == Outcome("hc", "mm")
    assert handler.settings.outcome_tolerance == 3
    assert handler.attributes == ("scanner",)
