# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset

from monai_shortcut.analyses.embedding_moves import ANOTHER
from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import ShortcutAudit, masked_rows
from monai_shortcut.handlers.masked_rows import MaskedRows
from monai_shortcut.handlers.shortcut_audit import ROI_STRATEGIES
from monai_shortcut.handlers.tasks import CohortMatcher
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.fetal_planes import draw_phantom
from monai_shortcut.statistics.cosines import row_cosines
from monai_shortcut.transforms import MaskROI

SETTINGS = AuditSettings(permutations=9, bootstraps=19, minimum_patients=2, repeats=1, erasures=9, held_out=0)


@pytest.fixture(scope="module")
def phantom():
    return draw_phantom(patients=12, strength=0.0, seed=0, images_per_patient=2, size=32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SonoNet(2, 1, 4, width=4).eval()


def audited(network, phantom, items=None, cohort=None, **options) -> ShortcutAudit:
    handler = ShortcutAudit(
        network, cohort or phantom.cohort, None, roi_key="roi", settings=SETTINGS, attributes=["scanner"], **options
    )
    engine = Engine(lambda _, batch: network(batch["image"]))
    handler.attach(engine)
    with torch.no_grad():
        engine.run(DataLoader(Dataset(phantom.datalist() if items is None else items), batch_size=7))
    return handler


def read_by_head(network, images) -> np.ndarray:
    """The embeddings, by the layers themselves."""
    with torch.no_grad():
        features = network.features(torch.as_tensor(np.stack(images)))
        return network.adaptation[:3](features).mean(dim=(2, 3)).double().numpy()


def test_cosines_are_those_of_images_masked_by_hand(network, phantom):
    items = phantom.datalist()
    found = audited(network, phantom).audit.moves
    full = read_by_head(network, [item["image"] for item in items])
    for strategy in ROI_STRATEGIES:
        images = [np.asarray(MaskROI(strategy)(item["image"], item["roi"])) for item in items]
        masked = read_by_head(network, images)
        one = found.get(strategy)
        assert one.mean.value == pytest.approx(row_cosines(full, masked).mean(), abs=1e-5)
        centred = row_cosines(full, masked, full.mean(axis=0))
        assert one.centred.value == pytest.approx(centred.mean(), abs=1e-4)
    assert found.get(ANOTHER).patients == 12
    assert (found.images, found.of) == (24, 24)


def test_an_image_without_a_region_has_no_masked_embedding(network, phantom):
    items = [dict(item) for item in phantom.datalist()]
    items[5]["roi"] = np.zeros_like(items[5]["roi"])
    found = audited(network, phantom, items).audit
    assert (found.moves.get("roi_only").images, found.moves.images) == (23, 23)
    assert {len(points) for points in found.maps.maps[0].points.values()} == {23}


def test_images_may_come_in_any_order_and_again(network, phantom):
    items = phantom.datalist()
    first = audited(network, phantom).audit
    again = audited(network, phantom, items[::-1] + items[:3]).audit
    assert [one.mean.value for one in again.moves.cosines] == pytest.approx(
        [one.mean.value for one in first.moves.cosines], abs=1e-6
    )
    assert again.maps.labels == first.maps.labels


def test_it_can_be_turned_off(network, phantom):
    found = audited(network, phantom, masked_embeddings=False).audit
    assert (found.moves, found.maps) == (None, None)
    assert {score.evaluated_on for score in found.regions.scores} == {"full", *ROI_STRATEGIES}


def test_folds_of_the_cohort_colour_the_map(network, phantom):
    found = audited(network, phantom, cohort=phantom.cohort.with_folds(2, 0)).audit
    assert set(found.maps.colours["fold"]) == {"0", "1"}


def test_a_second_run_forgets_the_first(network, phantom):
    handler = audited(deepcopy(network), phantom)
    first = handler.audit.moves
    handler._clear()
    assert handler._rows().rows == {}
    assert first.images == 24


def matcher(images: int, prefix: str = "image") -> CohortMatcher:
    """Two images a patient."""
    rows = range(images)
    names = [f"{prefix}{row:02}" for row in rows]
    table = {"image_id": names, "patient_id": [row // 2 for row in rows], "label": [row % 2 for row in rows]}
    return CohortMatcher(Cohort.from_table(pd.DataFrame(table)))


def test_patients_are_drawn_whole_where_the_memory_has_no_room_for_all(monkeypatch, rng):
    monkeypatch.setattr(masked_rows, "_NUMBERS", 2 * 5 * 7)  # 7 images of 5 numbers under 2 strategies
    own = matcher(40)
    names = list(own.cohort.image_ids)
    points = {strategy: rng.normal(size=(40, 5)) for strategy in ("roi_only", "without_roi")}
    kept = []
    for order in (np.arange(40), rng.permutation(40)):
        rows = MaskedRows({"": own}, points, seed=1)
        for strategy, values in points.items():
            rows.add(strategy, [names[row] for row in order], values[order])
        found = rows.of(own, names)
        assert len(found.rows) == 6
        assert len({row // 2 for row in found.rows.tolist()}) == 3
        for strategy, values in points.items():
            np.testing.assert_allclose(found.points[strategy], values[found.rows], rtol=1e-6)
        kept.append(found.rows.tolist())
    assert kept[0] == kept[1]
    assert MaskedRows({"": own}, points, seed=2)._choose(5) != MaskedRows({"": own}, points, seed=1)._choose(5)


def test_images_that_no_cohort_knows_are_not_kept(rng):
    rows = MaskedRows({"": matcher(4)}, ["roi_only"], seed=0)
    rows.add("roi_only", ["stranger", "image01"], rng.normal(size=(2, 3)))
    assert list(rows.rows) == ["image01"]
    assert rows.of(matcher(4), ["image00"]) is None


def test_labels_with_cohorts_of_their_own_share_what_is_kept(rng):
    first, second = matcher(4), matcher(6, "other")
    rows = MaskedRows({"a": first, "b": second}, ["roi_only"], seed=0)
    rows.add("roi_only", ["image01", "other05"], rng.normal(size=(2, 3)))
    assert rows.of(first, first.cohort.image_ids).rows.tolist() == [1]
    assert rows.of(second, second.cohort.image_ids).rows.tolist() == [5]


def test_strategies_are_told_apart_where_one_could_not_be_applied(rng):
    rows, points = MaskedRows({"": matcher(4)}, ["roi_only", "shifted_roi"], seed=0), rng.normal(size=(2, 3))
    rows.add("roi_only", ["image00", "image01"], points)
    rows.add("shifted_roi", ["image01"], points[:1])
    found = rows.of(matcher(4), ["image00", "image01"])
    assert np.isnan(found.points["shifted_roi"]).all(axis=1).tolist() == [True, False]
