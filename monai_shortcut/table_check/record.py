# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of a check of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_shortcut.cohort.columns import require_none
from monai_shortcut.storage.privacy import Privacy, written
from monai_shortcut.storage.records import decode, read_record, write_record
from monai_shortcut.types import Estimate

VERSION = 1
CONFOUNDED, NOT_CONFOUNDED, OPEN = "confounded", "not confounded", "cannot tell"
LEAK, DUPLICATES = "leak", "duplicates"
WORDS = (CONFOUNDED, LEAK, DUPLICATES)
LABEL, TOGETHER = "label", "all together"


@dataclass(frozen=True)
class CheckSettings:
    """How a table is checked.

    Attributes:
        folds: number of folds of patients in which attributes tell the label.
        confidence: confidence level of all intervals together.
        tolerance: area under the ROC curve beyond one half that matters.
        bins: quantile bins of a continuous attribute.
        maximum_levels: an attribute with more categories is not checked.
        minimum_patients: cells of label and level with fewer patients are few.
        seed: seed of the folds.
        privacy: what may be written.

    Raises:
        ValueError: If a number is out of its range.
    """

    folds: int = 5
    confidence: float = 0.95
    tolerance: float = 0.1
    bins: int = 3
    maximum_levels: int = 20
    minimum_patients: int = 10
    seed: int = 0
    privacy: Privacy = field(default_factory=Privacy)

    def __post_init__(self) -> None:
        least = {"folds": 2, "bins": 2, "maximum_levels": 2, "minimum_patients": 1, "seed": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise ValueError(f"{name} must be an integer of at least {lowest}, got {value!r}.")
        for name, highest in (("confidence", 1.0), ("tolerance", 0.5)):
            value = getattr(self, name)
            if not (isinstance(value, float) and 0 < value < highest):
                raise ValueError(f"{name} must be a number between 0 and {highest:g}, got {value!r}.")


@dataclass(frozen=True)
class Telling:
    """How well an attribute tells the label of patients that its model has not seen.

    Attributes:
        attribute: its name, or "all together".
        areas: area under the ROC curve of each class against the rest, of two classes that of the second; limits hold
            for all attributes and classes together.
        p_value: of the area that is least like chance, times the number of all areas.
        verdict: "confounded" if an area is beyond the tolerance for certain, "not confounded" if all are within it for
            certain, else "cannot tell".
    """

    attribute: str
    areas: dict[str, Estimate]
    p_value: float
    verdict: str


@dataclass(frozen=True)
class Association:
    """How closely two columns go along with each other.

    Attributes:
        first: "label", or an attribute.
        second: an attribute.
        v: Cramer's V in [0, 1], bias-corrected; missing values are a level.
    """

    first: str
    second: str
    v: float


@dataclass(frozen=True)
class Cell:
    """The images of a label at a level of an attribute.

    Attributes:
        attribute: its name.
        label: the class.
        level: the level; "(missing)" where the attribute is.
        images: their number.
        patients: number of their patients.
    """

    attribute: str
    label: str
    level: str
    images: int
    patients: int


@dataclass(frozen=True)
class Alike:
    """Images that should be in one fold, or of one patient: those of a patient, or those that look the same.

    Attributes:
        linked: their image ids.
        patients: number of their patients.
        folds: folds they are in, sorted.
        labels: labels they have, sorted.
    """

    linked: tuple[str, ...]
    patients: int
    folds: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class TableCheck:
    """What a check of a table found.

    Attributes:
        title: what was checked.
        images: number of images.
        patients: number of patients.
        label_names: the classes.
        settings: how it was checked.
        telling: by attribute, and at last all together; those that tell most first.
        problems: why an attribute was not checked.
        associations: of the label with each attribute, and of the attributes, the closest first.
        cells: images by attribute, label and level.
        leaks: patients in several folds; None if the table has no folds.
        duplicates: images of several patients, or in several folds, that look the same; None if no image was read.
        compared: number of images that were read.
        unusable: why an image could not be read.
        excluded: why a row could not be used.
        rare: images of levels that too few patients have for an audit, by attribute; their cells are not among
            ``empty`` and ``few``.
        version: of the format.
    """

    title: str
    images: int
    patients: int
    label_names: tuple[str, ...]
    settings: CheckSettings
    telling: tuple[Telling, ...]
    problems: dict[str, str]
    associations: tuple[Association, ...]
    cells: tuple[Cell, ...]
    leaks: tuple[Alike, ...] | None
    duplicates: tuple[Alike, ...] | None
    compared: int
    unusable: dict[str, str]
    excluded: dict[str, str]
    rare: dict[str, dict[str, int]] = field(default_factory=dict)
    version: int = VERSION

    @property
    def confounded(self) -> tuple[str, ...]:
        """Attributes that tell the label."""
        return tuple(one.attribute for one in self.telling if one.verdict == CONFOUNDED)

    @property
    def empty(self) -> tuple[Cell, ...]:
        """Cells without an image: what a model makes of them no data can say."""
        return tuple(cell for cell in self._of_levels if not cell.images)

    @property
    def few(self) -> tuple[Cell, ...]:
        """Cells with few patients."""
        return tuple(cell for cell in self._of_levels if 0 < cell.patients < self.settings.minimum_patients)

    @property
    def _of_levels(self) -> tuple[Cell, ...]:
        """Cells of the levels that an audit takes."""
        return tuple(cell for cell in self.cells if cell.level not in self.rare.get(cell.attribute, ()))

    @property
    def uncommon(self) -> dict[str, str]:
        """Levels that too few patients have, by attribute, in words."""
        least = self.settings.minimum_patients
        return {
            name: f"{', '.join(own)} ({sum(own.values())} images together): fewer than {least} patients each, which an "
            "audit leaves out"
            for name, own in self.rare.items()
        }

    def failing(self, words: Sequence[str]) -> dict[str, str]:
        """What fails, by word.

        Args:
            words: among "confounded", "leak" and "duplicates".

        Raises:
            ValueError: If a word is unknown, or what it asks for was not looked for.
        """
        require_none([word for word in words if word not in WORDS], f"words that fail must be among {', '.join(WORDS)}")
        looked = {
            CONFOUNDED: (bool(self.telling), "an attribute that can be checked"),
            LEAK: (self.leaks is not None, "a column of folds"),
            DUPLICATES: (self.duplicates is not None, "images that can be read"),
        }
        for word in words:
            known, what = looked[word]
            if not known:
                raise ValueError(f"failing on {word!r} must have {what}, got none.")
        found = {
            CONFOUNDED: ", ".join(self.confounded),
            LEAK: _counted(self.leaks, "patient in several folds", "patients in several folds"),
            DUPLICATES: _counted(self.duplicates, "image seen twice or more", "images seen twice or more"),
        }
        return {word: found[word] for word in words if found[word]}

    def to_json(self, path: str | Path) -> None:
        """Write the record, as its privacy settings allow."""
        write_record(written(self), path)

    @classmethod
    def from_json(cls, path: str | Path) -> TableCheck:
        """Read a record.

        Raises:
            ValueError: If the file is not such a record, or of a newer version.
        """
        return decode(cls, read_record(path, "a check of a table", VERSION))


def _counted(found: Sequence[Alike] | None, one: str, several: str) -> str:
    return f"{len(found)} {one if len(found) == 1 else several}" if found else ""
