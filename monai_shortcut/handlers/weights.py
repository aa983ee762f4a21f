# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which files of weights were read before a model was evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import CheckpointLoader

from monai_shortcut.storage.files import file_digest

NOT_LOADED = (
    "No file of weights was read before these images were evaluated: the model answers with the weights that it was "
    "made with, unless the configuration sets them in another way."
)
_noted: dict[str, str] | None = None  # name by SHA-256; None while nobody watches


def handled(engine: Engine) -> Iterator[tuple[Any, Any, Any]]:
    """Event, handler and owner of everything that is attached to an engine; a function owns itself."""
    for event, handlers in list(engine._event_handlers.items()):
        for handler, *_ in list(handlers):
            parent = getattr(handler, "_parent", None)  # of a handler that listens to some events only
            plain = handler if parent is None else parent()
            yield event, plain, getattr(plain, "__self__", plain)


def watch() -> None:
    """Note the files that `torch.load` and `torch.jit.load` read from now on, until `weights_read` is asked."""
    global _noted
    if not hasattr(torch.load, "notes"):
        torch.load, torch.jit.load = _noting(torch.load), _noting(torch.jit.load)
    _noted = {}


def weights_read(engine: Engine, *, watched: bool) -> dict[str, str] | None:
    """Name by SHA-256 of the files of weights that a process has read.

    Args:
        engine: an evaluator, whose checkpoint loaders are known also where nobody watches.
        watched: whether the model was built after `watch`, which ends here.

    Returns:
        The files; None where it is not known whether there are any.
    """
    global _noted
    loaders = [owner for _, _, owner in handled(engine) if isinstance(owner, CheckpointLoader)]
    paths = [Path(loader.load_path) for loader in loaders]
    found = {file_digest(path): path.name for path in paths if path.is_file()}
    if _noted is None or not watched:
        return found or None
    found, _noted = {**_noted, **found}, None
    return found


def _noting(load: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(load)
    def noting(f: Any, *args: Any, **kwargs: Any) -> Any:
        if _noted is not None and isinstance(f, str | Path) and Path(f).is_file():
            _noted[file_digest(f)] = Path(f).name
        return load(f, *args, **kwargs)

    noting.notes = True  # type: ignore[attr-defined]
    return noting
