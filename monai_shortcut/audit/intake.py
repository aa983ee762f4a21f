# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the caller of an audit gives, checked, without the images that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.columns import as_text, repeated, require_none, require_writable
from monai_shortcut.statistics.checks import LARGEST, checked_length, checked_patients, require_unmasked, usable_images
from monai_shortcut.statistics.duplicates import linked_patients, near_duplicates
from monai_shortcut.statistics.ordering import canonical_order
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Floats, Integers, Outcome

_OFF = 1e-3  # by which rounded probabilities may miss a sum of 1
_LOG = logging.getLogger(__name__)
Taken = tuple[Sample, Integers, dict[str, str], tuple[tuple[str, ...], ...]]  # see `taken_in`


def taken_in(
    embeddings: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    label_names: Sequence[str],
    image_ids: Sequence[str] | None,
    draws: Resampling,
    attributes: Mapping[str, Any] | None = None,
    outcome: Outcome | None = None,
) -> Taken:
    """The images whose embedding is finite; see `monai_shortcut.audit.audit` for the arguments.

    Patients who share an image are one patient of the sample: in every fold, permutation and bootstrap. With attributes
    the images are in `canonical_order`, without in the order of the rows.

    Returns:
        The sample, (n,) row of each of its images, the reason by image_id of those that it does not hold, and the
        image_ids of each group of images that look the same and are of different patients.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, a patient is
            unknown, names are missing, repeated or cannot be written, or tolerances are of no label.
    """
    require_unmasked("embeddings", embeddings)
    points = np.asarray(embeddings)
    if points.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {points.shape}.")
    ids = _checked_ids(len(points), labels, patients, image_ids, attributes or {})
    rows = np.asarray(weight)
    count = 2 if len(rows) == 1 else len(rows)
    if outcome is None and rows.ndim == 2 and len(label_names) != count:
        raise ValueError(f"label_names must hold {count} names to match the head, got {len(label_names)}.")
    _check_labels(label_names, draws)
    finite = usable_images(points)
    left_out = {str(ids[row]): _unusable(points[row]) for row in np.flatnonzero(~finite).tolist()}
    points, used = points if finite.all() else points[finite], ids[finite]
    label, rows = np.asarray(labels)[finite], np.flatnonzero(finite)
    order = None if attributes is None else canonical_order(points, label, _told_apart(attributes, patients, rows))
    patient, shared = linked_patients(near_duplicates(points, order), np.asarray(patients, dtype=str)[finite])
    build = Sample.of if outcome is None else partial(Sample.of_outcome, outcome=outcome)
    sample = build(points, weight, bias, label, patient, image_ids=used.tolist(), draws=draws, order=order)
    linked = tuple(tuple(used[group].tolist()) for group in shared)
    if linked:
        count = sum(map(len, linked))
        _LOG.warning("%d images look the same as images of other patients, who are treated as one patient.", count)
    kept = rows if order is None else rows[order]
    return sample, kept, left_out, linked


def _unusable(embedding: NDArray[Any]) -> str:
    return f"embedding above {LARGEST:g}" if np.isfinite(embedding).all() else "embedding not finite"


def answers_taken_in(
    predicted: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    label_names: Sequence[str],
    image_ids: Sequence[str] | None,
    draws: Resampling,
    attributes: Mapping[str, Any],
    outcome: Outcome | None = None,
) -> Taken:
    """The images whose answer is known, as `taken_in`; which of them look the same cannot be seen.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, rows are no probabilities, a patient is
            unknown, names are missing, repeated or cannot be written, or tolerances are of no label.
    """
    require_unmasked("predicted", predicted)
    answers = np.asarray(predicted, dtype=np.float64)
    columns = len(label_names) if outcome is None else 1
    if answers.ndim != 2 or answers.shape[1] != columns:
        match = "label_names" if outcome is None else "the outcome"
        raise ValueError(f"predicted must have shape (N, {columns}) to match {match}, got {answers.shape}.")
    ids = _checked_ids(len(answers), labels, patients, image_ids, attributes)
    _check_labels(label_names, draws)
    known = ~np.isnan(answers).all(axis=1)
    if not known.any():
        raise ValueError("at least one answer must be known, got none.")
    rows, label = np.flatnonzero(known), np.asarray(labels)
    rows = rows[canonical_order(answers[rows], label[rows], _told_apart(attributes, patients, rows))]
    patient = np.asarray(patients, dtype=str)[rows]
    given = {"image_ids": ids[rows].tolist(), "draws": draws}
    if outcome is None:
        sample = Sample.of_probabilities(answers[rows], label[rows], patient, **given)
    else:
        said = answers[rows, 0]
        sample = Sample.of_outcome(None, None, None, label[rows], patient, outcome=outcome, predicted=said, **given)
    return sample, rows, dict.fromkeys(ids[~known].tolist(), "answer not known"), ()


def _checked_ids(
    count: int,
    labels: ArrayLike,
    patients: Sequence[str],
    image_ids: Sequence[str] | None,
    attributes: Mapping[str, Any],
) -> NDArray[np.str_]:
    """(N,) names of the images, one for each label, patient and value of an attribute."""
    ids = np.asarray([str(i) for i in (range(count) if image_ids is None else image_ids)])
    for name, values in (("labels", labels), ("image_ids", ids)):
        checked_length(name, values, count)
    checked_patients(patients, count)
    check_rows(attributes, count)
    if image_ids is not None:
        check_names("image_ids", image_ids)
    return ids


def _check_labels(label_names: Sequence[str], draws: Resampling) -> None:
    check_names("label_names", label_names)
    if isinstance(draws, AuditSettings):  # of a regression there are no labels
        strangers = sorted(set(draws.tolerances) - set(label_names))
        require_none(strangers, f"tolerances must be of the labels {', '.join(label_names)}", "others")


def _told_apart(attributes: Mapping[str, Any], patients: Sequence[str], rows: Integers) -> Sequence[ArrayLike]:
    """What tells images of one embedding apart: their attributes, and how many images their patient has."""
    _, patient, images = np.unique(np.asarray(patients, dtype=str)[rows], return_inverse=True, return_counts=True)
    return [np.asarray(attributes[name], dtype=object)[rows] for name in sorted(attributes)] + [images[patient]]


def check_attributes(attributes: Mapping[str, Any], given: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Refuse what is given for attributes that there are not."""
    for what, columns in given.items():
        strangers = sorted(set(columns or {}) - set(attributes))
        if strangers:
            raise ValueError(f"{what} must be of the attributes {sorted(attributes)}, got {strangers}.")
    check_names("attributes", list(attributes))


def check_names(what: str, names: Sequence[str]) -> None:
    """Refuse names that are missing, come twice, or cannot be written to the record and its report."""
    if isinstance(names, str):
        raise ValueError(f"{what} must be names, got the single text {names!r}.")
    nameless = [place for place, name in enumerate(names) if as_text(name) is None]
    require_none(nameless, f"{what} must be given, each", "places without")
    require_none(repeated(map(str, names)), f"{what} must be unique", "repeated")
    require_writable(map(str, names), what)


def check_rows(columns: Mapping[str, Any], count: int, classes: int | None = None) -> None:
    """Refuse columns that do not have a row for each image, and answers that are not of each class."""
    for name, values in columns.items():
        require_unmasked(name, values)
        if np.shape(values)[:1] != (count,):
            raise ValueError(f"{name} must have one row for each of the {count} embeddings, got {np.shape(values)}.")
        if classes is not None and np.shape(values) != (count, classes):
            raise ValueError(f"{name} must have shape {(count, classes)}, got {np.shape(values)}.")
        if classes is not None:
            _check_answers(name, np.asarray(values, dtype=np.float64))


def _check_answers(name: str, answers: Floats) -> None:
    """Refuse rows that are neither probabilities nor unknown altogether."""
    known = answers[~np.isnan(answers).all(axis=1)]
    wrong = int((~((known >= 0) & (known <= 1)).all(axis=1) | ~(np.abs(known.sum(axis=1) - 1) <= _OFF)).sum())
    if wrong:
        raise ValueError(
            f"{name} must hold probabilities that sum to 1, or NaN in all of a row, got {wrong} rows else."
        )
