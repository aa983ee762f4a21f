# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page "before and after"; it needs comparisons of audits and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from monai_shortcut.repair.comparison import AttributeChange, Comparison
from monai_shortcut.repair.performance import Moved
from monai_shortcut.report.files import PAGE, Files, report_files
from monai_shortcut.report.pages import render
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.types import Estimate


def write_comparison(
    comparisons: Comparison | Mapping[str, Comparison],
    folder: str | Path,
    *,
    title: str = "Before and after",
    repaired: Sequence[str] = (),
) -> Path:
    """Write the page of audits before and after.

    Args:
        comparisons: one, or candidates by name, all with the same audit before.
        folder: where ``report.html``, ``changes.csv`` and ``comparison.json``, or one with the name of each candidate,
            go; made when absent.
        title: heading of the page.
        repaired: attributes that were to be repaired, which come first.

    Returns:
        The path of ``report.html``.

    Raises:
        PermissionError: If the folder cannot be written to.
    """
    replace_files(folder, comparison_files(comparisons, title, repaired), PAGE)
    return Path(folder) / PAGE


def comparison_files(
    comparisons: Comparison | Mapping[str, Comparison],
    title: str,
    repaired: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
) -> Files:
    """The files of the page, to be given to `monai_shortcut.storage.folders.replace_files`.

    Args:
        comparisons: as in `write_comparison`.
        title: heading of the page.
        repaired: as in `write_comparison`.
        refused: why there is no candidate, by name.
    """
    found = {"": comparisons} if isinstance(comparisons, Comparison) else dict(comparisons)
    records = {f"comparison{'_' if name else ''}{name}.json": one.to_json for name, one in found.items()}
    tables = [changes_table(one).assign(candidate=name) for name, one in found.items()]
    html = render(
        "comparison",
        title=title,
        comparisons=found,
        ordered={name: _ordered(one, repaired) for name, one in found.items()},
        repaired=repaired,
        refused=dict(refused or {}),
        price=price,
    )
    return report_files(records, {"changes": pd.concat(tables)} if tables else {}, {}, html)


def changes_table(comparison: Comparison) -> pd.DataFrame:
    """One row per attribute, label, pair of levels and scale, unrounded."""
    rows = []
    for one in comparison.attributes:
        for change in one.changes.rows if one.changes else ():
            row: dict[str, object] = {"attribute": one.attribute, "verdict": one.verdict}
            row |= {"label": comparison.label_names[change.label], "scale": change.scale}
            row |= {"levels": f"{one.levels[change.second]} against {one.levels[change.first]}"}
            for name in ("before", "after", "size"):
                number: Estimate = getattr(change, name)
                row |= {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high}
            rows.append(row | {"shrinks": change.shrinks, "grows": change.grows, "p": one.p_value})
    return pd.DataFrame(rows)


def _ordered(comparison: Comparison, repaired: Sequence[str]) -> list[AttributeChange]:
    return sorted(comparison.attributes, key=lambda one: one.attribute not in repaired)


def price(found: Moved | None) -> Estimate | None:
    """What an area loses: the change with its sign turned.

    Example:
        >>> none = Estimate(0.5, 0.25, 0.75)
        >>> price(Moved(none, none, Estimate(-0.25, -0.5, 0.125)))
        Estimate(value=0.25, low=-0.125, high=0.5)
    """
    if found is None:
        return None
    return Estimate(-found.change.value, -found.change.high, -found.change.low)
