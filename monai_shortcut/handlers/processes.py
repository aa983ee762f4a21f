# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the processes of a distributed evaluation tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

Value = TypeVar("Value")
WAIT_S = 60.0  # for the other processes to begin an epoch


def process_count() -> int:
    """Number of processes of the evaluation; 1 if it is not distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if process_count() > 1 else 0


def await_all(name: str, place: str) -> None:
    """Wait until every process is here; unlike a collective operation, the error names the missing process.

    Args:
        name: who waits.
        place: where, another one each time.

    Raises:
        RuntimeError: If a process does not come in time.
    """
    if process_count() == 1:
        return
    store = dist.distributed_c10d._get_default_store()
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # which the store outlives
    key = f"monai_shortcut/{name}/{place}/{restart}"
    store.set(f"{key}/{process_rank()}", "here")
    for rank in range(process_count()):
        try:
            store.wait([f"{key}/{rank}"], timedelta(seconds=WAIT_S))
        except (dist.DistStoreError, RuntimeError) as error:
            raise RuntimeError(
                f"{name} must be attached on each of the {process_count()} processes, for all have to give it their "
                f"images, but process {rank} did not come within {WAIT_S:g} s; do not leave it out where the rank "
                "is above 0, and give every process images."
            ) from error


def gather(value: Value) -> list[Value]:
    """The values of all processes, by rank, on every process."""
    if process_count() == 1:
        return [value]
    values: list[Any] = [None] * process_count()
    dist.all_gather_object(values, value)
    return values


def on_first(compute: Callable[[], Value]) -> Value:
    """Compute on process 0 and give the result to all; if it fails, all fail.

    Raises:
        RuntimeError: On the other processes, if process 0 raised an error.
    """
    if process_count() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    try:
        if process_rank() == 0:
            outcome[0] = compute()
    except BaseException as error:
        outcome[1] = f"{type(error).__name__}: {error}"
        raise
    finally:
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise RuntimeError(f"process 0 must finish what all processes recorded, got {outcome[1]}")
    result: Value = outcome[0]
    return result
