# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import ScaleIntensity
from torch import nn

from monai_shortcut.attribution import Answers, Attribution, AttributionSettings, attribution, region_parts
from monai_shortcut.attribution.measure import NO_REGION, place_of
from monai_shortcut.audit import AuditSettings
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.handlers.explaining import KeptImages, checked_settings
from monai_shortcut.handlers.tasks import CohortMatcher
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.fetal_planes import draw_phantom
from monai_shortcut.storage.records import encode

SETTINGS = AuditSettings(permutations=19, bootstraps=19, minimum_patients=2, repeats=1, erasures=2, held_out=0)
LOOK = AttributionSettings(methods=("regional_shapley",), fills=(0.0,), images=16, curve_steps=2, checked_images=2)


@pytest.fixture(scope="module")
def phantom():
    return draw_phantom(patients=20, strength=0.0, seed=0, images_per_patient=2, size=32)


def network_of(items, outputs=4) -> nn.Module:
    torch.manual_seed(1)
    network = SonoNet(2, 1, outputs, width=4)
    network.train()(torch.as_tensor(np.stack([item["image"] for item in items])))
    return network.eval()


def audited(items, network, cohort, folder, **options) -> ShortcutAudit:
    handler = ShortcutAudit(
        network, cohort, folder, settings=SETTINGS, attributes=["scanner"], strategies=(), **options
    )
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"), val_data_loader=DataLoader(Dataset(items), batch_size=16), network=network
    )
    handler.attach(evaluator)
    evaluator.run()
    return handler


def untimed(found: Attribution) -> Attribution:
    return replace(found, methods=tuple(replace(one, seconds=0.0) for one in found.methods))


def test_the_audit_explains_the_first_images_by_their_pixels(phantom, tmp_path):
    items, cohort = phantom.datalist(), phantom.cohort
    network = network_of(items)
    handler = audited(items, network, cohort, tmp_path, roi_key="roi", attribution=LOOK)
    places = [place_of(torch.as_tensor(item["image"])) for item in items]
    rows = []
    for label in range(4):
        rows += sorted(np.flatnonzero(cohort.labels == label), key=lambda row: places[row])[:4]
    rows.sort(key=lambda row: places[row])
    scanner = np.asarray(cohort.values("scanner"))[rows]
    expected = attribution(
        Answers(network),
        [torch.as_tensor(items[row]["image"]) for row in rows],
        [torch.as_tensor(items[row]["roi"]) for row in rows],
        cohort.labels[rows],
        [str(cohort.patients[row]) for row in rows],
        label_names=cohort.label_names,
        image_ids=[cohort.image_ids[row] for row in rows],
        attributes={"scanner": (np.unique(scanner, return_inverse=True)[1], np.unique(scanner).tolist())},
        settings=LOOK,
        draws=SETTINGS,
    )
    assert handler.audit.attribution.images == 16
    assert untimed(handler.audit.attribution) == untimed(expected)
    assert "Where it looks" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert handler.timings.seconds["attribution"] > 0


def test_neither_names_nor_the_order_move_what_is_explained(phantom, rng):
    items, cohort = phantom.datalist(), phantom.cohort
    network = network_of(items)
    looks = {"roi_key": "roi", "attribution": replace(LOOK, images=8)}
    whole = audited(items, network, cohort, None, **looks).audit.attribution
    new = {image: f"x{number}" for image, number in zip(cohort.image_ids, rng.permutation(40), strict=True)}
    table = cohort.table.assign(patient_id="q" + cohort.table["patient_id"].str[::-1]).rename(index=new)
    renamed = replace(cohort, table=table.sample(frac=1, random_state=1))
    shuffled = [items[row] | {"image_id": new[items[row]["image_id"]]} for row in rng.permutation(40)]
    other = audited(shuffled, network, renamed, None, **looks).audit.attribution
    back = {name: image for image, name in new.items()}
    panels = tuple(replace(panel, image_id=back[panel.image_id]) for panel in other.panels)
    masked = tuple(replace(panel, image_id=back[panel.image_id]) for panel in other.masked)
    assert [panel.image_id for panel in panels] == [panel.image_id for panel in whole.panels] != []
    assert leaves(encode(untimed(replace(other, panels=panels, masked=masked)))) == pytest.approx(
        leaves(encode(untimed(whole))), abs=1e-5
    )


def leaves(found):
    """Numbers of plain values, in order."""
    if isinstance(found, dict | list):
        return [leaf for item in (found.values() if isinstance(found, dict) else found) for leaf in leaves(item)]
    return [found] if isinstance(found, int | float) else []


def test_an_image_that_comes_again_is_kept_once(phantom):
    kept = KeptImages({"": CohortMatcher(phantom.cohort)}, replace(LOOK, images=4))
    item = phantom.datalist()[0]
    for grey in (0.5, 1.0):
        kept.look([item["image_id"]], torch.as_tensor(item["image"])[None] * grey + grey, item["roi"][None])
    ((places),) = kept._chosen.values()
    assert [place[1:] for place in places.values()] == [(item["image_id"], item["image_id"])]
    assert len(kept._pixels) == 1


def test_hidden_pixels_are_seen_after_the_last_step_of_the_preparation(phantom):
    items, cohort = phantom.datalist(), phantom.cohort
    network = network_of(items)
    for item in items:
        item["image"] = ScaleIntensity()(item["image"])
    look = replace(LOOK, images=4)
    handler = audited(items, network, cohort, None, roi_key="roi", attribution=look, after_masking=ScaleIntensity())
    kept = [cohort.image_ids.index(panel.image_id) for panel in handler.audit.attribution.panels]
    for row, panel in zip(kept, handler.audit.attribution.panels, strict=True):
        shares = slow_shares(network, torch.as_tensor(items[row]["image"]), items[row]["roi"], cohort.labels[row])
        assert panel.shares["regional_shapley, 0"] == pytest.approx(shares, abs=1e-4)
    plain = audited(items, network, cohort, None, roi_key="roi", attribution=look)
    assert plain.audit.attribution.panels[0].shares != handler.audit.attribution.panels[0].shares


def slow_shares(network, image, roi, label):
    """Mean gain of each part over all orders of appearance, black elsewhere and scaled anew: shares of the absolute."""
    parts = region_parts(torch.as_tensor(roi)[None] != 0)[0]
    gains = np.zeros(3)
    for order in itertools.permutations(range(3)):
        before = answer(network, torch.zeros_like(image), label)
        for place, part in enumerate(order, 1):
            shown = torch.where(torch.isin(parts, torch.tensor(order[:place])), image, 0)
            after = answer(network, shown, label)
            gains[part] += (after - before) / 6
            before = after
    return (np.abs(gains) / np.abs(gains).sum()).tolist()


def answer(network, image, label):
    with torch.no_grad():
        logits = network(torch.as_tensor(ScaleIntensity()(image)).as_tensor()[None])[0].double()
    return float(logits[label] - (logits.sum() - logits[label]) / (len(logits) - 1))


def test_without_regions_it_is_not_computed_and_unasked_it_is_not_there(phantom):
    items = phantom.datalist()
    network = network_of(items)
    handler = audited(items, network, phantom.cohort, None, attribution=True)
    assert handler.audit.attribution.not_computed == {"all": NO_REGION}
    assert audited(items, network, phantom.cohort, None, roi_key="roi").audit.attribution is None


def test_each_finding_of_a_multi_label_network_has_its_own(phantom, tmp_path):
    items = phantom.datalist()
    network = network_of(items, 2)
    rng = np.random.default_rng(0)
    table = phantom.cohort.table.assign(first=rng.integers(2, size=40), second=rng.integers(2, size=40))
    table.drop(columns="label").to_csv(tmp_path / "table.csv")
    handler = audited(
        items, network, tmp_path / "table.csv", None, roi_key="roi", attribution=LOOK, labels=["first", "second"]
    )
    looked = {name: record.attribution for name, record in handler.audits.items()}
    assert list(looked) == ["first", "second"]
    assert all(found.images == 16 for found in looked.values())
    assert {panel.image_id for panel in looked["first"].panels} != {panel.image_id for panel in looked["second"].panels}


def test_only_the_images_that_are_explained_are_kept(phantom):
    items = phantom.datalist()
    kept = KeptImages({"": CohortMatcher(phantom.cohort)}, replace(LOOK, images=4))
    for first in range(0, 40, 8):
        batch = items[first : first + 8]
        names = (
            [item["image_id"] for item in batch] if first else ["stranger", *(item["image_id"] for item in batch[1:])]
        )
        kept.look(names, torch.as_tensor(np.stack([i["image"] for i in batch])), np.stack([i["roi"] for i in batch]))
    assert len(kept._pixels) == 4
    before = dict(kept._pixels)
    kept.unite()
    assert list(kept._pixels) == list(before)


def test_what_is_asked_must_be_true_false_or_settings():
    assert checked_settings(False) is None
    assert checked_settings("False") is None
    assert checked_settings(True) == checked_settings("true") == AttributionSettings()
    assert checked_settings(LOOK) is LOOK
    with pytest.raises(ValueError, match="attribution must be true, false or AttributionSettings, got 'yes'"):
        checked_settings("yes")
    with pytest.raises(ValueError, match="methods must be among regional_shapley"):
        checked_settings(AttributionSettings(methods=("lime",)))
