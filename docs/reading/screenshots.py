# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A page of every kind in a browser: at three widths, in two schemes, printed.

    python docs/reading/screenshots.py output/planted_shortcut/audit.json output/nothing_planted/audit.json

The records are those of the demonstration, with a shortcut and without; all other pages show numbers of the tests.
Everything is kept below ``--folder``. With ``--publish`` the pictures of `pages.md` are replaced. It needs a Chromium,
Playwright, Pillow and, for printed pages, pypdfium2.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from every_page import pages  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from monai_shortcut.audit.record import Audit  # noqa: E402
from monai_shortcut.report import write_report, write_reports  # noqa: E402

WIDTHS, SCHEMES = (390, 800, 1280), ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
TALLEST = 8000  # pixels of a picture of a whole page
IMAGES = Path(__file__).parent / "images"
# Pictures of the documentation: kind, width, scheme, and the height that is shown.
PUBLISHED = (
    *(("audit", 1280, "light", 2300), ("audit", 390, "dark", 1500), ("audit", 390, "light", 1500)),
    *(("overview", 1280, "light", 460), ("regions", 1280, "light", 1500), ("regions", 390, "dark", 1500)),
    *(("comparison", 1280, "light", 1150), ("comparison", 390, "light", 1500), ("check", 800, "light", 1500)),
    *(("readers", 800, "dark", 1300), ("training", 1280, "light", 1150), ("reading", 800, "light", 900)),
)
PRINTED = (("audit", 1), ("audit", 3), ("comparison", 1))


def main() -> None:
    """Write the pages, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", help="audit.json of the demonstration")
    parser.add_argument("--folder", type=Path, default=Path("output/pages"), help="where pages and pictures go")
    parser.add_argument("--publish", action="store_true", help="replace the pictures of the documentation")
    asked = parser.parse_args()
    audits = {record.title: record for record in map(Audit.from_json, asked.records)}
    first = next(iter(audits.values()))
    found = pages(first, asked.folder)
    found["audit"] = write_report(first, asked.folder / "demonstration")
    found["overview"] = write_reports(audits, asked.folder / "labels", title="Two labels")
    with sync_playwright() as driver:
        place = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = driver.chromium.launch(executable_path=place, args=["--no-sandbox", "--disable-gpu"])
        for kind, page in found.items():
            for name in pictured(browser, kind, page.resolve(), asked.folder):
                print(name)
    if asked.publish:
        publish(asked.folder)


def pictured(browser: Any, kind: str, page: Path, folder: Path) -> Iterator[Path]:
    """A page at every width, in both schemes, and printed in grey."""
    for scheme in SCHEMES:
        shown = browser.new_page(color_scheme=scheme)
        for width in WIDTHS:
            shown.set_viewport_size({"width": width, "height": 900})
            shown.goto(page.as_uri())
            wide = shown.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{kind} must fit into {width} pixels, got {wide}"
            height = min(shown.evaluate("document.documentElement.scrollHeight"), TALLEST)
            target = folder / f"{kind.replace(' ', '_')}_{width}_{scheme}.png"
            shown.screenshot(path=target, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
            yield target
        shown.close()
    shown = browser.new_page()
    shown.goto(page.as_uri())
    printed = folder / f"{kind.replace(' ', '_')}.pdf"
    shown.pdf(path=printed, format="A4")
    shown.close()
    yield from sheets(printed)


def sheets(printed: Path) -> Iterator[Path]:
    """The pages of a PDF as pictures."""
    import pypdfium2

    for number, sheet in enumerate(pypdfium2.PdfDocument(printed), 1):
        target = printed.with_name(f"{printed.stem}_sheet_{number}.png")
        sheet.render(scale=1.1).to_pil().convert("L").save(target)
        yield target


def publish(folder: Path) -> None:
    """The pictures of the documentation, of few colours."""
    IMAGES.mkdir(exist_ok=True)
    for kind, width, scheme, height in PUBLISHED:
        with Image.open(folder / f"{kind}_{width}_{scheme}.png") as whole:
            _save(whole.crop((0, 0, width, min(height, whole.height))), f"{kind}_{width}_{scheme}")
    with Image.open(folder / "audit_1280_light.png") as whole:
        _save(whole.crop((0, 0, 1060, 905)), "../../images/report")
    for kind, number in PRINTED:
        with Image.open(folder / f"{kind}_sheet_{number}.png") as sheet:
            _save(sheet, f"{kind}_printed_{number}")


def _save(picture: Image.Image, name: str) -> None:
    few = picture.convert("RGB").quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
