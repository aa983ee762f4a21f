# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from dicom_files import MAGNETIC, ULTRASOUND, needs_itk, ultrasound_region, write_dicom
from monai.data import MetaTensor
from monai.transforms import LoadImage
from monai.utils import OptionalImportError

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import DICOM_ATTRIBUTES, dicom_attributes, read_dicom, usable
from monai_shortcut.datasets.dicom_tags import may_be_read, why_never
from monai_shortcut.readers import DicomReader
from monai_shortcut.transforms import MaskROI

READER = "monai_shortcut.readers.DicomReader"
BACKENDS = ("pydicom", "itk")


def load(path, backend="pydicom") -> MetaTensor:
    if backend == "itk":
        needs_itk()
    return LoadImage(reader=READER, backend=backend, ensure_channel_first=True)(path)


def stored(rng, low: int, high: int) -> np.ndarray:
    """(5, 7) stored values, the extremes among them."""
    values = rng.integers(low, high + 1, size=(5, 7))
    values[0, :2] = low, high
    return values


CASES = {
    "8 bit": ({"bits": 8}, (0, 255)),
    "12 bit": ({"bits": 12}, (0, 4095)),
    "16 bit": ({"bits": 16}, (0, 65535)),
    "signed 12 bit": ({"bits": 12, "signed": True}, (-2048, 2047)),
    "signed 16 bit": ({"bits": 16, "signed": True}, (-32768, 32767)),
    "rescaled": ({"bits": 12, "RescaleSlope": "0.5", "RescaleIntercept": "-100.25"}, (0, 4095)),
    "moved": ({"bits": 16, "signed": True, "RescaleIntercept": "-1024", "kind": MAGNETIC}, (-32768, 32767)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("settings", "limits"), CASES.values(), ids=CASES)
def test_values_are_those_stored_and_rescaled(tmp_path, rng, backend, settings, limits):
    values = stored(rng, *limits)
    image = load(write_dicom(tmp_path / "x", values, **settings), backend)
    slope, intercept = float(settings.get("RescaleSlope", 1)), float(settings.get("RescaleIntercept", 0))
    assert image.shape == (1, 7, 5)
    np.testing.assert_array_equal(image[0].numpy().T, np.float32(values * slope + intercept))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("settings", "limits"), CASES.values(), ids=CASES)
def test_monochrome1_is_the_negative_of_monochrome2(tmp_path, rng, backend, settings, limits):
    values = stored(rng, *limits)
    negative = write_dicom(tmp_path / "x", values, PhotometricInterpretation="MONOCHROME1", **settings)
    plain = write_dicom(tmp_path / "y", sum(limits) - values, **settings)
    assert torch.equal(load(negative, backend), load(plain, backend))
    assert not torch.equal(load(negative, backend), load(write_dicom(tmp_path / "z", values, **settings), backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_above_those_stored_are_an_overlay_or_refused(tmp_path, rng, backend):
    values = stored(rng, 0, 4095)
    path = write_dicom(tmp_path / "x", values | 0xA000)
    with pytest.raises(ValueError, match=r"x must hold values of 12 bits, 0 to 4095, as BitsStored says, got values"):
        load(path, backend)
    data = pydicom.dcmread(path)
    data.add_new(0x60000102, "US", 15)
    data.save_as(path)
    np.testing.assert_array_equal(load(path, backend)[0].numpy().T, values)
    signed = stored(rng, -2048, 2047)
    data = pydicom.dcmread(write_dicom(tmp_path / "y", (signed & 0xFFF) | 0x5000))
    data.PixelRepresentation = 1
    data.add_new(0x60020102, "US", 12)
    data.save_as(tmp_path / "y")
    np.testing.assert_array_equal(load(tmp_path / "y", backend)[0].numpy().T, signed)


def test_lossless_compression_changes_nothing(tmp_path, rng):
    values = rng.integers(0, 4096, size=(64, 48))  # GDCM takes far smaller ones for broken
    data = pydicom.dcmread(write_dicom(tmp_path / "x", values))
    data.compress(pydicom.uid.RLELossless)
    data.save_as(tmp_path / "y")
    assert (tmp_path / "y").read_bytes() != (tmp_path / "x").read_bytes()
    for backend in BACKENDS:
        np.testing.assert_array_equal(load(tmp_path / "y", backend)[0].numpy().T, values)


def test_compression_without_a_decoder_is_refused(tmp_path, rng):
    data = pydicom.dcmread(write_dicom(tmp_path / "x", stored(rng, 0, 4095)))
    data.PixelData = pydicom.encaps.encapsulate([data.PixelData + b"\xff\xd9"])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    data.save_as(tmp_path / "y")
    for backend in BACKENDS:
        with pytest.raises(ValueError, match=rf"backend {backend} must have a decoder for .*y \(JPEG-LS Lossless"):
            load(tmp_path / "y", backend)


def test_monais_readers_agree_where_they_are_right(tmp_path, rng):
    tags = {"kind": MAGNETIC, "PixelSpacing": [0.2, 0.4], "ImagePositionPatient": [0, 0, 0]}
    path = write_dicom(tmp_path / "x", stored(rng, 0, 4095), **tags, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    ours = load(path)
    needs_itk()
    by_pydicom = LoadImage(reader="PydicomReader", ensure_channel_first=True)(path)
    by_itk = LoadImage(reader="ITKReader", ensure_channel_first=True)(path)
    assert torch.equal(ours.as_tensor(), by_pydicom.as_tensor())
    assert torch.equal(ours[..., None].as_tensor(), by_itk.as_tensor())
    assert ours.pixdim.tolist() == by_pydicom.pixdim.tolist() == by_itk.pixdim[:2].tolist() == [0.4, 0.2]


SPACINGS = {
    "in the patient": ({"PixelSpacing": [0.2, 0.4]}, [0.4, 0.2]),
    "on the detector": ({"ImagerPixelSpacing": [0.3, 0.6]}, [0.6, 0.3]),
    "both": ({"PixelSpacing": [0.2, 0.4], "ImagerPixelSpacing": [0.3, 0.6]}, [0.4, 0.2]),
    "one empty": ({"PixelSpacing": None, "ImagerPixelSpacing": [0.3, 0.6]}, [0.6, 0.3]),
    "one zero": ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.3, 0.6]}, [0.6, 0.3]),
    "one millimetre": ({"PixelSpacing": [1, 1]}, [1, 1]),
    "oblique": (
        {"PixelSpacing": [0.2, 0.4], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImagePositionPatient": [5, 6, 7]},
        [0.4, 0.2],
    ),
    "ultrasound": ({"SequenceOfUltrasoundRegions": [ultrasound_region(0.02, 0.04)], "kind": ULTRASOUND}, [0.4, 0.2]),
    "upside down": ({"SequenceOfUltrasoundRegions": [ultrasound_region(-0.02, 0.04)]}, [0.4, 0.2]),
    "beside a curve": (
        {"SequenceOfUltrasoundRegions": [ultrasound_region(0.02, 0.04), ultrasound_region(9, 8, spatial=3)]},
        [0.4, 0.2],
    ),
}
UNKNOWN = {
    "none": {},
    "zero": {"PixelSpacing": [0.2, 0]},
    "two scales": {"SequenceOfUltrasoundRegions": [ultrasound_region(0.02, 0.04), ultrasound_region(0.03, 0.04)]},
    "seconds": {"SequenceOfUltrasoundRegions": [ultrasound_region(0.02, 0.04, units=4)]},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("tags", "expected"), SPACINGS.values(), ids=SPACINGS)
def test_spacing_is_that_of_the_files_axes(tmp_path, rng, backend, tags, expected):
    path = write_dicom(tmp_path / "x", stored(rng, 0, 4095), **{key: value for key, value in tags.items() if value})
    image = load(path, backend)
    assert image.pixdim.tolist() == pytest.approx(expected)
    across, down = expected
    roi = torch.zeros(1, 7, 5)
    roi[0, 3, 2] = 1
    shown = MaskROI("roi_only", margin=1.0, unit="mm")(torch.ones_like(image), roi)[0].numpy()
    columns, rows = np.indices((7, 5))
    inside = np.hypot(across * (columns - 3), down * (rows - 2)) <= 1 + 1e-9
    np.testing.assert_array_equal(shown, np.float32(inside))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tags", UNKNOWN.values(), ids=UNKNOWN)
def test_without_a_spacing_none_is_claimed(tmp_path, rng, backend, tags):
    image = load(write_dicom(tmp_path / "x", stored(rng, 0, 4095), **tags), backend)
    assert image.pixdim.tolist() == [1, 1]
    with pytest.raises(ValueError, match="spacing"):
        MaskROI("roi_only", margin=1.0, unit="mm")(image, torch.ones(1, 7, 5))


PERSON = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19700102",
    "AccessionNumber": "ACC-0815",
    "InstitutionName": "General Hospital",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_person_is_in_the_metadata(tmp_path, rng, backend):
    path = write_dicom(tmp_path / "x", stored(rng, 0, 4095), PixelSpacing=[0.2, 0.4], **PERSON)
    meta = load(path, backend).meta
    assert set(map(str, meta)) <= {
        *("affine", "original_affine", "spatial_shape", "original_channel_dim"),
        *("spacing_set", "filename_or_obj"),
    }
    assert not any(value in str(meta) for value in PERSON.values())


REFUSED = {
    "frames": ((3, 5, 7), {}, "3 frames"),
    "colour": ((5, 7, 3), {"bits": 8}, "no grey image: RGB with 3 samples per pixel"),
    "palette": ((5, 7), {"PhotometricInterpretation": "PALETTE COLOR"}, "no grey image: PALETTE COLOR with 1 samples"),
    "no image": ((5, 7), {"Rows": None}, "no image"),
    "one bit": ((5, 7), {"bits": 8, "BitsAllocated": 1}, "1 bits per pixel"),
    "table": ((5, 7), {"ModalityLUTSequence": [pydicom.Dataset()]}, "a modality lookup table"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("shape", "tags", "what"), REFUSED.values(), ids=REFUSED)
def test_files_other_than_one_grey_frame_are_refused_by_name(tmp_path, backend, shape, tags, what):
    path = write_dicom(tmp_path / "x.dcm", np.zeros(shape, int), **tags)
    with pytest.raises(ValueError, match=f"must hold one grey image of one frame, got .*x.dcm, which has {what}"):
        load(path, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_is_not_hidden_by_another_reader(tmp_path, rng, backend):
    np.save(tmp_path / "x.npy", rng.normal(size=(5, 7)))
    assert LoadImage(reader="PydicomReader")(tmp_path / "x.npy").shape == (5, 7)  # MONAI falls back to another one
    with pytest.raises(ValueError, match=r"must be a DICOM file, got .*x\.npy, which is none\."):
        load(tmp_path / "x.npy", backend)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere.dcm", backend)
    short = pydicom.dcmread(write_dicom(tmp_path / "y", stored(rng, 0, 4095)))
    short.PixelData = short.PixelData[:10]
    short.save_as(tmp_path / "y")
    with pytest.raises(ValueError, match=r"y must hold 5 x 7 pixels of 16 bits in 70 bytes, got 10\."):
        load(tmp_path / "y", backend)


def test_several_files_for_one_image_and_other_backends_are_refused(tmp_path, rng):
    paths = [write_dicom(tmp_path / name, stored(rng, 0, 4095)) for name in "xy"]
    with pytest.raises(ValueError, match=r"an image must be in one DICOM file, got 2: .*x, .*y\."):
        LoadImage(reader=DicomReader())(paths)
    with pytest.raises(ValueError, match=r"backend must be pydicom or itk, got 'gdcm'\."):
        DicomReader("gdcm")
    assert DicomReader().verify_suffix("IM0001")


def test_without_itk_only_its_backend_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    assert DicomReader().verify_suffix("x")
    with pytest.raises(
        OptionalImportError, match=r'DICOM needs itk: pip install "\.\[itk\]" from a clone \(import of itk'
    ):
        DicomReader("itk")


@pytest.fixture
def folder(tmp_path, rng):
    """Images of three patients by two manufacturers, and files that are none."""
    tags = {
        "a/1.dcm": {"PatientID": "P-77", "Manufacturer": " Siemens ", "Rows": 5, "KVP": "60.5", "Exposure": "4"},
        "a/2.dcm": {"PatientID": "P-77 ", "Manufacturer": "Siemens", "ExposureInuAs": "5500", "ViewPosition": "AP"},
        "b/1.dcm": {"PatientID": "P-12", "Manufacturer": "Müller", "SpecificCharacterSet": "ISO_IR 192"},
        "b/IM3": {"PatientID": "P-05", "Manufacturer": "", "SoftwareVersions": ["V1", "V2.0"], "StationName": "XR 1"},
    }
    for name, own in tags.items():
        write_dicom(tmp_path / name, stored(rng, 0, 4095), PatientName="Doe^Jane", PatientAge="018M", **own)
    spaced = pydicom.dcmread(tmp_path / "a/1.dcm")
    spaced.ImagerPixelSpacing = [0.2, 0.4]
    spaced.save_as(tmp_path / "a/1.dcm")
    return tmp_path


LABELS = pd.DataFrame(
    {"image": ["2", "a/1.dcm", "b/1", "IM3"], "label": ["ill", "well", "ill", "well"], "age": range(4)}
)


def test_a_folder_becomes_a_cohort_value_by_value(folder):
    LABELS.to_csv(folder / "labels.csv", index=False)
    cohort = read_dicom(folder, folder / "labels.csv", extra="age", label_names=["well", "ill"])
    assert cohort.image_ids == ("a/2.dcm", "a/1.dcm", "b/1.dcm", "b/IM3")
    assert cohort.labels.tolist() == [1, 0, 1, 0]
    assert cohort.patients.tolist() == ["1", "1", "2", "3"]
    assert cohort.attributes == (*DICOM_ATTRIBUTES, "age")
    assert cohort.excluded == {}
    expected = {
        "manufacturer": ["Siemens", "Siemens", "Müller", None],
        "manufacturer_model": 4 * [None],
        "station": [None, None, None, "XR 1"],
        "software": [None, None, None, "V1, V2.0"],
        "view_position": ["AP", None, None, None],
        "rows": 4 * ["5"],
        "columns": 4 * ["7"],
        "pixel_spacing": [None, "0.2", None, None],
        "photometric": 4 * ["MONOCHROME2"],
        "kvp": [None, "60.5", None, None],
        "exposure": ["5.5", "4", None, None],
        "age": ["0", "1", "2", "3"],
    }
    for name, values in expected.items():
        assert cohort.values(name).tolist() == values, name
    for path, image_id in zip(cohort.table["image"], cohort.image_ids, strict=True):
        assert path == str(folder / image_id)


def test_nothing_of_the_person_is_in_the_cohort(folder):
    cohort = read_dicom(folder, LABELS, extra="age")
    text = cohort.table.drop(columns="image").to_csv() + repr(cohort)
    assert not any(word in text for word in ("P-77", "P-12", "P-05", "Doe", "018M", "1.2.826"))


def test_what_cannot_be_used_is_excluded_with_its_reason(folder, rng):
    write_dicom(folder / "film.dcm", np.zeros((3, 5, 7), int), PatientID="P-1")
    write_dicom(folder / "colour.dcm", np.zeros((5, 7, 3), int), bits=8, PatientID="P-1")
    write_dicom(folder / "report.dcm", np.zeros((5, 7), int), Rows=None, Columns=None)
    write_dicom(folder / "unknown.dcm", stored(rng, 0, 9))
    write_dicom(folder / "unlabelled.dcm", stored(rng, 0, 9), PatientID="P-2")
    write_dicom(folder / "undecided.dcm", stored(rng, 0, 9), PatientID="P-2")
    (folder / "notes.txt").write_text("no image")
    more = pd.DataFrame({"image": ["film", "lost", "unknown", "undecided"], "label": ["ill", "ill", "ill", None]})
    cohort = read_dicom(folder, pd.concat([LABELS, more]))
    assert cohort.image_ids == ("a/2.dcm", "a/1.dcm", "b/1.dcm", "b/IM3")
    assert cohort.excluded == {
        "film.dcm": "image unusable: 3 frames",
        "colour.dcm": "image unusable: no grey image: RGB with 3 samples per pixel",
        "report.dcm": "image unusable: no image",
        "unknown.dcm": "patient unknown",
        "unlabelled.dcm": "label missing",
        "undecided.dcm": "label missing",
        "notes.txt": "image unreadable: not DICOM",
        "lost": "file missing",
    }


def test_images_are_found_by_their_uid_and_patients_may_be_given(folder):
    uids = [str(pydicom.dcmread(folder / name).SOPInstanceUID) for name in ("a/1.dcm", "b/IM3")]
    labels = pd.DataFrame({"uid": uids, "y": [0, 1], "who": ["anna", "ben"], "roi": ["a/1_roi.png", None]})
    cohort = read_dicom(folder, labels, image="uid", label="y", patient_id="who", attributes={})
    assert cohort.image_ids == ("a/1.dcm", "b/IM3")
    assert cohort.patients.tolist() == ["anna", "ben"]
    assert cohort.table["roi"].tolist() == [str(folder / "a/1_roi.png"), None]
    assert cohort.attributes == ()


def test_attributes_may_have_any_name(folder):
    wanted = {"patient": "PatientSex", "uid": "Rows", "reason": "Columns"}
    cohort = read_dicom(folder, LABELS, attributes=wanted)
    assert cohort.attributes == ("patient", "uid", "reason")
    assert [set(cohort.values(name)) for name in cohort.attributes] == [{None}, {"5"}, {"7"}]
    with pytest.raises(ValueError, match="attributes must not be named image_id, patient_id, label"):
        read_dicom(folder, LABELS, attributes={"roi": "Rows"})


def test_attributes_can_be_joined_to_a_table_of_ones_own(folder):
    wanted = {"brand": "Manufacturer", "hospital": "InstitutionName", "age": "PatientAge", "kvp": "KVP"}
    frame = pd.DataFrame({"path": [folder / "b/1.dcm", folder / "a/1.dcm", folder / "b/1.dcm"]}, index=["x", "y", "z"])
    joined = frame.join(dicom_attributes(frame["path"], wanted))
    assert joined["brand"].tolist() == ["Müller", "Siemens", "Müller"]
    assert joined["age"].tolist() == [1.5, 1.5, 1.5]
    assert joined["hospital"].isna().all()
    assert joined.loc["y", "kvp"] == 60.5
    assert np.isnan(joined.loc["x", "kvp"])
    by_path = dicom_attributes([folder / "a/1.dcm"])
    assert by_path.index.tolist() == [str(folder / "a/1.dcm")]
    assert by_path["pixel_spacing"].tolist() == [0.2]


@pytest.mark.parametrize(
    ("age", "years"), [("045Y", 45), ("006M", 0.5), ("001W", 7 / 365.25), ("003D", 3 / 365.25), ("", None)]
)
def test_ages_are_in_years(tmp_path, age, years):
    path = write_dicom(tmp_path / "x", np.zeros((5, 7), int), PatientAge=age)
    found = dicom_attributes([path], {"age": "PatientAge"})["age"].tolist()
    assert found == ([None] if years is None else pytest.approx([years]))


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_malformed_numbers_and_ages_are_missing(tmp_path):
    path = write_dicom(tmp_path / "x", np.zeros((5, 7), int), KVP="80", PatientAge="045Y")
    path.write_bytes(path.read_bytes().replace(b"80", b"8x").replace(b"045Y", b"old "))
    assert dicom_attributes([path], {"kvp": "KVP", "age": "PatientAge"}).isna().all(axis=None)


PERMITTED = ("InstitutionName", "PatientSex", "SliceThickness", "ProtocolName", "DeviceSerialNumber", "SeriesNumber")
FORBIDDEN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientComments", "PatientAddress", "OtherPatientIDs"),
    *("AccessionNumber", "StudyID", "StudyInstanceUID", "SOPInstanceUID", "StudyDate", "AcquisitionDateTime"),
    *("ReferringPhysicianName", "OperatorsName", "ImageComments", "AdmissionID", "RequestedProcedureID"),
    *("ClinicalTrialSubjectID", "PersonTelephoneNumbers", "PixelData", "Manufacture", "00100010"),
)


def test_tags_that_lead_to_a_person_are_refused_even_if_asked_for(folder):
    path = folder / "a/1.dcm"
    assert dicom_attributes([path], {name: name for name in PERMITTED}).shape == (1, len(PERMITTED))
    for keyword in FORBIDDEN:
        with pytest.raises(ValueError, match=rf"and no identifiers of a person, got 1 refused: {keyword}\."):
            dicom_attributes([path], {"brand": "Manufacturer", "x": keyword})
        with pytest.raises(ValueError, match=rf"and no identifiers of a person, got 1 refused: {keyword}\."):
            read_dicom(folder, LABELS, attributes={"x": keyword})
    with pytest.raises(TypeError):
        DICOM_ATTRIBUTES["name"] = "PatientName"


NEVER = {
    "PatientName": "a name of a person",
    "OperatorsName": "a name of a person",
    "ContactDisplayName": "a name of a person",
    "PatientBirthDate": "a date of birth",
    "PatientBirthTime": "a date of birth",
    "PatientBirthDateInAlternativeCalendar": "a date of birth",
    "PatientDeathDateInAlternativeCalendar": "a date of death",
    "PatientID": "an id",
    "OtherPatientIDs": "an id",
    "IssuerOfPatientID": "an id",
    "AdmissionID": "an id",
    "StudyIDIssuer": "an id",
    "ClinicalTrialSubjectID": "an id",
    "SpecimenIdentifier": "an id",
    "AccessionNumber": "an id",
    "FillerOrderNumberProcedure": "an id",
    "MedicalRecordLocator": "an id",
    "InsurancePlanIdentification": "an id",
    "SOPInstanceUID": "a UID",
    "StudyInstanceUID": "a UID",
    "PatientTelephoneNumbers": "an address",
    "PatientAddress": "an address",
    "CountryOfResidence": "an address",
    "ImageComments": "free text",
    "DoseComment": "free text",
    "InstitutionAddress": "free text",
    "SelectorLOValue": "a value of any tag",
    "ReferencedStudySequence": "a sequence",
    "PixelData": "binary",
    "NoSuchTag": "no DICOM keyword",
    "00091001": "no DICOM keyword",
}


def test_opting_in_reads_other_tags_but_no_identifier(folder):
    header = pydicom.dcmread(folder / "a/1.dcm")
    header.StudyDate, header.AcquisitionTime, header.AcquisitionDateTime = "20251126", "093005", "2024"
    header.PerformedStationName, header.StationAETitle, header.SeriesTime = "Room 7 ", "AE1", ""
    header.save_as(folder / "a/1.dcm")
    chosen = [
        "StudyDate",
        "AcquisitionTime",
        "AcquisitionDateTime",
        "SeriesTime",
        "PerformedStationName",
        "StationAETitle",
    ]
    found = dicom_attributes([folder / "a/1.dcm", folder / "b/1.dcm"], {"brand": "Manufacturer"}, tags=chosen)
    assert list(found) == ["brand", *chosen]
    assert found.iloc[0].tolist()[:4] == ["Siemens", 2025, 9, 2024]
    assert found.iloc[0].tolist()[5:] == ["Room 7", "AE1"]
    assert found.isna().to_numpy().tolist() == [[False] * 4 + [True] + [False] * 2, [False] + [True] * 6]
    cohort = read_dicom(folder, LABELS, tags=["PerformedStationName"])
    assert set(cohort.attributes) == {*DICOM_ATTRIBUTES, "PerformedStationName"}
    assert "Room 7" in set(cohort.table["PerformedStationName"])
    for keyword, why in NEVER.items():
        with pytest.raises(ValueError, match=rf"identifies no person, got 1 refused: {keyword} \({why}\)\."):
            dicom_attributes([folder / "a/1.dcm"], tags=["StudyDate", keyword])
    with pytest.raises(ValueError, match=r"identifies no person, got 1 refused: PatientID \(an id\)\."):
        read_dicom(folder, LABELS, tags=["PatientID"])
    with pytest.raises(ValueError, match=r"tags must be a sequence of DICOM keywords, got the text 'StudyDate'\."):
        dicom_attributes([folder / "a/1.dcm"], tags="StudyDate")


def test_no_name_of_a_person_can_be_read():
    of_a_person = [entry[4] for entry in pydicom.datadict.DicomDictionary.values() if entry[0] == "PN"]
    assert len(of_a_person) > 20
    assert not any(map(may_be_read, of_a_person))
    assert {why_never(keyword) for keyword in of_a_person} == {"a name of a person"}


def test_folders_and_tables_that_do_not_fit_are_refused(folder, rng):
    with pytest.raises(ValueError, match=r"a file must have one row of labels, got 1 with several: a/1\.dcm\."):
        read_dicom(folder, pd.concat([LABELS, LABELS.iloc[1:2]]))
    with pytest.raises(ValueError, match=r"must fit one image id, got 1, which fits a/1\.dcm, b/1\.dcm\."):
        read_dicom(folder, LABELS.assign(image=["1", "2", "3", "4"]))
    (folder / "b/copy").write_bytes((folder / "b/IM3").read_bytes())
    uid = str(pydicom.dcmread(folder / "b/IM3").SOPInstanceUID)
    with pytest.raises(ValueError, match=rf"an image must fit one file, got 1 that fit several: {uid}\."):
        read_dicom(folder, LABELS.assign(image=[uid, "a/1", "a/2", "b/1"]))
    with pytest.raises(ValueError, match=r"attributes must not be columns of labels, got 1 others: rows\."):
        read_dicom(folder, LABELS.assign(rows=1))
    with pytest.raises(ValueError, match=r"labels must have the columns file, got 1 absent: file\."):
        read_dicom(folder, LABELS, image="file")
    with pytest.raises(FileNotFoundError, match=r"must hold DICOM files, got nowhere with: no such folder\."):
        read_dicom("nowhere", LABELS)
    (folder / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"paths must be DICOM files, got 1 others: .*notes\.txt\."):
        dicom_attributes([folder / "a/1.dcm", folder / "notes.txt"])


def test_folders_without_images_or_patients_are_refused(tmp_path, rng):
    with pytest.raises(ValueError, match=r"must hold DICOM files of one grey frame, got .* with no file\."):
        read_dicom(tmp_path, LABELS)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"got .* with notes\.txt: image unreadable: not DICOM\."):
        read_dicom(tmp_path, LABELS)
    labels = pd.DataFrame({"image": ["x", "y"], "label": [0, 1]})
    for name in "xy":
        write_dicom(tmp_path / name, stored(rng, 0, 9))
    with pytest.raises(ValueError, match=r"files must have a PatientID \(or give patient_id, a column of labels\)"):
        read_dicom(tmp_path, labels)
    for name in "xy":
        write_dicom(tmp_path / name, stored(rng, 0, 9), PatientID="ANONYMOUS")
    with pytest.raises(ValueError, match=r"PatientID must tell patients apart .*, got one for all 2 images\."):
        read_dicom(tmp_path, labels)


def test_usable_reads_images_with_the_reader_it_is_told(tmp_path, rng):
    stored = rng.integers(0, 255, (6, 5)).astype(np.uint8)
    paths = [
        write_dicom(tmp_path / "a.dcm", stored, bits=8),
        write_dicom(tmp_path / "b.dcm", np.stack([stored] * 3), bits=8),
    ]
    rows = [
        {"image_id": path.stem, "patient_id": path.stem, "label": row, "image": path} for row, path in enumerate(paths)
    ]
    found = usable(Cohort.from_table(pd.DataFrame(rows)), reader="monai_shortcut.readers.DicomReader")
    assert found.image_ids == ("a",)
    assert "image unreadable" in found.excluded["b"]
    assert "frames" in found.excluded["b"]
