# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A classifier that learns attributes beside its label: one backbone, a clinical head and a head per attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from monai_shortcut.heads.embeddings import first_output, pooled
from monai_shortcut.heads.layers import find_layer, is_pointwise, run_on_example, unwrap

MISSING = -1  # code of an image whose label or attribute is not known


class MultiTaskClassifier(nn.Module):
    """Adds a linear head per attribute to any classifier; all heads read the embedding of the clinical one.

    In training mode it returns ``(logits, {attribute: logits})``, in evaluation mode the clinical logits alone, so that
    evaluators, inferers and audits take it for the classifier inside. Train it with `MultiTaskLoss` on a datalist whose
    ``label`` is the vector of the label's and the attributes' codes; validation needs the label alone. In a bundle
    whose ``attributes`` name columns of its ``cohort``::

        "imports": ["$import numpy as np", "$import monai_shortcut"],
        "levels": "$[monai_shortcut.cohort.attribute_levels(@cohort.values(a), @cohort.patients) for a in @attributes]",
        "codes": "$np.stack([@cohort.labels, *[found.codes for found in @levels]], axis=1)",
        "training": "$[item | {'label': row} for item, row in zip(@cohort.datalist(), @codes)]",
        "network": {
            "_target_": "monai_shortcut.networks.MultiTaskClassifier",
            "network": "@network_def",
            "attributes": "${a: len(found.names) for a, found in zip(@attributes, @levels)}"
        },
        "loss": {"_target_": "monai_shortcut.networks.MultiTaskLoss"}

    Args:
        network: the classifier; it returns logits, or a tuple that begins with them.
        attributes: number of levels M by attribute.
        images: (N, ...) a batch that the network accepts, on its device, from which its head is found; by default two
            random images of side 64.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.

    Raises:
        ValueError: If there is no attribute, an attribute has fewer than two levels, there is no such head, or the
            network does not accept the random images.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315, "multi-task model".

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> model = MultiTaskClassifier(network, {"scanner": 5}, images=torch.zeros(1, 1, 2, 2))
        >>> logits, of_attributes = model(torch.ones(6, 1, 2, 2))
        >>> logits.shape, of_attributes["scanner"].shape, model.eval()(torch.ones(6, 1, 2, 2)).shape
        (torch.Size([6, 2]), torch.Size([6, 5]), torch.Size([6, 2]))
    """

    def __init__(
        self,
        network: nn.Module,
        attributes: Mapping[str, int],
        images: torch.Tensor | None = None,
        layer: str | None = None,
    ) -> None:
        super().__init__()
        few = {name: levels for name, levels in attributes.items() if levels < 2}
        if few or not attributes:
            raise ValueError(f"attributes must have at least two levels each, got {few or 'no attribute'}.")
        network = unwrap(network)
        _, order = run_on_example(network, images)
        heads = [name for name in reversed(order) if is_pointwise(find_layer(network, name))]
        if not heads:
            raise ValueError("the network must run a Linear or 1x1 convolution, got none.")
        layer = heads[0] if layer is None else layer
        head = find_layer(network, layer)
        if not any(find_layer(network, name) is head for name in heads):
            raise ValueError(f"layer must be a Linear or 1x1 convolution that runs, as {heads[:5]}, got {layer!r}.")
        self.network, self.layer, self.attributes = network, layer, tuple(attributes)
        size = int(head.in_features if isinstance(head, nn.Linear) else head.in_channels)  # type: ignore[arg-type]
        weight = next(head.parameters())
        # By name, so that a checkpoint of the same attributes in another order is not read into the wrong heads.
        self.attribute_heads = nn.ModuleDict(
            {_module_name(name): nn.Linear(size, levels).to(weight) for name, levels in attributes.items()}
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Classify a batch (N, ...): (N, C) logits, and in training mode (N, M) logits by attribute."""
        return self.all_logits(images) if self.training else first_output(self.network(images), as_is=True)

    def all_logits(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Clinical logits (N, C) and attribute logits (N, M) of a batch, in any mode, with gradient."""
        read: list[torch.Tensor] = []

        def keep(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            read.append(pooled(module, (*inputs, *named.values())[0]))

        handle = find_layer(self.network, self.layer).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            logits = first_output(self.network(images), as_is=True)
        finally:
            handle.remove()
        return logits, {name: self.attribute_heads[_module_name(name)](read[-1]) for name in self.attributes}

    def attribute_weights(self) -> dict[str, torch.Tensor]:
        """(M, D) weights of each attribute's head, detached."""
        heads = {name: self.attribute_heads[_module_name(name)] for name in self.attributes}
        return {name: head.get_parameter("weight").detach() for name, head in heads.items()}


def _module_name(attribute: str) -> str:
    """A module name for any attribute: without dots, and none that a ModuleDict has itself, as "type" or "keys"."""
    return "of_" + attribute.replace("%", "%25").replace(".", "%2E")


class MultiTaskLoss(nn.Module):
    """Cross entropy of the label plus weighted cross entropies of the attributes.

    Args:
        weights: weight of each attribute's term, or one for all.
        label_weight: weight of the label's term.
        class_weights: (C,) weight of each class within the label's term, whose mean is then a weighted one.

    Raises:
        ValueError: If a weight is negative, or a class weight is not positive.

    Example:
        >>> loss, even = MultiTaskLoss(weights={"scanner": 0.5}), torch.zeros(2, 2)
        >>> round(float(loss((even, {"scanner": even}), torch.tensor([[0, 1], [1, -1]]))), 4)
        1.0397
    """

    def __init__(
        self,
        weights: Mapping[str, float] | float = 1.0,
        label_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))
        self.weights, self.label_weight = dict(weights) if isinstance(weights, Mapping) else weights, label_weight
        given = [*self.weights.values()] if isinstance(self.weights, dict) else [self.weights]
        if min([*given, label_weight]) < 0:
            raise ValueError(f"weights must not be negative, got {weights} and label_weight {label_weight}.")
        if not all(weight > 0 for weight in self.class_weights or ()):
            raise ValueError(f"class_weights must be positive, got {self.class_weights}.")

    def forward(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        """Loss of a batch.

        Args:
            output: what `MultiTaskClassifier` returned, in either mode.
            targets: (N, 1 + A) integers: the label, then each attribute in the network's order, -1 where missing. For
                clinical logits alone, (N,) labels will do.

        Returns:
            The loss, a scalar; a label or attribute that all images lack adds 0.

        Raises:
            ValueError: If the shapes disagree, weights name other attributes, or class_weights are not C.
        """
        logits, others = output if isinstance(output, (tuple, list)) else (output, {})
        codes = torch.as_tensor(targets, device=logits.device).long()
        codes = codes[:, None] if codes.ndim == 1 else codes
        if len(codes) != len(logits) or (others and codes.shape[1] != 1 + len(others)):
            expected = (len(logits), 1 + len(others))
            raise ValueError(f"targets must have shape {expected} to match the heads, got {tuple(targets.shape)}.")
        if isinstance(self.weights, dict) and others and set(self.weights) != set(others):
            raise ValueError(f"weights must be of the attributes {sorted(others)}, got {sorted(self.weights)}.")
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise ValueError(f"class_weights must be {logits.shape[1]}, one per class, got {len(self.class_weights)}.")
        loss: torch.Tensor = self.label_weight * _mean_surprise(logits, codes[:, 0], self.class_weights)
        for column, (name, values) in enumerate(others.items(), start=1):
            weight = self.weights[name] if isinstance(self.weights, dict) else self.weights
            loss = loss + weight * _mean_surprise(values, codes[:, column])
        return loss


def _mean_surprise(
    logits: torch.Tensor, codes: torch.Tensor, class_weights: Sequence[float] | None = None
) -> torch.Tensor:
    """Cross entropy, averaged over the images that have a code; 0 with gradient 0 where none has."""
    weights = None if class_weights is None else logits.new_tensor(class_weights)
    reduction = "mean" if (codes != MISSING).any() else "sum"  # the mean of nothing is NaN, its sum 0
    return cross_entropy(logits, codes, weight=weights, ignore_index=MISSING, reduction=reduction)
