# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Small folders in the layouts that the bundles read."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from monai.bundle import run
from PIL import Image
from test_chaksu import DECISIONS, EXPERTS, FUSED, IMAGES, NORMAL, SUSPECT
from test_chexmask import HEADER as CHEXMASK_HEADER
from test_nih import HEADER as NIH_HEADER
from test_nih import TABLE as NIH_TABLE
from test_padchest import FINDINGS
from test_padchest import HEADER as PADCHEST_HEADER

from monai_shortcut.datasets import encode_rle
from monai_shortcut.datasets.padchest import PUBLISHED_LABELS
from monai_shortcut.datasets.padchest import TABLE as PADCHEST_TABLE
from monai_shortcut.phantom.fetal_planes import draw_phantom

BUNDLES = Path(__file__).parents[1] / "bundles"
PLANES = ("Fetal brain", "Fetal abdomen", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
MACHINES = ("Voluson E6", "Voluson S10", "Aloka", "Other")
HEIGHT, WIDTH = 40, 48  # of X-rays and photographs


def write_busbra(folder: Path) -> Path:
    """Fill a folder in the layout in which BUS-BRA is published: 60 patients, two images each."""
    rng, rows = np.random.default_rng(0), []
    for sub in ("Images", "Masks"):
        (folder / sub).mkdir(parents=True)
    for case in range(1, 61):
        malignant = case % 3 == 0
        for side in ("l", "r"):
            roi = np.zeros((40, 48), dtype=np.uint8)
            size = 12 if malignant else 6
            top, left = rng.integers(2, 40 - size), rng.integers(2, 48 - size)
            roi[top : top + size, left : left + size] = 255
            image = rng.integers(60, 120, roi.shape).astype(np.uint8) - (roi > 0) * np.uint8(50)
            Image.fromarray(image).save(folder / "Images" / f"bus_{case:04d}-{side}.png")
            Image.fromarray(roi).save(folder / "Masks" / f"mask_{case:04d}-{side}.png")
            rows.append(
                {
                    "ID": f"bus_{case:04d}-{side}",
                    "Case": case,
                    "Histology": "fibroadenoma",
                    "Pathology": "malignant" if malignant else "benign",
                    "BIRADS": 4 if malignant else 3,
                    "Device": ("GE Logiq 7 @10-14MHz", "GE Logiq 5 @10-12MHz")[case % 2],
                    "Width": 48,
                    "Height": 40,
                    "Side": "left" if side == "l" else "right",
                    "BBOX": "[1,1,2,2]",
                }
            )
    pd.DataFrame(rows).to_csv(folder / "bus_data.csv", index=False)
    return folder


def write_fetal_planes(folder: Path) -> Path:
    """A folder in the layout of FETAL_PLANES_DB: 48 women, an image of each plane, phantoms for the first four."""
    (folder / "Images").mkdir()
    phantom = draw_phantom(48, 0.0, 0, images_per_patient=6, size=48)
    rows = ["Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "]
    for index in range(len(phantom.cohort)):
        woman, number = divmod(index, 6)
        shown = phantom.draw(index)[0][0][:40]
        plane = PLANES[phantom.cohort.labels[index]] if number < 4 else PLANES[number]
        shown = shown if number < 4 else np.rot90(shown, number - 3)
        name = f"Patient{woman + 1:05d}_Plane{number}_1_of_1"
        Image.fromarray(np.uint8(255 * shown)).save(folder / "Images" / f"{name}.png")
        brain = "Trans-ventricular" if plane == "Fetal brain" else "Not A Brain"
        operator, trained = f"Op. {1 + woman // 2 % 2}", int(woman % 3 > 0)
        rows.append(f"{name};{woman + 1};{plane};{brain};{operator};{MACHINES[woman % 4]};{trained} ")
    (folder / "FETAL_PLANES_DB_data.csv").write_text("\n".join(rows) + "\n")
    return folder


def write_cervix(folder: Path) -> Path:
    """A table of cervix images: 40 women, two images each, every third born preterm and dark in the middle."""
    rng, rows = np.random.default_rng(0), []
    for woman in range(40):
        for visit in range(2):
            preterm, scanner = woman % 3 == 0, ("Voluson S", "V830")[woman % 2]
            image = rng.integers(60, 120, (40, 48), dtype=np.uint8)
            image[12:28, 16:32] -= np.uint8(50 * preterm)
            image[3, 4:14] = 255  # burned-in text
            name = f"cervix_{woman:02d}_{visit}"
            Image.fromarray(image).save(folder / f"{name}.png")
            spacing = 0.1 + 0.01 * (woman % 5)
            rows.append(
                {
                    "image_id": name,
                    "patient_id": f"{woman:03d}",
                    "image": f"{name}.png",
                    "outcome": "preterm" if preterm else "term",
                    "gestational_age_weeks": 18 + 0.13 * (7 * woman % 40),
                    "spacing_y_mm": spacing,
                    "spacing_x_mm": 1.5 * spacing,
                    "scanner": scanner,
                }
            )
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder


def lungs(shift: int) -> np.ndarray:
    region = np.zeros((HEIGHT, WIDTH), dtype=bool)
    region[8 : 30 + shift, 6:20] = region[8 : 30 - shift, 28:42] = True
    return region


def write_padchest(top: Path) -> Path:
    """PadChest and a table of CheXmask in the published layouts: 80 patients, an image each, and NIH beside them."""
    rng = np.random.default_rng(0)
    folder, rows, masks = top / "PadChest", [], []
    for patient in range(80):
        present = rng.random(len(FINDINGS)) < 0.5
        labels = [label for label, there in zip(PUBLISHED_LABELS.values(), present, strict=True) if there]
        name, number = f"{patient}_p.png", patient % 2
        known = {"ImageID": name, "ImageDir": number, "StudyDate_DICOM": 20140915, "PatientID": f"{patient:03d}"}
        known |= {"PatientBirth": 1930 + patient % 20, "PatientSex_DICOM": "FM"[patient % 2]}
        known |= {"Projection": ("PA", "AP")[patient % 3 == 0], "Pediatric": "No", "Modality_DICOM": "CR"}
        known |= {"Manufacturer_DICOM": "Philips", "MethodLabel": "RNN", "Labels": str(labels or ["normal"])}
        rows.append([known.get(column, "x") for column in PADCHEST_HEADER])
        region = lungs(patient % 5)
        grey = rng.integers(100, 2000, region.shape) + 1500 * region * int(present[0])
        (folder / str(number)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey.astype(np.uint16)).save(folder / str(number) / name)
        left = region & (np.arange(WIDTH) >= WIDTH // 2)
        codes = {"ImageID": name, "Dice RCA (Mean)": 0.9 if patient else 0.5, "Left Lung": encode_rle(left)}
        codes |= {"Right Lung": encode_rle(region & ~left), "Height": HEIGHT, "Width": WIDTH}
        masks.append([codes.get(column, "") for column in CHEXMASK_HEADER])
    (folder / "1" / "1_p.png").write_bytes(b"broken")
    pd.DataFrame(rows, columns=PADCHEST_HEADER).to_csv(folder / PADCHEST_TABLE)
    with (top / "Padchest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([CHEXMASK_HEADER, *masks])
    write_nih(top / "NIH", rng)
    return top


def write_nih(folder: Path, rng: np.random.Generator) -> None:
    (folder / "images_001" / "images").mkdir(parents=True)
    lines = [NIH_HEADER]
    for patient in range(1, 7):
        name = f"{patient:08d}_000.png"
        found = "|".join(finding.capitalize() for finding in FINDINGS) if patient % 2 else "No Finding"
        lines.append(f"{name},{found},0,{patient},50,M,PA,{WIDTH},{HEIGHT},0.1,0.1")
        colours = rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
        picture = Image.fromarray(colours)  # some of the published images have four channels
        (picture if patient == 1 else picture.convert("L")).save(folder / "images_001" / "images" / name)
    (folder / NIH_TABLE).write_text("\n".join(lines) + "\n")


def write_chaksu(top: Path) -> Path:
    """Chákṣu in the published layout: 16 photographs for training and 12 for testing of each camera."""
    rng = np.random.default_rng(0)
    folder = top / "Chaksu"
    for part, count in (("Train", 16), ("Test", 12)):
        (folder / part / DECISIONS).mkdir(parents=True)
        for camera, suffix in (("Bosch", "JPG"), ("Forus", "png"), ("Remidio", "JPG")):
            lines = [f"Images,{EXPERTS},Majority Decision"]
            images, fused = folder / part / IMAGES / camera, folder / part / FUSED / camera / "STAPLE"
            images.mkdir(parents=True)
            fused.mkdir(parents=True)
            for index in range(count):
                suspect = bool(index % 3 == 0)
                # Patient 1 of Bosch's camera is in both parts.
                name = f"P1_Image{part}" if (camera, index) == ("Bosch", 1) else f"Image{part}{index}"
                disc = np.zeros((HEIGHT, WIDTH), dtype=bool)
                disc[12:24, 10 + index % 8 : 22 + index % 8] = True
                colours = rng.integers(0, 150, (HEIGHT, WIDTH, 3)) + 90 * (disc & suspect)[..., None]
                Image.fromarray(colours.astype(np.uint8)).save(images / f"{name}.{suffix}")
                Image.fromarray(np.uint8(127 * disc)).save(fused / f"{name}.png")
                verdict = SUSPECT if suspect else NORMAL
                lines.append(f"{name}.jpg-{name}-1.jpg,{','.join([verdict] * 5)},{verdict}")
            table = folder / part / DECISIONS / f"Glaucoma_Decision_Comparison_{camera}_majority.csv"
            table.write_text("\n".join(lines) + "\n")
    (folder / "Train" / FUSED / "Forus" / "STAPLE" / "ImageTrain2.png").unlink()
    write_airogs(top / "AIROGS", rng)
    return top


def write_airogs(folder: Path, rng: np.random.Generator) -> None:
    (folder / "0").mkdir(parents=True)
    lines = ["challenge_id,class"]
    for index in range(6):
        name = f"TRAIN{index:06d}"
        lines.append(f"{name},{('NRG', 'RG')[index % 2]}")
        Image.fromarray(rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)).save(folder / "0" / f"{name}.jpg")
    (folder / "train_labels.csv").write_text("\n".join(lines) + "\n")


def write_chest_regions(top: Path, **more: object) -> None:
    places = {"dataset_dir": str(top / "PadChest"), "regions_dir": str(top / "regions")}
    config = str(BUNDLES / "chest_xray_roi" / "configs" / "regions.json")
    run(config_file=config, chexmask=str(top / "Padchest.csv"), **places, **more)


def write_fundus_regions(top: Path, **more: object) -> None:
    places = {"dataset_dir": str(top / "Chaksu"), "regions_dir": str(top / "regions")}
    run(config_file=str(BUNDLES / "fundus_roi" / "configs" / "regions.json"), **places, **more)
