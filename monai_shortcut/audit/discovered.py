# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Groups that no column names, beside the listed attributes: what is said of them, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from monai_shortcut.analyses.differences import Differences
from monai_shortcut.analyses.discovered_groups import WAYS, Grouping, discovered_groups
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.company import is_used
from monai_shortcut.audit.leading import as_told, leading, where
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import Discovered, Example
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.types import Unmeasurable, p_text, with_limits

DIFFER = "Predictions differ in groups that no column names, {}. What sets them apart is for people to see."
NOT_CERTAIN = "There are groups, but their predictions are not certain to differ by more than is tolerated, {}."
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
    judged = []
    for one, compared in found.compared:
        p_value = min(1.0, compared.test.p_value * len(WAYS) * audits)
        differ = is_used(compared, p_value, settings, label_names)
        judged.append((not differ, p_value, _number(one, compared, p_value, settings, label_names)))
    if not judged:
        return Discovered(found, NONE_FOUND)
    first, p_value, number = min(judged, key=lambda row: row[:2])
    sentence = NOT_CERTAIN if first else DIFFER
    return Discovered(found, sentence.format(number), not first, min(row[1] for row in judged))


def _number(
    one: Grouping, compared: Differences, p_value: float, settings: AuditSettings, label_names: Sequence[str]
) -> str:
    """The leading difference in words: "groups of errors: decision, benign: group 2 against group 1, ..."."""
    names = Names(tuple(label_names), one.names)
    row = leading(compared.rows, settings, names)
    told = "" if row is None else f"{where(row, names)}, {with_limits(as_told(row))}, "
    return f"groups of {one.way}: {told}p {p_text(p_value)}"


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
    for grouping in given.found.groupings:
        for group in grouping.groups:
            shown = [pair for pair in group.beside if set(pair) <= pictures.keys()]
            name = f"{label_names[group.label]}, {grouping.names[group.level]}"
            captions = {
                caption: pictures[image]
                for place, pair in enumerate(shown, start=1)
                for image, caption in zip(pair, (f"{name}: member {place}", f"not a member {place}"), strict=True)
            }
            if captions:
                rows.append(Example(shown[0][0], f"{grouping.way}, {name}", captions))
    return replace(given, examples=tuple(rows))
