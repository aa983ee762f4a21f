# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Enhanced, damaged and contradictory DICOM files: the right value, or an error that names the file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_files import needs_itk, ultrasound_region, write_dicom
from monai.data import MetaTensor
from monai.transforms import LoadImage
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import dicom_attributes, read_dicom, usable
from monai_shortcut.datasets.dicom_header import DicomError
from monai_shortcut.readers import DicomReader

BACKENDS = ("pydicom", "itk")
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
VALUES = np.arange(35).reshape(5, 7) * 117


def load(path, backend="pydicom") -> MetaTensor:
    if backend == "itk":
        needs_itk()
    return LoadImage(reader=DicomReader(backend), ensure_channel_first=True)(path)


def item(**tags) -> pydicom.Dataset:
    data = pydicom.Dataset()
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    return data


def groups(scale=None, measures=None) -> list[pydicom.Dataset]:
    found = item()
    if scale is not None:
        found.PixelValueTransformationSequence = [item(**scale)]
    if measures is not None:
        found.PixelMeasuresSequence = [item(**measures)]
    return [found]


HOUNSFIELD = {"RescaleSlope": 2, "RescaleIntercept": -1000}
FINE = {"PixelSpacing": [0.5, 0.25]}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "tags",
    [
        {"SharedFunctionalGroupsSequence": groups(HOUNSFIELD, FINE)},
        {"PerFrameFunctionalGroupsSequence": groups(HOUNSFIELD, FINE)},
        {
            "SharedFunctionalGroupsSequence": groups(HOUNSFIELD),
            "PerFrameFunctionalGroupsSequence": groups(measures=FINE),
        },
        {"SharedFunctionalGroupsSequence": groups(HOUNSFIELD, FINE), **HOUNSFIELD, **FINE},
    ],
    ids=["shared", "per frame", "both", "and plain"],
)
def test_enhanced_objects_keep_scale_and_spacing_in_functional_groups(tmp_path, backend, tags):
    path = write_dicom(tmp_path / "x", VALUES, kind=ENHANCED, NumberOfFrames=1, **tags)
    image = load(path, backend)
    np.testing.assert_array_equal(image[0].numpy().T, 2 * VALUES - 1000)
    assert image.pixdim.tolist() == [0.25, 0.5]
    assert dicom_attributes([path])["pixel_spacing"].tolist() == [0.5]


def test_malformed_spacings_are_not_replaced_by_those_on_the_detector(tmp_path):
    tags = {"PixelSpacing": [0.2, 0.4], "ImagerPixelSpacing": [0.3, 0.6]}
    path = write_dicom(tmp_path / "x", VALUES, **tags)
    path.write_bytes(path.read_bytes().replace(b"0.2\\0.4", b"0,2\\0,4"))
    assert load(path).pixdim.tolist() == [1, 1]
    different = {"SharedFunctionalGroupsSequence": groups(measures=FINE), "PixelSpacing": [0.1, 0.1]}
    assert load(write_dicom(tmp_path / "y", VALUES, **different)).pixdim.tolist() == [1, 1]


DAMAGED = {
    "decimal comma": ({"RescaleSlope": "0.5"}, (b"0.5 ", b"0,5 "), "a damaged RescaleSlope: '0,5'"),
    "two slopes": ({"RescaleSlope": "3.3"}, (b"3.3 ", b"2\\2 "), "a damaged RescaleSlope: "),
    "slope of nothing": ({"RescaleSlope": "0"}, None, "a damaged RescaleSlope: 0"),
    "endless slope": ({"RescaleSlope": "1e300"}, (b"1e300", b"1e999"), "a damaged RescaleSlope"),
    "slope that is none": ({"RescaleSlope": "7.77"}, (b"7.77", b"NaN "), "a damaged RescaleSlope"),
    "intercept in words": ({"RescaleIntercept": "7.77"}, (b"7.77", b"none"), "a damaged RescaleIntercept"),
    "two scales": (
        {"SharedFunctionalGroupsSequence": groups(HOUNSFIELD), "RescaleSlope": 3},
        None,
        "several values of RescaleSlope: 2, 3",
    ),
    "groups of frames": (
        {"PerFrameFunctionalGroupsSequence": groups(FINE) * 2},
        None,
        "functional groups of 2 frames",
    ),
    "high bit": ({"HighBit": 15}, None, "its 12 stored bits up to bit 15 and not 11"),
    "more bits than there are": ({"BitsStored": 17, "HighBit": 16}, None, "17 bits stored in 16"),
    "no bits": ({"BitsStored": 0}, None, "0 bits stored in 16"),
    "sign": ({"PixelRepresentation": 2}, None, "PixelRepresentation 2, which is neither 0 nor 1"),
    "frames in words": ({"NumberOfFrames": "12"}, (b"IS\2\00012", b"IS\2\000on"), "a damaged NumberOfFrames"),
    "shown in negative": ({"PresentationLUTShape": "INVERSE"}, None, "MONOCHROME2 with PresentationLUTShape INVERSE"),
    "two rows": ({"Rows": [5, 5]}, None, "a damaged Rows"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("tags", "replaced", "what"), DAMAGED.values(), ids=DAMAGED)
def test_headers_that_contradict_themselves_are_refused_by_both(tmp_path, backend, tags, replaced, what):
    path = write_dicom(tmp_path / "x.dcm", VALUES, **tags)
    if replaced:
        assert path.read_bytes().count(replaced[0]) == 1
        path.write_bytes(path.read_bytes().replace(*replaced))
    with pytest.raises(DicomError, match=r"x\.dcm, which has ") as caught:
        load(path, backend)
    assert what in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pixels_are_as_many_as_rows_and_columns_say(tmp_path, backend):
    data = pydicom.dcmread(write_dicom(tmp_path / "x", VALUES))
    whole = data.PixelData
    for content, message in (
        (whole[:18], "got 18"),
        (whole + b"\1\2", "got 72"),
        (whole * 2, "got 140"),
        (b"", "which has none"),
    ):
        data.PixelData = content
        data.save_as(tmp_path / "x")
        with pytest.raises(DicomError, match=rf"x.*{message}"):
            load(tmp_path / "x", backend)
    data.PixelData = whole + b"\0" * 6
    data.save_as(tmp_path / "x")
    np.testing.assert_array_equal(load(tmp_path / "x", backend)[0].numpy().T, VALUES)
    data.BitsStored, data.HighBit = 8, 7
    data.save_as(tmp_path / "x")
    with pytest.raises(DicomError, match=r"x must hold values of 8 bits, 0 to 255, .*, got values from 0 to 3978\."):
        load(tmp_path / "x", backend)


def compressed(path: Path, values: np.ndarray, kind: str, **tags) -> Path:
    """A file whose pixels Pillow has compressed without loss, or by JPEG."""
    bits, stream = (8, BytesIO()) if values.dtype == np.uint8 else (12, BytesIO())
    data = pydicom.dcmread(write_dicom(path, values, bits=bits, **tags))
    picture = Image.fromarray(values)
    if kind == "JPEG":
        picture.save(stream, "JPEG", quality=95)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    else:
        picture.save(stream, "JPEG2000", irreversible=False, no_jp2=True)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.save_as(path)
    return path


SMOOTH = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8) * 2


@pytest.mark.parametrize("tags", [{}, {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "0.5"}])
@pytest.mark.parametrize(("kind", "apart"), [("JPEG", 4), ("JPEG2000", 0)])
def test_compressed_images_are_the_same_from_both(tmp_path, kind, apart, tags):
    path = compressed(tmp_path / "x", SMOOTH, kind, **tags)
    images = [load(path, backend)[0].numpy().T for backend in BACKENDS]
    expected = (255.0 - SMOOTH) * 0.5 if tags else SMOOTH
    for image in images:
        assert np.abs(image - expected).max() <= apart
    assert np.abs(images[0] - images[1]).max() <= (1 if kind == "JPEG" else 0)  # JPEG leaves rounding to the decoder


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_compressed_streams_without_their_end_are_refused(tmp_path, backend, kind):
    path = compressed(tmp_path / "x", SMOOTH, kind)
    data = pydicom.dcmread(path)
    stream = next(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1))
    data.PixelData = pydicom.encaps.encapsulate([stream[: len(stream) // 2]])
    data.save_as(path)
    with pytest.raises(DicomError, match=r"x must hold a whole compressed image .*, got one without its end\."):
        load(path, backend)
    path.write_bytes(path.read_bytes().replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x01\xe0"))
    with pytest.raises(DicomError, match=r"x must hold a compressed image, got: |x, which is damaged: "):
        load(path, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compressed_image_of_another_size_is_refused(tmp_path, backend):
    path = compressed(tmp_path / "x", SMOOTH, "JPEG2000")
    data = pydicom.dcmread(path)
    data.Rows = 24
    data.save_as(path)
    with pytest.raises(DicomError, match="x"):
        load(path, backend)


def without_syntax(path: Path, other: bytes = b"") -> None:
    """Take the transfer syntax out of a file, or replace it by another of the same length."""
    content = path.read_bytes()
    found = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    assert content.count(found) == 1
    length = content.index(found)
    group = int.from_bytes(content[140:144], "little")
    shorter = content[:140] + (group - len(found)).to_bytes(4, "little") + content[144:length]
    path.write_bytes(content.replace(found, found[:8] + other) if other else shorter + content[length + len(found) :])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_files_without_a_transfer_syntax_are_refused_by_name(tmp_path, backend):
    path = write_dicom(tmp_path / "x.dcm", VALUES)
    without_syntax(path)
    with pytest.raises(DicomError, match=r"x\.dcm, which (has no transfer syntax|is damaged)"):
        load(path, backend)
    path = write_dicom(tmp_path / "y.dcm", VALUES)
    without_syntax(path, b"1.2.840.10008.5.1.9\x00")
    with pytest.raises(DicomError, match=r"y\.dcm, which (has the transfer syntax .*, which is unknown|is damaged)"):
        load(path, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("syntax", ["ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian", "ImplicitVRLittleEndian"])
def test_other_byte_orders_and_packed_files_are_read_alike(tmp_path, backend, syntax):
    plain = pydicom.dcmread(write_dicom(tmp_path / "x", VALUES))
    data = pydicom.Dataset()
    for found in plain:
        data[found.tag] = found
    data.file_meta = plain.file_meta
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    order = ">" if syntax == "ExplicitVRBigEndian" else "<"
    data.PixelData = VALUES.astype(f"{order}u2").tobytes()
    data.save_as(tmp_path / "y", enforce_file_format=True)
    np.testing.assert_array_equal(load(tmp_path / "y", backend)[0].numpy().T, VALUES)


def rich(path: Path) -> Path:
    """A small file with sequences, numbers and texts."""
    regions = [ultrasound_region(0.02, 0.04), ultrasound_region(0.02, 0.04)]
    tags = {"SequenceOfUltrasoundRegions": regions, "Manufacturer": "Maker", "KVP": "80"}
    return write_dicom(path, np.arange(4).reshape(2, 2), PatientID="P", **tags)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_that_is_cut_anywhere_gives_one_type_of_error_with_its_name(tmp_path):
    whole = rich(tmp_path / "whole.dcm").read_bytes()
    cut = tmp_path / "cut.dcm"
    reader = DicomReader()
    for length in range(0, len(whole) - 1, 3):
        cut.write_bytes(whole[:length])
        with pytest.raises(DicomError, match=r"cut\.dcm"):
            reader.get_data((str(cut),))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_with_any_byte_changed_is_read_or_gives_that_error(tmp_path, rng):
    whole = rich(tmp_path / "whole.dcm").read_bytes()
    changed, reader, refused = tmp_path / "changed.dcm", DicomReader(), []
    for place in rng.integers(132, len(whole), size=300):
        content = bytearray(whole)
        content[place] = rng.integers(256)
        changed.write_bytes(content)
        try:
            pixels, _ = reader.get_data((str(changed),))
            assert np.isfinite(pixels).all()
        except DicomError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("changed.dcm" in message for message in refused)


SPOILT = {
    "frames in words": lambda content: content.replace(b"IS\2\00010", b"IS\2\000on"),
    "two samples": lambda content: content.replace(
        b"\x28\x00\x02\x00US\x02\x00\x01\x00", b"\x28\x00\x02\x00US\x04\x00\x01\x00\x01\x00"
    ),
    "cut in a sequence": lambda content: content[: content.index(b"\x18\x00\x11\x60SQ") + 60],
    "cut in a length": lambda content: content[:142],
    "cut before the pixels": lambda content: content[: content.index(b"\x28\x00\x10\x00US") + 3],
    "text": lambda content: b"no image at all",
    "empty": lambda content: b"",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_one_damaged_file_of_six_is_excluded_with_its_reason(tmp_path, spoil):
    for number in range(6):
        regions = [ultrasound_region(0.02, 0.04)]
        tags = {"PatientID": f"P{number}", "SequenceOfUltrasoundRegions": regions, "NumberOfFrames": "1"}
        write_dicom(tmp_path / f"{number}.dcm", VALUES, **tags)
    path = write_dicom(tmp_path / "3.dcm", VALUES, **{**tags, "NumberOfFrames": "10"})
    path.write_bytes(spoil(path.read_bytes()))
    labels = pd.DataFrame({"image": [str(number) for number in range(6)], "label": [0, 1] * 3})
    cohort = read_dicom(tmp_path, labels)
    assert cohort.image_ids == ("0.dcm", "1.dcm", "2.dcm", "4.dcm", "5.dcm")
    assert list(cohort.excluded) == ["3.dcm"]
    assert cohort.excluded["3.dcm"].startswith(("image unreadable: ", "image unusable: "))
    assert str(tmp_path) not in cohort.excluded["3.dcm"]
    if path.read_bytes().startswith(b"\0" * 128):
        with pytest.raises(ValueError, match=r"3\.dcm"):
            load(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_attributes_of_a_damaged_file_are_an_error_with_its_name(tmp_path):
    path = rich(tmp_path / "x.dcm")
    content, messages = path.read_bytes(), []
    for length in range(133, len(content), 5):
        path.write_bytes(content[:length])
        try:
            dicom_attributes([path])
        except DicomError as error:
            messages.append(str(error))
    assert len(messages) > 3
    assert all(text.startswith(f"a DICOM file must be whole, got {path}, which is damaged: ") for text in messages)


def test_previews_and_rows_without_a_name_do_not_stop_a_folder(tmp_path):
    for number in range(4):
        write_dicom(tmp_path / f"{number}.dcm", VALUES, PatientID=f"P{number}")
        Image.new("L", (7, 5)).save(tmp_path / f"{number}.png")
    labels = pd.DataFrame({"image": ["0", "1", "2.dcm", "3", None], "label": [0, 1, 0, 1, 1]})
    cohort = read_dicom(tmp_path, labels)
    assert cohort.image_ids == tuple(f"{number}.dcm" for number in range(4))
    previews = {f"{number}.png": "image unreadable: not DICOM" for number in range(4)}
    assert cohort.excluded == {"row 6": "image not named", **previews}
    (tmp_path / "lost.dcm").symlink_to(tmp_path / "nowhere")
    assert read_dicom(tmp_path, labels).excluded["lost.dcm"] == "image unreadable: No such file or directory"
    Image.new("L", (7, 5)).save(tmp_path / "4.png")
    only = pd.DataFrame({"image": ["0", "1", "4"], "label": [0, 1, 0]})
    assert read_dicom(tmp_path, only).excluded["4.png"] == "image unreadable: not DICOM"


def test_what_was_excluded_is_named_where_the_rest_is_too_little(tmp_path):
    for number in range(3):
        write_dicom(tmp_path / f"{number}.dcm", VALUES, PatientID=f"P{number}")
    (tmp_path / "1.dcm").write_bytes((tmp_path / "1.dcm").read_bytes()[:300])
    labels = pd.DataFrame({"image": ["0", "1", "2"], "label": [0, 1, 0]})
    with pytest.raises(ValueError, match=r"at least two classes, got 0\. 1 were excluded before: 1\.dcm: image un"):
        read_dicom(tmp_path, labels)


def test_usable_excludes_what_a_reader_refuses(tmp_path):
    write_dicom(tmp_path / "full.dcm", VALUES)
    data = pydicom.dcmread(tmp_path / "full.dcm")
    data.PixelData = data.PixelData[:20]
    data.save_as(tmp_path / "short.dcm")
    rows = [
        {"image_id": name, "patient_id": name, "label": number, "image": str(tmp_path / f"{name}.dcm")}
        for number, name in enumerate(("full", "short"))
    ]
    found = usable(Cohort.from_table(pd.DataFrame(rows)), reader=DicomReader())
    assert found.image_ids == ("full",)
    assert "in 70 bytes, got 20" in found.excluded["short"]
