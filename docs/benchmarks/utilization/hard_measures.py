# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the audit says of a world whose truth is known, a row per attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from inspect import signature
from typing import Any

import numpy as np
from cases import Case, audited
from hard_scenarios import draw_world
from hard_worlds import World, swapped

from monai_shortcut.audit import AuditSettings, Finding, audit

# Only what a verdict rests on has to be precise.
CHEAP: dict[str, Any] = {"permutations": 199, "bootstraps": 299, "erasures": 19, "held_out": 0, "repeats": 1}


def measure_world(name: str, draw: int, seeds: str) -> list[dict[str, Any]]:
    """Rows of one draw of a scenario."""
    world = draw_world(name, draw, seeds)
    case = Case(
        embeddings=world.render(world.factors),
        weight=world.weight,
        bias=world.bias,
        labels=world.labels,
        patients=world.patients,
        attributes={attribute: world.values(attribute) for attribute in world.listed},
        truth={},
        tags={"part": "hard", "scenario": name, "draw": draw, "facts": facts_of(world)},
    )
    kinds = {attribute: listed.kind for attribute, listed in world.listed.items() if listed.kind}
    orders = {attribute: listed.order for attribute, listed in world.listed.items() if listed.order}
    return measure_case(case, adjust_for=world.adjust_for, kinds=kinds, orders=orders)


def facts_of(world: World) -> dict[str, dict[str, Any]]:
    """What is true of each attribute, and what to expect of its verdict."""
    told = ("expect", "strong", "excuse", "calibrated")
    return {
        attribute: {name: getattr(listed, name) for name in told} | asdict(swapped(world, attribute))
        for attribute, listed in world.listed.items()
    }


def measure_case(case: Case, adjust_for: tuple[str, ...] = (), **given: Any) -> list[dict[str, Any]]:
    """Rows of a case whose tags hold the facts by attribute; an audit that is refused is a row too."""
    facts: Mapping[str, dict[str, Any]] = case.tags["facts"]
    tags = {key: value for key, value in case.tags.items() if key != "facts"}
    rows = [{**tags, "attribute": name, **facts[name]} for name in case.attributes]
    settings = dict(CHEAP)
    if adjust_for and "adjust_for" in signature(audit).parameters:
        given["adjust_for"] = adjust_for
    elif adjust_for and "adjust_for" in {field.name for field in fields(AuditSettings)}:
        settings["adjust_for"] = adjust_for
    try:
        record = audited(case, AuditSettings(**settings), **given)
    except ValueError as refusal:
        return [row | {"verdict": "refused", "reason": str(refusal), "shared": [], "p": {}} for row in rows]
    used = {name for name, fact in facts.items() if fact["expect"] == "used"}
    return [row | _answer(record.finding(row["attribute"]), used) for row in rows]


def _answer(finding: Finding, used: set[str]) -> dict[str, Any]:
    """What a finding says; an attribute that shares its finding with one that is truly used is not accused alone."""
    shared = list(getattr(finding, "shared_with", ()))
    found = finding.evidence
    return {
        "verdict": finding.verdict,
        "reason": finding.reason,
        "shared": shared,
        "shared with used": bool(used.intersection(shared)),
        "p": p_values(found) if found else {},
        "gap": found.gap.effect.value if found else np.nan,
        "gap low": found.gap.effect.low if found else np.nan,
        "gap high": found.gap.effect.high if found else np.nan,
    }


def p_values(evidence: Any, path: str = "") -> dict[str, float]:
    """Every p-value within the evidence that is not adjusted, by the path to it."""
    found: dict[str, float] = {}
    for field in fields(evidence):
        value, name = getattr(evidence, field.name), f"{path}{field.name}"
        if isinstance(getattr(type(value), "p_value", None), property):
            found[name] = float(value.p_value)
        elif is_dataclass(value):
            found |= p_values(value, f"{name}.")
    return found
