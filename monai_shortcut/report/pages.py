# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The pages of an audit; they need its record and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from monai_shortcut.audit.leading import exceptions, least_noticed, naming, together, told
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.audit.wording import unfit
from monai_shortcut.report.attribution import attribution_table, looks, told_name
from monai_shortcut.report.attribution import told as method_name
from monai_shortcut.report.differences import lines, scales, shifted, tolerances
from monai_shortcut.report.dimensions import dimensions
from monai_shortcut.report.discovered import group_lines
from monai_shortcut.report.drawings import Drawing, drawn
from monai_shortcut.report.embeddings import PUBLISHED, cosines_table
from monai_shortcut.report.evidence_pack import record_files
from monai_shortcut.report.figures.audit import figures
from monai_shortcut.report.figures.style import ANSWERS, DARK, RULINGS, VERDICTS
from monai_shortcut.report.files import PAGE, Files, label_folders, report_files
from monai_shortcut.report.first_screen import first_screen
from monai_shortcut.report.glossary import GLOSSARY
from monai_shortcut.report.markup import completed
from monai_shortcut.report.tables import findings_table, regions_table
from monai_shortcut.report.wording import SAID, limits, number, words
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.privacy import written
from monai_shortcut.types import Estimate, p_text

_EVIDENCE, _SUFFIX = "evidence/", ".html.jinja"


def write_report(audit: Audit | str | Path, folder: str | Path) -> Path:
    """Write the report of an audit.

    Args:
        audit: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``audit.json``, ``evidence.json``, ``evidence.html``,
            ``summary.md``, ``findings.csv``, ``regions.csv``,
            ``excluded.csv``, ``cosines.csv`` (where embeddings of masked images are known), ``attribution.csv``
            (where it was asked for) and ``figures/*.svg`` go;
            made when absent. They take the place of a former report as one, as in
            `monai_shortcut.storage.folders.replace_files`.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not an audit, or of a newer version.
        PermissionError: If the folder cannot be written to.
        FolderInUseError: If another process writes there.
    """
    record = audit if isinstance(audit, Audit) else Audit.from_json(audit)
    return replace_files(folder, _audit_files(record), PAGE)


def _audit_files(audit: Audit, overview: str = "") -> Files:
    record = written(audit)
    pictures = drawn(figures(record))
    excluded = pd.DataFrame(record.excluded.items(), columns=["image_id", "reason"])
    tables = {"findings": findings_table(record), "regions": regions_table(record), "excluded": excluded}
    if record.moves is not None:
        tables["cosines"] = cosines_table({record.regions.trained_on: record.moves})
    if record.attribution is not None and record.attribution.methods:
        tables["attribution"] = attribution_table(record.attribution)
    html = _html(record, pictures, overview)
    return report_files(record_files(record, render), tables, pictures, html)


def write_reports(
    audits: Mapping[str, Audit], folder: str | Path, *, title: str = "", problems: Mapping[str, str] | None = None
) -> Path:
    """Write the overview of several clinical labels and the report of each; they replace former ones as one.

    Args:
        audits: by label. The report of each goes to its folder of `label_folders`.
        folder: where they go; made when absent.
        title: what was audited.
        problems: why a label could not be audited.

    Returns:
        The path of the overview's ``report.html``.

    Raises:
        FolderInUseError, PermissionError: As `write_report`.
    """
    files = dict(_overview_files(audits, title, problems or {}))
    for label, place in label_folders(audits).items():
        files |= {f"{place}/{name}": write for name, write in _audit_files(audits[label], f"../{PAGE}").items()}
    return replace_files(folder, files, PAGE)


def write_overview(
    audits: Mapping[str, Audit], folder: str | Path, *, title: str = "", problems: Mapping[str, str] | None = None
) -> Path:
    """Write the page that shows the audits of several clinical labels side by side.

    Args:
        audits: by label. The page links to the report of each in its folder of `label_folders`.
        folder: where ``report.html`` and ``findings.csv``, of all labels, go; made when absent.
        title: what was audited.
        problems: why a label could not be audited.

    Returns:
        The path of ``report.html``.

    Raises:
        FolderInUseError, PermissionError: As `write_report`.
    """
    return replace_files(folder, _overview_files(audits, title, problems or {}), PAGE)


def _overview_files(audits: Mapping[str, Audit], title: str, problems: Mapping[str, str]) -> Files:
    html = render(
        "overview",
        title=title,
        audits=audits,
        attributes=list(dict.fromkeys(finding.attribute for audit in audits.values() for finding in audit.findings)),
        findings={label: {f.attribute: f for f in audit.findings} for label, audit in audits.items()},
        folders=label_folders(audits),
        problems=dict(problems),
    )
    tables = [findings_table(audit).assign(label=label).set_index("label") for label, audit in audits.items()]
    return report_files({}, {"findings": pd.concat(tables).reset_index()}, {}, html)


def render(page: str, **values: Any) -> str:
    """Fill the template of a page.

    Args:
        page: its name, without the suffix.
        **values: what the template names; ``title`` in every page.

    Raises:
        jinja2.UndefinedError: If the template names a value that is not given.
    """
    return completed(_environment().get_template(page + _SUFFIX).render(values))


def _html(audit: Audit, pictures: Mapping[str, Drawing], overview: str = "") -> str:
    groups = together(audit.findings)
    return render(
        "audit",
        title=audit.title,
        overview=overview,
        audit=audit,
        pictures=pictures,
        screen=first_screen(audit),
        no_classifier=unfit(audit),
        dimensions=dimensions(audit),
        groups=groups,
        exceptions={finding.attribute: exceptions(finding, audit) for finding in audit.findings},
        noticed={finding.attribute: _noticed(finding, audit) for finding in audit.findings},
        former=any((one := told(finding, audit)) and one.row is None for finding in audit.findings),
        tolerances=tolerances(audit.settings, audit.label_names, audit.unit if audit.regression else None),
        analyses=_analyses(),
    )


def _noticed(finding: Finding, audit: Audit) -> dict[str, float]:
    """The smallest use that these images would show, by label."""
    found = finding.evidence and finding.evidence.differences
    return least_noticed(found, audit.settings, naming(finding, audit)) if found else {}


def _analyses() -> list[str]:
    """Names of the analyses that have a template."""
    names = _environment().list_templates(filter_func=lambda name: name.startswith(_EVIDENCE))
    return [name.removeprefix(_EVIDENCE).removesuffix(_SUFFIX) for name in names]


@cache
def _environment() -> Environment:
    """The templates of this package, with one way to print a number."""
    loader = PackageLoader("monai_shortcut.report")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"p": p_text, "number": number, "limits": limits, "words": words}
    found.globals |= {"estimate": Estimate, "colours": VERDICTS | ANSWERS | RULINGS, "dark": DARK}
    found.globals |= {"looks": looks, "method_name": method_name, "told_name": told_name}
    found.globals |= {"published": PUBLISHED, "told": told, "lines": lines, "scales": scales, "shifted": shifted}
    found.globals |= {"glossary": GLOSSARY, "said": SAID}
    found.globals |= {"group_lines": group_lines}
    return found
