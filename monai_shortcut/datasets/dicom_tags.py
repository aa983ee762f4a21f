# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which DICOM tags may be read as attributes of an image, and which lead to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from monai_shortcut.cohort.columns import require_none
from monai_shortcut.datasets.dicom_header import needed

DICOM_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "manufacturer": "Manufacturer",
        "manufacturer_model": "ManufacturerModelName",
        "station": "StationName",
        "software": "SoftwareVersions",
        "body_part": "BodyPartExamined",
        "view_position": "ViewPosition",
        "rows": "Rows",
        "columns": "Columns",
        "pixel_spacing": "PixelSpacing",
        "photometric": "PhotometricInterpretation",
        "kvp": "KVP",
        "exposure": "Exposure",
    }
)
# Of the person, these may be asked for as any attribute.
PERSON = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientBodyMassIndex", "SmokingStatus")
NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD")
DATES, TIMES = ("DA", "DT"), ("TM",)
_TEXTS = ("LO", "SH")  # free text: only where DICOM describes the machine, the acquisition or the image
_TEXT_GROUPS = (0x0008, 0x0018, 0x0020, 0x0022, 0x0028, 0x0054)
_LEADS_TO_PERSON = ("AccessionNumber", "StudyID", "ReferringPhysicianTelephoneNumbers", "NTPSourceAddress")
_PATIENT_GROUP = 0x0010
# What nobody may opt in to, by value representation and by keyword; after the direct identifiers of DICOM PS3.15, E.1.
_NEVER_KINDS = {
    "PN": "a name of a person",
    "UI": "a UID",
    "LT": "free text",
    "ST": "free text",
    "UT": "free text",
    "UR": "an address",
    "SQ": "a sequence",
}
_NEVER_KEYWORDS = {
    "*Birth*": "a date of birth",
    "*Death*": "a date of death",
    "*ID": "an id",
    "*IDs": "an id",
    "*ID[A-Z]*": "an id",
    "*UID*": "a UID",
    "*Identifi*": "an id",
    "IssuerOf*": "an id",
    "*AccessionNumber": "an id",
    "*OrderNumber*": "an id",
    "*RegistrationNumber": "an id",
    "*ApprovalNumber": "an id",
    "MedicalRecordLocator": "an id",
    "*Phone*": "an address",
    "*Telephone*": "an address",
    "*Telecom*": "an address",
    "*Address": "an address",
    "*Residence": "an address",
    "*PatientLocation": "an address",
    "*Author": "a name of a person",
    "*Creator": "a name of a person",
    "ContactDisplayName": "a name of a person",
    "EntityName": "a name of a person",
    "EntityLongLabel": "a name of a person",
    "*Comment*": "free text",
    "*Notes": "free text",
    "TextString": "free text",
    "Selector*Value": "a value of any tag",
    "SourceOfPreviousValues": "a value of any tag",
}


def allowed(attributes: Mapping[str, str], tags: Iterable[str] = ()) -> dict[str, str]:
    """DICOM keyword by name of the attribute, after a check that each may be read.

    Args:
        attributes: name -> keyword of a number, a code, or a text of the machine.
        tags: keywords that somebody opts in to, which name their attribute.

    Raises:
        ValueError: If a keyword does not exist or leads to a person.
    """
    refused = [keyword for keyword in attributes.values() if not may_be_read(keyword)]
    must_hold = "attributes must be DICOM keywords of a number, a code or the machine, and no identifiers of a person"
    require_none(refused, must_hold, "refused")
    if isinstance(tags, str):
        raise ValueError(f"tags must be a sequence of DICOM keywords, got the text {tags!r}.")
    never = {keyword: why for keyword in tags if (why := why_never(keyword))}
    told = [f"{keyword} ({why})" for keyword, why in never.items()]
    require_none(told, "tags must be DICOM keywords of one value that identifies no person", "refused")
    return {**attributes, **{keyword: keyword for keyword in tags}}


def may_be_read(keyword: str) -> bool:
    """Whether a tag may be an attribute without anybody opting in to it by its name."""
    tag = needed("pydicom").datadict.tag_for_keyword(keyword)
    if tag is None or keyword in _LEADS_TO_PERSON or (tag >> 16 == _PATIENT_GROUP and keyword not in PERSON):
        return False
    of = kind(keyword)
    return of in (*NUMBERS, "AS", "CS") or (of in _TEXTS and tag >> 16 in _TEXT_GROUPS)


def why_never(keyword: str) -> str:
    """Why nobody may opt in to a tag; empty if one may."""
    if needed("pydicom").datadict.tag_for_keyword(keyword) is None:
        return "no DICOM keyword"
    if may_be_read(keyword):
        return ""
    of = kind(keyword)
    if of.startswith("O") or of == "UN":
        return "binary"
    named = (why for pattern, why in _NEVER_KEYWORDS.items() if fnmatchcase(keyword, pattern))
    return _NEVER_KINDS.get(of) or next(named, "")


def kind(keyword: str) -> str:
    """The value representation, the first of two where DICOM leaves a choice."""
    return str(needed("pydicom").datadict.dictionary_VR(keyword)).split(" or ")[0]
