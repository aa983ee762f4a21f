# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import re

import pytest

from monai_shortcut.analyses.differences import SCALES
from monai_shortcut.audit import AuditSettings
from monai_shortcut.statistics.resampling import Resampling

LEAST = {
    "folds": 2,
    "repeats": 1,
    "permutations": 1,
    "erasures": 1,
    "held_out": 0,
    "bootstraps": 1,
    "seed": 0,
    "bins": 2,
    "minimum_patients": 1,
    "maximum_levels": 2,
    "min_components": 1,
    "giveaways": 0,
}


def test_the_defaults_are_those_of_the_method():
    settings = AuditSettings()
    assert isinstance(settings, Resampling)
    assert (settings.significance, settings.tolerance, settings.readable) == (0.05, 0.1, 0.6)
    assert (settings.folds, settings.permutations, settings.bootstraps, settings.confidence) == (5, 999, 999, 0.95)
    assert (settings.correction, settings.edges, settings.associated) == ("holm", {}, 0.2)


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_a_number_of_things_is_an_integer_in_its_range(name, least):
    assert getattr(AuditSettings(**{name: least}), name) == least
    for wrong in (least - 1, float(least), str(least), True, None):
        message = f"{name} must be an integer of at least {least}, got {wrong!r}."
        with pytest.raises(ValueError, match=re.escape(message)):
            AuditSettings(**{name: wrong})


@pytest.mark.parametrize(
    ("name", "inside", "outside", "range_"),
    [
        ("significance", (1e-9, 0.5), (0.0, -0.1, 0.51, float("nan")), "above 0 and at most 0.5"),
        ("variance", (1e-9, 1.0, 1), (0.0, -1.0, 1.01, float("nan")), "above 0 and at most 1"),
        ("tolerance", (0.0, 1.0), (-1e-9, 1.01, float("nan")), "between 0 and 1"),
        ("decision_tolerance", (0.0, 1.0), (-1e-9, 1.01, float("nan")), "between 0 and 1"),
        ("rank_tolerance", (0.0, 1.0), (-1e-9, 1.01, float("nan")), "between 0 and 1"),
        ("alike", (0.0, 1.0), (-1e-9, 1.01, float("nan")), "between 0 and 1"),
        ("readable", (0.5, 1.0), (0.49, 1.01, float("nan")), "between 0.5 and 1"),
        ("associated", (0.0, 1.0), (-1e-9, 1.01, float("nan")), "between 0 and 1"),
    ],
)
def test_shares_lie_in_their_range(name, inside, outside, range_):
    for value in inside:
        assert getattr(AuditSettings(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(ValueError, match=re.escape(f"{name} must be {range_}, got {value}.")):
            AuditSettings(**{name: value})


@pytest.mark.parametrize("wrong", [0.0, 1.0, 95, "0.95"])
def test_the_confidence_is_checked_as_that_of_the_resampling(wrong):
    with pytest.raises(ValueError, match=re.escape(f"confidence must be a number between 0 and 1, got {wrong!r}.")):
        AuditSettings(confidence=wrong)


def test_a_correction_that_does_not_exist_is_refused():
    assert AuditSettings(correction="fdr").correction == "fdr"
    with pytest.raises(ValueError, match=r"correction must be one of holm, fdr, got 'bonferroni'\."):
        AuditSettings(correction="bonferroni")


def test_edges_are_numbers_that_ascend():
    assert AuditSettings(edges={"age": [40, 60], "none": []}).edges == {"age": (40.0, 60.0), "none": ()}
    for wrong in ([60, 40], [40, 40], [40, float("inf")], [float("nan")]):
        message = f"edges of age must be finite and ascend, got {list(map(float, wrong))}."
        with pytest.raises(ValueError, match=re.escape(message)):
            AuditSettings(edges={"age": wrong})


def test_tolerances_are_by_scale_and_those_of_a_label_come_first():
    settings = AuditSettings(tolerance=0.2, odds_tolerance=3.0, tolerances={"ill": {"decision": 0.05, "odds": 1.5}})
    told = {(label, scale): settings.tolerated(label, scale) for label in ("well", "ill") for scale in SCALES}
    assert told == {
        ("well", "probability"): 0.2,
        ("well", "decision"): 0.1,
        ("well", "rank"): 0.1,
        ("well", "odds"): math.log(3),
        ("ill", "probability"): 0.2,
        ("ill", "decision"): 0.05,
        ("ill", "rank"): 0.1,
        ("ill", "odds"): math.log(1.5),
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"odds_tolerance": 0.9}, "odds_tolerance must be finite and at least 1, got 0.9."),
        ({"odds_tolerance": float("inf")}, "odds_tolerance must be finite and at least 1, got inf."),
        ({"threshold": 1.0}, "threshold must be between 0 and 1, got 1.0."),
        (
            {"tolerances": {"ill": {"logit": 0.1}}},
            "tolerances of ill must be by probability, decision, rank, odds, got 'logit'.",
        ),
        ({"tolerances": {"ill": {"rank": 1.5}}}, "tolerances of ill by rank must be between 0 and 1, got 1.5."),
        ({"tolerances": {"ill": {"odds": 0.5}}}, "tolerances of ill by odds must be between 1 and inf, got 0.5."),
    ],
)
def test_tolerances_and_thresholds_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        AuditSettings(**given)


@pytest.mark.parametrize(("tests", "permutations"), [(1, 99), (5, 99), (6, 119), (11, 219), (100, 1999)])
def test_there_are_as_many_permutations_as_one_of_many_tests_needs(tests, permutations):
    """1 / (B + 1) times the number of tests must be able to be significant."""
    able = AuditSettings(permutations=99).able(tests)
    assert able.permutations == permutations
    assert tests / (able.permutations + 1) <= 0.05
    assert able.permutations == 99 or tests / able.permutations > 0.05  # and no more


def test_lists_from_json_become_what_they_are():
    assert AuditSettings(adjust_for=["size"]).adjust_for == ("size",)


def test_maps_are_among_those_there_are():
    assert AuditSettings().embedding_maps == ("pca",)
    assert AuditSettings(embedding_maps=["tsne", "umap"]).embedding_maps == ("tsne", "umap")
    for wrong in (("isomap",), "pca"):
        with pytest.raises(
            ValueError, match=re.escape(f"embedding_maps must be some of pca, tsne, umap, got {wrong!r}.")
        ):
            AuditSettings(embedding_maps=wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"readable": 5}, "readable must be between 0.5 and 1, got 5"),
        ({"readable": True}, "readable must be between 0.5 and 1, got True"),
        ({"tolerance": -1}, "tolerance must be between 0 and 1, got -1"),
        ({"tolerance": "0.1"}, "tolerance must be between 0 and 1, got '0.1'"),
        ({"alike": float("nan")}, "alike must be between 0 and 1, got nan"),
        ({"significance": "0.05"}, "significance must be above 0 and at most 0.5, got '0.05'"),
        ({"confidence": 0.0}, "confidence must be a number between 0 and 1, got 0.0"),
        ({"confidence": 0.5}, "confidence must be above 0.5, for limits on one side too, got 0.5"),
        ({"bootstraps": 0}, "bootstraps must be an integer of at least 1, got 0"),
        ({"odds_tolerance": "2"}, "odds_tolerance must be finite and at least 1, got '2'"),
        ({"threshold": "0.5"}, "threshold must be between 0 and 1, got '0.5'"),
        ({"adjust_for": "sex"}, "adjust_for must be a list of names, got 'sex'"),
        ({"edges": [40.0]}, r"edges must be lists of numbers by attribute, got \[40.0\]"),
        ({"edges": {"age": 40}}, "edges of age must be a list of numbers, got 40"),
        ({"edges": {"age": "45"}}, "edges of age must be a list of numbers, got '45'"),
        ({"edges": {"age": [None]}}, "edges of age must be a list of numbers"),
        ({"tolerances": 0.1}, "tolerances must be numbers by label and scale, got 0.1"),
        ({"tolerances": {"yes": 0.1}}, "tolerances of yes must be by .*, got 0.1"),
        (
            {"tolerances": {"yes": {"probability": "a"}}},
            "tolerances of yes by probability must be between 0 and 1, got 'a'",
        ),
        (
            {"tolerances": {"yes": {"odds": float("inf")}}},
            "tolerances of yes by odds must be between 1 and inf, got inf",
        ),
        ({"maximum_levels": 2.5}, "maximum_levels must be an integer of at least 2, got 2.5"),
    ],
)
def test_every_setting_has_a_range(given, message):
    with pytest.raises(ValueError, match=message):
        AuditSettings(**given)


def test_settings_about_some_attributes_keep_their_edges_only():
    settings = AuditSettings(edges={"age": (40.0,), "dose": (1.0, 2.0)})
    assert settings.about(["age", "sex"]).edges == {"age": (40.0,)}
    assert settings.about(["age", "dose"]) is settings
