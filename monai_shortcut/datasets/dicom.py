# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files as a cohort: how each image was made, from an allow-list of tags, and no person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from monai_shortcut.cohort.columns import as_names, as_text, require_none
from monai_shortcut.cohort.matching import ImageMatcher, without_suffix
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import exclusions_told
from monai_shortcut.datasets.dicom_header import (
    SHAPE_TAGS,
    SPACING_TAGS,
    DicomError,
    element,
    first_line,
    needed,
    numbers,
    pixel_spacing_mm,
    read_header,
    why_unusable,
)
from monai_shortcut.datasets.dicom_tags import DATES, DICOM_ATTRIBUTES, NUMBERS, TIMES, allowed, kind
from monai_shortcut.datasets.tables import not_found, read_table

_EXPOSURES = {"Exposure": 1.0, "ExposureInmAs": 1.0, "ExposureInuAs": 0.001}  # in mAs
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def dicom_attributes(
    paths: Sequence[str | Path] | pd.Series[Any],
    attributes: Mapping[str, str] = DICOM_ATTRIBUTES,
    *,
    tags: Sequence[str] = (),
) -> pd.DataFrame:
    """Read attributes of images from the headers of their DICOM files, to be joined to a table of one's own.

    Texts lose surrounding blanks; several values are joined by commas. Of several numbers the first counts. What a file
    lacks, or gives empty or malformed, is missing. Three tags are read with a meaning of their own: ``PixelSpacing`` is
    the distance of neighbouring rows in mm from the tag that `monai_shortcut.readers.DicomReader` uses; ``Exposure`` is
    in mAs and may stand in ``ExposureInmAs`` or ``ExposureInuAs`` instead; ages are in years.

    Args:
        paths: (N,) files; of a Series, the index is kept.
        attributes: name of the column -> DICOM keyword. `DICOM_ATTRIBUTES` may be extended by any tag of one number or
            code, and by texts about the machine, the acquisition or the image, such as ``InstitutionName``. Of the
            person there are only sex, age, height, weight, body mass index and smoking. Names, identifiers, dates,
            comments and private tags are refused.
        tags: further DICOM keywords that you opt in to by name, such as ``StudyDate`` or ``PerformedStationName``; the
            column has the name of the tag. Of a date only the year is given, of a time the hour. Never a name of a
            person, a date of birth, an id, a UID, an address or free text.

    Returns:
        (N, attributes and tags) float64 or str, None or NaN where missing; indexed like a Series, else by path.

    Raises:
        ValueError: If a keyword does not exist or is refused, or files are not DICOM or damaged; the message names
            them.
        OSError: If a file is missing or may not be read.
        OptionalImportError: If pydicom is not installed.
    """
    read = allowed(attributes, tags)
    headers = {str(path): _header(path, _needs(read.values())) for path in dict.fromkeys(paths)}
    require_none([path for path, header in headers.items() if header is None], "paths must be DICOM files")
    rows = [_values(headers[str(path)], read) for path in paths]
    index = paths.index if isinstance(paths, pd.Series) else pd.Index([str(path) for path in paths], name="image")
    return pd.DataFrame(rows, index=index, columns=list(read))


def read_dicom(
    folder: str | Path,
    labels: str | Path | pd.DataFrame,
    *,
    image: str = "image",
    patient_id: str | None = None,
    attributes: Mapping[str, str] = DICOM_ATTRIBUTES,
    tags: Sequence[str] = (),
    extra: Sequence[str] = (),
    encoding: str | None = None,
    **columns: Any,
) -> Cohort:
    """Read a folder of DICOM files, one grey image each, and a table of their labels.

    Only the tags of ``attributes`` and ``tags`` are read, and those that say what the file holds. ``PatientID`` serves
    to tell which images are of one person: patients are numbered in the order of the labels, so that the cohort does
    not hold the id. Paths of files are kept as they are: rename files and folders that are named after persons first.

    Whatever is in the folder and cannot be used is in ``excluded`` with the reason: files that are not DICOM or are
    damaged, hold no image, several frames or colours, contradict themselves, have no label or no patient. So are rows
    of the table without a file, and rows that name none (as "row 5"). A file that is not DICOM, such as a preview, does
    not stand in the way of a DICOM file of the same name beside it.

    Args:
        folder: is searched with all folders in it.
        labels: a CSV file or table with one row per image.
        image: column of ``labels`` with the file's name, with or without suffix, after as many folders as tell it from
            others; or with its SOPInstanceUID.
        patient_id: column of ``labels`` that identifies the patient; None takes ``PatientID``.
        attributes: name -> DICOM keyword, as in `dicom_attributes`.
        tags: further DICOM keywords, as in `dicom_attributes`.
        extra: columns of ``labels`` that are attributes too.
        encoding: of the CSV file's text; by default UTF-8, or UTF-16 where the file says so.
        **columns: as for `Cohort.from_table`: ``label``, ``label_names``, ``roi``, ``continuous`` and so on; paths of
            regions start from ``folder``.

    Returns:
        A cohort whose image ids are the paths in the folder.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If no file names its patient, all files name the same one, a row fits several files or several rows
            the same one, an attribute is named like a column of ``labels``, or as `dicom_attributes` and
            `Cohort.from_table`; if images were excluded, the message names the first.
        OptionalImportError: If pydicom is not installed.
    """
    frame = _labels(labels, [name for name in (image, patient_id) if name], encoding)
    attributes = allowed(attributes, tags)
    require_none([name for name in attributes if name in frame.columns], "attributes must not be columns of labels")
    identifiers = ("SOPInstanceUID",) if patient_id else ("SOPInstanceUID", "PatientID")
    files, values = _files(Path(folder), attributes, identifiers, labels)
    names = [as_text(name) or "" for name in frame[image]]
    found = _matched(names, files)
    nameless = [name or f"row {row}" for row, name in enumerate(names, 2)]
    excluded = {
        name: "file missing" if given else "image not named"
        for name, given, file in zip(nameless, names, found, strict=True)
        if file is None
    }
    excluded |= {str(file): str(reason) for file, reason in files["reason"].items() if reason}
    known = {*excluded, *found}
    excluded |= {str(file): "label missing" for file in files.index if file not in known}
    frame = _with_roi_in(Path(folder), frame.assign(image_id=pd.Series(found, frame.index, object)), columns)
    frame = frame[[file is not None and file not in excluded for file in found]]
    own = files.loc[frame["image_id"]].set_axis(frame.index)
    read = values.loc[frame["image_id"]].set_axis(frame.index)
    frame = frame.assign(image=own["image"], **{name: read[name] for name in attributes})
    if patient_id is None:
        frame = frame.assign(patient_id=_patient_numbers(own["patient"]))
        unknown = frame["patient_id"].isna()
        excluded |= dict.fromkeys(frame["image_id"][unknown], "patient unknown")
        frame = frame[~unknown]
    names_of = (*attributes, *as_names(extra))
    with exclusions_told(excluded):
        cohort = Cohort.from_table(frame, patient_id=patient_id or "patient_id", attributes=names_of, **columns)
    return replace(cohort, excluded={**excluded, **cohort.excluded})


def _listed(reasons: Mapping[str, str]) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:5])
    return shown + ("; ..." if len(reasons) > 5 else "")


def _labels(labels: str | Path | pd.DataFrame, needed: Sequence[str], encoding: str | None) -> pd.DataFrame:
    if not isinstance(labels, pd.DataFrame):
        return read_table(Path(labels), needed, dtype=dict.fromkeys(needed, str), encoding=encoding)
    absent = [name for name in needed if name not in labels.columns]
    require_none(absent, f"labels must have the columns {', '.join(needed)}", "absent")
    return labels


def _files(
    folder: Path, attributes: Mapping[str, str], identifiers: Sequence[str], labels: str | Path | pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All files in a folder but the table of labels: path, reason not to use, SOPInstanceUID, PatientID; attributes."""
    if not folder.is_dir():
        raise not_found(folder, "DICOM files")
    tags, rows, values = _needs(attributes.values()), {}, {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() or not path.exists()):
        if isinstance(labels, pd.DataFrame) or path.resolve() != Path(labels).resolve():
            name = path.relative_to(folder).as_posix()
            header, reason = _tried(path, [*tags, *identifiers], name)
            rows[name] = {"image": str(path), "reason": reason, **_ids(header)}
            values[name] = {} if header is None else _values(header, attributes)
    if not any(row["reason"] == "" for row in rows.values()):
        why = _listed({name: str(row["reason"]) for name, row in rows.items()})
        raise ValueError(f"the folder must hold DICOM files of one grey frame, got {folder} with {why or 'no file'}.")
    files = pd.DataFrame(list(rows.values()), list(rows), ["image", "reason", "uid", "patient"], object)
    return files, pd.DataFrame(list(values.values()), list(rows), list(attributes), object)


_NOT_DICOM = "image unreadable: not DICOM"


def _tried(path: Path, tags: Iterable[str], name: str) -> tuple[Any, str]:
    """The header of a file, None if it cannot be read, and why the file cannot be used; empty if it can."""
    try:
        header = _header(path, tags)
    except DicomError as error:
        return None, f"image unreadable: {str(error).replace(str(path), name)}"
    except OSError as error:  # may not be read, or went away
        return None, f"image unreadable: {error.strerror or first_line(error)}"
    if header is None:
        return None, _NOT_DICOM
    reason = why_unusable(header)
    return header, reason and f"image unusable: {reason}"


def _ids(header: Any) -> dict[str, str | None]:
    if header is None:
        return {}
    return {"uid": _id(header, "SOPInstanceUID"), "patient": _id(header, "PatientID")}


def _id(header: Any, keyword: str) -> str | None:
    return as_text(str(element(header, keyword) or "").replace("\0", ""))


def _matched(names: Sequence[str], files: pd.DataFrame) -> list[str | None]:
    """The file of each name, None if there is none."""
    matcher = ImageMatcher(_candidates(files))
    by_uid: dict[str, list[str]] = {}
    for file, uid in files["uid"].dropna().items():
        by_uid.setdefault(uid, []).append(str(file))
    found = [[file] if (file := matcher.find(name)) else by_uid.get(name, []) for name in names]
    several = [name for name, fitting in zip(names, found, strict=True) if len(fitting) > 1]
    require_none(several, "an image must fit one file", "that fit several")
    single = [fitting[0] if fitting else None for fitting in found]
    twice = [file for file, count in Counter(single).items() if file is not None and count > 1]
    require_none(twice, "a file must have one row of labels", "with several")
    return single


def _candidates(files: pd.DataFrame) -> list[str]:
    """The files without those that are not DICOM and lie beside a DICOM file of the same name, such as previews."""
    reasons = {str(file): reason for file, reason in files["reason"].items()}
    taken = {without_suffix(file) for file, reason in reasons.items() if reason != _NOT_DICOM}
    return [file for file, reason in reasons.items() if reason != _NOT_DICOM or without_suffix(file) not in taken]


def _patient_numbers(ids: pd.Series[Any]) -> pd.Series[Any]:
    """Patients numbered from 1 in the order of the rows, missing where PatientID is."""
    if len(ids) and ids.isna().all():
        raise ValueError("files must have a PatientID (or give patient_id, a column of labels), got none that has.")
    codes, persons = pd.factorize(ids)
    if len(persons) == 1 and len(ids) > 1:
        must_hold = "PatientID must tell patients apart (or give patient_id, a column of labels)"
        raise ValueError(f"{must_hold}, got one for all {len(ids)} images.")
    return pd.Series(codes + 1, ids.index).where(codes >= 0)


def _with_roi_in(folder: Path, frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """The table with the paths of regions starting from the folder."""
    for name in {columns.get("roi", "roi"), "swapped_roi"} & set(frame.columns):
        paths = [path and str(folder / path) for path in map(as_text, frame[name])]
        frame = frame.assign(**{name: pd.Series(paths, frame.index, object)})
    return frame


def _header(path: str | Path, tags: Iterable[str]) -> Any:
    """The header with these tags, None if the file is not DICOM."""
    pydicom = needed("pydicom")
    try:
        return read_header(path, tags)
    except pydicom.errors.InvalidDicomError:
        return None


def _needs(keywords: Iterable[str]) -> tuple[str, ...]:
    """All tags to read for some."""
    return (*keywords, *SHAPE_TAGS, *SPACING_TAGS, *_EXPOSURES)


def _values(header: Any, attributes: Mapping[str, str]) -> dict[str, float | str | None]:
    return {name: _value(header, keyword) for name, keyword in attributes.items()}


def _value(header: Any, keyword: str) -> float | str | None:
    if keyword == "PixelSpacing":
        spacing = pixel_spacing_mm(header)
        return spacing and spacing[0]
    if keyword == "Exposure":
        known = [factor * value for tag, factor in _EXPOSURES.items() for value in numbers(header, tag)]
        return known[0] if known else None
    of = kind(keyword)
    if of in NUMBERS:
        return next(iter(numbers(header, keyword)), None)
    value = element(header, keyword)
    several = value if isinstance(value, MutableSequence) else [value]
    texts = [text for text in (as_text(str(each or "").replace("\0", "")) for each in several) if text]
    if of in (*DATES, *TIMES):
        return _leading_digits(texts, 4 if of in DATES else 2)
    return _years(texts) if of == "AS" else ", ".join(texts) or None


def _leading_digits(texts: Sequence[str], digits: int) -> float | None:
    """The year of 20261126, or the hour of 093000."""
    first = texts[0][:digits] if texts else ""
    return float(first) if len(first) == digits and first.isdecimal() else None


def _years(texts: Sequence[str]) -> float | None:
    """An age such as 045Y, 018M, 006W or 003D in years."""
    age = texts[0] if texts else ""
    return int(age[:-1]) * _YEARS[age[-1]] if age[:-1].isdecimal() and age[-1] in _YEARS else None
