# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A bundle's training configuration as a study needs it: merged, checked, changed in places, and digested."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from monai_shortcut.storage.files import file_digest
from monai_shortcut.workflows.containment import within

# Places, and what follows from places, decide nothing.
PLACES = ("bundle_root", "dataset_dir", "output_dir", "ckpt_path", "ckpt_dir", "device")
_NEEDED = (
    "train#trainer",
    "train#dataset#data",
    "validate#evaluator",
    "validate#dataset#data",
    "validate#preprocessing",
    "network",
)


def merged(config_file: str | Path | Sequence[str | Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Read a bundle's training configuration, with settings changed.

    Args:
        config_file: one or more JSON or YAML files; later ones override.
        overrides: value by id, such as ``{"max_epochs": 5, "train#dataloader#batch_size": 8}``.

    Returns:
        The configuration, not parsed.

    Raises:
        ValueError: If an id that a study needs is absent, or nothing is masked with its strategy and margin.
    """
    files = [config_file] if isinstance(config_file, str | Path) else list(config_file)
    parser = ConfigParser()
    parser.read_config([str(path) for path in files])
    for name, value in overrides.items():
        if name not in parser:
            raise ValueError(f"overrides must be ids of the training configuration, got {name!r}.")
        parser[name] = value
    absent = [name for name in _NEEDED if name not in parser]
    if absent:
        raise ValueError(
            f"the training configuration must have {', '.join(_NEEDED)}, got none named {', '.join(absent)}."
        )
    config: dict[str, Any] = copy.deepcopy(parser.get())
    text = json.dumps(config, default=str)
    unused = [name for name in ("strategy", "margin") if f'"@{name}"' not in text]
    if "MaskROId" not in text or unused:
        raise ValueError(
            'the preprocessing must have a monai_shortcut.transforms.MaskROId whose strategy is "@strategy" and '
            f'whose margin is "@margin", got a configuration without {" and ".join(unused) or "MaskROId"}.'
        )
    return config


def cell_parser(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    content: Mapping[str, Sequence[Any]],
    folder: str | Path | None = None,
) -> ConfigParser:
    """A parser of the configuration with settings changed and lists of data put in.

    Args:
        config: as from `merged`.
        folder: where its components are to write; None leaves them as they are.
        settings: plain value by id.
        content: list by id; passed as it is, for parsing a list of many images would take long.
    """
    names = {place: f"study_data_{index}" for index, place in enumerate(content)}
    own = copy.deepcopy(dict(config))
    parser = ConfigParser(
        own if folder is None else within(own, folder),
        globals={names[place]: list(content[place]) for place in content},
    )
    for name, value in settings.items():
        parser[name] = value
    for place, name in names.items():
        parser[place] = f"${name}"
    return parser


def digest_of(configuration: Any) -> str:
    """A name for a configuration that does not depend on where its files are."""
    plain = json.dumps(_without_places(configuration), sort_keys=True, default=str)
    return hashlib.sha256(plain.encode()).hexdigest()


def first_difference(kept: Any, asked: Any, where: str = "") -> str:
    """Where two configurations differ, in words."""
    kept, asked = (json.loads(json.dumps(_without_places(value), default=str)) for value in (kept, asked))
    if isinstance(kept, dict) and isinstance(asked, dict):
        for key in sorted({*kept, *asked}, key=str):
            if kept.get(key) != asked.get(key):
                return first_difference(kept.get(key), asked.get(key), f"{where}#{key}".lstrip("#"))
    if isinstance(kept, list) and isinstance(asked, list) and len(kept) == len(asked):
        for index, (one, other) in enumerate(zip(kept, asked, strict=True)):
            if one != other:
                return first_difference(one, other, f"{where}#{index}".lstrip("#"))
    return f"{where}: {_short(kept)} there, {_short(asked)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def with_contents(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with the digest of a file's content in place of its path, for a file decides by what it holds.

    Args:
        config: as from `merged`; only its own values are looked at, not those within them.
    """
    return {
        name: f"content {file_digest(value)}" if isinstance(value, str) and _is_file(value) else value
        for name, value in config.items()
    }


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path, or with characters that paths cannot have
        return False


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_places(item) for key, item in value.items() if key not in (*PLACES, "_meta_")}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    return value
