# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the study as tables in Markdown, and its figure."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from scenarios import SCENARIOS
from scipy.stats import rankdata, spearmanr

LARGE = {"devices": 0.3}  # standard deviations of the score; elsewhere 0.1 of probability
STATISTICS = {  # name -> its p-value, where it has one
    "probe AUROC": None,
    "own AUROC": "probe p",
    "WSC, published": "WSC p",
    "WSC, post-hoc": "WSC p",
    "WSC, raw space": None,
    "WSC, balanced": None,
    "alignment": None,
    "alignment within": "alignment p",
    "erasure": "erasure p",
    "prediction gap": "gap p",
    "latent counterfactual": "latent p",
    "largest probability": "differences p",
    "largest decision": None,
    "largest rank": None,
}
ORDER = {"not encoded": 0, "encoded, not used": 1, "inconclusive": 2, "used": 3}
SHORTKIT = {"LOW": 0, "MODERATE": 1, "HIGH": 2}


def report(rows: list[dict[str, Any]]) -> str:
    """All tables that the rows allow."""
    frame = pd.DataFrame(rows)
    parts = []
    if (frame["part"] == "embeddings").any():
        parts += ["## Embeddings", scenarios(frame[frame["part"] == "embeddings"])]
        parts.append(statistics_by_scenario(frame[frame["part"] == "embeddings"]))
    for part, groups in (("phantoms", ["evaluated", "model"]), ("marks", ["evaluated", "model"]), ("devices", [])):
        chosen = frame[frame["part"] == part]
        if len(chosen):
            parts += [f"## {part.capitalize()}", verdicts(chosen), against_truth(chosen, groups)]
    if (frame["part"] == "embeddings").any():
        binary = frame[(frame["part"] == "embeddings") & frame["gap p"].notna()]
        parts += ["## Statistics against the truth, embeddings", against_truth(binary, [])]
    return "\n\n".join(parts)


def scenarios(frame: pd.DataFrame) -> str:
    """Verdicts by scenario and attribute, and what ShortKit-ML says."""
    lines = [
        "| scenario | attribute | true effect | not encoded | encoded, not used | inconclusive | used | ShortKit-ML |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (scenario, attribute), group in _in_order(frame):
        found = Counter(group["verdict"])
        cells = [scenario, attribute[-1], f"{group['truth'].mean():.2f}", *(str(found[verdict]) for verdict in ORDER)]
        told = Counter(group["shortkit"].dropna()) if "shortkit" in group else Counter()
        cells.append(", ".join(f"{verdict} {told[verdict]}" for verdict in reversed(SHORTKIT) if told[verdict]) or "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _in_order(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Scenarios as they are listed, with their attributes."""
    groups = dict(list(frame.groupby(["scenario", "attribute"])))
    return sorted(groups.items(), key=lambda item: (list(SCENARIOS).index(item[0][0]), item[0][1]))


def statistics_by_scenario(frame: pd.DataFrame) -> str:
    """False alarms where nothing is used and power where the use is strong, of every statistic with a p-value."""
    tested = [name for name, p_value in STATISTICS.items() if p_value and name != "WSC, post-hoc"]
    lines = ["| scenario | true effect | " + " | ".join(tested) + " |", "|---|---|" + "---|" * len(tested)]
    for (scenario, attribute), group in _in_order(frame):
        shares = [f"{(group[STATISTICS[name]] <= 0.05).mean():.2f}" for name in tested]
        label = scenario if attribute == "attribute 0" else f"{scenario}, another ({attribute[-1]})"
        lines.append(f"| {label} | {group['truth'].mean():.2f} | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def verdicts(frame: pd.DataFrame) -> str:
    """Verdicts by size of the true effect."""
    keys = [key for key in ("evaluated", "model") if key in frame and frame[key].notna().any()]
    cut = pd.cut(
        frame["truth"], [-1, 0.05, 0.1, 0.2, 10], labels=["below 0.05", "0.05 to 0.1", "0.1 to 0.2", "0.2 and more"]
    )
    lines = [
        "| " + " | ".join([*keys, "true effect", "pairs", *ORDER]) + " |",
        "|" + "---|" * (len(keys) + 2 + len(ORDER)),
    ]
    for key, group in frame.assign(size=cut).groupby([*keys, "size"], observed=True):
        found = Counter(group["verdict"])
        lines.append("| " + " | ".join([*map(str, key), str(len(group)), *(str(found[v]) for v in ORDER)]) + " |")
    return "\n".join(lines)


def against_truth(frame: pd.DataFrame, groups: list[str]) -> str:
    """Rank correlation of each statistic with the true effect, and its AUROC for effects that are large."""
    known, large = frame[frame["gap p"].notna()], LARGE.get(frame["part"].iloc[0], 0.1)
    panels = [(" ".join(map(str, key)), group) for key, group in known.groupby(groups)] if groups else [("all", known)]
    heads = " | ".join(f"{name} ({len(group)})" for name, group in panels)
    lines = [f"| statistic: rank correlation, AUROC | {heads} |", "|---|" + "---|" * len(panels)]
    for name in [*STATISTICS, "verdict", *(["shortkit score"] if "shortkit score" in known else [])]:
        cells = []
        for _, group in panels:
            value = group["verdict"].map(ORDER) if name == "verdict" else group[name]
            cells.append(
                f"{spearmanr(group['truth'], value).statistic:.2f}, {auroc(group['truth'] >= large, value):.2f}"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def auroc(large: pd.Series[bool], values: pd.Series[float]) -> float:
    """Area under the ROC curve of a statistic for large effects; NaN where all or none are large."""
    positive = large.to_numpy()
    m, n = positive.sum(), (~positive).sum()
    rank = rankdata(values.to_numpy(dtype=float))
    return float((rank[positive].sum() - m * (m + 1) / 2) / (m * n)) if m and n else float("nan")


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Statistics against the true effect, on models of images."""
    frame = pd.DataFrame(rows)
    frame = frame[frame["part"].isin(["phantoms", "marks"]) & frame["gap p"].notna()]
    names = ["probe AUROC", "WSC, published", "alignment within", "erasure", "prediction gap", "latent counterfactual"]
    drawn = Figure(figsize=(12, 7), layout="constrained")
    for axes, name in zip(drawn.subplots(2, 3).flat, names, strict=True):
        for evaluated, colour in (("balanced", "#0072B2"), ("biased", "#D55E00")):
            for model, marker in (("post-hoc", "o"), ("multi-task", "^")):
                group = frame[(frame["evaluated"] == evaluated) & (frame["model"] == model)]
                label = f"{model}, {evaluated} images"
                axes.plot(group["truth"], group[name], marker, color=colour, alpha=0.5, markersize=4, label=label)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("probability that moves when only the attribute is swapped", fontsize=8)
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=100)
