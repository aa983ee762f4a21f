# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page a clinician reads, with its tables and figures; it needs the record of the audit and nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Audit
from monai_shortcut.report.figures.audit import COLOURS, figures
from monai_shortcut.storage.files import replacing

_HEADLINES = {
    USED: "The predictions depend on",
    INCONCLUSIVE: "The data cannot tell for",
    NOT_USED: "Visible to the model, but the predictions do not depend on",
    NOT_ENCODED: "No trace in the model of",
}


def write_report(audit: Audit | str | Path, folder: str | Path) -> Path:
    """Write the report of an audit.

    Args:
        audit: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``audit.json``, ``findings.csv``, ``regions.csv``,
            ``excluded.csv`` and ``figures/*.png`` go; made when absent. Each file appears when it is complete, the
            page last.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not an audit, or of a newer version.
        PermissionError: If the folder cannot be written to.
    """
    record = audit if isinstance(audit, Audit) else Audit.from_json(audit)
    drawn = {name: png(figure) for name, figure in figures(record)}
    excluded = pd.DataFrame(record.excluded.items(), columns=["image_id", "reason"])
    tables = {"findings": findings_table(record), "regions": regions_table(record), "excluded": excluded}
    html = _html(record, {name: in_base64(content) for name, content in drawn.items()})
    return write_files(folder, {"audit.json": record.to_json}, tables, drawn, html)


def write_overview(
    audits: Mapping[str, Audit], folder: str | Path, *, title: str = "", problems: Mapping[str, str] | None = None
) -> Path:
    """Write the page that shows the audits of several clinical labels side by side.

    Args:
        audits: by label, each written by `write_report` to the folder of `label_folders`.
        folder: where ``report.html`` and ``findings.csv``, of all labels, go; made when absent.
        title: what was audited.
        problems: why a label could not be audited.

    Returns:
        The path of ``report.html``.

    Raises:
        PermissionError: If the folder cannot be written to.
    """
    names = tuple(dict.fromkeys(finding.attribute for audit in audits.values() for finding in audit.findings))
    html = render(
        "overview.html.jinja",
        title=title,
        audits=audits,
        attributes=names,
        verdicts={label: {f.attribute: f.verdict for f in audit.findings} for label, audit in audits.items()},
        folders=label_folders(audits),
        problems=dict(problems or {}),
        colours=COLOURS,
    )
    tables = [findings_table(audit).assign(label=label).set_index("label") for label, audit in audits.items()]
    return write_files(folder, {}, {"findings": pd.concat(tables).reset_index()}, {}, html)


def label_folders(labels: Iterable[str]) -> dict[str, str]:
    """Names of folders by label: letters, digits, dots, dashes and underscores, all different on every file system.

    Example:
        >>> label_folders(["pleural effusion", "Pleural/effusion"])
        {'pleural effusion': 'pleural_effusion', 'Pleural/effusion': 'Pleural_effusion_2'}
    """
    folders: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^\w.-]+", "_", label).strip("._") or "label"
        taken = {folder.lower() for folder in folders.values()}
        numbered = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        folders[label] = next(name for name in numbered if name.lower() not in taken)
    return folders


def write_files(
    folder: str | Path,
    records: Mapping[str, Callable[[Path], object]],
    tables: Mapping[str, pd.DataFrame],
    drawn: Mapping[str, bytes],
    html: str,
    page: str = "report.html",
) -> Path:
    """Write the files of a report, each of which appears when it is complete, the page last.

    Args:
        folder: where they go; made when absent.
        records: by name of the file, what writes it to a path.
        tables: by name, without the suffix.
        drawn: PNG files by name, without the suffix.
        html: the page.
        page: name of its file.

    Returns:
        The path of the page.

    Raises:
        PermissionError: If the folder cannot be written to.
    """
    place = Path(folder)
    writable(place)
    for name, write in records.items():
        with replacing(place / name) as part:
            write(part)
    for name, table in tables.items():
        with replacing(place / f"{name}.csv") as part:
            table.to_csv(part, index=False)
    if drawn:
        writable(place / "figures")
    for name, content in drawn.items():
        with replacing(place / "figures" / f"{name}.png") as part:
            part.write_bytes(content)
    with replacing(place / page) as part:
        part.write_text(html, encoding="utf-8")
    return place / page


def writable(folder: str | Path) -> None:
    """Make an output folder, or say why it cannot be written to.

    Raises:
        PermissionError: If the folder, or what stands in its place, cannot be written to.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(f"the output folder must be writable, got {place}: {error}.") from error


def findings_table(audit: Audit) -> pd.DataFrame:
    """One row per attribute: verdict, evidence and counts."""
    rows = []
    for finding in audit.findings:
        row: dict[str, object] = {
            "attribute": finding.attribute,
            "verdict": finding.verdict,
            "images": sum(finding.levels.values()),
            "patients": finding.patients,
            "missing": finding.missing,
            "left_out": sum(finding.left_out.values()),
            "levels": "; ".join(f"{name}: {count}" for name, count in finding.levels.items()),
        }
        shown = finding.evidence
        if shown is not None:
            row |= {"own_auroc": shown.encoding.own_auroc[0], "own_auroc_low": shown.encoding.own_auroc[1]}
            row |= {"own_auroc_high": shown.encoding.own_auroc[2], "own_auroc_p": shown.encoding_p_value}
            row |= {"auroc": shown.encoding.auroc[0]}
            row |= {name: value for name, (value, _, _) in shown.encoding.metrics.items()}
            row |= {"gap": shown.gap.effect, "gap_low": shown.gap.interval[0], "gap_high": shown.gap.interval[1]}
            row |= {"gap_p": shown.gap_p_value, "largest_wsc": max(abs(v) for r in shown.alignment.wsc for v in r)}
            row |= {"wsc_p": shown.alignment.wsc_p_value}
            row |= {"largest_alignment": max(abs(v) for r in shown.alignment.within for v in r)}
            row |= {"largest_wsc_balanced": max((abs(v) for r in shown.alignment.balanced for v in r), default=None)}
            row |= {"gap_detectable": shown.gap.detectable, "own_auroc_q": shown.encoding_q_value}
            row |= {"gap_q": shown.gap_q_value, "latent_counterfactual": shown.latent and shown.latent.effect}
            row |= {"erasure": shown.erasure and shown.erasure.change[0]}
            row |= {"erasure_p": shown.erasure and shown.erasure.p_value}
            row |= {"alignment_z": shown.alignment.z, "alignment_p": shown.alignment.p_value}
        if finding.counterfactual is not None:
            row |= {"swapped": finding.counterfactual.change, "swapped_low": finding.counterfactual.interval[0]}
            row |= {"swapped_high": finding.counterfactual.interval[1]}
        rows.append({**row, "reason": finding.reason})
    return pd.DataFrame(rows)


def regions_table(audit: Audit) -> pd.DataFrame:
    """One row per class and masking strategy: area under the ROC curve and its loss against full images."""
    return pd.DataFrame(
        [
            {
                "label": score.label,
                "trained_on": audit.regions.trained_on,
                "evaluated_on": score.evaluated_on,
                "images": score.images,
                "auc": score.auc,
                "auc_low": score.interval[0],
                "auc_high": score.interval[1],
                "chance_p": score.chance_p_value,
                "difference": score.difference,
                "difference_p": score.p_value,
            }
            for score in audit.regions.scores
        ]
    )


def _html(audit: Audit, pictures: dict[str, str]) -> str:
    named = {verdict: [f.attribute for f in audit.findings if f.verdict == verdict] for verdict in _HEADLINES}
    headlines = [(verdict, text, named[verdict]) for verdict, text in _HEADLINES.items() if named[verdict]]
    return render("audit.html.jinja", audit=audit, pictures=pictures, headlines=headlines, colours=COLOURS)


def render(template: str, **values: Any) -> str:
    """The page that a template of this package gives; a value it lacks is an error."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files(__package__).joinpath("templates", template).read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def in_base64(picture: bytes) -> str:
    """A picture as the text that a page holds."""
    return base64.b64encode(picture).decode("ascii")


def png(figure: Figure) -> bytes:
    """The picture of a figure, without the name and version of the program that drew it.

    Args:
        figure: the figure.

    Returns:
        A PNG file.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
