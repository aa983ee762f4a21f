# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to plain JSON values and back, without loss."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
_SHARES = ("p_value", "q_value")  # ends of names of fields in [0, 1]
_HALF = re.compile("[\ud800-\udfff]")  # of a character, which JSON may say alone
_COUNTS = ("images", "labels", "left_out", "levels", "missing", "patients")  # names of fields that count


def encode(value: Any) -> Any:
    """Turn dataclasses, tuples and mappings into dicts and lists; other values stay.

    Example:
        >>> encode({"interval": (0.1, 0.2)})
        {'interval': [0.1, 0.2]}
    """
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(kind: type[Record], value: Any, where: str = "record") -> Record:
    """Build a dataclass (or another annotated type) from plain JSON values.

    Args:
        kind: the dataclass, or a type made of tuple, dict, optional, str, int, float and bool.
        value: what `encode` gave, perhaps after a round trip through JSON.
        where: name of the value in error messages.

    Returns:
        The value, equal to the one that was encoded.

    Raises:
        ValueError: If a field without a default is absent, a field is unknown, a value is of another type, a p-value is
            not in [0, 1], or a dataclass refuses what it is given; the message names the place.
    """
    result: Any
    if is_dataclass(kind):
        result = _dataclass(kind, value, where)
    elif get_origin(kind) in (Union, UnionType):
        options = [option for option in get_args(kind) if option is not NoneType]
        result = None if value is None else decode(options[0], value, where)
    elif get_origin(kind) is tuple:
        items = _expect(list, value, where)
        inner = get_args(kind)
        types = [inner[0]] * len(items) if inner[-1] is Ellipsis else list(inner)
        if len(types) != len(items):
            raise ValueError(f"{where} must hold {len(types)} values, got {len(items)}.")
        result = tuple(decode(t, item, f"{where}[{i}]") for i, (t, item) in enumerate(zip(types, items, strict=True)))
    elif get_origin(kind) is dict:
        inner = get_args(kind)[1]
        result = {key: decode(inner, item, f"{where}.{key}") for key, item in _expect(dict, value, where).items()}
    elif kind is float:
        result = _number(_expect((int, float), value, where), where)
    else:
        result = _expect(kind, value, where)
    return result  # type: ignore[no-any-return]


def write_record(record: Any, path: str | Path) -> None:
    """Write a dataclass as JSON, from which `read_record` and `decode` give an equal one."""
    Path(path).write_bytes(as_json(record))


def as_json(record: Any) -> bytes:
    """The content of the file of a dataclass or mapping."""
    return json.dumps(encode(record), indent=1, allow_nan=False).encode("utf-8")


def read_record(path: str | Path, what: str, version: int, own: str = "version") -> dict[str, Any]:
    """Read the JSON of a record that knows its format version.

    Args:
        path: the file.
        what: it must hold, for the messages.
        version: newest format version that can be read.
        own: field that tells this kind of record from others.

    Returns:
        Plain JSON values, to be decoded.

    Raises:
        ValueError: If the file holds no JSON, that of something else, or of a newer version, or as `read_json`.
    """
    value = read_json(path, what)
    found = value.get("version") if isinstance(value, dict) else None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1 or own not in value:
        raise ValueError(f"{path} must hold the JSON of {what}, got other JSON.")
    if found > version:
        raise ValueError(f"{path} must have format version {version} or older, got {found}: update monai_shortcut.")
    return dict(value)


def read_json(path: str | Path, what: str) -> Any:
    """The plain values of a JSON file.

    Args:
        path: the file.
        what: it must hold, for the messages.

    Raises:
        ValueError: If it holds no JSON, a number that is not finite, a name twice in one object, or is nested deeper
            than Python reads.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError(f"{path} must hold the JSON of {what}, got values nested too deep to be one.") from error
    except ValueError as error:
        raise ValueError(f"{path} must hold the JSON of {what}, got text that is not JSON: {error}.") from error


def as_of_now(change: Callable[[dict[str, Any]], dict[str, Any]], value: dict[str, Any], what: str) -> dict[str, Any]:
    """A record of a former version in the newest format.

    Args:
        change: gives it.
        value: plain JSON values, as of `read_record`.
        what: they are, for the message.

    Raises:
        ValueError: If what the former version held is absent or of another kind.
    """
    try:
        return change(value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        version = value["version"]
        raise ValueError(f"{what} must hold what its version {version} holds, got other content: {error!r}.") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"numbers must be finite, got {text}")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"an object must hold a name once, got {twice!r} again")
    return found


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    given, hints = _expect(dict, value, where), get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    absent, unknown = sorted(needed - set(given)), sorted(set(given) - names)
    if absent or unknown:
        raise ValueError(f"{where} must hold the fields of {kind.__name__}: absent {absent}, unknown {unknown}.")
    values = {name: decode(hints[name], item, f"{where}.{name}") for name, item in given.items()}
    for name, item in values.items():
        if name.endswith(_SHARES) and item is not None and not 0 <= item <= 1:
            raise ValueError(f"{where}.{name} must be between 0 and 1, got {item}.")
        counts = item.values() if isinstance(item, dict) else [item]
        if name in _COUNTS and any(isinstance(count, int) and count < 0 for count in counts):
            raise ValueError(f"{where}.{name} must be 0 or more, got {item}.")
    try:
        return kind(**values)
    except ValueError as error:  # of the record's own
        raise ValueError(f"{where} must hold a {kind.__name__}: {error}") from error


def _number(value: float, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{where} must be float, got an integer of {len(str(value))} digits.") from error


def _expect(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = " or ".join(k.__name__ for k in kind) if isinstance(kind, tuple) else kind.__name__
        raise ValueError(f"{where} must be {wanted}, got {type(value).__name__}.")
    for text in (value,) if isinstance(value, str) else value if isinstance(value, dict) else ():
        if _HALF.search(text):
            raise ValueError(f"{where} must hold text that can be written as UTF-8, got {text!r}.")
    return value
