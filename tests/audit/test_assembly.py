# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from audit_cases import QUICK, simulated
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_info, threadpool_limits

from monai_shortcut.audit import Audit, AuditSettings, Finding, audit, probabilities
from monai_shortcut.audit.evidence import FAMILIES
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Evidence
from monai_shortcut.audit.wording import summary
from monai_shortcut.statistics import checks, discriminant
from monai_shortcut.statistics.ordering import canonical_order
from monai_shortcut.storage.records import encode

ENOUGH = AuditSettings(permutations=199, bootstraps=199, readable=0.65, repeats=1, erasures=9, held_out=0)


def counted(finding: Finding) -> int:
    return sum(finding.levels.values()) + finding.missing + sum(finding.left_out.values())


def unadjusted(evidence: Evidence) -> Evidence:
    nothing = dict.fromkeys((*FAMILIES, "encoding_q_value", "gap_q_value"), 0.0)
    return replace(evidence, **nothing, company=None, slices=(), equal=())


@pytest.fixture(scope="module")
def whole() -> Audit:
    return audit(**simulated())


def test_known_truths_get_their_verdicts():
    audits = [audit(**simulated(seed, patients=800) | {"settings": ENOUGH}) for seed in range(8)]
    verdicts = {
        name: [found.finding(name).verdict for found in audits] for name in ("used", "visible", "absent", "tracks")
    }
    assert set(verdicts["used"]) == {USED}
    assert set(verdicts["visible"]) == {NOT_USED}
    for name in ("absent", "tracks"):  # a test at 5 % errs now and then, but never as far as "used"
        assert verdicts[name].count(NOT_ENCODED) >= 6
        assert USED not in verdicts[name]
    for found in audits:
        tracks = found.finding("tracks").evidence.encoding
        assert tracks.auroc.low > 0.7  # it can be read off, but only by way of the label
        assert 0.4 < tracks.own_auroc.value < 0.6
        assert found.finding("visible").evidence.encoding.own_auroc.low > 0.7
        assert found.finding("used").evidence.gap.effect.low > 0.1


def test_without_the_attribute_in_the_head_the_same_embedding_is_not_used():
    arguments = simulated(0, patients=800) | {"settings": ENOUGH}
    arguments["weight"] = arguments["weight"].copy()
    arguments["weight"][1, 0] = 0
    assert audit(**arguments).finding("used").verdict == NOT_USED


def test_the_record_counts_what_went_in(whole):
    arguments = simulated()
    assert whole.labels == {f"class {i}": int((arguments["labels"] == i).sum()) for i in (0, 1)}
    assert whole.patients == 40
    assert whole.excluded == {}
    assert [finding.attribute for finding in whole.findings] == list(arguments["attributes"])
    used = arguments["attributes"]["used"]
    assert whole.finding("used").levels == {"used 0": used.count("used 0"), "used 1": used.count("used 1")}
    assert all(counted(finding) == 120 and finding.patients == 40 for finding in whole.findings)
    evidence = whole.finding("visible").evidence
    tests = (evidence.encoding.test, evidence.gap.test, evidence.alignment.test, evidence.alignment.wsc_test)
    assert [len(test.null) for test in tests] == [99] * 4
    assert [len(test.null) for test in (evidence.latent.test, evidence.erasure.test, whole.joint.test)] == [9] * 3


def test_probabilities_are_the_softmax_and_of_one_logit_the_sigmoid(rng):
    points, weight, bias = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=4)
    powers = np.exp(points @ weight.T + bias)
    np.testing.assert_allclose(probabilities(points, weight, bias), powers / powers.sum(axis=1, keepdims=True))
    second = expit(points @ weight[0] + bias[0])
    np.testing.assert_allclose(probabilities(points, weight[:1], bias[:1]), np.stack([1 - second, second], axis=1))


def test_a_single_logit_is_the_two_logits_nought_and_itself():
    arguments = simulated()
    row, offset = arguments["weight"][1:] - arguments["weight"][:1], arguments["bias"][1:]
    single = audit(**arguments | {"weight": row, "bias": offset})
    double = audit(**arguments | {"weight": np.concatenate([0 * row, row]), "bias": np.concatenate([[0], offset])})
    assert single == double
    means = single.finding("used").evidence.gap.means
    np.testing.assert_allclose(np.sum(means, axis=2), 1)


def test_embeddings_that_are_not_finite_are_excluded_and_counted(whole):
    arguments = simulated()
    points = arguments["embeddings"].copy()
    points[[3, 70]] = np.nan
    points[119, 5] = np.inf
    kept = np.delete(np.arange(120), [3, 70, 119])
    ids = [f"image {number}" for number in range(120)]
    scores = probabilities(arguments["embeddings"], arguments["weight"], arguments["bias"])
    other = {"regions": {"roi_only": np.roll(scores, 1, axis=0)}, "counterfactuals": {"used": scores[::-1]}}
    given = arguments | other
    found = audit(**given | {"embeddings": points, "image_ids": ids, "excluded": {"z": "unreadable"}})
    reason = "embedding not finite"
    assert found.excluded == {"z": "unreadable", "image 3": reason, "image 70": reason, "image 119": reason}
    assert sum(found.labels.values()) == 117
    assert all(counted(finding) == 117 for finding in found.findings)
    without = arguments | {
        "regions": {"roi_only": other["regions"]["roi_only"][kept]},
        "counterfactuals": {"used": other["counterfactuals"]["used"][kept]},
        "embeddings": points[kept],
        "labels": arguments["labels"][kept],
        "patients": [arguments["patients"][index] for index in kept],
        "image_ids": [ids[index] for index in kept],
        "attributes": {name: [values[i] for i in kept] for name, values in arguments["attributes"].items()},
    }
    assert replace(audit(**without), excluded=found.excluded) == found
    assert audit(**given | {"embeddings": points}).excluded == {"3": reason, "70": reason, "119": reason}
    assert found.findings != whole.findings


@pytest.mark.parametrize(
    ("values", "reason", "counts"),
    [
        ([None] * 120, "all values are missing", ({}, 120, {})),
        (np.full(120, np.nan), "all values are missing", ({}, 120, {})),
        (["x"] * 120, r"every image has the same value \(x\)", ({"x": 120}, 0, {})),
        (np.full(120, 2.5), r"every image has the same value \(2.5\)", ({"2.5": 120}, 0, {})),
        (["x"] * 100 + [None] * 20, r"every image has the same value \(x\)", ({"x": 100}, 20, {})),
        (["x"] * 117 + ["y"] * 3, "fewer than two levels with at least 10 patients", ({"x": 117}, 0, {"y": 3})),
        ("label", "coincides with it", None),
        ("image", "120 different categories in 120 images, more than the 20", ({}, 0, {})),
    ],
)
def test_an_attribute_that_cannot_be_analysed_is_inconclusive_and_its_images_counted(whole, values, reason, counts):
    arguments = simulated()
    if isinstance(values, str):
        values = [f"{code}" for code in (arguments["labels"] if values == "label" else range(120))]
    found = audit(**arguments | {"attributes": {"odd": values, **arguments["attributes"]}})
    odd = found.finding("odd")
    assert odd.verdict == INCONCLUSIVE
    assert odd.evidence is None
    assert odd.reason.startswith("Not computed: ")
    with pytest.raises(ValueError, match=reason):
        raise ValueError(odd.reason)
    if counts is not None:
        assert (odd.levels, odd.missing, odd.left_out) == counts
    assert counted(odd) == (120 if "120 images" not in odd.reason else 0)
    assert found.findings[1:] == whole.findings  # the others are as without it


def test_six_hundred_categories_are_refused_by_number():
    arguments = simulated(patients=200)
    arguments["attributes"] = {"serial number": [str(index) for index in range(600)]}
    reason = "Not computed: 600 different categories in 600 images, more than the 20 that are analysed."
    assert audit(**arguments).finding("serial number").reason == reason


def test_a_category_of_one_patient_is_left_out_and_counted():
    arguments = simulated()
    values = arguments["attributes"]["used"]
    rare = audit(**arguments | {"attributes": {"used": ["rare"] * 3 + [None] + values[4:]}}).finding("used")
    assert rare.left_out == {"rare": 3}
    assert rare.missing == 1
    assert counted(rare) == 120
    assert rare.patients == 39
    assert rare.evidence is not None
    assert np.shape(rare.evidence.alignment.wsc) == (2, 2)


def test_fewer_patients_than_folds_is_inconclusive():
    found = audit(**simulated() | {"settings": replace(QUICK, folds=41)})
    assert {finding.verdict for finding in found.findings} == {INCONCLUSIVE}
    assert "there must be a patient for each of 41 folds, got 40" in found.findings[0].reason


def test_a_continuous_attribute_is_cut_at_its_quantiles():
    arguments = simulated()
    values = np.arange(120.0)
    values[5] = np.nan
    found = audit(**arguments | {"attributes": {"age": values}}).finding("age")
    assert found.levels == {"<= 40": 40, "40 to 80": 40, "> 80": 39}
    assert found.edges == (40.0, 80.0)
    assert found.missing == 1


def test_p_values_are_adjusted_by_holms_method_over_the_attributes():
    found = audit(**simulated(patients=60))
    evidence = [finding.evidence for finding in found.findings]
    for raw, adjusted in (
        ([e.encoding.anywhere.p_value for e in evidence], [e.encoding_p_value for e in evidence]),
        ([e.gap.test.p_value for e in evidence], [e.gap_p_value for e in evidence]),
        ([e.differences.test.p_value for e in evidence], [e.differences_p_value for e in evidence]),
        ([e.differences.spread.p_value for e in evidence], [e.spread_p_value for e in evidence]),
    ):
        assert len(set(raw)) > 1
        for p_value, corrected in zip(raw, adjusted, strict=True):
            smaller = sorted(raw)[: sorted(raw).index(p_value) + raw.count(p_value)]
            steps = [(len(raw) - rank) * value for rank, value in enumerate(smaller)]
            assert corrected == pytest.approx(min(1, max(steps)))


def test_another_attribute_changes_no_unadjusted_number(whole):
    arguments = simulated()
    alone = audit(**arguments | {"attributes": {"visible": arguments["attributes"]["visible"]}}).finding("visible")
    among = whole.finding("visible").evidence
    assert unadjusted(alone.evidence) == unadjusted(among)
    assert alone.evidence.encoding_p_value == among.encoding.anywhere.p_value
    assert among.encoding_p_value > among.encoding.anywhere.p_value


def test_equal_seeds_give_equal_audits(whole):
    assert audit(**simulated()) == whole
    other = audit(**simulated() | {"settings": replace(QUICK, seed=1)})
    assert other.finding("used").evidence.encoding.test.null != whole.finding("used").evidence.encoding.test.null


def test_a_counterfactual_is_the_mean_probability_that_moves():
    arguments = simulated(classes=3)
    scores = probabilities(arguments["embeddings"], arguments["weight"], arguments["bias"])
    swapped = np.roll(scores, 1, axis=1)
    swapped[7] = np.nan
    moved = [sum(abs(a - b) for a, b in zip(*rows, strict=True)) / 2 for rows in zip(scores, swapped, strict=True)]
    moved = np.array(moved[:7] + moved[8:])
    found = audit(**arguments | {"counterfactuals": {"used": swapped}})
    counterfactual = found.finding("used").counterfactual
    assert counterfactual.images == 119
    assert counterfactual.change.value == pytest.approx(moved.mean())
    low, high = counterfactual.change.low, counterfactual.change.high
    error = moved.std() / np.sqrt(119)
    assert low == pytest.approx(moved.mean() - 2 * error, abs=error)
    assert high == pytest.approx(moved.mean() + 2 * error, abs=error)
    assert found.finding("visible").counterfactual is None


def test_a_counterfactual_without_a_drawn_image_is_none():
    found = audit(**simulated() | {"counterfactuals": {"used": np.full((120, 2), np.nan)}})
    assert found.finding("used").counterfactual is None


@pytest.mark.parametrize(("classes", "scored"), [(2, [1]), (3, [0, 1, 2])])
def test_regions_are_scored_as_scikit_learn_scores_them(classes, scored, rng):
    arguments = simulated(classes=classes)
    masked = rng.dirichlet(np.ones(classes), size=120)
    masked[[0, 50]] = np.nan
    known = np.isfinite(masked[:, 0])
    scores = probabilities(arguments["embeddings"], arguments["weight"], arguments["bias"])
    found = audit(**arguments | {"regions": {"roi_only": masked}, "without_roi": {"0": "empty"}})
    assert found.without_roi == {"0": "empty"}
    assert [(s.label, s.evaluated_on) for s in found.regions.scores] == [
        (f"class {index}", strategy) for index in scored for strategy in ("full", "roi_only")
    ]
    for score in found.regions.scores:
        index = int(score.label[-1])
        positive, values, rows = arguments["labels"] == index, scores, np.ones(120, dtype=bool)
        if score.evaluated_on == "roi_only":
            values, rows = masked, known
            full = roc_auc_score(positive[known], scores[known, index])
            assert score.difference == pytest.approx(full - score.auc.value)
        assert score.auc.value == pytest.approx(roc_auc_score(positive[rows], values[rows, index]))
        assert score.images == rows.sum()


def test_predicted_means_have_a_row_for_every_class_also_where_the_attribute_is_unknown():
    arguments = simulated(classes=3)
    labels, used = arguments["labels"], arguments["attributes"]["used"]
    scores = probabilities(*(arguments[k] for k in ("embeddings", "weight", "bias")))
    values = [None if label == 1 else value for label, value in zip(labels, used, strict=True)]
    means = audit(**arguments | {"attributes": {"used": values}}).finding("used").evidence.gap.means
    assert means[1] == ((None, None, None), (None, None, None))
    for label in (0, 2):
        for level in (0, 1):
            chosen = [v == f"used {level}" and label == own for v, own in zip(values, labels, strict=True)]
            np.testing.assert_allclose(means[label][level], scores[chosen].mean(axis=0))


def test_the_map_shows_the_two_principal_coordinates(whole):
    arguments = simulated()
    order = canonical_order(arguments["embeddings"], arguments["labels"])
    centred = arguments["embeddings"] - arguments["embeddings"].mean(axis=0)
    power, axes = np.linalg.eigh(centred.T @ centred)
    points = np.array(whole.embedding_map.points)
    np.testing.assert_allclose(np.abs(points), np.abs(centred[order] @ axes[:, [-1, -2]]), atol=1e-9)
    np.testing.assert_allclose(whole.embedding_map.variance, power[[-1, -2]] / power.sum())
    assert whole.embedding_map.labels == tuple(f"class {label}" for label in arguments["labels"][order])
    assert whole.embedding_map.levels["visible"] == tuple(np.array(arguments["attributes"]["visible"])[order])


def test_embeddings_of_one_direction_can_be_mapped():
    arguments = simulated()
    arguments |= {"embeddings": arguments["embeddings"][:, :1], "weight": arguments["weight"][:, :1]}
    points = np.array(audit(**arguments).embedding_map.points)
    column = arguments["embeddings"][:, 0]
    order = canonical_order(arguments["embeddings"], arguments["labels"])
    np.testing.assert_allclose(np.abs(points[:, 0]), np.abs(column - column.mean())[order])
    np.testing.assert_array_equal(points[:, 1], 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embeddings": np.zeros(120)}, r"embeddings must have shape \(N, D\), got \(120,\)"),
        (
            {"weight": np.zeros((2, 5))},
            r"weight and bias must have shapes \(C, 16\) and \(C,\), got \(2, 5\) and \(2,\)",
        ),
        ({"weight": np.zeros(16)}, r"must have shapes \(C, 16\) and \(C,\), got \(16,\) and \(2,\)"),
        ({"bias": np.zeros(3)}, r"must have shapes \(C, 16\) and \(C,\), got \(2, 16\) and \(3,\)"),
        ({"label_names": ["a", "b", "c"]}, "label_names must hold 2 names to match the head, got 3"),
        ({"labels": np.arange(5)}, r"labels must have shape \(120,\) to match embeddings, got \(5,\)"),
        ({"patients": ["p"]}, r"patients must have shape \(120,\) to match embeddings, got \(1,\)"),
        ({"image_ids": ["i", "j"]}, r"image_ids must have shape \(120,\) to match embeddings, got \(2,\)"),
        ({"labels": np.ones(120, int)}, r"labels must hold at least two classes, got \[1\]"),
        ({"labels": np.arange(120) % 3}, r"labels must be in 0 to 1, got \[0, 1, 2\]"),
        ({"labels": np.arange(120) % 2 - 1}, r"labels must be in 0 to 1, got \[-1, 0\]"),
        ({"labels": np.arange(120) % 2 / 2}, r"labels must be in 0 to 1, got \[0.0, 0.5\]"),
        ({"embeddings": np.full((120, 16), np.nan)}, "at least one embedding must be finite, got none"),
        ({"attributes": {"sex": ["F"]}}, r"sex must have one row for each of the 120 embeddings, got \(1,\)"),
        ({"regions": {"roi_only": np.zeros((5, 2))}}, r"roi_only must have one row for each .*, got \(5, 2\)"),
        ({"counterfactuals": {"used": np.zeros(5)}}, r"used must have one row for each .*, got \(5,\)"),
        ({"counterfactuals": {"used": np.zeros(120)}}, r"used must have shape \(120, 2\), got \(120,\)"),
        ({"counterfactuals": {"used": np.zeros((120, 3))}}, r"used must have shape \(120, 2\), got \(120, 3\)"),
        ({"regions": {"roi_only": np.zeros((120, 3))}}, r"roi_only must have shape \(120, 2\), got \(120, 3\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        audit(**simulated() | wrong)


def test_a_counterfactual_of_no_attribute_is_refused():
    message = r"counterfactuals must be of the attributes \['absent', .*\], got \['colour'\]"
    with pytest.raises(ValueError, match=message):
        audit(**simulated() | {"counterfactuals": {"colour": np.full((120, 2), 0.5)}})


def test_p_values_are_adjusted_over_the_audits_of_other_labels_too():
    arguments = simulated() | {"settings": replace(QUICK, permutations=239)}
    one, three = audit(**arguments), audit(**arguments, audits=3)
    for finding, other in zip(one.findings, three.findings, strict=True):
        for family in (*FAMILIES, "encoding_q_value", "gap_q_value"):
            alone = getattr(finding.evidence, family)
            assert getattr(other.evidence, family) == pytest.approx(min(1.0, 3 * alone))


def test_more_permutations_are_drawn_where_so_many_tests_could_not_be_significant():
    few = simulated() | {"settings": replace(QUICK, permutations=19)}
    assert len(audit(**few).finding("used").evidence.differences.test.null) == 79  # 4 / 80 is 0.05
    assert audit(**few, audits=2).settings.permutations == 159


def test_answers_are_compared_at_equal_levels_of_what_may_rightly_move_them():
    found = audit(**simulated(patients=100) | {"settings": replace(QUICK, adjust_for=("visible",))})
    told = {finding.attribute: finding.evidence.differences.adjusted_for for finding in found.findings}
    assert told == {"used": ("visible",), "visible": (), "absent": ("visible",), "tracks": ("visible",)}
    message = r"adjust_for must be of the attributes \['absent', 'tracks', 'used', 'visible'\], got \['colour'\]"
    with pytest.raises(ValueError, match=message):
        audit(**simulated() | {"settings": replace(QUICK, adjust_for=("colour",))})


def test_false_discovery_rates_are_those_of_scipy_and_decide_when_asked(whole):
    evidence = [finding.evidence for finding in whole.findings]
    for raw, rates in (
        ([e.encoding.anywhere.p_value for e in evidence], [e.encoding_q_value for e in evidence]),
        ([e.gap.test.p_value for e in evidence], [e.gap_q_value for e in evidence]),
    ):
        order = np.argsort(raw)
        steps = np.array(raw)[order] * len(raw) / np.arange(1, len(raw) + 1)
        expected = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
        np.testing.assert_allclose(np.array(rates)[order], expected)
    asked = audit(**simulated() | {"settings": replace(QUICK, correction="fdr")})
    for finding in asked.findings:
        assert finding.evidence.gap_p_value == finding.evidence.gap_q_value
        assert finding.evidence.encoding_p_value == finding.evidence.encoding_q_value


def test_the_label_is_a_row_of_its_own(whole):
    assert whole.label.auroc.value > 0.8
    assert np.shape(whole.label.wsc) == (2, 2)
    assert set(whole.label.spread) == {*whole.label.metrics, "auroc"}
    assert np.abs(whole.label.wsc).max() > 0.5  # the head and the label's own probe point the same way


def test_all_heads_stand_in_one_matrix_and_all_attributes_are_joined(whole):
    names = list(simulated()["attributes"])
    assert whole.weight_space.tasks == ("label",) * 2 + tuple(f"{name} (probe)" for name in names for _ in range(2))
    published = whole.finding("visible").evidence.alignment.wsc
    np.testing.assert_allclose(np.array(whole.weight_space.cosines)[:2, 4:6], published, atol=1e-10)
    assert whole.joint.attributes == tuple(names)
    assert whole.joint.correlations[0] > 0.5  # the head reads "used"
    assert whole.joint.test.observed == pytest.approx(whole.joint.correlations[0])
    assert whole.joint.test.p_value == (1 + sum(n >= whole.joint.test.observed for n in whole.joint.test.null)) / 10
    assert 0 < whole.joint.share <= 1


def test_heads_trained_with_the_network_are_measured_too():
    arguments = simulated()
    head = np.stack([-arguments["weight"][1], arguments["weight"][1]])
    found = audit(**arguments | {"attribute_heads": {"visible": head}})
    assert np.abs(found.finding("visible").evidence.alignment.multi_task).max() == pytest.approx(1.0)
    assert found.finding("used").evidence.alignment.multi_task == ()
    assert found.weight_space.tasks[-2:] == ("visible (own head)",) * 2
    assert np.abs(found.weight_space.cosines)[1, -1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"attribute_heads must be of the attributes .*, got \['scanner'\]\."):
        audit(**arguments | {"attribute_heads": {"scanner": head}})


def test_images_that_give_their_level_away_are_listed_once_a_patient():
    arguments = simulated()
    arguments["embeddings"][7, 1] += 9.0 if arguments["attributes"]["visible"][7] == "visible 1" else -9.0
    finding = audit(**arguments).finding("visible")
    assert finding.giveaways[0].image_id == "7"
    assert finding.giveaways[0].level == arguments["attributes"]["visible"][7]
    assert len(finding.giveaways) == len({int(image.image_id) // 3 for image in finding.giveaways}) == 6
    margins = [image.margin for image in finding.giveaways]
    assert margins == sorted(margins, reverse=True)


def test_the_wider_evidence_tells_used_from_visible():
    found = audit(**simulated(patients=300) | {"settings": ENOUGH})
    used, visible = found.finding("used").evidence, found.finding("visible").evidence
    assert used.latent.effect > 0.15 > abs(visible.latent.effect)
    assert used.erasure.test.p_value == 0.1
    assert used.erasure.change.value > 3 * visible.erasure.change.value
    assert used.alignment.test.p_value < 0.01 < visible.alignment.test.p_value
    assert np.abs(used.alignment.balanced).max() > np.abs(visible.alignment.balanced).max()
    assert used.subgroups.calibration_test.p_value < 0.01 < visible.subgroups.calibration_test.p_value
    assert used.alignment.sweep.components[-1] == 16
    assert np.abs(used.alignment.sweep.cosines[-1]).max() == pytest.approx(np.abs(used.alignment.raw).max())
    assert {score.level for score in used.held_out} == {0, 1}


# What is shared, and what nothing depends on


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of plain JSON values with their paths."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        yield path, value
    else:
        for key, item in inside:
            yield from flat(item, f"{path}.{key}")


def on_threads(arguments: dict[str, Any]) -> list[Audit]:
    """Audits with one BLAS thread, and with two, when attributes are analysed side by side."""
    records = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {threads}
            records.append(audit(**arguments))
    return records


def close(record: Audit, other: Audit, tolerance: float) -> None:
    numbers, others = (dict(flat(encode(each))) for each in (record, other))
    assert numbers.keys() == others.keys()
    for path, number in numbers.items():
        if isinstance(number, float):
            assert number == pytest.approx(others[path], abs=tolerance), path
        elif ".reason" not in path and ".answers.logits" not in path:  # which are numbers as text
            assert number == others[path], path


def test_no_number_depends_on_the_number_of_threads():
    one, two = on_threads(simulated(patients=80))
    assert one == two


@pytest.mark.slow
def test_larger_products_which_blas_itself_shares_out_differ_by_rounding(rng):
    arguments = simulated(patients=80) | {"settings": replace(QUICK, permutations=9, bootstraps=9, repeats=1)}
    wider = ((0, 0), (0, 144))
    arguments["embeddings"] = np.pad(arguments["embeddings"], wider) + 0.1 * rng.normal(size=(240, 160))
    arguments["weight"] = np.pad(arguments["weight"], wider)
    close(*on_threads(arguments), tolerance=1e-9)


def test_no_number_depends_on_the_order_of_the_attributes(whole):
    arguments = simulated()
    turned = audit(**arguments | {"attributes": dict(reversed(arguments["attributes"].items()))})
    assert turned.findings == whole.findings[::-1]
    assert (turned.label, turned.regions, turned.embedding_map.points) == (
        whole.label,
        whole.regions,
        whole.embedding_map.points,
    )
    assert turned.joint.attributes == whole.joint.attributes[::-1]
    assert turned.joint.share == pytest.approx(whole.joint.share)
    np.testing.assert_allclose(turned.joint.test.null, whole.joint.test.null)


def test_an_analysis_without_an_answer_says_why_and_harms_no_other(whole):
    """Erasure takes three folds: one held out, one for the eraser, one for the probe of what is left."""
    found = audit(**simulated() | {"settings": replace(QUICK, folds=2)})
    for finding, other in zip(found.findings, whole.findings, strict=True):
        assert finding.evidence.not_computed == {"erasure": "erasure takes at least 3 folds, got 2"}
        assert finding.evidence.erasure is None
        assert finding.evidence.gap == other.evidence.gap  # folds play no part in it
        assert finding.evidence.latent is not None
    assert {finding.evidence.held_out for finding in whole.findings}.isdisjoint({()})
    assert all(finding.evidence.not_computed == {} for finding in whole.findings)


def test_levels_of_too_few_patients_for_heads_of_their_own_are_said_not_to_be_computed():
    few = ["x" if index < 12 else "y" for index in range(120)]  # of four patients
    settings = replace(QUICK, minimum_patients=4)
    evidence = audit(**simulated() | {"attributes": {"few": few}, "settings": settings}).finding("few").evidence
    wanted = "at least 5 patients of each of two labels"
    assert evidence.not_computed == {
        "differences": "no label has two levels of at least 5 patients each",
        "held_out": f"a level, and all others together, must hold {wanted}, got no such level",
    }
    assert evidence.held_out == ()


def test_a_mistake_is_raised_and_not_taken_for_a_result():
    message = r"attribute head must have shape \(M, 16\) to match embeddings, got \(2, 3\)\."
    with pytest.raises(ValueError, match=message):
        audit(**simulated() | {"attribute_heads": {"used": np.ones((2, 3))}})


def partly(values: list[str]) -> list[str | None]:
    return [value if index % 6 < 3 else None for index, value in enumerate(values)]


def test_more_attributes_and_missing_values_cost_no_factorization(monkeypatch):
    calls = []

    def counting(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0].shape)
        return discriminant_factor(*arguments, **options)

    discriminant_factor = discriminant.cho_factor
    monkeypatch.setattr(discriminant, "cho_factor", counting)
    arguments, counts = simulated(patients=80), {}
    attributes = arguments["attributes"]
    asked = {
        "one": {"used": attributes["used"]},
        "half": {"used": partly(attributes["used"])},
        "five": {**attributes, "again": partly(attributes["visible"])},
    }
    for name, columns in asked.items():
        calls.clear()
        found = audit(**arguments | {"attributes": columns})
        assert all(finding.evidence is not None for finding in found.findings)
        counts[name] = len(calls)
    # For each draw of the folds and each fold, with and without regard to labels; then twice for all images. Erasure
    # splits the other folds into halves: of five folds, these are six pairs.
    # The features of the non-linear reader are factorized once for each fold. What is left when an attribute is erased
    # has a covariance of its own in each fold.
    shared = 2 * QUICK.repeats * QUICK.folds + 2 + 6 + QUICK.folds
    assert counts == {name: shared + QUICK.folds * len(columns) for name, columns in asked.items()}


def test_embeddings_are_checked_once(monkeypatch):
    calls = []
    original = checks.checked_points

    def counting(*arguments: Any) -> Any:
        calls.append(np.shape(arguments[0]))
        return original(*arguments)

    for name, module in list(sys.modules.items()):
        if name.startswith("monai_shortcut") and getattr(module, "checked_points", None) is original:
            monkeypatch.setattr(module, "checked_points", counting)
    audit(**simulated())
    assert calls == [(120, 16)]


def test_embeddings_of_single_precision_give_the_same_numbers():
    arguments = simulated(patients=100)
    single = arguments["embeddings"].astype(np.float32)
    close(*(audit(**arguments | {"embeddings": points}) for points in (single, single.astype(float))), tolerance=1e-4)


# Kinds of attributes


def test_the_kind_of_an_attribute_is_kept_and_decides_how_it_is_analysed(rng):
    arguments = simulated(patients=100)
    grade = rng.integers(1, 4, size=300)
    arguments["embeddings"][:, 5] += 1.5 * grade
    values = {"grade": grade.tolist(), "named": ["x" if value > 2 else "y" for value in grade], "age": grade * 1.5}
    default = audit(**arguments | {"attributes": values})
    assert [finding.kind for finding in default.findings] == ["categorical", "categorical", "continuous"]
    found = audit(**arguments | {"attributes": values, "kinds": {"grade": "ordinal"}}).finding("grade")
    assert found.kind == "ordinal"
    assert list(found.levels) == ["1", "2", "3"]
    assert (len(found.evidence.alignment.wsc[0]), len(default.findings[0].evidence.alignment.wsc[0])) == (1, 3)
    turned = {"kinds": {"named": "ordinal"}, "orders": {"named": ["y", "x"]}}
    assert list(audit(**arguments | {"attributes": values, **turned}).finding("named").levels) == ["y", "x"]


@pytest.mark.parametrize(("what", "given"), [("kinds", {"colour": "ordinal"}), ("orders", {"colour": ["a", "b"]})])
def test_a_kind_or_an_order_of_no_attribute_is_refused(what, given):
    with pytest.raises(ValueError, match=rf"{what} must be of the attributes \['absent', .*\], got \['colour'\]\."):
        audit(**simulated() | {what: given})


@pytest.mark.parametrize(("name", "kept"), [("used", "used"), ("visible", "inconclusive"), ("absent", "inconclusive")])
def test_a_model_that_knows_no_class_is_not_called_free_of_shortcuts(name, kept):
    """The head reads the attribute and nothing of the label, as weights do that were never loaded."""
    wide = replace(QUICK, tolerance=0.2, decision_tolerance=0.2, rank_tolerance=0.2)
    arguments = simulated(2, patients=400) | {"settings": wide}
    arguments["weight"] = arguments["weight"] * (np.arange(16) == 0)
    found = audit(**arguments)
    assert found.regions.classifies is False
    assert found.finding(name).verdict == kept
    if kept != "used":
        assert found.finding(name).reason.startswith("These images do not show that the model tells any class from")
        former = "encoded, not used" if name == "visible" else "not encoded"
        assert f"Of another model it would be called {former}: " in found.finding(name).reason
    assert "Is it trained, were its weights loaded" in summary(found)
    known = audit(**simulated(2, patients=400) | {"settings": wide})
    assert known.regions.classifies is True
    assert [known.finding(one).verdict for one in ("visible", "absent")] == ["encoded, not used", "not encoded"]
    assert "Is it trained" not in summary(known)
