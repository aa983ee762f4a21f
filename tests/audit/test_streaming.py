# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.streaming import stream
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.hashing import PatientHash
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.statistics.variation import SAME, SAME_WITHIN
from monai_shortcut.types import Unmeasurable

FEW = Resampling(folds=3, repeats=1, permutations=4, bootstraps=25)


def cohort(rng, patients=90, levels=2, classes=2, columns=6, trace=0.8, missing=0.1, images=(1, 4), varies=0.0):
    """Embeddings, labels, patients and codes: patients of one to four images, whose label and level are theirs."""
    person = np.repeat(np.arange(patients), rng.integers(*images, patients, endpoint=True))
    label, code = (rng.permutation(np.arange(patients) % count)[person] for count in (classes, levels))
    code = np.where(rng.random(len(person)) < varies, rng.integers(levels, size=len(person)), code)
    points = rng.normal(size=(len(person), columns)) + rng.normal(size=(patients, columns))[person]
    points[:, 0] += 2 * label
    points[:, 1] += trace * code
    return (
        points @ rng.normal(size=(columns, columns)),
        label,
        person,
        np.where(rng.random(len(code)) < missing, -1, code),
    )


def head(rng, classes, columns=6):
    return rng.normal(size=(classes, columns)) / 3, rng.normal(size=classes)


def cut(arrays, *sizes):
    """Blocks of those sizes, then the rest."""
    ends = np.cumsum(sizes)
    return list(zip(*(np.split(values, ends) for values in arrays), strict=True))


def in_memory(arrays, weight, bias, levels, ordered, draws):
    points, label, person, code = arrays
    kind = "ordinal" if ordered else "categorical"
    names = tuple(f"level {level}" for level in range(levels))
    sample = Sample.of(points, weight, bias, label, person, draws=draws)
    return sample.by("scanner", Levels(names, code, int((code < 0).sum()), {}, kind=kind))


@dataclass(frozen=True)
class Tables(PatientHash):
    """Folds, groups and levels as the form in memory draws them; levels are those of patients."""

    folded: np.ndarray = field(default_factory=lambda: np.zeros(0))
    null: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def keys(self, patients):
        return np.asarray(patients, dtype=np.uint64)

    def fold(self, keys):
        return self.folded[keys.astype(np.int64)]

    def group(self, keys):
        return keys.astype(np.int64)

    def levels(self, keys, images, labels, draws, chances, kept):
        return self.null[[draw - 1 for draw in draws]][:, keys.astype(np.int64)].astype(np.int16)


def tables(attribute, person):
    """Of an attribute in memory."""
    draws, folded = attribute.draws, np.zeros(person.max() + 1, dtype=np.int64)
    folded[person] = attribute.images.folds().fold
    null = np.full((draws.permutations, len(folded)), -1)
    null[:, person[attribute.rows]] = attribute.permuted[1:]
    return Tables(draws.seed, draws.folds, "", len(folded), folded, null)


def numbers(record):
    """Estimates and null of an encoding, in one array."""
    estimates = [record.auroc, record.own_auroc, *(record.metrics[name] for name in sorted(record.metrics))]
    limits = [number for each in estimates for number in (each.value, each.low, each.high)]
    return np.array([*limits, record.test.observed, *record.test.null])


def gap_numbers(record):
    means = np.array(record.means, dtype=float).ravel()
    effect = record.effect
    test = [record.test.observed, *record.test.null]
    return np.array([effect.value, effect.low, effect.high, record.detectable, *test, *means])


@pytest.mark.parametrize(
    ("levels", "ordered", "classes", "kind"),
    [
        (2, False, 2, np.float32),
        (3, False, 3, np.float64),
        (4, True, 2, np.float64),
        (2, True, 2, np.float64),
        (2, False, 1, np.float64),
    ],
)
def test_with_the_same_draws_every_number_is_that_of_the_form_in_memory(rng, levels, ordered, classes, kind):
    """One class means a head with a single logit."""
    points, *rest = cohort(rng, levels=levels, classes=max(classes, 2))
    arrays, given = (points.astype(kind), *rest), head(rng, classes)
    attribute = in_memory(arrays, *given, levels, ordered, FEW)
    blocks = cut(arrays, 50, 1, 7)
    patients = tables(attribute, arrays[2])
    found = stream(lambda: blocks, *given, levels=levels, ordered=ordered, draws=FEW, patients=patients, bins=2**18)
    expected = encoding(attribute), prediction_gap(attribute)
    assert sorted(found[0].metrics) == sorted(expected[0].metrics) != []
    tolerance = 1e-9 if kind == np.float64 else 1e-6
    whole = expected[0]
    error = (
        found[0].auroc.high - found[0].auroc.low
    ) / 2  # a normal one; by patient those in memory are a little wider
    assert error < whole.auroc.high - whole.auroc.low < 5 * error
    one, other = (numbers(replace(each, auroc=replace(each.auroc, low=0.0, high=1.0))) for each in (found[0], whole))
    np.testing.assert_allclose(one, other, atol=tolerance)
    np.testing.assert_allclose(gap_numbers(found[1]), gap_numbers(expected[1]), atol=tolerance)
    assert (found[0].spread, found[0].by_label, found[0].nonlinear, found[0].anywhere) == ({}, (), None, None)


def test_the_cut_into_blocks_does_not_matter_nor_their_order(rng):
    arrays, given = cohort(rng, patients=300), head(rng, 2)
    parts = cut(arrays, 100, 30, 300)
    ways = [[arrays], parts, parts[::-1]]
    found = [stream(lambda way=way: iter(way), *given, levels=2, draws=FEW) for way in ways]
    for each in found[1:]:
        np.testing.assert_allclose(numbers(each[0]), numbers(found[0][0]), atol=1e-9)
        np.testing.assert_allclose(gap_numbers(each[1]), gap_numbers(found[0][1]), atol=1e-9)


@pytest.mark.parametrize("varies", [0.0, 0.6])
def test_rows_in_any_order_have_the_same_draws(rng, varies):
    """Levels that vary within patients too: an image is known by its embedding, not by its place."""
    arrays, given = cohort(rng, varies=varies), head(rng, 2)
    rows = rng.permutation(len(arrays[0]))
    found = [stream(lambda way=way: [way], *given, levels=2, draws=FEW) for way in (arrays, [x[rows] for x in arrays])]
    np.testing.assert_allclose(numbers(found[1][0]), numbers(found[0][0]), atol=1e-9)
    np.testing.assert_allclose(gap_numbers(found[1][1]), gap_numbers(found[0][1]), atol=1e-9)


def test_other_names_of_patients_are_another_seed(rng):
    """What rows of a patient share is the name alone; numbers move as draws do, and what is found stays."""
    draws = Resampling(repeats=1, permutations=39, bootstraps=99)
    arrays, given = cohort(rng, patients=800, trace=0.15, varies=0.3), head(rng, 2)
    seeds = [stream(lambda: [arrays], *given, levels=2, draws=replace(draws, seed=seed)) for seed in range(8)]
    renamed = [(*arrays[:2], np.array([f"{way} {name}" for name in arrays[2]]), arrays[3]) for way in "abcdefgh"]
    named = [stream(lambda block=block: [block], *given, levels=2, draws=draws) for block in renamed]
    areas = [np.array([own.own_auroc.value for own, _ in way]) for way in (seeds, named)]
    assert np.ptp(areas[1]) > 0
    assert areas[1].std() < 2.5 * areas[0].std()
    assert abs(areas[1].mean() - areas[0].mean()) < 3 * areas[0].std()
    observed = [gap.test.observed for _, gap in seeds + named]
    assert observed == pytest.approx(observed[:1] * 16, abs=1e-12)  # has no draw


def test_null_copies_that_do_not_fit_at_once_are_read_again(rng, monkeypatch):
    arrays, given, calls = cohort(rng), head(rng, 2), []

    def blocks():
        calls.append(1)
        return [arrays]

    whole = stream(blocks, *given, levels=2, draws=FEW, bins=256)
    assert len(calls) == 4
    monkeypatch.setattr("monai_shortcut.audit.streaming.ranks._COUNTS", 2048)  # bins of two copies
    assert stream(blocks, *given, levels=2, draws=FEW, bins=256) == whole
    assert len(calls) == 4 + 6


def test_many_copies_of_many_images_are_scored_a_few_at_a_time(rng, monkeypatch):
    arrays, given = cohort(rng, levels=3), head(rng, 2)
    whole = stream(lambda: [arrays], *given, levels=3, draws=FEW)
    monkeypatch.setattr("monai_shortcut.audit.streaming.source._ROWS", 70)
    monkeypatch.setattr("monai_shortcut.audit.streaming.source._SCORES", 500)
    parts = stream(lambda: [arrays], *given, levels=3, draws=FEW)
    np.testing.assert_allclose(numbers(parts[0]), numbers(whole[0]), atol=1e-9)
    np.testing.assert_allclose(gap_numbers(parts[1]), gap_numbers(whole[1]), atol=1e-9)


def peak(patients):
    """Bytes that a stream of that many patients takes; the lesser of two, because other threads allocate too."""
    return min(once(patients) for _ in range(2))


def once(patients):
    given = head(np.random.default_rng(0), 2, 16)

    def blocks():
        for start in range(0, patients, 500):
            rng, person = np.random.default_rng(start), start + np.arange(500).repeat(2)
            code = person % 2
            points = rng.normal(size=(1000, 16)).astype(np.float32)
            points[:, 0] += code
            yield points, person // 2 % 2, person.astype(str), code

    gc.collect()  # what earlier tests left is not freed or counted halfway
    tracemalloc.start()
    stream(blocks, *given, levels=2, draws=FEW, patients=PatientHash(0, 3, groups=256), bins=512)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.slow
def test_memory_does_not_grow_with_images_nor_patients():
    peak(500)  # what is imported or cached once
    assert peak(48_000) - peak(6_000) < 84_000, "a byte for each further image"


@pytest.mark.parametrize(("varies", "images"), [(0.0, (1, 4)), (0.6, (3, 3))])
def test_with_draws_of_its_own_it_agrees_with_permutation_as_the_cohort_grows(rng, varies, images):
    """Patients give each other levels that vary without repeating some only where they have as many images."""
    draws = Resampling(repeats=1, permutations=150, bootstraps=300)
    arrays, given = cohort(rng, patients=3000, trace=0.3, missing=0.0, varies=varies, images=images), head(rng, 2)
    own, gap = stream(lambda: cut(arrays, 4000), *given, levels=2, draws=draws)
    attribute = in_memory(arrays, *given, 2, False, draws)
    expected, expected_gap = encoding(attribute), prediction_gap(attribute)
    pairs = (own.own_auroc, expected.own_auroc, 0.2), (own.auroc, expected.auroc, 0.3)
    for found, other, apart in pairs:
        assert found.value == pytest.approx(other.value, abs=0.005)
        assert found.high - found.low == pytest.approx(other.high - other.low, rel=apart)
    assert gap_numbers(gap)[:3] == pytest.approx(gap_numbers(expected_gap)[:3], abs=0.006)
    for found, other in ((own.test, expected.test), (gap.test, expected_gap.test)):
        null, permuted = np.array(found.null), np.array(other.null)
        assert null.mean() == pytest.approx(permuted.mean(), abs=0.35 * permuted.std())
        assert null.std() == pytest.approx(permuted.std(), rel=0.2)


def silent(seed, varies=0.0, changing=0.0, by_patient=True):
    """P-values of a cohort whose embeddings are the patient's and know nothing of a level that tracks the label."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(120), rng.integers(1, 7, 120))

    def tracked(label):
        return np.where(rng.random(len(label)) < 0.8, label, 1 - label)

    label = rng.permutation(np.arange(120) % 2)
    label, code = label[person], tracked(label)[person]
    label = np.where(rng.random(len(person)) < changing, 1 - label, label)
    code = np.where(rng.random(len(person)) < varies, tracked(label), code)
    points = rng.normal(size=(len(person), 4)) + rng.normal(size=(120, 4))[person]
    points[:, 0] += 2 * label
    block = points, label, person if by_patient else np.arange(len(person)), code
    draws = Resampling(repeats=1, permutations=39, bootstraps=1, seed=seed)
    given = np.array([[0.0, 0, 0, 0], [1, 1, 0.5, 0]]), np.zeros(2)
    return [found.test.p_value for found in stream(lambda: [block], *given, levels=2, draws=draws, bins=256)]


@pytest.mark.slow
@pytest.mark.parametrize(("varies", "changing"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.4)])
def test_p_values_are_uniform_where_nothing_is_to_be_found(varies, changing):
    p_values = np.array([silent(seed, varies, changing) for seed in range(250)])
    assert ((p_values <= 0.05).mean(axis=0) < 0.085).all()
    assert ((p_values <= 0.05).mean(axis=0) > 0.02).all()
    np.testing.assert_allclose(
        np.quantile(p_values, [0.25, 0.5, 0.75], axis=0).mean(axis=1), [0.25, 0.5, 0.75], atol=0.09
    )


def test_p_values_are_too_small_where_patients_are_ignored():
    p_values = np.array([silent(seed, by_patient=False) for seed in range(60)])
    assert ((p_values <= 0.05).mean(axis=0) > 0.15).all()


def test_a_trace_is_found_and_none_is_not(rng):
    person = np.arange(600)
    points, code, label = rng.normal(size=(600, 5)), person % 3, person // 3 % 2
    traced = points + np.eye(3, 5)[code]
    for embedded, p_value in ((traced, 0.05), (points, None)):
        own, gap = stream(
            lambda embedded=embedded: [(embedded, label, person, code)],
            np.eye(2, 5),
            np.zeros(2),
            levels=3,
            draws=Resampling(permutations=19, bootstraps=9),
        )
        assert (own.test.p_value == p_value) is (gap.test.p_value == p_value) is (p_value is not None)
        assert (own.own_auroc.low > 0.6) is (p_value is not None)


def broken(position, values, block=1):
    arrays = cohort(np.random.default_rng(0))
    blocks = cut(arrays, 40)
    blocks[block] = tuple(values(given) if place == position else given for place, given in enumerate(blocks[block]))
    return blocks


@pytest.mark.parametrize(
    ("position", "values", "message"),
    [
        (
            0,
            lambda given: given[:, :-1],
            r"^block 1: embeddings must have shape \(n, 6\) to match weight, got \(\d+, 5\)\.$",
        ),
        (
            0,
            lambda given: given * np.nan,
            r"^block 1: embeddings must be finite, got \d+ images not so \(numbers above .*\)\.$",
        ),
        (1, lambda given: given[1:], r"^block 1: labels must have shape \(\d+,\) to match embeddings, got \(\d+,\)\.$"),
        (1, lambda given: given + 1, r"^block 1: labels must be in 0 to 1, got \[1, 2\]\.$"),
        (2, lambda given: given[:5], r"^block 1: patients must have shape \(\d+,\) to match embeddings, got \(5,\)\.$"),
        (
            3,
            lambda given: given[:, None],
            r"^block 1: codes must have shape \(\d+,\) to match embeddings, got \(\d+, 1\)\.$",
        ),
        (3, lambda given: given - 1, r"^block 1: codes must be in -1 to 1, got \[-2, -1, 0\]\.$"),
    ],
)
def test_a_block_that_does_not_fit_is_named(position, values, message):
    blocks = broken(position, values)
    with pytest.raises(ValueError, match=message):
        stream(lambda: blocks, np.eye(2, 6), np.zeros(2), levels=2, draws=FEW)


@pytest.mark.parametrize(("label_alone", "said"), [(False, SAME), (True, SAME_WITHIN)])
def test_embeddings_that_do_not_vary_are_not_measured(rng, label_alone, said):
    points, label, person, code = cohort(rng)
    points = np.outer(label * label_alone, np.arange(6.0)) + 0.1
    with pytest.raises(Unmeasurable, match=f"^{said}$"):
        stream(lambda: cut((points, label, person, code), 40), np.eye(2, 6), np.zeros(2), levels=2, draws=FEW)


def test_blocks_must_come_again(rng):
    arrays = cohort(rng)
    once = iter([arrays])
    with pytest.raises(
        ValueError, match=rf"^blocks must give the same images at each call, got {len(arrays[0])}, then 0"
    ):
        stream(lambda: once, np.eye(2, 6), np.zeros(2), levels=2, draws=FEW)
    with pytest.raises(ValueError, match=r"^blocks must hold at least one image, got none\.$"):
        stream(lambda: [], np.eye(2, 6), np.zeros(2), levels=2, draws=FEW)


def test_what_is_asked_is_checked_before_reading():
    with pytest.raises(ValueError, match=r"^levels must be at least 2, got 1\.$"):
        stream(list, np.eye(2, 6), np.zeros(2), levels=1)
    with pytest.raises(ValueError, match=r"^patients must be hashed into the 3 folds of draws, got 5\.$"):
        stream(list, np.eye(2, 6), np.zeros(2), levels=2, draws=FEW, patients=PatientHash(0, 5))
    with pytest.raises(ValueError, match=r"^weight and bias must have shapes"):
        stream(list, np.zeros(6), np.zeros(2), levels=2)


@pytest.mark.parametrize(
    ("label", "code", "message"),
    [
        (lambda i: 0 * i, lambda i: i % 2, r"^labels must hold at least two classes, got \[0\]$"),
        (lambda i: i % 2, lambda i: i // 2 % 2, r"^each of 3 levels must have an image, got none of \[2\]$"),
        (lambda i: i % 2, lambda i: -1 + 0 * i, r"^each of 3 levels must have an image, got none of \[0, 1, 2\]$"),
        (
            lambda i: i % 3,
            lambda i: i % 3,
            r"^at least one label must hold images of two levels, got an attribute that",
        ),
    ],
)
def test_what_cannot_be_measured_says_why(rng, label, code, message):
    person = np.arange(60)
    block = rng.normal(size=(60, 4)), label(person), person, code(person)
    with pytest.raises(Unmeasurable, match=message):
        stream(lambda: [block], np.eye(3, 4), np.zeros(3), levels=3, draws=FEW)


def test_each_fold_must_have_a_patient(rng):
    block = rng.normal(size=(60, 4)), np.arange(60) % 2, np.arange(60) % 2, np.arange(60) // 2 % 2
    with pytest.raises(Unmeasurable, match=r"^each of 3 folds must have a patient, got none in \[\d"):
        stream(lambda: [block], np.eye(2, 4), np.zeros(2), levels=2, draws=FEW)


def test_a_level_that_the_other_folds_lack_is_not_said(rng):
    """Its scores are minus infinity; areas and metrics stay finite."""
    person = np.arange(90)
    code = np.where(person == 4, 2, person % 2)
    block = rng.normal(size=(90, 4)), person // 2 % 2, person, code
    own, _ = stream(lambda: [block], np.eye(2, 4), np.zeros(2), levels=3, draws=FEW)
    assert np.isfinite(numbers(own)).all()
