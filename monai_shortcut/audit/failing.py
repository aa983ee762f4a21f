# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which findings make a run fail, for those who ask for it: the exit status of an audit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from monai_shortcut.audit.record import VERDICTS, Audit
from monai_shortcut.cohort.columns import require_none

NOT_COMPUTED = "not computed"
WORDS = (*VERDICTS, NOT_COMPUTED)
FAILED = 2  # exit status of a run that fails so; errors have 1


def failing_words(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words that fail, as users write them.

    Args:
        given: verdicts and "not computed", in a list or in one text with commas; None is none.

    Raises:
        ValueError: If there is another word.

    Example:
        >>> failing_words("used, encoded, not used,not computed")
        ('used', 'encoded, not used', 'not computed')
    """
    # One verdict has a comma of its own.
    parts = re.split(r"(?<!(?<!not )encoded),", given) if isinstance(given, str) else list(given or ())
    words = tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))
    require_none([word for word in words if word not in WORDS], f"words that fail must be among {'; '.join(WORDS)}")
    return words


def failing(audit: Audit, words: Sequence[str]) -> dict[str, str]:
    """Attributes whose finding fails, with the word that fails it.

    An attribute that was not computed is "inconclusive" and "not computed" at once.

    Args:
        audit: the record.
        words: as from `failing_words`.
    """
    found: dict[str, str] = {}
    for finding in audit.findings:
        said = [finding.verdict, *([NOT_COMPUTED] if finding.evidence is None else [])]
        failed = [word for word in reversed(said) if word in words]
        if failed:
            found[finding.attribute] = failed[0]
    return found


def failing_labels(audits: Mapping[str, Audit], problems: Iterable[str], words: Sequence[str]) -> dict[str, str]:
    """Attributes that fail, after their label if there are several, with the word that fails them.

    Args:
        audits: by label; "" if there is one.
        problems: labels that could not be audited.
        words: as from `failing_words`.
    """
    found = {
        f"{label} {name}".lstrip(): word
        for label, record in audits.items()
        for name, word in failing(record, words).items()
    }
    return found | (dict.fromkeys(problems, NOT_COMPUTED) if NOT_COMPUTED in words else {})


def said_failing(failed: dict[str, str]) -> str:
    """What fails, in one line.

    Example:
        >>> said_failing({"scanner": "used", "site": "not computed"})
        'the audit fails by its verdicts: scanner (used), site (not computed)'
    """
    return "the audit fails by its verdicts: " + ", ".join(f"{name} ({word})" for name, word in failed.items())
