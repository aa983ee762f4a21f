# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import sys
import time
from dataclasses import replace

import pytest
from audit_cases import QUICK, simulated

from monai_shortcut.audit import audit
from monai_shortcut.audit.progress import Progress, terminal_width

ANALYSES = {"encoding", "gap", "differences", "alignment", "latent", "erasure", "subgroups", "held_out"}
ANALYSES |= {"distributions"}
WHOLE = {"regions", "label", "all heads", "discovered groups", "embedding moves", "embedding maps"}


def test_only_a_terminal_has_a_width(monkeypatch):
    assert terminal_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "72")
    assert terminal_width() == 72


def test_seconds_are_summed_by_analysis():
    progress = Progress(show=False)
    with progress:
        progress.expect(3)
        for attribute, pause in (("scanner", 0.02), ("age", 0.03)):
            with progress.step("encoding", attribute):
                time.sleep(pause)
        with progress.step("regions"):
            time.sleep(0.01)
    assert progress.seconds["encoding"] >= 0.05
    assert progress.seconds["regions"] >= 0.01
    assert list(progress.seconds) == ["encoding", "regions"]


def test_the_longest_is_named_first():
    progress = Progress(show=False)
    progress.seconds |= {"gap": 0.04, "held_out": 12.34, "encoding": 1.0}
    assert str(progress) == "held_out 12.3 s, encoding 1.0 s, gap 0.0 s"
    assert str(Progress(show=False)) == ""


def test_a_step_that_fails_is_timed_and_passes_its_error_on():
    progress = Progress(show=False)
    with pytest.raises(KeyError), progress.step("erasure"):
        raise KeyError
    assert set(progress.seconds) == {"erasure"}


def test_the_bar_says_what_is_computed_and_how_far_it_is(capsys):
    with Progress(show=True) as progress:
        progress.expect(1)
        progress.expect(3)
        with progress.step("encoding", "scanner"):
            assert "scanner: encoding" in capsys.readouterr().err
        with progress.step("regions"):
            told = capsys.readouterr().err
    assert re.search(r"audit: +25%.*\| 1/4 \[.*regions", told)
    assert "scanner" not in told.rpartition("\r")[2]


def test_each_audit_has_a_bar_of_its_own(capsys):
    progress = Progress(show=True)
    for steps in (2, 5):
        with progress:
            progress.expect(steps)
            with progress.step("label"):
                assert f"| 0/{steps} [" in capsys.readouterr().err


@pytest.mark.parametrize("show", [False, None])  # None: a bar on a terminal, which a test has none of
def test_nothing_is_printed_unasked_or_without_a_terminal(capsys, show):
    with Progress(show) as progress:
        progress.expect(1)
        with progress.step("encoding", "scanner"):
            pass
    assert capsys.readouterr() == ("", "")


def test_an_audit_times_each_analysis_and_takes_the_steps_it_announced(capsys):
    arguments = simulated()
    attributes = {name: arguments["attributes"][name] for name in ("used", "visible")}
    progress = Progress(show=True)
    audit(**arguments | {"attributes": attributes}, progress=progress)
    assert set(progress.seconds) == {"shared factorizations", "draws of the folds", *ANALYSES, "giveaways", *WHOLE}
    assert all(seconds > 0 for seconds in progress.seconds.values())
    told = capsys.readouterr().err
    for shown in ("used: encoding", "visible: held_out", "visible: giveaways", "all heads"):
        assert shown in told
    steps = 2 * (len(ANALYSES) + 1) + len(WHOLE) + 2
    assert set(re.findall(r"/(\d+) \[", told)) == {str(steps)}
    assert re.search(rf"{steps - 1}/{steps} \[.*embedding maps", told)


def test_an_audit_prints_nothing_without_a_terminal(capsys):
    audit(**simulated() | {"settings": replace(QUICK, held_out=0)})
    assert capsys.readouterr() == ("", "")
