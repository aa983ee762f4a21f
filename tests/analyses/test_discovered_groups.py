# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hidden_groups import QUICK, TURN, audited, hidden
from samples import images_of, levels_of

from monai_shortcut.analyses import discovered_groups as module
from monai_shortcut.analyses.discovered_groups import WAYS, discovered_groups
from monai_shortcut.audit import Audit, audit
from monai_shortcut.audit.discovered import NONE_FOUND, with_pictures
from monai_shortcut.audit.wording import summary
from monai_shortcut.storage.privacy import written
from monai_shortcut.types import Unmeasurable


def sampled(seed: int, strength: float, **changed):
    """Images and their scanner, from which groups are found."""
    points, weight, bias, label, patient, scanner = hidden(seed, strength, **changed)
    images = images_of(label, patient, points=points, weight=weight, bias=bias, permutations=59, seed=seed)
    return images, scanner


def differs(seed: int, strength: float) -> bool:
    return audited(seed, strength).discovered.differ


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scanner_that_no_column_names_is_found_where_the_head_reads_it(seed):
    assert differs(seed, 1.0)
    assert not differs(seed, 0.0)


@pytest.mark.slow
def test_a_withheld_scanner_is_found_in_most_seeds_and_one_that_is_not_used_in_none():
    assert sum(differs(seed, 1.0) for seed in range(10)) >= 8
    assert not any(differs(seed, 0.0) for seed in range(10))


def test_groups_are_the_scanners_of_patients_that_did_not_find_them():
    images, scanner = sampled(0, 1.0)
    found = discovered_groups(images, {"scanner": levels_of(scanner)}, most=3, fewest=10)
    assert (found.fitted, found.tested) == (75, 75)
    assert tuple(one.way for one in found.groupings) == WAYS
    answer = images.probabilities[:, 1]
    for grouping, compared in found.compared:
        reached = [label for label, strengths in enumerate(grouping.strengths) if strengths[0] >= 0.8]
        assert reached
        assert grouping.names == ("group 1", "group 2")
        assert [(one.label, one.level) for one in grouping.groups] == [(c, level) for c in reached for level in (0, 1)]
        assert compared.test.p_value == 1 / 60
        for label in reached:
            groups = [group for group in grouping.groups if group.label == label]
            assert sum(group.images for group in groups) < (images.labels == label).sum() * 0.6
            for group in groups:
                (one,) = group.explained
                assert one.attribute == "scanner"
                assert one.association == pytest.approx(1, abs=0.02)
                assert one.difference.value == one.inside - one.outside
                assert abs(one.difference.value) == pytest.approx(1, abs=0.02)
            # The answers by the true scanner, over all images: what the test on half of the patients is about.
            low, high = (answer[(images.labels == label) & (scanner == level)].mean() for level in (0, 1))
            (row,) = (r for r in compared.rows if r.label == label and r.scale == "probability")
            assert abs(row.estimate.value) == pytest.approx(high - low, abs=0.12)


def test_members_stand_beside_the_nearest_image_of_another_patient_that_is_none():
    images, scanner = sampled(1, 1.0)
    found = discovered_groups(images, {}, most=2, fewest=10)
    points = images.points.components(4)
    for group in found.groupings[0].groups:
        assert len(group.beside) == 4
        shown = np.array(group.beside).astype(int)
        assert len(np.unique(shown)) == 8
        assert (images.labels[shown] == group.label).all()
        assert (scanner[shown[:, 0]] != scanner[shown[:, 1]]).all()
        assert len(np.unique(images.patients[shown[:, 0]])) == 4
        first, nearest = shown[0]
        others = (images.labels == group.label) & (scanner == scanner[nearest])
        distance = ((points - points[first]) ** 2).sum(axis=1)
        # Of all images of the label and the other scanner, of which half were tested, few are nearer.
        assert (distance[others] < distance[nearest]).mean() < 0.1


def test_patients_never_straddle_the_halves_and_labels_are_shared_out():
    images, _ = sampled(2, 1.0)
    second = module._second_half(images.patients, images.labels, np.random.default_rng(0))
    assert not set(images.patients[second]) & set(images.patients[~second])
    assert abs(images.labels[second].mean() - images.labels.mean()) < 0.05


def test_of_permuted_embeddings_nothing_is_found():
    """Each column by itself: its values stay, and what goes with what is gone."""
    images, _ = sampled(0, 1.0)
    rng = np.random.default_rng(1)
    points = np.stack([rng.permutation(column) for column in images.points.source.rows(slice(None)).T], axis=1)
    permuted = images_of(images.labels, images.patients, points=points @ np.eye(16), weight=images.weight)
    found = discovered_groups(permuted, {}, most=3, fewest=10)
    assert found.compared == ()
    assert all(one.groups == () and one.differences is None for one in found.groupings)


def test_a_label_that_is_hard_to_tell_forms_no_groups():
    """Embeddings of one cloud along what the head reads: easy and hard images are no two kinds."""
    points, weight, bias, label, patient, _ = hidden(0, 0.0, trace=0.0)
    points += 2 * np.random.default_rng(3).normal(size=len(points))[:, None] * TURN[0]
    images = images_of(label, patient, points=points, weight=weight, bias=bias)
    assert discovered_groups(images, {}, most=3, fewest=10).compared == ()


def test_errors_in_one_part_of_a_cloud_are_groups_that_embeddings_alone_are_not():
    """A round cloud of which the head misreads one side; errors that nothing in the embedding tells are no groups."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(200), 2)
    label = rng.integers(2, size=len(patient))
    points = rng.normal(size=(len(patient), 4)) + [[3, 0, 0, 0]] * label[:, None]
    weight, bias = np.array([[0, 0, 0, 0], [5.0, 30, 0, 0]]), np.array([0, -7.5])
    images = images_of(label, patient, points=points, weight=weight, bias=bias, permutations=59)
    embeddings, errors = discovered_groups(images, {}, most=2, fewest=10).groupings
    wrong = (images.probabilities[:, 1] > 0.5) != images.labels
    assert 0.35 < wrong.mean() < 0.45
    assert max(strength for strengths in embeddings.strengths for strength in strengths) < 0.8
    for grouped in errors.groups:
        members = np.array([member for member, _ in grouped.beside]).astype(int)
        assert len(np.unique(wrong[members])) == 1
    assert errors.groups
    assert errors.differences.test.p_value == 1 / 60
    search = module._Finding(images.points.components(4), rng.permutation(4.0 * wrong), images, 2, 10, rng)
    assert search.groups(np.ones(len(images), dtype=bool))[0] == {}


def test_limits_of_an_explanation_are_those_of_patients_drawn_with_replacement():
    images, scanner = sampled(0, 1.0)
    member = np.random.default_rng(0).random(len(images)) < 0.3 + 0.3 * scanner
    told = module._explanation(images, "scanner", levels_of(scanner), np.arange(len(images)), member)
    drawn = []
    for counts in images.bootstrap:
        weight = counts[images.patients].astype(float)
        share = [
            np.average(scanner[chosen] == int(told.level[-1]), weights=weight[chosen]) for chosen in (member, ~member)
        ]
        drawn.append(share[0] - share[1])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (told.difference.low, told.difference.high) == pytest.approx((low, high))
    assert told.inside == np.mean(scanner[member] == int(told.level[-1]))
    assert module._explanation(images, "scanner", levels_of(scanner), np.arange(9), np.ones(9, dtype=bool)) is None


def test_prediction_strength_is_the_share_of_pairs_that_stay_together():
    own, given = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 0, 0])
    shares = []
    for group in (0, 1):
        pairs = [(a, b) for a in np.flatnonzero(own == group) for b in np.flatnonzero(own == group) if a < b]
        shares.append(np.mean([given[a] == given[b] for a, b in pairs]))
    assert shares == [pytest.approx(1 / 3), pytest.approx(1 / 3)]
    assert module._kept_together(own, given) == pytest.approx(1 / 3)
    assert module._kept_together(own, own) == 1
    assert module._kept_together(np.array([0, 0, 1]), np.array([0, 0, 1])) == 0  # a group of one image is none


def test_too_few_patients_are_unmeasurable_with_the_reason():
    images, _ = sampled(0, 1.0, patients=60)
    held = [len(np.unique(images.patients[images.labels == label])) for label in (0, 1)]
    message = r"a label must have 120 patients in the half in which groups are found, got (\d+) at most"
    with pytest.raises(Unmeasurable, match=message):
        discovered_groups(images, {}, most=2, fewest=30)
    assert max(held) < 120


def test_one_patient_and_answers_alone_are_unmeasurable():
    points, _, _, label, *_ = hidden(0, 1.0, patients=20)
    one = images_of(label, np.zeros(len(label), dtype=int), points=points)
    with pytest.raises(Unmeasurable, match="got 1 at most"):
        discovered_groups(one, {}, most=2, fewest=5)
    answers = np.tile([0.25, 0.75], (len(label), 1))
    with pytest.raises(Unmeasurable, match="it takes the embeddings, and only the predicted probabilities are known"):
        discovered_groups(images_of(label, answers=answers), {}, most=2, fewest=5)


@pytest.fixture(scope="module")
def found() -> Audit:
    return audited(0, 1.0)


def test_looking_for_groups_moves_no_other_number(found):
    without = audited(0, 1.0, replace(QUICK, discovered_groups=0))
    assert without.discovered is None
    assert found.discovered.differ
    same = {"settings": without.settings, "discovered": None}
    assert replace(found, **same) == without


def test_the_order_of_the_rows_moves_no_group(found):
    shuffled = audited(0, 1.0, rows=np.random.default_rng(5).permutation(300))
    assert shuffled.discovered == found.discovered


def test_what_is_said_of_groups(found):
    told = found.discovered
    assert told.reason.startswith("Predictions differ in groups that no column names, groups of embeddings: ")
    assert told.reason.endswith("p 0.033. What sets them apart is for people to see.")
    assert told.p_value == 2 / 60  # two kinds of groups
    assert summary(found).split("\n")[-1] == told.reason
    calm = audited(0, 0.0).discovered
    assert not calm.differ
    assert calm.found.compared
    assert calm.reason.startswith("There are groups, but their predictions are not certain to differ by more than is")
    assert audited(0, 1.0, audits=2).discovered.p_value == 4 / 60
    few = audited(0, 1.0, replace(QUICK, minimum_patients=100)).discovered
    assert (few.found, few.differ) == (None, False)
    assert few.reason.startswith("Not computed: a label must have 400 patients in the half in which groups are found")


def test_groups_that_nobody_can_tell_apart_are_said_to_be_none():
    points, weight, bias, label, patient, _ = hidden(0, 1.0, trace=0.0)
    names = {"label_names": ["a", "b"], "settings": QUICK}
    one = audit(points, weight, bias, label, [f"p{number}" for number in patient], {}, **names).discovered
    assert (one.reason, one.differ, one.p_value) == (NONE_FOUND, False, None)


def test_the_record_survives_its_json_and_hides_names_and_pixels(found, tmp_path):
    pictures = {f"image {row}": f"picture {row}" for row in range(300)}
    shown = replace(found, discovered=with_pictures(found.discovered, pictures, found.label_names))
    groups = [group for one in shown.discovered.found.groupings for group in one.groups]
    assert [row.label for row in shown.discovered.examples] == [
        f"{one.way}, {found.label_names[group.label]}, group {group.level + 1}"
        for one in shown.discovered.found.groupings
        for group in one.groups
    ]
    for row, group in zip(shown.discovered.examples, groups, strict=True):
        assert row.image_id == group.beside[0][0]
        name = row.label.split(", ", 1)[1]
        assert list(row.pictures) == [
            text for i in range(1, 5) for text in (f"{name}: member {i}", f"not a member {i}")
        ]
        assert list(row.pictures.values()) == [pictures[image] for pair in group.beside for image in pair]
    shown.to_json(tmp_path / "a.json")
    told = Audit.from_json(tmp_path / "a.json")
    assert told == written(shown)
    assert told.discovered.examples == ()
    hidden_groups = [group for one in told.discovered.found.groupings for group in one.groups]
    names = [image for group in hidden_groups for pair in group.beside for image in pair]
    assert len(set(names)) == len({image for group in groups for pair in group.beside for image in pair})
    allowed = replace(shown, settings=replace(shown.settings, privacy={"ids": True, "pixels": True}))
    allowed.to_json(tmp_path / "b.json")
    assert Audit.from_json(tmp_path / "b.json") == allowed
    assert with_pictures(None, pictures, found.label_names) is None
    few = with_pictures(found.discovered, {}, found.label_names)
    assert few == found.discovered
