# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which row of a table an image belongs to, by its name or by the file it was loaded from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

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
    plain = name[:-3] if name.lower().endswith(".gz") else name
    suffix = next((suffix for suffix in SUFFIXES if plain.lower().endswith(suffix)), None)
    return plain[: -len(suffix)] if suffix and len(plain) > len(suffix) else name


def short_names(names: Sequence[str]) -> list[str]:
    """Names of files without folders and suffix, or as they are if these do not tell them apart.

    Args:
        names: (N,) paths; the same one may come again.
    """
    parts = [_parts(name) for name in names]
    short = [without_suffix(part[-1]) for part in parts]
    several = Counter(name for name, _ in set(zip(short, parts, strict=True)))
    return list(names) if any(count > 1 for count in several.values()) else short


class ImageMatcher:
    """Finds the image id that a name stands for.

    A name may be the id itself, or the path of the image's file: folders are compared from the end as far as both have
    them, and suffixes of images do not count, unless they tell ids apart. Of several ids that fit, the one with most
    folders is meant.

    Args:
        image_ids: the ids of a table, all different; they may be paths or names of files too.

    Example:
        >>> matcher = ImageMatcher(["anna/scan", "ben/scan", "7"])
        >>> matcher.find("/data/ben/scan.nii.gz"), matcher.find("7"), matcher.find("/data/8.png")
        ('ben/scan', '7', None)
    """

    def __init__(self, image_ids: Sequence[str]) -> None:
        self._exact = set(image_ids)
        self._by_stem: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for image_id in image_ids:
            parts = _parts(image_id)
            self._by_stem.setdefault(without_suffix(parts[-1]), []).append((parts, image_id))

    def find(self, name: str) -> str | None:
        """The image id, or None if there is none.

        Raises:
            ValueError: If several fit equally well.
        """
        if name in self._exact:
            return name
        parts = _parts(name)
        stem = without_suffix(parts[-1])
        fitting = [(own, image) for own, image in self._by_stem.get(stem, ()) if _same_folders(own, parts)]
        if any(own[-1] == parts[-1] for own, _ in fitting):
            fitting = [(own, image) for own, image in fitting if own[-1] == parts[-1]]
        longest = max((len(own) for own, _ in fitting), default=0)
        best = [image for own, image in fitting if len(own) == longest]
        if len(best) > 1:
            raise ValueError(f"an image must fit one image id, got {name}, which fits {', '.join(best[:5])}.")
        return best[0] if best else None

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


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[/\\]+", name) if part) or (name,)


def _same_folders(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the folders of two paths agree from the end, as far as both have them."""
    return all(a == b for a, b in zip(one[-2::-1], other[-2::-1], strict=False))
