# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What every study of repairs keeps of a repair: the truth before and after, and what the page says; as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from monai_shortcut.repair import Comparison, compare_audits
from monai_shortcut.repair.ruling import NO_CHANGE, REDUCED, REPAIRED, WORSE
from monai_shortcut.types import Floats, Integers

TOLERANCE = 0.1
Row = dict[str, Any]


def effects(shown: Floats, swapped: Floats, labels: Integers, codes: Integers) -> Floats:
    """How far mean probabilities and shares of answers of each label move when the level alone is swapped.

    Args:
        shown: (N, C) probabilities.
        swapped: (N, C) of the same images with the other of two levels.
        labels: (N,).
        codes: (N,) levels of the images as shown, 0 or 1.
    """
    sign, classes, found = np.where(codes == 1, 1.0, -1.0)[:, None], np.eye(shown.shape[1]), []
    for label in np.unique(labels):
        inside = labels == label
        pairs = (shown, swapped), (classes[shown.argmax(axis=1)], classes[swapped.argmax(axis=1)])
        found += [0.5 * np.abs((sign * (own - other))[inside].mean(axis=0)).sum() for own, other in pairs]
    return np.array(found)


def auc(labels: Integers, chances: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve of probabilities (N, C), mean over the classes against the rest."""
    classes = [1] if chances.shape[1] == 2 else range(chances.shape[1])
    return float(np.mean([roc_auc_score(labels == one, chances[:, one], sample_weight=weights) for one in classes]))


def answered(before: Any, after: Any, attribute: str) -> Row:
    """What the comparison of two audits, or of their records, says of a repair of an attribute."""
    return told(compare_audits(before, after), attribute)


def told(found: Comparison, attribute: str) -> Row:
    """What a comparison says of a repair of an attribute."""
    own, price = found.attribute(attribute), found.price.auc.change if found.price and found.price.auc else None
    return {
        "verdict": own.verdict,
        "reason": own.reason,
        "audit before": own.before,
        "audit after": own.after,
        "price": [-price.value, -price.high, -price.low] if price else None,
        "gap": [own.gap.before.value, own.gap.after.value] if own.gap else None,
    }


def refused(why: Exception) -> Row:
    """A repair that is refused."""
    return {"verdict": "refused", "reason": str(why)}


def wrong(row: Row) -> bool:
    """Whether the verdict contradicts the exact effects."""
    if not row.get("effect"):
        return False
    before, after = row["effect"]
    return {
        REPAIRED: after >= TOLERANCE,
        REDUCED: after >= before,
        WORSE: after <= before,
        NO_CHANGE: abs(after - before) >= TOLERANCE,
    }.get(row["verdict"], False)


def table(rows: Iterable[Row], by: Sequence[str]) -> str:
    """Means, and counts of the verdicts, by some keys of the rows."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[key]) for key in by), []).append(row)
    heads = ["repairs", "swap effect before", "after", "gap before", "after", "AUC before", "after"]
    heads = [*by, *heads, "loss of AUC on the page", "verdicts", "repaired, though 0.1 or more is left", "wrong"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join(lines + ["| " + " | ".join([*key, *_cells(own)]) + " |" for key, own in groups.items()])


def _cells(rows: list[Row]) -> list[str]:
    pairs = [cell for key, digits in (("effect", 2), ("gap", 2), ("auc", 3)) for cell in _pair(rows, key, digits)]
    prices = [row["price"] for row in rows if row.get("price")]
    price = "{:.3f} ({:.3f} to {:.3f})".format(*np.mean(prices, axis=0)) if prices else "-"
    verdicts = Counter(row["verdict"] for row in rows).most_common()
    false = sum(row["verdict"] == REPAIRED and wrong(row) for row in rows)
    counts = [", ".join(f"{verdict} {count}" for verdict, count in verdicts), str(false), str(sum(map(wrong, rows)))]
    return [str(len(rows)), *pairs, price, *counts]


def _pair(rows: list[Row], key: str, digits: int) -> list[str]:
    known = [row[key] for row in rows if row.get(key)]
    return [f"{value:.{digits}f}" for value in np.mean(known, axis=0)] if known else ["-", "-"]


def finished(folder: Path, pattern: str = "*.json") -> list[Row]:
    """All rows that a folder holds."""
    return [row for path in sorted(folder.glob(pattern)) for row in json.loads(path.read_text(encoding="utf-8"))]


def shortkit_heads(path: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Weight (1, D) and bias (1,) of a single logit, by name, that ShortKit-ML gives; none if it was not asked."""
    if not path.exists():
        return {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {name: (np.array(one["weight"]), np.array(one["bias"])) for name, one in kept.items()}
