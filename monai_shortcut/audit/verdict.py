# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The rule that turns evidence into a verdict."""

from __future__ import annotations

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Evidence
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.types import with_limits


def judge(evidence: Evidence, settings: AuditSettings) -> tuple[str, str]:
    """Turn the evidence for an attribute into a verdict and its reason.

    An attribute is encoded when the permutation test of the probe within labels says so. Of an encoded attribute, the
    test of the prediction gap and its size say whether it is used: significant and at least the tolerance is used,
    an interval below the tolerance is not used, anything else is inconclusive. Where another attribute goes along with
    it and keeps its gap at equal levels of this one, this one has to keep its own too. An attribute the probe cannot
    read is never used, however the head is aligned; it is not encoded when the probe's interval stays below what counts
    as readable and predictions do not differ by what matters.
    """
    encoding, gap = evidence.encoding, evidence.gap
    read = f"a probe tells its levels apart with AUROC {with_limits(encoding.own_auroc)} among images of one label"
    moved = f"predictions of one label differ by {with_limits(gap.effect)}"
    differs = evidence.gap_p_value <= settings.significance
    if evidence.encoding_p_value > settings.significance:
        if differs and gap.effect.high >= settings.tolerance:
            return INCONCLUSIVE, f"The probe finds no trace ({read}), yet {moved} with it: more images are needed."
        if encoding.own_auroc.high < settings.readable:
            return NOT_ENCODED, f"The embedding holds no readable trace of it: {read}."
        return INCONCLUSIVE, f"Too few images to say whether it is encoded: {read}."
    if differs and gap.effect.value >= settings.tolerance:
        return _used(evidence, settings, read, moved)
    if gap.effect.high < settings.tolerance:
        return NOT_USED, f"The embedding encodes it ({read}), but {moved}, less than {settings.tolerance:g}."
    return (
        INCONCLUSIVE,
        f"The embedding encodes it ({read}); {moved}: too uncertain, or too near {settings.tolerance:g}.",
    )


def _used(evidence: Evidence, settings: AuditSettings, read: str, moved: str) -> tuple[str, str]:
    """Whether it is this attribute that is used, or another that goes along with it and keeps its gap without it."""
    rivals = [other for other in evidence.given if other.other_p_value <= settings.significance]
    explained = [rival.other for rival in rivals if rival.effect.high < settings.tolerance]
    if explained:
        return (
            NOT_USED,
            f"The embedding encodes it ({read}) and {moved}, but not among images that agree in "
            f"{' or in '.join(explained)}, which it goes along with.",
        )
    doubtful = [rival.other for rival in rivals if rival.p_value > settings.significance]
    if doubtful:
        return (
            INCONCLUSIVE,
            f"The embedding encodes it ({read}) and {moved}; whether it is this or {' or '.join(doubtful)}, which goes "
            "along with it, takes more images to tell.",
        )
    alike = [other.other for other in evidence.given if other.p_value > settings.significance]
    note = f" It cannot be told apart from {' or '.join(alike)}, which goes along with it." if alike else ""
    return USED, f"The embedding encodes it ({read}) and the output depends on it: {moved}.{note}"
