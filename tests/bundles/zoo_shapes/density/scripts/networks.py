# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A network with several findings, which returns them in one of the ways that public networks do."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class FindingsNetwork(nn.Module):
    """One logit per finding, and age estimated last: the head is not the last linear layer that runs.

    Args:
        findings: number of findings.
        returns: "tensor", "list" (age second), "dict" or "probabilities" (after a sigmoid).
    """

    def __init__(self, findings: int, returns: str) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.findings = nn.Linear(128, findings)
        self.age = nn.Linear(128, 1)
        self.returns = returns

    def forward(self, images: torch.Tensor) -> Any:
        """Logits of the findings (N, findings), with the age (N, 1) if asked for."""
        values = self.features(images)
        logits = self.findings(values)
        if self.returns in ("tensor", "probabilities"):
            return logits if self.returns == "tensor" else torch.sigmoid(logits)
        age = self.age(values)
        return [logits, age] if self.returns == "list" else {"age": age, "findings": logits}
