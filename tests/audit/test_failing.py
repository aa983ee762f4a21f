# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from monai_shortcut.audit.failing import FAILED, NOT_COMPUTED, WORDS, failing, failing_words, said_failing
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED, USED, VERDICTS, Audit


@pytest.fixture(scope="module")
def record() -> Audit:
    """scanner: used; site: encoded, not used; age: inconclusive; empty: inconclusive, for it was not computed."""
    return Audit.from_json(Path(__file__).parent / "records" / "version_3.json")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ("used", (USED,)),
        ("used,inconclusive", (USED, INCONCLUSIVE)),
        (("used", "inconclusive", "used"), (USED, INCONCLUSIVE)),  # as a command line takes it apart
        (" encoded, not used , not computed", (NOT_USED, NOT_COMPUTED)),
        (list(WORDS), WORDS),
        (", ".join(WORDS), WORDS),
    ],
)
def test_words_are_read_from_lists_and_from_text(given, expected):
    assert failing_words(given) == expected


@pytest.mark.parametrize(("given", "wrong"), [("guilty,used", "1 others: guilty"), (["encoded", 3], "2 others: enc")])
def test_other_words_are_refused_with_the_list(given, wrong):
    with pytest.raises(ValueError, match=rf"^words that fail must be among used; .*; not computed, got {wrong}"):
        failing_words(given)
    assert (*VERDICTS, "not computed") == WORDS


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {}),
        ((USED,), {"scanner": USED}),
        ((NOT_USED,), {"site": NOT_USED}),
        ((INCONCLUSIVE,), {"age": INCONCLUSIVE, "empty": INCONCLUSIVE}),
        ((NOT_COMPUTED,), {"empty": NOT_COMPUTED}),
        ((USED, INCONCLUSIVE, NOT_COMPUTED), {"scanner": USED, "age": INCONCLUSIVE, "empty": NOT_COMPUTED}),
    ],
)
def test_findings_fail_by_verdict_or_because_they_were_not_computed(record, words, expected):
    assert failing(record, words) == expected


def test_what_fails_is_named_in_one_line(record):
    told = "the audit fails by its verdicts: scanner (used), empty (not computed)"
    assert said_failing(failing(record, (USED, NOT_COMPUTED))) == told
    assert FAILED == 2  # 1 is an error
