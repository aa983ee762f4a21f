# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from samples import sample_of

from monai_shortcut.analyses.prediction_gap import PredictionGap, prediction_gap
from monai_shortcut.analyses.region_sensitivity import RegionSensitivity, region_sensitivity
from monai_shortcut.storage.records import as_of_now, decode, encode, read_record


@dataclass(frozen=True)
class Inner:
    name: str
    limits: tuple[float, float]
    right: bool = True


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    first: Inner
    second: Inner | None
    several: tuple[Inner, ...]
    cells: tuple[tuple[float | None, ...], ...]
    by_name: dict[str, tuple[float, float]]
    inner_by_name: dict[str, Inner]
    note: str | None = None


INNER = Inner("a", (0.1, 1 / 3))
OUTER = Outer(
    count=3,
    share=0.1 + 0.2,
    first=INNER,
    second=None,
    several=(INNER, Inner("b", (-1e-300, 1e300), right=False)),
    cells=((0.5, None), (), (None,)),
    by_name={"x": (1.0, 2.0), "ä": (3.0, 4.0)},
    inner_by_name={"y": INNER},
)
PLAIN = encode(OUTER)


@pytest.mark.parametrize("record", [OUTER, replace(OUTER, second=INNER, note="n", several=(), by_name={})])
def test_a_record_equals_itself_after_a_round_trip_through_json(record):
    assert decode(Outer, json.loads(json.dumps(encode(record)))) == record
    assert decode(Outer, encode(record)) != replace(record, share=0.3)  # 0.1 + 0.2, to the last digit


def test_encoding_equals_dataclasses_own_but_for_tuples():
    assert json.loads(json.dumps(asdict(OUTER))) == PLAIN
    assert encode({1: (1, [2, {"k": None}])}) == {"1": [1, [2, {"k": None}]]}


def test_results_of_the_analyses_survive(rng):
    answers, code = np.repeat([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]], 10, axis=0), np.repeat([0, 1, 1], 10)
    label = np.repeat([0, 0, 1], 10)
    gap = prediction_gap(sample_of(code, label, range(30), answers=answers, permutations=9, bootstraps=9))
    assert gap.means[1][0] == (None, None)
    assert decode(PredictionGap, json.loads(json.dumps(encode(gap)))) == gap
    regions = region_sensitivity(label, {"full": answers + 0.1 * rng.random((30, 2))}, range(30), ["n", "y"])
    assert decode(RegionSensitivity, json.loads(json.dumps(encode(regions)))) == regions


def test_whole_numbers_are_read_as_floats_where_floats_are_meant():
    share = decode(Outer, PLAIN | {"share": 1, "by_name": {"x": [1, 2]}})
    assert share == replace(OUTER, share=1.0, by_name={"x": (1.0, 2.0)})
    assert isinstance(share.share, float)
    assert isinstance(share.by_name["x"][0], float)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 1.0}, r"^record\.count must be int, got float\.$"),
        ({"count": True}, r"^record\.count must be int, got bool\.$"),
        ({"count": None}, r"^record\.count must be int, got NoneType\.$"),
        ({"share": "1"}, r"^record\.share must be int or float, got str\.$"),
        ({"share": False}, r"^record\.share must be int or float, got bool\.$"),
        ({"first": None}, r"^record\.first must be dict, got NoneType\.$"),
        ({"first": [1]}, r"^record\.first must be dict, got list\.$"),
        (
            {"first": {"name": "a", "right": True}},
            r"^record\.first must hold the fields of Inner: absent \['limits'\]",
        ),
        ({"second": encode(INNER) | {"x": 1}}, r"^record\.second must hold .*: absent \[\], unknown \['x'\]\.$"),
        ({"second": encode(INNER) | {"right": 1}}, r"^record\.second\.right must be bool, got int\.$"),
        ({"several": "ab"}, r"^record\.several must be list, got str\.$"),
        ({"several": [encode(INNER), 3]}, r"^record\.several\[1\] must be dict, got int\.$"),
        ({"several": [encode(INNER) | {"limits": [1]}]}, r"^record\.several\[0\]\.limits must hold 2 values, got 1\.$"),
        ({"cells": [[0.5], [None, "x"]]}, r"^record\.cells\[1\]\[1\] must be int or float, got str\.$"),
        ({"by_name": []}, r"^record\.by_name must be dict, got list\.$"),
        ({"by_name": {"x": [1, None]}}, r"^record\.by_name\.x\[1\] must be int or float, got NoneType\.$"),
        (
            {"inner_by_name": {"y": encode(INNER) | {"name": 1}}},
            r"^record\.inner_by_name\.y\.name must be str, got int",
        ),
        ({"note": 1}, r"^record\.note must be str, got int\.$"),
        ({"note": "a\ud800"}, r"^record\.note must hold text that can be written as UTF-8, got 'a\\ud800'\.$"),
        ({"by_name": {"\udfff": [1, 2]}}, r"^record\.by_name must hold text that can be written as UTF-8, got"),
        ({"more": 1}, r"^record must hold the fields of Outer: absent \[\], unknown \['more'\]\.$"),
    ],
)
def test_an_error_names_the_place(changed, message):
    with pytest.raises(ValueError, match=message):
        decode(Outer, PLAIN | changed)


@dataclass(frozen=True)
class Counted:
    missing: int
    levels: dict[str, int]
    labels: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"missing": -4}, r"^record\.missing must be 0 or more, got -4\.$"),
        ({"levels": {"F": 3, "M": -1}}, r"^record\.levels must be 0 or more, got \{'F': 3, 'M': -1\}\.$"),
    ],
)
def test_counts_are_not_negative(changed, message):
    plain = {"missing": 0, "levels": {"F": 0}, "labels": ["a"]}
    assert decode(Counted, plain) == Counted(0, {"F": 0}, ("a",))
    with pytest.raises(ValueError, match=message):
        decode(Counted, plain | changed)


def test_a_field_that_an_older_record_lacks_has_its_default():
    older = {name: value for name, value in PLAIN.items() if name != "note"} | {
        "first": {"name": "a", "limits": [0, 1]}
    }
    assert decode(Outer, older).note is None
    assert decode(Outer, older).first == Inner("a", (0.0, 1.0), right=True)


def test_an_error_names_the_record_it_is_told():
    with pytest.raises(ValueError, match=r"^audit must be dict, got list\.$"):
        decode(Outer, [], "audit")
    with pytest.raises(ValueError, match=r"absent \['count', 'share'\], unknown \[\]"):
        decode(Outer, {name: value for name, value in PLAIN.items() if name not in ("count", "share")})


@dataclass(frozen=True)
class Told:
    p_value: float | None
    kind: str = "a"

    def __post_init__(self) -> None:
        if self.kind != "a":
            raise ValueError(f"kind must be a, got {self.kind!r}.")


def test_p_values_and_what_a_record_refuses_are_told_with_their_place():
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"told\.p_value must be between 0 and 1, got"):
            decode(Told, {"p_value": wrong}, "told")
    with pytest.raises(ValueError, match=r"told must hold a Told: kind must be a, got 'b'\."):
        decode(Told, {"p_value": None, "kind": "b"}, "told")
    with pytest.raises(ValueError, match=r"told\.p_value must be float, got an integer of 400 digits\."):
        decode(Told, {"p_value": 10**399}, "told")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"version": NaN}', "got text that is not JSON: numbers must be finite, got NaN"),
        ('{"version": 1e999}', "numbers must be finite, got 1e999"),
        ('{"version": 1, "version": 2}', "an object must hold a name once, got 'version' again"),
        ("[" * 200_000, "got values nested too deep to be one"),
        ('{"version": 1, "own": ' + "[" * 200_000 + "]" * 200_000 + "}", "got values nested too deep to be one"),
        ('{"version": true, "own": 1}', "got other JSON"),
        ('{"version": 0, "own": 1}', "got other JSON"),
        ("\xff", "got text that is not JSON"),
    ],
)
def test_files_that_hold_no_record(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=rf"r\.json must hold the JSON of a test.*{message}"):
        read_record(tmp_path / "r.json", "a test", 3, "own")


def test_former_records_that_lack_something_are_told():
    with pytest.raises(
        ValueError, match=r"audit must hold what its version 2 holds, got other content: KeyError\('x'\)"
    ):
        as_of_now(lambda value: value["x"], {"version": 2}, "audit")
    assert as_of_now(dict, {"version": 2}, "audit") == {"version": 2}
