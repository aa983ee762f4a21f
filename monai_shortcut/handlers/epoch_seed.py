# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Randomness of each training epoch from its number, so that a resumed run continues exactly."""

from __future__ import annotations

import numpy as np
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data.utils import set_rnd

from monai_shortcut.handlers.processes import process_rank


class SeedEachEpoch:
    """Seeds everything random of a training at the start of each epoch, from a seed and the number of the epoch.

    A checkpoint then needs no random state. A run resumed after epoch e draws for epoch e + 1 what the uninterrupted
    run drew: order of images, augmentation, dropout. What runs between the epochs, such as one validation more, changes
    nothing. The seed reaches torch, NumPy, Python, the data loader's generator and, with ``num_workers=0``, the random
    transforms of its dataset (with workers MONAI's ``DataLoader`` seeds these from torch). Processes of a distributed
    training draw differently; MONAI itself gives the epoch to a distributed sampler.

    An exact continuation also needs a complete checkpoint. Put MONAI's ``CheckpointSaver`` last among the train
    handlers, after ``LrScheduleHandler`` and ``ValidationHandler``, and give it network, optimizer, scheduler and
    trainer (with mixed precision also ``trainer.scaler``); ``CheckpointLoader`` loads it as it is. On a GPU use
    deterministic algorithms too, as ``monai.utils.set_determinism`` does.

    Ignite's ``DeterministicEngine`` does the same, but MONAI's trainers are no such engines, and it leaves the random
    states of MONAI's transforms alone. ``set_determinism`` seeds once, at the start.

    Args:
        seed: seed of the training, 0 or more.

    Raises:
        ValueError: If the seed is negative; when training starts, if it goes on from the middle of an epoch, or workers
            of the data loader outlive the epoch, for their randomness then depends on the epochs before.
    """

    def __init__(self, seed: int = 0) -> None:
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}.")
        self.seed = seed
        self._first = True

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: an Ignite engine, before it runs.
        """
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def _started(self, engine: Engine) -> None:
        self._first = True

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that starts and begin a new pass over the data.

        Args:
            engine: the trainer.
        """
        loader, length = engine.state.dataloader, engine.state.epoch_length
        if self._first and length and engine.state.iteration % length:
            raise ValueError(
                f"a training must go on after a whole epoch of {length} iterations, got iteration "
                f"{engine.state.iteration}: save checkpoints at the end of epochs."
            )
        self._first = False
        if getattr(loader, "persistent_workers", False):
            raise ValueError("persistent_workers must be False for epochs to be seeded one by one, got True.")
        state = np.random.SeedSequence([self.seed, engine.state.epoch, process_rank()]).generate_state(1)
        value = int(state[0])
        manual_seed(value)
        if getattr(loader, "generator", None) is not None:
            loader.generator.manual_seed(value)
        if hasattr(loader, "dataset"):
            set_rnd(loader.dataset, value)
        if loader is not None:
            # Ignite would end the pass of the epoch before only now, and samplers may draw from the generator then.
            engine.set_data(loader)
