# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Attributes that are measured from the images themselves: which of them say something, and how they are marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from monai_shortcut.audit.record import Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels

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


def marked(findings: Iterable[Finding], measured: Mapping[str, str]) -> tuple[Finding, ...]:
    """The findings, those of measured attributes with what it is."""
    return tuple(replace(finding, measured=measured.get(finding.attribute, "")) for finding in findings)
