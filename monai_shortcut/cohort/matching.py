# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which row of a table an image belongs to, by its name or by the file it was loaded from."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import islice

from monai_shortcut.cohort.columns import require_none

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".npz"),
    *(".nii", ".hdr", ".img", ".mha", ".mhd", ".nrrd", ".dcm", ".dicom", ".ima"),
)


def without_suffix(name: str) -> str:
    """The name of a file without the suffix of an image, compressed or not; other dots stay, as in DICOM's ids.

    Example:
        >>> without_suffix("scan.v2.nii.gz"), without_suffix("1.2.840.7")
        ('scan.v2', '1.2.840.7')
    """
    plain = name[:-3] if name[-3:].lower() == ".gz" else name
    stem, _, ending = plain.rpartition(".")
    return stem if stem and f".{ending.lower()}" in SUFFIXES else name


def short_names(names: Sequence[str]) -> list[str]:
    """Names of files without folders and suffix, or as they are if these do not tell them apart.

    Args:
        names: (N,) paths; the same one may come again.
    """
    parts = [tuple(_parts(name)) for name in names]
    short = [without_suffix(part[-1]) for part in parts]
    several = Counter(name for name, _ in set(zip(short, parts, strict=True)))
    return list(names) if any(count > 1 for count in several.values()) else short


class ImageMatcher:
    """Finds the image id that a name stands for.

    A name may be the id itself, or the path of the image's file: folders are compared from the end as far as both have
    them, and suffixes of images do not count, unless they tell ids apart. Unicode's forms of one name are one name. Of
    several ids that fit, the one with most folders is meant.

    Args:
        image_ids: the ids of a table, all different; they may be paths or names of files too.

    Example:
        >>> matcher = ImageMatcher(["anna/scan", "ben/scan", "7"])
        >>> matcher.find("/data/ben/scan.nii.gz"), matcher.find("7"), matcher.find("/data/8.png")
        ('ben/scan', '7', None)
    """

    def __init__(self, image_ids: Sequence[str]) -> None:
        self._image_ids = dict.fromkeys(image_ids)
        self._by_form = {composed(image): image for image in image_ids}
        self._by_path: dict[str, list[str]] = defaultdict(list)
        for image_id in image_ids:
            self._by_path[_path(image_id)].append(image_id)
        self._by_end: dict[int, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """The image id, or None if there is none.

        Raises:
            ValueError: If several fit equally well.
        """
        if name in self._image_ids:
            return name
        if (form := composed(name)) in self._by_form:
            return self._by_form[form]
        *folders, file = _parts(name)
        fitting = self._fitting([*folders, without_suffix(file)])
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        same = [image for image in fitting if _parts(image)[-1] == file]
        depths = {image: len(_parts(image)) for image in same or fitting}
        longest = max(depths.values())
        best = [image for image, depth in depths.items() if depth == longest]
        if len(best) > 1:
            raise ValueError(f"an image must fit one image id, got {name}, which fits {', '.join(best[:5])}.")
        return best[0]

    def _fitting(self, parts: list[str]) -> list[str]:
        """The ids whose folders and file agree with these from the end, as far as both have them."""
        ends, end = [], ""
        for part in islice(reversed(parts), self._deepest):
            end = f"{part}/{end}" if end else part
            ends.append(end)
        of_fewer = [image for end in reversed(ends) if end in self._by_path for image in self._by_path[end]]
        return of_fewer + (self._of_more(len(parts) - 1).get("/".join(parts), []) if len(parts) < self._deepest else [])

    @cached_property
    def _deepest(self) -> int:
        """Most parts of an id."""
        return max((path.count("/") for path in self._by_path), default=0) + 1

    def _of_more(self, folders: int) -> dict[str, list[str]]:
        """The ids with more than so many folders, by their last ones and the file; made once."""
        if folders not in self._by_end:
            found: dict[str, list[str]] = defaultdict(list)
            for image, path in zip(self._image_ids, map(_path, self._image_ids), strict=True):
                if path.count("/") > folders:
                    found["/".join(path.rsplit("/", folders + 1)[1:])].append(image)
            self._by_end[folders] = found
        return self._by_end[folders]

    def find_all(self, names: Sequence[str]) -> list[str | None]:
        """The image id of each name, as by `find`.

        Args:
            names: (N,) ids of images or paths of files, all different.

        Returns:
            (N,) image ids, None where there is none.

        Raises:
            ValueError: If a name fits several ids, or an id is that of several names.
        """
        found = [self.find(name) for name in names]
        counts = Counter(image for image in found if image is not None)
        shared = [name for name, image in zip(names, found, strict=True) if image is not None and counts[image] > 1]
        require_none(shared, "image ids must tell the images apart (they may hold folders, as in a/x.png)", "alike")
        return found


def composed(name: str) -> str:
    """A name in Unicode's composed form: equal for names that look equal, as of tables and of file systems."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _parts(name: str) -> list[str]:
    return [part for part in composed(name).replace("\\", "/").split("/") if part] or [name]


def _path(name: str) -> str:
    """Folders and file without the suffix of an image, with one slash between them."""
    *folders, file = _parts(name)
    return "/".join([*folders, without_suffix(file)])
