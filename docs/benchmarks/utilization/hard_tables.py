# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the second judge as tables in Markdown, beside those of another version of the rule."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from hard_measures import facts_of
from hard_scenarios import HARD, draw_world

VERDICTS = ("not encoded", "encoded, not used", "inconclusive", "used")
REASSURING = VERDICTS[:2]
WORDS = {  # what the reason has to mention where predictions differ, but not because the attribute is used
    "unlisted cause": r"not in the table|not listed|unlisted",
    "miscoded attribute": r"recorded|miscoded|coded wrong|not in the table",
    "wrong labels": r"recorded|labels? (?:is|are|may be) wrong|wrong labels?",
    "selection": r"missing",
}
NULLS = ("gap.test", "encoding.test")


def hard_report(rows: list[dict[str, Any]], before: list[dict[str, Any]]) -> str:
    """All tables; `before` may be empty."""
    frame, other = _marked(rows), _marked(before) if before else None
    is_model = frame["part"] != "hard"
    parts = ["## In short", _summary(frame, other)]
    if not is_model.all():
        parts += ["## Scenarios", _scenarios(frame, other)]
    if is_model.any():
        parts += ["## Models", _models(frame, other), _performance(frame[is_model])]
    if (frame["calibrated"] != "").any():
        parts += ["## p-values where nothing is used", _calibration(frame, other)]
    if (frame["calibrated"] == "blank").any():
        parts += ["## Every p-value where nothing is encoded either", _blank(frame)]
    return "\n\n".join(parts)


def truths(draws: int, seeds: str) -> str:
    """What swaps move in each scenario, mean over draws."""
    rows = [
        {"part": "hard", "scenario": name, "attribute": attribute, **facts}
        for name in HARD
        for draw in range(draws)
        for attribute, facts in facts_of(draw_world(name, draw, seeds)).items()
    ]
    return _table(["scenario", "attribute", *FACTS], [[*key, *_facts(group)] for key, group in _groups(_named(rows))])


def _named(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows, attributes without a role under one name."""
    frame = pd.DataFrame(rows)
    return frame.assign(attribute=frame["attribute"].str.replace(r"^other \d+$", "others", regex=True))


def _marked(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with what is wrong in them."""
    frame = _named(rows)
    accused, reassured = frame["verdict"] == "used", frame["verdict"].isin(REASSURING)
    harmless = (frame["expect"] == "unused") & (frame["excuse"] == "")
    shared = frame["shared with used"].fillna(False).astype(bool)
    told = [
        bool(re.search(WORDS[excuse], reason)) if excuse else True
        for excuse, reason in zip(frame["excuse"], frame["reason"], strict=True)
    ]
    judged = frame["reassuring_is_false"] & (frame["expect"] == "used")
    return frame.assign(
        harmless=harmless,
        judged=judged,
        hidden=frame["expect"] == "invisible",
        shared_used=accused & harmless & shared,
        false_used=accused & harmless & ~shared,
        excused=accused & (frame["excuse"] != ""),
        told=told,
        false_reassurance=reassured & judged,
        reassured_hidden=reassured & (frame["expect"] == "invisible"),
        decided_wrong=(accused & harmless & ~shared) | (reassured & (frame["expect"] == "used")),
    )


def _table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *body])


def _share(hits: pd.Series[bool], among: pd.Series[bool]) -> str:
    count = int(among.sum())
    return f"{int((hits & among).sum())} of {count} ({100 * (hits & among).sum() / count:.1f} %)" if count else "-"


def _summary(frame: pd.DataFrame, other: pd.DataFrame | None) -> str:
    """The targets, over all scenarios and models."""

    def column(found: pd.DataFrame) -> list[str]:
        strong, used = found["strong"].astype(bool), found["verdict"] == "used"
        excused = found["excuse"] != ""
        return [
            _share(found["false_used"], found["harmless"]),
            _worst(found, "false_used", "harmless"),
            _share(found["shared_used"], found["harmless"]),
            _share(found["excused"], excused),
            _share(found["told"], excused & used),
            _share(found["false_reassurance"], found["judged"]),
            _worst(found, "false_reassurance", "judged"),
            _share(found["reassured_hidden"], found["hidden"]),
            _share(used, strong),
            _worst(found.assign(missed=~used), "missed", "strong"),
        ]

    names = (
        'false "used": no swap moves anything',
        "its worst scenario",
        '"used", shared with a used attribute',
        '"used" where the cause is unlisted, labels are wrong or values miscoded or selected',
        "of those, words that tell",
        "false reassurance",
        "its worst scenario",
        "reassurance where the use is invisible in principle",
        'strong uses called "used"',
        "its worst scenario: not called so",
    )
    columns = [column(found) for found in (frame, other) if found is not None]
    return _table(["", "share", *(["before"] if other is not None else [])], zip(names, *columns, strict=True))


def _worst(found: pd.DataFrame, hit: str, among: str) -> str:
    """The scenario with the largest share."""
    chosen = found[found[among].astype(bool)]
    if chosen.empty:
        return "-"
    shares = chosen.groupby(["scenario", "attribute"])[hit].mean()
    name, attribute = shares.idxmax()
    return f"{100 * shares.max():.0f} %: {name} ({attribute})" if shares.max() else "none"


def _groups(frame: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Scenarios as they are listed, with their attributes."""
    groups = dict(list(frame[frame["part"] == "hard"].groupby(["scenario", "attribute"], sort=False)))
    return sorted(groups.items(), key=lambda item: list(HARD).index(item[0][0]))


def _counts(group: pd.DataFrame) -> str:
    """Verdicts: not encoded / encoded, not used / inconclusive / used."""
    found = group["verdict"].value_counts()
    counts = " / ".join(str(found.get(verdict, 0)) for verdict in VERDICTS)
    return f"{counts}, refused {found['refused']}" if "refused" in found else counts


def _facts(group: pd.DataFrame) -> list[str]:
    """What is true, and what is to be expected."""
    decisions = np.mean([max(values, default=0.0) for values in group["decisions_by_label"]])
    cells = np.mean([min(values) for values in group["cells"]])
    expected = group["expect"].iloc[0] + (", strong" if group["strong"].iloc[0] else "")
    excuse = group["excuse"].iloc[0]
    truth = [f"{group['truth'].mean():.2f}", f"{group['largest'].mean():.2f}"]
    return [*truth, f"{100 * decisions:.0f} %", f"{cells:.0f}", f"{expected} ({excuse})" if excuse else expected]


FACTS = ("true swap", "largest label", "answers changed", "fewest patients", "expected")
ANSWERS = ("not encoded / not used / inconclusive / used", "used, shared", "wrong", "false reassurance")


def _answers(group: pd.DataFrame) -> list[str]:
    judged = int(group["judged"].sum())
    return [
        _counts(group),
        str(int(group["shared_used"].sum())),
        str(int(group["decided_wrong"].sum())),
        f"{int(group['false_reassurance'].sum())} of {judged}" if judged else "-",
    ]


def _scenarios(frame: pd.DataFrame, other: pd.DataFrame | None) -> str:
    """Truth and verdicts by scenario and attribute."""
    earlier = dict(_groups(other)) if other is not None else {}
    lines = [
        [
            *key,
            *_facts(group),
            *_answers(group),
            *([_counts(earlier[key]) if key in earlier else "-"] if earlier else []),
        ]
        for key, group in _groups(frame)
    ]
    return _table(["scenario", "attribute", *FACTS, *ANSWERS, *(["before"] if earlier else [])], lines)


def _models(frame: pd.DataFrame, other: pd.DataFrame | None) -> str:
    """The same of models trained on images."""
    keys = ["part", "scenario", "variant", "attribute"]
    earlier = {}
    if other is not None and "variant" in other:
        earlier = dict(list(other[other["part"] != "hard"].groupby(keys, sort=False)))
    lines = [
        [
            *key,
            *_facts(group),
            *_answers(group),
            *([_counts(earlier[key]) if key in earlier else "-"] if earlier else []),
        ]
        for key, group in frame[frame["part"] != "hard"].groupby(keys, sort=False)
    ]
    return _table([*keys, *FACTS, *ANSWERS, *(["before"] if earlier else [])], lines)


def _performance(frame: pd.DataFrame) -> str:
    """Sensitivity and area under the ROC curve with all images under one level, mean over models."""
    trained = frame[(frame["variant"] == "as trained") & (frame["attribute"] == "acting")]
    lines = [
        [
            *key,
            str(len(group)),
            *(f"{value:.2f}" for name in ("sensitivity", "auc") for value in np.mean(list(group[name]), axis=0)),
        ]
        for key, group in trained.groupby(["part", "scenario"], sort=False)
    ]
    head = ["part", "scenario", "models", "sensitivity, absent", "present", "area, absent", "present"]
    return _table(head, lines)


def _calibration(frame: pd.DataFrame, other: pd.DataFrame | None) -> str:
    """Shares of small p-values of the gap's and the probe's test where their null holds."""
    head = ["scenario", "attribute", "p-values"]
    head += [f"{name} {limit}" for name in ("gap <=", "probe <=") for limit in (0.05, 0.01)]
    earlier = dict(_groups(other)) if other is not None else {}
    head += ["before: gap <= 0.05", "gap <= 0.01"] if earlier else []
    lines = []
    for key, group in _groups(frame[frame["calibrated"] != ""]):
        blank = group["calibrated"].iloc[0] == "blank"
        line = [*key, str(len(group)), *_rates(group, NULLS[0]), *(_rates(group, NULLS[1]) if blank else ("-", "-"))]
        lines.append([*line, *(_rates(earlier[key], NULLS[0]) if key in earlier else ["-"] * 2 * bool(earlier))])
    every = frame[frame["calibrated"] != ""]
    blank = every[every["calibrated"] == "blank"]
    if len(every):
        total = ["all", "", str(len(every)), *_rates(every, NULLS[0]), *_rates(blank, NULLS[1])]
        chosen = other[other["calibrated"] != ""] if other is not None else None
        lines.append([*total, *(_rates(chosen, NULLS[0]) if chosen is not None and earlier else [])])
    return _table(head, lines)


def _rates(group: pd.DataFrame, name: str) -> list[str]:
    values = np.array([found[name] for found in group["p"] if name in found])
    return [f"{100 * (values <= limit).mean():.1f} %" if len(values) else "-" for limit in (0.05, 0.01)]


def _blank(frame: pd.DataFrame) -> str:
    """Shares of small p-values of every test of the evidence, where the attribute leaves no trace at all."""
    blank = frame[frame["calibrated"] == "blank"]
    names = sorted({name for found in blank["p"] for name in found})
    lines = [[name, str(sum(name in found for found in blank["p"])), *_rates(blank, name)] for name in names]
    return _table(["test", "p-values", "<= 0.05", "<= 0.01"], lines)
