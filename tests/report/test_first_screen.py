# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from difference_cases import TOLD_APART, bare, compared, found, row, shown

from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.analyses.subgroups import LevelScore, SubgroupGaps
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, Audit, Counterfactual, Identity
from monai_shortcut.report.differences import tolerances
from monai_shortcut.report.first_screen import calibration, first_screen, regions_headline
from monai_shortcut.report.glossary import GLOSSARY
from monai_shortcut.report.headlines import CAUTION
from monai_shortcut.report.pages import render
from monai_shortcut.types import Estimate

DIGEST = "1a2b3c4d5e6f7" + "0" * 51


def area(strategy: str, value: float, half: float = 0.05, p_value: float = 0.0001, label: str = "malignant"):
    return RegionScore(label, strategy, 120, Estimate(value, value - half, value + half), p_value, 0.0, 1.0)


def with_regions(record: Audit, *scores: RegionScore) -> Audit:
    return replace(record, regions=RegionSensitivity("full", scores, {}))


@pytest.fixture(scope="module")
def rich() -> Audit:
    """A scanner that moves answers, a site that may, a sex that does not, an operator unseen, and a hidden region."""
    wrong = LevelScore(1, 1, 60, 40, None, 0.44, 0.28, 0.16, (0.05, 0.3))
    few = ((40, 40, 40), (3, 40, 40))
    record = bare(
        found("sex", shown(differences=compared(row(0.03, 0.02), patients=few), differences_p_value=0.4), NOT_USED),
        found("operator", shown(row(0.3), differences_p_value=0.6), NOT_ENCODED),
        found("site", shown(row(0.08, 0.05, p_value=0.007), differences_p_value=0.007), INCONCLUSIVE),
        found("age", shown(row(0.2, 0.3), differences_p_value=0.5), INCONCLUSIVE),
        found("ward", None, INCONCLUSIVE),
        found("scanner", shown(row(0.3, certain=0.15), subgroups=SubgroupGaps((wrong,), None, None, None, None))),
    )
    record = with_regions(record, area("full", 0.78), area("without_roi", 0.73), area("roi_only", 0.41))
    known = Identity("SonoNet", "class_layers.out", "metadata.csv", "2026-11-26")
    return replace(
        record, title="Breast", weights={DIGEST: "model.pt"}, identity=known, software={"monai_shortcut": "0.1.0"}
    )


def screen_of(record: Audit) -> str:
    """The first screen, as HTML without pictures."""
    tolerated = tolerances(record.settings, record.label_names)
    return render(
        "first_screen",
        title="",
        screen=first_screen(record),
        audit=record,
        pictures={},
        no_classifier="",
        tolerances=tolerated,
    )


@pytest.fixture(scope="module")
def before_the_fold(rich) -> str:
    """The first screen as text with single spaces, and the places of elements with an id."""
    marked = re.sub(r'<\w+[^>]*\bid="([\w-]+)"[^>]*>', r" [\1] ", screen_of(rich))
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", marked).split())).replace(" .", ".")


def part(text: str, name: str) -> str:
    return text.split(f"[{name}] ")[1].split("[")[0]


def test_the_screen_comes_in_the_order_in_which_people_ask(before_the_fold):
    places = ["question", "identity", "cautions", "others", "untested", "next", "performance", "verdicts"]
    assert re.findall(r"\[([\w-]+)\]", before_the_fold) == places
    asked = "sex, operator, site, age, ward or scanner"
    wanted = f"Do the answers of this model depend on {asked}, where the diagnosis is the same?"
    assert part(before_the_fold, "question").strip() == wanted


def test_the_page_begins_with_it_and_ends_with_the_glossary(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    places = [
        'id="question"',
        'id="performance"',
        "<h2>Examples",
        'id="verdicts"',
        '<details id="methods"',
        "In three dimensions",
        'id="term-auc"',
    ]
    assert sorted(places, key=page.index) == places
    assert page.index("Settings and exclusions") < page.index("</details>\n<h2>Glossary")


@pytest.mark.parametrize(
    ("task", "place", "answers"),
    [
        (
            "can this model be trusted across scanners?",
            "cautions",
            [
                "Caution: predictions differ by scanner. For images labelled benign, the probability of malignant "
                "shifts by 30 points (18 to 42) between A and B.",
                "At B it says 44 % malignant; 28 % are.",
                "Caution: it scores nearly as well without the region of interest. Class malignant: AUC 0.73 (0.68 to "
                "0.78) hidden against 0.78 (0.73 to 0.83) whole, 0.41 with the region alone.",
            ],
        ),
        (
            "how sure?",
            "cautions",
            [
                "Some evidence (adjusted p 0.030); above your limit of 10 points.",
                "Clear evidence (adjusted p 0.007); whether above your limit of 10 points is open.",
            ],
        ),
        (
            "what should I do?",
            "next",
            ['Do not rely on it across scanner before you know why: the guide "After used"', "Treat site as a risk"],
        ),
        (
            "what was not tested?",
            "untested",
            [
                "ward: Because of ward.",
                "sex: malignant at A (3 patients), too few to judge.",
                "Where it looks: nobody asked.",
                "Whatever is not a column of the table.",
            ],
        ),
        ("on how many patients?", "identity", ["120 images of 120 patients (60 benign, 60 malignant)"]),
        ("which model?", "identity", ["SonoNet; head: class_layers.out", "model.pt (SHA-256 1a2b3c4d5e6f...)"]),
        ("when, on what?", "identity", ["2026-11-26; monai_shortcut 0.1.0", "metadata.csv;", "research use only"]),
        ("may it have seen these patients?", "identity", ["Patients not trained on not known"]),
        (
            "what is smaller than my limit?",
            "others",
            ["Below your limit: sex, 3 points (1 to 5).", "Open, these images cannot tell: age, 20 points (0 to 50)."],
        ),
        ("how good is it?", "performance", ["AUC: malignant 0.78 (0.73 to 0.83)."]),
    ],
)
def test_a_reader_finds_the_answer_on_the_first_screen(before_the_fold, task, place, answers):
    for answer in answers:
        assert answer in part(before_the_fold, place), task


def test_cautions_come_by_strength_and_no_more_than_three(rich):
    screen = first_screen(rich)
    assert [one.name for one in screen.cautions] == ["scanner", "region of interest", "site"]
    assert screen.further == []
    used = [found(f"used {index}", shown(row(0.35 + index / 10, certain=0.15))) for index in range(4)]
    many = first_screen(replace(rich, findings=(*rich.findings, *used)))
    assert [one.name for one in many.cautions] == ["used 3", "used 2", "region of interest"]
    assert many.further == ["used 1", "used 0", "scanner", "site"]
    assert [one.name for one in many.table][:3] == ["region of interest", "used 3", "used 2"]


def test_words_of_a_limit_stand_only_where_limits_allow_them(rich, before_the_fold):
    names = {one.name: one.verdict for one in first_screen(rich).table}
    assert names == {
        "region of interest": "scores nearly as well without it",
        "scanner": "predictions differ, above your limit",
        "site": "predictions differ; whether above your limit is open",
        "age": "open: these images cannot tell",
        "sex": "visible; effect below your limit",
        "operator": "no readable trace in the model",
        "ward": "not measurable",
    }
    assert all(f"{name} {verdict}" in part(before_the_fold, "verdicts") for name, verdict in names.items())


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        (0.73, "Caution: it scores nearly as well without the region of interest."),
        (0.60, "Caution: it scores better than chance without the region of interest."),
        (0.54, "Without the region of interest it is no better than chance."),
    ],
)
def test_what_is_left_without_the_region_is_said_by_how_much_it_is(hidden, said):
    one = regions_headline(with_regions(bare(), area("full", 0.78), area("without_roi", hidden)))
    assert one.lead == said
    assert (one.kind == CAUTION) == said.startswith("Caution")
    assert one.amount == f"AUC {hidden:.2f} ({hidden - 0.05:.2f} to {hidden + 0.05:.2f})"


def test_of_several_classes_the_one_that_keeps_most_is_told_and_the_others_named():
    scores = [
        area(strategy, value, label=label)
        for label, values in {"a": (0.8, 0.6), "b": (0.9, 0.85), "c": (0.9, 0.5)}.items()
        for strategy, value in zip(("full", "without_roi"), values, strict=True)
    ]
    one = regions_headline(with_regions(bare(), *scores))
    assert one.said.startswith("Class b: AUC 0.85")
    assert "The same, less plainly: a." in one.certainty


def test_nothing_is_said_of_regions_that_were_not_hidden_or_of_a_model_at_chance():
    assert regions_headline(with_regions(bare(), area("full", 0.78))) is None
    assert regions_headline(with_regions(bare(), area("full", 0.54), area("without_roi", 0.5))) is None


def test_calibration_is_that_of_the_answers(many):
    sample = many.answers.sample(many.settings)
    says, are = sample.probabilities[:, 1].mean(), np.mean(sample.labels == 1)
    said = calibration(many)
    assert said.startswith(
        f"Calibration: on average it says {100 * says:.0f} % {many.label_names[1]}; {100 * are:.0f} % are: "
        f"{100 * abs(says - are):.0f} points too {'many' if says > are else 'few'} ("
    )
    wrong = sample.probabilities[:, 1] - (sample.labels == 1)
    by_patient = [wrong[sample.patients == patient] for patient in np.unique(sample.patients)]
    rng = np.random.default_rng(0)
    drawn = [
        np.concatenate([by_patient[one] for one in rng.integers(len(by_patient), size=len(by_patient))]).mean()
        for _ in range(999)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    expected = 100 * max(low, -high, 0), 100 * max(-low, high)
    assert [float(end) for end in re.findall(r"\((\d+) to (\d+)\)", said)[0]] == pytest.approx(expected, abs=1.0)
    assert calibration(replace(many, answers=None)) == "Calibration: not recorded."


def test_nothing_found_is_no_praise():
    screen = first_screen(bare(found("tag", shown(row(0.02, 0.01), differences_p_value=0.5), NOT_USED)))
    assert screen.cautions == []
    assert screen.next_steps == [
        "Audit again where scanner, site or patients change: nothing found is no proof of safety."
    ]
    assert "Cause and effect: no image was shown with only an attribute swapped." in screen.untested
    swapped = found("tag", shown(row(0.02)), NOT_USED, counterfactual=Counterfactual(9, Estimate(0.1, 0.0, 0.2)))
    assert not any("Cause" in said for said in first_screen(bare(swapped)).untested)


def test_what_is_open_is_followed_by_the_patients_that_would_settle_it():
    """The variance of 40 and 40 patients, (2.93 / 1.64 * 0.2 / 0.1)^2 times smaller; near the limit no number."""
    doubt = found("site", shown(row(0.0, 0.2), differences_p_value=0.5), INCONCLUSIVE)
    near = found("age", shown(row(0.099, 0.05), differences_p_value=0.5), INCONCLUSIVE)
    steps = first_screen(bare(doubt, near)).next_steps
    assert steps == [
        "Add patients, or set another limit, for age and site.",
        "For site, about 510 patients each of benign at A and at B would settle it; the smaller cell has 40.",
        "For age, only another limit settles it.",
    ]
    screen = first_screen(bare(*(replace(doubt, attribute=f"site {place}") for place in range(5))))
    assert screen.next_steps[-1] == "The reasons of 2 more are below."
    assert len(screen.next_steps) == 5


def test_a_model_at_chance_is_told_to_be_checked_first():
    chance = replace(TOLD_APART, auc=Estimate(0.5, 0.4, 0.6))
    screen = first_screen(with_regions(bare(found("tag", shown(row(0.02)), INCONCLUSIVE)), chance))
    assert screen.next_steps == ["Check weights and label names first: the model tells no class apart."]


def test_every_term_has_its_meaning_at_the_end_and_as_tooltip(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    terms = re.findall(r'<a class="term" href="#([\w-]+)" title="([^"]+)">([^<]+)</a>', page)
    assert len(terms) >= 7
    for anchor, title, name in terms:
        assert unescape(title) == GLOSSARY[name]
        assert page.index(f'href="#{anchor}"') < page.index(f'<dt id="{anchor}">{name}</dt>')


def test_no_page_prints_a_zero_with_a_minus(folder, rich):
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<svg.*?</svg>|<style.*?</style>|base64,[^\"]*", "", page, flags=re.S)
    for page in (text, screen_of(rich)):
        assert not re.search(r"(?<![\w.-])-0\.?0*(?![\d.])", page)
