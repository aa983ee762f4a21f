# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The check of a table before a model is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import require_none
from monai_shortcut.cohort.levels import association
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.statistics.duplicates import linked_patients
from monai_shortcut.statistics.image_hashes import Thumbnails, same_pictures
from monai_shortcut.table_check.record import LABEL, TOGETHER, Alike, Association, Cell, CheckSettings, TableCheck
from monai_shortcut.table_check.telling import telling
from monai_shortcut.types import Integers, Unmeasurable

MISSING = "(missing)"
_NO_FOLD = ""


def check_table(
    cohort: Cohort,
    *,
    folds: Mapping[str, str] | None = None,
    thumbnails: Mapping[str, Thumbnails] | None = None,
    unusable: Mapping[str, str] | None = None,
    settings: CheckSettings | None = None,
    title: str = "Check of a table",
) -> TableCheck:
    """Check what a model could learn from a table instead of the images, and what would flatter its test.

    Args:
        cohort: the images; its own folds are not looked at.
        folds: fold, or part such as "train", by image; None if there are none.
        thumbnails: small copies, as from `monai_shortcut.statistics.image_hashes.thumbnail`, by image; None if images
            are not compared.
        unusable: why an image could not be read.
        settings: how.
        title: what is checked.

    Returns:
        The record.

    Raises:
        ValueError: If folds or thumbnails are of images that the cohort does not have.

    Example:
        >>> people = [f"p{number}" for number in range(60)]
        >>> table = pd.DataFrame({"image_id": people, "patient_id": people, "label": [0, 1] * 30})
        >>> check_table(Cohort.from_table(table.assign(scanner=["A", "B"] * 30))).confounded
        ('scanner',)
    """
    chosen = settings or CheckSettings()
    for what, given in (("folds", folds), ("thumbnails", thumbnails)):
        require_none(sorted(set(given or ()) - set(cohort.image_ids)), f"{what} must be of images of the cohort")
    levels, problems = _levels(cohort, chosen)
    try:
        told = telling(cohort, levels, chosen)
    except Unmeasurable as reason:
        told, problems = (), {**problems, TOGETHER: str(reason)}
    return TableCheck(
        title=title,
        images=len(cohort),
        patients=len(np.unique(cohort.patients)),
        label_names=cohort.label_names,
        settings=chosen,
        telling=told,
        problems=problems,
        associations=_associations(cohort, levels),
        cells=_cells(cohort, levels),
        leaks=None if folds is None else _leaks(cohort, folds),
        duplicates=_duplicates(cohort, folds or {}, thumbnails) if thumbnails else None,
        compared=len(thumbnails or ()),
        unusable=dict(unusable or {}),
        excluded=dict(cohort.excluded),
        rare=_rare(cohort, levels, chosen.minimum_patients),
    )


def _levels(cohort: Cohort, settings: CheckSettings) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Level of each image by attribute, missing ones as a level of their own; and why others are not checked."""
    found, problems = {}, {}
    for name in cohort.attributes:
        own = cohort.levels(name, bins=settings.bins, minimum_patients=1, maximum_levels=settings.maximum_levels)
        several = len(own.names) + (own.missing > 0)
        if not own.names or several < 2:
            problems[name] = own.problem
            continue
        values = np.array([*own.names, MISSING], dtype=object)[own.codes]
        found[name] = pd.Series(values, cohort.table.index, dtype=object)
    return found, problems


def _associations(cohort: Cohort, levels: Mapping[str, pd.Series]) -> tuple[Association, ...]:
    codes = {LABEL: cohort.labels, **{name: pd.factorize(own)[0].astype(np.int64) for name, own in levels.items()}}
    one = np.zeros(len(cohort), dtype=np.int64)
    found = [
        Association(first, second, association(codes[first], codes[second], one))
        for first, second in combinations(codes, 2)
    ]
    return tuple(sorted(found, key=lambda pair: (pair.first != LABEL, -pair.v)))


def _cells(cohort: Cohort, levels: Mapping[str, pd.Series]) -> tuple[Cell, ...]:
    found, persons, labels = [], cohort.patients, cohort.labels
    for name, own in levels.items():
        for level in sorted(set(own)):
            for code, label in enumerate(cohort.label_names):
                inside = (own == level).to_numpy() & (labels == code)
                found.append(Cell(name, label, level, int(inside.sum()), len(np.unique(persons[inside]))))
    return tuple(found)


def _rare(cohort: Cohort, levels: Mapping[str, pd.Series], least: int) -> dict[str, dict[str, int]]:
    """Images of each level that fewer patients have, by attribute."""
    found: dict[str, dict[str, int]] = {}
    for name, own in levels.items():
        patients = pd.Series(cohort.patients, own.index).groupby(own).nunique()
        images = own.value_counts()
        rare = {str(level): int(images[level]) for level in patients.index[patients < least]}
        found |= {name: rare} if rare else {}
    return found


def _leaks(cohort: Cohort, folds: Mapping[str, str]) -> tuple[Alike, ...]:
    """Patients whose images are in several folds; images in none do not count."""
    ids = cohort.image_ids
    rows = np.array([place for place, name in enumerate(ids) if folds.get(name)], dtype=np.int64)
    if not len(rows):
        return ()
    parts = np.array([folds[ids[row]] for row in rows], dtype=np.str_)
    _, persons = np.unique(cohort.patients[rows], return_inverse=True)
    return _alike([rows[members] for members in linked_patients(persons, parts)[1]], cohort, folds)


def _duplicates(cohort: Cohort, folds: Mapping[str, str], pictures: Mapping[str, Thumbnails]) -> tuple[Alike, ...]:
    """Images that look the same and are of several patients, or in several folds."""
    ids = cohort.image_ids
    rows = np.array([place for place, name in enumerate(ids) if name in pictures], dtype=np.int64)
    names = [ids[row] for row in rows]
    groups = same_pictures(np.stack([pictures[name] for name in names]))
    parts = [
        f"{folds.get(name, _NO_FOLD)}\n{patient}" for name, patient in zip(names, cohort.patients[rows], strict=True)
    ]
    units: NDArray[np.str_] = np.array(parts, dtype=np.str_)
    return _alike([rows[members] for members in linked_patients(groups, units)[1]], cohort, folds)


def _alike(groups: Sequence[Integers], cohort: Cohort, folds: Mapping[str, str]) -> tuple[Alike, ...]:
    found, ids, labels, persons = [], cohort.image_ids, cohort.labels, cohort.patients
    for rows in groups:
        names = tuple(ids[row] for row in rows)
        parts = {folds[name] for name in names if folds.get(name)}
        called = {cohort.label_names[code] for code in labels[rows]}
        found.append(Alike(names, len(np.unique(persons[rows])), tuple(sorted(parts)), tuple(sorted(called))))
    return tuple(sorted(found, key=lambda one: (-len(one.labels), -len(one.folds), one.linked)))
