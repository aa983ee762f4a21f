# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is written of images beside numbers: names, paths of files and pixels pass through here, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import PureWindowsPath
from typing import Any, TypeVar

Record = TypeVar("Record")
FILE = "(file)"  # stands for the name of a file

_ENDS = r"\.(?:png|jpe?g|bmp|gif|tiff?|np[yz]|nii|hdr|img|mh[ad]|nrrd|dcm|dicom|ima|csv|json|pth?|h5)(?:\.gz)?(?!\w)"
_ROOT = r"(?<![\w.~/\\:])(?:file:/*)?(?:[A-Za-z]:[\\/]|\\\\|~?/)(?=[^\s/])"
_PATH = re.compile(
    rf"(?P<quote>['\"]){_ROOT}[^'\"\n]*(?P=quote)|{_ROOT}(?:[^'\"\n,;:]*?{_ENDS}|[^\s'\",;:)]+)", re.IGNORECASE
)
_BEGINS = re.compile(_ROOT, re.IGNORECASE)
_NAME = re.compile(rf"[^\s'\",;:()\[\]]+{_ENDS}", re.IGNORECASE)
_CONDITION = re.compile("(, (?:trained|tested) on .*)")  # behind the name of an image in a region study
_DIGEST = re.compile("#[0-9a-f]{20}")
_LEAST = 3  # letters of a name that is looked for in a sentence

# Fields of records, by what they hold.
_OF_IMAGES, _JOINED = ("image_id", "linked", "unseen", "beside"), "image_ids"  # by which records are joined
_REASONS = ("excluded", "without_roi", "unusable")  # by image
_SENTENCES = ("title", "notes", "not_computed", "not_moved", "problems")
_SETTINGS = "settings"  # where they are texts
_PIXELS = ("examples", "panels", "masked")


@dataclass(frozen=True)
class Privacy:
    """What reports and records may hold when they are written; by default nothing that tells who was examined.

    Attributes:
        ids: names of images, as in the table. Else they are "image 1", "image 2" and so on.
        paths: whole paths of files. Else their names, or "(file)" where names of images are not held either.
        pixels: images, and maps laid over them.

    Raises:
        ValueError: If one is neither true nor false.
    """

    ids: bool = False
    paths: bool = False
    pixels: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            said = {"true": True, "false": False}.get(given.lower(), given) if isinstance(given, str) else given
            if not isinstance(said, bool):
                raise ValueError(f"privacy must be true or false for {field.name}, got {given!r}.")
            object.__setattr__(self, field.name, said)  # a command line gives text

    @classmethod
    def of(cls, given: Privacy | Mapping[str, Any]) -> Privacy:
        """From a configuration.

        Raises:
            ValueError: If it is no mapping of these fields to true or false.
        """
        if isinstance(given, Privacy):
            return given
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise ValueError(f"privacy must say true or false for {', '.join(known)}, got {given!r}.")
        return cls(**given)

    def told(self, sentence: str, image_id: str = "") -> str:
        """A sentence without paths, and without the image's name and those of files, where they may not be held.

        Example:
            >>> Privacy().told("cannot read '/data/Ann Lee/scan 1.png'"), Privacy(ids=True).told("/data/b.dcm is cut")
            ('cannot read (file)', 'b.dcm is cut')
        """
        if not self.paths:
            sentence = _PATH.sub(lambda found: _file(found[0]) if self.ids else FILE, sentence)
        if self.ids:
            return sentence
        parts = {image_id, _file(image_id), _file(image_id).partition(".")[0]} if image_id else set()
        for part in sorted(parts, key=len, reverse=True):
            if len(part) >= _LEAST and not part.isdecimal():
                sentence = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "the image", sentence)
        return _NAME.sub(FILE, sentence)


def listed(reasons: Mapping[str, str], privacy: Privacy) -> dict[str, str]:
    """Reasons by image, as they may be written; see `written`.

    Example:
        >>> listed({"Ann Lee": "/data/Ann Lee.png is cut"}, Privacy())
        {'image 1': '(file) is cut'}
    """
    return _Written(privacy).reasons(reasons)


def written(record: Record) -> Record:
    """A record as it may be written, by its own privacy settings; by default without names, paths and pixels.

    Images are numbered as they come in the record, reasons in their alphabetical order, so that the numbers tell
    nothing of the table. A record that was written stays as it is.

    Args:
        record: a dataclass with ``privacy``, or with ``settings`` that have it, or without.
    """
    own = getattr(record, "privacy", None) or getattr(getattr(record, "settings", None), "privacy", None)
    found: Record = _Written(own or Privacy()).of(record)
    return found


class _Written:
    """Goes through a record and remembers what images are called."""

    def __init__(self, privacy: Privacy) -> None:
        self.privacy = privacy
        self._names: dict[str, str] = {}

    def of(self, value: Any) -> Any:
        """A value as it may be written."""
        if is_dataclass(value) and not isinstance(value, type):
            changed = {field.name: self._field(field.name, getattr(value, field.name)) for field in fields(value)}
            return replace(value, **changed)
        if isinstance(value, tuple):
            return tuple(map(self.of, value))
        return {key: self.of(item) for key, item in value.items()} if isinstance(value, dict) else value

    def _field(self, name: str, value: Any) -> Any:
        if name in _PIXELS and isinstance(value, tuple) and not self.privacy.pixels:
            return ()
        if name == _JOINED and not self.privacy.ids:
            return tuple(map(digest, value))
        if name in _OF_IMAGES:
            return self._called(value)
        if name in _REASONS and isinstance(value, dict):
            return self.reasons(value)
        if name == _SETTINGS and isinstance(value, dict):
            return {key: self._set(item) for key, item in value.items()}
        return self._told(value) if name in _SENTENCES and not is_dataclass(value) else self.of(value)

    def reasons(self, given: Mapping[str, str]) -> dict[str, str]:
        """Reasons by image, or by image and condition."""
        parted = ((_CONDITION.split(image, maxsplit=1), reason) for image, reason in given.items())
        told = [(image, "".join(where), self.privacy.told(reason, image)) for (image, *where), reason in parted]
        order = told if self.privacy.ids else sorted(told, key=lambda one: one[1:][::-1])
        return {f"{self._called(image)}{where}": reason for image, where, reason in order}

    def _called(self, image: Any) -> Any:
        if isinstance(image, tuple):
            return tuple(map(self._called, image))
        if image not in self._names:
            self._names[image] = self._name(image)
        return self._names[image]

    def _name(self, image: str) -> str:
        if not self.privacy.ids:
            return f"image {len(self._names) + 1}"
        plain = image if self.privacy.paths or not _PATH.fullmatch(image) else _file(image)
        same = sum(name == plain or name.startswith(f"{plain} (") for name in self._names.values())
        return f"{plain} ({same + 1})" if same else plain

    def _set(self, value: Any) -> Any:
        if isinstance(value, str) and _BEGINS.match(value) and not self.privacy.paths:
            return _file(value) if self.privacy.ids else FILE
        return self._told(value)

    def _told(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.privacy.told(value)
        if isinstance(value, tuple):
            return tuple(map(self._told, value))
        return {key: self._told(item) for key, item in value.items()} if isinstance(value, dict) else value


def digest(name: str) -> str:
    """What stands for a name where two records are joined by it: who has the name can find it, and nobody else.

    Example:
        >>> digest("Ann Lee"), digest(digest("Ann Lee")) == digest("Ann Lee")
        ('#a36e143c5359c53edf7b', True)
    """
    if _DIGEST.fullmatch(name):
        return name
    return f"#{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}"


def _file(path: str) -> str:
    return PureWindowsPath(path.strip("'\"")).name
