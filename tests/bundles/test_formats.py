# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_files import needs_itk, write_dicom
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DenseNet
from monai.transforms import Compose, LoadImaged, ScaleIntensityRanged
from PIL import Image
from torch import nn

from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.audit.record import USED, Audit
from monai_shortcut.handlers import EmbeddingRecorder, ShortcutAudit
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.networks import SonoNet
from monai_shortcut.transforms import MaskROId

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "formats.md"
SETTINGS = AuditSettings(permutations=99, bootstraps=99, repeats=1, erasures=19, held_out=2)
NAMES = ("plain", "nifti", "dicom", "dicom by itk", "cohort", "millimetres")
TEXTS = [part.split("```")[0] for part in GUIDE.read_text(encoding="utf-8").split("```json")[1:]]
BLOCKS = {name: json.loads(text) for name, text in zip(NAMES, TEXTS, strict=True)}
VOXEL_MM = (0.8, 1.0, 2.0)
VOLUME, PICTURE = (24, 20, 16), (24, 32)


def train(network: nn.Module, images: torch.Tensor, labels: np.ndarray) -> nn.Module:
    """A network that knows the images nearly by heart, and whose normalization knows them all."""
    optimizer, outcomes = torch.optim.Adam(network.parameters(), lr=0.01), torch.as_tensor(labels)
    network.train()
    for _ in range(60):
        chosen = torch.randperm(len(images))[:24]
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[chosen]), outcomes[chosen]).backward()
        optimizer.step()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network(images)
    return network.eval()


def evaluate(network: nn.Module, items: list[dict[str, Any]], transform: Any, *handlers: Any) -> dict[str, float]:
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items, transform), batch_size=16),
        network=network,
        val_handlers=list(handlers),
    )
    evaluator.run()
    return dict(evaluator.state.metrics)


def guide(name: str) -> Compose:
    """The steps of a pipeline, from the guide."""
    return Compose(ConfigParser({"steps": BLOCKS[name]}).get_parsed_content("steps"))


def ellipsoid(shape: tuple[int, ...], centre: np.ndarray, radii: tuple[float, ...]) -> np.ndarray:
    distance = np.indices(shape).T - centre
    return (np.square(distance / np.array(radii)).sum(axis=-1) <= 1).T


def drawn(rng: np.random.Generator, shape: tuple[int, ...], ill: bool, scanner: bool) -> tuple[np.ndarray, np.ndarray]:
    """An image in [0, 1] whose organ has a bright spot if ill, and stripes everywhere from one of two scanners."""
    radii = (6.0, 5.0, 4.0)[: len(shape)]
    centre = np.array([rng.uniform(radius, size - radius) for radius, size in zip(radii, shape, strict=True)])
    organ = ellipsoid(shape, centre, radii)
    image = 0.3 + 0.15 * organ + 0.05 * rng.normal(size=shape)
    image += 0.2 * ill * ellipsoid(shape, centre, tuple(radius / 2 for radius in radii))
    image += 0.08 * scanner * np.cos(np.pi * np.indices(shape)[0])
    return np.clip(image, 0, 1), organ


def mixed(count: int, tie: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Label and scanner, equal in a share of the images."""
    labels = np.arange(count) % 2
    return labels, np.where(rng.permutation(count) < tie * count, labels, 1 - labels)


def trained_on(network: nn.Module, shape: tuple[int, ...], show: Callable[..., np.ndarray], striped: bool) -> nn.Module:
    """A network whose images told the label by the scanner, 19 times in 20."""
    rng = np.random.default_rng(1)
    labels, scanners = mixed(96, 0.95, rng)
    images = [show(drawn(rng, shape, ill, striped and by)[0], by) for ill, by in zip(labels, scanners, strict=True)]
    return train(network, torch.as_tensor(np.stack(images), dtype=torch.float32)[:, None], labels)


def scaled(maximum: float) -> ScaleIntensityRanged:
    return ScaleIntensityRanged("image", 0, maximum, 0, 1)


def area(record: Audit, strategy: str) -> float:
    return next(score.auc.value for score in record.regions.scores if score.evaluated_on == strategy)


# A classifier of volumes, from NIfTI files.


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    """Folder of 64 volumes of 64 patients with regions, half of them from either scanner, and a table."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    labels, scanners = mixed(64, 0.5, rng)
    for number, (ill, by) in enumerate(zip(labels, scanners, strict=True)):
        image, organ = drawn(rng, VOLUME, ill, by)
        for name, array in (("scan", np.float32(1000 * image)), ("organ", organ.astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, np.diag([*VOXEL_MM, 1])), folder / f"{name}_{number:02d}.nii.gz")
    table = {
        "image_id": [f"scan_{number:02d}" for number in range(64)],
        "patient_id": [f"p{number}" for number in range(64)],
        "label": labels,
        "scanner": np.array(["A", "B"])[scanners],
        "sex": rng.permutation(["F", "M"] * 32),
    }
    pd.DataFrame(table).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def volume_network() -> nn.Module:
    torch.manual_seed(0)
    network = DenseNet(3, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2))
    return trained_on(network, VOLUME, lambda image, by: image, striped=True)


def test_a_classifier_of_volumes_is_audited_from_nifti_files(volumes, volume_network, tmp_path):
    items = [
        {"image": str(path), "roi": str(path).replace("scan_", "organ_")} for path in sorted(volumes.glob("scan_*"))
    ]
    steps = Compose([LoadImaged(("image", "roi"), ensure_channel_first=True), scaled(1000)])
    handler = ShortcutAudit(
        volume_network,
        volumes / "metadata.csv",
        tmp_path,
        roi_key="roi",
        strategies=("without_roi", "roi_only"),
        settings=SETTINGS,
    )
    metrics = evaluate(volume_network, items[:-1], steps, handler)
    record = handler.audit
    assert record.unseen == ("scan_63",)
    scanner, sex = record.finding("scanner"), record.finding("sex")
    assert scanner.verdict == USED
    assert metrics["scanner_own_auroc"] > 0.95
    assert metrics["scanner_prediction_gap"] > 0.3
    assert sex.verdict != USED
    assert metrics["sex_own_auroc"] < 0.7
    # Without the organ nothing of the label is left: the scanner is independent of it in these volumes.
    assert min(area(record, "full"), area(record, "roi_only")) > 0.6
    assert 0.35 < area(record, "without_roi") < 0.6
    assert record.without_roi == {}
    assert "scanner" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Audit.from_json(tmp_path / "audit.json").finding("scanner").verdict == USED


@pytest.mark.parametrize("spacing", [VOXEL_MM, (2.0, 0.5, 1.0)])
def test_a_margin_in_mm_hides_the_voxels_within_it(tmp_path, spacing):
    organ = np.zeros(VOLUME, dtype=np.uint8)
    organ[10:12, 9, 8] = 1
    for name, array in (("image", np.ones(VOLUME, dtype=np.float32)), ("roi", organ)):
        nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1])), tmp_path / f"{name}.nii.gz")
    item = {name: str(tmp_path / f"{name}.nii.gz") for name in ("image", "roi")}
    hidden = guide("millimetres")(item)["image"][0].numpy() == 0
    voxels = np.indices(VOLUME).reshape(3, -1).T * np.array(spacing)
    marked = np.argwhere(organ) * np.array(spacing)
    nearest = np.sqrt(np.square(voxels[:, None] - marked).sum(axis=2)).min(axis=1)
    np.testing.assert_array_equal(hidden, (nearest <= 3 + 1e-9).reshape(VOLUME))
    in_voxels = Compose([LoadImaged(("image", "roi"), ensure_channel_first=True), MaskROId("image", "roi", margin=3)])
    assert (in_voxels(item)["image"][0].numpy() == 0).sum() != hidden.sum()


# A classifier of radiographs, from a folder of DICOM files.


def developed(image: np.ndarray, by: bool) -> np.ndarray:
    """How the two manufacturers turn an exposure into grey values."""
    return np.round(4095 * image ** (0.6 if by else 1.0)) / 4095


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> Path:
    """Folder of 64 radiographs of 64 patients; the one manufacturer stores negatives in 16 bits, the other 12 bits."""
    folder = tmp_path_factory.mktemp("radiographs")
    rng = np.random.default_rng(0)
    labels, makers = mixed(64, 0.5, rng)
    rows = []
    for number, (ill, by) in enumerate(zip(labels, makers, strict=True)):
        exposed, organ = drawn(rng, PICTURE, ill, False)
        values = np.round(4095 * developed(exposed, by)).astype(int).T
        tags = {"PatientID": f"id{number}", "PatientName": f"Doe^{number}", "ImagerPixelSpacing": [0.5, 0.25]}
        tags |= {"ViewPosition": "AP" if rng.random() < 0.5 else "PA", "KVP": f"{rng.uniform(60, 90):.1f}"}
        if by:
            settings = {"bits": 16, "PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": "0.0625"}
            settings |= {"RescaleIntercept": "0", "Manufacturer": "Bolt"}
            values = 65535 - 16 * values
        else:
            settings = {"bits": 12, "Manufacturer": "Acme"}
        write_dicom(folder / f"series_{number % 3}" / f"{number:02d}.dcm", values, **settings, **tags)
        Image.fromarray(organ.T).save(folder / f"{number:02d}_organ.png")
        rows.append({"image": f"{number:02d}", "label": ("well", "ill")[ill], "roi": f"{number:02d}_organ.png"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def radiograph_network() -> nn.Module:
    torch.manual_seed(0)
    return trained_on(SonoNet(2, 1, 2, width=4), PICTURE, developed, striped=False)


def test_a_folder_of_dicom_files_is_audited_alike_with_both_backends(radiographs, radiograph_network, tmp_path):
    config = ConfigParser({"dataset_dir": str(radiographs), **BLOCKS["cohort"]})
    config["cohort"]["label_names"] = ["well", "ill"]
    cohort = config.get_parsed_content("cohort")
    assert len(cohort) == 64
    assert cohort.kind("kvp") == "continuous"
    assert set(cohort.values("pixel_spacing")) == {"0.5"}
    assert set(cohort.excluded.values()) == {"image unreadable: not DICOM"}  # the regions
    needs_itk()
    records = []
    for name, backend in (("dicom", "pydicom"), ("dicom by itk", "itk")):
        handler = ShortcutAudit(
            radiograph_network,
            cohort,
            tmp_path / backend,
            attributes=["manufacturer", "view_position", "rows", "exposure"],
            roi_key="roi",
            strategies=("without_roi",),
            settings=SETTINGS,
        )
        items = [{key: item[key] for key in ("image", "roi", "image_id")} for item in config.get_parsed_content("data")]
        metrics = evaluate(radiograph_network, items, Compose([guide(name), scaled(4095)]), handler)
        records.append(json.loads((tmp_path / backend / "audit.json").read_text()))
    record = handler.audit
    assert record.finding("manufacturer").verdict == USED
    assert record.finding("view_position").verdict != USED
    assert "every image has the same value (32)" in record.finding("rows").reason
    assert "all values are missing" in record.finding("exposure").reason
    assert metrics["manufacturer_own_auroc"] > 0.9
    assert_close(*records)


def assert_close(one: Any, other: Any) -> None:
    """The same record but for 1e-6 in its numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_close(first, second)
    else:
        assert one == pytest.approx(other, abs=1e-6) if isinstance(one, float) else one == other


# One picture in many files.


@pytest.fixture
def files(tmp_path) -> Path:
    """A picture of 32 rows and 24 columns, 0.5 mm between rows and 0.25 mm between columns, and its region."""
    picture = np.add.outer(np.linspace(20, 120, 32), np.linspace(0, 90, 24)) + 30 * (np.arange(24) > 15)
    grey = np.uint8(picture.round())
    roi = np.zeros((32, 24), dtype=np.uint8)
    roi[4:9, 2:20] = 255
    for name, rows in (("picture", grey), ("roi", roi)):
        Image.fromarray(rows).save(tmp_path / f"{name}.png")
        nib.save(nib.Nifti1Image(rows.T, np.diag([0.25, 0.5, 1, 1])), tmp_path / f"{name}.nii.gz")
    Image.fromarray(grey).save(tmp_path / "picture.jpg", quality=95)
    write_dicom(tmp_path / "picture.dcm", grey, bits=8, PixelSpacing=[0.5, 0.25])
    return tmp_path


FILES = {"plain": "png", "nifti": "nii.gz", "dicom": "dcm"} | ({"dicom by itk": "dcm"} if find_spec("itk") else {})


def load(files: Path, name: str, suffix: str | None = None) -> dict[str, Any]:
    suffix = suffix or FILES[name]
    roi = files / ("roi.nii.gz" if suffix == "nii.gz" else "roi.png")
    return dict(guide(name)({"image": str(files / f"picture.{suffix}"), "roi": str(roi)}))


def untrained() -> nn.Module:
    torch.manual_seed(0)
    network = SonoNet(2, 1, 3, width=2)
    network.train()(torch.rand(8, 1, 24, 32))  # so that its normalization knows some images
    return network.eval()


def test_one_picture_has_one_embedding_whatever_its_format(files):
    network = untrained()
    layer = linear_head(network, images=torch.rand(1, 1, 24, 32)).layer
    embeddings = {}
    for name in FILES:
        item = load(files, name)
        picture, roi = item["image"], item["roi"] > 0
        assert type(picture) is MetaTensor
        assert picture.shape == roi.shape == (1, 24, 32)
        assert picture.pixdim.tolist() == ([1, 1] if name == "plain" else [0.25, 0.5])
        columns, rows = np.nonzero(roi[0].numpy())
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (2, 19, 4, 8)
        embeddings[name], _ = embed(network, picture[None].as_tensor() / 255, layer)
    for name in FILES:
        torch.testing.assert_close(embeddings[name], embeddings["plain"], rtol=0, atol=0)
    turned = torch.rot90(picture.as_tensor(), 2, (1, 2))
    assert not torch.allclose(embed(network, turned[None] / 255, layer)[0], embeddings["plain"], atol=1e-3)


def test_jpeg_is_png_but_for_its_compression(files):
    png, jpeg = load(files, "plain")["image"], load(files, "plain", "jpg")["image"]
    assert not torch.equal(png, jpeg)
    assert float((png - jpeg).abs().max()) < 12
    assert float((png - jpeg).abs().mean()) < 2


def test_columns_come_first_unless_indexing_is_not_reversed(files):
    plain = np.asarray(Image.open(files / "picture.png"), dtype=np.float32)
    for reverse, expected in ((True, plain.T), (False, plain)):
        load_image = LoadImaged("image", reader="PILReader", reverse_indexing=reverse, ensure_channel_first=True)
        np.testing.assert_array_equal(load_image({"image": str(files / "picture.png")})["image"][0].numpy(), expected)


def test_images_of_any_format_are_matched_by_the_name_of_their_file(files):
    network, seen = untrained(), set()
    for name, suffix in FILES.items():
        recorder = EmbeddingRecorder(network)
        evaluate(
            network, [{"image": str(files / f"picture.{suffix}"), "roi": str(files / "roi.png")}], guide(name), recorder
        )
        seen.add((recorder.image_ids, recorder.embeddings.tobytes()))
    assert {ids for ids, _ in seen} == {("picture",)}
    assert len(seen) == 1
