# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Attributes that go along with each other: which of them keeps its differences when all are modelled together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.differences import Difference, Differences, joint_differences, sliced_differences
from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.audit.leading import exceeds
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import Company, Evidence
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels, association


def in_company(
    measured: Mapping[str, Evidence],
    samples: Mapping[str, AttributeSample],
    coded: Mapping[str, Levels],
    fine: Mapping[str, NDArray[np.int64]],
    settings: AuditSettings,
) -> dict[str, Evidence]:
    """The evidence, with what becomes of differences at equal levels of the attributes that go along.

    Attributes whose differences are significant and that are associated within labels, directly or through others, are
    one company. Each is measured in a linear model of each label together with all the others.

    Args:
        measured: evidence by attribute, p-values adjusted.
        samples: the attributes' samples.
        coded: the attributes' levels, over all images.
        fine: (N,) the same as others are held equal by them: numbers in narrow bins, -1 where unknown.
        settings: settings of the audit.
    """
    differ = [
        name
        for name, evidence in measured.items()
        if evidence.differences_p_value is not None and evidence.differences_p_value <= settings.significance
    ]
    strength = {frozenset(pair): _associated(samples[pair[0]], *pair, coded) for pair in combinations(differ, 2)}
    result = dict(measured)
    for group in _groups(differ, {pair for pair, value in strength.items() if value >= settings.associated}):
        rows = {
            name: joint_differences(
                samples[name], {other: fine[other] for other in group if other != name}, threshold=settings.threshold
            )
            for name in group
        }
        keeps = {name: _keeps(rows[name], settings.significance / len(group)) for name in group}
        for name in group:
            others = [other for other in group if other != name]
            company = Company(
                association={other: strength[frozenset((name, other))] for other in others},
                differences=rows[name],
                kept=tuple(other for other in others if keeps[other]),
                keeps=keeps[name],
            )
            result[name] = replace(measured[name], company=company)
    return result


def at_equal_levels(
    measured: Mapping[str, Evidence],
    samples: Mapping[str, AttributeSample],
    coded: Mapping[str, Levels],
    fine: Mapping[str, NDArray[np.int64]],
    settings: AuditSettings,
    label_names: Sequence[str],
) -> dict[str, Evidence]:
    """The evidence of attributes that are not used, with their differences at equal levels of others.

    Those that are used are held equal, for what they move hides what is left; and those that go along with the
    attribute, for one may cancel the other.

    Args:
        measured: evidence by attribute, with company.
        samples: the attributes' samples.
        coded: the attributes' levels, over all images.
        fine: as `in_company`.
        settings: settings of the audit.
        label_names: names of the classes.
    """
    used = {
        name
        for name, evidence in measured.items()
        if is_used(evidence.differences, evidence.differences_p_value, settings, label_names)
    }
    result = dict(measured)
    for name in measured.keys() - used:
        if rows := rows_at_equal_levels(name, used, samples, coded, fine, settings):
            result[name] = replace(measured[name], equal=rows)
    return result


def rows_at_equal_levels(
    name: str,
    used: Set[str],
    samples: Mapping[str, AttributeSample],
    coded: Mapping[str, Levels],
    fine: Mapping[str, NDArray[np.int64]],
    settings: AuditSettings,
) -> tuple[Difference, ...]:
    """Differences of one attribute that is not used at equal levels of those that are, or that go along with it.

    Args:
        name: the attribute.
        used: attributes that are used.
        samples: samples of all attributes that are measured.
        coded: the attributes' levels, over all images.
        fine: as `in_company`.
        settings: settings of the audit.

    Returns:
        The differences; none where there is no such other attribute.
    """
    others = {
        other: fine[other]
        for other in samples
        if other != name and (other in used or _associated(samples[name], name, other, coded) >= settings.associated)
    }
    return joint_differences(samples[name], others, threshold=settings.threshold) if others else ()


def is_used(
    found: Differences | None, p_value: float | None, settings: AuditSettings, label_names: Sequence[str]
) -> bool:
    """Whether differences over all images are significant, and one of them certain to exceed its tolerance.

    Args:
        found: the differences of an attribute, None where nothing could be compared.
        p_value: of the largest one, adjusted over the attributes.
        settings: settings of the audit.
        label_names: names of the classes.
    """
    if found is None or p_value is None or p_value > settings.significance:
        return False
    names = Names(tuple(label_names), ())
    return any(exceeds(row, settings, names) for row in found.rows)


def in_slices(
    measured: Mapping[str, Evidence],
    samples: Mapping[str, AttributeSample],
    coded: Mapping[str, Levels],
    settings: AuditSettings,
    label_names: Sequence[str],
) -> dict[str, Evidence]:
    """The evidence, with differences that show only among images of one level of another attribute.

    Args:
        measured: evidence by attribute, with company.
        samples: the attributes' samples.
        coded: the attributes' levels, over all images.
        settings: settings of the audit.
        label_names: names of the classes.
    """
    result = dict(measured)
    for name, evidence in measured.items():
        if evidence.company is not None or evidence.differences is None:
            continue
        if is_used(evidence.differences, evidence.differences_p_value, settings, label_names):
            continue
        certain = certain_in_slices(samples[name], coded, len(measured), settings, label_names)
        result[name] = replace(evidence, slices=certain)
    return result


def certain_in_slices(
    sample: AttributeSample,
    coded: Mapping[str, Levels],
    tests: int,
    settings: AuditSettings,
    label_names: Sequence[str],
) -> tuple[Difference, ...]:
    """Differences among images of one level of another attribute that are certain to exceed their tolerance.

    Args:
        sample: the attribute's sample.
        coded: the levels of all attributes, over all images.
        tests: number of attributes that are asked this.
        settings: settings of the audit.
        label_names: names of the classes.
    """
    others = {name: levels.codes for name, levels in coded.items() if name != sample.name and not levels.problem}
    rows = sliced_differences(
        sample, others, fewest=settings.judged_patients, tests=tests, threshold=settings.threshold
    )
    names = Names(tuple(label_names), ())
    return tuple(row for row in rows if exceeds(row, settings, names))


def _keeps(rows: tuple[Difference, ...], significance: float) -> bool:
    return any(row.p_value <= significance for row in rows)


def _associated(sample: AttributeSample, name: str, other: str, coded: Mapping[str, Levels]) -> float:
    """Cramer's V within labels of two attributes, over the images that have both."""
    both = (coded[name].codes >= 0) & (coded[other].codes >= 0)
    if not both.any():
        return 0.0
    return association(coded[name].codes[both], coded[other].codes[both], sample.images.labels[np.flatnonzero(both)])


def _groups(names: list[str], pairs: set[frozenset[str]]) -> list[list[str]]:
    """Names that are linked by pairs, directly or through others; those of one alone are left out."""
    group = {name: index for index, name in enumerate(names)}
    for first, second in map(tuple, pairs):
        joined, gone = sorted((group[first], group[second]))
        group = {name: joined if value == gone else value for name, value in group.items()}
    found = [[name for name in names if group[name] == value] for value in sorted(set(group.values()))]
    return [members for members in found if len(members) > 1]
