# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Groups that no column names, beside the listed attributes: what is said of them, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from monai_shortcut.analyses.discovered_groups import DiscoveredGroups, discovered_groups
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.company import is_used
from monai_shortcut.audit.leading import as_told, leading, where
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import Discovered, Example
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.types import Unmeasurable, p_text, with_limits

NONE_FOUND = "No label forms groups that two halves of its patients agree on."


def discovered(
    sample: Sample, coded: Mapping[str, Levels], settings: AuditSettings, label_names: Sequence[str], audits: int
) -> Discovered | None:
    """Groups of embeddings within labels, and whether answers differ between them; None if nobody asked.

    Args:
        sample: the images.
        coded: levels of the listed attributes.
        settings: settings of the audit.
        label_names: names of the classes.
        audits: number of audits, over which the p-value is adjusted too.
    """
    if not settings.discovered_groups:
        return None
    try:
        found = discovered_groups(
            sample,
            coded,
            most=settings.discovered_groups,
            fewest=settings.minimum_patients,
            threshold=settings.threshold,
        )
    except Unmeasurable as reason:
        return Discovered(None, f"Not computed: {reason}.")
    if found.differences is None:
        return Discovered(found, NONE_FOUND)
    p_value = min(1.0, found.differences.test.p_value * audits)
    differ = is_used(found.differences, p_value, settings, label_names)
    return Discovered(found, _reason(found, p_value, differ, settings, label_names), differ, p_value)


def _reason(
    found: DiscoveredGroups, p_value: float, differ: bool, settings: AuditSettings, label_names: Sequence[str]
) -> str:
    names = Names(tuple(label_names), found.names)
    row = leading(found.differences.rows if found.differences else (), settings, names)
    assert row is not None  # what was compared has a row
    number = f"{where(row, names)}, {with_limits(as_told(row))}, p {p_text(p_value)}"
    if differ:
        return (
            f"Predictions differ in groups that no column names: {number}. What sets them apart is for people to see."
        )
    return f"There are groups, but their predictions are not certain to differ by more than is tolerated: {number}."


def with_pictures(
    given: Discovered | None, pictures: Mapping[str, str], label_names: Sequence[str]
) -> Discovered | None:
    """The same with a row of pictures for each group: typical members, each beside its most similar non-member.

    Args:
        given: what was found.
        pictures: PNG in base64 by image id.
        label_names: names of the classes.
    """
    if given is None or given.found is None:
        return given
    rows = []
    for group in given.found.groups:
        shown = [pair for pair in group.beside if set(pair) <= pictures.keys()]
        captions = {
            f"{name} {place}": pictures[image]
            for place, pair in enumerate(shown, start=1)
            for name, image in zip(("member", "not a member"), pair, strict=True)
        }
        if captions:
            name = f"{label_names[group.label]}, {given.found.names[group.level]}"
            rows.append(Example(shown[0][0], name, captions))
    return replace(given, examples=tuple(rows))
