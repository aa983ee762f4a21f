# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_cases import simulated

from monai_shortcut.audit.assembly import AuditSettings, audit
from monai_shortcut.audit.record import Audit, Example
from monai_shortcut.report.figures.audit import picture
from monai_shortcut.report.pages import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
ALL = {"ids": True, "paths": True, "pixels": True}  # so that pages have all that they can


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium of the system with an empty profile; tests that need it skip without one."""
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright is in the extra dev")
    place = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if place is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROMIUM names none")
    with driver.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=place, args=list(QUIET))
        yield found
        found.close()


@pytest.fixture(scope="session")
def record() -> Audit:
    """Two classes; names that a page must not run; one attribute of each kind, and one that nobody knows."""
    rng = np.random.default_rng(1)
    label, level = rng.integers(2, size=(2, 120))
    points = rng.normal(size=(120, 4)) + 2 * label[:, None] * np.eye(4)[0] + 2 * level[:, None] * np.eye(4)[1]
    points[5] = np.nan
    level_names = np.array(["low", "<b>high</b>"], dtype=object)
    third = rng.uniform(20, 40, 120)
    third[:7] = np.nan
    masked = rng.dirichlet([1, 1], size=120)
    masked[9] = np.nan
    return audit(
        points,
        [[0, 0, 0, 0], [1.5, 1.5, 0, 0]],
        [0, -3],
        label,
        [f"p{index // 3}" for index in range(120)],
        {
            "<script>alert('x')</script>": level_names[level],
            "a/b ../c & \\d": third,
            "plain name": ["rare"] * 3 + rng.permutation(["x", "y"] * 60).tolist()[3:],
            "empty": [None] * 120,
        },
        label_names=["benign", "malignant <i>"],
        image_ids=[f"image {index}" for index in range(120)],
        regions={"without_roi": masked},
        counterfactuals={"a/b ../c & \\d": rng.dirichlet([1, 1], size=120)},
        excluded={"<img>": 'unreadable, "really"'},
        without_roi={"image 9": "roi must hold at least one pixel"},
        unseen=["image 200", "<u>"],
        examples=(Example("image 0", "benign", {"full": picture(rng.normal(size=(1, 8, 8)))}),),
        settings=AuditSettings(permutations=99, bootstraps=49, held_out=1, privacy=ALL),
        title="Audit of <net> & co",
        software={"monai": "1.6.1"},
    )


@pytest.fixture(scope="session")
def folder(record, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made" / "when absent"
    assert write_report(record, folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="session")
def many() -> Audit:
    """300 patients and four attributes, of which the model uses the one of that name."""
    given = simulated(patients=300)
    return audit(**{**given, "settings": replace(given["settings"], permutations=199)})
