# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from monai_shortcut.attribution import Answers, Attribution, AttributionSettings, attribution
from monai_shortcut.attribution.measure import not_asked
from monai_shortcut.audit.record import Audit
from monai_shortcut.report.attribution import attribution_table, looks
from monai_shortcut.report.figures.attribution import FIGURES, attribution_figures
from monai_shortcut.report.pages import render, write_report
from monai_shortcut.statistics.resampling import Resampling

SETTINGS = AttributionSettings(
    methods=("regional_shapley", "integrated_gradients"), fills=(0.0, "mean", "blur"), steps=4, pixel_images=24
)


@pytest.fixture(scope="module")
def found() -> Attribution:
    torch.manual_seed(0)
    images = list(torch.rand(24, 1, 16, 16))
    regions = [torch.zeros(1, 16, 16) for _ in images]
    for index, region in enumerate(regions[1:]):
        region[0, 4:8, 3 : 7 + index % 3] = 1
    network = nn.Sequential(nn.Conv2d(1, 4, 5), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    return attribution(
        Answers(network),
        images,
        regions,
        np.arange(24) % 2,
        [f"p{index}" for index in range(24)],
        label_names=("benign", "<b>malignant</b>"),
        image_ids=[f"<i>{index}" for index in range(24)],
        attributes={"scanner <x>": (np.arange(24) // 2 % 2, ("A", "<B>")), "one": (np.zeros(24, dtype=int), ("only",))},
        settings=AttributionSettings(
            fills=(0.0, "mean", "blur"), steps=4, pixel_images=24, methods=("regional_shapley", "integrated_gradients")
        ),
        draws=Resampling(bootstraps=49, permutations=49),
    )


def test_the_page_has_the_section_its_numbers_and_no_markup_of_the_data(record: Audit, found, tmp_path):
    masked = replace(found.masked[0], image_id="<i>1", not_computed={"shifted_roi": "no room"})
    looked = replace(found, not_computed={"deep_lift_shap": "layers of <TorchScript>"}, masked=(masked,))
    short = replace(record, findings=(), weight_space=None, examples=(), attribution=looked)  # few figures
    page = write_report(short, tmp_path).read_text(encoding="utf-8")
    section = page[page.index("Where it looks") : page.index("What the embedding looks like")]
    outside = found.methods[0].labels[0].of("outside").share
    assert f"{outside.value:.2f} ({outside.low:.2f} to {outside.high:.2f})" in section
    assert "deep lift shap: not computed: layers of &lt;TorchScript&gt;" in section
    assert "1 because the region is empty." in " ".join(section.split())
    assert "&lt;B&gt;" in section
    assert not any(text in page for text in ("<b>malignant", "<i>0", "<TorchScript", "<x>", "<B>"))
    assert section.count('role="img"') == 4
    assert (tmp_path / "figures" / "attribution_masked.svg").stat().st_size > 10_000
    assert "&lt;i&gt;1, shifted roi: not measured: no room" in section
    assert (tmp_path / "figures" / "attribution_panels.svg").stat().st_size > 10_000
    written = Audit.from_json(tmp_path / "audit.json")
    assert written.attribution == looked
    assert (tmp_path / "attribution.csv").is_file()


def test_a_section_that_was_not_measured_says_why_and_none_is_asked_for_none(folder):
    looked = not_asked("the audit has no region of interest; name it")
    page = render("attribution", found=looked, drawn={}, about="")
    assert "Not computed: the audit has no region of interest; name it." in page
    assert "<table>" not in page
    assert "Not measured: nobody asked for it" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / "attribution.csv").exists()


def test_the_sentence_is_of_the_first_method_that_passed(found):
    first, second = found.methods[0], found.methods[-1]
    for failed, shown in (((), first), ((first,), found.methods[1])):
        methods = tuple(
            replace(one, checks=replace(one.checks, complaints=("bad",) if one in failed else ()))
            for one in found.methods
        )
        share = 100 * shown.labels[0].of("outside").share.value
        assert looks(replace(found, methods=methods)).startswith(f"{share:.0f} % (")
        assert looks(replace(found, methods=methods)).endswith("The method passed its checks.")
    none = replace(found, methods=(replace(second, checks=replace(second.checks, complaints=("bad",))),))
    assert looks(none).endswith("No method passed its checks: do not rely on it.")
    assert looks(Attribution(0, 0, "")) == "Not computed: no method was asked."


def test_the_table_has_a_row_for_each_method_label_and_part(found):
    table = attribution_table(found)
    assert len(table) == len(found.methods) * 3 * 3
    row = table[(table.method == "integrated_gradients") & (table.fill == "0") & (table.label == "benign")].iloc[2]
    part = found.method("integrated_gradients", "0").labels[1].of("outside")
    assert (row.part, row.share, row.area_low, row.gain_high) == (
        "outside",
        part.share.value,
        part.area.low,
        part.gain.high,
    )
    assert row.passed == found.method("integrated_gradients", "0").checks.passed


def test_figures_show_what_the_record_holds(found):
    figures = dict(attribution_figures(found))
    assert tuple(figures) == FIGURES
    assert len(figures["attribution_panels"].axes) == 6 * 2 + 1
    lines = figures["attribution_shares"].axes[0].lines
    points = [line.get_xdata()[0] for line in lines if line.get_marker() == "D" and len(line.get_xdata())]
    assert points == pytest.approx([one.labels[0].of("outside").share.value for one in found.methods])
    masked = figures["attribution_masked"].axes
    assert len(masked) == 9 * 2 * 2 + 1
    assert masked[-1].get_xlabel().endswith("bright decides, dark does not")
    titles = [axes.get_title() for axes in masked[:-1]]
    for place, panel in enumerate(found.masked):
        own = titles[18 * place : 18 * place + 18]
        assert "".join(own[0].split()).startswith(f"{panel.label}:{panel.image_id}full")
        assert own[1::2] == [f"{view.outside:.0%} outside" for view in panel.views]
    assert dict(attribution_figures(None)) == {}
    bare = replace(found, panels=(), masked=(), methods=(replace(found.methods[0], checks=None),))
    assert list(dict(attribution_figures(bare))) == ["attribution_shares"]
