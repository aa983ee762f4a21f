# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does a head that has never seen a level of an attribute (a scanner, a site) work on it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from monai_shortcut.statistics.delong import placements
from monai_shortcut.statistics.resampling import patient_folds, permute_by_patient

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
_FEWEST_PATIENTS = 5  # of either outcome to be ranked, of a class to fit to
_STRENGTH = 10.0  # of the head's fit: the penalty is the squared length of its weights over twice this, per image


@dataclass(frozen=True)
class HeldOutLevel:
    """How well a class is recognized at one level by heads that have and have not seen the level.

    Attributes:
        label: the class, against the rest.
        level: the level.
        images: number of images of the level that are ranked.
        patients: number of their patients.
        auc_seen: area under the ROC curve by heads fitted to all levels.
        auc_unseen: the same by heads fitted to the other levels, on equally many images.
        difference: auc_seen - auc_unseen: what it costs never to have seen the level.
        interval: confidence limits of the difference.
        p_value: two-sided, that the difference is zero.
        inflation: factor, at least 1, by which refitting the heads widens the error of the difference.
        null: difference over its error, heads taken as given, with the attribute permuted; draws in which it cannot be
            computed are left out.
    """

    label: int
    level: int
    images: int
    patients: int
    auc_seen: float
    auc_unseen: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    inflation: float
    null: tuple[float, ...]


def leave_level_out(
    embeddings: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    folds: int = 5,
    permutations: int = 20,
    level: float = 0.95,
    rng: np.random.Generator,
) -> tuple[HeldOutLevel, ...]:
    """Fit heads for the clinical label with and without the images of a level, and compare them on that level.

    For each level and fold of patients, one head is fitted to the other folds' images of the other levels, and one to
    as many images of each class from all levels of the other folds, patient after patient in random order. Both rank
    the level's images in the fold; only images of one fold are compared, for each fold has heads of its own. This makes
    sense for the clinical label only: a probe of the attribute itself cannot name a level that it has not seen.

    Heads are logistic regressions, as a clinical head is, on embeddings standardized by the images they are fitted to.
    Classes weigh the same whatever their prevalence, which may differ between levels. The penalty per image is fixed,
    so that both heads are fitted alike; a discriminant with a shrunken covariance ranks as well but takes far longer
    when D is large, and there are many heads to fit.

    The error of the difference is DeLong's for two areas on the same images, clustered by patient. It takes the heads
    as given. What fitting them adds is measured: the attribute is permuted between patients within labels and all is
    repeated; where the differences scatter more than their errors say (root mean square of their ratios over
    permutations, levels and classes), all errors are multiplied by that. So few permutations give a scale, not a
    p-value: that and the interval are Student's, with as many degrees of freedom as there are ratios.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        labels: (N,) clinical class of each image, integers.
        patients: (N,) patient of each image; no head ranks a patient it was fitted to.
        folds: number of folds.
        permutations: number of permutations of the attribute, each as costly as the comparison; 0 takes heads as given.
        level: of the intervals.
        rng: source of folds, orders of patients and permutations.

    Returns:
        One result per level and class, level by level; of two classes only the second. Classes that fewer than five
        patients of the other levels have in the fit of some fold are left out with their images, and so is what fewer
        than five patients of the level have or have not. Empty when nothing is left.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty or alone, labels are not
            integers or all the same, or there are fewer patients than folds.

    References:
        DeLong et al. (1988), Biometrics 44(3); Obuchowski (1997), Biometrics 53(2). That heads share their patients
        between folds widens the error: Nadeau and Bengio (2003), Machine Learning 52(3).

    Example:
        >>> who, site, label = np.arange(80), np.repeat([0, 1], 40), np.tile([0, 1], 40)
        >>> points = np.where(site == 0, label, 1 - label)[:, None] + np.linspace(0, 1, 80)[:, None]
        >>> found = leave_level_out(points, site, label, who, permutations=0, rng=np.random.default_rng(0))
        >>> [round(each.auc_unseen, 1) for each in found]
        [0.0, 0.0]
    """
    points, code, label, patient, names = _checked(embeddings, codes, labels, patients)
    found = _compared(points, code, label, patient, folds, rng)
    draws = code[permute_by_patient(patient, permutations if found else 0, rng, label)]
    permuted = [_compared(points, draw, label, patient, folds, rng) for draw in draws]
    null = {key: [each[key].ratio for each in permuted if key in each] for key in found}
    ratios = np.concatenate([np.zeros(0), *null.values()])
    inflation, freedom = 1.0, np.inf
    if len(ratios):
        inflation, freedom = max(1.0, float(np.sqrt((ratios**2).mean()))), float(len(ratios))
    results = []
    for (held_out, value), pair in found.items():
        reach = float(t.ppf(0.5 + level / 2, freedom)) * inflation * pair.error
        results.append(
            HeldOutLevel(
                label=int(names[value]),
                level=held_out,
                images=pair.images,
                patients=pair.patients,
                auc_seen=pair.seen,
                auc_unseen=pair.unseen,
                difference=pair.seen - pair.unseen,
                interval=(max(pair.seen - pair.unseen - reach, -1.0), min(pair.seen - pair.unseen + reach, 1.0)),
                p_value=float(2 * t.sf(abs(pair.ratio) / inflation, freedom)),
                inflation=inflation,
                null=tuple(null[held_out, value]),
            )
        )
    return tuple(results)


@dataclass(frozen=True)
class _Pair:
    """Areas by the two heads on the same images, and the error of their difference, heads taken as given."""

    seen: float
    unseen: float
    error: float
    images: int
    patients: int

    @property
    def ratio(self) -> float:
        """The difference over its error; 0 where both heads rank alike."""
        difference = self.seen - self.unseen
        return difference / max(self.error, 1e-12) if abs(difference) > 1e-12 else 0.0


def _compared(
    points: Floats, code: Integers, label: Integers, patient: Integers, folds: int, rng: np.random.Generator
) -> dict[tuple[int, int], _Pair]:
    """Both heads' areas by level and class, with folds and an order of patients drawn anew."""
    levels = int(code.max()) + 1
    fold = patient_folds(patient, label * levels + code, folds, rng)
    turn = rng.permutation(int(patient.max()) + 1)[patient]
    result = {}
    for level in range(levels):
        classes = _fitted(code != level, label, patient, fold)
        usable = np.isin(label, classes)
        ranked = np.flatnonzero(usable & (code == level))
        # Two classes mirror each other, so one of them says it all.
        chosen = [c for c in classes[len(classes) == 2 :] if _enough(label[ranked] == c, fold[ranked], patient[ranked])]
        if len(classes) < 2 or not chosen:
            continue
        scores = np.empty((2, len(classes), len(ranked)))
        for index in np.unique(fold[ranked]):
            pool = np.flatnonzero(usable & (fold != index))
            unseen = pool[code[pool] != level]
            here = fold[ranked] == index
            for head, rows in enumerate((_as_many(pool, unseen, label, turn), unseen)):
                scores[head][:, here] = _log_odds(points[rows], label[rows], points[ranked[here]])
        for c in chosen:
            own = scores[:, classes.index(c)]
            result[level, c] = _pair(own, label[ranked] == c, fold[ranked], patient[ranked])
    return result


def _fitted(others: Booleans, label: Integers, patient: Integers, fold: Integers) -> list[int]:
    """Classes that enough patients of the other levels have in the fit of every fold."""
    fits = [others & (fold != index) for index in range(int(fold.max()) + 1)]
    return [
        int(c)
        for c in np.unique(label)
        if min(len(np.unique(patient[fit & (label == c)])) for fit in fits) >= _FEWEST_PATIENTS
    ]


def _enough(positive: Booleans, fold: Integers, patient: Integers) -> bool:
    """Whether enough patients have either outcome, and some fold has both."""
    fewest = min(len(np.unique(patient[positive])), len(np.unique(patient[~positive])))
    return fewest >= _FEWEST_PATIENTS and len(np.intersect1d(fold[positive], fold[~positive])) > 0


def _as_many(pool: Integers, unseen: Integers, label: Integers, turn: Integers) -> Integers:
    """As many images of each class as the unseen head is fitted to, from the whole pool, patients in their turn."""
    ordered, wanted = pool[np.argsort(turn[pool], kind="stable")], np.bincount(label[unseen])
    return np.concatenate([ordered[label[ordered] == c][:count] for c, count in enumerate(wanted)])


def _log_odds(points: Floats, label: Integers, ranked: Floats) -> Floats:
    """Log odds (C, n) of each class against the rest, by a head fitted to points; nothing saturates into ties."""
    centre, scale = points.mean(axis=0), points.std(axis=0)
    scale = np.where(scale > 1e-9 * np.abs(points).max(), scale, np.inf)  # a constant column has no say
    head = LogisticRegression(C=_STRENGTH / len(points), class_weight="balanced", max_iter=1000)
    logits = head.fit((points - centre) / scale, label).decision_function((ranked - centre) / scale)
    if logits.ndim == 1:
        return np.stack([-logits, logits])
    classes = range(logits.shape[1])
    return np.stack([logits[:, c] - logsumexp(np.delete(logits, c, axis=1), axis=1) for c in classes])


def _pair(scores: Floats, positive: Booleans, fold: Integers, patient: Integers) -> _Pair:
    """Areas over pairs of images within folds, and DeLong's error of their difference clustered by patient."""
    inside = [fold == index for index in np.unique(fold)]
    inside = [each for each in inside if 0 < positive[each].sum() < each.sum()]
    pairs = np.array([positive[each].sum() * (~positive[each]).sum() for each in inside], dtype=np.float64)
    ranks, shares = [placements(positive[each], scores[:, each]) for each in inside], pairs / pairs.sum()
    areas = np.sum([share * above.mean(axis=1) for share, (above, _) in zip(shares, ranks, strict=True)], axis=0)
    influence = np.zeros(int(patient.max()) + 1)
    for each, share, parts in zip(inside, shares, ranks, strict=True):
        for part, chosen in zip(parts, (each & positive, each & ~positive), strict=True):
            apart = part[0] - part[1] - (areas[0] - areas[1])
            influence += np.bincount(patient[chosen], share * apart / apart.size, len(influence))
    count = len(np.unique(patient))
    error = float(np.sqrt(count / (count - 1) * (influence**2).sum()))
    return _Pair(float(areas[0]), float(areas[1]), error, len(patient), count)


def _checked(
    embeddings: ArrayLike, codes: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[Floats, Integers, Integers, Integers, NDArray[np.generic]]:
    points, code = np.asarray(embeddings, dtype=np.float64), np.asarray(codes)
    if points.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {points.shape}.")
    for name, values in (("codes", codes), ("labels", labels), ("patients", patients)):
        if np.shape(values) != (len(points),):
            raise ValueError(f"{name} must have shape ({len(points)},) to match embeddings, got {np.shape(values)}.")
    unfit = int((~np.isfinite(points)).any(axis=1).sum())
    if unfit:
        raise ValueError(f"embeddings must be finite, got {unfit} images not so.")
    found = np.unique(code)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(f"codes must be 0 to M - 1, each present and M at least 2, got {found[:10].tolist()}.")
    if np.asarray(labels).dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {np.asarray(labels).dtype}.")
    names, label = np.unique(np.asarray(labels), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"labels must hold at least two classes, got {names.tolist()}.")
    patient = np.unique(np.asarray(patients), return_inverse=True)[1]
    return points, code.astype(np.int64), label.astype(np.int64), patient.astype(np.int64), names
