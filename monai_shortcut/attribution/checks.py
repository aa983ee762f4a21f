# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does an explanation explain the network? It must sum to the answer, need the weights, and find what moves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from monai_shortcut.attribution.methods import Method, Question, attributions
from monai_shortcut.attribution.network import at_once, judging, logits_of
from monai_shortcut.attribution.parts import OUTSIDE
from monai_shortcut.attribution.record import Checks
from monai_shortcut.attribution.settings import REGIONAL
from monai_shortcut.attribution.shares import Explanation
from monai_shortcut.types import Estimate, Floats, Unmeasurable

INCOMPLETE = 0.1  # share of the answer that attributions may miss
SURVIVES = 0.5  # rank correlation with the explanation of shuffled weights, over pixels
PARTS_SURVIVE = 0.7  # the same over images, of which there are few


@contextmanager
def shuffled_weights(network: nn.Module, seed: int) -> Iterator[None]:
    """The values of every weight in random order meanwhile; what a network has learned is gone, its scale is not."""
    generator = torch.Generator().manual_seed(seed)
    kept = [(parameter, parameter.detach().clone()) for parameter in network.parameters()]
    try:
        with torch.no_grad():
            for parameter, values in kept:
                order = torch.randperm(values.numel(), generator=generator).to(values.device)
                parameter.copy_(values.flatten()[order].reshape(values.shape))
        yield
    finally:
        with torch.no_grad():
            for parameter, values in kept:
                parameter.copy_(values)


def answers(question: Question, images: torch.Tensor) -> Floats:
    """(N,) answers for the targets, of as many images as there are targets."""
    with judging(question.network):
        blocks = [logits_of(question.network, block) for block in torch.split(images, at_once(images))]
    rows = torch.cat(blocks).double().cpu().numpy()
    return np.asarray(rows[np.arange(len(rows)), question.targets.cpu().numpy()])


def baseline_answers(method: Method, question: Question) -> Floats:
    """(N,) answers for the targets that the method's attributions are held against."""
    if method.baseline == "fill":
        return answers(question, question.baseline)
    with judging(question.network):
        mean = logits_of(question.network, question.background).double().mean(dim=0).cpu().numpy()
    return np.asarray(mean[question.targets.cpu().numpy()])


def completeness(maps: torch.Tensor, method: Method, question: Question) -> float:
    """Mean absolute difference of the sums from what they must be, as a share of the mean absolute answer."""
    question = method.asked(question)
    expected = answers(question, question.images) - baseline_answers(method, question)
    sums = maps.flatten(1).double().sum(dim=1).cpu().numpy()
    return float(np.abs(sums - expected).mean() / max(np.abs(expected).mean(), 1e-12))


def curves(maps: torch.Tensor, question: Question) -> tuple[Floats, Floats, Floats]:
    """Answers while pixels are hidden, and shown, in the order of their attribution towards the answer.

    Args:
        maps: (N, *spatial) attributions.
        question: whose fill hides pixels, with the mean of each channel for one that is a name.

    Returns:
        (N, curve_steps + 1) answers less that of the hidden image, signed so that the whole image's is not negative:
        with the foremost pixels hidden, from none to all; and with them shown, from none to all. (N,) the whole
        image's.
    """
    question = question.hiding()
    whole, blank = answers(question, question.images), answers(question, question.baseline)
    sign = np.where(whole < blank, -1.0, 1.0)
    rank = _ranks(maps * torch.from_numpy(sign).to(maps).reshape(-1, *[1] * (maps.ndim - 1)), question.settings.seed)
    steps = question.settings.curve_steps
    found = np.empty((2, len(whole), steps + 1))
    for step in range(steps + 1):
        foremost = (rank < round(rank[0].numel() * step / steps)).unsqueeze(1)
        for row, hidden in enumerate((foremost, ~foremost)):
            shown = torch.where(hidden, question.baseline, question.images)
            found[row, :, step] = (answers(question, shown) - blank) * sign
    return found[0], found[1], np.abs(whole - blank)


def _ranks(maps: torch.Tensor, seed: int) -> torch.Tensor:
    """(N, *spatial) place of each pixel, 0 the largest; equal ones in random order."""
    flat = maps.flatten(1)
    order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(flat.device)
    places = torch.argsort(flat[:, order], dim=1, descending=True, stable=True)
    rank = torch.empty_like(places)
    rank.scatter_(1, order[places], torch.arange(flat.shape[1], device=flat.device).expand_as(places))
    return rank.reshape(maps.shape)


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's correlation of two arrays; 0 where one is constant."""
    ranks = [rankdata(values) - (values.size + 1) / 2 for values in (first.ravel(), second.ravel())]
    power = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float(ranks[0] @ ranks[1] / power) if power > 0 else 0.0


def _survival(method: Method, maps: torch.Tensor, shuffled: torch.Tensor, parts: torch.Tensor) -> float:
    """Mean rank correlation of the images' absolute attributions; of parts, that of the shares outside."""
    if method.name == REGIONAL:
        first, second = (np.nan_to_num(Explanation.of(found, parts).shares[:, OUTSIDE]) for found in (maps, shuffled))
        return rank_correlation(first, second)
    pairs = zip(maps.abs().cpu().numpy(), shuffled.abs().cpu().numpy(), strict=True)
    return float(np.mean([rank_correlation(*pair) for pair in pairs]))


def run_checks(
    method: Method, question: Question, maps: torch.Tensor, ratio: Callable[[Floats, Floats], Estimate]
) -> Checks:
    """Check a method on the images of a question.

    Args:
        method: the method.
        question: images, at least two.
        maps: (N, *spatial) what it says.
        ratio: sum of (N,) numbers over the sum of others, with limits over patients.
    """
    missed = completeness(maps, method, question) if method.sums else None
    found = Checks(len(maps), missed, None, None, (), (), None)
    if isinstance(question.fill, str) and question.fill != "mean":
        found.not_computed["curves"] = f"pixels that are hidden one by one cannot become {question.fill}"
    else:
        found = _with_curves(found, *curves(maps, question), ratio)
    try:
        with shuffled_weights(question.network, question.settings.seed):
            shuffled = attributions(method, question)
    except Unmeasurable as reason:
        found.not_computed["shuffled weights"] = str(reason)
    else:
        outside = np.nan_to_num(Explanation.of(shuffled, question.parts).shares[:, OUTSIDE])
        alike = _survival(method, maps, shuffled, question.parts)
        found = replace(found, survival=alike, shuffled_outside=float(outside.mean()))
    survives = PARTS_SURVIVE if method.name == REGIONAL else SURVIVES
    return replace(found, complaints=complaints(found, survives))


def _with_curves(
    found: Checks, deleted: Floats, inserted: Floats, size: Floats, ratio: Callable[[Floats, Floats], Estimate]
) -> Checks:
    scale = max(float(size.mean()), 1e-12)
    return replace(
        found,
        deletion=tuple((deleted.mean(axis=0) / scale).tolist()),
        insertion=tuple((inserted.mean(axis=0) / scale).tolist()),
        gain=ratio(inserted.mean(axis=1) - deleted.mean(axis=1), size) if size.any() else None,
    )


def complaints(found: Checks, survives: float = SURVIVES) -> tuple[str, ...]:
    """What speaks against a method, in sentences; from which rank correlation on it survives."""
    said = []
    if found.completeness is not None and found.completeness > INCOMPLETE:
        said.append(f"its attributions miss the answer by {found.completeness:.0%} of it")
    if found.survival is not None and found.survival >= survives:
        said.append(f"it survives shuffled weights (rank correlation {found.survival:.2f})")
    if found.gain is not None and found.gain.low <= 0:
        said.append("hiding what it points to does not certainly move the answer more than hiding pixels at random")
    return tuple(said)
