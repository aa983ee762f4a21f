# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is analysed after an evaluation: recorded images beside their rows in a cohort, one clinical label at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from monai_shortcut.audit.assembly import audit, probabilities
from monai_shortcut.audit.evidence import coded_levels
from monai_shortcut.audit.record import Audit, Identity
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.cohort.matching import ImageMatcher
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.heads import LinearHead
from monai_shortcut.regions.properties import PROPERTIES, as_attributes
from monai_shortcut.statistics.checks import usable_images
from monai_shortcut.statistics.fitted_heads import fitted_head
from monai_shortcut.types import Outcome
from monai_shortcut.versions import today, versions

NO_ROW, NO_IMAGE = "no row in the cohort", "no image in the evaluation"
SAME_NAME = "another image of the same name is analysed: give patches of a file ids of their own"
FITTED = (
    "The network has no head of its own. Logistic regressions were fitted to what it returns, in {folds} folds of "
    "patients; audited are the answers of each to patients that it was not fitted to."
)
_NUMBER = re.compile(r" \([0-9]+\)$")  # of one of several patches
_LARGE = 0.2  # share of images or rows without counterpart that is said first
FORMER = "label of the table"  # where findings take its place

Embeddings = NDArray[np.floating[Any]]  # float32 or float64


@dataclass(frozen=True, eq=False)
class RecordedImages:
    """The images of an evaluation, each once.

    Attributes:
        names: M ids of images or paths of files, all different.
        image_ids: M names to show, without folders and suffix where that tells them apart.
        embeddings: (M, D) what the head read, float32 or float64; D is 0 if only its answers are known.
        head: the head.
        others: by name, the number of further images of the same name, as of several patches of one file, which are not
            among these.
        predicted: (M, C) predicted probabilities if only these are known; of several labels that of each, of a
            regression (M, 1) predictions.
        properties: (M,) what was measured of the images themselves, by name, as by `image_properties`.
    """

    names: tuple[str, ...]
    image_ids: tuple[str, ...]
    embeddings: Embeddings
    head: LinearHead
    others: Mapping[str, int] = field(default_factory=dict)
    predicted: NDArray[np.float64] | None = None
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, str]:
        """Reason by name, of the further images."""
        shown = dict(zip(self.names, self.image_ids, strict=True))
        counted = ((shown[name], number) for name, count in self.others.items() for number in range(2, count + 2))
        return {f"{name} ({number})": SAME_NAME for name, number in counted}


class Matched(NamedTuple):
    """Recorded images and the rows of one cohort that belong to them.

    Attributes:
        cohort: the N rows with an image, in the order of their ids, so that the order of neither table nor images
            moves a draw.
        rows: (N,) int64 position of each row's image among the recorded ones.
        strangers: reason by name, of the recorded images without a row, not even an excluded one.
        unseen: image ids of the rows whose image the evaluation did not see.
    """

    cohort: Cohort
    rows: NDArray[np.int64]
    strangers: dict[str, str]
    unseen: tuple[str, ...]


class CohortMatcher:
    """Finds the rows of a cohort that images belong to.

    Args:
        cohort: the table.
        each: whether a row is of all patches that have its name, and a number behind it.

    Attributes:
        places: number of the row by image id.
    """

    def __init__(self, cohort: Cohort, *, each: bool = False) -> None:
        self.cohort, self._each = cohort, each
        self.places = {image: place for place, image in enumerate(cohort.image_ids)}
        self._ids, self._excluded = ImageMatcher(cohort.image_ids), ImageMatcher(tuple(cohort.excluded))

    def find(self, name: str) -> str | None:
        """The image id that a name stands for, as by `ImageMatcher`; None if no row has it."""
        return self._ids.find(_NUMBER.sub("", name) if self._each else name)

    def match(self, images: RecordedImages) -> Matched:
        """Match the recorded images with the cohort.

        Raises:
            ValueError: If several images fit one row, or one image several rows.
        """
        if self._each:
            return self._match_each(images)
        found = self._ids.find_all(images.names)
        position = {image: row for row, image in enumerate(found) if image is not None}
        ids = self.cohort.image_ids
        chosen = sorted(position)
        nameless = zip(images.names, images.image_ids, found, strict=True)
        return Matched(
            cohort=self.cohort.select(chosen),
            rows=np.array([position[image] for image in chosen], dtype=np.int64),
            strangers={
                shown: NO_ROW for name, shown, row in nameless if row is None and self._excluded.find(name) is None
            },
            unseen=tuple(image for image in ids if image not in position),
        )

    def _match_each(self, images: RecordedImages) -> Matched:
        """The same where a row is of several images: it is repeated for each, with its number."""
        found = [self.find(name) for name in images.names]
        numbers = [number[0] if (number := _NUMBER.search(name)) else "" for name in images.names]
        rows = {f"{row}{number}": place for place, (row, number) in enumerate(zip(found, numbers, strict=True)) if row}
        chosen = sorted(rows)
        table = self.cohort.table.loc[[found[rows[name]] for name in chosen]]
        return Matched(
            cohort=replace(self.cohort, table=table.set_axis(pd.Index(chosen, name=table.index.name, dtype=object))),
            rows=np.array([rows[name] for name in chosen], dtype=np.int64),
            strangers={
                shown: NO_ROW
                for shown, row in zip(images.image_ids, found, strict=True)
                if row is None and self._excluded.find(_NUMBER.sub("", shown)) is None
            },
            unseen=tuple(image for image in self.cohort.image_ids if image not in set(found)),
        )


class Unmatched(NamedTuple):
    """What has no counterpart.

    Attributes:
        images: reason by name, of images without a row in any of the cohorts.
        rows: image ids of rows without an image.
    """

    images: dict[str, str]
    rows: tuple[str, ...]

    @classmethod
    def among(cls, matches: Iterable[Matched]) -> Unmatched:
        """The images that no cohort knows, and the rows of all cohorts whose image was not seen."""
        each = list(matches)
        strangers = [matched.strangers for matched in each]
        images = {name: why for name, why in strangers[0].items() if all(name in others for others in strangers)}
        return cls(images, tuple(dict.fromkeys(image for matched in each for image in matched.unseen)))

    @property
    def problems(self) -> dict[str, str]:
        """Reason by name, of both."""
        return {**self.images, **dict.fromkeys(self.rows, NO_IMAGE)}

    def told(self, images: int, rows: int, most: float) -> str:
        """How large a share of images and rows has no counterpart, in a sentence; "" if it is small.

        Args:
            images: number of images.
            rows: number of rows of the cohorts.
            most: share of either that may be without counterpart.

        Raises:
            ValueError: If more are.
        """
        share = max(len(self.images) / max(images, 1), len(self.rows) / max(rows, 1))
        said = f"{len(self.images)} of {images} images have no row, and {len(self.rows)} of {rows} rows no image"
        if share > most:
            raise ValueError(
                f"at most {most:.0%} of images and rows may be without counterpart (most_unmatched), got: {said}."
            )
        return f"{said}: this is about those that have both." if share >= _LARGE else ""


@dataclass(frozen=True, eq=False)
class ClinicalTask:
    """One clinical label, the part of the head that predicts it, and the N images where both are known.

    Attributes:
        name: label of a multi-label network; "" if there is one label.
        images: the M recorded images.
        matched: those with a row in the label's cohort.
        outputs: C outputs of the head that predict the label; one if it is a single logit.
        attributes: names of those to be analysed.
        outcome: what a regression predicts; the label of its cohort is a number.
    """

    name: str
    images: RecordedImages
    matched: Matched
    outputs: tuple[int, ...]
    attributes: tuple[str, ...]
    outcome: Outcome | None = None

    @property
    def cohort(self) -> Cohort:
        """Rows of the N images."""
        return self.matched.cohort

    @property
    def embeddings(self) -> Embeddings:
        """(N, D) embeddings in the order of the cohort's rows, a new array as precise as recorded."""
        return self.images.embeddings[self.matched.rows]

    @property
    def weight(self) -> NDArray[np.float64]:
        """(C, D) rows of the head."""
        return np.asarray(self.images.head.weight.double().cpu().numpy()[list(self.outputs)])

    @property
    def bias(self) -> NDArray[np.float64]:
        """(C,) of the head."""
        return np.asarray(self.images.head.bias.double().cpu().numpy()[list(self.outputs)])

    @property
    def prefix(self) -> str:
        """What the names of its numbers begin with."""
        return f"{self.name}_" if self.name else ""

    def titled(self, title: str) -> str:
        """A title that tells the labels apart."""
        return f"{title}: {self.name}" if self.name else title

    def given(self, settings: AuditSettings) -> dict[str, Any]:
        """What `monai_shortcut.audit.audit` takes of the N images.

        Args:
            settings: settings of the audit.
        """
        cohort, images = self.cohort, self.images
        known = {"embeddings": self.embeddings, "weight": self.weight, "bias": self.bias, "predicted": None}
        if images.predicted is not None:
            known = {**dict.fromkeys(known), "predicted": self._answers(images.predicted[self.matched.rows])}
        return {
            **known,
            "labels": cohort.labels if self.outcome is None else cohort.table["label"].to_numpy(np.float64),
            "outcome": self.outcome,
            "patients": cohort.patients.tolist(),
            "attributes": {name: cohort.values(name) for name in self.attributes} | self._properties,
            "label_names": cohort.label_names if self.outcome is None else (),
            "kinds": {name: cohort.kinds[name] for name in self.attributes},
            "orders": {name: order for name, order in cohort.orders.items() if name in self.attributes},
            "image_ids": cohort.image_ids,
            "settings": settings.about((*self.attributes, *images.properties)),
        }

    def _answers(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Those (N, C) of the label's classes: of a finding with an output of its own, absent and present."""
        own = predicted[:, list(self.outputs)]
        return np.hstack([1 - own, own]) if self.name else own

    @property
    def _properties(self) -> dict[str, NDArray[Any]]:
        """Properties (N,) of the images as attributes, by name."""
        return as_attributes({name: column[self.matched.rows] for name, column in self.images.properties.items()})

    def audited(self, settings: AuditSettings, title: str, **measured: Any) -> Audit:
        """The audit of the N images.

        Args:
            settings: settings of the audit.
            title: what is audited.
            **measured: what else of `monai_shortcut.audit.audit` is known.
        """
        cohort = self.cohort
        record = audit(
            **self.given(settings),
            measured={name: PROPERTIES[name] for name in self.images.properties},
            excluded={**self.matched.strangers, **self.images.left_out, **cohort.excluded},
            unseen=self.matched.unseen,
            title=self.titled(title),
            software=versions(),
            folds=cohort.table["fold"].to_numpy() if "fold" in cohort.table else None,
            **measured,
        )
        identity = Identity(head=self.images.head.layer, table=cohort.source, date=today())
        return replace(record, identity=identity, sources={"table": cohort.digest} if cohort.digest else {})

    def finite(self) -> ClinicalTask:
        """The same task without images whose embedding is not finite.

        Raises:
            ValueError: If no image is left.
        """
        rows = self.matched.rows
        finite = usable_images(self.images.embeddings[rows])
        cohort = self.cohort.select(np.array(self.cohort.image_ids)[finite].tolist())
        return replace(self, matched=self.matched._replace(cohort=cohort, rows=rows[finite]))

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities of the label's classes, for the N images; of a regression its predictions.

        Args:
            logits: (M, outputs) of all recorded images.

        Returns:
            (N, 2) for a single output, else (N, C); of a regression (N, 1). NaN where a logit is.
        """
        if self.outcome is not None:
            return logits[self.matched.rows]
        unit = np.eye(logits.shape[1])[list(self.outputs)]
        return probabilities(logits[self.matched.rows], unit, np.zeros(len(unit)))


def clinical_tasks(
    images: RecordedImages,
    matches: Mapping[str, Matched],
    labels: Sequence[str] | None,
    attributes: Sequence[str],
) -> tuple[list[ClinicalTask], dict[str, str]]:
    """The labels that can be analysed, and why the others cannot.

    Args:
        images: what was recorded.
        matches: rows of each label's cohort; "" if there is one label.
        labels: labels of a multi-label network, one for each output; None if there is one label.
        attributes: names of those to be analysed, where a cohort has them.

    Raises:
        ValueError: If the labels are not those of the head, or none can be analysed.
    """
    tasks: list[ClinicalTask] = []
    problems: dict[str, str] = {}
    for name, outputs in head_outputs(images.head, labels).items():
        if name not in matches:
            problems[name] = "it is the same in all rows of the cohort"
            continue
        cohort = matches[name].cohort
        if not name and len(cohort) and len(set(cohort.labels.tolist())) < 2:
            raise ValueError(
                f"images of at least two classes must be evaluated, got {len(cohort)} images of class "
                f"{cohort.table['label'].iloc[0]!r} alone: does the configuration cut its data, as with [:1], or is "
                "the table one of part of them?"
            )
        if name and len(set(cohort.labels.tolist())) < 2:
            problems[name] = f"{len(cohort)} images tell, in all of which it is the same"
            continue
        known = tuple(attribute for attribute in attributes if attribute in cohort.attributes)
        tasks.append(ClinicalTask(name, images, matches[name], outputs, known))
    if not any(len(task.cohort) for task in tasks):
        _refuse(images, matches, problems)
    return tasks, problems


def with_fitted_head(images: RecordedImages, matched: Matched, settings: AuditSettings) -> RecordedImages:
    """Images of an encoder with the head that is fitted to those in the cohort; the others have no embedding.

    Raises:
        ValueError: As `fitted_head`.
    """
    finite = np.flatnonzero(np.isfinite(images.embeddings[matched.rows]).all(axis=1))
    rows, cohort = matched.rows[finite], matched.cohort
    known = images.embeddings[rows], cohort.labels[finite], cohort.patients[finite]
    found = fitted_head(*known, settings.folds, np.random.default_rng(settings.seed))
    points = np.full(images.embeddings.shape, np.nan)
    points[rows] = found.embeddings
    head = LinearHead(torch.as_tensor(found.weight), torch.as_tensor(found.bias), "fitted head")
    return replace(images, embeddings=points, head=head)


def head_outputs(head: LinearHead, labels: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Which outputs of the head predict each label; without labels all of them predict "".

    Raises:
        ValueError: If the labels are not those of the head.
    """
    count = len(head.bias)
    if labels is None and head.activation == "sigmoid" and count > 1:
        raise ValueError(
            f"labels must name what each of the {count} outputs tells, for the network ends in a sigmoid, got None."
        )
    if labels is None:
        return {"": tuple(range(count))}
    exclusive = head.activation == "softmax" and count > 1
    if exclusive or count != len(labels):
        got = "a softmax over them" if exclusive else f"{len(labels)} labels"
        raise ValueError(f"each of the labels must have an output of its own, got {got} for {count} outputs.")
    return {name: (output,) for output, name in enumerate(labels)}


def with_classes(cohort: Cohort, head: LinearHead) -> Cohort:
    """The cohort with a name for each class that a head tells apart.

    Labels that are whole numbers are the numbers of outputs: the names of classes that the table lacks follow.

    Raises:
        ValueError: If there are more or fewer names and they are no numbers of outputs.
    """
    outputs = len(head.bias)
    count, names = max(outputs, 2), cohort.label_names
    if len(names) == count:
        return cohort
    if all(name.isdecimal() and int(name) < count for name in names):
        return replace(cohort, label_names=tuple(map(str, range(count))))
    regression = outputs == 1 and len(names) > 2
    raise ValueError(
        f"label_names must hold {count} names to match the head, got {len(names)} ({', '.join(names[:5])}"
        f"{', ...' if len(names) > 5 else ''}): "
        + (
            "one output tells two classes. Of a continuous outcome this is a regression: name it, as "
            'outcome="age" of audit_classifier and ShortcutAudit, audit_outcome of the overlays or --outcome of the '
            "command."
            if regression
            else "name all classes in the order of the outputs, also those that the table lacks."
        )
    )


def require_regression(head: LinearHead) -> None:
    """Refuse heads that do not predict one number.

    Raises:
        ValueError: If there are more outputs, or an activation follows.
    """
    if len(head.bias) != 1 or head.activation:
        got = f"{len(head.bias)}" + (f" and a {head.activation}" if head.activation else "")
        raise ValueError(f"a network that predicts an outcome must end in one linear output, got {got}.")


def cohorts_by_label(
    cohort: Cohort | str | Path | Mapping[str, Cohort], labels: Sequence[str] | None, **columns: Any
) -> dict[str, Cohort]:
    """The cohort of each clinical label that differs between its images; "" if there is one label.

    Args:
        cohort: the table, the path of its CSV, or a cohort for each label that differs.
        labels: labels of a multi-label network; None if there is one label.
        **columns: of a path, as for `Cohort.from_csv`.

    Raises:
        ValueError: If a cohort is of none of the labels, or no label differs between images.
    """
    if isinstance(cohort, Mapping):
        if labels is None or not set(cohort) <= set(labels) or not cohort:
            raise ValueError(f"cohorts must be of the labels {list(labels or ())}, got those of {list(cohort)}.")
        return dict(cohort)
    if labels is None:
        return {"": cohort if isinstance(cohort, Cohort) else Cohort.from_csv(cohort, **columns)}
    if isinstance(cohort, Cohort):
        outcomes, former = cohort.outcomes(labels), None if cohort.finding else FORMER
        found = {name: cohort.with_label(name, former) for name in labels if outcomes[name].nunique() == 2}
    else:
        found = Cohort.by_finding(cohort, labels, **columns)
    if not found:
        raise ValueError(f"a label must be absent in some images and present in others, got {', '.join(labels)}.")
    return found


def chosen_attributes(
    cohorts: Iterable[Cohort], labels: Sequence[str] | None, asked: Sequence[str] | None
) -> tuple[str, ...]:
    """The attributes that are asked for; by default all of the cohorts but the labels.

    Raises:
        ValueError: If no cohort has an attribute that is asked for.
    """
    columns = tuple(dict.fromkeys(name for cohort in cohorts for name in cohort.attributes))
    if asked is None:
        return tuple(name for name in columns if name not in (*(labels or ()), FORMER))
    unknown = [name for name in asked if name not in columns]
    if unknown:
        raise ValueError(f"attributes must be among {list(columns)}, got {unknown}.")
    return tuple(asked)


def analysable_levels(cohort: Cohort, attributes: Sequence[str], settings: AuditSettings) -> dict[str, Levels]:
    """Levels of the attributes that can be analysed, as the settings of an audit cut and check them."""
    every = {
        name: coded_levels(
            name, cohort.values(name), cohort.patients, settings, cohort.kinds[name], cohort.orders.get(name)
        )
        for name in attributes
    }
    return {name: levels for name, levels in every.items() if not levels.problem}


def _refuse(images: RecordedImages, matches: Mapping[str, Matched], problems: Mapping[str, str]) -> None:
    """Say why nothing can be analysed."""
    if all(not len(matched.rows) for matched in matches.values()):
        ids = next((matched.unseen[:3] for matched in matches.values()), ())
        raise ValueError(
            f"image ids must match those of the cohort ({', '.join(ids)}, ...), "
            f"got {', '.join(images.image_ids[:3])}, ..."
        )
    raise ValueError(f"a label must be absent in some images and present in others, got {dict(problems)}.")
