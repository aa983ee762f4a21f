# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.utils import manual_seed
from monai.data import DataLoader, Dataset
from monai.handlers import CheckpointLoader, CheckpointSaver
from tiny_training import audit_of, draw, equal, evaluator, training

from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.handlers import SeedEachEpoch


@pytest.fixture(scope="module")
def phantoms():
    """Images to train on and images to audit, with what a data loader needs of them."""
    drawn = draw("train", 1.0, patients=16), draw("audit", 0.0)
    return [(phantom, phantom.datalist()) for phantom in drawn]


class StoppedError(Exception):
    """What stops a training in the middle of an epoch."""


class Kill:
    """A handler that does, in the last iteration of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if engine.state.epoch == self.epoch and engine.state.iteration == self.epoch * engine.state.epoch_length:
            raise StoppedError


def run(phantoms, folder, epochs, *, seeded=True, resume="", kill=0, audited=False, **loading):
    """Train in a process that has drawn numbers before, from a checkpoint or from the beginning."""
    (_, train), (phantom, items) = phantoms
    start = training(train, epochs).network
    validator = evaluator(start, items, [audit_of(start, phantom, folder)]) if audited else None
    handlers = [SeedEachEpoch(3)] if seeded else []
    found = training(train, epochs, network=start, validator=validator, handlers=handlers, **loading)
    if resume:
        CheckpointLoader(str(folder / resume), found.checkpoint).attach(found.trainer)
    CheckpointSaver(str(folder), found.checkpoint, save_interval=1).attach(found.trainer)
    if kill:
        Kill(kill).attach(found.trainer)
        with pytest.raises(StoppedError):
            found.trainer.run()
    else:
        found.trainer.run()
    return {name: part.state_dict() for name, part in found.checkpoint.items()}


def wander(seed: int) -> None:
    """Leave the random states as another program would."""
    manual_seed(seed)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_is_the_uninterrupted_one_bit_for_bit(phantoms, tmp_path, workers):
    whole = run(phantoms, tmp_path / "whole", 6, workers=workers)
    wander(1)
    half = run(phantoms, tmp_path / "parts", 3, workers=workers)
    wander(2)
    resumed = run(phantoms, tmp_path / "parts", 6, resume="checkpoint_epoch=3.pt", workers=workers)
    assert not equal(half["network"], whole["network"])
    for name in ("network", "optimizer", "scheduler", "trainer"):
        assert equal(resumed[name], whole[name]), name


def test_without_it_a_resumed_training_is_another_one(phantoms, tmp_path):
    wander(0)
    whole = run(phantoms, tmp_path / "whole", 4, seeded=False)
    wander(0)
    run(phantoms, tmp_path / "parts", 2, seeded=False)
    resumed = run(phantoms, tmp_path / "parts", 4, seeded=False, resume="checkpoint_epoch=2.pt")
    assert not equal(resumed["network"], whole["network"])


def test_curves_of_a_killed_and_resumed_training_are_those_of_the_whole_one(phantoms, tmp_path):
    whole = run(phantoms, tmp_path / "whole", 5, audited=True)
    wander(1)
    run(phantoms, tmp_path / "parts", 5, audited=True, kill=4)
    wander(2)
    resumed = run(phantoms, tmp_path / "parts", 5, audited=True, resume="checkpoint_epoch=2.pt")  # 3 was audited too
    for name in ("network", "optimizer", "scheduler", "trainer"):
        assert equal(resumed[name], whole[name]), name
    first, second = (TrainingCurves.from_json(tmp_path / part / "training_curves.json") for part in ("whole", "parts"))
    assert [epoch.epoch for epoch in first.epochs] == [1, 2, 3, 4, 5]
    without_cost = [
        replace(curves, epochs=tuple(replace(epoch, cost=None) for epoch in curves.epochs))
        for curves in (first, second)
    ]
    assert without_cost[0] == without_cost[1]
    assert len({epoch.auroc for epoch in first.epochs}) > 3


def draws(epoch: int, seed: int, loader: Any = None) -> list[float]:
    """One number of each kind that an epoch draws."""
    engine = Engine(lambda *_: None)
    engine.state.epoch, engine.state.dataloader = epoch, loader
    SeedEachEpoch(seed)(engine)
    return [torch.rand(1).item(), np.random.random(), random.random()]  # noqa: NPY002


def test_an_epoch_draws_by_seed_and_number_alone():
    first = draws(3, 0)
    draws(9, 9)
    assert draws(3, 0) == first
    assert not set(draws(4, 0)) & set(first)
    assert not set(draws(3, 1)) & set(first)
    assert not set(draws(0, 3)) & set(first)  # seed and epoch are not added up


@pytest.mark.parametrize("length", [5, 3])
@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_of_an_epoch_depends_on_no_other_epoch(workers, generator, length):
    def orders(start: int, epochs: int) -> dict[int, list[int]]:
        own = {"generator": torch.Generator().manual_seed(start)} if generator else {}
        loader = DataLoader(Dataset(list(range(40))), batch_size=8, shuffle=True, num_workers=workers, **own)
        seen: dict[int, list[int]] = {}
        engine = Engine(lambda engine, batch: seen.setdefault(engine.state.epoch, []).extend(batch.tolist()))
        SeedEachEpoch(0).attach(engine)
        state = {"epoch_length": length, "max_epochs": epochs, "iteration": start * length}
        engine.load_state_dict(state)
        engine.run(loader, max_epochs=epochs, epoch_length=length)
        return seen

    whole, late = orders(0, 4), orders(2, 4)
    assert set(late) == {3, 4}
    assert all(len(set(order)) == len(order) == 8 * length for order in whole.values())
    assert late == {epoch: whole[epoch] for epoch in (3, 4)}
    assert whole[3] != whole[4]


def test_what_cannot_be_seeded_by_epoch_is_refused(phantoms):
    (_, train), _ = phantoms
    with pytest.raises(ValueError, match=r"seed must be 0 or more, got -1\."):
        SeedEachEpoch(-1)
    loader = DataLoader(Dataset([0, 1]), num_workers=1, persistent_workers=True)
    with pytest.raises(ValueError, match=r"persistent_workers must be False .* got True\."):
        draws(1, 0, loader)
    found = training(train, 2, handlers=[SeedEachEpoch()])
    found.trainer.load_state_dict({"epoch_length": 2, "max_epochs": 2, "iteration": 1})
    with pytest.raises(ValueError, match=r"after a whole epoch of 2 iterations, got iteration 1: save"):
        found.trainer.run()


def test_an_epoch_that_was_cut_short_is_followed_by_a_whole_one(phantoms):
    (_, train), _ = phantoms
    found = training(train, 2, handlers=[SeedEachEpoch()])
    found.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: engine.terminate_epoch())
    found.trainer.run()
    assert found.trainer.state.iteration == 1 + 2
