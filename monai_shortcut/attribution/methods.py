# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A table of methods that say how much each pixel adds to an answer. All but one come from captum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_shortcut.attribution.activations import check_activations, out_of_place
from monai_shortcut.attribution.network import Prepared, Step, as_read, at_once, judging, prepared
from monai_shortcut.attribution.parts import PARTS
from monai_shortcut.attribution.settings import REGIONAL, AttributionSettings
from monai_shortcut.attribution.shapley import regional_shapley
from monai_shortcut.heads.embeddings import first_output
from monai_shortcut.types import Unmeasurable


@dataclass(frozen=True, eq=False)
class Question:
    """What a method is asked.

    Attributes:
        network: gives (N, classes) answers; in evaluation mode while a method runs.
        images: (N, C, *spatial) on the network's device.
        parts: (N, 1, *spatial) int64, as by `region_parts`.
        targets: (N,) int64 class whose answer is explained.
        fill: what hidden pixels become.
        background: (B, C, *spatial) images that baselines are drawn from.
        settings: steps, cells and samples.
        after_masking: what is done for an image with hidden pixels before the network sees it; nothing if None.
    """

    network: nn.Module
    images: torch.Tensor
    parts: torch.Tensor
    targets: torch.Tensor
    fill: float | str
    background: torch.Tensor
    settings: AttributionSettings
    after_masking: Step | None = None

    def rows(self, chosen: slice) -> Question:
        """The same question about some of the images."""
        return replace(self, images=self.images[chosen], parts=self.parts[chosen], targets=self.targets[chosen])

    @property
    def baseline(self) -> torch.Tensor:
        """(N, C, *spatial) images with everything hidden."""
        if not isinstance(self.fill, str):
            return prepared(torch.full_like(self.images, self.fill), self.after_masking)
        means = self.images.flatten(2).mean(dim=2)
        blank = means.reshape(*means.shape, *[1] * (self.images.ndim - 2)).expand_as(self.images)
        return prepared(blank, self.after_masking)

    def hiding(self) -> Question:
        """The same question for whoever hides pixels: the network then sees every image after that step."""
        if self.after_masking is None:
            return self
        return replace(self, network=Prepared(self.network, self.after_masking), after_masking=None)

    @property
    def squares(self) -> torch.Tensor:
        """(1, 1, *spatial) number of the square that each pixel is in."""
        sides = self.images.shape[2:]
        cells = [torch.arange(side) * min(self.settings.cells, side) // side for side in sides]
        number = torch.zeros((), dtype=torch.int64)
        for cell in torch.meshgrid(*cells, indexing="ij"):
            number = number * (int(cell.max()) + 1) + cell
        return number[None, None].to(self.images.device)


@dataclass(frozen=True)
class Method:
    """One way to explain an answer.

    Attributes:
        name: its name in settings and records.
        baseline: what the answer is held against: "fill", the image with everything hidden, or "background", other
            images.
        sums: whether the attributions sum to the answer less that of the baseline.
        gradient: whether it needs one.
        explain: gives (N, C, *spatial) or (N, 1, *spatial) attributions.
    """

    name: str
    baseline: str
    sums: bool
    gradient: bool
    explain: Callable[[Question], torch.Tensor]

    def asked(self, question: Question) -> Question:
        """The question as it is put to the method: on the way of a gradient, no image has hidden pixels."""
        return question if self.gradient else question.hiding()


def attributions(method: Method, question: Question) -> torch.Tensor:
    """(N, *spatial) what each pixel adds to the answer for its image's target, summed over channels.

    Raises:
        Unmeasurable: If the method cannot explain this network; the message says why, and what to do.
    """
    question = method.asked(question)
    with judging(question.network), _seeded(question.settings.seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets hooks, which it removes
        try:
            if method.gradient:
                with torch.enable_grad(), out_of_place(question.network):
                    _check_gradient(question)
                    found = method.explain(question)
            else:
                found = method.explain(question)
        except ImportError as error:
            raise Unmeasurable(f'{error}; install it with pip install ".[attribution]" from a clone') from error
        except Unmeasurable:
            raise
        except Exception as error:  # what a network does inside a library has no name of its own
            raise Unmeasurable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}") from error
    values = found.detach().sum(dim=1)
    if not torch.isfinite(values).all():
        raise Unmeasurable(f"{int((~torch.isfinite(values)).sum())} of its numbers are not finite")
    return values


def _check_gradient(question: Question) -> None:
    try:
        answer = question.network(question.images[:1].clone().requires_grad_())
    except RuntimeError as error:
        raise Unmeasurable(f"the network does not run with gradients: {str(error).splitlines()[0]}") from error
    if not answer.requires_grad:
        raise Unmeasurable(
            "the answers have no gradient with respect to the image; run the network without no_grad, detach and "
            "operations on integers, or use methods that need none"
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws of torch and numpy from a seed; their states are restored. Devices' generators too, as far as used."""
    state = np.random.get_state()  # noqa: NPY002 - captum draws from it
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _regional(question: Question) -> torch.Tensor:
    """The share of each part, spread evenly over its pixels."""
    shares = regional_shapley(question.network, question.images, question.parts, question.fill, count=len(PARTS))
    own = shares[torch.arange(len(shares), device=shares.device), :, question.targets.to(shares.device)]
    parts = question.parts.to(shares.device)
    pixels = torch.stack([(parts == part).flatten(1).sum(dim=1) for part in range(len(PARTS))], dim=1)
    density = own / pixels.clamp(min=1)
    return density.gather(1, parts.flatten(1)).reshape(parts.shape)


def _integrated_gradients(question: Question) -> torch.Tensor:
    from captum.attr import IntegratedGradients

    return _tensor(
        IntegratedGradients(question.network).attribute(
            question.images,
            question.baseline,
            question.targets,
            n_steps=question.settings.steps,
            internal_batch_size=max(len(question.images), at_once(question.images)),
        )
    )


def _gradient_shap(question: Question) -> torch.Tensor:
    from captum.attr import GradientShap

    samples = question.settings.samples
    return _tensor(
        GradientShap(question.network).attribute(
            question.images, question.background, n_samples=samples, target=question.targets
        )
    )


def _deep_lift_shap(question: Question) -> torch.Tensor:
    from captum.attr import DeepLiftShap

    check_activations(question.network, question.images[:1])
    given: Any = question.background if len(question.background) > 1 else question.background.repeat_interleave(2, 0)
    return _tensor(DeepLiftShap(question.network).attribute(question.images, given, target=question.targets))


def _feature_ablation(question: Question) -> torch.Tensor:
    from captum.attr import FeatureAblation

    return _by_squares(question, FeatureAblation(question.network))


def _shapley_sampling(question: Question) -> torch.Tensor:
    from captum.attr import ShapleyValueSampling

    return _by_squares(question, ShapleyValueSampling(question.network), n_samples=question.settings.samples)


def _by_squares(question: Question, explainer: Any, **options: Any) -> torch.Tensor:
    """What a square is worth, spread evenly over its pixels; captum gives all of it to each pixel and channel."""
    squares = question.squares
    found = explainer.attribute(
        question.images,
        question.baseline,
        question.targets,
        feature_mask=squares,
        perturbations_per_eval=max(1, at_once(question.images) // len(question.images)),
        **options,
    )
    pixels = torch.bincount(squares.flatten())[squares]
    return _tensor(found)[:, :1] / pixels


def _tensor(found: Any) -> torch.Tensor:
    tensor: torch.Tensor = found
    return tensor.detach()


METHODS = {
    row.name: row
    for row in (
        Method(REGIONAL, "fill", sums=True, gradient=False, explain=_regional),
        Method("integrated_gradients", "fill", sums=True, gradient=True, explain=_integrated_gradients),
        Method("gradient_shap", "background", sums=True, gradient=True, explain=_gradient_shap),
        Method("deep_lift_shap", "background", sums=True, gradient=True, explain=_deep_lift_shap),
        Method("feature_ablation", "fill", sums=False, gradient=False, explain=_feature_ablation),
        Method("shapley_sampling", "fill", sums=True, gradient=False, explain=_shapley_sampling),
    )
}


def check_methods(names: tuple[str, ...]) -> None:
    """Refuse methods that do not exist.

    Raises:
        ValueError: If one does not; the message lists those that do.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"methods must be among {', '.join(METHODS)}, got {', '.join(map(str, unknown))}.")


class Answers(nn.Module):
    """A network's answer for each class: its logit less the mean of the other logits.

    A softmax ignores what all logits share, and so does this. Of two classes it is the log odds; of a single logit z,
    -z and z.

    Args:
        network: the classifier, in whatever wrapper.
        output: entry of what it returns, as in `monai_shortcut.heads.embeddings.first_output`.
        rows: the logits that belong to one clinical label; all by default.
        activation: "sigmoid" or "softmax" if the network ends in one, which is undone.
    """

    def __init__(
        self,
        network: nn.Module,
        output: str | int | None = None,
        rows: Sequence[int] | None = None,
        activation: str = "",
    ) -> None:
        super().__init__()
        self.network, self.output, self.rows, self.activation = network, output, rows, activation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C) answers of a batch; (N, 2) of a single logit."""
        logits = first_output(self.network(images), self.output, as_is=True)
        if self.activation:
            least = torch.finfo(logits.dtype).tiny
            logits = logits.clamp_min(least).log() - (
                (1 - logits).clamp_min(least).log() if self.activation == "sigmoid" else 0
            )
        logits = logits if self.rows is None else logits[:, list(self.rows)]
        if logits.shape[1] == 1:
            return torch.cat([-logits, logits], dim=1)
        return logits - (logits.sum(dim=1, keepdim=True) - logits) / (logits.shape[1] - 1)


def question_of(
    network: nn.Module,
    images: torch.Tensor,
    parts: torch.Tensor,
    targets: torch.Tensor,
    fill: float | str,
    settings: AttributionSettings,
    background: torch.Tensor | None = None,
    after_masking: Step | None = None,
) -> Question:
    """A question with everything on the network's device; without a background, the first images are it."""
    shown = as_read(network, images)
    others = shown[: settings.background] if background is None else as_read(network, background)
    device = shown.device
    return Question(network, shown, parts.to(device), targets.to(device), fill, others, settings, after_masking)
