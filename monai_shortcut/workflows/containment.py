# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the components of a bundle write while it is audited or studied: into a folder of the study, or not at all."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from pydoc import locate
from typing import Any

from ignite.engine import Engine
from ignite.handlers import Checkpoint, DiskSaver
from monai.bundle.config_item import ConfigComponent
from monai.bundle.reference_resolver import ReferenceResolver
from monai.handlers import CheckpointSaver

from monai_shortcut.handlers.weights import handled

_PLACES = ("save_dir", "log_dir", "output_dir", "dirname")  # arguments that say where a component writes
_CONTAINED = "audit_contained"  # id of the folder that takes their place
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
        for place in _PLACES:
            if isinstance(getattr(owner, place, None), str | Path):
                setattr(owner, place, str(folder))
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


def contain(resolver: ReferenceResolver) -> None:
    """Let the components of a bundle that an overlay audits write to the folder ``bundle`` of the audit.

    It must be done before they are built: MONAI's TensorBoard handlers make their files then, and a
    SaveClassificationd removes a file of former predictions.

    Args:
        resolver: of a configuration with the overlay's ``audit_contained``, the folder. Its items are changed; where
            ``audit_dir`` is None, so that nothing is written, they are not.
    """
    if _CONTAINED not in resolver.items or resolver.items["audit_dir"].get_config() is None:
        return
    for name, item in resolver.items.items():
        if isinstance(item, ConfigComponent) and not name.startswith("audit"):
            item.update_config(item.get_config() | dict.fromkeys(_written_to(item), f"@{_CONTAINED}"))


def _written_to(component: ConfigComponent) -> list[str]:
    """The arguments of a component that say where it writes, given or by default; the latter of MONAI's own only."""
    given, target = component.get_config(), component.get_config()["_target_"]
    module = component.locator.get_component_module_name(target) if isinstance(target, str) else None
    known = locate(f"{module}.{target}") if isinstance(module, str) else None
    by_default = inspect.signature(known).parameters if callable(known) else {}
    return [place for place in _PLACES if place in given or place in by_default]
