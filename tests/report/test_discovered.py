# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hidden_groups import QUICK, audited
from matplotlib.image import imread

from monai_shortcut.audit import Audit
from monai_shortcut.audit.discovered import with_pictures
from monai_shortcut.report import pages
from monai_shortcut.report.discovered import group_lines
from monai_shortcut.report.figures.audit import figures, picture


@pytest.fixture(scope="module")
def found() -> Audit:
    """An audit with a picture of every image; its brightest pixel says which."""
    pictures = {f"image {row}": picture(np.eye(300)[row].reshape(1, 15, 20)) for row in range(300)}
    given = audited(0, 1.0, replace(QUICK, privacy={"ids": True, "pixels": True}))
    return replace(given, discovered=with_pictures(given.discovered, pictures, given.label_names))


def section(audit: Audit) -> str:
    """What the page says of groups, its white space made single, without pictures."""
    template = pages._environment().get_template("evidence/discovered_groups.html.jinja")
    return " ".join(template.render(audit=audit, pictures={}).split())


def test_the_page_says_what_differs_and_what_goes_along(found):
    shown = section(found)
    assert f"<strong>{found.discovered.reason}</strong>" in shown
    for grouping, _ in found.discovered.found.compared:
        assert f"<h3>Groups of {grouping.way}</h3>" in shown
        for group in grouping.groups:
            label, name = found.label_names[group.label], grouping.names[group.level]
            row = f'<tr><td>{label}</td><td>{name}</td> <td class="number">{group.images} ({group.patients})</td>'
            assert row in shown
            (one,) = group.explained
            assert one.attribute == "operator"
            told = f"operator: {one.association:.2f} ({one.level}: {one.inside:.2f} less {one.outside:.2f}, "
            limits = f"{one.difference.value:.2f} ({one.difference.low:.2f} to {one.difference.high:.2f}))"
            assert told + limits in shown
        lines = group_lines(grouping, found.discovered, found)
        assert [line.levels for line in lines] == ["group 2 against group 1"] * (len(grouping.groups) // 2)
    assert "on 75 patients, and answers compared on 75 others" in shown
    member, other = found.discovered.found.groupings[0].groups[0].beside[0]
    assert f"group 1: {member} beside {other}, " in shown


def test_what_was_not_asked_or_not_computed_is_said(found):
    nothing = section(replace(found, discovered=None))
    assert "Not measured: <code>discovered_groups</code> is 0 in the settings." in nothing
    few = section(audited(0, 1.0, replace(QUICK, minimum_patients=100)))
    assert re.search(r"<p>Not computed: a label must have 400 patients [^<]+ at most\.</p>", few)
    assert "<h3>" not in few


def test_the_figure_shows_each_member_beside_its_counterpart(found):
    figure = dict(figures(found))["discovered"]
    drawn = [axes.images[0].get_array()[..., 0].argmax() for axes in figure.axes if axes.images]
    pairs = [pair for one in found.discovered.found.groupings for group in one.groups for pair in group.beside]
    assert drawn == [int(image.removeprefix("image ")) for pair in pairs for image in pair]
    titles = [" ".join(axes.get_title().split()) for axes in figure.axes if axes.images]
    first = found.discovered.examples[0]
    assert titles[:2] == [f"{first.label.removeprefix('embeddings, ')}: member 1", "not a member 1"]
    shown = imread(BytesIO(base64.b64decode(first.pictures[titles[0]])), format="png")
    assert shown[..., 0].argmax() == drawn[0]
