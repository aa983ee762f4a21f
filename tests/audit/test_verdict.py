# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from audit_cases import ALIGNED, NOT_ALIGNED, measured

from monai_shortcut.analyses.differences import Difference, Differences
from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Company, Evidence
from monai_shortcut.audit.verdict import judge
from monai_shortcut.types import Estimate, Tested

SETTINGS = AuditSettings()  # significance 0.05, readable 0.6, all tolerances 0.1 and odds 2, 20 patients to be judged
SCALES = ("probability", "decision", "rank", "odds")
NAMES = Names(("benign", "malignant"), ("A", "B", "C"), {"device": ("old", "new")})


def row(value=0.0, certain=0.0, possible=0.05, *, label=1, pair=(0, 1), scale="probability", patients=50, **more):
    limits = Estimate(value, value - 0.04, value + 0.04)
    return Difference(label, *pair, scale, limits, certain, possible, 0.2, patients, 0.5, **more)


def found(*rows: Difference, p_value: float = 0.5, encoding_p: float = 0.01, high: float = 0.8, **more) -> Evidence:
    """Evidence of some differences, whose test has a p-value, and of a probe with another."""
    patients = more.pop("patients", ((60, 50, 70), (55, 50, 80)))
    told = Differences(rows, Tested(2.0, (1.0,)), Tested(1.0, (2.0,)), (1, 0, 2), 2.5, patients)
    evidence = measured(encoding_p, high, 0.5, 0.0, 0.05)
    return replace(evidence, **{"differences": told, "differences_p_value": p_value, "spread_p_value": 0.5} | more)


def verdict(evidence: Evidence, settings: AuditSettings = SETTINGS) -> str:
    return judge(evidence, settings, NAMES).verdict


@pytest.mark.parametrize("alignment", [ALIGNED, NOT_ALIGNED, None])
@pytest.mark.parametrize(
    ("p_value", "certain", "possible", "encoding_p", "high", "expected"),
    [
        # significant and certain to exceed the tolerance: used, whatever a probe reads
        (0.05, 0.1001, 0.4, 0.01, 0.8, USED),
        (0.05, 0.1001, 0.4, 0.9, 0.55, USED),
        (0.0501, 0.1001, 0.4, 0.01, 0.8, INCONCLUSIVE),  # large, but perhaps chance
        (0.001, 0.1, 0.4, 0.01, 0.8, INCONCLUSIVE),  # not chance, but perhaps no more than the tolerance
        (0.001, 0.0, 0.1, 0.05, 0.8, INCONCLUSIVE),
        (0.001, 0.0, 0.0999, 0.05, 0.8, NOT_USED),  # not chance, but small
        (0.6, 0.0, 0.0999, 0.05, 0.55, NOT_USED),
        # no probe finds it
        (0.6, 0.0, 0.0999, 0.0501, 0.5999, NOT_ENCODED),
        (0.6, 0.0, 0.4, 0.0501, 0.5999, NOT_ENCODED),  # nothing that is not there is used
        (0.05, 0.0, 0.4, 0.0501, 0.5999, INCONCLUSIVE),  # yet answers differ
        (0.05, 0.0, 0.0999, 0.0501, 0.5999, NOT_ENCODED),
        (0.6, 0.0, 0.0999, 0.0501, 0.62, INCONCLUSIVE),  # perhaps readable: 0.607 one-sided
    ],
)
def test_the_verdict_follows_from_differences_and_probes(
    p_value, certain, possible, encoding_p, high, expected, alignment
):
    evidence = found(row(), row(0.2, certain, possible, label=0), p_value=p_value, encoding_p=encoding_p, high=high)
    assert verdict(replace(evidence, alignment=alignment)) == expected


def test_every_label_and_pair_has_to_stay_below_the_tolerance_of_its_scale():
    rows = [
        row(label=label, pair=pair, scale=scale) for label in (0, 1) for pair in ((0, 1), (1, 2)) for scale in SCALES
    ]
    assert verdict(found(*rows)) == NOT_USED
    for place, one in enumerate(rows):
        wide = [*rows[:place], replace(one, possible=0.7), *rows[place + 1 :]]
        assert verdict(found(*wide)) == INCONCLUSIVE


def test_tolerances_are_by_label_and_scale():
    rank = found(row(possible=0.15, scale="rank"))
    assert verdict(rank) == INCONCLUSIVE
    assert verdict(rank, replace(SETTINGS, rank_tolerance=0.16)) == NOT_USED
    assert verdict(rank, replace(SETTINGS, tolerances={"malignant": {"rank": 0.16}})) == NOT_USED
    assert verdict(rank, replace(SETTINGS, tolerances={"benign": {"rank": 0.16}})) == INCONCLUSIVE
    odds = found(row(), row(0.4, possible=0.69, scale="odds", outcome=1))  # ratio 1.99
    assert verdict(odds) == NOT_USED
    assert verdict(odds, replace(SETTINGS, odds_tolerance=1.9)) == INCONCLUSIVE
    assert "1.49 (1.43 to 1.55)" in judge(odds, replace(SETTINGS, odds_tolerance=1.9), NAMES).reason


def test_what_would_settle_it_is_said():
    """A variance (2.93 / 1.64 * 0.14 / 0.1)^2 times smaller than of 50 and 55 patients; near the tolerance, none."""
    wide = judge(found(row(0.0, possible=0.14)), SETTINGS, NAMES).reason
    assert "probability moves by 0.00 (-0.04 to 0.04) among images of malignant, B against A" in wide
    assert "About 320 patients each of malignant at A and at B would settle it; the smaller cell has 50." in wide
    few = row(0.1, possible=0.3, patients=30)  # by chance as large as the tolerance, and perhaps nothing
    unsure = judge(found(replace(few, estimate=Estimate(0.1, -0.1, 0.3))), SETTINGS, NAMES).reason
    assert "About 490 patients each of malignant at A and at B would settle it" in unsure
    near = judge(found(row(0.099, possible=0.2)), SETTINGS, NAMES).reason
    assert "only another tolerance settles it" in near


def test_cells_with_few_patients_are_named_and_not_spoken_of():
    small = row(0.05, possible=0.5, pair=(0, 2), patients=19)
    judged = found(row(), small, patients=((60, 50, 70), (55, 50, 19)))
    answer = judge(judged, SETTINGS, NAMES)
    assert answer.verdict == NOT_USED
    assert answer.reason.endswith("This does not speak of malignant at C (19 patients): too few.")
    assert verdict(found(row(), replace(small, estimate=Estimate(0.3, 0.01, 0.6)))) == INCONCLUSIVE  # it may differ
    assert verdict(found(row(), replace(small, estimate=Estimate(0.3, -0.01, 0.6)))) == NOT_USED
    alone = judge(found(small), SETTINGS, NAMES)
    assert alone.verdict == INCONCLUSIVE
    assert "no label has two levels of at least 20 patients each" in alone.reason
    assert verdict(found(small), replace(SETTINGS, judged_patients=19, tolerance=0.6)) == NOT_USED


def test_unequal_scatter_is_neither_use_nor_its_absence():
    answer = judge(found(row(), spread_p_value=0.05), SETTINGS, NAMES)
    assert answer.verdict == INCONCLUSIVE
    assert "among images of malignant they scatter unequally at A and C" in answer.reason
    assert verdict(found(row(), spread_p_value=0.0501)) == NOT_USED


def test_a_difference_in_part_of_the_images_is_use():
    part = row(-0.4, 0.3, 0.5, within=("device", 1))
    answer = judge(found(row(), slices=(part,)), SETTINGS, NAMES)
    assert answer.verdict == USED
    assert "among images of malignant, B against A, where device is new" in answer.reason


def test_the_words_tell_what_is_not_shown():
    answer = judge(found(row(0.3, 0.2, 0.4), p_value=0.01), SETTINGS, NAMES)
    assert answer.reason.startswith("Answers differ with it: probability moves by 0.30 (0.26 to 0.34) among")
    assert "not why: something that goes along with it and is not in the table looks the same" in answer.reason
    closer = found(row(0.3, 0.2, 0.4, label=0), row(-0.3, 0.2, 0.4, label=1), p_value=0.01)
    assert "The two classes lie closer together at B" in judge(closer, SETTINGS, NAMES).reason
    apart = found(row(-0.3, 0.2, 0.4, label=0), row(0.3, 0.2, 0.4, label=1), p_value=0.01)
    assert "The two classes lie closer together at A" in judge(apart, SETTINGS, NAMES).reason
    shifted = found(row(0.3, 0.2, 0.4, label=0), row(0.3, 0.2, 0.4, label=1), p_value=0.01)
    assert "closer" not in judge(shifted, SETTINGS, NAMES).reason


SURE, SMALL, WIDE = row(0.3, 0.2, 0.4), row(0.01, 0.0, 0.09), row(0.1, 0.0, 0.3)


@pytest.mark.parametrize(
    ("rest", "kept", "keeps", "association", "expected", "said", "shared"),
    [
        ((SURE,), ("device",), True, 0.5, USED, "also at equal levels of device", ()),  # both are
        ((SURE,), (), True, 0.9, USED, "also at equal levels of device", ()),
        ((WIDE,), (), True, 0.9, USED, "also at equal levels of device", ()),
        ((WIDE,), ("device",), True, 0.5, USED, "also at equal levels of device", ()),
        ((SMALL,), ("device",), False, 0.5, NOT_USED, "not among images that agree in device", ()),
        ((SMALL,), ("device",), False, 0.6, INCONCLUSIVE, "errors in the table would look the same", ()),
        ((WIDE,), ("device",), False, 0.5, INCONCLUSIVE, "whether it is this or device", ()),
        ((), ("device",), False, 0.5, INCONCLUSIVE, "whether it is this or device", ()),
        ((WIDE,), (), False, 0.9, USED, "cannot be told apart from device", ("device",)),
        ((), (), False, 1.0, USED, "cannot be told apart from device", ("device",)),
    ],
)
def test_an_attribute_in_company_must_keep_its_differences_without_it(
    rest, kept, keeps, association, expected, said, shared
):
    company = Company({"device": association}, rest, kept, keeps)
    answer = judge(found(row(0.3, 0.2, 0.4), p_value=0.01, company=company), SETTINGS, NAMES)
    assert (answer.verdict, answer.shared_with) == (expected, shared)
    assert said in answer.reason


def test_an_attribute_that_another_explains_comes_with_the_power_to_have_seen_more():
    company = Company({"device": 0.5}, (SMALL,), ("device",), False)
    answer = judge(found(row(0.3, 0.2, 0.4), p_value=0.01, company=company), SETTINGS, NAMES)
    assert "a difference of 0.30 in probability would have been found" in answer.reason  # 0.2 above the tolerance


def test_an_attribute_that_no_reader_finds_names_the_labels_that_have_too_few():
    evidence = found(row(), encoding_p=0.5, high=0.55)
    some = replace(evidence.encoding, by_label=(Estimate(0.5, 0.45, 0.55), None), nonlinear=Estimate(0.5, 0.4, 0.58))
    answer = judge(replace(evidence, encoding=some), SETTINGS, NAMES)
    assert answer.verdict == NOT_ENCODED
    assert "a non-linear one with 0.50 (0.40 to 0.58)" in answer.reason
    assert answer.reason.endswith("Within malignant there are too few patients to say, or one embedding.")
    for change in ({"nonlinear": Estimate(0.5, 0.38, 0.62)}, {"by_label": (Estimate(0.5, 0.38, 0.62), None)}):
        assert verdict(replace(evidence, encoding=replace(some, **change))) == INCONCLUSIVE
    labels = (Estimate(0.5, 0.38, 0.62), Estimate(0.52, 0.4, 0.64))  # the widest is named, for it keeps the answer open
    open_ = judge(replace(evidence, encoding=replace(some, by_label=labels)), SETTINGS, NAMES).reason
    assert open_.startswith("Too few images to say whether it is encoded: a linear probe")
    assert open_.endswith(", one of malignant alone with 0.52 (0.40 to 0.64).")


def test_answers_that_were_not_compared_leave_it_open_with_the_reason():
    evidence = replace(found(row()), differences=None, not_computed={"differences": "one level in each label"})
    answer = judge(evidence, SETTINGS, NAMES)
    assert answer.verdict == INCONCLUSIVE
    assert answer.reason == "Whether the answers differ with it cannot be told: one level in each label."


@pytest.mark.parametrize(
    ("changed", "expected"), [({}, USED), ({"significance": 0.005}, INCONCLUSIVE), ({"tolerance": 0.5}, NOT_USED)]
)
def test_the_settings_move_the_boundaries(changed, expected):
    evidence = found(row(0.3, 0.2, 0.4), p_value=0.01, encoding_p=0.001)
    assert verdict(evidence, replace(SETTINGS, **changed)) == expected


def test_what_is_possible_is_read_off_equal_levels_of_attributes_that_are_used():
    """What another attribute moves widens the limits, and may cancel: at its equal levels less is possible, or more."""
    wide, narrow = row(possible=0.3), row(possible=0.05)
    assert verdict(found(wide)) == INCONCLUSIVE
    assert verdict(found(wide, equal=(narrow,))) == NOT_USED
    assert verdict(found(narrow, equal=(wide,))) == INCONCLUSIVE
    for other in ({"label": 0}, {"pair": (0, 2)}, {"scale": "rank"}):  # another difference tells nothing of this one
        assert verdict(found(wide, equal=(row(possible=0.05, **other),))) == INCONCLUSIVE
    assert verdict(found(wide, equal=(replace(narrow, patients=19),))) == INCONCLUSIVE
