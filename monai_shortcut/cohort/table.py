# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images under study: one row per image with its patient, its label and what is known about how it was made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import (
    FINDING_LEVELS,
    RESERVED,
    as_names,
    as_text,
    attribute_kinds,
    attribute_values,
    class_labels,
    exclusions,
    finding_outcomes,
    fold_numbers,
    identifiers,
    other_patients_rows,
    plain_texts,
    require_none,
    role_columns,
    with_finding_levels,
)
from monai_shortcut.cohort.sampling import draw_table
from monai_shortcut.statistics.resampling import patient_folds


@dataclass(frozen=True, eq=False, repr=False)
class Cohort:
    """One row per image; build it with ``from_table``, ``from_csv`` or ``from_datalist``, which check it.

    Attributes:
        table: indexed by unique ``image_id`` (str); columns ``patient_id`` and ``label`` (str), ``fold`` (int),
            ``image``, ``roi`` and ``swapped_roi`` (paths) where known, and the attributes: float64 with NaN where
            missing when continuous, str with None where missing when categorical.
        label_names: the classes, in the order of the model's outputs.
        attributes: names of the attribute columns.
        excluded: image_id -> why the image cannot be used.
        finding: what the label says is absent or present; None if the classes are of another kind. Images may have
            several findings: one is the label, the others are attributes with the levels "absent" and "present".

    Example:
        >>> frame = pd.DataFrame({"image_id": ["a", "b"], "patient_id": [1, 2], "label": [0, 1], "sex": ["F", None]})
        >>> Cohort.from_table(frame).values("sex").tolist()
        ['F', None]
    """

    table: pd.DataFrame
    label_names: tuple[str, ...]
    attributes: tuple[str, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    finding: str | None = None

    @classmethod
    def from_table(
        cls,
        frame: pd.DataFrame,
        *,
        image_id: str = "image_id",
        patient_id: str = "patient_id",
        label: str = "label",
        image: str | None = "image",
        roi: str | None = "roi",
        fold: str | None = "fold",
        attributes: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        findings: Sequence[str] = (),
        continuous: Sequence[str] = (),
        categorical: Sequence[str] = (),
        root: str | Path | None = None,
    ) -> Cohort:
        """Check a table and take it over.

        Empty strings, None and NaN are missing values. Rows without a label or an image path are excluded and kept
        in ``excluded``. Surrounding blanks are removed, and 1.0 reads as "1" in names and categories.

        Args:
            frame: (N, columns) one row per image.
            image_id: column, or name of the index, that identifies the image.
            patient_id: column that identifies the patient.
            label: column of the outcome; names, or integers, which sort as numbers.
            image: column of image paths; may be absent if it has its default name. None: no such column.
            roi: column of paths to the region of interest; as for ``image``.
            fold: column of integers that no patient has two of; as for ``image``.
            attributes: columns to study; None means every other column.
            label_names: classes in the order of the model's outputs; labels 0, 1, ... are then indices into them.
                None means sorted.
            findings: columns of 0 and 1, or "absent" and "present", of images that may have several findings: the first
                is the label, instead of ``label``, and the others are attributes. Images where the first is unknown are
                excluded, as for ``label``.
            continuous: attributes to read as numbers, whatever they look like.
            categorical: attributes to read as categories, whatever they look like. All others are continuous if
                numeric with more than 10 distinct values.
            root: folder that relative paths start from; None leaves them as they are.

        Raises:
            ValueError: If a column is absent, an image or patient has no id, an image occurs twice, there are fewer
                than two classes or unknown ones, or a patient is in two folds.
        """
        frame = frame.rename(columns=str)
        indexed = frame.index.name == image_id and image_id not in frame.columns
        frame = frame.reset_index() if indexed else frame
        shown = as_names(findings)
        if shown:
            label, label_names, frame = shown[0], FINDING_LEVELS, with_finding_levels(frame, shown)
        asked = {"image_id": image_id, "patient_id": patient_id, "label": label}
        optional = {"image": image, "roi": roi, "swapped_roi": "swapped_roi", "fold": fold}
        columns = role_columns(frame, asked, optional)
        others = tuple(name for name in frame.columns if name not in columns.values())
        names = tuple(dict.fromkeys((*(others if attributes is None else as_names(attributes)), *shown[1:])))
        kinds = attribute_kinds(frame, names, as_names(continuous), as_names(categorical))
        texts = {role: plain_texts(frame[column], column) for role, column in columns.items()}
        images = identifiers(texts, columns)
        excluded = exclusions(texts, images)
        kept = [image not in excluded for image in images]
        rows = {role: list(compress(values, kept)) for role, values in texts.items()}
        rows["label"], classes = class_labels(list(compress(frame[label], kept)), label_names)
        for role in ("image", "roi", "swapped_roi") if root is not None else ():
            rows |= {role: [path and str(Path(root or "", path)) for path in rows[role]]} if role in rows else {}
        data: dict[str, NDArray[Any]] = {role: np.array(values, dtype=object) for role, values in rows.items()}
        if "fold" in rows:
            data["fold"] = fold_numbers(rows["fold"], rows["patient_id"], columns["fold"])
        data |= {name: attribute_values(list(compress(frame[name], kept)), name, kinds.get(name)) for name in names}
        index = pd.Index(data.pop("image_id"), name="image_id", dtype=object)
        # An explicit dtype keeps pandas 3 from turning None into NaN.
        table = pd.DataFrame({name: pd.Series(values, index, values.dtype) for name, values in data.items()})
        return cls(table, classes, names, excluded, shown[0] if shown else None)

    @classmethod
    def from_csv(cls, path: str | Path, *, root: str | Path | None = None, **columns: Any) -> Cohort:
        """Read a CSV file; ids keep their leading zeros, relative paths start from ``root`` or the file's folder.

        Args:
            path: the file, with a header row.
            root: folder that relative image and roi paths start from.
            **columns: as for ``from_table``.
        """
        return cls.from_table(_read_csv(path, columns), root=root or Path(path).parent, **columns)

    @classmethod
    def by_finding(
        cls, path: str | Path, findings: Sequence[str], *, root: str | Path | None = None, **columns: Any
    ) -> dict[str, Cohort]:
        """Read a CSV file as a cohort for each finding, which is the label of the images where it is known.

        Args:
            path: the file, with a column of 0 and 1, or "absent" and "present", for each finding.
            findings: the columns.
            root: as for ``from_csv``.
            **columns: as for ``from_csv``.

        Returns:
            The cohort by finding, without findings that are the same in all images.

        Raises:
            ValueError: As for ``from_table``.
        """
        names, columns = as_names(findings), {**columns, "root": root or Path(path).parent}
        frame = with_finding_levels(_read_csv(path, columns), names)
        first = {name: [name, *(other for other in names if other != name)] for name in names}
        differ = [name for name in names if frame[name].nunique() == len(FINDING_LEVELS)]
        return {name: cls.from_table(frame, findings=first[name], **columns) for name in differ}

    @classmethod
    def from_datalist(
        cls,
        datalist: str | Path | Mapping[str, Any],
        *,
        section: str | Sequence[str] | None = None,
        root: str | Path | None = None,
        **columns: Any,
    ) -> Cohort:
        """Read a MONAI datalist such as ``{"training": [{"image": "a.png", "label": 0, ...}, ...]}``.

        Several sections are joined, and ``section`` becomes an attribute that tells them apart.

        Args:
            datalist: a JSON file, or its content.
            section: the section or sections to read; None means every list of dictionaries.
            root: folder that relative paths start from; None means the file's folder.
            **columns: as for ``from_table``; ``image_id="image"`` serves where items have no other id.

        Raises:
            ValueError: If a section is absent, or as for ``from_table``.
        """
        content: Any = datalist
        if not isinstance(datalist, Mapping):
            root = root or Path(datalist).parent
            content = json.loads(Path(datalist).read_text(encoding="utf-8"))
            content = content if isinstance(content, dict) else {"datalist": content}
        lists = {key: rows for key, rows in content.items() if isinstance(rows, list) and rows}
        lists = {key: rows for key, rows in lists.items() if all(isinstance(row, Mapping) for row in rows)}
        chosen = tuple(lists) if section is None else as_names(section)
        if not chosen or not set(chosen) <= set(lists):
            wanted = "" if section is None else f", got section {', '.join(chosen)}"
            present = ", ".join(lists) or f"none, its keys are {', '.join(map(str, content)) or 'none'}"
            raise ValueError(f"section must name lists of dictionaries in the datalist{wanted}; present: {present}.")
        several = len(chosen) > 1
        rows = [{**({"section": key} if several else {}), **item} for key in chosen for item in lists[key]]
        return cls.from_table(pd.DataFrame(rows, dtype=object), root=root, **columns)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        counts = f"{len(self)} images of {self.table['patient_id'].nunique()} patients, {len(self.excluded)} excluded"
        return f"Cohort({counts}, labels {', '.join(self.label_names)}, attributes {', '.join(self.attributes)})"

    @property
    def image_ids(self) -> tuple[str, ...]:
        """N image ids, in the order of the rows."""
        return tuple(self.table.index)

    @property
    def patients(self) -> NDArray[np.str_]:
        """(N,) patient of each image, str."""
        return np.array(self.table["patient_id"].tolist(), dtype=np.str_)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64 index of each image's label in ``label_names``."""
        code = {name: index for index, name in enumerate(self.label_names)}
        return np.array([code[name] for name in self.table["label"]], dtype=np.int64)

    def kind(self, attribute: str) -> str:
        """Whether an attribute is ``"categorical"`` or ``"continuous"``.

        Raises:
            ValueError: If the cohort has no such attribute.
        """
        if attribute not in self.attributes:
            present = ", ".join(self.attributes) or "none"
            raise ValueError(f"attribute must be one of the cohort's ({present}), got {attribute!r}.")
        return "continuous" if self.table[attribute].dtype.kind == "f" else "categorical"

    def values(self, attribute: str) -> NDArray[Any]:
        """(N,) values: float64 with NaN where missing if continuous, else object: str with None where missing."""
        continuous = self.kind(attribute) == "continuous"
        return np.array(self.table[attribute].tolist(), dtype=np.float64 if continuous else object)

    def summary(self) -> pd.DataFrame:
        """One row per attribute: its kind, how many distinct values, how many missing, and the most common value."""
        rows = []
        for name in self.attributes:
            known = self.table[name].dropna()
            distinct, counts = np.unique(np.array(known.tolist()), return_counts=True)
            common = as_text(distinct[counts.argmax()]) if len(distinct) else None
            rows.append((self.kind(name), len(distinct), len(self) - len(known), common))
        index = pd.Index(self.attributes, name="attribute", dtype=object)
        return pd.DataFrame(rows, index=index, columns=["kind", "values", "missing", "most_common"])

    def select(self, image_ids: Iterable[str]) -> Cohort:
        """The same cohort with these images only, in this order.

        Raises:
            ValueError: If an id is unknown or occurs twice.
        """
        chosen = self._known(image_ids)
        require_none([image for image, count in Counter(chosen).items() if count > 1], "image_ids must be unique")
        return replace(self, table=self.table.loc[chosen])

    def exclude(self, reasons: Mapping[str, str]) -> Cohort:
        """The same cohort without these images, which ``excluded`` remembers with their reasons.

        Args:
            reasons: image_id -> why it cannot be used.

        Raises:
            ValueError: If an id is unknown.
        """
        self._known(reasons)
        table = self.table[~self.table.index.isin(list(reasons))]
        return replace(self, table=table, excluded={**self.excluded, **reasons})

    def with_folds(self, folds: int, seed: int) -> Cohort:
        """The same cohort with a new ``fold`` column: no patient in two folds, labels in equal shares.

        Args:
            folds: number K of folds, at least 2 and at most the number of patients; they are numbered from 0.
            seed: seed of the shuffle.

        Raises:
            ValueError: If folds is out of range.
        """
        count = self.table["patient_id"].nunique()
        if not 2 <= folds <= count:
            raise ValueError(f"folds must not exceed the number of patients ({count}) nor be below 2, got {folds}.")
        fold = patient_folds(self.patients, self.labels, folds, np.random.default_rng(seed))
        return replace(self, table=self.table.assign(fold=fold))

    def with_swapped_roi(self, seed: int) -> Cohort:
        """The same cohort with a new column ``swapped_roi``: for each image, the path of another patient's region.

        The region is drawn with equal chances from the images of all other patients. Exclude unusable images first, and
        resize images and regions to one size before masking.

        Args:
            seed: of the draws.

        Raises:
            ValueError: If there are no regions, or those of one patient only.
        """
        if "roi" not in self.table:
            raise ValueError(f"the cohort must have roi paths, got columns {', '.join(map(str, self.table))}.")
        known = np.flatnonzero(self.table["roi"].notna())
        owners = set(self.patients[known].tolist())
        if len(owners) < 2:
            raise ValueError(f"roi paths must be of two patients or more to be swapped, got {len(owners)}.")
        rows = other_patients_rows(self.patients, known, np.random.default_rng(seed))
        paths = pd.Series(self.table["roi"].to_numpy()[rows], self.table.index, object)
        return replace(self, table=self.table.assign(swapped_roi=paths))

    def in_folds(self, *folds: int) -> Cohort:
        """The same cohort with the images of these folds only.

        Raises:
            ValueError: If the cohort has no folds, or not these.
        """
        present = sorted(set(self.table["fold"])) if "fold" in self.table else []
        if not folds or not set(folds) <= set(present):
            allowed = ", ".join(map(str, present)) or "none: use with_folds"
            raise ValueError(f"folds must be among those of the cohort ({allowed}), got {folds}.")
        return replace(self, table=self.table[self.table["fold"].isin(folds)])

    def draw(self, attribute: str, table: Mapping[str, Mapping[str, int]], seed: int) -> Cohort:
        """A balanced or biased part of the cohort: as many images of each class and level as a table asks for.

        Args:
            attribute: a categorical attribute.
            table: number of images by class and level; what it does not name is not drawn.
            seed: of the order in which patients come.

        Raises:
            ValueError: If the attribute is continuous, or as `monai_shortcut.cohort.sampling.draw_table`.
        """
        if self.kind(attribute) == "continuous":
            raise ValueError(f"attribute must be categorical to be drawn by its levels, got {attribute!r}.")
        labels, levels = self.table["label"].tolist(), self.values(attribute).tolist()
        rows = draw_table(labels, levels, self.patients.tolist(), table, np.random.default_rng(seed))
        return replace(self, table=self.table.iloc[rows])

    def with_attribute(self, name: str, values: Sequence[object] | NDArray[Any], kind: str | None = None) -> Cohort:
        """The same cohort with one more attribute.

        Args:
            name: of the new column.
            values: (N,) in the order of the rows; None and NaN are missing.
            kind: "categorical" or "continuous"; by default as ``from_table`` guesses.

        Raises:
            ValueError: If the name is taken or reserved, the values are not N, or the kind does not exist.
        """
        if name in self.table.columns or name in RESERVED:
            raise ValueError(f"name must be that of no other column, got {name!r}.")
        if len(values) != len(self):
            raise ValueError(f"values must be one for each of the {len(self)} images, got {len(values)}.")
        if kind not in (None, "categorical", "continuous"):
            raise ValueError(f"kind must be categorical or continuous, got {kind!r}.")
        column = attribute_values(list(values), name, kind)
        table = self.table.assign(**{name: pd.Series(column, self.table.index, column.dtype)})
        return replace(self, table=table, attributes=(*self.attributes, name))

    def with_label(self, finding: str, former: str | None = None) -> Cohort:
        """The same cohort with another finding as its label; the former label becomes an attribute.

        Images where the finding is unknown are excluded.

        Args:
            finding: an attribute with the levels "absent" and "present", or the finding that is the label already.
            former: name of the attribute that holds the former label; by default its finding's.

        Raises:
            ValueError: If there is no such attribute, it has other levels or only one, or the former label is no
                finding and no name is given.
        """
        if finding == self.finding:
            return self
        present = finding_outcomes(self._levels(finding), finding)
        if {0.0, 1.0} - set(present):
            raise ValueError(f"finding {finding} must be absent in some images and present in others, got one level.")
        name = former or self.finding
        if name is None:
            raise ValueError(f"former must name the label ({', '.join(self.label_names)}), which is no finding.")
        labels = pd.Series(self.values(finding), self.table.index, object)
        table = self.table.assign(label=labels).drop(columns=finding)
        others = tuple(attribute for attribute in self.attributes if attribute != finding)
        changed = replace(self, table=table, attributes=others, label_names=FINDING_LEVELS, finding=finding)
        changed = changed.with_attribute(name, self.table["label"].tolist(), "categorical")
        return changed.exclude(dict.fromkeys(self.table.index[np.isnan(present)], f"{finding} unknown"))

    def outcomes(self, findings: Sequence[str] | None = None) -> pd.DataFrame:
        """What models are to predict, as numbers: 1.0 or 0.0 for each image and outcome, NaN where unknown.

        Args:
            findings: the label's finding or attributes with the levels "absent" and "present", one column for each.
                None means the label: one column if it has two classes, named after its finding or else its second
                class; of more classes, a column for each.

        Returns:
            (N, outcomes) float64, indexed by image_id.

        Raises:
            ValueError: If there is no such attribute, it has other levels, or a name is given twice.

        Example:
            >>> frame = pd.DataFrame({"image_id": ["a", "b"], "patient_id": [1, 2], "label": ["good", "bad"]})
            >>> Cohort.from_table(frame).outcomes().to_dict("list")
            {'good': [1.0, 0.0]}
        """
        if findings is not None:
            names = as_names(findings)
            require_none([name for name, count in Counter(names).items() if count > 1], "findings must be unique")
            columns = {name: finding_outcomes(self._levels(name), name) for name in names}
        elif len(self.label_names) == 2:
            columns = {self.finding or self.label_names[1]: self.labels.astype(np.float64)}
        else:
            columns = {name: (self.labels == code).astype(np.float64) for code, name in enumerate(self.label_names)}
        return pd.DataFrame(columns, index=self.table.index)

    def datalist(self, *, roi: bool = True, findings: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Dictionaries for a MONAI dataset: ``image``, ``roi`` and ``swapped_roi`` if known, ``label``, ``image_id``.

        Attributes are left out: join them by image_id, since collating refuses None and alters numbers.

        Args:
            roi: whether to include the paths of the regions of interest, swapped ones too.
            findings: if given, ``label`` is a list of 0.0 and 1.0, one for each finding as in `outcomes`, which
                EnsureTyped has to make a tensor before images are collated; else the index (int) of the image's class.

        Raises:
            ValueError: If there are no image paths, only some images have a region, or a finding is unknown in some.
        """
        if "image" not in self.table:
            raise ValueError(f"the cohort must have image paths, got columns {', '.join(map(str, self.table))}.")
        keys = ["image", *(name for name in ("roi", "swapped_roi") if roi and name in self.table)]
        lacking = self.table.index[self.table[keys].isna().any(axis=1)].tolist()
        require_none(lacking, f"every image must have a path for {' and '.join(keys)} (or use roi=False)", "without")
        paths = self.table[keys].to_dict("records")
        labels = self.labels.tolist() if findings is None else self._known_outcomes(findings)
        codes = zip(paths, labels, self.image_ids, strict=True)
        return [
            {**{str(key): path for key, path in row.items()}, "label": code, "image_id": image}
            for row, code, image in codes
        ]

    def _levels(self, finding: str) -> list[str | None]:
        """(N,) levels of a finding, which may be the label."""
        if finding == self.finding:
            return list(self.table["label"])
        if self.kind(finding) != "categorical":
            raise ValueError(f"finding {finding} must be {' or '.join(FINDING_LEVELS)}, got numbers.")
        return list(self.values(finding))

    def _known_outcomes(self, findings: Sequence[str]) -> list[list[float]]:
        outcomes = self.outcomes(findings)
        unknown = outcomes.index[outcomes.isna().any(axis=1)].tolist()
        require_none(unknown, f"every image must have a value for {' and '.join(as_names(findings))}", "without")
        return [[float(value) for value in row] for row in outcomes.to_numpy().tolist()]

    def _known(self, image_ids: Iterable[str]) -> list[str]:
        chosen, known = [str(image) for image in image_ids], set(self.table.index)
        require_none([image for image in chosen if image not in known], "image_ids must be in the cohort", "unknown")
        return chosen


def _read_csv(path: str | Path, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table of a file, its ids as text."""
    identifiers = {columns.get(role, role): str for role in ("image_id", "patient_id")}
    return pd.read_csv(path, dtype=identifiers, low_memory=False)
