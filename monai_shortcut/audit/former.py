# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Records of the former format versions 1 to 4, as those of version 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai_shortcut.types import Estimate, with_limits

Json = dict[str, Any]
PREDICTION_GAP = "prediction gap, all labels"


def modern(record: Json) -> Json:
    """The plain JSON values of an audit in the newest format.

    Before version 4 numbers had limits as triples, or in a field beside them, and tests kept their p-value.
    """
    if record["version"] >= 5:
        return record
    value = {**record, "version": 5}
    if record["version"] == 4:  # which lacks fields alone
        return value
    if isinstance(count := value.get("unseen"), int):  # before version 3
        value["unseen"] = ["(not recorded)"] * count
    settings = dict(value["settings"])
    settings["confidence"] = settings.pop("level", 0.95)
    value["settings"] = settings
    value["regions"] = {**value["regions"], "scores": [_beside(score, "auc") for score in value["regions"]["scores"]]}
    value["findings"] = [_finding(finding) for finding in value["findings"]]
    if value.get("label"):
        value["label"] = {**value["label"], **_areas(value["label"], "auroc")}
    if joint := value.get("joint"):
        value["joint"] = _tested(joint, "test", "null", joint["correlations"][0], "p_value")
    return value


def modern_curves(record: Json) -> Json:
    """The plain JSON values of training curves in the newest format.

    In version 1 numbers with limits were triples. Before version 3 use was judged by the prediction gap, and still is.
    """
    if record["version"] >= 3 or not {"settings", "epochs"} <= record.keys():  # what is absent is told when it is read
        return record
    settings, triples = dict(record["settings"]), record["version"] < 2
    if triples:
        settings["confidence"] = settings.pop("level", 0.95)
    epochs = []
    for epoch in record["epochs"]:
        value = {**epoch, "auroc": _triple(epoch["auroc"])} if triples else dict(epoch)
        value["points"] = {name: _point(point, settings, triples) for name, point in epoch["points"].items()}
        epochs.append(value)
    return {**record, "version": 3, "settings": settings, "epochs": epochs}


def _point(old: Json, settings: Json, triples: bool) -> Json:
    """A point that is judged by its prediction gap."""
    value = {**old, **({name: _triple(old[name]) for name in ("own_auroc", "gap")} if triples else {})}
    value["p_value"], gap = value.pop("gap_p_value"), Estimate(**value["gap"])
    value["used"] = value["p_value"] <= settings["significance"] and gap.value >= settings["tolerance"]
    value["cleared"] = not value["used"] and gap.high < settings["tolerance"]
    value["where"] = PREDICTION_GAP
    value["reason"] = f"the prediction gap, a mean over labels, is {with_limits(gap)}."
    return value


def _finding(finding: Json) -> Json:
    value = dict(finding)
    if value.get("counterfactual"):
        value["counterfactual"] = _beside(value["counterfactual"], "change")
    if value.get("evidence"):
        evidence = dict(value["evidence"])
        for name, change in _CHANGES.items():
            if evidence.get(name):
                evidence[name] = change(evidence[name])
        value["evidence"] = evidence
    return value


def _encoding(old: Json) -> Json:
    value = {**old, **_areas(old, "auroc", "own_auroc")}
    return _tested(value, "test", "null", old["own_auroc"][0], "p_value")


def _alignment(old: Json) -> Json:
    value = _tested(old, "wsc_test", "wsc_null", _largest(old["wsc"]), "wsc_p_value")
    return _tested(value, "test", "null", _largest(old["within"]), "p_value", "z")


def _gap(old: Json) -> Json:
    return _tested(_beside(old, "effect"), "test", "null", old["raw"], "raw", "p_value")


def _latent(old: Json) -> Json:
    return _tested(old, "test", "null", old["raw"], "raw", "p_value")


def _erasure(old: Json) -> Json:
    value = {**old, "change": _triple(old["change"]), "auc": [_beside(change, "difference") for change in old["auc"]]}
    return _tested(value, "test", "random", old["change"][0], "p_value")


def _subgroups(old: Json) -> Json:
    scores = []
    for score in old["scores"]:
        limits = score["interval"]
        kept = {name: item for name, item in score.items() if name not in ("interval", "calibration_interval")}
        area = None if score["auc"] is None else _triple([score["auc"], *limits])
        scores.append({**kept, "auc": area, "calibration_limits": score["calibration_interval"]})
    value: Json = {"scores": scores, "auc_gap": old["auc_gap"], "calibration_gap": old["calibration_gap"]}
    for name in ("auc", "calibration"):
        test = {"observed": old[f"{name}_statistic"], "null": old[f"{name}_null"]}
        value[f"{name}_test"] = None if old[f"{name}_gap"] is None else test
    return value


_CHANGES: dict[str, Callable[[Any], Any]] = {
    "encoding": _encoding,
    "alignment": _alignment,
    "gap": _gap,
    "latent": _latent,
    "erasure": _erasure,
    "subgroups": _subgroups,
    "held_out": lambda old: [_beside(level, "difference") for level in old],
    "given": lambda old: [_beside(other, "effect") for other in old],
}


def _triple(values: list[float]) -> Json:
    return dict(zip(("value", "low", "high"), values, strict=True))


def _beside(old: Json, name: str) -> Json:
    """A number whose limits stood in a field "interval" beside it."""
    value = {key: item for key, item in old.items() if key != "interval"}
    return {**value, name: _triple([old[name], *old["interval"]])}


def _areas(old: Json, *names: str) -> Json:
    """Metrics and areas that were triples."""
    return {"metrics": {key: _triple(item) for key, item in old["metrics"].items()}} | {
        name: _triple(old[name]) for name in names
    }


def _tested(old: Json, name: str, null: str, observed: float, *gone: str) -> Json:
    """A test whose parts stood in several fields."""
    value = {key: item for key, item in old.items() if key not in (null, *gone)}
    return {**value, name: {"observed": observed, "null": old[null]}}


def _largest(rows: list[list[float]]) -> float:
    return max(abs(value) for row in rows for value in row)
