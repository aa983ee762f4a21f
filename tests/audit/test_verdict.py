# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from audit_cases import ALIGNED, NOT_ALIGNED, measured

from monai_shortcut.analyses.prediction_gap import GivenOther
from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED
from monai_shortcut.audit.verdict import judge
from monai_shortcut.types import Estimate

SETTINGS = AuditSettings()  # significance 0.05, tolerance 0.1, readable 0.6


@pytest.mark.parametrize("alignment", [ALIGNED, NOT_ALIGNED, None])
@pytest.mark.parametrize(
    ("encoding_p", "high", "gap_p", "effect", "gap_high", "verdict"),
    [
        # encoded, at the very boundary; then what the predictions say
        (0.05, 0.8, 0.05, 0.1, 0.2, USED),
        (0.05, 0.55, 0.05, 0.1, 0.2, USED),
        (0.05, 0.8, 0.0501, 0.1, 0.2, INCONCLUSIVE),  # large, but perhaps chance
        (0.05, 0.8, 0.0501, 0.3, 0.4, INCONCLUSIVE),
        (0.05, 0.8, 0.001, 0.0999, 0.2, INCONCLUSIVE),  # not chance, but perhaps small
        (0.05, 0.8, 0.001, 0.0999, 0.1, INCONCLUSIVE),
        (0.05, 0.8, 0.001, 0.0999, 0.0999, NOT_USED),  # not chance, but small
        (0.05, 0.8, 0.6, 0.0, 0.0999, NOT_USED),
        (0.05, 0.8, 0.6, 0.0, 0.1, INCONCLUSIVE),
        # not encoded: never used
        (0.0501, 0.8, 0.001, 0.5, 0.6, INCONCLUSIVE),
        (0.0501, 0.5999, 0.001, 0.5, 0.6, INCONCLUSIVE),
        (0.0501, 0.5999, 0.05, 0.1, 0.1, INCONCLUSIVE),
        (0.0501, 0.5999, 0.0501, 0.5, 0.6, NOT_ENCODED),
        (0.0501, 0.5999, 0.001, 0.05, 0.0999, NOT_ENCODED),
        (0.0501, 0.5999, 0.6, 0.0, 0.05, NOT_ENCODED),
        (0.0501, 0.6, 0.6, 0.0, 0.05, INCONCLUSIVE),  # perhaps readable
        (0.0501, 0.6, 0.001, 0.05, 0.0999, INCONCLUSIVE),
    ],
)
def test_the_verdict_follows_from_the_probe_and_the_predictions(
    encoding_p, high, gap_p, effect, gap_high, verdict, alignment
):
    found, reason = judge(measured(encoding_p, high, gap_p, effect, gap_high, alignment), SETTINGS)
    assert found == verdict
    assert f"{high - 0.08:.2f} ({high - 0.16:.2f} to {high:.2f})" in reason
    if verdict in (USED, NOT_USED) or "needed" in reason:
        assert f"{effect:.2f} (-0.05 to {gap_high:.2f})" in reason


def test_a_high_alignment_with_an_unreadable_attribute_is_never_used():
    numbers = product((0.051, 0.5, 1.0), (0.5, 0.65, 0.99), (0.0001, 0.05, 0.9), (-0.1, 0.1, 0.9), (0.05, 0.1, 1.0))
    verdicts = {judge(measured(*row, ALIGNED), SETTINGS)[0] for row in numbers}
    assert verdicts == {NOT_ENCODED, INCONCLUSIVE}
    assert judge(measured(0.05, 0.65, 0.0001, 0.9, 1.0, ALIGNED), SETTINGS)[0] == USED  # readable: the same is used


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [({}, USED), ({"significance": 0.005}, NOT_ENCODED), ({"tolerance": 0.5}, NOT_USED), ({"readable": 0.5}, USED)],
)
def test_the_settings_move_the_boundaries(changed, verdict):
    settings = replace(SETTINGS, **changed)
    assert judge(measured(0.01, 0.58, 0.01, 0.3, 0.4), settings)[0] == verdict


@pytest.mark.parametrize(
    ("interval", "p_value", "other_p_value", "verdict", "said"),
    [
        ((-0.05, 0.06), 0.4, 0.01, NOT_USED, "not among images that agree in device, which it goes along with"),
        ((-0.05, 0.1), 0.4, 0.05, INCONCLUSIVE, "whether it is this or device"),
        ((0.2, 0.4), 0.01, 0.01, USED, "the output depends on it"),  # both are
        ((-1.0, 1.0), 1.0, 1.0, USED, "cannot be told apart from device"),
        ((-0.05, 0.06), 0.4, 0.3, USED, "cannot be told apart from device"),  # the other's gap vanishes too
        ((0.2, 0.4), 0.01, 0.3, USED, "the output depends on it"),
    ],
)
def test_an_attribute_that_goes_along_with_another_must_keep_its_gap_without_it(
    interval, p_value, other_p_value, verdict, said
):
    evidence = measured(0.01, 0.9, 0.01, 0.3, 0.4)
    given = GivenOther("device", 0.8, Estimate(sum(interval) / 2, *interval), p_value, other_p_value)
    found, reason = judge(replace(evidence, given=(given,)), SETTINGS)
    assert found == verdict
    assert said in reason
    assert judge(measured(0.01, 0.9, 0.6, 0.0, 0.05), SETTINGS)[0] == NOT_USED
