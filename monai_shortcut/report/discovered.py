# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Groups that no column names, as the page's tables show them."""

from __future__ import annotations

from monai_shortcut.analyses.discovered_groups import NAME, Grouping
from monai_shortcut.audit.record import INCONCLUSIVE, USED, Audit, Discovered, Finding
from monai_shortcut.report.differences import Line, lines


def group_lines(grouping: Grouping, shown: Discovered, audit: Audit) -> list[Line]:
    """One line for each label and pair of groups of one way, as for the levels of an attribute."""
    if shown.found is None or grouping.differences is None:
        return []
    images = {
        name: sum(group.images for group in grouping.groups if group.level == level)
        for level, name in enumerate(grouping.names)
    }
    verdict = USED if shown.differ else INCONCLUSIVE
    one = Finding(NAME, verdict, shown.reason, images, (), 0, {}, shown.found.tested, None, None)
    return lines(grouping.differences.rows, one, audit)
