# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from audit_cases import QUICK, simulated
from samples import images_of, levels_of

from monai_shortcut.audit import audit
from monai_shortcut.audit.power import detectable, tell_permutations
from monai_shortcut.audit.record import USED


def cohort(rng, images: int, effect: float = 0.0):
    label, code = rng.integers(2, size=(2, images))
    logit = 2 * label - 1 + effect * code + rng.normal(size=images)
    return images_of(label, points=logit[:, None], weight=np.array([[0.0], [1.0]])), code


def test_the_smallest_use_that_shows_falls_with_the_root_of_the_patients(rng):
    few, many = (
        detectable(images, {"code": levels_of(code)}, QUICK)["code"]
        for images, code in (cohort(rng, 500), cohort(rng, 8000))
    )
    for label in (0, 1):
        assert few[label][0] / many[label][0] == pytest.approx(4, rel=0.25)
        assert few[label][1] * 10 < many[label][1]


def test_more_attributes_ask_for_more(rng):
    images, code = cohort(rng, 500)
    alone = detectable(images, {"code": levels_of(code)}, QUICK)["code"][0][0]
    among = detectable(images, {"code": levels_of(code)}, QUICK, audits=20)["code"][0][0]
    assert 1.1 < among / alone < 1.6
    assert detectable(images, {"nothing": levels_of(np.where(code == 0, 0, -1))}, QUICK) == {}


def test_it_is_logged_before_the_audit(caplog):
    arguments = simulated(patients=300)
    with caplog.at_level(logging.INFO, "monai_shortcut.audit.power"):
        audit(**arguments)
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("used: smallest use")]
    assert "in class 0 (" in line
    assert "in class 1 (" in line


def test_too_few_permutations_for_the_attributes_are_said_with_the_number_needed(caplog):
    given = simulated(patients=40)
    given["attributes"] = {f"a{index}": given["attributes"]["used"] for index in range(7)}
    record = audit(**{**given, "settings": replace(given["settings"], permutations=99)})
    assert record.settings.permutations == 139
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in warned if "permutations" in line] == [
        "99 permutations cannot make one of 7 tests significant: the least that can, 139, are drawn. More, such as "
        "999, tell small p-values apart."
    ]
    caplog.clear()
    tell_permutations(99, 99, 4)
    assert caplog.records == []


@pytest.mark.slow
def test_of_a_use_as_small_as_foreseen_four_in_five_are_found():
    """The power printed against the power achieved: between 0.7 and 0.95 of 60 cohorts."""
    rng = np.random.default_rng(0)
    images, code = cohort(rng, 1000)
    wanted = min(
        QUICK.tolerance + reach for reach, _ in detectable(images, {"code": levels_of(code)}, QUICK)["code"].values()
    )
    effect = next(e for e in np.arange(0.2, 3, 0.02) if moved(e) >= wanted)
    found = 0
    for seed in range(60):
        images, code = cohort(np.random.default_rng(seed + 1), 1000, effect)
        points = np.concatenate(
            [images.points.source.points, np.random.default_rng(seed).normal(size=(1000, 1))], axis=1
        )
        record = audit(
            points,
            [[0, 0], [1.0, 0]],
            [0, 0],
            images.labels,
            [str(index) for index in range(1000)],
            {"code": code.astype(str)},
            label_names=["a", "b"],
            settings=QUICK,
        )
        found += record.finding("code").verdict == USED
    assert found >= 42  # other labels and scales find it too


def moved(effect: float) -> float:
    """Mean probability that moves in label 1."""
    logit = 1 + np.random.default_rng(5).normal(size=20000)
    return float((1 / (1 + np.exp(-logit - effect)) - 1 / (1 + np.exp(-logit))).mean())
