# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import astuple, replace
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import StatsHandler
from monai.networks.nets import DenseNet
from monai.transforms import EnsureChannelFirstd, LoadImaged, ScaleIntensity
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from torch import nn

import monai_shortcut
from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.record import Identity
from monai_shortcut.cohort import Cohort
from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.handlers import EmbeddingRecorder, MetadataProbe, ShortcutAudit, WeightSpaceCorrelation
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.handlers.masking import NO_SWAPPED
from monai_shortcut.handlers.shortcut_audit import ROI_STRATEGIES
from monai_shortcut.networks import MultiTaskClassifier, SonoNet
from monai_shortcut.phantom.fetal_planes import Phantom, draw_phantom
from monai_shortcut.regions.strategies import STRATEGIES
from monai_shortcut.report.tables import findings_table
from monai_shortcut.statistics.probes import fit_probe
from monai_shortcut.statistics.weight_space import weight_space_correlation
from monai_shortcut.transforms import MaskROI
from monai_shortcut.versions import today

KINDS = ("engine", "decollated", "collated")
HELD = {"ids": True, "pixels": True}
SETTINGS = AuditSettings(
    permutations=19, bootstraps=19, minimum_patients=2, repeats=2, erasures=9, held_out=1, privacy=HELD
)
BRIEF: dict[str, Any] = {"settings": SETTINGS, "attributes": ["scanner"]}
Items = list[dict[str, Any]]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return draw_phantom(patients=22, strength=0.0, seed=0, images_per_patient=2, size=32)


@pytest.fixture(scope="module")
def items(phantom) -> Items:
    """44 images: batches of 16 leave a last one of 12."""
    return phantom.datalist(["scanner"])


def settled(network: nn.Module, items: Items) -> nn.Module:
    """An untrained network whose normalization knows the images, so that its logits differ between them."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.as_tensor(np.stack([item["image"] for item in items])))
    return network.eval()


@pytest.fixture(scope="module")
def networks(items) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    dense = DenseNet(2, 1, 4, init_features=4, growth_rate=2, block_config=(2, 2))
    return {"sononet": settled(SonoNet(2, 1, 4, width=4), items), "densenet": settled(dense, items)}


@pytest.fixture
def sononet(networks) -> nn.Module:
    """A copy: a run that breaks leaves its hook, which must not reach the next test."""
    return deepcopy(networks["sononet"])


@pytest.fixture
def densenet(networks) -> nn.Module:
    return deepcopy(networks["densenet"])


def read_by_head(network: nn.Module, images: torch.Tensor) -> np.ndarray:
    """The embeddings, by the layers themselves."""
    with torch.no_grad():
        if isinstance(network, SonoNet):
            embeddings = network.adaptation[:3](network.features(images)).mean(dim=(2, 3))
        else:
            embeddings = network.class_layers[:-1](network.features(images))
    return embeddings.double().numpy()


def answers(network: nn.Module, images: Sequence[Any]) -> np.ndarray:
    """Predicted probabilities."""
    with torch.no_grad():
        return softmax(network(torch.as_tensor(np.stack(images))).double().numpy(), axis=1)


def run(
    kind: str,
    network: nn.Module,
    items: Items,
    *handlers: Any,
    batch_size: int = 16,
    transform: Callable[[Any], Any] | None = None,
    repeat: Callable[[Engine], None] | None = None,
) -> Engine:
    """Run a bare Ignite engine or a MONAI evaluator over the images, and perhaps again after a change."""
    loader = DataLoader(Dataset(items, transform), batch_size=batch_size)
    if kind == "engine":
        engine = Engine(lambda _, batch: network(batch["image"]))
        for handler in handlers:
            handler.attach(engine)
        start = lambda: engine.run(loader)  # noqa: E731
    else:
        engine = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=loader,
            network=network,
            val_handlers=list(handlers),
            decollate=kind == "decollated",
        )
        start = engine.run
    start()
    if repeat is not None:
        repeat(engine)
        start()
    return engine


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in network.modules())


def stacked(items: Items, key: str = "image") -> torch.Tensor:
    return torch.as_tensor(np.stack([item[key] for item in items]))


# Embeddings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["sononet", "densenet"])
def test_the_recorder_keeps_what_the_head_reads_in_order(request, items, kind, name):
    network = request.getfixturevalue(name)
    shuffled = [items[index] for index in np.random.default_rng(0).permutation(44)]
    recorder = EmbeddingRecorder(network)
    run(kind, network, shuffled, recorder)
    assert recorder.image_ids == tuple(item["image_id"] for item in shuffled)
    assert recorder.embeddings.dtype == np.float32  # as the network computes
    np.testing.assert_allclose(recorder.embeddings, read_by_head(network, stacked(shuffled)), rtol=1e-4, atol=1e-5)
    assert np.ptp(recorder.embeddings, axis=0).max() > 0.1
    with torch.no_grad():
        logits = network(stacked(shuffled)).numpy()
    head = recorder.head(torch.as_tensor(recorder.embeddings)).numpy()
    np.testing.assert_allclose(head, logits, rtol=1e-3, atol=1e-4)
    assert hooks(network) == 0


def test_embeddings_are_as_precise_as_the_network(items):
    network = settled(SonoNet(2, 1, 4, width=4), items).double()
    recorder, images = EmbeddingRecorder(network), [item | {"image": item["image"].astype(float)} for item in items]
    run("engine", network, images, recorder)
    assert recorder.embeddings.dtype == np.float64
    np.testing.assert_allclose(recorder.embeddings, read_by_head(network, stacked(images)), rtol=1e-12)


def test_an_image_that_comes_again_is_kept_once(sononet, items):
    recorder = EmbeddingRecorder(sononet)
    run("engine", sononet, items + items[:4], recorder)
    assert recorder.image_ids == tuple(item["image_id"] for item in items)
    np.testing.assert_allclose(recorder.embeddings, read_by_head(sononet, stacked(items)), rtol=1e-4, atol=1e-5)


def test_further_images_of_one_name_are_counted_and_told(sononet, phantom, items, tmp_path, capsys):
    patches = [items[k + 4] | {"image_id": items[k]["image_id"]} for k in (0, 0, 1)]
    handler = MetadataProbe(sononet, phantom.cohort, output_dir=tmp_path, settings=SETTINGS)
    run("engine", sononet, [*items, *items[:4], *patches], handler)
    names = [items[0]["image_id"], items[1]["image_id"]]
    assert handler.recorded.others == {names[0]: 2, names[1]: 1}
    told = pd.read_csv(tmp_path / "unmatched.csv").set_index("name")["problem"]
    assert set(told.index) == {f"{names[0]} (2)", f"{names[0]} (3)", f"{names[1]} (2)"}
    assert set(told) == {"another image of the same name is analysed: give patches of a file ids of their own"}
    assert "3 images have the name of another one and are left out" in capsys.readouterr().out


def test_a_named_layer_is_recorded(densenet, items):
    recorder = EmbeddingRecorder(densenet, layer="class_layers.out")
    run("decollated", densenet, items[:4], recorder)
    assert recorder.head.layer == "class_layers.out"
    with pytest.raises(ValueError, match="layer must be one of the network's modules"):
        run("engine", densenet, items[:4], EmbeddingRecorder(densenet, layer="fc"))


@pytest.mark.parametrize("kind", KINDS)
def test_names_come_from_the_files_where_the_batch_has_none(sononet, items, tmp_path, kind):
    names = ("one.png", "scan.v2.png", "three.b.nii.gz", "four.nii")
    for name, item in zip(names, items, strict=False):
        pixels = np.round(item["image"][0] * 255).astype(np.uint8)
        if name.endswith("png"):
            Image.fromarray(pixels.T).save(tmp_path / name)  # MONAI reads PNG transposed
        else:
            nib.save(nib.Nifti1Image(pixels, np.eye(4)), tmp_path / name)

    def load(data: dict[str, Any]) -> dict[str, Any]:
        return EnsureChannelFirstd("image")(LoadImaged("image")(data))

    recorder = EmbeddingRecorder(sononet)
    run(kind, sononet, [{"image": str(tmp_path / name)} for name in names], recorder, batch_size=3, transform=load)
    assert recorder.image_ids == ("one", "scan.v2", "three.b", "four")
    expected = read_by_head(sononet, torch.round(stacked(items[:4]) * 255))
    np.testing.assert_allclose(recorder.embeddings, expected, rtol=1e-3, atol=1e-3)


def test_names_may_be_numbers(sononet, items):
    recorder = EmbeddingRecorder(sononet)
    run(
        "decollated",
        sononet,
        [{"image": item["image"], "image_id": 7 * i} for i, item in enumerate(items[:3])],
        recorder,
    )
    assert recorder.image_ids == ("0", "7", "14")


def test_other_keys_serve_as_well(sononet, items):
    data = [{"image": 0 * item["image"], "scan": item["image"], "uid": item["image_id"]} for item in items[:3]]
    recorder = EmbeddingRecorder(sononet, image_key="scan", id_key="uid")
    engine = Engine(lambda _, batch: sononet(batch["scan"]))
    recorder.attach(engine)
    engine.run(DataLoader(Dataset(data), batch_size=2))
    assert recorder.image_ids == tuple(item["image_id"] for item in items[:3])
    np.testing.assert_allclose(recorder.embeddings, read_by_head(sononet, stacked(items[:3])), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"scan": torch.zeros(2, 1, 32, 32)}, r"the batch must be a dict with the key 'image', got \['scan'\]"),
        ((torch.zeros(2, 1, 32, 32), 0), "the batch must be a dict with the key 'image', got tuple"),
        ({"image": torch.zeros(2, 1, 32, 32)}, r"must have the key 'image_id', or images loaded from files, got \['im"),
    ],
)
def test_a_batch_without_what_is_needed_is_refused(sononet, batch, message):
    engine = Engine(lambda *_: None)
    EmbeddingRecorder(sononet).attach(engine)
    with pytest.raises(ValueError, match=message):
        engine.run([batch])


def test_nothing_is_made_up_for_images_the_head_did_not_read(sononet, items):
    data = DataLoader(Dataset(items[:4]), batch_size=4)
    recorder = EmbeddingRecorder(sononet)
    with pytest.raises(RuntimeError, match="an evaluator must have run with this handler attached"):
        _ = recorder.embeddings
    engine = Engine(lambda _, batch: sononet(batch["image"][:3]))
    recorder.attach(engine)
    with pytest.raises(ValueError, match="the head must read one embedding per image, got 3 for 4 images"):
        engine.run(data)
    engine = Engine(lambda *_: None)
    recorder.attach(engine)
    with pytest.raises(RuntimeError, match="must run in the forward pass to be recorded"):
        engine.run(data)


# Maps of logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_of_logits_is_recorded_cell_by_cell(sononet, items, kind):
    recorder = EmbeddingRecorder(sononet, embedding="logit_map")
    run(kind, sononet, items, recorder)
    with torch.no_grad():
        read = sononet.adaptation(sononet.features(stacked(items)))
    np.testing.assert_allclose(recorder.embeddings, read.flatten(1).numpy(), rtol=1e-4, atol=1e-4)
    assert recorder.embeddings.shape == (44, 16)
    assert recorder.head.layer == "adaptation.4"
    head = recorder.head(torch.as_tensor(recorder.embeddings)).numpy()
    np.testing.assert_allclose(head, read.mean(dim=(2, 3)).numpy(), rtol=1e-3, atol=1e-4)
    assert hooks(sononet) == 0


def test_an_audit_of_the_map_sees_the_same_probabilities(sononet, phantom, items, monkeypatch):
    monkeypatch.setattr("monai_shortcut.handlers.reports.write_report", lambda *_: "none")  # it takes seconds
    arguments = {"roi_key": "roi", "counterfactual_keys": {"scanner": "image_scanner"}, **BRIEF}
    audits = {}
    for embedding in ("pooled", "logit_map"):
        handler = ShortcutAudit(sononet, phantom.cohort, None, embedding=embedding, **arguments)
        run("decollated", sononet, items, handler, batch_size=8)
        audits[embedding] = handler
        logits = handler.head(torch.as_tensor(handler.embeddings)).numpy()
        np.testing.assert_allclose(softmax(logits, axis=1), answers(sononet, [i["image"] for i in items]), atol=1e-4)
    pooled, mapped = audits["pooled"], audits["logit_map"]
    assert (pooled.embeddings.shape[1], mapped.embeddings.shape[1]) == (16, 4 * 4)
    assert abs(pooled.embeddings - mapped.embeddings).max() > 0.1
    one, other = (handler.audit.finding("scanner") for handler in (pooled, mapped))
    observed = [finding.evidence.gap.test.observed for finding in (one, other)]  # no draw enters
    assert observed[0] == pytest.approx(observed[1], abs=1e-4)
    assert other.counterfactual.change.value == pytest.approx(one.counterfactual.change.value, abs=1e-4)
    for name in pooled.strategies:
        np.testing.assert_allclose(mapped._column(name), pooled._column(name), atol=1e-4)


def test_handlers_of_numbers_take_the_map_too(sononet, phantom, items):
    handlers = [
        kind(sononet, phantom.cohort, embedding="logit_map", **BRIEF)
        for kind in (MetadataProbe, WeightSpaceCorrelation)
    ]
    metrics = run("engine", sononet, items, *handlers).state.metrics
    assert {"scanner_probe_auroc", "scanner_wsc"} <= set(metrics)
    with torch.no_grad():
        read = sononet.adaptation(sononet.features(stacked(items))).flatten(1).numpy()
    for handler in handlers:
        np.testing.assert_allclose(handler.embeddings, read, rtol=1e-4, atol=1e-4)


def test_heads_of_a_multi_task_network_read_the_pooled_embedding_only(sononet, phantom, items, monkeypatch):
    monkeypatch.setattr("monai_shortcut.handlers.reports.write_report", lambda *_: "none")
    network = MultiTaskClassifier(sononet, {"scanner": 2}, images=stacked(items[:2])).eval()
    for embedding, heads in (("pooled", 1), ("logit_map", 0)):
        handler = ShortcutAudit(network, phantom.cohort, None, embedding=embedding, **BRIEF)
        run("engine", network, items, handler)
        assert len(handler._attribute_heads(["scanner"])) == heads
    assert handler.head.layer == "network.adaptation.4"


def test_what_is_no_map_or_not_of_one_size_is_refused(sononet, densenet, phantom, items, tmp_path):
    for build in (
        lambda: EmbeddingRecorder(sononet, embedding="map"),
        lambda: ShortcutAudit(sononet, phantom.cohort, tmp_path, embedding="map"),
        lambda: MetadataProbe(sononet, phantom.cohort, embedding="map"),
    ):
        with pytest.raises(ValueError, match=r"embedding must be one of \('pooled', 'logit_map'\), got 'map'"):
            build()
    with pytest.raises(ValueError, match="must average a map of logits of more than one cell, got none"):
        run("engine", densenet, items, EmbeddingRecorder(densenet, embedding="logit_map"))
    wide, high = (items[0] | {"image": np.resize(items[0]["image"], shape)} for shape in [(1, 32, 48), (1, 48, 32)])
    wide["image_id"] = "wide"
    message = r"all images of a run must have one size with embedding='logit_map', got \(1, 32, 48\) and \(1, 48, 32\)"
    recorder = EmbeddingRecorder(sononet, embedding="logit_map")
    with pytest.raises(ValueError, match=message):
        run("engine", sononet, [wide, high], recorder, batch_size=1)  # as many cells, but not the same ones
    run("engine", sononet, [high], recorder)  # the next run may have another size
    assert recorder.embeddings.shape == (1, 24)
    pooled = EmbeddingRecorder(sononet)
    run("engine", sononet, [wide, high], pooled, batch_size=1)
    assert pooled.embeddings.shape == (2, 16)
    handler = ShortcutAudit(
        sononet, phantom.cohort, tmp_path, embedding="logit_map", counterfactual_keys={"scanner": "other"}, **BRIEF
    )
    small = [item | {"other": item["image"][:, :16]} for item in items]
    with pytest.raises(ValueError, match=r"must have one size .*, got \(1, 32, 32\) and \(1, 16, 32\)"):
        run("engine", sononet, small, handler)


# Numbers, tables and what goes wrong


def all_handlers(network: nn.Module, cohort: Any, folder: Any, **arguments: Any) -> list[EmbeddingRecorder]:
    arguments = BRIEF | arguments
    return [
        MetadataProbe(network, cohort, output_dir=folder, **arguments),
        WeightSpaceCorrelation(network, cohort, output_dir=folder, **arguments),
        ShortcutAudit(network, cohort, folder, **arguments),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_floats_and_are_logged(densenet, phantom, items, caplog, kind):
    handlers = all_handlers(densenet, phantom.cohort, None, attributes=None)
    logging.getLogger(f"stats {kind}").addHandler(caplog.handler)  # MONAI's loggers do not propagate
    engine = run(kind, densenet, items, *handlers, StatsHandler(name=f"stats {kind}", iteration_log=False))
    ends = ("probe_auroc", "probe_p", "wsc", "own_auroc", "prediction_gap", "used")
    expected = {f"{name}_{end}" for name in phantom.cohort.attributes for end in ends}
    compared = {one.attribute for one in handlers[2].audit.findings if one.evidence.differences}
    expected |= {f"{name}_difference" for name in compared}
    assert set(engine.state.metrics) == expected
    assert {type(value) for value in engine.state.metrics.values()} == {float}
    for name, value in engine.state.metrics.items():
        assert f"{name}: {value:.4f}" in caplog.text
    for finding in handlers[2].audit.findings:
        shown = finding.evidence
        assert engine.state.metrics[f"{finding.attribute}_own_auroc"] == shown.encoding.own_auroc.value
        assert engine.state.metrics[f"{finding.attribute}_prediction_gap"] == shown.gap.effect.value


def test_a_network_that_reads_the_same_of_every_image_has_no_numbers(sononet, phantom, items, tmp_path):
    network = deepcopy(sononet)
    for part in network.features.parameters():
        part.data.zero_()
    handlers = all_handlers(network, phantom.cohort, tmp_path, attributes=["scanner"])
    assert run("engine", network, items, *handlers).state.metrics == {}
    finding = handlers[-1].audit.finding("scanner")
    assert (finding.verdict, finding.reason) == ("inconclusive", "Not computed: the embedding does not vary.")


def test_tables_hold_the_numbers_of_the_analyses(sononet, phantom, items, tmp_path):
    cohort = phantom.cohort
    probe = MetadataProbe(sononet, cohort, output_dir=tmp_path, settings=SETTINGS)
    correlation = WeightSpaceCorrelation(sononet, cohort, output_dir=tmp_path, settings=SETTINGS)
    shuffled = [items[index] for index in np.random.default_rng(0).permutation(44)]
    metrics = run("decollated", sononet, shuffled, probe, correlation).state.metrics
    assert probe.image_ids == tuple(item["image_id"] for item in shuffled)
    place = {image: row for row, image in enumerate(probe.image_ids)}
    table, labels = cohort.table, cohort.labels  # in whose order the numbers are computed
    points = probe.embeddings[[place[image] for image in cohort.image_ids]]
    weight = probe.head.weight.numpy()
    sample = Sample.of(points, weight, probe.head.bias.numpy(), labels, cohort.patients, draws=SETTINGS)
    encoded, correlated = (
        pd.read_csv(tmp_path / f"{name}.csv") for name in ("metadata_probe", "weight_space_correlation")
    )
    assert list(encoded["attribute"].unique()) == list(correlated["attribute"].unique()) == list(cohort.attributes)
    for name in cohort.attributes:
        names, codes = np.unique(table[name].to_numpy(dtype=str), return_inverse=True)
        found = encoding(sample.by(name, attribute_levels(cohort.values(name), cohort.patients, minimum_patients=2)))
        expected = {**found.metrics, "auroc": found.auroc, "own_auroc": found.own_auroc}
        rows = encoded[encoded["attribute"] == name].set_index("metric")[["value", "low", "high"]]
        assert list(rows.index) == list(expected)
        np.testing.assert_allclose(rows.to_numpy(), [astuple(estimate) for estimate in expected.values()], rtol=1e-12)
        assert metrics[f"{name}_probe_auroc"] == found.own_auroc.value
        assert metrics[f"{name}_probe_p"] == found.test.p_value
        values = weight_space_correlation(weight, fit_probe(points, codes).weight, points)
        assert metrics[f"{name}_wsc"] == pytest.approx(np.abs(values).max(), rel=1e-12)
        assert metrics[f"{name}_wsc"] > 0.05
        rows = correlated[correlated["attribute"] == name].set_index(["label", "level"])["wsc"]
        for (row, column), value in np.ndenumerate(values):
            assert rows[cohort.label_names[row], names[column]] == pytest.approx(value, rel=1e-12)
        assert len(rows) == values.size


def test_without_a_folder_no_table_is_written(sononet, phantom, items, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = run("engine", sononet, items, MetadataProbe(sononet, phantom.cohort, settings=SETTINGS)).state.metrics
    assert len(metrics) == 6
    assert list(tmp_path.iterdir()) == []


def test_a_single_logit_speaks_for_the_second_label(phantom, items, tmp_path):
    network = settled(SonoNet(2, 1, 1, width=4), items)
    table = phantom.cohort.table.assign(label=np.where(phantom.cohort.labels == 0, "head", "body")).reset_index()
    cohort = Cohort.from_table(table, label_names=["head", "body"])
    handlers = all_handlers(network, cohort, tmp_path)
    run("decollated", network, items, *handlers)
    assert set(pd.read_csv(tmp_path / "weight_space_correlation.csv")["label"]) == {"body"}
    (score,) = handlers[2].audit.regions.scores
    with torch.no_grad():
        assert score.auc.value == pytest.approx(
            roc_auc_score(cohort.labels == 1, network(stacked(items))[:, 0].numpy())
        )


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_second_run_keeps_no_number_and_no_hook_of_the_first(sononet, phantom, items, kind):
    handlers = all_handlers(sononet, phantom.cohort, None, attributes=["scanner", "annotation"])
    seen = {}

    def narrow(engine: Engine) -> None:
        seen.update(engine.state.metrics)
        engine.state.metrics["not ours"] = 0.5
        first = phantom.cohort.table["scanner"].iloc[0]
        chosen = [i for i, scanner in enumerate(phantom.cohort.table["scanner"]) if scanner == first]
        items_now[:] = [items[i] for i in chosen]

    items_now = list(items)
    engine = run(kind, sononet, items_now, *handlers, repeat=narrow)
    assert hooks(sononet) == 0
    assert any(name.startswith("scanner") for name in seen)
    left = {name for name in engine.state.metrics if not name.endswith("_difference")}
    others = {name for name in seen if not name.startswith("scanner") and not name.endswith("_difference")}
    assert left == others | {"not ours"}  # the images that are left are too few to compare answers
    assert len(handlers[0].image_ids) == len(items_now) < 44
    assert sum(handlers[2].audit.labels.values()) == len(items_now)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_run_after_one_that_broke_is_as_if_nothing_had_happened(sononet, phantom, items, kind):
    faulty = SimpleNamespace(now=True)

    def load(item: dict[str, Any]) -> dict[str, Any]:
        if faulty.now and item["image_id"] == items[20]["image_id"]:
            raise OSError("the disk is gone")
        return item

    arguments = {"roi_key": "roi", "counterfactual_keys": {"scanner": "image_scanner"}, **BRIEF}
    handler = ShortcutAudit(sononet, phantom.cohort, None, **arguments)
    with pytest.raises((OSError, RuntimeError), match=r"the disk is gone|applying transform"):
        run(kind, sononet, items, handler, transform=load)
    assert handler.audit is None
    faulty.now = False
    run(kind, sononet, items, handler, transform=load)  # in a new engine: Ignite cannot restart one that broke
    assert hooks(sononet) == 0
    fresh = ShortcutAudit(sononet, phantom.cohort, None, **arguments)
    run(kind, sononet, items, fresh)
    assert handler.audit == fresh.audit


@pytest.mark.parametrize("place", ["load", "forward", "head", "output"])
def test_a_run_that_breaks_leaves_no_hook_no_number_and_no_file(sononet, phantom, items, tmp_path, place):
    handlers = all_handlers(sononet, phantom.cohort, tmp_path, attributes=["scanner"])
    run("decollated", sononet, items, *handlers)
    before = {path: path.read_bytes() for path in tmp_path.rglob("[!.]*") if path.is_file()}

    class Breaking(nn.Module):
        """Gives way at the 21st image."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.seen = sononet, 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen += len(images)
            if place == "forward" and self.seen > 20:
                raise OSError("gone")
            return self.network(images if place != "head" or self.seen <= 20 else images[:, :, :1, :1])

    def load(item: dict[str, Any]) -> dict[str, Any]:
        if place == "load" and item["image_id"] == items[20]["image_id"]:
            raise OSError("gone")
        return item

    def output(item: dict[str, Any]) -> dict[str, Any]:
        if place == "output" and item["image_id"] == items[20]["image_id"]:
            raise OSError("gone")
        return item

    network = Breaking()
    engine = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(Dataset(items, load), batch_size=10),
        network,
        val_handlers=handlers,
        postprocessing=output,
    )
    for handler in handlers:
        handler.network = network
    with pytest.raises((OSError, RuntimeError, ValueError)):
        engine.run()
    assert hooks(network) == 0
    assert not [name for name in engine.state.metrics if name.startswith("scanner")]
    assert handlers[2].audit is None
    assert {path: path.read_bytes() for path in tmp_path.rglob("[!.]*") if path.is_file()} == before


def test_files_of_one_name_in_several_folders_are_told_apart(sononet, phantom, items, tmp_path):
    table = phantom.cohort.table.reset_index().rename(columns={"image_id": "former"})
    paths = []
    for row, item in enumerate(items):
        folder = tmp_path / "scans" / f"case{row:02d}"
        folder.mkdir(parents=True)
        np.save(folder / "image.npy", item["image"])
        paths.append(folder / "image.npy")
    table["image_id"] = [f"case{row:02d}/image" for row in range(len(items))]
    cohort = Cohort.from_table(table, attributes=["scanner"], label_names=phantom.cohort.label_names)
    load = LoadImaged("image", reader="NumpyReader", image_only=True)
    loaded = [{"image": str(path)} for path in paths]
    recorder, probe = EmbeddingRecorder(sononet), MetadataProbe(sononet, cohort, settings=SETTINGS)
    metrics = run("decollated", sononet, loaded, recorder, probe, transform=load).state.metrics
    assert recorder.image_ids == tuple(map(str, paths))
    plain = MetadataProbe(sononet, phantom.cohort, **BRIEF)
    expected = run("decollated", sononet, items, plain).state.metrics
    assert metrics["scanner_probe_auroc"] == pytest.approx(expected["scanner_probe_auroc"], abs=1e-6)
    stems = Cohort.from_table(table.assign(image_id=[*["image"], *table["former"][1:]]), attributes=["scanner"])
    with pytest.raises(ValueError, match=r"image ids must tell the images apart .* got 44 alike"):
        run("decollated", sononet, loaded, MetadataProbe(sononet, stems, settings=SETTINGS), transform=load)


def test_images_and_rows_without_a_counterpart_are_listed_and_announced(sononet, phantom, items, tmp_path, capsys):
    known = phantom.cohort.select([item["image_id"] for item in items[3:]])
    handlers = all_handlers(sononet, known, tmp_path, attributes=["scanner"])
    run("engine", sononet, items[:40], *handlers)
    table = pd.read_csv(tmp_path / "unmatched.csv").set_index("name")["problem"]
    assert table.to_dict() == {
        **{item["image_id"]: "no row in the cohort" for item in items[:3]},
        **{item["image_id"]: "no image in the evaluation" for item in items[40:]},
    }
    said = capsys.readouterr().out
    for kind in ("MetadataProbe", "WeightSpaceCorrelation", "ShortcutAudit"):
        assert f"{kind}: 3 images have no row in the cohort and 4 of its rows no image, listed in {tmp_path}" in said
    run("engine", sononet, items[3:], *all_handlers(sononet, known, tmp_path / "all", attributes=["scanner"]))
    assert not (tmp_path / "all" / "unmatched.csv").exists()
    assert "no row" not in capsys.readouterr().out


def test_images_without_a_row_are_excluded_and_counted(sononet, phantom, items):
    known = phantom.cohort.select([item["image_id"] for item in items[:40]]).exclude({items[1]["image_id"]: "blurred"})
    handlers = all_handlers(sononet, known, None)
    run("decollated", sononet, [*items[30:], *items[:30]], *handlers)
    found = handlers[2].audit
    strangers = [items[1]["image_id"], *(item["image_id"] for item in items[40:])]
    assert set(found.excluded) == set(strangers)
    assert {found.excluded[name] for name in strangers[1:]} == {"no row in the cohort"}
    assert found.excluded[strangers[0]] == "blurred"  # the reason that was known before
    assert found.unseen == ()
    assert sum(found.labels.values()) == 39
    assert all(sum(finding.levels.values()) == 39 for finding in found.findings)
    alone = all_handlers(sononet, known, None)
    run("decollated", sononet, [*items[30:40], items[0], *items[2:30]], *alone)
    numbers = [findings_table(audit).select_dtypes("number").to_numpy() for audit in (alone[2].audit, found)]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-4)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_images_of_another_cohort_are_refused(sononet, items, tmp_path, which):
    other = draw_phantom(patients=12, strength=0.0, seed=0, name="other").cohort
    handler = all_handlers(sononet, other, tmp_path)[which]
    message = r"image ids must match those of the cohort \(other_0000_0, other_.*\), got phantom_0000_0, phantom_"
    with pytest.raises(ValueError, match=message):
        run("engine", sononet, items, handler)


@pytest.mark.parametrize("place", [0, 20])
def test_an_image_with_nan_is_excluded_and_counted(sononet, phantom, items, place):
    spoiled = [dict(item) for item in items]
    spoiled[place]["image"] = spoiled[place]["image"].copy()
    spoiled[place]["image"][0, 3, 3] = np.nan
    handlers = all_handlers(sononet, phantom.cohort, None)
    metrics = run("decollated", sononet, spoiled, *handlers).state.metrics
    found = handlers[2].audit
    assert found.excluded == {items[place]["image_id"]: "embedding not finite"}
    assert sum(found.labels.values()) == 43
    clean = all_handlers(sononet, phantom.cohort, None)
    without = run("decollated", sononet, items[:place] + items[place + 1 :], *clean).state.metrics
    assert metrics == pytest.approx(without, rel=1e-6)


def test_a_network_that_gives_nan_alone_is_refused(sononet, phantom, items, tmp_path):
    spoiled = [item | {"image": np.full_like(item["image"], np.nan)} for item in items]
    for handler in all_handlers(sononet, phantom.cohort, tmp_path):
        with pytest.raises(ValueError, match="at least one embedding must be finite, got none"):
            run("engine", sononet, spoiled, handler)


def test_an_attribute_that_coincides_with_the_label_has_no_number(sononet, phantom, items):
    table = phantom.cohort.table.assign(twin=phantom.cohort.table["label"], alone="x").reset_index()
    cohort = Cohort.from_table(table, label_names=phantom.cohort.label_names)
    handlers = all_handlers(sononet, cohort, None, attributes=["twin", "alone", "scanner"])
    metrics = run("decollated", sononet, items, *handlers).state.metrics
    ends = ("probe_auroc", "probe_p", "wsc", "own_auroc", "prediction_gap", "difference", "used")
    assert set(metrics) == {f"scanner_{end}" for end in ends} | {"twin_wsc"}
    assert "coincides" in handlers[2].audit.finding("twin").reason
    assert "every image has the same value (x)" in handlers[2].audit.finding("alone").reason


def test_a_cohort_may_be_the_path_of_its_table(sononet, phantom, items, tmp_path):
    phantom.cohort.table.assign(label=phantom.cohort.labels).to_csv(tmp_path / "cohort.csv")
    given = WeightSpaceCorrelation(sononet, phantom.cohort, settings=SETTINGS)
    read = WeightSpaceCorrelation(sononet, tmp_path / "cohort.csv", settings=SETTINGS)
    metrics = run("engine", sononet, items, given).state.metrics
    assert run("engine", sononet, items, read).state.metrics == metrics


def test_what_cannot_work_is_refused_at_once(sononet, phantom, tmp_path):
    place = tmp_path / "taken"
    place.write_text("mine")
    for which in (MetadataProbe, WeightSpaceCorrelation, ShortcutAudit):
        with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*taken"):
            which(sononet, phantom.cohort, output_dir=place)
        with pytest.raises(ValueError, match=r"attributes must be among \['scanner', .*\], got \['sex'\]"):
            which(sononet, phantom.cohort, output_dir=tmp_path / "free", attributes=["scanner", "sex"])
    with pytest.raises(ValueError, match=r"counterfactual_keys must be among \['scanner'\], got \['operator'\]"):
        ShortcutAudit(
            sononet, phantom.cohort, tmp_path, attributes=["scanner"], counterfactual_keys={"operator": "image"}
        )
    with pytest.raises(ValueError, match=r"strategy must be one of full, .*, got 'upside_down'"):
        ShortcutAudit(sononet, phantom.cohort, tmp_path, roi_key="roi", strategies=["upside_down"])


def test_the_base_of_the_handlers_reports_nothing_itself(sononet, phantom, items):
    with pytest.raises(NotImplementedError):
        run("engine", sononet, items, CohortHandler(sononet, phantom.cohort))


# The audit


@pytest.mark.parametrize(("kind", "name"), [("engine", "sononet"), ("decollated", "sononet"), ("collated", "densenet")])
def test_handlers_attached_together_do_not_disturb_each_other(request, phantom, items, kind, name):
    network = request.getfixturevalue(name)
    alone = EmbeddingRecorder(network)
    run(kind, network, items, alone)
    arguments = {"roi_key": "roi", "counterfactual_keys": {"scanner": "image_scanner"}, **BRIEF}
    together = [
        ShortcutAudit(network, phantom.cohort, None, **arguments),
        MetadataProbe(network, phantom.cohort, settings=SETTINGS),
        ShortcutAudit(network, phantom.cohort, None, **arguments),
    ]
    run(kind, network, items, *together)
    for handler in together:
        np.testing.assert_array_equal(handler.embeddings, alone.embeddings)
        assert handler.image_ids == alone.image_ids
    assert together[0].audit == together[2].audit
    assert hooks(network) == 0


@pytest.mark.parametrize("after", [None, ScaleIntensity()], ids=["as it is", "rescaled"])
@pytest.mark.parametrize(("kind", "name"), [("engine", "densenet"), ("decollated", "sononet")])
def test_region_scores_are_those_of_images_masked_by_hand(request, phantom, items, kind, name, after):
    network = request.getfixturevalue(name)
    handler = ShortcutAudit(network, phantom.cohort, None, roi_key="roi", after_masking=after, examples=0, **BRIEF)
    run(kind, network, items, handler)
    labels, expected = phantom.cohort.labels, {}
    for strategy in ("full", *ROI_STRATEGIES):
        images = [
            item["image"] if strategy == "full" else MaskROI(strategy)(item["image"], item["roi"]) for item in items
        ]
        images = images if after is None or strategy == "full" else [after(image) for image in images]
        scores = answers(network, [np.asarray(image) for image in images])
        for index, label in enumerate(phantom.cohort.label_names):
            expected[label, strategy] = roc_auc_score(labels == index, scores[:, index])
    found = {(score.label, score.evaluated_on): score.auc.value for score in handler.audit.regions.scores}
    assert found == pytest.approx(expected, abs=2e-3)  # a tie in float32 may be broken
    assert len(set(found.values())) > 10
    assert {score.images for score in handler.audit.regions.scores} == {44}


def test_rescaling_after_masking_changes_what_the_model_sees(sononet, phantom, items):
    areas = []
    for after in (None, ScaleIntensity()):
        handler = ShortcutAudit(
            sononet,
            phantom.cohort,
            None,
            roi_key="roi",
            strategies=["full", "roi_only"],
            after_masking=after,
            **BRIEF,
        )
        run("engine", sononet, items, handler)
        areas.append({s.label: s.auc.value for s in handler.audit.regions.scores if s.evaluated_on == "roi_only"})
        assert {s.evaluated_on for s in handler.audit.regions.scores} == {"full", "roi_only"}
    assert areas[0] != areas[1]


def test_all_nine_strategies_are_evaluated_in_one_run(sononet, phantom, items):
    number = {str(patient): place for place, patient in enumerate(dict.fromkeys(phantom.cohort.patients))}
    own = [number[str(patient)] for patient in phantom.cohort.patients]
    others = [next(row for row, other in enumerate(own) if other == (mine + 1) % len(number)) for mine in own]
    given = [{**item, "other": items[row]["roi"]} for item, row in zip(items, others, strict=True)]
    handler = ShortcutAudit(
        sononet, phantom.cohort, None, roi_key="roi", strategies="all", swapped_key="other", examples=0, **BRIEF
    )
    run("engine", sononet, given, handler)
    scores = {(score.label, score.evaluated_on): score for score in handler.audit.regions.scores}
    assert [one for label, one in scores if label == phantom.cohort.label_names[0]] == list(STRATEGIES)
    labels = phantom.cohort.labels
    for strategy in ("swapped_roi", "silhouette"):
        mask = MaskROI(strategy)
        images = [np.asarray(mask(item["image"], item["roi"], item["other"])) for item in given]
        probabilities = answers(sononet, images)
        for index, label in enumerate(phantom.cohort.label_names):
            area = roc_auc_score(labels == index, probabilities[:, index])
            assert scores[label, strategy].auc.value == pytest.approx(area, abs=2e-3)
    assert {one.strategy for one in handler.audit.moves.cosines} == {*STRATEGIES[1:], "another patient"}


def test_without_another_patients_region_the_page_says_what_was_not_evaluated(sononet, phantom, items, tmp_path):
    strategies = ["roi_only", "swapped_roi"]
    handler = ShortcutAudit(sononet, phantom.cohort, tmp_path, roi_key="roi", strategies=strategies, **BRIEF)
    run("engine", sononet, items, handler)
    assert {score.evaluated_on for score in handler.audit.regions.scores} == {"full", "roi_only"}
    assert handler.audit.regions.untested == {"swapped_roi": NO_SWAPPED}
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert f"swapped_roi: no AUC, because {NO_SWAPPED}".replace("'", "&#39;") in page


def test_rows_of_the_cohort_that_no_image_came_for_are_counted(sononet, phantom, items, tmp_path):
    handler = ShortcutAudit(sononet, phantom.cohort, tmp_path, **BRIEF)
    run("engine", sononet, items[:40], handler)
    assert handler.audit.unseen == phantom.cohort.image_ids[40:]
    assert f"{len(items) - 40} further rows of the cohort" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_an_unusable_region_is_counted_and_its_image_stays(sononet, phantom, items, kind):
    spoiled = [dict(item) for item in items]
    for place in (0, 1, 2, 3, 9):  # the whole first batch, and one more
        spoiled[place]["roi"] = np.zeros_like(items[place]["roi"])
    spoiled[9]["roi"][0, 4, 4:6] = (1, 2)
    spoiled.append(spoiled[0] | {"image_id": "stranger"})  # not in the audit at all
    handler = ShortcutAudit(sononet, phantom.cohort, None, roi_key="roi", **BRIEF)
    run(kind, sononet, spoiled, handler, batch_size=4)
    found = handler.audit
    assert list(found.without_roi) == [items[place]["image_id"] for place in (0, 1, 2, 3, 9)]
    reasons = list(found.without_roi.values())
    assert set(reasons[:4]) == {"roi must hold at least one pixel, got an empty region."}
    assert reasons[4].startswith("roi must hold only 0 and 1 (or 0 and 255), got 0, 1, 2")
    assert found.excluded == {"stranger": "no row in the cohort"}
    assert sum(found.labels.values()) == 44
    counts = {(score.evaluated_on, score.images) for score in found.regions.scores}
    assert counts == {("full", 44), *((strategy, 39) for strategy in ROI_STRATEGIES)}
    kept = [index for index in range(44) if index not in (0, 1, 2, 3, 9)]
    scores = answers(sononet, [np.asarray(MaskROI("roi_only")(items[i]["image"], items[i]["roi"])) for i in kept])
    for index, label in enumerate(phantom.cohort.label_names):
        (area,) = [s.auc.value for s in found.regions.scores if (s.label, s.evaluated_on) == (label, "roi_only")]
        assert area == pytest.approx(roc_auc_score(phantom.cohort.labels[kept] == index, scores[:, index]), abs=2e-3)
    without = ShortcutAudit(sononet, phantom.cohort, None, **BRIEF)
    run(kind, sononet, items, without, batch_size=4)
    assert without.audit.findings == found.findings


def test_a_region_without_room_elsewhere_is_left_out_of_that_strategy_only(sononet, phantom, items):
    large = [dict(item) for item in items]
    for item in large[:5]:
        item["roi"] = np.ones_like(item["roi"])
        item["roi"][0, 0, 0] = 0
    handler = ShortcutAudit(sononet, phantom.cohort, None, roi_key="roi", **BRIEF)
    run("decollated", sononet, large, handler)
    counts = {score.evaluated_on: score.images for score in handler.audit.regions.scores}
    assert counts == {"full": 44, "shifted_roi": 39, **dict.fromkeys(set(ROI_STRATEGIES) - {"shifted_roi"}, 44)}
    assert handler.audit.without_roi == {}


def test_a_region_of_another_shape_is_counted(sononet, phantom, items):
    small = [item | {"roi": item["roi"][:, ::2, ::2]} for item in items]
    handler = ShortcutAudit(sononet, phantom.cohort, None, roi_key="roi", **BRIEF)
    run("decollated", sononet, small, handler)
    assert len(handler.audit.without_roi) == 44
    expected = "roi must have shape (1, 32, 32) to match the image, got (1, 16, 16)."
    assert set(handler.audit.without_roi.values()) == {expected}
    assert sum(handler.audit.labels.values()) == 44


@pytest.mark.parametrize("kind", KINDS[:2])
def test_counterfactuals_are_measured_on_the_same_images(sononet, phantom, items, kind):
    shuffled = [items[index] for index in np.random.default_rng(1).permutation(44)]
    handler = ShortcutAudit(
        sononet, phantom.cohort, None, counterfactual_keys={"scanner": "image_scanner"}, settings=SETTINGS
    )
    run(kind, sononet, shuffled, handler)
    first, second = (answers(sononet, [item[key] for item in shuffled]) for key in ("image", "image_scanner"))
    moved = 0.5 * np.abs(first - second).sum(axis=1)
    counterfactual = handler.audit.finding("scanner").counterfactual
    assert counterfactual.images == 44
    change = counterfactual.change
    assert change.value == pytest.approx(moved.mean(), rel=1e-4)
    assert change.value > 0.01
    assert change.low < change.value < change.high
    assert handler.audit.finding("operator").counterfactual is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"roi_key": "mask"}, r"the batch must have the key 'mask', got \['image', 'image_id', "),
        ({"counterfactual_keys": {"scanner": "other"}}, r"the batch must have the key 'other', got \['image', "),
    ],
)
def test_a_key_that_the_batch_lacks_is_refused(sononet, phantom, items, tmp_path, arguments, message):
    handler = ShortcutAudit(sononet, phantom.cohort, tmp_path, settings=SETTINGS, **arguments)
    with pytest.raises(ValueError, match=message):
        run("engine", sononet, items, handler)


def test_training_flags_are_left_as_they_were(sononet, phantom, items):
    dropped = [module for module in sononet.modules() if isinstance(module, nn.ReLU)]
    try:
        for module in dropped[::2]:
            module.train()
        before = {name: module.training for name, module in sononet.named_modules()}
        state = {name: value.clone() for name, value in sononet.state_dict().items()}
        arguments = {"roi_key": "roi", "counterfactual_keys": {"scanner": "image_scanner"}, **BRIEF}
        run("engine", sononet, items, ShortcutAudit(sononet, phantom.cohort, None, **arguments))
        assert {name: module.training for name, module in sononet.named_modules()} == before
        assert sum(before.values()) == len(dropped[::2])
        assert all(torch.equal(value, state[name]) for name, value in sononet.state_dict().items())
    finally:
        sononet.eval()


def test_the_report_is_written_and_announced(sononet, phantom, items, tmp_path, capsys, caplog):
    caplog.set_level(logging.INFO)
    folder = tmp_path / "report"
    handler = ShortcutAudit(
        sononet,
        phantom.cohort,
        folder,
        roi_key="roi",
        title="A small audit",
        unseen_patients=True,
        settings=SETTINGS,
        attributes=["operator"],
    )
    run("collated", sononet, items, handler)
    spent = handler.timings.seconds
    assert {"evaluation", "audit", "report"} <= set(spent)
    assert all(seconds > 0 for seconds in spent.values())
    assert spent["evaluation"] > spent["evaluation/masking"] + spent["evaluation/masked images"]
    assert f"ShortcutAudit: {handler.timings}" in caplog.messages
    printed = capsys.readouterr().out
    assert "A small audit" in printed
    assert f"report: {folder / 'report.html'}" in printed
    assert f"operator   {handler.audit.findings[0].verdict}" in printed
    assert pd.read_csv(folder / "findings.csv")["verdict"].tolist() == findings_table(handler.audit)["verdict"].tolist()
    assert [finding.attribute for finding in handler.audit.findings] == ["operator"]
    assert handler.audit.software["monai_shortcut"] == monai_shortcut.__version__
    assert handler.audit.software["torch"] == version("torch")
    assert handler.audit.software.keys() > {"monai", "pytorch-ignite", "numpy", "scikit-learn"}
    assert handler.audit.settings == replace(SETTINGS)
    assert handler.audit.identity == Identity("SonoNet", handler.head.layer, "", today(), True)
    assert handler.head.layer
    assert ShortcutAudit(sononet, phantom.cohort, None).title == "Shortcut audit of SonoNet"
    examples = handler.audit.examples
    assert [example.label for example in examples] == list(phantom.cohort.label_names)
    labels = phantom.cohort.table["label"]
    for example in examples:
        assert list(example.pictures) == ["full", *ROI_STRATEGIES]
        assert example.image_id == labels.index[labels == example.label][0]


def test_heads_of_a_multi_task_network_are_audited(sononet, phantom, items):
    torch.manual_seed(3)
    images = torch.as_tensor(np.stack([item["image"] for item in items[:2]]))
    network = MultiTaskClassifier(sononet, {"scanner": 2, "unknown": 3}, images).eval()
    with pytest.raises(ValueError, match=r"edges and adjust_for must be of the cohort's attributes .*: age"):
        ShortcutAudit(network, phantom.cohort, None, settings=replace(SETTINGS, edges={"age": (1.0,)}))
    handler = ShortcutAudit(network, phantom.cohort, None, settings=SETTINGS)
    run("decollated", network, items, handler)
    head, own = handler.head.weight.numpy(), network.attribute_weights()["scanner"].numpy()
    assert handler.head.layer == "network.adaptation.3"
    expected = weight_space_correlation(head, own, handler.embeddings)
    found = {finding.attribute: finding.evidence.alignment.multi_task for finding in handler.audit.findings}
    np.testing.assert_allclose(found["scanner"], expected, atol=1e-6)
    assert found["operator"] == ()
    plain = ShortcutAudit(sononet, phantom.cohort, None, settings=SETTINGS)
    run("decollated", sononet, items, plain)
    assert {f.evidence.alignment.multi_task for f in plain.audit.findings} == {()}
    assert [f.verdict for f in plain.audit.findings] == [f.verdict for f in handler.audit.findings]


def test_given_edges_cut_an_attribute_in_every_handler(sononet, phantom, items, tmp_path):
    number = np.arange(44.0)
    cohort = phantom.cohort.with_attribute("age", number, "continuous")
    settings = replace(SETTINGS, edges={"age": (30.5,)})
    for kind in (MetadataProbe, WeightSpaceCorrelation):
        handler = kind(sononet, cohort, attributes=["age"], settings=settings, output_dir=tmp_path)
        assert run("engine", sononet, items, handler).state.metrics
    table = pd.read_csv(tmp_path / "weight_space_correlation.csv")
    assert set(table["level"]) == {"<= 30.5", "> 30.5"}
