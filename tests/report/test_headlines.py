# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from difference_cases import LEVELS, bare, compared, found, row, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_shortcut.analyses.sample import Sample
from monai_shortcut.analyses.subgroups import LevelScore, SubgroupGaps
from monai_shortcut.audit.answers import Answers
from monai_shortcut.audit.leading import size
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED, VERDICTS, Company
from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.report.headlines import BELOW, CAUTION, KINDS, OPEN, UNMEASURED, UNSEEN, Amount, headlines
from monai_shortcut.types import Estimate


def headline(finding, **settings):
    (one,) = headlines(bare(finding, **settings))
    return one


# Sizes


@pytest.mark.parametrize(
    ("value", "half", "limit", "text", "limit_text"),
    [
        (0.08, 0.05, 0.1, "8 points (3 to 13)", "10 points"),
        (-0.08, 0.05, 0.1, "8 points (3 to 13)", "10 points"),  # a size has no sign
        (0.02, 0.05, 0.1, "2 points (0 to 7)", "10 points"),
        (-0.001, 0.009, 0.1, "0 points (0 to 1)", "10 points"),  # nor has zero
        (0.05, 0.048, 0.1, "5.0 points (0.2 to 9.8)", "10 points"),  # 10 would be the limit, which it is not
        (0.05, 0.0499, 0.1, "5.00 points (0.01 to 9.99)", "10 points"),
        (0.0, 1.0, 0.1, "not measurable", "10 points"),
        (0.5, 0.5, 0.125, "not measurable", "12.5 points"),
    ],
)
def test_a_size_is_in_points_with_the_digits_that_tell_it_from_the_limit(value, half, limit, text, limit_text):
    found = Amount.of(row(value, half), limit)
    assert (found.text, found.limit_text) == (text, limit_text)


def test_areas_and_odds_keep_their_units():
    area = Amount.of(row(-0.25, 0.125, scale="rank"), 0.1)
    assert (area.text, area.limit_text) == ("0.25 (0.12 to 0.38)", "0.1")
    odds = Amount.of(row(-math.log(4), math.log(2), scale="odds", outcome=1), math.log(2))
    assert (area.named, odds.named) == ("AUC by 0.25 (0.12 to 0.38)", "odds by a factor of 4.0 (2.0 to 8.0)")
    assert Amount.of(row(0.0, 1.0, scale="rank"), 0.1).named == "not measurable"
    assert (odds.text, odds.limit_text) == ("4.0 (2.0 to 8.0)", "a factor of 2")


# Words of each verdict


def test_what_is_used_is_a_caution_with_size_limits_and_evidence():
    one = headline(found("scanner", shown(row(0.3, certain=0.15), differences_p_value=0.0004)))
    assert (one.kind, one.verdict) == (CAUTION, "predictions differ, above your limit")
    assert one.lead == "Caution: predictions differ by scanner."
    assert one.said == (
        "For images labelled benign, the probability of malignant shifts by 30 points (18 to 42) between A and B."
    )
    assert one.certainty == "Clear evidence (adjusted p < 0.001); above your limit of 10 points."
    assert (one.amount, one.point) == ("30 points (18 to 42)", "")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scale": "decision"}, "the share called malignant shifts by 30 points (18 to 42) between A and B."),
        ({"scale": "rank", "label": 1}, "the AUC shifts by 0.30 (0.17 to 0.42) between A and B."),
        ({"within": ("scanner", 2)}, "30 points (18 to 42) between A and B, where scanner is C."),
    ],
)
def test_the_sentence_names_what_shifts_where(changed, words):
    one = headline(found("scanner", shown(row(0.3, certain=0.15, **changed))))
    assert one.said.endswith(words)
    assert one.said.startswith(f"For images labelled {'malignant' if changed.get('label') else 'benign'}, ")


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("decision", "30 points (18 to 42) of the answers change class between A and B."),
        ("probability", "30 points (18 to 42) of the probability move to other classes between A and B."),
        ("odds", "the odds of malignant change by a factor of 1.3 (1.2 to 1.5) between A and B."),
    ],
)
def test_of_several_classes_it_is_said_how_much_moves(scale, words):
    record = bare(found("scanner", shown(row(0.3, certain=0.15, scale=scale, outcome=1 if scale == "odds" else None))))
    (one,) = headlines(replace(record, label_names=(*record.label_names, "normal")))
    assert one.said.endswith(f", {words}")


EACH = " Limits are of all movement among classes and may reach 0; the test looks at each class"


def test_of_several_classes_limits_that_reach_zero_beside_a_small_p_are_explained():
    moved = found("scanner", shown(row(0.06, 0.08, p_value=0.004), differences_p_value=0.004), INCONCLUSIVE)
    record = replace(bare(moved), label_names=("benign", "malignant", "normal"))
    (one,) = headlines(record)
    assert one.amount == "6 points (0 to 14)"
    assert one.certainty.endswith(f"is open.{EACH}.")
    assert EACH not in headline(moved).certainty  # of two classes there is one movement
    certain = found("scanner", shown(row(0.3, 0.1), differences_p_value=0.004))
    assert EACH not in headlines(replace(record, findings=(certain,)))[0].certainty


def test_the_class_that_moves_for_certain_is_named_with_limits_of_its_own():
    """Of three classes the last gains little but for certain, at the cost of two that scatter."""
    rng, count = np.random.default_rng(0), 80
    level = np.arange(count) % 2
    last = 0.1 + 0.03 * level + rng.normal(0, 0.01, count)
    first = (1 - last) * rng.uniform(0.2, 0.8, count)
    answers = np.concatenate([np.stack([first, 1 - last - first, last], axis=1), np.full((2, 3), 1 / 3)])
    sample = Sample.of_probabilities(answers, [0] * count + [1, 2], np.arange(count + 2))  # two of other labels
    levels = attribute_levels(np.array(LEVELS)[[*level, 0, 1]], np.arange(count + 2))
    moved = found("scanner", shown(row(0.06, 0.08, p_value=0.004), differences_p_value=0.004), INCONCLUSIVE)
    names = ("benign", "malignant", "normal")
    record = replace(bare(moved), label_names=names, answers=Answers.of(sample, {"scanner": levels}, {}))
    (one,) = headlines(record)
    low, high = (last[level == place] for place in (0, 1))
    middle, error = high.mean() - low.mean(), np.sqrt(high.var(ddof=1) / 40 + low.var(ddof=1) / 40)
    size = [round(100 * (middle + way * 1.99 * error)) for way in (0, -1, 1)]
    assert one.certainty.endswith(f"{EACH}, most plainly normal by {size[0]} points ({size[1]} to {size[2]}).")
    equal = replace(record, answers=replace(record.answers, equal=record.answers.codes))
    assert headlines(equal)[0].certainty.endswith(f"{EACH}.")


def test_differences_for_certain_of_unknown_size_are_a_caution_with_the_row_that_shows_them():
    rows = [row(0.15, 0.2, p_value=0.9, scale="decision"), row(0.07, 0.02, p_value=0.007), row(0.05, 0.03, p_value=0.1)]
    one = headline(found("device", shown(*rows, differences_p_value=0.007), INCONCLUSIVE))
    assert (one.kind, one.amount) == (CAUTION, "7 points (5 to 9)")
    assert one.verdict == "predictions differ; whether above your limit is open"
    assert one.certainty == (
        "Clear evidence (adjusted p 0.007); this one is below your limit of 10 points, whether all are is open."
    )
    wide = headline(found("device", shown(row(0.08, 0.06, p_value=0.02), differences_p_value=0.02), INCONCLUSIVE))
    assert wide.certainty == "Some evidence (adjusted p 0.020); whether above your limit of 10 points is open."


def test_what_images_cannot_tell_is_open():
    one = headline(found("device", shown(row(0.15), differences_p_value=0.3), INCONCLUSIVE))
    assert (one.kind, one.verdict) == (OPEN, "open: these images cannot tell")
    assert one.certainty == "No clear evidence of a shift (adjusted p 0.300); your limit is 10 points."
    scattered = headline(found("d", shown(row(0.05), differences_p_value=0.3, spread_p_value=0.01), INCONCLUSIVE))
    assert scattered.certainty.endswith("Answers scatter more at one level (adjusted p 0.010).")


def test_a_clear_difference_below_the_limit_is_said_beside_it():
    one = headline(found("site", shown(row(0.07, 0.02, possible=0.09), differences_p_value=0.02), NOT_USED))
    assert (one.kind, one.lead) == (BELOW, "Below your limit: site.")
    assert one.verdict == "visible; effect below your limit"
    assert one.certainty == "Some evidence (adjusted p 0.020); smaller than your limit of 10 points."
    unknown = headline(found("site", shown(row(0.07, 0.02), encoding=None), UNUSED))
    assert unknown.verdict == "visible or not is unknown; effect below your limit"


def test_limits_that_reach_beyond_the_users_are_said():
    one = headline(found("site", shown(row(0.05, 0.06, possible=0.095), differences_p_value=0.3), NOT_USED))
    assert one.verdict == "visible; effect probably below your limit"
    assert one.certainty == (
        "No clear evidence of a shift (adjusted p 0.300); at most 9.5 points by a one-sided test, your limit is 10 "
        "points."
    )
    other = compared(row(0.05, 0.01), row(0.06, 0.05, label=1))  # another row is wide
    assert headline(found("site", shown(differences=other), NOT_USED)).verdict.endswith("probably below your limit")


def test_what_another_attribute_explains_is_said_to_be():
    company = Company({"scanner": 0.5}, (row(0.01),), ("scanner",), keeps=False)
    evidence = shown(row(0.3, certain=0.2), company=company)
    one = headline(found("site", evidence, NOT_USED))
    assert one.lead == "Explained by scanner: site."
    assert one.certainty == (
        "Some evidence (adjusted p 0.030); at equal levels of scanner, which goes along with it, none was found."
    )
    still = headline(found("site", evidence, INCONCLUSIVE))
    assert still.certainty.endswith("whether it is site or scanner, which goes along with it, is open.")


def test_no_trace_says_nothing_of_limits_and_does_not_hide_a_difference():
    calm = headline(found("coin", shown(row(0.3), differences_p_value=0.5), NOT_ENCODED))
    assert (calm.kind, calm.verdict) == (UNSEEN, "no readable trace in the model")
    assert calm.certainty == "A probe tells its levels apart with AUC 0.82 (0.74 to 0.90)."
    torn = headline(found("coin", shown(row(0.05, 0.04), differences_p_value=0.02), NOT_ENCODED))
    assert (torn.kind, torn.verdict) == (CAUTION, "no readable trace in the model; yet predictions differ")


def test_what_could_not_be_measured_is_said_with_its_reason():
    one = headline(found("empty", None, INCONCLUSIVE))
    assert (one.kind, one.verdict, one.amount) == (UNMEASURED, "not measurable", "-")
    assert one.certainty == "Because of empty."


def test_a_model_that_tells_no_class_is_judged_in_nothing():
    record = bare(found("device", shown(row(0.02)), INCONCLUSIVE))
    chance = tuple(replace(score, auc=Estimate(0.5, 0.4, 0.6)) for score in record.regions.scores)
    (one,) = headlines(replace(record, regions=replace(record.regions, scores=chance)))
    assert (one.kind, one.verdict) == (OPEN, "not judged")


def test_the_strongest_comes_first():
    findings = [
        found("small", shown(row(0.02, 0.01)), NOT_USED),
        found("open", shown(row(0.4, 0.5), differences_p_value=0.4), INCONCLUSIVE),
        found("shown", shown(row(0.4, 0.05, p_value=0.01), differences_p_value=0.01), INCONCLUSIVE),
        found("weak", shown(row(0.2, 0.05, certain=0.11))),
        found("strong", shown(row(0.3, 0.05, certain=0.2))),
        found("empty", None, INCONCLUSIVE),
    ]
    assert [one.name for one in headlines(bare(*findings))] == ["strong", "weak", "shown", "open", "small", "empty"]


# Where the model is wrong


def score(level, says, are, limits, patients=40, label=1):
    return LevelScore(label, level, 100, patients, None, says, are, says - are, limits)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            [score(0, 0.30, 0.29, (-0.1, 0.1)), score(1, 0.44, 0.28, (0.05, 0.3))],
            "At B it says 44 % malignant; 28 % are.",
        ),
        (
            [score(0, 0.10, 0.40, (-0.5, -0.1)), score(1, 0.44, 0.28, (0.05, 0.3))],
            "At A it says 10 % malignant; 40 % are.",
        ),
        ([score(1, 0.44, 0.28, (-0.01, 0.3))], ""),  # not for certain
        ([score(1, 0.44, 0.28, (0.05, 0.3), patients=19)], ""),
        ([score(2, 0.44, 0.28, (0.05, 0.3))], ""),  # a level that the difference is not of
        ([score(1, 0.44, 0.28, None)], ""),
    ],
)
def test_the_level_where_the_model_is_most_wrong_for_certain_is_named(scores, said):
    evidence = shown(row(0.3, certain=0.2), subgroups=SubgroupGaps(tuple(scores), None, None, None, None))
    assert headline(found("scanner", evidence)).point == said


# Words never say more than numbers


@settings(max_examples=150, deadline=None)
@given(
    verdict=st.sampled_from(VERDICTS),
    rows=st.lists(
        st.tuples(
            st.floats(-1, 1),
            st.floats(0.001, 1),
            st.sampled_from(["probability", "decision", "rank"]),
            st.floats(0.001, 1),
        ),
        min_size=1,
        max_size=4,
    ),
    p_value=st.floats(0.001, 1),
    limit=st.sampled_from([0.02, 0.1, 0.3]),
)
def test_words_say_no_more_than_the_numbers_beside_them(verdict, rows, p_value, limit):
    made = [row(value, half, scale=scale, p_value=p) for value, half, scale, p in rows]
    evidence = shown(*made, differences_p_value=p_value)
    own = {"tolerance": limit, "decision_tolerance": limit, "rank_tolerance": limit}
    one = headline(found("tag", evidence, verdict), **own)
    text = " ".join((one.verdict, one.lead, one.said, one.amount, one.certainty))
    assert one.kind in KINDS
    assert not re.search(r"-0\.?0*(?!\d)|does not matter|do not depend", text)
    if "effect below your limit" in one.verdict or "smaller than your limit" in one.certainty:
        assert all(size(each).high < limit for each in made)
    if one.certainty.endswith(f"above your limit of {Amount.of(made[0], limit).limit_text}."):
        assert verdict == USED
    if p_value <= 0.05:
        assert "No clear evidence" not in text
        assert "evidence (adjusted p" in text or one.kind == UNSEEN
    else:
        assert "Some evidence" not in text
        assert "Clear evidence" not in text
