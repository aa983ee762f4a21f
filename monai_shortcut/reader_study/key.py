# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The answer key of a reader study, which stays with who organises it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from monai_shortcut.storage.records import decode, read_record, write_record

VERSION = 1


@dataclass(frozen=True)
class Presentation:
    """One picture: a case under one masking strategy.

    Attributes:
        case: the name that readers see, which tells nothing.
        session: number of the session in which it is seen, from 1.
        strategy: how it is masked.
        image_id: name of the image.
        patient_id: name of the patient.
        label: 0 or 1.
        probability: what the model gave this very picture; None if nobody asked it.
    """

    case: str
    session: int
    strategy: str
    image_id: str
    patient_id: str
    label: int
    probability: float | None = None


@dataclass(frozen=True)
class StudyKey:
    """What the pictures of a reader study are.

    Attributes:
        study: name of the study, made from its pictures; answers to other pictures have another one.
        title: what readers see above the pictures.
        question: what they are asked.
        answers: what classes 0 and 1 are called.
        levels: number of levels of confidence.
        strategies: masking strategies, in the order of the study.
        presentations: one per picture.
        settings: how cases were drawn and pictures made.
        excluded: why an image could not be shown, by its name.
        version: version of this format.
    """

    study: str
    title: str
    question: str
    answers: tuple[str, str]
    levels: int
    strategies: tuple[str, ...]
    presentations: tuple[Presentation, ...]
    settings: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return max(shown.session for shown in self.presentations)

    def to_json(self, path: str | Path) -> None:
        """Write the key as JSON; `from_json` gives an equal one."""
        write_record(self, path)

    @classmethod
    def from_json(cls, path: str | Path) -> StudyKey:
        """Read a key written by `to_json`.

        Raises:
            ValueError: If the file is not the key of a reader study, or is of a newer version.
        """
        return decode(cls, read_record(path, "the key of a reader study", VERSION, "presentations"), "key")
