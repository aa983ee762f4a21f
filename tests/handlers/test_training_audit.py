# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES
from ignite.engine import Events
from monai.bundle import ConfigParser, run
from monai.handlers import StatsHandler, TensorBoardStatsHandler
from monai.networks.nets import DenseNet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import SETTINGS, audit_of, draw, equal, evaluator, small_network, training

from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit.epochs import curve_settings
from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import SeedEachEpoch, TrainingAudit

ENDS = ("own_auroc", "alignment", "alignment_z", "wsc", "difference", "used")
NAMES = {"label_auroc", *(f"scanner_{end}" for end in ENDS)}


@pytest.fixture(scope="module")
def phantoms():
    """Images to train on and images to audit, with what a data loader needs of them."""
    drawn = draw("train", 1.0, patients=40), draw("audit", 0.0)
    return [(phantom, phantom.datalist()) for phantom in drawn]


@pytest.fixture(scope="module")
def network(phantoms):
    """Trained a little, so that its outputs differ between images."""
    found = training(phantoms[0][1], 2)
    found.trainer.run()
    return found.network


@pytest.fixture
def audited(network, phantoms, tmp_path):
    """A handler in an evaluator of its own, which may be run at any epoch; further arguments by call."""
    phantom, items = phantoms[1]

    def build(**arguments: Any):
        handler = audit_of(network, phantom, tmp_path, **arguments)
        return handler, evaluator(network, items, [handler])

    return build


def numbers_of(curves: TrainingCurves, index: int = -1) -> dict[str, float]:
    """What has to be logged of an epoch."""
    epoch = curves.epochs[index]
    point = epoch.points["scanner"]
    shown = (point.own_auroc.value, point.alignment, point.alignment_z, point.wsc, abs(point.difference.estimate.value))
    values = zip(ENDS, (*shown, 1.0 if point.used else 0.0), strict=True)
    return {"label_auroc": epoch.auroc.value, **{f"scanner_{end}": value for end, value in values}}


def test_tensorboard_gets_the_numbers_of_the_audited_epochs_and_no_others(phantoms, tmp_path, capsys):
    (_, train), (phantom, items) = phantoms
    network = small_network()
    handler = audit_of(network, phantom, tmp_path, interval=2, title="Tiny")
    board = TensorBoardStatsHandler(log_dir=str(tmp_path / "tensorboard"), iteration_log=False)
    validator = evaluator(network, items, [handler, StatsHandler(iteration_log=False), board])
    found = training(train, 5, network=network, validator=validator)
    seen = {}
    found.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: seen.update({engine.state.epoch: dict(validator.state.metrics)})
    )
    found.trainer.run()
    board.close()
    curves = TrainingCurves.from_json(tmp_path / "training_curves.json")
    assert curves == handler.curves[""]
    assert [epoch.epoch for epoch in curves.epochs] == [2, 4]
    assert [set(seen[epoch]) for epoch in range(1, 6)] == [set(), NAMES, set(), NAMES, set()]
    assert {type(value) for value in seen[4].values()} == {float}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == NAMES
    for name in NAMES:
        logged = events.Scalars(name)
        assert [event.step for event in logged] == [2, 4]
        expected = [numbers_of(curves, index)[name] for index in (0, 1)]
        np.testing.assert_allclose([event.value for event in logged], expected, rtol=1e-6)
        assert seen[4][name] == expected[1]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Tiny, epoch ")]
    assert [line.split(":")[0] for line in lines] == ["Tiny, epoch 2", "Tiny, epoch 4"]
    cost, point = curves.epochs[1].cost, curves.epochs[1].points["scanner"]
    assert f"scanner difference {point.moved.value:.2f} in {point.where} (p {point.p_value:.3f}), AUC" in lines[1]
    assert f"audit {cost.audit:.2f} s ({cost.share:.0%} of the epoch), evaluation {cost.evaluation:.2f} s" in lines[1]
    assert 0 < cost.audit < cost.audit + cost.evaluation < cost.epoch


def test_files_are_complete_and_say_the_same(audited, tmp_path):
    handler, engine = audited()
    engine.run(1)
    engine.run(2)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("[!.]*") if path.is_file()}
    names = {"training_curves.json", "training_curves.csv", "training_report.html", "figures/training_curves.svg"}
    assert written == names
    table = pd.read_csv(tmp_path / "training_curves.csv")
    assert table["epoch"].tolist() == [1, 2]
    point = handler.curves[""].epochs[1].points["scanner"]
    assert table["difference"][1] == pytest.approx(point.moved.value)
    assert handler.curves[""].answer("scanner") in (tmp_path / "training_report.html").read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_full_audit_with_the_same_settings(audited, network, phantoms):
    phantom, items = phantoms[1]
    handler, engine = audited(attributes=None, settings=replace(SETTINGS, permutations=59))
    engine.run(1)
    assert handler.curves[""].attributes == ("scanner", "annotation", "operator")
    whole = audit(
        handler.embeddings,
        handler.head.weight,
        handler.head.bias,
        [item["label"] for item in items],
        phantom.cohort.patients.tolist(),
        {name: phantom.cohort.values(name) for name in phantom.cohort.attributes},
        label_names=phantom.cohort.label_names,
        settings=handler.settings,
    )
    for name, point in handler.curves[""].epochs[0].points.items():  # whose draws are other ones
        evidence = whole.finding(name).evidence
        assert point.own_auroc.value == pytest.approx(evidence.encoding.own_auroc.value, abs=0.1)
        assert point.own_auroc_p_value == pytest.approx(evidence.encoding_p_value, abs=0.15)
        if evidence.differences is None:  # few operators
            assert point.difference is None
            continue
        found = {where(row): row.estimate.value for row in evidence.differences.rows}
        assert point.difference.estimate.value == pytest.approx(found[where(point.difference)])
        assert point.p_value == pytest.approx(evidence.differences_p_value, abs=0.15)


def where(row):
    return row.label, row.first, row.second, row.scale, row.outcome


# The training


def test_a_training_is_the_same_bit_for_bit_with_the_audit_and_without(phantoms, tmp_path):
    (_, train), (phantom, items) = phantoms
    states = []
    for handled in (False, True):
        torch.manual_seed(5)
        network = small_network()
        handlers = [audit_of(network, phantom, tmp_path)] if handled else []
        found = training(train, 3, network=network, validator=evaluator(network, items, handlers))
        found.trainer.run()
        states.append({name: part.state_dict() for name, part in found.checkpoint.items()})
    assert equal(*states)


def test_seeded_by_epoch_it_is_also_that_of_no_validation_at_all(phantoms, tmp_path):
    (_, train), (phantom, items) = phantoms
    states = {}
    for seeded in (True, False):
        for handled in (True, False):
            torch.manual_seed(5)
            network = small_network()
            own = evaluator(network, items, [audit_of(network, phantom, tmp_path)]) if handled else None
            seeds = [SeedEachEpoch()] if seeded else []
            found = training(train, 3, network=network, validator=own, handlers=seeds)
            found.trainer.run()
            states[seeded, handled] = found.network.state_dict()
    assert equal(states[True, True], states[True, False])
    assert not equal(states[False, True], states[False, False])  # any evaluation draws a number from torch


def test_states_gradients_and_modes_stay_as_they_were(audited, network, phantoms):
    _, engine = audited()
    network.train()
    network(torch.as_tensor(phantoms[0][1][0]["image"])[None].repeat(2, 1, 1, 1)).sum().backward()
    before = deepcopy(network.state_dict())
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    modes = [module.training for module in network.modules()]
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())
    engine.data_loader = list(engine.data_loader)  # a data loader's iterator draws from torch, whoever makes it
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    engine.run(1)
    assert equal(network.state_dict(), before)
    assert equal([parameter.grad for parameter in network.parameters()], gradients)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())
    network.zero_grad()
    network.eval()


# Going on


def epochs_of(handler: TrainingAudit) -> list[int]:
    return [epoch.epoch for epoch in handler.curves[""].epochs]


def test_curves_are_continued_shortened_and_begun_anew(audited, capsys):
    handler, engine = audited()
    for epoch in (1, 2, 3, 4):
        engine.run(epoch)
    handler, engine = audited()
    engine.run(3)  # resumed after epoch 2: what was recorded of epochs 3 and 4 is of another course
    assert epochs_of(handler) == [1, 2, 3]
    assert "training_curves.json after epoch 2" in capsys.readouterr().out
    engine.run(3)
    engine.run(4)
    assert epochs_of(handler) == [1, 2, 3, 4]
    handler, engine = audited(settings=replace(SETTINGS, seed=1))
    engine.run(1)  # from the beginning: other settings are no harm
    assert epochs_of(handler) == [1]
    assert "continuing" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"settings": replace(SETTINGS, seed=1)}, "settings"),
        ({"attributes": ["operator"]}, "attributes"),
        ({"interval": 2}, "interval"),
    ],
)
def test_curves_that_would_not_fit_are_refused(audited, tmp_path, changed, different):
    _, engine = audited()
    engine.run(1)
    engine.run(2)
    _, engine = audited(**changed)
    place = tmp_path / "training_curves.json"
    written = place.read_text()
    with pytest.raises(ValueError, match=rf"{place} must hold curves with the same {different} to be continued at epo"):
        engine.run(4)
    assert place.read_text() == written


def test_a_training_that_diverged_goes_on_without_an_audit(audited, capsys):
    handler, engine = audited()
    engine.run(1)
    weight = next(handler.network.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    engine.run(2)
    assert [epoch.epoch for epoch in handler.curves[""].epochs] == [1]
    assert not [name for name in engine.state.metrics if name.startswith(("scanner", "label_auroc"))]
    assert "epoch 2: not audited, the weights are not finite" in capsys.readouterr().out
    with torch.no_grad():
        weight.copy_(kept)
    engine.run(3)
    assert [epoch.epoch for epoch in handler.curves[""].epochs] == [1, 3]


def test_rows_without_an_image_are_listed_once(network, phantoms, tmp_path, capsys):
    phantom, items = phantoms[1]
    engine = evaluator(network, items[1:], [audit_of(network, phantom, tmp_path)])
    for epoch in (1, 2):
        engine.run(epoch)
    said = capsys.readouterr().out
    assert said.count("TrainingAudit: 0 images have no row in the cohort and 1 of its rows no") == 1
    assert f"unmatched.csv: {items[0]['image_id']}\n" in said
    table = pd.read_csv(tmp_path / "unmatched.csv")
    assert table.to_numpy().tolist() == [["image 1", "no image in the evaluation"]]


def test_a_file_of_something_else_is_not_overwritten(audited, tmp_path):
    (tmp_path / "training_curves.json").write_text(json.dumps({"version": 1}))
    _, engine = audited()
    with pytest.raises(ValueError, match="must hold the JSON of training curves, got other JSON"):
        engine.run(1)


# Arguments


def test_settings_are_cheap_by_default_and_can_find_something(network, phantoms, tmp_path):
    phantom = phantoms[1][0]
    assert TrainingAudit(network, phantom.cohort, tmp_path).settings == curve_settings(3)
    with pytest.raises(ValueError, match=r"interval must be at least 1, got 0\."):
        audit_of(network, phantom, tmp_path, interval=0)
    drawn = {given: audit_of(network, phantom, tmp_path, attributes=None, settings=AuditSettings(permutations=given))
             for given in (58, 59, 60)}  # fmt: skip
    # Of three attributes none could be significant with fewer than 59.
    assert [handler.settings.permutations for handler in drawn.values()] == [59, 59, 60]


def test_answers_that_cannot_be_compared_are_not_logged_as_zero(network, phantoms, tmp_path, capsys):
    phantom, items = phantoms[1]
    table = phantom.cohort.table.reset_index()[["image_id", "patient_id", "label"]]
    first = table["patient_id"].isin(table["patient_id"].unique()[:3])
    table, names = table.assign(scanner=np.where(first, "A", "B")), phantom.cohort.label_names
    cohort = Cohort.from_table(table, label="label", attributes=["scanner"], label_names=names)
    handler = TrainingAudit(network, cohort, tmp_path, settings=SETTINGS)
    engine = evaluator(network, items, [handler])
    engine.run(1)
    point = handler.curves[""].epochs[0].points["scanner"]
    assert (point.difference, point.used) == (None, False)
    assert "scanner difference not compared (p -), AUC" in capsys.readouterr().out
    assert "scanner_difference" not in engine.state.metrics
    assert engine.state.metrics["scanner_used"] == 0.0


def test_each_label_of_a_multi_label_network_has_its_own_curves(phantoms, tmp_path, rng, capsys):
    phantom, items = phantoms[1]
    table = phantom.cohort.table.reset_index()[["image_id", "patient_id", "scanner"]]
    for name, chance in (("effusion", 0.5), ("a nodule", 0.3)):
        table[name] = (rng.random(len(table)) < chance).astype(int)
    table["rare"] = 0
    names = ["effusion", "a nodule", "rare"]
    cohort = Cohort.from_table(table, findings=names, attributes=["scanner"])
    torch.manual_seed(0)
    network = DenseNet(2, 1, 3, init_features=4, growth_rate=2, block_config=(2, 2)).eval()
    handler = TrainingAudit(network, cohort, tmp_path, labels=names, settings=SETTINGS, attributes=["scanner"])
    engine = evaluator(network, items, [handler])
    engine.run(1)
    engine.run(2)
    assert set(handler.curves) == {"effusion", "a nodule"}
    folders = {"effusion": "effusion", "a nodule": "a_nodule"}
    for name, folder in folders.items():
        curves = TrainingCurves.from_json(tmp_path / folder / "training_curves.json")
        assert curves == handler.curves[name]
        assert curves.label_names == ("absent", "present")
        assert len(curves.epochs) == 2
        for key, value in numbers_of(curves).items():
            assert engine.state.metrics[f"{name}_{key}"] == value
    assert handler.curves["effusion"].epochs[0].auroc != handler.curves["a nodule"].epochs[0].auroc
    out = capsys.readouterr().out
    assert "Training audit: a nodule, epoch 2: label AUC" in out


# The bundle


@pytest.mark.slow
# MONAI warns about every config it runs; torch does about a scheduler that is loaded before the optimizer has stepped.
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_the_bundle_trains_with_an_audit_each_epoch_and_goes_on(tmp_path, capsys):
    configs = [str(BUNDLES / "planted_shortcut" / "configs" / f"{name}.json") for name in ("audit", "training_audit")]
    small = {"patients": 12, "audit_patients": 40, "curve_patients": 40, "output_dir": str(tmp_path)}
    only = {"run": ["$@train#trainer.run()"], "logging_file": False}
    run(config_file=configs, epochs=2, **small, **only)
    place = tmp_path / "training"
    saved = place / "models" / "checkpoint_epoch=2.pt"
    assert set(torch.load(saved, weights_only=True)) == {"network", "optimizer", "scheduler", "trainer"}
    first = TrainingCurves.from_json(place / "training_curves.json")
    run(config_file=configs, epochs=3, resume_from=str(saved), **small, **only)
    curves = TrainingCurves.from_json(place / "training_curves.json")
    assert [epoch.epoch for epoch in curves.epochs] == [1, 2, 3]
    assert curves.epochs[:2] == first.epochs
    assert curves.attributes == ("scanner", "annotation", "operator")
    assert (place / "training_report.html").is_file()
    events = EventAccumulator(str(place / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("scanner_difference")] == [1, 2, 3]
    # The final audit sees other images than the curves.
    parser = ConfigParser(ConfigParser.load_config_files(configs))
    parser.update({"curve_patients": 12, "audit_patients": 12})
    seen = [parser.get_parsed_content(f"{name}_phantom").seeds for name in ("train", "validation", "audit", "curve")]
    assert all(not set(one) & set(other) for one, other in combinations(seen, 2))
