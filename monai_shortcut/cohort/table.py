# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images under study: one row per image with its patient, its label and what is known about how it was made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import (
    CATEGORICAL,
    CONTINUOUS,
    FINDING_LEVELS,
    RESERVED,
    as_names,
    as_numbers,
    as_text,
    finding_outcomes,
    in_order,
    read_attribute,
    repeated,
    require_kind,
    require_none,
)
from monai_shortcut.cohort.levels import Levels, attribute_levels
from monai_shortcut.cohort.reading import (
    Columns,
    CsvOptions,
    csv_frame,
    datalist_frame,
    finding_frames,
    named_errors,
    read_frame,
)
from monai_shortcut.cohort.sampling import draw_table, other_patients_rows
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.storage.files import file_digest


@dataclass(frozen=True, eq=False, repr=False)
class Cohort:
    """One row per image; build it with ``from_table``, ``from_csv`` or ``from_datalist``, which check it.

    Attributes:
        table: indexed by unique ``image_id`` (str); columns ``patient_id`` and ``label`` (str), ``fold`` (int),
            ``image``, ``roi`` and ``swapped_roi`` (paths) where known, and the attributes: float64 with NaN where
            missing if continuous, else str with None where missing.
        label_names: the classes, in the order of the model's outputs.
        kinds: "categorical", "ordinal" or "continuous" by attribute, in the order of the attributes.
        orders: levels by ordinal attribute, low to high.
        excluded: image_id -> why the image cannot be used.
        finding: what the label says is absent or present; None if the classes are of another kind. Images may have
            several findings: one is the label, the others are attributes with the levels "absent" and "present".
        digest: SHA-256 of the file that it was read from; empty where there is none.
        source: name of that file; empty where there is none.

    Example:
        >>> frame = pd.DataFrame({"image_id": ["a", "b"], "patient_id": [1, 2], "label": [0, 1], "sex": ["F", None]})
        >>> Cohort.from_table(frame).values("sex").tolist()
        ['F', None]
    """

    table: pd.DataFrame
    label_names: tuple[str, ...]
    kinds: Mapping[str, str]
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    finding: str | None = None
    digest: str = ""
    source: str = ""

    @classmethod
    def from_table(cls, frame: pd.DataFrame, **columns: Any) -> Cohort:
        """Check a table and take it over.

        Empty strings, None and NaN are missing values. Rows without a label or an image path are excluded and kept
        in ``excluded``. Surrounding blanks are removed, and 1.0 reads as "1" in names and categories.

        Args:
            frame: (N, columns) one row per image.
            **columns: what the columns are, as in `monai_shortcut.cohort.Columns`: ``image_id``, ``patient_id``,
                ``label``, ``image``, ``roi``, ``fold``, ``attributes``, ``label_names``, ``findings``, ``continuous``,
                ``categorical``, ``ordinal`` and ``root``.

        Raises:
            ValueError: If a column is absent, an image or patient has no id, an image occurs twice, there are fewer
                than two classes or unknown ones, a patient is in two folds, an attribute is given two kinds or does
                not hold what its kind asks for.
        """
        return cls(*read_frame(frame, Columns(**columns)))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        root: str | Path | None = None,
        encoding: str | None = None,
        separator: str = ",",
        missing: Collection[str] = (),
        **columns: Any,
    ) -> Cohort:
        """Read a CSV file; ids keep their leading zeros, relative paths start from ``root`` or the file's folder.

        Only empty cells are missing, and words such as "NA" in a column of numbers: see
        `monai_shortcut.storage.tables.read_csv`.

        Args:
            path: the file, with a header row.
            root: folder that relative image and roi paths start from.
            encoding: of the text, such as "cp1252"; by default UTF-8, or UTF-16 where the file says so.
            separator: what stands between cells.
            missing: words that mean a missing value, beside the empty cell.
            **columns: as for ``from_table``.

        Raises:
            ValueError: As for ``from_table`` and `read_csv`; the message names the file and, where it can, the line.
        """
        options = CsvOptions(encoding=encoding, separator=separator, missing=missing)
        with named_errors(path):
            found = cls.from_table(csv_frame(path, columns, options), root=root or Path(path).parent, **columns)
        return _read_from(path, found)

    @classmethod
    def by_finding(
        cls,
        path: str | Path,
        findings: Sequence[str],
        *,
        root: str | Path | None = None,
        encoding: str | None = None,
        separator: str = ",",
        missing: Collection[str] = (),
        **columns: Any,
    ) -> dict[str, Cohort]:
        """Read a CSV file as a cohort for each finding, which is the label of the images where it is known.

        Args:
            path: the file, with a column of 0 and 1, or "absent" and "present", for each finding.
            findings: the columns.
            root: as for ``from_csv``.
            encoding: as for ``from_csv``.
            separator: as for ``from_csv``.
            missing: as for ``from_csv``.
            **columns: as for ``from_csv``.

        Returns:
            The cohort by finding, without findings that are the same in all images.

        Raises:
            ValueError: As for ``from_csv``.
        """
        options = CsvOptions(encoding=encoding, separator=separator, missing=missing)
        with named_errors(path):
            frame, by_first = finding_frames(path, findings, columns, options)
            columns = {**columns, "root": root or Path(path).parent}
            found = {name: cls.from_table(frame, findings=names, **columns) for name, names in by_first.items()}
        return {name: _read_from(path, one) for name, one in found.items()}

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
        place = None if isinstance(datalist, Mapping) else Path(datalist).parent
        found = cls.from_table(datalist_frame(datalist, section), root=root or place, **columns)
        return found if isinstance(datalist, Mapping) else _read_from(datalist, found)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        counts = f"{len(self)} images of {self.table['patient_id'].nunique()} patients, {len(self.excluded)} excluded"
        shown = [name if kind == CATEGORICAL else f"{name} ({kind})" for name, kind in self.kinds.items()]
        return f"Cohort({counts}, labels {', '.join(self.label_names)}, attributes {', '.join(shown)})"

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes."""
        return tuple(self.kinds)

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
        return pd.Index(self.label_names, dtype=object).get_indexer(pd.Index(self.table["label"])).astype(np.int64)

    def kind(self, attribute: str) -> str:
        """Whether an attribute is ``"categorical"``, ``"ordinal"`` or ``"continuous"``.

        Raises:
            ValueError: If the cohort has no such attribute.
        """
        if attribute not in self.kinds:
            present = ", ".join(self.attributes) or "none"
            raise ValueError(f"attribute must be one of the cohort's ({present}), got {attribute!r}.")
        return self.kinds[attribute]

    def values(self, attribute: str) -> NDArray[Any]:
        """(N,) values: float64 with NaN where missing if continuous, else object: str with None where missing."""
        continuous = self.kind(attribute) == CONTINUOUS
        return self.table[attribute].to_numpy(np.float64 if continuous else object, copy=True)

    def levels(self, attribute: str, **options: Any) -> Levels:
        """The levels of an attribute, by its kind and order.

        Args:
            attribute: its name.
            **options: ``bins``, ``minimum_patients``, ``maximum_levels`` and ``edges`` as for `attribute_levels`.

        Raises:
            ValueError: If the cohort has no such attribute, or as `attribute_levels`.
        """
        kind, order = self.kind(attribute), self.orders.get(attribute, ())
        return attribute_levels(self.values(attribute), self.patients, kind=kind, order=order, **options)

    def summary(self) -> pd.DataFrame:
        """One row per attribute: its kind, how many distinct values, how many missing, and the most common value."""
        rows = []
        for name in self.attributes:
            codes, distinct = pd.factorize(self.table[name], sort=True)
            counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
            common = as_text(distinct[int(counts.argmax())]) if len(distinct) else None
            rows.append((self.kind(name), len(distinct), int((codes < 0).sum()), common))
        index = pd.Index(self.attributes, name="attribute", dtype=object)
        return pd.DataFrame(rows, index=index, columns=["kind", "values", "missing", "most_common"])

    def select(self, image_ids: Iterable[str]) -> Cohort:
        """The same cohort with these images only, in this order.

        Raises:
            ValueError: If an id is unknown or occurs twice.
        """
        rows = self._rows(image_ids)
        require_none(repeated(self.table.index[rows]), "image_ids must be unique")
        return replace(self, table=self.table.iloc[rows])

    def exclude(self, reasons: Mapping[str, str]) -> Cohort:
        """The same cohort without these images, which ``excluded`` remembers with their reasons.

        Args:
            reasons: image_id -> why it cannot be used.

        Raises:
            ValueError: If an id is unknown.
        """
        kept = np.ones(len(self), dtype=bool)
        kept[self._rows(reasons)] = False
        return replace(self, table=self.table[kept], excluded={**self.excluded, **reasons})

    def with_folds(self, folds: int, seed: int) -> Cohort:
        """The same cohort with a new ``fold`` column: no patient in two folds, labels in equal shares.

        Neither the order of the rows nor names of patients move the folds; names of images do.

        Args:
            folds: number K of folds, at least 2 and at most the number of patients; they are numbered from 0.
            seed: seed of the shuffle.

        Raises:
            ValueError: If folds is out of range.
        """
        count = self.table["patient_id"].nunique()
        if not 2 <= folds <= count:
            raise ValueError(f"folds must not exceed the number of patients ({count}) nor be below 2, got {folds}.")
        order = np.argsort(np.array(self.image_ids))
        fold = np.empty(len(self), dtype=np.int64)
        fold[order] = patient_folds(self.patients[order], self.labels[order], folds, np.random.default_rng(seed))
        return replace(self, table=self.table.assign(fold=fold))

    def with_swapped_roi(self, seed: int) -> Cohort:
        """The same cohort with a new column ``swapped_roi``: for each image, the path of another patient's region.

        The region is drawn with equal chances from the images of all other patients. Exclude unusable images first, and
        resize images and regions to one size before masking.

        Args:
            seed: seed of the draws.

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
            attribute: a categorical or ordinal attribute.
            table: number of images by class and level; what it does not name is not drawn.
            seed: seed of the order in which patients come.

        Raises:
            ValueError: If the attribute is continuous, or as `monai_shortcut.cohort.sampling.draw_table`.
        """
        if self.kind(attribute) == CONTINUOUS:
            raise ValueError(f"attribute must be categorical or ordinal to be drawn by its levels, got {attribute!r}.")
        labels, levels = self.table["label"].tolist(), self.values(attribute).tolist()
        rows = draw_table(labels, levels, self.patients.tolist(), table, np.random.default_rng(seed))
        return replace(self, table=self.table.iloc[rows])

    def with_attribute(
        self, name: str, values: Sequence[object] | NDArray[Any], kind: str | None = None, order: Sequence[str] = ()
    ) -> Cohort:
        """The same cohort with one more attribute.

        Args:
            name: name of the new column.
            values: (N,) in the order of the rows; None and NaN are missing.
            kind: "categorical", "ordinal" or "continuous"; by default as ``from_table`` guesses.
            order: levels of an ordinal attribute, low to high; not needed where they are numbers.

        Raises:
            ValueError: If the name is taken or reserved, the values are not N or not what the kind asks for, the kind
                does not exist, or an order is given to another kind.
        """
        if name in self.table.columns or name in RESERVED:
            raise ValueError(f"name must be that of no other column, got {name!r}.")
        if len(values) != len(self):
            raise ValueError(f"values must be one for each of the {len(self)} images, got {len(values)}.")
        require_kind(kind, order)
        column = read_attribute(pd.Series(values), name, kind, order)
        table = self.table.assign(**{name: pd.Series(column.values, self.table.index, column.values.dtype)})
        orders = {**self.orders, name: column.order} if column.order else self.orders
        return replace(self, table=table, kinds={**self.kinds, name: column.kind}, orders=orders)

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
        present = finding_outcomes(self._finding_levels(finding), finding)
        if {0.0, 1.0} - set(present):
            raise ValueError(f"finding {finding} must be absent in some images and present in others, got one level.")
        name = former or self.finding
        if name is None:
            raise ValueError(f"former must name the label ({', '.join(self.label_names)}), which is no finding.")
        labels = pd.Series(self.values(finding), self.table.index, object)
        rest = self.without(finding)
        changed = replace(
            rest, table=rest.table.assign(label=labels), label_names=FINDING_LEVELS, finding=finding
        ).with_attribute(name, self.table["label"].tolist(), CATEGORICAL)
        return changed.exclude(dict.fromkeys(self.table.index[np.isnan(present)], f"{finding} unknown"))

    def with_outcome(self, name: str) -> Cohort:
        """The same cohort with a continuous outcome as its label, as numbers in text; images without it are excluded.

        Args:
            name: an attribute, which then is none; or what the label is called, if it holds numbers.

        Raises:
            ValueError: If there is no such attribute and the label is no number, or all numbers are the same.
        """
        own = name in self.attributes
        values = as_numbers(self.table[name if own else "label"], f"outcome {name}")
        known = np.isfinite(values)
        if len(np.unique(values[known])) < 2:
            raise ValueError(f"outcome {name} must differ between images, got {np.unique(values[known]).tolist()}.")
        labels = pd.Series([repr(value) for value in values.tolist()], self.table.index, object)
        kept = self.without(name) if own else self
        names = in_order(set(labels[known]))
        changed = replace(kept, table=kept.table.assign(label=labels), label_names=names, finding=None)
        return changed.exclude(dict.fromkeys(self.table.index[~known], f"{name} missing"))

    def without(self, attribute: str) -> Cohort:
        """The same cohort without an attribute."""
        kinds, orders = dict(self.kinds), dict(self.orders)
        kinds.pop(attribute)
        orders.pop(attribute, None)
        return replace(self, table=self.table.drop(columns=attribute), kinds=kinds, orders=orders)

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
            require_none(repeated(names), "findings must be unique")
            columns = {name: finding_outcomes(self._finding_levels(name), name) for name in names}
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
        labels = self.labels.tolist() if findings is None else self._known_outcomes(findings)
        columns = {**{key: self.table[key].tolist() for key in keys}, "label": labels, "image_id": self.image_ids}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _finding_levels(self, finding: str) -> list[str | None]:
        """(N,) levels of a finding, which may be the label."""
        if finding == self.finding:
            return list(self.table["label"])
        if self.kind(finding) == CONTINUOUS:
            raise ValueError(f"finding {finding} must be {' or '.join(FINDING_LEVELS)}, got numbers.")
        return list(self.values(finding))

    def _known_outcomes(self, findings: Sequence[str]) -> list[list[float]]:
        outcomes = self.outcomes(findings)
        unknown = outcomes.index[outcomes.isna().any(axis=1)].tolist()
        require_none(unknown, f"every image must have a value for {' and '.join(as_names(findings))}", "without")
        rows: list[list[float]] = outcomes.to_numpy().tolist()
        return rows

    def _rows(self, image_ids: Iterable[str]) -> NDArray[np.intp]:
        """Row of each image; all must be known."""
        chosen = [str(image) for image in image_ids]
        rows = self.table.index.get_indexer(pd.Index(chosen, dtype=object))
        require_none(list(compress(chosen, rows < 0)), "image_ids must be in the cohort", "unknown")
        return rows


def _read_from(path: str | Path, found: Cohort) -> Cohort:
    """A cohort that knows its file."""
    return replace(found, digest=file_digest(path), source=Path(path).name)
