# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What may be written of images."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from monai_shortcut.audit import AuditSettings
from monai_shortcut.storage.privacy import Privacy, digest, listed, written

ALL = Privacy(ids=True, paths=True, pixels=True)


@dataclass(frozen=True)
class Shown:
    image_id: str
    label: str


@dataclass(frozen=True)
class Book:
    title: str
    excluded: dict[str, str]
    linked: tuple[tuple[str, ...], ...] = ()
    examples: tuple[Shown, ...] = ()
    giveaways: tuple[Shown, ...] = ()
    image_ids: tuple[str, ...] = ()
    not_computed: dict[str, str] = field(default_factory=dict)
    privacy: Privacy = field(default_factory=Privacy)


BOOK = Book(
    title="Model /srv/Ann Lee/model.pt",
    excluded={
        "Ann_Lee": "image unreadable: '/data/Ann Lee/Ann_Lee.png' is cut",
        "b/Bo_Ek": "Bo_Ek has no region",
        "c": "absent",
    },
    linked=(("Ann_Lee", "Di_Fu"),),
    examples=(Shown("Ann_Lee", "benign"),),
    giveaways=(Shown("Di_Fu", "benign"), Shown("Ann_Lee", "malignant")),
    image_ids=("Ann_Lee", "Di_Fu"),
    not_computed={"maps": "no file C:\\Users\\Ann Lee\\m.npy"},
)


def test_by_default_nothing_tells_who_was_examined():
    assert written(BOOK) == Book(
        title="Model (file)",
        excluded={
            "image 1": "absent",
            "image 2": "image unreadable: (file) is cut",
            "image 3": "the image has no region",
        },
        linked=(("image 2", "image 4"),),
        giveaways=(Shown("image 4", "benign"), Shown("image 2", "malignant")),
        image_ids=(digest("Ann_Lee"), digest("Di_Fu")),
        not_computed={"maps": "no file (file)"},
    )


def test_what_was_written_stays_as_it_is():
    assert written(written(BOOK)) == written(BOOK)


def test_all_may_be_held_where_it_is_allowed():
    book = Book(**{**vars(BOOK), "privacy": ALL})
    assert written(book) == book


def test_names_may_be_held_without_paths_and_pixels():
    book = Book(
        title="Model /srv/Ann Lee/model.pt",
        excluded={"/a/x.png": "cut", "/b/x.png": "/b/x.png is cut", "a/y": "~/y.npy is cut"},
        giveaways=(Shown("/b/x.png", "benign"),),
        privacy=Privacy(ids=True),
    )
    found = written(book)
    assert found.title == "Model model.pt"
    assert found.excluded == {"x.png": "cut", "x.png (2)": "x.png is cut", "a/y": "y.npy is cut"}
    assert found.giveaways[0].image_id == "x.png (2)"


def test_numbers_do_not_tell_the_order_of_the_table():
    turned = dict(reversed(BOOK.excluded.items()))
    assert written(Book("", turned)) == written(Book("", BOOK.excluded))


def test_a_condition_stays_beside_the_image():
    given = {"Ann_Lee, trained on full": "region empty", "Ann_Lee, tested on roi only": "region empty"}
    assert listed(given, Privacy()) == {
        "image 1, tested on roi only": "region empty",
        "image 1, trained on full": "region empty",
    }


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("[Errno 2] No such file or directory: '/a b/c'", "[Errno 2] No such file or directory: (file)"),
        ("\\\\server\\share\\f.png is cut", "(file) is cut"),
        ("file:///data/x y/z.dcm: cut", "(file): cut"),
        ("p12/scan_3.nii.gz is cut", "(file) is cut"),
        ("p=/data/Lee/x", "p=(file)"),
        ("roi shape (1, 3) differs from and/or 1/2 in km/h", "roi shape (1, 3) differs from and/or 1/2 in km/h"),
    ],
)
def test_paths_are_found_and_nothing_else(sentence, told):
    assert Privacy().told(sentence) == told


def test_a_setting_may_be_a_path_with_blanks():
    @dataclass(frozen=True)
    class Run:
        settings: dict[str, str]
        privacy: Privacy = field(default_factory=Privacy)

    given = {"data": "/data/Ann Lee/set", "folds": "5", "table": "lists/Ann_Lee.csv"}
    assert written(Run(given)).settings == {"data": "(file)", "folds": "5", "table": "(file)"}
    assert written(Run(given, Privacy(ids=True))).settings == {**given, "data": "set"}
    assert written(Run(given, ALL)).settings == given


def test_short_names_and_numbers_stay_words():
    assert Privacy().told("image 7 of no. 7 is cut", "7") == "image 7 of no. 7 is cut"
    assert Privacy().told("absent: abs is cut", "abs") == "absent: the image is cut"


def test_settings_take_what_a_configuration_and_a_command_line_give():
    assert AuditSettings().privacy == Privacy(ids=False, paths=False, pixels=False)
    assert AuditSettings(privacy={"ids": "true", "pixels": "False"}).privacy == Privacy(ids=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": True}, "privacy must say true or false for ids, paths, pixels, got {'names': True}"),
        (True, "privacy must say true or false for ids, paths, pixels, got True"),
        ({"ids": "yes"}, "privacy must be true or false for ids, got 'yes'"),
        ({"pixels": 1}, "privacy must be true or false for pixels, got 1"),
    ],
)
def test_other_privacy_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        AuditSettings(privacy=given)
