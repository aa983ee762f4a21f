# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks whose outputs do not exclude each other, audited one clinical label at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from scipy.special import expit
from torch import nn

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import MetadataProbe, ShortcutAudit, WeightSpaceCorrelation
from monai_shortcut.statistics.probes import fit_probe
from monai_shortcut.statistics.weight_space import weight_space_correlation

ALL = {"ids": True, "paths": True, "pixels": True}
SETTINGS = AuditSettings(
    permutations=19, bootstraps=19, minimum_patients=2, repeats=2, erasures=9, held_out=1, privacy=ALL
)
LABELS = ["mass", "edema", "fracture"]


class Reader(nn.Module):
    """Six means over parts of a (B, 1, 6, 4) image, and a head."""

    def __init__(self, head: nn.Linear, ending: nn.Module | None = None) -> None:
        super().__init__()
        self.rows = nn.AdaptiveAvgPool2d((6, 1))
        self.head, self.ending = head, ending or nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.ending(self.head(self.rows(images).flatten(1)))


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, np.ndarray]:
    """120 images of 60 patients; row 3 of the image shows the scanner, rows 0 to 2 the findings."""
    rng = np.random.default_rng(0)
    findings = rng.integers(2, size=(120, 3))
    scanner = np.repeat(rng.integers(2, size=60), 2)
    images = rng.normal(size=(120, 1, 6, 4)).astype(np.float32)
    images[:, 0, :3] += 2 * findings[:, :, None]
    images[:, 0, 3] += 3 * scanner[:, None]
    frame = pd.DataFrame(findings, columns=LABELS).assign(
        image_id=[f"image{row:03d}" for row in range(120)],
        patient_id=np.repeat(np.arange(60), 2),
        scanner=np.array(["A", "B"])[scanner],
    )
    frame["edema"] = frame["edema"].astype(float)
    frame.loc[:9, "edema"] = np.nan
    return frame, images


@pytest.fixture
def cohort(data) -> Cohort:
    return Cohort.from_table(data[0], findings=LABELS)


def head() -> nn.Linear:
    """Each label reads its row; edema reads the scanner too."""
    layer = nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight[:] = torch.eye(3, 6) * 1.5
        layer.weight[1, 3] = 1.5
        layer.bias[:] = torch.tensor([-1.5, -3.0, -1.0])
    return layer


def run(network: nn.Module, data: tuple[pd.DataFrame, np.ndarray], *handlers: Any, **more: np.ndarray) -> Engine:
    frame, images = data
    items = [
        {"image": image, "image_id": name, **{key: values[row] for key, values in more.items()}}
        for row, (image, name) in enumerate(zip(images, frame["image_id"], strict=True))
    ]
    engine = SupervisedEvaluator(
        torch.device("cpu"), DataLoader(Dataset(items), batch_size=32), network.eval(), val_handlers=list(handlers)
    )
    engine.run()
    return engine


def test_each_label_has_its_own_findings_in_its_own_folder(data, cohort, tmp_path, capsys):
    network = Reader(head())
    swapped = data[1].copy()
    swapped[:, 0, 3] = 1.5 - swapped[:, 0, 3]
    masked = np.zeros((120, 1, 6, 4), dtype=np.uint8)
    masked[:, :, 1] = 1  # the row that shows edema
    handler = ShortcutAudit(
        network,
        cohort,
        tmp_path,
        labels=LABELS,
        settings=SETTINGS,
        roi_key="roi",
        strategies=["without_roi"],
        counterfactual_keys={"scanner": "swapped"},
        title="Three findings",
    )
    metrics = run(network, data, handler, roi=masked, swapped=swapped).state.metrics
    assert list(handler.audits) == LABELS
    assert handler.audit is None
    points = data[1].mean(axis=3)[:, 0].astype(np.float64)
    changed = swapped.mean(axis=3)[:, 0].astype(np.float64)
    hidden = points.copy()
    hidden[:, 1] = 0
    weight, bias = network.head.weight.detach().double().numpy(), network.head.bias.detach().double().numpy()
    for code, name in enumerate(LABELS):
        known = data[0][name].notna().to_numpy()
        expected = audit(
            points[known],
            weight[[code]],
            bias[[code]],
            data[0].loc[known, name].astype(int),
            data[0].loc[known, "patient_id"].astype(str).tolist(),
            {"scanner": data[0].loc[known, "scanner"].tolist()},
            label_names=["absent", "present"],
            settings=SETTINGS,
            regions={"without_roi": both(hidden[known] @ weight[code] + bias[code])},
            counterfactuals={"scanner": both(changed[known] @ weight[code] + bias[code])},
            audits=len(LABELS),
        )
        found, other = handler.audits[name].finding("scanner"), expected.finding("scanner")
        assert found.verdict == other.verdict
        assert found.evidence.gap.effect.value == pytest.approx(other.evidence.gap.effect.value, abs=1e-5)
        assert found.counterfactual.change.value == pytest.approx(other.counterfactual.change.value, abs=1e-5)
        areas = [
            {s.evaluated_on: s.auc.value for s in record.regions.scores} for record in (handler.audits[name], expected)
        ]
        assert areas[0] == pytest.approx(areas[1], abs=1e-6)
        assert metrics[f"{name}_scanner_prediction_gap"] == found.evidence.gap.effect.value
        assert Audit.from_json(tmp_path / name / "audit.json") == handler.audits[name]
        assert {e.label for e in handler.audits[name].examples} == {"absent", "present"}
        assert [f.attribute for f in handler.audits[name].findings] == ["scanner"]
    gaps = {name: handler.audits[name].finding("scanner").evidence.gap.effect.value for name in LABELS}
    assert gaps["edema"] > 0.3 > 0.15 > max(gaps["mass"], gaps["fracture"])
    assert handler.audits["edema"].finding("scanner").counterfactual.change.value > 0.2
    assert handler.audits["mass"].finding("scanner").counterfactual.change.value == pytest.approx(0, abs=1e-6)
    assert sum(handler.audits["edema"].labels.values()) == 110
    assert handler.audits["edema"].excluded == {f"image{row:03d}": "edema unknown" for row in range(10)}
    page = (tmp_path / "report.html").read_text()
    assert all(f'href="{name}/report.html"' in page and (tmp_path / name / "report.html").exists() for name in LABELS)
    table = pd.read_csv(tmp_path / "findings.csv", index_col="label")
    assert table["verdict"].to_dict() == {name: handler.audits[name].finding("scanner").verdict for name in LABELS}
    assert "Three findings: edema" in capsys.readouterr().out


def both(logits: np.ndarray) -> np.ndarray:
    return np.stack([1 - expit(logits), expit(logits)], axis=1)


def test_a_network_that_ends_in_a_sigmoid_has_the_same_findings(data, cohort):
    records = []
    for ending in (None, nn.Sigmoid()):
        network = Reader(head(), ending)
        handler = ShortcutAudit(network, cohort, None, labels=LABELS, settings=SETTINGS)
        run(network, data, handler)
        records.append([handler.audits[name].findings for name in LABELS])
    assert records[0] == records[1]


def test_numbers_and_tables_name_the_label(data, cohort, tmp_path):
    network = Reader(head())
    handlers = [
        kind(network, cohort, labels=LABELS, output_dir=tmp_path, settings=SETTINGS)
        for kind in (MetadataProbe, WeightSpaceCorrelation)
    ]
    metrics = run(network, data, *handlers).state.metrics
    assert {f"{name}_scanner_{what}" for name in LABELS for what in ("probe_auroc", "probe_p", "wsc")} <= set(metrics)
    points = data[1].mean(axis=3)[:, 0].astype(np.float64)
    codes = (data[0]["scanner"] == "B").to_numpy().astype(int)
    weight = network.head.weight.detach().double().numpy()
    table = pd.read_csv(tmp_path / "weight_space_correlation.csv").set_index(["label", "level"])["wsc"]
    for code, name in enumerate(LABELS):
        known = data[0][name].notna().to_numpy()
        probe = fit_probe(points[known], codes[known]).weight
        ((first, second),) = weight_space_correlation(weight[[code]], probe, points[known])
        assert table[name, "A"] == pytest.approx(first, abs=1e-5)
        assert table[name, "B"] == pytest.approx(second, abs=1e-5)
        assert metrics[f"{name}_scanner_wsc"] == pytest.approx(max(abs(first), abs(second)), abs=1e-5)
    rows = pd.read_csv(tmp_path / "metadata_probe.csv")
    assert sorted(rows["label"].unique()) == sorted(LABELS)


def test_other_labels_are_attributes_only_if_they_are_asked_for(data, cohort):
    network = Reader(head())
    handler = ShortcutAudit(network, cohort, None, labels=LABELS, attributes=["mass", "scanner"], settings=SETTINGS)
    run(network, data, handler)
    audited = {name: [f.attribute for f in record.findings] for name, record in handler.audits.items()}
    assert audited == {"mass": ["scanner"], "edema": ["mass", "scanner"], "fracture": ["mass", "scanner"]}


def test_a_label_of_one_level_is_left_out_and_the_page_says_so(data, tmp_path):
    frame = data[0].assign(fracture=0)
    network = Reader(head())
    handler = ShortcutAudit(
        network, Cohort.from_table(frame, findings=LABELS), tmp_path, labels=LABELS, settings=SETTINGS
    )
    run(network, data, handler)
    assert list(handler.audits) == ["mass", "edema"]
    reason = "it is the same in all rows of the cohort"
    assert handler.problems == {"fracture": reason}
    assert reason in (tmp_path / "report.html").read_text()


def test_one_label_of_a_single_logit_may_be_named_or_not(data):
    layer = nn.Linear(6, 1)
    layer.weight.data, layer.bias.data = head().weight.data[1:2], head().bias.data[1:2]
    network = Reader(layer, nn.Sigmoid())
    cohort = Cohort.from_table(data[0], findings="edema", attributes=["scanner"])
    named = ShortcutAudit(network, cohort, None, labels=["edema"], settings=SETTINGS)
    plain = ShortcutAudit(network, cohort, None, settings=SETTINGS)
    run(network, data, named, plain)
    assert named.audits["edema"].findings == plain.audit.findings
    assert plain.audit.finding("scanner").evidence.gap.effect.value > 0.3


@pytest.mark.parametrize(
    ("ending", "labels", "message"),
    [
        (
            nn.Sigmoid(),
            None,
            "labels must name what each of the 3 outputs tells, for the network ends in a sigmoid, got None",
        ),
        (None, LABELS[:2], "each of the labels must have an output of its own, got 2 labels for 3 outputs"),
        (
            nn.Softmax(dim=1),
            LABELS,
            "each of the labels must have an output of its own, got a softmax over them for 3 outputs",
        ),
    ],
)
def test_labels_that_do_not_fit_the_head_are_refused(data, cohort, tmp_path, ending, labels, message):
    network = Reader(head(), ending)
    with pytest.raises(ValueError, match=message):
        run(network, data, ShortcutAudit(network, cohort, tmp_path, labels=labels, settings=SETTINGS))
    assert not (tmp_path / "report.html").exists()


def test_labels_that_are_no_findings_are_refused(data, cohort, tmp_path):
    with pytest.raises(ValueError, match="finding scanner must be absent or present"):
        ShortcutAudit(Reader(head()), cohort, tmp_path, labels=["mass", "scanner"])
    with pytest.raises(ValueError, match="attribute must be one of the cohort's"):
        ShortcutAudit(Reader(head()), cohort, tmp_path, labels=["mass", "nodule"])


def test_a_table_is_read_for_each_label_so_that_none_takes_images_from_another(data, tmp_path):
    data[0].drop(columns=[]).to_csv(tmp_path / "metadata.csv", index=False)
    order = ["edema", "mass", "fracture"]  # the first is unknown in some images
    network = Reader(head())
    network.head.weight.data, network.head.bias.data = (
        network.head.weight[[1, 0, 2]].data,
        network.head.bias[[1, 0, 2]].data,
    )
    handlers = [
        MetadataProbe(network, cohort, labels=order, attributes=["scanner"], settings=SETTINGS)
        for cohort in (tmp_path / "metadata.csv", Cohort.by_finding(tmp_path / "metadata.csv", order))
    ]
    metrics = []
    for handler in handlers:
        metrics.append(run(network, data, handler).state.metrics)
        assert {name: len(cohort) for name, cohort in handler.cohorts.items()} == {
            "edema": 110,
            "mass": 120,
            "fracture": 120,
        }
    assert metrics[0] == metrics[1]
    plain = MetadataProbe(network, Cohort.from_table(data[0], findings=["mass", "edema"]), labels=["edema", "mass"])
    assert {name: len(cohort) for name, cohort in plain.cohorts.items()} == {"edema": 110, "mass": 120}
    with pytest.raises(
        ValueError, match=r"cohorts must be of the labels \['mass'\], got those of \['edema', 'mass', 'fr"
    ):
        MetadataProbe(network, Cohort.by_finding(tmp_path / "metadata.csv", order), labels=["mass"])


def test_labels_that_do_not_vary_are_refused(data, cohort, tmp_path):
    network = Reader(head())
    some = [row for row in range(10) if tuple(data[0].loc[row, ["mass", "fracture"]]) == (1, 0)]
    assert len(some) > 1
    part = data[0].iloc[some], data[1][some]  # edema is unknown in these
    handler = MetadataProbe(network, cohort, labels=LABELS, settings=SETTINGS)
    message = r"absent in some images and present in others, got {'mass': '\d images.*'edema': '0 images tell, in"
    with pytest.raises(ValueError, match=message):
        run(network, part, handler)


def test_a_label_of_another_kind_is_no_attribute_unless_it_is_asked_for(data):
    levels = {name: data[0][name].map({0: "absent", 1: "present"}) for name in LABELS}
    frame = data[0].assign(**levels, label=np.repeat(["left", "right", "left"], 40))
    cohort = Cohort.from_table(frame)
    handler = MetadataProbe(Reader(head()), cohort, labels=LABELS, settings=SETTINGS)
    assert handler.attributes == ("scanner",)
    asked = MetadataProbe(Reader(head()), cohort, labels=LABELS, attributes=["label of the table"], settings=SETTINGS)
    metrics = run(asked.network, data, asked).state.metrics
    assert sorted(metrics) == sorted(f"{n}_label of the table_probe_{w}" for n in LABELS for w in ("auroc", "p"))


def test_labels_that_are_the_same_in_the_whole_table_are_refused(data, tmp_path):
    frame = data[0].assign(mass=0, edema=1)
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    message = "a label must be absent in some images and present in others, got mass, edema"
    for cohort in (tmp_path / "metadata.csv", Cohort.from_table(frame, findings=["fracture", "mass", "edema"])):
        with pytest.raises(ValueError, match=message):
            MetadataProbe(Reader(head()), cohort, labels=["mass", "edema"])
