# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a bundle's training must be given, checked before it begins: it would end without a model, or say less."""

from __future__ import annotations

from collections.abc import Sized
from numbers import Integral

from monai_shortcut.handlers.processes import process_count


def check_training(
    training: Sized, validation: Sized, *, batch_size: int, max_epochs: int, val_interval: int, patience: int
) -> None:
    """Refuse a training that drops incomplete batches and keeps the model that is validated best, if it cannot run.

    Args:
        training: images to train on.
        validation: images to validate on.
        batch_size: images of a step on each process.
        max_epochs: epochs of the training.
        val_interval: epochs between two validations.
        patience: validations without a better model after which it stops.

    Raises:
        ValueError: If there are no images of a part, or fewer than a batch; or a number is not what it must be.

    Example:
        >>> check_training(range(30), range(10), batch_size=16, max_epochs=3, val_interval=4, patience=3)
        Traceback (most recent call last):
        ValueError: val_interval must be an integer from 1 to 3 (max_epochs), got 4.
    """
    for name, images in (("train#dataset", training), ("validate#dataset", validation)):
        if not len(images):
            raise ValueError(f"{name} must hold images, got none: look at the folds and at the images left out.")
    most = len(training) // process_count()
    _check("max_epochs", max_epochs, 1)
    _check("val_interval", val_interval, 1, max_epochs, "max_epochs")
    _check("batch_size", batch_size, 1, most, "training images of a process; what is left of them is dropped")
    _check("patience", patience, 1)


def _check(name: str, value: object, least: int, most: int | None = None, what: str = "") -> None:
    known = isinstance(value, Integral) and not isinstance(value, bool)
    if not known or value < least or (most is not None and value > most):  # type: ignore[operator]
        reach = f"of at least {least}" if most is None else f"from {least} to {most} ({what})"
        raise ValueError(f"{name} must be an integer {reach}, got {value!r}.")
