# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the handlers of a bundle write while it is audited or studied: into a folder of the study, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from ignite.handlers import Checkpoint, DiskSaver
from monai.handlers import CheckpointSaver

from monai_shortcut.handlers.weights import handled

_PLACES = ("save_dir", "log_dir", "output_dir", "dirname")  # arguments that say where a component writes

_TIMES = ("final_iteration", "epoch", "iteration")  # by which MONAI's savers order what they save beside the best


def without_savers(engine: Engine) -> list[str]:
    """Take the handlers off an engine that write checkpoints, MONAI's and Ignite's.

    Args:
        engine: the engine.

    Returns:
        Their classes, each once.
    """
    found: dict[str, None] = {}
    for event, plain, owner in handled(engine):
        if isinstance(owner, CheckpointSaver | Checkpoint):
            engine.remove_event_handler(plain, event)
            found[type(owner).__name__] = None
    return list(found)


def redirected(engine: Engine, folder: str | Path) -> list[Checkpoint]:
    """Let everything that the handlers of an engine save go to a folder.

    Args:
        engine: the engine.
        folder: made when absent.

    Returns:
        Ignite's checkpoints, those within MONAI's savers included, each once.

    Raises:
        ValueError: If a checkpoint is saved by something else than files on this disk.
    """
    found: dict[int, Checkpoint] = {}
    for _, _, owner in handled(engine):
        own = [owner] if isinstance(owner, Checkpoint) else vars(owner).values() if hasattr(owner, "__dict__") else ()
        found |= {id(part): part for part in own if isinstance(part, Checkpoint)}
        if isinstance(getattr(owner, "save_dir", None), str | Path):
            owner.save_dir = str(folder)
    for checkpoint in found.values():
        if not isinstance(checkpoint.save_handler, DiskSaver):
            raise ValueError(
                "checkpoints must be saved by a DiskSaver, which can be sent to another folder, got "
                f"{type(checkpoint.save_handler).__name__}: take it out of the configuration."
            )
        Path(folder).mkdir(parents=True, exist_ok=True)
        checkpoint.save_handler.dirname = Path(folder)
    return list(found.values())


def saved_best(checkpoint: Checkpoint) -> Path | None:
    """The file of the best state that a checkpoint has kept by its score; None if it keeps none."""
    if checkpoint.score_function is None or checkpoint.score_name in _TIMES or not checkpoint._saved:
        return None
    handler, best = checkpoint.save_handler, max(checkpoint._saved, key=lambda item: item.priority)
    assert isinstance(handler, DiskSaver)
    path = Path(handler.dirname, getattr(handler, "filename", None) or best.filename)
    return path if path.is_file() else None


def within(config: Any, folder: str | Path) -> Any:
    """A configuration whose components write to a folder, so that none makes another one when it is built.

    Args:
        config: parsed JSON or YAML.
        folder: takes the place of ``save_dir``, ``log_dir``, ``output_dir`` and ``dirname`` of every component.
    """
    if isinstance(config, Mapping):
        places = {name: str(folder) for name in _PLACES if name in config} if "_target_" in config else {}
        return {name: within(value, folder) for name, value in config.items()} | places
    return [within(value, folder) for value in config] if isinstance(config, list) else config
