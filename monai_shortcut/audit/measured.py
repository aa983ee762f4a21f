# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Attributes that are no column: measured from the images themselves, or intersections of two others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from monai_shortcut.audit.record import Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.columns import require_none
from monai_shortcut.cohort.levels import Levels, intersection

NOT_SEEN = "The settings ask for image properties, which only an evaluation of images can measure: none are audited."


def told_by_images(
    coded: Mapping[str, Levels], measured: Mapping[str, str], settings: AuditSettings
) -> tuple[dict[str, Levels], tuple[str, ...]]:
    """Levels without measured attributes that cannot be analysed, and a note that says which and why.

    Args:
        coded: levels by attribute.
        measured: in words, what is measured from the images, by attribute.
        settings: settings of the audit.
    """
    silent = {name: coded[name].problem for name in measured if coded[name].problem}
    kept = {name: levels for name, levels in coded.items() if name not in silent}
    said = "; ".join(f"{name} ({problem})" for name, problem in silent.items())
    missing = (NOT_SEEN,) if settings.image_properties and not measured else ()
    return kept, (*missing, *([f"Measured from the images and left out: {said}."] if said else []))


def intersected(
    coded: Mapping[str, Levels], patients: NDArray[Any], settings: AuditSettings, columns: Sequence[str]
) -> tuple[dict[str, Levels], dict[str, tuple[str, ...]]]:
    """The levels, with those of pairs of attributes too, and by name of a pair the two.

    Args:
        coded: levels by attribute.
        patients: (N,) patient of each image.
        settings: settings of the audit.
        columns: attributes of the table, of which all pairs are made if all are asked for.

    Raises:
        ValueError: If an attribute is called as a pair would be.
    """
    sound = [name for name in columns if name in coded and not coded[name].problem]
    parts: dict[str, tuple[str, ...]] = {}
    parts |= {f"{one} x {two}": (one, two) for one, two in settings.pairs(sound) if {one, two} <= coded.keys()}
    require_none(sorted(parts.keys() & coded.keys()), "attributes must not be called as intersections")
    limits = {"minimum_patients": settings.minimum_patients, "maximum_levels": settings.maximum_levels}
    pairs = {name: intersection(coded[one], coded[two], patients, **limits) for name, (one, two) in parts.items()}
    return {**coded, **pairs}, parts


def marked(
    findings: Iterable[Finding], measured: Mapping[str, str], parts: Mapping[str, tuple[str, ...]]
) -> tuple[Finding, ...]:
    """The findings, those of measured attributes with what it is, those of intersections with the two."""
    return tuple(
        replace(one, measured=measured.get(one.attribute, ""), parts=parts.get(one.attribute, ())) for one in findings
    )
