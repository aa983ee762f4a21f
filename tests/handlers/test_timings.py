# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from monai_shortcut.handlers import timings
from monai_shortcut.handlers.timings import Timings


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are appended to the list."""
    passed = [0.0]
    monkeypatch.setattr(timings.time, "perf_counter", lambda: sum(passed))
    return passed


def test_parts_add_up_and_are_shown_within_what_they_are_part_of(clock):
    found = Timings()
    for seconds in (1.0, 2.0):
        with found.of("evaluation/masking"):
            clock.append(seconds)
    with found.of("audit"):
        clock.append(4.0)
        with found.of("audit/encoding"), found.of("audit/encoding/null"):
            clock.append(0.5)
    found.seconds["evaluation"] = 10.0
    assert found.seconds == {
        "evaluation/masking": 3.0,
        "audit": 4.5,
        "audit/encoding": 0.5,
        "audit/encoding/null": 0.5,
        "evaluation": 10.0,
    }
    assert str(found) == "audit 4.5 s (encoding 0.5 s (null 0.5 s)), evaluation 10.0 s (masking 3.0 s)"


def test_a_part_that_fails_is_measured_too(clock):
    def fail() -> None:
        with found.of("report"):
            clock.append(2.0)
            raise OSError("gone")

    found = Timings()
    with pytest.raises(OSError, match="gone"):
        fail()
    assert found.seconds == {"report": 2.0}
